/* test_loader.c: models pushed in pieces of any size arrive whole; files that are cut, damaged, incomplete,
 * split wrongly or too large are refused with the place, and nothing leaks. */
#include "arena.h"
#include "model.h"
#include "test.h"
#include "tiny_model.h"

static gguf_writer writer, other; /* large, therefore not on the stack */
static clla_error error;
static clla_model_options options; /* what load() asks for */

static const tensor_type all_types[] = {
#define NUMBER(name, number, block, bytes) TENSOR_##name,
    CLLA_TENSOR_TYPE_LIST(NUMBER)
#undef NUMBER
};
enum { TYPES = sizeof all_types / sizeof all_types[0] };

/* Feed in pieces of `step` bytes; 0: of random sizes. */
static clla_status feed(clla_loader *l, const uint8_t *bytes, size_t size, size_t step) {
    uint32_t state = 99;
    clla_status status = CLLA_OK;
    for (size_t at = 0, piece; !status && at < size; at += piece) {
        piece = step ? step : tiny_random(&state) % 5000;
        if (piece > size - at) piece = size - at;
        status = clla_loader_feed(l, bytes + at, piece, &error);
    }
    return status;
}

/* The whole way. The model is NULL when it fails, and `error` says why. */
static clla_status load(const uint8_t *bytes, size_t size, size_t step, clla_model **model) {
    clla_loader *l;
    *model = NULL;
    memset(&error, 0, sizeof error);
    clla_status status = clla_loader_create(&options, &l, &error);
    if (status) return status;
    status = feed(l, bytes, size, step);
    if (!status) return clla_loader_finish(l, model, &error);
    clla_loader_free(l);
    return status;
}

/* The file in `writer`, which is closed, is refused as wanted, with these words. */
static void expect(clla_status wanted, const char *words) {
    clla_model *model;
    size_t before = memory_in_use();
    clla_status status = load(writer.bytes, writer.size, SIZE_MAX, &model);
    CHECK(status == wanted, "want %s (%s), got %s: %s", clla_status_name(wanted), words,
          clla_status_name(status), error.text);
    CHECK(!status || strstr(error.text, words), "\"%s\" does not say \"%s\"", error.text, words);
    clla_model_free(model);
    CHECK(memory_in_use() == before, "%s: %zu bytes leaked", words, memory_in_use() - before);
    writer_close(&writer);
}

static writer_item *find_item(gguf_writer *w, const char *name) {
    for (size_t i = 0; i < w->tensor_count; i++)
        if (strcmp(w->tensors[i].name, name) == 0) return &w->tensors[i];
    return NULL;
}

/* Keep tensors [begin, end) alone. */
static void keep(gguf_writer *w, size_t begin, size_t end) {
    for (size_t i = 0; i < w->tensor_count; i++)
        if (i < begin || i >= end) free(w->tensors[i].data);
    memmove(w->tensors, w->tensors + begin, (end - begin) * sizeof w->tensors[0]);
    w->tensor_count = end - begin;
}

static void drop(gguf_writer *w, size_t index) {
    free(w->tensors[index].data);
    memmove(w->tensors + index, w->tensors + index + 1, (--w->tensor_count - index) * sizeof w->tensors[0]);
}

/* Replace a string in the bytes of a file by one of the same length. */
static void rewrite(gguf_writer *w, const char *from, const char *to) {
    size_t size = strlen(from);
    assert(size == strlen(to));
    for (size_t at = 0; at + size <= w->size; at++)
        if (memcmp(w->bytes + at, from, size) == 0) {
            memcpy(w->bytes + at, to, size);
            return;
        }
    CHECK(false, "%s is not in the file", from);
}

/* ---- what arrives ------------------------------------------------------------------------------------ */

/* Every row of every tensor of the file is at its home. */
static void check_weights(const clla_model *m, gguf_writer *w) {
    float values[1024], want[1024];
    for (size_t i = 0; i < m->slot_count; i++) {
        const weight_slot *slot = &m->slots[i];
        const writer_item *t = find_item(w, slot->name);
        CHECK(!t == !slot->arrived, "%s arrived: %d", slot->name, slot->arrived);
        size_t n = t ? (size_t)t->ne[0] : 0, bytes = t ? t->size / (size_t)t->ne[1] : 0;
        for (uint32_t row = 0; t && row < t->ne[1]; row++) {
            tensor_unpack((tensor_type)t->type, t->data + row * bytes, n, want);
            if (slot->rows) matrix_row(&slot->home, row, values);
            CHECK(memcmp(slot->rows ? values : slot->values, want, n * sizeof *want) == 0, "%s: row %u",
                  slot->name, row);
        }
    }
}

static void check_same_weights(const clla_model *a, const clla_model *b, const char *what) {
    CHECK(a->part_count == b->part_count, "%s: parts", what);
    for (uint32_t i = 0; i < a->part_count; i++)
        CHECK(a->weights[i].size == b->weights[i].size &&
                  memcmp(a->weights[i].base, b->weights[i].base, (size_t)a->weights[i].size) == 0,
              "%s: weights differ", what);
}

static void test_peak(void) {
    tiny_model(&writer, &(tiny_options){.type = TENSOR_F32, .width = 512});
    clla_model *m;
    size_t before = memory_in_use();
    CHECK(!load(writer.bytes, writer.size, 10000, &m), "%s", error.text);
    if (!m) return;
    uint64_t weights = m->weights[0].size, staging = 4 * 1024 * sizeof(float);
    CHECK(weights >= m->file_bytes && weights < m->file_bytes + m->file_bytes / 50,
          "weights take %llu of %llu bytes", (unsigned long long)weights, (unsigned long long)m->file_bytes);
    CHECK(memory_peak() - memory_in_use() < staging + 4096, "the peak is %zu bytes above the model",
          memory_peak() - memory_in_use());
    CHECK(clla_model_bytes(m) >= weights, "clla_model_bytes");
    clla_model_free(m);
    CHECK(memory_in_use() == before, "%zu bytes leaked", memory_in_use() - before);
    writer_close(&writer);
}

static void test_pieces(void) {
    static const size_t steps[] = {7, 4096, 0, 1};
    for (int k = 0; k < TYPES; k++) {
        const char *name = tensor_type_find((uint32_t)all_types[k])->name;
        bool small = tensor_type_find((uint32_t)all_types[k])->block < 256;
        tiny_model(
            &writer,
            &(tiny_options){.type = all_types[k], .seed = (uint32_t)k, .layers = 1, .untied = k % 2 != 0});
        clla_model *whole, *pieces;
        CHECK(!load(writer.bytes, writer.size, SIZE_MAX, &whole), "%s: %s", name, error.text);
        if (!whole) return;
        check_weights(whole, &writer);
        CHECK((whole->output.data == whole->embedding.data) == (k % 2 == 0), "%s: tied", name);
        for (int i = 0; i < (small ? 4 : 3); i++) {
            CHECK(!load(writer.bytes, writer.size, steps[i], &pieces), "%s: %s", name, error.text);
            if (pieces) check_same_weights(whole, pieces, name);
            clla_model_free(pieces);
        }
        clla_model_free(whole);
        writer_close(&writer);
    }
}

/* The writer's file gives its weights, fed at once and in pieces. */
static void load_in_steps(void) {
    for (size_t step = 0; step < 3000; step += 999) {
        clla_model *m;
        CHECK(!load(writer.bytes, writer.size, step, &m), "%s", error.text);
        if (m) check_weights(m, &writer);
        clla_model_free(m);
    }
    writer_close(&writer);
}

static void test_mixed(void) {
    tiny_model(&writer, &(tiny_options){.type = TENSOR_Q4_1, .width = 256, .open = true});
    uint32_t state = 5;
    static const char *const names[] = {"blk.0.attn_q.weight", "blk.0.ffn_gate.weight",
                                        "blk.1.attn_v.weight"};
    for (int i = 0; i < 3; i++) { /* other types in the same file */
        writer_item *t = find_item(&writer, names[i]);
        tensor_type type = i == 0 ? TENSOR_Q6_K : i == 1 ? TENSOR_F16 : TENSOR_IQ4_XS;
        t->type = (uint32_t)type;
        t->size = tensor_row_bytes(type, (size_t)(t->ne[0] * t->ne[1]));
        t->data = realloc(t->data, t->size);
        tiny_rows(t->data, type, t->ne[0] * t->ne[1], 0.2f, &state);
    }
    writer_item *norm = find_item(&writer, "output_norm.weight"); /* a vector that is not F32 */
    norm->type = TENSOR_F16, norm->size = (size_t)(2 * norm->ne[0]);
    tiny_rows(norm->data, TENSOR_F16, norm->ne[0], 1.0f, &state);
    writer_tensor(&writer, "blk.0.attn_rot_embd.weight", TENSOR_F32, 1, (uint64_t[]){4},
                  NULL); /* harmless: skipped */
    writer_tensor(&writer, "rope_freqs.weight", TENSOR_F32, 1, (uint64_t[]){32}, NULL);
    writer_end(&writer);
    load_in_steps();
}

/* The list of tensors need not be in the order of their bytes, and there may be gaps. */
static void test_order(void) {
    tiny_model(&writer, &(tiny_options){.type = TENSOR_Q8_0, .open = true});
    uint64_t at = 0;
    for (size_t i = writer.tensor_count; i-- > 0; at = (at + writer.tensors[i].size + 1000) / 32 * 32)
        writer.tensors[i].offset = at;
    writer_put_infos(&writer);
    put_padding(&writer);
    writer_put_counts(&writer);
    size_t start = writer.size;
    uint64_t end = start + writer.tensors[0].offset + writer.tensors[0].size;
    while (writer.size < end) put(&writer, 0xaa, 1);
    for (size_t i = 0; i < writer.tensor_count; i++)
        memcpy(writer.bytes + start + writer.tensors[i].offset, writer.tensors[i].data,
               writer.tensors[i].size);
    load_in_steps();
}

static void test_progress(void) {
    tiny_model(&writer, &(tiny_options){.type = TENSOR_Q4_0});
    clla_loader *l;
    clla_load_progress p;
    CHECK(!clla_loader_create(NULL, &l, &error), "%s", error.text);
    clla_loader_progress(l, &p);
    CHECK(!p.bytes_fed && !p.bytes_needed && !p.header_complete && !p.parts, "nothing yet");
    CHECK(!clla_loader_feed(l, writer.bytes, 500, &error), "%s", error.text);
    clla_loader_progress(l, &p);
    CHECK(p.bytes_fed == 500 && !p.header_complete && !p.parts, "in the header");
    CHECK(!clla_loader_feed(l, writer.bytes + 500, writer.data_start - 500, &error), "%s", error.text);
    clla_loader_progress(l, &p);
    const writer_item *last = &writer.tensors[writer.tensor_count - 1];
    CHECK(p.header_complete && p.parts == 1 &&
              p.bytes_needed == writer.data_start + last->offset + last->size,
          "header read");
    clla_loader_free(l);
    clla_loader_free(NULL);
    writer_close(&writer);
}

static void test_vocabulary_only(void) {
    options.vocabulary_only = true;
    tiny_model(&writer, &(tiny_options){.type = TENSOR_Q4_0});
    for (int whole = 0; whole < 2; whole++) {
        clla_model *m;
        CHECK(!load(writer.bytes, whole ? writer.size : writer.data_start, 100, &m), "%s", error.text);
        if (m)
            CHECK(clla_model_vocabulary(m) == TINY_VOCABULARY && m->part_count == 0 && m->slot_count == 0,
                  "no weights");
        clla_model_free(m);
    }
    writer_close(&writer);
    writer_open(&writer); /* a vocabulary file: no numbers, no tensors, an architecture that is not run */
    writer_text(&writer, "general.architecture", "starcoder2");
    tiny_vocabulary(&writer);
    writer_put_counts(&writer);
    expect(CLLA_OK, "");
    options.vocabulary_only = false;
}

/* ---- what is refused --------------------------------------------------------------------------------- */

static void test_truncation(void) {
    tiny_model(&writer, &(tiny_options){.type = TENSOR_Q4_0, .layers = 1});
    size_t before = memory_in_use();
    const writer_item *last = &writer.tensors[writer.tensor_count - 1];
    size_t end = writer.data_start + (size_t)last->offset + last->size;
    for (size_t size = 0; size < end; size += size < 1000 || end - size < 300 ? 1 : 41) {
        uint8_t *bytes = malloc(size + 1);
        memcpy(bytes, writer.bytes, size);
        clla_model *m;
        clla_status status = load(bytes, size, SIZE_MAX, &m);
        const char *words = size < writer.data_start - 32 ? "inside its header" : "the file ends";
        CHECK(status == CLLA_TRUNCATED_FILE && !m && strstr(error.text, words), "%zu bytes: %s: %s", size,
              clla_status_name(status), error.text);
        free(bytes);
    }
    CHECK(memory_in_use() == before, "%zu bytes leaked", memory_in_use() - before);
    writer.size = end - 1;
    expect(CLLA_TRUNCATED_FILE, "at row 0 of output_norm.weight");
}

static void test_bytes_behind(void) {
    tiny_model(&writer, &(tiny_options){.type = TENSOR_F32, .open = true});
    writer.alignment = 64;
    writer_u32(&writer, "general.alignment", 64); /* entries may follow: tensors come at the end */
    writer_end(&writer);
    CHECK(writer.size % 64 == 0, "padded");
    put(&writer, 0, 1);
    expect(CLLA_BAD_FILE, "goes on behind its last tensor");
}

static void test_tensors_against_the_model(void) {
    for (size_t i = 0; i < 20; i++) { /* each one missing */
        tiny_model(&writer, &(tiny_options){.type = TENSOR_Q4_0, .open = true});
        char name[80];
        CHECK(writer.tensor_count == 20, "%zu tensors", writer.tensor_count);
        snprintf(name, sizeof name, "the tensor %s is missing", writer.tensors[i].name);
        drop(&writer, i);
        writer_end(&writer);
        writer.size = writer.data_start; /* known without the data */
        expect(CLLA_BAD_FILE, name);
    }
    tiny_model(&writer, &(tiny_options){.type = TENSOR_Q4_0, .open = true});
    writer_tensor(&writer, "blk.0.attn_sinks.weight", TENSOR_F32, 1, (uint64_t[]){4}, NULL);
    writer_end(&writer);
    expect(CLLA_BAD_FILE, "blk.0.attn_sinks.weight: the architecture llama has no such tensor");
    tiny_model(&writer, &(tiny_options){.type = TENSOR_Q4_0, .open = true});
    writer_tensor(&writer, "a\nb\xff", TENSOR_F32, 1, (uint64_t[]){4}, NULL);
    writer_end(&writer);
    expect(CLLA_BAD_FILE, "a?b?: the architecture");
}

static void expect_shape(const char *name, uint64_t ne0, uint64_t ne1, uint64_t ne2, uint32_t dimensions,
                         const char *words) {
    tiny_model(&writer, &(tiny_options){.type = TENSOR_F32, .open = true});
    writer_item *t = find_item(&writer, name);
    memcpy(t->ne, (uint64_t[]){ne0, ne1, ne2, 1}, sizeof t->ne);
    t->dimensions = dimensions;
    t->size = (size_t)(4 * ne0 * ne1 * ne2);
    t->data = realloc(t->data, t->size);
    memset(t->data, 0, t->size);
    writer_end(&writer);
    expect(words ? CLLA_BAD_FILE : CLLA_OK, words ? words : "");
}

static void test_shapes(void) {
    expect_shape("blk.1.attn_k.weight", 32, 32, 1, 2, "blk.1.attn_k.weight: want [32, 16], got [32, 32]");
    expect_shape("blk.1.attn_k.weight", 16, 32, 1, 2, "blk.1.attn_k.weight: want [32, 16], got [16, 32]");
    expect_shape("blk.1.attn_k.weight", 32, 16, 2, 3, "blk.1.attn_k.weight: want [32, 16], got [32, 16, 2]");
    expect_shape("blk.1.attn_k.weight", 512, 1, 1, 1, "blk.1.attn_k.weight: want [32, 16], got [512]");
    expect_shape("token_embd.weight", 32, 284, 1, 2, "token_embd.weight: want [32, 285], got [32, 284]");
    expect_shape("output_norm.weight", 33, 1, 1, 1, "output_norm.weight: want [32], got [33]");
    expect_shape("output_norm.weight", 1, 32, 1, 2, "output_norm.weight: want [32], got [1, 32]");
    expect_shape("blk.1.attn_k.weight", 32, 16, 1, 4, NULL); /* trailing ones change nothing */
}

static void test_metadata(void) {
    static const char *const needed[] = {"general.architecture",      "llama.block_count",
                                         "llama.context_length",      "llama.embedding_length",
                                         "llama.feed_forward_length", "llama.attention.head_count",
                                         "tokenizer.ggml.model",      "tokenizer.ggml.tokens"};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        char renamed[64];
        strcpy(renamed, needed[i]);
        renamed[strlen(renamed) - 1] = '?';
        tiny_model(&writer, &(tiny_options){.type = TENSOR_Q4_0});
        rewrite(&writer, needed[i], renamed);
        clla_model *m;
        clla_status status = load(writer.bytes, writer.size, SIZE_MAX, &m);
        CHECK((status == CLLA_BAD_FILE || status == CLLA_UNSUPPORTED_TOKENIZER) &&
                  strstr(error.text, needed[i]),
              "%s: %s: %s", needed[i], clla_status_name(status), error.text);
        clla_model_free(m);
        writer_close(&writer);
    }
}

/* Change the number that stands behind a key (a u32). */
static void set_u32(gguf_writer *w, const char *key, uint32_t value) {
    size_t size = strlen(key);
    for (size_t at = 0; at + size < w->size; at++)
        if (memcmp(w->bytes + at, key, size) == 0) {
            memcpy(w->bytes + at + size + 4, &value, 4);
            return;
        }
    CHECK(false, "%s is not in the file", key);
}

static void test_numbers(void) {
    static const char *const keys[] = {"llama.block_count", "llama.embedding_length",
                                       "llama.feed_forward_length", "llama.attention.head_count",
                                       "llama.attention.head_count_kv"};
    static const uint32_t values[] = {0, 3, 5, 1u << 20, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        for (size_t k = 0; k < sizeof values / sizeof values[0]; k++) {
            tiny_model(&writer, &(tiny_options){.type = TENSOR_Q4_0});
            set_u32(&writer, keys[i], values[k]);
            size_t before = memory_in_use();
            clla_model *m;
            clla_status status = load(writer.bytes, writer.size, SIZE_MAX, &m);
            CHECK(status && error.text[0] && !m, "%s = %u was accepted", keys[i], values[k]);
            CHECK(memory_in_use() == before, "%s = %u leaks", keys[i], values[k]);
            writer_close(&writer);
        }
}

static void test_unknown(void) {
    writer_open(&writer);
    writer_text(&writer, "general.architecture", "mamba");
    tiny_vocabulary(&writer);
    writer_put_counts(&writer);
    expect(CLLA_UNSUPPORTED_ARCHITECTURE, "mamba");
    tiny_model(&writer, &(tiny_options){.type = TENSOR_Q4_0, .open = true});
    writer_bool(&writer, "llama.attention.causal", false);
    writer_end(&writer);
    expect(CLLA_UNSUPPORTED_ARCHITECTURE, "llama.attention.causal is false");
    writer_open(&writer);
    writer_text(&writer, "general.architecture", "llama");
    writer_text(&writer, "tokenizer.ggml.model", "telepathy");
    writer_put_counts(&writer);
    expect(CLLA_UNSUPPORTED_TOKENIZER, "telepathy");
    tiny_model(&writer, &(tiny_options){.type = TENSOR_Q4_0, .open = true});
    find_item(&writer, "blk.1.ffn_up.weight")->type = 16;
    writer_end(&writer);
    expect(CLLA_UNSUPPORTED_TYPE, "blk.1.ffn_up.weight: this build does not read the tensor type IQ2_XXS");
}

static void test_not_finite(void) {
    tiny_model(&writer, &(tiny_options){.type = TENSOR_Q4_0, .open = true});
    find_item(&writer, "blk.1.ffn_up.weight")->data[18 * 37 + 1] = 0x7e; /* 64 rows of one block each */
    writer_end(&writer);
    expect(CLLA_BAD_FILE, "blk.1.ffn_up.weight: row 37 has a scale that is not finite");
    tiny_model(&writer, &(tiny_options){.type = TENSOR_Q4_0, .open = true});
    memcpy(find_item(&writer, "output_norm.weight")->data + 4, &(float){INFINITY}, 4);
    writer_end(&writer);
    expect(CLLA_BAD_FILE, "output_norm.weight: row 0 has");
}

/* Where the build has threads: the same weights, and of several faulty rows the first one is named. */
static void test_threads(void) {
    clla_loader *l = NULL;
    options.threads = 3;
    clla_status possible = clla_loader_create(&options, &l, &error);
    if (!possible) clla_loader_free(l);
    options.threads = possible ? 1 : 3;
    tiny_model(&writer, &(tiny_options){.type = TENSOR_Q4_1, .width = 512});
    clla_model *many, *one;
    CHECK(!load(writer.bytes, writer.size, SIZE_MAX, &many), "%s", error.text);
    options.threads = 1;
    CHECK(!load(writer.bytes, writer.size, SIZE_MAX, &one), "%s", error.text);
    if (one && many) check_same_weights(one, many, "threads");
    clla_model_free(one);
    clla_model_free(many);
    writer_close(&writer);
    options.threads = possible ? 1 : 3;
    for (int i = 0; i < 20; i++) {
        tiny_model(&writer, &(tiny_options){.type = TENSOR_Q4_0, .width = 512, .open = true});
        static const size_t rows[] = {999, 500, 501, 1023};
        for (int k = 0; k < 4; k++)
            find_item(&writer, "blk.1.ffn_up.weight")->data[16 * 18 * rows[k] + 1] = 0x7e;
        writer_end(&writer);
        expect(CLLA_BAD_FILE, "blk.1.ffn_up.weight: row 500 has a scale that is not finite");
    }
    options.threads = 0;
}

static void test_memory_limit(void) {
    tiny_model(&writer, &(tiny_options){.type = TENSOR_F16});
    clla_model *m;
    CHECK(!load(writer.bytes, writer.size, SIZE_MAX, &m), "%s", error.text);
    uint64_t needed = m->weights[0].size;
    clla_model_free(m);
    options.memory_limit = needed;
    CHECK(!load(writer.bytes, writer.size, SIZE_MAX, &m), "%s", error.text);
    clla_model_free(m);
    options.memory_limit = needed - 1;
    char words[100];
    snprintf(words, sizeof words, "the weights need %llu bytes; the limit is %llu",
             (unsigned long long)needed, (unsigned long long)needed - 1);
    expect(CLLA_OUT_OF_MEMORY, words);
    options.memory_limit = 0;
}

/* ---- split files ------------------------------------------------------------------------------------- */

enum { PARTS = 3 };
static const size_t part_ends[PARTS] = {0, 9,
                                        20}; /* a first part without tensors, as split files often have */

static void write_part(gguf_writer *w, uint32_t number, uint32_t count, uint32_t tensors, size_t begin,
                       size_t end) {
    tiny_options o = {.type = TENSOR_Q4_1, .seed = 4};
    writer_open(w);
    if (number == 0) tiny_metadata(w, &o);
    writer_number(w, "split.no", GGUF_UINT16, number, 2);
    writer_number(w, "split.count", GGUF_UINT16, count, 2);
    writer_number(w, "split.tensors.count", GGUF_INT32, tensors, 4);
    tiny_tensors(w, &o);
    keep(w, begin, end);
    writer_end(w);
}

/* Feed part `number` (of the file's own numbering) as it is, or as `spoil` changes it. */
static clla_status feed_part(clla_loader *l, uint32_t number, uint32_t count, uint32_t tensors, size_t begin,
                             size_t end) {
    write_part(&other, number, count, tensors, begin, end);
    clla_status status = feed(l, other.bytes, other.size, 1000);
    writer_close(&other);
    return status;
}

static clla_loader *start_split(uint32_t parts_to_feed) {
    clla_loader *l = NULL;
    memset(&error, 0, sizeof error);
    CHECK(!clla_loader_create(&options, &l, &error), "%s", error.text);
    for (uint32_t i = 0; i < parts_to_feed; i++) {
        CHECK(i == 0 || !clla_loader_next_part(l, &error), "%s", error.text);
        CHECK(!feed_part(l, i, PARTS, 20, i ? part_ends[i - 1] : 0, part_ends[i]), "part %u: %s", i,
              error.text);
    }
    return l;
}

static void expect_split(clla_loader *l, clla_status status, clla_status wanted, const char *words) {
    CHECK(status == wanted && strstr(error.text, words), "want %s (%s), got %s: %s", clla_status_name(wanted),
          words, clla_status_name(status), error.text);
    clla_loader_free(l);
}

static void test_split(void) {
    clla_model *whole, *split;
    clla_load_progress p;
    tiny_model(&writer, &(tiny_options){.type = TENSOR_Q4_1, .seed = 4});
    CHECK(!load(writer.bytes, writer.size, SIZE_MAX, &whole), "%s", error.text);
    clla_loader *l = start_split(PARTS);
    clla_loader_progress(l, &p);
    CHECK(p.parts == PARTS, "%u parts", p.parts);
    CHECK(!clla_loader_finish(l, &split, &error), "%s", error.text);
    if (split) check_weights(split, &writer);
    CHECK(split && split->part_count == PARTS && split->file_bytes == whole->file_bytes, "three arenas");
    clla_model_free(whole);
    clla_model_free(split);
    writer_close(&writer);
}

static void test_wrong_parts(void) {
    clla_loader *l = start_split(0);
    expect_split(l, feed_part(l, 1, PARTS, 20, 0, 9), CLLA_BAD_FILE,
                 "this is part 2 of a split model; part 1 of 3");
    l = start_split(0);
    expect_split(l, feed_part(l, 3, PARTS, 20, 0, 9), CLLA_BAD_FILE, "split.no is 3 and split.count is 3");
    l = start_split(1), clla_loader_next_part(l, &error);
    expect_split(l, feed_part(l, 2, PARTS, 20, 9, 20), CLLA_BAD_FILE,
                 "part 2 of 3 was expected, this is part 3 of 3");
    l = start_split(1), clla_loader_next_part(l, &error);
    expect_split(l, feed_part(l, 1, 4, 20, 0, 9), CLLA_BAD_FILE,
                 "part 2 of 3 was expected, this is part 2 of 4");
    l = start_split(1), clla_loader_next_part(l, &error);
    expect_split(l, feed_part(l, 1, PARTS, 21, 0, 9), CLLA_BAD_FILE, "part 2 is of another model");
    l = start_split(2), clla_loader_next_part(l, &error);
    expect_split(l, feed_part(l, 2, PARTS, 20, 8, 20), CLLA_BAD_FILE, "it was in an earlier part too");
    l = start_split(2), clla_loader_next_part(l, &error);
    expect_split(l, feed_part(l, 2, PARTS, 20, 10, 20), CLLA_BAD_FILE, "is missing");
    l = start_split(PARTS);
    expect_split(l, clla_loader_next_part(l, &error), CLLA_BAD_ARGUMENT,
                 "the model has 3 parts, all of them read");
    l = start_split(0);
    expect_split(l, clla_loader_next_part(l, &error), CLLA_TRUNCATED_FILE, "inside its header");
    l = start_split(1), clla_loader_next_part(l, &error);
    write_part(&other, 1, PARTS, 20, 0, 9);
    CHECK(!feed(l, other.bytes, other.size / 2, 1000), "%s", error.text);
    writer_close(&other);
    expect_split(l, clla_loader_next_part(l, &error), CLLA_TRUNCATED_FILE, "at row");
    l = start_split(2);
    clla_model *m = NULL;
    clla_status status = clla_loader_finish(l, &m, &error);
    expect_split(NULL, status, CLLA_TRUNCATED_FILE, "the model has 3 parts, only 2 came");
}

static void test_part_of_another_model(void) {
    clla_loader *l = start_split(1);
    CHECK(!clla_loader_next_part(l, &error), "%s", error.text);
    writer_open(&other);
    writer_text(&other, "general.architecture", "llama");
    writer_text(&other, "general.name", "another");
    writer_number(&other, "split.no", GGUF_UINT16, 1, 2);
    writer_number(&other, "split.count", GGUF_UINT16, PARTS, 2);
    writer_number(&other, "split.tensors.count", GGUF_INT32, 20, 4);
    writer_put_counts(&other);
    clla_status status = feed(l, other.bytes, other.size, 1000);
    writer_close(&other);
    expect_split(l, status, CLLA_BAD_FILE, "part 2 is of another model: its general.name is \"another\"");
}

/* ---- failures ---------------------------------------------------------------------------------------- */

static void test_failures_are_final(void) {
    tiny_model(&writer, &(tiny_options){.type = TENSOR_Q4_0});
    rewrite(&writer, "output_norm", "output_nurm");
    clla_loader *l;
    clla_error again = {{0}};
    CHECK(!clla_loader_create(&options, &l, &error), "%s", error.text);
    CHECK(feed(l, writer.bytes, writer.size, 999) == CLLA_BAD_FILE, "refused");
    CHECK(clla_loader_feed(l, writer.bytes, 10, &again) == CLLA_BAD_FILE && !strcmp(again.text, error.text),
          "%s", again.text);
    CHECK(clla_loader_next_part(l, NULL) == CLLA_BAD_FILE, "still refused, without a place for the reason");
    clla_model *m = NULL;
    CHECK(clla_loader_finish(l, &m, &again) == CLLA_BAD_FILE && !m && !strcmp(again.text, error.text), "%s",
          again.text);
    writer_close(&writer);
}

/* The split model, from the first call to the last. */
static clla_status load_split(clla_model **m) {
    clla_loader *l = NULL;
    clla_status status = clla_loader_create(&options, &l, &error);
    for (uint32_t i = 0; !status && i < PARTS; i++) {
        if (i > 0) status = clla_loader_next_part(l, &error);
        if (!status) status = feed_part(l, i, PARTS, 20, i ? part_ends[i - 1] : 0, part_ends[i]);
    }
    if (!status) return clla_loader_finish(l, m, &error);
    clla_loader_free(l);
    return status;
}

static void test_failing_allocations(void) {
    size_t before = memory_in_use();
    long failures = 0, successes = 0; /* giving back what a header has too much may fail without harm */
    tiny_model(&writer, &(tiny_options){.type = TENSOR_Q4_1, .seed = 4});
    for (long n = 1; successes < 40; n++) {
        clla_model *m = NULL;
        memory_fail_at(n);
        clla_status status = load_split(&m);
        memory_fail_at(0);
        CHECK(!status == !!m && (!status || status == CLLA_OUT_OF_MEMORY), "allocation %ld: %s: %s", n,
              clla_status_name(status), error.text);
        if (m) check_weights(m, &writer);
        clla_model_free(m);
        CHECK(memory_in_use() == before, "allocation %ld: %zu bytes leaked", n, memory_in_use() - before);
        successes = m ? successes + 1 : 0;
        failures += !m;
    }
    CHECK(failures >= 30, "%ld allocations made to fail", failures);
    writer_close(&writer);
}

/* Any byte of the header changed: a model or a reason, no crash, no leak. */
static void test_changed_bytes(void) {
    tiny_model(&writer, &(tiny_options){.type = TENSOR_Q4_0, .layers = 1});
    size_t before = memory_in_use(), accepted = 0;
    options.memory_limit = 1 << 24;
    uint32_t state = 3;
    for (size_t at = 0; at < writer.data_start; at++) {
        uint8_t old = writer.bytes[at];
        writer.bytes[at] = (uint8_t)(old ^ (1u << tiny_random(&state) % 8));
        clla_model *m;
        clla_status status = load(writer.bytes, writer.size, SIZE_MAX, &m);
        CHECK(status ? error.text[0] && !m : m != NULL, "byte %zu: %s", at, clla_status_name(status));
        accepted += m != NULL;
        clla_model_free(m);
        writer.bytes[at] = old;
    }
    CHECK(accepted > 0 && accepted < writer.data_start, "%zu of %zu accepted", accepted, writer.data_start);
    CHECK(memory_in_use() == before, "%zu bytes leaked", memory_in_use() - before);
    options.memory_limit = 0;
    writer_close(&writer);
}

int main(void) {
    RUN("the peak is the model plus four rows", test_peak);
    RUN("every type, in pieces of 1, 7, 4096 and random sizes: the same weights, the file's values",
        test_pieces);
    RUN("types may be mixed, vectors need not be F32, harmless tensors are skipped", test_mixed);
    RUN("tensors may lie in any order, with gaps", test_order);
    RUN("progress tells what is known", test_progress);
    RUN("the vocabulary alone needs the header alone", test_vocabulary_only);
    RUN("a file cut anywhere is truncated and says where", test_truncation);
    RUN("bytes behind the last tensor's padding are refused", test_bytes_behind);
    RUN("missing and unknown tensors are named", test_tensors_against_the_model);
    RUN("wrong shapes are told with both shapes", test_shapes);
    RUN("missing metadata is named", test_metadata);
    RUN("numbers that cannot be are refused", test_numbers);
    RUN("unknown architectures, tokenizers and types are refused by name", test_unknown);
    RUN("scales that are not finite are refused with tensor and row", test_not_finite);
    RUN("threads change neither weights nor errors", test_threads);
    RUN("the memory limit is exact and told", test_memory_limit);
    RUN("a split model is the whole one", test_split);
    RUN("parts in the wrong order, number or content are refused", test_wrong_parts);
    RUN("a part of another model is refused", test_part_of_another_model);
    RUN("failures are final and stay the same", test_failures_are_final);
    RUN("each allocation may fail", test_failing_allocations);
    RUN("any bit of the header changed gives an answer", test_changed_bytes);
    return test_report();
}
