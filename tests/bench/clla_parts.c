/* clla_parts.c: what a token in the cache costs in one layer, part by part, on one thread: SmolLM2's shape with latents of
 * 128 channels in 4 bits, rope keys of 32 in 8 bits, nine heads, a token decoded.
 *
 *     scripts/build.sh wasm-relaxed-threads:c_benches
 *     node build/wasm-relaxed-threads/tests/c/bench_clla_parts.cjs
 *
 * The fastest of ROUNDS passes over TOKENS tokens, in nanoseconds a token: what a machine does that is left alone. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <string.h>

#include "arena.h"
#include "clock.h"
#include "kernels.h"
#include "simd.h"
#include "vector.h"

enum { TOKENS = 4096, STRIP = 64, HEADS = 9, RANK = 128, ROPE = 32, ROUNDS = 200, GROUPS = STRIP / MATRIX_GROUP };

typedef struct cache {
    matrix latents, rope;
    columns q, q_rope;
    float *scores, *values;
} cache;

static matrix rows_of(tensor_type type, uint32_t cols) {
    size_t bytes = matrix_bytes(type, TOKENS, cols);
    matrix m = {type, TOKENS, cols, memory_resize(NULL, bytes + MATRIX_SLACK)};
    for (size_t i = 0; i < bytes; i++) m.data[i] = (uint8_t)(i % 37);
    return m;
}

static columns queries_of(const float *q, uint32_t cols) {
    columns c = {q, HEADS, cols, memory_resize(NULL, columns_bytes(HEADS, cols)), RANK + ROPE};
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

static void bench(const char *name, cache *c, void (*part)(cache *, uint32_t)) {
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        double start = seconds();
        for (uint32_t g = 0; g < TOKENS / MATRIX_GROUP; g += GROUPS) part(c, g);
        double took = seconds() - start;
        if (took < best) best = took;
    }
    printf("  %-12s %6.1f\n", name, best * 1e9 / (double)TOKENS);
}

int main(void) {
    static float q[HEADS * (RANK + ROPE)], scores[HEADS * STRIP], values[HEADS * RANK];
    for (size_t i = 0; i < sizeof q / sizeof *q; i++) q[i] = (float)(i % 17) * 0.1f;
    cache c = {rows_of(TENSOR_Q4_0, RANK), rows_of(TENSOR_Q8_0, ROPE), queries_of(q, RANK), queries_of(q + RANK, ROPE), scores, values};
    printf("%s, ns a token and layer\n", SIMD_NAME);
    bench("rope scores", &c, score_rope);
    bench("scores", &c, score_latents);
    bench("exp", &c, weigh);
    bench("values", &c, add_values);
    return 0;
}
