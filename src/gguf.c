/* gguf.c: the header of a GGUF file, item by item.
 *
 * The bytes are collected in `header`; `cursor` is where the next unread item begins. An item (the counts, a
 * metadata entry, one string of a string array, a tensor's description) is read in one go by a reader that
 * notes when bytes are still to come; then the cursor stays and the next feed tries again. Trying costs a few
 * reads however long the item is, and an array of strings is many items, so the whole is linear even where
 * bytes arrive one at a time.
 *
 * Nothing is believed: memory grows with what has arrived, never with what a count claims; every length is
 * held against the limit of the header before anything waits for it. When the last item is there, names
 * become pointers into the header, and names and offsets are sorted to find what is repeated or overlaps. */
#include "gguf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "quant.h"

enum { STAGE_COUNTS, STAGE_ENTRY, STAGE_ITEMS, STAGE_TENSOR };

enum {
    HEADER_MAX = 512 << 20, /* bytes */
    KEY_MAX = 65535,        /* the format's own limits */
    NAME_MAX_BYTES = 64,
    ENTRY_MIN = 13,  /* bytes: empty key, type, one byte */
    TENSOR_MIN = 32, /* bytes: empty name, one dimension */
    FEED_STEP = 1 << 16,
    ALIGNMENT_DEFAULT = 32
};

static const struct {
    const char *name;
    size_t bytes; /* 0: varies */
} value_types[GGUF_TYPES] = {
    [GGUF_UINT8] = {"uint8", 1},     [GGUF_INT8] = {"int8", 1},       [GGUF_UINT16] = {"uint16", 2},
    [GGUF_INT16] = {"int16", 2},     [GGUF_UINT32] = {"uint32", 4},   [GGUF_INT32] = {"int32", 4},
    [GGUF_BOOL] = {"bool", 1},       [GGUF_FLOAT32] = {"float32", 4}, [GGUF_STRING] = {"string", 0},
    [GGUF_ARRAY] = {"array", 0},     [GGUF_UINT64] = {"uint64", 8},   [GGUF_INT64] = {"int64", 8},
    [GGUF_FLOAT64] = {"float64", 8},
};

/* ---- reading ----------------------------------------------------------------------------------------- */

typedef struct reader {
    const gguf *g;
    size_t at;
    bool waits;     /* bytes are missing: all that was read since is 0 */
    bool oversized; /* a length leads beyond HEADER_MAX or its own limit */
} reader;

/* Little endian, on any processor. */
static uint64_t number_at(const uint8_t *bytes, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

/* Step over size bytes; NULL when they are not all there. */
static const uint8_t *read_bytes(reader *r, uint64_t size) {
    if (r->waits || r->oversized) return NULL;
    r->oversized = r->at > HEADER_MAX || size > HEADER_MAX - r->at;
    r->waits = r->oversized || size > r->g->header_size - r->at;
    if (r->waits) return NULL;
    r->at += (size_t)size;
    return r->g->header + r->at - size;
}

static uint64_t read_number(reader *r, size_t size) {
    const uint8_t *bytes = read_bytes(r, size);
    return bytes ? number_at(bytes, size) : 0;
}

static gguf_string read_string(reader *r, uint64_t limit) {
    uint64_t size = read_number(r, 8);
    if (size > limit) r->oversized = r->waits = true;
    const uint8_t *bytes = read_bytes(r, size);
    return bytes ? (gguf_string){(const char *)bytes, (size_t)size} : (gguf_string){0};
}

/* Room for one item more: the block to use from now on, NULL when there is no memory (the old one stays). */
static void *room_for_one(void *block, size_t *capacity, size_t count, size_t item) {
    if (count < *capacity) return block;
    size_t wanted = *capacity ? *capacity * 2 : 64;
    if (wanted > SIZE_MAX / item) return NULL;
    void *grown = memory_resize(block, wanted * item);
    if (grown) *capacity = wanted;
    return grown;
}

static clla_status out_of_memory(const gguf *g, clla_error *error) {
    return clla_fail(error, CLLA_OUT_OF_MEMORY, "no memory for the header at byte %zu", g->cursor);
}

/* ---- the items --------------------------------------------------------------------------------------- */

/* Each parse_ function reads one item at the cursor. Bytes missing: it returns OK and leaves the cursor. */
static clla_status finish_header(gguf *g, clla_error *error);

/* The item that ends at `at` is taken; see what comes next. */
static clla_status advance(gguf *g, size_t at, clla_error *error) {
    g->cursor = at;
    bool entries = g->entry_count < g->entries_wanted, tensors = g->tensor_count < g->tensors_wanted;
    if (!g->items_left && !entries && !tensors) return finish_header(g, error);
    g->stage = g->items_left ? STAGE_ITEMS : entries ? STAGE_ENTRY : STAGE_TENSOR;
    if (g->stage == STAGE_TENSOR && g->tensor_count == 0) g->tensors_start = at;
    return CLLA_OK;
}

static clla_status check_version(uint64_t version, clla_error *error) {
    if (version == 2 || version == 3) return CLLA_OK;
    if ((version & 0xffff) == 0 && version != 0)
        return clla_fail(error, CLLA_UNSUPPORTED_VERSION,
                         "the file is big-endian GGUF; little-endian is read");
    return clla_fail(error, CLLA_UNSUPPORTED_VERSION,
                     "the file is GGUF version %u; versions 2 and 3 are read", (unsigned)version);
}

static clla_status parse_counts(gguf *g, clla_error *error) {
    reader r = {.g = g};
    uint32_t magic = (uint32_t)read_number(&r, 4);
    if (!r.waits && magic != 0x46554747u)
        return clla_fail(error, CLLA_BAD_FILE,
                         "not a GGUF file: it begins with the bytes %02x %02x %02x %02x", g->header[0],
                         g->header[1], g->header[2], g->header[3]);
    uint64_t version = read_number(&r, 4);
    clla_status status = r.waits ? CLLA_OK : check_version(version, error);
    if (status) return status;
    uint64_t tensors = read_number(&r, 8), entries = read_number(&r, 8);
    if (r.waits) return CLLA_OK;
    if (tensors > HEADER_MAX / TENSOR_MIN || entries > HEADER_MAX / ENTRY_MIN)
        return clla_fail(error, CLLA_BAD_FILE, "the file claims %llu tensors and %llu metadata entries",
                         (unsigned long long)tensors, (unsigned long long)entries);
    g->version = (uint32_t)version;
    g->tensors_wanted = tensors;
    g->entries_wanted = entries;
    return advance(g, r.at, error);
}

static clla_status refuse_entry(const gguf *g, gguf_string key, const char *what, clla_error *error) {
    return clla_fail(error, CLLA_BAD_FILE, "metadata entry %zu (\"%s\") at byte %zu: %s", g->entry_count,
                     gguf_printable(key).text, g->cursor, what);
}

/* What is wrong with the beginning of an entry, NULL if nothing. */
static const char *entry_fault(const gguf_entry *e, uint64_t type) {
    if (type >= GGUF_TYPES) return "its type is not one of the format's";
    if (e->is_array && type == GGUF_ARRAY) return "it is an array of arrays";
    if (e->is_array && e->count > HEADER_MAX) return "it claims more items than a header can hold";
    return NULL;
}

static bool bools_are_valid(const uint8_t *bytes, uint64_t count) {
    for (uint64_t i = 0; i < count; i++)
        if (bytes[i] > 1) return false;
    return true;
}

/* The value of e at the reader: checked, stepped over; the items of a string array are left to STAGE_ITEMS.
 */
static const char *read_value(gguf *g, reader *r, const gguf_entry *e) {
    if (e->type == GGUF_STRING && e->is_array) {
        if (e->count > (HEADER_MAX - r->at) / 8) r->oversized = true;
        g->items_left = r->oversized ? 0 : e->count;
    } else if (e->type == GGUF_STRING) {
        read_string(r, HEADER_MAX);
    } else {
        const uint8_t *bytes = read_bytes(r, e->count * value_types[e->type].bytes);
        if (bytes && e->type == GGUF_BOOL && !bools_are_valid(bytes, e->count))
            return "a bool is neither 0 nor 1";
    }
    return r->oversized ? "it is longer than a header can be" : NULL;
}

static clla_status parse_entry(gguf *g, clla_error *error) {
    reader r = {.g = g, .at = g->cursor};
    gguf_entry e = {.count = 1};
    e.key = read_string(&r, KEY_MAX);
    if (r.oversized) return refuse_entry(g, e.key, "its key is longer than 65535 bytes", error);
    uint64_t type = read_number(&r, 4);
    e.is_array = type == GGUF_ARRAY;
    if (e.is_array) {
        type = read_number(&r, 4);
        e.count = read_number(&r, 8);
    }
    if (r.waits) return CLLA_OK;
    const char *fault = entry_fault(&e, type);
    if (fault) return refuse_entry(g, e.key, fault, error);
    e.type = (gguf_type)type;
    e.offset = r.at;
    e.index = g->string_count;
    fault = read_value(g, &r, &e);
    if (fault) return refuse_entry(g, e.key, fault, error);
    if (r.waits) return CLLA_OK;

    gguf_entry *entries = room_for_one(g->entries, &g->entry_capacity, g->entry_count, sizeof e);
    if (!entries) return out_of_memory(g, error);
    g->entries = entries;
    entries[g->entry_count++] = e;
    return advance(g, r.at, error);
}

static clla_status parse_item(gguf *g, clla_error *error) {
    const gguf_entry *array = &g->entries[g->entry_count - 1];
    reader r = {.g = g, .at = g->cursor};
    read_string(&r, HEADER_MAX);
    if (r.oversized)
        return clla_fail(error, CLLA_BAD_FILE,
                         "metadata entry %zu at byte %zu: string %llu is longer than a header can be",
                         g->entry_count - 1, g->cursor, (unsigned long long)(array->count - g->items_left));
    if (r.waits) return CLLA_OK;
    size_t *strings = room_for_one(g->strings, &g->string_capacity, g->string_count, sizeof *strings);
    if (!strings) return out_of_memory(g, error);
    g->strings = strings;
    strings[g->string_count++] = g->cursor;
    g->items_left--;
    return advance(g, r.at, error);
}

/* ne[0] * ne[1] * ne[2] * ne[3], or 0 when a factor is 0 or the product does not fit 62 bits. */
static uint64_t tensor_values(const uint64_t ne[4]) {
    uint64_t product = 1;
    for (int i = 0; i < 4; i++) {
        if (ne[i] == 0 || product > (UINT64_C(1) << 62) / ne[i]) return 0;
        product *= ne[i];
    }
    return product;
}

/* Find the bytes of a tensor from its type and shape. */
static clla_status measure_tensor(gguf_tensor *t, clla_error *error) {
    gguf_label name = gguf_printable(t->name);
    const tensor_type_info *info = tensor_type_find(t->type);
    const char *label = tensor_type_label(t->type);
    if (!info && label)
        return clla_fail(error, CLLA_UNSUPPORTED_TYPE, "%s: this build does not read the tensor type %s",
                         name.text, label);
    if (!info)
        return clla_fail(error, CLLA_UNSUPPORTED_TYPE, "%s: %u is not a known tensor type", name.text,
                         t->type);
    uint64_t values = tensor_values(t->ne);
    if (values == 0)
        return clla_fail(error, CLLA_BAD_FILE, "%s: the shape [%llu, %llu, %llu, %llu] is empty or too large",
                         name.text, (unsigned long long)t->ne[0], (unsigned long long)t->ne[1],
                         (unsigned long long)t->ne[2], (unsigned long long)t->ne[3]);
    if (t->ne[0] % info->block)
        return clla_fail(error, CLLA_BAD_FILE, "%s: rows of %llu values do not divide into %s blocks of %u",
                         name.text, (unsigned long long)t->ne[0], info->name, info->block);
    if (values / info->block > (UINT64_C(1) << 62) / info->bytes)
        return clla_fail(error, CLLA_BAD_FILE, "%s: its size overflows", name.text);
    t->bytes = values / info->block * info->bytes;
    return CLLA_OK;
}

static clla_status parse_tensor(gguf *g, clla_error *error) {
    reader r = {.g = g, .at = g->cursor};
    gguf_tensor t = {.ne = {1, 1, 1, 1}};
    t.name = read_string(&r, NAME_MAX_BYTES);
    t.dimensions = (uint32_t)read_number(&r, 4);
    if (r.oversized)
        return clla_fail(error, CLLA_BAD_FILE, "tensor %zu at byte %zu: its name is longer than 64 bytes",
                         g->tensor_count, g->cursor);
    if (r.waits) return CLLA_OK;
    if (t.dimensions < 1 || t.dimensions > 4)
        return clla_fail(error, CLLA_BAD_FILE, "%s: it has %u dimensions; 1 to 4 are possible",
                         gguf_printable(t.name).text, t.dimensions);
    for (uint32_t i = 0; i < t.dimensions; i++) t.ne[i] = read_number(&r, 8);
    t.type = (uint32_t)read_number(&r, 4);
    t.offset = read_number(&r, 8); /* from the start of the data section, until finish_header */
    if (r.waits) return CLLA_OK;
    clla_status status = measure_tensor(&t, error);
    if (status) return status;

    gguf_tensor *tensors = room_for_one(g->tensors, &g->tensor_capacity, g->tensor_count, sizeof t);
    if (!tensors) return out_of_memory(g, error);
    g->tensors = tensors;
    tensors[g->tensor_count++] = t;
    return advance(g, r.at, error);
}

/* ---- the complete header ----------------------------------------------------------------------------- */

/* Give back what the growing blocks have too much; where that fails they stay as they are. */
static void trim(gguf *g) {
    uint8_t *header = memory_resize(g->header, g->cursor);
    if (header) g->header = header;
    size_t *strings = g->string_count ? memory_resize(g->strings, g->string_count * sizeof *strings) : NULL;
    if (strings) g->strings = strings;
    g->header_size = g->cursor;
}

/* Keys and names pointed into the header while it could still move: point them to where it stays. */
static void place_names(gguf *g) {
    for (size_t i = 0; i < g->entry_count; i++) {
        gguf_entry *e = &g->entries[i];
        size_t between = e->is_array ? 16 : 4; /* type, and of an array the items' type and count */
        e->key.data = (const char *)g->header + e->offset - between - e->key.size;
    }
    size_t at = g->tensors_start;
    for (size_t i = 0; i < g->tensor_count; i++) {
        gguf_tensor *t = &g->tensors[i];
        t->name.data = (const char *)g->header + at + 8;
        at += 8 + t->name.size + 4 + 8 * t->dimensions + 4 + 8;
    }
}

static int compare_strings(const gguf_string *a, const gguf_string *b) {
    if (a->size != b->size) return a->size < b->size ? -1 : 1;
    return a->size ? memcmp(a->data, b->data, a->size) : 0;
}

static int compare_names(const void *a, const void *b) {
    return compare_strings(*(const gguf_string *const *)a, *(const gguf_string *const *)b);
}

static int compare_offsets(const void *a, const void *b) {
    const gguf_tensor *s = *(const gguf_tensor *const *)a, *t = *(const gguf_tensor *const *)b;
    return (s->offset > t->offset) - (s->offset < t->offset);
}

/* Sort the names that stand first in `count` structs of `item` bytes. NULL when there is no memory. */
static const gguf_string **sort_names(const void *first, size_t count, size_t item) {
    const gguf_string **sorted = memory_resize(NULL, (count ? count : 1) * sizeof *sorted);
    if (!sorted) return NULL;
    for (size_t i = 0; i < count; i++)
        sorted[i] = (const gguf_string *)(const void *)((const char *)first + i * item);
    if (count) qsort(sorted, count, sizeof *sorted, compare_names);
    return sorted;
}

static const gguf_string *find_repeated(const gguf_string *const *sorted, size_t count) {
    for (size_t i = 1; i < count; i++)
        if (compare_strings(sorted[i - 1], sorted[i]) == 0) return sorted[i];
    return NULL;
}

static const gguf_string *find_name(const gguf_string *const *sorted, size_t count, const char *text) {
    gguf_string wanted = {text, strlen(text)};
    const gguf_string *key = &wanted, *const *found = NULL;
    if (count) found = bsearch(&key, sorted, count, sizeof *sorted, compare_names);
    return found ? *found : NULL;
}

static clla_status sort_everything(gguf *g, clla_error *error) {
    g->keys = sort_names(g->entries, g->entry_count, sizeof *g->entries);
    g->names = sort_names(g->tensors, g->tensor_count, sizeof *g->tensors);
    g->by_offset = memory_resize(NULL, (g->tensor_count + 1) * sizeof *g->by_offset);
    if (!g->keys || !g->names || !g->by_offset) return out_of_memory(g, error);
    for (size_t i = 0; i < g->tensor_count; i++) g->by_offset[i] = &g->tensors[i];
    if (g->tensor_count) qsort(g->by_offset, g->tensor_count, sizeof *g->by_offset, compare_offsets);

    const gguf_string *repeated = find_repeated(g->keys, g->entry_count);
    if (repeated)
        return clla_fail(error, CLLA_BAD_FILE, "the metadata key \"%s\" stands in the file twice",
                         gguf_printable(*repeated).text);
    repeated = find_repeated(g->names, g->tensor_count);
    if (repeated)
        return clla_fail(error, CLLA_BAD_FILE, "the tensor %s stands in the file twice",
                         gguf_printable(*repeated).text);
    return CLLA_OK;
}

static clla_status read_alignment(gguf *g, clla_error *error) {
    uint32_t value;
    clla_status status = gguf_u32_or(g, "general.alignment", ALIGNMENT_DEFAULT, &value, error);
    if (status) return status;
    if (value == 0 || (value & (value - 1)))
        return clla_fail(error, CLLA_BAD_FILE, "general.alignment is %u, which is not a power of two", value);
    g->alignment = value;
    return CLLA_OK;
}

/* Offsets become offsets in the file; by_offset is sorted and stays so. */
static clla_status place_tensors(gguf *g, clla_error *error) {
    uint64_t alignment = g->alignment;
    g->data_start = g->data_end = (g->cursor + alignment - 1) / alignment * alignment;
    for (size_t i = 0; i < g->tensor_count; i++) {
        gguf_tensor *t = &g->tensors[g->by_offset[i] - g->tensors];
        gguf_label name = gguf_printable(t->name);
        if (t->offset % alignment)
            return clla_fail(error, CLLA_BAD_FILE,
                             "%s: its offset %llu is not a multiple of the alignment %u", name.text,
                             (unsigned long long)t->offset, (unsigned)alignment);
        if (t->offset > UINT64_MAX / 2)
            return clla_fail(error, CLLA_BAD_FILE, "%s: its offset %llu overflows", name.text,
                             (unsigned long long)t->offset);
        t->offset += g->data_start;
        if (t->offset < g->data_end)
            return clla_fail(error, CLLA_BAD_FILE, "%s: its bytes overlap those of %s", name.text,
                             gguf_printable(g->by_offset[i - 1]->name).text);
        g->data_end = t->offset + t->bytes; /* below 2^63 + 2^33 + 2^62 */
    }
    return CLLA_OK;
}

static clla_status finish_header(gguf *g, clla_error *error) {
    trim(g);
    place_names(g);
    clla_status status = sort_everything(g, error);
    if (!status) status = read_alignment(g, error);
    if (!status) status = place_tensors(g, error);
    g->complete = !status;
    return status;
}

/* ---- feeding ----------------------------------------------------------------------------------------- */

static clla_status append(gguf *g, const uint8_t *bytes, size_t size, clla_error *error) {
    if (g->header_size > HEADER_MAX)
        return clla_fail(error, CLLA_BAD_FILE, "the header is longer than 512 MiB");
    if (size > g->header_capacity - g->header_size) {
        size_t wanted =
            g->header_capacity ? 2 * g->header_capacity : FEED_STEP; /* size is at most FEED_STEP */
        uint8_t *header = memory_resize(g->header, wanted);
        if (!header) return out_of_memory(g, error);
        g->header = header;
        g->header_capacity = wanted;
    }
    memcpy(g->header + g->header_size, bytes, size);
    g->header_size += size;
    return CLLA_OK;
}

/* Take items until one is not all there. */
static clla_status parse(gguf *g, clla_error *error) {
    static clla_status (*const stages[])(gguf *, clla_error *) = {[STAGE_COUNTS] = parse_counts,
                                                                  [STAGE_ENTRY] = parse_entry,
                                                                  [STAGE_ITEMS] = parse_item,
                                                                  [STAGE_TENSOR] = parse_tensor};
    clla_status status = CLLA_OK;
    for (size_t before = SIZE_MAX; !status && !g->complete && g->cursor != before;) {
        before = g->cursor;
        status = stages[g->stage](g, error);
    }
    return status;
}

void gguf_open(gguf *g) { *g = (gguf){0}; }

clla_status gguf_feed(gguf *g, const uint8_t *bytes, size_t size, size_t *used, clla_error *error) {
    size_t start = g->header_size, taken = 0;
    clla_status status = CLLA_OK;
    while (!status && !g->complete && taken < size) {
        size_t step = size - taken < FEED_STEP ? size - taken : FEED_STEP;
        status = append(g, bytes + taken, step, error);
        if (!status) status = parse(g, error);
        taken += step;
    }
    *used = g->complete ? g->header_size - start : taken;
    return status;
}

clla_status gguf_ends_early(const gguf *g, clla_error *error) {
    return clla_fail(error, CLLA_TRUNCATED_FILE,
                     "the file ends inside its header: %zu bytes, with %zu of %llu metadata entries and %zu "
                     "of %llu tensors",
                     g->header_size, g->entry_count, (unsigned long long)g->entries_wanted, g->tensor_count,
                     (unsigned long long)g->tensors_wanted);
}

void gguf_close(gguf *g) {
    memory_resize(g->header, 0);
    memory_resize(g->strings, 0);
    memory_resize(g->entries, 0);
    memory_resize(g->tensors, 0);
    memory_resize(g->keys, 0);
    memory_resize(g->names, 0);
    memory_resize(g->by_offset, 0);
    *g = (gguf){0};
}

/* ---- look-ups ---------------------------------------------------------------------------------------- */

/* The name is the first member of an entry and of a tensor, so a pointer to it is one to the whole. */

const gguf_entry *gguf_find(const gguf *g, const char *key) {
    return (const gguf_entry *)(const void *)find_name(g->keys, g->entry_count, key);
}

const gguf_tensor *gguf_find_tensor(const gguf *g, const char *name) {
    return (const gguf_tensor *)(const void *)find_name(g->names, g->tensor_count, name);
}

bool gguf_equals(gguf_string s, const char *text) {
    return s.size == strlen(text) && (s.size == 0 || memcmp(s.data, text, s.size) == 0);
}

gguf_label gguf_printable(gguf_string s) {
    gguf_label label = {{0}};
    size_t room = sizeof label.text - 4, shown = s.size < room ? s.size : room;
    for (size_t i = 0; i < shown; i++)
        label.text[i] = (char)(s.data[i] >= ' ' && s.data[i] <= '~' ? s.data[i] : '?');
    if (shown < s.size) memcpy(label.text + shown, "...", 4);
    return label;
}

/* Item i as a whole number in [-2^63, 2^63); false for other types and larger values. */
static bool integer_at(const gguf *g, const gguf_entry *e, uint64_t i, int64_t *value) {
    size_t bytes = value_types[e->type].bytes;
    uint64_t bits = number_at(g->header + e->offset + (size_t)i * bytes, bytes);
    switch (e->type) {
    case GGUF_INT8: *value = (int8_t)bits; return true;
    case GGUF_INT16: *value = (int16_t)bits; return true;
    case GGUF_INT32: *value = (int32_t)bits; return true;
    case GGUF_INT64: *value = (int64_t)bits; return true;
    case GGUF_UINT8:
    case GGUF_UINT16:
    case GGUF_UINT32:
    case GGUF_UINT64: *value = (int64_t)bits; return *value >= 0;
    default: return false;
    }
}

bool gguf_number_at(const gguf *g, const gguf_entry *array, uint64_t i, double *value) {
    size_t bytes = value_types[array->type].bytes;
    uint64_t bits = number_at(g->header + array->offset + (size_t)i * bytes, bytes);
    uint32_t low = (uint32_t)bits;
    float single;
    int64_t integer;
    switch (array->type) {
    case GGUF_FLOAT64: memcpy(value, &bits, sizeof bits); return true;
    case GGUF_FLOAT32:
        memcpy(&single, &low, sizeof low);
        *value = (double)single;
        return true;
    case GGUF_UINT64:
    case GGUF_BOOL: *value = (double)bits; return true;
    default:
        if (!integer_at(g, array, i, &integer)) return false;
        *value = (double)integer;
        return true;
    }
}

gguf_string gguf_string_at(const gguf *g, const gguf_entry *array, uint64_t i) {
    const uint8_t *length =
        g->header + (array->is_array ? g->strings[array->index + (size_t)i] : array->offset);
    return (gguf_string){(const char *)length + 8, (size_t)number_at(length, 8)};
}

static clla_status missing(const char *key, clla_error *error) {
    return clla_fail(error, CLLA_BAD_FILE, "the metadata key %s is missing", key);
}

static clla_status mistyped(const gguf_entry *e, const char *key, const char *wanted, clla_error *error) {
    return clla_fail(error, CLLA_BAD_FILE, "the metadata key %s should be %s, not %s%s", key, wanted,
                     e->is_array ? "an array of " : "", value_types[e->type].name);
}

clla_status gguf_u32_or(const gguf *g, const char *key, uint32_t fallback, uint32_t *value,
                        clla_error *error) {
    const gguf_entry *e = gguf_find(g, key);
    int64_t integer = fallback;
    if (e && (e->is_array || !integer_at(g, e, 0, &integer)))
        return mistyped(e, key, "a whole number", error);
    if (integer < 0 || integer > UINT32_MAX)
        return clla_fail(error, CLLA_BAD_FILE, "the metadata key %s is %lld, out of range", key,
                         (long long)integer);
    *value = (uint32_t)integer;
    return CLLA_OK;
}

clla_status gguf_f32_or(const gguf *g, const char *key, float fallback, float *value, clla_error *error) {
    const gguf_entry *e = gguf_find(g, key);
    double number = (double)fallback;
    if (e && (e->is_array || e->type == GGUF_BOOL || !gguf_number_at(g, e, 0, &number)))
        return mistyped(e, key, "a number", error);
    if (e && !isfinite((float)number))
        return clla_fail(error, CLLA_BAD_FILE, "the metadata key %s is not a finite number", key);
    *value = (float)number;
    return CLLA_OK;
}

clla_status gguf_bool_or(const gguf *g, const char *key, bool fallback, bool *value, clla_error *error) {
    const gguf_entry *e = gguf_find(g, key);
    if (e && (e->is_array || e->type != GGUF_BOOL)) return mistyped(e, key, "a bool", error);
    *value = e ? g->header[e->offset] != 0 : fallback;
    return CLLA_OK;
}

clla_status gguf_text_or(const gguf *g, const char *key, const char *fallback, gguf_string *value,
                         clla_error *error) {
    const gguf_entry *e = gguf_find(g, key);
    if (e && (e->is_array || e->type != GGUF_STRING)) return mistyped(e, key, "a string", error);
    *value = e ? gguf_string_at(g, e, 0) : (gguf_string){fallback, strlen(fallback)};
    return CLLA_OK;
}

clla_status gguf_u32(const gguf *g, const char *key, uint32_t *value, clla_error *error) {
    return gguf_find(g, key) ? gguf_u32_or(g, key, 0, value, error) : missing(key, error);
}

clla_status gguf_f32(const gguf *g, const char *key, float *value, clla_error *error) {
    return gguf_find(g, key) ? gguf_f32_or(g, key, 0, value, error) : missing(key, error);
}

clla_status gguf_text(const gguf *g, const char *key, gguf_string *value, clla_error *error) {
    return gguf_find(g, key) ? gguf_text_or(g, key, "", value, error) : missing(key, error);
}
