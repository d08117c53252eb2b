/* tokenizer_merge.c: merge neighbouring symbols, the most urgent pair first, the leftmost of equals, until none can be.
 *
 * The symbols are a linked list; a heap holds (priority, left symbol) of every pair that may merge. An entry whose
 * symbol has got another priority meanwhile is stale and skipped, so nothing is searched and the whole takes
 * O(n log n). A symbol's list neighbours live in the array that the word's characters took: merging allocates only the
 * heap, at most one entry a symbol and two a merge. */
#include "tokenizer_parts.h"

bool merge_room(encoder *e, size_t count) {
    if (count <= e->symbol_capacity) return true;
    size_t capacity = count + count / 2 + 64;
    if (count >= UINT32_MAX || capacity > SIZE_MAX / sizeof *e->symbols) return false;
    symbol *symbols = memory_resize(e->symbols, capacity * sizeof *symbols);
    if (!symbols) return false;
    e->symbols = symbols;
    e->symbol_capacity = capacity;
    return true;
}

static bool heap_push(encoder *e, uint64_t entry) {
    if (e->heap_size == e->heap_capacity) {
        size_t capacity = e->heap_capacity * 2 + 64;
        if (capacity > SIZE_MAX / sizeof *e->heap) return false;
        uint64_t *heap = memory_resize(e->heap, capacity * sizeof *heap);
        if (!heap) return false;
        e->heap = heap;
        e->heap_capacity = capacity;
    }
    size_t i = e->heap_size++;
    for (; i > 0 && e->heap[(i - 1) / 2] > entry; i = (i - 1) / 2) e->heap[i] = e->heap[(i - 1) / 2];
    e->heap[i] = entry;
    return true;
}

static uint64_t heap_pop(encoder *e) {
    uint64_t top = e->heap[0], last = e->heap[--e->heap_size];
    size_t i = 0, child;
    while ((child = 2 * i + 1) < e->heap_size) {
        if (child + 1 < e->heap_size && e->heap[child + 1] < e->heap[child]) child++;
        if (e->heap[child] >= last) break;
        e->heap[i] = e->heap[child];
        i = child;
    }
    e->heap[i] = last;
    return top;
}

/* Weigh the pair that begins with symbol i anew. */
static bool offer(encoder *e, uint32_t i, merge_weigh *weigh) {
    symbol *left = &e->symbols[i];
    left->priority = UINT32_MAX;
    if (left->next == UINT32_MAX) return true;
    weigh(e, left, &e->symbols[left->next]);
    return left->priority == UINT32_MAX || heap_push(e, (uint64_t)left->priority << 32 | i);
}

static void join(encoder *e, uint32_t i) {
    symbol *left = &e->symbols[i], *right = &e->symbols[left->next];
    left->id = left->result;
    left->size += right->size;
    left->next = right->next;
    right->priority = UINT32_MAX; /* its entries are stale */
    if (left->next != UINT32_MAX) e->symbols[left->next].previous = i;
}

bool merge_symbols(encoder *e, uint32_t count, merge_weigh *weigh) {
    e->heap_size = 0;
    for (uint32_t i = 0; i < count; i++) {
        e->symbols[i].previous = i - 1; /* UINT32_MAX for the first */
        e->symbols[i].next = i + 1 < count ? i + 1 : UINT32_MAX;
    }
    for (uint32_t i = 0; i < count; i++)
        if (!offer(e, i, weigh)) return false;
    while (e->heap_size > 0) {
        uint64_t entry = heap_pop(e);
        uint32_t i = (uint32_t)entry;
        if (e->symbols[i].priority != entry >> 32) continue;
        join(e, i);
        uint32_t previous = e->symbols[i].previous;
        if (previous != UINT32_MAX && !offer(e, previous, weigh)) return false;
        if (!offer(e, i, weigh)) return false;
    }
    return true;
}
