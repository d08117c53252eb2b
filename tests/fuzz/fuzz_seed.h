/* fuzz_seed.h: what the harnesses for files share: small valid files to start from, and mutations that
 * mostly stay in their headers. A harness that has no corpus makes its own. */
#ifndef CLLA_FUZZ_SEED_H
#define CLLA_FUZZ_SEED_H

#include "../c/latent_plan.h"

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

/* A header alone, with every kind of value. */
static inline void fuzz_header(gguf_writer *w) {
    writer_open(w);
    writer_number(w, "u8", GGUF_UINT8, 250, 1), writer_number(w, "i16", GGUF_INT16, (uint64_t)-300, 2);
    writer_u32(w, "general.alignment", 64), writer_number(w, "u64", GGUF_UINT64, UINT64_C(1) << 40, 8);
    writer_f32(w, "f32", 0.5f), writer_number(w, "f64", GGUF_FLOAT64, UINT64_C(0x3ff8000000000000), 8);
    writer_bool(w, "yes", true), writer_text(w, "text", "a text"), writer_text(w, "empty", "");
    writer_array(w, "numbers", GGUF_INT16, 3), put(w, 1, 2), put(w, 2, 2), put(w, 3, 2);
    writer_array(w, "flags", GGUF_BOOL, 2), put(w, 1, 1), put(w, 0, 1);
    writer_array(w, "words", GGUF_STRING, 3), put_text(w, "a"), put_text(w, ""), put_text(w, "ccc");
    writer_tensor(w, "b", TENSOR_F16, 3, (uint64_t[]){5, 3, 2}, NULL);
    writer_tensor(w, "a", TENSOR_Q4_K, 2, (uint64_t[]){256, 1}, NULL);
    w->alignment = 64;
    writer_end(w);
}

/* `prefix` bytes for the harness, then a header or a whole model: which one follows from the seed. */
static inline size_t fuzz_fresh(uint8_t *data, size_t max_size, size_t prefix, bool whole, unsigned seed) {
    static gguf_writer w;
    static const tensor_type types[] = {TENSOR_Q4_0, TENSOR_Q8_0,   TENSOR_F16,
                                        TENSOR_Q5_1, TENSOR_IQ4_NL, TENSOR_BF16};
    latent_plan latent = latent_plan_good();
    latent.layers = latent.owners = 2, latent.own_frequencies = seed % 2, latent.seed = seed;
    if (!whole)
        fuzz_header(&w);
    else if (seed / 16 % 2)
        latent_plan_write(&w, &latent);
    else
        tiny_model(&w, &(tiny_options){
                           .type = types[seed % 6], .layers = 1, .untied = seed / 6 % 2 != 0, .seed = seed});
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

/* Give the first key behind a random place that is about the model another number: one that is often wrong.
 */
static inline void fuzz_number(uint8_t *data, size_t size, unsigned seed) {
    static const uint32_t numbers[] = {0,  1,  2,  3,   5,        8,        16,       31,
                                       32, 33, 64, 255, 1u << 16, 1u << 20, 1u << 31, UINT32_MAX};
    for (size_t at = seed / 64 % size; at + 100 < size; at++) {
        size_t length = data[at];
        bool key = length > 6 && length < 64 && !memcmp(data + at + 1, "\0\0\0\0\0\0\0", 7) &&
                   (!memcmp(data + at + 8, "llama.", 6) || !memcmp(data + at + 8, "clla.", 5) ||
                    !memcmp(data + at + 8, "tokeni", 6));
        if (key) {
            memcpy(data + at + 8 + length + 4, &numbers[seed / 8 % 16], 4);
            return;
        }
    }
}

/* One time in 64, and where there is nothing to start from, a fresh file; else another number behind a key, a
 * change within 64 bytes of the header (the first 9,000 bytes of the models above), or anywhere. */
static inline size_t fuzz_mutate(uint8_t *data, size_t size, size_t max_size, size_t prefix, bool whole,
                                 unsigned seed) {
    if (seed % 64 == 0 || size < prefix + 24) return fuzz_fresh(data, max_size, prefix, whole, seed / 64);
    if (seed % 8 == 1) return LLVMFuzzerMutate(data, size, max_size);
    if (seed % 8 < 4) {
        fuzz_number(data, size, seed);
        return size;
    }
    size_t header = size < 9000 ? size : 9000, begin = seed / 8 % header;
    size_t end = begin + 64 < header ? begin + 64 : header;
    return fuzz_change(data, size, max_size, begin, end);
}

#endif
