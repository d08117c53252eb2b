/* loader.c: from the bytes of a file, pushed in pieces of any size, to a model in memory (clla_loader_* of
 * clla.h).
 *
 * A part of the file goes through three states: its header grows in a gguf; then the tensors arrive in the
 * order of their offsets, with padding between them; then nothing may follow. When a header is complete every
 * tensor is held against the model's list of slots, the memory of the part is measured, allocated once and
 * laid out; only then the first weight is taken.
 *
 * Rows are packed in groups of four (kernels.h). Groups that lie whole in the caller's piece are packed from
 * there; a group that is cut by the end of a piece is collected in `staging`. So the peak is the weights plus
 * four rows. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "hash.h"
#include "model.h"

struct clla_loader {
    clla_model_options options;
    clla_model *model;
    gguf later;                              /* the header of a part that is not the first */
    gguf *header;                            /* of the part being read: the model's or `later` */
    uint32_t part, parts;                    /* part counts from 0 */
    uint64_t tensors_promised, tensors_seen; /* of all parts; promised is 0 where the file does not say */
    uint64_t fed;                            /* bytes, all parts */
    hash64 hash;                             /* of them */
    uint64_t at;                             /* offset in the part of the next byte */
    size_t next;                             /* the tensor being read: header->by_offset[next] */
    uint32_t row;                            /* its rows that are home */
    uint8_t *staging;                        /* the beginning of a group of rows */
    size_t staged;
    clla_status failure; /* of an earlier call */
    clla_error reason;
};

static gguf_label label_of(const gguf_tensor *t) { return gguf_printable(t->name); }

/* Failures are final: remember the first one, whoever asks again gets it again. */
static clla_status settle(clla_loader *l, clla_status status, const clla_error *reason, clla_error *error) {
    if (status && !l->failure) {
        l->failure = status;
        l->reason = *reason;
    }
    if (l->failure && error) *error = l->reason;
    return l->failure;
}

/* ---- where the tensors of a part belong -------------------------------------------------------------- */

/* Tensors that old converters wrote and no architecture here reads: rope frequencies that follow from the
 * metadata. */
static bool is_harmless(gguf_string name) {
    static const char ending[] = ".attn_rot_embd.weight";
    size_t size = sizeof ending - 1;
    return name.size > size && memcmp(name.data + name.size - size, ending, size) == 0;
}

static uint32_t row_count(const weight_slot *slot) { return slot->rows ? slot->rows : 1; }
static size_t row_bytes(const gguf_tensor *t, const weight_slot *slot) {
    return (size_t)(t->bytes / row_count(slot));
}

/* "[576, 192]", in the order of GGUF: the length of a row first. */
typedef struct shape_label {
    char text[96];
} shape_label;

static shape_label label_of_shape(const uint64_t ne[4], uint32_t dimensions) {
    shape_label label = {"["};
    for (uint32_t i = 0; i < dimensions; i++) {
        size_t used = strlen(label.text);
        snprintf(label.text + used, sizeof label.text - used, "%s%llu", i ? ", " : "",
                 (unsigned long long)ne[i]);
    }
    strcat(label.text, "]");
    return label;
}

static clla_status check_shape(const gguf_tensor *t, const weight_slot *slot, clla_error *error) {
    const uint64_t want[4] = {slot->cols, row_count(slot) / slot->heads, slot->heads, 1};
    if (memcmp(want, t->ne, sizeof want) == 0) return CLLA_OK;
    return clla_fail(error, CLLA_BAD_FILE, "%s: want %s, got %s", slot->name,
                     label_of_shape(want, slot->heads > 1 ? 3 : slot->rows ? 2 : 1).text,
                     label_of_shape(t->ne, t->dimensions).text);
}

/* Every tensor has a slot of its shape, or is harmless; none came in an earlier part. */
static clla_status check_tensors(clla_loader *l, clla_error *error) {
    for (size_t i = 0; i < l->header->tensor_count; i++) {
        const gguf_tensor *t = &l->header->tensors[i];
        const weight_slot *slot = model_slot(l->model, t->name);
        if (!slot && is_harmless(t->name)) continue;
        if (!slot)
            return clla_fail(error, CLLA_BAD_FILE, "%s: the architecture %s has no such tensor",
                             label_of(t).text, l->model->arch->name);
        if (slot->arrived)
            return clla_fail(error, CLLA_BAD_FILE, "%s: it was in an earlier part too", slot->name);
        clla_status status = check_shape(t, slot, error);
        if (status) return status;
        if (t->bytes / row_count(slot) > SIZE_MAX / 16) /* a group of rows, padded, fits a size_t */
            return clla_fail(error, CLLA_OUT_OF_MEMORY,
                             "%s: rows of %llu bytes are more than this build can address", slot->name,
                             (unsigned long long)(t->bytes / row_count(slot)));
    }
    return CLLA_OK;
}

static void lay_out(clla_loader *l, arena *weights) {
    for (size_t i = 0; i < l->header->tensor_count; i++) {
        const gguf_tensor *t = &l->header->tensors[i];
        weight_slot *slot = model_slot(l->model, t->name);
        if (slot) model_slot_place(slot, (tensor_type)t->type, weights);
    }
}

static clla_status open_weights(clla_loader *l, clla_error *error) {
    clla_model *m = l->model;
    arena measure = {0};
    lay_out(l, &measure);
    uint64_t needed = measure.used, limit = l->options.memory_limit;
    for (uint32_t i = 0; i < m->part_count; i++) needed += m->weights[i].size;
    if (limit && needed > limit)
        return clla_fail(error, CLLA_OUT_OF_MEMORY, "the weights need %llu bytes; the limit is %llu",
                         (unsigned long long)needed, (unsigned long long)limit);
    if (!arena_open(&m->weights[m->part_count], measure.used))
        return clla_fail(error, CLLA_OUT_OF_MEMORY, "no memory for the weights (%llu bytes)",
                         (unsigned long long)needed);
    lay_out(l, &m->weights[m->part_count++]);
    return CLLA_OK;
}

/* Room for one group of rows of any tensor of the part. */
static clla_status open_staging(clla_loader *l, clla_error *error) {
    size_t largest = 1;
    for (size_t i = 0; i < l->header->tensor_count; i++) {
        const gguf_tensor *t = &l->header->tensors[i];
        const weight_slot *slot = model_slot(l->model, t->name);
        size_t bytes = slot ? row_bytes(t, slot) * (slot->rows ? MATRIX_GROUP : 1) : 0;
        if (bytes > largest) largest = bytes;
    }
    uint8_t *staging = memory_resize(l->staging, largest);
    if (!staging) return clla_fail(error, CLLA_OUT_OF_MEMORY, "no memory for four rows (%zu bytes)", largest);
    l->staging = staging;
    return CLLA_OK;
}

/* The last header is known: say now what the model lacks, before its bytes are fetched. */
static clla_status check_missing(const clla_loader *l, clla_error *error) {
    for (size_t i = 0; i < l->model->slot_count; i++) {
        const weight_slot *slot = &l->model->slots[i];
        if (!slot->optional && !slot->arrived && !slot->home.data && !slot->values)
            return clla_fail(error, CLLA_BAD_FILE, "the tensor %s is missing", slot->name);
    }
    if (l->tensors_promised && l->tensors_promised != l->tensors_seen)
        return clla_fail(
            error, CLLA_BAD_FILE, "split.tensors.count is %llu, but the %u parts have %llu tensors",
            (unsigned long long)l->tensors_promised, l->parts, (unsigned long long)l->tensors_seen);
    return CLLA_OK;
}

/* ---- headers ----------------------------------------------------------------------------------------- */

/* split.no, split.count and split.tensors.count: those of an unsplit file where they are missing. */
static clla_status read_split(const gguf *g, uint32_t *number, uint32_t *count, uint32_t *tensors,
                              clla_error *error) {
    clla_status status = gguf_u32_or(g, "split.no", 0, number, error);
    if (!status) status = gguf_u32_or(g, "split.count", 1, count, error);
    if (!status) status = gguf_u32_or(g, "split.tensors.count", 0, tensors, error);
    if (!status && *count == 0) *count = 1; /* some writers say 0 of a file that is not split */
    if (!status && (*count > UINT16_MAX || *number >= *count))
        return clla_fail(error, CLLA_BAD_FILE, "split.no is %u and split.count is %u", *number, *count);
    return status;
}

static clla_status begin_model(clla_loader *l, clla_error *error) {
    uint32_t number, count, tensors;
    clla_status status = read_split(l->header, &number, &count, &tensors, error);
    if (status) return status;
    if (number != 0)
        return clla_fail(error, CLLA_BAD_FILE, "this is part %u of a split model; part 1 of %u comes first",
                         number + 1, count);
    l->parts = count;
    l->tensors_promised = tensors;
    l->model->weights = memory_resize(NULL, count * sizeof(arena));
    if (!l->model->weights) return clla_fail(error, CLLA_OUT_OF_MEMORY, "no memory for %u parts", count);
    return model_configure(l->model, l->options.vocabulary_only, error);
}

/* The writers of split files repeat in later parts what identifies the model, or leave it out. */
static clla_status check_same_model(const clla_loader *l, const char *key, clla_error *error) {
    gguf_string first, here;
    if (!gguf_find(&l->later, key)) return CLLA_OK;
    clla_status status = gguf_text_or(&l->model->header, key, "", &first, error);
    if (!status) status = gguf_text_or(&l->later, key, "", &here, error);
    if (!status && (first.size != here.size || (first.size && memcmp(first.data, here.data, first.size))))
        return clla_fail(error, CLLA_BAD_FILE, "part %u is of another model: its %s is \"%s\"", l->part + 1,
                         key, gguf_printable(here).text);
    return status;
}

static clla_status begin_later_part(clla_loader *l, clla_error *error) {
    uint32_t number, count, tensors;
    clla_status status = read_split(l->header, &number, &count, &tensors, error);
    if (status) return status;
    if (number != l->part || count != l->parts)
        return clla_fail(error, CLLA_BAD_FILE, "part %u of %u was expected, this is part %u of %u",
                         l->part + 1, l->parts, number + 1, count);
    if (tensors != l->tensors_promised)
        return clla_fail(error, CLLA_BAD_FILE,
                         "part %u is of another model: its split.tensors.count is %u, not %llu", l->part + 1,
                         tensors, (unsigned long long)l->tensors_promised);
    status = check_same_model(l, "general.architecture", error);
    return status ? status : check_same_model(l, "general.name", error);
}

static clla_status begin_part(clla_loader *l, clla_error *error) {
    clla_status status = l->part == 0 ? begin_model(l, error) : begin_later_part(l, error);
    if (status || l->options.vocabulary_only) return status;
    l->tensors_seen += l->header->tensor_count;
    for (size_t i = 0; i < l->header->tensor_count; i++) l->model->file_bytes += l->header->tensors[i].bytes;
    status = check_tensors(l, error);
    if (!status) status = open_weights(l, error);
    if (!status && l->part + 1 == l->parts) status = check_missing(l, error);
    return status ? status : open_staging(l, error);
}

/* ---- weights ----------------------------------------------------------------------------------------- */

/* Rows of a matrix that lie one behind the other, to be packed from group number `first` on. */
typedef struct packing {
    matrix *home;
    const uint8_t *rows;
    uint32_t first, count;   /* group; rows */
    _Atomic uint32_t faulty; /* the lowest row (of these) with a scale that is not finite */
} packing;

/* Groups are packed apart from each other, so by any thread. */
static void pack_groups(void *context, uint32_t begin, uint32_t end, uint32_t worker) {
    (void)worker;
    packing *p = context;
    size_t bytes = tensor_row_bytes(p->home->type, p->home->cols);
    for (uint32_t group = begin; group < end; group++) {
        uint32_t row = group * MATRIX_GROUP;
        uint32_t count = p->count - row < MATRIX_GROUP ? p->count - row : MATRIX_GROUP;
        for (uint32_t i = row; i < row + count; i++) {
            uint32_t lowest = atomic_load(&p->faulty);
            if (i >= lowest || tensor_row_is_finite(p->home->type, p->rows + i * bytes, p->home->cols))
                continue;
            while (i < lowest && !atomic_compare_exchange_weak(&p->faulty, &lowest, i)) {
            }
        }
        matrix_pack(p->home, p->first + group, count, p->rows + row * bytes);
    }
}

/* Bring `count` rows that lie one behind the other to their home. */
static clla_status take_rows(clla_loader *l, const gguf_tensor *t, weight_slot *slot, uint32_t count,
                             const uint8_t *rows, clla_error *error) {
    enum { GRAIN = 16 }; /* groups that are worth a thread */
    packing p = {&slot->home, rows, l->row / MATRIX_GROUP, count, UINT32_MAX};
    uint32_t groups = count / MATRIX_GROUP + (count % MATRIX_GROUP != 0);
    if (slot->rows)
        threads_run(l->model->threads, groups, GRAIN, pack_groups, &p);
    else if (tensor_row_is_finite((tensor_type)t->type, rows, slot->cols))
        tensor_unpack((tensor_type)t->type, rows, slot->cols, slot->values);
    else
        p.faulty = 0;
    uint32_t faulty = atomic_load(&p.faulty);
    if (faulty != UINT32_MAX)
        return clla_fail(error, CLLA_BAD_FILE, "%s: row %u has a scale that is not finite", slot->name,
                         l->row + faulty);
    l->row += count;
    slot->arrived = l->row == row_count(slot);
    return CLLA_OK;
}

/* Take all whole groups of rows that there are, or a part of one. *used is what was taken. */
static clla_status take_groups(clla_loader *l, const gguf_tensor *t, weight_slot *slot, const uint8_t *bytes,
                               size_t size, size_t *used, clla_error *error) {
    uint32_t left = row_count(slot) - l->row, rows = left < MATRIX_GROUP ? left : MATRIX_GROUP;
    size_t row = row_bytes(t, slot), group = rows * row, whole = size / row;
    if (l->staged == 0 && whole >= rows) {
        rows = whole < left ? (uint32_t)whole / MATRIX_GROUP * MATRIX_GROUP : left;
        *used = rows * row;
        return take_rows(l, t, slot, rows, bytes, error);
    }
    *used = size < group - l->staged ? size : group - l->staged;
    memcpy(l->staging + l->staged, bytes, *used);
    l->staged += *used;
    if (l->staged < group) return CLLA_OK;
    l->staged = 0;
    return take_rows(l, t, slot, rows, l->staging, error);
}

static void next_tensor(clla_loader *l) {
    l->next++;
    l->row = 0;
}

/* What may still come when all tensors are home: the padding behind the last one. */
static clla_status take_end(const clla_loader *l, size_t size, size_t *used, clla_error *error) {
    uint64_t alignment = l->header->alignment,
             end = (l->header->data_end + alignment - 1) / alignment * alignment;
    *used = size;
    if (size <= end - l->at) return CLLA_OK;
    return clla_fail(error, CLLA_BAD_FILE, "the file goes on behind its last tensor, which ends at byte %llu",
                     (unsigned long long)l->header->data_end);
}

/* Take some of the bytes behind the header. */
static clla_status take(clla_loader *l, const uint8_t *bytes, size_t size, size_t *used, clla_error *error) {
    if (l->next == l->header->tensor_count) return take_end(l, size, used, error);
    const gguf_tensor *t = l->header->by_offset[l->next];
    weight_slot *slot = model_slot(l->model, t->name);
    uint64_t skip_to = slot ? t->offset : t->offset + t->bytes;
    if (l->at < skip_to) {
        *used = skip_to - l->at < size ? (size_t)(skip_to - l->at) : size;
        if (!slot && l->at + *used == skip_to) next_tensor(l);
        return CLLA_OK;
    }
    size_t taken = 0;
    clla_status status = CLLA_OK;
    for (size_t step; !status && taken < size && !slot->arrived; taken += step)
        status = take_groups(l, t, slot, bytes + taken, size - taken, &step, error);
    if (!status && slot->arrived) next_tensor(l);
    *used = taken;
    return status;
}

static clla_status feed(clla_loader *l, const uint8_t *bytes, size_t size, clla_error *error) {
    clla_status status = CLLA_OK;
    size_t used = 0;
    if (!l->header->complete) {
        status = gguf_feed(l->header, bytes, size, &used, error);
        l->at += used;
        if (!status && l->header->complete) status = begin_part(l, error);
    }
    if (l->options.vocabulary_only) return status;
    for (size_t step; !status && used < size; used += step) {
        status = take(l, bytes + used, size - used, &step, error);
        l->at += step;
    }
    return status;
}

/* Everything of the part is there. */
static clla_status check_part_ended(const clla_loader *l, clla_error *error) {
    if (!l->header->complete) return gguf_ends_early(l->header, error);
    if (l->options.vocabulary_only || l->next == l->header->tensor_count) return CLLA_OK;
    const gguf_tensor *t = l->header->by_offset[l->next];
    return clla_fail(error, CLLA_TRUNCATED_FILE, "the file ends at byte %llu of %llu, at row %u of %s",
                     (unsigned long long)l->at, (unsigned long long)l->header->data_end, l->row,
                     label_of(t).text);
}

/* ---- the calls of clla.h ----------------------------------------------------------------------------- */

clla_status clla_loader_create(const clla_model_options *options, clla_loader **loader, clla_error *error) {
    clla_loader *l = memory_resize(NULL, sizeof *l);
    clla_model *m = memory_resize(NULL, sizeof *m);
    if (!l || !m) {
        memory_resize(l, 0);
        memory_resize(m, 0);
        return clla_fail(error, CLLA_OUT_OF_MEMORY, "no memory for a loader");
    }
    *m = (clla_model){0};
    *l = (clla_loader){.model = m, .header = &m->header, .parts = 1};
    if (options) l->options = *options;
    gguf_open(&m->header);
    hash_open(&l->hash);
    uint32_t count = l->options.threads && !l->options.vocabulary_only ? l->options.threads : 1;
    clla_status status = threads_open(count, &m->threads, error);
    if (status)
        clla_loader_free(l);
    else
        *loader = l;
    return status;
}

clla_status clla_loader_feed(clla_loader *l, const uint8_t *bytes, size_t size, clla_error *error) {
    clla_error reason;
    l->fed += size;
    if (!l->options.vocabulary_only) hash_feed(&l->hash, bytes, size);
    return settle(l, l->failure ? l->failure : feed(l, bytes, size, &reason), &reason, error);
}

static clla_status begin_next_part(clla_loader *l, clla_error *error) {
    clla_status status = check_part_ended(l, error);
    if (status) return status;
    if (l->part + 1 == l->parts)
        return clla_fail(error, CLLA_BAD_ARGUMENT, "the model has %u part%s, all of them read", l->parts,
                         l->parts > 1 ? "s" : "");
    l->part++;
    l->at = l->next = 0;
    gguf_close(&l->later);
    l->header = &l->later;
    return CLLA_OK;
}

clla_status clla_loader_next_part(clla_loader *l, clla_error *error) {
    clla_error reason;
    return settle(l, l->failure ? l->failure : begin_next_part(l, &reason), &reason, error);
}

void clla_loader_progress(const clla_loader *l, clla_load_progress *progress) {
    bool complete = l->header->complete;
    uint64_t needed = l->options.vocabulary_only ? l->header->header_size : l->header->data_end;
    *progress = (clla_load_progress){.bytes_fed = l->fed,
                                     .bytes_needed = complete ? needed : 0,
                                     .header_complete = complete,
                                     .parts = l->part || complete ? l->parts : 0};
}

static clla_status finish(clla_loader *l, clla_error *error) {
    clla_status status = check_part_ended(l, error);
    if (status || l->options.vocabulary_only) return status;
    if (l->part + 1 < l->parts)
        return clla_fail(error, CLLA_TRUNCATED_FILE, "the model has %u parts, only %u came", l->parts,
                         l->part + 1);
    return model_complete(l->model, error);
}

clla_status clla_loader_finish(clla_loader *l, clla_model **model, clla_error *error) {
    clla_error reason;
    clla_status status = settle(l, l->failure ? l->failure : finish(l, &reason), &reason, error);
    if (!status) {
        l->model->fingerprint = hash_value(&l->hash);
        *model = l->model;
        l->model = NULL;
    }
    clla_loader_free(l);
    return status;
}

void clla_loader_free(clla_loader *l) {
    if (!l) return;
    model_close(l->model);
    gguf_close(&l->later);
    memory_resize(l->staging, 0);
    memory_resize(l, 0);
}
