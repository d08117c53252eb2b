/* test_golden.c: every architecture and every tensor type, as whole models from files: log-probabilities of
 * forced tokens against a double-precision reference, and greedy ids of llama.cpp (tests/vectors/README.md;
 * tests/js/golden.test.js compares more). */
#include "clla.h"
#include "test.h"

#include <stdlib.h>

#define FOLDER "tests/vectors/"

enum { IDS_MAX = 64, PIECE = 4001 };

typedef struct golden {
    char file[64];
    uint32_t context, prompt_count, count;
    int32_t ids[IDS_MAX];
    float exact[IDS_MAX]; /* [i]: of ids[i + 1] after ids[0 .. i] */
} golden;

static bool golden_read(FILE *list, golden *g) {
    if (fscanf(list, "%63s %u %u %u", g->file, &g->context, &g->prompt_count, &g->count) != 4) return false;
    if (g->count > IDS_MAX || g->prompt_count >= g->count) return false;
    for (uint32_t i = 0; i < g->count; i++)
        if (fscanf(list, "%d", &g->ids[i]) != 1) return false;
    for (uint32_t i = 0; i + 1 < g->count; i++)
        if (fscanf(list, "%f", &g->exact[i]) != 1) return false;
    return true;
}

/* Feed one file in pieces that fit no block. */
static clla_status feed_file(clla_loader *loader, const char *path, clla_error *error) {
    FILE *file = fopen(path, "rb");
    if (!file)
        return clla_fail(error, CLLA_BAD_ARGUMENT, "%s is missing: run from the repository root", path);
    uint8_t piece[PIECE];
    clla_status status = CLLA_OK;
    for (size_t n; status == CLLA_OK && (n = fread(piece, 1, sizeof piece, file)) > 0;)
        status = clla_loader_feed(loader, piece, n, error);
    fclose(file);
    return status;
}

/* A file and, where its name says "-00001-of-0000N", the parts after it. */
static clla_status load_file(const char *name, clla_model **model, clla_error *error) {
    clla_loader *loader;
    clla_status status = clla_loader_create(&(clla_model_options){.threads = 1}, &loader, error);
    const char *split = strstr(name, "-00001-of-");
    int parts = split ? atoi(split + strlen("-00001-of-")) : 1;
    for (int part = 1; status == CLLA_OK && part <= parts; part++) {
        char path[160];
        if (split)
            snprintf(path, sizeof path, FOLDER "models/%.*s-%05d-of-%05d.gguf", (int)(split - name), name,
                     part, parts);
        else
            snprintf(path, sizeof path, FOLDER "models/%s", name);
        if (part > 1) status = clla_loader_next_part(loader, error);
        if (status == CLLA_OK) status = feed_file(loader, path, error);
    }
    if (status == CLLA_OK) return clla_loader_finish(loader, model, error);
    clla_loader_free(loader);
    return status;
}

static bool is_quantized(const char *file) {
    return strstr(file, "q8_0") || strstr(file, "type-q") || strstr(file, "type-iq") ||
           strstr(file, "mixed") || strstr(file, "split");
}

/* All tokens in one call: what prefill computes. */
static void check_forced(clla_session *session, const golden *g, uint32_t vocabulary) {
    uint32_t at[IDS_MAX];
    for (uint32_t i = 0; i + 1 < g->count; i++) at[i] = i;
    const float *logits;
    clla_error error = {{0}};
    clla_status status = clla_session_eval_at(session, g->ids, g->count, at, g->count - 1, &logits, &error);
    CHECK(status == CLLA_OK, "%s: %s", g->file, error.text);
    if (status != CLLA_OK) return;
    double sum = 0;
    for (uint32_t i = 0; i + 1 < g->count; i++)
        sum += fabs((double)clla_logprob_of(logits + (size_t)i * vocabulary, vocabulary, g->ids[i + 1]) -
                    (double)g->exact[i]);
    double mean = sum / (g->count - 1), bound = is_quantized(g->file) ? 0.06 : 1e-4;
    CHECK(mean <= bound, "%s: mean difference %.5f", g->file, mean);
}

/* The prompt in one call, then one token at a time: what decode computes. */
static void check_greedy(clla_session *session, const golden *g, clla_sampler *sampler) {
    const float *logits;
    clla_status status = clla_session_truncate(session, 0, NULL);
    if (status == CLLA_OK) status = clla_session_eval(session, g->ids, g->prompt_count, &logits, NULL);
    for (uint32_t i = g->prompt_count; status == CLLA_OK && i < g->count; i++) {
        int32_t id = clla_sample(sampler, logits);
        CHECK(id == g->ids[i], "%s: token %u is %d, not %d", g->file, i, id, g->ids[i]);
        status = clla_session_eval(session, &g->ids[i], 1, &logits, NULL);
    }
    CHECK(status == CLLA_OK, "%s: %s", g->file, clla_status_name(status));
}

static void check_case(const golden *g) {
    clla_model *model = NULL;
    clla_session *session = NULL;
    clla_sampler *sampler = NULL;
    clla_error error = {{0}};
    clla_status status = load_file(g->file, &model, &error);
    clla_session_options options = {.context = g->context, .kv = "f32", .logits_max = IDS_MAX};
    if (status == CLLA_OK) status = clla_session_create(model, &options, &session, &error);
    if (status == CLLA_OK)
        status =
            clla_sampler_create(&(clla_sampler_options){0}, clla_model_vocabulary(model), &sampler, &error);
    CHECK(status == CLLA_OK, "%s: %s", g->file, error.text);
    if (status == CLLA_OK) {
        check_forced(session, g, clla_model_vocabulary(model));
        check_greedy(session, g, sampler);
    }
    clla_sampler_free(sampler);
    clla_session_free(session);
    clla_model_free(model);
}

static void test_models(void) {
    FILE *list = fopen(FOLDER "golden.txt", "r");
    CHECK(list, "%s is missing: run from the repository root", FOLDER "golden.txt");
    if (!list) return;
    golden g;
    int cases = 0;
    for (; golden_read(list, &g); cases++) check_case(&g);
    CHECK(cases == 23, "read %d cases", cases);
    fclose(list);
}

int main(void) {
    RUN("every architecture and tensor type gives the golden log-probabilities and greedy ids", test_models);
    return test_report();
}
