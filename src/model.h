/* model.h: a model in memory: its numbers, its weights and where each tensor of a file belongs.
 *
 * model_configure reads the header and lists every tensor the architecture expects ("slots"); the loader brings the
 * bytes to their slots; then the model is complete and never changes. */
#ifndef CLLA_MODEL_H
#define CLLA_MODEL_H

#include "arch.h"
#include "arena.h"
#include "clla.h"
#include "gguf.h"
#include "kernels.h"
#include "threads.h"
#include "tokenizer.h"

/* One layer. A matrix that an architecture does not have has data NULL, a vector is NULL. */
typedef struct layer {
    const float *attn_norm;                 /* [width] */
    matrix q, k, v;                         /* [heads * key_dim, width], [kv_heads * key_dim, width],
                                             * [kv_heads * value_dim, width] */
    const float *q_bias, *k_bias, *v_bias;  /* optional */
    const float *q_norm, *k_norm;           /* [key_dim] */
    matrix q_a;                             /* latents: [q_rank, width], optional; q is [heads * key_dim, q_rank] then */
    const float *q_a_norm;                  /* [q_rank] */
    matrix kv_a;                            /* [rank + rope_dim, width]: latent and rope key; only where the layer owns one */
    const float *kv_a_norm;                 /* [rank], optional */
    matrix k_b, v_b;                        /* [heads * rank, nope_dim], [heads * value_dim, rank]: the up-projections */
    const float *rope_frequency;            /* [rope_dim / 2]: an owner's own, in radians a position, where the model has them */
    matrix attn_out;                        /* [width, heads * value_dim] */
    const float *attn_post_norm;            /* [width] */
    const float *ffn_norm;                  /* [width] */
    matrix gate, up;                        /* [ff_width, width] */
    matrix down;                            /* [width, ff_width] */
    const float *ffn_post_norm;             /* [width] */
} layer;

/* Where one tensor belongs. A vector (any type that unpacks) becomes f32; a matrix is packed for the kernels. */
enum { SLOT_PARTS = 3 };
typedef struct weight_slot {
    char name[48];
    uint32_t rows, cols;   /* vector: rows is 0, cols its length */
    uint32_t heads;        /* the file has the rows of so many heads as a third dimension; 1: it has two dimensions */
    bool optional, arrived;
    matrix home;           /* of a matrix: where the loader packs to */
    float *values;         /* of a vector: where the loader unpacks to */
    const float **vector;  /* the field of a layer or the model that values becomes */
    matrix *parts[SLOT_PARTS]; /* the fields that home becomes: one, or (fused tensors) consecutive rows of it each */
    uint32_t part_rows[SLOT_PARTS];
} weight_slot;

struct clla_model {
    gguf header;           /* of the first part; token texts live here */
    const arch *arch;
    hyper hyper;
    tokenizer *tokenizer;
    threads *threads;
    matrix embedding;      /* [vocabulary, width] */
    matrix output;         /* the same memory as embedding when tied */
    const float *output_norm;
    const float *rope_factors;                           /* [rope_dim / 2], optional (Llama 3) */
    const float *rope_factors_long, *rope_factors_short; /* longrope */
    layer *layers;
    weight_slot *slots;
    size_t slot_count;
    arena tables;          /* layers and slots */
    arena *weights;        /* one for each part of the file */
    uint32_t part_count;
    uint64_t file_bytes;   /* of all tensors, as stored */
    uint64_t fingerprint;  /* of all bytes of the file, all parts in order (hash.h) */
    clla_status refusal;   /* loaded for its vocabulary: why it can have no sessions, or CLLA_OK; hyper is 0 then */
    clla_error reason;
};

/* The header is complete: read the numbers, list the slots, build the tokenizer. When vocabulary_only there are no slots, and
 * numbers that are wrong or missing are no failure but a refusal. On failure what was built is freed by model_close. */
clla_status model_configure(clla_model *m, bool vocabulary_only, clla_error *error);

/* The slot of a tensor, or NULL. Its home, taken from a (a measure too): values, or home and the parts of it. `type` is
 * the file's. */
weight_slot *model_slot(clla_model *m, gguf_string name);
void model_slot_place(weight_slot *slot, tensor_type type, arena *a);

/* All bytes are there: name what is missing, tie the output to the embedding where the file has none. */
clla_status model_complete(clla_model *m, clla_error *error);

/* Free everything a model holds, in whatever state it is, and the model itself. */
void model_close(clla_model *m);

#endif
