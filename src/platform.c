/* platform.c: POSIX, as far as native builds, Emscripten and WASI share it. */
#define _POSIX_C_SOURCE 199309L

#include "platform.h"

#include <time.h>

double platform_milliseconds(void) {
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) return 0;
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}
