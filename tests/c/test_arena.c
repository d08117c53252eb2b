/* test_arena.c: sizes are told before they are taken, products that overflow are seen, memory is counted. */
#include "arena.h"
#include "test.h"

typedef struct layout {
    uint8_t *bytes;
    double *numbers;
    uint32_t *nothing;
} layout;

static void lay_out(arena *a, layout *l) {
    l->bytes = arena_take(a, 100, 1);
    l->numbers = arena_take(a, 33, sizeof *l->numbers);
    l->nothing = arena_take(a, 0, sizeof *l->nothing);
}

static void test_measure(void) {
    layout l;
    arena a = {0};
    lay_out(&a, &l);
    CHECK(a.used == 128 + 320 && !l.bytes && !l.numbers, "measured %u bytes", (unsigned)a.used);
    size_t before = memory_in_use(), size = (size_t)a.used;
    CHECK(arena_open(&a, size) && a.size == size && a.used == 0, "opened");
    lay_out(&a, &l);
    CHECK(a.used == size, "laid out %u of %zu bytes", (unsigned)a.used, size);
    CHECK((uintptr_t)l.bytes % ARENA_ALIGN == 0 && (uintptr_t)l.numbers % ARENA_ALIGN == 0, "aligned");
    for (int i = 0; i < 33; i++) CHECK(l.numbers[i] == 0, "zeroed");
    memset(l.bytes, 1, 100);
    CHECK(l.numbers[0] == 0, "apart");
    CHECK(memory_in_use() == before + size && memory_peak() >= before + size, "counted");
    arena_close(&a);
    arena_close(&a);
    CHECK(memory_in_use() == before && !a.base, "given back");
    uint8_t *small = memory_resize(NULL, 1 << 20), *large = memory_resize(small, 3 << 20);
    CHECK(memory_in_use() == before + (3 << 20) && memory_peak() >= before + (4 << 20), "both count while one is copied");
    memory_resize(large, 0);
}

static void test_overflow(void) {
    static const uint64_t wrong[][2] = {
        {UINT64_MAX, 1}, {UINT64_MAX, UINT64_MAX}, {UINT64_MAX / 8 + 1, 8}, {2, UINT64_MAX - 10}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        arena a = {0};
        arena_take(&a, 10, 10);
        arena_take(&a, wrong[i][0], wrong[i][1]);
        CHECK(a.used == UINT64_MAX, "product %zu", i);
        arena_take(&a, 1, 1);
        CHECK(a.used == UINT64_MAX, "once overflowed, always");
        CHECK(!arena_open(&a, a.used) && !a.base, "refused");
    }
    arena a = {0};
    for (int i = 0; i < 4; i++) arena_take(&a, UINT64_MAX / 3, 1);
    CHECK(a.used == UINT64_MAX, "a sum that overflows");
}

/* A size that this build cannot have is told exactly, and refused. */
static void test_too_large(void) {
    arena a = {0};
    arena_take(&a, UINT64_C(1) << 32, 1 << 20);
    arena_take(&a, 1, 1);
    CHECK(a.used == (UINT64_C(1) << 52) + ARENA_ALIGN, "4 PiB and a line");
    memory_fail_at(sizeof(size_t) > 4 ? 1 : 0); /* where it could be asked for, it must not be */
    CHECK(!arena_open(&a, a.used) && !a.base, "refused");
    memory_fail_at(0);
}

static void test_no_memory(void) {
    arena a = {0};
    size_t before = memory_in_use();
    CHECK(!arena_open(&a, SIZE_MAX - 1) && !a.base, "more than there is");
    memory_fail_at(1);
    CHECK(!arena_open(&a, 100) && !a.base, "told to fail");
    CHECK(arena_open(&a, 100) && a.base, "only once");
    arena_close(&a);
    CHECK(memory_in_use() == before, "nothing left");
}

static void test_resize(void) {
    size_t before = memory_in_use();
    uint8_t *block = memory_resize(NULL, 10);
    memcpy(block, "123456789", 10);
    memory_fail_at(1);
    CHECK(!memory_resize(block, 1000) && memcmp(block, "123456789", 10) == 0, "a failure leaves the block");
    CHECK(memory_in_use() == before + 10, "and its count");
    block = memory_resize(block, 100000);
    CHECK(memcmp(block, "123456789", 10) == 0 && memory_in_use() == before + 100000, "grown");
    block = memory_resize(block, 5);
    CHECK(memcmp(block, "12345", 5) == 0 && memory_in_use() == before + 5, "shrunk");
    CHECK(!memory_resize(block, 0) && memory_in_use() == before, "freed");
    CHECK(!memory_resize(NULL, 0) && memory_in_use() == before, "freeing nothing");
}

static void test_fail_at(void) {
    memory_fail_at(3);
    void *blocks[4];
    for (int i = 0; i < 4; i++) blocks[i] = memory_resize(NULL, 1);
    CHECK(blocks[0] && blocks[1] && !blocks[2] && blocks[3], "the third one failed");
    for (int i = 0; i < 4; i++) memory_resize(blocks[i], 0);
}

int main(void) {
    RUN("what is measured is what is taken, aligned, zeroed and counted", test_measure);
    RUN("products and sums that overflow are refused", test_overflow);
    RUN("a size beyond the build's memory is told and refused", test_too_large);
    RUN("no memory leaves an empty arena", test_no_memory);
    RUN("blocks grow, shrink and survive a failure", test_resize);
    RUN("the n-th allocation fails, once", test_fail_at);
    return test_report();
}
