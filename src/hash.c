/* hash.c: XXH64. Stripes of 32 bytes go to four lanes that do not wait for each other; the lanes are merged, the bytes
 * that are left over folded in, and all bits mixed. Numbers are little endian, as on every machine this runs on. */
#include "hash.h"

#include <string.h>

#define PRIME_1 UINT64_C(0x9e3779b185ebca87)
#define PRIME_2 UINT64_C(0xc2b2ae3d27d4eb4f)
#define PRIME_3 UINT64_C(0x165667b19e3779f9)
#define PRIME_4 UINT64_C(0x85ebca77c2b2ae63)
#define PRIME_5 UINT64_C(0x27d4eb2f165667c5)

static inline uint64_t rotate(uint64_t x, int bits) { return x << bits | x >> (64 - bits); }

static inline uint64_t word(const uint8_t *bytes) {
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static inline uint64_t round_of(uint64_t lane, uint64_t input) { return rotate(lane + input * PRIME_2, 31) * PRIME_1; }

static inline uint64_t merge(uint64_t value, uint64_t lane) {
    return (value ^ round_of(0, lane)) * PRIME_1 + PRIME_4;
}

static void take_stripes(uint64_t lanes[4], const uint8_t *bytes, size_t count) {
    uint64_t a = lanes[0], b = lanes[1], c = lanes[2], d = lanes[3];
    for (size_t i = 0; i < count; i++, bytes += HASH_STRIPE) {
        a = round_of(a, word(bytes));
        b = round_of(b, word(bytes + 8));
        c = round_of(c, word(bytes + 16));
        d = round_of(d, word(bytes + 24));
    }
    lanes[0] = a, lanes[1] = b, lanes[2] = c, lanes[3] = d;
}

void hash_open(hash64 *h) {
    *h = (hash64){.lanes = {PRIME_1 + PRIME_2, PRIME_2, 0, 0 - PRIME_1}};
}

void hash_feed(hash64 *h, const uint8_t *bytes, size_t size) {
    size_t held = h->total % HASH_STRIPE;
    h->total += size;
    if (held > 0) {
        size_t missing = HASH_STRIPE - held, n = size < missing ? size : missing;
        if (n > 0) memcpy(h->rest + held, bytes, n);
        if (size < missing) return;
        take_stripes(h->lanes, h->rest, 1);
        bytes += n, size -= n;
    }
    take_stripes(h->lanes, bytes, size / HASH_STRIPE);
    if (size % HASH_STRIPE > 0) memcpy(h->rest, bytes + size / HASH_STRIPE * HASH_STRIPE, size % HASH_STRIPE);
}

/* The bytes that do not fill a stripe: by eight, by four, by one. */
static uint64_t fold_rest(uint64_t value, const uint8_t *bytes, size_t size) {
    uint32_t half;
    for (; size >= 8; bytes += 8, size -= 8) value = rotate(value ^ round_of(0, word(bytes)), 27) * PRIME_1 + PRIME_4;
    if (size >= 4) {
        memcpy(&half, bytes, sizeof half);
        value = rotate(value ^ half * PRIME_1, 23) * PRIME_2 + PRIME_3;
        bytes += 4, size -= 4;
    }
    for (; size > 0; bytes++, size--) value = rotate(value ^ *bytes * PRIME_5, 11) * PRIME_1;
    return value;
}

uint64_t hash_value(const hash64 *h) {
    const uint64_t *lane = h->lanes;
    uint64_t value = PRIME_5;
    if (h->total >= HASH_STRIPE) {
        value = rotate(lane[0], 1) + rotate(lane[1], 7) + rotate(lane[2], 12) + rotate(lane[3], 18);
        for (int i = 0; i < 4; i++) value = merge(value, lane[i]);
    }
    value = fold_rest(value + h->total, h->rest, h->total % HASH_STRIPE);
    value = (value ^ value >> 33) * PRIME_2;
    value = (value ^ value >> 29) * PRIME_3;
    return value ^ value >> 32;
}
