/* wasm_api.c: everything that JavaScript can call. Ints and pointers only; no other file exports anything, and the
 * build reads the list of exports from here: each is one line that begins with CLLA_EXPORT.
 *
 * One wasm_engine a module instance holds what calls share: the last error, a block of numbers, a buffer of bytes and a
 * buffer of ids. JavaScript writes arguments there and reads results there, all within one synchronous stretch, so
 * several replies may take turns. Numbers that do not fit an int (sizes, handles, seeds) travel as doubles.
 *
 *     wasm_engine_create -> wasm_load_begin -> wasm_bytes, wasm_load_feed ... -> wasm_load_finish -> the model is there
 *     wasm_session_create -> wasm_ids, wasm_session_eval ... -> wasm_reply_create -> wasm_reply_step ...
 *
 * Fallible calls return a clla_status; wasm_error has the sentence. Not here: reading files, chat templates, stop
 * strings, cancelling (all in js/). */
#include <string.h>

#include "arena.h"
#include "clla.h"

#define CLLA_EXPORT /* the build hands the names so marked to the linker */

enum { NUMBERS = 16, SCORE_MAX = 32 };

typedef struct wasm_engine {
    double numbers[NUMBERS]; /* arguments and results of the current call */
    uint8_t *bytes;          /* text, a piece of a file, log-probabilities */
    size_t bytes_capacity;
    int32_t *ids;
    size_t ids_capacity; /* in ids */
    clla_loader *loader; /* while loading */
    clla_model *model;   /* afterwards */
    clla_error error;
} wasm_engine;

typedef struct wasm_session {
    clla_session *session;
    const float *logits; /* [vocabulary] of the last token; NULL until something was evaluated, and after a truncation */
} wasm_session;

typedef struct wasm_reply {
    wasm_session *session;
    clla_sampler *sampler;
    clla_text_stream stream;
    uint32_t top_count;
    clla_logprob top[]; /* [top_count], of the last step */
} wasm_reply;

static double address(const void *p) { return (double)(uintptr_t)p; }

/* Make room for `size` bytes; the old content is kept. */
static bool reserve_bytes(wasm_engine *e, size_t size) {
    if (size <= e->bytes_capacity) return true;
    uint8_t *bytes = memory_resize(e->bytes, size);
    if (bytes == NULL) return false;
    e->bytes = bytes;
    e->bytes_capacity = size;
    return true;
}

static bool reserve_ids(wasm_engine *e, size_t count) {
    if (count <= e->ids_capacity) return true;
    if (count > SIZE_MAX / sizeof *e->ids) return false;
    int32_t *ids = memory_resize(e->ids, count * sizeof *e->ids);
    if (ids == NULL) return false;
    e->ids = ids;
    e->ids_capacity = count;
    return true;
}

/* The ids [begin, end) of the buffer are in the vocabulary. */
static clla_status check_ids(wasm_engine *e, size_t begin, size_t end) {
    const uint32_t vocabulary = clla_model_vocabulary(e->model);
    for (size_t i = begin; i < end; i++)
        if (e->ids[i] < 0 || (uint32_t)e->ids[i] >= vocabulary)
            return clla_fail(&e->error, CLLA_BAD_ARGUMENT, "token %zu is %d: the vocabulary has 0 to %u", i,
                             (int)e->ids[i], vocabulary - 1);
    return CLLA_OK;
}

static clla_status no_room(wasm_engine *e, const char *what, size_t size) {
    return clla_fail(&e->error, CLLA_OUT_OF_MEMORY, "no memory for %s (%zu bytes)", what, size);
}

/* ---- the engine and its buffers ----------------------------------------------------------------------------- */

/* NULL: no memory. */
CLLA_EXPORT wasm_engine *wasm_engine_create(void) {
    wasm_engine *e = memory_resize(NULL, sizeof *e);
    if (e != NULL) *e = (wasm_engine){0};
    return e;
}

/* Sessions and replies must be freed before. */
CLLA_EXPORT void wasm_engine_free(wasm_engine *e) {
    if (e == NULL) return;
    clla_loader_free(e->loader);
    clla_model_free(e->model);
    memory_resize(e->bytes, 0);
    memory_resize(e->ids, 0);
    memory_resize(e, 0);
}

CLLA_EXPORT const char *wasm_version(void) { return clla_version(); }
CLLA_EXPORT const char *wasm_status_name(int status) { return clla_status_name((clla_status)status); }
CLLA_EXPORT const char *wasm_status_sentence(int status) { return clla_status_sentence((clla_status)status); }
CLLA_EXPORT const char *wasm_error(const wasm_engine *e) { return e->error.text; }

/* The block of numbers: [16] doubles at a fixed address. */
CLLA_EXPORT double *wasm_numbers(wasm_engine *e) { return e->numbers; }

/* A buffer of at least `size` bytes, or of `count` ids; valid until the next call that asks for more. NULL: no memory. */
CLLA_EXPORT uint8_t *wasm_bytes(wasm_engine *e, size_t size) { return reserve_bytes(e, size) ? e->bytes : NULL; }
CLLA_EXPORT int32_t *wasm_ids(wasm_engine *e, size_t count) { return reserve_ids(e, count) ? e->ids : NULL; }

/* numbers: bytes allocated now, the most that ever were. */
CLLA_EXPORT void wasm_memory(wasm_engine *e) {
    e->numbers[0] = (double)memory_in_use();
    e->numbers[1] = (double)memory_peak();
}

/* ---- loading ------------------------------------------------------------------------------------------------ */

CLLA_EXPORT int wasm_load_begin(wasm_engine *e, uint32_t threads, int vocabulary_only) {
    const clla_model_options options = {.threads = threads, .vocabulary_only = vocabulary_only != 0};
    return (int)clla_loader_create(&options, &e->loader, &e->error);
}

/* The next `size` bytes of the file are in the byte buffer. */
CLLA_EXPORT int wasm_load_feed(wasm_engine *e, size_t size) {
    return (int)clla_loader_feed(e->loader, e->bytes, size, &e->error);
}

CLLA_EXPORT int wasm_load_next_part(wasm_engine *e) { return (int)clla_loader_next_part(e->loader, &e->error); }

/* numbers: bytes fed, bytes this part needs (0: not known yet), header complete, parts. */
CLLA_EXPORT void wasm_load_progress(wasm_engine *e) {
    clla_load_progress progress = {0};
    clla_loader_progress(e->loader, &progress);
    e->numbers[0] = (double)progress.bytes_fed;
    e->numbers[1] = (double)progress.bytes_needed;
    e->numbers[2] = progress.header_complete ? 1 : 0;
    e->numbers[3] = (double)progress.parts;
}

CLLA_EXPORT int wasm_load_finish(wasm_engine *e) {
    clla_loader *loader = e->loader;
    e->loader = NULL;
    return (int)clla_loader_finish(loader, &e->model, &e->error);
}

/* bytes: the model's JSON. numbers: its length, vocabulary, trained context, bytes of the weights. */
CLLA_EXPORT int wasm_model_info(wasm_engine *e) {
    const size_t size = clla_model_info(e->model, NULL, 0);
    if (!reserve_bytes(e, size)) return (int)no_room(e, "the model's description", size);
    e->numbers[0] = (double)clla_model_info(e->model, (char *)e->bytes, size);
    e->numbers[1] = (double)clla_model_vocabulary(e->model);
    e->numbers[2] = (double)clla_model_context(e->model);
    e->numbers[3] = (double)clla_model_bytes(e->model);
    return CLLA_OK;
}

/* ---- text --------------------------------------------------------------------------------------------------- */

/* `size` bytes of UTF-8 become ids; flags as clla_tokenize. numbers: how many. */
CLLA_EXPORT int wasm_tokenize(wasm_engine *e, size_t size, uint32_t flags) {
    size_t count = 0;
    clla_status status = CLLA_OK;
    do {
        if (!reserve_ids(e, count)) return (int)no_room(e, "the tokens of a text", count * sizeof *e->ids);
        status = clla_tokenize(e->model, (const char *)e->bytes, size, flags, e->ids, e->ids_capacity, &count, &e->error);
    } while (status == CLLA_OK && count > e->ids_capacity);
    e->numbers[0] = (double)count;
    return (int)status;
}

CLLA_EXPORT int wasm_token_ends(const wasm_engine *e, int32_t id) { return clla_token_ends(e->model, id); }

/* `count` ids become bytes of UTF-8, control tokens only where `special`. numbers: how many bytes. */
CLLA_EXPORT int wasm_detokenize(wasm_engine *e, size_t count, int special) {
    const size_t room = clla_detokenize_room(e->model);
    clla_text_stream stream = {0};
    size_t size = 0;
    const clla_status status = check_ids(e, 0, count);
    if (status != CLLA_OK) return (int)status;
    for (size_t i = 0; i <= count; i++) { /* the last round ends the stream */
        if (size + room > e->bytes_capacity && !reserve_bytes(e, 2 * (size + room)))
            return (int)no_room(e, "the text of tokens", size + room);
        const int32_t id = i < count ? e->ids[i] : -1;
        size += clla_detokenize(e->model, &stream, id, special != 0, (char *)e->bytes + size);
    }
    e->numbers[0] = (double)size;
    return CLLA_OK;
}

/* ---- sessions ----------------------------------------------------------------------------------------------- */

/* The cache specification is the zero-terminated text in the byte buffer; an empty one means the default. */
static clla_session_options session_options(const wasm_engine *e, uint32_t context, uint32_t logits_max) {
    const char *kv = (const char *)e->bytes;
    return (clla_session_options){
        .context = context, .kv = kv != NULL && kv[0] != '\0' ? kv : NULL, .logits_max = logits_max};
}

static int session_wrap(wasm_engine *e, clla_session *session) {
    wasm_session *s = memory_resize(NULL, sizeof *s);
    if (s == NULL) {
        clla_session_free(session);
        return (int)no_room(e, "a session", sizeof *s);
    }
    *s = (wasm_session){.session = session};
    e->numbers[0] = address(s);
    return CLLA_OK;
}

/* numbers: bytes of the cache and of everything else; for each token those of the cache, of its codes, scales and rope
 * keys; those of the sinks; for each token of a plain cache; layers that store; the length of the specification in its
 * short form, which is in the byte buffer. */
CLLA_EXPORT int wasm_session_bytes(wasm_engine *e, uint32_t context, uint32_t logits_max) {
    const clla_session_options options = session_options(e, context, logits_max);
    clla_session_size size = {0};
    const clla_status status = clla_session_bytes(e->model, &options, &size, &e->error);
    if (status != CLLA_OK) return (int)status;
    if (!reserve_bytes(e, sizeof size.kv)) return (int)no_room(e, "the cache specification", sizeof size.kv);
    memcpy(e->bytes, size.kv, sizeof size.kv);
    const double numbers[] = {(double)size.cache,  (double)size.scratch, size.bytes_per_token,
                              size.codes,          size.scales,          size.rope_keys,
                              (double)size.sinks,  size.plain_bytes_per_token,
                              (double)size.rows,   (double)strlen(size.kv)};
    memcpy(e->numbers, numbers, sizeof numbers);
    return CLLA_OK;
}

/* numbers: the handle. */
CLLA_EXPORT int wasm_session_create(wasm_engine *e, uint32_t context, uint32_t logits_max) {
    const clla_session_options options = session_options(e, context, logits_max);
    clla_session *session = NULL;
    const clla_status status = clla_session_create(e->model, &options, &session, &e->error);
    return status != CLLA_OK ? (int)status : session_wrap(e, session);
}

/* numbers: the handle of a session that continues from the same tokens. */
CLLA_EXPORT int wasm_session_fork(wasm_engine *e, const wasm_session *s) {
    clla_session *session = NULL;
    const clla_status status = clla_session_fork(s->session, &session, &e->error);
    return status != CLLA_OK ? (int)status : session_wrap(e, session);
}

CLLA_EXPORT void wasm_session_free(wasm_session *s) {
    if (s == NULL) return;
    clla_session_free(s->session);
    memory_resize(s, 0);
}

CLLA_EXPORT uint32_t wasm_session_context(const wasm_session *s) { return clla_session_context(s->session); }
CLLA_EXPORT uint32_t wasm_session_length(const wasm_session *s) { return clla_session_length(s->session); }

/* How many of the `count` ids in the buffer the session already holds, from its start. */
CLLA_EXPORT uint32_t wasm_session_match(const wasm_engine *e, const wasm_session *s, size_t count) {
    return clla_session_match(s->session, e->ids, count);
}

CLLA_EXPORT int wasm_session_truncate(wasm_engine *e, wasm_session *s, uint32_t length) {
    s->logits = NULL;
    return (int)clla_session_truncate(s->session, length, &e->error);
}

/* Append ids [begin, begin + count) of the buffer. */
CLLA_EXPORT int wasm_session_eval(wasm_engine *e, wasm_session *s, size_t begin, size_t count) {
    s->logits = NULL;
    return (int)clla_session_eval(s->session, e->ids + begin, count, &s->logits, &e->error);
}

/* Append ids [begin, begin + count) of the buffer, at most the chunk of the session. numbers: the address of their final
 * hidden states, [count, width] floats, and the width. */
CLLA_EXPORT int wasm_session_states(wasm_engine *e, wasm_session *s, size_t begin, size_t count) {
    const float *states = NULL;
    s->logits = NULL;
    const clla_status status = clla_session_eval_states(s->session, e->ids + begin, count, &states, &e->error);
    e->numbers[0] = address(states);
    e->numbers[1] = (double)clla_model_width(e->model);
    return (int)status;
}

/* Append ids [begin, begin + count) of the buffer, which holds one more: bytes [count] floats become the natural-log
 * probability of the id that follows each of them. At most 32 at a time, and at most logits_max of the session. */
CLLA_EXPORT int wasm_session_score(wasm_engine *e, wasm_session *s, size_t begin, size_t count) {
    uint32_t at[SCORE_MAX];
    const float *logits = NULL;
    if (count > SCORE_MAX) return (int)clla_fail(&e->error, CLLA_BAD_ARGUMENT, "score: at most %d ids", SCORE_MAX);
    if (!reserve_bytes(e, count * sizeof(float))) return (int)no_room(e, "scores", count * sizeof(float));
    for (uint32_t i = 0; i < count; i++) at[i] = i;
    s->logits = NULL;
    clla_status status = check_ids(e, begin, begin + count + 1);
    if (status == CLLA_OK)
        status = clla_session_eval_at(s->session, e->ids + begin, count, at, count, &logits, &e->error);
    if (status != CLLA_OK) return (int)status;
    const uint32_t vocabulary = clla_model_vocabulary(e->model);
    for (size_t i = 0; i < count; i++) {
        const float logprob = clla_logprob_of(logits + i * vocabulary, vocabulary, e->ids[begin + i + 1]);
        memcpy(e->bytes + i * sizeof logprob, &logprob, sizeof logprob);
    }
    return CLLA_OK;
}

/* ---- saving and restoring ------------------------------------------------------------------------------------ */

/* A saver of the session; the `note_size` bytes in the byte buffer travel along. numbers: its handle, bytes of the file. */
CLLA_EXPORT int wasm_saver_create(wasm_engine *e, const wasm_session *s, size_t note_size) {
    const clla_save_options options = {.note = e->bytes, .note_size = note_size};
    clla_saver *saver = NULL;
    const clla_status status = clla_saver_create(s->session, &options, &saver, &e->error);
    if (status != CLLA_OK) return (int)status;
    e->numbers[0] = address(saver);
    e->numbers[1] = (double)clla_saver_bytes(saver);
    return CLLA_OK;
}

/* bytes: the next ones of the file, at most `capacity`. numbers: how many; 0 at its end. */
CLLA_EXPORT int wasm_saver_read(wasm_engine *e, clla_saver *saver, size_t capacity) {
    size_t size = 0;
    if (!reserve_bytes(e, capacity)) return (int)no_room(e, "a piece of a file", capacity);
    const clla_status status = clla_saver_read(saver, e->bytes, capacity, &size, &e->error);
    e->numbers[0] = (double)size;
    return (int)status;
}

CLLA_EXPORT void wasm_saver_free(clla_saver *saver) { clla_saver_free(saver); }

/* A restorer; the specification stands in the byte buffer as for a session. numbers: its handle. */
CLLA_EXPORT int wasm_restorer_create(wasm_engine *e, uint32_t context) {
    const clla_session_options options = session_options(e, context, 1);
    clla_restorer *restorer = NULL;
    const clla_status status = clla_restorer_create(e->model, &options, &restorer, &e->error);
    e->numbers[0] = address(restorer);
    return (int)status;
}

/* The next `size` bytes of the file are in the byte buffer. */
CLLA_EXPORT int wasm_restorer_feed(wasm_engine *e, clla_restorer *restorer, size_t size) {
    return (int)clla_restorer_feed(restorer, e->bytes, size, &e->error);
}

/* numbers: the handle of the session, bytes of its specification, bytes of the note. bytes: both, one after the other. */
CLLA_EXPORT int wasm_restorer_finish(wasm_engine *e, clla_restorer *restorer) {
    clla_session *session = NULL;
    const clla_status status = clla_restorer_finish(restorer, &session, &e->error);
    if (status != CLLA_OK) return (int)status;
    char kv[CLLA_KV_TEXT];
    size_t note_size = 0;
    const uint8_t *note = clla_restorer_note(restorer, &note_size);
    clla_session_kv(session, kv);
    const size_t kv_size = strlen(kv);
    if (!reserve_bytes(e, kv_size + note_size)) {
        clla_session_free(session);
        return (int)no_room(e, "a saved note", note_size);
    }
    memcpy(e->bytes, kv, kv_size);
    if (note_size > 0) memcpy(e->bytes + kv_size, note, note_size);
    e->numbers[1] = (double)kv_size;
    e->numbers[2] = (double)note_size;
    return session_wrap(e, session);
}

CLLA_EXPORT void wasm_restorer_free(clla_restorer *restorer) { clla_restorer_free(restorer); }

/* ---- replies ------------------------------------------------------------------------------------------------ */

/* Sampler options from the numbers, in the order of clla_sampler_options, the seed as low and high half; the biases
 * are ids in the id buffer and floats in the byte buffer. */
static clla_status sampler_create(wasm_engine *e, clla_logit_bias *bias, size_t bias_count, clla_sampler **sampler) {
    const double *n = e->numbers;
    for (size_t i = 0; i < bias_count; i++) {
        bias[i].id = e->ids[i];
        memcpy(&bias[i].bias, e->bytes + i * sizeof(float), sizeof(float));
    }
    const clla_sampler_options options = {.temperature = (float)n[0],
                                          .top_k = (uint32_t)n[1],
                                          .top_p = (float)n[2],
                                          .min_p = (float)n[3],
                                          .typical_p = (float)n[4],
                                          .repetition_penalty = (float)n[5],
                                          .frequency_penalty = (float)n[6],
                                          .presence_penalty = (float)n[7],
                                          .penalty_window = (uint32_t)n[8],
                                          .seed = (uint64_t)n[9] | (uint64_t)n[10] << 32,
                                          .bias = bias,
                                          .bias_count = bias_count};
    return clla_sampler_create(&options, clla_model_vocabulary(e->model), sampler, &e->error);
}

/* A reply that samples from what the session holds; each step tells `top_count` log-probabilities. numbers: in, the
 * sampler's options; out, the handle and the address of the log-probabilities, pairs of an id and a float. */
CLLA_EXPORT int wasm_reply_create(wasm_engine *e, wasm_session *s, size_t bias_count, uint32_t top_count) {
    clla_sampler *sampler = NULL;
    clla_logit_bias *bias = NULL;
    if (bias_count > 0 && (bias = memory_resize(NULL, bias_count * sizeof *bias)) == NULL)
        return (int)no_room(e, "logit biases", bias_count * sizeof *bias);
    const clla_status status = sampler_create(e, bias, bias_count, &sampler);
    memory_resize(bias, 0);
    if (status != CLLA_OK) return (int)status;
    const size_t size = sizeof(wasm_reply) + top_count * sizeof(clla_logprob);
    wasm_reply *r = memory_resize(NULL, size);
    if (r == NULL || !reserve_bytes(e, clla_detokenize_room(e->model))) {
        memory_resize(r, 0);
        clla_sampler_free(sampler);
        return (int)no_room(e, "a reply", size);
    }
    *r = (wasm_reply){.session = s, .sampler = sampler, .top_count = top_count};
    e->numbers[0] = address(r);
    e->numbers[1] = address(r->top);
    return CLLA_OK;
}

CLLA_EXPORT void wasm_reply_free(wasm_reply *r) {
    if (r == NULL) return;
    clla_sampler_free(r->sampler);
    memory_resize(r, 0);
}

/* The penalties see the `count` ids in the buffer: the prompt. */
CLLA_EXPORT void wasm_reply_accept(const wasm_engine *e, wasm_reply *r, size_t count) {
    for (size_t i = 0; i < count; i++) clla_sampler_accept(r->sampler, e->ids[i]);
}

/* One token: append `previous`, the token of the step before (-1 in the first step), and choose the next one.
 * numbers: its id, whether generation ends with it, the bytes of text that are complete now, its log-probability (when
 * top_count > 0). bytes: that text, which never ends in half a character. */
CLLA_EXPORT int wasm_reply_step(wasm_engine *e, wasm_reply *r, int32_t previous) {
    wasm_session *s = r->session;
    if (previous >= 0) {
        s->logits = NULL;
        const clla_status status = clla_session_eval(s->session, &previous, 1, &s->logits, &e->error);
        if (status != CLLA_OK) return (int)status;
    }
    if (s->logits == NULL) return (int)clla_fail(&e->error, CLLA_BAD_ARGUMENT, "reply: nothing was evaluated before it");
    const uint32_t vocabulary = clla_model_vocabulary(e->model);
    const int32_t id = clla_sample(r->sampler, s->logits);
    if (id < 0) return (int)clla_fail(&e->error, CLLA_BAD_ARGUMENT, "no token may follow: all are forbidden or not numbers");
    if (r->top_count > 0) clla_logprobs_top(s->logits, vocabulary, r->top, r->top_count);
    clla_sampler_accept(r->sampler, id);
    e->numbers[0] = (double)id;
    e->numbers[1] = clla_token_ends(e->model, id) ? 1 : 0;
    e->numbers[2] = (double)clla_detokenize(e->model, &r->stream, id, false, (char *)e->bytes);
    e->numbers[3] = r->top_count > 0 ? (double)clla_logprob_of(s->logits, vocabulary, id) : 0;
    return CLLA_OK;
}

/* The end of the text: what is left of an unfinished character. numbers: how many bytes. */
CLLA_EXPORT void wasm_reply_finish(wasm_engine *e, wasm_reply *r) {
    e->numbers[0] = (double)clla_detokenize(e->model, &r->stream, -1, false, (char *)e->bytes);
}
