/* attention.h: queries against the keys and values of a cache: softmax(q k^T scale) v, causal, one pass over the timeline in
 * strips of tiles.
 *
 * Online softmax (Milakov & Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135): a running maximum and sum for
 * each query; what was accumulated is scaled down when the maximum rises. In work are the queries of a block of
 * tokens, times the heads that share the key/value head: a tile is read once for all of them; of codes, scores are a product
 * and the weighted sum is the product with the transpose, with no more passes than those need (kernels.h).
 *
 * Latents are one key/value head that all heads share (absorbed form: DeepSeek-V2, arXiv 2405.04434, section 2.1.2): a
 * query is [rank + rope_dim], the result is [rank], in the latent's coordinates.
 *
 * Work is cut into items that do not depend on the number of threads: in prefill one for each key/value head and block
 * of tokens; in decode (one token) one for each key/value head and span of the timeline, merged in order at the end. */
#ifndef CLLA_KV_ATTENTION_H
#define CLLA_KV_ATTENTION_H

#include "../arena.h"
#include "../threads.h"
#include "cache.h"

/* Memory to work in: one part for each worker, and the partial results of the spans of one token. */
typedef struct attention_scratch {
    uint32_t workers, heads, columns; /* columns: queries that one item takes at most */
    float *worker;                    /* [workers][worker_floats] */
    size_t worker_floats;
    float *partial;                   /* [kv_heads][spans][heads / kv_heads][2 + value stride]: maximum, sum, values */
} attention_scratch;

void attention_layout(attention_scratch *scratch, const kv_shape *shape, uint32_t heads, uint32_t workers, arena *a);

typedef struct attention {
    const kv_cache *cache;
    attention_scratch *scratch;
    uint32_t layer;
    uint32_t n;        /* queries, at positions position .. position + n - 1, whose keys are in the cache already */
    uint32_t position;
    uint32_t window;   /* a query sees this many tokens, itself included; 0: all */
    float scale;
    const float *q;    /* [n, heads, key_dim] */
    float *out;        /* [n, heads, value_dim] */
} attention;

void attention_run(attention *a, threads *pool);

#endif
