/* kernels_multiply.h: what kernels.c asks of the multiply kernels. For kernels*.c only. */
#ifndef CLLA_KERNELS_MULTIPLY_H
#define CLLA_KERNELS_MULTIPLY_H

#include "kernels.h"

/* Some groups of a matrix against one tile of activations. */
typedef struct multiply_job {
    const uint8_t *group; /* the first group */
    size_t group_bytes;
    uint32_t groups, rows;    /* rows of the matrix from the first group on: the last group may be partial */
    uint32_t blocks, columns; /* of 32 in a row; tokens in use */
    size_t code_bytes;        /* of a group: its scales lie behind */
    const uint8_t *tile, *last; /* the tile of a single token behind it, for five */
    float *y; /* [columns, stride], from the first group's first row */
    size_t stride;
} multiply_job;

typedef void multiply_kernel(const multiply_job *job);

/* Two kernels a type: for a tile with one token, and for a tile of TILE tokens. Same order of operations in both. */
#define KERNEL(name, form, parts, super, minimum, offset) multiply_kernel multiply_##name##_one, multiply_##name##_tile;
#include "kernels.inc"
#undef KERNEL

/* For the types of caches a third, of a tile and a single token behind it: nine heads are four and five. A pass over
 * the codes for one token would cost two thirds of a tile's. */
#define KERNEL(name, form, parts, super, minimum, offset)
#define CACHED(name, form, parts, super, minimum, offset) multiply_kernel multiply_##name##_five;
#include "kernels.inc"
#undef KERNEL

/* F32, F16 and BF16, against c->values. */
void multiply_float(const matrix *w, const columns *c, multiply_job job);

#endif
