/* forward.c: the decoder-only transformer, as a list of named steps.
 *
 *     x = embedding[ids]
 *     for each layer:   x += attention(norm(x));   x += feed_forward(norm(x))
 *     logits = output norm(x)
 */
#include "forward.h"

#include <math.h>

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

void forward_layout(forward *f, const clla_model *m, const kv_shape *shape, uint32_t chunk, uint32_t picks, arena *a) {
    const hyper *h = &m->hyper;
    uint32_t q_cols = h->heads * h->key_dim, out_cols = h->heads * h->value_dim;
    *f = (forward){.model = m, .chunk = chunk, .picks = picks};
    uint32_t rows = largest(chunk, picks), widest = largest(largest(h->width, h->ff_width), out_cols);
    ops_layout(&f->ops, m->threads, rows, widest, a);
    attention_layout(&f->attention, shape, h->heads, threads_count(m->threads), a);
    rope_layout(&f->rope_global, h->rope_dim / 2, chunk, a);
    rope_layout(&f->rope_local, h->rope_dim / 2, chunk, a);
    f->x = tensor_layout(chunk, h->width, a);
    f->h = tensor_layout(chunk, h->width, a);
    f->q = tensor_layout(chunk, q_cols, a);
    f->k = tensor_layout(chunk, h->kv_heads * h->key_dim, a);
    f->v = tensor_layout(chunk, h->kv_heads * h->value_dim, a);
    f->mixed = tensor_layout(chunk, out_cols, a);
    f->gate = tensor_layout(chunk, h->ff_width, a);
    f->up = tensor_layout(chunk, h->ff_width, a);
    f->picked = tensor_layout(picks, h->width, a);
    f->logits = tensor_layout(picks, h->vocabulary, a);
    if (!a->base) return;
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
    tensor x, h, q, k, v, mixed, gate, up; /* the leading n rows */
} step;

static void rope_angles(const rope_table *t, const hyper *h, uint32_t n, uint32_t position) {
    uint32_t half = h->rope_dim / 2;
    for (uint32_t i = 0; i < n * half; i++) {
        double angle = (double)(position + i / half) * (double)t->frequency[i % half];
        t->cosine[i] = (float)cos(angle) * h->rope_magnitude;
        t->sine[i] = (float)sin(angle) * h->rope_magnitude;
    }
}

static void rotate(const step *s, const rope_table *t, tensor heads) {
    const clla_model *m = s->f->model;
    ops_rope(&s->f->ops, heads, m->hyper.key_dim, t->cosine, t->sine, m->hyper.rope_dim / 2,
             m->arch->rope_pairs_adjacent);
}

/* h = attention of h: project, rotate, store, attend, project back. */
static void attention_block(const step *s, const layer *l, uint32_t index) {
    forward *f = s->f;
    const hyper *h = &f->model->hyper;
    bool windowed = hyper_is_windowed(h, index);
    const rope_table *rope = windowed ? &f->rope_local : &f->rope_global;
    ops_multiply(&f->ops, s->h,
                 (product[]){{s->q, &l->q, l->q_bias}, {s->k, &l->k, l->k_bias}, {s->v, &l->v, l->v_bias}}, 3);
    if (l->q_norm) {
        ops_norm_heads(&f->ops, s->q, h->key_dim, l->q_norm, h->norm_epsilon);
        ops_norm_heads(&f->ops, s->k, h->key_dim, l->k_norm, h->norm_epsilon);
    }
    rotate(s, rope, s->q);
    rotate(s, rope, s->k);
    kv_cache_write(s->cache, index, s->position, s->n, s->k.data, s->v.data);
    attention_run(&(attention){.cache = s->cache,
                               .scratch = &f->attention,
                               .layer = index,
                               .n = s->n,
                               .position = s->position,
                               .window = windowed ? h->window : 0,
                               .scale = h->attention_scale,
                               .q = s->q.data,
                               .out = s->mixed.data},
                  f->ops.pool);
    ops_multiply(&f->ops, s->mixed, &(product){s->h, &l->attn_out, NULL}, 1);
    if (l->attn_post_norm) ops_norm(&f->ops, s->h, s->h, l->attn_post_norm, h->norm_epsilon);
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

void forward_step(forward *f, kv_cache *cache, const int32_t *ids, uint32_t n, uint32_t position, const uint32_t *at,
                  uint32_t at_count) {
    const clla_model *m = f->model;
    const hyper *h = &m->hyper;
    step s = {f, cache, n, position,
              tensor_rows(f->x, n), tensor_rows(f->h, n), tensor_rows(f->q, n), tensor_rows(f->k, n),
              tensor_rows(f->v, n), tensor_rows(f->mixed, n), tensor_rows(f->gate, n), tensor_rows(f->up, n)};
    rope_angles(&f->rope_global, h, n, position);
    rope_angles(&f->rope_local, h, n, position);
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
