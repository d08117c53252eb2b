/* test_threads.c: every item is done exactly once, by workers that never overlap on an index, whatever the counts. */
#include "threads.h"

#include <stdatomic.h>

#include "arena.h"
#include "test.h"

enum { ITEMS_MAX = 4096 };

typedef struct tally {
    _Atomic uint32_t times[ITEMS_MAX];
    _Atomic int inside[64]; /* a worker index is in use by one thread at a time */
    _Atomic int clashes, outside;
    uint32_t items, workers, grain;
    uint64_t sums[ITEMS_MAX];
} tally;

static tally t;

static void count_items(void *context, uint32_t begin, uint32_t end, uint32_t worker) {
    tally *a = context;
    if (worker >= a->workers || end > a->items || begin >= end || (a->workers > 1 && end - begin > a->grain))
        atomic_fetch_add(&a->outside, 1);
    if (atomic_fetch_add(&a->inside[worker & 63], 1) != 0) atomic_fetch_add(&a->clashes, 1);
    for (uint32_t i = begin; i < end; i++) {
        atomic_fetch_add(&a->times[i], 1);
        uint64_t sum = i;
        for (uint32_t k = 0; k < i % 257; k++) sum = sum * 6364136223846793005u + k;
        a->sums[i] = sum;
    }
    atomic_fetch_sub(&a->inside[worker & 63], 1);
}

static bool build_has_threads(void) {
    threads *pool = NULL;
    bool has = threads_open(2, &pool, NULL) == CLLA_OK;
    if (has) threads_close(pool);
    return has;
}

static void run_and_check(threads *pool, uint32_t items, uint32_t grain) {
    memset(&t, 0, sizeof t);
    t.items = items;
    t.grain = items <= grain ? items : grain;
    t.workers = threads_count(pool);
    threads_run(pool, items, grain, count_items, &t);
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < ITEMS_MAX; i++) wrong += atomic_load(&t.times[i]) != (i < items ? 1 : 0);
    CHECK(wrong == 0, "%u of %u items not done once", (unsigned)wrong, (unsigned)items);
    CHECK(atomic_load(&t.clashes) == 0, "two threads shared a worker index");
    CHECK(atomic_load(&t.outside) == 0, "a piece was outside of the loop or larger than the grain");
}

static uint32_t most_threads(void) { return build_has_threads() ? 8 : 1; }

static void test_each_item_once(void) {
    static const uint32_t items[] = {0, 1, 2, 3, 7, 64, 1000, ITEMS_MAX}, grains[] = {1, 3, 64, 5000};
    for (uint32_t count = 1; count <= most_threads(); count = count * 2 - (count > 1)) { /* 1 2 3 5 */
        threads *pool;
        CHECK(threads_open(count, &pool, NULL) == CLLA_OK, "%u threads", (unsigned)count);
        for (size_t i = 0; i < sizeof items / sizeof items[0]; i++)
            for (size_t g = 0; g < sizeof grains / sizeof grains[0]; g++) run_and_check(pool, items[i], grains[g]);
        threads_close(pool);
    }
}

/* Loops that follow one another at once, the place for a late thread to take an item of the wrong loop. */
static void test_many_loops(void) {
    threads *pool;
    CHECK(threads_open(most_threads() < 3 ? most_threads() : 3, &pool, NULL) == CLLA_OK, "open");
    memset(&t, 0, sizeof t);
    t.workers = threads_count(pool);
    enum { LOOPS = 20000 };
    for (uint32_t n = 0; n < LOOPS; n++) {
        t.items = n % 13 + 2;
        t.grain = n % 3 + 1;
        if (t.items <= t.grain) t.grain = t.items;
        threads_run(pool, t.items, t.grain, count_items, &t);
    }
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < 14; i++) {
        uint32_t want = 0;
        for (uint32_t n = 0; n < LOOPS; n++) want += i < n % 13 + 2;
        wrong += atomic_load(&t.times[i]) != want;
    }
    CHECK(wrong == 0, "%u items done too often or not at all", (unsigned)wrong);
    CHECK(atomic_load(&t.clashes) == 0 && atomic_load(&t.outside) == 0, "a thread worked on the wrong loop");
    threads_close(pool);
}

static void test_results_do_not_depend_on_threads(void) {
    static uint64_t alone[ITEMS_MAX];
    for (uint32_t count = 1; count <= most_threads(); count++) {
        threads *pool;
        CHECK(threads_open(count, &pool, NULL) == CLLA_OK, "open");
        run_and_check(pool, ITEMS_MAX, 5);
        if (count == 1) memcpy(alone, t.sums, sizeof alone);
        CHECK(memcmp(alone, t.sums, sizeof alone) == 0, "%u threads give something else", (unsigned)count);
        threads_close(pool);
    }
}

static void test_refusals(void) {
    threads *pool = NULL;
    clla_error error = {""};
    CHECK(threads_open(0, &pool, &error) == CLLA_BAD_ARGUMENT && strstr(error.text, "threads"), "%s", error.text);
    CHECK(threads_open(1000, &pool, &error) == CLLA_BAD_ARGUMENT && strstr(error.text, "1000"), "%s", error.text);
    if (!build_has_threads())
        CHECK(threads_open(2, &pool, &error) == CLLA_BAD_ARGUMENT && strstr(error.text, "one thread"), "%s",
              error.text);
    size_t before = memory_in_use();
    memory_fail_at(1);
    CHECK(threads_open(1, &pool, &error) == CLLA_OUT_OF_MEMORY, "%s", error.text);
    memory_fail_at(0);
    CHECK(pool == NULL && memory_in_use() == before, "a refusal leaves something behind");
    threads_close(NULL);
}

int main(void) {
    RUN("each item is done once, for all counts and grains", test_each_item_once);
    RUN("loops in quick succession do not mix", test_many_loops);
    RUN("results do not depend on the number of threads", test_results_do_not_depend_on_threads);
    RUN("counts that cannot be are refused with the reason", test_refusals);
    return test_report();
}
