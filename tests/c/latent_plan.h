/* latent_plan.h: models of architecture `clla` in memory whose every number can be wrong: a plan says what the header says,
 * and the tensors have the shapes that follow, as far as they are of a sane size.
 *
 *     latent_plan p = latent_plan_good();  p.rank = 33;
 *     latent_plan_write(&w, &p);  ...  writer_close(&w); */
#ifndef CLLA_LATENT_PLAN_H
#define CLLA_LATENT_PLAN_H

#include "tiny_model.h"

enum { PLAN_LAYERS = 8, PLAN_GROUPS = 17, PLAN_ROWS = 1024, PLAN_VALUES = 1 << 15 };

typedef struct latent_plan {
    uint32_t layers, width, heads, rank, rope, key, value, ff, q_rank, group, bits, rope_bits, sinks, context;
    uint32_t owners, owner[PLAN_LAYERS];        /* owners: items of the array; 0: the header has none */
    uint32_t bits_items, group_bits[PLAN_GROUPS]; /* 0: one number, `bits` */
    uint32_t kv_heads_told, key_told, value_told; /* numbers that follow from others; 0: not told */
    bool minimum, no_norm, shared_up, own_frequencies, global_frequencies;
    float scale, rope_base, rope_linear;        /* 0: not told */
    tensor_type type;
    const char *without; /* a tensor or key (behind "clla.") that is left out */
    const char *longer;  /* a tensor that has four rows more than it should */
    uint32_t seed;
} latent_plan;

static inline latent_plan latent_plan_good(void) {
    return (latent_plan){.layers = 4, .width = 32, .heads = 2, .rank = 64, .rope = 8, .key = 24, .value = 16, .ff = 32, .group = 32,
                         .bits = 4, .rope_bits = 8, .context = 256, .owners = 4, .owner = {0, 0, 2, 2}, .type = TENSOR_F16, .seed = 1};
}

static inline bool plan_leaves_out(const latent_plan *p, const char *name) { return p->without && strcmp(p->without, name) == 0; }

static inline void plan_number(gguf_writer *w, const latent_plan *p, const char *name, uint32_t value) {
    char key[96];
    if (plan_leaves_out(p, name)) return;
    snprintf(key, sizeof key, "clla.%s", name);
    writer_u32(w, key, value);
}

static inline void plan_array(gguf_writer *w, const char *key, uint32_t count, const uint32_t *items, uint32_t most) {
    writer_array(w, key, GGUF_INT32, count);
    for (uint32_t i = 0; i < count; i++) put(w, items[i < most ? i : most - 1], 4);
}

static inline void plan_header(gguf_writer *w, const latent_plan *p) {
    writer_text(w, "general.architecture", "clla");
    plan_number(w, p, "block_count", p->layers), plan_number(w, p, "context_length", p->context);
    plan_number(w, p, "embedding_length", p->width), plan_number(w, p, "feed_forward_length", p->ff);
    plan_number(w, p, "attention.head_count", p->heads), plan_number(w, p, "attention.kv_lora_rank", p->rank);
    plan_number(w, p, "attention.key_length_mla", p->key), plan_number(w, p, "attention.value_length_mla", p->value);
    plan_number(w, p, "rope.dimension_count", p->rope), plan_number(w, p, "attention.q_lora_rank", p->q_rank);
    plan_number(w, p, "attention.kv_latent_group", p->group), plan_number(w, p, "attention.rope_key_bits", p->rope_bits);
    plan_number(w, p, "attention.kv_sink_tokens", p->sinks);
    if (p->bits_items) plan_array(w, "clla.attention.kv_latent_bits", p->bits_items, p->group_bits, PLAN_GROUPS);
    else plan_number(w, p, "attention.kv_latent_bits", p->bits);
    if (p->owners) plan_array(w, "clla.attention.kv_owner", p->owners, p->owner, PLAN_LAYERS);
    if (p->kv_heads_told) plan_number(w, p, "attention.head_count_kv", p->kv_heads_told);
    if (p->key_told) plan_number(w, p, "attention.key_length", p->key_told);
    if (p->value_told) plan_number(w, p, "attention.value_length", p->value_told);
    writer_bool(w, "clla.attention.kv_latent_symmetric", !p->minimum);
    writer_bool(w, "clla.attention.kv_latent_norm", !p->no_norm);
    writer_bool(w, "clla.attention.kv_shared_up", p->shared_up);
    writer_bool(w, "clla.rope.own_frequencies", p->own_frequencies);
    if (p->scale != 0) writer_f32(w, "clla.attention.scale", p->scale);
    if (p->rope_base != 0) writer_f32(w, "clla.rope.freq_base", p->rope_base);
    if (p->rope_linear != 0) writer_f32(w, "clla.rope.scale_linear", p->rope_linear);
    tiny_vocabulary(w);
}

/* heads 0: a matrix; rows 0: a vector. Where the plan's numbers are out of bounds, a small one stands in. */
static inline void plan_tensor(gguf_writer *w, const latent_plan *p, const char *name, uint64_t heads, uint64_t rows, uint64_t cols,
                               uint32_t *state) {
    uint64_t more = p->longer && strcmp(p->longer, name) == 0 ? 4 : 0;
    tensor_type type = rows == 0 || cols % tensor_type_find((uint32_t)p->type)->block ? rows ? TENSOR_F16 : TENSOR_F32 : p->type;
    if (plan_leaves_out(p, name) || w->tensor_count == WRITER_TENSORS) return;
    if (cols == 0 || cols > PLAN_ROWS || rows > PLAN_ROWS || heads > PLAN_ROWS || (heads + 1) * (rows + 1) * cols > PLAN_VALUES)
        cols = 32, rows = rows ? 4 : 0, heads = heads ? 1 : 0;
    if (rows == 0) {
        tiny_vector(w, name, cols + more, state);
        return;
    }
    writer_item *t = writer_tensor(w, name, type, heads ? 3 : 2, (uint64_t[]){cols, rows + more, heads}, NULL);
    tiny_rows(t->data, type, (heads ? heads : 1) * (rows + more) * cols, 0.2f, state);
}

static inline void plan_layer(gguf_writer *w, const latent_plan *p, uint32_t i, uint32_t *state) {
    bool owner = p->owners == 0 || p->owner[i < PLAN_LAYERS ? i : PLAN_LAYERS - 1] == i, up = owner || !p->shared_up;
    uint64_t width = p->width, heads = p->heads, rank = p->rank, plain = p->key > p->rope ? p->key - p->rope : 0;
    const struct {
        const char *name;
        bool is;
        uint64_t heads, rows, cols;
    } tensors[] = {
        {"attn_norm", true, 0, 0, width},
        {"attn_q", !p->q_rank, 0, heads * p->key, width},
        {"attn_q_a", p->q_rank, 0, p->q_rank, width},
        {"attn_q_a_norm", p->q_rank, 0, 0, p->q_rank},
        {"attn_q_b", p->q_rank, 0, heads * p->key, p->q_rank},
        {"attn_kv_a_mqa", owner, 0, rank + p->rope, width},
        {"attn_kv_a_norm", owner && !p->no_norm, 0, 0, rank},
        {"rope_freqs", owner && p->own_frequencies, 0, 0, p->rope / 2},
        {"attn_k_b", up, heads, rank, plain},
        {"attn_v_b", up, heads, p->value, rank},
        {"attn_output", true, 0, width, heads * p->value},
        {"ffn_norm", true, 0, 0, width},
        {"ffn_gate", true, 0, p->ff, width},
        {"ffn_up", true, 0, p->ff, width},
        {"ffn_down", true, 0, width, p->ff},
    };
    for (size_t k = 0; k < sizeof tensors / sizeof tensors[0]; k++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.%s.weight", i, tensors[k].name);
        if (tensors[k].is) plan_tensor(w, p, name, tensors[k].heads, tensors[k].rows, tensors[k].cols, state);
    }
}

static inline void latent_plan_write(gguf_writer *w, const latent_plan *p) {
    uint32_t state = p->seed * 2654435761u + 1;
    writer_open(w);
    plan_header(w, p);
    plan_tensor(w, p, "token_embd.weight", 0, TINY_VOCABULARY, p->width, &state);
    if (p->global_frequencies) plan_tensor(w, p, "rope_freqs.weight", 0, 0, p->rope / 2, &state);
    for (uint32_t i = 0; i < p->layers && i < PLAN_LAYERS; i++) plan_layer(w, p, i, &state);
    plan_tensor(w, p, "output_norm.weight", 0, 0, p->width, &state);
    writer_end(w);
}

#endif
