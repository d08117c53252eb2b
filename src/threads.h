/* threads.h: a pool of threads that runs one loop at a time, cut into items that any thread may take.
 *
 * Work is given as items that are computed the same way whoever takes them, so results do not depend on the number of
 * threads. Threads wait by spinning for a moment, then sleep. In builds without threads the caller runs all items. */
#ifndef CLLA_THREADS_H
#define CLLA_THREADS_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

typedef struct threads threads;

/* Run items [begin, end) of a loop. `worker` is 0 .. threads_count - 1, the caller being 0: an index for scratch. */
typedef void threads_loop(void *context, uint32_t begin, uint32_t end, uint32_t worker);

/* count = 1 starts none; 0 is refused; more than the build can have is refused with the reason. Free with threads_close. */
clla_status threads_open(uint32_t count, threads **pool, clla_error *error);
void threads_close(threads *pool); /* NULL is fine */
uint32_t threads_count(const threads *pool);

/* Call loop for all items [0, items), in pieces of `grain` items, and return when all are done. Not reentrant. */
void threads_run(threads *pool, uint32_t items, uint32_t grain, threads_loop *loop, void *context);

#endif
