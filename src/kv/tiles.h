/* tiles.h: keys and values of heads in f32 or f16, as panels read them.
 *
 * A tile is 16 tokens of one head. Keys are stored channel by channel (16 tokens side by side), because scores want
 * four tokens in four lanes; values token by token, channels padded to whole panels. Read back, both are f32 panels:
 * keys [dim][16], values [16][padded dim]. f16 numbers stand in the order that the panel reads (half_place, vector.h).
 * Rows with scales are kept in another way: bits.h. */
#ifndef CLLA_KV_TILES_H
#define CLLA_KV_TILES_H

#include <stdint.h>

#include "spec.h"

enum { KV_TILE = 16 };

/* Channels rounded up to whole panels. */
static inline uint32_t kv_padded(uint32_t dim) { return (dim + KV_TILE - 1) / KV_TILE * KV_TILE; }

/* Bytes of one tile of keys, of values. */
size_t kv_key_tile_bytes(kv_bits bits, uint32_t dim);
size_t kv_value_tile_bytes(kv_bits bits, uint32_t dim);

/* Store one token's key or value, x[dim], at place `slot` (0..15) of a tile. */
void kv_write_key(kv_bits bits, uint8_t *tile, uint32_t dim, uint32_t slot, const float *x);
void kv_write_value(kv_bits bits, uint8_t *tile, uint32_t dim, uint32_t slot, const float *x);

/* Read a whole tile. Padding channels of values are 0. */
void kv_read_keys(kv_bits bits, const uint8_t *tile, uint32_t dim, float *keys /* [dim][16] */);
void kv_read_values(kv_bits bits, const uint8_t *tile, uint32_t dim, float *values /* [16][kv_padded(dim)] */);

#endif
