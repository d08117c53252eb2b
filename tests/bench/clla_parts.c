/* clla_parts.c: what a token in the cache costs in one layer, part by part, on one thread: SmolLM2's shape with latents of
 * 128 channels in 4 bits, rope keys of 32 in 8 bits, nine heads, a token decoded.
 *
 *     scripts/build.sh wasm-relaxed-threads:c_benches
 *     node build/wasm-relaxed-threads/tests/c/bench_clla_parts.cjs [TOKENS 4096]
 *
 * The fastest of many passes over so many tokens, in nanoseconds a token: what a machine does that is left alone. 4,096 stay
 * in a processor's second cache; 131,072 are what a decoder of 8,192 tokens walks through in sixteen layers that store. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "clock.h"
#include "kernels.h"
#include "simd.h"
#include "vector.h"

enum { STRIP = 64, HEADS = 9, RANK = 128, ROPE = 32, PASSES = 1 << 20 /* tokens in all */, GROUPS = STRIP / MATRIX_GROUP };

typedef struct cache {
    uint32_t tokens;
    matrix latents, rope;
    columns q, q_rope;
    float *scores, *values;
} cache;

/* Rows whose codes are anything and whose scales lie between 0.03 and 0.06. */
static matrix rows_of(tensor_type type, uint32_t tokens, uint32_t cols) {
    matrix m = {type, tokens, cols, memory_resize(NULL, matrix_bytes(type, tokens, cols) + MATRIX_SLACK)};
    uint8_t row[256];
    size_t bytes = tensor_row_bytes(type, cols), block = tensor_row_bytes(type, COLUMN_BLOCK);
    for (uint32_t r = 0; r < tokens; r++) {
        for (size_t i = 0; i < bytes; i++) row[i] = i % block == 1 ? 0x28 : (uint8_t)(r * 31 + i * 37);
        matrix_put_row(&m, r, row);
    }
    return m;
}

static columns queries_of(const float *q, uint32_t cols) {
    columns c = {q, HEADS, cols, memory_resize(NULL, (size_t)columns_bytes(HEADS, cols)), RANK + ROPE};
    columns_pack(&c, 0, HEADS);
    return c;
}

static void score_latents(cache *c, uint32_t g) { matrix_multiply(&c->latents, &c->q, g, g + GROUPS, c->scores - g * MATRIX_GROUP, STRIP); }
static void score_rope(cache *c, uint32_t g) { matrix_multiply(&c->rope, &c->q_rope, g, g + GROUPS, c->scores - g * MATRIX_GROUP, STRIP); }

static void weigh(cache *c, uint32_t g) {
    (void)g;
    for (uint32_t h = 0; h < HEADS; h++)
        vector_exp_sum(c->scores + h * STRIP, STRIP, vector_max(c->scores + h * STRIP, 0, STRIP), 0, STRIP);
}

static void add_values(cache *c, uint32_t g) {
    matrix_multiply_transposed(&c->latents, g, g + GROUPS, c->scores, STRIP, HEADS, c->values, RANK);
}

static void all(cache *c, uint32_t g) {
    score_latents(c, g);
    score_rope(c, g);
    weigh(c, g);
    add_values(c, g);
}

static void bench(const char *name, cache *c, void (*part)(cache *, uint32_t)) {
    double best = 1e9;
    for (int round = 0; round == 0 || round < (int)(PASSES / c->tokens); round++) {
        double start = seconds();
        for (uint32_t g = 0; g < c->tokens / MATRIX_GROUP; g += GROUPS) part(c, g);
        double took = seconds() - start;
        if (took < best) best = took;
    }
    printf("  %-12s %6.1f\n", name, best * 1e9 / (double)c->tokens);
}

int main(int argc, char **argv) {
    uint32_t tokens = argc > 1 ? (uint32_t)atoi(argv[1]) / STRIP * STRIP : 4096;
    if (tokens == 0) tokens = STRIP;
    static float q[HEADS * (RANK + ROPE)], scores[HEADS * STRIP], values[HEADS * RANK];
    for (size_t i = 0; i < sizeof q / sizeof *q; i++) q[i] = (float)(i % 17) * 0.1f;
    matrix latents = rows_of(TENSOR_Q4_0, tokens, RANK), rope = rows_of(TENSOR_Q8_0, tokens, ROPE);
    cache c = {tokens, latents, rope, queries_of(q, RANK), queries_of(q + RANK, ROPE), scores, values};
    printf("%s, %u tokens, ns a token and layer\n", SIMD_NAME, (unsigned)tokens);
    bench("rope scores", &c, score_rope);
    bench("scores", &c, score_latents);
    bench("exp", &c, weigh);
    bench("values", &c, add_values);
    bench("all of it", &c, all);
    return 0;
}
