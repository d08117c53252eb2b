/* test_gguf.c: headers in pieces of any size, every kind of value, and every refusal with the place it names.
 */
#include "arena.h"
#include "gguf_writer.h"
#include "test.h"

static gguf_writer writer; /* large, therefore not on the stack */
static clla_error error;

/* Feed in pieces of `step` bytes until the header is complete, an error comes or the bytes end. */
static clla_status feed(gguf *g, const uint8_t *bytes, size_t size, size_t step, size_t *total) {
    gguf_open(g);
    *total = 0;
    error.text[0] = 0;
    for (size_t at = 0, used; at < size && !g->complete; at += used) {
        size_t piece = size - at < step ? size - at : step;
        clla_status status = gguf_feed(g, bytes + at, piece, &used, &error);
        if (status) return status;
        *total += used;
    }
    return CLLA_OK;
}

/* What the whole file gives, in one piece and byte by byte: the same status, which must be the wanted one. */
static void expect(clla_status wanted, const char *words) {
    static const size_t steps[] = {SIZE_MAX, 1, 7};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        gguf g;
        size_t total, before = memory_in_use();
        clla_status status = feed(&g, writer.bytes, writer.size, steps[i], &total);
        CHECK(status == wanted && !g.complete == (wanted != CLLA_OK), "want %s (%s), got %s: %s",
              clla_status_name(wanted), words, clla_status_name(status), error.text);
        CHECK(!status || strstr(error.text, words), "\"%s\" does not say \"%s\"", error.text, words);
        gguf_close(&g);
        CHECK(memory_in_use() == before, "%zu bytes leaked", memory_in_use() - before);
    }
    writer_close(&writer);
}

/* ---- what is read ------------------------------------------------------------------------------------ */

static void write_every_kind(void) {
    gguf_writer *w = &writer;
    writer_open(w);
    writer_number(w, "u8", GGUF_UINT8, 250, 1), writer_number(w, "i8", GGUF_INT8, (uint64_t)-5, 1);
    writer_number(w, "u16", GGUF_UINT16, 65000, 2), writer_number(w, "i16", GGUF_INT16, (uint64_t)-300, 2);
    writer_u32(w, "u32", 4000000000u), writer_number(w, "i32", GGUF_INT32, 70000, 4);
    writer_number(w, "u64", GGUF_UINT64, UINT64_C(1) << 40, 8), writer_number(w, "i64", GGUF_INT64, 77, 8);
    writer_f32(w, "f32", 0.5f), writer_number(w, "f64", GGUF_FLOAT64, UINT64_C(0x3ff8000000000000), 8);
    writer_number(w, "nan", GGUF_FLOAT32, 0x7fc00000, 4);
    writer_bool(w, "yes", true), writer_bool(w, "no", false);
    writer_text(w, "text", "caf\xc3\xa9"), writer_text(w, "empty", "");
    writer_array(w, "numbers", GGUF_INT16, 3), put(w, 1, 2), put(w, 0xfffe, 2), put(w, 3, 2);
    writer_array(w, "flags", GGUF_BOOL, 2), put(w, 1, 1), put(w, 0, 1);
    writer_array(w, "words", GGUF_STRING, 3), put_text(w, "a"), put_text(w, ""), put_text(w, "ccc");
    writer_array(w, "nothing", GGUF_STRING, 0), writer_array(w, "none", GGUF_FLOAT64, 0);
    writer_tensor(w, "b", TENSOR_F16, 3, (uint64_t[]){5, 3, 2}, NULL);
    writer_tensor(w, "a", TENSOR_Q4_K, 2, (uint64_t[]){512, 3}, NULL);
    writer_end(w);
}

static void check_numbers(const gguf *g) {
    uint32_t u;
    float f;
    CHECK(!gguf_u32(g, "u8", &u, &error) && u == 250, "u8 is %u", u);
    CHECK(!gguf_u32(g, "u16", &u, &error) && u == 65000, "u16 is %u", u);
    CHECK(!gguf_u32(g, "u32", &u, &error) && u == 4000000000u, "u32 is %u", u);
    CHECK(!gguf_u32(g, "i32", &u, &error) && u == 70000, "i32 is %u", u);
    CHECK(!gguf_u32(g, "i64", &u, &error) && u == 77, "i64 is %u", u);
    CHECK(!gguf_u32_or(g, "gone", 9, &u, &error) && u == 9, "fallback is %u", u);
    CHECK(!gguf_f32(g, "f32", &f, &error) && f == 0.5f, "f32 is %g", (double)f);
    CHECK(!gguf_f32(g, "f64", &f, &error) && f == 1.5f, "f64 is %g", (double)f);
    CHECK(!gguf_f32(g, "i8", &f, &error) && f == -5.0f, "i8 is %g", (double)f);
    CHECK(!gguf_f32_or(g, "gone", 2.5f, &f, &error) && f == 2.5f, "fallback is %g", (double)f);
}

static void check_refused_numbers(const gguf *g) {
    static const struct {
        const char *key, *words;
    } wrong[] = {{"i8", "i8 is -5, out of range"},
                 {"i16", "out of range"},
                 {"u64", "u64 is 1099511627776"},
                 {"gone", "gone is missing"},
                 {"f32", "should be a whole number, not float32"},
                 {"yes", "not bool"},
                 {"text", "not string"},
                 {"numbers", "not an array of int16"}};
    uint32_t u = 123;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK(gguf_u32(g, wrong[i].key, &u, &error) == CLLA_BAD_FILE, "%s was read", wrong[i].key);
        CHECK(strstr(error.text, wrong[i].words), "%s: %s", wrong[i].key, error.text);
    }
    CHECK(u == 123, "a failure leaves the value");
    float f;
    bool b;
    gguf_string s;
    CHECK(gguf_f32(g, "nan", &f, &error) && strstr(error.text, "nan is not a finite"), "%s", error.text);
    CHECK(gguf_f32_or(g, "yes", 1, &f, &error) && gguf_f32(g, "numbers", &f, &error),
          "a bool or array as float");
    CHECK(gguf_bool_or(g, "u8", true, &b, &error) && gguf_bool_or(g, "flags", true, &b, &error),
          "a number as bool");
    CHECK(gguf_text(g, "u8", &s, &error) && gguf_text_or(g, "words", "", &s, &error), "a number as text");
    CHECK(gguf_text(g, "gone", &s, &error) && strstr(error.text, "gone is missing"), "%s", error.text);
}

static void check_texts_and_arrays(const gguf *g) {
    gguf_string s;
    bool b;
    double d;
    CHECK(!gguf_text(g, "text", &s, &error) && gguf_equals(s, "caf\xc3\xa9"), "text");
    CHECK(!gguf_text(g, "empty", &s, &error) && s.size == 0, "empty");
    CHECK(!gguf_text_or(g, "gone", "else", &s, &error) && gguf_equals(s, "else"), "fallback");
    CHECK(!gguf_bool_or(g, "yes", false, &b, &error) && b, "yes");
    CHECK(!gguf_bool_or(g, "no", true, &b, &error) && !b, "no");
    CHECK(!gguf_bool_or(g, "gone", true, &b, &error) && b, "fallback");
    const gguf_entry *words = gguf_find(g, "words"), *numbers = gguf_find(g, "numbers");
    CHECK(words && words->is_array && words->type == GGUF_STRING && words->count == 3, "words");
    CHECK(gguf_equals(gguf_string_at(g, words, 0), "a") && gguf_string_at(g, words, 1).size == 0 &&
              gguf_equals(gguf_string_at(g, words, 2), "ccc"),
          "items of words");
    CHECK(gguf_number_at(g, numbers, 1, &d) && d == -2, "numbers[1] is %g", d);
    CHECK(gguf_number_at(g, gguf_find(g, "flags"), 0, &d) && d == 1, "flags[0]");
    CHECK(gguf_number_at(g, gguf_find(g, "u64"), 0, &d) && d == 0x1p40, "u64");
    CHECK(!gguf_number_at(g, gguf_find(g, "text"), 0, &d), "a string is no number");
    CHECK(gguf_find(g, "nothing")->count == 0 && gguf_find(g, "none")->count == 0, "empty arrays");
    CHECK(!gguf_find(g, "tex") && !gguf_find(g, "textt") && !gguf_find(g, ""), "no such keys");
}

static void check_tensors(const gguf *g) {
    const gguf_tensor *a = gguf_find_tensor(g, "a"), *b = gguf_find_tensor(g, "b");
    CHECK(g->tensor_count == 2 && a && b && !gguf_find_tensor(g, "c"), "two tensors");
    if (!a || !b) return;
    CHECK(b->dimensions == 3 && b->ne[0] == 5 && b->ne[2] == 2 && b->ne[3] == 1 && b->bytes == 60, "b");
    CHECK(a->type == TENSOR_Q4_K && a->bytes == 2 * 144 * 3, "a has %llu bytes",
          (unsigned long long)a->bytes);
    CHECK(g->data_start == writer.data_start && b->offset == g->data_start, "data starts at %llu",
          (unsigned long long)g->data_start);
    CHECK(a->offset == g->data_start + 64 && g->data_end == a->offset + a->bytes, "a follows, aligned");
    CHECK(g->by_offset[0] == b && g->by_offset[1] == a && g->alignment == 32, "order of the bytes");
}

static void test_every_kind(void) {
    for (size_t step = 1; step < 400; step += step < 40 ? 1 : 97) {
        write_every_kind();
        gguf g;
        size_t total;
        clla_status status = feed(&g, writer.bytes, writer.size, step, &total);
        CHECK(!status && g.complete && g.version == 3, "pieces of %zu: %s", step, error.text);
        if (g.complete) {
            CHECK(total <= g.data_start && g.data_start - total < 32, "%zu bytes are header", total);
            check_numbers(&g), check_refused_numbers(&g), check_texts_and_arrays(&g), check_tensors(&g);
        }
        gguf_close(&g);
        writer_close(&writer);
    }
}

static void test_no_tensors(void) {
    writer_open(&writer);
    writer_text(&writer, "general.architecture", "llama");
    writer_put_counts(&writer); /* no padding behind the last entry, as vocabulary files have it */
    expect(CLLA_OK, "");
    writer_open(&writer);
    writer_put_counts(&writer);
    expect(CLLA_OK, "");
}

static void test_version_2(void) {
    write_every_kind();
    writer.bytes[4] = 2;
    expect(CLLA_OK, "");
}

static void test_alignment(void) {
    for (uint32_t alignment = 1; alignment <= 4096; alignment *= 2) {
        writer_open(&writer);
        writer.alignment = alignment;
        writer_u32(&writer, "general.alignment", alignment);
        writer_tensor(&writer, "a", TENSOR_F32, 1, (uint64_t[]){3}, NULL);
        writer_tensor(&writer, "b", TENSOR_F32, 1, (uint64_t[]){3}, NULL);
        writer_end(&writer);
        gguf g;
        size_t total;
        CHECK(!feed(&g, writer.bytes, writer.size, 50, &total) && g.complete, "%u: %s", alignment,
              error.text);
        CHECK(g.data_start == writer.data_start && g.data_start % alignment == 0, "alignment %u", alignment);
        gguf_close(&g);
        writer_close(&writer);
    }
}

static void test_printable(void) {
    CHECK(strcmp(gguf_printable((gguf_string){"a\n\xc3\xa9z", 5}).text, "a???z") == 0, "not printable");
    char longest[200];
    memset(longest, 'x', sizeof longest);
    gguf_label label = gguf_printable((gguf_string){longest, sizeof longest});
    CHECK(strlen(label.text) == 79 && strcmp(label.text + 76, "...") == 0, "%s", label.text);
    CHECK(gguf_printable((gguf_string){0}).text[0] == 0, "nothing");
}

/* ---- what is refused --------------------------------------------------------------------------------- */

static void test_wrong_beginnings(void) {
    writer_open(&writer);
    writer.bytes[0] = '<';
    expect(CLLA_BAD_FILE, "begins with the bytes 3c 47 55 46");
    writer_open(&writer);
    writer.bytes[4] = 1;
    expect(CLLA_UNSUPPORTED_VERSION, "version 1");
    writer_open(&writer);
    writer.bytes[4] = 4;
    expect(CLLA_UNSUPPORTED_VERSION, "version 4");
    writer_open(&writer);
    memcpy(writer.bytes + 4, "\0\0\0\3", 4);
    expect(CLLA_UNSUPPORTED_VERSION, "big-endian");
}

static void set_counts(uint64_t tensors, uint64_t entries) {
    writer.tensor_count = 0;
    size_t size = writer.size;
    writer.size = 8;
    put(&writer, tensors, 8), put(&writer, entries, 8);
    writer.size = size;
}

static void test_huge_counts(void) {
    static const uint64_t huge[] = {UINT64_C(1) << 60, UINT64_MAX, UINT64_C(1) << 32, UINT64_C(1) << 27};
    for (size_t i = 0; i < sizeof huge / sizeof huge[0]; i++) {
        writer_open(&writer), set_counts(huge[i], 0);
        expect(CLLA_BAD_FILE, "tensors and 0 metadata entries");
        writer_open(&writer), set_counts(0, huge[i]);
        expect(CLLA_BAD_FILE, "0 tensors and");
        writer_open(&writer), writer_array(&writer, "words", GGUF_STRING, huge[i]),
            writer_put_counts(&writer);
        expect(CLLA_BAD_FILE, "\"words\"");
        writer_open(&writer), writer_array(&writer, "numbers", GGUF_UINT64, huge[i]),
            writer_put_counts(&writer);
        expect(CLLA_BAD_FILE, "\"numbers\"");
        if (huge[i] < UINT64_C(1) << 30) continue; /* what follows counts bytes */
        writer_open(&writer), writer.entries = 1, put(&writer, huge[i], 8), writer_put_counts(&writer);
        expect(CLLA_BAD_FILE, "its key is longer");
        writer_open(&writer), writer_key(&writer, "text", GGUF_STRING), put(&writer, huge[i], 8),
            writer_put_counts(&writer);
        expect(CLLA_BAD_FILE, "\"text\"");
        writer_open(&writer), writer_array(&writer, "w", GGUF_STRING, 2), put_text(&writer, "a"),
            put(&writer, huge[i], 8);
        writer_put_counts(&writer);
        expect(CLLA_BAD_FILE, "string 1 is longer");
        writer_open(&writer), set_counts(1, 0), put(&writer, huge[i], 8);
        expect(CLLA_BAD_FILE, "its name is longer than 64 bytes");
    }
}

static void test_wrong_entries(void) {
    writer_open(&writer), writer_number(&writer, "odd", (gguf_type)13, 0, 8), writer_put_counts(&writer);
    expect(CLLA_BAD_FILE, "\"odd\"");
    writer_open(&writer), writer_number(&writer, "odd", (gguf_type)0xffffffffu, 0, 8),
        writer_put_counts(&writer);
    expect(CLLA_BAD_FILE, "its type is not");
    writer_open(&writer), writer_array(&writer, "deep", GGUF_ARRAY, 1), writer_put_counts(&writer);
    expect(CLLA_BAD_FILE, "array of arrays");
    writer_open(&writer), writer_array(&writer, "odd", (gguf_type)77, 1), writer_put_counts(&writer);
    expect(CLLA_BAD_FILE, "its type is not");
    writer_open(&writer), writer_number(&writer, "flag", GGUF_BOOL, 2, 1), writer_put_counts(&writer);
    expect(CLLA_BAD_FILE, "neither 0 nor 1");
    writer_open(&writer), writer_u32(&writer, "a", 1), writer_u32(&writer, "b", 1),
        writer_u32(&writer, "a", 1);
    writer_put_counts(&writer);
    expect(CLLA_BAD_FILE, "key \"a\" stands in the file twice");
    static const uint32_t alignments[] = {0, 3, 48, UINT32_MAX};
    for (size_t i = 0; i < sizeof alignments / sizeof alignments[0]; i++) {
        writer_open(&writer), writer_u32(&writer, "general.alignment", alignments[i]),
            writer_put_counts(&writer);
        expect(CLLA_BAD_FILE, "not a power of two");
    }
    writer_open(&writer), writer_text(&writer, "general.alignment", "32"), writer_put_counts(&writer);
    expect(CLLA_BAD_FILE, "general.alignment should be a whole number");
}

/* A header with two tensors of 64 bytes of which `change` spoils the second. */
static void expect_tensor(void (*change)(writer_item *), clla_status wanted, const char *words) {
    writer_open(&writer);
    writer_tensor(&writer, "first", TENSOR_F32, 1, (uint64_t[]){16}, NULL);
    writer_item *t = writer_tensor(&writer, "second", TENSOR_F32, 2, (uint64_t[]){8, 2}, NULL);
    writer_place(&writer);
    change(t);
    writer_put_infos(&writer);
    writer_put_counts(&writer);
    expect(wanted, words);
}

static void no_dimension(writer_item *t) { t->dimensions = 0; }
static void five_dimensions(writer_item *t) { t->dimensions = 5; }
static void many_dimensions(writer_item *t) { t->dimensions = UINT32_MAX; }
static void empty_row(writer_item *t) { t->ne[0] = 0; }
static void no_rows(writer_item *t) { t->ne[1] = 0; }
static void huge_rows(writer_item *t) { t->ne[1] = UINT64_C(1) << 60; }
static void overflowing(writer_item *t) { t->ne[0] = t->ne[1] = UINT64_C(1) << 32; }
static void wrapping(writer_item *t) { t->ne[0] = (UINT64_C(1) << 63) + 1, t->ne[1] = 2; }
static void bytes_overflow(writer_item *t) { t->ne[0] = UINT64_C(1) << 61, t->ne[1] = 2; }
static void uneven_row(writer_item *t) { t->type = TENSOR_Q4_0, t->ne[0] = 33; }
static void uneven_k_row(writer_item *t) { t->type = TENSOR_Q6_K, t->ne[0] = 128; }
static void old_type(writer_item *t) { t->type = 16; }
static void no_type(writer_item *t) { t->type = 1000; }
static void same_name(writer_item *t) { strcpy(t->name, "first"); }
static void same_place(writer_item *t) { t->offset = 0; }
static void overlapping(writer_item *t) { t->offset = 32; }
static void unaligned(writer_item *t) { t->offset = 65; }
static void far(writer_item *t) { t->offset = UINT64_MAX - 31; }
static void farther(writer_item *t) { t->offset = UINT64_C(1) << 63; }
static void gap(writer_item *t) { t->offset = 1 << 20; }

static void test_wrong_tensors(void) {
    expect_tensor(no_dimension, CLLA_BAD_FILE, "second: it has 0 dimensions");
    expect_tensor(five_dimensions, CLLA_BAD_FILE, "second: it has 5 dimensions");
    expect_tensor(many_dimensions, CLLA_BAD_FILE, "second: it has 4294967295 dimensions");
    expect_tensor(empty_row, CLLA_BAD_FILE, "second: the shape [0, 2, 1, 1]");
    expect_tensor(no_rows, CLLA_BAD_FILE, "second: the shape [8, 0, 1, 1]");
    expect_tensor(huge_rows, CLLA_BAD_FILE, "second: the shape [8, 1152921504606846976, 1, 1]");
    expect_tensor(overflowing, CLLA_BAD_FILE, "second: the shape");
    expect_tensor(wrapping, CLLA_BAD_FILE, "second: the shape");
    expect_tensor(bytes_overflow, CLLA_BAD_FILE, "second: its size overflows");
    expect_tensor(uneven_row, CLLA_BAD_FILE,
                  "second: rows of 33 values do not divide into Q4_0 blocks of 32");
    expect_tensor(uneven_k_row, CLLA_BAD_FILE,
                  "second: rows of 128 values do not divide into Q6_K blocks of 256");
    expect_tensor(old_type, CLLA_UNSUPPORTED_TYPE,
                  "second: this build does not read the tensor type IQ2_XXS");
    expect_tensor(no_type, CLLA_UNSUPPORTED_TYPE, "second: 1000 is not a known tensor type");
    expect_tensor(same_name, CLLA_BAD_FILE, "tensor first stands in the file twice");
    expect_tensor(same_place, CLLA_BAD_FILE, "overlap");
    expect_tensor(overlapping, CLLA_BAD_FILE, "second: its bytes overlap those of first");
    expect_tensor(unaligned, CLLA_BAD_FILE, "second: its offset 65 is not a multiple of the alignment 32");
    expect_tensor(far, CLLA_BAD_FILE, "second: its offset 18446744073709551584 overflows");
    expect_tensor(farther, CLLA_BAD_FILE, "second: its offset 9223372036854775808 overflows");
    expect_tensor(gap, CLLA_OK, "");
}

static void test_every_truncation(void) {
    write_every_kind();
    gguf whole;
    size_t header, total;
    feed(&whole, writer.bytes, writer.size, SIZE_MAX, &header);
    gguf_close(&whole);
    for (size_t size = 0; size < header; size++) {
        uint8_t *bytes =
            malloc(size + 1); /* of exactly this size, so that a sanitizer sees reads behind it */
        memcpy(bytes, writer.bytes, size);
        gguf g;
        clla_status status = feed(&g, bytes, size, SIZE_MAX, &total);
        CHECK(!status && !g.complete && total == size, "%zu of %zu bytes: %s", size, header, error.text);
        CHECK(gguf_ends_early(&g, &error) == CLLA_TRUNCATED_FILE && strstr(error.text, "inside its header"),
              "%s", error.text);
        gguf_close(&g);
        free(bytes);
    }
    writer_close(&writer);
}

/* Any byte changed to anything: an answer, no crash, no leak. */
static void test_every_byte_changed(void) {
    write_every_kind();
    size_t before = memory_in_use();
    for (size_t at = 0; at < writer.data_start; at++)
        for (int k = 0; k < 5; k++) {
            uint8_t old = writer.bytes[at],
                    values[] = {0, 0xff, 0x80, (uint8_t)(old + 1), (uint8_t)(old ^ 0x20)};
            writer.bytes[at] = values[k];
            gguf g;
            size_t total;
            clla_status status = feed(&g, writer.bytes, writer.size, SIZE_MAX, &total);
            CHECK(!status || error.text[0], "byte %zu: no sentence", at);
            CHECK(!g.complete || g.data_end >= g.data_start, "byte %zu", at);
            gguf_close(&g);
            writer.bytes[at] = old;
        }
    CHECK(memory_in_use() == before, "%zu bytes leaked", memory_in_use() - before);
    writer_close(&writer);
}

static void test_failing_allocations(void) {
    write_every_kind();
    size_t before = memory_in_use();
    long failures = 0;
    for (long n = 1;; n++) {
        gguf g;
        size_t total;
        memory_fail_at(n);
        clla_status status = feed(&g, writer.bytes, writer.size, SIZE_MAX, &total);
        memory_fail_at(0);
        CHECK(status == CLLA_OK || (status == CLLA_OUT_OF_MEMORY && strstr(error.text, "no memory")), "%s",
              error.text);
        bool complete = g.complete;
        gguf_close(&g);
        CHECK(memory_in_use() == before, "allocation %ld: %zu bytes leaked", n, memory_in_use() - before);
        failures += status != CLLA_OK;
        if (complete && n > 20) break;
    }
    CHECK(failures >= 6, "%ld failures", failures);
    writer_close(&writer);
}

/* 100,000 tensors and as many strings, fed in tiny pieces: linear, so well under a second each. */
static void test_many_names(void) {
    enum { MANY = 100000 };
    gguf_writer *w = &writer;
    char name[32];
    writer_open(w);
    writer_array(w, "words", GGUF_STRING, MANY);
    for (int i = 0; i < MANY; i++) put_text(w, "word");
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "t%d", i);
        put_text(w, name), put(w, 1, 4), put(w, 8, 8), put(w, TENSOR_F32, 4), put(w, 32 * (uint64_t)i, 8);
    }
    set_counts(MANY, 1);
    gguf g;
    size_t total;
    CHECK(!feed(&g, w->bytes, w->size, 5, &total) && g.complete, "%s", error.text);
    CHECK(g.tensor_count == MANY && gguf_find_tensor(&g, "t99999")->offset == g.data_start + 32 * 99999,
          "tensors");
    gguf_close(&g);
    writer_close(w);
}

int main(void) {
    RUN("every kind of value is read, in pieces of any size", test_every_kind);
    RUN("a header without tensors is complete without padding", test_no_tensors);
    RUN("version 2 is read", test_version_2);
    RUN("every power of two is an alignment", test_alignment);
    RUN("names of the file are made printable for messages", test_printable);
    RUN("wrong magic, old, future and big-endian versions are refused", test_wrong_beginnings);
    RUN("counts and lengths up to 2^64 are refused by name", test_huge_counts);
    RUN("wrong types, nested arrays, repeated keys and bad alignments are refused", test_wrong_entries);
    RUN("wrong shapes, types, names and offsets of tensors are refused", test_wrong_tensors);
    RUN("a header cut at any byte is incomplete and says where", test_every_truncation);
    RUN("a header with any byte changed gives an answer", test_every_byte_changed);
    RUN("each allocation may fail", test_failing_allocations);
    RUN("100,000 tensors and strings take linear time", test_many_names);
    return test_report();
}
