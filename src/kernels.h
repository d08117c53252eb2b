/* kernels.h: weight matrices in the layout that the processor likes, and the product with activations.
 *
 * W is [rows, cols], x is [n, cols], y = x W^T is [n, rows]. Rows are packed in groups of four; in a group the four
 * rows are interleaved by four consecutive columns, so that one 16-byte vector of weights against a four-byte splat of
 * an activation gives four row sums in four lanes, without horizontal adds (see kernels.c). The same packed weights
 * serve decode (n = 1) and prefill (tiles of four tokens).
 *
 * Quantized weights meet activations that are quantized once, to int8 in blocks of 32 with their sums ("columns"); all
 * matrices that read the same activations share that. Weights of type F32, F16 and BF16 meet the activations in f32.
 *
 * Scales and F16 values must be finite (tensor_row_is_finite). Kernels cannot fail and do not allocate. Each result element
 * is computed by one call in a fixed order, so results do not depend on how rows are split among threads. The scalar and
 * SIMD128 builds agree bit for bit. */
#ifndef CLLA_KERNELS_H
#define CLLA_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quant.h"

enum { MATRIX_GROUP = 4, COLUMN_BLOCK = 32, MATRIX_SLACK = 128 };

typedef struct matrix {
    tensor_type type; /* what the file had; decides the packed layout */
    uint32_t rows, cols;
    uint8_t *data; /* matrix_bytes(type, rows, cols) bytes, 64-byte aligned */
} matrix;

/* Bytes of one packed group of four rows, and of a whole packed matrix (rows rounded up to a group). At most 4 % more
 * than the file's bytes for any type, padding of the last group apart. */
size_t matrix_group_bytes(tensor_type type, uint32_t cols);
size_t matrix_bytes(tensor_type type, uint32_t rows, uint32_t cols);

/* Pack 1 to 4 rows, given as the file holds them one behind the other, into group number `group` of m. Rows that are
 * missing (the last group) become zeros. */
void matrix_pack(matrix *m, uint32_t group, uint32_t row_count, const uint8_t *rows);

/* Replace one row, given as the file holds it; the others of its group stay. For types without super-blocks. A matrix
 * that is filled in this way starts as zeros (a cache: its rows are tokens). One of type Q8_0 may have any number of
 * columns; `from` is whole blocks all the same, and MATRIX_SLACK bytes behind the matrix are read, but not used. */
void matrix_put_row(matrix *m, uint32_t row, const uint8_t *from);

/* The values of one row (token embeddings). */
void matrix_row(const matrix *m, uint32_t row, float *values /* [cols] */);

/* Activations as a product reads them. `values` always points at the caller's f32 activations, n columns. */
typedef struct columns {
    const float *values; /* [n, cols] */
    uint32_t n, cols;
    uint8_t *packed; /* columns_bytes(): codes, scales and sums of all n columns; NULL when no matrix is quantized */
    size_t stride;   /* floats from one column to the next in `values`; 0: cols */
} columns;

/* In 64 bits, as a measure counts (arena.h). */
uint64_t columns_bytes(uint32_t n, uint32_t cols);

/* Quantize columns [begin, end) of c->values into c->packed (in any order, by any thread). cols need not be a multiple
 * of 32: the tail is padded with zeros. */
void columns_pack(const columns *c, uint32_t begin, uint32_t end);

/* y[i * stride + row] = sum_k W[row, k] x[i, k] for all i < c->n and the rows of groups [group_begin, group_end). */
void matrix_multiply(const matrix *w, const columns *c, uint32_t group_begin, uint32_t group_end, float *y,
                     size_t stride);

/* y[i * y_stride + k] += sum_row W[row, k] x[i * x_stride + row] for i < n, k < cols; row counts from the first of groups
 * [group_begin, group_end). For the types of caches: F32, F16, Q4_0, Q4_1, Q8_0; of codes, columns
 * up to a multiple of four (Q8_0) or 32 are added to y too, and x times a row's scale counts in units of max |x scale| /
 * 32767, the maximum being that of 64 rows. Rows of the last group that do not count have x = 0; x is finite. */
void matrix_multiply_transposed(const matrix *w, uint32_t group_begin, uint32_t group_end, const float *x,
                                size_t x_stride, uint32_t n, float *y, size_t y_stride);

#endif
