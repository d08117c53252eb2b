/* tiny_model.h: a whole model of the `llama` architecture in memory, for tests: random weights from a seed,
 * any tensor type for the matrices, a SentencePiece vocabulary of 259 + 26 tokens (bytes and small letters).
 *
 *     gguf_writer w;
 *     tiny_model(&w, &(tiny_options){.type = TENSOR_Q4_0, .seed = 1});     // w.bytes, w.size: the file
 *     writer_close(&w); */
#ifndef CLLA_TINY_MODEL_H
#define CLLA_TINY_MODEL_H

#include <stdio.h>

#include "f16.h"
#include "gguf_writer.h"

typedef struct tiny_options {
    tensor_type type; /* of the matrices; vectors are F32 */
    uint32_t width;   /* 0: the type's block, at least 32 */
    uint32_t layers;  /* 0: 2 */
    bool untied;      /* with an output matrix of its own */
    bool open;        /* leave out writer_end: the caller adds or changes something */
    uint32_t seed;
} tiny_options;

enum { TINY_VOCABULARY = 259 + 26, TINY_HEADS = 4, TINY_KV_HEADS = 2, TINY_CONTEXT = 256 };

static inline uint32_t tiny_random(uint32_t *state) { /* xorshift32 */
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* Random codes with scales that keep values around `size`. Halves of a block stand at `first`; K types have
 * two. */
static inline void tiny_rows(uint8_t *bytes, tensor_type type, uint64_t values, float size, uint32_t *state) {
    const tensor_type_info *info = tensor_type_find((uint32_t)type);
    static const struct {
        tensor_type type;
        int first, second; /* where d and m stand; -1: there is none */
        float codes;       /* the largest code, times the largest small scale: d is size / codes */
        float minimum;     /* m / d, so that values lie on both sides of 0 */
    } halves[] = {
        {TENSOR_F32, -1, -1, 1, 0},      {TENSOR_F16, -1, -1, 1, 0},     {TENSOR_BF16, -1, -1, 1, 0},
        {TENSOR_Q4_0, 0, -1, 8, 0},      {TENSOR_Q4_1, 0, 2, 8, -8},     {TENSOR_Q5_0, 0, -1, 16, 0},
        {TENSOR_Q5_1, 0, 2, 16, -16},    {TENSOR_Q8_0, 0, -1, 128, 0},   {TENSOR_Q2_K, 80, 82, 23, 1.5f},
        {TENSOR_Q3_K, 108, -1, 128, 0},  {TENSOR_Q4_K, 0, 2, 473, 7.5f}, {TENSOR_Q5_K, 0, 2, 977, 15.5f},
        {TENSOR_Q6_K, 208, -1, 4096, 0}, {TENSOR_IQ4_NL, 0, -1, 127, 0}, {TENSOR_IQ4_XS, 0, -1, 4064, 0},
    };
    size_t kind = 0;
    while (halves[kind].type != type) kind++;
    for (uint64_t i = 0; i < values / info->block; i++) {
        uint8_t *block = bytes + i * info->bytes;
        for (uint32_t k = 0; k < info->bytes; k++) block[k] = (uint8_t)(tiny_random(state) >> 24);
        float value = size * ((float)(tiny_random(state) >> 8) * 0x1p-23f - 1.0f),
              d = size / halves[kind].codes;
        uint16_t half = f16_of_f32(halves[kind].first < 0 ? value : d);
        uint16_t minimum = f16_of_f32(d * halves[kind].minimum);
        uint32_t bits = bits_of_f32(value);
        if (type == TENSOR_F32)
            memcpy(block, &bits, 4);
        else if (type == TENSOR_BF16)
            memcpy(block, (uint8_t *)&bits + 2, 2);
        else
            memcpy(block + (halves[kind].first < 0 ? 0 : halves[kind].first), &half, 2);
        if (halves[kind].second >= 0) memcpy(block + halves[kind].second, &minimum, 2);
    }
}

static inline void tiny_matrix(gguf_writer *w, const char *name, tensor_type type, uint64_t rows,
                               uint64_t cols, uint32_t *state) {
    writer_item *t = writer_tensor(w, name, type, 2, (uint64_t[]){cols, rows}, NULL);
    tiny_rows(t->data, type, rows * cols, 0.2f, state);
}

static inline void tiny_vector(gguf_writer *w, const char *name, uint64_t length, uint32_t *state) {
    writer_item *t = writer_tensor(w, name, TENSOR_F32, 1, &length, NULL);
    for (uint64_t i = 0; i < length; i++) {
        float value = 1.0f + (float)(tiny_random(state) >> 8) * 0x1p-26f;
        memcpy(t->data + 4 * i, &value, 4);
    }
}

static inline void tiny_vocabulary(gguf_writer *w) {
    char text[16];
    writer_text(w, "tokenizer.ggml.model", "llama");
    writer_array(w, "tokenizer.ggml.tokens", GGUF_STRING, TINY_VOCABULARY);
    put_text(w, "<unk>"), put_text(w, "<s>"), put_text(w, "</s>");
    for (int i = 0; i < 256; i++) snprintf(text, sizeof text, "<0x%02X>", i), put_text(w, text);
    for (int i = 0; i < 26; i++) snprintf(text, sizeof text, "%c", 'a' + i), put_text(w, text);
    writer_array(w, "tokenizer.ggml.scores", GGUF_FLOAT32, TINY_VOCABULARY);
    for (int i = 0; i < TINY_VOCABULARY; i++) put(w, writer_float_bits(i < 259 ? 0 : (float)(258 - i)), 4);
    writer_array(w, "tokenizer.ggml.token_type", GGUF_INT32, TINY_VOCABULARY);
    for (int i = 0; i < TINY_VOCABULARY; i++) put(w, i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1, 4);
    writer_u32(w, "tokenizer.ggml.unknown_token_id", 0);
    writer_u32(w, "tokenizer.ggml.bos_token_id", 1);
    writer_u32(w, "tokenizer.ggml.eos_token_id", 2);
}

static inline void tiny_layer(gguf_writer *w, tensor_type type, uint32_t width, uint32_t i, uint32_t *state) {
    uint32_t kv = width / TINY_HEADS * TINY_KV_HEADS;
    const struct {
        const char *name;
        uint32_t rows, cols; /* rows 0: a vector */
    } tensors[] = {
        {"attn_norm", 0, width},        {"attn_q", width, width},      {"attn_k", kv, width},
        {"attn_v", kv, width},          {"attn_output", width, width}, {"ffn_norm", 0, width},
        {"ffn_gate", 2 * width, width}, {"ffn_up", 2 * width, width},  {"ffn_down", width, 2 * width},
    };
    for (size_t k = 0; k < sizeof tensors / sizeof tensors[0]; k++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.%s.weight", i, tensors[k].name);
        if (tensors[k].rows)
            tiny_matrix(w, name, type, tensors[k].rows, tensors[k].cols, state);
        else
            tiny_vector(w, name, tensors[k].cols, state);
    }
}

static inline uint32_t tiny_width(const tiny_options *o) {
    uint32_t block = tensor_type_find((uint32_t)o->type)->block;
    return o->width ? o->width : block < 32 ? 32 : block;
}

static inline void tiny_metadata(gguf_writer *w, const tiny_options *o) {
    writer_text(w, "general.architecture", "llama");
    writer_text(w, "general.name", "tiny");
    writer_u32(w, "llama.block_count", o->layers ? o->layers : 2);
    writer_u32(w, "llama.context_length", TINY_CONTEXT);
    writer_u32(w, "llama.embedding_length", tiny_width(o));
    writer_u32(w, "llama.feed_forward_length", 2 * tiny_width(o));
    writer_u32(w, "llama.attention.head_count", TINY_HEADS);
    writer_u32(w, "llama.attention.head_count_kv", TINY_KV_HEADS);
    writer_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    tiny_vocabulary(w);
}

static inline void tiny_tensors(gguf_writer *w, const tiny_options *o) {
    uint32_t state = o->seed * 2654435761u + 1, width = tiny_width(o);
    tiny_matrix(w, "token_embd.weight", o->type, TINY_VOCABULARY, width, &state);
    for (uint32_t i = 0; i < (o->layers ? o->layers : 2); i++) tiny_layer(w, o->type, width, i, &state);
    tiny_vector(w, "output_norm.weight", width, &state);
    if (o->untied) tiny_matrix(w, "output.weight", o->type, TINY_VOCABULARY, width, &state);
}

static inline void tiny_model(gguf_writer *w, const tiny_options *o) {
    writer_open(w);
    tiny_metadata(w, o);
    tiny_tensors(w, o);
    if (!o->open) writer_end(w);
}

#endif
