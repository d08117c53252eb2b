/* kv_models.h: what several models have to be kept, for the tests of the cache. */
#ifndef CLLA_TEST_KV_MODELS_H
#define CLLA_TEST_KV_MODELS_H

#include "kv/spec.h"

static const kv_model
    /* key/value heads, as SmolLM2 has them; others whose channels fill no whole panel or block */
    heads_model = {.layers = 4, .heads = 3, .key_dim = 64, .value_dim = 64, .owner = {0, 1, 2, 3}, .group = 32},
    uneven_model = {.layers = 2, .heads = 2, .key_dim = 24, .value_dim = 40, .owner = {0, 1}, .group = 32},
    wide_model = {.layers = 2, .heads = 1, .key_dim = 256, .value_dim = 128, .owner = {0, 1}, .group = 32},
    /* MLA: every layer has its latent, in halves */
    mla_model = {.layers = 3, .heads = 4, .key_dim = 48, .value_dim = 32, .rank = 64, .rope_dim = 16, .owner = {0, 1, 2},
                 .group_bits = {16, 16}, .group = 32, .rope_bits = KV_F16},
    /* CLLA: pairs of layers share, codes of 4 bits beside a rope key of 8 */
    pairs_model = {.layers = 4, .heads = 9, .key_dim = 96, .value_dim = 64, .rank = 128, .rope_dim = 32,
                   .owner = {0, 0, 2, 2}, .group_bits = {4, 4, 4, 4}, .group = 32, .rope_bits = KV_Q8},
    /* bits by group, first tokens in halves, a rope key that fills no whole block */
    mixed_model = {.layers = 5, .heads = 2, .key_dim = 56, .value_dim = 32, .rank = 160, .rope_dim = 24,
                   .owner = {0, 1, 2, 2, 1}, .group_bits = {8, 16, 4, 4, 8}, .group = 32, .sinks = 4, .rope_bits = KV_Q4},
    /* groups of 64 with a minimum */
    minimum_model = {.layers = 3, .heads = 2, .key_dim = 64, .value_dim = 32, .rank = 128, .rope_dim = 32,
                     .owner = {0, 0, 0}, .group_bits = {4, 4}, .group = 64, .minimum = true, .rope_bits = KV_Q4},
    /* bits by group, none of them 4 */
    fourless_model = {.layers = 2, .heads = 2, .key_dim = 48, .value_dim = 32, .rank = 128, .rope_dim = 16, .owner = {0, 0},
                      .group_bits = {8, 16, 8, 16}, .group = 32, .minimum = true, .rope_bits = KV_Q8},
    /* no rope key */
    bare_model = {.layers = 2, .heads = 2, .key_dim = 32, .value_dim = 32, .rank = 64, .owner = {0, 0},
                  .group_bits = {8, 8}, .group = 32, .rope_bits = KV_F16};

static const kv_model *const kv_models[] = {&heads_model, &uneven_model, &wide_model,   &mla_model, &pairs_model,
                                            &mixed_model, &minimum_model, &fourless_model, &bare_model};
enum { KV_MODELS = sizeof kv_models / sizeof *kv_models };

#endif
