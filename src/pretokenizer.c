/* pretokenizer.c: splitting rules as tables, and the matcher that reads them.
 *
 * A pre-tokenizer is a few passes. A pass is a list of rules, tried in order at each place of a piece; what a rule
 * matches becomes a piece of its own, and so does what lies between two matches. Each piece goes through the next pass,
 * and what leaves the last pass is a word. The passes call each other piece by piece: nothing is stored.
 *
 * Nearly all published rules have one form, "at most one character of one set, then a run of another, then a run of a
 * third", and sets of characters are general categories, give or take a few ranges. The others have a kind of their
 * own. None needs to try more than two ways, so the time is linear in the text.
 *
 * The rules are those of the models' own tokenizer.json files, in comments in their regular-expression form.
 * Lookaheads see the end of the piece as the end of the text, as they do there. */
#include "pretokenizer.h"

#include <stdint.h>
#include <string.h>

#include "unicode.h"

/* ---- sets of characters -------------------------------------------------------------------------------- */

typedef struct range {
    uint32_t first, last;
} range;

enum {
    NO_RANGES,
    ASCII_LETTERS,
    ASCII_DIGITS,
    ASCII_MARKS,
    CJK,
    HAN_KANA,
    WIDE_MARKS,
    RARE_CASED,
    STOPS,
    SLASH,
    FALCON_MARKS,
    DEFAULT_MARKS,
    HANGUL,
    YOUTU_MARKS,
    BOPOMOFO
};

static const range *const range_lists[] = {
    [ASCII_LETTERS] = (const range[]){{'A', 'Z'}, {'a', 'z'}, {0}},
    [ASCII_DIGITS] = (const range[]){{'0', '9'}, {0}},
    [ASCII_MARKS] = (const range[]){{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}, {0}},
    [CJK] = (const range[]){{0x800, 0x9fa5}, {0xac00, 0xd7ff}, {0}},
    [HAN_KANA] = (const range[]){{0x3040, 0x30ff}, {0x4e00, 0x9fa5}, {0}},
    /* deepseek-llm: [!-/:-~ and their full-width forms, quotation marks, ideographic marks] */
    [WIDE_MARKS] = (const range[]){{'!', '/'},
                                   {':', '~'},
                                   {0x2018, 0x201f},
                                   {0x3000, 0x3002},
                                   {0xff01, 0xff0f},
                                   {0xff1a, 0xff5e},
                                   {0}},
    /* deepseek-llm lists its letters one by one: all cased ones but these */
    [RARE_CASED] = (const range[]){{0x560, 0x588},
                                   {0x10c7, 0x10ff},
                                   {0x1c80, 0x1c88},
                                   {0x2d00, 0x2d2d},
                                   {0xa790, 0xa7fa},
                                   {0xab30, 0xab68},
                                   {0x10570, 0x105bc},
                                   {0x16e40, 0x1df1e},
                                   {0}},
    /* bloom: [(\s|.,!?...] with the full stops and commas of Chinese, Hindi, Urdu and Arabic */
    [STOPS] = (const range[]){{'!', '!'},
                              {'(', ')'},
                              {',', ','},
                              {'.', '.'},
                              {'?', '?'},
                              {'|', '|'},
                              {0x60c, 0x60c},
                              {0x6d4, 0x6d4},
                              {0x964, 0x964},
                              {0x2026, 0x2026},
                              {0x3001, 0x3002},
                              {0xff0c, 0xff0c},
                              {0}},
    [SLASH] = (const range[]){{'/', '/'}, {0}},
    [FALCON_MARKS] =
        (const range[]){
            {'$', '$'}, {'+', '+'}, {'<', '>'}, {'^', '^'}, {'`', '`'}, {'|', '|'}, {'~', '~'}, {0}},
    [DEFAULT_MARKS] =
        (const range[]){{'$', '$'}, {'+', '+'}, {'<', '>'}, {'^', '^'}, {'|', '|'}, {'~', '~'}, {0}},
    [HANGUL] = (const range[]){{0x3131, 0x318e}, {0xac00, 0xd7a3}, {0}},
    [YOUTU_MARKS] = (const range[]){{0x2014, 0x2014},
                                    {0x2018, 0x2019},
                                    {0x201c, 0x201d},
                                    {0x2026, 0x2026},
                                    {0x3001, 0x303f},
                                    {0xfe30, 0xfe4f},
                                    {0xff01, 0xff01},
                                    {0xff0c, 0xff0c},
                                    {0xff1a, 0xff1b},
                                    {0}},
    [BOPOMOFO] = (const range[]){{0x3105, 0x312f}, {0}},
};

/* The characters that have one of the classes and are not in `minus`, or that are in `plus`; NOT turns it round. */
typedef struct set {
    uint16_t classes;
    uint8_t plus, minus; /* range lists */
} set;
enum { NOT = 1 << 15 };

static bool in_ranges(unsigned list, uint32_t point) {
    if (list == NO_RANGES) return false;
    for (const range *r = range_lists[list]; r->last; r++)
        if (r->first <= point && point <= r->last) return true;
    return false;
}

static bool in_set(set s, uint32_t point) {
    bool in = ((unicode_class(point) & s.classes) && !in_ranges(s.minus, point)) || in_ranges(s.plus, point);
    return in != ((s.classes & NOT) != 0);
}

/* ---- rules --------------------------------------------------------------------------------------------- */

typedef enum kind {
    END,               /* of the list */
    RUN,               /* first? body{min,max} tail* */
    LED_RUN,           /* first body{min,max} tail* */
    SUFFIX,            /* 's 't 're 've 'm 'll 'd */
    SUFFIX_ANY,        /* the same in upper or lower case */
    LINES,             /* \s*[\r\n]+ */
    SPACES,            /* \s{min,max}(?!\S) */
    SPACES_LAST,       /* \s+$ */
    WORD_LOWER,        /* first? [Lu Lt Lm Lo M]* [Ll Lm Lo M]+ */
    WORD_UPPER,        /* first? [Lu Lt Lm Lo M]+ [Ll Lm Lo M]* */
    WORD_LOWER_SUFFIX, /* the two with SUFFIX_ANY behind them, perhaps */
    WORD_UPPER_SUFFIX
} kind;

typedef struct rule {
    uint16_t kind, min, max; /* max 0: no limit */
    set first, body, tail;
} rule;

#define SET(c) {.classes = (c)}
#define RANGES(r) {.plus = (r)}
#define LETTERS SET(IS_LETTER)
#define NUMBERS SET(IS_NUMBER)
#define ONE_SPACE SET(IS_SPACE)
#define WHITE SET(IS_WHITE)
#define NEWLINES SET(IS_NEWLINE)
#define GLUE SET(NOT | IS_NEWLINE | IS_LETTER | IS_NUMBER)  /* [^\r\n\p{L}\p{N}] */
#define SYMBOLS SET(NOT | IS_WHITE | IS_LETTER | IS_NUMBER) /* [^\s\p{L}\p{N}] */
#define NEWLINES_SLASH {.classes = IS_NEWLINE, .plus = SLASH}

#define CASED {.classes = IS_UPPER | IS_LOWER | IS_TITLE, .minus = RARE_CASED}
#define FALCON {.classes = IS_PUNCTUATION, .plus = FALCON_MARKS}
#define DEFAULT {.classes = IS_PUNCTUATION, .plus = DEFAULT_MARKS}
#define NO_STOPS {.classes = NOT | IS_WHITE, .plus = STOPS}

#define ONE(s) {.kind = RUN, .min = 1, .max = 1, .body = s}
#define MANY(s) {.kind = RUN, .min = 1, .body = s}
#define MANY_AFTER(f, s) {.kind = RUN, .min = 1, .first = f, .body = s}
#define MANY_BETWEEN(f, s, t) {.kind = RUN, .min = 1, .first = f, .body = s, .tail = t}
#define UP_TO(n, s) {.kind = RUN, .min = 1, .max = n, .body = s}
#define KIND(k) {.kind = k}
#define SPACES_BEFORE(least, most) {.kind = SPACES, .min = least, .max = most}
#define SPACES_BUT_ONE SPACES_BEFORE(1, 0) /* \s+(?!\S) */

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static const rule gpt2[] = {KIND(SUFFIX),
                            MANY_AFTER(ONE_SPACE, LETTERS),
                            MANY_AFTER(ONE_SPACE, NUMBERS),
                            MANY_AFTER(ONE_SPACE, SYMBOLS),
                            SPACES_BUT_ONE,
                            MANY(WHITE),
                            KIND(END)};

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
#define CL100K(numbers)                                                                                      \
    KIND(SUFFIX_ANY), MANY_AFTER(GLUE, LETTERS), numbers, MANY_BETWEEN(ONE_SPACE, SYMBOLS, NEWLINES),        \
        KIND(LINES), SPACES_BUT_ONE, MANY(WHITE), KIND(END)
static const rule llama3[] = {CL100K(UP_TO(3, NUMBERS))};
static const rule qwen2[] = {CL100K(ONE(NUMBERS))};
static const rule minicpm5[] = {CL100K(MANY(NUMBERS))};
static const rule ufakzeka[] = {MANY_AFTER(GLUE, LETTERS),
                                ONE(NUMBERS),
                                MANY_BETWEEN(ONE_SPACE, SYMBOLS, NEWLINES),
                                KIND(LINES),
                                SPACES_BUT_ONE,
                                MANY(WHITE),
                                KIND(END)};
static const rule seed_coder[] = {KIND(SUFFIX_ANY), MANY_AFTER(GLUE, LETTERS),
                                  ONE(NUMBERS),     MANY_AFTER(ONE_SPACE, SYMBOLS),
                                  KIND(LINES),      SPACES_BUT_ONE,
                                  MANY(WHITE),      KIND(END)};

/* qwen2's with marks among the letters */
static const rule qwen35[] = {
    KIND(SUFFIX_ANY),
    MANY_AFTER(GLUE, SET(IS_LETTER | IS_MARK)),
    ONE(NUMBERS),
    MANY_BETWEEN(ONE_SPACE, SET(NOT | IS_WHITE | IS_LETTER | IS_MARK | IS_NUMBER), NEWLINES),
    KIND(LINES),
    SPACES_BUT_ONE,
    MANY(WHITE),
    KIND(END)};

/* llama3's with white space cut into powers of two: \s{512}(?!\S)|\s{256}(?!\S)|...|\s{1,2}(?!\S)|\s{1} */
static const rule jais2[] = {KIND(SUFFIX_ANY),
                             MANY_AFTER(GLUE, LETTERS),
                             UP_TO(3, NUMBERS),
                             MANY_BETWEEN(ONE_SPACE, SYMBOLS, NEWLINES),
                             KIND(LINES),
                             SPACES_BEFORE(512, 512),
                             SPACES_BEFORE(256, 256),
                             SPACES_BEFORE(128, 128),
                             SPACES_BEFORE(64, 64),
                             SPACES_BEFORE(32, 32),
                             SPACES_BEFORE(16, 16),
                             SPACES_BEFORE(8, 8),
                             SPACES_BEFORE(4, 4),
                             SPACES_BEFORE(1, 2),
                             ONE(WHITE),
                             KIND(END)};

/* [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?
 * |[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?
 * |\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
#define O200K(lower, upper, numbers)                                                                         \
    {.kind = lower, .first = GLUE}, {.kind = upper, .first = GLUE}, numbers,                                 \
        MANY_BETWEEN(ONE_SPACE, SYMBOLS, NEWLINES_SLASH), KIND(LINES), SPACES_BUT_ONE, MANY(WHITE),          \
        KIND(END)
static const rule gpt4o[] = {O200K(WORD_LOWER_SUFFIX, WORD_UPPER_SUFFIX, UP_TO(3, NUMBERS))};
static const rule tekken[] = {O200K(WORD_LOWER, WORD_UPPER, ONE(NUMBERS))};
static const rule youtu[] = {O200K(WORD_LOWER_SUFFIX, WORD_UPPER_SUFFIX, ONE(NUMBERS))};
static const rule youtu_scripts[] = {MANY(RANGES(HANGUL)), MANY(RANGES(YOUTU_MARKS)), MANY(RANGES(BOPOMOFO)),
                                     MANY(RANGES(HAN_KANA)), KIND(END)};

/* [!"#$...][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
#define DEEPSEEK3                                                                                            \
    {.kind = LED_RUN, .min = 1, .first = RANGES(ASCII_MARKS), .body = RANGES(ASCII_LETTERS)},                \
        MANY_AFTER(SET(NOT | IS_NEWLINE | IS_LETTER | IS_PUNCTUATION | IS_SYMBOL), SET(IS_LETTER | IS_MARK))
static const rule deepseek3[] = {
    DEEPSEEK3,   MANY_BETWEEN(ONE_SPACE, SET(IS_PUNCTUATION | IS_SYMBOL), NEWLINES),
    KIND(LINES), SPACES_BUT_ONE,
    MANY(WHITE), KIND(END)};
static const rule spark[] = {DEEPSEEK3,     MANY_AFTER(ONE_SPACE, SET(IS_PUNCTUATION | IS_SYMBOL)),
                             ONE(NEWLINES), SPACES_BUT_ONE,
                             MANY(WHITE),   KIND(END)};

static const rule one_number[] = {ONE(NUMBERS), KIND(END)};
static const rule three_numbers[] = {UP_TO(3, NUMBERS), KIND(END)};
static const rule numbers[] = {MANY(NUMBERS), KIND(END)};
static const rule three_digits[] = {{.kind = RUN, .min = 3, .max = 3, .body = RANGES(ASCII_DIGITS)},
                                    KIND(END)};
static const rule one_newline[] = {ONE(NEWLINES), KIND(END)};
static const rule han_kana[] = {MANY(RANGES(HAN_KANA)), KIND(END)};
static const rule cjk[] = {MANY(RANGES(CJK)), KIND(END)};
static const rule white_tail[] = {KIND(SPACES_LAST), KIND(END)};
static const rule cased_words[] = {MANY_AFTER(WHITE, CASED), KIND(END)};
static const rule wide_marks[] = {MANY_AFTER(WHITE, RANGES(WIDE_MARKS)), KIND(END)};
static const rule letter_words[] = {MANY_AFTER(WHITE, LETTERS), KIND(END)};
static const rule punctuation_words[] = {MANY_AFTER(WHITE, SET(IS_PUNCTUATION)), KIND(END)};
static const rule falcon_marks[] = {MANY(FALCON), KIND(END)};
static const rule default_marks[] = {MANY(DEFAULT), KIND(END)};
static const rule bloom[] = {MANY_AFTER(ONE_SPACE, NO_STOPS), KIND(END)};

typedef const rule *const passes[];
static passes pass_gpt2 = {gpt2, NULL};
static passes pass_digit_gpt2 = {one_number, gpt2, NULL};
static passes pass_default = {default_marks, gpt2, numbers, three_digits, NULL};
static passes pass_falcon = {falcon_marks, gpt2, three_digits, NULL};
static passes pass_llama3 = {llama3, NULL};
static passes pass_jais2 = {jais2, NULL};
static passes pass_minicpm5 = {three_numbers, minicpm5, NULL};
static passes pass_qwen2 = {qwen2, NULL};
static passes pass_qwen35 = {qwen35, NULL};
static passes pass_ufakzeka = {ufakzeka, NULL};
static passes pass_seed_coder = {seed_coder, NULL};
static passes pass_gpt4o = {gpt4o, NULL};
static passes pass_tekken = {tekken, NULL};
static passes pass_youtu = {youtu_scripts, youtu, NULL};
static passes pass_deepseek_llm = {one_newline, cased_words, wide_marks, white_tail, cjk, one_number, NULL};
static passes pass_deepseek_coder = {one_newline, letter_words, punctuation_words, cjk, one_number, NULL};
static passes pass_deepseek3 = {three_numbers, han_kana, deepseek3, NULL};
static passes pass_spark = {three_numbers, han_kana, spark, one_number, NULL};
static passes pass_bloom = {bloom, NULL};
static passes pass_viking = {bloom, one_number, NULL};

struct pretokenizer {
    const rule *const *passes;
    bool ignores_merges, wants_bos;
    const char *names;
};

/* Names of one row are parted by spaces. */
static const pretokenizer known[] = {
    {pass_default, false, false, "default"},
    {pass_gpt2, false, false,
     "gpt-2 phi-2 mpt olmo jais trillion granite-docling exaone4 gigachat a.x-4.0 mellum "
     "modern-bert roberta-bpe jina-es jina-de jina-v1-en jina-v2-es jina-v2-de jina-v2-code"},
    {pass_digit_gpt2, false, false, "smollm starcoder refact command-r codeshell exaone minerva-7b mellum2"},
    {pass_falcon, false, false, "falcon"},
    {pass_llama3, true, true,
     "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano"},
    {pass_llama3, false, false, "dbrx smaug-bpe chatglm-bpe glm4"},
    {pass_jais2, false, false, "jais-2"},
    {pass_minicpm5, true, false, "minicpm5"},
    {pass_qwen2, false, false,
     "qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2 "
     "bailingmoe bailingmoe2 llada-moe"},
    {pass_qwen35, false, false, "qwen35"},
    {pass_ufakzeka, false, false, "ufakzeka"},
    {pass_seed_coder, false, false, "seed-coder"},
    {pass_gpt4o, false, false, "gpt-4o llama4 kanana2 talkie minimax-m2"},
    {pass_tekken, true, true, "tekken"},
    {pass_youtu, true, false, "youtu"},
    {pass_deepseek_llm, false, false, "deepseek-llm"},
    {pass_deepseek_coder, false, false, "deepseek-coder"},
    {pass_deepseek3, false, false, "deepseek-v3 hunyuan-dense joyai-llm hy_v4"},
    {pass_spark, false, false, "spark2_5"},
    {pass_bloom, false, false, "bloom gpt3-finnish poro-chat"},
    {pass_viking, false, false, "viking"},
};

/* ---- the matcher --------------------------------------------------------------------------------------- */

/* What is left of a piece; every match function answers how many of its bytes match, 0 for none. */
typedef struct piece {
    const char *begin, *at, *end;
} piece;

static size_t left(piece p) { return (size_t)(p.end - p.at); }

static uint32_t point_at(piece p, size_t *size) {
    utf8_read read = utf8_next(p.at, left(p));
    *size = read.size;
    return read.point;
}

/* The longest run of min to max characters of a set. */
static size_t match_run(piece p, set s, unsigned min, unsigned max) {
    const char *start = p.at;
    unsigned count = 0;
    while (p.at < p.end && (max == 0 || count < max)) {
        size_t size;
        if (!in_set(s, point_at(p, &size))) break;
        p.at += size;
        count++;
    }
    return count >= min ? (size_t)(p.at - start) : 0;
}

static piece behind(piece p, size_t size) {
    p.at += size;
    return p;
}

/* Case is folded as (?i:) does it: the long s, U+017F, is an s too. */
static size_t match_suffix(piece p, bool any_case) {
    static const char *const suffixes[] = {"s", "t", "re", "ve", "m", "ll", "d", "\xc5\xbf"};
    size_t count = sizeof suffixes / sizeof suffixes[0] - !any_case;
    if (left(p) < 2 || *p.at != '\'') return 0;
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(suffixes[i]), same = 0;
        if (left(p) <= n) continue;
        for (; same < n; same++) {
            char c = p.at[1 + same];
            if (any_case && c >= 'A' && c <= 'Z') c = (char)(c + 32);
            if (c != suffixes[i][same]) break;
        }
        if (same == n) return 1 + n;
    }
    return 0;
}

/* White space up to its last newline. */
static size_t match_lines(piece p) {
    const char *start = p.at, *last = p.at;
    while (p.at < p.end) {
        size_t size;
        unsigned is = unicode_class(point_at(p, &size));
        if (!(is & IS_WHITE)) break;
        p.at += size;
        if (is & IS_NEWLINE) last = p.at;
    }
    return (size_t)(last - start);
}

/* White space that no other character follows: where one does, the last white one stays behind. */
static size_t match_spaces(piece p, unsigned min, unsigned max) {
    const char *start = p.at, *before = p.at; /* before: where the last character seen began */
    unsigned count = 0;
    for (;;) {
        size_t size;
        if (p.at == p.end) break;
        bool white = (unicode_class(point_at(p, &size)) & IS_WHITE) != 0;
        if (white && count == max && max > 0) break;
        if (!white && count == 0) return 0;
        if (!white) {
            p.at = before;
            count--;
            break;
        }
        before = p.at;
        p.at += size;
        count++;
    }
    return count >= min ? (size_t)(p.at - start) : 0;
}

/* White space that reaches the end of the piece. Behind white space it need not be tried: it was, one before. */
static size_t match_spaces_last(piece p) {
    const char *before = p.at;
    while (before > p.begin && (*--before & 0xc0) == 0x80) {
    }
    if (before < p.at && (unicode_class(utf8_next(before, (size_t)(p.at - before)).point) & IS_WHITE))
        return 0;
    size_t size = match_run(p, (set){.classes = IS_WHITE}, 1, 0);
    return size == left(p) ? size : 0;
}

enum {
    WORD_HEAD = IS_UPPER | IS_TITLE | IS_MODIFIER | IS_LETTER_OTHER | IS_MARK,
    WORD_BODY = IS_LOWER | IS_MODIFIER | IS_LETTER_OTHER | IS_MARK
};

/* head* body+: where nothing follows the heads, give back as many as are needed for one of them to be the body. */
static size_t match_word_lower(piece p) {
    size_t head = match_run(p, (set){.classes = WORD_HEAD}, 1, 0);
    size_t body = match_run(behind(p, head), (set){.classes = WORD_BODY}, 1, 0);
    if (body) return head + body;
    const char *last = p.at;
    for (piece q = p; q.at < p.at + head;) {
        size_t size;
        bool both = (unicode_class(point_at(q, &size)) & WORD_BODY) != 0;
        q.at += size;
        if (both) last = q.at;
    }
    return (size_t)(last - p.at);
}

static size_t match_word_upper(piece p) {
    size_t head = match_run(p, (set){.classes = WORD_HEAD}, 1, 0);
    return head ? head + match_run(behind(p, head), (set){.classes = WORD_BODY}, 1, 0) : 0;
}

static size_t match_body(piece p, const rule *r) {
    if (r->kind == RUN || r->kind == LED_RUN) {
        size_t body = match_run(p, r->body, r->min, r->max);
        return body && r->tail.classes ? body + match_run(behind(p, body), r->tail, 1, 0) : body;
    }
    bool lower = r->kind == WORD_LOWER || r->kind == WORD_LOWER_SUFFIX;
    size_t word = lower ? match_word_lower(p) : match_word_upper(p);
    bool suffix = r->kind == WORD_LOWER_SUFFIX || r->kind == WORD_UPPER_SUFFIX;
    return word && suffix ? word + match_suffix(behind(p, word), true) : word;
}

/* With the first character where that leads to a match, else without it where that is allowed. */
static size_t match_led(piece p, const rule *r) {
    bool has_first = r->first.classes || r->first.plus;
    size_t first = has_first ? match_run(p, r->first, 1, 1) : 0;
    size_t body = first ? match_body(behind(p, first), r) : 0;
    if (body) return first + body;
    return r->kind == LED_RUN ? 0 : match_body(p, r);
}

static size_t match_rule(piece p, const rule *r) {
    switch (r->kind) {
    case SUFFIX: return match_suffix(p, false);
    case SUFFIX_ANY: return match_suffix(p, true);
    case LINES: return match_lines(p);
    case SPACES: return match_spaces(p, r->min, r->max);
    case SPACES_LAST: return match_spaces_last(p);
    default: return match_led(p, r);
    }
}

/* ---- passes -------------------------------------------------------------------------------------------- */

typedef struct cutting {
    pretokenizer_word *word;
    void *context;
} cutting;

static bool cut(const cutting *c, const rule *const *pass, const char *text, size_t size) {
    if (size == 0) return true;
    if (!*pass) return c->word(c->context, text, size);
    piece p = {text, text, text + size};
    const char *gap = text; /* where what nothing matched begins */
    while (p.at < p.end) {
        size_t length = 0;
        for (const rule *r = *pass; r->kind != END && length == 0; r++) length = match_rule(p, r);
        if (length == 0) {
            p.at += utf8_next(p.at, left(p)).size;
            continue;
        }
        if (!cut(c, pass + 1, gap, (size_t)(p.at - gap)) || !cut(c, pass + 1, p.at, length)) return false;
        p.at += length;
        gap = p.at;
    }
    return cut(c, pass + 1, gap, (size_t)(p.end - gap));
}

static bool lists(const char *names, const char *name, size_t size) {
    for (size_t n; *names; names += n + (names[n] == ' ')) {
        n = strcspn(names, " ");
        if (n == size && memcmp(names, name, size) == 0) return true;
    }
    return false;
}

const pretokenizer *pretokenizer_find(const char *name, size_t size) {
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (lists(known[i].names, name, size)) return &known[i];
    return NULL;
}

bool pretokenizer_ignores_merges(const pretokenizer *p) { return p->ignores_merges; }
bool pretokenizer_wants_bos(const pretokenizer *p) { return p->wants_bos; }

bool pretokenizer_split(const pretokenizer *p, const char *text, size_t size, pretokenizer_word *word,
                        void *context) {
    return cut(&(cutting){word, context}, p->passes, text, size);
}
