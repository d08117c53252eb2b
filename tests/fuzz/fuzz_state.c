/* fuzz_state.c: saved sessions. Whatever the bytes, they are refused with a reason or give a session that can go on and be
 * saved again; nothing leaks.
 *
 * The first byte says the size of the pieces, the second the model (heads or latents), whether the seals are made right
 * (so that what is behind them is reached) and the options; then comes the file. */
#include <stdio.h>

#include "../c/load.h"
#include "../c/tiny_latent.h"
#include "arena.h"
#include "fuzz_seed.h"
#include "hash.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
int LLVMFuzzerInitialize(int *count, char ***arguments);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PREFIX = 2, HEAD = 220, SEAL = 8, AT_CONTEXT = 12 };
static const char *const kinds[2][4] = {{"f16", "q8", "bits=4,min", "q8,sinks=3"},
                                        {"clla", "bits=16", "q8", "width=heads,q8"}};

static clla_model *models[2];

static void need(bool truth, const char *what) {
    if (truth) return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

int LLVMFuzzerInitialize(int *count, char ***arguments) {
    static gguf_writer w;
    fuzz_set_length(count, arguments);
    tiny_model(&w, &(tiny_options){.type = TENSOR_Q4_1, .width = 64, .seed = 1});
    models[0] = load_writer(&w, 1);
    writer_close(&w);
    tiny_latent(&w, &(latent_options){.bits = 4, .rope_bits = 8, .sinks = 2, .seed = 1});
    models[1] = load_writer(&w, 1);
    writer_close(&w);
    need(models[0] && models[1], "models");
    return 0;
}

/* ---- the file ------------------------------------------------------------------------------------------------ */

static void put_seal(uint8_t *bytes, size_t at) {
    hash64 hash;
    hash_open(&hash);
    hash_feed(&hash, bytes, at);
    uint64_t seal = hash_value(&hash);
    memcpy(bytes + at, &seal, sizeof seal);
}

static uint32_t context_of(const uint8_t *bytes, size_t size) {
    uint32_t context = 0;
    if (size >= AT_CONTEXT + sizeof context) memcpy(&context, bytes + AT_CONTEXT, sizeof context);
    return context;
}

/* ---- the target ---------------------------------------------------------------------------------------------- */

/* What was restored is a session like any other. */
static void use(clla_session *s, const clla_restorer *r) {
    int32_t ids[3] = {1, 200, TINY_VOCABULARY - 1};
    uint8_t piece[777];
    size_t size = 0;
    clla_saver *saver = NULL;
    clla_error error;
    clla_restorer_note(r, &size);
    uint32_t length = clla_session_length(s), room = clla_session_context(s) - length;
    if (room > 0) need(!clla_session_eval(s, ids, room < 3 ? room : 3, NULL, &error), "it goes on");
    need(!clla_session_truncate(s, length / 2, &error), "it can be cut");
    need(!clla_saver_create(s, NULL, &saver, &error), "it can be saved");
    do need(!clla_saver_read(saver, piece, sizeof piece, &size, &error), "all of it");
    while (size > 0);
    clla_saver_free(saver);
}

static void restore(clla_model *m, const clla_session_options *options, const uint8_t *bytes, size_t size, size_t step) {
    clla_restorer *r = NULL;
    clla_session *s = NULL;
    clla_sampler *sampler = NULL;
    clla_error error = {{0}};
    need(!clla_restorer_create(m, options, &r, &error), "a restorer");
    clla_status status = CLLA_OK;
    for (size_t at = 0; at < size && !status; at += step)
        status = clla_restorer_feed(r, bytes + at, size - at < step ? size - at : step, &error);
    clla_status last = clla_restorer_finish(r, &s, &error);
    need(!status || last == status, "failures are final");
    need(!last == !!s && (s || error.text[0]), "a session or a reason");
    clla_sampler_options drawing = {.penalty_window = 8};
    need(!clla_sampler_create(&drawing, TINY_VOCABULARY, &sampler, NULL), "a sampler");
    clla_restorer_sampler(r, sampler, &error);
    if (s) use(s, r);
    clla_sampler_free(sampler);
    clla_session_free(s);
    clla_restorer_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t file[FUZZ_MAX];
    if (size < PREFIX || size - PREFIX > FUZZ_MAX) return 0;
    size_t step = data[0] ? (size_t)data[0] * 8 : SIZE_MAX / 2, before = memory_in_use(), bytes = size - PREFIX;
    memcpy(file, data + PREFIX, bytes);
    if (data[1] & 2 && bytes >= HEAD + SEAL + SEAL) put_seal(file, HEAD), put_seal(file, bytes - SEAL);
    clla_session_options options = {.context = data[1] & 4 ? 64 : 0, .kv = data[1] & 8 ? kinds[data[1] & 1][1] : NULL};
    if (options.context || context_of(file, bytes) <= 4096) restore(models[data[1] & 1], &options, file, bytes, step);
    need(memory_in_use() == before, "nothing leaks");
    return 0;
}

/* ---- inputs -------------------------------------------------------------------------------------------------- */

static size_t fresh(uint8_t *data, size_t max_size, unsigned seed) {
    unsigned model = seed % 2, tokens = seed / 8 % 40;
    clla_session *s = NULL;
    clla_saver *saver = NULL;
    clla_sampler *sampler = NULL;
    int32_t ids[40];
    size_t size = 0;
    for (unsigned i = 0; i < 40; i++) ids[i] = (int32_t)((seed + 31 * i) % TINY_VOCABULARY);
    clla_session_options options = {.context = 48, .kv = kinds[model][seed / 2 % 4]};
    need(!clla_session_create(models[model], &options, &s, NULL), "a session");
    if (tokens > 0) need(!clla_session_eval(s, ids, tokens, NULL, NULL), "tokens");
    clla_sampler_options drawing = {.penalty_window = 8, .seed = seed};
    need(!clla_sampler_create(&drawing, TINY_VOCABULARY, &sampler, NULL), "a sampler");
    clla_sampler_accept(sampler, 3);
    clla_save_options saving = {.note = "a note", .note_size = seed / 1024 % 7};
    if (seed / 512 % 2) saving.sampler = sampler;
    need(!clla_saver_create(s, &saving, &saver, NULL), "a saver");
    need(!clla_saver_read(saver, data + PREFIX, max_size - PREFIX, &size, NULL), "a file");
    data[0] = (uint8_t)(seed / 4096), data[1] = (uint8_t)(model | 2);
    clla_saver_free(saver);
    clla_sampler_free(sampler);
    clla_session_free(s);
    return PREFIX + size;
}

/* One time in 32 a file from the engine; else a number of the head that is often wrong, another byte of the head, or any
 * mutation. The seals are made right by the target where its options say so. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    static const uint32_t numbers[] = {0,  1,  2,   15,       16,       17,       47,        48,
                                       49, 64, 255, 1u << 16, 1u << 26, 1u << 31, UINT32_MAX};
    if (max_size < PREFIX + HEAD + SEAL) return LLVMFuzzerMutate(data, size, max_size);
    if (seed % 32 == 0 || size < PREFIX + HEAD + SEAL) return fresh(data, max_size, seed / 32);
    unsigned at = seed / 8 % 8;
    switch (seed % 8) {
    case 0:
    case 1: memcpy(data + PREFIX + 8 + 4 * at, &numbers[seed / 64 % 15], 4); return size;
    case 2: data[PREFIX + seed / 8 % HEAD] ^= (uint8_t)(1 << seed / 2048 % 8); return size;
    case 3: data[1] = (uint8_t)(seed / 8); return size;
    case 4: return PREFIX + LLVMFuzzerMutate(data + PREFIX, size - PREFIX, size - PREFIX);
    default: return LLVMFuzzerMutate(data, size, max_size);
    }
}
