/* engine.c: the public face of a model: what it is, and its text. Loading is in loader.c, evaluation in session.c. */
#include "clla.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gguf.h"
#include "model.h"
#include "quant.h"
#include "tokenizer.h"
#include "unicode.h"

const char *clla_version(void) { return "0.1.0"; }

void clla_model_free(clla_model *model) { model_close(model); }
uint32_t clla_model_vocabulary(const clla_model *model) { return tokenizer_size(model->tokenizer); }
uint32_t clla_model_context(const clla_model *model) { return model->hyper.context; }
uint32_t clla_model_width(const clla_model *model) { return model->hyper.width; }

uint64_t clla_model_bytes(const clla_model *model) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < model->part_count; i++) bytes += model->weights[i].size;
    return bytes;
}

/* ---- information as JSON ------------------------------------------------------------------------------------- */

/* Text that goes on growing past the end of its buffer, so that its whole length can be told. */
typedef struct json {
    char *text;
    size_t capacity, length;
} json;

static void put_byte(json *j, char byte) {
    if (j->length < j->capacity) j->text[j->length] = byte;
    j->length++;
}

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static void put(json *j, const char *format, ...) {
    char buffer[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(buffer, sizeof buffer, format, arguments);
    va_end(arguments);
    for (const char *c = buffer; *c; c++) put_byte(j, *c);
}

/* A string in quotes; bytes that are not UTF-8 become U+FFFD. */
static void put_string(json *j, const char *data, size_t size) {
    put_byte(j, '"');
    for (size_t i = 0; i < size;) {
        unsigned char byte = (unsigned char)data[i];
        utf8_read read = utf8_next(data + i, size - i);
        if (byte == '"' || byte == '\\') put(j, "\\%c", byte);
        else if (byte < 0x20 || byte == 0x7f) put(j, "\\u%04x", byte);
        else if (read.kind != UTF8_VALID) put(j, "\\ufffd");
        else
            for (size_t k = 0; k < read.size; k++) put_byte(j, data[i + k]);
        i += read.size;
    }
    put_byte(j, '"');
}

static void put_text(json *j, const clla_model *m, const char *name, const char *key) {
    const gguf_entry *e = gguf_find(&m->header, key);
    gguf_string value;
    put(j, ",\"%s\":", name);
    if (e && gguf_text(&m->header, key, &value, NULL) == CLLA_OK) put_string(j, value.data, value.size);
    else put(j, "null");
}

static void put_token(json *j, const clla_model *m, const char *name, int32_t id) {
    char piece[256];
    put(j, ",\"%s\":%d,\"%s_text\":", name, (int)id, name);
    size_t size = id >= 0 ? tokenizer_piece(m->tokenizer, id, true, piece, sizeof piece) : 0;
    if (id >= 0 && size <= sizeof piece) put_string(j, piece, size);
    else put(j, "null");
}

static void put_tokenizer(json *j, const clla_model *m) {
    put(j, ",\"tokenizer\":{\"size\":%u", tokenizer_size(m->tokenizer));
    put_text(j, m, "kind", "tokenizer.ggml.model");
    put_text(j, m, "pre", "tokenizer.ggml.pre");
    put_token(j, m, "bos", tokenizer_bos(m->tokenizer));
    put_token(j, m, "eos", tokenizer_eos(m->tokenizer));
    put(j, ",\"wants_bos\":%s}", tokenizer_wants_bos(m->tokenizer) ? "true" : "false");
}

/* Tensors and bytes of each type in the (first part's) header, and the number of parameters. */
static void put_types(json *j, const gguf *g) {
    uint64_t parameters = 0;
    bool first = true;
    for (size_t i = 0; i < g->tensor_count; i++) {
        const uint64_t *ne = g->tensors[i].ne;
        parameters += ne[0] * ne[1] * ne[2] * ne[3];
    }
    put(j, ",\"parameters\":%llu,\"types\":{", (unsigned long long)parameters);
#define PUT_TYPE(type_name, number, block, block_bytes)                                                       \
    {                                                                                                         \
        uint64_t count = 0, bytes = 0;                                                                        \
        for (size_t i = 0; i < g->tensor_count; i++)                                                          \
            if (g->tensors[i].type == number) count++, bytes += g->tensors[i].bytes;                          \
        if (count)                                                                                            \
            put(j, "%s\"" #type_name "\":{\"tensors\":%llu,\"bytes\":%llu}", first ? "" : ",",                \
                (unsigned long long)count, (unsigned long long)bytes);                                        \
        first = first && !count;                                                                              \
    }
    CLLA_TENSOR_TYPE_LIST(PUT_TYPE)
#undef PUT_TYPE
    put(j, "}");
}

static void put_hyper(json *j, const hyper *h) {
    put(j, ",\"layers\":%u,\"width\":%u,\"heads\":%u,\"kv_heads\":%u,\"key_dim\":%u,\"value_dim\":%u", h->layers, h->width,
        h->heads, h->kv_heads, h->key_dim, h->value_dim);
    put(j, ",\"ff_width\":%u,\"vocabulary\":%u,\"context\":%u,\"window\":%u", h->ff_width, h->vocabulary, h->context,
        h->window);
    put(j, ",\"pooling_type\":%u", h->pooling);
    if (!h->kv.rank) return;
    put(j, ",\"latent\":{\"rank\":%u,\"rope_dim\":%u,\"owner\":[", h->kv.rank, h->kv.rope_dim);
    for (uint32_t i = 0; i < h->layers; i++) put(j, "%s%u", i ? "," : "", h->kv.owner[i]);
    put(j, "]}");
}

size_t clla_model_info(const clla_model *model, char *text, size_t capacity) {
    json j = {text, capacity, 0};
    put(&j, "{\"bytes\":%llu,\"file_bytes\":%llu", (unsigned long long)clla_model_bytes(model),
        (unsigned long long)model->file_bytes);
    put_text(&j, model, "name", "general.name");
    put_text(&j, model, "architecture", "general.architecture");
    put_text(&j, model, "license", "general.license");
    put_text(&j, model, "size_label", "general.size_label");
    put_hyper(&j, &model->hyper);
    put_types(&j, &model->header);
    put_tokenizer(&j, model);
    put_text(&j, model, "chat_template", "tokenizer.chat_template");
    put(&j, "}");
    return j.length;
}

/* ---- text ---------------------------------------------------------------------------------------------------- */

clla_status clla_tokenize(const clla_model *model, const char *text, size_t size, unsigned flags, int32_t *ids,
                          size_t capacity, size_t *count, clla_error *error) {
    bool bos = (flags & CLLA_BOS) || ((flags & CLLA_BOS_IF_WANTED) && tokenizer_wants_bos(model->tokenizer));
    bool eos = (flags & CLLA_EOS_IF_WANTED) && tokenizer_wants_eos(model->tokenizer);
    unsigned own = (bos ? TOKENIZE_BOS : 0u) | (eos ? TOKENIZE_EOS : 0u) | ((flags & CLLA_SPECIAL) ? TOKENIZE_SPECIAL : 0u);
    return tokenizer_encode(model->tokenizer, text, size, own, ids, capacity, count, error);
}

bool clla_token_ends(const clla_model *model, int32_t id) { return tokenizer_ends(model->tokenizer, id); }

_Static_assert(sizeof(detokenizer) <= sizeof(clla_text_stream), "the public stream holds a detokenizer");

size_t clla_detokenize_room(const clla_model *model) { return tokenizer_piece_max(model->tokenizer) + 8; }

size_t clla_detokenize(const clla_model *model, clla_text_stream *stream, int32_t id, bool special, char *text) {
    detokenizer d;
    memcpy(&d, stream, sizeof d);
    size_t size = id < 0 ? detokenizer_finish(&d, text) : detokenizer_push(&d, model->tokenizer, id, special, text);
    memcpy(stream, &d, sizeof d);
    return size;
}
