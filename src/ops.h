/* ops.h: the operations that a forward pass is made of, on tensors of activations.
 *
 * forward.c says what happens, in this vocabulary; ops.c says where and on how many threads. A tensor is a handle: only
 * ops look behind it. So a backend that records its work and submits it once a step can stand behind the same calls.
 * Shapes are checked (assert: a wrong one is our own mistake). Work is cut by token or by row, so that results do not
 * depend on the number of threads. */
#ifndef CLLA_OPS_H
#define CLLA_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "kernels.h"
#include "threads.h"

/* [rows, cols] activations in f32, row-major. A step uses the leading rows of a tensor: tensor_rows. */
typedef struct tensor {
    float *data;
    uint32_t rows, cols;
} tensor;

typedef struct ops {
    threads *pool;
    uint8_t *packed; /* activations as the matrices read them, for the widest tensor that is multiplied */
} ops;

/* The channels of each row from `first` on: a view, for operations that step through heads. */
tensor tensor_from(tensor t, uint32_t first);

/* Take memory for a tensor, and for multiplying tensors of up to rows x cols (heads: each one's channels rounded up to
 * whole blocks of COLUMN_BLOCK). */
tensor tensor_layout(uint32_t rows, uint32_t cols, arena *a);
void ops_layout(ops *o, threads *pool, uint32_t rows, uint32_t cols, arena *a);

tensor tensor_rows(tensor t, uint32_t rows);

/* y[i] = rows of the embedding matrix times scale. y: [n, width] */
void ops_embed(const ops *o, tensor y, const matrix *embedding, const int32_t *ids, float scale);

/* y = RMS norm of each row of x, times weight [cols]. y may be x. */
void ops_norm(const ops *o, tensor y, tensor x, const float *weight, float epsilon);

/* The same for each head of each row by itself: x: [n, heads * dim], weight [dim]. */
void ops_norm_heads(const ops *o, tensor x, uint32_t dim, const float *weight, float epsilon);

/* The same for the first `dim` channels of each row: the others stay. weight [dim]. */
void ops_norm_first(const ops *o, tensor x, uint32_t dim, const float *weight, float epsilon);

/* y = x W^T + bias for several matrices that read the same x. bias may be NULL. y: [n, w->rows] */
typedef struct product {
    tensor y;
    const matrix *w;
    const float *bias;
} product;
void ops_multiply(const ops *o, tensor x, const product *products, uint32_t count);

/* y_h = W_h x_h for each head by itself: W is [heads * rows, cols], one matrix of rows (a multiple of MATRIX_GROUP) for
 * each head. x: [n, heads * x_dim] (x_dim 0: one x for all heads), of which the first cols channels of each head are read;
 * y: [n, heads * y_dim], of which the first rows channels of each head are written. */
void ops_multiply_heads(const ops *o, tensor x, uint32_t x_dim, const matrix *w, uint32_t heads, tensor y, uint32_t y_dim);

/* y_h = W_h^T x with the first rows channels of x, the same for all heads. y: [n, heads * y_dim], first cols channels of each
 * head. */
void ops_multiply_transposed(const ops *o, tensor x, const matrix *w, uint32_t heads, tensor y, uint32_t y_dim);

/* The channels [from, from + n) of each head of x to [to, to + n) of each head of y. x_dim 0: the same for all heads. */
typedef struct head_copy {
    tensor y, x;
    uint32_t heads, y_dim, x_dim, to, from, n;
} head_copy;
void ops_copy_heads(const ops *o, const head_copy *copy);

/* Rotate every head of every row: cosine and sine are [n, half]. */
void ops_rope(const ops *o, tensor x, uint32_t dim, const float *cosine, const float *sine, uint32_t half, bool adjacent);

void ops_gate(const ops *o, tensor gate, tensor up, bool gelu); /* gate = activation(gate) * up */
void ops_add(const ops *o, tensor y, tensor x);                 /* y += x */

/* y = chosen rows of x, at[y.rows] */
void ops_pick(const ops *o, tensor y, tensor x, const uint32_t *at);

#endif
