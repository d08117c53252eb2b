/* model.c: which tensors an architecture expects, with their shapes, and where each one goes. */
#include "model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the list of slots --------------------------------------------------------------------------------------- */

/* Slots are listed twice: once to count them (slots is NULL), once to write them. */
typedef struct slot_list {
    weight_slot *slots;
    size_t count;
    weight_slot counted; /* what a slot is while counting: never read */
} slot_list;

static weight_slot *list_slot(slot_list *list, uint32_t rows, uint32_t cols, const char *format, va_list arguments) {
    weight_slot *slot = list->slots ? &list->slots[list->count] : &list->counted;
    list->count++;
    if (!list->slots) return slot;
    *slot = (weight_slot){.rows = rows, .cols = cols, .heads = 1};
    vsnprintf(slot->name, sizeof slot->name, format, arguments);
    return slot;
}

static weight_slot *want_vector(slot_list *list, const float **vector, uint32_t length, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    weight_slot *slot = list_slot(list, 0, length, format, arguments);
    va_end(arguments);
    if (list->slots) slot->vector = vector;
    return slot;
}

static weight_slot *want_matrix(slot_list *list, matrix *m, uint32_t rows, uint32_t cols, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    weight_slot *slot = list_slot(list, rows, cols, format, arguments);
    va_end(arguments);
    if (list->slots) slot->parts[0] = m, slot->part_rows[0] = rows;
    return slot;
}

/* One matrix [rows, cols] for each head, one behind the other. */
static void want_heads(slot_list *list, matrix *m, uint32_t heads, uint32_t rows, uint32_t cols, const char *format,
                       uint32_t i) {
    weight_slot *slot = want_matrix(list, m, heads * rows, cols, format, i);
    if (list->slots) slot->heads = heads;
}

static void add_part(slot_list *list, weight_slot *slot, uint32_t part, matrix *m, uint32_t rows) {
    if (!list->slots) return;
    slot->parts[part] = m;
    slot->part_rows[part] = rows;
    slot->rows += rows;
}

static void maybe(slot_list *list, weight_slot *slot) {
    if (list->slots) slot->optional = true;
}

static void list_heads(slot_list *list, const arch *a, const hyper *h, layer *l, uint32_t i) {
    uint32_t q_rows = h->heads * h->key_dim, k_rows = h->kv_heads * h->key_dim, v_rows = h->kv_heads * h->value_dim;
    if (a->fused) {
        weight_slot *qkv = want_matrix(list, &l->q, q_rows, h->width, "blk.%u.attn_qkv.weight", i);
        add_part(list, qkv, 1, &l->k, k_rows);
        add_part(list, qkv, 2, &l->v, v_rows);
    } else {
        want_matrix(list, &l->q, q_rows, h->width, "blk.%u.attn_q.weight", i);
        want_matrix(list, &l->k, k_rows, h->width, "blk.%u.attn_k.weight", i);
        want_matrix(list, &l->v, v_rows, h->width, "blk.%u.attn_v.weight", i);
        maybe(list, want_vector(list, &l->q_bias, q_rows, "blk.%u.attn_q.bias", i));
        maybe(list, want_vector(list, &l->k_bias, k_rows, "blk.%u.attn_k.bias", i));
        maybe(list, want_vector(list, &l->v_bias, v_rows, "blk.%u.attn_v.bias", i));
    }
    if (a->qk_norm) {
        want_vector(list, &l->q_norm, h->key_dim, "blk.%u.attn_q_norm.weight", i);
        want_vector(list, &l->k_norm, h->key_dim, "blk.%u.attn_k_norm.weight", i);
    }
}

/* Owners make a latent; every layer has queries and, unless they are shared, up-projections of its own. */
static void list_latent(slot_list *list, const hyper *h, layer *l, uint32_t i) {
    uint32_t rank = h->kv.rank, q_rows = h->heads * h->key_dim;
    bool owner = h->kv.owner[i] == i;
    if (h->q_rank) {
        want_matrix(list, &l->q_a, h->q_rank, h->width, "blk.%u.attn_q_a.weight", i);
        want_vector(list, &l->q_a_norm, h->q_rank, "blk.%u.attn_q_a_norm.weight", i);
        want_matrix(list, &l->q, q_rows, h->q_rank, "blk.%u.attn_q_b.weight", i);
    } else {
        want_matrix(list, &l->q, q_rows, h->width, "blk.%u.attn_q.weight", i);
    }
    if (owner) want_matrix(list, &l->kv_a, rank + h->rope_dim, h->width, "blk.%u.attn_kv_a_mqa.weight", i);
    if (owner && h->latent_norm) want_vector(list, &l->kv_a_norm, rank, "blk.%u.attn_kv_a_norm.weight", i);
    if (owner && h->own_frequencies) want_vector(list, &l->rope_frequency, h->rope_dim / 2, "blk.%u.rope_freqs.weight", i);
    if (!owner && h->shared_up) return;
    want_heads(list, &l->k_b, h->heads, rank, h->key_dim - h->rope_dim, "blk.%u.attn_k_b.weight", i);
    want_heads(list, &l->v_b, h->heads, h->value_dim, rank, "blk.%u.attn_v_b.weight", i);
}

static void list_attention(slot_list *list, const arch *a, const hyper *h, layer *l, uint32_t i) {
    want_vector(list, &l->attn_norm, h->width, "blk.%u.attn_norm.weight", i);
    if (a->latent) list_latent(list, h, l, i);
    else list_heads(list, a, h, l, i);
    want_matrix(list, &l->attn_out, h->width, h->heads * h->value_dim, "blk.%u.attn_output.weight", i);
    if (a->post_norms) want_vector(list, &l->attn_post_norm, h->width, "blk.%u.post_attention_norm.weight", i);
}

static void list_feed_forward(slot_list *list, const arch *a, const hyper *h, layer *l, uint32_t i) {
    want_vector(list, &l->ffn_norm, h->width, "blk.%u.ffn_norm.weight", i);
    if (a->fused) {
        weight_slot *both = want_matrix(list, &l->gate, h->ff_width, h->width, "blk.%u.ffn_up.weight", i);
        add_part(list, both, 1, &l->up, h->ff_width);
    } else {
        want_matrix(list, &l->gate, h->ff_width, h->width, "blk.%u.ffn_gate.weight", i);
        want_matrix(list, &l->up, h->ff_width, h->width, "blk.%u.ffn_up.weight", i);
    }
    want_matrix(list, &l->down, h->width, h->ff_width, "blk.%u.ffn_down.weight", i);
    if (a->post_norms) want_vector(list, &l->ffn_post_norm, h->width, "blk.%u.post_ffw_norm.weight", i);
}

static void list_slots(slot_list *list, clla_model *m) {
    const hyper *h = &m->hyper;
    layer counted; /* only its fields' addresses are used, while counting */
    want_matrix(list, &m->embedding, h->vocabulary, h->width, "token_embd.weight");
    maybe(list, want_matrix(list, &m->output, h->vocabulary, h->width, "output.weight"));
    want_vector(list, &m->output_norm, h->width, "output_norm.weight");
    if (h->rope_dim && !h->own_frequencies)
        maybe(list, want_vector(list, &m->rope_factors, h->rope_dim / 2, "rope_freqs.weight"));
    if (m->arch->longrope) {
        maybe(list, want_vector(list, &m->rope_factors_long, h->rope_dim / 2, "rope_factors_long.weight"));
        maybe(list, want_vector(list, &m->rope_factors_short, h->rope_dim / 2, "rope_factors_short.weight"));
    }
    for (uint32_t i = 0; i < h->layers; i++) {
        layer *l = list->slots ? &m->layers[i] : &counted;
        list_attention(list, m->arch, h, l, i);
        list_feed_forward(list, m->arch, h, l, i);
    }
}

/* ---- look-up by name ----------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b) {
    return strcmp(((const weight_slot *)a)->name, ((const weight_slot *)b)->name);
}

weight_slot *model_slot(clla_model *m, gguf_string name) {
    weight_slot key;
    if (name.size >= sizeof key.name || m->slot_count == 0) return NULL;
    memcpy(key.name, name.data, name.size);
    key.name[name.size] = 0;
    if (strlen(key.name) != name.size) return NULL;
    return bsearch(&key, m->slots, m->slot_count, sizeof key, by_name);
}

/* Each part is a matrix of its own: the same packed memory, from the group where its rows begin. */
static void place_parts(weight_slot *slot) {
    size_t group_bytes = matrix_group_bytes(slot->home.type, slot->home.cols);
    uint8_t *data = slot->home.data;
    for (int i = 0; i < SLOT_PARTS && slot->parts[i]; i++) {
        *slot->parts[i] = slot->home;
        slot->parts[i]->rows = slot->part_rows[i];
        slot->parts[i]->data = data;
        data += slot->part_rows[i] / MATRIX_GROUP * group_bytes;
    }
}

void model_slot_place(weight_slot *slot, tensor_type type, arena *a) {
    if (slot->rows == 0) {
        slot->values = arena_take(a, slot->cols, sizeof(float));
        *slot->vector = slot->values;
        return;
    }
    size_t groups = slot->rows / MATRIX_GROUP + (slot->rows % MATRIX_GROUP != 0);
    uint8_t *data = arena_take(a, groups, matrix_group_bytes(type, slot->cols)); /* sees a product that overflows */
    slot->home = (matrix){type, slot->rows, slot->cols, data};
    if (data) place_parts(slot);
}

/* ---- a model's life ------------------------------------------------------------------------------------------ */

static clla_status check_fused(const clla_model *m, clla_error *error) {
    const hyper *h = &m->hyper;
    uint32_t q_rows = h->heads * h->key_dim, k_rows = h->kv_heads * h->key_dim;
    if (!m->arch->fused || (q_rows % MATRIX_GROUP == 0 && k_rows % MATRIX_GROUP == 0 && h->ff_width % MATRIX_GROUP == 0))
        return CLLA_OK;
    return clla_fail(error, CLLA_UNSUPPORTED_ARCHITECTURE,
                     "%s: fused tensors whose parts have %u, %u and %u rows, not multiples of %d", m->arch->name, q_rows,
                     k_rows, h->ff_width, MATRIX_GROUP);
}

static clla_status make_slots(clla_model *m, clla_error *error) {
    slot_list list = {0};
    list_slots(&list, m);
    size_t count = list.count;
    arena measure = {0};
    arena_take(&measure, m->hyper.layers, sizeof *m->layers);
    arena_take(&measure, count, sizeof *m->slots);
    if (!arena_open(&m->tables, measure.used))
        return clla_fail(error, CLLA_OUT_OF_MEMORY, "no memory for the tables of %u layers (%llu bytes)", m->hyper.layers,
                         (unsigned long long)measure.used);
    m->layers = arena_take(&m->tables, m->hyper.layers, sizeof *m->layers);
    m->slots = arena_take(&m->tables, count, sizeof *m->slots);
    m->slot_count = count;
    list = (slot_list){.slots = m->slots};
    list_slots(&list, m);
    qsort(m->slots, count, sizeof *m->slots, by_name);
    return CLLA_OK;
}

static clla_status read_numbers(clla_model *m, clla_error *error) {
    clla_status status = hyper_read(&m->header, m->arch, &m->hyper, error);
    return status == CLLA_OK ? check_fused(m, error) : status;
}

/* What a refusal means: a failure, unless the vocabulary alone is wanted. */
static clla_status refused(const clla_model *m, bool vocabulary_only, clla_error *error) {
    return m->refusal && !vocabulary_only ? clla_fail(error, m->refusal, "%s", m->reason.text) : CLLA_OK;
}

clla_status model_configure(clla_model *m, bool vocabulary_only, clla_error *error) {
    gguf_string name;
    clla_status status = gguf_text(&m->header, "general.architecture", &name, error);
    if (status != CLLA_OK) return status;
    m->arch = arch_find(name);
    if (!m->arch)
        m->refusal = clla_fail(&m->reason, CLLA_UNSUPPORTED_ARCHITECTURE, "architecture \"%s\" is not supported",
                               gguf_printable(name).text);
    status = refused(m, vocabulary_only, error);
    if (status == CLLA_OK) status = tokenizer_create(&m->header, &m->tokenizer, error);
    if (status != CLLA_OK) return status;
    if (!m->refusal) m->refusal = read_numbers(m, &m->reason);
    if (m->refusal) m->hyper = (hyper){0};
    m->hyper.vocabulary = tokenizer_size(m->tokenizer);
    if (m->refusal && m->header.tensor_count == 0)
        m->refusal = clla_fail(&m->reason, CLLA_BAD_ARGUMENT, "the file holds a vocabulary only: it has no sessions");
    if (vocabulary_only) return CLLA_OK;
    status = refused(m, vocabulary_only, error);
    return status == CLLA_OK ? make_slots(m, error) : status;
}

/* Readers use their owner's up-projections where the model shares them. */
static void share_up(clla_model *m) {
    for (uint32_t i = 0; i < m->hyper.layers && m->arch->latent && m->hyper.shared_up; i++) {
        const layer *owner = &m->layers[m->hyper.kv.owner[i]];
        m->layers[i].k_b = owner->k_b, m->layers[i].v_b = owner->v_b;
    }
}

/* Long-context factors come in a pair. */
static clla_status check_longrope(const clla_model *m, clla_error *error) {
    if ((m->rope_factors_long == NULL) == (m->rope_factors_short == NULL)) return CLLA_OK;
    return clla_fail(error, CLLA_BAD_FILE, "rope_factors_%s.weight is missing", m->rope_factors_long ? "short" : "long");
}

clla_status model_complete(clla_model *m, clla_error *error) {
    for (size_t i = 0; i < m->slot_count; i++)
        if (!m->slots[i].arrived && !m->slots[i].optional)
            return clla_fail(error, CLLA_BAD_FILE, "the tensor %s is missing", m->slots[i].name);
    if (m->slot_count && !m->output.data) m->output = m->embedding;
    if (m->slot_count) share_up(m);
    return check_longrope(m, error);
}

void model_close(clla_model *m) {
    if (!m) return;
    threads_close(m->threads);
    tokenizer_free(m->tokenizer);
    for (uint32_t i = 0; i < m->part_count; i++) arena_close(&m->weights[i]);
    memory_resize(m->weights, 0);
    arena_close(&m->tables);
    gguf_close(&m->header);
    memory_resize(m, 0);
}
