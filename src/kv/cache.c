/* cache.c: where each row lies, and writing tokens into rows. */
#include "cache.h"

#include <string.h>

#include "../f16.h"

/* ---- shape: depth and width ---------------------------------------------------------------------------------- */

static void share_rows(kv_shape *s, const kv_model *m) {
    for (uint32_t i = 0; i < m->layers; i++)
        s->row_of[i] = m->owner[i] == i ? (uint16_t)s->rows++ : s->row_of[m->owner[i]];
}

/* The latent in stretches of channels with the same bits, then the rope key. */
static void latent_format(kv_format *f, const kv_spec *spec, const kv_model *m) {
    for (uint32_t c = 0, end; c < m->rank; c = end) {
        kv_bits bits = spec->bits;
        end = m->rank;
        if (bits == KV_MIXED) {
            bits = (kv_bits)m->group_bits[c / m->group];
            for (end = c; end < m->rank && m->group_bits[end / m->group] == bits;) end += m->group;
        }
        kv_format_add(f, end - c, bits, spec->group, spec->minimum && bits == KV_Q4);
    }
    kv_format_add(f, m->rope_dim, spec->rope_bits, KV_GROUP, false);
}

void kv_shape_make(kv_shape *s, const kv_spec *spec, const kv_model *m, uint32_t context) {
    *s = (kv_shape){.context = context, .latent = spec->width == KV_LATENT};
    if (s->latent) {
        s->heads = 1, s->key_dim = m->rank + m->rope_dim, s->value_dim = m->rank;
        share_rows(s, m);
        latent_format(&s->key, spec, m);
        return;
    }
    s->heads = m->heads, s->key_dim = m->key_dim, s->value_dim = m->value_dim;
    s->rows = m->layers;
    s->tiled = spec->bits >= KV_F16;
    for (uint32_t i = 0; i < m->layers; i++) s->row_of[i] = (uint16_t)i;
    kv_format_add(&s->key, m->key_dim, spec->bits, spec->group, spec->minimum);
    kv_format_add(&s->value, m->value_dim, spec->bits, spec->group, spec->minimum);
}

uint32_t kv_value_stride(const kv_shape *s) {
    return s->tiled ? kv_padded(s->value_dim) : (s->value_dim + COLUMN_BLOCK - 1) / COLUMN_BLOCK * COLUMN_BLOCK;
}

/* ---- sizes --------------------------------------------------------------------------------------------------- */

static size_t format_bytes(const kv_format *f, uint32_t tokens) {
    size_t bytes = 0;
    for (uint32_t i = 0; i < f->count; i++) bytes += kv_run_group_bytes(&f->runs[i]) * (tokens / MATRIX_GROUP);
    return bytes;
}

static size_t key_bytes(const kv_shape *s, kv_bits bits, uint32_t tokens) {
    return s->tiled ? kv_key_tile_bytes(bits, s->key_dim) * (tokens / KV_TILE) : format_bytes(&s->key, tokens);
}

static size_t value_bytes(const kv_shape *s, kv_bits bits, uint32_t tokens) {
    return s->tiled ? kv_value_tile_bytes(bits, s->value_dim) * (tokens / KV_TILE) : format_bytes(&s->value, tokens);
}

static size_t sink_channels(const kv_shape *s) { return s->key_dim + (s->latent ? 0 : s->value_dim); }

/* Does the last block of any run leave out channels? Then the product reads behind the last row (matrix_put_row). */
static bool has_short_blocks(const kv_format *f) {
    for (uint32_t i = 0; i < f->count; i++)
        if (f->runs[i].bits == KV_Q8 && f->runs[i].channels % COLUMN_BLOCK) return true;
    return false;
}

void kv_cache_layout(kv_cache *cache, const kv_spec *spec, const kv_shape *shape, arena *a) {
    uint32_t tokens = (shape->context / KV_TILE + (shape->context % KV_TILE != 0)) * KV_TILE;
    uint64_t before = a->used, heads = (uint64_t)shape->rows * shape->heads;
    *cache = (kv_cache){.spec = *spec, .shape = *shape, .tokens = tokens};
    cache->head_bytes = key_bytes(shape, spec->bits, KV_TILE) + value_bytes(shape, spec->bits, KV_TILE);
    cache->data = arena_take(a, heads * (tokens / KV_TILE), cache->head_bytes);
    cache->head_bytes *= tokens / KV_TILE;
    if (has_short_blocks(&shape->key) || has_short_blocks(&shape->value)) arena_take(a, MATRIX_SLACK, 1);
    cache->sinks = arena_take(a, heads * spec->sinks, sink_channels(shape) * sizeof *cache->sinks);
    cache->bytes = a->used - before;
}

/* Codes of a run beyond `split` channels of the row are a rope key's. */
static void add_run(kv_parts *p, const kv_run *run, uint32_t split, double heads) {
    double tokens = MATRIX_GROUP, codes = (double)kv_run_code_bytes(run) / tokens, all = (double)kv_run_group_bytes(run) / tokens;
    uint32_t end = run->first + run->channels, rope = end <= split ? 0 : run->first >= split ? run->channels : end - split;
    double share = codes * rope / run->channels;
    p->rope_keys += heads * share;
    p->codes += heads * (codes - share);
    p->scales += heads * (all - codes);
}

kv_parts kv_parts_of(const kv_spec *spec, const kv_shape *s) {
    kv_parts p = {0};
    double heads = (double)s->rows * s->heads, tile = KV_TILE;
    p.sinks = (uint64_t)s->rows * s->heads * spec->sinks * sink_channels(s) * sizeof(uint16_t);
    if (s->tiled) {
        p.codes = heads * (double)(key_bytes(s, spec->bits, KV_TILE) + value_bytes(s, spec->bits, KV_TILE)) / tile;
        return p;
    }
    for (uint32_t i = 0; i < s->key.count; i++) add_run(&p, &s->key.runs[i], s->latent ? s->value_dim : s->key_dim, heads);
    for (uint32_t i = 0; i < s->value.count; i++) add_run(&p, &s->value.runs[i], s->value_dim, heads);
    return p;
}

/* ---- places -------------------------------------------------------------------------------------------------- */

static uint8_t *head_start(const kv_cache *c, uint32_t row, uint32_t head) {
    return c->data + ((size_t)row * c->shape.heads + head) * c->head_bytes;
}

static uint8_t *values_start(const kv_cache *c, uint32_t row, uint32_t head) {
    return head_start(c, row, head) + key_bytes(&c->shape, c->spec.bits, c->tokens);
}

static uint8_t *key_tile(const kv_cache *c, uint32_t row, uint32_t head, uint32_t tile) {
    return head_start(c, row, head) + tile * kv_key_tile_bytes(c->spec.bits, c->shape.key_dim);
}

static uint8_t *value_tile(const kv_cache *c, uint32_t row, uint32_t head, uint32_t tile) {
    return values_start(c, row, head) + tile * kv_value_tile_bytes(c->spec.bits, c->shape.value_dim);
}

const uint8_t *kv_key_tile(const kv_cache *c, uint32_t layer, uint32_t head, uint32_t tile) {
    return key_tile(c, c->shape.row_of[layer], head, tile);
}

const uint8_t *kv_value_tile(const kv_cache *c, uint32_t layer, uint32_t head, uint32_t tile) {
    return value_tile(c, c->shape.row_of[layer], head, tile);
}

static matrix run_matrix(const kv_cache *c, const kv_format *f, uint8_t *data, uint32_t i) {
    for (uint32_t before = 0; before < i; before++)
        data += kv_run_group_bytes(&f->runs[before]) * (c->tokens / MATRIX_GROUP);
    return (matrix){kv_run_type(&f->runs[i]), c->tokens, kv_run_kept_columns(&f->runs[i]), data};
}

matrix kv_key_matrix(const kv_cache *c, uint32_t layer, uint32_t head, uint32_t i) {
    return run_matrix(c, &c->shape.key, head_start(c, c->shape.row_of[layer], head), i);
}

matrix kv_value_matrix(const kv_cache *c, uint32_t layer, uint32_t head, uint32_t i) {
    if (c->shape.latent) return kv_key_matrix(c, layer, head, i);
    return run_matrix(c, &c->shape.value, values_start(c, c->shape.row_of[layer], head), i);
}

static uint16_t *sink_start(const kv_cache *c, uint32_t row, uint32_t head, uint32_t token) {
    return c->sinks + (((size_t)row * c->shape.heads + head) * c->spec.sinks + token) * sink_channels(&c->shape);
}

const uint16_t *kv_sink_key(const kv_cache *c, uint32_t layer, uint32_t head, uint32_t token) {
    return sink_start(c, c->shape.row_of[layer], head, token);
}

const uint16_t *kv_sink_value(const kv_cache *c, uint32_t layer, uint32_t head, uint32_t token) {
    return sink_start(c, c->shape.row_of[layer], head, token) + (c->shape.latent ? 0 : c->shape.key_dim);
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

static void put_runs(const kv_cache *c, const kv_format *f, uint8_t *data, uint32_t position, const float *x) {
    uint8_t row[KV_ROW_BYTES];
    for (uint32_t i = 0; i < f->count; i++) {
        matrix m = run_matrix(c, f, data, i);
        kv_run_write(&f->runs[i], x + f->runs[i].first, row);
        matrix_put_row(&m, position, row);
    }
}

static void put_sink(uint16_t *to, const float *x, uint32_t channels) {
    kv_run_write(&(kv_run){.channels = channels, .bits = KV_F16}, x, (uint8_t *)to);
}

/* One head's key and value of one token; values is NULL for latents. */
static void write_head(kv_cache *c, uint32_t row, uint32_t head, uint32_t position, const float *key, const float *value) {
    const kv_shape *s = &c->shape;
    uint32_t tile = position / KV_TILE, slot = position % KV_TILE;
    if (s->tiled) {
        kv_write_key(c->spec.bits, key_tile(c, row, head, tile), s->key_dim, slot, key);
        kv_write_value(c->spec.bits, value_tile(c, row, head, tile), s->value_dim, slot, value);
        return;
    }
    put_runs(c, &s->key, head_start(c, row, head), position, key);
    if (!s->latent) put_runs(c, &s->value, values_start(c, row, head), position, value);
    if (position >= c->spec.sinks) return;
    put_sink(sink_start(c, row, head, position), key, s->key_dim);
    if (!s->latent) put_sink(sink_start(c, row, head, position) + s->key_dim, value, s->value_dim);
}

void kv_cache_write(kv_cache *c, uint32_t layer, uint32_t position, uint32_t n, const float *keys, const float *values) {
    const kv_shape *s = &c->shape;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t h = 0; h < s->heads; h++, keys += s->key_dim) {
            write_head(c, s->row_of[layer], h, position + i, keys, values);
            if (values) values += s->value_dim;
        }
}

/* ---- saving, forgetting, copying ----------------------------------------------------------------------------- */

/* Pieces of one head: each run of the key, each of the value; a tiled one has two pieces. */
static uint32_t pieces_of_head(const kv_shape *s) { return s->tiled ? 2 : s->key.count + s->value.count; }

static size_t head_piece(const kv_cache *c, uint32_t row, uint32_t head, uint32_t length, uint32_t i, uint8_t **piece) {
    const kv_shape *s = &c->shape;
    uint32_t tiles = (length + KV_TILE - 1) / KV_TILE;
    if (s->tiled) {
        *piece = i == 0 ? head_start(c, row, head) : values_start(c, row, head);
        return i == 0 ? key_bytes(s, c->spec.bits, tiles * KV_TILE) : value_bytes(s, c->spec.bits, tiles * KV_TILE);
    }
    bool key = i < s->key.count;
    const kv_format *f = key ? &s->key : &s->value;
    matrix m = run_matrix(c, f, key ? head_start(c, row, head) : values_start(c, row, head), key ? i : i - s->key.count);
    *piece = m.data;
    return (size_t)((length + MATRIX_GROUP - 1) / MATRIX_GROUP) * matrix_group_bytes(m.type, m.cols);
}

/* Sinks are the last piece of each head. */
size_t kv_cache_piece(const kv_cache *c, uint32_t length, uint32_t i, uint8_t **piece) {
    const kv_shape *s = &c->shape;
    uint32_t each = pieces_of_head(s) + (c->spec.sinks > 0), number = i / each, row = number / s->heads;
    if (row >= s->rows || length == 0) return 0;
    if (i % each < pieces_of_head(s)) return head_piece(c, row, number % s->heads, length, i % each, piece);
    *piece = (uint8_t *)sink_start(c, row, number % s->heads, 0);
    return sink_channels(s) * sizeof(uint16_t) * (length < c->spec.sinks ? length : c->spec.sinks);
}

/* The last tile that stays is cleared token by token, what lies behind it piece by piece. */
void kv_cache_truncate(kv_cache *c, uint32_t length, uint32_t was) {
    const kv_shape *s = &c->shape;
    float zeros[KV_CHANNELS_MAX] = {0};
    uint32_t end = (length + KV_TILE - 1) / KV_TILE * KV_TILE;
    for (uint32_t row = 0; row < s->rows; row++)
        for (uint32_t h = 0; h < s->heads; h++)
            for (uint32_t t = length; t < end && t < was; t++) write_head(c, row, h, t, zeros, zeros);
    uint8_t *piece, *kept;
    size_t size;
    for (uint32_t i = 0; (size = kv_cache_piece(c, was, i, &piece)) > 0; i++) {
        size_t stays = kv_cache_piece(c, length, i, &kept);
        memset(piece + stays, 0, size - stays);
    }
}

void kv_cache_copy(kv_cache *to, const kv_cache *from, uint32_t length) {
    uint8_t *source, *target;
    for (uint32_t i = 0;; i++) {
        size_t bytes = kv_cache_piece(from, length, i, &source);
        if (bytes == 0) return;
        kv_cache_piece(to, length, i, &target);
        memcpy(target, source, bytes);
    }
}
