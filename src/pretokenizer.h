/* pretokenizer.h: cut text into the words that byte-pair merges may not cross.
 *
 * Every model family has rules of its own, published as regular expressions in its tokenizer.json; GGUF files carry the
 * rules' name in tokenizer.ggml.pre, from the list that llama.cpp keeps (src/llama-vocab.cpp there). Here the rules are
 * tables that one small linear-time matcher reads. */
#ifndef CLLA_PRETOKENIZER_H
#define CLLA_PRETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>

typedef struct pretokenizer pretokenizer;

/* NULL where the name is not known. */
const pretokenizer *pretokenizer_find(const char *name, size_t size);

bool pretokenizer_ignores_merges(
    const pretokenizer *p); /* a word that is a token stays whole, whatever the merges say */
bool pretokenizer_wants_bos(const pretokenizer *p); /* where the file does not say */

/* Told of each word in turn; false stops the cutting. */
typedef bool pretokenizer_word(void *context, const char *word, size_t size);

/* Cut size bytes of valid UTF-8 into words; none is empty, and together they are the text. False when stopped. */
bool pretokenizer_split(const pretokenizer *p, const char *text, size_t size, pretokenizer_word *word,
                        void *context);

#endif
