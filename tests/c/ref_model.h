/* ref_model.h: the transformer once more, in double precision and without any of the engine's kernels: loops over a
 * model's weights, read back with matrix_row. Slow and plain; forward.c is held against it. No cache: every position is
 * computed from the whole sequence. */
#ifndef CLLA_REF_MODEL_H
#define CLLA_REF_MODEL_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

static inline double *ref_alloc(size_t n) { return calloc(n, sizeof(double)); }

static inline void ref_norm(const double *x, const float *weight, uint32_t n, double epsilon, double *y) {
    double squares = 0;
    for (uint32_t i = 0; i < n; i++) squares += x[i] * x[i];
    double scale = 1 / sqrt(squares / n + epsilon);
    for (uint32_t i = 0; i < n; i++) y[i] = x[i] * scale * (double)weight[i];
}

/* What a quantized matrix sees of its input: int8 in blocks of 32, scaled by the block's largest / 127. */
static inline void ref_round(const double *x, uint32_t n, double *y) {
    for (uint32_t start = 0; start < n; start += 32) {
        uint32_t end = start + 32 < n ? start + 32 : n;
        double largest = 0;
        for (uint32_t i = start; i < end; i++) largest = fmax(largest, fabs(x[i]));
        for (uint32_t i = start; i < end; i++) y[i] = largest > 0 ? rint(x[i] / largest * 127) * largest / 127 : 0;
    }
}

static inline bool ref_is_quantized(tensor_type type) {
    return type != TENSOR_F32 && type != TENSOR_F16 && type != TENSOR_BF16;
}

static inline void ref_multiply(const matrix *m, const float *bias, const double *x, double *y) {
    float *row = calloc(m->cols, sizeof *row);
    double *seen = ref_alloc(m->cols);
    if (ref_is_quantized(m->type)) ref_round(x, m->cols, seen);
    else memcpy(seen, x, m->cols * sizeof *seen);
    for (uint32_t r = 0; r < m->rows; r++) {
        matrix_row(m, r, row);
        y[r] = bias ? (double)bias[r] : 0;
        for (uint32_t c = 0; c < m->cols; c++) y[r] += (double)row[c] * seen[c];
    }
    free(row), free(seen);
}

static inline void ref_rope(const hyper *h, bool adjacent, double base, const float *factors, uint32_t position,
                            double *x) {
    uint32_t half = h->rope_dim / 2;
    for (uint32_t i = 0; i < half; i++) {
        double angle = position * pow(base, -2.0 * i / h->rope_dim) / (factors ? (double)factors[i] : 1);
        uint32_t a = adjacent ? 2 * i : i, b = adjacent ? 2 * i + 1 : i + half;
        double c = cos(angle), s = sin(angle), xa = x[a], xb = x[b];
        x[a] = xa * c - xb * s;
        x[b] = xa * s + xb * c;
    }
}

/* Queries, keys and values of all tokens, then the mixture for each head. x, out: [n][width] */
static inline void ref_attention(const clla_model *m, const layer *l, uint32_t index, uint32_t n, const double *x,
                                 double *out) {
    const hyper *h = &m->hyper;
    size_t qs = (size_t)h->heads * h->key_dim, ks = (size_t)h->kv_heads * h->key_dim, vs = (size_t)h->kv_heads * h->value_dim;
    size_t os = (size_t)h->heads * h->value_dim;
    double *q = ref_alloc(n * qs), *k = ref_alloc(n * ks), *v = ref_alloc(n * vs), *mixed = ref_alloc(os), *p = ref_alloc(n);
    bool windowed = hyper_is_windowed(h, index);
    double base = (double)(windowed ? h->rope_base_local : h->rope_base);
    for (uint32_t t = 0; t < n; t++) {
        ref_multiply(&l->q, l->q_bias, x + t * h->width, q + t * qs);
        ref_multiply(&l->k, l->k_bias, x + t * h->width, k + t * ks);
        ref_multiply(&l->v, l->v_bias, x + t * h->width, v + t * vs);
        for (uint32_t i = 0; i < h->heads + h->kv_heads; i++) {
            double *head = i < h->heads ? q + t * qs + i * h->key_dim : k + t * ks + (i - h->heads) * h->key_dim;
            const float *norm = i < h->heads ? l->q_norm : l->k_norm;
            if (norm) ref_norm(head, norm, h->key_dim, (double)h->norm_epsilon, head);
            ref_rope(h, m->arch->rope_pairs_adjacent, base, m->rope_factors, t, head);
        }
    }
    for (uint32_t t = 0; t < n; t++) {
        uint32_t first = windowed && t + 1 > h->window ? t + 1 - h->window : 0;
        for (uint32_t i = 0; i < h->heads; i++) {
            uint32_t g = i / (h->heads / h->kv_heads);
            double max = -INFINITY, sum = 0;
            for (uint32_t s = first; s <= t; s++) {
                p[s] = 0;
                for (uint32_t c = 0; c < h->key_dim; c++)
                    p[s] += q[t * qs + i * h->key_dim + c] * k[s * ks + g * h->key_dim + c];
                p[s] *= (double)h->attention_scale;
                if (p[s] > max) max = p[s];
            }
            for (uint32_t s = first; s <= t; s++) sum += p[s] = exp(p[s] - max);
            for (uint32_t c = 0; c < h->value_dim; c++) {
                double y = 0;
                for (uint32_t s = first; s <= t; s++) y += p[s] / sum * v[s * vs + g * h->value_dim + c];
                mixed[i * h->value_dim + c] = y;
            }
        }
        ref_multiply(&l->attn_out, NULL, mixed, out + t * h->width);
        if (l->attn_post_norm)
            ref_norm(out + t * h->width, l->attn_post_norm, h->width, (double)h->norm_epsilon, out + t * h->width);
    }
    free(q), free(k), free(v), free(mixed), free(p);
}

static inline void ref_feed_forward(const clla_model *m, const layer *l, const double *x, double *out) {
    const hyper *h = &m->hyper;
    double *gate = ref_alloc(h->ff_width), *up = ref_alloc(h->ff_width);
    ref_multiply(&l->gate, NULL, x, gate);
    ref_multiply(&l->up, NULL, x, up);
    for (uint32_t i = 0; i < h->ff_width; i++) {
        double g = gate[i];
        double gelu = 0.5 * g * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (g + 0.044715 * g * g * g)));
        gate[i] = (m->arch->gelu ? gelu : g / (1 + exp(-g))) * up[i];
    }
    ref_multiply(&l->down, NULL, gate, out);
    if (l->ffn_post_norm) ref_norm(out, l->ffn_post_norm, h->width, (double)h->norm_epsilon, out);
    free(gate), free(up);
}

/* Final hidden states of every position, after the output norm: [n][width]; the caller frees. */
static inline double *ref_states(const clla_model *m, const int32_t *ids, uint32_t n) {
    const hyper *h = &m->hyper;
    size_t w = h->width;
    double *x = ref_alloc(n * w), *y = ref_alloc(n * w), *z = ref_alloc(n * w);
    float *row = calloc(w, sizeof *row);
    for (uint32_t t = 0; t < n; t++) {
        matrix_row(&m->embedding, (uint32_t)ids[t], row);
        for (uint32_t c = 0; c < w; c++) x[t * w + c] = (double)row[c] * (double)h->embedding_scale;
    }
    for (uint32_t i = 0; i < h->layers; i++) {
        const layer *l = &m->layers[i];
        for (uint32_t t = 0; t < n; t++) ref_norm(x + t * w, l->attn_norm, h->width, (double)h->norm_epsilon, y + t * w);
        ref_attention(m, l, i, n, y, z);
        for (size_t c = 0; c < n * w; c++) x[c] += z[c];
        for (uint32_t t = 0; t < n; t++) {
            ref_norm(x + t * w, l->ffn_norm, h->width, (double)h->norm_epsilon, y);
            ref_feed_forward(m, l, y, z);
            for (uint32_t c = 0; c < w; c++) x[t * w + c] += z[c];
        }
    }
    for (uint32_t t = 0; t < n; t++) ref_norm(x + t * w, m->output_norm, h->width, (double)h->norm_epsilon, y + t * w);
    free(x), free(z), free(row);
    return y;
}

/* Logits of every position: [n][vocabulary]; the caller frees. */
static inline double *ref_logits(const clla_model *m, const int32_t *ids, uint32_t n) {
    const hyper *h = &m->hyper;
    double *states = ref_states(m, ids, n), *logits = ref_alloc((size_t)n * h->vocabulary);
    for (uint32_t t = 0; t < n; t++)
        ref_multiply(&m->output, NULL, states + (size_t)t * h->width, logits + (size_t)t * h->vocabulary);
    free(states);
    return logits;
}

#endif
