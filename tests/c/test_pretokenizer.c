/* test_pretokenizer.c: the splitting rules against tests/vectors/text/splits.txt, where an independent implementation
 * ran the published regular expressions. Run from the repository's root. */
#include "test.h"

#include <stdint.h>
#include <stdlib.h>

#include "pretokenizer.h"

enum { TEXTS = 60, LINE = 1 << 16 };

static char line[LINE], texts[TEXTS][LINE / 8];
static size_t sizes[TEXTS];

static unsigned digit(char c) { return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10); }

static void read_text(size_t i, const char *hex) {
    for (sizes[i] = 0; *hex >= '0'; hex += 2)
        texts[i][sizes[i]++] = (char)(digit(hex[0]) << 4 | digit(hex[1]));
}

typedef struct words {
    const char *at;    /* where the next word must begin */
    const char *wants; /* the line's remaining lengths */
    size_t count;
    bool right;
} words;

static bool check_word(void *context, const char *word, size_t size) {
    words *w = context;
    char *end;
    unsigned long want = strtoul(w->wants, &end, 10);
    w->right = w->right && end != w->wants && word == w->at && size == want;
    w->at = word + size;
    w->wants = end;
    w->count++;
    return true;
}

static void check_split(const char *name, const char *lengths, size_t i) {
    const pretokenizer *p = pretokenizer_find(name, strlen(name));
    CHECK(p, "%s is not known", name);
    if (!p) return;
    words w = {.at = texts[i], .wants = lengths, .right = true};
    bool done = pretokenizer_split(p, texts[i], sizes[i], check_word, &w);
    CHECK(done && w.right && w.at == texts[i] + sizes[i] && w.wants[strspn(w.wants, " \n")] == 0,
          "%s, text %zu: word %zu differs", name, i, w.count);
}

static void rules_cut_as_published(void) {
    FILE *file = fopen("tests/vectors/text/splits.txt", "rb");
    CHECK(file, "tests/vectors/text/splits.txt is missing: run this from the repository's root");
    if (!file) return;
    size_t read = 0, splits = 0;
    while (fgets(line, sizeof line, file)) {
        char *space = strchr(line, ' ');
        bool ends = space == NULL; /* a text without words has no lengths */
        if (ends) space = line + strcspn(line, "\n");
        *space = 0;
        if (strcmp(line, "text") == 0)
            read_text(read++, space + 1);
        else
            check_split(line, ends ? "" : space + 1, splits++ % TEXTS);
    }
    fclose(file);
    CHECK(read == TEXTS && splits == 22 * TEXTS, "%zu texts and %zu splits", read, splits);
}

static void unknown_names_are_not_guessed(void) {
    static const char *const unknown[] = {"",      "gpt",    "gpt-22",  "gpt-2 phi-2",
                                          "llama", " gpt-2", "kimi-k2", "superbpe"};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        CHECK(!pretokenizer_find(unknown[i], strlen(unknown[i])), "\"%s\" is taken for a rule set",
              unknown[i]);
    CHECK(pretokenizer_find("gpt-2x", 5) && pretokenizer_find("qwen2", 5), "names are not terminated");
}

static bool count_word(void *context, const char *word, size_t size) {
    (void)word, (void)size;
    return ++*(size_t *)context < 3;
}

static void cutting_stops_when_told(void) {
    size_t count = 0;
    const pretokenizer *p = pretokenizer_find("gpt-2", 5);
    CHECK(!pretokenizer_split(p, "a b c d e", 9, count_word, &count) && count == 3, "%zu words", count);
    count = 0;
    CHECK(pretokenizer_split(p, "a b", 3, count_word, &count) && count == 2, "%zu words", count);
}

static bool sum_word(void *context, const char *word, size_t size) {
    (void)word;
    *(size_t *)context += size;
    return true;
}

/* Long runs of one kind would take hours if any rule looked at the rest of the run at each place. */
static void time_is_linear(void) {
    enum { SIZE = 20000 };
    static const char *const names[] = {"default",      "gpt-2",          "llama-bpe",   "qwen2",   "jais-2",
                                        "gpt-4o",       "tekken",         "youtu",       "bloom",   "falcon",
                                        "deepseek-llm", "deepseek-coder", "deepseek-v3", "spark2_5"};
    static const char *const runs[] = {
        " ",         "\n",  "a", "A", "1", "!", "'", "\xe4\xb8\xad", "\xcc\x81", "A\xe4\xb8\xad",
        " \xc2\xa0", "'\t", "a1"};
    char *text = malloc(SIZE + 8);
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++)
        for (size_t r = 0; r < sizeof runs / sizeof runs[0]; r++) {
            size_t unit = strlen(runs[r]), size = 0, sum = 0;
            for (; size + unit <= SIZE; size += unit) memcpy(text + size, runs[r], unit);
            text[size++] = '.';
            pretokenizer_split(pretokenizer_find(names[n], strlen(names[n])), text, size, sum_word, &sum);
            CHECK(sum == size, "%s, run %zu: %zu bytes of %zu", names[n], r, sum, size);
        }
    free(text);
}

int main(void) {
    RUN("rules cut as published", rules_cut_as_published);
    RUN("unknown names are not guessed", unknown_names_are_not_guessed);
    RUN("cutting stops when told", cutting_stops_when_told);
    RUN("time is linear in the text", time_is_linear);
    return test_report();
}
