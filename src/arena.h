/* arena.h: all memory of the engine. No other file calls malloc.
 *
 * Three lifetimes, three arenas: model, session, scratch. An arena is laid out twice by the same code: first as a
 * *measure* (base is NULL: nothing is allocated, the cursor alone moves), then for real with exactly the size that
 * the measure found. So the size that is told before an allocation is the size of the allocation.
 *
 *     arena a = {0};  layout(&a, thing);  size = a.used;
 *     if (!arena_open(&a, size)) return out of memory;  layout(&a, thing);
 *
 * What grows while it is being read (a file's header) uses memory_resize. */
#ifndef CLLA_ARENA_H
#define CLLA_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ARENA_ALIGN = 64 }; /* every allocation starts on a cache line */

typedef struct arena {
    uint8_t *base; /* NULL while measuring */
    uint64_t size; /* bytes at base */
    uint64_t used; /* bytes handed out, a multiple of ARENA_ALIGN; UINT64_MAX once a measure has overflowed */
} arena;

/* Allocate size bytes, zeroed, and start the layout anew. False when there is no memory; the arena stays empty. */
bool arena_open(arena *a, uint64_t size);

/* Hand out count * item bytes. Returns NULL while measuring, else never NULL: asking for more than was measured is
 * our own mistake (assert). A measure counts in 64 bits, so that a size beyond this build's memory can be told; arena_open
 * refuses it. */
void *arena_take(arena *a, uint64_t count, uint64_t item);

/* Free the memory; safe on an empty arena. */
void arena_close(arena *a);

/* The resizing allocator: NULL on failure (the old block stays valid), frees when size is 0. */
void *memory_resize(void *block, size_t size);

/* Bytes currently allocated through this file, and the largest that was ever reached. */
size_t memory_in_use(void);
size_t memory_peak(void);

/* For tests: the n-th allocation from now fails (1 = the next one), once; 0 switches this off. */
void memory_fail_at(long n);

#endif
