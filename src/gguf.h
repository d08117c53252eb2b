/* gguf.h: the header of a GGUF file (versions 2 and 3, little endian), parsed as its bytes arrive.
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 *
 *     gguf g;  gguf_open(&g);
 *     while (!g.complete && read some bytes) gguf_feed(&g, bytes, n, &used, &error);
 *     ... g.data_start is the offset of the tensors' bytes in the file ...
 *     gguf_close(&g);
 *
 * Strings are not copied: they point into the header, which the gguf owns, and are valid until gguf_close.
 * Limits: header 512 MiB, keys 65,535 bytes, tensor names 64 bytes (both the format's own), 4 dimensions.
 * Time is proportional to the bytes (times a logarithm for sorting names), however small the pieces. */
#ifndef CLLA_GGUF_H
#define CLLA_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

/* The types of metadata values; the numbers are the format's. */
typedef enum gguf_type {
    GGUF_UINT8,
    GGUF_INT8,
    GGUF_UINT16,
    GGUF_INT16,
    GGUF_UINT32,
    GGUF_INT32,
    GGUF_FLOAT32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_UINT64,
    GGUF_INT64,
    GGUF_FLOAT64,
    GGUF_TYPES
} gguf_type;

typedef struct gguf_string {
    const char *data; /* not zero-terminated; may hold any bytes */
    size_t size;
} gguf_string;

/* One metadata entry. A scalar has count 1; an array has the type of its items. */
typedef struct gguf_entry {
    gguf_string key;
    gguf_type type;
    bool is_array;
    uint64_t count;
    size_t offset; /* of the value's first byte (of an array: of its first item) in the header */
    size_t index;  /* string arrays: where gguf.strings holds the offsets of the items */
} gguf_entry;

/* One tensor. ne[0] is the length of a row (the fastest dimension), as everywhere in GGUF. */
typedef struct gguf_tensor {
    gguf_string name;
    uint32_t dimensions; /* 1 to 4 */
    uint64_t ne[4];      /* unused ones are 1 */
    uint32_t type;       /* a tensor_type of quant.h, checked */
    uint64_t offset;     /* in the file (not in the data section) */
    uint64_t bytes;
} gguf_tensor;

typedef struct gguf {
    uint32_t version;
    bool complete;       /* the whole header is parsed */
    uint32_t alignment;  /* general.alignment, or 32 */
    uint64_t data_start; /* file offset of the data section, aligned */
    uint64_t data_end;   /* file offset just past the last tensor's last byte */
    gguf_entry *entries;
    size_t entry_count;
    gguf_tensor *tensors; /* in the order of the file's list; gguf_feed has checked that none overlap */
    size_t tensor_count;
    const gguf_tensor **by_offset; /* [tensor_count] the same, in the order of their bytes in the file */
    /* private */
    uint8_t *header;
    size_t header_size, header_capacity, cursor;
    size_t *strings; /* where in the header the length of each string of every string array stands */
    size_t string_count, string_capacity;
    uint64_t entries_wanted, tensors_wanted, items_left;
    size_t entry_capacity, tensor_capacity;
    size_t tensors_start;              /* of the list of tensors in the header */
    const gguf_string **keys, **names; /* of entries and tensors, sorted */
    int stage;
} gguf;

void gguf_open(gguf *g);

/* Take the next bytes of the file. *used is how many belonged to the header: fewer than size once it is
 * complete; what follows is padding up to data_start, then tensor data. Errors name the offset or the entry
 * and are final. Refused: wrong magic or version, big-endian files, counts that the file could not hold,
 * repeated names, types that quant.h does not have, rows that do not divide into blocks, tensors that
 * overflow, overlap or are not aligned. */
clla_status gguf_feed(gguf *g, const uint8_t *bytes, size_t size, size_t *used, clla_error *error);

/* The file has ended and the header is not complete: TRUNCATED_FILE, and where it ended. */
clla_status gguf_ends_early(const gguf *g, clla_error *error);

void gguf_close(gguf *g);

/* Look-ups. find returns NULL where the key is missing. The typed ones fail with BAD_FILE and name the key
 * when it is missing (the _or forms give the fallback instead) or has a type that cannot be read as asked.
 * Any integer type that holds the value is accepted for an integer. */
const gguf_entry *gguf_find(const gguf *g, const char *key);
clla_status gguf_u32(const gguf *g, const char *key, uint32_t *value, clla_error *error);
clla_status gguf_u32_or(const gguf *g, const char *key, uint32_t fallback, uint32_t *value,
                        clla_error *error);
clla_status gguf_f32(const gguf *g, const char *key, float *value, clla_error *error);
clla_status gguf_f32_or(const gguf *g, const char *key, float fallback, float *value, clla_error *error);
clla_status gguf_bool_or(const gguf *g, const char *key, bool fallback, bool *value, clla_error *error);
clla_status gguf_text(const gguf *g, const char *key, gguf_string *value, clla_error *error);
clla_status gguf_text_or(const gguf *g, const char *key, const char *fallback, gguf_string *value,
                         clla_error *error);

/* Items of an array that was found; i < count is the caller's to see to. */
gguf_string gguf_string_at(const gguf *g, const gguf_entry *array, uint64_t i);
bool gguf_number_at(const gguf *g, const gguf_entry *array, uint64_t i,
                    double *value); /* false: not a number or bool */

const gguf_tensor *gguf_find_tensor(const gguf *g, const char *name);

bool gguf_equals(gguf_string s, const char *text);

/* A string of the file as messages show it: what is not printable ASCII becomes '?', what is long ends in
 * "...". */
typedef struct gguf_label {
    char text[80];
} gguf_label;
gguf_label gguf_printable(gguf_string s);

#endif
