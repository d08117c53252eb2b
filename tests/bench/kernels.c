/* bench/kernels.c: how fast the matrix kernels are, on one thread. Prints a table: for each type, billions of
 * multiply-adds a second with 1 and with 64 tokens, weights in cache and streamed from memory.
 *
 *     emcc -O3 -msimd128 -mrelaxed-simd -ffp-contract=off -Isrc tests/bench/kernels.c src/kernels*.c src/quant.c \
 *          src/arena.c -sALLOW_MEMORY_GROWTH -o kernels.js && node kernels.js [type ...]
 *
 * Without the -m options, and with gcc, it is the scalar build; without -mrelaxed-simd the SIMD128 one. Work is timed
 * in pieces of a fraction of a millisecond, and the figure is that of the piece at the lower quartile: what the machine
 * does while nobody else runs on the core. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "clock.h"
#include "kernels.h"
#include "simd.h"

enum { COLS = 1536, TOKENS = 64, CACHE_ROWS = 128, STREAM_BYTES = 96 << 20, PIECES_MAX = 4000 };

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Multiply-adds a second, in billions, while pieces of `rows` rows meet n tokens: the same rows again and again, or
 * (streaming) the next ones. */
static double measure(const matrix *w, columns c, uint32_t n, uint32_t rows, bool streaming, float *y) {
    static double times[PIECES_MAX];
    uint32_t groups = rows / MATRIX_GROUP, all = w->rows / MATRIX_GROUP, pieces = 0;
    c.n = n;
    columns_pack(&c, 0, n);
    double end = seconds() + 0.4;
    for (uint32_t g = 0; pieces < PIECES_MAX && seconds() < end; pieces++) {
        double start = seconds();
        matrix_multiply(w, &c, g, g + groups, y - (size_t)g * MATRIX_GROUP, rows);
        times[pieces] = seconds() - start;
        if (streaming) g = g + 2 * groups <= all ? g + groups : 0;
    }
    qsort(times, pieces, sizeof times[0], compare);
    return (double)rows * (double)COLS * n / times[pieces / 4] * 1e-9;
}

static void bench(const tensor_type_info *info, tensor_type type) {
    size_t row_bytes = tensor_row_bytes(type, COLS);
    uint32_t rows = (uint32_t)(STREAM_BYTES / row_bytes) / CACHE_ROWS * CACHE_ROWS;
    matrix w = {type, rows, COLS, memory_resize(NULL, matrix_bytes(type, rows, COLS))};
    uint8_t *file = memory_resize(NULL, MATRIX_GROUP * row_bytes);
    float *x = memory_resize(NULL, sizeof(float) * COLS * TOKENS);
    float *y = memory_resize(NULL, sizeof(float) * rows * TOKENS);
    columns c = {x, TOKENS, COLS, memory_resize(NULL, (size_t)columns_bytes(TOKENS, COLS)), 0};
    for (size_t i = 0; i < MATRIX_GROUP * row_bytes; i++) /* any bits do that make no subnormal or infinite floats */
        file[i] = info->block == 1 ? 0x3c : (uint8_t)(0x21 + i % 19);
    for (uint32_t i = 0; i < COLS * TOKENS; i++) x[i] = (float)(i % 61) * 0.1f - 3.0f;
    double start = seconds();
    for (uint32_t g = 0; g < rows / MATRIX_GROUP; g++) matrix_pack(&w, g, MATRIX_GROUP, file);
    double packing = (double)rows * (double)row_bytes / (seconds() - start) * 1e-9;
    double one = measure(&w, c, 1, CACHE_ROWS, false, y), many = measure(&w, c, TOKENS, CACHE_ROWS / 4, false, y);
    double stream = measure(&w, c, 1, CACHE_ROWS, true, y);
    double stream_many = measure(&w, c, TOKENS, CACHE_ROWS / 4, true, y);
    printf("%-7s %8.1f %9.1f %11.1f %9.1f %13.1f %11.2f\n", info->name, one, many, stream, stream_many,
           stream * (double)row_bytes / (double)COLS, packing);
    fflush(stdout);
    memory_resize(w.data, 0);
    memory_resize(file, 0);
    memory_resize(x, 0);
    memory_resize(y, 0);
    memory_resize(c.packed, 0);
}

static bool wanted(int count, char **names, const char *name) {
    for (int i = 1; i < count; i++)
        if (strcmp(names[i], name) == 0) return true;
    return count < 2;
}

int main(int count, char **names) {
    printf("%s, GMAC/s: in cache, then streamed; GB/s of the file's bytes\n", SIMD_NAME);
    printf("type     1 token %d tokens |  1 token %d tokens  1 token GB/s   pack GB/s\n", TOKENS, TOKENS);
#define BENCH(name, number, block, bytes)                                                                     \
    if (wanted(count, names, #name)) bench(tensor_type_find(number), TENSOR_##name);
    CLLA_TENSOR_TYPE_LIST(BENCH)
#undef BENCH
    return 0;
}
