/* cache.h: the storage behind a spec: for each layer that stores and each key/value head, the rows of all tokens.
 *
 * Heads in f32 and f16 are tiles (tiles.h). All else are matrices whose rows are tokens, one for each run of channels
 * (bits.h): of a latent, whose first channels are the value too, or of a head's key and its value. The first `sinks`
 * tokens have halves besides, which are read instead of their codes. */
#ifndef CLLA_KV_CACHE_H
#define CLLA_KV_CACHE_H

#include <stdint.h>

#include "../arena.h"
#include "bits.h"
#include "spec.h"
#include "tiles.h"

/* What a spec makes of a model: depth and width. */
typedef struct kv_shape {
    uint32_t rows;                        /* layers that store */
    uint32_t heads, key_dim, value_dim;   /* a latent is one head: key_dim = rank + rope_dim, value_dim = rank */
    uint32_t context;
    bool latent, tiled;
    uint16_t row_of[KV_LAYERS_MAX];       /* which of the rows a layer reads */
    kv_format key, value;                 /* how a row is kept. A latent has no value: it is the key's first channels */
} kv_shape;

void kv_shape_make(kv_shape *shape, const kv_spec *spec, const kv_model *model, uint32_t context);

/* Channels of a value as attention works on them: whole panels, or whole blocks. */
uint32_t kv_value_stride(const kv_shape *shape);

/* Bytes of one token over all layers, by what they hold; and what the sinks take once. A token's share of a tile or a
 * group of rows: what is lost to their last, partial one is in kv_cache.bytes. */
typedef struct kv_parts {
    double codes, scales, rope_keys; /* numbers of heads and latents; scales and minima of all; numbers of rope keys */
    uint64_t sinks;                  /* bytes in all, whatever the length */
} kv_parts;
kv_parts kv_parts_of(const kv_spec *spec, const kv_shape *shape);

typedef struct kv_cache {
    kv_spec spec;
    kv_shape shape;
    uint32_t tokens;     /* context rounded up to whole tiles */
    size_t head_bytes;   /* of one row and head: keys, then values */
    uint8_t *data;       /* [rows][heads] */
    uint16_t *sinks;     /* [rows][heads][spec.sinks][key channels, and value channels of heads] */
    uint64_t bytes;      /* all of it */
} kv_cache;

/* Take the storage from an arena (a measure too: then data is NULL and bytes is what it would be). */
void kv_cache_layout(kv_cache *cache, const kv_spec *spec, const kv_shape *shape, arena *a);

/* Store n tokens from `position` on in the row of `layer`: keys [n, heads * key_dim], values [n, heads * value_dim]
 * (latents: NULL). */
void kv_cache_write(kv_cache *cache, uint32_t layer, uint32_t position, uint32_t n, const float *keys,
                    const float *values);

/* Tiled caches. */
const uint8_t *kv_key_tile(const kv_cache *cache, uint32_t layer, uint32_t head, uint32_t tile);
const uint8_t *kv_value_tile(const kv_cache *cache, uint32_t layer, uint32_t head, uint32_t tile);

/* Others: run number i of the keys, or of the values, as a matrix of cache->tokens rows. */
matrix kv_key_matrix(const kv_cache *cache, uint32_t layer, uint32_t head, uint32_t i);
matrix kv_value_matrix(const kv_cache *cache, uint32_t layer, uint32_t head, uint32_t i);

/* Halves of a sink token's key, and of its value (of a latent: the key's). */
const uint16_t *kv_sink_key(const kv_cache *cache, uint32_t layer, uint32_t head, uint32_t token);
const uint16_t *kv_sink_value(const kv_cache *cache, uint32_t layer, uint32_t head, uint32_t token);

/* What the first `length` tokens take, piece by piece: piece number i (from 0) lies at *piece; returns its bytes, 0 when
 * there are no more. The same pieces on every build, so that a cache can be saved and read back. */
size_t kv_cache_piece(const kv_cache *cache, uint32_t length, uint32_t i, uint8_t **piece);

/* Forget the tokens from `length` on, of `was`: what was kept of them becomes zeros. */
void kv_cache_truncate(kv_cache *cache, uint32_t length, uint32_t was);

/* Copy what the first `length` tokens take. Both have the same spec and shape. */
void kv_cache_copy(kv_cache *to, const kv_cache *from, uint32_t length);

#endif
