/* test_state.c: a session that was saved and restored goes on as if it had not been, on every build; what is damaged, or
 * belongs to something else, is refused.
 *
 * Models: keys and values of heads (llama) and latents (clla), each with the caches it can have. */
#include "test.h"

#include "arena.h"
#include "hash.h"
#include "kv/cache.h"
#include "load.h"
#include "session.h"
#include "tiny_latent.h"
#include "tiny_model.h"

enum { CONTEXT = 96, ROUNDS = 100, CORRUPTIONS = 1000 };

/* ---- models and sessions ------------------------------------------------------------------------------------- */

static clla_model *heads, *other, *latents, *sinking;

static clla_model *open_heads(uint32_t seed) {
    gguf_writer w;
    tiny_model(&w, &(tiny_options){.type = TENSOR_Q4_1, .width = 64, .seed = seed});
    clla_model *m = load_writer(&w, 1);
    writer_close(&w);
    return m;
}

static clla_model *open_latents(const latent_options *o, uint32_t count) {
    gguf_writer w;
    tiny_latent(&w, o);
    clla_model *m = load_writer(&w, count);
    writer_close(&w);
    return m;
}

/* What the random tests go through. */
static struct {
    clla_model **model;
    const char *kv;
} const kinds[] = {
    {&heads, "f32"},       {&heads, "f16"},           {&heads, "q8"},
    {&heads, "q4"},        {&heads, "bits=4,min"},    {&heads, "q8,sinks=5"},
    {&latents, "clla"},    {&latents, "bits=16"},     {&latents, "q8"},
    {&latents, "q4"},      {&latents, "bits=4,min,rope=16"}, {&latents, "width=heads,f16"},
    {&sinking, "clla"},    {&sinking, "width=heads,q8"},
};
enum { KINDS = sizeof kinds / sizeof kinds[0], FIRST_LATENT = 6 };

static uint32_t random_state = 12345;
static uint32_t pick(uint32_t below) { return (tiny_random(&random_state) >> 8) % below; }

static void random_ids(int32_t *ids, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) ids[i] = (int32_t)pick(TINY_VOCABULARY);
}

static clla_session *open_session(clla_model *model, const char *kv, uint32_t context) {
    clla_session *s = NULL;
    clla_error error = {{0}};
    clla_status status = clla_session_create(model, &(clla_session_options){.context = context, .kv = kv}, &s, &error);
    CHECK(status == CLLA_OK, "%s: %s", kv, error.text);
    return s;
}

static const float *eval(clla_session *s, const int32_t *ids, size_t count) {
    const float *logits = NULL;
    clla_error error = {{0}};
    CHECK(clla_session_eval(s, ids, count, &logits, &error) == CLLA_OK, "%s", error.text);
    return logits;
}

/* ---- files --------------------------------------------------------------------------------------------------- */

typedef struct saved {
    uint8_t *bytes;
    size_t size;
} saved;

/* In pieces of at most `piece` bytes. */
static saved save(const clla_session *s, const clla_save_options *options, size_t piece) {
    clla_saver *saver = NULL;
    clla_error error = {{0}};
    CHECK(clla_saver_create(s, options, &saver, &error) == CLLA_OK, "%s", error.text);
    saved file = {malloc((size_t)clla_saver_bytes(saver) + 1), 0};
    for (size_t n = 1; n > 0; file.size += n) {
        size_t room = (size_t)clla_saver_bytes(saver) + 1 - file.size;
        CHECK(clla_saver_read(saver, file.bytes + file.size, piece < room ? piece : room, &n, &error) == CLLA_OK, "%s",
              error.text);
    }
    CHECK(file.size == clla_saver_bytes(saver), "%zu bytes, told %llu", file.size,
          (unsigned long long)clla_saver_bytes(saver));
    clla_saver_free(saver);
    return file;
}

static clla_status restore(clla_model *m, const clla_session_options *options, const uint8_t *bytes, size_t size,
                           size_t piece, clla_session **session, clla_error *error) {
    clla_restorer *r = NULL;
    *session = NULL;
    *error = (clla_error){{0}};
    clla_status status = clla_restorer_create(m, options, &r, error);
    for (size_t at = 0; status == CLLA_OK && at < size; at += piece)
        status = clla_restorer_feed(r, bytes + at, size - at < piece ? size - at : piece, error);
    if (status == CLLA_OK) status = clla_restorer_finish(r, session, error);
    clla_restorer_free(r);
    return status;
}

static clla_session *restored(clla_model *m, saved file, size_t piece) {
    clla_session *s;
    clla_error error;
    CHECK(restore(m, NULL, file.bytes, file.size, piece, &s, &error) == CLLA_OK, "%s", error.text);
    return s;
}

/* Do two sessions hold the same, to the bit? */
static bool same_session(const clla_session *a, const clla_session *b) {
    saved x = save(a, NULL, SIZE_MAX), y = save(b, NULL, SIZE_MAX);
    bool same = x.size == y.size && memcmp(x.bytes, y.bytes, x.size) == 0;
    free(x.bytes), free(y.bytes);
    return same;
}

/* ---- going on ------------------------------------------------------------------------------------------------ */

/* A session evaluated in random steps, some of them taken back. */
static clla_session *random_session(clla_model *m, const char *kv) {
    clla_session *s = open_session(m, kv, CONTEXT);
    int32_t ids[CONTEXT];
    uint32_t goal = pick(CONTEXT - 16);
    while (clla_session_length(s) < goal) {
        uint32_t room = goal - clla_session_length(s), n = pick(4) ? 1 + pick(room) : 1;
        random_ids(ids, n);
        eval(s, ids, n);
        if (pick(3) == 0) CHECK(!clla_session_truncate(s, pick(clla_session_length(s) + 1), NULL), "truncate");
    }
    return s;
}

/* The same tokens follow, with the same logits to the bit, and so does what is taken back and forked. */
static void check_equal_future(clla_session *a, clla_session *b, const char *kv) {
    enum { STEPS = 6 };
    size_t bytes = TINY_VOCABULARY * sizeof(float);
    int32_t next = (int32_t)pick(TINY_VOCABULARY);
    for (int i = 0; i < STEPS; i++) {
        const float *x = eval(a, &next, 1), *y = eval(b, &next, 1);
        CHECK(memcmp(x, y, bytes) == 0, "%s: step %d of the continuation differs", kv, i);
        next = clla_argmax(x, 0, TINY_VOCABULARY);
    }
    uint32_t cut = pick(clla_session_length(a) + 1);
    int32_t more[7];
    random_ids(more, 7);
    clla_session *fork = NULL;
    CHECK(!clla_session_truncate(a, cut, NULL) && !clla_session_truncate(b, cut, NULL), "truncate");
    CHECK(!clla_session_fork(b, &fork, NULL), "fork");
    const float *x = eval(a, more, 7);
    CHECK(memcmp(x, eval(b, more, 7), bytes) == 0, "%s: cut to %u it goes on otherwise", kv, cut);
    CHECK(memcmp(x, eval(fork, more, 7), bytes) == 0, "%s: cut to %u and forked it goes on otherwise", kv, cut);
    clla_session_free(fork);
}

static void continuations_are_equal(void) {
    for (int round = 0; round < ROUNDS; round++) {
        const char *kv = kinds[round % KINDS].kv;
        clla_model *m = *kinds[round % KINDS].model;
        clla_session *a = random_session(m, kv);
        saved file = save(a, NULL, 1 + pick(4000));
        clla_session *b = restored(m, file, 1 + pick(4000));
        CHECK(clla_session_length(a) == clla_session_length(b) && clla_session_context(b) == CONTEXT, "length, context");
        CHECK(same_session(a, b), "%s: the restored session is another", kv);
        check_equal_future(a, b, kv);
        CHECK(same_session(a, b), "%s: the sessions have come apart", kv);
        clla_session_free(a), clla_session_free(b);
        free(file.bytes);
    }
}

/* The timeline of a latent cache, within sinks and behind them, can be cut and forked like any other: as if the rest had
 * never been. */
static void latents_truncate_and_fork(void) {
    for (int round = 0; round < 4 * (KINDS - FIRST_LATENT); round++) {
        int kind = FIRST_LATENT + round % (KINDS - FIRST_LATENT);
        clla_model *m = *kinds[kind].model;
        const char *kv = kinds[kind].kv;
        clla_session *a = open_session(m, kv, CONTEXT), *b = open_session(m, kv, CONTEXT), *fork = NULL;
        int32_t ids[80];
        uint32_t keep = 1 + pick(39);
        random_ids(ids, 80);
        eval(a, ids, keep), eval(b, ids, keep);
        CHECK(!clla_session_fork(a, &fork, NULL), "fork");
        eval(a, ids + 40, 40);
        CHECK(!clla_session_truncate(a, keep, NULL), "truncate");
        CHECK(same_session(fork, b), "%s: the fork at %u tokens is another session", kv, keep);
        check_equal_future(a, b, kv);
        clla_session_free(a), clla_session_free(b), clla_session_free(fork);
    }
}

static uint32_t most_threads(void) {
    threads *pool = NULL;
    bool has_threads = threads_open(3, &pool, NULL) == CLLA_OK;
    if (has_threads) threads_close(pool);
    return has_threads ? 3 : 1;
}

/* What chunks a prompt was evaluated in, and by how many threads, is nowhere in a file. */
static void threads_and_chunks_do_not_matter(void) {
    clla_model *threaded = open_latents(&(latent_options){.bits = 4, .rope_bits = 8, .seed = 3}, most_threads());
    clla_session *a = open_session(latents, "clla", CONTEXT), *b;
    clla_error error;
    int32_t ids[60];
    random_ids(ids, 60);
    eval(a, ids, 50);
    saved file = save(a, NULL, 999);
    clla_session_options options = {.chunk = 7, .logits_max = 3};
    CHECK(restore(threaded, &options, file.bytes, file.size, 11, &b, &error) == CLLA_OK, "%s", error.text);
    saved again = save(b, NULL, 100);
    CHECK(again.size == file.size && !memcmp(again.bytes, file.bytes, file.size), "the file is another");
    for (int i = 50; i < 60; i++)
        CHECK(!memcmp(eval(a, ids + i, 1), eval(b, ids + i, 1), TINY_VOCABULARY * sizeof(float)), "token %d differs", i);
    clla_session_free(a), clla_session_free(b);
    clla_model_free(threaded);
    free(file.bytes), free(again.bytes);
}

static void a_longer_context_is_as_good(void) {
    for (int k = 0; k < KINDS; k++) {
        clla_session *a = random_session(*kinds[k].model, kinds[k].kv), *b;
        clla_error error;
        saved file = save(a, NULL, 512);
        clla_session_options options = {.context = 200, .kv = kinds[k].kv};
        CHECK(!restore(*kinds[k].model, &options, file.bytes, file.size, 64, &b, &error), "%s", error.text);
        CHECK(clla_session_context(b) == 200, "context %u", clla_session_context(b));
        int32_t next = 7;
        CHECK(!memcmp(eval(a, &next, 1), eval(b, &next, 1), TINY_VOCABULARY * sizeof(float)), "%s", kinds[k].kv);
        clla_session_free(a), clla_session_free(b);
        free(file.bytes);
    }
}

/* ---- what travels along -------------------------------------------------------------------------------------- */

static void note_and_sampler_travel_along(void) {
    const clla_sampler_options sampling = {
        .temperature = 1.3f, .top_k = 50, .repetition_penalty = 1.2f, .penalty_window = 8, .seed = 99};
    clla_sampler *a = NULL, *b = NULL;
    clla_session *s = open_session(latents, NULL, CONTEXT), *t = NULL;
    clla_restorer *r = NULL;
    clla_error error = {{0}};
    size_t size = 1;
    CHECK(!clla_sampler_create(&sampling, TINY_VOCABULARY, &a, NULL), "sampler");
    CHECK(!clla_sampler_create(&sampling, TINY_VOCABULARY, &b, NULL), "sampler");
    int32_t id = 5;
    for (int i = 0; i < 20; i++, clla_sampler_accept(a, id)) id = clla_sample(a, eval(s, &id, 1));
    saved file = save(s, &(clla_save_options){.sampler = a, .note = "a note", .note_size = 6}, 77);
    CHECK(!clla_restorer_create(latents, NULL, &r, &error), "%s", error.text);
    CHECK(clla_restorer_note(r, &size) == NULL && size == 0, "there is a note before the file");
    CHECK(clla_restorer_sampler(r, b, &error) == CLLA_BAD_ARGUMENT, "there is a sampler before the file");
    CHECK(!clla_restorer_feed(r, file.bytes, file.size, &error), "%s", error.text);
    CHECK(!clla_restorer_finish(r, &t, &error), "%s", error.text);
    const uint8_t *note = clla_restorer_note(r, &size);
    CHECK(size == 6 && !memcmp(note, "a note", 6), "the note has %zu bytes", size);
    CHECK(!clla_restorer_sampler(r, b, &error), "%s", error.text);
    CHECK(clla_restorer_finish(r, &t, &error) == CLLA_BAD_ARGUMENT && strstr(error.text, "before"), "%s", error.text);
    clla_restorer_free(r);
    for (int i = 0; i < 30; i++) {
        int32_t x = clla_sample(a, eval(s, &id, 1)), y = clla_sample(b, eval(t, &id, 1));
        CHECK(x == y, "draw %d is %d, was %d", i, (int)y, (int)x);
        clla_sampler_accept(a, x), clla_sampler_accept(b, y);
        id = x;
    }
    clla_session_free(s), clla_session_free(t);
    clla_sampler_free(a), clla_sampler_free(b);
    free(file.bytes);
}

static void without_note_and_sampler(void) {
    clla_session *s = open_session(heads, "q8", CONTEXT), *t = NULL;
    clla_sampler *sampler = NULL;
    clla_restorer *r = NULL;
    clla_error error = {{0}};
    size_t size = 1;
    saved file = save(s, NULL, 50); /* an empty session, too */
    CHECK(!clla_sampler_create(&(clla_sampler_options){0}, TINY_VOCABULARY, &sampler, NULL), "sampler");
    CHECK(!clla_restorer_create(heads, NULL, &r, &error), "%s", error.text);
    CHECK(!clla_restorer_feed(r, file.bytes, file.size, &error) && !clla_restorer_finish(r, &t, &error), "%s", error.text);
    clla_restorer_note(r, &size);
    CHECK(size == 0 && clla_session_length(t) == 0, "a note of %zu bytes, %u tokens", size, clla_session_length(t));
    CHECK(clla_restorer_sampler(r, sampler, &error) == CLLA_BAD_ARGUMENT && strstr(error.text, "without"), "%s", error.text);
    CHECK(clla_saver_create(s, &(clla_save_options){.note = "", .note_size = CLLA_NOTE_MAX + 1}, &(clla_saver *){NULL},
                            &error) == CLLA_BAD_ARGUMENT,
          "a note that is too long");
    clla_restorer_free(r);
    clla_session_free(s), clla_session_free(t);
    clla_sampler_free(sampler);
    free(file.bytes);
}

static void a_session_that_goes_on_is_noticed(void) {
    clla_session *s = open_session(heads, "f16", CONTEXT);
    clla_saver *saver = NULL;
    clla_error error = {{0}};
    uint8_t bytes[100];
    size_t size;
    eval(s, (int32_t[]){1, 2, 3}, 3);
    for (int how = 0; how < 2; how++) {
        CHECK(!clla_saver_create(s, NULL, &saver, NULL), "saver");
        CHECK(!clla_saver_read(saver, bytes, 100, &size, NULL) && size == 100, "read");
        if (how == 0) eval(s, (int32_t[]){4}, 1);
        else CHECK(!clla_session_truncate(s, 3, NULL), "truncate");
        CHECK(clla_saver_read(saver, bytes, 100, &size, &error) == CLLA_BAD_ARGUMENT && size == 0, "not noticed");
        CHECK(strstr(error.text, "went on"), "%s", error.text);
        clla_saver_free(saver);
    }
    clla_session_free(s);
}

/* ---- refused ------------------------------------------------------------------------------------------------- */

static void refuses(clla_model *m, const clla_session_options *options, saved file, clla_status want, const char *names) {
    clla_session *s;
    clla_error error;
    clla_status status = restore(m, options, file.bytes, file.size, 100, &s, &error);
    CHECK(status == want && !s && strstr(error.text, names), "want %s of \"%s\", got %s: %s", clla_status_name(want), names,
          clla_status_name(status), error.text);
    clla_session_free(s);
}

/* Write a number into the head, and a right seal behind it. */
static void forge(saved file, size_t at, uint32_t value) {
    enum { HEAD = 220 };
    hash64 hash;
    memcpy(file.bytes + at, &value, sizeof value);
    hash_open(&hash);
    hash_feed(&hash, file.bytes, HEAD);
    uint64_t seal = hash_value(&hash);
    memcpy(file.bytes + HEAD, &seal, sizeof seal);
}

static void what_does_not_belong_is_refused(void) {
    clla_session *s = open_session(heads, "q8", CONTEXT);
    int32_t ids[40];
    random_ids(ids, 40);
    eval(s, ids, 40);
    saved file = save(s, NULL, 4096);
    refuses(other, NULL, file, CLLA_OTHER_MODEL, "\"tiny\"");
    refuses(latents, NULL, file, CLLA_OTHER_MODEL, "\"tiny latent\"");
    refuses(heads, &(clla_session_options){.kv = "f16"}, file, CLLA_BAD_KV_SPEC, "\"q8\"");
    refuses(heads, &(clla_session_options){.kv = "nonsense"}, file, CLLA_BAD_KV_SPEC, "nonsense");
    refuses(heads, &(clla_session_options){.context = 39}, file, CLLA_CONTEXT_FULL, "40");
    refuses(heads, &(clla_session_options){.chunk = 1u << 30}, file, CLLA_BAD_ARGUMENT, "chunk");
    refuses(heads, NULL, (saved){file.bytes, 0}, CLLA_TRUNCATED_FILE, "head");
    refuses(heads, NULL, (saved){file.bytes, 100}, CLLA_TRUNCATED_FILE, "head");
    refuses(heads, NULL, (saved){file.bytes, file.size - 1}, CLLA_TRUNCATED_FILE, "bytes");
    saved longer = {realloc(file.bytes, file.size + 1), file.size + 1};
    file.bytes = longer.bytes;
    longer.bytes[file.size] = 0;
    refuses(heads, NULL, longer, CLLA_BAD_FILE, "goes on");
    file.bytes[8] = 2;
    refuses(heads, NULL, file, CLLA_UNSUPPORTED_VERSION, "version 2");
    file.bytes[8] = 1;
    file.bytes[0] = 'G';
    refuses(heads, NULL, file, CLLA_BAD_FILE, "no saved session");
    free(file.bytes);
    clla_session_free(s);
}

/* Heads with right seals that say wrong things. */
static void forged_heads_are_refused(void) {
    enum { AT_CONTEXT = 12, AT_LENGTH = 16, AT_NOTE = 20, AT_SAMPLER = 24, AT_CACHE = 36, AT_KV = 44 };
    const struct {
        size_t at;
        uint32_t value;
        clla_status status;
        const char *names;
    } cases[] = {
        {AT_CONTEXT, 5, CLLA_BAD_FILE, "in a context of 5"},
        {AT_CONTEXT, UINT32_MAX, CLLA_BAD_ARGUMENT, "context"},
        {AT_CONTEXT, 4000000000u, CLLA_OUT_OF_MEMORY, "bytes"},
        {AT_LENGTH, CONTEXT + 1, CLLA_BAD_FILE, "97 tokens"},
        {AT_LENGTH, CONTEXT, CLLA_BAD_FILE, "bytes of cache"},
        {AT_NOTE, UINT32_MAX, CLLA_BAD_FILE, "a note of"},
        {AT_SAMPLER, UINT32_MAX, CLLA_BAD_FILE, "a sampler of"},
        {AT_CACHE, 0, CLLA_BAD_FILE, "0 bytes of cache"},
        {AT_KV, 'q' | '9' << 8, CLLA_BAD_FILE, "\"q9\""},
        {AT_KV, '\n' | '\n' << 8, CLLA_BAD_FILE, "\"\?\?\""},
    };
    clla_session *s = open_session(heads, "q8", CONTEXT);
    eval(s, (int32_t[]){1, 2, 3, 4, 5, 6}, 6);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        saved file = save(s, NULL, 4096);
        forge(file, cases[i].at, cases[i].value);
        refuses(heads, NULL, file, cases[i].status, cases[i].names);
        free(file.bytes);
    }
    saved file = save(s, NULL, 4096);
    memcpy(file.bytes + 228 + 8, &(int32_t){TINY_VOCABULARY}, 4); /* the third token */
    refuses(heads, NULL, file, CLLA_BAD_FILE, "damaged: its token 2");
    free(file.bytes);
    clla_session_free(s);
}

/* One bit, a run of bytes, a piece that is cut out or put in, an end that is missing. */
static saved corrupt(saved file) {
    saved c = {malloc(file.size + 64), file.size};
    memcpy(c.bytes, file.bytes, file.size);
    uint32_t size = (uint32_t)file.size, at = pick(pick(4) ? size : 300), n = 1 + pick(40);
    if (at + n > size) n = size - at;
    switch (pick(5)) {
    case 0: c.bytes[at] ^= (uint8_t)(1 << pick(8)); break;
    case 1: for (uint32_t i = 0; i < n; i++) c.bytes[at + i] = (uint8_t)pick(256); break;
    case 2: memmove(c.bytes + at, c.bytes + at + n, size - at - n), c.size -= n; break;
    case 3:
        memmove(c.bytes + at + n, c.bytes + at, size - at), c.size += n;
        for (uint32_t i = 0; i < n; i++) c.bytes[at + i] = (uint8_t)pick(256);
        break;
    default: c.size = at; break;
    }
    return c;
}

static void corruptions_are_refused(void) {
    int refused = 0, equal = 0;
    for (int k = 0; k < KINDS; k++) {
        clla_session *s = random_session(*kinds[k].model, kinds[k].kv), *t;
        saved file = save(s, &(clla_save_options){.note = "some words", .note_size = 10}, 4096);
        for (int i = 0; i < CORRUPTIONS / KINDS + 1; i++) {
            saved c = corrupt(file);
            clla_error error;
            size_t before = memory_in_use();
            clla_status status = restore(*kinds[k].model, NULL, c.bytes, c.size, 1 + pick(1000), &t, &error);
            bool unchanged = c.size == file.size && !memcmp(c.bytes, file.bytes, c.size);
            CHECK((status == CLLA_OK) == unchanged, "a damaged file gives %s: %s", clla_status_name(status), error.text);
            CHECK(status == CLLA_OK || error.text[0], "no reason");
            if (status == CLLA_OK) equal += same_session(s, t);
            else refused++;
            clla_session_free(t);
            CHECK(memory_in_use() == before, "%zu bytes leak", memory_in_use() - before);
            free(c.bytes);
        }
        free(file.bytes);
        clla_session_free(s);
    }
    CHECK(refused + equal >= CORRUPTIONS, "%d refused, %d equal", refused, equal);
    CHECK(refused > CORRUPTIONS * 9 / 10, "only %d refused", refused);
}

static void every_failed_allocation_is_survived(void) {
    clla_session *s = random_session(latents, "clla"), *t;
    saved file = save(s, NULL, 4096);
    clla_error error;
    size_t before = memory_in_use();
    clla_saver *saver;
    memory_fail_at(1);
    CHECK(clla_saver_create(s, NULL, &saver, &error) == CLLA_OUT_OF_MEMORY, "%s", error.text);
    int failures = 0;
    for (;; failures++) {
        memory_fail_at(failures + 1);
        clla_status status = restore(latents, NULL, file.bytes, file.size, 4096, &t, &error);
        memory_fail_at(0);
        if (status == CLLA_OK) break;
        CHECK(status == CLLA_OUT_OF_MEMORY && memory_in_use() == before, "%s: %s", clla_status_name(status), error.text);
    }
    CHECK(failures >= 3, "%d allocations", failures);
    clla_session_free(t), clla_session_free(s);
    free(file.bytes);
}

/* ---- the same file everywhere -------------------------------------------------------------------------------- */

/* XXH64 of the reference implementation (xxHash 0.8.4) of bytes (7 i + 3) % 251. */
static void the_fingerprint_is_xxh64(void) {
    static const struct {
        size_t size;
        uint64_t value;
    } cases[] = {
        {0, UINT64_C(0xef46db3751d8e999)},   {1, UINT64_C(0x1f25c8d0bc1f4bb6)},  {3, UINT64_C(0x31d2363f52e564c9)},
        {4, UINT64_C(0x9bb64b7d66ee9fda)},   {7, UINT64_C(0x9a7b149959ce60d8)},  {8, UINT64_C(0xdab99d95c6f90092)},
        {12, UINT64_C(0xd52e407833af5133)},  {31, UINT64_C(0xa2aa5f33cc4a6119)}, {32, UINT64_C(0x23c3c17ef790fd97)},
        {33, UINT64_C(0x50a7cfc7ba588784)},  {63, UINT64_C(0xf1438f15b9ed16e9)}, {64, UINT64_C(0x2cd990a1beed6894)},
        {100, UINT64_C(0x778e26df8290f456)}, {1100, UINT64_C(0xa203239523e15051)},
    };
    uint8_t bytes[1100];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)((7 * i + 3) % 251);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t step = 1; step < 80; step += 13) {
            hash64 h;
            hash_open(&h);
            for (size_t at = 0; at < cases[i].size; at += step)
                hash_feed(&h, bytes + at, cases[i].size - at < step ? cases[i].size - at : step);
            CHECK(hash_value(&h) == cases[i].value, "%zu bytes by %zu: %016llx", cases[i].size, step,
                  (unsigned long long)hash_value(&h));
        }
}

/* Numbers that every build makes alike go into the cache past the arithmetic, so that the files must be alike, too. Where
 * the layout of a cache changes on purpose, VERSION of state.c has to change with what is expected here. */
static uint64_t fingerprint_of_file(clla_model *m, const char *kv) {
    enum { TOKENS = 21 };
    static float keys[KV_CHANNELS_MAX], values[KV_CHANNELS_MAX];
    clla_session *s = open_session(m, kv, CONTEXT);
    uint32_t state = 77;
    for (uint32_t t = 0; t < TOKENS; t++) {
        s->tokens[t] = (int32_t)(13 * t);
        for (uint32_t l = 0; l < m->hyper.layers; l++) {
            for (uint32_t i = 0; i < KV_CHANNELS_MAX; i++) {
                keys[i] = (float)(tiny_random(&state) >> 8) * 0x1p-22f - 2.0f;
                values[i] = (float)(tiny_random(&state) >> 8) * 0x1p-22f - 2.0f;
            }
            if (m->hyper.kv.rank == 0 || m->hyper.kv.owner[l] == l || !s->cache.shape.latent)
                kv_cache_write(&s->cache, l, t, 1, keys, s->cache.shape.latent ? NULL : values);
        }
    }
    s->length = TOKENS;
    saved file = save(s, &(clla_save_options){.note = "note", .note_size = 4}, 1000);
    hash64 h;
    hash_open(&h);
    hash_feed(&h, file.bytes, file.size);
    free(file.bytes);
    clla_session_free(s);
    return hash_value(&h);
}

static void every_build_writes_the_same_file(void) {
    static const uint64_t expected[KINDS] = {
        UINT64_C(0xd5838b2a85b09f6e), UINT64_C(0x0cbd42c4835c851a),
        UINT64_C(0xde00a7a9c7c48339), UINT64_C(0x1796385c1e0093a6),
        UINT64_C(0xc89a7a9a8b016419), UINT64_C(0x92bbf3c3a773d62b),
        UINT64_C(0x967e32bd26cd4210), UINT64_C(0x14b7d32fdc9bbf64),
        UINT64_C(0xad312edb80d3088a), UINT64_C(0x967e32bd26cd4210),
        UINT64_C(0xeff0eb257ce495fe), UINT64_C(0x16166790998ffc9a),
        UINT64_C(0x7e1216addada0683), UINT64_C(0xf426771a461f19e6),
    };
    for (int k = 0; k < KINDS; k++) {
        uint64_t got = fingerprint_of_file(*kinds[k].model, kinds[k].kv);
        CHECK(got == expected[k], "%s: 0x%016llx", kinds[k].kv, (unsigned long long)got);
    }
}

int main(void) {
    heads = open_heads(1), other = open_heads(2);
    latents = open_latents(&(latent_options){.bits = 4, .rope_bits = 8, .seed = 3}, 1);
    sinking = open_latents(&(latent_options){.bits = 4, .rope_bits = 4, .minimum = true, .sinks = 3, .seed = 4}, 1);
    RUN("after 100 random cuts the restored session goes on to the bit", continuations_are_equal);
    RUN("latents can be cut back and forked", latents_truncate_and_fork);
    RUN("threads and chunks do not matter", threads_and_chunks_do_not_matter);
    RUN("a session can be restored into a longer context", a_longer_context_is_as_good);
    RUN("a note and a sampler travel along", note_and_sampler_travel_along);
    RUN("an empty session, without note and sampler", without_note_and_sampler);
    RUN("a session that goes on while it is saved is noticed", a_session_that_goes_on_is_noticed);
    RUN("another model, specification, version, a short context or file are refused", what_does_not_belong_is_refused);
    RUN("heads with right seals that say wrong things are refused", forged_heads_are_refused);
    RUN("1,000 corruptions are refused", corruptions_are_refused);
    RUN("every failed allocation is survived", every_failed_allocation_is_survived);
    RUN("the fingerprint is XXH64", the_fingerprint_is_xxh64);
    RUN("every build writes the same file", every_build_writes_the_same_file);
    clla_model_free(heads), clla_model_free(other), clla_model_free(latents), clla_model_free(sinking);
    return test_report();
}
