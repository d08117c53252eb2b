/* vector.h: the loops of a transformer that are not products with weights: norms, activations, rope, and the panel on
 * which attention runs. Four lanes at a time, in a fixed order; nothing here fails or allocates.
 *
 * exp is a polynomial of our own, within 2 ulp, the same on every build: Cephes' splitting of x = n ln 2 + r. */
#ifndef CLLA_VECTOR_H
#define CLLA_VECTOR_H

#include <stdbool.h>
#include <stdint.h>

enum { PANEL = 16 }; /* lanes of a panel: tokens of a tile of the cache, or channels of a value */

/* y = x / sqrt(mean(x^2) + epsilon) * weight (Zhang & Sennrich, arXiv 1910.07467). y may be x. */
void vector_norm(const float *x, const float *weight, uint32_t n, float epsilon, float *y);

void vector_add(float *y, const float *x, uint32_t n); /* y += x */
void vector_scale(float *y, float factor, uint32_t n); /* y *= factor */

/* gate = silu(gate) * up, or gelu(gate) * up with the tanh approximation (Hendrycks & Gimpel, arXiv 1606.08415). */
void vector_silu_gate(float *gate, const float *up, uint32_t n);
void vector_gelu_gate(float *gate, const float *up, uint32_t n);

/* Rotate the first 2 * half channels of one head by the angles of its position: cos and sin are [half].
 * adjacent: pairs (x[2i], x[2i+1]); else (x[i], x[half+i]). (Su et al., arXiv 2104.09864.) */
void vector_rope(float *x, uint32_t half, const float *cosine, const float *sine, bool adjacent);

/* The product that scores and values share, for two rows a0, a1 of coefficients at once (both may be the same):
 *     y0[j] = sum_i a0[i] * b[i * stride + j],  j < PANEL,  i < n;  y1 likewise;  added to y when `add`. */
void vector_panel(const float *a0, const float *a1, uint32_t n, const float *b, uint32_t stride, bool add, float *y0,
                  float *y1);

/* s[j] = exp(s[j] - max) for first <= j < end, 0 elsewhere (j < PANEL); returns the sum. */
float vector_exp_panel(float *s, float max, uint32_t first, uint32_t end);

/* The largest of s[first .. end), -INFINITY when there is none. */
float vector_max(const float *s, uint32_t first, uint32_t end);

float vector_exp(float x);

#endif
