/* clla.h: run a language model that keeps its conversation in a compact cache.
 *
 *     clla_loader *loader;  clla_model *model;  clla_session *session;  clla_sampler *sampler;
 *     clla_loader_create(&(clla_model_options){.threads = 2}, &loader, &error);
 *     while ((n = read_some(buffer)) > 0) clla_loader_feed(loader, buffer, n, &error);
 *     clla_loader_finish(loader, &model, &error);                     // the loader is gone, the model is yours
 *     clla_tokenize(model, text, size, CLLA_BOS_IF_WANTED, ids, capacity, &count, &error);
 *     clla_session_create(model, &(clla_session_options){.context = 2048, .kv = "f16"}, &session, &error);
 *     clla_sampler_create(&(clla_sampler_options){.temperature = 0.7f}, clla_model_vocabulary(model), &sampler, &error);
 *     clla_session_eval(session, ids, count, &logits, &error);        // prefill
 *     while (!clla_token_ends(model, id = clla_sample(sampler, logits))) {
 *         clla_sampler_accept(sampler, id);  ... clla_detokenize ...
 *         clla_session_eval(session, &id, 1, &logits, &error);        // decode
 *     }
 *
 * Two opaque types: a model holds weights and vocabulary and never changes; a session is one timeline: a cache, the
 * tokens in it and the logits of the last call. Many sessions share a model; calls on one model and all of its
 * sessions come from one thread at a time (the model's own pool works inside a call).
 *
 * Every function that can fail returns a clla_status and, where error is not NULL, writes a sentence that names what
 * and where. After a failure every object is as it was before the call, unless said otherwise. Options are structs
 * in which zero means default. What _create or _finish gives, you free. */
#ifndef CLLA_H
#define CLLA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sampler.h"
#include "status.h"

typedef struct clla_loader clla_loader;
typedef struct clla_model clla_model;
typedef struct clla_session clla_session;

const char *clla_version(void);

/* ---- loading: bytes are pushed, in pieces of any size ------------------------------------------------------- */

typedef struct clla_model_options {
    uint32_t threads;     /* 0: 1. Results do not depend on it. */
    bool vocabulary_only; /* stop after the header: tokenizer and information, no weights */
    uint64_t memory_limit; /* bytes that weights may take; 0: what can be had. Refused before anything is allocated. */
} clla_model_options;

clla_status clla_loader_create(const clla_model_options *options, clla_loader **loader, clla_error *error);

/* The next bytes of the file. Peak memory is the weights once, plus four rows of one tensor. A failure is final for
 * this loader; free it. */
clla_status clla_loader_feed(clla_loader *loader, const uint8_t *bytes, size_t size, clla_error *error);

/* The next bytes will be those of the next part of a split file ("-00002-of-00003.gguf"), in order. */
clla_status clla_loader_next_part(clla_loader *loader, clla_error *error);

typedef struct clla_load_progress {
    uint64_t bytes_fed;    /* so far, all parts */
    uint64_t bytes_needed; /* of this part, known once its header is read, else 0 */
    bool header_complete;
    uint32_t parts; /* of the whole model, known once the first header is read */
} clla_load_progress;
void clla_loader_progress(const clla_loader *loader, clla_load_progress *progress);

/* All bytes are fed: check that every weight arrived and hand over the model. Frees the loader, on failure too. */
clla_status clla_loader_finish(clla_loader *loader, clla_model **model, clla_error *error);
void clla_loader_free(clla_loader *loader); /* give up; NULL is fine */

/* ---- the model ---------------------------------------------------------------------------------------------- */

void clla_model_free(clla_model *model); /* its sessions must be freed before; NULL is fine */

/* Everything worth showing, as one JSON object: architecture, name, parameters, layers, width, heads, context,
 * vocabulary, pooling of embeddings, bytes by type, tokenizer, chat template. Returns the whole length, writes at most
 * capacity bytes. */
size_t clla_model_info(const clla_model *model, char *json, size_t capacity);

uint32_t clla_model_vocabulary(const clla_model *model);
uint32_t clla_model_context(const clla_model *model);      /* tokens the model was trained for */
uint32_t clla_model_width(const clla_model *model);        /* channels of a hidden state */
uint64_t clla_model_bytes(const clla_model *model);        /* memory that the weights take */

/* ---- text --------------------------------------------------------------------------------------------------- */

enum { CLLA_BOS = 1, CLLA_SPECIAL = 2, CLLA_BOS_IF_WANTED = 8, CLLA_EOS_IF_WANTED = 16 };

/* UTF-8 to ids: writes at most capacity ids, always the whole number in *count. CLLA_SPECIAL lets text spell control
 * tokens; leave it out for what a person typed. Some models want a token at the end of texts that are embedded. */
clla_status clla_tokenize(const clla_model *model, const char *text, size_t size, unsigned flags, int32_t *ids,
                          size_t capacity, size_t *count, clla_error *error);
bool clla_token_ends(const clla_model *model, int32_t id); /* generation stops at this token */

/* Ids to UTF-8, as a stream that never ends in half a character: start from a zeroed clla_text_stream, push each id,
 * then -1 once at the end. `text` needs clla_detokenize_room() bytes; returns the bytes written. */
typedef struct clla_text_stream {
    uint8_t state[16];
} clla_text_stream;
size_t clla_detokenize_room(const clla_model *model);
size_t clla_detokenize(const clla_model *model, clla_text_stream *stream, int32_t id, bool special, char *text);

/* ---- sessions ----------------------------------------------------------------------------------------------- */

typedef struct clla_session_options {
    uint32_t context;    /* tokens the cache holds; 0: the model's own, at most 4096 */
    const char *kv;      /* cache specification (kv/spec.h); NULL: the model's own: "f16", or "clla" where it has latents */
    uint32_t chunk;      /* tokens evaluated together in prefill; 0: 128 */
    uint32_t logits_max; /* positions whose logits one clla_session_eval_at may ask for; 0: 1 */
} clla_session_options;

enum { CLLA_KV_TEXT = 96 }; /* room for a specification in its short form */

typedef struct clla_session_size {
    uint64_t cache;   /* codes, scales, rope keys: all that grows with the context, and the sinks */
    uint64_t scratch; /* activations, logits; the token list and attention's partial sums grow by some bytes a token */
    double bytes_per_token;          /* of the cache, over all layers; the sum of the next three */
    double codes, scales, rope_keys; /* numbers of keys and values or latents; scales and minima; numbers of rope keys */
    uint64_t sinks;                  /* bytes that the first tokens take besides, in 16 bits */
    double plain_bytes_per_token;    /* multi-head attention of the same width and depth in 16 bits: 4 width layers */
    uint32_t rows;                   /* layers that store; each has a 1 / rows share of the above */
    char kv[CLLA_KV_TEXT];           /* the specification in its short form */
} clla_session_size;

/* What a session with these options takes, exactly, before anything is allocated. */
clla_status clla_session_bytes(const clla_model *model, const clla_session_options *options, clla_session_size *size,
                               clla_error *error);

clla_status clla_session_create(clla_model *model, const clla_session_options *options, clla_session **session,
                                clla_error *error);
void clla_session_free(clla_session *session); /* NULL is fine */

/* Append count tokens to the timeline. *logits: [vocabulary] of the last one, valid until the next call on this
 * session. Long prompts are evaluated in chunks inside; call it in pieces to show progress or to stop between them.
 * CONTEXT_FULL when the tokens do not fit (told before any work); BAD_ARGUMENT for ids outside the vocabulary. */
clla_status clla_session_eval(clla_session *session, const int32_t *ids, size_t count, const float **logits,
                              clla_error *error);

/* The same, with the logits of chosen positions: at[i] (ascending) counts from 0 = ids[0]; *logits: [at_count,
 * vocabulary]. at_count is at most logits_max of the options; 0 computes no logits. */
clla_status clla_session_eval_at(clla_session *session, const int32_t *ids, size_t count, const uint32_t *at,
                                 size_t at_count, const float **logits, clla_error *error);

/* The same, with what the output weights would make logits of: *states: [count, width], the final hidden states of all
 * count tokens, after the output norm, valid until the next call on this session. Their mean over a text, or the last of
 * them, made as long as 1, is an embedding of the text. count is at most the chunk of the options (BAD_ARGUMENT). */
clla_status clla_session_eval_states(clla_session *session, const int32_t *ids, size_t count, const float **states,
                                     clla_error *error);

uint32_t clla_session_context(const clla_session *session);           /* tokens it can hold */
uint32_t clla_session_length(const clla_session *session);            /* tokens it holds */
const int32_t *clla_session_tokens(const clla_session *session);      /* [length] */
void clla_session_kv(const clla_session *session, char text[CLLA_KV_TEXT]);

/* Length of the longest common prefix of the timeline and ids: what need not be evaluated again. */
uint32_t clla_session_match(const clla_session *session, const int32_t *ids, size_t count);

/* Forget all tokens from position `length` on. Longer than the timeline is BAD_ARGUMENT. */
clla_status clla_session_truncate(clla_session *session, uint32_t length, clla_error *error);

/* A second session that continues from the same tokens, with a cache of its own. */
clla_status clla_session_fork(const clla_session *session, clla_session **fork, clla_error *error);

/* ---- saving and restoring ------------------------------------------------------------------------------------ */

/* A saved session is one file (its format: state.c): which model it belongs to, the cache specification, the tokens and
 * their cache; and, where given, a sampler's state and a note. Every build writes the same bytes for the same cache and
 * reads what any other has written. Logits are not in it: evaluate the next token, or cut the last one off and
 * evaluate it again. */
typedef struct clla_saver clla_saver;
typedef struct clla_restorer clla_restorer;

enum { CLLA_NOTE_MAX = 1 << 26 };

typedef struct clla_save_options {
    const clla_sampler *sampler; /* NULL: none */
    const void *note;            /* bytes of your own, such as the messages of a chat */
    size_t note_size;            /* at most CLLA_NOTE_MAX */
} clla_save_options;

/* Sampler and note are copied; the session must stay until the saver is freed. */
clla_status clla_saver_create(const clla_session *session, const clla_save_options *options, clla_saver **saver,
                              clla_error *error);
uint64_t clla_saver_bytes(const clla_saver *saver); /* of the whole file */

/* The next bytes of the file, at most capacity; *size = 0 is its end. BAD_ARGUMENT when the session was evaluated or
 * truncated since the saver was created: what was written so far is of no use then. */
clla_status clla_saver_read(clla_saver *saver, uint8_t *bytes, size_t capacity, size_t *size, clla_error *error);
void clla_saver_free(clla_saver *saver); /* NULL is fine */

/* A restorer takes the bytes of a file and makes a new session of them. In the options context 0 and kv NULL mean what
 * the file has; a longer context is as good. Refused: OTHER_MODEL; UNSUPPORTED_VERSION (a newer file); BAD_KV_SPEC (kv is
 * not the file's); CONTEXT_FULL (the tokens do not fit); BAD_FILE (no saved session, or damaged); TRUNCATED_FILE. */
clla_status clla_restorer_create(clla_model *model, const clla_session_options *options, clla_restorer **restorer,
                                 clla_error *error);

/* The next bytes, pieces of any size. A failure is final for this restorer; free it. */
clla_status clla_restorer_feed(clla_restorer *restorer, const uint8_t *bytes, size_t size, clla_error *error);

/* All bytes are fed: the session is handed over, once, if they were whole and undamaged. */
clla_status clla_restorer_finish(clla_restorer *restorer, clla_session **session, clla_error *error);

/* After that, until the restorer is freed: the note (size 0: none), and the sampler's state, put into a sampler that was
 * made with the same options (BAD_ARGUMENT: the file has none, or it does not fit). */
const uint8_t *clla_restorer_note(const clla_restorer *restorer, size_t *size);
clla_status clla_restorer_sampler(const clla_restorer *restorer, clla_sampler *sampler, clla_error *error);
void clla_restorer_free(clla_restorer *restorer); /* NULL is fine */

#endif
