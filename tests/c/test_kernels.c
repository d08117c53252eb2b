/* test_kernels.c: every type's product against the slow one in double precision, and the three bodies against each
 * other.
 *
 * Bound. The integer sums are exact, so what is left is the rounding of floats: for each block (or half block) a
 * product of two scales, a product with the sum, an addition, the minimum's product and addition, each within 2^-24 of
 * numbers that are at most |w| |x| plus, where codes have an offset, |offset| |x| in size. Roundings have no common
 * sign, so n of them add up like the square root of n: we ask for 2^-24 (4 + 2 sqrt(n)) of that size, in every body.
 * The relaxed body's fused multiply-add rounds less often, not more. */
#include "kernels.h"

#include "arena.h"
#include "ref.h"
#include "simd.h"
#include "test.h"

enum { ROWS_MAX = 14, COLS_MAX = 1024, N_MAX = 17 };

static const tensor_type types[] = {
#define TYPE(name, number, block, bytes) TENSOR_##name,
    CLLA_TENSOR_TYPE_LIST(TYPE)
#undef TYPE
};
enum { TYPES = sizeof types / sizeof types[0] };

typedef struct product {
    tensor_type type;
    uint32_t rows, cols, n;
    int extreme;
    const char *name;
    size_t row_bytes;
    uint8_t *file;        /* [rows] as a file holds them */
    float *w, *x, *y;     /* [rows, cols] [n, cols] [n, rows + 1] */
    double *xq;           /* [n, cols] what the kernel should see */
    matrix m;
    columns c;
} product;

static void *take(size_t bytes) {
    void *block = memory_resize(NULL, bytes + 64);
    memset(block, 0xa5, bytes + 64); /* kernels must not count on zeros */
    return block;
}

static bool is_float(tensor_type type) { return tensor_type_find((uint32_t)type)->block == 1; }

static void product_open(product *p, tensor_type type, uint32_t rows, uint32_t cols, uint32_t n, int extreme) {
    ref_random random = {(uint64_t)type * 1000003u + rows * 10007u + cols * 101u + n};
    *p = (product){.type = type, .rows = rows, .cols = cols, .n = n, .extreme = extreme};
    p->name = tensor_type_find((uint32_t)type)->name;
    p->row_bytes = tensor_row_bytes(type, cols);
    p->file = take(rows * p->row_bytes);
    p->w = take(sizeof(float) * rows * cols);
    p->x = take(sizeof(float) * n * cols);
    p->y = take(sizeof(float) * n * (rows + 1));
    p->xq = take(sizeof(double) * n * cols);
    for (uint32_t r = 0; r < rows; r++) {
        ref_row(type, &random, extreme, cols, p->file + r * p->row_bytes);
        tensor_unpack(type, p->file + r * p->row_bytes, cols, p->w + (size_t)r * cols);
    }
    for (size_t i = 0; i < (size_t)n * cols; i++) {
        p->x[i] = extreme ? (i / cols % 2 ? -127.0f : 127.0f) : ref_uniform(&random, -2.0f, 2.0f);
        if (!extreme && i / 32 % 11 == 5) p->x[i] = 0.0f; /* whole blocks of zeros */
        p->xq[i] = (double)p->x[i];
    }
    for (uint32_t i = 0; i < n && !is_float(type); i++)
        ref_quantize(p->x + (size_t)i * cols, cols, p->xq + (size_t)i * cols);
    p->m = (matrix){type, rows, cols, take(matrix_bytes(type, rows, cols))};
    for (uint32_t g = 0; g * MATRIX_GROUP < rows; g++) {
        uint32_t left = rows - g * MATRIX_GROUP;
        matrix_pack(&p->m, g, left < MATRIX_GROUP ? left : MATRIX_GROUP, p->file + g * MATRIX_GROUP * p->row_bytes);
    }
    p->c = (columns){p->x, n, cols, take((size_t)columns_bytes(n, cols)), 0};
    columns_pack(&p->c, 0, n);
}

static void product_close(product *p) {
    void *blocks[] = {p->file, p->w, p->x, p->y, p->xq, p->m.data, p->c.packed};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) memory_resize(blocks[i], 0);
}

static uint32_t groups_of(const product *p) { return (p->rows + MATRIX_GROUP - 1) / MATRIX_GROUP; }

static void product_multiply(product *p) {
    for (size_t i = 0; i < (size_t)p->n * (p->rows + 1); i++) p->y[i] = 12345.0f;
    matrix_multiply(&p->m, &p->c, 0, groups_of(p), p->y, p->rows + 1);
}

/* ---- against the reference --------------------------------------------------------------------------------- */

/* What codes are larger than they should be, times the scale: an upper bound over all types, of a row's largest. */
static double offset_size(const product *p, uint32_t row, uint32_t i) {
    double largest = 0.0, sum = 0.0;
    for (uint32_t k = 0; k < p->cols; k++) {
        largest = fmax(largest, fabs((double)p->w[(size_t)row * p->cols + k]));
        sum += fabs(p->xq[(size_t)i * p->cols + k]);
    }
    return is_float(p->type) ? 0.0 : 2.0 * largest * sum;
}

static void product_check(product *p) {
    double worst = 0.0, additions = is_float(p->type) ? p->cols : p->cols / 8.0;
    product_multiply(p);
    for (uint32_t i = 0; i < p->n; i++) {
        for (uint32_t r = 0; r < p->rows; r++) {
            double want, size, got = (double)p->y[i * (p->rows + 1) + r];
            ref_dot(p->w + (size_t)r * p->cols, p->xq + (size_t)i * p->cols, p->cols, &want, &size);
            double bound = 0x1p-24 * (4.0 + 2.0 * sqrt(additions)) * (size + offset_size(p, r, i)) + 1e-30;
            worst = fmax(worst, fabs(got - want) / bound);
        }
        CHECK(p->y[i * (p->rows + 1) + p->rows] == 12345.0f, "%s wrote behind its rows", p->name);
    }
    CHECK(worst <= 1.0, "%s rows %u cols %u n %u%s: error is %g of the bound", p->name, (unsigned)p->rows,
          (unsigned)p->cols, (unsigned)p->n, p->extreme ? " extreme" : "", worst);
}

static void each_type(const uint32_t (*shapes)[3], size_t count, int extreme) {
    for (int t = 0; t < TYPES; t++) {
        uint32_t block = tensor_type_find((uint32_t)types[t])->block;
        for (size_t s = 0; s < count; s++) {
            uint32_t cols = is_float(types[t]) ? shapes[s][1] : (shapes[s][1] + block - 1) / block * block;
            product p;
            product_open(&p, types[t], shapes[s][0], cols, shapes[s][2], extreme);
            product_check(&p);
            product_close(&p);
        }
    }
}

static void test_shapes(void) {
    static const uint32_t shapes[][3] = {{4, 256, 1}, {1, 32, 1},  {3, 31, 2},   {5, 1, 3},
                                         {13, 97, 9}, {8, 512, 8}, {6, 1024, 17}};
    each_type(shapes, sizeof shapes / sizeof shapes[0], 0);
}

static void test_counts(void) {
    uint32_t shapes[N_MAX][3];
    for (uint32_t n = 1; n <= N_MAX; n++) {
        shapes[n - 1][0] = n % 7 + 1;
        shapes[n - 1][1] = 96;
        shapes[n - 1][2] = n;
    }
    each_type((const uint32_t(*)[3])shapes, N_MAX, 0);
}

static void test_extremes(void) {
    static const uint32_t shapes[][3] = {{4, 512, 1}, {4, 512, 8}, {7, 256, 3}};
    each_type(shapes, sizeof shapes / sizeof shapes[0], 1);
}

/* ---- what must be equal ------------------------------------------------------------------------------------ */

static void test_rows(void) {
    for (int t = 0; t < TYPES; t++) {
        product p;
        product_open(&p, types[t], ROWS_MAX, 512, 1, 0);
        for (uint32_t r = 0; r < p.rows; r++) {
            float row[512];
            matrix_row(&p.m, r, row);
            CHECK(memcmp(row, p.w + (size_t)r * p.cols, sizeof row) == 0, "%s row %u", p.name, (unsigned)r);
        }
        product_close(&p);
    }
}

static bool has_super_blocks(tensor_type type) { return tensor_type_find((uint32_t)type)->block > 32; }

/* A cache's way: rows come one by one, in any order, some twice, into a matrix of zeros. */
static void test_single_rows(void) {
    static const uint32_t order[] = {3, 9, 0, 9, 8, 4, 13, 1, 2, 12, 3, 5, 10};
    for (int t = 0; t < TYPES; t++) {
        product p;
        float row[256], zeros[256] = {0};
        bool put[ROWS_MAX] = {false};
        if (has_super_blocks(types[t])) continue;
        product_open(&p, types[t], ROWS_MAX, 256, 3, 0);
        memset(p.m.data, 0, matrix_bytes(p.type, p.rows, p.cols));
        for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
            uint32_t r = order[i], other = i % 2 ? (r + 1) % ROWS_MAX : r; /* the first time perhaps another row's values */
            matrix_put_row(&p.m, r, p.file + other * p.row_bytes);
            matrix_put_row(&p.m, r, p.file + r * p.row_bytes);
            put[r] = true;
        }
        for (uint32_t r = 0; r < p.rows; r++) {
            const float *want = put[r] ? p.w + (size_t)r * p.cols : zeros;
            matrix_row(&p.m, r, row);
            for (uint32_t k = 0; k < p.cols; k++) CHECK(row[k] == want[k], "%s row %u", p.name, (unsigned)r);
            if (!put[r]) memset(p.w + (size_t)r * p.cols, 0, p.cols * sizeof *p.w);
        }
        product_check(&p);
        product_close(&p);
    }
}

/* Rows of bytes that fill no whole block, as a cache keeps them: the same product as with the block filled up by zeros. What
 * lies behind the rows does not matter. */
static void test_short_blocks(void) {
    for (uint32_t cols = 1; cols < 96; cols += cols == 1 ? 3 : 4)
        for (uint32_t n = 1; n <= 9; n += 4) {
            product p;
            uint32_t whole = (cols + COLUMN_BLOCK - 1) / COLUMN_BLOCK * COLUMN_BLOCK;
            float row[96];
            product_open(&p, TENSOR_Q8_0, ROWS_MAX, whole, n, 0);
            for (uint32_t i = 0; i < n; i++)
                for (uint32_t k = cols; k < whole; k++) p.x[(size_t)i * whole + k] = 0;
            columns_pack(&p.c, 0, n);
            product_multiply(&p);
            size_t bytes = matrix_bytes(TENSOR_Q8_0, p.rows, cols);
            matrix m = {TENSOR_Q8_0, p.rows, cols, take(bytes + MATRIX_SLACK)};
            columns c = {p.x, n, cols, take((size_t)columns_bytes(n, cols)), whole};
            float *y = take(n * (p.rows + 1) * sizeof *y);
            CHECK(bytes == (size_t)groups_of(&p) * MATRIX_GROUP * ((cols + 3) / 4 * 4 + 2 * whole / COLUMN_BLOCK), "%zu bytes", bytes);
            memset(m.data, 0, bytes);
            for (uint32_t r = p.rows; r-- > 0;) matrix_put_row(&m, r, p.file + r * p.row_bytes);
            columns_pack(&c, 0, n);
            matrix_multiply(&m, &c, 0, groups_of(&p), y, p.rows + 1);
            for (uint32_t i = 0; i < n; i++)
                CHECK(memcmp(y + i * (p.rows + 1), p.y + i * (p.rows + 1), p.rows * sizeof *y) == 0, "%u columns, token %u of %u",
                      (unsigned)cols, (unsigned)i, (unsigned)n);
            for (uint32_t r = 0; r < p.rows; r++) {
                matrix_row(&m, r, row);
                CHECK(memcmp(row, p.w + (size_t)r * whole, cols * sizeof *row) == 0, "%u columns, row %u", (unsigned)cols, (unsigned)r);
                float one[ROWS_MAX + MATRIX_GROUP] = {0}, sum[96] = {0};
                one[r] = 1.0f;
                matrix_multiply_transposed(&m, 0, groups_of(&p), one, ROWS_MAX, 1, sum, 96);
                for (uint32_t k = 0; k < 96; k++)
                    CHECK((k >= cols && k < (cols + 3) / 4 * 4) || fabsf(sum[k] - (k < cols ? row[k] : 0)) <= (k < cols ? 1e-4f : 0), "%u columns, row %u, column %u: %g, not %g",
                          (unsigned)cols, (unsigned)r, (unsigned)k, (double)sum[k], (double)row[k]);
            }
            memory_resize(m.data, 0);
            memory_resize(c.packed, 0);
            memory_resize(y, 0);
            product_close(&p);
        }
}

/* y += W^T x against sums in double precision of the values that matrix_row gives. What codes may be off by: x times a row's
 * scale counts in units of max |x scale| / 32767 over 64 rows: half a unit for each row at most, times its code. */
static void check_transposed(tensor_type type, uint32_t rows, uint32_t cols, uint32_t n, uint32_t begin) {
    product p;
    product_open(&p, type, rows, cols, 1, 0);
    uint32_t end = groups_of(&p), count = (end - begin) * MATRIX_GROUP, room = (cols + 31) / 32 * 32 + 5;
    float *x = take(n * (count + 3) * sizeof *x), *y = take(n * room * sizeof *y);
    ref_random random = {rows * 31u + n};
    for (uint32_t i = 0; i < n * (count + 3); i++) x[i] = ref_uniform(&random, -1.0f, 1.0f) * (i % 5 ? 0.01f : 1.0f);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t r = rows - begin * MATRIX_GROUP; r < count; r++) x[i * (count + 3) + r] = 0;
    for (uint32_t i = 0; i < n * room; i++) y[i] = 3.0f;
    matrix_multiply_transposed(&p.m, begin, end, x, count + 3, n, y, room);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < room; k++) {
            double want = 3.0, absolute = 3.0, largest = 0;
            for (uint32_t r = begin * MATRIX_GROUP; r < rows && k < cols; r++) {
                double w = (double)p.w[(size_t)r * cols + k], by = (double)x[i * (count + 3) + r - begin * MATRIX_GROUP];
                want += w * by, absolute += fabs(w * by);
                for (uint32_t c = k / 32 * 32; c < k / 32 * 32 + 32 && c < cols; c++) largest = fmax(largest, fabs((double)p.w[(size_t)r * cols + c]));
            }
            double bound = 4e-6 * absolute + (type == TENSOR_F32 || type == TENSOR_F16 ? 0 : count * largest / 32767.0);
            double off = fabs((double)y[i * room + k] - want);
            CHECK(off <= bound && (k < cols || off == 0), "%s, %u rows, %u columns, y %u of %u, column %u: %g, not %g (bound %g)", p.name,
                  (unsigned)rows, (unsigned)cols, (unsigned)i, (unsigned)n, (unsigned)k, (double)y[i * room + k], want, bound);
        }
    memory_resize(x, 0);
    memory_resize(y, 0);
    product_close(&p);
}

static void test_transposed(void) {
    static const tensor_type cached[] = {TENSOR_F32, TENSOR_F16, TENSOR_Q4_0, TENSOR_Q4_1, TENSOR_Q8_0};
    static const uint32_t counts[] = {1, 2, 3, 4, 5, 9, 33};
    for (int t = 0; t < 5; t++)
        for (uint32_t n = 0; n < 7; n++) {
            check_transposed(cached[t], 64, 128, counts[n], 0);
            check_transposed(cached[t], 150, 32, counts[n], 0);
            check_transposed(cached[t], 7, 96, counts[n], 1);
            check_transposed(cached[t], 1, 32, counts[n], 0);
        }
}

/* Five columns are one pass for the types of caches: the same bits as each column alone. */
static void test_five(void) {
    static const tensor_type cached[] = {TENSOR_Q4_0, TENSOR_Q4_1, TENSOR_Q8_0};
    for (int t = 0; t < 3; t++)
        for (uint32_t n = 5; n <= 9; n += 4) {
            product p;
            product_open(&p, cached[t], ROWS_MAX, 160, n, 0);
            product_multiply(&p);
            float *y = take((p.rows + 1) * sizeof *y);
            columns c = {NULL, 1, p.cols, take((size_t)columns_bytes(1, p.cols)), 0};
            for (uint32_t i = 0; i < n; i++) {
                c.values = p.x + (size_t)i * p.cols;
                columns_pack(&c, 0, 1);
                matrix_multiply(&p.m, &c, 0, groups_of(&p), y, p.rows + 1);
                CHECK(memcmp(y, p.y + i * (p.rows + 1), p.rows * sizeof *y) == 0, "%s: column %u of %u", p.name, (unsigned)i, (unsigned)n);
            }
            memory_resize(c.packed, 0);
            memory_resize(y, 0);
            product_close(&p);
        }
}

/* Columns that lie apart, as the channels of a run of a longer row do, are the same as columns side by side. */
static void test_strides(void) {
    for (int t = 0; t < TYPES; t++)
        for (uint32_t n = 1; n <= 9; n += 4) {
            product p;
            product_open(&p, types[t], ROWS_MAX, 256, n, 0);
            product_multiply(&p);
            size_t stride = p.cols + 48;
            float *apart = take(n * stride * sizeof *apart), *y = take(n * (p.rows + 1) * sizeof *y);
            for (uint32_t i = 0; i < n; i++) memcpy(apart + i * stride, p.x + (size_t)i * p.cols, p.cols * sizeof *apart);
            columns c = {apart, n, p.cols, take((size_t)columns_bytes(n, p.cols)), stride};
            columns_pack(&c, 0, n);
            matrix_multiply(&p.m, &c, 0, groups_of(&p), y, p.rows + 1);
            for (uint32_t i = 0; i < n; i++)
                CHECK(memcmp(y + i * (p.rows + 1), p.y + i * (p.rows + 1), p.rows * sizeof *y) == 0, "%s token %u of %u", p.name,
                      (unsigned)i, (unsigned)n);
            memory_resize(c.packed, 0);
            memory_resize(apart, 0);
            memory_resize(y, 0);
            product_close(&p);
        }
}

/* One token's results do not depend on who else is in the batch, nor on how groups are split. */
static void test_batches(void) {
    for (int t = 0; t < TYPES; t++) {
        product p;
        product_open(&p, types[t], ROWS_MAX, 512, 11, 0);
        product_multiply(&p);
        for (uint32_t i = 0; i < p.n; i++) {
            float alone[ROWS_MAX];
            columns one = {p.x + (size_t)i * p.cols, 1, p.cols, take((size_t)columns_bytes(1, p.cols)), 0};
            columns_pack(&one, 0, 1);
            for (uint32_t g = groups_of(&p); g-- > 0;) matrix_multiply(&p.m, &one, g, g + 1, alone, p.rows);
            CHECK(memcmp(alone, p.y + i * (p.rows + 1), p.rows * sizeof(float)) == 0, "%s token %u", p.name,
                  (unsigned)i);
            memory_resize(one.packed, 0);
        }
        product_close(&p);
    }
}

/* Tokens may be packed in any order and split. */
static void test_packing_order(void) {
    product p;
    product_open(&p, TENSOR_Q4_1, 4, 96, 11, 0);
    uint8_t *whole = p.c.packed;
    p.c.packed = take((size_t)columns_bytes(p.n, p.cols));
    columns_pack(&p.c, 7, 11);
    for (uint32_t i = 7; i-- > 0;) columns_pack(&p.c, i, i + 1);
    CHECK(memcmp(whole, p.c.packed, (size_t)columns_bytes(p.n, p.cols)) == 0, "the parts differ from the whole");
    memory_resize(whole, 0);
    product_close(&p);
}

/* A measure counts in 64 bits, also where addresses have 32. */
static void test_packing_size(void) {
    uint64_t bytes = columns_bytes(16384, 419456);
    CHECK(bytes == 16384 * columns_bytes(1, 419456) && bytes > UINT32_MAX, "%llu bytes", (unsigned long long)bytes);
}

/* Halves that allow no common factor (above 64 beside subnormal ones) come back and multiply as well. */
static void test_large_halves(void) {
    product p;
    product_open(&p, TENSOR_F16, 5, 64, 5, 1);
    product_check(&p);
    for (uint32_t r = 0; r < p.rows; r++) {
        float row[64];
        matrix_row(&p.m, r, row);
        CHECK(memcmp(row, p.w + (size_t)r * p.cols, sizeof row) == 0, "row %u", (unsigned)r);
    }
    product_close(&p);
}

static void test_sizes(void) {
    for (int t = 0; t < TYPES; t++) {
        size_t file = 4 * tensor_row_bytes(types[t], 1024), packed = matrix_group_bytes(types[t], 1024);
        CHECK(packed >= file && (double)packed <= 1.04 * (double)file, "%s: %zu bytes become %zu",
              tensor_type_find((uint32_t)types[t])->name, file, packed);
    }
}

/* The same results to the last bit in the scalar and the SIMD128 build: both know this sum of all of them. The relaxed
 * build fuses multiplications and additions; it is held to the bound above. */
static void test_checksum(void) {
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (int t = 0; t < TYPES; t++) {
        product p;
        product_open(&p, types[t], ROWS_MAX, 512, 11, 0);
        product_multiply(&p);
        const uint8_t *bytes = (const uint8_t *)p.y;
        for (size_t i = 0; i < sizeof(float) * p.n * (p.rows + 1); i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
        product_close(&p);
    }
    if (strcmp(SIMD_NAME, "relaxed") == 0) {
        printf("     (relaxed: checksum %016llx, not compared)\n", (unsigned long long)hash);
        return;
    }
    CHECK(hash == 0x073db394d8bf8f54u, "the %s build gives %016llx", SIMD_NAME, (unsigned long long)hash);
}

int main(void) {
    RUN("every type, odd shapes: within rounding of the slow product", test_shapes);
    RUN("every type, 1 to 17 tokens", test_counts);
    RUN("every type, largest codes and activations", test_extremes);
    RUN("a row comes back as the file's values, bit for bit", test_rows);
    RUN("rows put one by one, in any order, are rows packed together", test_single_rows);
    RUN("the product with the transpose, of the types of caches", test_transposed);
    RUN("five columns at once are each column alone", test_five);
    RUN("rows that fill no whole block give what filled-up ones give", test_short_blocks);
    RUN("activations may lie apart", test_strides);
    RUN("results do not depend on batch or split", test_batches);
    RUN("activations can be packed in any order", test_packing_order);
    RUN("the size of packed activations is told beyond 4 GiB", test_packing_size);
    RUN("large and subnormal halves in one group", test_large_halves);
    RUN("packed weights are at most 4 % larger than the file's", test_sizes);
    RUN("scalar and SIMD128 agree bit for bit", test_checksum);
    return test_report();
}
