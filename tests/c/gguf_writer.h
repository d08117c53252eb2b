/* gguf_writer.h: GGUF files in memory, for tests: well-formed ones in a few lines, damaged ones by `put`.
 *
 *     gguf_writer w;  writer_open(&w);
 *     writer_text(&w, "general.architecture", "llama");  writer_u32(&w, "llama.block_count", 1);  ...
 *     writer_tensor(&w, "token_embd.weight", TENSOR_F32, 2, (uint64_t[]){32, 64}, bytes);  ...
 *     writer_end(&w);                      // tensors and their data come last, the counts are filled in
 *     ... w.bytes, w.size ...  writer_close(&w);
 *
 * Fields may be changed before writer_end (version, alignment, what the counts claim). */
#ifndef CLLA_GGUF_WRITER_H
#define CLLA_GGUF_WRITER_H

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gguf.h"
#include "quant.h"

enum { WRITER_TENSORS = 512 };

typedef struct writer_item {
    char name[65];
    uint32_t type, dimensions;
    uint64_t ne[4], offset;
    size_t size;
    uint8_t *data; /* a copy */
} writer_item;

typedef struct gguf_writer {
    uint8_t *bytes;
    size_t size, capacity;
    uint32_t alignment;
    uint64_t entries;
    writer_item tensors[WRITER_TENSORS];
    size_t tensor_count;
    size_t data_start; /* known after writer_end */
} gguf_writer;

static inline void put_bytes(gguf_writer *w, const void *bytes, size_t size) {
    if (w->size + size > w->capacity) {
        w->capacity = 2 * (w->size + size);
        w->bytes = realloc(w->bytes, w->capacity);
        assert(w->bytes);
    }
    if (size) memcpy(w->bytes + w->size, bytes, size);
    w->size += size;
}

static inline void put(gguf_writer *w, uint64_t value, size_t size) { /* little endian */
    for (size_t i = 0; i < size; i++) put_bytes(w, &(uint8_t){(uint8_t)(value >> (8 * i))}, 1);
}

static inline void put_text(gguf_writer *w, const char *text) {
    put(w, strlen(text), 8);
    put_bytes(w, text, strlen(text));
}

static inline uint64_t writer_float_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline void put_padding(gguf_writer *w) {
    while (w->size % w->alignment) put(w, 0, 1);
}

static inline void writer_open(gguf_writer *w) {
    memset(w, 0, sizeof *w);
    w->alignment = 32;
    put_bytes(w, "GGUF", 4);
    put(w, 3, 4);
    put(w, 0, 8);
    put(w, 0, 8);
}

static inline void writer_key(gguf_writer *w, const char *key, gguf_type type) {
    put_text(w, key);
    put(w, (uint64_t)type, 4);
    w->entries++;
}

static inline void writer_array(gguf_writer *w, const char *key, gguf_type items, uint64_t count) {
    writer_key(w, key, GGUF_ARRAY);
    put(w, (uint64_t)items, 4);
    put(w, count, 8);
}

static inline void writer_number(gguf_writer *w, const char *key, gguf_type type, uint64_t bits,
                                 size_t size) {
    writer_key(w, key, type);
    put(w, bits, size);
}

static inline void writer_u32(gguf_writer *w, const char *key, uint32_t value) {
    writer_number(w, key, GGUF_UINT32, value, 4);
}

static inline void writer_bool(gguf_writer *w, const char *key, bool value) {
    writer_number(w, key, GGUF_BOOL, value, 1);
}

static inline void writer_f32(gguf_writer *w, const char *key, float value) {
    writer_number(w, key, GGUF_FLOAT32, writer_float_bits(value), 4);
}

static inline void writer_text(gguf_writer *w, const char *key, const char *text) {
    writer_key(w, key, GGUF_STRING);
    put_text(w, text);
}

/* Describe a tensor; data (its bytes, by type and shape) is copied, NULL gives zeros. Returns the item. */
static inline writer_item *writer_tensor(gguf_writer *w, const char *name, tensor_type type,
                                         uint32_t dimensions, const uint64_t *ne, const void *data) {
    assert(w->tensor_count < WRITER_TENSORS && strlen(name) < sizeof w->tensors[0].name);
    writer_item *t = &w->tensors[w->tensor_count++];
    *t = (writer_item){.type = (uint32_t)type, .dimensions = dimensions, .ne = {1, 1, 1, 1}};
    memcpy(t->name, name, strlen(name));
    for (uint32_t i = 0; i < dimensions; i++) t->ne[i] = ne[i];
    t->size = tensor_row_bytes(type, (size_t)t->ne[0]) * (size_t)(t->ne[1] * t->ne[2] * t->ne[3]);
    t->data = calloc(t->size ? t->size : 1, 1);
    assert(t->data);
    if (data) memcpy(t->data, data, t->size);
    return t;
}

/* Where each tensor goes: one behind the other, aligned. Called by writer_end. */
static inline void writer_place(gguf_writer *w) {
    uint64_t at = 0;
    for (size_t i = 0; i < w->tensor_count; i++) {
        w->tensors[i].offset = at;
        at = (at + w->tensors[i].size + w->alignment - 1) / w->alignment * w->alignment;
    }
}

/* The list of tensors, as the fields say. */
static inline void writer_put_infos(gguf_writer *w) {
    for (size_t i = 0; i < w->tensor_count; i++) {
        const writer_item *t = &w->tensors[i];
        put_text(w, t->name);
        put(w, t->dimensions, 4);
        for (uint32_t k = 0; k < t->dimensions && k < 4; k++) put(w, t->ne[k], 8);
        put(w, t->type, 4);
        put(w, t->offset, 8);
    }
}

static inline void writer_put_counts(gguf_writer *w) {
    size_t size = w->size;
    w->size = 8;
    put(w, w->tensor_count, 8);
    put(w, w->entries, 8);
    w->size = size;
}

static inline void writer_end(gguf_writer *w) {
    writer_place(w);
    writer_put_infos(w);
    put_padding(w);
    w->data_start = w->size;
    for (size_t i = 0; i < w->tensor_count; i++) {
        put_bytes(w, w->tensors[i].data, w->tensors[i].size);
        put_padding(w);
    }
    writer_put_counts(w);
}

static inline void writer_close(gguf_writer *w) {
    for (size_t i = 0; i < w->tensor_count; i++) free(w->tensors[i].data);
    free(w->bytes);
    memset(w, 0, sizeof *w);
}

#endif
