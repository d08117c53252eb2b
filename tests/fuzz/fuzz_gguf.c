/* fuzz_gguf.c: any bytes, in pieces of any size, through the header's reader; what it accepts must hold
 * together. The first byte of an input chooses the size of the pieces. */
#include <stdio.h>

#include "arena.h"
#include "fuzz_seed.h"

int LLVMFuzzerInitialize(int *count, char ***arguments);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

static void need(bool truth, const char *what) {
    if (truth) return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

/* Read every value in every way. */
static size_t touch_entry(const gguf *g, const gguf_entry *e) {
    size_t sum = e->key.size ? (size_t)e->key.data[e->key.size - 1] : 0;
    for (uint64_t i = 0; i < e->count; i++) {
        double number = 0;
        if (e->type == GGUF_STRING) {
            gguf_string s = gguf_string_at(g, e, i);
            sum += s.size ? (size_t)s.data[0] + (size_t)s.data[s.size - 1] : 0;
        } else {
            need(gguf_number_at(g, e, i, &number), "an item is a number");
        }
    }
    return sum + strlen(gguf_printable(e->key).text);
}

static void touch_lookups(const gguf *g, const gguf_entry *e) {
    char key[64] = {0};
    if (e->key.size >= sizeof key || memchr(e->key.data, 0, e->key.size)) return;
    memcpy(key, e->key.data, e->key.size);
    uint32_t u;
    float f;
    bool b;
    gguf_string s;
    need(gguf_find(g, key) == e, "a key is found");
    (void)gguf_u32(g, key, &u, NULL), (void)gguf_bool_or(g, key, false, &b, NULL);
    (void)gguf_f32(g, key, &f, NULL), (void)gguf_text(g, key, &s, NULL);
}

static void check_tensors(const gguf *g) {
    uint64_t end = g->data_start;
    for (size_t i = 0; i < g->tensor_count; i++) {
        const gguf_tensor *t = g->by_offset[i];
        need(t->offset >= end && t->offset % g->alignment == 0, "tensors are apart and aligned");
        need(t->bytes > 0 && tensor_type_find(t->type), "tensors have bytes and a type");
        end = t->offset + t->bytes;
    }
    need(end == g->data_end && g->data_start >= g->header_size, "the data lies where it should");
}

int LLVMFuzzerInitialize(int *count, char ***arguments) {
    fuzz_set_length(count, arguments);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    size_t step = data[0] ? data[0] : SIZE_MAX, before = memory_in_use(), used, checksum = 0;
    clla_status status = CLLA_OK;
    clla_error error = {{0}};
    gguf g;
    gguf_open(&g);
    for (size_t at = 1; at < size && !status && !g.complete; at += used) {
        size_t piece = size - at < step ? size - at : step;
        status = gguf_feed(&g, data + at, piece, &used, &error);
        need(status || used <= piece, "no more is used than was given");
        need(status || used == piece || g.complete, "all is used until the header is complete");
    }
    need(!status || error.text[0], "a failure has a sentence");
    if (g.complete) {
        for (size_t i = 0; i < g.entry_count; i++) checksum += touch_entry(&g, &g.entries[i]);
        for (size_t i = 0; i < g.entry_count; i++) touch_lookups(&g, &g.entries[i]);
        check_tensors(&g);
    } else if (!status) {
        need(gguf_ends_early(&g, &error) == CLLA_TRUNCATED_FILE, "an incomplete header is truncated");
    }
    gguf_close(&g);
    need(memory_in_use() == before, "nothing leaks");
    return checksum == SIZE_MAX; /* never, but the reads are not optimised away */
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    return fuzz_mutate(data, size, max_size, 1, false, seed);
}
