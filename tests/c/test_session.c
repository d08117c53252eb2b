/* test_session.c: a session is a timeline: cut, forked and continued it gives what an uninterrupted one gives. */
#include "test.h"

#include "arena.h"
#include "load.h"
#include "tiny_model.h"

enum { TOKENS = 50 };

static int32_t ids[TOKENS];
static clla_model *model;
static gguf_writer writer;
static uint32_t vocabulary;

static void open_model(void) {
    tiny_model(&writer, &(tiny_options){.type = TENSOR_Q4_1, .seed = 9});
    model = load_writer(&writer, 1);
    vocabulary = clla_model_vocabulary(model);
    for (int i = 0; i < TOKENS; i++) ids[i] = (i * 53 + 7) % (int)vocabulary;
}

static clla_session *open_session(const clla_session_options *options) {
    clla_session *s = NULL;
    clla_error error = {{0}};
    CHECK(clla_session_create(model, options, &s, &error) == CLLA_OK, "%s", error.text);
    return s;
}

static const float *eval(clla_session *s, const int32_t *from, size_t count) {
    const float *logits = NULL;
    clla_error error = {{0}};
    CHECK(clla_session_eval(s, from, count, &logits, &error) == CLLA_OK, "%s", error.text);
    return logits;
}

/* Logits of the last of the first `count` tokens, from an empty session, in one call. */
static float *fresh_logits(const char *kv, size_t count) {
    clla_session *s = open_session(&(clla_session_options){.context = 64, .kv = kv});
    float *copy = malloc(vocabulary * sizeof *copy);
    memcpy(copy, eval(s, ids, count), vocabulary * sizeof *copy);
    clla_session_free(s);
    return copy;
}

static bool close_to(const float *a, const float *b) {
    for (uint32_t i = 0; i < vocabulary; i++)
        if (fabsf(a[i] - b[i]) > 1e-4f * (1 + fabsf(b[i]))) return false;
    return true;
}

static void truncate_and_continue(void) {
    const char *kinds[] = {"f32", "f16", "q8"};
    for (int k = 0; k < 3; k++) {
        float *expected = fresh_logits(kinds[k], TOKENS);
        for (uint32_t keep = 0; keep < TOKENS; keep += 7) {
            clla_session *s = open_session(&(clla_session_options){.context = 64, .kv = kinds[k]});
            int32_t other[64];
            for (int i = 0; i < 64; i++) other[i] = i < (int)keep ? ids[i] : (int32_t)(vocabulary - 1 - (uint32_t)i);
            eval(s, other, 60);
            CHECK(clla_session_match(s, ids, TOKENS) == keep, "matches %u, not %u", clla_session_match(s, ids, TOKENS), keep);
            CHECK(clla_session_truncate(s, keep, NULL) == CLLA_OK, "truncate");
            const float *got = eval(s, ids + keep, TOKENS - keep);
            CHECK(close_to(got, expected), "kept %u tokens of %s: the logits differ", keep, kinds[k]);
            CHECK(clla_session_length(s) == TOKENS, "length %u", clla_session_length(s));
            clla_session_free(s);
        }
        free(expected);
    }
}

static void forks_are_independent(void) {
    float *expected = fresh_logits("f16", TOKENS);
    clla_session *a = open_session(&(clla_session_options){.context = 64}), *b = NULL;
    eval(a, ids, 20);
    CHECK(clla_session_fork(a, &b, NULL) == CLLA_OK, "fork");
    eval(b, (int32_t[]){1, 2, 3}, 3);
    CHECK(close_to(eval(a, ids + 20, TOKENS - 20), expected), "the origin was changed by its fork");
    CHECK(clla_session_truncate(b, 20, NULL) == CLLA_OK, "truncate");
    clla_session_free(a);
    CHECK(close_to(eval(b, ids + 20, TOKENS - 20), expected), "the fork needs its origin");
    clla_session_free(b);
    free(expected);
}

static void chosen_positions(void) {
    const uint32_t at[] = {0, 5, 6, 15, 16, 31, 49};
    clla_session *s = open_session(&(clla_session_options){.context = 64, .chunk = 16, .logits_max = 7});
    const float *logits;
    CHECK(clla_session_eval_at(s, ids, TOKENS, at, 7, &logits, NULL) == CLLA_OK, "eval_at");
    for (int i = 0; i < 7; i++) {
        float *expected = fresh_logits("f16", at[i] + 1);
        CHECK(close_to(logits + (size_t)i * vocabulary, expected), "logits of position %u", at[i]);
        free(expected);
    }
    clla_session_free(s);
}

static void states_by_the_chunk(void) {
    clla_session *s = open_session(&(clla_session_options){.context = 40, .chunk = 16});
    clla_error error;
    const float *states = NULL, *before = NULL;
    CHECK(clla_session_eval_states(s, ids, 17, &states, &error) == CLLA_BAD_ARGUMENT, "more than a chunk");
    CHECK(strstr(error.text, "17") && strstr(error.text, "16"), "%s", error.text);
    CHECK(clla_session_eval_states(s, ids, 0, &states, &error) == CLLA_BAD_ARGUMENT, "no tokens");
    CHECK(clla_session_length(s) == 0 && states == NULL, "a refused call did something");
    for (int i = 0; i < 2; i++) CHECK(clla_session_eval_states(s, ids + 16 * i, 16, &states, NULL) == CLLA_OK, "states");
    before = states;
    CHECK(clla_session_eval_states(s, ids + 32, 9, &states, &error) == CLLA_CONTEXT_FULL, "%s", error.text);
    CHECK(clla_session_length(s) == 32 && states == before, "a refused call did something");
    float *expected = fresh_logits("f16", 40);
    CHECK(close_to(eval(s, ids + 32, 8), expected), "the timeline does not go on after hidden states");
    free(expected);
    clla_session_free(s);
}

static void bad_calls_change_nothing(void) {
    clla_session *s = open_session(&(clla_session_options){.context = 30});
    clla_error error;
    const float *logits;
    eval(s, ids, 20);
    CHECK(clla_session_eval(s, ids, 11, &logits, &error) == CLLA_CONTEXT_FULL, "%s", error.text);
    CHECK(strstr(error.text, "30") && strstr(error.text, "20") && strstr(error.text, "11"), "%s", error.text);
    CHECK(clla_session_eval(s, ids, 0, &logits, &error) == CLLA_BAD_ARGUMENT, "no tokens");
    CHECK(clla_session_eval(s, (int32_t[]){-1}, 1, &logits, &error) == CLLA_BAD_ARGUMENT, "negative id");
    CHECK(clla_session_eval(s, (int32_t[]){(int32_t)vocabulary}, 1, &logits, &error) == CLLA_BAD_ARGUMENT, "large id");
    CHECK(clla_session_truncate(s, 21, &error) == CLLA_BAD_ARGUMENT, "truncate to more");
    uint32_t descending[] = {3, 2};
    CHECK(clla_session_eval_at(s, ids, 5, descending, 2, &logits, &error) == CLLA_BAD_ARGUMENT, "descending");
    CHECK(clla_session_length(s) == 20, "length %u", clla_session_length(s));
    CHECK(memcmp(clla_session_tokens(s), ids, 20 * sizeof *ids) == 0, "the tokens changed");
    eval(s, ids, 10);
    clla_session_free(s);
}

static void refused_options(void) {
    const struct {
        clla_session_options options;
        clla_status status;
        const char *names;
    } cases[] = {
        {{.kv = "q3"}, CLLA_BAD_KV_SPEC, "q3"},
        {{.kv = "f16,"}, CLLA_BAD_KV_SPEC, "\"\""},
        {{.kv = "f16,q8"}, CLLA_BAD_KV_SPEC, "\"q8\" settles what another item has settled"},
        {{.chunk = 1u << 20}, CLLA_BAD_ARGUMENT, "chunk"},
        {{.logits_max = 1u << 20}, CLLA_BAD_ARGUMENT, "logits_max"},
        {{.context = 4000000000u}, CLLA_OUT_OF_MEMORY, "bytes"},
        {{.context = UINT32_MAX}, CLLA_BAD_ARGUMENT, "context"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        clla_error error = {{0}};
        clla_session *s = NULL;
        clla_status status = clla_session_create(model, &cases[i].options, &s, &error);
        CHECK(status == cases[i].status && strstr(error.text, cases[i].names), "case %zu: %s: %s", i,
              clla_status_name(status), error.text);
        if (status == CLLA_OK) clla_session_free(s);
    }
}

static void told_bytes_are_taken_bytes(void) {
    for (uint32_t context = 1; context <= 200; context += 33) {
        clla_session_options o = {.context = context, .kv = context % 2 ? "q8" : "f16", .logits_max = 1 + context % 5};
        clla_session_size size;
        CHECK(clla_session_bytes(model, &o, &size, NULL) == CLLA_OK, "bytes");
        size_t before = memory_in_use();
        clla_session *s = open_session(&o);
        size_t taken = memory_in_use() - before;
        CHECK(taken == size.cache + size.scratch, "took %zu, told %llu", taken,
              (unsigned long long)(size.cache + size.scratch));
        clla_session_free(s);
        CHECK(memory_in_use() == before, "%zu bytes left", memory_in_use() - before);
    }
}

static void evaluation_does_not_allocate(void) {
    clla_session *s = open_session(&(clla_session_options){.context = 64});
    size_t before = memory_in_use();
    memory_fail_at(1);
    eval(s, ids, 30);
    eval(s, ids + 30, 1);
    const float *states = NULL;
    CHECK(clla_session_eval_states(s, ids + 31, 10, &states, NULL) == CLLA_OK, "states");
    memory_fail_at(0);
    CHECK(memory_in_use() == before, "it did");
    clla_session_free(s);
}

static void failed_allocations(void) {
    size_t before = memory_in_use();
    clla_status status = CLLA_OUT_OF_MEMORY;
    clla_session *origin = open_session(&(clla_session_options){.context = 64});
    size_t with_origin = memory_in_use();
    for (long n = 1; status != CLLA_OK && n < 20; n++) {
        clla_session *s = NULL, *f = NULL;
        memory_fail_at(n);
        status = clla_session_create(model, &(clla_session_options){.context = 64}, &s, NULL);
        if (status == CLLA_OK) status = clla_session_fork(origin, &f, NULL);
        memory_fail_at(0);
        clla_session_free(s);
        clla_session_free(f);
        CHECK(memory_in_use() == with_origin, "allocation %ld: %zu bytes left", n, memory_in_use() - with_origin);
    }
    CHECK(status == CLLA_OK, "never succeeded");
    clla_session_free(origin);
    CHECK(memory_in_use() == before, "left over");
}

static void threads_do_not_matter(void) {
    clla_model *threaded;
    clla_error error;
    if (load_bytes(writer.bytes, writer.size, 3, &threaded, &error) != CLLA_OK) {
        SKIP("session: 1 and 3 threads give the same bits", error.text);
        return;
    }
    clla_session *a = open_session(&(clla_session_options){.context = 64}), *b;
    CHECK(clla_session_create(threaded, &(clla_session_options){.context = 64}, &b, NULL) == CLLA_OK, "create");
    CHECK(memcmp(eval(a, ids, 40), eval(b, ids, 40), vocabulary * sizeof(float)) == 0, "prefill differs");
    CHECK(memcmp(eval(a, ids + 40, 1), eval(b, ids + 40, 1), vocabulary * sizeof(float)) == 0, "decode differs");
    clla_session_free(a);
    clla_session_free(b);
    clla_model_free(threaded);
}

static void nothing_is_left(void) { CHECK(memory_in_use() == 0, "%zu bytes left", memory_in_use()); }

int main(void) {
    open_model();
    RUN("session: truncated and continued it gives the same logits", truncate_and_continue);
    RUN("session: forks are independent", forks_are_independent);
    RUN("session: logits of chosen positions, across chunks", chosen_positions);
    RUN("session: hidden states come by the chunk, and the timeline goes on", states_by_the_chunk);
    RUN("session: a refused call changes nothing", bad_calls_change_nothing);
    RUN("session: options that are wrong are refused by name", refused_options);
    RUN("session: the bytes that are told are the bytes that are taken", told_bytes_are_taken_bytes);
    RUN("session: evaluation does not allocate", evaluation_does_not_allocate);
    RUN("session: every failed allocation leaves nothing behind", failed_allocations);
    RUN("session: the number of threads changes no bit", threads_do_not_matter);
    clla_model_free(model);
    writer_close(&writer);
    RUN("session: in the end nothing is left allocated", nothing_is_left);
    return test_report();
}
