/* spec.h: what a cache keeps, as a point on four axes, and the string that a person types for it.
 *
 *   width   "heads": keys and values of all heads; "latent": one low-rank latent and one rope key for all heads (MLA,
 *           arXiv 2405.04434; CLLA, arXiv 2410.15252), for models that have them
 *   depth   "own": every layer stores; "shared": owners store and other layers read theirs, as the model was trained
 *   length  "all": every token is kept; sinks=N: the first N tokens stay at 16 bits
 *   bits    32, 16 (with latents, 4 bytes of scales a row), or codes with a half-precision scale for each group of channels
 *           of a token: 8, 4, 4 with minimum
 *
 * Codes of 4 bits lie in blocks of 32 channels, each with its scale: fewer channels take a whole block (a rope key of 16
 * takes as much in 4 bits as in 8), and a larger group only makes neighbouring blocks share the value of their scales. Room
 * for N sinks is set aside whatever the context; no figure "a token" counts it.
 *
 * A string is items joined by "," or "+":
 *
 *   f32 f16 q8 q4          all of a row alike (also "q8_0", "q4_0"); with latents q4 keeps the rope key in q8, unless rope=N
 *                          says otherwise
 *   clla                   latents as the model's header says: the default of a model that has them. Others: f16
 *   width=heads|latent  depth=own|shared  length=all
 *   bits=32|16|8|4  rope=32|16|8|4  sym|min  group=N  sinks=N
 *                          bits= is of heads or of the latent alone, rope= of the rope key; what is not named stays as the
 *                          model's header says
 *
 * Printing a parsed spec gives a short form, which parses to the same spec for the same model. */
#ifndef CLLA_KV_SPEC_H
#define CLLA_KV_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../status.h"

typedef enum kv_bits { KV_MIXED = 0, KV_Q4 = 4, KV_Q8 = 8, KV_F16 = 16, KV_F32 = 32 } kv_bits;
typedef enum kv_width { KV_HEADS, KV_LATENT } kv_width;

enum { KV_GROUP = 32, KV_GROUPS_MAX = 64, KV_LAYERS_MAX = 1024, KV_SINKS_MAX = 1024, KV_SPEC_TEXT = 96 };

/* What a model has to be kept. */
typedef struct kv_model {
    uint32_t layers, heads, key_dim, value_dim; /* key/value heads and their channels, rope included */
    uint32_t rank, rope_dim;                    /* channels of the latent (0: the model has none) and of its rope key */
    uint16_t owner[KV_LAYERS_MAX];              /* whose row a layer reads: itself, or one before it that is its own owner */
    uint8_t group_bits[KV_GROUPS_MAX];          /* latent: bits of each group of `group` channels, as trained */
    uint32_t group, sinks;
    kv_bits rope_bits;
    bool minimum;
} kv_model;

typedef struct kv_spec {
    kv_width width;
    kv_bits bits;      /* KV_MIXED: each group of channels as the model says */
    kv_bits rope_bits; /* of latents */
    bool minimum;      /* 4-bit groups have a minimum, else they are symmetric */
    uint32_t group;    /* channels that share a scale; a multiple of KV_GROUP. KV_GROUP where nothing has scales */
    uint32_t sinks;
} kv_spec;

/* NULL or "" is the model's default. Unknown items, contradictions, repetitions and what this model cannot do are refused
 * by name (BAD_KV_SPEC). */
clla_status kv_spec_parse(const char *text, const kv_model *model, kv_spec *spec, clla_error *error);
void kv_spec_print(const kv_spec *spec, const kv_model *model, char text[KV_SPEC_TEXT]);

/* Do two specs store alike? */
bool kv_spec_equal(const kv_spec *a, const kv_spec *b);

#endif
