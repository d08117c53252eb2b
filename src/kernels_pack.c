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

enum { PIECE = SUPER_BLOCKS * COLUMN_BLOCK, WORDS = PIECE / 4, PARTS = 16 };

/* One row's share of a super-block. Codes are handled in words of four, one a byte, so that a word is a step. */
typedef struct piece {
    uint32_t codes[WORDS];
    uint16_t d, m;                        /* halves; m only where there are minima */
    uint8_t scales[PARTS], minima[PARTS]; /* of parts, where a super-block has 8 blocks */
} piece;

/* ---- reading a block of the file (quant.c tells the layouts) ----------------------------------------------- */

static uint16_t u16_at(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

static uint32_t word_at(const uint8_t *p) {
    uint32_t word;
    memcpy(&word, p, 4);
    return word;
}

/* The same bits of each of four bytes. */
static uint32_t field(uint32_t word, int from, uint32_t mask) { return word >> from & mask * 0x01010101u; }

static void read_nibbles(const uint8_t *q, uint32_t *codes /* [8] */) {
    for (int j = 0; j < 4; j++) {
        codes[j] = field(word_at(q + 4 * j), 0, 15);
        codes[j + 4] = field(word_at(q + 4 * j), 4, 15);
    }
}

/* Bit i of 32 is worth 16 in code i: the multiplication takes four neighbours a byte apart. */
static void read_fifth_bits(const uint8_t *bits, uint32_t *codes /* [8] */) {
    for (int s = 0; s < STEPS; s++) {
        uint32_t four = (uint32_t)bits[s / 2] >> (s % 2 * 4) & 15;
        codes[s] |= field(four * 0x00204081u, 0, 1) << 4;
    }
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
    for (int s = 0; s < STEPS; s++) p->codes[s] = word_at(b + 2 + 4 * s) ^ 0x80808080u;
}

static void read_IQ4_NL(const uint8_t *b, piece *p) { read_Q4_0(b, p); }

/* Codes that lie `shift` bits further up in the same bytes for each further block: from, in words of 32 values. */
static void read_shifted(const uint8_t *q, int shift, uint32_t mask, int blocks, uint32_t *codes) {
    for (int i = 0; i < blocks * STEPS; i++) codes[i] = field(word_at(q + i % STEPS * 4), i / STEPS * shift, mask);
}

/* Add one such bit of each code, worth 2^place. */
static void read_bits(const uint8_t *q, int place, uint32_t *codes /* [64] */) {
    for (int i = 0; i < WORDS; i++) codes[i] |= field(word_at(q + i % STEPS * 4), i / STEPS, 1) << place;
}

static void read_Q2_K(const uint8_t *b, piece *p) {
    p->d = u16_at(b + 80);
    p->m = u16_at(b + 82);
    for (int half = 0; half < 2; half++) read_shifted(b + 16 + 32 * half, 2, 3, 4, p->codes + WORDS / 2 * half);
    memcpy(p->scales, b, PARTS);
}

static void read_Q3_K(const uint8_t *b, piece *p) {
    const uint8_t *third = b, *scales = b + 96;
    p->d = u16_at(b + 108);
    for (int half = 0; half < 2; half++) read_shifted(b + 32 + 32 * half, 2, 3, 4, p->codes + WORDS / 2 * half);
    read_bits(third, 2, p->codes);
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
    for (int run = 0; run < 4; run++) read_shifted(q + 32 * run, 4, 15, 2, p->codes + WORDS / 4 * run);
    for (int j = 0; j < 4; j++) {
        p->scales[j] = s[j] & 63;
        p->minima[j] = s[j + 4] & 63;
        p->scales[j + 4] = (uint8_t)((s[j + 8] & 15) | s[j] >> 6 << 4);
        p->minima[j + 4] = (uint8_t)(s[j + 8] >> 4 | s[j + 4] >> 6 << 4);
    }
}

static void read_Q4_K(const uint8_t *b, piece *p) { read_k4(b, b + 16, p); }

static void read_Q5_K(const uint8_t *b, piece *p) {
    read_k4(b, b + 48, p);
    read_bits(b + 16, 4, p->codes);
}

static void read_Q6_K(const uint8_t *b, piece *p) {
    p->d = u16_at(b + 208);
    for (int i = 0; i < WORDS; i++) { /* word i of 64; 32 words share 64 bytes of low and 32 of high bits */
        uint32_t low = word_at(b + i / 32 * 64 + i % 16 * 4), high = word_at(b + 128 + i / 32 * 32 + i % 8 * 4);
        p->codes[i] = field(low, i / 16 % 2 * 4, 15) | field(high, i / 8 % 4 * 2, 3) << 4;
    }
    memcpy(p->scales, b + 192, PARTS);
}

static void read_IQ4_XS(const uint8_t *b, piece *p) {
    int high = u16_at(b + 2);
    p->d = u16_at(b);
    for (int part = 0; part < SUPER_BLOCKS; part++) {
        int scale = (b[4 + part / 2] >> (part % 2 * 4) & 15) | (high >> (2 * part) & 3) << 4;
        p->scales[part] = (uint8_t)(scale - 32);
        read_nibbles(b + 8 + 16 * part, p->codes + STEPS * part);
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

/* The step that the part number `at` of vector v belongs to, in a plane of 1, 2, 4 or 8 bits. */
static inline int plane_step(int bits, int v, int at) { return bits == 4 ? v + 4 * at : v * (8 / bits) + at; }

/* Bits [from, from + bits) of one row's codes into the row's words of a plane, and back. */
static inline void plane_store(int bits, int from, const uint32_t *codes /* [8] */, uint8_t *plane) {
    for (int v = 0; v < bits; v++) {
        uint32_t word = 0;
        for (int at = 0; at < 8 / bits; at++)
            word |= field(codes[plane_step(bits, v, at)], from, (1u << bits) - 1) << (at * bits);
        memcpy(plane + 16 * v, &word, 4);
    }
}

static inline void plane_load(int bits, int from, const uint8_t *plane, uint32_t *codes /* [8] */) {
    for (int v = 0; v < bits; v++)
        for (int at = 0; at < 8 / bits; at++)
            codes[plane_step(bits, v, at)] |= field(word_at(plane + 16 * v), at * bits, (1u << bits) - 1) << from;
}

enum { BLOCK_BYTES = 128 }; /* at most */

/* One row's 32 codes into its words of a block, and back. */
static void codes_store(code_form form, const uint32_t *codes /* [8] */, uint8_t *block, uint32_t row) {
    block += 4 * row;
    switch (form) {
    case CODE_2: plane_store(2, 0, codes, block); break;
    case CODE_3: plane_store(2, 0, codes, block), plane_store(1, 2, codes, block + 32); break;
    case CODE_5: plane_store(4, 0, codes, block), plane_store(1, 4, codes, block + 64); break;
    case CODE_6: plane_store(4, 0, codes, block), plane_store(2, 4, codes, block + 64); break;
    case CODE_8: plane_store(8, 0, codes, block); break;
    case CODE_4:
    case CODE_TABLE: plane_store(4, 0, codes, block); break;
    }
}

static void codes_load(code_form form, const uint8_t *block, uint32_t row, uint32_t *codes /* [8] */) {
    memset(codes, 0, STEPS * sizeof *codes);
    block += 4 * row;
    switch (form) {
    case CODE_2: plane_load(2, 0, block, codes); break;
    case CODE_3: plane_load(2, 0, block, codes), plane_load(1, 2, block + 32, codes); break;
    case CODE_5: plane_load(4, 0, block, codes), plane_load(1, 4, block + 64, codes); break;
    case CODE_6: plane_load(4, 0, block, codes), plane_load(2, 4, block + 64, codes); break;
    case CODE_8: plane_load(8, 0, block, codes); break;
    case CODE_4:
    case CODE_TABLE: plane_load(4, 0, block, codes); break;
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
    *minimum = f->minimum == MINIMUM_NONE ? -0.0f : half_at(scales + 8 + 2 * row); /* x + -0 is x, -0 too */
    if (f->super == 1) return;
    bytes += part * (f->minimum == MINIMUM_BYTE ? 8 : 4);
    *scale *= f->minimum == MINIMUM_NIBBLE ? (float)(*bytes & 15) : (float)(int8_t)*bytes;
    if (f->minimum == MINIMUM_BYTE) *minimum *= -(float)bytes[4];
    if (f->minimum == MINIMUM_NIBBLE) *minimum *= -(float)(*bytes >> 4);
}

/* ---- groups ------------------------------------------------------------------------------------------------ */

/* Bytes of block number b that a group keeps: all, but of a last one that is not whole. */
static size_t kept_bytes(const matrix *m, const format *f, size_t b) {
    size_t whole = code_block_bytes(f->form), left = code_bytes(f->form, m->cols) - b * whole;
    return left < whole ? left : whole;
}

/* One row's codes of a block of which `kept` bytes are there. */
static void block_store(code_form form, const uint32_t *codes, uint8_t *home, size_t kept, uint32_t row) {
    uint8_t block[BLOCK_BYTES];
    if (kept == code_block_bytes(form)) {
        codes_store(form, codes, home, row);
        return;
    }
    memcpy(block, home, kept);
    codes_store(form, codes, block, row);
    memcpy(home, block, kept);
}

static void pack_integer(const matrix *m, const format *f, uint8_t *group, uint32_t row, const uint8_t *from) {
    uint8_t *scales = group + code_bytes(f->form, m->cols);
    piece p;
    for (size_t b = 0; b < blocks_of(m->cols); b += f->super, scales += scale_bytes(*f)) {
        piece_read(m->type, from, &p);
        from += tensor_type_find((uint32_t)m->type)->bytes;
        for (size_t i = 0; i < f->super; i++)
            block_store(f->form, p.codes + STEPS * i, group + (b + i) * code_block_bytes(f->form), kept_bytes(m, f, b + i), row);
        scales_store(f, &p, scales, row);
    }
}

/* Halves are kept 1,024 times as large if all of the group allow it: then none is subnormal (simd.h). The group ends
 * with the factor that takes this back. */
static float half_unit(const uint8_t *halves, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 2)
        if ((u16_at(halves + i) & 0x7fff) >= 0x5400) return 1.0f; /* 64 and more would become infinite */
    return 0x1p-10f;
}

static void pack_float(const matrix *m, uint8_t *group, uint32_t row, const uint8_t *from) {
    size_t item = tensor_row_bytes(m->type, 1);
    for (size_t k = 0; k < m->cols; k++) memcpy(group + (MATRIX_GROUP * k + row) * item, from + k * item, item);
}

/* A group of halves, divided by unit in place. */
static void halves_divide(const matrix *m, uint8_t *group, float unit) {
    uint16_t *halves = (uint16_t *)(void *)group;
    for (size_t k = 0; k < m->cols; k++, halves += MATRIX_GROUP)
        f4_store_f16(halves, f4_mul(f4_load_f16(halves), f4_splat(1.0f / unit)));
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
    if (m->type != TENSOR_F16) return;
    float unit = half_unit(rows, row_count * row_bytes);
    if (unit != 1.0f) halves_divide(m, to, unit);
    memcpy(to + MATRIX_GROUP * row_bytes, &unit, sizeof unit);
}

void matrix_put_row(matrix *m, uint32_t row, const uint8_t *from) {
    const format *f = format_find(m->type);
    const float one = 1.0f;
    uint8_t *group = m->data + row / MATRIX_GROUP * matrix_group_bytes(m->type, m->cols);
    if (f) pack_integer(m, f, group, row % MATRIX_GROUP, from);
    else pack_float(m, group, row % MATRIX_GROUP, from);
    if (m->type == TENSOR_F16) memcpy(group + (size_t)m->cols * MATRIX_GROUP * 2, &one, sizeof one);
}

/* ---- one row ----------------------------------------------------------------------------------------------- */

static void row_block(code_form form, const uint32_t *codes, int offset, float scale, float minimum, int from, int to,
                      float *values) {
    for (int k = from; k < to; k++) {
        int code = (int)(codes[k / 4] >> (k % 4 * 8) & 255);
        if (form == CODE_TABLE) code = kernels_iq4_table[0][code];
        values[k] = scale * (float)(code - offset) + minimum;
    }
}

static void row_integer(const matrix *m, const format *f, const uint8_t *group, uint32_t row, float *values) {
    uint32_t width = COLUMN_BLOCK / f->parts;
    const uint8_t *scales = group + code_bytes(f->form, m->cols);
    uint8_t block[BLOCK_BYTES] = {0};
    for (uint32_t b = 0; b < blocks_of(m->cols); b++, values += COLUMN_BLOCK) {
        uint32_t codes[STEPS], left = m->cols - b * COLUMN_BLOCK;
        memcpy(block, group + b * code_block_bytes(f->form), kept_bytes(m, f, b));
        codes_load(f->form, block, row, codes);
        for (uint32_t part = 0; part < f->parts; part++) {
            float scale, minimum;
            uint32_t from = part * width, to = from + width < left ? from + width : left, number = b % f->super * f->parts + part;
            scale_load(f, scales + b / f->super * scale_bytes(*f), row, number, &scale, &minimum);
            row_block(f->form, codes, f->offset, scale, minimum, (int)from, (int)to, values);
        }
    }
}

static void row_float(const matrix *m, const uint8_t *group, uint32_t row, float *values) {
    const uint16_t *halves = (const uint16_t *)(const void *)group + row;
    const float *floats = (const float *)(const void *)group + row;
    float unit = m->type == TENSOR_F16 ? *(const float *)(const void *)(group + m->cols * MATRIX_GROUP * 2) : 1.0f;
    for (size_t k = 0; k < m->cols; k++) {
        if (m->type == TENSOR_F32) values[k] = floats[MATRIX_GROUP * k];
        else if (m->type == TENSOR_F16) values[k] = f32_of_f16(halves[MATRIX_GROUP * k]) * unit;
        else values[k] = f32_of_bf16(halves[MATRIX_GROUP * k]);
    }
}

void matrix_row(const matrix *m, uint32_t row, float *values) {
    const format *f = format_find(m->type);
    const uint8_t *group = m->data + row / MATRIX_GROUP * matrix_group_bytes(m->type, m->cols);
    if (f) row_integer(m, f, group, row % MATRIX_GROUP, values);
    else row_float(m, group, row % MATRIX_GROUP, values);
}
