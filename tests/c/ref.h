/* ref.h: the clear slow versions that fast code is held against, in double precision, and the data for it. */
#ifndef CLLA_TEST_REF_H
#define CLLA_TEST_REF_H

#include <stddef.h>
#include <stdint.h>

#include "quant.h"

/* A small generator, the same everywhere. */
typedef struct ref_random {
    uint64_t state;
} ref_random;
uint32_t ref_next(ref_random *r);
float ref_uniform(ref_random *r, float low, float high);

/* Fill a row as a file would hold it: random codes, finite scales (now and then 0, negative or subnormal); values of
 * the float types are about 1 in size. `extreme` makes all codes and small scales the largest that the type has, and
 * floats as large (halves: also as small) as they come. */
void ref_row(tensor_type type, ref_random *r, int extreme, size_t n, uint8_t *row);

/* What activations become: 8-bit codes in blocks of 32, as values. */
void ref_quantize(const float *x, size_t n, double *values);

/* *sum = w x; *size = |w| |x|, which errors are measured against. */
void ref_dot(const float *w, const double *x, size_t n, double *sum, double *size);

#endif
