/* fuzz_seed.h: what the harnesses for files share: a small valid model to start from, and mutations that
 * mostly stay in its header. A harness that has no corpus makes its own. */
#ifndef CLLA_FUZZ_SEED_H
#define CLLA_FUZZ_SEED_H

#include "../c/tiny_model.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

enum { FUZZ_MAX = 40000 };

/* Longer inputs than libFuzzer's default, where the command line does not say. */
static inline void fuzz_set_length(int *count, char ***arguments) {
    static char length[] = "-max_len=40000";
    static char *longer[64];
    if (*count > 62) return;
    for (int i = 0; i < *count; i++) {
        longer[i] = (*arguments)[i];
        if (strncmp(longer[i], "-max_len", 8) == 0) return;
    }
    longer[(*count)++] = length;
    *arguments = longer;
}

/* `prefix` bytes for the harness, then a tiny model: which one follows from the seed. */
static inline size_t fuzz_fresh(uint8_t *data, size_t max_size, size_t prefix, unsigned seed) {
    static gguf_writer w;
    static const tensor_type types[] = {TENSOR_Q4_0, TENSOR_Q8_0,   TENSOR_F16,
                                        TENSOR_Q5_1, TENSOR_IQ4_NL, TENSOR_BF16};
    tiny_model(
        &w, &(tiny_options){.type = types[seed % 6], .layers = 1, .untied = seed / 6 % 2 != 0, .seed = seed});
    size_t size = w.size < max_size - prefix ? w.size : max_size - prefix;
    for (size_t i = 0; i < prefix; i++) data[i] = (uint8_t)(seed >> (8 * i % 32));
    memcpy(data + prefix, w.bytes, size);
    writer_close(&w);
    return prefix + size;
}

/* Change bytes in [prefix, end) alone, what follows moves along. */
static inline size_t fuzz_change(uint8_t *data, size_t size, size_t max_size, size_t begin, size_t end) {
    static uint8_t piece[FUZZ_MAX];
    size_t room = max_size - (size - (end - begin));
    if (room > sizeof piece) room = sizeof piece;
    if (end - begin > room) return size;
    memcpy(piece, data + begin, end - begin);
    size_t changed = LLVMFuzzerMutate(piece, end - begin, room);
    memmove(data + begin + changed, data + end, size - end);
    memcpy(data + begin, piece, changed);
    return size - (end - begin) + changed;
}

/* One time in 64, and where there is nothing to start from, a fresh model; else a change within 64 bytes of
 * the header, which is the first 9,000 bytes of the models above, or anywhere. */
static inline size_t fuzz_mutate(uint8_t *data, size_t size, size_t max_size, size_t prefix, unsigned seed) {
    if (seed % 64 == 0 || size < prefix + 24) return fuzz_fresh(data, max_size, prefix, seed / 64);
    if (seed % 8 == 1) return LLVMFuzzerMutate(data, size, max_size);
    size_t header = size < 9000 ? size : 9000, begin = seed / 8 % header;
    size_t end = begin + 64 < header ? begin + 64 : header;
    return fuzz_change(data, size, max_size, begin, end);
}

#endif
