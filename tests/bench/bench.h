/* bench.h: what the bench programs in C share: a model from a file, a text as tokens, and giving up. */
#ifndef CLLA_BENCH_H
#define CLLA_BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clla.h"

static const char *bench_name; /* in messages */

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", bench_name, what);
    exit(1);
}

static void check(clla_status status, const clla_error *error) {
    if (status != CLLA_OK) fail(error->text);
}

static clla_model *open_model(const char *path, uint32_t workers) {
    enum { PIECE = 1 << 20 };
    static uint8_t piece[PIECE];
    clla_loader *loader;
    clla_model *model;
    clla_error error;
    FILE *file = fopen(path, "rb");
    if (!file) fail("the model cannot be read");
    check(clla_loader_create(&(clla_model_options){.threads = workers}, &loader, &error), &error);
    for (size_t n; (n = fread(piece, 1, PIECE, file)) > 0;) check(clla_loader_feed(loader, piece, n, &error), &error);
    fclose(file);
    check(clla_loader_finish(loader, &model, &error), &error);
    return model;
}

typedef struct ids {
    int32_t *data;
    size_t count;
} ids;

static ids tokenize(const clla_model *m, const char *text, size_t size) {
    clla_error error;
    ids t = {NULL, 0};
    check(clla_tokenize(m, text, size, 0, NULL, 0, &t.count, &error), &error);
    t.data = malloc((t.count + 1) * sizeof *t.data);
    if (!t.data) fail("no memory");
    check(clla_tokenize(m, text, size, 0, t.data, t.count, &t.count, &error), &error);
    return t;
}

static ids read_book(const clla_model *m, const char *path, size_t tokens) {
    FILE *file = fopen(path, "rb");
    size_t room = 16 * tokens;
    char *text = malloc(room);
    if (!file || !text) fail("the book cannot be read");
    size_t size = fread(text, 1, room, file);
    fclose(file);
    while (size && ((unsigned char)text[size - 1] & 0xc0) == 0x80) size--; /* whole characters */
    if (size && (unsigned char)text[size - 1] >= 0xc0) size--;
    ids book = tokenize(m, text, size);
    free(text);
    if (book.count < tokens) fail("the book has too few tokens");
    return book;
}

#endif
