/* arena.c: the only caller of malloc. Each block carries its size in front, so that use and peak can be told. */
#include "arena.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { PREFIX = ARENA_ALIGN }; /* keeps the caller's bytes on a cache line */

static _Atomic size_t in_use, peak;
static _Atomic long fail_at;

static bool must_fail(void) {
    if (atomic_load_explicit(&fail_at, memory_order_relaxed) == 0) return false;
    return atomic_fetch_sub(&fail_at, 1) == 1;
}

static void count_bytes(size_t added, size_t removed) {
    size_t now = atomic_fetch_add(&in_use, added - removed) + added - removed;
    size_t seen = atomic_load(&peak);
    while (now > seen && !atomic_compare_exchange_weak(&peak, &seen, now)) {}
}

void *memory_resize(void *block, size_t size) {
    size_t *old = block ? (size_t *)((uint8_t *)block - PREFIX) : NULL;
    size_t old_size = old ? *old : 0;
    if (size == 0) {
        free(old);
        count_bytes(0, old_size);
        return NULL;
    }
    if (size > SIZE_MAX - 2 * PREFIX || must_fail()) return NULL;
    size_t whole = (size + 2 * PREFIX - 1) / PREFIX * PREFIX;
    uint8_t *fresh = aligned_alloc(PREFIX, whole);
    if (!fresh) return NULL;
    *(size_t *)(void *)fresh = size;
    count_bytes(size, 0); /* for a moment there are both */
    if (old) memcpy(fresh + PREFIX, block, old_size < size ? old_size : size);
    free(old);
    count_bytes(0, old_size);
    return fresh + PREFIX;
}

size_t memory_in_use(void) { return atomic_load(&in_use); }
size_t memory_peak(void) { return atomic_load(&peak); }
void memory_fail_at(long n) { atomic_store(&fail_at, n); }

bool arena_open(arena *a, uint64_t size) {
    *a = (arena){0};
    if (size == 0) size = ARENA_ALIGN;
    if (size > SIZE_MAX) return false;
    a->base = memory_resize(NULL, (size_t)size);
    if (!a->base) return false;
    a->size = size;
    memset(a->base, 0, (size_t)size);
    return true;
}

void *arena_take(arena *a, uint64_t count, uint64_t item) {
    bool fits = item == 0 || count <= (UINT64_MAX - ARENA_ALIGN) / item;
    uint64_t bytes = fits ? (count * item + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN : UINT64_MAX;
    uint64_t start = a->used;
    a->used = bytes < UINT64_MAX - start ? start + bytes : UINT64_MAX;
    if (!a->base) return NULL;
    assert(a->used <= a->size && "an arena is laid out as it was measured");
    return a->base + start;
}

void arena_close(arena *a) {
    memory_resize(a->base, 0);
    *a = (arena){0};
}
