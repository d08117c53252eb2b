/* tokenizer_decode.c: tokens to bytes, and bytes to a stream that holds whole characters only. */
#include <string.h>

#include "tokenizer_parts.h"
#include "unicode.h"

/* Bytes written so far, and how many may be. */
typedef struct sink {
    char *bytes;
    size_t size, capacity;
} sink;

static void sink_put(sink *s, const char *bytes, size_t size) {
    for (size_t i = 0; i < size; i++, s->size++)
        if (s->size < s->capacity) s->bytes[s->size] = bytes[i];
}

/* Byte-level text: every character stands for a byte. A text in which one does not is written as it is, as added tokens
 * are. False for such a text. */
static bool put_byte_level(sink *s, gguf_string text) {
    size_t before = s->size;
    for (size_t i = 0; i < text.size;) {
        utf8_read read = utf8_next(text.data + i, text.size - i);
        int byte = read.kind == UTF8_VALID ? point_to_byte(read.point) : -1;
        if (byte < 0) return s->size = before, false;
        sink_put(s, &(char){(char)byte}, 1);
        i += read.size;
    }
    return true;
}

static void put_spaced(sink *s, gguf_string text) {
    for (size_t i = 0; i < text.size;) {
        bool space =
            text.size - i >= SPACE_MARK_SIZE && memcmp(text.data + i, SPACE_MARK, SPACE_MARK_SIZE) == 0;
        sink_put(s, space ? " " : text.data + i, 1);
        i += space ? SPACE_MARK_SIZE : 1;
    }
}

size_t tokenizer_piece(const tokenizer *t, int32_t id, bool special, char *bytes, size_t capacity) {
    if (id < 0 || (uint32_t)id >= t->count) return 0;
    sink s = {bytes, 0, capacity};
    gguf_string text = token_text(t, (uint32_t)id);
    unsigned type = token_type(t, (uint32_t)id);
    bool hidden = type == TOKEN_CONTROL || type == TOKEN_UNKNOWN;
    int byte = type == TOKEN_BYTE ? token_byte(text) : -1;
    if (hidden && !special) return 0;
    if (hidden && t->kind == KIND_WORDPIECE) sink_put(&s, " ", 1); /* it stands for a word */
    if (byte >= 0)
        sink_put(&s, &(char){(char)byte}, 1);
    else if (hidden || type == TOKEN_USER_DEFINED)
        sink_put(&s, text.data, text.size);
    else if (t->kind != KIND_BYTE_PAIR)
        put_spaced(&s, text);
    else if (!put_byte_level(&s, text))
        sink_put(&s, text.data, text.size);
    return s.size;
}

/* Every byte may turn out invalid, the pending ones too, and each then takes three. */
size_t tokenizer_piece_max(const tokenizer *t) { return 3 * (t->longest + 4) + 8; }

/* Copy whole characters from bytes to text, which may lie in front of them; what is cut off goes to pending. */
static size_t put_characters(detokenizer *d, const char *bytes, size_t size, char *text) {
    size_t written = 0;
    d->pending_size = 0;
    for (size_t i = 0; i < size;) {
        utf8_read read = utf8_next(bytes + i, size - i);
        if (read.kind == UTF8_CUT) {
            memcpy(d->pending, bytes + i, read.size);
            d->pending_size = read.size;
        } else {
            char character[4];
            size_t length = utf8_put(read.point, character);
            memcpy(text + written, character, length);
            written += length;
        }
        i += read.size;
    }
    return written;
}

/* A space at its front may be the prefix of a run. */
static bool has_prefix(const tokenizer *t, int32_t id) {
    unsigned type = token_type(t, (uint32_t)id);
    return t->kind == KIND_WORDPIECE || type == TOKEN_NORMAL || type == TOKEN_UNUSED;
}

/* What follows is a run of text with a prefix of its own. */
static bool begins_run(const tokenizer *t, int32_t id) {
    unsigned type = token_type(t, (uint32_t)id);
    return t->kind == KIND_SENTENCEPIECE && (type == TOKEN_CONTROL || type == TOKEN_USER_DEFINED);
}

/* The bytes go to the end of the room and are copied forward: there is room for three times as many, so that what is
 * written never reaches what is still to be read. */
size_t detokenizer_push(detokenizer *d, const tokenizer *t, int32_t id, bool special, char *text) {
    if (id < 0 || (uint32_t)id >= t->count) return 0;
    size_t size = tokenizer_piece(t, id, special, NULL, 0), room = tokenizer_piece_max(t);
    char *piece = text + room - size;
    tokenizer_piece(t, id, special, piece, size);
    if (t->space_prefix && !d->started && size > 0 && piece[0] == ' ' && has_prefix(t, id)) piece++, size--;
    d->started = !begins_run(t, id);
    piece -= d->pending_size;
    memcpy(piece, d->pending, d->pending_size);
    return put_characters(d, piece, size + d->pending_size, text);
}

size_t detokenizer_finish(detokenizer *d, char *text) {
    size_t size = d->pending_size > 0 ? utf8_put(UNICODE_REPLACEMENT, text) : 0;
    *d = (detokenizer){0};
    return size;
}
