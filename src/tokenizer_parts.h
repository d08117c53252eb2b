/* tokenizer_parts.h: what the tokenizer's files share; nobody else includes it.
 *
 *   tokenizer.c            questions, encoding from the outside in, special tokens in text
 *   tokenizer_load.c       metadata to a struct tokenizer, everything checked
 *   tokenizer_vocabulary.c token texts and pairs to ids, by hashing
 *   tokenizer_merge.c      the merging of neighbours that byte-pair and SentencePiece have in common
 *   tokenizer_words.c      one run of plain text to ids: three kinds
 *   tokenizer_decode.c     ids to bytes, bytes to a stream of whole characters */
#ifndef CLLA_TOKENIZER_PARTS_H
#define CLLA_TOKENIZER_PARTS_H

#include "arena.h"
#include "pretokenizer.h"
#include "tokenizer.h"

typedef enum tokenizer_kind { KIND_BYTE_PAIR, KIND_SENTENCEPIECE, KIND_WORDPIECE } tokenizer_kind;

/* The low bits of a token's flags: the format's types. */
enum {
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN,
    TOKEN_CONTROL,
    TOKEN_USER_DEFINED,
    TOKEN_UNUSED,
    TOKEN_BYTE,
    TOKEN_TYPES,
    TOKEN_TYPE_BITS = 7,
    TOKEN_ENDS = 8,       /* generation stops */
    TOKEN_EATS_LEFT = 16, /* white space before it belongs to it */
    TOKEN_EATS_RIGHT = 32
};

enum { TOKEN_BYTES_MAX = 4096 }; /* a token's text; the longest in use are runs of some hundred spaces */

/* Open addressing: a slot is 0 or number + 1 with the high bits of the key's hash above it. */
typedef struct hash_slots {
    uint32_t *slots;
    uint32_t mask;
    unsigned bits; /* for the number */
} hash_slots;

typedef struct merge {
    uint32_t left, right, result; /* tokens; left is UINT32_MAX for a rule that can never apply */
} merge;

struct tokenizer {
    arena memory; /* holds this struct and all of its tables */
    const gguf *g;
    const gguf_entry *tokens, *scores;
    uint32_t count;
    tokenizer_kind kind;
    const pretokenizer *pre;
    int32_t bos, eos, unknown;
    bool wants_bos, wants_eos;
    bool space_prefix;  /* SentencePiece: a space in front of each run of text */
    bool single_spaces; /* SentencePiece: outer spaces go, runs become one */
    bool spaces_lead; /* in no token does a space follow another character: words can be merged one by one */
    bool lower_case, strip_accents; /* WordPiece */
    size_t longest;                 /* bytes of the longest token text */
    uint8_t *flags;                 /* [count] */
    hash_slots texts;               /* text to token */
    int32_t bytes[256];             /* the token of a byte, -1: none */
    merge *merges;                  /* [merge_count], by rank */
    uint32_t merge_count;
    hash_slots pairs;   /* (left, right) to rank */
    uint32_t *specials; /* [special_count] tokens that text may spell, sorted by text */
    uint32_t special_count;
    uint32_t special_first[257]; /* where those that begin with a byte begin */
};

static inline gguf_string token_text(const tokenizer *t, uint32_t id) {
    return gguf_string_at(t->g, t->tokens, id);
}
static inline unsigned token_type(const tokenizer *t, uint32_t id) { return t->flags[id] & TOKEN_TYPE_BITS; }

/* ---- tokenizer_load.c ---- */

/* For "<0x0A>": 10; else -1. */
int token_byte(gguf_string text);

/* ---- tokenizer_vocabulary.c ---- */

size_t hash_slots_count(uint32_t numbers); /* slots for so many numbers: a power of two */
void hash_slots_init(hash_slots *h, uint32_t *slots, uint32_t numbers);

/* The token spelled by two texts one behind the other; -1 where there is none. */
int32_t vocabulary_find(const tokenizer *t, const char *a, size_t a_size, const char *b, size_t b_size);
void vocabulary_add(tokenizer *t, uint32_t id); /* the first of equal texts stays */

/* The rank of a merge, UINT32_MAX where there is none. */
uint32_t merge_find(const tokenizer *t, uint32_t left, uint32_t right);
void merge_add(tokenizer *t, uint32_t rank); /* merges[rank] is filled; the first of equal pairs stays */

/* ---- encoding: what goes through the files ---- */

typedef struct symbol {
    int32_t id;           /* -1: no token */
    uint32_t start, size; /* its bytes in the word */
    uint32_t previous, next;
    uint32_t priority; /* of merging with the next; smaller is sooner, UINT32_MAX is never */
    int32_t result;    /* what that gives */
} symbol;

typedef struct encoder {
    const tokenizer *t;
    int32_t *ids;
    size_t capacity, count; /* ids beyond capacity are counted only */
    int32_t last;           /* the last of them, where count > 0 */
    char *word;             /* bytes of the word being built */
    size_t word_size, word_capacity;
    symbol *symbols;
    size_t symbol_capacity;
    uint64_t *heap;
    size_t heap_size, heap_capacity;
} encoder;

void encoder_emit(encoder *e, int32_t id);
bool encoder_put(encoder *e, const char *bytes, size_t size); /* append to word; false: no memory */

/* Merge the count symbols of e->symbols (ids and bytes are set) and leave them linked from the first, number 0.
 * `weigh` sets priority and result of a symbol for merging it with its next. False: no memory. */
typedef void merge_weigh(const encoder *e, symbol *left, const symbol *right);
bool merge_symbols(encoder *e, uint32_t count, merge_weigh *weigh);
bool merge_room(encoder *e, size_t count); /* symbols for so many */

/* ---- tokenizer_words.c: one run of valid UTF-8 without special tokens; false: no memory ---- */

bool encode_byte_pair(encoder *e, const char *text, size_t size);
bool encode_sentencepiece(encoder *e, const char *text, size_t size);
bool encode_wordpiece(encoder *e, const char *text, size_t size);

/* The character that stands for a byte in byte-level vocabularies, and back (-1: it stands for none). */
uint32_t byte_to_point(unsigned byte);
int point_to_byte(uint32_t point);

#define SPACE_MARK "\xe2\x96\x81" /* U+2581, a space in SentencePiece and WordPiece vocabularies */
enum { SPACE_MARK_SIZE = 3 };

#endif
