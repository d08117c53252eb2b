/* forward.c: the decoder-only transformer, as a list of named steps.
 *
 *     x = embedding[ids]
 *     for each layer:   x += attention(norm(x));   x += feed_forward(norm(x))
 *     logits = output norm(x)
 */
#include "forward.h"

#include <math.h>
#include <string.h>

/* ---- memory -------------------------------------------------------------------------------------------------- */

static uint32_t largest(uint32_t a, uint32_t b) { return a > b ? a : b; }

static void rope_layout(rope_table *t, uint32_t half, uint32_t chunk, arena *a) {
    t->frequency = arena_take(a, half, sizeof(float));
    t->cosine = arena_take(a, (uint64_t)chunk * half, sizeof(float));
    t->sine = arena_take(a, (uint64_t)chunk * half, sizeof(float));
}

/* frequency_i = scale / base^(2i / rope_dim) / factor_i */
static void rope_frequencies(rope_table *t, const hyper *h, float base, float scale, const float *factors) {
    for (uint32_t i = 0; i < h->rope_dim / 2; i++) {
        double power = pow((double)base, -2.0 * i / h->rope_dim);
        t->frequency[i] = (float)((double)scale * power / (factors ? (double)factors[i] : 1.0));
    }
}

static const float *factors_for(const clla_model *m, uint32_t context) {
    if (!m->rope_factors_long) return m->rope_factors;
    return context > m->hyper.rope_original_context ? m->rope_factors_long : m->rope_factors_short;
}

/* Owners have the tables, readers point at them. */
static void rope_own_layout(forward *f, const clla_model *m, arena *a) {
    const hyper *h = &m->hyper;
    if (!h->own_frequencies) return;
    f->rope_own = arena_take(a, h->layers, sizeof *f->rope_own);
    for (uint32_t i = 0; i < h->layers; i++) {
        uint32_t owner = h->kv.owner[i];
        rope_table t = {0};
        if (owner == i) rope_layout(&t, h->rope_dim / 2, f->chunk, a);
        if (!a->base) continue;
        f->rope_own[i] = owner == i ? t : f->rope_own[owner];
        if (owner == i) memcpy(t.frequency, m->layers[i].rope_frequency, h->rope_dim / 2 * sizeof(float));
    }
}

static void attention_block_layout(forward *f, const hyper *h, bool absorbed, arena *a) {
    uint32_t chunk = f->chunk;
    f->q = tensor_layout(chunk, h->heads * h->key_dim, a);
    f->q_a = tensor_layout(chunk, h->q_rank, a);
    if (absorbed) {
        f->absorbed = tensor_layout(chunk, h->heads * (h->kv.rank + h->rope_dim), a);
        f->gathered = tensor_layout(chunk, h->heads * h->kv.rank, a);
    } else {
        f->k = tensor_layout(chunk, h->kv_heads * h->key_dim, a);
        f->v = tensor_layout(chunk, h->kv_heads * h->value_dim, a);
    }
    f->mixed = tensor_layout(chunk, h->heads * h->value_dim, a);
}

/* How latents were rounded in training: what a cache of heads expands. */
static kv_format trained_format(const hyper *h) {
    kv_spec trained;
    kv_shape shape;
    kv_spec_parse(NULL, &h->kv, &trained, NULL);
    kv_shape_make(&shape, &trained, &h->kv, 1);
    return shape.key;
}

static uint32_t whole_blocks(uint32_t cols) { return (cols + COLUMN_BLOCK - 1) / COLUMN_BLOCK * COLUMN_BLOCK; }

/* Columns of the widest tensor that is multiplied. */
static uint32_t widest_of(const hyper *h) {
    uint32_t widest = largest(largest(h->width, h->ff_width), h->heads * h->value_dim);
    if (!h->kv.rank) return widest;
    widest = largest(widest, h->heads * largest(whole_blocks(h->kv.rank), whole_blocks(h->key_dim - h->rope_dim)));
    return largest(widest, h->q_rank);
}

void forward_layout(forward *f, const clla_model *m, const kv_shape *shape, uint32_t chunk, uint32_t picks, arena *a) {
    const hyper *h = &m->hyper;
    *f = (forward){.model = m, .chunk = chunk, .picks = picks};
    ops_layout(&f->ops, m->threads, largest(chunk, picks), widest_of(h), a);
    attention_layout(&f->attention, shape, h->heads, threads_count(m->threads), a);
    rope_layout(&f->rope_global, h->rope_dim / 2, chunk, a);
    rope_layout(&f->rope_local, h->rope_dim / 2, chunk, a);
    rope_own_layout(f, m, a);
    f->x = tensor_layout(chunk, h->width, a);
    f->h = tensor_layout(chunk, h->width, a);
    if (h->kv.rank) f->latent = tensor_layout(shape->latent ? chunk : chunk * h->layers, h->kv.rank + h->rope_dim, a);
    uint64_t block = a->used; /* the two blocks of a layer take turns in the same memory */
    attention_block_layout(f, h, shape->latent, a);
    uint64_t end = a->used;
    a->used = block;
    f->gate = tensor_layout(chunk, h->ff_width, a);
    f->up = tensor_layout(chunk, h->ff_width, a);
    if (a->used < end) a->used = end;
    f->picked = tensor_layout(picks, h->width, a);
    f->logits = tensor_layout(picks, h->vocabulary, a);
    if (!a->base) return;
    if (h->kv.rank) f->trained = trained_format(h);
    rope_frequencies(&f->rope_global, h, h->rope_base, h->rope_scale, factors_for(m, shape->context));
    rope_frequencies(&f->rope_local, h, h->rope_base_local, h->rope_scale_local,
                     m->arch->window_pattern ? NULL : factors_for(m, shape->context));
}

/* ---- one step ------------------------------------------------------------------------------------------------ */

/* What stays the same in all layers of a step. */
typedef struct step {
    forward *f;
    kv_cache *cache;
    uint32_t n, position;
    tensor x, h, q, k, v, mixed, gate, up, q_a, absorbed, gathered; /* the leading n rows */
} step;

static void rope_angles(const rope_table *t, const hyper *h, uint32_t n, uint32_t position) {
    uint32_t half = h->rope_dim / 2;
    for (uint32_t i = 0; i < n * half; i++) {
        double angle = (double)(position + i / half) * (double)t->frequency[i % half];
        t->cosine[i] = (float)cos(angle) * h->rope_magnitude;
        t->sine[i] = (float)sin(angle) * h->rope_magnitude;
    }
}

static const rope_table *rope_of(const step *s, uint32_t index) {
    const forward *f = s->f;
    if (f->rope_own) return &f->rope_own[index];
    return hyper_is_windowed(&f->model->hyper, index) ? &f->rope_local : &f->rope_global;
}

/* The first channels of each head of dim channels. */
static void rotate(const step *s, uint32_t index, tensor heads, uint32_t dim) {
    const clla_model *m = s->f->model;
    const rope_table *t = rope_of(s, index);
    ops_rope(&s->f->ops, heads, dim, t->cosine, t->sine, m->hyper.rope_dim / 2, m->arch->rope_pairs_adjacent);
}

/* out = softmax(q k^T scale) v over the cache */
static void attend(const step *s, uint32_t index, tensor q, tensor out) {
    const hyper *h = &s->f->model->hyper;
    attention_run(&(attention){.cache = s->cache,
                               .scratch = &s->f->attention,
                               .layer = index,
                               .n = s->n,
                               .position = s->position,
                               .window = hyper_is_windowed(h, index) ? h->window : 0,
                               .scale = h->attention_scale,
                               .q = q.data,
                               .out = out.data},
                  s->f->ops.pool);
}

/* mixed = attention of h over heads: project, rotate, store, attend. */
static void attend_heads(const step *s, const layer *l, uint32_t index) {
    forward *f = s->f;
    const hyper *h = &f->model->hyper;
    ops_multiply(&f->ops, s->h,
                 (product[]){{s->q, &l->q, l->q_bias}, {s->k, &l->k, l->k_bias}, {s->v, &l->v, l->v_bias}}, 3);
    if (l->q_norm) {
        ops_norm_heads(&f->ops, s->q, h->key_dim, l->q_norm, h->norm_epsilon);
        ops_norm_heads(&f->ops, s->k, h->key_dim, l->k_norm, h->norm_epsilon);
    }
    rotate(s, index, s->q, h->key_dim);
    rotate(s, index, s->k, h->key_dim);
    kv_cache_write(s->cache, index, s->position, s->n, s->k.data, s->v.data);
    attend(s, index, s->q, s->mixed);
}

/* ---- latents ------------------------------------------------------------------------------------------------- */

/* The latent of this step that a layer reads. A cache of latents keeps them, so that only the owner's is ever wanted. */
static tensor latent_of(const step *s, uint32_t index) {
    tensor all = s->f->latent;
    if (!s->cache->shape.latent) all.data += (size_t)s->f->model->hyper.kv.owner[index] * s->f->chunk * all.cols;
    return tensor_rows(all, s->n);
}

/* q = queries, and in an owner latent = [norm(c) | rope key]. A head of q is [without rope | rope]. */
static void project_latent(const step *s, const layer *l, uint32_t index) {
    forward *f = s->f;
    const hyper *h = &f->model->hyper;
    const matrix *first = h->q_rank ? &l->q_a : &l->q;
    tensor c = latent_of(s, index);
    ops_multiply(&f->ops, s->h, (product[]){{h->q_rank ? s->q_a : s->q, first, NULL}, {c, &l->kv_a, NULL}},
                 l->kv_a.data ? 2 : 1);
    if (h->q_rank) {
        ops_norm(&f->ops, s->q_a, s->q_a, l->q_a_norm, h->norm_epsilon);
        ops_multiply(&f->ops, s->q_a, &(product){s->q, &l->q, NULL}, 1);
    }
    if (l->kv_a_norm) ops_norm_first(&f->ops, c, h->kv.rank, l->kv_a_norm, h->norm_epsilon);
    if (h->rope_dim == 0) return;
    rotate(s, index, tensor_from(s->q, h->key_dim - h->rope_dim), h->key_dim);
    if (l->kv_a.data) rotate(s, index, tensor_from(c, h->kv.rank), h->kv.rank + h->rope_dim);
}

/* mixed = attention in the latent's coordinates (absorbed form): score_ht = (W_UK^T q_h) c_t + rope(q_h) k_t, and the
 * weighted sum of latents goes through W_UV once for each head. What is stored serves all heads and all readers. */
static void attend_latent(const step *s, const layer *l, uint32_t index) {
    forward *f = s->f;
    const hyper *h = &f->model->hyper;
    uint32_t rank = h->kv.rank, row = rank + h->rope_dim, plain = h->key_dim - h->rope_dim;
    if (l->kv_a.data) kv_cache_write(s->cache, index, s->position, s->n, latent_of(s, index).data, NULL);
    ops_multiply_heads(&f->ops, s->q, h->key_dim, &l->k_b, h->heads, s->absorbed, row);
    ops_copy_heads(&f->ops, &(head_copy){s->absorbed, s->q, h->heads, row, h->key_dim, rank, plain, h->rope_dim});
    attend(s, index, s->absorbed, s->gathered);
    ops_multiply_heads(&f->ops, s->gathered, rank, &l->v_b, h->heads, s->mixed, h->value_dim);
}

/* As the model was trained: sinks in 16 bits, the rest in codes. */
static void round_latent(const step *s, tensor c) {
    const kv_model *kv = &s->f->model->hyper.kv;
    kv_format halves = {0};
    kv_format_add(&halves, c.cols, KV_F16, KV_GROUP, false);
    for (uint32_t i = 0; i < s->n; i++)
        kv_format_round(s->position + i < kv->sinks ? &halves : &s->f->trained, c.data + (size_t)i * c.cols);
}

/* The same over keys and values of all heads, expanded from the latent before they are stored: the long way round, which
 * the short one is held against. The latent stays in f->latent for its readers. */
static void attend_expanded(const step *s, const layer *l, uint32_t index) {
    forward *f = s->f;
    const hyper *h = &f->model->hyper;
    uint32_t rank = h->kv.rank, plain = h->key_dim - h->rope_dim;
    tensor c = latent_of(s, index);
    if (l->kv_a.data) round_latent(s, c);
    ops_multiply_transposed(&f->ops, c, &l->k_b, h->heads, s->k, h->key_dim);
    ops_copy_heads(&f->ops, &(head_copy){s->k, c, h->heads, h->key_dim, 0, plain, rank, h->rope_dim});
    ops_multiply_heads(&f->ops, c, 0, &l->v_b, h->heads, s->v, h->value_dim);
    kv_cache_write(s->cache, index, s->position, s->n, s->k.data, s->v.data);
    attend(s, index, s->q, s->mixed);
}

/* h = attention of h */
static void attention_block(const step *s, const layer *l, uint32_t index) {
    forward *f = s->f;
    if (f->model->arch->latent) {
        project_latent(s, l, index);
        if (s->cache->shape.latent) attend_latent(s, l, index);
        else attend_expanded(s, l, index);
    } else {
        attend_heads(s, l, index);
    }
    ops_multiply(&f->ops, s->mixed, &(product){s->h, &l->attn_out, NULL}, 1);
    if (l->attn_post_norm) ops_norm(&f->ops, s->h, s->h, l->attn_post_norm, f->model->hyper.norm_epsilon);
}

/* h = down(activation(gate h) * up h) */
static void feed_forward_block(const step *s, const layer *l) {
    forward *f = s->f;
    ops_multiply(&f->ops, s->h, (product[]){{s->gate, &l->gate, NULL}, {s->up, &l->up, NULL}}, 2);
    ops_gate(&f->ops, s->gate, s->up, f->model->arch->gelu);
    ops_multiply(&f->ops, s->gate, &(product){s->h, &l->down, NULL}, 1);
    if (l->ffn_post_norm) ops_norm(&f->ops, s->h, s->h, l->ffn_post_norm, f->model->hyper.norm_epsilon);
}

static void logits_of(const step *s, const uint32_t *at, uint32_t count) {
    forward *f = s->f;
    const clla_model *m = f->model;
    tensor picked = tensor_rows(f->picked, count), logits = tensor_rows(f->logits, count);
    ops_pick(&f->ops, picked, s->x, at);
    ops_norm(&f->ops, picked, picked, m->output_norm, m->hyper.norm_epsilon);
    ops_multiply(&f->ops, picked, &(product){logits, &m->output, NULL}, 1);
}

/* The leading n rows of a tensor, where this model has it. */
static tensor rows(tensor t, uint32_t n) { return t.data ? tensor_rows(t, n) : t; }

void forward_step(forward *f, kv_cache *cache, const int32_t *ids, uint32_t n, uint32_t position, const uint32_t *at,
                  uint32_t at_count) {
    const clla_model *m = f->model;
    const hyper *h = &m->hyper;
    step s = {f, cache, n, position,
              rows(f->x, n), rows(f->h, n), rows(f->q, n), rows(f->k, n), rows(f->v, n), rows(f->mixed, n),
              rows(f->gate, n), rows(f->up, n), rows(f->q_a, n), rows(f->absorbed, n), rows(f->gathered, n)};
    rope_angles(&f->rope_global, h, n, position);
    rope_angles(&f->rope_local, h, n, position);
    for (uint32_t i = 0; f->rope_own && i < h->layers; i++)
        if (h->kv.owner[i] == i) rope_angles(&f->rope_own[i], h, n, position);
    ops_embed(&f->ops, s.x, &m->embedding, ids, h->embedding_scale);
    for (uint32_t i = 0; i < h->layers; i++) {
        const layer *l = &m->layers[i];
        ops_norm(&f->ops, s.h, s.x, l->attn_norm, h->norm_epsilon);
        attention_block(&s, l, i);
        ops_add(&f->ops, s.x, s.h);
        ops_norm(&f->ops, s.h, s.x, l->ffn_norm, h->norm_epsilon);
        feed_forward_block(&s, l);
        ops_add(&f->ops, s.x, s.h);
    }
    if (at_count) logits_of(&s, at, at_count);
}

const float *forward_states(forward *f, uint32_t n) {
    tensor states = tensor_rows(f->h, n); /* the last layer is done with it */
    ops_norm(&f->ops, states, tensor_rows(f->x, n), f->model->output_norm, f->model->hyper.norm_epsilon);
    return states.data;
}
