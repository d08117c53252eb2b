/* bits.h: the axis "bits": how the channels of a row are stored, and the quantizer.
 *
 * A row is what the cache keeps of one token (of one head: a key, a value; or a latent with its rope key). It is cut into
 * runs of channels that are stored alike. Quantized runs, and all runs of latents, are matrices as the kernels read them
 * (kernels.h), with a token for each row: so scores are a product of a matrix with queries, as any other.
 *
 * The quantizer, in f32, for a group of channels of one token (rint: to the nearest, ties to even; s and m are rounded
 * to half precision first, so that the codes fit what is stored):
 *
 *     q4 symmetric   s = max |x| / 7             code = clamp(rint(x / s), -8, 7)           x^ = s code
 *     q4 minimum     s = (max - min) / 15, m = min   code = clamp(rint((x - m) / s), 0, 15)     x^ = s code + m
 *     q8             s = max |x| / 127           code = clamp(rint(x / s), -127, 127)       x^ = s code
 *
 * where "/ s" is the product with 1 / s, and 0 where s is 0. Models that were trained with these codes
 * (models/train/model.py rounds in the same way) meet the very same codes here. A group of more than KV_GROUP channels
 * keeps its scale once for each KV_GROUP of them. */
#ifndef CLLA_KV_BITS_H
#define CLLA_KV_BITS_H

#include "../kernels.h"
#include "spec.h"

typedef struct kv_run {
    uint32_t first, channels; /* of the row */
    kv_bits bits;
    uint32_t group;
    bool minimum;
} kv_run;

/* A row's runs, in order: at most KV_CHANNELS_MAX channels, so that a run as a file holds it takes KV_ROW_BYTES at most. */
enum { KV_RUNS = 18, KV_CHANNELS_MAX = 4096, KV_ROW_BYTES = 4 * KV_CHANNELS_MAX };
typedef struct kv_format {
    kv_run runs[KV_RUNS];
    uint32_t count, channels;
} kv_format;

/* Add a run of channels behind the last one; none when there are no channels. */
void kv_format_add(kv_format *f, uint32_t channels, kv_bits bits, uint32_t group, bool minimum);

/* The matrix type of a run; its columns as a file would hold them (codes: whole blocks), and as the cache does (codes of 8
 * bits: as many as there are channels); bytes of MATRIX_GROUP tokens in the cache. */
tensor_type kv_run_type(const kv_run *run);
uint32_t kv_run_columns(const kv_run *run);
uint32_t kv_run_kept_columns(const kv_run *run);
size_t kv_run_group_bytes(const kv_run *run);

/* Of those bytes, what holds codes or numbers and not scales. */
size_t kv_run_code_bytes(const kv_run *run);

/* Quantize x[channels of the run] to a row as a file of the run's type holds it (quant.h): tensor_row_bytes of its
 * columns. Columns beyond the channels are 0. Halves beyond the largest finite one become that. */
void kv_run_write(const kv_run *run, const float *x, uint8_t *row);

/* x = what would be read back: the same rounding without storing. x: [channels of the format], in place. */
void kv_format_round(const kv_format *f, float *x);

#endif
