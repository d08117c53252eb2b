/* test_tokenizer.c: tokenizers from small vocabularies that the tests write themselves; the merging of both kinds
 * against its slow definition; what damaged metadata is answered with. Real vocabularies: tests/js/vocab.test.js. */
#include "test.h"

#include <stdarg.h>

#include "arena.h"
#include "gguf_writer.h"
#include "pretokenizer.h"
#include "tokenizer.h"
#include "unicode.h"

static clla_error error;

/* ---- vocabularies in a few lines ----------------------------------------------------------------------- */

enum { TOKENS = 800, IDS = 4096 };

typedef struct recipe {
    const char *model, *pre, *name;
    const char *tokens[TOKENS], *merges[TOKENS];
    int32_t types[TOKENS];
    float scores[TOKENS];
    size_t count, merge_count;
    int bos, eos, unknown;                  /* ids; -1: no key */
    int add_bos, add_eos, add_prefix, trim; /* 0, 1; -1: no key */
} recipe;

static recipe the_recipe;
static char storage[1 << 16];
static size_t stored;

static const char *keep(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char *text = storage + stored;
    stored += (size_t)vsnprintf(text, sizeof storage - stored, format, arguments) + 1;
    va_end(arguments);
    return text;
}

static int32_t add(recipe *r, const char *text, int32_t type, float score) {
    r->tokens[r->count] = text;
    r->types[r->count] = type;
    r->scores[r->count] = score;
    return (int32_t)r->count++;
}

static recipe *begin(const char *model, const char *pre) {
    stored = 0;
    the_recipe = (recipe){.model = model,
                          .pre = pre,
                          .bos = -1,
                          .eos = -1,
                          .unknown = -1,
                          .add_bos = -1,
                          .add_eos = -1,
                          .add_prefix = -1,
                          .trim = -1};
    return &the_recipe;
}

/* The character that stands for a byte in byte-level vocabularies, found by its definition. */
static uint32_t byte_character(unsigned byte) {
    uint32_t next = 256;
    for (unsigned b = 0; b < 256; b++) {
        bool printable = (b > 32 && b < 127) || (b > 160 && b != 173);
        if (b == byte) return printable ? b : next;
        next += !printable;
    }
    return 0;
}

static recipe *begin_bytes(const char *pre) {
    recipe *r = begin("gpt2", pre);
    for (unsigned b = 0; b < 256; b++) {
        char text[5] = {0};
        utf8_put(byte_character(b), text);
        add(r, keep("%s", text), 1, 0);
    }
    return r;
}

static void add_merge(recipe *r, const char *left, const char *right) {
    add(r, keep("%s%s", left, right), 1, 0);
    r->merges[r->merge_count++] = keep("%s %s", left, right);
}

/* <unk> 0, <s> 1, </s> 2, bytes from 3 on. */
static recipe *begin_scores(void) {
    recipe *r = begin("llama", "default");
    add(r, "<unk>", 2, 0), add(r, "<s>", 3, 0), add(r, "</s>", 3, 0);
    for (unsigned b = 0; b < 256; b++) add(r, keep("<0x%02X>", b), 6, 0);
    return r;
}

static void write_number(gguf_writer *w, const char *key, int value, gguf_type type) {
    if (value >= 0) writer_number(w, key, type, (uint64_t)value, type == GGUF_BOOL ? 1 : 4);
}

static void write_recipe(gguf_writer *w, const recipe *r) {
    if (r->name) writer_text(w, "general.name", r->name);
    if (r->model) writer_text(w, "tokenizer.ggml.model", r->model);
    if (r->pre) writer_text(w, "tokenizer.ggml.pre", r->pre);
    writer_array(w, "tokenizer.ggml.tokens", GGUF_STRING, r->count);
    for (size_t i = 0; i < r->count; i++) put_text(w, r->tokens[i]);
    writer_array(w, "tokenizer.ggml.token_type", GGUF_INT32, r->count);
    for (size_t i = 0; i < r->count; i++) put(w, (uint32_t)r->types[i], 4);
    writer_array(w, "tokenizer.ggml.scores", GGUF_FLOAT32, r->count);
    for (size_t i = 0; i < r->count; i++) put(w, writer_float_bits(r->scores[i]), 4);
    writer_array(w, "tokenizer.ggml.merges", GGUF_STRING, r->merge_count);
    for (size_t i = 0; i < r->merge_count; i++) put_text(w, r->merges[i]);
    write_number(w, "tokenizer.ggml.bos_token_id", r->bos, GGUF_UINT32);
    write_number(w, "tokenizer.ggml.eos_token_id", r->eos, GGUF_UINT32);
    write_number(w, "tokenizer.ggml.unknown_token_id", r->unknown, GGUF_UINT32);
    write_number(w, "tokenizer.ggml.add_bos_token", r->add_bos, GGUF_BOOL);
    write_number(w, "tokenizer.ggml.add_eos_token", r->add_eos, GGUF_BOOL);
    write_number(w, "tokenizer.ggml.add_space_prefix", r->add_prefix, GGUF_BOOL);
    write_number(w, "tokenizer.ggml.remove_extra_whitespaces", r->trim, GGUF_BOOL);
}

static gguf_writer the_writer;
static gguf the_header;
static tokenizer *t; /* the one under test */

/* Parse what was written and make a tokenizer of it. */
static clla_status open_written(void) {
    size_t used;
    writer_end(&the_writer);
    gguf_open(&the_header);
    t = NULL;
    clla_status status = gguf_feed(&the_header, the_writer.bytes, the_writer.size, &used, &error);
    CHECK(status == CLLA_OK && the_header.complete, "the header: %s", error.text);
    return status ? status : tokenizer_create(&the_header, &t, &error);
}

static void close_vocabulary(void) {
    tokenizer_free(t);
    gguf_close(&the_header);
    writer_close(&the_writer);
    CHECK(memory_in_use() == 0, "%zu bytes leaked", memory_in_use());
}

static void open_vocabulary(const recipe *r) {
    writer_open(&the_writer);
    write_recipe(&the_writer, r);
    clla_status status = open_written();
    CHECK(status == CLLA_OK, "%s", error.text);
}

/* ---- encoding and decoding in one line ----------------------------------------------------------------- */

static int32_t ids[IDS];
static size_t id_count;

static size_t encode_bytes(const char *text, size_t size, unsigned flags) {
    clla_status status = tokenizer_encode(t, text, size, flags, ids, IDS, &id_count, &error);
    CHECK(status == CLLA_OK && id_count <= IDS, "%s", error.text);
    return id_count;
}

static size_t decode(const int32_t *list, size_t count, bool special, char *text) {
    detokenizer d = {{0}, 0, false};
    size_t size = 0;
    for (size_t i = 0; i < count; i++) size += detokenizer_push(&d, t, list[i], special, text + size);
    return size + detokenizer_finish(&d, text + size);
}

/* The pieces of a text, with '|' between. */
static const char *pieces_of(const char *text, unsigned flags) {
    static char pieces[1 << 14];
    size_t at = 0;
    encode_bytes(text, strlen(text), flags);
    for (size_t i = 0; i < id_count; i++) {
        if (i) pieces[at++] = '|';
        at += tokenizer_piece(t, ids[i], true, pieces + at, 64);
    }
    pieces[at] = 0;
    return pieces;
}

#define CHECK_PIECES(text, flags, want)                                                                      \
    CHECK(strcmp(pieces_of(text, flags), want) == 0, "\"%s\" gives %s, want %s", text,                       \
          pieces_of(text, flags), want)

static void check_round_trip(const char *text, size_t size, unsigned flags) {
    static char back[1 << 16];
    encode_bytes(text, size, flags);
    size_t length = decode(ids, id_count, (flags & TOKENIZE_SPECIAL) != 0, back);
    CHECK(length == size && memcmp(back, text, size) == 0, "\"%.*s\" comes back as \"%.*s\"", (int)size, text,
          (int)length, back);
}

/* ---- merging against its definition -------------------------------------------------------------------- */

static uint32_t random_state = 1;
static uint32_t random_below(uint32_t n) {
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % n;
}

static int find_token(const recipe *r, const char *text) {
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->tokens[i], text) == 0) return (int)i;
    return -1;
}

typedef struct slow {
    const recipe *r;
    char symbols[512][64];
    size_t count;
    int32_t out[IDS];
    size_t out_count;
} slow;

static slow the_slow;

static int slow_rank(const recipe *r, const char *left, const char *right) {
    char rule[200];
    snprintf(rule, sizeof rule, "%s %s", left, right);
    for (size_t i = 0; i < r->merge_count; i++)
        if (strcmp(r->merges[i], rule) == 0) return (int)i;
    return -1;
}

static void slow_join(slow *s, size_t i) {
    size_t left = strlen(s->symbols[i]), right = strlen(s->symbols[i + 1]);
    memmove(s->symbols[i] + left, s->symbols[i + 1], right + 1);
    memmove(s->symbols + i + 1, s->symbols + i + 2, (s->count - i - 2) * sizeof s->symbols[0]);
    s->count--;
}

static bool slow_word(void *context, const char *word, size_t size) {
    slow *s = context;
    s->count = 0;
    for (size_t i = 0; i < size; i++) {
        char *symbol = s->symbols[s->count++];
        symbol[utf8_put(byte_character((uint8_t)word[i]), symbol)] = 0;
    }
    for (;;) {
        int best = -1;
        size_t place = 0;
        for (size_t i = 0; i + 1 < s->count; i++) {
            int rank = slow_rank(s->r, s->symbols[i], s->symbols[i + 1]);
            if (rank >= 0 && (best < 0 || rank < best)) best = rank, place = i;
        }
        if (best < 0) break;
        slow_join(s, place);
    }
    for (size_t i = 0; i < s->count; i++) s->out[s->out_count++] = find_token(s->r, s->symbols[i]);
    return true;
}

static void check_slow(const char *text) {
    CHECK(id_count == the_slow.out_count, "\"%s\": %zu tokens, want %zu", text, id_count, the_slow.out_count);
    for (size_t i = 0; i < id_count && i < the_slow.out_count; i++)
        CHECK(ids[i] == the_slow.out[i], "\"%s\": token %zu is %d, want %d", text, i, ids[i],
              the_slow.out[i]);
}

static void random_text(char *text, size_t size, const char *alphabet) {
    for (size_t i = 0; i < size; i++) text[i] = alphabet[random_below((uint32_t)strlen(alphabet))];
    text[size] = 0;
}

/* Merges of tokens that are there already, so that long tokens come about by many ways. */
static void random_merges(recipe *r, size_t wanted) {
    static const char *const first[] = {"a", "b", "c", "\xc4\xa0"};
    while (r->merge_count < wanted) {
        uint32_t left = random_below((uint32_t)r->merge_count + 4),
                 right = random_below((uint32_t)r->merge_count + 4);
        const char *a = left < 4 ? first[left] : r->tokens[256 + left - 4],
                   *b = right < 4 ? first[right] : r->tokens[256 + right - 4];
        const char *joined = keep("%s%s", a, b);
        if (strlen(joined) < 20 && find_token(r, joined) < 0) add_merge(r, a, b);
    }
}

static void byte_pairs_merge_as_defined(void) {
    for (int round = 0; round < 8; round++) {
        recipe *r = begin_bytes("gpt-2");
        random_merges(r, 10 + 30 * (size_t)round);
        open_vocabulary(r);
        the_slow.r = r;
        for (int i = 0; i < 60; i++) {
            char text[200];
            random_text(text, random_below(100), i % 2 ? "abc" : "abc  ");
            the_slow.out_count = 0;
            pretokenizer_split(pretokenizer_find("gpt-2", 5), text, strlen(text), slow_word, &the_slow);
            encode_bytes(text, strlen(text), 0);
            check_slow(text);
            check_round_trip(text, strlen(text), 0);
        }
        close_vocabulary();
    }
}

/* SentencePiece: join the pair that spells the best token, the leftmost of equals. */
static void slow_scores(slow *s, const char *text, bool prefix) {
    s->count = s->out_count = 0;
    if (prefix && *text) strcpy(s->symbols[s->count++], "\xe2\x96\x81");
    for (const char *c = text; *c; c++)
        snprintf(s->symbols[s->count++], 64, *c == ' ' ? "\xe2\x96\x81" : "%c", *c);
    for (;;) {
        int best = -1;
        size_t place = 0;
        for (size_t i = 0; i + 1 < s->count; i++) {
            char both[128];
            snprintf(both, sizeof both, "%s%s", s->symbols[i], s->symbols[i + 1]);
            int id = find_token(s->r, both);
            if (id >= 0 && s->r->types[id] == 1 && (best < 0 || s->r->scores[id] > s->r->scores[best]))
                best = id, place = i;
        }
        if (best < 0) break;
        slow_join(s, place);
    }
    for (size_t i = 0; i < s->count; i++) {
        int id = find_token(s->r, s->symbols[i]);
        if (id >= 0) s->out[s->out_count++] = id;
        for (const char *c = s->symbols[i]; id < 0 && *c; c++) s->out[s->out_count++] = 3 + (uint8_t)*c;
    }
}

static void random_scores(recipe *r, size_t wanted, bool inner_spaces) {
    static const char *const first[] = {"a", "b", "\xe2\x96\x81", "aa", "\342\226\201b"};
    for (size_t i = 0; i < 5; i++) add(r, first[i], 1, (float)random_below(9) - 9);
    while (r->count < wanted) {
        const char *a = r->tokens[259 + random_below((uint32_t)r->count - 259)],
                   *b = r->tokens[259 + random_below((uint32_t)r->count - 259)];
        const char *joined = keep("%s%s", a, b);
        bool inner = strstr(b, "\xe2\x96\x81") && strspn(a, "\xe2\x96\x81") < strlen(a);
        if (strlen(joined) > 24 || find_token(r, joined) >= 0 || (inner && !inner_spaces)) continue;
        add(r, joined, 1, (float)random_below(20) / 2 - 5);
    }
}

static void scores_merge_as_defined(void) {
    for (int round = 0; round < 12; round++) {
        recipe *r = begin_scores();
        random_scores(r, 268 + 12 * (size_t)round, round % 2);
        r->add_prefix = round % 3 ? 1 : 0;
        open_vocabulary(r);
        the_slow.r = r;
        for (int i = 0; i < 60; i++) {
            char text[200];
            random_text(text, random_below(90), i % 2 ? "ab " : "aabb c");
            slow_scores(&the_slow, text, r->add_prefix);
            encode_bytes(text, strlen(text), 0);
            check_slow(text);
            check_round_trip(text, strlen(text), 0);
        }
        close_vocabulary();
    }
}

/* A million letters in one word: with anything quadratic in it this would not end. */
static void long_words_take_linear_space_and_little_more_time(void) {
    enum { SIZE = 1 << 20 };
    char *text = malloc(SIZE);
    memset(text, 'a', SIZE);
    recipe *r = begin_bytes("gpt-2");
    add_merge(r, "a", "a"), add_merge(r, "aa", "aa"), add_merge(r, "aaaa", "aaaa");
    open_vocabulary(r);
    encode_bytes("aaaaaaaaaaa", 11, 0);
    CHECK(id_count == 3 && ids[0] == 258 && ids[1] == 256 && ids[2] == 'a', "%zu: %d %d %d", id_count, ids[0],
          ids[1], ids[2]);
    CHECK(tokenizer_encode(t, text, SIZE, 0, NULL, 0, &id_count, &error) == CLLA_OK && id_count == SIZE / 8,
          "%zu tokens", id_count);
    close_vocabulary();
    r = begin_scores();
    add(r, "a", 1, -3), add(r, "aa", 1, -1), add(r, "aaaa", 1, -2);
    open_vocabulary(r);
    CHECK(tokenizer_encode(t, text, SIZE, 0, NULL, 0, &id_count, &error) == CLLA_OK, "%s", error.text);
    CHECK(id_count == SIZE / 4 + 3, "%zu tokens", id_count); /* and the three bytes of the space mark */
    close_vocabulary();
    free(text);
}

/* ---- words, bytes, spaces ------------------------------------------------------------------------------ */

static void merges_can_be_ignored_for_whole_words(void) {
    const char *names[] = {"llama-bpe", "gpt-2"};
    for (int i = 0; i < 2; i++) {
        recipe *r = begin_bytes(names[i]);
        add(r, "\xc4\xa0whole", 1, 0);
        add(r, "control", 3, 0);
        add_merge(r, "w", "h");
        open_vocabulary(r);
        CHECK_PIECES("a whole", 0, i == 0 ? "a| whole" : "a| |wh|o|l|e");
        CHECK_PIECES("control", 0, "c|o|n|t|r|o|l");
        close_vocabulary();
    }
}

static void digits_and_suffixes_split_by_name(void) {
    struct {
        const char *pre, *want;
    } cases[] = {{"gpt-2", "1234"}, {"smollm", "1|2|3|4"}, {"llama-bpe", "123|4"}, {"qwen2", "1|2|3|4"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        recipe *r = begin_bytes(cases[i].pre);
        add_merge(r, "1", "2"), add_merge(r, "3", "4"), add_merge(r, "12", "3"), add_merge(r, "12", "34");
        r->merges[0] = "1 2", r->merges[1] = "3 4", r->merges[2] = "12 34", r->merges[3] = "12 3";
        open_vocabulary(r);
        CHECK_PIECES("1234", 0, cases[i].want);
        close_vocabulary();
    }
}

static void every_byte_round_trips(void) {
    for (int kind = 0; kind < 2; kind++) {
        recipe *r = kind ? begin_scores() : begin_bytes("gpt-2");
        if (kind) add(r, "\xe2\x96\x81", 1, -1), add(r, "a", 1, -1);
        open_vocabulary(r);
        for (uint32_t c = 0; c < 0x3000; c++) {
            char text[16] = "a ";
            size_t size = 2 + utf8_put(c, text + 2);
            if (c == 0x2581) continue; /* SentencePiece reads it as a space */
            check_round_trip(text, size, 0);
        }
        check_round_trip("", 0, 0);
        check_round_trip(" ", 1, 0);
        check_round_trip("   two  \n spaces  ", 18, 0);
        check_round_trip("\0nul\0", 5, 0);
        close_vocabulary();
    }
}

static void invalid_utf8_is_read_as_replacements(void) {
    struct {
        const char *text, *reads_as;
    } cases[] = {{"a\xff"
                  "b",
                  "a\xef\xbf\xbd"
                  "b"},
                 {"\xe2\x82", "\xef\xbf\xbd"},
                 {"\xe2\x82"
                  "a",
                  "\xef\xbf\xbd"
                  "a"},
                 {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},
                 {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
                 {"\xf0\x9f\x9a", "\xef\xbf\xbd"},
                 {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}};
    for (int kind = 0; kind < 2; kind++) {
        recipe *r = kind ? begin_scores() : begin_bytes("gpt-2");
        if (kind) add(r, "\xe2\x96\x81", 1, -1);
        open_vocabulary(r);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            char back[200];
            encode_bytes(cases[i].text, strlen(cases[i].text), 0);
            size_t size = decode(ids, id_count, false, back);
            CHECK(size == strlen(cases[i].reads_as) && memcmp(back, cases[i].reads_as, size) == 0,
                  "case %zu of kind %d", i, kind);
        }
        close_vocabulary();
    }
}

static void unknown_characters_become_unknown_tokens(void) {
    recipe *r = begin("llama", "default");
    add(r, "<unk>", 2, 0), add(r, "<s>", 3, 0), add(r, "</s>", 3, 0);
    add(r, "\xe2\x96\x81", 1, -1), add(r, "a", 1, -2);
    open_vocabulary(r);
    CHECK_PIECES("a\xc3\xa9\xe4\xb8\xad"
                 "a",
                 0, " |a|<unk>|a");
    char text[64];
    size_t size = decode(ids, id_count, false, text);
    CHECK(size == 2 && memcmp(text, "aa", 2) == 0, "unknown tokens are not text");
    close_vocabulary();
    r = begin("gpt2", "gpt-2");
    add(r, "a", 1, 0);
    open_vocabulary(r);
    CHECK_PIECES("aba", 0, "a|a");
    close_vocabulary();
}

static void spaces_are_prefixed_and_trimmed_as_asked(void) {
    static const char *const want[2][2] = {{"a|  |a| ", "a| |a"}, {" |a|  |a| ", " |a| |a"}};
    for (int prefix = 0; prefix < 2; prefix++)
        for (int trim = 0; trim < 2; trim++) {
            recipe *r = begin_scores();
            add(r, "\xe2\x96\x81", 1, -2), add(r, "\xe2\x96\x81\xe2\x96\x81", 1, -1), add(r, "a", 1, -3);
            r->add_prefix = prefix, r->trim = trim;
            open_vocabulary(r);
            CHECK_PIECES("a  a ", 0, want[prefix][trim]);
            CHECK_PIECES("", 0, "");
            close_vocabulary();
        }
}

/* ---- special tokens ------------------------------------------------------------------------------------ */

static recipe *chat_recipe(bool scores) {
    recipe *r = scores ? begin_scores() : begin_bytes("gpt-2");
    if (scores) add(r, "\xe2\x96\x81", 1, -9);
    add(r, "<|a|>", 3, 0), add(r, "<|a|>b", 3, 0), add(r, "<tool>", 4, 0), add(r, "<|im_end|>", 3, 0),
        add(r, "<", 4, 0);
    return r;
}

static void control_tokens_come_only_when_asked_for(void) {
    open_vocabulary(chat_recipe(false));
    CHECK_PIECES("x<|a|>y", TOKENIZE_SPECIAL, "x|<|a|>|y");
    CHECK_PIECES("<|a|>b<|a|>c", TOKENIZE_SPECIAL, "<|a|>b|<|a|>|c");
    CHECK_PIECES("<|a|><|a", TOKENIZE_SPECIAL, "<|a|>|<|||a");
    CHECK(encode_bytes("<|a|>", 5, TOKENIZE_SPECIAL) == 1 && ids[0] == 256 && tokenizer_is_control(t, ids[0]),
          "control");
    encode_bytes("<|a|>b<|im_end|>", 16, 0);
    for (size_t i = 0; i < id_count; i++)
        CHECK(!tokenizer_is_control(t, ids[i]), "plain text gave control token %d", ids[i]);
    check_round_trip("<|a|>b<|im_end|>", 16, 0);
    check_round_trip("<|a|>b<|im_end|> \n<|a|>", 23, TOKENIZE_SPECIAL);
    close_vocabulary();
}

static void user_defined_tokens_always_come(void) {
    for (int kind = 0; kind < 2; kind++) {
        open_vocabulary(chat_recipe(kind));
        for (unsigned flags = 0; flags <= TOKENIZE_SPECIAL; flags += TOKENIZE_SPECIAL) {
            encode_bytes("<tool><", 7, flags);
            CHECK(id_count == 2 && tokenizer_piece(t, ids[0], false, NULL, 0) == 6, "%zu tokens", id_count);
            check_round_trip("a<tool> b <c", 12, flags);
        }
        close_vocabulary();
    }
}

/* SentencePiece texts that spell a control token by their merges do not become it either. */
static void merges_never_spell_control_tokens(void) {
    recipe *r = begin_scores();
    add(r, "\xe2\x96\x81", 1, -9), add(r, "<", 1, -9), add(r, "s", 1, -9), add(r, ">", 1, -9),
        add(r, "<s", 1, -1), add(r, "s>", 1, -2);
    add(r, "<0x", 1, -1), add(r, "<0x4", 1, -1), add(r, "<0x41", 1, -1);
    open_vocabulary(r);
    CHECK_PIECES("<s>", 0, " |<s|>");
    CHECK_PIECES("<s>", TOKENIZE_SPECIAL, "<s>");
    close_vocabulary();
    r = begin_bytes("gpt-2");
    add(r, "<|", 1, 0), add(r, "<|a", 3, 0);
    r->merges[0] = "< |", r->merges[1] = "<| a", r->merge_count = 2;
    open_vocabulary(r);
    CHECK_PIECES("<|a", 0, "<||a");
    close_vocabulary();
}

static void begin_and_end_tokens_come_when_asked_for(void) {
    recipe *r = chat_recipe(false);
    r->bos = 256, r->eos = 259;
    open_vocabulary(r);
    CHECK(tokenizer_bos(t) == 256 && tokenizer_eos(t) == 259 && !tokenizer_wants_bos(t) &&
              !tokenizer_wants_eos(t),
          "defaults");
    CHECK_PIECES("x", TOKENIZE_BOS, "<|a|>|x");
    CHECK_PIECES("x", TOKENIZE_EOS, "x|<|im_end|>");
    CHECK_PIECES("", TOKENIZE_BOS | TOKENIZE_EOS, "<|a|>|<|im_end|>");
    close_vocabulary();
    r = chat_recipe(false);
    r->add_bos = 1, r->add_eos = 1;
    open_vocabulary(r);
    CHECK(tokenizer_bos(t) == -1 && !tokenizer_wants_bos(t) && !tokenizer_wants_eos(t),
          "what is not there cannot be wanted");
    CHECK_PIECES("x", TOKENIZE_BOS | TOKENIZE_EOS, "x");
    close_vocabulary();
    r = chat_recipe(true);
    open_vocabulary(r);
    CHECK(tokenizer_bos(t) == 1 && tokenizer_eos(t) == 2 && tokenizer_wants_bos(t) && !tokenizer_wants_eos(t),
          "SentencePiece");
    close_vocabulary();
    r = chat_recipe(true);
    r->add_bos = 0, r->add_eos = 1, r->bos = 5;
    open_vocabulary(r);
    CHECK(tokenizer_bos(t) == 5 && !tokenizer_wants_bos(t) && tokenizer_wants_eos(t), "the file decides");
    close_vocabulary();
    r = begin_bytes("llama-bpe");
    r->bos = 0;
    open_vocabulary(r);
    CHECK(tokenizer_wants_bos(t), "llama-bpe wants one");
    close_vocabulary();
}

static void ends_of_turns_are_known(void) {
    recipe *r = begin_bytes("gpt-2");
    int32_t plain = add(r, "</s>", 4, 0), turn = add(r, "<end_of_turn>", 1, 0), end = add(r, "<|end|>", 3, 0);
    int32_t own = add(r, "<mine>", 3, 0), stop = add(r, "<stop>", 3, 0);
    r->eos = own;
    writer_open(&the_writer);
    write_recipe(&the_writer, r);
    writer_u32(&the_writer, "tokenizer.ggml.eot_token_id", (uint32_t)stop);
    CHECK(open_written() == CLLA_OK, "%s", error.text);
    CHECK(tokenizer_ends(t, own) && tokenizer_ends(t, stop) && tokenizer_ends(t, turn) &&
              tokenizer_ends(t, end),
          "they end");
    CHECK(!tokenizer_ends(t, plain) && !tokenizer_ends(t, 'a'), "they do not");
    CHECK(!tokenizer_ends(t, -1) && !tokenizer_ends(t, (int32_t)r->count), "no tokens");
    CHECK(tokenizer_is_control(t, turn), "an end of turn is control, whatever the file says");
    close_vocabulary();
    r = begin_bytes("gpt-4o");
    end = add(r, "<|end|>", 3, 0);
    int32_t back = add(r, "<|return|>", 3, 0), call = add(r, "<|call|>", 3, 0);
    open_vocabulary(r);
    CHECK(tokenizer_ends(t, back) && tokenizer_ends(t, call) && !tokenizer_ends(t, end),
          "<|end|> is within the message here");
    close_vocabulary();
}

static void phi3_specials_eat_the_space_behind_them(void) {
    for (int phi = 0; phi < 2; phi++) {
        recipe *r = begin_scores();
        add(r, "\xe2\x96\x81", 1, -9), add(r, "a", 1, -9), add(r, "<|user|>", 3, 0);
        r->name = phi ? "Phi-3 mini" : "Another";
        open_vocabulary(r);
        CHECK_PIECES("<|user|>\n \ta", TOKENIZE_SPECIAL, phi ? "<|user|>| |a" : "<|user|>| |\n| |\t|a");
        CHECK_PIECES("<s>\na", TOKENIZE_SPECIAL, "<s>| |\n|a");
        close_vocabulary();
    }
}

static void capacity_limits_what_is_written_not_what_is_counted(void) {
    open_vocabulary(begin_bytes("gpt-2"));
    int32_t few[3] = {-7, -7, -7};
    CHECK(tokenizer_encode(t, "abcdef", 6, 0, few, 2, &id_count, &error) == CLLA_OK && id_count == 6, "%zu",
          id_count);
    CHECK(few[0] == 'a' && few[1] == 'b' && few[2] == -7, "written beyond the capacity");
    CHECK(tokenizer_encode(t, "abc", 3, 0, NULL, 0, &id_count, &error) == CLLA_OK && id_count == 3, "%zu",
          id_count);
    char piece[4] = "zzz";
    CHECK(tokenizer_piece(t, 'a', false, piece, 0) == 1 && piece[0] == 'z', "a piece is only measured");
    CHECK(tokenizer_piece(t, -1, true, piece, 3) == 0 && tokenizer_piece(t, 256, true, piece, 3) == 0,
          "no tokens, no text");
    close_vocabulary();
}

/* ---- streams ------------------------------------------------------------------------------------------- */

static void the_stream_never_ends_in_half_a_character(void) {
    open_vocabulary(begin_bytes("gpt-2"));
    const char *text = "a\xc3\xa9\xe4\xb8\xad\xf0\x9f\x9a\x80z";
    detokenizer d = {{0}, 0, false};
    size_t at = 0, expected = 0;
    encode_bytes(text, strlen(text), 0);
    for (size_t i = 0; i < id_count; i++) {
        char part[128];
        size_t size = detokenizer_push(&d, t, ids[i], false, part);
        utf8_read read = utf8_next(text + expected, strlen(text) - expected);
        bool whole = i + 1 == expected + read.size;
        CHECK(size == (whole ? read.size : 0u), "byte %zu gives %zu", i, size);
        CHECK(memcmp(part, text + at, size) == 0, "byte %zu gives other text", i);
        at += size;
        if (whole) expected += read.size;
    }
    char rest[8];
    CHECK(detokenizer_finish(&d, rest) == 0 && at == strlen(text), "something is left");
    close_vocabulary();
}

static void broken_characters_come_out_replaced(void) {
    open_vocabulary(begin_bytes("gpt-2"));
    struct {
        uint8_t bytes[6];
        size_t count;
        const char *want;
    } cases[] = {{{0xe4, 0xb8}, 2, "\xef\xbf\xbd"},
                 {{0xe4, 0xb8, 'a'},
                  3,
                  "\xef\xbf\xbd"
                  "a"},
                 {{0xff, 'a', 0x80},
                  3,
                  "\xef\xbf\xbd"
                  "a\xef\xbf\xbd"},
                 {{0xf0, 0x9f, 0x9a, 0xf0, 0x9f}, 5, "\xef\xbf\xbd\xef\xbf\xbd"},
                 {{0xe4, 0xe4, 0xb8, 0xad}, 4, "\xef\xbf\xbd\xe4\xb8\xad"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int32_t list[6];
        char text[200], bytes[8];
        for (size_t k = 0; k < cases[i].count; k++) { /* tokens 0 to 255 are the bytes */
            list[k] = cases[i].bytes[k];
            CHECK(tokenizer_piece(t, list[k], false, bytes, 8) == 1 && (uint8_t)bytes[0] == cases[i].bytes[k],
                  "byte %d", list[k]);
        }
        size_t size = decode(list, cases[i].count, false, text);
        CHECK(size == strlen(cases[i].want) && memcmp(text, cases[i].want, size) == 0, "case %zu: %.*s", i,
              (int)size, text);
    }
    close_vocabulary();
}

static void the_first_space_of_a_run_is_dropped(void) {
    recipe *r = begin_scores();
    int32_t space = add(r, "\xe2\x96\x81", 1, -9), word = add(r, "\xe2\x96\x81hi", 1, -1),
            control = add(r, "<|u|>", 3, 0);
    open_vocabulary(r);
    struct {
        int32_t list[4];
        size_t count;
        const char *hidden, *shown;
    } cases[] = {{{word, word}, 2, "hi hi", "hi hi"},       {{space, word}, 2, " hi", " hi"},
                 {{1, word, word}, 3, "hi hi", "<s>hi hi"}, {{word, control, word}, 3, "hihi", "hi<|u|>hi"},
                 {{3 + 'x', word}, 2, "x hi", "x hi"},      {{-5, 9999, word}, 3, "hi", "hi"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[400];
        size_t size = decode(cases[i].list, cases[i].count, false, text);
        CHECK(size == strlen(cases[i].hidden) && memcmp(text, cases[i].hidden, size) == 0, "case %zu: %.*s",
              i, (int)size, text);
        size = decode(cases[i].list, cases[i].count, true, text);
        CHECK(size == strlen(cases[i].shown) && memcmp(text, cases[i].shown, size) == 0, "case %zu: %.*s", i,
              (int)size, text);
    }
    close_vocabulary();
    r->add_prefix = 0;
    open_vocabulary(r);
    char text[400];
    size_t size = decode(cases[0].list, 2, false, text);
    CHECK(size == 6 && memcmp(text, " hi hi", 6) == 0, "without a prefix nothing is dropped: %.*s", (int)size,
          text);
    close_vocabulary();
}

static void added_texts_come_out_as_they_are(void) {
    recipe *r = begin_bytes("gpt-2");
    int32_t odd = add(r, "two words \xe4\xb8\xad", 1, 0), user = add(r, "\xc4\xa0user", 4, 0),
            byte_like = add(r, "\xc4\xa0x", 1, 0);
    open_vocabulary(r);
    char text[200];
    int32_t list[] = {odd, user, byte_like};
    size_t size = decode(list, 3, false, text);
    CHECK(size == 13 + 6 + 2 && memcmp(text, "two words \xe4\xb8\xad\xc4\xa0user x", size) == 0, "%.*s",
          (int)size, text);
    close_vocabulary();
}

/* ---- WordPiece ----------------------------------------------------------------------------------------- */

static recipe *wordpiece_recipe(void) {
    recipe *r = begin("bert", NULL);
    static const char *const tokens[] = {"[PAD]",
                                         "[UNK]",
                                         "[CLS]",
                                         "[SEP]",
                                         "\342\226\201cafe",
                                         "s",
                                         "\342\226\201c",
                                         "afe",
                                         "\xe2\x96\x81,",
                                         "\xe2\x96\x81\xe4\xb8\xad",
                                         "\342\226\201a"};
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) add(r, tokens[i], i < 4 ? 3 : 1, 0);
    r->unknown = 1;
    return r;
}

static void open_wordpiece(void) {
    writer_open(&the_writer);
    write_recipe(&the_writer, wordpiece_recipe());
    writer_u32(&the_writer, "tokenizer.ggml.cls_token_id", 2);
    writer_u32(&the_writer, "tokenizer.ggml.seperator_token_id", 3);
    CHECK(open_written() == CLLA_OK, "%s", error.text);
}

static void wordpiece_normalises_and_takes_the_longest(void) {
    open_wordpiece();
    CHECK_PIECES("cafe", 0, " cafe");
    CHECK_PIECES(" Caf\xc3\x89s,\n\xe4\xb8\xad"
                 "a",
                 0, " cafe|s| ,| \xe4\xb8\xad| a");
    CHECK_PIECES("cafe\xcc\x81\xe2\x80\x8b", 0, " cafe");
    CHECK_PIECES("cafex a", 0, " [UNK]| a");
    CHECK_PIECES("cc", 0, " [UNK]");
    CHECK_PIECES("a", TOKENIZE_BOS | TOKENIZE_EOS, " [CLS]| a| [SEP]");
    CHECK(tokenizer_wants_bos(t) && tokenizer_wants_eos(t) && tokenizer_bos(t) == 2 && tokenizer_eos(t) == 3,
          "conventions");
    char text[400];
    encode_bytes("CAF\xc3\xa9s ,  a", 11, 0);
    size_t size = decode(ids, id_count, false, text);
    CHECK(size == 9 && memcmp(text, "cafes , a", 9) == 0, "%.*s", (int)size, text);
    char word[203];
    memset(word, 'c', 100);
    word[100] = 0;
    CHECK(strcmp(pieces_of(word, 0), " [UNK]") == 0, "no piece begins with a second c");
    close_vocabulary();
}

/* ---- metadata that is wrong ---------------------------------------------------------------------------- */

/* A header written by `write`, which must be refused with `want` and a sentence that holds `names`. */
static void check_refused(void (*write)(gguf_writer *), clla_status want, const char *names) {
    writer_open(&the_writer);
    write(&the_writer);
    error.text[0] = 0;
    clla_status status = open_written();
    CHECK(status == want && t == NULL, "%s: %s (%s)", names, clla_status_name(status), error.text);
    CHECK(strstr(error.text, names), "\"%s\" does not name %s", error.text, names);
    close_vocabulary();
}

static void put_tokens(gguf_writer *w, size_t count) {
    writer_array(w, "tokenizer.ggml.tokens", GGUF_STRING, count);
    for (size_t i = 0; i < count; i++) put_text(w, "x");
}
static void put_numbers(gguf_writer *w, const char *key, gguf_type type, size_t count, uint32_t value) {
    writer_array(w, key, type, count);
    for (size_t i = 0; i < count; i++) put(w, value, type == GGUF_UINT8 ? 1 : 4);
}
static void put_merge(gguf_writer *w, const char *merge) {
    writer_array(w, "tokenizer.ggml.merges", GGUF_STRING, 1);
    put_text(w, merge);
}
static void model(gguf_writer *w, const char *name) { writer_text(w, "tokenizer.ggml.model", name); }

static void no_model(gguf_writer *w) { put_tokens(w, 2); }
static void other_model(gguf_writer *w) { model(w, "rwkv"), put_tokens(w, 2); }
static void number_model(gguf_writer *w) { writer_u32(w, "tokenizer.ggml.model", 3); }
static void other_pre(gguf_writer *w) {
    model(w, "gpt2"), writer_text(w, "tokenizer.ggml.pre", "superb\xff"), put_tokens(w, 2);
}
static void no_tokens(gguf_writer *w) { model(w, "gpt2"), put_merge(w, "a b"); }
static void empty_tokens(gguf_writer *w) { model(w, "gpt2"), put_merge(w, "a b"), put_tokens(w, 0); }
static void number_tokens(gguf_writer *w) {
    model(w, "gpt2"), put_numbers(w, "tokenizer.ggml.tokens", GGUF_INT32, 3, 1);
}
static void one_token(gguf_writer *w) { model(w, "gpt2"), writer_text(w, "tokenizer.ggml.tokens", "a"); }
static void no_merges(gguf_writer *w) { model(w, "gpt2"), put_tokens(w, 2); }
static void short_merge(gguf_writer *w) { model(w, "gpt2"), put_tokens(w, 2), put_merge(w, "ab"); }
static void empty_merge(gguf_writer *w) { model(w, "gpt2"), put_tokens(w, 2), put_merge(w, ""); }
static void half_merge(gguf_writer *w) { model(w, "gpt2"), put_tokens(w, 2), put_merge(w, "a "); }
static void no_scores(gguf_writer *w) { model(w, "llama"), put_tokens(w, 2); }
static void few_scores(gguf_writer *w) {
    model(w, "llama"), put_tokens(w, 3), put_numbers(w, "tokenizer.ggml.scores", GGUF_FLOAT32, 2, 0);
}
static void few_types(gguf_writer *w) {
    no_merges(w), put_merge(w, "a b"), put_numbers(w, "tokenizer.ggml.token_type", GGUF_INT32, 1, 1);
}
static void many_types(gguf_writer *w) {
    no_merges(w), put_merge(w, "a b"), put_numbers(w, "tokenizer.ggml.token_type", GGUF_INT32, 3, 1);
}
static void odd_types(gguf_writer *w) {
    no_merges(w), put_merge(w, "a b"), put_numbers(w, "tokenizer.ggml.token_type", GGUF_INT32, 2, 7);
}
static void huge_types(gguf_writer *w) {
    no_merges(w), put_merge(w, "a b"),
        put_numbers(w, "tokenizer.ggml.token_type", GGUF_UINT32, 2, 0xffffffff);
}
static void half_types(gguf_writer *w) {
    no_merges(w), put_merge(w, "a b"),
        put_numbers(w, "tokenizer.ggml.token_type", GGUF_FLOAT32, 2, 0x3fc00000);
}
static void text_types(gguf_writer *w) {
    no_merges(w), put_merge(w, "a b"), writer_array(w, "tokenizer.ggml.token_type", GGUF_STRING, 0);
}
static void far_bos(gguf_writer *w) {
    no_merges(w), put_merge(w, "a b"), writer_u32(w, "tokenizer.ggml.bos_token_id", 2);
}
static void text_eos(gguf_writer *w) {
    no_merges(w), put_merge(w, "a b"), writer_text(w, "tokenizer.ggml.eos_token_id", "x");
}
static void far_eot(gguf_writer *w) {
    no_merges(w), put_merge(w, "a b"), writer_u32(w, "tokenizer.ggml.eot_token_id", 9);
}
static void text_flag(gguf_writer *w) {
    no_merges(w), put_merge(w, "a b"), writer_text(w, "tokenizer.ggml.add_bos_token", "yes");
}
static void long_token(gguf_writer *w) {
    static char text[5001];
    memset(text, 'a', 5000);
    model(w, "gpt2"), put_merge(w, "a b"), writer_array(w, "tokenizer.ggml.tokens", GGUF_STRING, 1),
        put_text(w, text);
}

static void wrong_metadata_is_refused_by_name(void) {
    check_refused(no_model, CLLA_BAD_FILE, "tokenizer.ggml.model");
    check_refused(other_model, CLLA_UNSUPPORTED_TOKENIZER, "\"rwkv\"");
    check_refused(number_model, CLLA_BAD_FILE, "tokenizer.ggml.model");
    check_refused(other_pre, CLLA_UNSUPPORTED_TOKENIZER, "\"superb");
    check_refused(no_tokens, CLLA_BAD_FILE, "tokenizer.ggml.tokens is missing");
    check_refused(empty_tokens, CLLA_BAD_FILE, "tokenizer.ggml.tokens is empty");
    check_refused(number_tokens, CLLA_BAD_FILE, "tokenizer.ggml.tokens");
    check_refused(one_token, CLLA_BAD_FILE, "tokenizer.ggml.tokens");
    check_refused(no_merges, CLLA_BAD_FILE, "tokenizer.ggml.merges is missing");
    check_refused(short_merge, CLLA_BAD_FILE, "tokenizer.ggml.merges[0]");
    check_refused(empty_merge, CLLA_BAD_FILE, "tokenizer.ggml.merges[0]");
    check_refused(half_merge, CLLA_BAD_FILE, "tokenizer.ggml.merges[0]");
    check_refused(no_scores, CLLA_BAD_FILE, "tokenizer.ggml.scores is missing");
    check_refused(few_scores, CLLA_BAD_FILE, "tokenizer.ggml.scores has 2");
    check_refused(few_types, CLLA_BAD_FILE, "tokenizer.ggml.token_type has 1");
    check_refused(many_types, CLLA_BAD_FILE, "tokenizer.ggml.token_type has 3");
    check_refused(odd_types, CLLA_BAD_FILE, "tokenizer.ggml.token_type[0]");
    check_refused(huge_types, CLLA_BAD_FILE, "tokenizer.ggml.token_type[0]");
    check_refused(half_types, CLLA_BAD_FILE, "tokenizer.ggml.token_type[0]");
    check_refused(text_types, CLLA_BAD_FILE, "tokenizer.ggml.token_type");
    check_refused(far_bos, CLLA_BAD_FILE, "tokenizer.ggml.bos_token_id is 2");
    check_refused(text_eos, CLLA_BAD_FILE, "tokenizer.ggml.eos_token_id");
    check_refused(far_eot, CLLA_BAD_FILE, "tokenizer.ggml.eot_token_id is 9");
    check_refused(text_flag, CLLA_BAD_FILE, "tokenizer.ggml.add_bos_token");
    check_refused(long_token, CLLA_BAD_FILE, "tokenizer.ggml.tokens[0]");
}

/* Twice the same text, no text, merges of what is no token or twice the same: none of it changes what the rest does. */
static void odd_vocabularies_still_work(void) {
    recipe *r = begin_bytes("gpt-2");
    add_merge(r, "a", "b");
    int32_t twice = add(r, "ab", 1, 0), empty = add(r, "", 1, 0), broken = add(r, "\xff\xfe", 1, 0);
    int32_t no_control = add(r, "", 3, 0);
    r->merges[r->merge_count++] = "a nothing", r->merges[r->merge_count++] = "nothing b",
    r->merges[r->merge_count++] = "b c";
    r->merges[r->merge_count++] = "a b";
    open_vocabulary(r);
    CHECK_PIECES("abc ab", TOKENIZE_SPECIAL, "ab|c| |ab");
    CHECK(encode_bytes("ab", 2, 0) == 1 && ids[0] == 256, "the first of two");
    char text[100];
    CHECK(decode(&twice, 1, true, text) == 2 && memcmp(text, "ab", 2) == 0, "the second has its text");
    CHECK(decode(&empty, 1, true, text) == 0 && decode(&no_control, 1, true, text) == 0, "no text");
    CHECK(decode(&broken, 1, true, text) == 6, "two replacements");
    close_vocabulary();
    r = begin_scores();
    add(r, "a", 1, (float)NAN), add(r, "aa", 1, (float)NAN), add(r, "aaa", 1, INFINITY),
        add(r, "aaaa", 1, -INFINITY);
    add(r, "<0xZZ>", 6, 0);
    open_vocabulary(r);
    encode_bytes("aaaaa", 5, 0);
    CHECK(id_count == 3 + 2, "NaN scores merge last, but merge: %zu", id_count);
    close_vocabulary();
}

/* ---- memory -------------------------------------------------------------------------------------------- */

static void failed_allocations_leak_nothing(void) {
    for (int kind = 0; kind < 3; kind++) {
        if (kind == 2)
            open_wordpiece();
        else
            open_vocabulary(chat_recipe(kind == 1));
        size_t before = memory_in_use();
        tokenizer *other = NULL;
        memory_fail_at(1);
        CHECK(tokenizer_create(&the_header, &other, &error) == CLLA_OUT_OF_MEMORY && !other,
              "no memory, yet a tokenizer");
        memory_fail_at(0);
        CHECK(memory_in_use() == before, "%zu bytes leaked", memory_in_use() - before);
        static char text[3000];
        for (size_t i = 0; i < sizeof text; i++)
            text[i] = i % 7 == 3 && i < 300 ? '\xff' : "ab c<|a|>"[i % 9];
        for (long n = 1;; n++) {
            memory_fail_at(n);
            clla_status status =
                tokenizer_encode(t, text, sizeof text, TOKENIZE_SPECIAL, ids, IDS, &id_count, &error);
            memory_fail_at(0);
            CHECK(memory_in_use() == before, "kind %d: allocation %ld leaked %zu", kind, n,
                  memory_in_use() - before);
            if (status == CLLA_OK) {
                CHECK(n > 2, "only %ld allocations", n);
                break;
            }
            CHECK(status == CLLA_OUT_OF_MEMORY && id_count == 0 && error.text[0], "allocation %ld: %s", n,
                  clla_status_name(status));
        }
        close_vocabulary();
    }
    tokenizer_free(NULL);
}

int main(void) {
    RUN("byte pairs merge as defined", byte_pairs_merge_as_defined);
    RUN("scores merge as defined", scores_merge_as_defined);
    RUN("long words take little more than linear time", long_words_take_linear_space_and_little_more_time);
    RUN("merges can be ignored for whole words", merges_can_be_ignored_for_whole_words);
    RUN("digits split by the pre-tokenizer's name", digits_and_suffixes_split_by_name);
    RUN("every character round-trips", every_byte_round_trips);
    RUN("invalid UTF-8 is read as replacements", invalid_utf8_is_read_as_replacements);
    RUN("unknown characters become unknown tokens", unknown_characters_become_unknown_tokens);
    RUN("spaces are prefixed and trimmed as asked", spaces_are_prefixed_and_trimmed_as_asked);
    RUN("control tokens come only when asked for", control_tokens_come_only_when_asked_for);
    RUN("user-defined tokens always come", user_defined_tokens_always_come);
    RUN("merges never spell control tokens", merges_never_spell_control_tokens);
    RUN("begin and end tokens come when asked for", begin_and_end_tokens_come_when_asked_for);
    RUN("ends of turns are known", ends_of_turns_are_known);
    RUN("the special tokens of Phi-3 eat the space behind them", phi3_specials_eat_the_space_behind_them);
    RUN("capacity limits what is written, not what is counted",
        capacity_limits_what_is_written_not_what_is_counted);
    RUN("the stream never ends in half a character", the_stream_never_ends_in_half_a_character);
    RUN("broken characters come out replaced", broken_characters_come_out_replaced);
    RUN("the first space of a run is dropped", the_first_space_of_a_run_is_dropped);
    RUN("added texts come out as they are", added_texts_come_out_as_they_are);
    RUN("WordPiece normalises and takes the longest", wordpiece_normalises_and_takes_the_longest);
    RUN("wrong metadata is refused by name", wrong_metadata_is_refused_by_name);
    RUN("odd vocabularies still work", odd_vocabularies_still_work);
    RUN("failed allocations leak nothing", failed_allocations_leak_nothing);
    return test_report();
}
