/* clla_needle.c: a sentence put at ten depths of a book and repeated at the end: does a cache of latents answer as a cache of
 * expanded keys and values does?
 *
 *     scripts/build.sh wasm-relaxed-threads:c_benches
 *     node build/wasm-relaxed-threads/tests/c/bench_clla_needle.cjs MODEL BOOK.txt [TOKENS 8192] [DEPTHS 10] [THREADS 2]
 *                                                                    [KV clla] [KV width=heads,f16]
 *
 * For each depth, at the tokens of the repeated sentence: the mean and the greatest relative difference of the final hidden
 * states, the log-probability of the sentence in both caches, and, so that it is known what there is to lose, how far the
 * second cache's hidden states move when the book has no needle. Deep needles come first: what stands before the next one is
 * in the cache already. (Logits would not do: the last product rounds hidden states to 8 bits, a step of 1 % in itself.) */
#include <math.h>

#include "timeline.h"

static const char NEEDLE[] = " The secret word of the old lighthouse keeper is marmalade, and nobody else knows it.";

enum { TAIL_MAX = 128 };

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

/* A timeline whose hidden states can be looked at. */
typedef struct cache {
    timeline line;
    int32_t *tokens; /* [length] */
    size_t length;
    uint32_t width, vocabulary, tail;
    float *hidden, *logits; /* [tail][width], [tail][vocabulary]: at the last tail tokens */
} cache;

static void *room(size_t count, size_t size) {
    void *p = calloc(count, size);
    if (!p) fail("no memory");
    return p;
}

static void open_cache(cache *c, clla_model *m, const char *text, size_t context, uint32_t tail) {
    char name[KV_SPEC_TEXT];
    *c = (cache){.width = m->hyper.width, .vocabulary = m->hyper.vocabulary, .tail = tail};
    timeline_open(&c->line, m, text, (uint32_t)context, tail);
    c->tokens = room(context, sizeof *c->tokens);
    c->hidden = room((size_t)tail * c->width, sizeof *c->hidden);
    c->logits = room((size_t)tail * c->vocabulary, sizeof *c->logits);
    kv_spec_print(&c->line.cache.spec, &m->hyper.kv, name);
    printf("%-20s %.1f MB of cache\n", name, (double)c->line.cache.bytes / 1e6);
}

static void close_cache(cache *c) {
    arena_close(&c->line.memory);
    free(c->tokens), free(c->hidden), free(c->logits);
}

static size_t at_most(size_t a, size_t b) { return a < b ? a : b; }

/* Go back to what is the same, and on from there in chunks, of which the last holds the tail and nothing else. */
static void evaluate(cache *c, const ids *p) {
    size_t same = 0, body = p->count - c->tail;
    uint32_t at[TAIL_MAX];
    while (same < at_most(c->length, body) && c->tokens[same] == p->data[same]) same++;
    timeline *t = &c->line;
    kv_cache_truncate(&t->cache, (uint32_t)same, (uint32_t)c->length);
    for (size_t n; same < body; same += n) {
        n = at_most(body - same, CHUNK);
        forward_step(&t->forward, &t->cache, p->data + same, (uint32_t)n, (uint32_t)same, NULL, 0);
    }
    for (uint32_t i = 0; i < c->tail; i++) at[i] = i;
    forward_step(&t->forward, &t->cache, p->data + body, c->tail, (uint32_t)body, at, c->tail);
    memcpy(c->tokens, p->data, p->count * sizeof *p->data);
    c->length = p->count;
    memcpy(c->hidden, t->forward.picked.data, (size_t)c->tail * c->width * sizeof *c->hidden);
    memcpy(c->logits, t->forward.logits.data, (size_t)c->tail * c->vocabulary * sizeof *c->logits);
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
        double r = relative(a + (size_t)i * shape->width, b + (size_t)i * shape->width, shape->width);
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

/* The second cache's answer to the book without a needle. */
typedef struct plain {
    float *hidden;
    double logprob;
} plain;

static plain without_needle(cache *c, const ids *book, const ids *needle, size_t total) {
    ids text = prompt_of(book, needle, total, total, false);
    evaluate(c, &text);
    plain p = {room((size_t)c->tail * c->width, sizeof *p.hidden), logprob_of(c, needle)};
    memcpy(p.hidden, c->hidden, (size_t)c->tail * c->width * sizeof *p.hidden);
    free(text.data);
    return p;
}

static distance measure(cache *first, cache *second, const plain *none, const ids *book, const ids *needle, size_t total,
                        size_t depth) {
    ids with = prompt_of(book, needle, total, depth, true);
    evaluate(first, &with), evaluate(second, &with);
    distance d = distance_of(first->hidden, second->hidden, second);
    double a = logprob_of(first, needle), b = logprob_of(second, needle);
    printf("%6zu  %8.4f %8.4f  %10.3f %10.3f %9.4f  %8.4f %12.3f\n", depth, d.mean, d.most, a, b, fabs(a - b) / fabs(b),
           distance_of(none->hidden, second->hidden, second).mean, none->logprob);
    fflush(stdout);
    free(with.data);
    return (distance){fabs(a - b) / fabs(b), d.most};
}

int main(int count, char **arguments) {
    bench_name = "needle";
    if (count < 3) fail("want MODEL BOOK.txt [TOKENS] [DEPTHS] [THREADS] [KV] [KV]");
    size_t total = count > 3 ? (size_t)atoi(arguments[3]) : 8192, depths = count > 4 ? (size_t)atoi(arguments[4]) : 10;
    clla_model *m = open_model(arguments[1], count > 5 ? (uint32_t)atoi(arguments[5]) : 2);
    ids book = read_book(m, arguments[2], total), needle = tokenize(m, NEEDLE, strlen(NEEDLE));
    if (needle.count > TAIL_MAX || total < 4 * needle.count || depths == 0) fail("too few tokens");
    cache first, second;
    open_cache(&first, m, count > 6 ? arguments[6] : "clla", total, (uint32_t)needle.count);
    open_cache(&second, m, count > 7 ? arguments[7] : "width=heads,f16", total, (uint32_t)needle.count);
    distance worst = {0, 0};
    printf("        hidden states off    log-probability of the needle     without it\n");
    printf(" depth      mean     most       first     second       off      mean       second\n");
    plain none = without_needle(&second, &book, &needle, total);
    for (size_t i = depths; i-- > 0;) {
        size_t depth = (total - 2 * needle.count) * (2 * i + 1) / (2 * depths);
        distance d = measure(&first, &second, &none, &book, &needle, total, depth);
        worst.mean = fmax(worst.mean, d.mean), worst.most = fmax(worst.most, d.most);
    }
    printf("worst: log-probability %.2f %% off, hidden states %.2f %% off\n", 100 * worst.mean, 100 * worst.most);
    free(book.data), free(needle.data), free(none.hidden);
    close_cache(&first), close_cache(&second);
    clla_model_free(m);
    return 0;
}
