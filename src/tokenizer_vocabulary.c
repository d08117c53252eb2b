/* tokenizer_vocabulary.c: texts and pairs of tokens to numbers, by open addressing with linear probing.
 *
 * A slot holds a number and, in the bits that the number leaves free, the top of its key's hash, so that nearly every
 * comparison of texts is one that succeeds. Keys are not stored: texts stay in the file's header. */
#include <string.h>

#include "tokenizer_parts.h"

size_t hash_slots_count(uint32_t numbers) {
    size_t count = 16;
    while (count < (size_t)numbers + numbers / 3 + 1) count *= 2;
    return count;
}

void hash_slots_init(hash_slots *h, uint32_t *slots, uint32_t numbers) {
    *h = (hash_slots){slots, (uint32_t)hash_slots_count(numbers) - 1, 1};
    while (h->bits < 32 && numbers >> h->bits) h->bits++;
}

/* The high bits, above the number. */
static uint32_t tag_of(const hash_slots *h, uint32_t hash) {
    return h->bits < 32 ? hash & ~((1u << h->bits) - 1u) : 0;
}

static uint32_t number_of(const hash_slots *h, uint32_t slot) { return slot - tag_of(h, slot) - 1; }

/* FNV-1a, then a mixing step so that the low bits depend on all (the finalizer of MurmurHash3). */
static uint32_t hash_bytes(uint32_t hash, const char *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) hash = (hash ^ (uint8_t)bytes[i]) * 16777619u;
    return hash;
}

static uint32_t hash_mix(uint32_t hash) {
    hash = (hash ^ hash >> 16) * 0x85ebca6bu;
    hash = (hash ^ hash >> 13) * 0xc2b2ae35u;
    return hash ^ hash >> 16;
}

static uint32_t text_hash(const char *a, size_t a_size, const char *b, size_t b_size) {
    return hash_mix(hash_bytes(hash_bytes(2166136261u, a, a_size), b, b_size));
}

static bool spells(gguf_string text, const char *a, size_t a_size, const char *b, size_t b_size) {
    return text.size == a_size + b_size && memcmp(text.data, a, a_size) == 0 &&
           memcmp(text.data + a_size, b, b_size) == 0;
}

/* The slot where a text is, or the empty one where it would be. */
static uint32_t text_slot(const tokenizer *t, uint32_t hash, const char *a, size_t a_size, const char *b,
                          size_t b_size) {
    const hash_slots *h = &t->texts;
    uint32_t i = hash & h->mask, slot;
    for (; (slot = h->slots[i]) != 0; i = (i + 1) & h->mask) {
        if (tag_of(h, slot) != tag_of(h, hash)) continue;
        if (spells(token_text(t, number_of(h, slot)), a, a_size, b, b_size)) break;
    }
    return i;
}

int32_t vocabulary_find(const tokenizer *t, const char *a, size_t a_size, const char *b, size_t b_size) {
    if (a_size + b_size > t->longest) return -1;
    uint32_t slot = t->texts.slots[text_slot(t, text_hash(a, a_size, b, b_size), a, a_size, b, b_size)];
    return slot ? (int32_t)number_of(&t->texts, slot) : -1;
}

void vocabulary_add(tokenizer *t, uint32_t id) {
    gguf_string text = token_text(t, id);
    uint32_t hash = text_hash(text.data, text.size, "", 0);
    uint32_t i = text_slot(t, hash, text.data, text.size, "", 0);
    if (!t->texts.slots[i]) t->texts.slots[i] = tag_of(&t->texts, hash) | (id + 1);
}

static uint32_t pair_hash(uint32_t left, uint32_t right) {
    return hash_mix(left * 0x9e3779b1u ^ hash_mix(right));
}

static uint32_t pair_slot(const tokenizer *t, uint32_t hash, uint32_t left, uint32_t right) {
    const hash_slots *h = &t->pairs;
    uint32_t i = hash & h->mask, slot;
    for (; (slot = h->slots[i]) != 0; i = (i + 1) & h->mask) {
        if (tag_of(h, slot) != tag_of(h, hash)) continue;
        const merge *m = &t->merges[number_of(h, slot)];
        if (m->left == left && m->right == right) break;
    }
    return i;
}

uint32_t merge_find(const tokenizer *t, uint32_t left, uint32_t right) {
    uint32_t slot = t->pairs.slots[pair_slot(t, pair_hash(left, right), left, right)];
    return slot ? number_of(&t->pairs, slot) : UINT32_MAX;
}

void merge_add(tokenizer *t, uint32_t rank) {
    const merge *m = &t->merges[rank];
    uint32_t hash = pair_hash(m->left, m->right), i = pair_slot(t, hash, m->left, m->right);
    if (!t->pairs.slots[i]) t->pairs.slots[i] = tag_of(&t->pairs, hash) | (rank + 1);
}
