/* fuzz_tokenizer.c: any bytes as text, through small vocabularies of every kind. The first two bytes choose vocabulary
 * and options, the third the flags. The ids must be in the vocabulary, measuring must tell their number, and what is
 * decoded must be the text, its invalid parts replaced, where the kind keeps everything.
 *
 * Where the first byte is 128 or more, the rest damages the vocabulary instead, three bytes a change: what is still
 * accepted must still encode and decode. */
#include "fuzz_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_MAX = 1 << 16 };

static char valid[3 * TEXT_MAX], back[1 << 20];

/* The text with its invalid parts replaced, by the definition. */
static size_t replace_invalid(const char *text, size_t size) {
    size_t at = 0;
    for (size_t i = 0; i < size;) {
        utf8_read read = utf8_next(text + i, size - i);
        at += utf8_put(read.point, valid + at);
        i += read.size;
    }
    return at;
}

static size_t decode(const tokenizer *t, const int32_t *ids, size_t count) {
    detokenizer d = {{0}, 0, false};
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        need(at + tokenizer_piece_max(t) + 8 < sizeof back, "the text is not that long");
        size_t written = detokenizer_push(&d, t, ids[i], true, back + at);
        need_utf8(back + at, written);
        at += written;
    }
    return at + detokenizer_finish(&d, back + at);
}

/* WordPiece forgets; SentencePiece reads U+2581 as a space; Phi-3's tokens eat spaces; tokens that end within a
 * character leave a broken one behind. */
static bool keeps_everything(const fuzz_vocabulary *v, uint8_t options, size_t size) {
    bool sentencepiece = !v->byte_level && !v->word_pieces;
    for (size_t i = 0; i + 2 < size; i++) {
        if (sentencepiece && memcmp(valid + i, "\xe2\x96\x81", 3) == 0) return false;
        if (memcmp(valid + i, "\xc3\xa9\xe4", 3) == 0) return false;
    }
    return !v->word_pieces && !(options & 4);
}

static void use(const tokenizer *t) {
    static const char text[] = " a aaaa ab<|im_end|>b<tool>\xe4\xb8\xad 12 's\xff \xc3\xa9\xe4";
    int32_t ids[256];
    size_t count, room = tokenizer_piece_max(t);
    need(tokenizer_encode(t, text, sizeof text, TOKENIZE_SPECIAL, ids, 256, &count, NULL) == CLLA_OK, "it encodes");
    char *piece = malloc(room);
    need(piece != NULL, "memory for a piece");
    detokenizer d = {{0}, 0, false};
    for (size_t i = 0; i < count && i < 256; i++) {
        need(ids[i] >= 0 && (uint32_t)ids[i] < tokenizer_size(t), "ids are in the vocabulary");
        need_utf8(piece, detokenizer_push(&d, t, ids[i], i % 2, piece));
    }
    free(piece);
}

static int run_damaged(const uint8_t *data, size_t size) {
    const fuzz_vocabulary *v = fuzz_vocabulary_of(data[0], data[1]);
    size_t before = memory_in_use(), used;
    uint8_t *bytes = malloc(v->w.size);
    need(bytes != NULL, "memory for a header");
    memcpy(bytes, v->w.bytes, v->w.size);
    for (size_t i = 2; i + 2 < size; i += 3) bytes[(data[i] | data[i + 1] << 8) % (int)v->w.size] = data[i + 2];
    gguf g;
    tokenizer *t = NULL;
    clla_error error = {{0}};
    gguf_open(&g);
    if (gguf_feed(&g, bytes, v->w.size, &used, &error) == CLLA_OK && g.complete) {
        clla_status status = tokenizer_create(&g, &t, &error);
        need((status == CLLA_OK) == (t != NULL) && (t || error.text[0]), "a tokenizer or a sentence");
    }
    if (t) use(t);
    tokenizer_free(t);
    gguf_close(&g);
    free(bytes);
    need(memory_in_use() == before, "nothing leaks");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 3 || size > TEXT_MAX) return 0;
    if (data[0] >= 128) return run_damaged(data, size);
    const fuzz_vocabulary *v = fuzz_vocabulary_of(data[0], data[1]);
    unsigned flags = data[2] & (TOKENIZE_BOS | TOKENIZE_SPECIAL | TOKENIZE_EOS);
    const char *text = (const char *)data + 3;
    size_t length = size - 3, before = memory_in_use(), measured, count;
    clla_error error;
    need(tokenizer_encode(v->t, text, length, flags, NULL, 0, &measured, &error) == CLLA_OK,
         "text can be measured");
    int32_t *ids = malloc((measured + 1) * sizeof *ids);
    need(ids != NULL, "memory for the ids");
    need(tokenizer_encode(v->t, text, length, flags, ids, measured, &count, &error) == CLLA_OK,
         "text can be encoded");
    need(count == measured, "measuring tells the number");
    need(memory_in_use() == before, "nothing leaks");
    for (size_t i = 0; i < count; i++) {
        need(ids[i] >= 0 && (uint32_t)ids[i] < tokenizer_size(v->t), "ids are in the vocabulary");
        need((flags != 0) | !tokenizer_is_control(v->t, ids[i]) | v->word_pieces,
             "plain text gives no control tokens");
    }
    size_t valid_size = replace_invalid(text, length), back_size = decode(v->t, ids, count);
    if (!(flags & (TOKENIZE_BOS | TOKENIZE_EOS)) && keeps_everything(v, data[1], valid_size))
        need(back_size == valid_size && memcmp(back, valid, back_size) == 0, "the text comes back");
    free(ids);
    return 0;
}
