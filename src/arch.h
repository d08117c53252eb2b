/* arch.h: the architectures that clla runs, each one a row of flags, and the numbers that a file gives for its row.
 *
 * All of them are the same decoder-only transformer: norm, attention, norm, gated feed-forward, with residuals. What
 * differs is in `arch`; how large it is in `hyper`. Key names: GGUF specification, "<architecture>.block_count" etc. */
#ifndef CLLA_ARCH_H
#define CLLA_ARCH_H

#include <stdbool.h>
#include <stdint.h>

#include "gguf.h"
#include "kv/spec.h"
#include "status.h"

typedef struct arch {
    const char *name;          /* general.architecture */
    bool rope_pairs_adjacent;  /* rotate (x0,x1),(x2,x3).. as Llama's GGUF files want; else (x0,x[d/2]).. ("neox") */
    bool qk_norm;              /* RMS norm of each query and key head, before rope */
    bool post_norms;           /* norms after attention and feed-forward too (Gemma 3) */
    bool fused;                /* attn_qkv and gate+up in ffn_up come as one tensor each (Phi-3) */
    bool gelu;                 /* tanh-approximated GELU in the gate, else SiLU */
    bool embedding_scaled;     /* embeddings times sqrt(width) */
    bool longrope;             /* rope factors for long and short contexts (Phi-3) */
    bool latent;               /* keys and values come from a shared low-rank latent (CLLA; MLA when every layer owns one) */
    uint32_t window_pattern;   /* with a sliding window: every n-th layer sees everything; 0: all layers are windowed */
} arch;

/* NULL when there is no such row. */
const arch *arch_find(gguf_string name);

typedef struct hyper {
    uint32_t layers, width, heads, kv_heads, key_dim, value_dim, ff_width, vocabulary, context;
    uint32_t rope_dim;             /* channels of a head that rotate, even: the leading ones; with latents the last ones */
    float rope_base, rope_scale;   /* angle = position * rope_scale / rope_base^(2i/rope_dim) / factor_i */
    float rope_base_local, rope_scale_local; /* the same in windowed layers */
    float rope_magnitude;          /* cos and sin times this (longrope); 1 elsewhere */
    uint32_t rope_original_context; /* longrope: contexts up to this use the short factors */
    float norm_epsilon, attention_scale, embedding_scale;
    uint32_t window;               /* tokens a windowed layer sees, itself included; 0: none */
    uint32_t window_pattern;
    uint32_t q_rank;               /* with latents: queries go through so many channels; 0: straight from the width */
    bool own_frequencies;          /* each owner has rope frequencies of its own, in radians a position */
    bool latent_norm;              /* the latent is normed before it is stored */
    bool shared_up;                /* layers use their owner's up-projections, else each has its own */
    uint32_t pooling;              /* pooling_type: how hidden states become an embedding; 0: the file does not say */
    kv_model kv;                   /* what a cache may keep */
} hyper;

/* Read and check the numbers. Architecture "clla" (the header that clla defines, after deepseek2's):
 *
 *     attention.kv_lora_rank              channels of the latent: a multiple of 4, at most 2048
 *     attention.key_length_mla, .value_length_mla   of a head's key, rope key included, and of its value: a multiple of 4
 *     rope.dimension_count                channels of the rope key beside the latent: even (0: none)
 *     attention.kv_owner                  i32 for each layer: whose latent it reads. Absent: its own
 *     attention.kv_latent_bits            (16) 16, 8 or 4, or one for each group of channels (at most 15 changes): what training
 *                                         rounded to
 *     attention.kv_latent_group           channels that share a scale (32): a multiple of 32 that divides the latent, unless
 *                                         that has 16 bits; .kv_latent_symmetric (true), else with minimum
 *     attention.rope_key_bits             (16) 16, 8 or 4
 *     attention.kv_sink_tokens            the first n tokens stay at 16 bits (0)
 *     rope.own_frequencies                (false) owners have a tensor rope_freqs: radians a position, whatever
 *                                         rope.freq_base says; then no rope.scaling, no rope_freqs for all layers
 *     attention.kv_latent_norm (true), .kv_shared_up (false), .q_lora_rank (0), .scale (1 / sqrt(key_length_mla))
 * Tensors blk.N.*.weight where they differ from llama's, shapes as rows, columns: attn_q [heads * key_length_mla, width], or
 * attn_q_a [q_lora_rank, width], attn_q_a_norm and attn_q_b; of owners attn_kv_a_mqa [rank + rope key, width] and, if normed,
 * attn_kv_a_norm [rank]; of every layer, or with kv_shared_up of owners alone, the up-projections of each head: attn_k_b
 * [heads][rank, key_length_mla - rope key] and attn_v_b [heads][value_length_mla, rank].
 * Values that this build cannot honour (experts, attention in both directions, unknown rope scaling, heads that do not
 * divide) are refused by name. */
clla_status hyper_read(const gguf *g, const arch *a, hyper *h, clla_error *error);

/* True when layer l sees only the last `window` tokens. */
bool hyper_is_windowed(const hyper *h, uint32_t layer);

#endif
