/* test_kv_cache.c: the storage behind a specification: what is written is read back as the quantizer rounds it, in every
 * width, depth and number of bits; forgetting, copying and cutting it into pieces; and its bytes, told before and taken. */
#include "test.h"

#include <stdlib.h>

#include "arena.h"
#include "clla.h"
#include "f16.h"
#include "kv/cache.h"
#include "kv_models.h"
#include "ref.h"

enum { CONTEXT = 75, ROW_MAX = 512 };

/* Every kind of storage: a specification that the model takes. */
static const struct storage {
    const kv_model *model;
    const char *kv;
} storages[] = {
    {&heads_model, "f32"},   {&heads_model, "f16"},          {&heads_model, "q8"},           {&heads_model, "q4"},
    {&heads_model, "q4,min"}, {&heads_model, "q4,group=64"}, {&heads_model, "q8,sinks=5"},   {&heads_model, "q4,min,sinks=40"},
    {&uneven_model, "f16"},  {&uneven_model, "q8,sinks=1"},  {&uneven_model, "q4"},          {&wide_model, "q4,group=128,min"},
    {&mla_model, "clla"},    {&mla_model, "f32"},            {&mla_model, "q4"},             {&mla_model, "width=heads,q8"},
    {&pairs_model, "clla"},  {&pairs_model, "sinks=3"},      {&pairs_model, "min,rope=4"},   {&pairs_model, "group=64,rope=16"},
    {&pairs_model, "f16"},   {&pairs_model, "f32"},          {&pairs_model, "q8"},           {&pairs_model, "width=heads,f16"},
    {&mixed_model, "clla"},  {&mixed_model, "min,sinks=80"}, {&minimum_model, "clla"},       {&minimum_model, "bits=8,sinks=2"},
    {&bare_model, "clla"},   {&bare_model, "q4,sinks=1"},    {&mixed_model, "bits=4,group=160"}, {&mixed_model, "rope=8"},
    {&mla_model, "q8,sinks=6"},
};
enum { STORAGES = sizeof storages / sizeof *storages };

/* A cache and what was written to it. */
typedef struct bench {
    const struct storage *storage;
    kv_spec spec;
    kv_shape shape;
    kv_cache cache;
    arena memory;
} bench;

static void bench_open(bench *b, const struct storage *s, uint32_t context) {
    clla_error error = {{0}};
    arena measure = {0};
    *b = (bench){.storage = s};
    CHECK(kv_spec_parse(s->kv, s->model, &b->spec, &error) == CLLA_OK, "%s", error.text);
    kv_shape_make(&b->shape, &b->spec, s->model, context);
    kv_cache_layout(&b->cache, &b->spec, &b->shape, &measure);
    CHECK(b->cache.bytes == measure.used, "%s: told %llu bytes, measured %llu", s->kv, (unsigned long long)b->cache.bytes,
          (unsigned long long)measure.used);
    CHECK(arena_open(&b->memory, measure.used), "no memory");
    kv_cache_layout(&b->cache, &b->spec, &b->shape, &b->memory);
}

static void bench_close(bench *b) { arena_close(&b->memory); }

/* Key (then value) of one head and token of a layer's row, a function of where it is and of `seed`. */
static void given(const bench *b, uint32_t seed, uint32_t layer, uint32_t token, uint32_t head, float *x) {
    ref_random random = {((uint64_t)seed << 40) + ((uint64_t)layer << 32) + token * 64u + head};
    uint32_t channels = b->shape.key.channels + b->shape.value.channels;
    for (uint32_t c = 0; c < channels; c++) x[c] = ref_uniform(&random, -2, 2);
}

static bool owns(const bench *b, uint32_t layer) {
    return !b->shape.latent || b->storage->model->owner[layer] == layer;
}

/* Tokens [from, to) of all layers, in blocks of `block`. */
static void fill(bench *b, uint32_t seed, uint32_t from, uint32_t to, uint32_t block) {
    const kv_shape *s = &b->shape;
    float *keys = calloc((size_t)block * s->heads * s->key_dim, sizeof *keys);
    float *values = calloc((size_t)block * s->heads * s->value_dim, sizeof *values), row[ROW_MAX];
    for (uint32_t layer = 0; layer < b->storage->model->layers; layer++)
        for (uint32_t first = from; first < to && owns(b, layer); first += block) {
            uint32_t n = to - first < block ? to - first : block;
            for (uint32_t i = 0; i < n * s->heads; i++) {
                given(b, seed, layer, first + i / s->heads, i % s->heads, row);
                memcpy(keys + (size_t)i * s->key_dim, row, s->key_dim * sizeof *row);
                if (!s->latent) memcpy(values + (size_t)i * s->value_dim, row + s->key_dim, s->value_dim * sizeof *row);
            }
            kv_cache_write(&b->cache, layer, first, n, keys, s->latent ? NULL : values);
        }
    free(keys);
    free(values);
}

/* Runs of a row from its matrices. */
static void read_runs(const bench *b, const kv_format *f, bool value, uint32_t layer, uint32_t token, uint32_t head, float *x) {
    float row[ROW_MAX + COLUMN_BLOCK];
    for (uint32_t i = 0; i < f->count; i++) {
        matrix m = value ? kv_value_matrix(&b->cache, layer, head, i) : kv_key_matrix(&b->cache, layer, head, i);
        matrix_row(&m, token, row);
        for (uint32_t c = f->runs[i].channels; c < m.cols; c++) CHECK(row[c] == 0, "padding is %g", (double)row[c]);
        memcpy(x + f->runs[i].first, row, f->runs[i].channels * sizeof *row);
    }
}

static void read_tile(const bench *b, uint32_t layer, uint32_t token, uint32_t head, float *x) {
    const kv_shape *s = &b->shape;
    static float keys[ROW_MAX * KV_TILE], values[KV_TILE * ROW_MAX];
    kv_read_keys(b->spec.bits, kv_key_tile(&b->cache, layer, head, token / KV_TILE), s->key_dim, keys);
    kv_read_values(b->spec.bits, kv_value_tile(&b->cache, layer, head, token / KV_TILE), s->value_dim, values);
    for (uint32_t c = 0; c < s->key_dim; c++) x[c] = keys[c * KV_TILE + token % KV_TILE];
    memcpy(x + s->key_dim, values + token % KV_TILE * kv_padded(s->value_dim), s->value_dim * sizeof *x);
}

/* What attention would read of a token: its key, then (heads) its value. */
static void read_back(const bench *b, uint32_t layer, uint32_t token, uint32_t head, float *x) {
    const kv_shape *s = &b->shape;
    if (s->tiled) {
        read_tile(b, layer, token, head, x);
        return;
    }
    read_runs(b, &s->key, false, layer, token, head, x);
    read_runs(b, &s->value, true, layer, token, head, x + s->key.channels);
    if (token >= b->spec.sinks) return;
    for (uint32_t c = 0; c < s->key_dim; c++) x[c] = f32_of_f16(kv_sink_key(&b->cache, layer, head, token)[c]);
    for (uint32_t c = 0; c < s->value.channels; c++)
        x[s->key_dim + c] = f32_of_f16(kv_sink_value(&b->cache, layer, head, token)[c]);
}

static void rounded(const bench *b, uint32_t token, float *x) {
    uint32_t channels = b->shape.key.channels + b->shape.value.channels;
    if (token < b->spec.sinks) {
        for (uint32_t c = 0; c < channels; c++) x[c] = f32_of_f16(f16_of_f32(x[c]));
        return;
    }
    kv_format_round(&b->shape.key, x);
    kv_format_round(&b->shape.value, x + b->shape.key.channels);
}

/* Tokens [from, to) of all layers, readers too, hold what `seed` gave; or, without a seed, zeros. */
static bool holds(const bench *b, uint32_t seed, uint32_t from, uint32_t to) {
    uint32_t channels = b->shape.key.channels + b->shape.value.channels;
    for (uint32_t layer = 0; layer < b->storage->model->layers; layer++)
        for (uint32_t t = from; t < to; t++)
            for (uint32_t h = 0; h < b->shape.heads; h++) {
                float expected[ROW_MAX] = {0}, got[ROW_MAX];
                if (seed) given(b, seed, b->shape.latent ? b->storage->model->owner[layer] : layer, t, h, expected);
                if (seed) rounded(b, t, expected);
                read_back(b, layer, t, h, got);
                for (uint32_t c = 0; c < channels; c++)
                    if (!(got[c] == expected[c])) {
                        printf("    %s: layer %u, token %u, head %u, channel %u is %g, not %g\n", b->storage->kv, layer, t, h, c,
                               (double)got[c], (double)expected[c]);
                        return false;
                    }
            }
    return true;
}

/* ---- tests --------------------------------------------------------------------------------------------------- */

static void what_is_written_is_read_back(void) {
    for (int i = 0; i < STORAGES; i++) {
        bench b;
        bench_open(&b, &storages[i], CONTEXT);
        fill(&b, 1, 0, 40, 13);
        fill(&b, 1, 40, CONTEXT, 1);
        CHECK(holds(&b, 1, 0, CONTEXT), "storage %d", i);
        CHECK(holds(&b, 0, CONTEXT, b.cache.tokens), "storage %d: what was not written is not 0", i);
        fill(&b, 2, 30, 50, 20); /* once more, over the old ones */
        CHECK(holds(&b, 1, 0, 30) && holds(&b, 2, 30, 50) && holds(&b, 1, 50, CONTEXT), "storage %d, written over", i);
        bench_close(&b);
    }
}

static void readers_have_no_rows(void) {
    for (int i = 0; i < STORAGES; i++) {
        const kv_model *m = storages[i].model;
        bench b;
        bench_open(&b, &storages[i], CONTEXT);
        uint32_t rows = 0;
        for (uint32_t layer = 0; layer < m->layers; layer++) {
            uint32_t owner = b.shape.latent ? m->owner[layer] : layer;
            if (owner == layer) CHECK(b.shape.row_of[layer] == rows++, "layer %u", layer);
            CHECK(b.shape.row_of[layer] == b.shape.row_of[owner], "layer %u reads row %u", layer, b.shape.row_of[layer]);
        }
        CHECK(b.shape.rows == rows, "%u rows, not %u", b.shape.rows, rows);
        CHECK(b.shape.heads == (b.shape.latent ? 1 : m->heads), "%u heads", b.shape.heads);
        bench_close(&b);
    }
}

/* Forgotten tokens leave no trace: neither in the last tile or group, nor beside new ones. */
static void truncation_leaves_zeros(void) {
    for (int i = 0; i < STORAGES; i++)
        for (uint32_t length = 0; length < CONTEXT; length += 6) {
            bench b;
            bench_open(&b, &storages[i], CONTEXT);
            fill(&b, 1, 0, CONTEXT, 25);
            kv_cache_truncate(&b.cache, length, CONTEXT);
            uint32_t end = (length + KV_TILE - 1) / KV_TILE * KV_TILE;
            CHECK(holds(&b, 1, 0, length), "storage %d, cut to %u: what is left", i, length);
            CHECK(holds(&b, 0, length, end < CONTEXT ? end : CONTEXT), "storage %d, cut to %u: what is gone", i, length);
            fill(&b, 3, length, CONTEXT, 7);
            CHECK(holds(&b, 1, 0, length) && holds(&b, 3, length, CONTEXT), "storage %d, cut to %u and continued", i, length);
            bench_close(&b);
        }
}

static void copies_are_equal(void) {
    for (int i = 0; i < STORAGES; i++)
        for (uint32_t length = 0; length <= CONTEXT; length += 15) {
            bench from, to;
            bench_open(&from, &storages[i], CONTEXT);
            bench_open(&to, &storages[i], CONTEXT);
            fill(&from, 1, 0, length, 25);
            kv_cache_copy(&to.cache, &from.cache, length);
            CHECK(holds(&to, 1, 0, length), "storage %d, %u tokens", i, length);
            fill(&to, 2, 0, CONTEXT, 25);
            CHECK(holds(&from, 1, 0, length), "storage %d: the copy reaches the origin", i);
            bench_close(&from);
            bench_close(&to);
        }
}

/* Every byte that a token changed is in one piece, and in one only; the pieces of a full cache are all of it. */
static void check_pieces(bench *b, uint32_t length) {
    size_t size = (size_t)b->memory.used, total = 0;
    uint8_t *empty = malloc(size), *piece, *covered = calloc(size, 1);
    memcpy(empty, b->memory.base, size);
    fill(b, 1, 0, length, 20);
    uint32_t count = 0;
    for (size_t n; (n = kv_cache_piece(&b->cache, length, count, &piece)) > 0; count++) {
        CHECK(piece >= b->memory.base && piece + n <= b->memory.base + size, "piece %u lies outside", count);
        for (size_t k = 0; k < n; k++) CHECK(!covered[piece + k - b->memory.base]++, "piece %u overlaps", count);
        total += n;
    }
    for (size_t k = 0; k < size; k++)
        if (b->memory.base[k] != empty[k] && !covered[k]) {
            CHECK(false, "%s, %u tokens: byte %zu of %zu is in no piece", b->storage->kv, length, k, size);
            break;
        }
    kv_parts p = kv_parts_of(&b->spec, &b->shape);
    double tokens = b->shape.tiled ? (length + KV_TILE - 1) / KV_TILE * KV_TILE : (length + MATRIX_GROUP - 1) / MATRIX_GROUP * MATRIX_GROUP;
    double sinks = b->spec.sinks ? (double)p.sinks * (length < b->spec.sinks ? length : b->spec.sinks) / b->spec.sinks : 0;
    double expected = tokens * (p.codes + p.scales + p.rope_keys) + sinks;
    CHECK((double)total == expected, "%s, %u tokens: %zu bytes in %u pieces, not %g", b->storage->kv, length, total, count, expected);
    CHECK(count > 0 || length == 0, "no pieces");
    CHECK(kv_cache_piece(&b->cache, length, count + 1, &piece) == 0, "pieces after the last");
    free(empty);
    free(covered);
}

static void pieces_cover_what_was_written(void) {
    const uint32_t lengths[] = {0, 1, 3, 4, 16, 17, 50, CONTEXT};
    for (int i = 0; i < STORAGES; i++)
        for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
            bench b;
            bench_open(&b, &storages[i], CONTEXT);
            check_pieces(&b, lengths[k]);
            bench_close(&b);
        }
}

/* ---- bytes --------------------------------------------------------------------------------------------------- */

static uint64_t cache_bytes(const struct storage *s, uint32_t context) {
    kv_spec spec;
    kv_shape shape;
    kv_cache cache;
    arena measure = {0};
    CHECK(kv_spec_parse(s->kv, s->model, &spec, NULL) == CLLA_OK, "%s", s->kv);
    kv_shape_make(&shape, &spec, s->model, context);
    kv_cache_layout(&cache, &spec, &shape, &measure);
    return cache.bytes;
}

static void parts_add_up_to_the_growth(void) {
    for (int i = 0; i < STORAGES; i++) {
        const struct storage *s = &storages[i];
        kv_spec spec;
        kv_shape shape;
        CHECK(kv_spec_parse(s->kv, s->model, &spec, NULL) == CLLA_OK, "%s", s->kv);
        kv_shape_make(&shape, &spec, s->model, 1);
        kv_parts p = kv_parts_of(&spec, &shape);
        double sum = p.codes + p.scales + p.rope_keys;
        for (uint32_t context = 2048; context <= 131072; context *= 4) {
            double growth = (double)(cache_bytes(s, 2 * context) - cache_bytes(s, context)) / context;
            CHECK(growth == sum, "%s: %g bytes a token at %u, the parts are %g", s->kv, growth, context, sum);
            double constant = (double)cache_bytes(s, context) - context * sum;
            CHECK(constant >= (double)p.sinks && constant < (double)(p.sinks + ARENA_ALIGN + MATRIX_SLACK),
                  "%s: %g bytes whatever the length, not %llu", s->kv, constant, (unsigned long long)p.sinks);
        }
    }
}

/* The figures that the design is about, by hand: codes, scales, rope keys, sinks. */
static void parts_by_hand(void) {
    static const kv_model smollm_pairs = {.layers = 4, .heads = 9, .key_dim = 96, .value_dim = 64, .rank = 128, .rope_dim = 32,
                                          .owner = {0, 0, 2, 2}, .group_bits = {4, 4, 4, 4}, .group = 32, .rope_bits = KV_Q8};
    static const kv_model small_model = {.layers = 8, .heads = 3, .key_dim = 64, .value_dim = 64, .rank = 64, .rope_dim = 16,
                                         .owner = {0, 0, 0, 3, 3, 3, 3, 3}, .group_bits = {4, 4}, .group = 32, .rope_bits = KV_Q8};
    const struct {
        struct storage storage;
        kv_parts parts;
    } cases[] = {
        {{&smollm_pairs, "clla"}, {2 * 64, 2 * (4 * 2 + 2), 2 * 32, 0}},
        {{&smollm_pairs, "rope=4,sinks=4"}, {2 * 64, 2 * (4 * 2 + 2), 2 * 16, 2 * 4 * 160 * 2}},
        {{&smollm_pairs, "min"}, {2 * 64, 2 * (4 * 4 + 2), 2 * 32, 0}},
        {{&smollm_pairs, "f32"}, {2 * 512, 0, 2 * 128, 0}},
        {{&heads_model, "f16"}, {4 * 3 * 128 * 2, 0, 0, 0}},
        {{&heads_model, "q8,sinks=2"}, {4 * 3 * 128, 4 * 3 * 4 * 2, 0, 4 * 3 * 2 * 128 * 2}},
        {{&heads_model, "q4,min"}, {4 * 3 * 64, 4 * 3 * 4 * 4, 0, 0}},
        {{&uneven_model, "q8"}, {2 * 2 * (24 + 40), 2 * 2 * 3 * 2, 0, 0}},
        {{&uneven_model, "q4"}, {2 * 2 * (16 + 32), 2 * 2 * 3 * 2, 0, 0}}, /* whole blocks: as 32 and 64 channels */
        {{&small_model, "clla"}, {2 * 32, 2 * (2 * 2 + 2), 2 * 16, 0}}, /* 108 of 6,144 bytes */
        {{&mixed_model, "clla"}, {3 * (2 * 32 + 64 + 2 * 16), 3 * (4 * 2 + 2 + 2), 3 * 16, 3 * 4 * 184 * 2}}, /* halves have a factor */
        {{&mixed_model, "min,sinks=0"}, {3 * (2 * 32 + 64 + 2 * 16), 3 * (2 * 2 + 2 * 4 + 2 + 2), 3 * 16, 0}}, /* of 4 bits alone */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kv_spec spec;
        kv_shape shape;
        const kv_parts *want = &cases[i].parts;
        CHECK(kv_spec_parse(cases[i].storage.kv, cases[i].storage.model, &spec, NULL) == CLLA_OK, "%s", cases[i].storage.kv);
        kv_shape_make(&shape, &spec, cases[i].storage.model, 100);
        kv_parts p = kv_parts_of(&spec, &shape);
        CHECK(p.codes == want->codes && p.scales == want->scales && p.rope_keys == want->rope_keys && p.sinks == want->sinks,
              "case %zu, %s: codes %g, scales %g, rope keys %g, sinks %llu", i, cases[i].storage.kv, p.codes, p.scales, p.rope_keys,
              (unsigned long long)p.sinks);
    }
}

/* SmolLM2's shape (30 layers, 69,120 bytes a token with multi-head attention in 16 bits) with latents of 128 channels and
 * rope keys of 32, by how many layers share one: the figures of the README. */
static void parts_of_a_real_shape(void) {
    const struct {
        uint32_t share;
        const char *kv;
        double bytes;
    } cases[] = {{1, "f16", 9720}, {1, "clla", 3180}, {2, "clla", 1590}, {2, "rope=4", 1350}, {3, "clla", 1060}, {3, "rope=4", 900}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kv_model m = {.layers = 30, .heads = 9, .key_dim = 96, .value_dim = 64, .rank = 128, .rope_dim = 32,
                      .group_bits = {4, 4, 4, 4}, .group = 32, .rope_bits = KV_Q8};
        for (uint32_t layer = 0; layer < 30; layer++) m.owner[layer] = (uint16_t)(layer / cases[i].share * cases[i].share);
        kv_spec spec;
        kv_shape shape;
        CHECK(kv_spec_parse(cases[i].kv, &m, &spec, NULL) == CLLA_OK, "%s", cases[i].kv);
        kv_shape_make(&shape, &spec, &m, 2048);
        kv_parts p = kv_parts_of(&spec, &shape);
        double bytes = p.codes + p.scales + p.rope_keys;
        CHECK(bytes == cases[i].bytes, "%u layers share, %s: %g bytes, not %g", cases[i].share, cases[i].kv, bytes, cases[i].bytes);
    }
}

/* ---- sessions ------------------------------------------------------------------------------------------------ */

static clla_model *load_file(const char *path) {
    clla_loader *loader;
    clla_model *model = NULL;
    clla_error error = {{0}};
    uint8_t piece[4096];
    FILE *file = fopen(path, "rb");
    CHECK(file, "%s is missing: run from the repository root", path);
    if (!file) return NULL;
    clla_status status = clla_loader_create(&(clla_model_options){.threads = 1}, &loader, &error);
    for (size_t n; status == CLLA_OK && (n = fread(piece, 1, sizeof piece, file)) > 0;)
        status = clla_loader_feed(loader, piece, n, &error);
    fclose(file);
    if (status == CLLA_OK) status = clla_loader_finish(loader, &model, &error);
    else clla_loader_free(loader);
    CHECK(status == CLLA_OK, "%s: %s", path, error.text);
    return model;
}

/* Told, taken, told again after; all three the same, for what the model takes of all these. Returns how many. */
static int check_sessions(clla_model *model, const char *name) {
    static const char *const specs[] = {
        "", "f32", "f16", "q8", "q4", "clla", "bits=4,min", "bits=4,rope=4", "bits=8,rope=16", "bits=4,group=64,sinks=9",
        "rope=8,bits=16", "width=heads", "width=heads,q8", "width=heads,q4,min,sinks=3", "width=heads,f32",
    };
    static const uint32_t contexts[] = {1, 15, 33, 200, 2048};
    int taken = 0;
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++)
        for (size_t k = 0; k < sizeof contexts / sizeof *contexts; k++) {
            clla_session_options o = {.context = contexts[k], .kv = specs[i], .chunk = 16, .logits_max = 1 + contexts[k] % 4};
            clla_session_size size;
            clla_session *session;
            clla_error error = {{0}};
            if (clla_session_bytes(model, &o, &size, &error) != CLLA_OK) {
                CHECK(clla_session_create(model, &o, &session, &error) == CLLA_BAD_KV_SPEC, "%s, %s", name, specs[i]);
                continue;
            }
            size_t before = memory_in_use();
            CHECK(clla_session_create(model, &o, &session, &error) == CLLA_OK, "%s, %s: %s", name, specs[i], error.text);
            size_t grown = memory_in_use() - before;
            CHECK(grown == size.cache + size.scratch, "%s, %s, %u tokens: told %llu bytes, took %zu", name, specs[i], contexts[k],
                  (unsigned long long)(size.cache + size.scratch), grown);
            double parts = size.codes + size.scales + size.rope_keys;
            CHECK(size.bytes_per_token == parts, "%s, %s: parts", name, specs[i]);
            clla_session_free(session);
            taken++;
        }
    return taken;
}

static void told_bytes_are_taken_bytes(void) {
    static const struct {
        const char *path;
        int least; /* sessions */
    } files[] = {
        {"models/tinystories-656k.gguf", 20},
        {"tests/vectors/clla/models/mla.gguf", 60},
        {"tests/vectors/clla/models/pairs.gguf", 60},
        {"tests/vectors/clla/models/late.gguf", 60},
        {"tests/vectors/clla/models/thirds-min.gguf", 60},
        {"tests/vectors/clla/models/bits-by-group.gguf", 50},
        {"tests/vectors/clla/models/sinks.gguf", 60},
        {"tests/vectors/clla/models/no-rope.gguf", 40},
        {"tests/vectors/clla/models/own-frequencies.gguf", 60},
        {"tests/vectors/clla/models/low-rank-query.gguf", 60},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        clla_model *model = load_file(files[i].path);
        if (!model) continue;
        int sessions = check_sessions(model, files[i].path);
        CHECK(sessions >= files[i].least, "%s: %d sessions", files[i].path, sessions);
        clla_model_free(model);
    }
    CHECK(memory_in_use() == 0, "%zu bytes left", memory_in_use());
}

int main(void) {
    RUN("kv cache: what is written is read back as it is rounded, in every kind", what_is_written_is_read_back);
    RUN("kv cache: layers that read another's row have none", readers_have_no_rows);
    RUN("kv cache: truncation leaves zeros and what was before", truncation_leaves_zeros);
    RUN("kv cache: a copy is equal and apart", copies_are_equal);
    RUN("kv cache: pieces cover what was written, once, and nothing else", pieces_cover_what_was_written);
    RUN("kv cache: the parts of a token add up to what a longer context takes more", parts_add_up_to_the_growth);
    RUN("kv cache: the parts of a token, reckoned by hand", parts_by_hand);
    RUN("kv cache: a real model's shape takes 14.1 % as MLA, 2.30 % and 1.95 % in pairs, 1.53 % and 1.30 % in threes", parts_of_a_real_shape);
    RUN("session: told bytes are taken bytes, for latents and heads in every kind", told_bytes_are_taken_bytes);
    return test_report();
}
