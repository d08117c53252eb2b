/* clock.h: the clock of the bench programs in C. Includers define _POSIX_C_SOURCE 200809L first. */
#ifndef CLLA_BENCH_CLOCK_H
#define CLLA_BENCH_CLOCK_H

#include <time.h>

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
