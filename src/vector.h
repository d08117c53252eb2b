/* vector.h: the loops of a transformer that are not products with weights: norms, activations, rope, and the panel on
 * which attention runs. Four lanes at a time, in a fixed order; nothing here fails or allocates.
 *
 * exp is a polynomial of our own, within 2 ulp, after Cephes' splitting of x = n ln 2 + r. */
#ifndef CLLA_VECTOR_H
#define CLLA_VECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PANEL = 16 }; /* lanes of a panel: tokens of a tile of the cache, or channels of a value */

/* y = x / sqrt(mean(x^2) + epsilon) * weight (Zhang & Sennrich, arXiv 1910.07467). y may be x. */
void vector_norm(const float *x, const float *weight, uint32_t n, float epsilon, float *y);

void vector_add(float *y, const float *x, uint32_t n); /* y += x */
void vector_add_scaled(float *y, const float *x, float factor, uint32_t n); /* y += factor x */
void vector_scale(float *y, float factor, uint32_t n); /* y *= factor */

/* gate = silu(gate) * up, or gelu(gate) * up with the tanh approximation (Hendrycks & Gimpel, arXiv 1606.08415). */
void vector_silu_gate(float *gate, const float *up, uint32_t n);
void vector_gelu_gate(float *gate, const float *up, uint32_t n);

/* Rotate the first 2 * half channels of one head by the angles of its position: cos and sin are [half].
 * adjacent: pairs (x[2i], x[2i+1]); else (x[i], x[half+i]). (Su et al., arXiv 2104.09864.) */
void vector_rope(float *x, uint32_t half, const float *cosine, const float *sine, bool adjacent);

/* Halves as the panel reads them: in each eight, number i stands at place 2i and number 4 + i at place 2i + 1, so that
 * four lanes of 32 bits hold 0..3 below and 4..7 above. */
static inline uint32_t half_place(uint32_t i) { return (i & ~7u) + 2 * (i & 3u) + (i >> 2 & 1u); }

/* sum x[i] y[i] with halves in their plain order. */
float vector_dot_halves(const float *x, const uint16_t *halves, uint32_t n);

/* y += factor x with such halves. */
void vector_add_halves(float *y, const uint16_t *halves, float factor, uint32_t n);

/* Read n halves (a multiple of 8) in that order. They are finite. */
void vector_read_halves(const uint16_t *from, size_t n, float *to);

/* The product that scores and values share: rows of coefficients a against a panel b of PANEL lanes,
 *     y[c * y_stride + j] = sum_i a[c * a_stride + i] * b[i * b_stride + j],   c < rows, i < n, j < PANEL;
 * added to y when `add`. Four rows are in work at once. b is floats, or `halves` in the order above; a float's bits are
 * then put together from those of a half without its rebias, so that the halves count as HALF_UNIT each: the caller
 * multiplies a by 1 / HALF_UNIT. */
#define HALF_UNIT 0x1p-112f
typedef struct panel {
    const float *a, *b;
    const uint16_t *halves; /* instead of b, where it is not NULL */
    float *y;
    size_t a_stride, b_stride, y_stride;
    uint32_t rows, n;
    bool add;
} panel;
void vector_panel(const panel *p);

/* s[j] = exp(s[j] - max) for first <= j < end, 0 elsewhere (j < n, a multiple of 4); returns the sum. */
float vector_exp_sum(float *s, uint32_t n, float max, uint32_t first, uint32_t end);

/* The largest of s[first .. end), -INFINITY when there is none. */
float vector_max(const float *s, uint32_t first, uint32_t end);

float vector_exp(float x);

#endif
