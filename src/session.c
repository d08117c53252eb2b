/* session.c: one timeline: its tokens, their cache, and the logits of the last call.
 *
 * A session is one arena. session_layout lays it out; run on a measure it is clla_session_bytes, run on memory it is
 * clla_session_create, so that what is told is what is taken. After creation nothing is allocated. */
#include "session.h"

#include <string.h>

enum { DEFAULT_CONTEXT = 4096, DEFAULT_CHUNK = 128, CHUNK_LIMIT = 4096, LOGITS_LIMIT = 4096 };
static const uint32_t CONTEXT_LIMIT = UINT32_MAX / KV_TILE * KV_TILE; /* whole tiles of it are counted in 32 bits */

_Static_assert((int)CLLA_KV_TEXT == (int)KV_SPEC_TEXT, "the public text holds a specification");

/* Option values with their defaults filled in. */
static clla_status resolve(clla_session *s, const clla_model *m, const clla_session_options *options,
                           clla_error *error) {
    const clla_session_options none = {0}, *o = options ? options : &none;
    if (m->refusal) return clla_fail(error, m->refusal, "%s", m->reason.text);
    clla_status status = kv_spec_parse(o->kv, &m->hyper.kv, &s->spec, error);
    if (status != CLLA_OK) return status;
    uint32_t own = m->hyper.context < DEFAULT_CONTEXT ? m->hyper.context : DEFAULT_CONTEXT;
    s->context = o->context ? o->context : own;
    s->chunk = o->chunk ? o->chunk : DEFAULT_CHUNK;
    s->picks = o->logits_max ? o->logits_max : 1;
    if (s->context > CONTEXT_LIMIT)
        return clla_fail(error, CLLA_BAD_ARGUMENT, "context is %u: want at most %u", s->context, CONTEXT_LIMIT);
    if (s->chunk > CHUNK_LIMIT)
        return clla_fail(error, CLLA_BAD_ARGUMENT, "chunk is %u: want at most %d", s->chunk, CHUNK_LIMIT);
    if (s->picks > LOGITS_LIMIT)
        return clla_fail(error, CLLA_BAD_ARGUMENT, "logits_max is %u: want at most %d", s->picks, LOGITS_LIMIT);
    if (s->chunk > s->context) s->chunk = s->context;
    return CLLA_OK;
}

static void session_layout(clla_session *s, const clla_model *m, arena *a) {
    kv_shape shape;
    kv_shape_make(&shape, &s->spec, &m->hyper.kv, s->context);
    kv_cache_layout(&s->cache, &s->spec, &shape, a);
    s->tokens = arena_take(a, s->context, sizeof *s->tokens);
    forward_layout(&s->forward, m, &shape, s->chunk, s->picks, a);
}

clla_status clla_session_bytes(const clla_model *model, const clla_session_options *options, clla_session_size *size,
                               clla_error *error) {
    clla_session s = {0};
    arena measure = {0};
    clla_status status = resolve(&s, model, options, error);
    if (status != CLLA_OK) return status;
    session_layout(&s, model, &measure);
    kv_parts p = kv_parts_of(&s.spec, &s.cache.shape);
    *size = (clla_session_size){.cache = s.cache.bytes,
                                .scratch = measure.used - s.cache.bytes + sizeof s,
                                .bytes_per_token = p.codes + p.scales + p.rope_keys,
                                .codes = p.codes,
                                .scales = p.scales,
                                .rope_keys = p.rope_keys,
                                .sinks = p.sinks,
                                .plain_bytes_per_token = 4.0 * model->hyper.width * model->hyper.layers,
                                .rows = s.cache.shape.rows};
    kv_spec_print(&s.spec, &model->hyper.kv, size->kv);
    return CLLA_OK;
}

/* The session struct itself and its arena, laid out from resolved options. */
static clla_status open_session(const clla_session *resolved, clla_session **session, clla_error *error) {
    clla_session measured = *resolved;
    arena measure = {0};
    session_layout(&measured, resolved->model, &measure);
    clla_session *s = memory_resize(NULL, sizeof *s);
    if (s) *s = *resolved;
    if (!s || !arena_open(&s->memory, measure.used)) {
        memory_resize(s, 0);
        return clla_fail(error, CLLA_OUT_OF_MEMORY,
                         "a session of %u tokens takes %llu bytes (%llu of them cache): more than there is",
                         resolved->context, (unsigned long long)measure.used, (unsigned long long)measured.cache.bytes);
    }
    session_layout(s, s->model, &s->memory);
    *session = s;
    return CLLA_OK;
}

clla_status clla_session_create(clla_model *model, const clla_session_options *options, clla_session **session,
                                clla_error *error) {
    clla_session s = {.model = model};
    if (model->slot_count == 0)
        return clla_fail(error, CLLA_BAD_ARGUMENT, "the model was loaded without its weights: it cannot run");
    clla_status status = resolve(&s, model, options, error);
    return status == CLLA_OK ? open_session(&s, session, error) : status;
}

void clla_session_free(clla_session *session) {
    if (!session) return;
    arena_close(&session->memory);
    memory_resize(session, 0);
}

/* ---- evaluation ---------------------------------------------------------------------------------------------- */

static clla_status check_tokens(const clla_session *s, const int32_t *ids, size_t count, clla_error *error) {
    uint32_t vocabulary = s->model->hyper.vocabulary;
    if (count == 0) return clla_fail(error, CLLA_BAD_ARGUMENT, "there are no tokens to evaluate");
    if (count > s->context - s->length)
        return clla_fail(error, CLLA_CONTEXT_FULL, "%zu tokens do not fit: the context of %u tokens holds %u already",
                         count, s->context, s->length);
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= vocabulary)
            return clla_fail(error, CLLA_BAD_ARGUMENT, "token %zu is %d: the vocabulary has 0 to %u", i, (int)ids[i],
                             vocabulary - 1);
    return CLLA_OK;
}

static clla_status check_positions(const clla_session *s, size_t count, const uint32_t *at, size_t at_count,
                                   clla_error *error) {
    if (at_count > s->picks)
        return clla_fail(error, CLLA_BAD_ARGUMENT, "logits of %zu positions: this session was made for %u (logits_max)",
                         at_count, s->picks);
    for (size_t i = 0; i < at_count; i++)
        if (at[i] >= count || (i && at[i] <= at[i - 1]))
            return clla_fail(error, CLLA_BAD_ARGUMENT, "position %u of the logits: want ascending ones below %zu", at[i],
                             count);
    return CLLA_OK;
}

/* Evaluate one chunk and gather its logits behind those of the chunks before. Rows of forward.logits are filled from
 * the front by each step, so earlier ones are kept by letting each step write behind them. */
static void eval_chunk(clla_session *s, const int32_t *ids, uint32_t n, const uint32_t *at, uint32_t at_count,
                       uint32_t done) {
    tensor all = s->forward.logits;
    s->forward.logits.data += (size_t)done * all.cols;
    s->forward.logits.rows -= done;
    forward_step(&s->forward, &s->cache, ids, n, s->length, at, at_count);
    s->forward.logits = all;
    memcpy(s->tokens + s->length, ids, n * sizeof *ids);
    s->length += n;
    s->changes++;
}

clla_status clla_session_eval_at(clla_session *s, const int32_t *ids, size_t count, const uint32_t *at, size_t at_count,
                                 const float **logits, clla_error *error) {
    clla_status status = check_tokens(s, ids, count, error);
    if (status == CLLA_OK) status = check_positions(s, count, at, at_count, error);
    if (status != CLLA_OK) return status;
    uint32_t done = 0, local[LOGITS_LIMIT];
    for (uint32_t start = 0; start < count; start += s->chunk) {
        uint32_t n = count - start < s->chunk ? (uint32_t)count - start : s->chunk, here = 0;
        while (done + here < at_count && at[done + here] < start + n) {
            local[here] = at[done + here] - start;
            here++;
        }
        eval_chunk(s, ids + start, n, local, here, done);
        done += here;
    }
    if (logits) *logits = s->forward.logits.data;
    return CLLA_OK;
}

clla_status clla_session_eval(clla_session *session, const int32_t *ids, size_t count, const float **logits,
                              clla_error *error) {
    uint32_t last = count ? (uint32_t)(count - 1) : 0;
    return clla_session_eval_at(session, ids, count, &last, 1, logits, error);
}

clla_status clla_session_eval_states(clla_session *session, const int32_t *ids, size_t count, const float **states,
                                     clla_error *error) {
    if (count > session->chunk)
        return clla_fail(error, CLLA_BAD_ARGUMENT, "hidden states of %zu tokens: this session gives those of %u at a time "
                         "(chunk)", count, session->chunk);
    clla_status status = clla_session_eval_at(session, ids, count, NULL, 0, NULL, error);
    if (status == CLLA_OK) *states = forward_states(&session->forward, (uint32_t)count);
    return status;
}

/* ---- the timeline -------------------------------------------------------------------------------------------- */

uint32_t clla_session_context(const clla_session *session) { return session->context; }
uint32_t clla_session_length(const clla_session *session) { return session->length; }
const int32_t *clla_session_tokens(const clla_session *session) { return session->tokens; }

void clla_session_kv(const clla_session *session, char text[CLLA_KV_TEXT]) {
    kv_spec_print(&session->spec, &session->model->hyper.kv, text);
}

uint32_t clla_session_match(const clla_session *session, const int32_t *ids, size_t count) {
    uint32_t same = 0;
    while (same < session->length && same < count && session->tokens[same] == ids[same]) same++;
    return same;
}

clla_status clla_session_truncate(clla_session *session, uint32_t length, clla_error *error) {
    if (length > session->length)
        return clla_fail(error, CLLA_BAD_ARGUMENT, "cannot truncate to %u tokens: there are %u", length, session->length);
    kv_cache_truncate(&session->cache, length, session->length);
    session->length = length;
    session->changes++;
    return CLLA_OK;
}

clla_status clla_session_fork(const clla_session *session, clla_session **fork, clla_error *error) {
    clla_session *f;
    clla_session resolved = {.model = session->model,
                             .spec = session->spec,
                             .context = session->context,
                             .chunk = session->chunk,
                             .picks = session->picks};
    clla_status status = open_session(&resolved, &f, error);
    if (status != CLLA_OK) return status;
    kv_cache_copy(&f->cache, &session->cache, session->length);
    memcpy(f->tokens, session->tokens, session->length * sizeof *f->tokens);
    f->length = session->length;
    *fork = f;
    return CLLA_OK;
}
