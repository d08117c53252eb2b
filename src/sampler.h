/* sampler.h: from logits to the next token.
 *
 * The order of the steps, each off at its neutral value: logit bias; repetition, frequency and presence penalties over
 * the last penalty_window tokens; temperature; top-k; typical-p; top-p; min-p; then one draw. temperature 0 is greedy
 * (after bias and penalties). The same seed gives the same tokens on every build: the generator (PCG32), the sums and
 * the exponential are written here and use no library function whose rounding varies. */
#ifndef CLLA_SAMPLER_H
#define CLLA_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

typedef struct clla_logit_bias {
    int32_t id;
    float bias; /* added to the logit; -INFINITY forbids the token */
} clla_logit_bias;

/* Zero in every field is greedy decoding without penalties. */
typedef struct clla_sampler_options {
    float temperature;        /* 0: greedy */
    uint32_t top_k;           /* 0: all */
    float top_p;              /* 0 or 1: off */
    float min_p;              /* 0: off */
    float typical_p;          /* 0 or 1: off (Meister et al., arXiv 2202.00666) */
    float repetition_penalty; /* 0 or 1: off (CTRL, arXiv 1909.05858) */
    float frequency_penalty;  /* 0: off */
    float presence_penalty;   /* 0: off */
    uint32_t penalty_window;  /* tokens the penalties look back; 0: 64 */
    uint64_t seed;
    const clla_logit_bias *bias; /* copied */
    size_t bias_count;
} clla_sampler_options;

typedef struct clla_sampler clla_sampler;

typedef struct clla_logprob {
    int32_t id;
    float logprob; /* natural logarithm of softmax of the unmodified logits */
} clla_logprob;

/* Refuses values out of range by name (negative temperature, top_p above 1, NaN, ids outside the vocabulary). */
clla_status clla_sampler_create(const clla_sampler_options *options, uint32_t vocabulary,
                                clla_sampler **sampler, clla_error *error);
void clla_sampler_free(clla_sampler *sampler); /* NULL is fine */

/* Tell the sampler of a token that is in the context (prompt or reply): the penalties see it. */
void clla_sampler_accept(clla_sampler *sampler, int32_t id);

/* Choose from logits [vocabulary], which are not changed. Does not accept it: the caller does. Ties go to the lower id.
 * NaN logits and forbidden tokens (-INFINITY) are never chosen: -1 where there is nothing else. */
int32_t clla_sample(clla_sampler *sampler, const float *logits);

/* The place of the largest of count values, the lowest of equals, starting from place `first`; NaN and -INFINITY are
 * passed over, -1 where there is nothing else. Parts of one array can be searched apart: the larger value wins, the
 * lower place of equals. */
int32_t clla_argmax(const float *values, uint32_t first, uint32_t count);

/* Natural-log probabilities of the n most likely tokens, most likely first, and of one token. */
void clla_logprobs_top(const float *logits, uint32_t vocabulary, clla_logprob *top /* [n] */, uint32_t n);
float clla_logprob_of(const float *logits, uint32_t vocabulary, int32_t id);

/* Save and restore everything that decides future draws (generator and window): sizes and bytes are platform-independent. */
size_t clla_sampler_state_bytes(const clla_sampler *sampler);
void clla_sampler_state_write(const clla_sampler *sampler, uint8_t *bytes);
clla_status clla_sampler_state_read(clla_sampler *sampler, const uint8_t *bytes, size_t size,
                                    clla_error *error);

#endif
