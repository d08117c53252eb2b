/* unicode.h: UTF-8, and what the tokenizers ask about a code point: its class, lower case, base letters.
 * The tables are generated (scripts/make_unicode_tables.py) and take 16 kB. */
#ifndef CLLA_UNICODE_H
#define CLLA_UNICODE_H

#include <stddef.h>
#include <stdint.h>

enum { UNICODE_REPLACEMENT = 0xfffd };

/* One character, or one thing that is none. */
typedef enum utf8_kind {
    UTF8_VALID,
    UTF8_INVALID, /* the longest prefix of a character that the following byte breaks, or a byte that begins none */
    UTF8_CUT /* the bytes end inside a character that is right so far */
} utf8_kind;

typedef struct utf8_read {
    uint32_t point; /* UNICODE_REPLACEMENT where not valid */
    uint8_t size;   /* bytes taken, 1 to 4 */
    uint8_t kind;   /* a utf8_kind */
} utf8_read;

/* Read from size >= 1 bytes. Surrogates, overlong forms and what lies above U+10FFFF are invalid (Unicode 3.9, D92,
 * table 3-7). */
utf8_read utf8_next(const char *bytes, size_t size);

/* Write a code point; returns 1 to 4. */
size_t utf8_put(uint32_t point, char bytes[4]);

/* What a code point is: one bit of the general categories, and attributes. */
enum {
    IS_OTHER = 1 << 0, /* separators, controls, format characters, unassigned */
    IS_UPPER = 1 << 1,
    IS_LOWER = 1 << 2,
    IS_TITLE = 1 << 3,
    IS_MODIFIER = 1 << 4, /* Lm */
    IS_LETTER_OTHER = 1 << 5,
    IS_MARK_NONSPACING = 1 << 6,
    IS_MARK_OTHER = 1 << 7,
    IS_NUMBER = 1 << 8,
    IS_PUNCTUATION = 1 << 9,
    IS_SYMBOL = 1 << 10,
    IS_WHITE = 1 << 11,   /* the property White_Space: \s */
    IS_NEWLINE = 1 << 12, /* carriage return and line feed */
    IS_SPACE = 1 << 13,   /* U+0020 */

    IS_LETTER = IS_UPPER | IS_LOWER | IS_TITLE | IS_MODIFIER | IS_LETTER_OTHER,
    IS_MARK = IS_MARK_NONSPACING | IS_MARK_OTHER
};
unsigned unicode_class(uint32_t point);

/* The simple lower-case mapping; what has none comes back as it is. */
uint32_t unicode_lower(uint32_t point);

/* Decompose canonically and drop nonspacing marks: e with acute gives e. Returns how many are left, 0 to 3. */
size_t unicode_bare(uint32_t point, uint32_t bare[3]);

#endif
