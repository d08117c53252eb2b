/* kernels_layout.h: how packed weights and packed activations lie in memory. For kernels*.c only.
 *
 * Weights. A group is four rows. Columns come in blocks of 32, a block in eight steps of four columns. A vector of
 * 16 bytes, byte 4 * row + k, belongs to one step; codes of fewer than eight bits share vectors ("planes"):
 *
 *     four-bit plane   4 vectors: vector j has step j in the low nibbles and step j + 4 in the high ones
 *     two-bit plane    2 vectors: vector j has steps 4 j .. 4 j + 3, from the low bits up
 *     one-bit plane    1 vector: bit s of each byte belongs to step s
 *     bytes            8 vectors
 *
 * A code of 3, 5 or 6 bits is a plane of its low two or four bits followed by a plane of the rest.
 * A group is first the codes of all its blocks, then its scales: for each super-block (1 or 8 blocks) four halves d,
 * four halves m where there are minima; then, if it has 8 blocks, for each part four signed bytes and, with
 * MINIMUM_BYTE, four unsigned ones. MINIMUM_NIBBLE keeps scale and minimum in the nibbles of one byte.
 * A value is d * part * (code - offset) + m, or ... - m * minimum where the parts have minima.
 *
 * Bytes that fill no whole block leave out the last steps (Q8_0 matrices of a cache). The product reads them all the same,
 * whatever stands there, against activations that are 0.
 *
 * The float types keep, for every column, the four rows' values one behind the other. A group of F16 ends with a float
 * that its values are to be multiplied by.
 *
 * Activations. Columns of x (tokens) come in tiles of TILE; the last tile may be narrower (tile_width). For each block
 * of 32 a tile holds, for each step, the four codes of each token; then a float for each token: the scale; scale
 * times the sum of the codes; the same for the first and for the last 16 codes. */
#ifndef CLLA_KERNELS_LAYOUT_H
#define CLLA_KERNELS_LAYOUT_H

#include "kernels.h"
#include "simd.h"

enum { TILE = 4, STEPS = COLUMN_BLOCK / 4, SUPER_BLOCKS = 8, STEP_BYTES = 4 * (int)sizeof(dot_item), TILE_FLOATS = 4 };

typedef enum code_form { CODE_2, CODE_3, CODE_4, CODE_5, CODE_6, CODE_8, CODE_TABLE } code_form;
typedef enum minimum_form { MINIMUM_NONE, MINIMUM_HALF, MINIMUM_BYTE, MINIMUM_NIBBLE } minimum_form;

/* One line of kernels.inc. */
typedef struct format {
    code_form form;
    uint32_t parts, super;
    minimum_form minimum;
    int offset;
} format;

/* NULL for the float types. */
const format *format_find(tensor_type type);

/* The 16 values of IQ4_NL and IQ4_XS, plus 128; then their low and their high four bits. */
extern const uint8_t kernels_iq4_table[3][16];

static inline size_t code_block_bytes(code_form form) {
    switch (form) {
    case CODE_2: return 32;
    case CODE_3: return 48;
    case CODE_5: return 80;
    case CODE_6: return 96;
    case CODE_8: return 128;
    default: return 64;
    }
}

static inline size_t scale_bytes(format f) { /* of one super-block */
    size_t halves = f.minimum == MINIMUM_NONE ? 8 : f.minimum == MINIMUM_NIBBLE ? 16 : 16;
    if (f.super == 1) return halves;
    return halves + (size_t)f.super * f.parts * (f.minimum == MINIMUM_BYTE ? 8 : 4);
}

/* Tokens that lie together in the tile that starts at `first` of n: a single one alone, else a whole tile. */
static inline uint32_t tile_width(uint32_t n, uint32_t first) { return n - first == 1 ? 1 : TILE; }

static inline size_t tile_block_bytes(uint32_t width) {
    return (size_t)width * (STEPS * STEP_BYTES + TILE_FLOATS * sizeof(float));
}

static inline const float *column_of(const columns *c, uint32_t i) {
    return c->values + i * (c->stride ? c->stride : c->cols);
}

static inline uint32_t blocks_of(uint32_t cols) { return cols / COLUMN_BLOCK + (cols % COLUMN_BLOCK != 0); }

/* Codes of a group. Where they are bytes, the last block has no more steps than there are columns. */
static inline size_t code_bytes(code_form form, uint32_t cols) {
    size_t spare = form == CODE_8 ? (blocks_of(cols) * COLUMN_BLOCK - cols) / 4 * 16 : 0;
    return blocks_of(cols) * code_block_bytes(form) - spare;
}

#endif
