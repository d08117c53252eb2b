/* tokenizer_words.c: a run of plain text to ids, in the three kinds.
 *
 * Byte-pair: the pre-tokenizer cuts words; a word's bytes are tokens, and pairs of tokens merge by rank (Sennrich et al.,
 * arXiv 1508.07909, on bytes as in GPT-2). SentencePiece: spaces become U+2581, characters merge while what they spell
 * is a token, the best score first (Kudo and Richardson, arXiv 1808.06226); what is no token falls back to bytes.
 * WordPiece: words are normalised, then the longest token that fits is taken from the left (BERT). */
#include <string.h>

#include "f16.h"
#include "tokenizer_parts.h"
#include "unicode.h"

void encoder_emit(encoder *e, int32_t id) {
    if (id < 0) return;
    if (e->count < e->capacity) e->ids[e->count] = id;
    e->last = id;
    e->count++;
}

bool encoder_put(encoder *e, const char *bytes, size_t size) {
    if (size > e->word_capacity - e->word_size) {
        if (size > SIZE_MAX / 2 - e->word_size) return false;
        size_t capacity = (e->word_size + size) + (e->word_size + size) / 2 + 64;
        char *word = memory_resize(e->word, capacity);
        if (!word) return false;
        e->word = word;
        e->word_capacity = capacity;
    }
    memcpy(e->word + e->word_size, bytes, size);
    e->word_size += size;
    return true;
}

/* ---- byte-pair ----------------------------------------------------------------------------------------- */

/* GPT-2 writes bytes as characters that can be seen: printable ones of Latin-1 as themselves, the other 68, in order,
 * from U+0100 on. */
static bool is_printable(unsigned byte) {
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
}

/* Bytes below `byte` that are not printable: 0 to 20, 7f to a0, ad. */
static unsigned hidden_below(unsigned byte) {
    if (byte <= 0x7f) return byte <= 0x21 ? byte : 0x21;
    return byte <= 0xa1 ? 0x21 + byte - 0x7f : 0x43 + (byte > 0xad);
}

uint32_t byte_to_point(unsigned byte) { return is_printable(byte) ? byte : 0x100 + hidden_below(byte); }

int point_to_byte(uint32_t point) {
    if (point < 0x100) return is_printable(point) ? (int)point : -1;
    if (point <= 0x120) return (int)(point - 0x100);
    if (point <= 0x142) return (int)(point - 0x121 + 0x7f);
    return point == 0x143 ? 0xad : -1;
}

static void weigh_merge(const encoder *e, symbol *left, const symbol *right) {
    uint32_t rank = merge_find(e->t, (uint32_t)left->id, (uint32_t)right->id);
    left->priority = rank;
    if (rank != UINT32_MAX) left->result = (int32_t)e->t->merges[rank].result;
}

/* The word as one token, where the vocabulary has it; -1 else. False: no memory. */
static bool find_whole(encoder *e, const char *word, size_t size, int32_t *id) {
    *id = -1;
    if (size > e->t->longest) return true;
    e->word_size = 0;
    for (size_t i = 0; i < size; i++) {
        char bytes[4];
        if (!encoder_put(e, bytes, utf8_put(byte_to_point((uint8_t)word[i]), bytes))) return false;
    }
    int32_t found = vocabulary_find(e->t, e->word, e->word_size, "", 0);
    if (found >= 0 && token_type(e->t, (uint32_t)found) == TOKEN_NORMAL) *id = found;
    return true;
}

static bool merge_word(void *context, const char *word, size_t size) {
    encoder *e = context;
    const tokenizer *t = e->t;
    if (pretokenizer_ignores_merges(t->pre)) {
        int32_t whole;
        if (!find_whole(e, word, size, &whole)) return false;
        if (whole >= 0) return encoder_emit(e, whole), true;
    }
    if (!merge_room(e, size)) return false;
    uint32_t count = 0;
    for (size_t i = 0; i < size; i++) {
        int32_t id = t->bytes[(uint8_t)word[i]];
        if (id < 0) id = t->unknown;
        if (id >= 0) e->symbols[count++] = (symbol){.id = id, .size = 1};
    }
    if (count == 0) return true;
    if (!merge_symbols(e, count, weigh_merge)) return false;
    for (uint32_t i = 0; i != UINT32_MAX; i = e->symbols[i].next) encoder_emit(e, e->symbols[i].id);
    return true;
}

bool encode_byte_pair(encoder *e, const char *text, size_t size) {
    return pretokenizer_split(e->t->pre, text, size, merge_word, e);
}

/* ---- SentencePiece ------------------------------------------------------------------------------------- */

/* Tokens that plain text may become; control tokens are not among them. */
static bool is_plain(const tokenizer *t, int32_t id) {
    unsigned type = id < 0 ? 0 : token_type(t, (uint32_t)id);
    return type == TOKEN_NORMAL || type == TOKEN_USER_DEFINED || type == TOKEN_UNUSED;
}

static int32_t find_plain(const encoder *e, const symbol *s, uint32_t size) {
    int32_t id = vocabulary_find(e->t, e->word + s->start, size, "", 0);
    return is_plain(e->t, id) ? id : -1;
}

/* The higher the score, the smaller the number; NaN comes last. */
static uint32_t score_priority(const tokenizer *t, int32_t id) {
    double score = 0;
    if (!gguf_number_at(t->g, t->scores, (uint32_t)id, &score) || score != score) return UINT32_MAX - 1;
    uint32_t bits = bits_of_f32((float)score + 0.0f); /* no negative zero */
    return bits >> 31 ? (bits < UINT32_MAX ? bits : UINT32_MAX - 1) : 0x7fffffffu - bits;
}

static void weigh_score(const encoder *e, symbol *left, const symbol *right) {
    left->result = find_plain(e, left, left->size + right->size);
    if (left->result >= 0) left->priority = score_priority(e->t, left->result);
}

/* What is no token: its bytes, or, where the vocabulary has not all of them, unknown, once for neighbours. */
static void emit_bytes(encoder *e, const symbol *s) {
    const tokenizer *t = e->t;
    bool all = true;
    for (uint32_t i = 0; i < s->size; i++) all = all && t->bytes[(uint8_t)e->word[s->start + i]] >= 0;
    if (!all && !(e->count > 0 && e->last == t->unknown)) encoder_emit(e, t->unknown);
    for (uint32_t i = 0; all && i < s->size; i++) encoder_emit(e, t->bytes[(uint8_t)e->word[s->start + i]]);
}

/* Merge what is in e->word. */
static bool score_word(encoder *e) {
    uint32_t count = 0;
    if (e->word_size >= UINT32_MAX) return false;
    for (size_t at = 0; at < e->word_size; count++) {
        if (!merge_room(e, count + 1)) return false;
        uint8_t size = utf8_next(e->word + at, e->word_size - at).size;
        symbol *s = &e->symbols[count];
        *s = (symbol){.start = (uint32_t)at, .size = size};
        s->id = find_plain(e, s, size);
        at += size;
    }
    if (count == 0) return true;
    if (!merge_symbols(e, count, weigh_score)) return false;
    for (uint32_t i = 0; i != UINT32_MAX; i = e->symbols[i].next) {
        const symbol *s = &e->symbols[i];
        if (s->id >= 0)
            encoder_emit(e, s->id);
        else
            emit_bytes(e, s);
    }
    e->word_size = 0;
    return true;
}

static bool ends_in_space(const encoder *e) {
    return e->word_size >= SPACE_MARK_SIZE &&
           memcmp(e->word + e->word_size - SPACE_MARK_SIZE, SPACE_MARK, SPACE_MARK_SIZE) == 0;
}

/* A space begins a new word, unless it stands behind another. */
static bool put_space(encoder *e) {
    if (e->t->spaces_lead && e->word_size > 0 && !ends_in_space(e) && !score_word(e)) return false;
    return encoder_put(e, SPACE_MARK, SPACE_MARK_SIZE);
}

static void trim_spaces(const char **text, size_t *size) {
    while (*size > 0 && **text == ' ') ++*text, --*size;
    while (*size > 0 && (*text)[*size - 1] == ' ') --*size;
}

bool encode_sentencepiece(encoder *e, const char *text, size_t size) {
    bool single = e->t->single_spaces;
    if (single) trim_spaces(&text, &size);
    e->word_size = 0;
    if (e->t->space_prefix && size > 0 && !put_space(e)) return false;
    for (size_t i = 0; i < size;) {
        if (single && text[i] == ' ' && text[i + 1] == ' ') {
            i++;
            continue;
        }
        utf8_read read = utf8_next(text + i, size - i);
        bool space = read.point == ' ' || read.point == 0x2581;
        if (!(space ? put_space(e) : encoder_put(e, text + i, read.size))) return false;
        i += read.size;
    }
    return score_word(e);
}

/* ---- WordPiece ----------------------------------------------------------------------------------------- */

enum { WORDPIECE_CHARACTERS_MAX = 100 }; /* longer words are unknown, as in BERT */

/* Characters that are words by themselves in BERT: ideographs, but not Hangul or kana. */
static bool is_ideograph(uint32_t c) {
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
           (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) ||
           (c >= 0x2b920 && c <= 0x2ceaf) || (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

static bool stands_alone(uint32_t c, unsigned is) {
    bool ascii_symbol = c < 0x80 && (is & IS_SYMBOL);
    return (is & IS_PUNCTUATION) || ascii_symbol || is_ideograph(c);
}

/* The longest token that the word's bytes from `at` on begin with; its size in *size. */
static int32_t longest_token(const encoder *e, size_t at, size_t *size) {
    int32_t longest = -1;
    for (size_t end = at; end < e->word_size && end - at <= e->t->longest;) {
        end += utf8_next(e->word + end, e->word_size - end).size;
        int32_t id = vocabulary_find(e->t, e->word + at, end - at, "", 0);
        if (!is_plain(e->t, id)) continue;
        longest = id;
        *size = end - at;
    }
    return longest;
}

/* e->word is U+2581 and the word: emit its pieces, or the one unknown token where some part is none. */
static void emit_wordpieces(encoder *e) {
    size_t characters = 0, size = 0, before = e->count;
    for (size_t i = 0; i < e->word_size; i++) characters += (e->word[i] & 0xc0) != 0x80;
    bool known = characters <= WORDPIECE_CHARACTERS_MAX + 1;
    for (size_t at = 0; known && at < e->word_size; at += size) {
        int32_t id = longest_token(e, at, &size);
        known = id >= 0;
        encoder_emit(e, id);
    }
    if (known) return;
    e->count = before;
    encoder_emit(e, e->t->unknown);
}

static bool begin_wordpiece(encoder *e) {
    if (e->word_size > SPACE_MARK_SIZE) emit_wordpieces(e);
    e->word_size = 0;
    return encoder_put(e, SPACE_MARK, SPACE_MARK_SIZE);
}

/* One normalised character. */
static bool put_wordpiece(encoder *e, uint32_t c) {
    unsigned is = unicode_class(c);
    bool alone = stands_alone(c, is);
    if (((is & IS_WHITE) || alone) && !begin_wordpiece(e)) return false;
    if (is & IS_WHITE) return true;
    char bytes[4];
    if (!encoder_put(e, bytes, utf8_put(e->t->lower_case ? unicode_lower(c) : c, bytes))) return false;
    return !alone || begin_wordpiece(e);
}

/* Control, format and unassigned characters vanish, but for tab, line feed and carriage return. */
static bool vanishes(uint32_t c) {
    unsigned is = unicode_class(c);
    bool white = (is & IS_WHITE) && c != 0x0b && c != 0x0c && c != 0x85;
    return c == 0 || c == UNICODE_REPLACEMENT || ((is & IS_OTHER) && !white);
}

bool encode_wordpiece(encoder *e, const char *text, size_t size) {
    e->word_size = 0;
    if (!begin_wordpiece(e)) return false;
    for (size_t i = 0; i < size;) {
        utf8_read read = utf8_next(text + i, size - i);
        i += read.size;
        if (vanishes(read.point)) continue;
        uint32_t bare[3] = {read.point, 0, 0};
        size_t count = e->t->strip_accents ? unicode_bare(read.point, bare) : 1;
        for (size_t k = 0; k < count; k++)
            if (!put_wordpiece(e, bare[k])) return false;
    }
    return begin_wordpiece(e);
}
