/* test_clla.c: models with latents against the reference of tests/vectors/clla, and against themselves: with a cache of
 * expanded keys and values, in chunks of other sizes, on more threads, after truncate and fork.
 *
 * The reference's models keep clear of ties, so that where sums are floats the codes must be the reference's, every one.
 * Attention over codes rounds its queries to 8 bits, which the reference does not, and what it changes in the next latent
 * moves some codes by one: there the bounds are wide (a random model has no mercy with a changed code), and the same
 * models with a cache of halves have the tight ones. Attention over codes by itself: test_attention.c. */
#include "test.h"

#include "clla_case.h"
#include "forward.h"
#include "model.h"

enum { VOCABULARY = 259, LONG = 530, PICKS = 5 }; /* LONG: tokens, more than one span of decoding */

static bool has_codes(const clla_model *m, const char *kv) {
    kv_spec spec;
    if (kv_spec_parse(kv, &m->hyper.kv, &spec, NULL) != CLLA_OK) return false;
    return spec.bits < KV_F16 || (spec.width == KV_LATENT && spec.rope_bits < KV_F16);
}

static bool has_codes_as_weights(const char *name) { return strcmp(name, "weights-q8_0") == 0; }

static void each_case(void (*check)(const clla_case *, clla_model *), uint32_t workers) {
    static clla_case c;
    for (uint32_t i = 0; i < CASES_COUNT; i++) {
        if (!case_open(&c, case_names[i])) continue;
        clla_model *m = case_model(c.name, workers);
        if (m) check(&c, m);
        clla_model_free(m);
        case_close(&c);
    }
}

/* ---- against the reference: logits --------------------------------------------------------------------------- */

static clla_session *session_of(clla_model *m, const char *kv, uint32_t chunk, uint32_t context) {
    clla_session *s = NULL;
    clla_error error = {{0}};
    clla_session_options options = {.context = context, .kv = kv, .chunk = chunk, .logits_max = CASE_TOKENS};
    CHECK(clla_session_create(m, &options, &s, &error) == CLLA_OK, "%s: %s", kv ? kv : "the default", error.text);
    return s;
}

/* Tokens `begin` on, so many in each call; logits at the ascending positions at[count] come to `logits`. */
static void evaluate(clla_session *s, const int32_t *ids, uint32_t begin, uint32_t end, uint32_t step, const uint32_t *at,
                     uint32_t count, float *logits) {
    uint32_t done = 0;
    while (done < count && at[done] < begin) done++;
    for (uint32_t start = begin; s && start < end; start += step) {
        uint32_t n = end - start < step ? end - start : step, here = 0, local[CASE_TOKENS];
        const float *got = NULL;
        clla_error error = {{0}};
        for (; done + here < count && at[done + here] < start + n; here++) local[here] = at[done + here] - start;
        CHECK(clla_session_eval_at(s, ids + start, n, local, here, &got, &error) == CLLA_OK, "%s", error.text);
        if (got) memcpy(logits + (size_t)done * VOCABULARY, got, (size_t)here * VOCABULARY * sizeof *got);
        done += here;
    }
}

static double case_error(const clla_case *c, clla_model *m, const char *kv, const float *expected) {
    size_t n = (size_t)c->positions * c->vocabulary;
    float *logits = calloc(n, sizeof *logits);
    clla_session *s = session_of(m, kv, 0, CASE_TOKENS);
    evaluate(s, c->ids, 0, c->tokens, c->tokens, c->at, c->positions, logits);
    double error = relative(logits, expected, n);
    clla_session_free(s);
    free(logits);
    return error;
}

static void check_expanded(const clla_case *c, clla_model *m) {
    double error = case_error(c, m, "width=heads,f32", c->logits), bound = has_codes_as_weights(c->name) ? 0.15 : has_codes(m, NULL) ? 1e-5 : 1e-4;
    CHECK(error < bound, "%s: off by %g", c->name, error);
}

static void check_absorbed(const clla_case *c, clla_model *m) {
    double error = case_error(c, m, "f16", c->halves), bound = has_codes_as_weights(c->name) ? 0.03 : 1e-4;
    CHECK(error < bound, "%s: off by %g", c->name, error);
}

static void check_codes(const clla_case *c, clla_model *m) {
    double error = case_error(c, m, NULL, c->logits), bound = has_codes(m, NULL) ? 0.12 : 1e-4;
    CHECK(error < bound, "%s: off by %g", c->name, error);
}

static void expanded_is_reference(void) { each_case(check_expanded, 1); }
static void absorbed_is_reference(void) { each_case(check_absorbed, 1); }
static void codes_are_near_reference(void) { each_case(check_codes, 1); }

/* ---- against the reference: what is stored ------------------------------------------------------------------- */

/* A forward pass whose cache and latents can be looked at. */
typedef struct timeline {
    arena memory;
    kv_cache cache;
    forward forward;
    kv_format row; /* how the header wants a latent kept */
} timeline;

static void timeline_layout(timeline *t, clla_model *m, const kv_spec *spec, const kv_shape *shape, arena *a) {
    kv_cache_layout(&t->cache, spec, shape, a);
    forward_layout(&t->forward, m, shape, CASE_TOKENS, 1, a);
}

static bool timeline_open(timeline *t, clla_model *m, const char *kv) {
    kv_spec spec;
    kv_shape shape;
    arena measure = {0};
    *t = (timeline){0};
    if (kv_spec_parse(NULL, &m->hyper.kv, &spec, NULL) != CLLA_OK) return false;
    kv_shape_make(&shape, &spec, &m->hyper.kv, CASE_TOKENS);
    t->row = shape.key;
    if (kv_spec_parse(kv, &m->hyper.kv, &spec, NULL) != CLLA_OK) return false;
    kv_shape_make(&shape, &spec, &m->hyper.kv, CASE_TOKENS);
    timeline_layout(t, m, &spec, &shape, &measure);
    if (!arena_open(&t->memory, measure.used)) return false;
    timeline_layout(t, m, &spec, &shape, &t->memory);
    return true;
}

/* Row bytes as the values they stand for. */
static void row_values(const kv_format *f, const uint8_t *bytes, float *values) {
    float block[COLUMN_BLOCK];
    for (uint32_t i = 0; i < f->count; i++) {
        const kv_run *run = &f->runs[i];
        tensor_type type = kv_run_type(run);
        for (uint32_t c = 0; c < run->channels; c += COLUMN_BLOCK) {
            uint32_t left = run->channels - c, n = left < COLUMN_BLOCK ? left : COLUMN_BLOCK;
            uint32_t whole = run->bits < KV_F16 ? COLUMN_BLOCK : n;
            tensor_unpack(type, bytes, whole, block);
            bytes += tensor_row_bytes(type, whole);
            memcpy(values + run->first + c, block, n * sizeof *values);
        }
    }
}

static void expected_row(const clla_case *c, const timeline *t, const kv_model *kv, uint32_t owner, uint32_t token, float *row) {
    kv_format halves = {0};
    kv_format_add(&halves, t->row.channels, KV_F16, KV_GROUP, false);
    row_values(token < kv->sinks ? &halves : &t->row, c->rows[owner][token], row);
}

/* What attention reads of a token: its row of the cache, or its halves. */
static void stored_row(const timeline *t, uint32_t owner, uint32_t token, float *row) {
    const kv_format *f = &t->cache.shape.key;
    float values[KV_CHANNELS_MAX];
    for (uint32_t i = 0; i < f->count; i++) {
        matrix m = kv_key_matrix(&t->cache, owner, 0, i);
        matrix_row(&m, token, values);
        memcpy(row + f->runs[i].first, values, f->runs[i].channels * sizeof *row);
    }
    if (token < t->cache.spec.sinks)
        tensor_unpack(TENSOR_F16, (const uint8_t *)kv_sink_key(&t->cache, owner, 0, token), f->channels, row);
}

/* The rows of one owner: [tokens][channels] expected, and as the engine has them. */
typedef struct row_pair {
    float *expected, *got;
    size_t n;
} row_pair;

static row_pair rows_of_owner(const clla_case *c, const timeline *t, const clla_model *m, uint32_t i) {
    uint32_t channels = t->row.channels, owner = c->owner[i];
    size_t n = (size_t)c->tokens * channels;
    row_pair p = {calloc(n, sizeof(float)), calloc(n, sizeof(float)), n};
    for (uint32_t token = 0; token < c->tokens; token++) {
        float *got = p.got + (size_t)token * channels;
        expected_row(c, t, &m->hyper.kv, i, token, p.expected + (size_t)token * channels);
        if (t->cache.shape.latent) stored_row(t, owner, token, got);
        else memcpy(got, t->forward.latent.data + ((size_t)owner * CASE_TOKENS + token) * channels, channels * sizeof *got);
    }
    return p;
}

static uint32_t count_different(const row_pair *p) {
    uint32_t different = 0;
    for (size_t i = 0; i < p->n; i++) different += p->got[i] != p->expected[i];
    return different;
}

static void check_rows(const clla_case *c, clla_model *m, const char *kv, void (*check)(const clla_case *, const row_pair *, uint32_t, bool)) {
    timeline t;
    bool open = timeline_open(&t, m, kv);
    CHECK(open, "%s: no timeline", c->name);
    if (!open || has_codes_as_weights(c->name)) return arena_close(&t.memory);
    forward_step(&t.forward, &t.cache, c->ids, c->tokens, 0, NULL, 0);
    for (uint32_t i = 0; i < c->owners; i++) {
        row_pair p = rows_of_owner(c, &t, m, i);
        check(c, &p, c->owner[i], has_codes(m, NULL));
        free(p.expected), free(p.got);
    }
    arena_close(&t.memory);
}

/* Floats all the way: no number of any owner may differ. Halves that are ties but for rounding are the next half. */
static void check_equal(const clla_case *c, const row_pair *p, uint32_t owner, bool codes) {
    uint32_t different = count_different(p);
    double error = relative(p->got, p->expected, p->n);
    CHECK(codes ? different == 0 : different < p->n / 10 && error < 3e-4, "%s, layer %u: %u of %zu numbers differ, off by %g",
          c->name, owner, different, p->n, error);
}

/* The first owner has not seen attention yet; the others have, with queries of 8 bits, and differ by a code here and there. */
static void check_near(const clla_case *c, const row_pair *p, uint32_t owner, bool codes) {
    double error = relative(p->got, p->expected, p->n);
    if (owner == 0) check_equal(c, p, owner, codes);
    else CHECK(error < (codes ? 0.15 : 3e-4), "%s, layer %u: off by %g", c->name, owner, error);
}

static void check_latents(const clla_case *c, clla_model *m) { check_rows(c, m, "width=heads,f32", check_equal); }
static void check_stored(const clla_case *c, clla_model *m) { check_rows(c, m, NULL, check_near); }

static void latents_are_reference(void) { each_case(check_latents, 1); }
static void stored_is_reference(void) { each_case(check_stored, 1); }

/* ---- the quantizer ------------------------------------------------------------------------------------------- */

static bool read_run(FILE *file, kv_run *run, float *x) {
    unsigned bits, group, minimum, channels;
    if (fscanf(file, "%u %u %u %u", &bits, &group, &minimum, &channels) != 4 || channels > KV_CHANNELS_MAX) return false;
    *run = (kv_run){.channels = channels, .bits = (kv_bits)bits, .group = group, .minimum = minimum != 0};
    for (unsigned i = 0; i < channels; i++) {
        uint32_t word;
        if (fscanf(file, "%x", &word) != 1) return false;
        memcpy(&x[i], &word, sizeof word);
    }
    return true;
}

static void quantizer_is_reference(void) {
    static float x[KV_CHANNELS_MAX], read_back[KV_CHANNELS_MAX];
    uint8_t expected[KV_ROW_BYTES], row[KV_ROW_BYTES];
    kv_run run;
    int lines = 0;
    FILE *file = fopen(CASES "quantizer.txt", "r");
    CHECK(file, "%squantizer.txt cannot be read: run from the repository root", CASES);
    for (; file && read_run(file, &run, x); lines++) {
        size_t size = case_bytes(file, expected, sizeof expected);
        CHECK(size == tensor_row_bytes(kv_run_type(&run), kv_run_columns(&run)), "line %d: %zu bytes", lines, size);
        kv_run_write(&run, x, row);
        CHECK(memcmp(row, expected, size) == 0, "line %d: %d bits, group %u, %u channels", lines, (int)run.bits, run.group, run.channels);
        kv_format f = {.runs = {run}, .count = 1, .channels = run.channels};
        row_values(&f, expected, read_back);
        kv_format_round(&f, x);
        CHECK(memcmp(x, read_back, run.channels * sizeof *x) == 0, "line %d: rounding without storing", lines);
    }
    if (file) fclose(file);
    CHECK(lines == 42, "%d lines", lines);
}

/* ---- against itself ------------------------------------------------------------------------------------------ */

static int32_t long_ids[LONG];
static const uint32_t long_at[PICKS] = {0, 66, 332, 511, LONG - 1};

static void choose_ids(void) {
    for (uint32_t i = 0; i < LONG; i++) long_ids[i] = (int32_t)(3 + (i * i * 31 + i * 7 + 11) % 256);
}

/* Logits after the same tokens in calls of `step` and chunks of `chunk`: [PICKS][VOCABULARY], the caller frees. */
static float *logits_by(clla_model *m, const char *kv, uint32_t tokens, uint32_t chunk, uint32_t step) {
    float *logits = calloc(PICKS * VOCABULARY, sizeof *logits);
    clla_session *s = session_of(m, kv, chunk, LONG);
    evaluate(s, long_ids, 0, tokens, step, long_at, PICKS, logits);
    clla_session_free(s);
    return logits;
}

/* Sums are parted in other ways, and now and then that decides a tie. */
static void agree_by_chunks(clla_model *m, const char *name, const char *kv, uint32_t tokens) {
    static const struct {
        uint32_t chunk, step;
    } ways[] = {{1, LONG}, {3, LONG}, {7, 100}, {LONG, LONG}, {0, 1}};
    float *all = logits_by(m, kv, tokens, 0, LONG);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        float *logits = logits_by(m, kv, tokens, ways[i].chunk, ways[i].step);
        double error = relative(logits, all, PICKS * VOCABULARY);
        CHECK(error < (has_codes(m, NULL) ? 1e-2 : 1e-4), "%s, %s, %u tokens, chunks of %u in calls of %u: off by %g", name, kv ? kv : "clla",
              tokens, ways[i].chunk, ways[i].step, error);
        free(logits);
    }
    free(all);
}

static bool is_long(const char *name) { return strcmp(name, "pairs") == 0 || strcmp(name, "sinks") == 0; }

static void check_chunks(const clla_case *c, clla_model *m) {
    agree_by_chunks(m, c->name, NULL, is_long(c->name) ? LONG : 67);
    agree_by_chunks(m, c->name, "width=heads,f32", 67);
}

/* Logits of all tokens of a case: [tokens][VOCABULARY], the caller frees. */
static float *all_logits(const clla_case *c, clla_model *m, const char *kv) {
    uint32_t at[CASE_TOKENS];
    float *logits = calloc((size_t)c->tokens * VOCABULARY, sizeof *logits);
    clla_session *s = session_of(m, kv, 0, CASE_TOKENS);
    for (uint32_t i = 0; i < c->tokens; i++) at[i] = i;
    evaluate(s, c->ids, 0, c->tokens, c->tokens, at, c->tokens, logits);
    clla_session_free(s);
    return logits;
}

/* The mean over tokens: a code that moves in one layer moves others in the next, and some tokens far. One owner moves none. */
static void check_widths(const clla_case *c, clla_model *m) {
    float *latents = all_logits(c, m, NULL), *heads = all_logits(c, m, "width=heads,f32");
    double error = 0, bound = !has_codes(m, NULL) ? 1e-4 : c->owners == 1 && !has_codes_as_weights(c->name) ? 0.02 : 0.15;
    for (size_t i = 0; i < c->tokens; i++) error += relative(latents + i * VOCABULARY, heads + i * VOCABULARY, VOCABULARY) / c->tokens;
    CHECK(error < bound, "%s: off by %g", c->name, error);
    free(latents), free(heads);
}

/* The same over several spans of decoding. */
static void widths_agree_in_spans(void) {
    clla_model *m = case_model("bits-by-group", 1);
    if (!m) return;
    float *latents = logits_by(m, NULL, LONG, 0, 1), *heads = logits_by(m, "width=heads,f32", LONG, 0, LONG);
    double error = relative(latents, heads, PICKS * VOCABULARY);
    CHECK(error < 0.03, "off by %g", error);
    free(latents), free(heads);
    clla_model_free(m);
}

/* Three threads' logits are those of one, bit for bit: in prefill and in decoding over several spans. */
static void same_on_threads(const char *name, uint32_t step) {
    clla_model *one = case_model(name, 1), *three = case_model(name, 3);
    if (one && three) {
        float *a = logits_by(one, NULL, LONG, 0, step), *b = logits_by(three, NULL, LONG, 0, step);
        CHECK(memcmp(a, b, PICKS * VOCABULARY * sizeof *a) == 0, "%s, calls of %u: off by %g", name, step, relative(b, a, PICKS * VOCABULARY));
        free(a), free(b);
    }
    clla_model_free(one), clla_model_free(three);
}

static void threads_do_not_matter(void) {
    threads *pool;
    clla_error error = {{0}};
    if (threads_open(3, &pool, &error) != CLLA_OK) {
        SKIP("clla: three threads compute the bits of one", error.text);
        return;
    }
    threads_close(pool);
    same_on_threads("thirds-min", LONG), same_on_threads("bits-by-group", LONG);
    same_on_threads("sinks", 1);
}

static void logits_after(clla_session *s, uint32_t begin, uint32_t end, float *logits) {
    evaluate(s, long_ids, begin, end, LONG, &(uint32_t){end - 1}, 1, logits);
}

/* What was cut off leaves no trace, and a fork goes its own way: bit for bit. */
static void check_timeline(const clla_case *c, clla_model *m) {
    static float straight[VOCABULARY], cut[VOCABULARY], forked[VOCABULARY], after[VOCABULARY];
    clla_session *s = session_of(m, NULL, 16, 128), *fork = NULL;
    logits_after(s, 0, 50, straight), logits_after(s, 50, 61, straight);
    CHECK(clla_session_truncate(s, 0, NULL) == CLLA_OK, "%s", c->name);
    logits_after(s, 0, 50, cut), logits_after(s, 70, 120, cut);
    CHECK(clla_session_truncate(s, 50, NULL) == CLLA_OK, "%s", c->name);
    CHECK(clla_session_fork(s, &fork, NULL) == CLLA_OK, "%s", c->name);
    logits_after(s, 20, 45, after);
    logits_after(fork, 50, 61, forked);
    CHECK(clla_session_truncate(s, 50, NULL) == CLLA_OK, "%s", c->name);
    logits_after(s, 50, 61, cut);
    CHECK(memcmp(straight, cut, sizeof cut) == 0, "%s: after truncate off by %g", c->name, relative(cut, straight, VOCABULARY));
    CHECK(memcmp(straight, forked, sizeof cut) == 0, "%s: the fork is off by %g", c->name, relative(forked, straight, VOCABULARY));
    clla_session_free(s), clla_session_free(fork);
}

static void chunks_agree(void) { each_case(check_chunks, 1); }
static void widths_agree(void) { each_case(check_widths, 1); }
static void timelines_are_equal(void) { each_case(check_timeline, 1); }

int main(void) {
    choose_ids();
    RUN("clla: quantized runs of channels are the reference's, byte for byte", quantizer_is_reference);
    RUN("clla: keys and values of all heads, expanded from the latents, give the reference's logits", expanded_is_reference);
    RUN("clla: the absorbed form over halves gives the reference's logits", absorbed_is_reference);
    RUN("clla: the absorbed form over codes is near them", codes_are_near_reference);
    RUN("clla: latents are rounded to the reference's codes in every layer", latents_are_reference);
    RUN("clla: the cache keeps the reference's codes", stored_is_reference);
    RUN("clla: prefill in chunks of any size and decode agree", chunks_agree);
    RUN("clla: a cache of latents and one of heads agree", widths_agree);
    RUN("clla: and so they do when decoding goes over several spans", widths_agree_in_spans);
    RUN("clla: three threads compute the bits of one", threads_do_not_matter);
    RUN("clla: truncate and fork leave latents as if nothing else had been", timelines_are_equal);
    return test_report();
}
