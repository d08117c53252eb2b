/* bits.c: formats of rows, and quantizing a run of channels of one token. */
#include "bits.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "../f16.h"

/* ---- formats ------------------------------------------------------------------------------------------------- */

void kv_format_add(kv_format *f, uint32_t channels, kv_bits bits, uint32_t group, bool minimum) {
    if (channels == 0) return;
    assert(f->count < KV_RUNS);
    f->runs[f->count++] = (kv_run){f->channels, channels, bits, group, minimum};
    f->channels += channels;
}

tensor_type kv_run_type(const kv_run *run) {
    switch (run->bits) {
    case KV_F32: return TENSOR_F32;
    case KV_F16: return TENSOR_F16;
    case KV_Q8: return TENSOR_Q8_0;
    default: return run->minimum ? TENSOR_Q4_1 : TENSOR_Q4_0;
    }
}

uint32_t kv_run_columns(const kv_run *run) {
    return run->bits >= KV_F16 ? run->channels : (run->channels + COLUMN_BLOCK - 1) / COLUMN_BLOCK * COLUMN_BLOCK;
}

uint32_t kv_run_kept_columns(const kv_run *run) { return run->bits >= KV_Q8 ? run->channels : kv_run_columns(run); }

size_t kv_run_group_bytes(const kv_run *run) { return matrix_group_bytes(kv_run_type(run), kv_run_kept_columns(run)); }

size_t kv_run_code_bytes(const kv_run *run) {
    size_t blocks = kv_run_columns(run) / COLUMN_BLOCK, halves = run->minimum ? 2 : 1;
    if (run->bits >= KV_F16) return (size_t)run->channels * (size_t)run->bits * MATRIX_GROUP / 8;
    return kv_run_group_bytes(run) - blocks * halves * MATRIX_GROUP * sizeof(uint16_t);
}

/* ---- the quantizer ------------------------------------------------------------------------------------------- */

/* A group's scale and minimum: as stored, and what codes are made with. */
typedef struct scaling {
    uint16_t scale, minimum;
    float inverse, offset;
    int low, high; /* codes */
} scaling;

static scaling scaling_of(const kv_run *run, const float *x, uint32_t n) {
    float least = x[0], most = x[0], largest = 0, whole = run->bits == KV_Q8 ? 127.0f : run->minimum ? 15.0f : 7.0f;
    for (uint32_t i = 0; i < n; i++) {
        least = x[i] < least ? x[i] : least;
        most = x[i] > most ? x[i] : most;
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    }
    scaling s = {.scale = f16_finite((run->minimum ? most - least : largest) / whole)};
    float scale = f32_of_f16(s.scale);
    s.inverse = scale > 0 ? 1.0f / scale : 0.0f;
    if (run->minimum) s.minimum = f16_finite(least), s.offset = f32_of_f16(s.minimum), s.high = 15;
    else s.low = run->bits == KV_Q8 ? -127 : -8, s.high = run->bits == KV_Q8 ? 127 : 7;
    return s;
}

/* NaN becomes the lowest code. */
static int code_of(const scaling *s, float x) {
    float code = rintf((x - s->offset) * s->inverse);
    return code >= (float)s->high ? s->high : code > (float)s->low ? (int)code : s->low;
}

/* One block of 32 in the layouts of Q4_0, Q4_1 and Q8_0: halves first, then codes. n of the channels are there. */
static uint8_t *block_write(const kv_run *run, const scaling *s, const float *x, uint32_t n, uint8_t *block) {
    int codes[COLUMN_BLOCK], zero = run->minimum || run->bits == KV_Q8 ? 0 : 8;
    memcpy(block, &s->scale, 2);
    block += 2;
    if (run->minimum) {
        memcpy(block, &s->minimum, 2);
        block += 2;
    }
    for (uint32_t i = 0; i < COLUMN_BLOCK; i++) codes[i] = (i < n ? code_of(s, x[i]) : 0) + zero;
    if (run->bits == KV_Q8) {
        for (int i = 0; i < COLUMN_BLOCK; i++) block[i] = (uint8_t)(int8_t)codes[i];
        return block + COLUMN_BLOCK;
    }
    for (int i = 0; i < COLUMN_BLOCK / 2; i++) block[i] = (uint8_t)(codes[i] | codes[i + COLUMN_BLOCK / 2] << 4);
    return block + COLUMN_BLOCK / 2;
}

static void codes_write(const kv_run *run, const float *x, uint8_t *row) {
    for (uint32_t first = 0; first < run->channels; first += run->group) {
        uint32_t left = run->channels - first, n = left < run->group ? left : run->group;
        scaling s = scaling_of(run, x + first, n);
        for (uint32_t b = 0; b < n; b += COLUMN_BLOCK)
            row = block_write(run, &s, x + first + b, n - b < COLUMN_BLOCK ? n - b : COLUMN_BLOCK, row);
    }
}

void kv_run_write(const kv_run *run, const float *x, uint8_t *row) {
    if (run->bits == KV_F32) {
        memcpy(row, x, run->channels * sizeof *x);
    } else if (run->bits == KV_F16) {
        for (uint32_t i = 0; i < run->channels; i++) {
            uint16_t half = f16_finite(x[i]);
            memcpy(row + 2 * i, &half, 2);
        }
    } else {
        codes_write(run, x, row);
    }
}

/* Read back: whole blocks, of the last of which only `channels` may be left. */
static void run_read(const kv_run *run, const uint8_t *row, float *x) {
    tensor_type type = kv_run_type(run);
    float block[COLUMN_BLOCK];
    if (run->bits >= KV_F16) {
        tensor_unpack(type, row, run->channels, x);
        return;
    }
    for (uint32_t c = 0; c < run->channels; c += COLUMN_BLOCK, row += tensor_row_bytes(type, COLUMN_BLOCK)) {
        uint32_t left = run->channels - c;
        tensor_unpack(type, row, COLUMN_BLOCK, block);
        memcpy(x + c, block, (left < COLUMN_BLOCK ? left : COLUMN_BLOCK) * sizeof *x);
    }
}

void kv_format_round(const kv_format *f, float *x) {
    uint8_t row[KV_ROW_BYTES];
    for (uint32_t i = 0; i < f->count; i++) {
        kv_run_write(&f->runs[i], x + f->runs[i].first, row);
        run_read(&f->runs[i], row, x + f->runs[i].first);
    }
}
