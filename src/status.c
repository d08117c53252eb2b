/* status.c: names and sentences of the statuses, and the one way to report a failure. */
#include "status.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

static const struct {
    const char *name, *sentence;
} statuses[] = {
#define CLLA_STATUS_ROW(name, sentence) {#name, sentence},
    CLLA_STATUS_LIST(CLLA_STATUS_ROW)
#undef CLLA_STATUS_ROW
};

static size_t known(clla_status status) {
    size_t count = sizeof statuses / sizeof statuses[0];
    return (size_t)status < count ? (size_t)status : CLLA_BAD_ARGUMENT;
}

const char *clla_status_name(clla_status status) { return statuses[known(status)].name; }
const char *clla_status_sentence(clla_status status) { return statuses[known(status)].sentence; }

clla_status clla_fail(clla_error *error, clla_status status, const char *format, ...) {
    if (error) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(error->text, sizeof error->text, format, arguments);
        va_end(arguments);
    }
    return status;
}
