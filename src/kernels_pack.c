/* kernels_pack.c: from the rows of a file to packed groups, and back to the values of one row.
 *
 * Each row's super-block is first read into plain codes and scales (struct piece), which is where the types differ;
 * then codes go to their planes and scales to their places (kernels_layout.h), which is the same for all. */
#include "f16.h"
#include "kernels_layout.h"

const uint8_t kernels_iq4_table[3][16] = {
    {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241},
    {1, 8, 13, 15, 15, 13, 10, 6, 1, 13, 9, 6, 5, 5, 9, 1},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 10, 11, 12, 13, 15},
};

enum { PIECE = SUPER_BLOCKS * COLUMN_BLOCK, PARTS = 16 };

/* One row's share of a super-block. */
typedef struct piece {
    uint8_t codes[PIECE];
    uint16_t d, m;                        /* halves; m only where there are minima */
    uint8_t scales[PARTS], minima[PARTS]; /* of parts, where a super-block has 8 blocks */
} piece;

/* ---- reading a block of the file (quant.c tells the layouts) ----------------------------------------------- */

static uint16_t u16_at(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

static void read_nibbles(const uint8_t *q, uint8_t *codes /* [32] */) {
    for (int i = 0; i < 16; i++) {
        codes[i] = q[i] & 15;
        codes[i + 16] = q[i] >> 4;
    }
}

/* Bit i of `bits` is worth 16 in code i. */
static void read_fifth_bits(const uint8_t *bits, uint8_t *codes /* [32] */) {
    for (int i = 0; i < 32; i++) codes[i] |= (uint8_t)((bits[i / 8] >> (i % 8) & 1) << 4);
}

static void read_Q4_0(const uint8_t *b, piece *p) {
    p->d = u16_at(b);
    read_nibbles(b + 2, p->codes);
}

static void read_Q4_1(const uint8_t *b, piece *p) {
    p->d = u16_at(b);
    p->m = u16_at(b + 2);
    read_nibbles(b + 4, p->codes);
}

static void read_Q5_0(const uint8_t *b, piece *p) {
    p->d = u16_at(b);
    read_nibbles(b + 6, p->codes);
    read_fifth_bits(b + 2, p->codes);
}

static void read_Q5_1(const uint8_t *b, piece *p) {
    p->d = u16_at(b);
    p->m = u16_at(b + 2);
    read_nibbles(b + 8, p->codes);
    read_fifth_bits(b + 4, p->codes);
}

static void read_Q8_0(const uint8_t *b, piece *p) {
    p->d = u16_at(b);
    for (int i = 0; i < 32; i++) p->codes[i] = b[2 + i] ^ 128;
}

static void read_IQ4_NL(const uint8_t *b, piece *p) { read_Q4_0(b, p); }

/* The two-bit codes of Q2_K and Q3_K. */
static void read_two_bits(const uint8_t *q, uint8_t *codes /* [256] */) {
    for (int k = 0; k < PIECE; k++) codes[k] = q[k / 128 * 32 + k % 32] >> (k / 32 % 4 * 2) & 3;
}

static void read_Q2_K(const uint8_t *b, piece *p) {
    p->d = u16_at(b + 80);
    p->m = u16_at(b + 82);
    read_two_bits(b + 16, p->codes);
    memcpy(p->scales, b, PARTS);
}

static void read_Q3_K(const uint8_t *b, piece *p) {
    const uint8_t *third = b, *scales = b + 96;
    p->d = u16_at(b + 108);
    read_two_bits(b + 32, p->codes);
    for (int k = 0; k < PIECE; k++) p->codes[k] |= (uint8_t)((third[k % 32] >> (k / 32) & 1) << 2);
    for (int j = 0; j < PARTS; j++) {
        int low = j < 8 ? scales[j] & 15 : scales[j - 8] >> 4, high = scales[8 + j % 4] >> (j / 4 * 2) & 3;
        p->scales[j] = (uint8_t)((low | high << 4) - 32);
    }
}

/* What Q4_K and Q5_K have in common. */
static void read_k4(const uint8_t *b, const uint8_t *q, piece *p) {
    const uint8_t *s = b + 4;
    p->d = u16_at(b);
    p->m = u16_at(b + 2);
    for (int k = 0; k < PIECE; k++) p->codes[k] = q[k / 64 * 32 + k % 32] >> (k / 32 % 2 * 4) & 15;
    for (int j = 0; j < 4; j++) {
        p->scales[j] = s[j] & 63;
        p->minima[j] = s[j + 4] & 63;
        p->scales[j + 4] = (uint8_t)((s[j + 8] & 15) | s[j] >> 6 << 4);
        p->minima[j + 4] = (uint8_t)(s[j + 8] >> 4 | s[j + 4] >> 6 << 4);
    }
}

static void read_Q4_K(const uint8_t *b, piece *p) { read_k4(b, b + 16, p); }

static void read_Q5_K(const uint8_t *b, piece *p) {
    const uint8_t *fifth = b + 16;
    read_k4(b, b + 48, p);
    for (int k = 0; k < PIECE; k++) p->codes[k] |= (uint8_t)((fifth[k % 32] >> (k / 32) & 1) << 4);
}

static void read_Q6_K(const uint8_t *b, piece *p) {
    const uint8_t *low = b, *high = b + 128;
    p->d = u16_at(b + 208);
    for (int k = 0; k < PIECE; k++) {
        int code = low[k / 128 * 64 + k % 64] >> (k / 64 % 2 * 4) & 15;
        code |= (high[k / 128 * 32 + k % 32] >> (k / 32 % 4 * 2) & 3) << 4;
        p->codes[k] = (uint8_t)code;
    }
    memcpy(p->scales, b + 192, PARTS);
}

static void read_IQ4_XS(const uint8_t *b, piece *p) {
    int high = u16_at(b + 2);
    p->d = u16_at(b);
    for (int part = 0; part < SUPER_BLOCKS; part++) {
        int scale = (b[4 + part / 2] >> (part % 2 * 4) & 15) | (high >> (2 * part) & 3) << 4;
        p->scales[part] = (uint8_t)(scale - 32);
        read_nibbles(b + 8 + 16 * part, p->codes + COLUMN_BLOCK * part);
    }
}

static void piece_read(tensor_type type, const uint8_t *block, piece *p) {
    switch (type) {
#define KERNEL(name, form, parts, super, minimum, offset)                                                     \
    case TENSOR_##name: read_##name(block, p); break;
#include "kernels.inc"
#undef KERNEL
    default: break;
    }
}

/* ---- planes ------------------------------------------------------------------------------------------------ */

/* Where a field of a code is kept: bits [from, from + bits) of the code, in byte `offset` of the block for row 0,
 * k 0, shifted left. */
typedef struct place {
    size_t offset;
    int shift, from, mask;
} place;

static place place_of(int bits, size_t plane, int from, int step) {
    int per_vector = 8 / bits, vector = bits == 4 ? step % 4 : step / per_vector;
    int at = bits == 4 ? step / 4 : step % per_vector;
    return (place){plane + 16 * (size_t)vector, at * bits, from, (1 << bits) - 1};
}

/* The one or two places of the codes of a step. */
static int places_find(code_form form, int step, place *places /* [2] */) {
    int low = form == CODE_8 ? 8 : form == CODE_2 || form == CODE_3 ? 2 : 4;
    places[0] = place_of(low, 0, 0, step);
    switch (form) {
    case CODE_3: places[1] = place_of(1, 32, 2, step); return 2;
    case CODE_5: places[1] = place_of(1, 64, 4, step); return 2;
    case CODE_6: places[1] = place_of(2, 64, 4, step); return 2;
    default: return 1;
    }
}

/* The four codes of a step at once: a field stays within its byte. */
static inline void store_step(const uint8_t *codes, place p, uint8_t *block) {
    uint32_t four, kept;
    memcpy(&four, codes, 4);
    memcpy(&kept, block + p.offset, 4);
    kept |= (four >> p.from & (uint32_t)p.mask * 0x01010101u) << p.shift;
    memcpy(block + p.offset, &kept, 4);
}

/* One row's 32 codes into a block of zeros, and back. */
static void codes_store(code_form form, const uint8_t *codes, uint8_t *block, uint32_t row) {
    place places[2];
    for (int s = 0; s < STEPS; s++)
        for (int i = places_find(form, s, places) - 1; i >= 0; i--)
            store_step(codes + 4 * s, places[i], block + 4 * row);
}

static void codes_load(code_form form, const uint8_t *block, uint32_t row, int *codes) {
    place places[2];
    for (int s = 0; s < STEPS; s++) {
        int count = places_find(form, s, places);
        for (int k = 0; k < 4; k++) {
            codes[4 * s + k] = 0;
            for (int i = 0; i < count; i++)
                codes[4 * s + k] |= (block[places[i].offset + 4 * row + (size_t)k] >> places[i].shift & places[i].mask)
                                    << places[i].from;
            if (form == CODE_TABLE) codes[4 * s + k] = kernels_iq4_table[0][codes[4 * s + k]];
        }
    }
}

/* ---- scales ------------------------------------------------------------------------------------------------ */

static void scales_store(const format *f, const piece *p, uint8_t *scales, uint32_t row) {
    uint8_t *bytes = scales + (f->minimum == MINIMUM_NONE ? 8 : 16) + row;
    memcpy(scales + 2 * row, &p->d, 2);
    if (f->minimum != MINIMUM_NONE) memcpy(scales + 8 + 2 * row, &p->m, 2);
    for (uint32_t part = 0; f->super > 1 && part < f->super * f->parts; part++) {
        *bytes = p->scales[part];
        bytes += 4;
        if (f->minimum != MINIMUM_BYTE) continue;
        *bytes = p->minima[part];
        bytes += 4;
    }
}

static float half_at(const uint8_t *p) { return f32_of_f16(u16_at(p)); }

/* Scale and what to subtract (K types) or to add (halves) in one part, without the offset. */
static void scale_load(const format *f, const uint8_t *scales, uint32_t row, uint32_t part, float *scale,
                       float *minimum) {
    const uint8_t *bytes = scales + (f->minimum == MINIMUM_NONE ? 8 : 16) + row;
    *scale = half_at(scales + 2 * row);
    *minimum = f->minimum == MINIMUM_NONE ? 0.0f : half_at(scales + 8 + 2 * row);
    if (f->super == 1) return;
    bytes += part * (f->minimum == MINIMUM_BYTE ? 8 : 4);
    *scale *= f->minimum == MINIMUM_NIBBLE ? (float)(*bytes & 15) : (float)(int8_t)*bytes;
    *minimum *= f->minimum == MINIMUM_NIBBLE ? -(float)(*bytes >> 4) : -(float)bytes[4];
}

/* ---- groups ------------------------------------------------------------------------------------------------ */

static void pack_integer(const matrix *m, const format *f, uint8_t *group, uint32_t row, const uint8_t *from) {
    size_t blocks = m->cols / COLUMN_BLOCK, code_bytes = code_block_bytes(f->form);
    uint8_t *scales = group + blocks * code_bytes;
    piece p;
    for (size_t b = 0; b < blocks; b += f->super, scales += scale_bytes(*f)) {
        piece_read(m->type, from, &p);
        from += tensor_type_find((uint32_t)m->type)->bytes;
        for (size_t i = 0; i < f->super; i++)
            codes_store(f->form, p.codes + COLUMN_BLOCK * i, group + (b + i) * code_bytes, row);
        scales_store(f, &p, scales, row);
    }
}

static void pack_float(const matrix *m, uint8_t *group, uint32_t row, const uint8_t *from) {
    size_t item = tensor_row_bytes(m->type, 1);
    for (size_t k = 0; k < m->cols; k++) memcpy(group + (MATRIX_GROUP * k + row) * item, from + k * item, item);
}

void matrix_pack(matrix *m, uint32_t group, uint32_t row_count, const uint8_t *rows) {
    const format *f = format_find(m->type);
    size_t group_bytes = matrix_group_bytes(m->type, m->cols), row_bytes = tensor_row_bytes(m->type, m->cols);
    uint8_t *to = m->data + group * group_bytes;
    memset(to, 0, group_bytes);
    for (uint32_t row = 0; row < row_count; row++) {
        if (f) pack_integer(m, f, to, row, rows + row * row_bytes);
        else pack_float(m, to, row, rows + row * row_bytes);
    }
}

/* ---- one row ----------------------------------------------------------------------------------------------- */

static void row_integer(const matrix *m, const format *f, const uint8_t *group, uint32_t row, float *values) {
    uint32_t blocks = m->cols / COLUMN_BLOCK, block_parts = f->super * f->parts;
    const uint8_t *scales = group + blocks * code_block_bytes(f->form);
    for (uint32_t b = 0; b < blocks; b++, values += COLUMN_BLOCK) {
        int codes[COLUMN_BLOCK];
        float scale, minimum;
        codes_load(f->form, group + b * code_block_bytes(f->form), row, codes);
        for (uint32_t k = 0; k < COLUMN_BLOCK; k++) {
            uint32_t part = (b * f->parts + k * f->parts / COLUMN_BLOCK) % block_parts;
            scale_load(f, scales + b / f->super * scale_bytes(*f), row, part, &scale, &minimum);
            values[k] = scale * (float)(codes[k] - f->offset);
            if (f->minimum != MINIMUM_NONE) values[k] += minimum;
        }
    }
}

static void row_float(const matrix *m, const uint8_t *group, uint32_t row, float *values) {
    const uint16_t *halves = (const uint16_t *)(const void *)group + row;
    const float *floats = (const float *)(const void *)group + row;
    for (size_t k = 0; k < m->cols; k++) {
        if (m->type == TENSOR_F32) values[k] = floats[MATRIX_GROUP * k];
        else if (m->type == TENSOR_F16) values[k] = f32_of_f16(halves[MATRIX_GROUP * k]);
        else values[k] = f32_of_bf16(halves[MATRIX_GROUP * k]);
    }
}

void matrix_row(const matrix *m, uint32_t row, float *values) {
    const format *f = format_find(m->type);
    const uint8_t *group = m->data + row / MATRIX_GROUP * matrix_group_bytes(m->type, m->cols);
    if (f) row_integer(m, f, group, row % MATRIX_GROUP, values);
    else row_float(m, group, row % MATRIX_GROUP, values);
}
