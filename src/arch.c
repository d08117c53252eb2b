/* arch.c: the table of architectures, and the reading of their numbers from a header. */
#include "arch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const arch archs[] = {
    {.name = "llama", .rope_pairs_adjacent = true},
    {.name = "qwen2"},
    {.name = "qwen3", .qk_norm = true},
    {.name = "gemma3", .qk_norm = true, .post_norms = true, .gelu = true, .embedding_scaled = true, .window_pattern = 6},
    {.name = "phi3", .fused = true, .longrope = true},
    {.name = "clla", .rope_pairs_adjacent = true, .latent = true},
};

const arch *arch_find(gguf_string name) {
    for (size_t i = 0; i < sizeof archs / sizeof archs[0]; i++)
        if (gguf_equals(name, archs[i].name)) return &archs[i];
    return NULL;
}

/* Reads "<architecture>.<suffix>" keys; after the first failure the rest is skipped and the status stays. */
typedef struct reader {
    const gguf *g;
    const arch *a;
    clla_error *error;
    clla_status status;
} reader;

static const char *key_of(const reader *r, const char *suffix, char key[96]) {
    snprintf(key, 96, "%s.%s", r->a->name, suffix);
    return key;
}

static uint32_t want_u32(reader *r, const char *suffix) {
    char key[96];
    uint32_t value = 0;
    if (r->status == CLLA_OK) r->status = gguf_u32(r->g, key_of(r, suffix, key), &value, r->error);
    return value;
}

static uint32_t u32_or(reader *r, const char *suffix, uint32_t fallback) {
    char key[96];
    uint32_t value = fallback;
    if (r->status == CLLA_OK) r->status = gguf_u32_or(r->g, key_of(r, suffix, key), fallback, &value, r->error);
    return value;
}

static bool bool_or(reader *r, const char *suffix, bool fallback) {
    char key[96];
    bool value = fallback;
    if (r->status == CLLA_OK) r->status = gguf_bool_or(r->g, key_of(r, suffix, key), fallback, &value, r->error);
    return value;
}

static float f32_or(reader *r, const char *suffix, float fallback) {
    char key[96];
    float value = fallback;
    if (r->status == CLLA_OK) r->status = gguf_f32_or(r->g, key_of(r, suffix, key), fallback, &value, r->error);
    return value;
}

/* A number that some files give once and some as an array of one value per layer: equal values are one value. */
static uint32_t same_in_every_layer(reader *r, const char *suffix, uint32_t layers, uint32_t fallback) {
    char key[96];
    const gguf_entry *e = gguf_find(r->g, key_of(r, suffix, key));
    if (r->status != CLLA_OK || !e || !e->is_array) return fallback ? u32_or(r, suffix, fallback) : want_u32(r, suffix);
    double first = 0, value = 0;
    for (uint64_t i = 0; i < e->count; i++) {
        bool number = gguf_number_at(r->g, e, i, &value);
        if (i == 0) first = value;
        if (!number || value != first || value < 1 || value > UINT32_MAX)
            r->status = clla_fail(r->error, CLLA_UNSUPPORTED_ARCHITECTURE,
                                  "%s: layers of different sizes are not supported", key);
    }
    if (e->count != layers && r->status == CLLA_OK)
        r->status = clla_fail(r->error, CLLA_BAD_FILE, "%s: want %u values, one per layer, got %llu", key, layers,
                              (unsigned long long)e->count);
    return r->status == CLLA_OK ? (uint32_t)first : 0;
}

static void read_heads(reader *r, hyper *h) {
    uint32_t head_dim = h->heads ? h->width / h->heads : 0;
    h->kv_heads = same_in_every_layer(r, "attention.head_count_kv", h->layers, h->heads ? h->heads : 1);
    h->key_dim = u32_or(r, "attention.key_length", head_dim);
    h->value_dim = u32_or(r, "attention.value_length", head_dim);
}

/* ---- latents -------------------------------------------------------------------------------------------------- */

enum { CHANNELS_LIMIT = 2048 }; /* of the latent, and of its rope key */
_Static_assert(CHANNELS_LIMIT == 2048 && KV_SINKS_MAX == 1024, "as messages say");

static void want(reader *r, bool good, const char *suffix, uint32_t value, const char *wanted) {
    if (r->status == CLLA_OK && !good)
        r->status = clla_fail(r->error, CLLA_BAD_FILE, "%s.%s is %u: want %s", r->a->name, suffix, value, wanted);
}

static void want_items(reader *r, const gguf_entry *e, const char *suffix, uint32_t count, const char *item) {
    if (r->status == CLLA_OK && !(e->is_array && e->count == count))
        r->status = clla_fail(r->error, CLLA_BAD_FILE, "%s.%s: want an array of %u numbers, one for each %s, got %s%llu",
                              r->a->name, suffix, count, item, e->is_array ? "" : "no array but ", (unsigned long long)e->count);
}

/* Layer i reads the latent of layer owner[i], which comes before it and reads its own. */
static void read_owners(reader *r, hyper *h) {
    char key[96];
    const gguf_entry *e = gguf_find(r->g, key_of(r, "attention.kv_owner", key));
    uint32_t layers = h->layers < KV_LAYERS_MAX ? h->layers : KV_LAYERS_MAX;
    for (uint32_t i = 0; i < layers; i++) h->kv.owner[i] = (uint16_t)i;
    if (!e || r->status != CLLA_OK) return;
    want_items(r, e, "attention.kv_owner", h->layers, "layer");
    for (uint32_t i = 0; i < layers && r->status == CLLA_OK; i++) {
        double owner = -1;
        bool known = gguf_number_at(r->g, e, i, &owner) && owner >= 0 && owner <= (double)i && owner == floor(owner);
        if (known) h->kv.owner[i] = (uint16_t)owner;
        if (known && h->kv.owner[h->kv.owner[i]] == h->kv.owner[i]) continue;
        r->status = clla_fail(r->error, CLLA_BAD_FILE, "%s: layer %u cannot read the latent of layer %g: want a layer up to %u "
                              "that reads its own", key, i, owner, i);
    }
}

static bool is_bits(double bits) { return bits == 4 || bits == 8 || bits == 16; }

static void fail_group(reader *r, const hyper *h) {
    r->status = clla_fail(r->error, CLLA_BAD_FILE, "%s.attention.kv_latent_group is %u: want a multiple of %d that divides "
                          "the latent's %u channels into at most %d groups", r->a->name, h->kv.group, KV_GROUP, h->kv.rank,
                          KV_GROUPS_MAX);
}

/* One number for all groups of channels, or one for each. Latents without codes need not consist of whole groups. */
static void read_latent_bits(reader *r, hyper *h) {
    char key[96];
    const gguf_entry *e = gguf_find(r->g, key_of(r, "attention.kv_latent_bits", key));
    uint32_t groups = h->kv.group ? h->kv.rank / h->kv.group + (h->kv.rank % h->kv.group != 0) : 0;
    double bits = e && e->is_array ? 0 : (double)u32_or(r, "attention.kv_latent_bits", 16);
    if (r->status != CLLA_OK) return;
    bool whole = groups > 0 && h->kv.rank % h->kv.group == 0;
    if (groups == 0 || groups > KV_GROUPS_MAX || h->kv.group % KV_GROUP || (!whole && bits != 16)) {
        fail_group(r, h);
        return;
    }
    if (e && e->is_array) want_items(r, e, "attention.kv_latent_bits", groups, "group of channels");
    uint32_t stretches = 1;
    for (uint32_t g = 0; g < groups && r->status == CLLA_OK; g++) {
        if (e && e->is_array && !gguf_number_at(r->g, e, g, &bits)) bits = 0;
        if (is_bits(bits)) h->kv.group_bits[g] = (uint8_t)bits;
        else r->status = clla_fail(r->error, CLLA_BAD_FILE, "%s of group %u is %g: want 16, 8 or 4", key, g, bits);
        stretches += g && h->kv.group_bits[g] != h->kv.group_bits[g - 1];
    }
    if (r->status == CLLA_OK && stretches > 16)
        r->status = clla_fail(r->error, CLLA_BAD_FILE, "%s: the bits change %u times: want at most 15", key, stretches - 1);
}

/* Numbers that follow from others, for tools that know deepseek2: they must agree. */
static void check_same(reader *r, const char *suffix, uint32_t expected) {
    uint32_t value = u32_or(r, suffix, expected);
    if (r->status == CLLA_OK && value != expected)
        r->status = clla_fail(r->error, CLLA_BAD_FILE, "%s.%s is %u: the header's other numbers make it %u", r->a->name, suffix,
                              value, expected);
}

static void read_latent(reader *r, hyper *h) {
    kv_model *kv = &h->kv;
    uint32_t rope_bits = u32_or(r, "attention.rope_key_bits", 16);
    h->key_dim = want_u32(r, "attention.key_length_mla");
    h->value_dim = want_u32(r, "attention.value_length_mla");
    h->kv_heads = h->heads;
    h->q_rank = u32_or(r, "attention.q_lora_rank", 0);
    h->latent_norm = bool_or(r, "attention.kv_latent_norm", true);
    h->own_frequencies = bool_or(r, "rope.own_frequencies", false);
    h->shared_up = bool_or(r, "attention.kv_shared_up", false);
    kv->rank = want_u32(r, "attention.kv_lora_rank");
    kv->rope_dim = u32_or(r, "rope.dimension_count", 0);
    kv->group = u32_or(r, "attention.kv_latent_group", KV_GROUP);
    kv->sinks = u32_or(r, "attention.kv_sink_tokens", 0);
    kv->minimum = !bool_or(r, "attention.kv_latent_symmetric", true);
    kv->rope_bits = (kv_bits)rope_bits;
    want(r, is_bits(rope_bits), "attention.rope_key_bits", rope_bits, "16, 8 or 4");
    want(r, kv->sinks <= KV_SINKS_MAX, "attention.kv_sink_tokens", kv->sinks, "at most 1024");
    want(r, kv->rank >= 1 && kv->rank <= CHANNELS_LIMIT, "attention.kv_lora_rank", kv->rank, "4 to 2048 channels");
    want(r, kv->rope_dim <= CHANNELS_LIMIT, "rope.dimension_count", kv->rope_dim, "at most 2048 channels");
    read_owners(r, h);
    read_latent_bits(r, h);
    check_same(r, "attention.head_count_kv", 1);
    check_same(r, "attention.key_length", kv->rank + kv->rope_dim);
    check_same(r, "attention.value_length", kv->rank);
}

/* Models made for embeddings only: some see what follows a token, too. */
static void read_embedding(reader *r, hyper *h) {
    h->pooling = u32_or(r, "pooling_type", 0);
    if (!bool_or(r, "attention.causal", true) && r->status == CLLA_OK)
        r->status = clla_fail(r->error, CLLA_UNSUPPORTED_ARCHITECTURE, "%s.attention.causal is false: attention in both "
                              "directions is not supported", r->a->name);
}

static void read_sizes(reader *r, hyper *h) {
    h->layers = want_u32(r, "block_count");
    h->width = want_u32(r, "embedding_length");
    h->context = want_u32(r, "context_length");
    h->ff_width = same_in_every_layer(r, "feed_forward_length", h->layers, 0);
    h->heads = same_in_every_layer(r, "attention.head_count", h->layers, 0);
    if (r->a->latent) read_latent(r, h);
    else read_heads(r, h);
    h->norm_epsilon = f32_or(r, "attention.layer_norm_rms_epsilon", 1e-5f);
    h->window = u32_or(r, "attention.sliding_window", 0);
    h->window_pattern = r->a->window_pattern;
    if (r->a->window_pattern) h->window_pattern = u32_or(r, "attention.sliding_window_pattern", h->window_pattern);
    h->embedding_scale = r->a->embedding_scaled ? sqrtf((float)h->width) : 1.0f;
    /* Gemma 3 27B (62 layers) alone scales by width per head: Gemma 3 report, table 1 and its published code. */
    bool by_width = r->a->embedding_scaled && h->layers == 62 && h->heads;
    uint32_t scale_dim = by_width ? h->width / h->heads : h->key_dim;
    h->attention_scale = f32_or(r, "attention.scale", scale_dim ? 1.0f / sqrtf((float)scale_dim) : 0);
}

static void read_scaling(reader *r, hyper *h) {
    char key[96];
    gguf_string kind;
    if (r->status != CLLA_OK) return;
    r->status = gguf_text_or(r->g, key_of(r, "rope.scaling.type", key), "none", &kind, r->error);
    if (r->status != CLLA_OK || gguf_equals(kind, "none")) return;
    bool longrope = r->a->longrope && (gguf_equals(kind, "longrope") || gguf_equals(kind, "su"));
    if (gguf_equals(kind, "linear")) {
        h->rope_scale = 1.0f / f32_or(r, "rope.scaling.factor", 1.0f);
    } else if (!longrope) {
        r->status = clla_fail(r->error, CLLA_UNSUPPORTED_ARCHITECTURE, "%s: rope scaling \"%s\" is not supported", key,
                              gguf_printable(kind).text);
    }
}

static void read_rope(reader *r, hyper *h) {
    h->rope_dim = r->a->latent ? h->kv.rope_dim : u32_or(r, "rope.dimension_count", h->key_dim);
    h->rope_base = f32_or(r, "rope.freq_base", 10000.0f);
    h->rope_scale = 1.0f / f32_or(r, "rope.scale_linear", 1.0f);
    read_scaling(r, h);
    h->rope_base_local = r->a->window_pattern ? f32_or(r, "rope.freq_base_swa", 10000.0f) : h->rope_base;
    h->rope_scale_local = r->a->window_pattern ? 1.0f : h->rope_scale;
    h->rope_magnitude = f32_or(r, "rope.scaling.attn_factor", 1.0f);
    h->rope_original_context = u32_or(r, "rope.scaling.original_context_length", h->context);
    if (r->status == CLLA_OK && u32_or(r, "expert_count", 0) != 0)
        r->status = clla_fail(r->error, CLLA_UNSUPPORTED_ARCHITECTURE, "%s.expert_count: mixtures of experts are not supported",
                              r->a->name);
}

/* Products of two of these stay far below 2^53, so that sizes can be computed without care for overflow. */
enum { SIZE_LIMIT = 1 << 20, LAYER_LIMIT = KV_LAYERS_MAX };

/* Rows of the up-projections are cut by heads, in groups of four (kernels.h). */
static clla_status check_latent(const hyper *h, const char *name, clla_error *error) {
    if (h->rope_dim >= h->key_dim)
        return clla_fail(error, CLLA_BAD_FILE, "%s.rope.dimension_count is %u: a key of %u channels has none left beside it",
                         name, h->rope_dim, h->key_dim);
    if (h->own_frequencies && h->rope_dim == 0)
        return clla_fail(error, CLLA_BAD_FILE, "%s.rope.own_frequencies: there is no rope key", name);
    if (h->own_frequencies && h->rope_scale != 1)
        return clla_fail(error, CLLA_BAD_FILE, "%s.rope.scaling: there are own frequencies, which are not scaled", name);
    if (h->kv.rank % 4)
        return clla_fail(error, CLLA_BAD_FILE, "%s.attention.kv_lora_rank is %u: want a multiple of 4", name, h->kv.rank);
    if (h->value_dim % 4)
        return clla_fail(error, CLLA_BAD_FILE, "%s.attention.value_length_mla is %u: want a multiple of 4", name, h->value_dim);
    if (h->window) return clla_fail(error, CLLA_UNSUPPORTED_ARCHITECTURE, "%s: sliding windows are not supported", name);
    if (h->q_rank > SIZE_LIMIT)
        return clla_fail(error, CLLA_BAD_FILE, "%s.attention.q_lora_rank is %u: want at most %d", name, h->q_rank, SIZE_LIMIT);
    return CLLA_OK;
}

static clla_status check(const hyper *h, const char *name, clla_error *error) {
    bool latent = h->kv.rank > 0;
    const char *key = latent ? "attention.key_length_mla" : "attention.key_length";
    const char *value = latent ? "attention.value_length_mla" : "attention.value_length";
    const struct {
        const char *what;
        uint32_t value, limit;
    } sizes[] = {
        {"block_count", h->layers, LAYER_LIMIT},        {"embedding_length", h->width, SIZE_LIMIT},
        {"feed_forward_length", h->ff_width, SIZE_LIMIT}, {"attention.head_count", h->heads, 4096},
        {"attention.head_count_kv", h->kv_heads, 4096}, {key, h->key_dim, 4096},
        {value, h->value_dim, 4096}, {"context_length", h->context, 1u << 30},
        {"rope.dimension_count", h->rope_dim + latent, 4096}, /* a latent need not have a rope key */
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i].value == 0 || sizes[i].value > sizes[i].limit)
            return clla_fail(error, CLLA_BAD_FILE, "%s.%s is %u: want 1 to %u", name, sizes[i].what, sizes[i].value,
                             sizes[i].limit);
    if (h->heads % h->kv_heads)
        return clla_fail(error, CLLA_BAD_FILE, "%s: %u heads do not divide among %u key/value heads", name, h->heads,
                         h->kv_heads);
    clla_status status = latent ? check_latent(h, name, error) : CLLA_OK;
    if (status != CLLA_OK) return status;
    if (h->rope_dim % 2 || h->rope_dim > h->key_dim)
        return clla_fail(error, CLLA_BAD_FILE, "%s.rope.dimension_count is %u: want an even number up to %u", name,
                         h->rope_dim, h->key_dim);
    const struct {
        const char *what;
        float value;
    } numbers[] = {
        {"rope.freq_base", h->rope_base}, {"rope.freq_base_swa", h->rope_base_local},
        {"rope.scaling", h->rope_scale}, {"rope.scaling.attn_factor", h->rope_magnitude},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (!(numbers[i].value > 0 && isfinite(numbers[i].value)))
            return clla_fail(error, CLLA_BAD_FILE, "%s.%s is not a positive number", name, numbers[i].what);
    if (!(h->attention_scale > 0 && isfinite(h->attention_scale)))
        return clla_fail(error, CLLA_BAD_FILE, "%s.attention.scale is not a positive number", name);
    if (!(h->norm_epsilon >= 0 && h->norm_epsilon < 1))
        return clla_fail(error, CLLA_BAD_FILE, "%s.attention.layer_norm_rms_epsilon is not between 0 and 1", name);
    return CLLA_OK;
}

clla_status hyper_read(const gguf *g, const arch *a, hyper *h, clla_error *error) {
    reader r = {g, a, error, CLLA_OK};
    *h = (hyper){0};
    read_sizes(&r, h);
    read_rope(&r, h);
    read_embedding(&r, h);
    if (r.status == CLLA_OK) r.status = check(h, a->name, error);
    h->kv.layers = h->layers, h->kv.heads = h->kv_heads, h->kv.key_dim = h->key_dim, h->kv.value_dim = h->value_dim;
    for (uint32_t i = 0; !a->latent && i < h->layers && i < KV_LAYERS_MAX; i++) h->kv.owner[i] = (uint16_t)i;
    if (!a->latent) h->kv.group = KV_GROUP;
    return r.status;
}

bool hyper_is_windowed(const hyper *h, uint32_t layer) {
    if (h->window == 0) return false;
    return h->window_pattern == 0 || layer % h->window_pattern != h->window_pattern - 1;
}
