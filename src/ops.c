/* ops.c: the operations on the processor: each one a loop over tokens or over rows of weights, given to the pool. */
#include "ops.h"

#include <assert.h>
#include <string.h>

#include "vector.h"

tensor tensor_layout(uint32_t rows, uint32_t cols, arena *a) {
    return (tensor){arena_take(a, (uint64_t)rows * cols, sizeof(float)), rows, cols};
}

void ops_layout(ops *o, threads *pool, uint32_t rows, uint32_t cols, arena *a) {
    *o = (ops){pool, arena_take(a, columns_bytes(rows, cols), 1)};
}

tensor tensor_rows(tensor t, uint32_t rows) {
    assert(rows <= t.rows);
    t.rows = rows;
    return t;
}

tensor tensor_from(tensor t, uint32_t first) {
    t.data += first;
    return t;
}

static float *row_of(tensor t, uint32_t row) { return t.data + (size_t)row * t.cols; }

/* ---- token by token ------------------------------------------------------------------------------------------ */

typedef struct embed_loop {
    tensor y;
    const matrix *embedding;
    const int32_t *ids;
    float scale;
} embed_loop;

static void embed_tokens(void *context, uint32_t begin, uint32_t end, uint32_t worker) {
    const embed_loop *l = context;
    (void)worker;
    for (uint32_t i = begin; i < end; i++) {
        matrix_row(l->embedding, (uint32_t)l->ids[i], row_of(l->y, i));
        if (l->scale != 1.0f) vector_scale(row_of(l->y, i), l->scale, l->y.cols);
    }
}

void ops_embed(const ops *o, tensor y, const matrix *embedding, const int32_t *ids, float scale) {
    assert(y.cols == embedding->cols);
    embed_loop l = {y, embedding, ids, scale};
    threads_run(o->pool, y.rows, 1, embed_tokens, &l);
}

typedef struct norm_loop {
    tensor y, x;
    const float *weight;
    float epsilon;
    uint32_t dim, end; /* heads of dim channels, up to channel `end` */
} norm_loop;

static void norm_tokens(void *context, uint32_t begin, uint32_t end, uint32_t worker) {
    const norm_loop *l = context;
    (void)worker;
    for (uint32_t i = begin; i < end; i++)
        for (uint32_t c = 0; c < l->end; c += l->dim)
            vector_norm(row_of(l->x, i) + c, l->weight, l->dim, l->epsilon, row_of(l->y, i) + c);
}

void ops_norm(const ops *o, tensor y, tensor x, const float *weight, float epsilon) {
    assert(y.rows == x.rows && y.cols == x.cols);
    norm_loop l = {y, x, weight, epsilon, x.cols, x.cols};
    threads_run(o->pool, x.rows, 4, norm_tokens, &l);
}

void ops_norm_heads(const ops *o, tensor x, uint32_t dim, const float *weight, float epsilon) {
    assert(x.cols % dim == 0);
    norm_loop l = {x, x, weight, epsilon, dim, x.cols};
    threads_run(o->pool, x.rows, 4, norm_tokens, &l);
}

void ops_norm_first(const ops *o, tensor x, uint32_t dim, const float *weight, float epsilon) {
    assert(dim <= x.cols);
    norm_loop l = {x, x, weight, epsilon, dim, dim};
    threads_run(o->pool, x.rows, 4, norm_tokens, &l);
}

typedef struct rope_loop {
    tensor x;
    const float *cosine, *sine;
    uint32_t dim, half;
    bool adjacent;
} rope_loop;

static void rope_tokens(void *context, uint32_t begin, uint32_t end, uint32_t worker) {
    const rope_loop *l = context;
    (void)worker;
    for (uint32_t i = begin; i < end; i++)
        for (uint32_t c = 0; c < l->x.cols; c += l->dim)
            vector_rope(row_of(l->x, i) + c, l->half, l->cosine + (size_t)i * l->half, l->sine + (size_t)i * l->half,
                        l->adjacent);
}

void ops_rope(const ops *o, tensor x, uint32_t dim, const float *cosine, const float *sine, uint32_t half,
              bool adjacent) {
    assert(x.cols % dim == 0 && 2 * half <= dim);
    rope_loop l = {x, cosine, sine, dim, half, adjacent};
    threads_run(o->pool, x.rows, 4, rope_tokens, &l);
}

typedef struct pair_loop {
    tensor y, x;
    void (*function)(float *y, const float *x, uint32_t n);
} pair_loop;

static void pair_tokens(void *context, uint32_t begin, uint32_t end, uint32_t worker) {
    const pair_loop *l = context;
    (void)worker;
    for (uint32_t i = begin; i < end; i++) l->function(row_of(l->y, i), row_of(l->x, i), l->x.cols);
}

static void run_pairs(const ops *o, tensor y, tensor x, void (*function)(float *, const float *, uint32_t)) {
    assert(y.rows == x.rows && y.cols == x.cols);
    pair_loop l = {y, x, function};
    threads_run(o->pool, x.rows, 4, pair_tokens, &l);
}

void ops_gate(const ops *o, tensor gate, tensor up, bool gelu) {
    run_pairs(o, gate, up, gelu ? vector_gelu_gate : vector_silu_gate);
}

void ops_add(const ops *o, tensor y, tensor x) { run_pairs(o, y, x, vector_add); }

static void copy_tokens(void *context, uint32_t begin, uint32_t end, uint32_t worker) {
    const head_copy *c = context;
    (void)worker;
    for (uint32_t i = begin; i < end; i++)
        for (uint32_t h = 0; h < c->heads; h++)
            memcpy(row_of(c->y, i) + (size_t)h * c->y_dim + c->to, row_of(c->x, i) + (size_t)h * c->x_dim + c->from,
                   c->n * sizeof(float));
}

void ops_copy_heads(const ops *o, const head_copy *copy) {
    head_copy c = *copy;
    assert(c.y.rows == c.x.rows && c.to + c.n <= c.y_dim && c.heads * c.y_dim <= c.y.cols);
    threads_run(o->pool, c.x.rows, 4, copy_tokens, &c);
}

void ops_pick(const ops *o, tensor y, tensor x, const uint32_t *at) {
    (void)o;
    assert(y.cols == x.cols);
    for (uint32_t i = 0; i < y.rows; i++) memcpy(row_of(y, i), row_of(x, at[i]), x.cols * sizeof(float));
}

/* ---- products ------------------------------------------------------------------------------------------------ */

static void pack_columns(void *context, uint32_t begin, uint32_t end, uint32_t worker) {
    (void)worker;
    columns_pack(context, begin, end);
}

/* The groups of four rows of all products stand in one row of items, so that one loop serves them all. */
typedef struct multiply_loop {
    const columns *x;
    const product *products;
    uint32_t count;
} multiply_loop;

static uint32_t groups_of(const product *p) { return (p->w->rows + MATRIX_GROUP - 1) / MATRIX_GROUP; }

static void add_bias(const product *p, uint32_t group, uint32_t group_end) {
    uint32_t first = group * MATRIX_GROUP, end = group_end * MATRIX_GROUP;
    if (end > p->w->rows) end = p->w->rows;
    for (uint32_t i = 0; i < p->y.rows; i++) vector_add(row_of(p->y, i) + first, p->bias + first, end - first);
}

static void multiply_groups(void *context, uint32_t begin, uint32_t end, uint32_t worker) {
    const multiply_loop *l = context;
    uint32_t start = 0; /* the item that is group 0 of product i */
    (void)worker;
    for (uint32_t i = 0; i < l->count; start += groups_of(&l->products[i++])) {
        const product *p = &l->products[i];
        uint32_t first = begin > start ? begin - start : 0, last = end > start ? end - start : 0;
        if (last > groups_of(p)) last = groups_of(p);
        if (first >= last) continue;
        matrix_multiply(p->w, l->x, first, last, p->y.data, p->y.cols);
        if (p->bias) add_bias(p, first, last);
    }
}

/* Pieces of weights: at most so many bytes, to stay in the cache over all columns, and at least some pieces for each
 * thread, to share evenly. Even numbers of groups: the kernels take two side by side. */
enum { PIECE_BYTES = 64 * 1024, PIECES_A_THREAD = 8, PIECE_GROUPS = 4 };

static uint32_t grain_of(const ops *o, const matrix *w, uint32_t groups) {
    uint32_t fits = (uint32_t)(PIECE_BYTES / matrix_group_bytes(w->type, w->cols));
    uint32_t shares = groups / (PIECES_A_THREAD * threads_count(o->pool));
    uint32_t grain = fits < shares ? fits : shares;
    return grain < PIECE_GROUPS ? PIECE_GROUPS : grain & ~1u;
}

void ops_multiply(const ops *o, tensor x, const product *products, uint32_t count) {
    columns c = {x.data, x.rows, x.cols, o->packed, 0};
    threads_run(o->pool, x.rows, 4, pack_columns, &c);
    uint32_t groups = 0;
    for (uint32_t i = 0; i < count; i++) {
        assert(products[i].w->cols == x.cols && products[i].y.cols == products[i].w->rows &&
               products[i].y.rows == x.rows);
        groups += groups_of(&products[i]);
    }
    multiply_loop l = {&c, products, count};
    threads_run(o->pool, groups, grain_of(o, products[0].w, groups), multiply_groups, &l);
}

/* ---- products head by head ----------------------------------------------------------------------------------- */

enum { TRANSPOSED_COLS = 4096 };

typedef struct heads_loop {
    const ops *o;
    tensor x, y;
    const matrix *w;
    uint32_t heads, x_dim, y_dim;
} heads_loop;

static columns head_columns(const heads_loop *l, uint32_t head) {
    uint8_t *packed = l->o->packed + head * columns_bytes(l->x.rows, l->w->cols);
    return (columns){l->x.data + (size_t)head * l->x_dim, l->x.rows, l->w->cols, packed, l->x.cols};
}

static void multiply_one_head(void *context, uint32_t begin, uint32_t end, uint32_t worker) {
    const heads_loop *l = context;
    uint32_t rows = l->w->rows / l->heads, groups = rows / MATRIX_GROUP;
    (void)worker;
    for (uint32_t h = begin; h < end; h++) {
        columns c = head_columns(l, h);
        matrix w = {l->w->type, rows, l->w->cols, l->w->data + h * groups * matrix_group_bytes(l->w->type, l->w->cols)};
        columns_pack(&c, 0, c.n);
        matrix_multiply(&w, &c, 0, groups, l->y.data + (size_t)h * l->y_dim, l->y.cols);
    }
}

void ops_multiply_heads(const ops *o, tensor x, uint32_t x_dim, const matrix *w, uint32_t heads, tensor y, uint32_t y_dim) {
    assert(x.rows == y.rows && heads * y_dim == y.cols && w->cols <= (x_dim ? x_dim : x.cols));
    assert(x_dim == 0 || heads * x_dim == x.cols);
    assert(w->rows % heads == 0 && w->rows / heads % MATRIX_GROUP == 0 && w->rows / heads <= y_dim);
    heads_loop l = {o, x, y, w, heads, x_dim, y_dim};
    threads_run(o->pool, heads, 1, multiply_one_head, &l);
}

static void multiply_one_transposed(void *context, uint32_t begin, uint32_t end, uint32_t worker) {
    const heads_loop *l = context;
    uint32_t rows = l->w->rows / l->heads, cols = l->w->cols;
    float row[TRANSPOSED_COLS];
    (void)worker;
    for (uint32_t h = begin; h < end; h++)
        for (uint32_t r = 0; r < rows; r++) {
            matrix_row(l->w, h * rows + r, row);
            for (uint32_t i = 0; i < l->x.rows; i++) {
                float *y = row_of(l->y, i) + (size_t)h * l->y_dim;
                if (r == 0) memset(y, 0, cols * sizeof *y);
                vector_add_scaled(y, row, row_of(l->x, i)[r], cols);
            }
        }
}

void ops_multiply_transposed(const ops *o, tensor x, const matrix *w, uint32_t heads, tensor y, uint32_t y_dim) {
    assert(x.rows == y.rows && w->rows % heads == 0 && w->rows / heads <= x.cols && heads * y_dim == y.cols);
    assert(w->cols <= y_dim && w->cols <= TRANSPOSED_COLS);
    heads_loop l = {o, x, y, w, heads, 0, y_dim};
    threads_run(o->pool, heads, 1, multiply_one_transposed, &l);
}
