/* test_forward.c: the forward pass against the same transformer in double precision, one layer and several, with every
 * kind of weights. Other implementations' values are in tests/js/golden.test.js. */
#include "test.h"

#include "load.h"
#include "ref_model.h"
#include "tiny_model.h"

enum { TOKENS = 20 };

static int32_t ids[TOKENS];

static void choose_ids(void) {
    for (int i = 0; i < TOKENS; i++) ids[i] = (i * 37 + 11) % TINY_VOCABULARY;
}

/* Relative error of all logits of all positions: |got - expected| / |expected|, evaluated in chunks of `chunk`. */
static double logits_error(clla_model *m, const double *expected, const char *kv, uint32_t chunk) {
    clla_session *s;
    clla_error error = {{0}};
    clla_session_options options = {.context = 64, .kv = kv, .chunk = chunk, .logits_max = TOKENS};
    uint32_t at[TOKENS];
    const float *logits;
    double difference = 0, size = 0;
    for (uint32_t i = 0; i < TOKENS; i++) at[i] = i;
    CHECK(clla_session_create(m, &options, &s, &error) == CLLA_OK, "%s", error.text);
    CHECK(clla_session_eval_at(s, ids, TOKENS, at, TOKENS, &logits, &error) == CLLA_OK, "%s", error.text);
    for (size_t i = 0; i < (size_t)TOKENS * m->hyper.vocabulary; i++) {
        difference += ((double)logits[i] - expected[i]) * ((double)logits[i] - expected[i]);
        size += expected[i] * expected[i];
    }
    clla_session_free(s);
    return sqrt(difference / size);
}

static void check_model(const tiny_options *o, const char *kv, double bound) {
    gguf_writer w;
    tiny_model(&w, o);
    clla_model *m = load_writer(&w, 1);
    CHECK(m, "no model");
    double *expected = m ? ref_logits(m, ids, TOKENS) : NULL;
    for (uint32_t chunk = 1; m && chunk <= 64; chunk *= 8) {
        double error = logits_error(m, expected, kv, chunk);
        CHECK(error < bound, "%s, %u layers, chunk %u, kv %s: off by %g", tensor_type_label((uint32_t)o->type),
              m->hyper.layers, chunk, kv, error);
    }
    free(expected);
    clla_model_free(m);
    writer_close(&w);
}

static void one_layer_in_f32(void) { check_model(&(tiny_options){.type = TENSOR_F32, .layers = 1, .seed = 3}, "f32", 3e-6); }

static void several_layers_in_f32(void) {
    check_model(&(tiny_options){.type = TENSOR_F32, .layers = 5, .seed = 4, .untied = true, .width = 48}, "f32", 1e-5);
}

/* The reference rounds activations to int8 as the kernels do. Where float and double disagree about a tie one code
 * differs by one, which moves others in the next layer across theirs: up to 0.9 % was seen. */
static void every_type(void) {
#define CHECK_TYPE(name, number, block, bytes)                                                                \
    check_model(&(tiny_options){.type = TENSOR_##name, .seed = number + 1}, "f32", block == 1 ? 1e-5 : 2e-2);
    CLLA_TENSOR_TYPE_LIST(CHECK_TYPE)
}

static void cache_kinds(void) {
    check_model(&(tiny_options){.type = TENSOR_F32, .seed = 5}, "f16", 2e-3);
    check_model(&(tiny_options){.type = TENSOR_F32, .seed = 5}, "q8", 2e-2);
}

int main(void) {
    choose_ids();
    RUN("forward: one layer in f32 is the formula, in chunks of any size", one_layer_in_f32);
    RUN("forward: several layers in f32 are the formula", several_layers_in_f32);
    RUN("forward: every tensor type, with activations rounded to 8 bits", every_type);
    RUN("forward: f16 and q8 caches within their rounding", cache_kinds);
    return test_report();
}
