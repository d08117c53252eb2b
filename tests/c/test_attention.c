/* test_attention.c: attention over a cache against the formula in double precision, for shapes, windows, kinds of
 * storage, positions and numbers of threads: heads and latents.
 *
 * What is stored is rounded, and where it is codes the queries meet it as 8-bit codes. The formula gets the same rounded
 * rows and queries, so that what is left is the rounding of sums; what the rounding itself costs is bounded apart. */
#include "test.h"

#include <stdlib.h>

#include "f16.h"
#include "kv/attention.h"
#include "ref.h"

/* What one case is made of. */
typedef struct setting {
    uint32_t heads, kv_heads, key_dim, value_dim; /* latents: kv_heads 1, key_dim = rank + rope key, value_dim = rank */
    uint32_t context, window;
    const char *kv;    /* cache specification */
    uint32_t rope_dim; /* latents */
    bool latent;
} setting;

enum { DIM_MAX = 512, LAYERS = 3, WRITTEN = 1 };

static uint32_t state = 1;
static float noise(void) { /* uniform in [-1, 1) */
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / (float)(1 << 23) - 1.0f;
}

static float *random_floats(size_t n) {
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = 2 * noise();
    return x;
}

/* Layers 0 and 1 store; layer 2 reads the latents of layer 1. Half of a latent's groups have 8 bits, the others 4. */
static kv_model model_of(const setting *s) {
    kv_model m = {.layers = LAYERS, .heads = s->kv_heads, .key_dim = s->key_dim, .value_dim = s->value_dim,
                  .owner = {0, 1, 2}, .group = KV_GROUP};
    if (!s->latent) return m;
    m.rank = s->value_dim, m.rope_dim = s->rope_dim, m.rope_bits = KV_Q8, m.owner[2] = WRITTEN;
    for (uint32_t g = 0; g < m.rank / KV_GROUP; g++) m.group_bits[g] = g < m.rank / KV_GROUP / 2 ? 8 : 4;
    return m;
}

/* Everything one case needs: a cache with `length` tokens, queries for all of them. */
typedef struct bench {
    setting s;
    kv_spec spec;
    kv_shape shape;
    uint32_t length, layer;
    float *keys, *values, *q;           /* as given */
    float *stored_keys, *stored_values; /* as read back */
    arena memory;
    kv_cache cache;
    attention_scratch scratch;
} bench;

static float half(float x) { return f32_of_f16(f16_of_f32(x)); }

/* rows: [length][heads * channels]. The first tokens may be halves. */
static float *stored(const bench *b, const kv_format *f, const float *rows) {
    size_t n = (size_t)b->length * b->s.kv_heads * f->channels;
    float *x = malloc(n * sizeof *x);
    memcpy(x, rows, n * sizeof *x);
    for (size_t i = 0; i < n; i += f->channels) {
        if (i / f->channels / b->s.kv_heads >= b->spec.sinks) kv_format_round(f, x + i);
        else
            for (size_t c = i; c < i + f->channels; c++) x[c] = half(x[c]);
    }
    return x;
}

/* A latent's values are its row's first channels. */
static float *leading(const bench *b, const float *rows) {
    float *x = malloc((size_t)b->length * b->s.value_dim * sizeof *x);
    for (uint32_t t = 0; t < b->length; t++)
        memcpy(x + (size_t)t * b->s.value_dim, rows + (size_t)t * b->s.key_dim, b->s.value_dim * sizeof *x);
    return x;
}

static void bench_layout(bench *b, uint32_t workers, arena *a) {
    kv_cache_layout(&b->cache, &b->spec, &b->shape, a);
    attention_layout(&b->scratch, &b->shape, b->s.heads, workers, a);
}

static void bench_open(bench *b, const setting *s, uint32_t length, uint32_t workers) {
    *b = (bench){.s = *s, .length = length, .layer = s->latent ? 2 : WRITTEN};
    kv_model model = model_of(s);
    clla_error error = {{0}};
    CHECK(kv_spec_parse(s->kv, &model, &b->spec, &error) == CLLA_OK, "%s", error.text);
    kv_shape_make(&b->shape, &b->spec, &model, s->context);
    b->keys = random_floats((size_t)length * s->kv_heads * s->key_dim);
    b->values = s->latent ? leading(b, b->keys) : random_floats((size_t)length * s->kv_heads * s->value_dim);
    b->q = random_floats((size_t)length * s->heads * s->key_dim);
    b->stored_keys = stored(b, &b->shape.key, b->keys);
    b->stored_values = s->latent ? leading(b, b->stored_keys) : stored(b, &b->shape.value, b->values);
    arena measure = {0};
    bench_layout(b, workers, &measure);
    arena_open(&b->memory, measure.used);
    bench_layout(b, workers, &b->memory);
    kv_cache_write(&b->cache, WRITTEN, 0, length, b->keys, s->latent ? NULL : b->values);
}

static void bench_close(bench *b) {
    float *blocks[] = {b->keys, b->values, b->q, b->stored_keys, b->stored_values};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) free(blocks[i]);
    arena_close(&b->memory);
}

static float scale_of(const setting *s) { return 1.0f / sqrtf((float)s->key_dim); }

static float *bench_run(bench *b, uint32_t position, uint32_t n, threads *pool) {
    const setting *s = &b->s;
    float *out = malloc((size_t)n * s->heads * s->value_dim * sizeof *out);
    attention a = {&b->cache, &b->scratch, b->layer, n, position, s->window, scale_of(s),
                   b->q + (size_t)position * s->heads * s->key_dim, out};
    attention_run(&a, pool);
    return out;
}

/* ---- the formula --------------------------------------------------------------------------------------------- */

/* What the formula is given: the rows, and whether queries are rounded where they meet codes. */
typedef struct view {
    const float *keys, *values;
    bool round_queries;
} view;

static view as_given(const bench *b) { return (view){b->keys, b->values, false}; }
static view as_stored(const bench *b) { return (view){b->stored_keys, b->stored_values, false}; }
static view as_met(const bench *b) { return (view){b->stored_keys, b->stored_values, true}; }

/* q times the scale, and the same with the channels of coded runs rounded to 8 bits. */
static void queries_of(const bench *b, const float *q, double *exact, double *rounded) {
    float scaled[DIM_MAX];
    for (uint32_t c = 0; c < b->s.key_dim; c++) exact[c] = rounded[c] = (double)(scaled[c] = q[c] * scale_of(&b->s));
    for (uint32_t i = 0; i < b->shape.key.count; i++) {
        const kv_run *run = &b->shape.key.runs[i];
        if (run->bits < KV_F16) ref_quantize(scaled + run->first, run->channels, rounded + run->first);
    }
}

/* Weights of coded values count in units of the largest of 64 tokens / 32767 (matrix_multiply_transposed): a token is off by
 * half a unit at most, of values between -VALUE and VALUE. Errors have no common sign: four times the root of the sum of
 * their squares. */
#define VALUE 2.0
#define WEIGHTS_ROUNDED (4 * 2 * VALUE / 65534 * 8 / 1.732)

/* Weights softmax(scale q.k) over the keys that are seen, times the values. Returns what their rounding may cost. */
static double formula(const bench *b, const view *v, const float *q, uint32_t position, uint32_t head, double *out) {
    const setting *s = &b->s;
    uint32_t kv = head / (s->heads / s->kv_heads);
    uint32_t first = s->window && position + 1 > s->window ? position + 1 - s->window : 0;
    double max = -INFINITY, sum = 0, *p = malloc((position + 1) * sizeof *p), exact[DIM_MAX], rounded[DIM_MAX];
    queries_of(b, q, exact, rounded);
    for (uint32_t t = first; t <= position; t++) {
        const double *seen = v->round_queries && t >= b->spec.sinks ? rounded : exact;
        p[t] = 0;
        for (uint32_t c = 0; c < s->key_dim; c++)
            p[t] += seen[c] * (double)v->keys[((size_t)t * s->kv_heads + kv) * s->key_dim + c];
        if (p[t] > max) max = p[t];
    }
    double strip = 0, squares = 0;
    for (uint32_t c = 0; c < s->value_dim; c++) out[c] = 0;
    for (uint32_t t = first; t <= position; t++) {
        double w = exp(p[t] - max);
        sum += w;
        strip = fmax(strip, w);
        if (t % 64 == 63 || t == position) squares += strip * strip, strip = 0;
        for (uint32_t c = 0; c < s->value_dim; c++)
            out[c] += w * (double)v->values[((size_t)t * s->kv_heads + kv) * s->value_dim + c];
    }
    for (uint32_t c = 0; c < s->value_dim; c++) out[c] /= sum;
    free(p);
    return b->shape.tiled ? 0 : sqrt(squares) / sum * WEIGHTS_ROUNDED;
}

/* The largest difference from the formula over all heads and queries position .. position + n - 1, less what the rounding of
 * weights may cost. */
static double deviation(const bench *b, view v, const float *out, uint32_t position, uint32_t n) {
    const setting *s = &b->s;
    double worst = 0, expected[DIM_MAX];
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t h = 0; h < s->heads; h++) {
            const float *q = b->q + ((size_t)(position + i) * s->heads + h) * s->key_dim;
            const float *got = out + ((size_t)i * s->heads + h) * s->value_dim;
            double rounding = formula(b, &v, q, position + i, h, expected);
            for (uint32_t c = 0; c < s->value_dim; c++) {
                double off = fabs((double)got[c] - expected[c]) - rounding;
                if (!(off <= worst)) worst = off; /* a NaN, too */
            }
        }
    return worst;
}

/* ---- settings ------------------------------------------------------------------------------------------------ */

#define HEADS(heads, kv_heads, key_dim, value_dim, context, window) {heads, kv_heads, key_dim, value_dim, context, window, "f32", 0, false}
static const setting plain[] = {
    HEADS(9, 3, 64, 64, 1500, 0), HEADS(4, 4, 32, 32, 200, 0), HEADS(4, 1, 256, 256, 100, 24), HEADS(6, 2, 24, 40, 700, 0),
    HEADS(71, 1, 16, 16, 64, 0),  HEADS(3, 3, 2, 1, 33, 5),    HEADS(9, 3, 64, 64, 1500, 600), HEADS(8, 2, 48, 80, 130, 1),
};

#define LATENT(heads, rank, rope_dim, context, window) {heads, 1, rank + rope_dim, rank, context, window, "clla", rope_dim, true}
static const setting latents[] = {
    LATENT(9, 128, 32, 1100, 0), LATENT(3, 64, 16, 200, 0), LATENT(8, 96, 0, 70, 0),
    LATENT(40, 64, 24, 64, 0),   LATENT(4, 32, 2, 600, 40), LATENT(2, 352, 64, 90, 0),
};

enum { PLAIN = sizeof plain / sizeof *plain, LATENTS = sizeof latents / sizeof *latents };

static const char *const kinds_of_heads[] = {"f32", "f16", "q8", "q4", "q4,min", "q8,sinks=3", "q4,sinks=20", "q4,min,sinks=1"};
static const char *const kinds_of_latents[] = {
    "clla",         "f32",           "f16",           "q8",
    "q4",           "bits=4,min",    "bits=4,rope=4", "bits=4,rope=16,sinks=5",
    "clla,sinks=1", "bits=8,rope=4", "bits=16,rope=4,sinks=2",
};

static threads *pool_of(uint32_t count) {
    threads *pool = NULL;
    CHECK(threads_open(count, &pool, NULL) == CLLA_OK || threads_open(1, &pool, NULL) == CLLA_OK, "no pool");
    return pool;
}

/* ---- tests --------------------------------------------------------------------------------------------------- */

/* A prefill at the end of a timeline, and its last token once more as a decode. */
static void check_setting(const setting *s, threads *pool, uint32_t queries, double bound) {
    bench b;
    uint32_t length = s->context - 1, chunk = length < queries ? length : queries;
    bench_open(&b, s, length, threads_count(pool));
    float *prefill = bench_run(&b, length - chunk, chunk, pool), *decode = bench_run(&b, length - 1, 1, pool);
    double error = deviation(&b, as_met(&b), prefill, length - chunk, chunk);
    CHECK(error < bound, "%u heads, keys of %u, %s, prefill: off by %g", s->heads, s->key_dim, s->kv, error);
    error = deviation(&b, as_met(&b), decode, length - 1, 1);
    CHECK(error < bound, "%u heads, keys of %u, %s, decode: off by %g", s->heads, s->key_dim, s->kv, error);
    free(prefill);
    free(decode);
    bench_close(&b);
}

static void matches_formula(void) {
    threads *pool = pool_of(2);
    for (int i = 0; i < PLAIN; i++) check_setting(&plain[i], pool, 40, 2e-5);
    threads_close(pool);
}

static void every_kind_of_heads(void) {
    threads *pool = pool_of(2);
    for (int i = 0; i < PLAIN; i++)
        for (size_t k = 0; k < sizeof kinds_of_heads / sizeof *kinds_of_heads; k++) {
            setting s = plain[i];
            s.kv = kinds_of_heads[k];
            check_setting(&s, pool, 13, 2e-5);
        }
    setting wide = plain[2];
    wide.kv = "q4,group=128,min,sinks=2";
    check_setting(&wide, pool, 13, 2e-5);
    threads_close(pool);
}

static void every_kind_of_latents(void) {
    threads *pool = pool_of(2);
    for (int i = 0; i < LATENTS; i++)
        for (size_t k = 0; k < sizeof kinds_of_latents / sizeof *kinds_of_latents; k++) {
            setting s = latents[i];
            s.kv = kinds_of_latents[k];
            if (s.rope_dim || !strstr(s.kv, "rope=")) check_setting(&s, pool, 13, 2e-5);
        }
    setting wide = latents[0];
    wide.kv = "bits=4,group=64,sinks=7";
    check_setting(&wide, pool, 13, 2e-5);
    threads_close(pool);
}

static void check_positions(const setting *s) {
    threads *pool = pool_of(1);
    bench b;
    bench_open(&b, s, 60, 1);
    for (uint32_t position = 0; position < 60; position++)
        for (uint32_t n = 1; n <= 18 && position + n <= 60; n += 4) {
            float *out = bench_run(&b, position, n, pool);
            double error = deviation(&b, as_met(&b), out, position, n);
            CHECK(error < 1e-5, "position %u, %u queries, %s: off by %g", position, n, s->kv, error);
            free(out);
        }
    bench_close(&b);
    threads_close(pool);
}

static void every_position_in_small_steps(void) {
    setting coded = plain[3], latent = latents[1];
    coded.kv = "q4,sinks=18", latent.kv = "clla,sinks=3";
    check_positions(&plain[3]);
    check_positions(&coded);
    check_positions(&latent);
}

/* Values up to 2 in f16 (2^-11 relative) and int8 (2 / 254 absolute for a group's largest of 2): what comes out may be
 * off by about as much as what is stored, through scores too. */
static void bits_cost_what_they_must(void) {
    const struct {
        const char *kv;
        double least, most;
    } cases[] = {{"f16", 1e-6, 4e-3}, {"q8", 1e-4, 4e-2}};
    threads *pool = pool_of(1);
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < 4; k++) {
            setting s = plain[k];
            s.kv = cases[i].kv;
            bench b;
            bench_open(&b, &s, 99, 1);
            float *out = bench_run(&b, 79, 20, pool);
            double error = deviation(&b, as_given(&b), out, 79, 20);
            CHECK(error > cases[i].least && error < cases[i].most, "%s, setting %zu: off by %g", s.kv, k, error);
            free(out);
            bench_close(&b);
        }
    threads_close(pool);
}

/* Queries to 8 bits. With a block's largest at most 2 scale, each channel is off by at most scale 2 / 254, and meets keys
 * up to 2: a score is off by at most d = key_dim scale 4 / 254 = sqrt(key_dim) / 63.5; weights by a factor of at most
 * exp(2 d), values up to 2 so by 2 (exp(2 d) - 1). Errors have no common sign, so that we ask for a quarter of it. */
static void queries_cost_what_they_must(void) {
    threads *pool = pool_of(1);
    for (int i = 0; i < 4; i++) {
        bench b;
        setting s = latents[i];
        s.kv = "q4";
        bench_open(&b, &s, 60, 1);
        float *out = bench_run(&b, 40, 20, pool);
        double error = deviation(&b, as_stored(&b), out, 40, 20), d = sqrt(s.key_dim) / 63.5;
        CHECK(error > 1e-4 && error < 0.5 * (exp(2 * d) - 1), "setting %d: off by %g", i, error);
        free(out);
        bench_close(&b);
    }
    threads_close(pool);
}

static void check_threads(const setting *s, threads *one, threads *many) {
    bench b;
    uint32_t length = s->context - 1;
    bench_open(&b, s, length, 3);
    for (uint32_t n = 1; n < 60; n += 29) {
        float *a = bench_run(&b, length - n, n, one), *c = bench_run(&b, length - n, n, many);
        CHECK(memcmp(a, c, (size_t)n * s->heads * s->value_dim * sizeof *a) == 0, "%s, %u queries differ", s->kv, n);
        free(a);
        free(c);
    }
    bench_close(&b);
}

static void threads_do_not_matter(void) {
    threads *one, *many;
    CHECK(threads_open(1, &one, NULL) == CLLA_OK, "no pool");
    if (threads_open(3, &many, NULL) != CLLA_OK) {
        SKIP("attention: 1 and 3 threads give the same bits", "this build has no threads");
        threads_close(one);
        return;
    }
    setting coded = plain[0];
    coded.kv = "q4";
    check_threads(&plain[0], one, many);
    check_threads(&coded, one, many);
    check_threads(&latents[0], one, many);
    threads_close(one);
    threads_close(many);
}

static void check_infinities(const setting *s, threads *pool) {
    bench b;
    bench_open(&b, s, 20, 1);
    size_t channels = (size_t)s->kv_heads * (s->key_dim > s->value_dim ? s->key_dim : s->value_dim);
    float *huge = malloc(channels * sizeof *huge);
    for (size_t i = 0; i < channels; i++) huge[i] = 1e30f;
    kv_cache_write(&b.cache, WRITTEN, 19, 1, huge, s->latent ? NULL : huge); /* a later token, that the queries do not see */
    float *out = bench_run(&b, 4, 6, pool);
    double error = deviation(&b, as_met(&b), out, 4, 6);
    CHECK(error < 1e-5, "%s: off by %g", s->kv, error);
    free(out);
    free(huge);
    bench_close(&b);
}

static void infinities_do_not_spread(void) {
    static const char *const kinds[] = {"f16", "q8", "q4", "q4,min"};
    threads *pool = pool_of(1);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        setting s = plain[1];
        s.kv = kinds[k];
        check_infinities(&s, pool);
    }
    check_infinities(&latents[1], pool);
    threads_close(pool);
}

static void tiles_read_back_what_was_written(void) {
    const kv_bits kinds[] = {KV_F32, KV_F16};
    float x[80], keys[80 * KV_TILE], values[80 * KV_TILE];
    for (int k = 0; k < 2; k++)
        for (uint32_t dim = 1; dim <= 80; dim += 13) {
            uint8_t *tile = calloc(1, kv_value_tile_bytes(kinds[k], dim));
            for (uint32_t slot = 0; slot < KV_TILE; slot++) {
                for (uint32_t c = 0; c < dim; c++) x[c] = (float)((int)(slot * 7 + c * 3) % 41 - 20) / 16.0f;
                kv_write_key(kinds[k], tile, dim, slot, x);
                kv_read_keys(kinds[k], tile, dim, keys);
                for (uint32_t c = 0; c < dim; c++)
                    CHECK(keys[c * KV_TILE + slot] == x[c], "key %u: %g, not %g", c, (double)keys[c * KV_TILE + slot],
                          (double)x[c]);
            }
            memset(tile, 0, kv_value_tile_bytes(kinds[k], dim));
            for (uint32_t slot = 0; slot < KV_TILE; slot++) kv_write_value(kinds[k], tile, dim, slot, x);
            kv_read_values(kinds[k], tile, dim, values);
            for (uint32_t c = 0; c < kv_padded(dim); c++)
                CHECK(values[9 * kv_padded(dim) + c] == (c < dim ? x[c] : 0), "value %u", c);
            free(tile);
        }
}

int main(void) {
    RUN("attention: prefill and decode are the formula, for every shape and window", matches_formula);
    RUN("attention: over heads in codes and halves, with sinks, it is the formula of what is stored", every_kind_of_heads);
    RUN("attention: over latents, another layer's and in mixed bits too, it is the formula of what is stored", every_kind_of_latents);
    RUN("attention: every position, in steps of any size", every_position_in_small_steps);
    RUN("attention: f16 and q8 storage cost no more than their rounding, and not nothing", bits_cost_what_they_must);
    RUN("attention: queries in 8 bits cost no more than their rounding, and not nothing", queries_cost_what_they_must);
    RUN("attention: the number of threads changes no bit", threads_do_not_matter);
    RUN("attention: an overflowing token that is not seen changes nothing", infinities_do_not_spread);
    RUN("cache: tiles read back what was written, in every kind", tiles_read_back_what_was_written);
    return test_report();
}
