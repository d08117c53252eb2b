/* cache.h: the storage behind a spec: for each layer and key/value head, tiles of keys and tiles of values. */
#ifndef CLLA_KV_CACHE_H
#define CLLA_KV_CACHE_H

#include <stdint.h>

#include "../arena.h"
#include "bits.h"
#include "spec.h"

typedef struct kv_shape {
    uint32_t layers, heads, key_dim, value_dim, context;
} kv_shape;

typedef struct kv_cache {
    kv_spec spec;
    kv_shape shape;
    size_t key_tile, value_tile; /* bytes */
    uint32_t tiles;              /* of one head: context rounded up to tiles */
    uint8_t *data;               /* [layers][heads]{[tiles] keys, [tiles] values} */
    uint64_t bytes;
} kv_cache;

/* Take the storage from an arena (a measure too: then data is NULL and bytes is what it would be). */
void kv_cache_layout(kv_cache *cache, const kv_spec *spec, const kv_shape *shape, arena *a);

/* Bytes that one token takes, over all layers: what grows with the context. */
size_t kv_bytes_per_token(const kv_spec *spec, const kv_shape *shape);

/* Store the keys and values of n tokens from `position` on: keys [n, heads * key_dim], values [n, heads * value_dim]. */
void kv_cache_write(kv_cache *cache, uint32_t layer, uint32_t position, uint32_t n, const float *keys,
                    const float *values);

const uint8_t *kv_key_tile(const kv_cache *cache, uint32_t layer, uint32_t head, uint32_t tile);
const uint8_t *kv_value_tile(const kv_cache *cache, uint32_t layer, uint32_t head, uint32_t tile);

/* Copy what the first `length` tokens take. Both have the same spec and shape. */
void kv_cache_copy(kv_cache *to, const kv_cache *from, uint32_t length);

#endif
