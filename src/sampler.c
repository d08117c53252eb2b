/* sampler.c: from logits to the next token, without sorting the vocabulary.
 *
 * Bias and penalties touch few tokens: they are kept as a list sorted by id. Greedy is one pass over the logits. top-k
 * keeps the best k in a heap of that size while it passes over them. Otherwise every token gets its weight,
 * exp((logit - largest) / temperature), so that nothing overflows however small the temperature is. min-p is a limit on
 * the weights. For top-p the limit is lowered until what lies above it has the wanted mass; those few become a heap, from
 * which the most likely are taken until the mass is reached. typical-p does the same with all tokens by another key.
 *
 * The generator is PCG32 (O'Neill, HMC-CS-2014-0905), exp and log are those of sampler_math.h: the same seed gives the same
 * tokens on every build. */
#include "sampler.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "arena.h"
#include "sampler_math.h"

/* ---- the sampler --------------------------------------------------------------------------------------- */

typedef struct candidate {
    float key; /* what the heap is ordered by: larger first, the lower id of equals */
    float weight;
    int32_t id;
} candidate;

typedef struct seen {
    int32_t id;
    uint32_t count;
} seen;

struct clla_sampler {
    arena memory; /* holds this struct and its arrays */
    clla_sampler_options options;
    uint32_t vocabulary;
    uint64_t state, stream; /* of the generator */
    clla_logit_bias *bias;  /* [bias_count] sorted by id, each id once */
    int32_t *window;        /* [penalty_window] a ring */
    uint32_t window_count, window_next;
    seen *tokens; /* [token_count] what is in the window, sorted by id */
    uint32_t token_count;
    clla_logit_bias *changed; /* [changed_count] logits after bias and penalties, sorted by id */
    size_t changed_count;
    float *weights;        /* [capacity] */
    candidate *candidates; /* [capacity], count of them in use */
    uint32_t capacity, count;
    double whole; /* the mass of which the candidates are a part */
};

/* ---- the generator ------------------------------------------------------------------------------------- */

static uint32_t next_random(clla_sampler *s) {
    uint64_t old = s->state;
    s->state = old * 6364136223846793005ull + s->stream;
    uint32_t mixed = (uint32_t)((old >> 18 ^ old) >> 27), turn = (uint32_t)(old >> 59);
    return mixed >> turn | mixed << (-turn & 31);
}

static void seed_random(clla_sampler *s, uint64_t seed) {
    s->state = 0;
    s->stream = 0xda3e39cb94b95bdbull; /* odd; any does */
    next_random(s);
    s->state += seed;
    next_random(s);
}

/* In [0, 1), 53 bits. */
static double next_fraction(clla_sampler *s) {
    uint64_t high = next_random(s), low = next_random(s);
    return (double)((high << 32 | low) >> 11) * 0x1p-53;
}

/* ---- options ------------------------------------------------------------------------------------------- */

static clla_status check_range(const char *name, float value, float low, float high, clla_error *error) {
    if (value >= low && value <= high) return CLLA_OK; /* false for NaN */
    if (high < INFINITY)
        return clla_fail(error, CLLA_BAD_ARGUMENT, "sampler: %s is %g, must be from %g to %g", name,
                         (double)value, (double)low, (double)high);
    return clla_fail(error, CLLA_BAD_ARGUMENT, "sampler: %s is %g, must be at least %g", name, (double)value,
                     (double)low);
}

static clla_status check_finite(const char *name, float value, clla_error *error) {
    if (isfinite(value)) return CLLA_OK;
    return clla_fail(error, CLLA_BAD_ARGUMENT, "sampler: %s is %g, must be finite", name, (double)value);
}

static clla_status check_bias(const clla_sampler_options *o, uint32_t vocabulary, clla_error *error) {
    if (o->bias_count && !o->bias)
        return clla_fail(error, CLLA_BAD_ARGUMENT, "sampler: bias_count without bias");
    for (size_t i = 0; i < o->bias_count; i++) {
        int32_t id = o->bias[i].id;
        if (id < 0 || (uint32_t)id >= vocabulary)
            return clla_fail(error, CLLA_BAD_ARGUMENT, "sampler: bias[%zu] is for token %d, but there are %u",
                             i, (int)id, (unsigned)vocabulary);
        if (isnan(o->bias[i].bias))
            return clla_fail(error, CLLA_BAD_ARGUMENT, "sampler: bias[%zu] is not a number", i);
    }
    return CLLA_OK;
}

static clla_status check_options(const clla_sampler_options *o, uint32_t vocabulary, clla_error *error) {
    const struct {
        const char *name;
        float value, high;
    } ranges[] = {{"temperature", o->temperature, INFINITY},
                  {"top_p", o->top_p, 1},
                  {"min_p", o->min_p, 1},
                  {"typical_p", o->typical_p, 1},
                  {"repetition_penalty", o->repetition_penalty, INFINITY}};
    if (vocabulary == 0 || vocabulary > INT32_MAX)
        return clla_fail(error, CLLA_BAD_ARGUMENT, "sampler: a vocabulary of %u tokens",
                         (unsigned)vocabulary);
    clla_status status = CLLA_OK;
    for (size_t i = 0; !status && i < sizeof ranges / sizeof ranges[0]; i++)
        status = check_range(ranges[i].name, ranges[i].value, 0, ranges[i].high, error);
    if (!status) status = check_finite("temperature", o->temperature, error);
    if (!status) status = check_finite("repetition_penalty", o->repetition_penalty, error);
    if (!status) status = check_finite("frequency_penalty", o->frequency_penalty, error);
    if (!status) status = check_finite("presence_penalty", o->presence_penalty, error);
    return status ? status : check_bias(o, vocabulary, error);
}

/* Sorted by id; what is given twice is added up. */
static size_t copy_bias(clla_logit_bias *sorted, const clla_logit_bias *bias, size_t count) {
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        size_t at = used;
        while (at > 0 && sorted[at - 1].id > bias[i].id) at--;
        if (at > 0 && sorted[at - 1].id == bias[i].id) {
            sorted[at - 1].bias += bias[i].bias;
            continue;
        }
        memmove(sorted + at + 1, sorted + at, (used - at) * sizeof *sorted);
        sorted[at] = bias[i];
        used++;
    }
    return used;
}

static clla_sampler *lay_out(arena *a, const clla_sampler *plan) {
    const clla_sampler_options *o = &plan->options;
    clla_sampler *s = arena_take(a, 1, sizeof *s);
    clla_logit_bias *bias = arena_take(a, o->bias_count, sizeof *bias);
    int32_t *window = arena_take(a, o->penalty_window, sizeof *window);
    seen *tokens = arena_take(a, o->penalty_window, sizeof *tokens);
    clla_logit_bias *changed = arena_take(a, (uint64_t)o->bias_count + o->penalty_window, sizeof *changed);
    float *weights = arena_take(a, plan->capacity, sizeof *weights);
    candidate *candidates = arena_take(a, plan->capacity, sizeof *candidates);
    if (!a->base) return NULL;
    *s = *plan;
    s->bias = bias;
    s->window = window;
    s->tokens = tokens;
    s->changed = changed;
    s->weights = weights;
    s->candidates = candidates;
    return s;
}

/* Greedy needs no candidates; top-k needs k. */
static uint32_t candidates_needed(const clla_sampler_options *o, uint32_t vocabulary) {
    if (o->temperature == 0) return 0;
    return o->top_k && o->top_k < vocabulary ? o->top_k : vocabulary;
}

clla_status clla_sampler_create(const clla_sampler_options *options, uint32_t vocabulary,
                                clla_sampler **sampler, clla_error *error) {
    *sampler = NULL;
    clla_status status = check_options(options, vocabulary, error);
    if (status) return status;
    clla_sampler plan = {.options = *options, .vocabulary = vocabulary};
    if (plan.options.penalty_window == 0) plan.options.penalty_window = 64;
    if (plan.options.repetition_penalty == 0) plan.options.repetition_penalty = 1;
    plan.capacity = candidates_needed(options, vocabulary);
    arena memory = {0};
    lay_out(&memory, &plan);
    uint64_t size = memory.used;
    if (!arena_open(&memory, size))
        return clla_fail(error, CLLA_OUT_OF_MEMORY, "the sampler needs %llu bytes", (unsigned long long)size);
    clla_sampler *s = lay_out(&memory, &plan);
    s->memory = memory;
    s->options.bias_count = copy_bias(s->bias, options->bias, options->bias_count);
    s->options.bias = s->bias;
    seed_random(s, options->seed);
    *sampler = s;
    return CLLA_OK;
}

void clla_sampler_free(clla_sampler *sampler) {
    if (!sampler) return;
    arena memory = sampler->memory; /* the struct lies in it */
    arena_close(&memory);
}

/* ---- the window ---------------------------------------------------------------------------------------- */

/* Where an id is among the tokens seen, or would be. */
static uint32_t seen_at(const clla_sampler *s, int32_t id) {
    uint32_t low = 0, high = s->token_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (s->tokens[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void window_remove(clla_sampler *s, int32_t id) {
    uint32_t at = seen_at(s, id);
    if (--s->tokens[at].count > 0) return;
    s->token_count--;
    memmove(s->tokens + at, s->tokens + at + 1, (s->token_count - at) * sizeof *s->tokens);
}

static void window_add(clla_sampler *s, int32_t id) {
    uint32_t at = seen_at(s, id);
    if (at == s->token_count || s->tokens[at].id != id) {
        memmove(s->tokens + at + 1, s->tokens + at, (s->token_count - at) * sizeof *s->tokens);
        s->tokens[at] = (seen){id, 0};
        s->token_count++;
    }
    s->tokens[at].count++;
}

void clla_sampler_accept(clla_sampler *s, int32_t id) {
    if (id < 0 || (uint32_t)id >= s->vocabulary) return;
    if (s->window_count == s->options.penalty_window)
        window_remove(s, s->window[s->window_next]);
    else
        s->window_count++;
    s->window[s->window_next] = id;
    s->window_next = (s->window_next + 1) % s->options.penalty_window;
    window_add(s, id);
}

/* ---- bias and penalties -------------------------------------------------------------------------------- */

static float penalized(const clla_sampler_options *o, float logit, uint32_t count) {
    logit = logit > 0 ? logit / o->repetition_penalty : logit * o->repetition_penalty;
    return logit - (float)count * o->frequency_penalty - o->presence_penalty;
}

static bool has_penalties(const clla_sampler_options *o) {
    return o->repetition_penalty != 1 || o->frequency_penalty != 0 || o->presence_penalty != 0;
}

/* Two sorted lists become one: the tokens whose logits are not what the model says. */
static void collect_changed(clla_sampler *s, const float *logits) {
    const clla_logit_bias *bias = s->bias, *bias_end = bias + s->options.bias_count;
    const seen *token = s->tokens, *token_end = token + (has_penalties(&s->options) ? s->token_count : 0);
    s->changed_count = 0;
    while (bias < bias_end || token < token_end) {
        int32_t id = token == token_end || (bias < bias_end && bias->id < token->id) ? bias->id : token->id;
        float logit = logits[id];
        if (bias < bias_end && bias->id == id) logit += bias++->bias;
        if (token < token_end && token->id == id) logit = penalized(&s->options, logit, token++->count);
        s->changed[s->changed_count++] = (clla_logit_bias){id, logit};
    }
}

/* ---- greedy -------------------------------------------------------------------------------------------- */

int32_t clla_argmax(const float *values, uint32_t first, uint32_t count) {
    float best = -INFINITY;
    int32_t place = -1;
    for (uint32_t i = first; i < first + count; i++)
        if (values[i] > best) best = values[i], place = (int32_t)i;
    return place;
}

/* The best of one more stretch of logits and what was best before it. */
static void take_larger(int32_t *place, float *best, int32_t other, float value) {
    if (other >= 0 && value > *best) *best = value, *place = other;
}

static int32_t sample_greedy(const clla_sampler *s, const float *logits) {
    int32_t place = -1;
    float best = -INFINITY;
    uint32_t at = 0;
    for (size_t i = 0; i <= s->changed_count; i++) {
        uint32_t end = i < s->changed_count ? (uint32_t)s->changed[i].id : s->vocabulary;
        int32_t other = clla_argmax(logits, at, end - at);
        take_larger(&place, &best, other, other >= 0 ? logits[other] : 0);
        if (i < s->changed_count) take_larger(&place, &best, s->changed[i].id, s->changed[i].bias);
        at = end + 1;
    }
    return place;
}

/* ---- candidates ---------------------------------------------------------------------------------------- */

static bool better(candidate a, candidate b) { return a.key > b.key || (a.key == b.key && a.id < b.id); }

/* Let c[i] sink in a heap whose root is the best, or the worst. */
static void sink(candidate *c, uint32_t i, uint32_t count, bool best_first) {
    candidate item = c[i];
    for (uint32_t child; (child = 2 * i + 1) < count; i = child) {
        if (child + 1 < count && better(c[child + 1], c[child]) == best_first) child++;
        if (better(c[child], item) != best_first) break;
        c[i] = c[child];
    }
    c[i] = item;
}

static void heapify(candidate *c, uint32_t count, bool best_first) {
    for (uint32_t i = count / 2; i-- > 0;) sink(c, i, count, best_first);
}

/* Logits to weights, in place; the largest gets 1, or where it is infinite, the infinite ones. */
static void weigh(const clla_sampler *s, float *values, uint32_t count) {
    int32_t place = clla_argmax(values, 0, count);
    float largest = place < 0 ? 0 : values[place], temperature = s->options.temperature;
    if (isinf(largest)) {
        for (uint32_t i = 0; i < count; i++) values[i] = values[i] == largest;
        return;
    }
    for (uint32_t i = 0; i < count; i++) values[i] = exp_weight((values[i] - largest) / temperature);
}

/* In four sums, as vectors would do it. */
static double sum_of(const float *weights, uint32_t count) {
    double sums[4] = {0};
    uint32_t i = 0;
    for (; i + 4 <= count; i += 4)
        for (uint32_t k = 0; k < 4; k++) sums[k] += (double)weights[i + k];
    for (; i < count; i++) sums[0] += (double)weights[i];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/* ---- top-k: the best k in a heap whose root is the worst of them --------------------------------------- */

static void offer(clla_sampler *s, int32_t id, float logit) {
    candidate *c = s->candidates, new = {logit, 0, id};
    if (!(logit > -INFINITY)) return;
    if (s->count < s->capacity) {
        c[s->count++] = new;
        if (s->count == s->capacity) heapify(c, s->count, false);
    } else if (better(new, c[0])) {
        c[0] = new;
        sink(c, 0, s->count, false);
    }
}

static void gather_best(clla_sampler *s, const float *logits) {
    const clla_logit_bias *changed = s->changed, *end = changed + s->changed_count;
    s->count = 0;
    for (uint32_t id = 0; id < s->vocabulary; id++) {
        float logit = logits[id];
        if (changed < end && (uint32_t)changed->id == id) logit = changed++->bias;
        offer(s, (int32_t)id, logit);
    }
    for (uint32_t i = 0; i < s->count; i++) s->weights[i] = s->candidates[i].key;
    weigh(s, s->weights, s->count);
    for (uint32_t i = 0; i < s->count; i++) s->candidates[i].weight = s->weights[i];
    s->whole = sum_of(s->weights, s->count);
}

/* ---- all tokens ---------------------------------------------------------------------------------------- */

static void weigh_all(clla_sampler *s, const float *logits) {
    memcpy(s->weights, logits, s->vocabulary * sizeof *logits);
    for (size_t i = 0; i < s->changed_count; i++) s->weights[s->changed[i].id] = s->changed[i].bias;
    weigh(s, s->weights, s->vocabulary);
    s->whole = sum_of(s->weights, s->vocabulary);
}

/* Those whose weight is at least a limit become candidates. */
static void gather_above(clla_sampler *s, float least) {
    s->count = 0;
    for (uint32_t id = 0; id < s->vocabulary; id++)
        if (s->weights[id] >= least && s->weights[id] > 0)
            s->candidates[s->count++] = (candidate){s->weights[id], s->weights[id], (int32_t)id};
}

/* A weight so that the tokens above it have a part of the mass, and not many too many of them. */
static float limit_for(const clla_sampler *s, double part) {
    for (float least = 1.0f / 16; least > 1e-37f; least /= 16) {
        double sum = 0;
        for (uint32_t i = 0; i < s->vocabulary; i++)
            if (s->weights[i] >= least) sum += (double)s->weights[i];
        if (sum >= part * s->whole) return least;
    }
    return 0;
}

static bool narrows(float part) { return part > 0 && part < 1; }

/* Candidates from the whole vocabulary: no more than the first of the steps needs to see. */
static void gather(clla_sampler *s) {
    const clla_sampler_options *o = &s->options;
    if (narrows(o->typical_p))
        gather_above(s, 0);
    else if (narrows(o->top_p))
        gather_above(s, limit_for(s, (double)o->top_p));
    else
        gather_above(s, o->min_p);
}

/* ---- steps on candidates ------------------------------------------------------------------------------- */

/* Keep the best by key until they have a part of the mass. */
static void keep_part(clla_sampler *s, double part) {
    candidate *c = s->candidates;
    double sum = 0;
    uint32_t rest = s->count;
    heapify(c, rest, true);
    while (rest > 0 && sum < part * s->whole) { /* the kept ones gather at the end, the best last */
        candidate top = c[0];
        c[0] = c[--rest];
        c[rest] = top;
        sink(c, 0, rest, true);
        sum += (double)top.weight;
    }
    s->count -= rest;
    s->whole = sum;
    memmove(c, c + rest, s->count * sizeof *c);
}

/* Locally typical sampling: those whose surprise, -log p, is closest to the expected surprise, the entropy. */
static void keep_typical(clla_sampler *s, double part) {
    double log_whole = s->whole > 0 ? log_positive(s->whole) : 0, entropy = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        candidate *c = &s->candidates[i];
        double log_weight = c->weight > 0 ? log_positive((double)c->weight) : -INFINITY;
        if (c->weight > 0) entropy += (double)c->weight / s->whole * (log_whole - log_weight);
        c->key = (float)log_weight;
    }
    for (uint32_t i = 0; i < s->count; i++) {
        candidate *c = &s->candidates[i];
        c->key = -(float)fabs(log_whole - (double)c->key - entropy);
    }
    keep_part(s, part);
}

static void keep_top(clla_sampler *s, double part) {
    for (uint32_t i = 0; i < s->count; i++) s->candidates[i].key = s->candidates[i].weight;
    keep_part(s, part);
}

/* Those that are at least `part` as likely as the most likely one. */
static void keep_likely(clla_sampler *s, float part) {
    float largest = 0;
    for (uint32_t i = 0; i < s->count; i++)
        if (s->candidates[i].weight > largest) largest = s->candidates[i].weight;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < s->count; i++)
        if (s->candidates[i].weight >= part * largest) s->candidates[kept++] = s->candidates[i];
    s->count = kept;
}

/* From the end: there the most likely are, where a step has ordered them. */
static int32_t draw(clla_sampler *s) {
    double sum = 0;
    int32_t id = -1;
    for (uint32_t i = 0; i < s->count; i++) sum += (double)s->candidates[i].weight;
    double at = next_fraction(s) * sum;
    for (uint32_t i = s->count; i-- > 0;) {
        if (s->candidates[i].weight == 0) continue;
        id = s->candidates[i].id;
        at -= (double)s->candidates[i].weight;
        if (at < 0) break;
    }
    return id;
}

/* The same among all tokens. */
static int32_t draw_from_all(clla_sampler *s) {
    double at = next_fraction(s) * s->whole;
    int32_t id = -1;
    for (uint32_t i = s->vocabulary; i-- > 0;) {
        if (s->weights[i] == 0) continue;
        id = (int32_t)i;
        at -= (double)s->weights[i];
        if (at < 0) break;
    }
    return id;
}

int32_t clla_sample(clla_sampler *s, const float *logits) {
    const clla_sampler_options *o = &s->options;
    collect_changed(s, logits);
    if (o->temperature == 0) return sample_greedy(s, logits);
    if (s->capacity < s->vocabulary) {
        gather_best(s, logits);
    } else {
        weigh_all(s, logits);
        if (!narrows(o->typical_p) && !narrows(o->top_p) && o->min_p == 0) return draw_from_all(s);
        gather(s);
    }
    if (narrows(o->typical_p)) keep_typical(s, (double)o->typical_p);
    if (narrows(o->top_p)) keep_top(s, (double)o->top_p);
    if (o->min_p > 0) keep_likely(s, o->min_p);
    return draw(s);
}

/* ---- state --------------------------------------------------------------------------------------------- */

/* Little endian: "CSS1", tokens in the window, generator, then the tokens, oldest first. */
enum { STATE_HEAD = 4 + 4 + 8 + 8 };
static const uint8_t state_magic[4] = {'C', 'S', 'S', '1'};

static void put_number(uint8_t *bytes, uint64_t value, size_t size) {
    for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_number(const uint8_t *bytes, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

size_t clla_sampler_state_bytes(const clla_sampler *s) { return STATE_HEAD + 4 * (size_t)s->window_count; }

void clla_sampler_state_write(const clla_sampler *s, uint8_t *bytes) {
    uint32_t window = s->options.penalty_window, oldest = s->window_count < window ? 0 : s->window_next;
    memcpy(bytes, state_magic, 4);
    put_number(bytes + 4, s->window_count, 4);
    put_number(bytes + 8, s->state, 8);
    put_number(bytes + 16, s->stream, 8);
    for (uint32_t i = 0; i < s->window_count; i++)
        put_number(bytes + STATE_HEAD + 4 * i, (uint32_t)s->window[(oldest + i) % window], 4);
}

/* Everything is checked before anything changes. */
clla_status clla_sampler_state_read(clla_sampler *s, const uint8_t *bytes, size_t size, clla_error *error) {
    if (size < STATE_HEAD || memcmp(bytes, state_magic, 4) != 0)
        return clla_fail(error, CLLA_BAD_ARGUMENT, "sampler: these %zu bytes are no saved state", size);
    uint64_t count = get_number(bytes + 4, 4);
    if (count > s->options.penalty_window || size != STATE_HEAD + 4 * count)
        return clla_fail(error, CLLA_BAD_ARGUMENT,
                         "sampler: a saved window of %u tokens in %zu bytes, this one holds %u",
                         (unsigned)count, size, (unsigned)s->options.penalty_window);
    for (uint64_t i = 0; i < count; i++)
        if (get_number(bytes + STATE_HEAD + 4 * i, 4) >= s->vocabulary)
            return clla_fail(error, CLLA_BAD_ARGUMENT,
                             "sampler: the saved window names token %u, but there are %u",
                             (unsigned)get_number(bytes + STATE_HEAD + 4 * i, 4), (unsigned)s->vocabulary);
    s->window_count = s->window_next = s->token_count = 0;
    for (uint64_t i = 0; i < count; i++)
        clla_sampler_accept(s, (int32_t)get_number(bytes + STATE_HEAD + 4 * i, 4));
    s->state = get_number(bytes + 8, 8);
    s->stream = get_number(bytes + 16, 8) | 1;
    return CLLA_OK;
}
