/* tiny_latent.h: a whole model of the `clla` architecture in memory, for tests: random weights in halves, the vocabulary of
 * tiny_model.h, four layers of which the second reads the first's latent and the fourth the third's.
 *
 *     gguf_writer w;
 *     tiny_latent(&w, &(latent_options){.bits = 4, .sinks = 2, .seed = 1});     // w.bytes, w.size: the file
 *     writer_close(&w); */
#ifndef CLLA_TINY_LATENT_H
#define CLLA_TINY_LATENT_H

#include "tiny_model.h"

typedef struct latent_options {
    uint32_t bits;      /* of the latent; 0: 16 */
    uint32_t rope_bits; /* 0: 16 */
    uint32_t sinks;
    bool minimum;       /* groups have a minimum */
    uint32_t seed;
} latent_options;

enum {
    LATENT_WIDTH = 64,
    LATENT_LAYERS = 4,
    LATENT_HEADS = 2,
    LATENT_RANK = 64,
    LATENT_NOPE = 32,
    LATENT_ROPE = 16,
    LATENT_VALUE = 32
};

static inline void latent_metadata(gguf_writer *w, const latent_options *o) {
    writer_text(w, "general.architecture", "clla");
    writer_text(w, "general.name", "tiny latent");
    writer_u32(w, "clla.block_count", LATENT_LAYERS);
    writer_u32(w, "clla.context_length", TINY_CONTEXT);
    writer_u32(w, "clla.embedding_length", LATENT_WIDTH);
    writer_u32(w, "clla.feed_forward_length", 2 * LATENT_WIDTH);
    writer_u32(w, "clla.attention.head_count", LATENT_HEADS);
    writer_f32(w, "clla.attention.layer_norm_rms_epsilon", 1e-5f);
    writer_u32(w, "clla.attention.kv_lora_rank", LATENT_RANK);
    writer_u32(w, "clla.rope.dimension_count", LATENT_ROPE);
    writer_u32(w, "clla.attention.key_length_mla", LATENT_NOPE + LATENT_ROPE);
    writer_u32(w, "clla.attention.value_length_mla", LATENT_VALUE);
    writer_array(w, "clla.attention.kv_owner", GGUF_INT32, LATENT_LAYERS);
    for (uint32_t i = 0; i < LATENT_LAYERS; i++) put(w, i / 2 * 2, 4);
    writer_u32(w, "clla.attention.kv_latent_bits", o->bits ? o->bits : 16);
    writer_bool(w, "clla.attention.kv_latent_symmetric", !o->minimum);
    writer_u32(w, "clla.attention.rope_key_bits", o->rope_bits ? o->rope_bits : 16);
    writer_u32(w, "clla.attention.kv_sink_tokens", o->sinks);
    tiny_vocabulary(w);
}

static inline void latent_cube(gguf_writer *w, const char *name, uint64_t rows, uint64_t cols, uint32_t *state) {
    writer_item *t = writer_tensor(w, name, TENSOR_F16, 3, (uint64_t[]){cols, rows, LATENT_HEADS}, NULL);
    tiny_rows(t->data, TENSOR_F16, LATENT_HEADS * rows * cols, 0.2f, state);
}

static inline void latent_layer(gguf_writer *w, uint32_t i, uint32_t *state) {
    const struct {
        const char *name;
        uint32_t rows, cols; /* rows 0: a vector */
    } tensors[] = {
        {"attn_norm", 0, LATENT_WIDTH},
        {"attn_q", LATENT_HEADS * (LATENT_NOPE + LATENT_ROPE), LATENT_WIDTH},
        {"attn_output", LATENT_WIDTH, LATENT_HEADS * LATENT_VALUE},
        {"ffn_norm", 0, LATENT_WIDTH},
        {"ffn_gate", 2 * LATENT_WIDTH, LATENT_WIDTH},
        {"ffn_up", 2 * LATENT_WIDTH, LATENT_WIDTH},
        {"ffn_down", LATENT_WIDTH, 2 * LATENT_WIDTH},
        {"attn_kv_a_norm", 0, LATENT_RANK}, /* from here on: owners only */
        {"attn_kv_a_mqa", LATENT_RANK + LATENT_ROPE, LATENT_WIDTH},
    };
    char name[64];
    for (uint32_t k = 0; k < (i % 2 ? 7 : 9); k++) {
        snprintf(name, sizeof name, "blk.%u.%s.weight", i, tensors[k].name);
        if (tensors[k].rows) tiny_matrix(w, name, TENSOR_F16, tensors[k].rows, tensors[k].cols, state);
        else tiny_vector(w, name, tensors[k].cols, state);
    }
    snprintf(name, sizeof name, "blk.%u.attn_k_b.weight", i);
    latent_cube(w, name, LATENT_RANK, LATENT_NOPE, state);
    snprintf(name, sizeof name, "blk.%u.attn_v_b.weight", i);
    latent_cube(w, name, LATENT_VALUE, LATENT_RANK, state);
}

static inline void tiny_latent(gguf_writer *w, const latent_options *o) {
    uint32_t state = o->seed * 2654435761u + 1;
    writer_open(w);
    latent_metadata(w, o);
    tiny_matrix(w, "token_embd.weight", TENSOR_F16, TINY_VOCABULARY, LATENT_WIDTH, &state);
    for (uint32_t i = 0; i < LATENT_LAYERS; i++) latent_layer(w, i, &state);
    tiny_vector(w, "output_norm.weight", LATENT_WIDTH, &state);
    writer_end(w);
}

#endif
