/* attention.c: one item of attention is a block of queries against a range of tiles; see attention.h. */
#include "attention.h"

#include <math.h>
#include <string.h>

#include "../f16.h"
#include "../simd.h"
#include "../vector.h"

enum {
    COLUMNS = 32,       /* queries in work at once, where a group has no more heads than that */
    STRIP = 4 * KV_TILE, /* tokens that are weighed together */
    DIRECT_COLUMNS = 4, /* up to this many, halves are not read into floats first */
    SPAN = 512,         /* tokens of one item in decode, whole strips */
};

static uint32_t at_most(uint32_t a, uint32_t b) { return a < b ? a : b; }

static uint32_t group_of(const attention *a) { return a->scratch->heads / a->cache->shape.heads; }

/* The first position that the query at `position` sees. */
static uint32_t window_start(const attention *a, uint32_t position) {
    return a->window && position + 1 > a->window ? position + 1 - a->window : 0;
}

static uint32_t spans_of(uint32_t tokens) { return tokens / SPAN + (tokens % SPAN != 0); }

/* What one column's values are kept apart by. */
static size_t stride_of(const attention *a) { return kv_value_stride(&a->cache->shape); }

/* ---- scratch ------------------------------------------------------------------------------------------------- */

/* What one worker needs. Every pointer has room for `columns` rows. Tiles are read into keys and strip; matrices need in
 * the same place the scores of one more run, and the queries of each run packed as its product wants them. */
typedef struct work {
    float *q;       /* [columns][key_dim], scaled */
    float *scores;  /* [columns][STRIP] */
    float *values;  /* [columns][value stride] */
    float *maximum; /* [columns] */
    float *sum;     /* [columns] */
    float *strip;   /* tiles: [STRIP][value stride] */
    float *keys;    /* tiles: [key_dim][16]: one tile */
    float *more;    /* matrices: [columns][STRIP] */
    uint8_t *packed; /* matrices: each run's columns */
} work;

static size_t packed_bytes(const kv_shape *s, uint32_t count) {
    size_t bytes = 0;
    for (uint32_t i = 0; i < s->key.count; i++) bytes += (size_t)columns_bytes(count, s->key.runs[i].channels);
    return bytes;
}

/* What tiles are read into; or what products of matrices take. */
static size_t rows_floats(const kv_shape *s, size_t count) {
    if (s->tiled) return (size_t)s->key_dim * KV_TILE + STRIP * (size_t)kv_value_stride(s);
    return count * STRIP + packed_bytes(s, (uint32_t)count) / sizeof(float);
}

static size_t work_floats(const kv_shape *s, uint32_t count) {
    return count * (s->key_dim + STRIP + (size_t)kv_value_stride(s) + 2) + rows_floats(s, count);
}

static work work_of(const attention *a, uint32_t worker) {
    const kv_shape *s = &a->cache->shape;
    size_t stride = stride_of(a), count = a->scratch->columns;
    work w;
    w.keys = w.more = a->scratch->worker + worker * a->scratch->worker_floats;
    w.packed = (uint8_t *)(w.more + count * STRIP);
    w.strip = w.keys + (size_t)s->key_dim * KV_TILE;
    w.scores = w.keys + rows_floats(s, count);
    w.values = w.scores + count * STRIP;
    w.q = w.values + count * stride;
    w.maximum = w.q + count * s->key_dim;
    w.sum = w.maximum + count;
    return w;
}

void attention_layout(attention_scratch *scratch, const kv_shape *shape, uint32_t heads, uint32_t workers, arena *a) {
    uint32_t group = heads / shape->heads;
    scratch->workers = workers;
    scratch->heads = heads;
    scratch->columns = group > COLUMNS ? group : COLUMNS / group * group;
    scratch->worker_floats = (work_floats(shape, scratch->columns) + 15) / 16 * 16;
    scratch->worker = arena_take(a, (uint64_t)workers * scratch->worker_floats, sizeof(float));
    scratch->partial = arena_take(a, (uint64_t)heads * spans_of(shape->context),
                                  (2 + kv_value_stride(shape)) * sizeof(float));
}

/* ---- one strip ----------------------------------------------------------------------------------------------- */

/* Which queries, which keys: columns are (token, head of the group), token-major. */
typedef struct block {
    uint32_t head;           /* key/value head */
    uint32_t token, tokens;  /* first query of the block, counted in the call; how many */
    uint32_t first, end;     /* positions of the keys this item looks at */
} block;

/* With few columns, halves go to the panel as they are stored: reading them into floats first would cost more than it
 * saves. Coefficients are then in units of 1 / HALF_UNIT. */
static bool is_direct(const attention *a, const block *b) {
    return a->cache->shape.tiled && a->cache->spec.bits == KV_F16 && b->tokens * group_of(a) <= DIRECT_COLUMNS;
}

static uint32_t columns_of(const attention *a, const block *b) { return b->tokens * group_of(a); }

static void score_tiles(const attention *a, const block *b, const work *w, uint32_t start, uint32_t tokens) {
    uint32_t dim = a->cache->shape.key_dim;
    panel p = {.a = w->q, .a_stride = dim, .b = w->keys, .b_stride = KV_TILE, .y = w->scores, .y_stride = STRIP,
               .rows = columns_of(a, b), .n = dim};
    for (uint32_t t = 0; t < tokens; t += KV_TILE, p.y += KV_TILE) {
        const uint8_t *tile = kv_key_tile(a->cache, a->layer, b->head, (start + t) / KV_TILE);
        if (is_direct(a, b)) p.halves = (const uint16_t *)(const void *)tile;
        else kv_read_keys(a->cache->spec.bits, tile, dim, w->keys);
        vector_panel(&p);
    }
}

/* The queries of run number i, as its product takes them. */
static columns run_columns(const attention *a, const block *b, const work *w, uint32_t i) {
    const kv_shape *s = &a->cache->shape;
    uint8_t *packed = w->packed;
    for (uint32_t before = 0; before < i; before++)
        packed += columns_bytes(columns_of(a, b), s->key.runs[before].channels);
    return (columns){w->q + s->key.runs[i].first, columns_of(a, b), s->key.runs[i].channels, packed, s->key_dim};
}

/* Rows [start, start + tokens) of a matrix, which begin and end with a group. */
static matrix rows_of(matrix m, uint32_t start, uint32_t tokens) {
    m.data += start / MATRIX_GROUP * matrix_group_bytes(m.type, m.cols);
    m.rows = tokens;
    return m;
}

/* Scores are products of a matrix whose rows are tokens with the queries, one for each run of channels. */
static void score_matrices(const attention *a, const block *b, const work *w, uint32_t start, uint32_t tokens) {
    for (uint32_t i = 0; i < a->cache->shape.key.count; i++) {
        matrix m = rows_of(kv_key_matrix(a->cache, a->layer, b->head, i), start, tokens);
        columns q = run_columns(a, b, w, i);
        matrix_multiply(&m, &q, 0, tokens / MATRIX_GROUP, i ? w->more : w->scores, STRIP);
        for (uint32_t c = 0; c < q.n && i; c++) vector_add(w->scores + c * STRIP, w->more + c * STRIP, tokens);
    }
}

/* The first tokens may be there in 16 bits: their scores anew. */
static void score_sinks(const attention *a, const block *b, const work *w, uint32_t start, uint32_t tokens) {
    uint32_t dim = a->cache->shape.key_dim;
    for (uint32_t t = start; t < start + tokens && t < a->cache->spec.sinks; t++) {
        const uint16_t *key = kv_sink_key(a->cache, a->layer, b->head, t);
        for (uint32_t c = 0; c < columns_of(a, b); c++)
            w->scores[c * STRIP + t - start] = vector_dot_halves(w->q + (size_t)c * dim, key, dim);
    }
}

static void score_strip(const attention *a, const block *b, const work *w, uint32_t start, uint32_t tokens) {
    if (a->cache->shape.tiled) score_tiles(a, b, w, start, tokens);
    else score_matrices(a, b, w, start, tokens);
    score_sinks(a, b, w, start, tokens);
}

/* One column's scores become weights: exp(score - maximum), 0 for keys that the query does not see. */
static void weigh(const work *w, uint32_t column, uint32_t stride, uint32_t tokens, uint32_t first, uint32_t end) {
    float *s = w->scores + column * STRIP, *maximum = w->maximum + column;
    if (first >= end) {
        memset(s, 0, STRIP * sizeof *s);
        return;
    }
    float highest = vector_max(s, first, end);
    if (highest > *maximum) {
        float shrink = vector_exp(*maximum - highest);
        w->sum[column] *= shrink;
        vector_scale(w->values + (size_t)column * stride, shrink, stride);
        *maximum = highest;
    }
    w->sum[column] += vector_exp_sum(s, tokens, *maximum, first, end);
}

/* The part [*first, *end) of a strip of keys that the query at `position` sees. */
static void visible(const attention *a, const block *b, uint32_t position, uint32_t start, uint32_t *first,
                    uint32_t *end) {
    uint32_t low = window_start(a, position);
    uint32_t high = position + 1;
    if (low < b->first) low = b->first;
    if (high > b->end) high = b->end;
    *first = low > start ? at_most(low - start, STRIP) : 0;
    *end = high > start ? at_most(high - start, STRIP) : 0;
}

/* The values of a strip as halves: tiles of one head lie one behind the other, so their tokens do. */
static const uint16_t *strip_halves(const attention *a, const block *b, uint32_t start) {
    return (const uint16_t *)(const void *)kv_value_tile(a->cache, a->layer, b->head, start / KV_TILE);
}

static void read_tiles(const attention *a, const block *b, float *strip, uint32_t start, uint32_t tokens) {
    uint32_t dim = a->cache->shape.value_dim;
    for (uint32_t t = 0; t < tokens; t += KV_TILE)
        kv_read_values(a->cache->spec.bits, kv_value_tile(a->cache, a->layer, b->head, (start + t) / KV_TILE), dim,
                       strip + (size_t)t * kv_padded(dim));
}

static void add_tiles(const attention *a, const block *b, const work *w, uint32_t start, uint32_t tokens) {
    size_t stride = stride_of(a);
    uint32_t count = columns_of(a, b);
    const uint16_t *halves = is_direct(a, b) ? strip_halves(a, b, start) : NULL;
    if (halves) vector_scale(w->scores, 1 / HALF_UNIT, count * STRIP);
    else read_tiles(a, b, w->strip, start, tokens);
    for (uint32_t d = 0; d < stride; d += PANEL)
        vector_panel(&(panel){.a = w->scores, .a_stride = STRIP, .b = w->strip + d, .halves = halves ? halves + d : NULL,
                              .b_stride = stride, .y = w->values + d, .y_stride = stride, .rows = count, .n = tokens,
                              .add = true});
}

/* The first tokens may be there in 16 bits: they are added from there, and not again from their codes. */
static void add_sinks(const attention *a, const block *b, const work *w, uint32_t start, uint32_t tokens) {
    size_t stride = stride_of(a);
    for (uint32_t t = start; t < start + tokens && t < a->cache->spec.sinks; t++) {
        const uint16_t *value = kv_sink_value(a->cache, a->layer, b->head, t);
        for (uint32_t c = 0; c < columns_of(a, b); c++) {
            float *weight = w->scores + c * STRIP + t - start;
            vector_add_halves(w->values + c * stride, value, *weight, a->cache->shape.value_dim);
            *weight = 0;
        }
    }
}

/* Weighted sums are products with the transpose of a matrix whose rows are tokens. A latent's values are the first
 * channels of its row. */
static void add_matrices(const attention *a, const block *b, const work *w, uint32_t start, uint32_t tokens) {
    const kv_shape *s = &a->cache->shape;
    const kv_format *f = s->latent ? &s->key : &s->value;
    add_sinks(a, b, w, start, tokens);
    for (uint32_t i = 0; i < f->count && f->runs[i].first < s->value_dim; i++) {
        matrix m = kv_value_matrix(a->cache, a->layer, b->head, i);
        matrix_multiply_transposed(&m, start / MATRIX_GROUP, (start + tokens + MATRIX_GROUP - 1) / MATRIX_GROUP, w->scores,
                                   STRIP, columns_of(a, b), w->values + f->runs[i].first, stride_of(a));
    }
}

static void add_values(const attention *a, const block *b, const work *w, uint32_t start, uint32_t tokens) {
    if (a->cache->shape.tiled) add_tiles(a, b, w, start, tokens);
    else add_matrices(a, b, w, start, tokens);
}

static void attend_strip(const attention *a, const block *b, const work *w, uint32_t start) {
    uint32_t group = group_of(a), stride = (uint32_t)stride_of(a), first, end;
    uint32_t tokens = at_most(b->end - start, STRIP), whole = (tokens + KV_TILE - 1) / KV_TILE * KV_TILE;
    score_strip(a, b, w, start, whole);
    for (uint32_t c = 0; c < b->tokens * group; c++) {
        visible(a, b, a->position + b->token + c / group, start, &first, &end);
        weigh(w, c, stride, whole, first, end);
    }
    add_values(a, b, w, start, tokens);
}

/* ---- one block ----------------------------------------------------------------------------------------------- */

static void begin_block(const attention *a, const block *b, const work *w) {
    const kv_shape *s = &a->cache->shape;
    uint32_t group = group_of(a), count = b->tokens * group, dim = s->key_dim;
    for (uint32_t c = 0; c < count; c++) {
        size_t head = (size_t)(b->token + c / group) * a->scratch->heads + b->head * group + c % group;
        memcpy(w->q + (size_t)c * dim, a->q + head * dim, dim * sizeof *w->q);
        w->maximum[c] = -INFINITY;
        w->sum[c] = 0;
    }
    vector_scale(w->q, a->scale, count * dim);
    if (is_direct(a, b)) vector_scale(w->q, 1 / HALF_UNIT, count * dim);
    memset(w->values, 0, count * stride_of(a) * sizeof *w->values);
    for (uint32_t i = 0; i < s->key.count && !s->tiled; i++) {
        columns q = run_columns(a, b, w, i);
        if (s->key.runs[i].bits < KV_F16) columns_pack(&q, 0, q.n);
    }
}

static void attend_block(const attention *a, const block *b, const work *w) {
    begin_block(a, b, w);
    for (uint32_t start = b->first / STRIP * STRIP; start < b->end; start += STRIP) attend_strip(a, b, w, start);
}

/* ---- prefill: items are blocks of queries -------------------------------------------------------------------- */

static uint32_t block_tokens(const attention *a) { return a->scratch->columns / group_of(a); }

static void finish_block(const attention *a, const block *b, const work *w) {
    uint32_t group = group_of(a), dim = a->cache->shape.value_dim;
    for (uint32_t c = 0; c < b->tokens * group; c++) {
        size_t head = (size_t)(b->token + c / group) * a->scratch->heads + b->head * group + c % group;
        float *out = a->out + head * dim;
        memcpy(out, w->values + c * stride_of(a), dim * sizeof *out);
        vector_scale(out, 1.0f / w->sum[c], dim);
    }
}

static void prefill_items(void *context, uint32_t begin, uint32_t end, uint32_t worker) {
    const attention *a = context;
    work w = work_of(a, worker);
    uint32_t size = block_tokens(a);
    for (uint32_t i = begin; i < end; i++) {
        block b = {.head = i % a->cache->shape.heads, .token = i / a->cache->shape.heads * size};
        b.tokens = at_most(size, a->n - b.token);
        uint32_t position = a->position + b.token;
        b.first = window_start(a, position);
        b.end = position + b.tokens;
        attend_block(a, &b, &w);
        finish_block(a, &b, &w);
    }
}

/* ---- decode: items are spans of the timeline ----------------------------------------------------------------- */

static size_t partial_floats(const attention *a) { return 2 + stride_of(a); }

static void decode_items(void *context, uint32_t begin, uint32_t end, uint32_t worker) {
    const attention *a = context;
    work w = work_of(a, worker);
    uint32_t group = group_of(a), heads = a->cache->shape.heads, start = window_start(a, a->position) / SPAN;
    size_t row = partial_floats(a);
    for (uint32_t i = begin; i < end; i++) {
        uint32_t span = start + i / heads;
        block b = {.head = i % heads, .tokens = 1, .first = span * SPAN};
        if (b.first < window_start(a, a->position)) b.first = window_start(a, a->position);
        b.end = at_most((span + 1) * SPAN, a->position + 1);
        attend_block(a, &b, &w);
        float *to = a->scratch->partial + (size_t)i * group * row;
        for (uint32_t c = 0; c < group; c++, to += row) {
            to[0] = w.maximum[c], to[1] = w.sum[c];
            memcpy(to + 2, w.values + c * (row - 2), (row - 2) * sizeof *to);
        }
    }
}

/* One head's spans, in order: rescale each to the common maximum, add, divide by the common sum. */
static void merge_head(const attention *a, uint32_t head, uint32_t spans) {
    uint32_t group = group_of(a), heads = a->cache->shape.heads, dim = a->cache->shape.value_dim;
    size_t row = partial_floats(a);
    float *out = a->out + (size_t)head * dim, maximum = -INFINITY, sum = 0;
    const float *first = a->scratch->partial + ((size_t)(head / group) * group + head % group) * row;
    for (uint32_t i = 0; i < spans; i++) {
        float m = first[(size_t)i * heads * group * row];
        maximum = m > maximum ? m : maximum;
    }
    memset(out, 0, dim * sizeof *out);
    for (uint32_t i = 0; i < spans; i++) {
        const float *p = first + (size_t)i * heads * group * row;
        float weight = vector_exp(p[0] - maximum);
        sum += p[1] * weight;
        for (uint32_t d = 0; d < dim; d++) out[d] += p[2 + d] * weight;
    }
    vector_scale(out, 1.0f / sum, dim);
}

void attention_run(attention *a, threads *pool) {
    uint32_t heads = a->cache->shape.heads, size = block_tokens(a);
    if (a->n > 1) {
        threads_run(pool, (a->n + size - 1) / size * heads, 1, prefill_items, a);
        return;
    }
    uint32_t spans = spans_of(a->position + 1) - window_start(a, a->position) / SPAN;
    threads_run(pool, spans * heads, 1, decode_items, a);
    for (uint32_t head = 0; head < a->scratch->heads; head++) merge_head(a, head, spans);
}
