/* fuzz_detokenizer.c: any ids, also such as no vocabulary has, as a stream. Each two bytes after the first two are an
 * id. What comes out is UTF-8 after every push, and does not depend on where the stream is looked at. */
#include "fuzz_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2 || size > 4096) return 0;
    const fuzz_vocabulary *v = fuzz_vocabulary_of(data[0], data[1]);
    bool special = (data[1] & 128) != 0;
    size_t room = tokenizer_piece_max(v->t), bytes = 0, pieces = 0;
    char *text = malloc(room); /* exactly, so that a write beyond it is seen */
    need(text != NULL, "memory for the text");
    detokenizer d = {{0}, 0, false};
    for (size_t i = 2; i + 1 < size; i += 2) {
        int32_t id = (int32_t)(data[i] | data[i + 1] << 8) % 640 - 20;
        size_t written = detokenizer_push(&d, v->t, id, special, text);
        need(written <= room, "the room is enough");
        need(d.pending_size < 4, "less than a character is pending");
        need_utf8(text, written);
        bytes += written;
        pieces += tokenizer_piece(v->t, id, special, NULL, 0);
    }
    size_t last = detokenizer_finish(&d, text);
    need_utf8(text, last);
    need(d.pending_size == 0 && !d.started, "the end is a beginning");
    need(bytes + last <= 3 * pieces, "no text comes from nothing");
    free(text);
    return 0;
}
