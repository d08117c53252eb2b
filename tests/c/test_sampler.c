/* test_sampler.c: what each option does by itself, the distributions that come out, and what is refused. */
#include "test.h"

#include <stdlib.h>

#include "arena.h"
#include "sampler.h"

enum { VOCABULARY = 50 };

static clla_error error;

/* Logits with a known order: a linear congruence, no two equal. */
static const float *some_logits(void) {
    static float logits[VOCABULARY];
    for (int i = 0; i < VOCABULARY; i++) logits[i] = (float)((i * 37 + 11) % VOCABULARY) * 0.15f - 3.0f;
    return logits;
}

static clla_sampler *make(clla_sampler_options options, uint32_t vocabulary) {
    clla_sampler *s = NULL;
    clla_status status = clla_sampler_create(&options, vocabulary, &s, &error);
    CHECK(status == CLLA_OK, "%s", error.text);
    return s;
}

static int32_t best_of(const float *logits, int n) {
    int best = 0;
    for (int i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

/* How often each token comes in `draws` draws. */
static void count_draws(clla_sampler_options options, const float *logits, uint32_t n, int draws,
                        int *counts) {
    clla_sampler *s = make(options, n);
    memset(counts, 0, n * sizeof *counts);
    for (int i = 0; i < draws; i++) {
        int32_t id = clla_sample(s, logits);
        CHECK(id >= 0 && (uint32_t)id < n, "drew %d", id);
        counts[id]++;
    }
    clla_sampler_free(s);
}

/* Pearson's statistic against probabilities that are zero where nothing may come; bins with less than 5 are pooled. */
static double chi_square(const int *counts, const double *p, int n, int draws, int *freedom) {
    double chi = 0, rest_expected = 0, rest_seen = 0;
    *freedom = -1;
    for (int i = 0; i < n; i++) {
        double expected = p[i] * draws;
        if (p[i] == 0) CHECK(counts[i] == 0, "token %d came %d times, must never", i, counts[i]);
        if (expected < 5) {
            rest_expected += expected;
            rest_seen += counts[i];
            continue;
        }
        chi += (counts[i] - expected) * (counts[i] - expected) / expected;
        ++*freedom;
    }
    if (rest_expected >= 5) {
        chi += (rest_seen - rest_expected) * (rest_seen - rest_expected) / rest_expected;
        ++*freedom;
    }
    return chi;
}

/* The statistic is near its mean, the degrees of freedom, within 4 standard deviations. */
static void check_distribution(const char *what, clla_sampler_options options, const float *logits,
                               const double *p, int n) {
    static int counts[VOCABULARY];
    enum { DRAWS = 20000 };
    int freedom;
    options.seed = 42;
    count_draws(options, logits, (uint32_t)n, DRAWS, counts);
    double chi = chi_square(counts, p, n, DRAWS, &freedom);
    CHECK(chi < freedom + 4 * sqrt(2.0 * freedom) + 1, "%s: chi-square %.1f with %d degrees of freedom", what,
          chi, freedom);
}

static void softmax(const float *logits, int n, double temperature, double *p) {
    double sum = 0, largest = logits[best_of(logits, n)];
    for (int i = 0; i < n; i++) sum += p[i] = exp((logits[i] - largest) / temperature);
    for (int i = 0; i < n; i++) p[i] /= sum;
}

/* The straightforward definition of "sort by key, keep until the mass is reached", to hold the heap against. */
static void keep_reference(double *p, const double *key, int n, double part) {
    bool kept[VOCABULARY] = {false};
    double sum = 0;
    while (sum < part) {
        int best = -1;
        for (int i = 0; i < n; i++)
            if (!kept[i] && p[i] > 0 && (best < 0 || key[i] > key[best])) best = i;
        if (best < 0) break;
        kept[best] = true;
        sum += p[best];
    }
    for (int i = 0; i < n; i++) p[i] = kept[i] ? p[i] / sum : 0;
}

/* ---- distributions ------------------------------------------------------------------------------------- */

static void draws_follow_the_softmax(void) {
    double p[VOCABULARY];
    float temperatures[] = {0.3f, 1.0f, 2.5f};
    for (int i = 0; i < 3; i++) {
        softmax(some_logits(), VOCABULARY, (double)temperatures[i], p);
        check_distribution("temperature", (clla_sampler_options){.temperature = temperatures[i]},
                           some_logits(), p, VOCABULARY);
    }
}

static void top_k_keeps_the_best(void) {
    for (uint32_t k = 1; k <= VOCABULARY + 3; k = k * 2 + 1) {
        double p[VOCABULARY], sum = 0;
        const float *logits = some_logits();
        softmax(logits, VOCABULARY, 1, p);
        for (int i = 0; i < VOCABULARY; i++) {
            uint32_t better = 0;
            for (int j = 0; j < VOCABULARY; j++) better += logits[j] > logits[i];
            if (better >= k) p[i] = 0;
            sum += p[i];
        }
        for (int i = 0; i < VOCABULARY; i++) p[i] /= sum;
        check_distribution("top_k", (clla_sampler_options){.temperature = 1, .top_k = k}, logits, p,
                           VOCABULARY);
    }
}

static void top_p_keeps_the_mass(void) {
    for (int i = 1; i < 10; i++) {
        double p[VOCABULARY], key[VOCABULARY];
        softmax(some_logits(), VOCABULARY, 1, p);
        memcpy(key, p, sizeof p);
        float part = (float)i / 10 + 0.013f;
        keep_reference(p, key, VOCABULARY, (double)part);
        check_distribution("top_p", (clla_sampler_options){.temperature = 1, .top_p = part}, some_logits(), p,
                           VOCABULARY);
    }
}

static void min_p_keeps_the_likely(void) {
    for (int i = 1; i < 10; i += 2) {
        double p[VOCABULARY], sum = 0;
        float part = (float)i / 10 + 0.017f;
        softmax(some_logits(), VOCABULARY, 1, p);
        double largest = p[best_of(some_logits(), VOCABULARY)];
        for (int j = 0; j < VOCABULARY; j++) sum += p[j] = p[j] >= (double)part * largest ? p[j] : 0;
        for (int j = 0; j < VOCABULARY; j++) p[j] /= sum;
        check_distribution("min_p", (clla_sampler_options){.temperature = 1, .min_p = part}, some_logits(), p,
                           VOCABULARY);
    }
}

static void typical_p_keeps_the_typical(void) {
    for (int i = 1; i < 10; i += 2) {
        double p[VOCABULARY], key[VOCABULARY], entropy = 0;
        float part = (float)i / 10 + 0.011f;
        softmax(some_logits(), VOCABULARY, 1, p);
        for (int j = 0; j < VOCABULARY; j++) entropy -= p[j] * log(p[j]);
        for (int j = 0; j < VOCABULARY; j++) key[j] = -fabs(-log(p[j]) - entropy);
        keep_reference(p, key, VOCABULARY, (double)part);
        check_distribution("typical_p", (clla_sampler_options){.temperature = 1, .typical_p = part},
                           some_logits(), p, VOCABULARY);
    }
}

static void steps_combine_in_order(void) {
    double p[VOCABULARY], key[VOCABULARY], sum = 0;
    const float *logits = some_logits();
    softmax(logits, VOCABULARY, 1.5, p);
    for (int i = 0; i < VOCABULARY; i++) { /* the best 20 */
        int better = 0;
        for (int j = 0; j < VOCABULARY; j++) better += logits[j] > logits[i];
        if (better >= 20) p[i] = 0;
        sum += p[i];
    }
    for (int i = 0; i < VOCABULARY; i++) p[i] /= sum;
    memcpy(key, p, sizeof p);
    keep_reference(p, key, VOCABULARY, (double)0.77f);
    sum = 0;
    double largest = p[best_of(logits, VOCABULARY)];
    for (int i = 0; i < VOCABULARY; i++) sum += p[i] = p[i] >= (double)0.31f * largest ? p[i] : 0;
    for (int i = 0; i < VOCABULARY; i++) p[i] /= sum;
    check_distribution(
        "all", (clla_sampler_options){.temperature = 1.5f, .top_k = 20, .top_p = 0.77f, .min_p = 0.31f},
        logits, p, VOCABULARY);
}

/* ---- greedy, bias, penalties --------------------------------------------------------------------------- */

static void zero_options_are_greedy(void) {
    clla_sampler *s = make((clla_sampler_options){0}, VOCABULARY);
    for (int i = 0; i < 10; i++)
        CHECK(clla_sample(s, some_logits()) == best_of(some_logits(), VOCABULARY), "not the largest");
    clla_sampler_free(s);
}

static void ties_go_to_the_lower_id(void) {
    float logits[] = {1, 3, 2, 3, 3};
    clla_sampler *s = make((clla_sampler_options){0}, 5);
    CHECK(clla_sample(s, logits) == 1, "got %d", clla_sample(s, logits));
    clla_sampler_free(s);
    s = make((clla_sampler_options){.temperature = 1, .top_k = 1}, 5);
    for (int i = 0; i < 20; i++) CHECK(clla_sample(s, logits) == 1, "top_k 1 is not the lower id");
    clla_sampler_free(s);
    CHECK(clla_argmax(logits, 2, 3) == 3, "a part of the array");
}

static void bias_moves_and_forbids(void) {
    const float *logits = some_logits();
    int32_t best = best_of(logits, VOCABULARY);
    clla_logit_bias bias[] = {{best, -INFINITY}, {7, 100}, {3, 100.5f}, {7, 1}};
    clla_sampler *s = make((clla_sampler_options){.bias = bias, .bias_count = 1}, VOCABULARY);
    CHECK(clla_sample(s, logits) != best, "forbidden token");
    clla_sampler_free(s);
    s = make((clla_sampler_options){.bias = bias, .bias_count = 4}, VOCABULARY);
    bias[1].bias = bias[3].bias = -100; /* they were copied */
    CHECK(clla_sample(s, logits) == (logits[7] + 101 > logits[3] + 100.5f ? 7 : 3), "biases add up");
    clla_sampler_free(s);
    double p[VOCABULARY];
    float biased[VOCABULARY];
    memcpy(biased, logits, sizeof biased);
    biased[0] += 4, biased[49] += 3, biased[best] = -INFINITY;
    softmax(biased, VOCABULARY, 1, p);
    clla_logit_bias three[] = {{49, 3}, {0, 4}, {best, -INFINITY}};
    check_distribution("bias", (clla_sampler_options){.temperature = 1, .bias = three, .bias_count = 3},
                       logits, p, VOCABULARY);
}

static void everything_forbidden_gives_none(void) {
    float logits[] = {-INFINITY, (float)NAN, -INFINITY};
    for (int t = 0; t < 2; t++) {
        clla_sampler *s = make(
            (clla_sampler_options){.temperature = (float)t, .top_p = 0.5f, .typical_p = 0.5f, .min_p = 0.1f},
            3);
        CHECK(clla_sample(s, logits) == -1, "temperature %d", t);
        clla_sampler_free(s);
    }
}

static void nan_is_never_chosen_and_infinity_always(void) {
    float logits[VOCABULARY];
    for (int i = 0; i < VOCABULARY; i++) logits[i] = i % 3 ? (float)NAN : (float)i * 0.01f;
    for (int t = 0; t < 3; t++) {
        clla_sampler *s =
            make((clla_sampler_options){.temperature = (float)t, .top_k = t == 2 ? 5 : 0}, VOCABULARY);
        for (int i = 0; i < 200; i++) CHECK(clla_sample(s, logits) % 3 == 0, "NaN was chosen");
        clla_sampler_free(s);
    }
    logits[10] = INFINITY;
    for (int t = 0; t < 2; t++) {
        clla_sampler *s = make((clla_sampler_options){.temperature = (float)t}, VOCABULARY);
        for (int i = 0; i < 50; i++) CHECK(clla_sample(s, logits) == 10, "infinity was not chosen");
        clla_sampler_free(s);
    }
}

static void tiny_temperature_is_greedy(void) {
    clla_sampler *s = make((clla_sampler_options){.temperature = 1e-30f}, VOCABULARY);
    for (int i = 0; i < 50; i++)
        CHECK(clla_sample(s, some_logits()) == best_of(some_logits(), VOCABULARY), "not greedy");
    clla_sampler_free(s);
}

static void each_penalty_follows_its_formula(void) {
    float logits[] = {2.0f, 1.9f, -1.0f, -1.1f, -3};
    struct {
        clla_sampler_options options;
        int32_t accepted[4];
        int accepted_count;
        int32_t want;
    } cases[] = {
        {{.repetition_penalty = 1.1f}, {0}, 1, 1},       /* 2 / 1.1 < 1.9 */
        {{.repetition_penalty = 1.04f}, {0}, 1, 0},      /* 2 / 1.04 > 1.9 */
        {{.repetition_penalty = 0.5f}, {1}, 1, 1},       /* 1.9 / 0.5 */
        {{.presence_penalty = 0.2f}, {0}, 1, 1},         /* 1.8 < 1.9 */
        {{.presence_penalty = 0.2f}, {0, 0, 1}, 3, 0},   /* 1.8 > 1.7: how often does not matter */
        {{.frequency_penalty = 0.06f}, {0}, 1, 0},       /* 1.94 > 1.9 */
        {{.frequency_penalty = 0.06f}, {0, 0}, 2, 1},    /* 1.88 < 1.9 */
        {{.frequency_penalty = 0.06f}, {0, 0, 1}, 3, 0}, /* 1.88 > 1.84 */
        {{.frequency_penalty = -1}, {4, 4, 4, 4}, 4, 0}, /* -3 + 4 < 2 */
        {{.frequency_penalty = -2}, {4, 4, 4, 4}, 4, 4}, /* -3 + 8 > 2 */
        {{.seed = 0}, {0, 0, 0, 0}, 4, 0},               /* off */
        {{.presence_penalty = 0.2f, .penalty_window = 2}, {0, 2, 3}, 3, 0}, /* out of the window */
        {{.presence_penalty = 0.2f, .penalty_window = 3}, {0, 2, 3}, 3, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        clla_sampler *s = make(cases[i].options, 5);
        for (int k = 0; k < cases[i].accepted_count; k++) clla_sampler_accept(s, cases[i].accepted[k]);
        clla_sampler_accept(s, -1); /* ignored */
        clla_sampler_accept(s, 5);
        int32_t got = clla_sample(s, logits);
        CHECK(got == cases[i].want, "case %zu: got %d, want %d", i, got, cases[i].want);
        clla_sampler_free(s);
    }
}

static void repetition_divides_positive_and_multiplies_negative(void) {
    float logits[] = {-1.0f, -1.05f};
    clla_sampler *s = make((clla_sampler_options){.repetition_penalty = 1.1f}, 2);
    clla_sampler_accept(s, 0);
    CHECK(clla_sample(s, logits) == 1, "-1 * 1.1 < -1.05");
    clla_sampler_free(s);
}

/* The window against a count made anew at each step. */
static void the_window_forgets_in_order(void) {
    enum { WINDOW = 5, STEPS = 300, N = 6 };
    clla_sampler *s = make((clla_sampler_options){.frequency_penalty = 1, .penalty_window = WINDOW}, N);
    int32_t accepted[STEPS];
    float logits[N] = {0.01f, 0.02f, 0.03f, 0.04f, 0.05f, 0.06f};
    for (int step = 0; step < STEPS; step++) {
        accepted[step] = (step * step / 3 + step) % N;
        clla_sampler_accept(s, accepted[step]);
        float penalized[N];
        memcpy(penalized, logits, sizeof logits);
        for (int k = step < WINDOW ? 0 : step - WINDOW + 1; k <= step; k++) penalized[accepted[k]] -= 1;
        CHECK(clla_sample(s, logits) == best_of(penalized, N), "step %d", step);
    }
    clla_sampler_free(s);
}

/* ---- seeds and state ----------------------------------------------------------------------------------- */

static void the_seed_decides_the_draws(void) {
    clla_sampler_options options = {.temperature = 1, .seed = 7};
    clla_sampler *a = make(options, VOCABULARY), *b = make(options, VOCABULARY);
    options.seed = 8;
    clla_sampler *c = make(options, VOCABULARY);
    int same = 0;
    for (int i = 0; i < 200; i++) {
        int32_t x = clla_sample(a, some_logits());
        CHECK(x == clla_sample(b, some_logits()), "draw %d differs", i);
        same += x == clla_sample(c, some_logits());
    }
    CHECK(same < 60, "another seed gave the same draw %d times of 200", same);
    clla_sampler_free(a), clla_sampler_free(b), clla_sampler_free(c);
}

/* The draws of seed 1, found by an independent program from the definitions: every build must give them. */
static void draws_are_the_same_on_every_build(void) {
    static const int32_t plain[] = {1,  13, 32, 1,  36, 48, 24, 13, 25, 24, 24, 24,
                                    28, 29, 28, 17, 5,  28, 24, 36, 9,  6,  28, 1};
    static const int32_t all[] = {44, 9,  1,  2,  24, 28, 13, 17, 24, 40, 24, 9,
                                  5,  32, 28, 44, 25, 13, 28, 24, 5,  32, 36, 6};
    clla_sampler *s = make((clla_sampler_options){.temperature = 0.9f, .seed = 1}, VOCABULARY);
    for (int i = 0; i < 24; i++) {
        int32_t id = clla_sample(s, some_logits());
        CHECK(id == plain[i], "plain draw %d is %d", i, id);
    }
    clla_sampler_free(s);
    s = make((clla_sampler_options){.temperature = 1.1f,
                                    .top_k = 30,
                                    .typical_p = 0.95f,
                                    .top_p = 0.9f,
                                    .min_p = 0.05f,
                                    .repetition_penalty = 1.3f,
                                    .frequency_penalty = 0.1f,
                                    .penalty_window = 8,
                                    .seed = 1},
             VOCABULARY);
    for (int i = 0; i < 24; i++) {
        int32_t id = clla_sample(s, some_logits());
        CHECK(id == all[i], "draw %d with all options is %d", i, id);
        clla_sampler_accept(s, id);
    }
    clla_sampler_free(s);
}

static void state_round_trips(void) {
    clla_sampler_options options = {.temperature = 1, .seed = 3, .presence_penalty = 2, .penalty_window = 4};
    for (int before = 0; before < 12; before++) {
        clla_sampler *a = make(options, VOCABULARY), *b = make(options, VOCABULARY);
        for (int i = 0; i < before; i++) clla_sampler_accept(a, clla_sample(a, some_logits()));
        uint8_t state[256];
        size_t size = clla_sampler_state_bytes(a);
        CHECK(size == 24 + 4 * (size_t)(before < 4 ? before : 4), "%zu bytes", size);
        clla_sampler_state_write(a, state);
        clla_sampler_accept(b, 1); /* is forgotten */
        CHECK(clla_sampler_state_read(b, state, size, &error) == CLLA_OK, "%s", error.text);
        for (int i = 0; i < 30; i++) {
            int32_t x = clla_sample(a, some_logits()), y = clla_sample(b, some_logits());
            CHECK(x == y, "draw %d after %d", i, before);
            clla_sampler_accept(a, x), clla_sampler_accept(b, y);
        }
        clla_sampler_free(a), clla_sampler_free(b);
    }
}

static void damaged_state_is_refused(void) {
    clla_sampler *s = make((clla_sampler_options){.temperature = 1, .penalty_window = 3, .seed = 9}, 10);
    for (int32_t i = 0; i < 3; i++) clla_sampler_accept(s, i);
    uint8_t state[64], after[64];
    size_t size = clla_sampler_state_bytes(s);
    clla_sampler_state_write(s, state);
    for (size_t cut = 0; cut < size; cut++)
        CHECK(clla_sampler_state_read(s, state, cut, &error) == CLLA_BAD_ARGUMENT, "%zu bytes were taken",
              cut);
    struct {
        size_t at;
        uint8_t value;
        const char *names;
    } damages[] = {{0, 'X', "no saved state"},
                   {4, 4, "window"},
                   {7, 0x80, "window"},
                   {24, 10, "token 10"},
                   {27, 0xff, "token"}};
    for (size_t i = 0; i < 5; i++) {
        uint8_t damaged[64];
        memcpy(damaged, state, size);
        damaged[damages[i].at] = damages[i].value;
        CHECK(clla_sampler_state_read(s, damaged, size, &error) == CLLA_BAD_ARGUMENT, "damage %zu was taken",
              i);
        CHECK(strstr(error.text, damages[i].names), "damage %zu: %s", i, error.text);
    }
    clla_sampler_state_write(s, after);
    CHECK(memcmp(state, after, size) == 0, "a refused state changed the sampler");
    clla_sampler_free(s);
}

/* ---- refusals ------------------------------------------------------------------------------------------ */

/* 20 bytes for each token of the window are 2^32 and a little: where addresses have 32 bits that must not become the little. */
static void a_window_larger_than_memory_is_refused(void) {
    clla_sampler_options options = {.penalty_window = 214748365};
    clla_sampler *s = NULL;
    CHECK(clla_sampler_create(&options, 5, &s, &error) == CLLA_OUT_OF_MEMORY && !s, "%s", error.text);
    CHECK(strstr(error.text, "42949"), "%s", error.text);
}

static void options_out_of_range_are_refused_by_name(void) {
    clla_logit_bias outside = {5, 1}, negative = {-1, 1}, none = {0, (float)NAN};
    struct {
        const char *name;
        clla_sampler_options options;
    } cases[] = {
        {"temperature", {.temperature = -0.1f}},
        {"temperature", {.temperature = (float)NAN}},
        {"temperature", {.temperature = INFINITY}},
        {"top_p", {.top_p = 1.01f}},
        {"top_p", {.top_p = -0.01f}},
        {"top_p", {.top_p = (float)NAN}},
        {"min_p", {.min_p = 1.5f}},
        {"min_p", {.min_p = -1}},
        {"typical_p", {.typical_p = 2}},
        {"typical_p", {.typical_p = -INFINITY}},
        {"repetition_penalty", {.repetition_penalty = -1}},
        {"repetition_penalty", {.repetition_penalty = INFINITY}},
        {"frequency_penalty", {.frequency_penalty = (float)NAN}},
        {"presence_penalty", {.presence_penalty = INFINITY}},
        {"bias[0]", {.bias = &outside, .bias_count = 1}},
        {"bias[0]", {.bias = &negative, .bias_count = 1}},
        {"bias[0]", {.bias = &none, .bias_count = 1}},
        {"bias_count", {.bias_count = 1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        clla_sampler *s = NULL;
        error.text[0] = 0;
        CHECK(clla_sampler_create(&cases[i].options, 5, &s, &error) == CLLA_BAD_ARGUMENT,
              "case %zu was taken", i);
        CHECK(s == NULL && strstr(error.text, cases[i].name), "case %zu: %s", i, error.text);
    }
    clla_sampler *s = NULL;
    CHECK(clla_sampler_create(&(clla_sampler_options){0}, 0, &s, &error) == CLLA_BAD_ARGUMENT,
          "no vocabulary");
    CHECK(clla_sampler_create(&(clla_sampler_options){.top_p = 1, .min_p = 1, .typical_p = 1}, 5, &s, NULL) ==
              CLLA_OK,
          "1 is fine");
    clla_sampler_free(s);
    clla_sampler_free(NULL);
}

static void a_failed_allocation_leaks_nothing(void) {
    size_t before = memory_in_use();
    clla_sampler *s = NULL;
    memory_fail_at(1);
    CHECK(clla_sampler_create(&(clla_sampler_options){.temperature = 1}, 100, &s, &error) ==
              CLLA_OUT_OF_MEMORY,
          "it was taken");
    memory_fail_at(0);
    CHECK(s == NULL && memory_in_use() == before, "%zu bytes leaked", memory_in_use() - before);
    if (sizeof(size_t) == 8)
        CHECK(clla_sampler_create(&(clla_sampler_options){.penalty_window = UINT32_MAX}, 100, &s, &error) !=
                  CLLA_BAD_ARGUMENT,
              "size");
    clla_sampler_free(s);
}

/* ---- log-probabilities --------------------------------------------------------------------------------- */

static void logprobs_agree_with_double_precision(void) {
    enum { N = 3000 };
    static float logits[N];
    uint32_t x = 1;
    for (int scale = 1; scale <= 1000; scale *= 10) {
        double sum = 0, largest = -1e30;
        for (int i = 0; i < N; i++) {
            x = x * 1664525u + 1013904223u;
            logits[i] = ((float)(x >> 8) / 16777216.0f - 0.5f) * (float)scale;
            if ((double)logits[i] > largest) largest = (double)logits[i];
        }
        for (int i = 0; i < N; i++) sum += exp((double)logits[i] - largest);
        double log_sum = largest + log(sum);
        for (int i = 0; i < N; i += 7) {
            double want = (double)logits[i] - log_sum, got = (double)clla_logprob_of(logits, N, i);
            CHECK(fabs(got - want) <= 1e-6 * (1 + fabs(want)), "scale %d, token %d: %.9g, want %.9g", scale,
                  i, got, want);
        }
        clla_logprob top[20];
        clla_logprobs_top(logits, N, top, 20);
        for (int k = 0; k < 20; k++) {
            int better = 0;
            for (int i = 0; i < N; i++)
                better += logits[i] > logits[top[k].id] || (logits[i] == logits[top[k].id] && i < top[k].id);
            CHECK(better == k, "place %d holds number %d", k, better);
            CHECK(top[k].logprob == clla_logprob_of(logits, N, top[k].id), "two ways, two values");
        }
    }
}

static void logprobs_of_odd_logits(void) {
    float logits[] = {1, (float)NAN, -INFINITY, 1};
    clla_logprob top[6];
    clla_logprobs_top(logits, 4, top, 6);
    CHECK(top[0].id == 0 && top[1].id == 3 && fabsf(top[0].logprob + 0.6931472f) < 1e-6f, "%g",
          (double)top[0].logprob);
    CHECK(top[2].logprob == -INFINITY && top[3].logprob == -INFINITY,
          "NaN and -infinity have no probability");
    CHECK(top[4].id == -1 && top[5].id == -1, "more than the vocabulary");
    CHECK(clla_logprob_of(logits, 4, 1) == -INFINITY && clla_logprob_of(logits, 4, 4) == -INFINITY,
          "no token, no probability");
    logits[3] = INFINITY;
    CHECK(clla_logprob_of(logits, 4, 3) == 0 && clla_logprob_of(logits, 4, 0) == -INFINITY,
          "an infinite logit takes all");
}

int main(void) {
    RUN("draws follow the softmax at every temperature", draws_follow_the_softmax);
    RUN("top_k keeps the k best", top_k_keeps_the_best);
    RUN("top_p keeps the most likely until the mass is reached", top_p_keeps_the_mass);
    RUN("min_p keeps what is likely enough", min_p_keeps_the_likely);
    RUN("typical_p keeps what is closest to the entropy", typical_p_keeps_the_typical);
    RUN("top_k, top_p and min_p combine in their order", steps_combine_in_order);
    RUN("zero in every option is greedy", zero_options_are_greedy);
    RUN("ties go to the lower id", ties_go_to_the_lower_id);
    RUN("bias moves and forbids, adds up and is copied", bias_moves_and_forbids);
    RUN("where everything is forbidden nothing is chosen", everything_forbidden_gives_none);
    RUN("NaN is never chosen, infinity always", nan_is_never_chosen_and_infinity_always);
    RUN("a tiny temperature is greedy", tiny_temperature_is_greedy);
    RUN("each penalty follows its formula", each_penalty_follows_its_formula);
    RUN("the repetition penalty lowers negative logits too",
        repetition_divides_positive_and_multiplies_negative);
    RUN("the penalty window forgets in order", the_window_forgets_in_order);
    RUN("the seed decides the draws", the_seed_decides_the_draws);
    RUN("draws are the same on every build", draws_are_the_same_on_every_build);
    RUN("state round-trips", state_round_trips);
    RUN("damaged state is refused and changes nothing", damaged_state_is_refused);
    RUN("options out of range are refused by name", options_out_of_range_are_refused_by_name);
    RUN("a failed allocation leaks nothing", a_failed_allocation_leaks_nothing);
    if (SIZE_MAX > UINT32_MAX) SKIP("a window larger than memory is refused", "4 GiB are to be had where addresses have 64 bits");
    else RUN("a window larger than memory is refused", a_window_larger_than_memory_is_refused);
    RUN("log-probabilities agree with double precision", logprobs_agree_with_double_precision);
    RUN("log-probabilities of odd logits", logprobs_of_odd_logits);
    return test_report();
}
