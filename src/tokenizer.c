/* tokenizer.c: encoding from the outside in. Invalid UTF-8 is replaced, special tokens are found, and what lies between
 * them goes to the kind's own file. */
#include <string.h>

#include "tokenizer_parts.h"
#include "unicode.h"

/* ---- questions ----------------------------------------------------------------------------------------- */

static bool has(const tokenizer *t, int32_t id) { return id >= 0 && (uint32_t)id < t->count; }

uint32_t tokenizer_size(const tokenizer *t) { return t->count; }
int32_t tokenizer_bos(const tokenizer *t) { return t->bos; }
int32_t tokenizer_eos(const tokenizer *t) { return t->eos; }
bool tokenizer_wants_bos(const tokenizer *t) { return t->wants_bos; }
bool tokenizer_wants_eos(const tokenizer *t) { return t->wants_eos; }
bool tokenizer_ends(const tokenizer *t, int32_t id) { return has(t, id) && (t->flags[id] & TOKEN_ENDS); }

bool tokenizer_is_control(const tokenizer *t, int32_t id) {
    return has(t, id) && token_type(t, (uint32_t)id) == TOKEN_CONTROL;
}

/* ---- valid text ---------------------------------------------------------------------------------------- */

/* How many bytes are valid from the start. */
static size_t valid_size(const char *text, size_t size) {
    size_t i = 0;
    while (i < size) {
        utf8_read read = utf8_next(text + i, size - i);
        if (read.kind != UTF8_VALID) break;
        i += read.size;
    }
    return i;
}

/* A copy with U+FFFD for each maximal invalid part, in memory that grows by three bytes for each at most. */
static char *repair(const char *text, size_t size, size_t *repaired_size) {
    size_t wanted = 0;
    for (size_t i = 0; i < size;) {
        utf8_read read = utf8_next(text + i, size - i);
        wanted += read.kind == UTF8_VALID ? read.size : 3;
        i += read.size;
    }
    char *repaired = memory_resize(NULL, wanted);
    if (!repaired) return NULL;
    size_t at = 0;
    for (size_t i = 0; i < size;) {
        utf8_read read = utf8_next(text + i, size - i);
        char character[4];
        size_t length = utf8_put(read.point, character);
        memcpy(repaired + at, character, length);
        at += length;
        i += read.size;
    }
    *repaired_size = at;
    return repaired;
}

/* ---- special tokens ------------------------------------------------------------------------------------ */

/* The first of specials[low, high), which share their first `depth` bytes, whose next byte is at least `byte`. */
static uint32_t first_from(const tokenizer *t, uint32_t low, uint32_t high, size_t depth, unsigned byte) {
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        gguf_string text = token_text(t, t->specials[middle]);
        if (text.size <= depth || (uint8_t)text.data[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool may_be_spelled(const tokenizer *t, uint32_t id, bool control) {
    return control || token_type(t, id) == TOKEN_USER_DEFINED;
}

/* The longest special token that text begins with, -1 for none: the sorted list is narrowed byte by byte. */
static int32_t special_at(const tokenizer *t, const char *text, size_t size, bool control) {
    uint32_t low = t->special_first[(uint8_t)*text], high = t->special_first[(uint8_t)*text + 1];
    int32_t longest = -1;
    for (size_t depth = 1; low < high; depth++) {
        for (; low < high && token_text(t, t->specials[low]).size == depth; low++)
            if (may_be_spelled(t, t->specials[low], control)) longest = (int32_t)t->specials[low];
        if (depth == size) break;
        unsigned byte = (uint8_t)text[depth];
        low = first_from(t, low, high, depth, byte);
        high = first_from(t, low, high, depth, byte + 1);
    }
    return longest;
}

static bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static bool encode_run(encoder *e, const char *text, size_t size) {
    if (size == 0) return true;
    switch (e->t->kind) {
    case KIND_BYTE_PAIR: return encode_byte_pair(e, text, size);
    case KIND_SENTENCEPIECE: return encode_sentencepiece(e, text, size);
    default: return encode_wordpiece(e, text, size);
    }
}

/* Runs of plain text and the special tokens between them, from the left, at each place the longest. */
static bool encode_text(encoder *e, const char *text, size_t size, bool control) {
    const tokenizer *t = e->t;
    size_t run = 0;
    for (size_t i = 0; i < size;) {
        int32_t id = special_at(t, text + i, size - i, control);
        if (id < 0) {
            i++;
            continue;
        }
        size_t end = i;
        while ((t->flags[id] & TOKEN_EATS_LEFT) && end > run && is_blank(text[end - 1])) end--;
        if (!encode_run(e, text + run, end - run)) return false;
        encoder_emit(e, id);
        i += token_text(t, (uint32_t)id).size;
        while ((t->flags[id] & TOKEN_EATS_RIGHT) && i < size && is_blank(text[i])) i++;
        run = i;
    }
    return encode_run(e, text + run, size - run);
}

/* ---- encoding ------------------------------------------------------------------------------------------ */

static bool encode_all(encoder *e, const char *text, size_t size, unsigned flags) {
    if (flags & TOKENIZE_BOS) encoder_emit(e, e->t->bos);
    bool done = encode_text(e, text, size, (flags & TOKENIZE_SPECIAL) != 0);
    if (flags & TOKENIZE_EOS) encoder_emit(e, e->t->eos);
    memory_resize(e->word, 0);
    memory_resize(e->symbols, 0);
    memory_resize(e->heap, 0);
    return done;
}

clla_status tokenizer_encode(const tokenizer *t, const char *text, size_t size, unsigned flags, int32_t *ids,
                             size_t capacity, size_t *count, clla_error *error) {
    encoder e = {.t = t, .ids = ids, .capacity = capacity};
    char *repaired = NULL;
    bool done = true;
    if (valid_size(text, size) < size) done = (repaired = repair(text, size, &size)) != NULL;
    done = done && encode_all(&e, repaired ? repaired : text, size, flags);
    memory_resize(repaired, 0);
    *count = done ? e.count : 0;
    return done ? CLLA_OK
                : clla_fail(error, CLLA_OUT_OF_MEMORY, "there is no memory to tokenize %zu bytes of text",
                            size);
}
