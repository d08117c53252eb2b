/* sampler_logprobs.c: natural-log probabilities of tokens under the unmodified logits, in double precision. */
#include <math.h>
#include <stdbool.h>

#include "sampler.h"
#include "sampler_math.h"

/* log of the sum of exp(logits), without NaN. */
static double log_sum_exp(const float *logits, uint32_t count) {
    int32_t place = clla_argmax(logits, 0, count);
    double largest = place < 0 ? 0 : (double)logits[place], sum = 0;
    if (place < 0 || isinf(largest)) return largest;
    for (uint32_t i = 0; i < count; i++) sum += exp_negative((double)logits[i] - largest); /* 0 for NaN */
    return largest + log_positive(sum);
}

static float logprob(float logit, double log_sum) {
    if (logit == INFINITY) return 0;
    return isnan(logit) || logit == -INFINITY ? -INFINITY : (float)((double)logit - log_sum);
}

float clla_logprob_of(const float *logits, uint32_t vocabulary, int32_t id) {
    if (id < 0 || (uint32_t)id >= vocabulary) return -INFINITY;
    return logprob(logits[id], log_sum_exp(logits, vocabulary));
}

static bool likelier(clla_logprob a, clla_logprob b) {
    return a.logprob > b.logprob || (a.logprob == b.logprob && a.id < b.id);
}

/* Insert into top[0, n), sorted. n is small. */
static void insert(clla_logprob *top, uint32_t n, clla_logprob item) {
    if (n == 0 || !likelier(item, top[n - 1])) return;
    uint32_t at = n - 1;
    for (; at > 0 && likelier(item, top[at - 1]); at--) top[at] = top[at - 1];
    top[at] = item;
}

void clla_logprobs_top(const float *logits, uint32_t vocabulary, clla_logprob *top, uint32_t n) {
    double log_sum = log_sum_exp(logits, vocabulary);
    for (uint32_t i = 0; i < n; i++) top[i] = (clla_logprob){INT32_MAX, -INFINITY};
    for (uint32_t id = 0; id < vocabulary; id++) {
        float value = isnan(logits[id]) ? -INFINITY : logits[id];
        insert(top, n, (clla_logprob){(int32_t)id, value}); /* by logit: finer than its probability */
    }
    for (uint32_t i = 0; i < n; i++) {
        if (top[i].id == INT32_MAX)
            top[i].id = -1; /* n is larger than the vocabulary */
        else
            top[i].logprob = logprob(top[i].logprob, log_sum);
    }
}
