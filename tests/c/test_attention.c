/* test_attention.c: attention over a cache against the formula in double precision, for shapes, windows, kinds of
 * storage, positions and numbers of threads. */
#include "test.h"

#include <stdlib.h>

#include "kv/attention.h"

/* What one case is made of. */
typedef struct setting {
    uint32_t heads, kv_heads, key_dim, value_dim, context, window;
    kv_bits bits;
} setting;

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

/* The formula: weights softmax(scale q.k) over the keys that are seen, times the values. */
static void reference(const setting *s, const float *q, const float *keys, const float *values, uint32_t position,
                      uint32_t head, double scale, double *out) {
    uint32_t kv = head / (s->heads / s->kv_heads);
    uint32_t first = s->window && position + 1 > s->window ? position + 1 - s->window : 0;
    double max = -INFINITY, sum = 0, *p = malloc((position + 1) * sizeof *p);
    for (uint32_t t = first; t <= position; t++) {
        p[t] = 0;
        for (uint32_t c = 0; c < s->key_dim; c++)
            p[t] += (double)q[c] * (double)keys[((size_t)t * s->kv_heads + kv) * s->key_dim + c];
        p[t] *= scale;
        if (p[t] > max) max = p[t];
    }
    for (uint32_t c = 0; c < s->value_dim; c++) out[c] = 0;
    for (uint32_t t = first; t <= position; t++) {
        double w = exp(p[t] - max);
        sum += w;
        for (uint32_t c = 0; c < s->value_dim; c++)
            out[c] += w * (double)values[((size_t)t * s->kv_heads + kv) * s->value_dim + c];
    }
    for (uint32_t c = 0; c < s->value_dim; c++) out[c] /= sum;
    free(p);
}

/* Everything one case needs: a cache with `length` tokens, queries for all of them. */
typedef struct bench {
    setting s;
    uint32_t length;
    float *keys, *values, *q;
    arena memory;
    kv_cache cache;
    attention_scratch scratch;
} bench;

static void bench_layout(bench *b, uint32_t workers, arena *a) {
    kv_shape shape = {2, b->s.kv_heads, b->s.key_dim, b->s.value_dim, b->s.context};
    kv_cache_layout(&b->cache, &(kv_spec){b->s.bits}, &shape, a);
    attention_layout(&b->scratch, &shape, b->s.heads, workers, a);
}

static void bench_open(bench *b, const setting *s, uint32_t length, uint32_t workers) {
    *b = (bench){.s = *s, .length = length};
    b->keys = random_floats((size_t)length * s->kv_heads * s->key_dim);
    b->values = random_floats((size_t)length * s->kv_heads * s->value_dim);
    b->q = random_floats((size_t)length * s->heads * s->key_dim);
    arena measure = {0};
    bench_layout(b, workers, &measure);
    arena_open(&b->memory, measure.used);
    bench_layout(b, workers, &b->memory);
    kv_cache_write(&b->cache, 1, 0, length, b->keys, b->values);
}

static void bench_close(bench *b) {
    free(b->keys);
    free(b->values);
    free(b->q);
    arena_close(&b->memory);
}

static float scale_of(const setting *s) { return 1.0f / sqrtf((float)s->key_dim); }

static float *bench_run(bench *b, uint32_t position, uint32_t n, threads *pool) {
    const setting *s = &b->s;
    float *out = malloc((size_t)n * s->heads * s->value_dim * sizeof *out);
    attention a = {&b->cache, &b->scratch, 1, n, position, s->window, scale_of(s),
                   b->q + (size_t)position * s->heads * s->key_dim, out};
    attention_run(&a, pool);
    return out;
}

/* The largest difference from the formula over all heads and queries position .. position + n - 1. */
static double deviation(bench *b, const float *out, uint32_t position, uint32_t n) {
    const setting *s = &b->s;
    double worst = 0, expected[512];
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t h = 0; h < s->heads; h++) {
            const float *q = b->q + ((size_t)(position + i) * s->heads + h) * s->key_dim;
            const float *got = out + ((size_t)i * s->heads + h) * s->value_dim;
            reference(s, q, b->keys, b->values, position + i, h, (double)scale_of(s), expected);
            for (uint32_t c = 0; c < s->value_dim; c++) worst = fmax(worst, fabs((double)got[c] - expected[c]));
        }
    return worst;
}

static const setting settings[] = {
    {9, 3, 64, 64, 1500, 0, KV_F32}, {4, 4, 32, 32, 200, 0, KV_F32},   {4, 1, 256, 256, 100, 24, KV_F32},
    {6, 2, 24, 40, 700, 0, KV_F32},  {71, 1, 16, 16, 64, 0, KV_F32},   {3, 3, 2, 1, 33, 5, KV_F32},
    {9, 3, 64, 64, 1500, 600, KV_F32}, {8, 2, 48, 80, 130, 1, KV_F32},
};

static void matches_formula(void) {
    threads *pool;
    CHECK(threads_open(2, &pool, NULL) == CLLA_OK || threads_open(1, &pool, NULL) == CLLA_OK, "no pool");
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        bench b;
        uint32_t length = settings[i].context - 1;
        bench_open(&b, &settings[i], length, threads_count(pool));
        uint32_t chunk = length < 40 ? length : 40;
        float *prefill = bench_run(&b, length - chunk, chunk, pool), *decode = bench_run(&b, length - 1, 1, pool);
        double error = deviation(&b, prefill, length - chunk, chunk);
        CHECK(error < 2e-5, "setting %zu, prefill: off by %g", i, error);
        error = deviation(&b, decode, length - 1, 1);
        CHECK(error < 2e-5, "setting %zu, decode: off by %g", i, error);
        free(prefill);
        free(decode);
        bench_close(&b);
    }
    threads_close(pool);
}

static void every_position_in_small_steps(void) {
    threads *pool;
    CHECK(threads_open(1, &pool, NULL) == CLLA_OK, "no pool");
    bench b;
    bench_open(&b, &settings[3], 60, 1);
    for (uint32_t position = 0; position < 60; position++)
        for (uint32_t n = 1; n <= 18 && position + n <= 60; n += 4) {
            float *out = bench_run(&b, position, n, pool);
            double error = deviation(&b, out, position, n);
            CHECK(error < 1e-5, "position %u, %u queries: off by %g", position, n, error);
            free(out);
        }
    bench_close(&b);
    threads_close(pool);
}

/* Values up to 2 in f16 (2^-11 relative) and int8 (2 / 254 absolute for a group's largest of 2): what comes out may be
 * off by about as much as what is stored, through scores too. */
static void bits_cost_what_they_must(void) {
    const struct {
        kv_bits bits;
        double least, most;
    } cases[] = {{KV_F16, 1e-6, 4e-3}, {KV_Q8, 1e-4, 4e-2}};
    threads *pool;
    CHECK(threads_open(1, &pool, NULL) == CLLA_OK, "no pool");
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < 4; k++) {
            setting s = settings[k];
            s.bits = cases[i].bits;
            bench b;
            bench_open(&b, &s, 99, 1);
            float *out = bench_run(&b, 79, 20, pool);
            double error = deviation(&b, out, 79, 20);
            CHECK(error > cases[i].least && error < cases[i].most, "%d bits, setting %zu: off by %g", (int)s.bits, k, error);
            free(out);
            bench_close(&b);
        }
    threads_close(pool);
}

static void threads_do_not_matter(void) {
    threads *one, *many;
    CHECK(threads_open(1, &one, NULL) == CLLA_OK, "no pool");
    if (threads_open(3, &many, NULL) != CLLA_OK) {
        SKIP("attention: 1 and 3 threads give the same bits", "this build has no threads");
        threads_close(one);
        return;
    }
    bench b;
    bench_open(&b, &settings[0], 1499, 3);
    for (uint32_t n = 1; n < 60; n += 29) {
        float *a = bench_run(&b, 1499 - n, n, one), *c = bench_run(&b, 1499 - n, n, many);
        CHECK(memcmp(a, c, (size_t)n * 9 * 64 * sizeof *a) == 0, "%u queries differ", n);
        free(a);
        free(c);
    }
    bench_close(&b);
    threads_close(one);
    threads_close(many);
}

static void infinities_do_not_spread(void) {
    threads *pool;
    CHECK(threads_open(1, &pool, NULL) == CLLA_OK, "no pool");
    bench b;
    setting s = settings[1];
    s.bits = KV_F16;
    bench_open(&b, &s, 20, 1);
    float huge[4 * 32];
    for (int i = 0; i < 4 * 32; i++) huge[i] = 1e30f;
    kv_cache_write(&b.cache, 1, 19, 1, huge, huge); /* a later token, that the queries do not see */
    float *out = bench_run(&b, 4, 6, pool);
    for (int i = 0; i < 6 * 4 * 32; i++) CHECK(isfinite(out[i]), "value %d is %g", i, (double)out[i]);
    free(out);
    bench_close(&b);
    threads_close(pool);
}

static void tiles_read_back_what_was_written(void) {
    const kv_bits kinds[] = {KV_F32, KV_F16, KV_Q8};
    float x[80], keys[80 * KV_TILE], values[80 * KV_TILE];
    for (int k = 0; k < 3; k++)
        for (uint32_t dim = 1; dim <= 80; dim += 13) {
            uint8_t *tile = calloc(1, kv_value_tile_bytes(kinds[k], dim));
            for (uint32_t slot = 0; slot < KV_TILE; slot++) {
                for (uint32_t c = 0; c < dim; c++) x[c] = (float)((int)(slot * 7 + c * 3) % 41 - 20) / 16.0f;
                kv_write_key(kinds[k], tile, dim, slot, x);
                kv_read_keys(kinds[k], tile, dim, keys);
                float bound = kinds[k] == KV_Q8 ? 1.3f / 127 : 0;
                for (uint32_t c = 0; c < dim; c++)
                    CHECK(fabsf(keys[c * KV_TILE + slot] - x[c]) <= bound, "key %u: %g, not %g", c,
                          (double)keys[c * KV_TILE + slot], (double)x[c]);
            }
            memset(tile, 0, kv_value_tile_bytes(kinds[k], dim));
            for (uint32_t slot = 0; slot < KV_TILE; slot++) kv_write_value(kinds[k], tile, dim, slot, x);
            kv_read_values(kinds[k], tile, dim, values);
            for (uint32_t c = 0; c < kv_padded(dim); c++)
                CHECK(fabsf(values[9 * kv_padded(dim) + c] - (c < dim ? x[c] : 0)) <= 1.3f / 127, "value %u", c);
            free(tile);
        }
}

int main(void) {
    RUN("attention: prefill and decode are the formula, for every shape and window", matches_formula);
    RUN("attention: every position, in steps of any size", every_position_in_small_steps);
    RUN("attention: f16 and q8 storage cost no more than their rounding, and not nothing", bits_cost_what_they_must);
    RUN("attention: the number of threads changes no bit", threads_do_not_matter);
    RUN("attention: an overflowing token that is not seen changes nothing", infinities_do_not_spread);
    RUN("cache: tiles read back what was written, in every kind", tiles_read_back_what_was_written);
    return test_report();
}
