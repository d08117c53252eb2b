/* hash.h: a 64-bit fingerprint of bytes as they stream by: XXH64 with seed 0 (Yann Collet's specification,
 * https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md), at about the speed of memory.
 *
 * It tells files apart and finds damage; it does not withstand someone who wants two files to look alike. */
#ifndef CLLA_HASH_H
#define CLLA_HASH_H

#include <stddef.h>
#include <stdint.h>

enum { HASH_STRIPE = 32 };

typedef struct hash64 {
    uint64_t lanes[4];
    uint64_t total;             /* bytes so far */
    uint8_t rest[HASH_STRIPE];  /* [total % HASH_STRIPE] what does not fill a stripe yet */
} hash64;

void hash_open(hash64 *h);
void hash_feed(hash64 *h, const uint8_t *bytes, size_t size);
uint64_t hash_value(const hash64 *h); /* of the bytes so far; more may follow */

#endif
