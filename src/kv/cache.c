/* cache.c: where each tile lies, and writing tokens into tiles. */
#include "cache.h"

#include <string.h>

static size_t head_bytes(const kv_cache *c) { return (size_t)c->tiles * (c->key_tile + c->value_tile); }

void kv_cache_layout(kv_cache *cache, const kv_spec *spec, const kv_shape *shape, arena *a) {
    uint32_t tiles = shape->context / KV_TILE + (shape->context % KV_TILE != 0);
    *cache = (kv_cache){.spec = *spec,
                        .shape = *shape,
                        .key_tile = kv_key_tile_bytes(spec->bits, shape->key_dim),
                        .value_tile = kv_value_tile_bytes(spec->bits, shape->value_dim),
                        .tiles = tiles};
    uint64_t before = a->used, rows = (uint64_t)shape->layers * shape->heads * tiles;
    cache->data = arena_take(a, rows, cache->key_tile + cache->value_tile);
    cache->bytes = a->used - before;
}

size_t kv_bytes_per_token(const kv_spec *spec, const kv_shape *shape) {
    size_t tile = kv_key_tile_bytes(spec->bits, shape->key_dim) + kv_value_tile_bytes(spec->bits, shape->value_dim);
    return (size_t)shape->layers * shape->heads * tile / KV_TILE;
}

static uint8_t *head_start(const kv_cache *c, uint32_t layer, uint32_t head) {
    return c->data + ((size_t)layer * c->shape.heads + head) * head_bytes(c);
}

static uint8_t *key_tile(const kv_cache *c, uint32_t layer, uint32_t head, uint32_t tile) {
    return head_start(c, layer, head) + tile * c->key_tile;
}

static uint8_t *value_tile(const kv_cache *c, uint32_t layer, uint32_t head, uint32_t tile) {
    return head_start(c, layer, head) + c->tiles * c->key_tile + tile * c->value_tile;
}

const uint8_t *kv_key_tile(const kv_cache *c, uint32_t layer, uint32_t head, uint32_t tile) {
    return key_tile(c, layer, head, tile);
}

const uint8_t *kv_value_tile(const kv_cache *c, uint32_t layer, uint32_t head, uint32_t tile) {
    return value_tile(c, layer, head, tile);
}

void kv_cache_write(kv_cache *c, uint32_t layer, uint32_t position, uint32_t n, const float *keys,
                    const float *values) {
    const kv_shape *s = &c->shape;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t tile = (position + i) / KV_TILE, slot = (position + i) % KV_TILE;
        for (uint32_t h = 0; h < s->heads; h++, keys += s->key_dim, values += s->value_dim) {
            kv_write_key(c->spec.bits, key_tile(c, layer, h, tile), s->key_dim, slot, keys);
            kv_write_value(c->spec.bits, value_tile(c, layer, h, tile), s->value_dim, slot, values);
        }
    }
}

void kv_cache_copy(kv_cache *to, const kv_cache *from, uint32_t length) {
    size_t tiles = length / KV_TILE + (length % KV_TILE != 0);
    for (uint32_t l = 0; l < from->shape.layers; l++)
        for (uint32_t h = 0; h < from->shape.heads; h++) {
            memcpy(key_tile(to, l, h, 0), kv_key_tile(from, l, h, 0), tiles * from->key_tile);
            memcpy(value_tile(to, l, h, 0), kv_value_tile(from, l, h, 0), tiles * from->value_tile);
        }
}
