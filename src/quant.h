/* quant.h: the tensor types of GGUF that clla reads, and what their blocks mean.
 *
 * A type stores a row in blocks: `block` values in `bytes` bytes. Layouts are those of ggml (ggml-common.h), written
 * down in quant.c beside each unpacking function. This file is the definition; the fast forms are in kernels.h. */
#ifndef CLLA_QUANT_H
#define CLLA_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* name, ggml's number, values a block, bytes a block */
#define CLLA_TENSOR_TYPE_LIST(X)                                                                              \
    X(F32, 0, 1, 4)                                                                                           \
    X(F16, 1, 1, 2)                                                                                           \
    X(Q4_0, 2, 32, 18)                                                                                        \
    X(Q4_1, 3, 32, 20)                                                                                        \
    X(Q5_0, 6, 32, 22)                                                                                        \
    X(Q5_1, 7, 32, 24)                                                                                        \
    X(Q8_0, 8, 32, 34)                                                                                        \
    X(Q2_K, 10, 256, 84)                                                                                      \
    X(Q3_K, 11, 256, 110)                                                                                     \
    X(Q4_K, 12, 256, 144)                                                                                     \
    X(Q5_K, 13, 256, 176)                                                                                     \
    X(Q6_K, 14, 256, 210)                                                                                     \
    X(IQ4_NL, 20, 32, 18)                                                                                     \
    X(IQ4_XS, 23, 256, 136)                                                                                   \
    X(BF16, 30, 1, 2)

typedef enum tensor_type {
#define CLLA_TENSOR_TYPE_NAME(name, number, block, bytes) TENSOR_##name = number,
    CLLA_TENSOR_TYPE_LIST(CLLA_TENSOR_TYPE_NAME)
#undef CLLA_TENSOR_TYPE_NAME
} tensor_type;

typedef struct tensor_type_info {
    const char *name;
    uint32_t block, bytes;
} tensor_type_info;

/* NULL for a number that is not in the list. */
const tensor_type_info *tensor_type_find(uint32_t number);

/* The name ggml gives to a number, known here or not ("IQ2_XXS"), for messages; "type 99" style unknowns give NULL. */
const char *tensor_type_label(uint32_t number);

/* Bytes of a row of n values; n must be a multiple of the block. */
size_t tensor_row_bytes(tensor_type type, size_t n);

/* Unpack n values (a multiple of the block) of a row as the file holds it: the reference for everything else. */
void tensor_unpack(tensor_type type, const uint8_t *row, size_t n, float *values /* [n] */);

/* True when all scales of the row are finite (F32, F16, BF16: all values). */
bool tensor_row_is_finite(tensor_type type, const uint8_t *row, size_t n);

#endif
