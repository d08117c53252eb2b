/* threads.c: the pool.
 *
 * A loop is published in one 64-bit word, the ticket: its upper half is the loop's number, its lower half the next item
 * that nobody has taken. Whoever wants work compares and exchanges the ticket; success means that the loop is still
 * the one whose description was read before. The loop is over when all items are done, so a thread that sleeps or has
 * lost its processor holds nobody up: the others do its share, and when it comes the ticket tells it that it is late.
 * While the description changes, the ticket has an odd number and no items.
 *
 * Threads that find nothing look at the ticket for a few tens of microseconds (the loops of a token follow one another
 * faster than that), then sleep on a condition variable. The caller waits for the last items in the same way. */
#include "threads.h"

#include <stdbool.h>

#include "arena.h"

#if defined(_REENTRANT) /* compilers define it for -pthread */
#define HAS_THREADS 1
#else
#define HAS_THREADS 0
#endif

#if HAS_THREADS

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS_MAX = 64, SPINS = 20000 /* looks at the ticket, about 1 to 2 ns each */ };

typedef struct worker {
    threads *pool;
    uint32_t index;
    pthread_t handle;
} worker;

struct threads {
    _Atomic uint64_t ticket; /* number of the loop << 32 | next item */
    _Atomic uint32_t done;   /* items of the loop that are finished */
    char apart[52];          /* the description is read by all and stays away from what all write */
    _Atomic uint32_t items, grain;
    threads_loop *_Atomic loop;
    void *_Atomic context;
    _Atomic uint32_t sleepers, caller_sleeps;
    _Atomic bool closing;
    pthread_mutex_t mutex;
    pthread_cond_t wake, finished;
    uint32_t count, started; /* with the caller; threads that run */
    worker workers[THREADS_MAX];
};

static uint32_t loop_number(uint64_t ticket) { return (uint32_t)(ticket >> 32); }

/* Do items of loop `number` until none is left or it is over. */
static void work(threads *pool, uint32_t number, uint32_t index) {
    uint64_t ticket = atomic_load(&pool->ticket);
    while (loop_number(ticket) == number) {
        uint32_t items = atomic_load_explicit(&pool->items, memory_order_relaxed);
        uint32_t grain = atomic_load_explicit(&pool->grain, memory_order_relaxed);
        threads_loop *loop = atomic_load_explicit(&pool->loop, memory_order_relaxed);
        void *context = atomic_load_explicit(&pool->context, memory_order_relaxed);
        uint32_t begin = (uint32_t)ticket;
        if (begin >= items) return;
        uint32_t count = items - begin < grain ? items - begin : grain;
        if (!atomic_compare_exchange_weak(&pool->ticket, &ticket, ticket + count)) continue;
        loop(context, begin, begin + count, index);
        if (atomic_fetch_add(&pool->done, count) + count == items && atomic_load(&pool->caller_sleeps)) {
            pthread_mutex_lock(&pool->mutex);
            pthread_cond_signal(&pool->finished);
            pthread_mutex_unlock(&pool->mutex);
        }
        ticket = atomic_load(&pool->ticket);
    }
}

/* Wait for a loop other than `seen` (or for the end) and return its number. */
static uint32_t wait_for_loop(threads *pool, uint32_t seen) {
    uint32_t number = seen;
    for (int i = 0; i < SPINS; i++) {
        number = loop_number(atomic_load_explicit(&pool->ticket, memory_order_acquire));
        if (number != seen && number % 2 == 0) return number;
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    for (;;) {
        number = loop_number(atomic_load(&pool->ticket));
        if ((number != seen && number % 2 == 0) || atomic_load(&pool->closing)) break;
        pthread_cond_wait(&pool->wake, &pool->mutex);
    }
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
    return number;
}

static void *worker_main(void *argument) {
    worker *self = argument;
    uint32_t number = 0;
    while (!atomic_load(&self->pool->closing)) {
        number = wait_for_loop(self->pool, number);
        work(self->pool, number, self->index);
    }
    return NULL;
}

static void wait_until_done(threads *pool, uint32_t items) {
    for (int i = 0; i < SPINS; i++)
        if (atomic_load_explicit(&pool->done, memory_order_acquire) == items) return;
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->caller_sleeps, 1);
    while (atomic_load(&pool->done) != items) pthread_cond_wait(&pool->finished, &pool->mutex);
    atomic_store(&pool->caller_sleeps, 0);
    pthread_mutex_unlock(&pool->mutex);
}

static void wake_sleepers(threads *pool) {
    if (atomic_load(&pool->sleepers) == 0) return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
}

void threads_run(threads *pool, uint32_t items, uint32_t grain, threads_loop *loop, void *context) {
    if (items == 0) return;
    if (pool->started == 0 || items <= grain) {
        loop(context, 0, items, 0);
        return;
    }
    uint32_t number = loop_number(atomic_load_explicit(&pool->ticket, memory_order_relaxed)) + 1;
    atomic_store(&pool->ticket, (uint64_t)number << 32 | UINT32_MAX);
    atomic_store_explicit(&pool->items, items, memory_order_relaxed);
    atomic_store_explicit(&pool->grain, grain ? grain : 1, memory_order_relaxed);
    atomic_store_explicit(&pool->loop, loop, memory_order_relaxed);
    atomic_store_explicit(&pool->context, context, memory_order_relaxed);
    atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
    atomic_store(&pool->ticket, (uint64_t)++number << 32);
    wake_sleepers(pool);
    work(pool, number, 0);
    wait_until_done(pool, items);
}

void threads_close(threads *pool) {
    if (!pool) return;
    atomic_store(&pool->closing, true);
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
    for (uint32_t i = 0; i < pool->started; i++) pthread_join(pool->workers[i].handle, NULL);
    pthread_cond_destroy(&pool->finished);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->mutex);
    memory_resize(pool, 0);
}

clla_status threads_open(uint32_t count, threads **result, clla_error *error) {
    if (count == 0 || count > THREADS_MAX)
        return clla_fail(error, CLLA_BAD_ARGUMENT, "threads: want 1 to %d, got %u", THREADS_MAX, (unsigned)count);
    threads *pool = memory_resize(NULL, sizeof *pool);
    if (!pool) return clla_fail(error, CLLA_OUT_OF_MEMORY, "threads: no memory for a pool of %u", (unsigned)count);
    *pool = (threads){.count = count};
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->finished, NULL);
    for (; pool->started < count - 1; pool->started++) {
        worker *next = &pool->workers[pool->started];
        *next = (worker){.pool = pool, .index = pool->started + 1};
        if (pthread_create(&next->handle, NULL, worker_main, next) == 0) continue;
        uint32_t failed = pool->started + 2;
        threads_close(pool);
        return clla_fail(error, CLLA_OUT_OF_MEMORY, "threads: the system refused to start thread %u of %u",
                         (unsigned)failed, (unsigned)count);
    }
    *result = pool;
    return CLLA_OK;
}

#else

struct threads {
    uint32_t count;
};

void threads_run(threads *pool, uint32_t items, uint32_t grain, threads_loop *loop, void *context) {
    (void)pool, (void)grain;
    if (items > 0) loop(context, 0, items, 0);
}

void threads_close(threads *pool) { memory_resize(pool, 0); }

clla_status threads_open(uint32_t count, threads **result, clla_error *error) {
    if (count != 1)
        return clla_fail(error, CLLA_BAD_ARGUMENT, "threads: this build has one thread, got %u", (unsigned)count);
    threads *pool = memory_resize(NULL, sizeof *pool);
    if (!pool) return clla_fail(error, CLLA_OUT_OF_MEMORY, "threads: no memory for a pool");
    *pool = (threads){.count = count};
    *result = pool;
    return CLLA_OK;
}

#endif

uint32_t threads_count(const threads *pool) { return pool->count; }
