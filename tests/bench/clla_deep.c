/* clla_deep.c: the speed of decoding with few tokens in the cache and with many, in turn, in one process.
 *
 *     scripts/build.sh wasm-relaxed-threads:c_benches
 *     node build/wasm-relaxed-threads/tests/c/bench_clla_deep.cjs MODEL BOOK.txt [DEPTH 32768] [THREADS 2] [TURNS 9] [KV]
 *
 * Each turn decodes STEPS tokens behind 4 tokens, behind 2,048, 8,192 and so on, four times as many each, up to DEPTH, each
 * step whole (all layers, logits); printed are the medians, of the speeds and of their ratio to the first of the same turn:
 * what slows a machine down for a while slows all of a turn. READ tokens of the book are read; further rows of the cache are
 * copies of theirs, which costs as much as any others and spares reading a book for half an hour. */
#define _POSIX_C_SOURCE 200809L
#include "clock.h"
#include "timeline.h"

enum { READ = 2048, STEPS = 16, TURNS_MAX = 99, DEPTHS_MAX = 8 };

#ifdef __EMSCRIPTEN__
#include <emscripten/heap.h>
static double memory_bytes(void) { return (double)emscripten_get_heap_size(); }
#else
static double memory_bytes(void) { return 0; }
#endif

static void read_tokens(timeline *t, const int32_t *tokens) {
    for (uint32_t i = 0; i < READ; i += CHUNK) forward_step(&t->forward, &t->cache, tokens + i, CHUNK, i, NULL, 0);
}

/* The rows of the first READ tokens again and again. */
static void repeat_rows(timeline *t, uint32_t depth) {
    uint8_t *piece, *all;
    for (uint32_t i = 0; kv_cache_piece(&t->cache, depth, i, &all) > 0; i++) {
        size_t size = kv_cache_piece(&t->cache, READ, i, &piece), whole = kv_cache_piece(&t->cache, depth, i, &all);
        for (size_t at = size; at < whole; at += size) memcpy(all + at, piece, whole - at < size ? whole - at : size);
    }
}

/* Tokens a second. */
static double decode(timeline *t, uint32_t depth, const int32_t *tokens) {
    const uint32_t pick = 0;
    double start = seconds();
    for (uint32_t i = 0; i < STEPS; i++) forward_step(&t->forward, &t->cache, tokens + i, 1, depth + i, &pick, 1);
    return (double)STEPS / (seconds() - start);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, ascending);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

int main(int count, char **arguments) {
    bench_name = "deep";
    if (count < 3) fail("want MODEL BOOK.txt [DEPTH] [THREADS] [TURNS] [KV]");
    uint32_t deepest = count > 3 ? (uint32_t)atoi(arguments[3]) : 32768, workers = count > 4 ? (uint32_t)atoi(arguments[4]) : 2;
    int turns = count > 5 ? atoi(arguments[5]) : 9, depths = 0;
    if (turns < 1 || turns > TURNS_MAX || deepest < READ || deepest > 1u << 20) fail("DEPTH or TURNS makes no sense");
    uint32_t at[DEPTHS_MAX] = {4};
    for (uint32_t d = READ; d <= deepest && depths + 1 < DEPTHS_MAX; d *= 4) at[++depths] = d;
    depths++;
    clla_model *m = open_model(arguments[1], workers);
    ids book = read_book(m, arguments[2], READ + STEPS);
    timeline t;
    static double speeds[DEPTHS_MAX][TURNS_MAX], shares[DEPTHS_MAX][TURNS_MAX];
    timeline_open(&t, m, count > 6 ? arguments[6] : NULL, deepest + STEPS, 1);
    read_tokens(&t, book.data);
    repeat_rows(&t, deepest + STEPS);
    for (int d = 0; d < depths; d++) decode(&t, at[d], book.data); /* the engine's code is compiled better as it runs */
    for (int turn = 0; turn < turns; turn++)
        for (int d = 0; d < depths; d++) {
            speeds[d][turn] = decode(&t, at[d], book.data + turn % READ);
            shares[d][turn] = speeds[d][turn] / speeds[0][turn];
        }
    printf("%u threads, %d turns; cache of %u tokens %.1f MB, Wasm memory %.1f MB\n", workers, turns, deepest + STEPS,
           (double)t.cache.bytes / 1e6, memory_bytes() / 1e6);
    for (int d = 0; d < depths; d++)
        printf("  decode at %6u  %6.1f tokens/s  %.2f of at 4\n", at[d], median(speeds[d], turns), median(shares[d], turns));
    free(book.data);
    arena_close(&t.memory);
    clla_model_free(m);
    return 0;
}
