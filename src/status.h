/* status.h: what a call can answer, and the sentence that goes with a failure.
 *
 * Every function that can fail returns a clla_status and puts its results in out-pointers, last. The detail
 * ("blk.3.attn_q.weight: want [576, 576], got [576, 192]") goes into a clla_error that the caller owns. */
#ifndef CLLA_STATUS_H
#define CLLA_STATUS_H

/* Name and general sentence of every status. The order is part of the interface: only append. */
#define CLLA_STATUS_LIST(X)                                                                                   \
    X(OK, "success")                                                                                          \
    X(OUT_OF_MEMORY, "there is not enough memory")                                                            \
    X(BAD_ARGUMENT, "an argument is not valid")                                                               \
    X(BAD_FILE, "the file is damaged or not what it claims to be")                                            \
    X(TRUNCATED_FILE, "the file ends before its data does")                                                   \
    X(UNSUPPORTED_VERSION, "the file has a version that this build does not read")                            \
    X(UNSUPPORTED_TYPE, "the file has a tensor type that this build does not read")                           \
    X(UNSUPPORTED_ARCHITECTURE, "the model has an architecture that this build does not run")                 \
    X(UNSUPPORTED_TOKENIZER, "the model has a tokenizer that this build does not know")                       \
    X(CONTEXT_FULL, "the context has no room for these tokens")                                               \
    X(BAD_KV_SPEC, "the cache specification is not valid")                                                    \
    X(ABORTED, "the work was stopped on request")                                                             \
    X(OTHER_MODEL, "the file was saved with another model")

typedef enum clla_status {
#define CLLA_STATUS_NAME(name, sentence) CLLA_##name,
    CLLA_STATUS_LIST(CLLA_STATUS_NAME)
#undef CLLA_STATUS_NAME
} clla_status;

/* The detail of the last failure: one sentence, UTF-8, zero-terminated, what and where. */
typedef struct clla_error {
    char text[320];
} clla_error;

/* "BAD_FILE" and "the file is damaged ..." of a status; never NULL. */
const char *clla_status_name(clla_status status);
const char *clla_status_sentence(clla_status status);

/* Write a printf-style sentence into error (which may be NULL) and return status, so that a check is one line:
 *     if (rank == 0) return clla_fail(error, CLLA_BAD_FILE, "%s: rank is 0", name); */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
clla_status clla_fail(clla_error *error, clla_status status, const char *format, ...);

#endif
