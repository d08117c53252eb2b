/* test_unicode.c: UTF-8 against its definition, properties against the database they come from. */
#include "test.h"

#include <stdint.h>

#include "unicode.h"

/* ---- UTF-8 --------------------------------------------------------------------------------------------- */

static bool is_scalar(uint32_t c) { return c < 0xd800 || (c >= 0xe000 && c < 0x110000); }

static void every_character_round_trips(void) {
    for (uint32_t c = 0; c < 0x110000; c++) {
        char bytes[5] = {0};
        if (!is_scalar(c)) continue;
        size_t size = utf8_put(c, bytes);
        utf8_read read = utf8_next(bytes, size);
        CHECK(size == (c < 0x80      ? 1u
                       : c < 0x800   ? 2u
                       : c < 0x10000 ? 3u
                                     : 4u),
              "U+%04X takes %zu", (unsigned)c, size);
        CHECK(read.kind == UTF8_VALID && read.point == c && read.size == size, "U+%04X reads U+%04X",
              (unsigned)c, (unsigned)read.point);
        for (size_t cut = 1; cut < size; cut++) {
            read = utf8_next(bytes, cut);
            CHECK(read.kind == UTF8_CUT && read.size == cut, "U+%04X cut at %zu", (unsigned)c, cut);
        }
    }
}

/* Every sequence of up to three bytes, and many of four, against a decoder written from the ranges of code points. */
static utf8_read slow_next(const uint8_t *b, size_t size) {
    utf8_read best = {UNICODE_REPLACEMENT, 1, UTF8_INVALID};
    size_t want = b[0] < 0x80 ? 1 : b[0] < 0xc0 ? 0 : b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : b[0] < 0xf8 ? 4 : 0;
    if (want == 0) return best;
    for (size_t n = want; n > 0; n--) { /* the longest prefix that can become a character */
        if (n > size) continue;
        uint32_t low = b[0] & (want == 1 ? 0x7fu : 0xffu >> (want + 1)), high;
        bool right = true;
        for (size_t i = 1; i < n; i++) right = right && b[i] >> 6 == 2, low = low << 6 | (b[i] & 63u);
        high = low;
        for (size_t i = n; i < want; i++) low = low << 6, high = high << 6 | 63;
        uint32_t least = want == 1 ? 0 : want == 2 ? 0x80 : want == 3 ? 0x800 : 0x10000;
        if (low < least) low = least;
        if (high > 0x10ffff) high = 0x10ffff;
        bool surrogates = low >= 0xd800 && high < 0xe000;
        if (!right || low > high || surrogates) continue;
        if (n == want) return (utf8_read){low, (uint8_t)n, UTF8_VALID};
        return (utf8_read){UNICODE_REPLACEMENT, (uint8_t)n, n == size ? UTF8_CUT : UTF8_INVALID};
    }
    return best;
}

static void check_bytes(const uint8_t *b, size_t size) {
    utf8_read got = utf8_next((const char *)b, size), want = slow_next(b, size);
    CHECK(got.kind == want.kind && got.size == want.size && got.point == want.point,
          "%02x %02x %02x %02x of %zu: kind %d size %d, want %d %d", b[0], b[1], b[2], b[3], size, got.kind,
          got.size, want.kind, want.size);
}

static void every_sequence_reads_as_defined(void) {
    static const uint8_t edges[] = {0x41, 0x80, 0xbf, 0xe0};
    enum { EDGES = sizeof edges };
    for (unsigned first = 0; first < 256; first++)
        for (unsigned second = 0; second < 256; second++)
            for (unsigned rest = 0; rest < EDGES * EDGES; rest++) {
                uint8_t b[4] = {(uint8_t)first, (uint8_t)second, edges[rest / EDGES], edges[rest % EDGES]};
                for (size_t size = 2; size <= 4; size++) check_bytes(b, size);
            }
}

/* ---- properties ---------------------------------------------------------------------------------------- */

static void known_characters_have_their_class(void) {
    struct {
        uint32_t point;
        unsigned is;
    } cases[] = {{'A', IS_UPPER},
                 {'z', IS_LOWER},
                 {'7', IS_NUMBER},
                 {'$', IS_SYMBOL},
                 {'!', IS_PUNCTUATION},
                 {'_', IS_PUNCTUATION},
                 {' ', IS_OTHER | IS_WHITE | IS_SPACE},
                 {'\n', IS_OTHER | IS_WHITE | IS_NEWLINE},
                 {'\t', IS_OTHER | IS_WHITE},
                 {0x85, IS_OTHER | IS_WHITE},
                 {0xa0, IS_OTHER | IS_WHITE},
                 {0x1c, IS_OTHER},
                 {0xbd, IS_NUMBER},
                 {0xe9, IS_LOWER},
                 {0x100, IS_UPPER},
                 {0x101, IS_LOWER},
                 {0x139, IS_UPPER},
                 {0x13a, IS_LOWER},
                 {0x1c5, IS_TITLE},
                 {0x2b0, IS_MODIFIER},
                 {0x301, IS_MARK_NONSPACING},
                 {0x903, IS_MARK_OTHER},
                 {0x20dd, IS_MARK_OTHER},
                 {0x4e2d, IS_LETTER_OTHER},
                 {0x2028, IS_OTHER | IS_WHITE},
                 {0x200b, IS_OTHER},
                 {0x3000, IS_OTHER | IS_WHITE},
                 {0xfeff, IS_OTHER},
                 {0x1f680, IS_SYMBOL},
                 {0x10ffff, IS_OTHER},
                 {0x110000, IS_OTHER},
                 {0xffffffff, IS_OTHER}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        CHECK(unicode_class(cases[i].point) == cases[i].is, "U+%04X: %x", (unsigned)cases[i].point,
              unicode_class(cases[i].point));
}

static uint32_t checksum(uint32_t sum, uint32_t value) { return (sum ^ value) * 16777619u; }

/* The sums that scripts/make_unicode_tables.py --checksums finds from the database itself, without the tables. */
static void every_property_is_that_of_the_database(void) {
    uint32_t classes = 0, lower = 0, bare = 0;
    for (uint32_t c = 0; c < 0x110000; c++) {
        uint32_t letters[3], count;
        if (!is_scalar(c)) continue;
        classes = checksum(classes, unicode_class(c) & 0x7ffu);
        lower = checksum(lower, unicode_lower(c));
        count = (uint32_t)unicode_bare(c, letters);
        bare = checksum(bare, count);
        for (uint32_t i = 0; i < count; i++) bare = checksum(bare, letters[i]);
    }
    CHECK(classes == 0xf9b7c667, "classes: %#x", (unsigned)classes);
    CHECK(lower == 0xf229dbe4, "lower: %#x", (unsigned)lower);
    CHECK(bare == 0x68286f22, "bare: %#x", (unsigned)bare);
}

static void accents_go_and_syllables_fall_apart(void) {
    uint32_t b[3];
    CHECK(unicode_bare(0xe9, b) == 1 && b[0] == 'e', "e with acute");
    CHECK(unicode_bare(0x1ed5, b) == 1 && b[0] == 'o', "o with circumflex and hook");
    CHECK(unicode_bare(0x301, b) == 0, "an accent alone");
    CHECK(unicode_bare('e', b) == 1 && b[0] == 'e', "no accent");
    CHECK(unicode_bare(0xac00, b) == 2 && b[0] == 0x1100 && b[1] == 0x1161, "Hangul of two");
    CHECK(unicode_bare(0xd7a3, b) == 3 && b[0] == 0x1112 && b[1] == 0x1175 && b[2] == 0x11c2,
          "Hangul of three");
    CHECK(unicode_bare(0xf900, b) == 1 && b[0] == 0x8c48, "a compatibility ideograph");
    CHECK(unicode_bare(0x2f80c, b) == 1 && b[0] == 0x349e, "one beyond the first plane");
    CHECK(unicode_lower(0x130) == 'i' && unicode_lower(0x1e900) == 0x1e922 && unicode_lower(0xdf) == 0xdf,
          "lower case");
}

int main(void) {
    RUN("every character round-trips through UTF-8", every_character_round_trips);
    RUN("every byte sequence reads as Unicode defines", every_sequence_reads_as_defined);
    RUN("known characters have their class", known_characters_have_their_class);
    RUN("every property is that of the database", every_property_is_that_of_the_database);
    RUN("accents go and syllables fall apart", accents_go_and_syllables_fall_apart);
    return test_report();
}
