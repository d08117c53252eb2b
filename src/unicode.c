/* unicode.c: UTF-8 by its table of well-formed sequences; properties by binary search in generated runs. */
#include "unicode.h"

#include <stdbool.h>

#include "unicode_tables.inc"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- UTF-8 --------------------------------------------------------------------------------------------- */

/* How long a sequence its first byte promises; 0: it begins none. */
static unsigned promised_size(unsigned first) {
    if (first < 0x80) return 1;
    if (first < 0xc2) return 0;
    if (first < 0xe0) return 2;
    if (first < 0xf0) return 3;
    return first < 0xf5 ? 4 : 0;
}

/* The second byte is narrower after four first bytes: no overlong forms, no surrogates, nothing above U+10FFFF. */
static bool second_fits(unsigned first, unsigned second) {
    unsigned low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    return low <= second && second <= high;
}

utf8_read utf8_next(const char *bytes, size_t size) {
    const uint8_t *b = (const uint8_t *)bytes;
    unsigned promised = promised_size(b[0]);
    if (promised == 1) return (utf8_read){b[0], 1, UTF8_VALID};
    if (promised == 0) return (utf8_read){UNICODE_REPLACEMENT, 1, UTF8_INVALID};
    uint32_t point = b[0] & (0x7fu >> promised);
    for (unsigned i = 1; i < promised; i++) {
        if (i == size) return (utf8_read){UNICODE_REPLACEMENT, (uint8_t)i, UTF8_CUT};
        bool fits = i == 1 ? second_fits(b[0], b[1]) : (b[i] & 0xc0) == 0x80;
        if (!fits) return (utf8_read){UNICODE_REPLACEMENT, (uint8_t)i, UTF8_INVALID};
        point = point << 6 | (b[i] & 0x3fu);
    }
    return (utf8_read){point, (uint8_t)promised, UTF8_VALID};
}

size_t utf8_put(uint32_t point, char bytes[4]) {
    if (point < 0x80) {
        bytes[0] = (char)point;
        return 1;
    }
    size_t size = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t i = size - 1; i > 0; i--, point >>= 6) bytes[i] = (char)(0x80 | (point & 0x3f));
    bytes[0] = (char)((0xf00u >> size & 0xffu) | point); /* c0, e0 or f0 in front */
    return size;
}

/* ---- classes ------------------------------------------------------------------------------------------- */

static bool is_white(uint32_t c) {
    if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/* The class of the run that holds the point: the last run of its plane that starts at or before it. */
static unsigned run_class(uint32_t point) {
    size_t low = class_planes[point >> 16], high = class_planes[(point >> 16) + 1];
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (class_starts[middle] <= (uint16_t)point)
            low = middle;
        else
            high = middle;
    }
    return class_pairs[low / 2] >> (low % 2 * 4) & 15u;
}

unsigned unicode_class(uint32_t point) {
    if (point > 0x10ffff) return IS_OTHER;
    unsigned class = point < 128 ? ascii_class[point] : run_class(point);
    if (class == CLASS_EVEN_UPPER) class = point % 2 ? CLASS_LL : CLASS_LU;
    if (class == CLASS_ODD_UPPER) class = point % 2 ? CLASS_LU : CLASS_LL;
    unsigned is = 1u << class;
    if (is_white(point)) is |= IS_WHITE;
    if (point == '\n' || point == '\r') is |= IS_NEWLINE;
    return point == ' ' ? is | IS_SPACE : is;
}

/* ---- mappings ------------------------------------------------------------------------------------------ */

uint32_t unicode_lower(uint32_t point) {
    if (point < 0x80) return point - 'A' < 26u ? point + 32 : point;
    size_t low = 0, high = COUNT(lower_ranges);
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (lower_ranges[middle].first <= point)
            low = middle;
        else
            high = middle;
    }
    uint32_t offset = point - lower_ranges[low].first; /* wraps where the point is below them all */
    uint32_t span = lower_ranges[low].span_stride >> 1, even_only = lower_ranges[low].span_stride & 1u;
    if (offset > span || (offset & even_only)) return point;
    return (point & ~0xffffu) | ((point + lower_ranges[low].difference) & 0xffffu);
}

/* A syllable is lead, vowel and perhaps trail, in this order (Unicode 3.12). */
static size_t bare_hangul(uint32_t point, uint32_t bare[3]) {
    uint32_t s = point - 0xac00, trail = s % 28;
    bare[0] = 0x1100 + s / (21 * 28);
    bare[1] = 0x1161 + s % (21 * 28) / 28;
    bare[2] = 0x11a7 + trail;
    return trail ? 3 : 2;
}

static size_t bare_of_result(uint32_t result, uint32_t bare[3]) {
    bare[0] = result;
    if (result < 0xd800 || result - 0xd800 >= COUNT(bare_longer)) return 1;
    const uint32_t *longer = bare_longer[result - 0xd800];
    for (size_t i = 0; i < 3; i++) bare[i] = longer[i];
    return longer[1] == 0 ? 1 : longer[2] == 0 ? 2 : 3;
}

size_t unicode_bare(uint32_t point, uint32_t bare[3]) {
    if (unicode_class(point) & IS_MARK_NONSPACING) return 0;
    if (point - 0xac00 < 11172u) return bare_hangul(point, bare);
    bare[0] = point;
    size_t low = 0, high = COUNT(bare_runs);
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (bare_runs[middle] >> 11 <= point)
            low = middle;
        else
            high = middle;
    }
    uint32_t first = bare_runs[low] >> 11, index = bare_runs[low] & 0x7ffu;
    size_t end = low + 1 < COUNT(bare_runs) ? bare_runs[low + 1] & 0x7ffu : COUNT(bare_results);
    if (point < first || point - first >= end - index) return 1;
    return bare_of_result(bare_results[index + point - first], bare);
}
