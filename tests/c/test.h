/* test.h: the few macros that the C tests share. A test program is a list of RUN(test) and return test_report(). */
#ifndef CLLA_TEST_H
#define CLLA_TEST_H

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* AddressSanitizer: an allocation that is too large answers NULL, as malloc does, instead of ending the program. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }

static int tests_passed, tests_failed, tests_skipped;
static bool test_ok;

/* A check that fails prints where and what, and the test goes on. */
#define CHECK(condition, ...)                                                                                 \
    do {                                                                                                      \
        if (!(condition)) {                                                                                   \
            test_ok = false;                                                                                  \
            printf("    %s:%d: %s: ", __FILE__, __LINE__, #condition);                                        \
            printf(__VA_ARGS__);                                                                              \
            printf("\n");                                                                                     \
        }                                                                                                     \
    } while (0)

/* RUN("what is true", function): the name tells the contract. */
#define RUN(name, function)                                                                                   \
    do {                                                                                                      \
        test_ok = true;                                                                                       \
        function();                                                                                           \
        printf("%s %s\n", test_ok ? "ok  " : "FAIL", name);                                                   \
        if (test_ok) tests_passed++;                                                                          \
        else tests_failed++;                                                                                  \
        fflush(stdout);                                                                                       \
    } while (0)

#define SKIP(name, reason)                                                                                    \
    do {                                                                                                      \
        printf("SKIP %s: %s\n", name, reason);                                                                \
        tests_skipped++;                                                                                      \
    } while (0)

static inline int test_report(void) {
    printf("%d passed, %d failed, %d skipped\n", tests_passed, tests_failed, tests_skipped);
    return tests_failed ? 1 : 0;
}

#endif
