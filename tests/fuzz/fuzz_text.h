/* fuzz_text.h: what the harnesses for text share: tokenizers from small vocabularies, chosen by the first bytes of an
 * input, and the check that what comes out is UTF-8. */
#ifndef CLLA_FUZZ_TEXT_H
#define CLLA_FUZZ_TEXT_H

#include <stdio.h>

#include "../c/gguf_writer.h"
#include "arena.h"
#include "tokenizer.h"
#include "unicode.h"

static inline void need(bool truth, const char *what) {
    if (truth) return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

typedef struct fuzz_vocabulary {
    gguf_writer w;
    gguf g;
    tokenizer *t;
    char texts[600][16];
    int32_t types[600];
    float scores[600];
    size_t count;
    bool byte_level, word_pieces;
} fuzz_vocabulary;

static const char *const fuzz_rules[] = {
    "default", "gpt-2",  "smollm", "llama-bpe",    "qwen2",          "qwen35",      "jais-2",
    "gpt-4o",  "tekken", "youtu",  "deepseek-llm", "deepseek-coder", "deepseek-v3", "spark2_5",
    "bloom",   "viking", "falcon", "minicpm5",     "seed-coder",     "ufakzeka"};
enum { FUZZ_RULES = sizeof fuzz_rules / sizeof fuzz_rules[0] };

static inline void fuzz_add(fuzz_vocabulary *v, const char *text, int32_t type) {
    snprintf(v->texts[v->count], sizeof v->texts[0], "%s", text);
    v->types[v->count] = type;
    v->scores[v->count] = -(float)(v->count % 17);
    v->count++;
}

/* The characters that stand for bytes, by their definition; merges of what text is made of. */
static inline void fuzz_byte_level(fuzz_vocabulary *v, const char *rule) {
    static const char *const merges[] = {
        "a a", "aa aa", "\xc4\xa0 a", "\xc4\xa0 \xc4\xa0", "\xc3\xa4 \xc2\xb8", "\xc3\xa4\xc2\xb8 \xc5\x83",
        "1 2", "< |",   "' s"};
    enum { MERGES = sizeof merges / sizeof merges[0] };
    uint32_t hidden = 256;
    for (uint32_t b = 0; b < 256; b++) {
        bool printable = (b > 32 && b < 127) || (b > 160 && b != 173);
        char text[5] = {0};
        utf8_put(printable ? b : hidden++, text);
        fuzz_add(v, text, 1);
    }
    writer_text(&v->w, "tokenizer.ggml.model", "gpt2");
    writer_text(&v->w, "tokenizer.ggml.pre", rule);
    writer_array(&v->w, "tokenizer.ggml.merges", GGUF_STRING, MERGES);
    for (size_t i = 0; i < MERGES; i++) {
        char joined[16];
        const char *space = strchr(merges[i], ' ');
        snprintf(joined, sizeof joined, "%.*s%s", (int)(space - merges[i]), merges[i], space + 1);
        fuzz_add(v, joined, 1);
        put_text(&v->w, merges[i]);
    }
}

static inline void fuzz_scores(fuzz_vocabulary *v, bool inner_spaces) {
    static const char *const pieces[] = {"a",
                                         "b",
                                         "ab",
                                         "\xe2\x96\x81",
                                         "\xe2\x96\x81\xe2\x96\x81",
                                         "\342\226\201a",
                                         "aa",
                                         "aaaa",
                                         "\xe4\xb8\xad",
                                         "s>"};
    writer_text(&v->w, "tokenizer.ggml.model", "llama");
    fuzz_add(v, "<unk>", 2), fuzz_add(v, "<s>", 3), fuzz_add(v, "</s>", 3);
    for (unsigned b = 0; b < 256; b++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", b);
        fuzz_add(v, text, 6);
    }
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) fuzz_add(v, pieces[i], 1);
    if (inner_spaces) fuzz_add(v, "a\xe2\x96\x81", 1);
}

static inline void fuzz_word_pieces(fuzz_vocabulary *v) {
    static const char *const pieces[] = {
        "\342\226\201a", "a", "b", "\342\226\201b", "\xe2\x96\x81.", "\xe2\x96\x81\xe4\xb8\xad", "ab",
        "\342\226\201e"};
    writer_text(&v->w, "tokenizer.ggml.model", "bert");
    writer_u32(&v->w, "tokenizer.ggml.unknown_token_id", 0);
    writer_u32(&v->w, "tokenizer.ggml.cls_token_id", 1);
    writer_u32(&v->w, "tokenizer.ggml.seperator_token_id", 2);
    fuzz_add(v, "[UNK]", 3), fuzz_add(v, "[CLS]", 3), fuzz_add(v, "[SEP]", 3);
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) fuzz_add(v, pieces[i], 1);
}

static inline void fuzz_open(fuzz_vocabulary *v, uint8_t choice, uint8_t options) {
    size_t used;
    clla_error error;
    memset(v, 0, sizeof *v);
    writer_open(&v->w);
    v->byte_level = choice % 32 < FUZZ_RULES;
    v->word_pieces = choice % 32 >= 28;
    if (v->byte_level)
        fuzz_byte_level(v, fuzz_rules[choice % 32]);
    else if (v->word_pieces)
        fuzz_word_pieces(v);
    else
        fuzz_scores(v, options & 1);
    fuzz_add(v, "<|im_end|>", 3), fuzz_add(v, "<|im", 4), fuzz_add(v, "<tool>", 4),
        fuzz_add(v, "\xc3\xa9\xe4", 4);
    if (options & 2) writer_bool(&v->w, "tokenizer.ggml.add_space_prefix", false);
    if (options & 4) writer_text(&v->w, "general.name", "phi-3");
    writer_array(&v->w, "tokenizer.ggml.tokens", GGUF_STRING, v->count);
    for (size_t i = 0; i < v->count; i++) put_text(&v->w, v->texts[i]);
    writer_array(&v->w, "tokenizer.ggml.token_type", GGUF_INT32, v->count);
    for (size_t i = 0; i < v->count; i++) put(&v->w, (uint32_t)v->types[i], 4);
    writer_array(&v->w, "tokenizer.ggml.scores", GGUF_FLOAT32, v->count);
    for (size_t i = 0; i < v->count; i++) put(&v->w, writer_float_bits(v->scores[i]), 4);
    writer_end(&v->w);
    gguf_open(&v->g);
    need(gguf_feed(&v->g, v->w.bytes, v->w.size, &used, &error) == CLLA_OK && v->g.complete,
         "the vocabulary is a header");
    need(tokenizer_create(&v->g, &v->t, &error) == CLLA_OK, "the vocabulary is a tokenizer");
}

static inline void fuzz_close(fuzz_vocabulary *v) {
    tokenizer_free(v->t);
    gguf_close(&v->g);
    writer_close(&v->w);
}

/* Vocabularies are few: each is opened once. */
static inline const fuzz_vocabulary *fuzz_vocabulary_of(uint8_t choice, uint8_t options) {
    static fuzz_vocabulary *all[32][8];
    fuzz_vocabulary **v = &all[choice % 32][options % 8];
    if (!*v) {
        *v = calloc(1, sizeof **v);
        need(*v != NULL, "memory for a vocabulary");
        fuzz_open(*v, choice, options);
    }
    return *v;
}

static inline void need_utf8(const char *text, size_t size) {
    for (size_t i = 0; i < size;) {
        utf8_read read = utf8_next(text + i, size - i);
        need(read.kind == UTF8_VALID, "what comes out is UTF-8");
        i += read.size;
    }
}

#endif
