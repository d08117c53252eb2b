/* test_quant.c: every tensor type against the `gguf` package of Python, bit by bit
 * (tests/vectors/quant/make.py); halves against the arithmetic definition, all 65,536 of them; scales that
 * are not finite. */
#include <stdlib.h>

#include "f16.h"
#include "quant.h"
#include "test.h"

#define ONE(name, number, block, bytes) +1
enum { TYPES = CLLA_TENSOR_TYPE_LIST(ONE) };
#undef ONE

static uint8_t *vectors;
static size_t vectors_size;

static bool read_vectors(void) {
    FILE *file = fopen("tests/vectors/quant/blocks.bin", "rb");
    if (!file) return false;
    vectors = malloc(1 << 20);
    vectors_size = vectors ? fread(vectors, 1, 1 << 20, file) : 0;
    fclose(file);
    return vectors_size > 0;
}

static uint32_t u32_at(size_t at) {
    uint32_t value;
    memcpy(&value, vectors + at, 4);
    return value;
}

static void check_record(size_t at) {
    tensor_type type = (tensor_type)u32_at(at);
    uint32_t n = u32_at(at + 4), bytes = u32_at(at + 8);
    const tensor_type_info *info = tensor_type_find((uint32_t)type);
    CHECK(info, "type %u", (unsigned)type);
    if (!info) return;
    CHECK(tensor_row_bytes(type, n) == bytes, "%s: %zu bytes, want %u", info->name, tensor_row_bytes(type, n),
          bytes);
    float *values = malloc(n * sizeof *values);
    tensor_unpack(type, vectors + at + 12, n, values);
    CHECK(tensor_row_is_finite(type, vectors + at + 12, n), "%s", info->name);
    for (uint32_t i = 0; i < n; i++) {
        float want = f32_of_bits(u32_at(at + 12 + bytes + 4 * (size_t)i));
        if (want == 0 && values[i] == 0)
            continue; /* the sign of zero depends on the order of a subtraction */
        CHECK(bits_of_f32(want) == bits_of_f32(values[i]), "%s: value %u is %a, want %a", info->name, i,
              (double)values[i], (double)want);
        if (!test_ok) break;
    }
    free(values);
}

static void test_vectors(void) {
    size_t records = 0;
    for (size_t at = 0; at < vectors_size; records++) {
        check_record(at);
        at += 12 + u32_at(at + 8) + 4 * (size_t)u32_at(at + 4);
    }
    CHECK(records == TYPES, "%zu records for %d types", records, (int)TYPES);
}

/* sign * 2^(e-15) * (1 + m/1024), or 2^-14 * m/1024 for subnormals. */
static double half_by_definition(uint32_t h) {
    int exponent = (int)(h >> 10 & 31), mantissa = (int)(h & 1023);
    double magnitude = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return h & 0x8000 ? -magnitude : magnitude;
}

static void test_halves(void) {
    for (uint32_t h = 0; h < 65536; h++) {
        float value = f32_of_f16((uint16_t)h);
        if ((h & 0x7c00) == 0x7c00) {
            CHECK(h & 1023 ? isnan(value) : isinf(value) && (value < 0) == (h >> 15 != 0), "half %04x", h);
            continue;
        }
        CHECK((double)value == half_by_definition(h), "half %04x is %a", h, (double)value);
        CHECK(f16_of_f32(value) == h, "half %04x comes back as %04x", h, f16_of_f32(value));
    }
    CHECK(isnan(f32_of_f16(f16_of_f32(NAN))), "NaN stays NaN");
    CHECK(f16_of_f32(65520.0f) == 0x7c00 && f16_of_f32(65519.0f) == 0x7bff,
          "what is too large becomes infinity");
}

static uint32_t next_random(uint32_t *state) { return *state = *state * 1664525u + 1013904223u; }

/* Of the two halves around a value the nearer one is chosen, the even one on a tie. */
static void test_rounding(void) {
    uint32_t state = 7;
    for (int i = 0; i < 200000; i++) {
        float value = f32_of_bits((next_random(&state) & 0x8fffffff) | 0x30000000);
        uint16_t h = f16_of_f32(value);
        double error = fabs((double)value - half_by_definition(h));
        double below = fabs((double)value - half_by_definition((uint32_t)h - 1));
        double above = fabs((double)value - half_by_definition((uint32_t)h + 1));
        bool nearest = (error < below && error < above) || ((error == below || error == above) && h % 2 == 0);
        bool edge = (h & 0x7fff) == 0 || (h & 0x7fff) >= 0x7bff;
        CHECK(edge || nearest, "%a became %04x", (double)value, h);
        if (!test_ok) break;
    }
}

/* Where a block of the type holds halves: set to infinity or NaN they must be found, in every block of a row.
 */
static void check_not_finite(tensor_type type, const char *name, size_t block_bytes, size_t values, int first,
                             int second) {
    uint8_t row[4 * 256] = {0};
    for (size_t block = 0; block < 3; block++)
        for (int k = 0; k < 4; k++) {
            static const uint16_t bad[] = {0x7c00, 0xfc00, 0x7e00, 0x7c01};
            int at = k < 2 || second < 0 ? first : second;
            memset(row, 0, sizeof row);
            CHECK(tensor_row_is_finite(type, row, 3 * values), "%s: zeros", name);
            memcpy(row + block * block_bytes + at, &bad[k], 2);
            CHECK(!tensor_row_is_finite(type, row, 3 * values), "%s: half %04x at byte %d of block %zu", name,
                  bad[k], at, block);
        }
}

static void test_not_finite(void) {
    check_not_finite(TENSOR_F16, "F16", 2, 1, 0, -1);
    check_not_finite(TENSOR_Q4_0, "Q4_0", 18, 32, 0, -1);
    check_not_finite(TENSOR_Q4_1, "Q4_1", 20, 32, 0, 2);
    check_not_finite(TENSOR_Q5_0, "Q5_0", 22, 32, 0, -1);
    check_not_finite(TENSOR_Q5_1, "Q5_1", 24, 32, 0, 2);
    check_not_finite(TENSOR_Q8_0, "Q8_0", 34, 32, 0, -1);
    check_not_finite(TENSOR_Q2_K, "Q2_K", 84, 256, 80, 82);
    check_not_finite(TENSOR_Q3_K, "Q3_K", 110, 256, 108, -1);
    check_not_finite(TENSOR_Q4_K, "Q4_K", 144, 256, 0, 2);
    check_not_finite(TENSOR_Q5_K, "Q5_K", 176, 256, 0, 2);
    check_not_finite(TENSOR_Q6_K, "Q6_K", 210, 256, 208, -1);
    check_not_finite(TENSOR_IQ4_NL, "IQ4_NL", 18, 32, 0, -1);
    check_not_finite(TENSOR_IQ4_XS, "IQ4_XS", 136, 256, 0, -1);
    float row[3] = {1, 2, 3};
    CHECK(tensor_row_is_finite(TENSOR_F32, (uint8_t *)row, 3), "F32");
    row[2] = -INFINITY;
    CHECK(!tensor_row_is_finite(TENSOR_F32, (uint8_t *)row, 3), "F32 with an infinity");
    row[2] = 3, row[0] = NAN;
    CHECK(!tensor_row_is_finite(TENSOR_F32, (uint8_t *)row, 3), "F32 with a NaN");
    uint16_t brains[3] = {0x3f80, 0x7f7f, 0xff7f};
    CHECK(tensor_row_is_finite(TENSOR_BF16, (uint8_t *)brains, 3), "BF16");
    brains[1] = 0x7f80;
    CHECK(!tensor_row_is_finite(TENSOR_BF16, (uint8_t *)brains, 3), "BF16 with an infinity");
}

static void test_names(void) {
    CHECK(strcmp(tensor_type_find(12)->name, "Q4_K") == 0 && tensor_type_find(12)->bytes == 144,
          "Q4_K is 12");
    CHECK(!tensor_type_find(16) && strcmp(tensor_type_label(16), "IQ2_XXS") == 0, "IQ2_XXS has a name only");
    CHECK(!tensor_type_find(4) && strcmp(tensor_type_label(4), "Q4_2") == 0, "Q4_2 is gone");
    CHECK(!tensor_type_find(99) && !tensor_type_label(99) && !tensor_type_label(UINT32_MAX), "99 is nothing");
}

int main(void) {
    if (!read_vectors()) {
        printf("tests/vectors/quant/blocks.bin is missing: run from the repository root\n");
        return 1;
    }
    RUN("every type unpacks as the gguf package does, bit by bit", test_vectors);
    RUN("halves and floats convert exactly", test_halves);
    RUN("floats round to the nearest half, ties to even", test_rounding);
    RUN("scales that are not finite are found in every block", test_not_finite);
    RUN("types have names, read here or not", test_names);
    free(vectors);
    return test_report();
}
