/* tokenizer.h: text to token ids and back, from the metadata of a GGUF file.
 *
 * Three kinds (tokenizer.ggml.model): "gpt2", byte-level byte-pair encoding with a pre-tokenizer named by
 * tokenizer.ggml.pre; "llama", SentencePiece with scores, byte fallback and space prefix; "bert", WordPiece. Other kinds
 * and other pre-tokenizers are refused by name. */
#ifndef CLLA_TOKENIZER_H
#define CLLA_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gguf.h"
#include "status.h"

typedef struct tokenizer tokenizer;

enum { /* flags of tokenizer_encode */
    TOKENIZE_BOS = 1,     /* put the beginning-of-sequence token in front (even where the model does not ask for it) */
    TOKENIZE_SPECIAL = 2, /* text that spells a control token ("<|im_end|>") becomes that token; off: it is plain text */
    TOKENIZE_EOS = 4
};

/* Build from a complete header. g must outlive the tokenizer: token texts stay in the header. */
clla_status tokenizer_create(const gguf *g, tokenizer **t, clla_error *error);
void tokenizer_free(tokenizer *t); /* NULL is fine */

uint32_t tokenizer_size(const tokenizer *t);        /* tokens in the vocabulary */
int32_t tokenizer_bos(const tokenizer *t);          /* -1: none; likewise the others */
int32_t tokenizer_eos(const tokenizer *t);
bool tokenizer_wants_bos(const tokenizer *t);       /* tokenizer.ggml.add_bos_token, or the kind's default */
bool tokenizer_wants_eos(const tokenizer *t);
bool tokenizer_ends(const tokenizer *t, int32_t id); /* end of sequence, of turn or of message: generation stops here */
bool tokenizer_is_control(const tokenizer *t, int32_t id);

/* Encode `size` bytes of UTF-8. Invalid UTF-8 is not an error: the maximal invalid parts are read as U+FFFD.
 * Writes at most `capacity` ids and always the whole number of ids in *count, so a first call may measure.
 * Fails only with OUT_OF_MEMORY. */
clla_status tokenizer_encode(const tokenizer *t, const char *text, size_t size, unsigned flags, int32_t *ids,
                             size_t capacity, size_t *count, clla_error *error);

/* The bytes of one token (not zero-terminated; possibly part of a UTF-8 character). Control tokens give their text when
 * `special`, else nothing. Returns the whole length, writes at most capacity bytes. */
size_t tokenizer_piece(const tokenizer *t, int32_t id, bool special, char *bytes, size_t capacity);

/* A stream of tokens to a stream of UTF-8 that never ends in half a character. Start from {0}. */
typedef struct detokenizer {
    char pending[8]; /* the beginning of a character that is not complete */
    uint8_t pending_size;
    bool started; /* SentencePiece drops the space in front of the first word */
} detokenizer;

/* Append a token; writes what is complete to `text` and returns its length. *text needs room for the longest piece + 8
 * bytes: tokenizer_piece_max(). What can never become a character comes out as U+FFFD. */
size_t tokenizer_piece_max(const tokenizer *t);
size_t detokenizer_push(detokenizer *d, const tokenizer *t, int32_t id, bool special, char *text);

/* The end of the stream: an unfinished character comes out as U+FFFD. Returns the length, at most 8. */
size_t detokenizer_finish(detokenizer *d, char *text);

#endif
