/* session.h: what a session is made of, for the files that make, run, save and restore one. */
#ifndef CLLA_SESSION_H
#define CLLA_SESSION_H

#include "arena.h"
#include "clla.h"
#include "forward.h"
#include "kv/cache.h"
#include "model.h"

struct clla_session {
    clla_model *model;
    kv_spec spec;
    uint32_t context, chunk, picks; /* the options, resolved */
    arena memory;
    kv_cache cache;
    forward forward;
    int32_t *tokens; /* [context] */
    uint32_t length;
    uint64_t changes; /* evaluations and truncations so far: a saver notices them */
};

#endif
