/* fuzz_loader.c: any bytes, in pieces of any size, through the loader; a model that it accepts must run: two
 * tokens are evaluated and turned into text. The first two bytes of an input choose the pieces and the
 * options. */
#include <stdio.h>

#include "arena.h"
#include "clla.h"
#include "fuzz_seed.h"

int LLVMFuzzerInitialize(int *count, char ***arguments);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

static void need(bool truth, const char *what) {
    if (truth) return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

/* A model of a few kilobytes whose numbers were changed: whatever was accepted must not read or write out of
 * bounds. */
static void run(clla_model *model, const char *kv) {
    clla_session_options options = {.context = 16, .kv = kv};
    clla_session_size bytes;
    clla_session *session = NULL;
    const float *logits = NULL;
    clla_error error = {{0}};
    int32_t ids[2] = {0, (int32_t)clla_model_vocabulary(model) - 1};
    char info[4096];
    clla_model_info(model, info, sizeof info);
    if (clla_session_bytes(model, &options, &bytes, &error)) return;
    if (bytes.cache + bytes.scratch > 1 << 26) return;
    if (clla_session_create(model, &options, &session, &error)) return;
    need(!clla_session_eval(session, ids, 2, &logits, &error) && logits, "two tokens are evaluated");
    clla_session_free(session);
}

static void speak(const clla_model *model) {
    int32_t ids[16];
    size_t count = 0, room = clla_detokenize_room(model);
    if (clla_tokenize(model, "abc \xe2\x82\xac<s>", 10, CLLA_SPECIAL | CLLA_BOS, ids, 16, &count, NULL))
        return;
    if (room > 1 << 20) return;
    char *text = malloc(room);
    clla_text_stream stream = {{0}};
    for (size_t i = 0; text && i < count && i < 16; i++)
        need(clla_detokenize(model, &stream, ids[i], true, text) <= room, "text fits");
    free(text);
}

static clla_model *load(const uint8_t *data, size_t size, size_t step, const clla_model_options *options) {
    clla_loader *loader = NULL;
    clla_model *model = NULL;
    clla_load_progress progress;
    clla_error error = {{0}};
    clla_status status = clla_loader_create(options, &loader, &error);
    need(!status, "a loader");
    for (size_t at = 0, piece; at < size && !status; at += piece) {
        piece = size - at < step ? size - at : step;
        status = clla_loader_feed(loader, data + at, piece, &error);
        clla_loader_progress(loader, &progress);
    }
    clla_status last = clla_loader_finish(loader, &model, &error);
    need(!status || last == status, "failures are final");
    need(!last == !!model && (model || error.text[0]), "a model or a reason");
    return model;
}

int LLVMFuzzerInitialize(int *count, char ***arguments) {
    fuzz_set_length(count, arguments);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    size_t step = data[0] ? (size_t)data[0] * 16 : SIZE_MAX, before = memory_in_use();
    clla_model_options options = {.vocabulary_only = data[1] % 8 == 1, .memory_limit = 1 << 24};
    clla_model *model = load(data + 2, size - 2, step, &options);
    if (model) {
        speak(model);
        if (!options.vocabulary_only) run(model, data[1] & 16 ? NULL : "f16");
        clla_model_free(model);
    }
    need(memory_in_use() == before, "nothing leaks");
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    return fuzz_mutate(data, size, max_size, 2, true, seed);
}
