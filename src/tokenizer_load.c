/* tokenizer_load.c: a GGUF file's tokenizer metadata to a struct tokenizer.
 *
 * The sizes of all tables follow from the counts of the metadata, so the tokenizer is one block of memory. Nothing is
 * believed: arrays must agree in length and type, ids must be in the vocabulary, merges must be two texts. Defaults for
 * what a file leaves out are those of the files' makers (llama.cpp's converter), where it is the only source. */
#include <string.h>

#include "tokenizer_parts.h"
#include "unicode.h"

#define KEY(name) "tokenizer.ggml." name

/* ---- arrays -------------------------------------------------------------------------------------------- */

static clla_status need_array(const gguf *g, const char *key, bool strings, const gguf_entry **array,
                              clla_error *error) {
    *array = gguf_find(g, key);
    if (!*array) return clla_fail(error, CLLA_BAD_FILE, "%s is missing", key);
    if (!(*array)->is_array || ((*array)->type == GGUF_STRING) != strings || (*array)->type == GGUF_ARRAY)
        return clla_fail(error, CLLA_BAD_FILE, "%s is not an array of %s", key,
                         strings ? "strings" : "numbers");
    if ((*array)->count >= INT32_MAX) return clla_fail(error, CLLA_BAD_FILE, "%s has too many items", key);
    return CLLA_OK;
}

static clla_status same_count(const tokenizer *t, const gguf_entry *array, const char *key,
                              clla_error *error) {
    if (array->count == t->count) return CLLA_OK;
    return clla_fail(error, CLLA_BAD_FILE, "%s has %llu items, but there are %u tokens", key,
                     (unsigned long long)array->count, (unsigned)t->count);
}

/* A token id; -1 where the key is missing or says "none" in the way of old converters, 2^32 - 1. */
static clla_status read_id(const tokenizer *t, const char *key, int32_t fallback, int32_t *id,
                           clla_error *error) {
    uint32_t value;
    clla_status status = gguf_u32_or(t->g, key, UINT32_MAX, &value, error);
    if (status) return status;
    bool missing = !gguf_find(t->g, key);
    *id = missing && fallback >= 0 && (uint32_t)fallback < t->count ? fallback : -1;
    if (value == UINT32_MAX) return CLLA_OK;
    if (value >= t->count)
        return clla_fail(error, CLLA_BAD_FILE, "%s is %u, but there are %u tokens", key, (unsigned)value,
                         (unsigned)t->count);
    *id = (int32_t)value;
    return CLLA_OK;
}

/* ---- kind and options ---------------------------------------------------------------------------------- */

static clla_status load_pretokenizer(tokenizer *t, clla_error *error) {
    gguf_string name;
    clla_status status = gguf_text_or(t->g, KEY("pre"), "default", &name, error);
    if (status) return status;
    t->pre = pretokenizer_find(name.data, name.size);
    if (t->pre) return CLLA_OK;
    return clla_fail(error, CLLA_UNSUPPORTED_TOKENIZER,
                     "tokenizer.ggml.pre: the pre-tokenizer \"%s\" is not known", gguf_printable(name).text);
}

static clla_status load_kind(tokenizer *t, clla_error *error) {
    gguf_string name;
    clla_status status = gguf_text(t->g, KEY("model"), &name, error);
    if (status) return status;
    if (gguf_equals(name, "llama"))
        t->kind = KIND_SENTENCEPIECE;
    else if (gguf_equals(name, "bert"))
        t->kind = KIND_WORDPIECE;
    else if (!gguf_equals(name, "gpt2"))
        return clla_fail(error, CLLA_UNSUPPORTED_TOKENIZER,
                         "tokenizer.ggml.model: \"%s\" is not known; \"gpt2\", \"llama\" and \"bert\" are",
                         gguf_printable(name).text);
    return t->kind == KIND_BYTE_PAIR ? load_pretokenizer(t, error) : CLLA_OK;
}

static clla_status load_ids(tokenizer *t, clla_error *error) {
    static const struct {
        int32_t bos, eos, unknown;
    } defaults[] = {[KIND_BYTE_PAIR] = {-1, -1, -1},
                    [KIND_SENTENCEPIECE] = {1, 2, 0},
                    [KIND_WORDPIECE] = {101, 102, 100}};
    bool bert = t->kind == KIND_WORDPIECE;
    clla_status status =
        read_id(t, bert ? KEY("cls_token_id") : KEY("bos_token_id"), defaults[t->kind].bos, &t->bos, error);
    /* "seperator" is how the format spells it */
    if (!status)
        status = read_id(t, bert ? KEY("seperator_token_id") : KEY("eos_token_id"), defaults[t->kind].eos,
                         &t->eos, error);
    if (!status) status = read_id(t, KEY("unknown_token_id"), defaults[t->kind].unknown, &t->unknown, error);
    return status;
}

static clla_status load_options(tokenizer *t, clla_error *error) {
    bool bert = t->kind == KIND_WORDPIECE, sentencepiece = t->kind == KIND_SENTENCEPIECE;
    bool bos = bert || sentencepiece || pretokenizer_wants_bos(t->pre);
    clla_status status = gguf_bool_or(t->g, KEY("add_bos_token"), bos, &t->wants_bos, error);
    if (!status)
        status = gguf_bool_or(t->g, bert ? KEY("add_sep_token") : KEY("add_eos_token"), bert, &t->wants_eos,
                              error);
    if (!status) status = gguf_bool_or(t->g, KEY("add_space_prefix"), sentencepiece, &t->space_prefix, error);
    if (!status)
        status = gguf_bool_or(t->g, KEY("remove_extra_whitespaces"), false, &t->single_spaces, error);
    if (!status) status = gguf_bool_or(t->g, KEY("normalizer.lowercase"), true, &t->lower_case, error);
    if (!status)
        status = gguf_bool_or(t->g, KEY("normalizer.strip_accents"), t->lower_case, &t->strip_accents, error);
    t->wants_bos = t->wants_bos && t->bos >= 0;
    t->wants_eos = t->wants_eos && t->eos >= 0;
    if (bert) t->space_prefix = true; /* U+2581 is in front of every word */
    if (t->kind == KIND_BYTE_PAIR) t->space_prefix = false;
    return status;
}

/* ---- tokens -------------------------------------------------------------------------------------------- */

static clla_status check_texts(tokenizer *t, clla_error *error) {
    t->spaces_lead = true;
    for (uint32_t id = 0; id < t->count; id++) {
        gguf_string text = token_text(t, id);
        if (text.size > TOKEN_BYTES_MAX)
            return clla_fail(error, CLLA_BAD_FILE, KEY("tokens") "[%u] has %zu bytes, more than %d",
                             (unsigned)id, text.size, TOKEN_BYTES_MAX);
        if (text.size > t->longest) t->longest = text.size;
    }
    return CLLA_OK;
}

static clla_status load_types(tokenizer *t, clla_error *error) {
    const gguf_entry *types = gguf_find(t->g, KEY("token_type"));
    memset(t->flags, TOKEN_NORMAL, t->count);
    if (!types) return CLLA_OK;
    clla_status status = need_array(t->g, KEY("token_type"), false, &types, error);
    if (!status) status = same_count(t, types, KEY("token_type"), error);
    for (uint32_t id = 0; !status && id < t->count; id++) {
        double type = -1;
        if (!gguf_number_at(t->g, types, id, &type) || !(type >= 0 && type < (double)TOKEN_TYPES) ||
            type != (int)type)
            return clla_fail(error, CLLA_BAD_FILE, KEY("token_type") "[%u] is no token type: %g",
                             (unsigned)id, type);
        if (type > 0) t->flags[id] = (uint8_t)type; /* 0, undefined, is read as normal */
    }
    return status;
}

int token_byte(gguf_string text) {
    int value = 0;
    if (text.size != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>') return -1;
    for (int i = 3; i < 5; i++) {
        char c = text.data[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                           : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

static void load_bytes(tokenizer *t) {
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[8];
        size_t size = 6;
        if (t->kind == KIND_BYTE_PAIR)
            size = utf8_put(byte_to_point(byte), text);
        else
            memcpy(text,
                   (char[]){'<', '0', 'x', "0123456789ABCDEF"[byte / 16], "0123456789ABCDEF"[byte % 16], '>'},
                   6);
        t->bytes[byte] = vocabulary_find(t, text, size, "", 0);
    }
}

/* In no token of plain text does U+2581 stand behind another character. */
static bool token_spaces_lead(const tokenizer *t, uint32_t id) {
    gguf_string text = token_text(t, id);
    bool other = false;
    for (size_t i = 0; i < text.size; i++) {
        bool space =
            text.size - i >= SPACE_MARK_SIZE && memcmp(text.data + i, SPACE_MARK, SPACE_MARK_SIZE) == 0;
        if (space && other) return false;
        other = other || !space;
        if (space) i += SPACE_MARK_SIZE - 1;
    }
    return true;
}

static void load_texts(tokenizer *t) {
    for (uint32_t id = 0; id < t->count; id++) {
        if (token_text(t, id).size > 0) vocabulary_add(t, id);
        if (t->kind == KIND_SENTENCEPIECE) t->spaces_lead = t->spaces_lead && token_spaces_lead(t, id);
    }
}

/* ---- merges -------------------------------------------------------------------------------------------- */

/* The token that two texts spell together. Trainers number tokens in the order of the merges: most often it is the one
 * behind the last result, which saves the search. */
static int32_t find_result(const tokenizer *t, uint32_t guess, const char *a, size_t a_size, const char *b,
                           size_t b_size) {
    if (guess < t->count) {
        gguf_string text = token_text(t, guess);
        if (text.size == a_size + b_size && memcmp(text.data, a, a_size) == 0 &&
            memcmp(text.data + a_size, b, b_size) == 0)
            return (int32_t)guess;
    }
    return vocabulary_find(t, a, a_size, b, b_size);
}

/* "left right": the first space that is not the first byte parts them; byte-level texts have no other. A rule whose
 * texts or whose result are no tokens can never apply and is left out. */
static clla_status load_merge(tokenizer *t, gguf_string rule, uint32_t rank, clla_error *error) {
    const char *space = rule.size > 1 ? memchr(rule.data + 1, ' ', rule.size - 1) : NULL;
    size_t left = space ? (size_t)(space - rule.data) : 0, right = space ? rule.size - left - 1 : 0;
    if (right == 0)
        return clla_fail(error, CLLA_BAD_FILE, KEY("merges") "[%u] is not two texts with a space between",
                         (unsigned)rank);
    uint32_t guess = rank > 0 ? t->merges[rank - 1].result + 1 : t->count;
    int32_t a = vocabulary_find(t, rule.data, left, "", 0), b = vocabulary_find(t, space + 1, right, "", 0);
    int32_t result = find_result(t, guess, rule.data, left, space + 1, right);
    bool works = a >= 0 && b >= 0 && result >= 0 && token_type(t, (uint32_t)result) != TOKEN_CONTROL;
    t->merges[rank] = (merge){works ? (uint32_t)a : UINT32_MAX, (uint32_t)b, (uint32_t)result};
    if (works) merge_add(t, rank);
    return CLLA_OK;
}

static clla_status load_merges(tokenizer *t, clla_error *error) {
    const gguf_entry *rules = gguf_find(t->g, KEY("merges"));
    clla_status status = CLLA_OK;
    for (uint32_t rank = 0; !status && rank < t->merge_count; rank++)
        status = load_merge(t, gguf_string_at(t->g, rules, rank), rank, error);
    return status;
}

/* ---- tokens with a meaning ----------------------------------------------------------------------------- */

/* Texts by which published models end a turn or a message. `only_control`: in some vocabularies the same text is plain. */
static const struct {
    const char *text;
    bool only_control;
} endings[] = {
    {"<|eot_id|>", false},
    {"<|eom_id|>", false},
    {"<|im_end|>", false},
    {"<|end|>", false},
    {"<|return|>", false},
    {"<|call|>", false},
    {"<|calls|>", false},
    {"<|flush|>", false},
    {"<end_of_turn>", false},
    {"<|endoftext|>", false},
    {"<|end_of_text|>", false},
    {"<end_of_utterance>", false},
    {"<EOT>", false},
    {"_<EOT>", false},
    {"[EOT]", true},
    {"[EOS]", true},
    {"</s>", true},
    {"<eos>", true},
    {"<|fim_pad|>", true},
    {"<|repo_name|>", true},
    {"<|file_sep|>", true},
    {"[e~[", true},
    {"<\xef\xbd\x9c"
     "end" SPACE_MARK "of" SPACE_MARK "sentence\xef\xbd\x9c>",
     false}, /* DeepSeek */
};

static int32_t find_text(const tokenizer *t, const char *text) {
    return vocabulary_find(t, text, strlen(text), "", 0);
}

static void mark_end(tokenizer *t, int32_t id) {
    if (id >= 0) t->flags[id] |= TOKEN_ENDS;
}

static void set_type(tokenizer *t, int32_t id, unsigned type) {
    t->flags[id] = (uint8_t)((t->flags[id] & ~(unsigned)TOKEN_TYPE_BITS) | type);
}

/* Where "<|return|>" and "<|call|>" end a message, or "<|calls|>" and "<|flush|>", "<|end|>" only ends a part of it. */
static bool end_is_inner(const tokenizer *t) {
    bool call = find_text(t, "<|call|>") >= 0 || find_text(t, "<|calls|>") >= 0;
    return call && (find_text(t, "<|return|>") >= 0 || find_text(t, "<|flush|>") >= 0);
}

static clla_status load_ends(tokenizer *t, clla_error *error) {
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        int32_t id = find_text(t, endings[i].text);
        if (id < 0 || (endings[i].only_control && token_type(t, (uint32_t)id) != TOKEN_CONTROL)) continue;
        mark_end(t, id);
        set_type(t, id, TOKEN_CONTROL); /* some converters forgot */
    }
    int32_t inner = find_text(t, "<|end|>"), eot, eom;
    if (inner >= 0 && end_is_inner(t)) t->flags[inner] = TOKEN_USER_DEFINED;
    clla_status status = read_id(t, KEY("eot_token_id"), -1, &eot, error);
    if (!status) status = read_id(t, KEY("eom_token_id"), -1, &eom, error);
    if (status) return status;
    mark_end(t, t->eos);
    mark_end(t, eot);
    mark_end(t, eom);
    return CLLA_OK;
}

static bool contains(gguf_string text, const char *part) {
    size_t n = strlen(part);
    for (size_t i = 0; i + n <= text.size; i++) {
        size_t same = 0;
        while (same < n && unicode_lower((uint8_t)text.data[i + same]) == (uint8_t)part[same]) same++;
        if (same == n) return true;
    }
    return false;
}

/* Some special tokens take the white space beside them along. GGUF files do not say so; these models are known for it
 * by name. */
static clla_status load_strips(tokenizer *t, clla_error *error) {
    gguf_string name, pre;
    clla_status status = gguf_text_or(t->g, "general.name", "", &name, error);
    if (!status) status = gguf_text_or(t->g, KEY("pre"), "", &pre, error);
    if (status) return status;
    int32_t mask = contains(pre, "jina-v2-")       ? find_text(t, "<mask>")
                   : contains(name, "modern-bert") ? find_text(t, "[MASK]")
                                                   : -1;
    if (mask >= 0) t->flags[mask] |= TOKEN_EATS_LEFT;
    if (!contains(name, "phi-3") && !contains(name, "phi3")) return CLLA_OK;
    for (uint32_t i = 0; i < t->special_count; i++) t->flags[t->specials[i]] |= TOKEN_EATS_RIGHT;
    static const char *const plain[] = {"<unk>", "<s>", "<|endoftext|>"};
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        int32_t id = find_text(t, plain[i]);
        if (id >= 0) t->flags[id] &= (uint8_t)~TOKEN_EATS_RIGHT;
    }
    return CLLA_OK;
}

/* ---- special tokens, sorted ---------------------------------------------------------------------------- */

static bool is_special(const tokenizer *t, uint32_t id) {
    unsigned type = token_type(t, id);
    return (type == TOKEN_CONTROL || type == TOKEN_USER_DEFINED || type == TOKEN_UNKNOWN) &&
           token_text(t, id).size > 0;
}

static int compare_texts(const tokenizer *t, uint32_t a, uint32_t b) {
    gguf_string x = token_text(t, a), y = token_text(t, b);
    int order = memcmp(x.data, y.data, x.size < y.size ? x.size : y.size);
    if (order != 0) return order;
    return x.size != y.size ? (x.size < y.size ? -1 : 1) : (a > b) - (a < b);
}

static void sift_down(const tokenizer *t, uint32_t *heap, size_t i, size_t count) {
    uint32_t item = heap[i];
    for (size_t child; (child = 2 * i + 1) < count; i = child) {
        if (child + 1 < count && compare_texts(t, heap[child], heap[child + 1]) < 0) child++;
        if (compare_texts(t, heap[child], item) <= 0) break;
        heap[i] = heap[child];
    }
    heap[i] = item;
}

/* Heapsort: no memory, no worst case. */
static void sort_texts(const tokenizer *t, uint32_t *ids, size_t count) {
    for (size_t i = count / 2; i-- > 0;) sift_down(t, ids, i, count);
    for (size_t end = count; end-- > 1;) {
        uint32_t largest = ids[0];
        ids[0] = ids[end];
        ids[end] = largest;
        sift_down(t, ids, 0, end);
    }
}

static void load_specials(tokenizer *t) {
    uint32_t count = 0;
    for (uint32_t id = 0; id < t->count; id++)
        if (is_special(t, id)) t->specials[count++] = id;
    t->special_count = count;
    sort_texts(t, t->specials, count);
    uint32_t at = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        t->special_first[byte] = at;
        while (at < count && (uint8_t)token_text(t, t->specials[at]).data[0] == byte) at++;
    }
    t->special_first[256] = at;
}

/* ---- everything ---------------------------------------------------------------------------------------- */

/* How many tokens the list of special ones must have room for: all that the types say, and all endings. */
static uint32_t count_specials(const tokenizer *t) {
    const gguf_entry *types = gguf_find(t->g, KEY("token_type"));
    uint32_t count = sizeof endings / sizeof endings[0];
    for (uint32_t id = 0; types && types->is_array && id < t->count && id < types->count; id++) {
        double type = TOKEN_NORMAL;
        if (!gguf_number_at(t->g, types, id, &type)) continue;
        count += type == (double)TOKEN_CONTROL || type == (double)TOKEN_USER_DEFINED ||
                 type == (double)TOKEN_UNKNOWN;
    }
    return count;
}

static tokenizer *lay_out(arena *a, const tokenizer *plan, uint32_t specials) {
    bool pairs = plan->kind == KIND_BYTE_PAIR;
    tokenizer *t = arena_take(a, 1, sizeof *t);
    uint8_t *flags = arena_take(a, plan->count, 1);
    uint32_t *texts = arena_take(a, hash_slots_count(plan->count), sizeof *texts);
    merge *merges = arena_take(a, plan->merge_count, sizeof *merges);
    uint32_t *pair_slots = arena_take(a, pairs ? hash_slots_count(plan->merge_count) : 0, sizeof *pair_slots);
    uint32_t *list = arena_take(a, specials, sizeof *list);
    if (!a->base) return NULL;
    *t = *plan;
    t->flags = flags;
    t->merges = merges;
    t->specials = list;
    hash_slots_init(&t->texts, texts, t->count);
    hash_slots_init(&t->pairs, pair_slots, t->merge_count);
    return t;
}

/* What is needed to know the sizes of all tables. */
static clla_status plan_tokenizer(tokenizer *plan, clla_error *error) {
    const gguf_entry *merges = NULL;
    clla_status status = load_kind(plan, error);
    if (!status) status = need_array(plan->g, KEY("tokens"), true, &plan->tokens, error);
    if (status) return status;
    plan->count = (uint32_t)plan->tokens->count;
    if (plan->count == 0) return clla_fail(error, CLLA_BAD_FILE, KEY("tokens") " is empty");
    if (plan->kind == KIND_SENTENCEPIECE) {
        status = need_array(plan->g, KEY("scores"), false, &plan->scores, error);
        if (!status) status = same_count(plan, plan->scores, KEY("scores"), error);
    } else if (plan->kind == KIND_BYTE_PAIR) {
        status = need_array(plan->g, KEY("merges"), true, &merges, error);
        if (!status) plan->merge_count = (uint32_t)merges->count;
    }
    if (!status) status = load_ids(plan, error);
    if (!status) status = load_options(plan, error);
    return status ? status : check_texts(plan, error);
}

static clla_status fill(tokenizer *t, clla_error *error) {
    clla_status status = load_types(t, error);
    if (status) return status;
    load_texts(t);
    load_bytes(t);
    status = load_ends(t, error);
    if (!status && t->kind == KIND_BYTE_PAIR) status = load_merges(t, error);
    if (status) return status;
    load_specials(t);
    return load_strips(t, error);
}

clla_status tokenizer_create(const gguf *g, tokenizer **result, clla_error *error) {
    *result = NULL;
    tokenizer plan = {.g = g};
    clla_status status = plan_tokenizer(&plan, error);
    if (status) return status;
    uint32_t specials = count_specials(&plan);
    arena memory = {0};
    lay_out(&memory, &plan, specials);
    uint64_t size = memory.used;
    if (!arena_open(&memory, size))
        return clla_fail(error, CLLA_OUT_OF_MEMORY, "the tokenizer needs %llu bytes", (unsigned long long)size);
    tokenizer *t = lay_out(&memory, &plan, specials);
    t->memory = memory;
    status = fill(t, error);
    if (status)
        arena_close(&memory);
    else
        *result = t;
    return status;
}

void tokenizer_free(tokenizer *t) {
    if (!t) return;
    arena memory = t->memory; /* the struct lies in it */
    arena_close(&memory);
}
