/* state.c: a session as a file (clla_saver_* and clla_restorer_* of clla.h). Numbers are little endian.
 *
 *     "CLLAsave"                      8 bytes
 *     version                         u32: 1
 *     context, length                 u32, u32: tokens that the session holds at most; tokens in it
 *     note, sampler                   u32, u32: bytes of each
 *     fingerprint of the model        u64 (hash.h, over all bytes of the model's file)
 *     cache                           u64: bytes
 *     specification                   96 bytes: text, zeros behind it
 *     name of the model               80 bytes, likewise: for messages
 *     seal                            u64: fingerprint of all bytes before it
 *     note; sampler (sampler.c); tokens (i32 each); cache
 *     seal                            u64, the same
 *
 * The cache is that of the tokens in it, piece by piece (kv_cache_piece), as it lies in memory: the packed layouts of
 * kv/tiles.h and kernels_layout.h are part of this format, and a change of them is a new version.
 *
 * Nothing of a head is believed before its seal is right; then the new session is made, and the rest goes straight to
 * its place there. The session is handed over when the last seal is right, so what is damaged is never used. The seals
 * find accidents; against a file that was made to deceive, all sizes, the specification and the tokens are checked
 * besides, so that it can at most bring other numbers into the cache. */
#include <string.h>

#include "hash.h"
#include "session.h"

enum {
    VERSION = 1,
    MAGIC_BYTES = 8,
    START_BYTES = MAGIC_BYTES + 4, /* as far as every version is alike */
    HEAD_BYTES = START_BYTES + 4 * 4 + 2 * 8 + KV_SPEC_TEXT + sizeof(gguf_label),
    SEAL_BYTES = 8,
    SAMPLER_MAX = 1 << 26
};

static const uint8_t magic[MAGIC_BYTES] = {'C', 'L', 'L', 'A', 's', 'a', 'v', 'e'};

/* ---- the head ------------------------------------------------------------------------------------------------ */

typedef struct head {
    uint32_t version, context, length, note_size, sampler_size;
    uint64_t model, cache_bytes;
    char kv[KV_SPEC_TEXT];
    gguf_label name;
} head;

static void put_number(uint8_t **at, uint64_t value, size_t size) {
    for (size_t i = 0; i < size; i++) *(*at)++ = (uint8_t)(value >> (8 * i));
}

static uint64_t get_number(const uint8_t **at, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) value |= (uint64_t) * (*at)++ << (8 * i);
    return value;
}

static void put_head(const head *h, uint8_t bytes[HEAD_BYTES]) {
    uint8_t *at = bytes + MAGIC_BYTES;
    memcpy(bytes, magic, MAGIC_BYTES);
    put_number(&at, h->version, 4);
    put_number(&at, h->context, 4), put_number(&at, h->length, 4);
    put_number(&at, h->note_size, 4), put_number(&at, h->sampler_size, 4);
    put_number(&at, h->model, 8), put_number(&at, h->cache_bytes, 8);
    memcpy(at, h->kv, sizeof h->kv);
    memcpy(at + sizeof h->kv, h->name.text, sizeof h->name.text);
}

/* A text of a file, for messages too: printable ASCII that ends in a zero, whatever the file has. */
static void get_text(const uint8_t *bytes, char *text, size_t size) {
    memcpy(text, bytes, size - 1);
    text[size - 1] = '\0';
    for (char *c = text; *c; c++)
        if (*c < 0x20 || *c > 0x7e) *c = '?';
}

static void get_head(const uint8_t bytes[HEAD_BYTES], head *h) {
    const uint8_t *at = bytes + MAGIC_BYTES;
    h->version = (uint32_t)get_number(&at, 4);
    h->context = (uint32_t)get_number(&at, 4), h->length = (uint32_t)get_number(&at, 4);
    h->note_size = (uint32_t)get_number(&at, 4), h->sampler_size = (uint32_t)get_number(&at, 4);
    h->model = get_number(&at, 8), h->cache_bytes = get_number(&at, 8);
    get_text(at, h->kv, sizeof h->kv);
    get_text(at + sizeof h->kv, h->name.text, sizeof h->name.text);
}

static gguf_label name_of(const clla_model *m) {
    gguf_string name = {0};
    gguf_text_or(&m->header, "general.name", "", &name, NULL);
    return gguf_printable(name);
}

/* The stretches of a session that a file holds, in their order: number 0 is the tokens, the others are pieces of the
 * cache. Returns the bytes of one, which lie at *bytes; 0: there are no more. */
static size_t stretch_of(const clla_session *s, uint32_t length, uint32_t number, uint8_t **bytes) {
    if (number > 0) return kv_cache_piece(&s->cache, length, number - 1, bytes);
    *bytes = (uint8_t *)s->tokens;
    return length * sizeof *s->tokens;
}

static uint64_t cache_bytes_of(const clla_session *s, uint32_t length) {
    uint64_t sum = 0;
    uint8_t *bytes;
    size_t size;
    for (uint32_t i = 1; (size = stretch_of(s, length, i, &bytes)) > 0; i++) sum += size;
    return sum;
}

static uint64_t file_bytes_of(const head *h) {
    return HEAD_BYTES + SEAL_BYTES + (uint64_t)h->note_size + h->sampler_size + sizeof(int32_t) * (uint64_t)h->length +
           h->cache_bytes + SEAL_BYTES;
}

/* ---- saving -------------------------------------------------------------------------------------------------- */

struct clla_saver {
    const clla_session *session;
    uint64_t changes;  /* of the session when this began */
    uint64_t bytes;    /* of the file */
    hash64 hash;       /* of what was read */
    const uint8_t *at; /* the next bytes, and how many lie there */
    size_t left;
    uint32_t stretch;  /* what comes after them: a stretch of the session */
    bool sealed;       /* nothing does */
    uint8_t seal[SEAL_BYTES];
    uint8_t front[];   /* head, seal, note, sampler */
};

static void put_seal(uint8_t *seal, const hash64 *hash) {
    put_number(&seal, hash_value(hash), SEAL_BYTES);
}

static void write_front(clla_saver *s, const head *h, const clla_save_options *o) {
    uint8_t *note = s->front + HEAD_BYTES + SEAL_BYTES;
    put_head(h, s->front);
    hash64 hash;
    hash_open(&hash);
    hash_feed(&hash, s->front, HEAD_BYTES);
    put_seal(s->front + HEAD_BYTES, &hash);
    if (o->note_size) memcpy(note, o->note, o->note_size);
    if (o->sampler) clla_sampler_state_write(o->sampler, note + o->note_size);
}

clla_status clla_saver_create(const clla_session *session, const clla_save_options *options, clla_saver **saver,
                              clla_error *error) {
    const clla_save_options none = {0}, *o = options ? options : &none;
    size_t sampler_size = o->sampler ? clla_sampler_state_bytes(o->sampler) : 0;
    if (o->note_size > CLLA_NOTE_MAX)
        return clla_fail(error, CLLA_BAD_ARGUMENT, "the note has %zu bytes: want at most %d", o->note_size,
                         CLLA_NOTE_MAX);
    head h = {.version = VERSION,
              .context = session->context,
              .length = session->length,
              .note_size = (uint32_t)o->note_size,
              .sampler_size = (uint32_t)sampler_size,
              .model = session->model->fingerprint,
              .cache_bytes = cache_bytes_of(session, session->length),
              .name = name_of(session->model)};
    clla_session_kv(session, h.kv);
    size_t front = HEAD_BYTES + SEAL_BYTES + o->note_size + sampler_size;
    clla_saver *s = memory_resize(NULL, sizeof *s + front);
    if (!s) return clla_fail(error, CLLA_OUT_OF_MEMORY, "no memory to save a session (%zu bytes)", front);
    *s = (clla_saver){
        .session = session, .changes = session->changes, .bytes = file_bytes_of(&h), .at = s->front, .left = front};
    write_front(s, &h, o);
    hash_open(&s->hash);
    *saver = s;
    return CLLA_OK;
}

uint64_t clla_saver_bytes(const clla_saver *saver) { return saver->bytes; }

/* On to the next stretch; behind the last one to the seal. */
static void next_stretch(clla_saver *s) {
    uint8_t *bytes;
    s->left = stretch_of(s->session, s->session->length, s->stretch++, &bytes);
    s->at = bytes;
    if (s->left > 0) return;
    put_seal(s->seal, &s->hash);
    s->at = s->seal, s->left = SEAL_BYTES, s->sealed = true;
}

clla_status clla_saver_read(clla_saver *s, uint8_t *bytes, size_t capacity, size_t *size, clla_error *error) {
    *size = 0;
    if (s->session->changes != s->changes)
        return clla_fail(error, CLLA_BAD_ARGUMENT, "the session went on while it was being saved");
    while (*size < capacity && (s->left > 0 || !s->sealed)) {
        size_t room = capacity - *size, n = s->left < room ? s->left : room;
        memcpy(bytes + *size, s->at, n);
        hash_feed(&s->hash, s->at, n);
        *size += n, s->at += n, s->left -= n;
        if (s->left == 0 && !s->sealed) next_stretch(s);
    }
    return CLLA_OK;
}

void clla_saver_free(clla_saver *saver) { memory_resize(saver, 0); }

/* ---- restoring ----------------------------------------------------------------------------------------------- */

/* What the next bytes are. */
typedef enum stage {
    STAGE_START,
    STAGE_HEAD,
    STAGE_HEAD_SEAL,
    STAGE_FRONT,
    STAGE_SESSION,
    STAGE_SEAL,
    STAGE_END
} stage;

struct clla_restorer {
    clla_model *model;
    clla_session_options options; /* without the specification, which is `kv` where one was asked for */
    kv_spec kv;
    bool kv_given, handed_over;
    head head;
    clla_session *session; /* made when the head is right; the caller's when all is */
    uint8_t *front;        /* note, sampler */
    stage stage;
    uint32_t stretch;      /* of the session */
    uint8_t *to;           /* where the next bytes go, and how many are wanted */
    size_t left;
    hash64 hash;           /* of what was fed */
    uint64_t seal;         /* what the seal that is being read must be */
    uint8_t buffer[HEAD_BYTES];
    clla_status failure;   /* of an earlier call */
    clla_error reason;
};

static void want(clla_restorer *r, stage what, uint8_t *to, size_t size) {
    r->stage = what, r->to = to, r->left = size;
}

static void want_seal(clla_restorer *r, stage what) {
    r->seal = hash_value(&r->hash);
    want(r, what, r->buffer, SEAL_BYTES);
}

/* The stretch r->stretch of the session, or the seal behind the last one. */
static void want_stretch(clla_restorer *r) {
    uint8_t *to = NULL;
    size_t size = stretch_of(r->session, r->head.length, r->stretch, &to);
    if (size > 0) want(r, STAGE_SESSION, to, size);
    else want_seal(r, STAGE_SEAL);
}

static clla_status check_start(const clla_restorer *r, clla_error *error) {
    const uint8_t *at = r->buffer + MAGIC_BYTES;
    if (memcmp(r->buffer, magic, MAGIC_BYTES) != 0)
        return clla_fail(error, CLLA_BAD_FILE, "this is no saved session: it does not begin with \"CLLAsave\"");
    uint32_t version = (uint32_t)get_number(&at, 4);
    if (version == VERSION) return CLLA_OK;
    return clla_fail(error, CLLA_UNSUPPORTED_VERSION, "the saved session has version %u: this build reads version %d",
                     version, VERSION);
}

static clla_status check_seal(const clla_restorer *r, const char *what, clla_error *error) {
    const uint8_t *at = r->buffer;
    if (get_number(&at, SEAL_BYTES) == r->seal) return CLLA_OK;
    return clla_fail(error, CLLA_BAD_FILE, "the saved session is damaged: %s does not match its seal", what);
}

static clla_status check_model(const clla_restorer *r, clla_error *error) {
    const clla_model *m = r->model;
    if (r->head.model == m->fingerprint) return CLLA_OK;
    return clla_fail(error, CLLA_OTHER_MODEL,
                     "the session was saved with another model, \"%s\" (fingerprint %016llx); this is \"%s\" (%016llx)",
                     r->head.name.text, (unsigned long long)r->head.model, name_of(m).text,
                     (unsigned long long)m->fingerprint);
}

static clla_status check_kv(const clla_restorer *r, clla_error *error) {
    kv_spec saved;
    char asked[KV_SPEC_TEXT];
    const kv_model *m = &r->model->hyper.kv;
    if (kv_spec_parse(r->head.kv, m, &saved, NULL) != CLLA_OK)
        return clla_fail(error, CLLA_BAD_FILE, "the saved session has a cache \"%s\", which its model cannot have",
                         r->head.kv);
    if (!r->kv_given || kv_spec_equal(&saved, &r->kv)) return CLLA_OK;
    kv_spec_print(&r->kv, m, asked);
    return clla_fail(error, CLLA_BAD_KV_SPEC,
                     "the session was saved with a cache \"%s\": it cannot be restored as \"%s\"", r->head.kv, asked);
}

/* Models with two sets of rope factors choose between them by the context (longrope): their keys are of one set. */
static clla_status check_context(const clla_restorer *r, uint32_t context, clla_error *error) {
    const clla_model *m = r->model;
    uint32_t limit = m->hyper.rope_original_context;
    if (r->head.length > r->head.context)
        return clla_fail(error, CLLA_BAD_FILE, "the saved session has %u tokens in a context of %u", r->head.length,
                         r->head.context);
    if (r->head.length > context)
        return clla_fail(error, CLLA_CONTEXT_FULL,
                         "the saved session has %u tokens: a context of %u has no room for them", r->head.length, context);
    if (m->rope_factors_long && (context > limit) != (r->head.context > limit))
        return clla_fail(error, CLLA_BAD_ARGUMENT,
                         "the session was saved with a context of %u: with one of %u this model turns its keys otherwise",
                         r->head.context, context);
    return CLLA_OK;
}

/* The sizes in the head are those of this session. */
static clla_status check_sizes(const clla_restorer *r, clla_error *error) {
    uint64_t bytes = cache_bytes_of(r->session, r->head.length);
    if (r->head.note_size > CLLA_NOTE_MAX || r->head.sampler_size > SAMPLER_MAX)
        return clla_fail(error, CLLA_BAD_FILE, "the saved session has a note of %u bytes and a sampler of %u",
                         r->head.note_size, r->head.sampler_size);
    if (r->head.cache_bytes == bytes) return CLLA_OK;
    return clla_fail(error, CLLA_BAD_FILE, "the saved session has %llu bytes of cache: %u tokens take %llu",
                     (unsigned long long)r->head.cache_bytes, r->head.length, (unsigned long long)bytes);
}

/* The head and its seal are there: make the session and take room for the rest. */
static clla_status begin_session(clla_restorer *r, clla_error *error) {
    clla_status status = check_seal(r, "its head", error);
    if (status == CLLA_OK) status = check_model(r, error);
    if (status == CLLA_OK) status = check_kv(r, error);
    clla_session_options options = r->options;
    options.kv = r->head.kv;
    if (options.context == 0) options.context = r->head.context;
    if (status == CLLA_OK) status = check_context(r, options.context, error);
    if (status == CLLA_OK) status = clla_session_create(r->model, &options, &r->session, error);
    if (status == CLLA_OK) status = check_sizes(r, error);
    if (status != CLLA_OK) return status;
    size_t front = (size_t)r->head.note_size + r->head.sampler_size;
    r->front = memory_resize(NULL, front + 1);
    if (!r->front) return clla_fail(error, CLLA_OUT_OF_MEMORY, "no memory for a saved note (%zu bytes)", front);
    want(r, STAGE_FRONT, r->front, front);
    return CLLA_OK;
}

static clla_status check_saved_tokens(const clla_restorer *r, clla_error *error) {
    const int32_t *ids = r->session->tokens;
    uint32_t vocabulary = r->model->hyper.vocabulary;
    for (uint32_t i = 0; i < r->head.length; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= vocabulary)
            return clla_fail(error, CLLA_BAD_FILE,
                             "the saved session is damaged: its token %u is %d, the vocabulary has 0 to %u", i,
                             (int)ids[i], vocabulary - 1);
    return CLLA_OK;
}

/* All bytes that were wanted are there: look at them, and say what comes next. */
static clla_status end_stage(clla_restorer *r, clla_error *error) {
    clla_status status = CLLA_OK;
    switch (r->stage) {
    case STAGE_START:
        want(r, STAGE_HEAD, r->buffer + START_BYTES, HEAD_BYTES - START_BYTES);
        return check_start(r, error);
    case STAGE_HEAD:
        get_head(r->buffer, &r->head);
        want_seal(r, STAGE_HEAD_SEAL);
        return CLLA_OK;
    case STAGE_HEAD_SEAL: return begin_session(r, error);
    case STAGE_FRONT: want_stretch(r); return CLLA_OK;
    case STAGE_SESSION:
        if (r->stretch == 0) status = check_saved_tokens(r, error);
        r->stretch++;
        want_stretch(r);
        return status;
    case STAGE_SEAL:
        want(r, STAGE_END, NULL, 0);
        return check_seal(r, "what it holds", error);
    default: return CLLA_OK;
    }
}

static clla_status take(clla_restorer *r, const uint8_t *bytes, size_t size, clla_error *error) {
    clla_status status = CLLA_OK;
    while (status == CLLA_OK && size > 0) {
        if (r->stage == STAGE_END)
            return clla_fail(error, CLLA_BAD_FILE, "the file goes on behind the saved session, which ends at byte %llu",
                             (unsigned long long)file_bytes_of(&r->head));
        size_t n = size < r->left ? size : r->left;
        memcpy(r->to, bytes, n);
        hash_feed(&r->hash, bytes, n);
        bytes += n, size -= n, r->to += n, r->left -= n;
        while (status == CLLA_OK && r->left == 0 && r->stage != STAGE_END) status = end_stage(r, error);
    }
    return status;
}

/* Failures are final: remember the first one, whoever asks again gets it again. */
static clla_status settle(clla_restorer *r, clla_status status, const clla_error *reason, clla_error *error) {
    if (status != CLLA_OK && r->failure == CLLA_OK) r->failure = status, r->reason = *reason;
    if (r->failure != CLLA_OK && error) *error = r->reason;
    return r->failure;
}

clla_status clla_restorer_create(clla_model *model, const clla_session_options *options, clla_restorer **restorer,
                                 clla_error *error) {
    if (model->slot_count == 0)
        return clla_fail(error, CLLA_BAD_ARGUMENT, "the model was loaded without its weights: it has no sessions");
    clla_restorer *r = memory_resize(NULL, sizeof *r);
    if (!r) return clla_fail(error, CLLA_OUT_OF_MEMORY, "no memory to restore a session");
    *r = (clla_restorer){.model = model};
    if (options) r->options = *options;
    r->kv_given = r->options.kv && r->options.kv[0];
    clla_status status = r->kv_given ? kv_spec_parse(r->options.kv, &model->hyper.kv, &r->kv, error) : CLLA_OK;
    if (status != CLLA_OK) {
        memory_resize(r, 0);
        return status;
    }
    hash_open(&r->hash);
    want(r, STAGE_START, r->buffer, START_BYTES);
    *restorer = r;
    return CLLA_OK;
}

clla_status clla_restorer_feed(clla_restorer *r, const uint8_t *bytes, size_t size, clla_error *error) {
    clla_error reason;
    return settle(r, r->failure ? r->failure : take(r, bytes, size, &reason), &reason, error);
}

static clla_status finish(const clla_restorer *r, clla_error *error) {
    if (r->stage != STAGE_END && r->session)
        return clla_fail(error, CLLA_TRUNCATED_FILE, "the file ends before the saved session does, which has %llu bytes",
                         (unsigned long long)file_bytes_of(&r->head));
    if (r->stage != STAGE_END)
        return clla_fail(error, CLLA_TRUNCATED_FILE, "the file ends within the head of a saved session");
    if (r->handed_over) return clla_fail(error, CLLA_BAD_ARGUMENT, "the restored session was handed over before");
    return CLLA_OK;
}

clla_status clla_restorer_finish(clla_restorer *r, clla_session **session, clla_error *error) {
    clla_error reason;
    clla_status status = settle(r, r->failure ? r->failure : finish(r, &reason), &reason, error);
    if (status != CLLA_OK) return status;
    r->session->length = r->head.length;
    *session = r->session;
    r->session = NULL;
    r->handed_over = true;
    return CLLA_OK;
}

const uint8_t *clla_restorer_note(const clla_restorer *r, size_t *size) {
    *size = r->handed_over ? r->head.note_size : 0;
    return r->handed_over ? r->front : NULL;
}

clla_status clla_restorer_sampler(const clla_restorer *r, clla_sampler *sampler, clla_error *error) {
    if (!r->handed_over) return clla_fail(error, CLLA_BAD_ARGUMENT, "there is no restored session yet");
    if (r->head.sampler_size == 0)
        return clla_fail(error, CLLA_BAD_ARGUMENT, "the session was saved without a sampler");
    return clla_sampler_state_read(sampler, r->front + r->head.note_size, r->head.sampler_size, error);
}

void clla_restorer_free(clla_restorer *r) {
    if (!r) return;
    clla_session_free(r->session);
    memory_resize(r->front, 0);
    memory_resize(r, 0);
}
