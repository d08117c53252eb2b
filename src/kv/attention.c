/* attention.c: one item of attention is a block of queries against a range of tiles; see attention.h. */
#include "attention.h"

#include <math.h>
#include <string.h>

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

/* ---- scratch ------------------------------------------------------------------------------------------------- */

/* What one worker needs. Every pointer has room for `columns` rows. */
typedef struct work {
    float *q;       /* [columns][key_dim], scaled */
    float *scores;  /* [columns][STRIP] */
    float *values;  /* [columns][padded value_dim] */
    float *maximum; /* [columns] */
    float *sum;     /* [columns] */
    float *keys;    /* [key_dim][16]: one tile */
    float *strip;   /* [STRIP][padded value_dim] */
} work;

static size_t work_floats(const kv_shape *s, uint32_t columns) {
    size_t padded = kv_padded(s->value_dim);
    return columns * (s->key_dim + STRIP + padded + 2) + (size_t)s->key_dim * KV_TILE + STRIP * padded;
}

static work work_of(const attention *a, uint32_t worker) {
    const kv_shape *s = &a->cache->shape;
    size_t padded = kv_padded(s->value_dim), columns = a->scratch->columns;
    work w;
    w.keys = a->scratch->worker + worker * a->scratch->worker_floats;
    w.strip = w.keys + (size_t)s->key_dim * KV_TILE;
    w.scores = w.strip + STRIP * padded;
    w.values = w.scores + columns * STRIP;
    w.q = w.values + columns * padded;
    w.maximum = w.q + columns * s->key_dim;
    w.sum = w.maximum + columns;
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
                                  (2 + kv_padded(shape->value_dim)) * sizeof(float));
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
    return a->cache->spec.bits == KV_F16 && b->tokens * group_of(a) <= DIRECT_COLUMNS;
}

static void score_strip(const attention *a, const block *b, const work *w, uint32_t start, uint32_t tokens) {
    uint32_t dim = a->cache->shape.key_dim;
    panel p = {.a = w->q, .a_stride = dim, .b = w->keys, .b_stride = KV_TILE, .y = w->scores, .y_stride = STRIP,
               .rows = b->tokens * group_of(a), .n = dim};
    for (uint32_t t = 0; t < tokens; t += KV_TILE, p.y += KV_TILE) {
        const uint8_t *tile = kv_key_tile(a->cache, a->layer, b->head, (start + t) / KV_TILE);
        if (is_direct(a, b)) p.halves = (const uint16_t *)(const void *)tile;
        else kv_read_keys(a->cache->spec.bits, tile, dim, w->keys);
        vector_panel(&p);
    }
}

/* One column's scores become weights: exp(score - maximum), 0 for keys that the query does not see. */
static void weigh(const work *w, uint32_t column, uint32_t padded, uint32_t tokens, uint32_t first, uint32_t end) {
    float *s = w->scores + column * STRIP, *maximum = w->maximum + column;
    if (first >= end) {
        memset(s, 0, STRIP * sizeof *s);
        return;
    }
    float highest = vector_max(s, first, end);
    if (highest > *maximum) {
        float shrink = vector_exp(*maximum - highest);
        w->sum[column] *= shrink;
        vector_scale(w->values + (size_t)column * padded, shrink, padded);
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

static void read_strip(const attention *a, const block *b, const work *w, uint32_t start, uint32_t tokens) {
    uint32_t dim = a->cache->shape.value_dim;
    for (uint32_t t = 0; t < tokens; t += KV_TILE)
        kv_read_values(a->cache->spec.bits, kv_value_tile(a->cache, a->layer, b->head, (start + t) / KV_TILE), dim,
                       w->strip + (size_t)t * kv_padded(dim));
}

static void add_values(const attention *a, const block *b, const work *w, uint32_t start, uint32_t tokens) {
    uint32_t padded = kv_padded(a->cache->shape.value_dim), columns = b->tokens * group_of(a);
    const uint16_t *halves = is_direct(a, b) ? strip_halves(a, b, start) : NULL;
    if (halves) vector_scale(w->scores, 1 / HALF_UNIT, columns * STRIP);
    else read_strip(a, b, w, start, tokens);
    for (uint32_t d = 0; d < padded; d += PANEL)
        vector_panel(&(panel){.a = w->scores, .a_stride = STRIP, .b = w->strip + d, .halves = halves ? halves + d : NULL,
                              .b_stride = padded, .y = w->values + d, .y_stride = padded, .rows = columns, .n = tokens,
                              .add = true});
}

static void attend_strip(const attention *a, const block *b, const work *w, uint32_t start) {
    uint32_t group = group_of(a), padded = kv_padded(a->cache->shape.value_dim), first, end;
    uint32_t tokens = at_most(b->end - start, STRIP), whole = (tokens + KV_TILE - 1) / KV_TILE * KV_TILE;
    score_strip(a, b, w, start, whole);
    for (uint32_t c = 0; c < b->tokens * group; c++) {
        visible(a, b, a->position + b->token + c / group, start, &first, &end);
        weigh(w, c, padded, whole, first, end);
    }
    add_values(a, b, w, start, tokens);
}

/* ---- one block ----------------------------------------------------------------------------------------------- */

static void begin_block(const attention *a, const block *b, const work *w) {
    const kv_shape *s = &a->cache->shape;
    uint32_t group = group_of(a), columns = b->tokens * group, dim = s->key_dim;
    for (uint32_t c = 0; c < columns; c++) {
        size_t head = (size_t)(b->token + c / group) * a->scratch->heads + b->head * group + c % group;
        memcpy(w->q + (size_t)c * dim, a->q + head * dim, dim * sizeof *w->q);
        w->maximum[c] = -INFINITY;
        w->sum[c] = 0;
    }
    vector_scale(w->q, a->scale, columns * dim);
    if (is_direct(a, b)) vector_scale(w->q, 1 / HALF_UNIT, columns * dim);
    memset(w->values, 0, (size_t)columns * kv_padded(s->value_dim) * sizeof *w->values);
}

static void attend_block(const attention *a, const block *b, const work *w) {
    begin_block(a, b, w);
    for (uint32_t start = b->first / STRIP * STRIP; start < b->end; start += STRIP) attend_strip(a, b, w, start);
}

/* ---- prefill: items are blocks of queries -------------------------------------------------------------------- */

static uint32_t block_tokens(const attention *a) { return a->scratch->columns / group_of(a); }

static void finish_block(const attention *a, const block *b, const work *w) {
    uint32_t group = group_of(a), dim = a->cache->shape.value_dim, padded = kv_padded(dim);
    for (uint32_t c = 0; c < b->tokens * group; c++) {
        size_t head = (size_t)(b->token + c / group) * a->scratch->heads + b->head * group + c % group;
        float *out = a->out + head * dim;
        memcpy(out, w->values + (size_t)c * padded, dim * sizeof *out);
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

static size_t partial_floats(const attention *a) { return 2 + kv_padded(a->cache->shape.value_dim); }

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
