/* clla_needle.c: a sentence put at ten depths of a book and repeated at the end: does a cache of latents answer as a cache of
 * expanded keys and values does?
 *
 *     scripts/build.sh wasm-relaxed-threads:c_benches
 *     node build/wasm-relaxed-threads/tests/c/bench_clla_needle.cjs MODEL BOOK.txt [TOKENS 8192] [DEPTHS 10] [THREADS 2]
 *                                                                    [KV clla] [KV width=heads,f16]
 *
 * For each depth, at the tokens of the repeated sentence: the greatest and the mean relative difference of the logits
 * (they are the final hidden state times one matrix), the log-probability of the sentence in both caches, and, so that it
 * is known what there is to lose, how far the logits of the second cache move when the book has no needle. Deep needles
 * come first: what stands before the next one is in the cache already. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clla.h"

static const char NEEDLE[] = " The secret word of the old lighthouse keeper is marmalade, and nobody else knows it.";

enum { TAIL_MAX = 128, PIECE = 1 << 20 };

static void fail(const char *what) {
    fprintf(stderr, "needle: %s\n", what);
    exit(1);
}

static void check(clla_status status, const clla_error *error) {
    if (status != CLLA_OK) fail(error->text);
}

static clla_model *open_model(const char *path, uint32_t threads) {
    static uint8_t piece[PIECE];
    clla_loader *loader;
    clla_model *model;
    clla_error error;
    FILE *file = fopen(path, "rb");
    if (!file) fail("the model cannot be read");
    check(clla_loader_create(&(clla_model_options){.threads = threads}, &loader, &error), &error);
    for (size_t n; (n = fread(piece, 1, PIECE, file)) > 0;) check(clla_loader_feed(loader, piece, n, &error), &error);
    fclose(file);
    check(clla_loader_finish(loader, &model, &error), &error);
    return model;
}

typedef struct ids {
    int32_t *data;
    size_t count;
} ids;

static ids tokenize(const clla_model *m, const char *text, size_t size) {
    clla_error error;
    ids t = {NULL, 0};
    check(clla_tokenize(m, text, size, 0, NULL, 0, &t.count, &error), &error);
    t.data = malloc((t.count + 1) * sizeof *t.data);
    if (!t.data) fail("no memory");
    check(clla_tokenize(m, text, size, 0, t.data, t.count, &t.count, &error), &error);
    return t;
}

static ids read_book(const clla_model *m, const char *path, size_t tokens) {
    FILE *file = fopen(path, "rb");
    size_t room = 16 * tokens;
    char *text = malloc(room);
    if (!file || !text) fail("the book cannot be read");
    size_t size = fread(text, 1, room, file);
    fclose(file);
    while (size && ((unsigned char)text[size - 1] & 0xc0) == 0x80) size--; /* whole characters */
    if (size && (unsigned char)text[size - 1] >= 0xc0) size--;
    ids book = tokenize(m, text, size);
    free(text);
    if (book.count < tokens) fail("the book has too few tokens");
    return book;
}

/* The book with the needle at `depth` (or without: none), the needle at the end. */
static ids prompt_of(const ids *book, const ids *needle, size_t total, size_t depth, bool with) {
    size_t at = 0, plain = total - (with ? 2 : 1) * needle->count, from = depth < plain ? depth : plain;
    ids p = {malloc(total * sizeof *p.data), total};
    if (!p.data) fail("no memory");
    memcpy(p.data, book->data, from * sizeof *p.data), at = from;
    if (with) memcpy(p.data + at, needle->data, needle->count * sizeof *p.data), at += needle->count;
    memcpy(p.data + at, book->data + from, (plain - from) * sizeof *p.data);
    memcpy(p.data + total - needle->count, needle->data, needle->count * sizeof *p.data);
    return p;
}

typedef struct cache {
    clla_session *session;
    uint32_t vocabulary, tail;
    float *logits; /* [tail][vocabulary]: at the last tail tokens */
} cache;

static cache open_cache(clla_model *m, const char *kv, size_t context, uint32_t tail) {
    clla_session_options o = {.context = (uint32_t)context, .kv = kv, .logits_max = tail};
    clla_session_size size;
    clla_error error;
    cache c = {.vocabulary = clla_model_vocabulary(m), .tail = tail};
    check(clla_session_bytes(m, &o, &size, &error), &error);
    check(clla_session_create(m, &o, &c.session, &error), &error);
    c.logits = malloc((size_t)tail * c.vocabulary * sizeof *c.logits);
    if (!c.logits) fail("no memory");
    printf("%-20s %10.1f bytes a token, %.1f MB of cache\n", size.kv, size.bytes_per_token, (double)size.cache / 1e6);
    return c;
}

static void evaluate(cache *c, const ids *p) {
    uint32_t same = clla_session_match(c->session, p->data, p->count - c->tail), at[TAIL_MAX];
    const float *logits;
    clla_error error;
    check(clla_session_truncate(c->session, same, &error), &error);
    for (uint32_t i = 0; i < c->tail; i++) at[i] = (uint32_t)p->count - c->tail + i - same;
    check(clla_session_eval_at(c->session, p->data + same, p->count - same, at, c->tail, &logits, &error), &error);
    memcpy(c->logits, logits, (size_t)c->tail * c->vocabulary * sizeof *logits);
}

/* |a - b| / |b| of one row */
static double relative(const float *a, const float *b, uint32_t n) {
    double difference = 0, size = 0;
    for (uint32_t i = 0; i < n; i++) {
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        size += (double)b[i] * (double)b[i];
    }
    return sqrt(difference / size);
}

typedef struct distance {
    double mean, most;
} distance;

static distance distance_of(const float *a, const float *b, const cache *shape) {
    distance d = {0, 0};
    for (uint32_t i = 0; i < shape->tail; i++) {
        double r = relative(a + (size_t)i * shape->vocabulary, b + (size_t)i * shape->vocabulary, shape->vocabulary);
        d.mean += r / shape->tail;
        if (r > d.most) d.most = r;
    }
    return d;
}

/* Of the needle's tokens but the first, given what stands before each. */
static double logprob_of(const cache *c, const ids *needle) {
    double sum = 0;
    for (size_t i = 0; i + 1 < needle->count; i++)
        sum += (double)clla_logprob_of(c->logits + i * c->vocabulary, c->vocabulary, needle->data[i + 1]);
    return sum;
}

static distance measure(cache *first, cache *second, const ids *book, const ids *needle, size_t total, size_t depth) {
    ids with = prompt_of(book, needle, total, depth, true), without = prompt_of(book, needle, total, depth, false);
    size_t values = (size_t)second->tail * second->vocabulary;
    float *kept = malloc(values * sizeof *kept);
    if (!kept) fail("no memory");
    evaluate(first, &with), evaluate(second, &with);
    distance d = distance_of(first->logits, second->logits, second);
    double a = logprob_of(first, needle), b = logprob_of(second, needle);
    memcpy(kept, second->logits, values * sizeof *kept);
    evaluate(second, &without);
    distance none = distance_of(second->logits, kept, second);
    printf("%6zu  %8.4f %8.4f  %10.3f %10.3f %9.4f  %8.4f %12.3f\n", depth, d.mean, d.most, a, b, fabs(a - b) / fabs(b), none.mean,
           logprob_of(second, needle));
    fflush(stdout);
    free(kept), free(with.data), free(without.data);
    return (distance){fabs(a - b) / fabs(b), d.most};
}

int main(int count, char **arguments) {
    if (count < 3) fail("want MODEL BOOK.txt [TOKENS] [DEPTHS] [THREADS] [KV] [KV]");
    size_t total = count > 3 ? (size_t)atoi(arguments[3]) : 8192, depths = count > 4 ? (size_t)atoi(arguments[4]) : 10;
    clla_model *m = open_model(arguments[1], count > 5 ? (uint32_t)atoi(arguments[5]) : 2);
    ids book = read_book(m, arguments[2], total), needle = tokenize(m, NEEDLE, strlen(NEEDLE));
    if (needle.count > TAIL_MAX || total < 4 * needle.count || depths == 0) fail("too few tokens");
    cache first = open_cache(m, count > 6 ? arguments[6] : "clla", total, (uint32_t)needle.count);
    cache second = open_cache(m, count > 7 ? arguments[7] : "width=heads,f16", total, (uint32_t)needle.count);
    distance worst = {0, 0};
    printf("        logits off           log-probability of the needle     without it\n");
    printf(" depth      mean     most       first     second       off      mean       second\n");
    for (size_t i = depths; i-- > 0;) {
        distance d = measure(&first, &second, &book, &needle, total, (total - 2 * needle.count) * (2 * i + 1) / (2 * depths));
        worst.mean = fmax(worst.mean, d.mean), worst.most = fmax(worst.most, d.most);
    }
    printf("worst: log-probability %.2f %% off, logits %.2f %% off\n", 100 * worst.mean, 100 * worst.most);
    free(book.data), free(needle.data), free(first.logits), free(second.logits);
    clla_session_free(first.session), clla_session_free(second.session);
    clla_model_free(m);
    return 0;
}
