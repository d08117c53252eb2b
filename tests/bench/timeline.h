/* timeline.h: a cache and a forward pass that a bench program can look into, in one arena. */
#ifndef CLLA_BENCH_TIMELINE_H
#define CLLA_BENCH_TIMELINE_H

#include "bench.h"
#include "forward.h"

enum { CHUNK = 128 }; /* tokens of a step at most */

typedef struct timeline {
    arena memory;
    kv_cache cache;
    forward forward;
} timeline;

static void timeline_layout(timeline *t, clla_model *m, const kv_spec *spec, const kv_shape *shape, uint32_t picks, arena *a) {
    kv_cache_layout(&t->cache, spec, shape, a);
    forward_layout(&t->forward, m, shape, CHUNK, picks, a);
}

/* kv NULL: the model's own. picks: logits of a step at most. */
static void timeline_open(timeline *t, clla_model *m, const char *kv, uint32_t context, uint32_t picks) {
    kv_spec spec;
    kv_shape shape;
    clla_error error;
    arena measure = {0};
    *t = (timeline){0};
    check(kv_spec_parse(kv, &m->hyper.kv, &spec, &error), &error);
    kv_shape_make(&shape, &spec, &m->hyper.kv, context);
    timeline_layout(t, m, &spec, &shape, picks, &measure);
    if (!arena_open(&t->memory, measure.used)) fail("no memory");
    timeline_layout(t, m, &spec, &shape, picks, &t->memory);
}

#endif
