/* forward.h: one step of a model: n tokens in, the cache extended by n, logits of chosen tokens out.
 *
 * There is one forward pass. Prefill is a step of many tokens, decode a step of one; architectures differ by the flags
 * and weights of arch.h and model.h. */
#ifndef CLLA_FORWARD_H
#define CLLA_FORWARD_H

#include "kv/attention.h"
#include "kv/cache.h"
#include "model.h"
#include "ops.h"

/* Angles of the rotary embedding: of every layer, of windowed layers that have a base of their own, of layers whose latent
 * has frequencies of its own. */
typedef struct rope_table {
    float *frequency;      /* [half]: radians a position */
    float *cosine, *sine;  /* [chunk, half]: of the tokens of the current step */
} rope_table;

typedef struct forward {
    const clla_model *model;
    uint32_t chunk; /* tokens of a step at most */
    uint32_t picks; /* logits of a step at most */
    ops ops;
    attention_scratch attention;
    rope_table rope_global, rope_local;
    rope_table *rope_own;  /* [layers], where the model has any: readers share their owner's */
    tensor x, h;        /* [chunk, width]: residual stream; what a block reads and writes */
    tensor q, k, v;     /* [chunk, heads * key_dim], [chunk, kv_heads * key_dim], [chunk, kv_heads * value_dim] */
    tensor mixed;       /* [chunk, heads * value_dim]: attention's output */
    tensor q_a;         /* latents: [chunk, q_rank] */
    tensor latent;      /* [chunk, rank + rope_dim]: what an owner stores; [layers * chunk, ..] for a cache of heads */
    tensor absorbed;    /* [chunk, heads * (rank + rope_dim)]: queries in the latent's coordinates */
    tensor gathered;    /* [chunk, heads * rank]: attention's output in them */
    tensor gate, up;    /* [chunk, ff_width]: in the memory of q to gathered, but for latent */
    kv_format trained;  /* how a latent was rounded in training: for a cache of heads */
    tensor picked, logits; /* [picks, width], [picks, vocabulary] */
} forward;

/* Take the memory of all this (a measure too). The context decides which factors longrope uses. */
void forward_layout(forward *f, const clla_model *m, const kv_shape *shape, uint32_t chunk, uint32_t picks, arena *a);

/* Evaluate ids[n], n <= chunk, at positions position .. position + n - 1. Logits of the tokens at[at_count] of this step
 * (ascending, < n) come to f->logits, [at_count, vocabulary]. */
void forward_step(forward *f, kv_cache *cache, const int32_t *ids, uint32_t n, uint32_t position, const uint32_t *at,
                  uint32_t at_count);

/* The final hidden states of the n tokens of the last step, after the output norm: [n, width], valid until the next. */
const float *forward_states(forward *f, uint32_t n);

#endif
