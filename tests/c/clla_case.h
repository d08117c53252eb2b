/* clla_case.h: the models of tests/vectors/clla and what the reference makes of them (reference.py and make.py there). */
#ifndef CLLA_TEST_CASE_H
#define CLLA_TEST_CASE_H

#include <stdlib.h>

#include "load.h"
#include "test.h"

#define CASES "tests/vectors/clla/"

enum { CASE_TOKENS = 72, CASE_OWNERS = 4, CASE_POSITIONS = 8, CASE_ROW_BYTES = 512 };

static const char *const case_names[] = {
    "mla",       "pairs",           "thirds-min", "late",  "interleaved",   "low-rank-query", "shared-up",   "no-norm",
    "own-frequencies", "no-rope",   "sinks",      "bits-by-group", "group-64", "q8-scale",      "weights-q8_0",
};
enum { CASES_COUNT = sizeof case_names / sizeof case_names[0] };

typedef struct clla_case {
    const char *name;
    uint32_t tokens, owners, vocabulary, positions;
    int32_t ids[CASE_TOKENS];
    uint32_t at[CASE_POSITIONS];
    float *logits; /* [positions][vocabulary]: with the cache that the header asks for */
    float *halves; /* the same with a cache of halves */
    uint32_t owner[CASE_OWNERS];
    uint8_t rows[CASE_OWNERS][CASE_TOKENS][CASE_ROW_BYTES]; /* as files hold blocks; of a sink token halves alone */
} clla_case;

/* Bytes in hexadecimal up to white space; returns how many. */
static inline size_t case_bytes(FILE *file, uint8_t *bytes, size_t room) {
    static char text[2 * 4096 + 1];
    unsigned byte;
    size_t n = 0;
    if (fscanf(file, "%8192s", text) != 1) return 0;
    for (; n < room && text[2 * n] && sscanf(text + 2 * n, "%2x", &byte) == 1; n++) bytes[n] = (uint8_t)byte;
    return n;
}

static inline float *case_floats(FILE *file, size_t n) {
    float *x = calloc(n, sizeof *x);
    for (size_t i = 0; x && i < n; i++)
        if (fscanf(file, "%f", &x[i]) != 1) x[i] = NAN;
    return x;
}

static inline bool case_numbers(FILE *file, clla_case *c) {
    if (fscanf(file, "%u %u %u %u", &c->tokens, &c->owners, &c->vocabulary, &c->positions) != 4) return false;
    if (c->tokens > CASE_TOKENS || c->owners > CASE_OWNERS || c->positions > CASE_POSITIONS) return false;
    for (uint32_t i = 0; i < c->tokens; i++)
        if (fscanf(file, "%d", &c->ids[i]) != 1) return false;
    for (uint32_t i = 0; i < c->positions; i++)
        if (fscanf(file, "%u", &c->at[i]) != 1) return false;
    c->logits = case_floats(file, (size_t)c->positions * c->vocabulary);
    c->halves = case_floats(file, (size_t)c->positions * c->vocabulary);
    return c->logits && c->halves;
}

static inline bool case_rows(FILE *file, clla_case *c) {
    for (uint32_t i = 0; i < c->owners; i++) {
        if (fscanf(file, "%u", &c->owner[i]) != 1) return false;
        for (uint32_t t = 0; t < c->tokens; t++)
            if (case_bytes(file, c->rows[i][t], CASE_ROW_BYTES) == 0) return false;
    }
    return true;
}

static inline bool case_open(clla_case *c, const char *name) {
    char path[128];
    *c = (clla_case){.name = name};
    snprintf(path, sizeof path, CASES "%s.txt", name);
    FILE *file = fopen(path, "r");
    bool ok = file && case_numbers(file, c) && case_rows(file, c);
    CHECK(ok, "%s cannot be read: run from the repository root", path);
    if (file) fclose(file);
    return ok;
}

static inline void case_close(clla_case *c) { free(c->logits), free(c->halves); }

static inline clla_model *case_model(const char *name, uint32_t threads) {
    char path[128];
    snprintf(path, sizeof path, CASES "models/%s.gguf", name);
    FILE *file = fopen(path, "rb");
    size_t room = 1 << 20, size = 0;
    uint8_t *bytes = malloc(room);
    if (file && bytes) size = fread(bytes, 1, room, file);
    clla_model *model = NULL;
    clla_error error = {{0}};
    clla_status status = load_bytes(bytes, size, threads, &model, &error);
    CHECK(status == CLLA_OK, "%s: %s", path, error.text);
    if (file) fclose(file);
    free(bytes);
    return model;
}

/* |a - b| / |b| */
static inline double relative(const float *a, const float *b, size_t n) {
    double difference = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        size += (double)b[i] * (double)b[i];
    }
    return sqrt(difference / size);
}

#endif
