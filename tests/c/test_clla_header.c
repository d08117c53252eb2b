/* test_clla_header.c: headers of architecture `clla` that cannot be are refused with a sentence that names the place; all
 * that can be runs. */
#include "test.h"

#include "arena.h"
#include "latent_plan.h"
#include "load.h"

static gguf_writer writer; /* large, therefore not on the stack */

typedef struct refusal {
    const char *words; /* of the sentence */
    latent_plan plan;
} refusal;

static void expect(const latent_plan *p, clla_status wanted, const char *words) {
    clla_model *model = NULL;
    clla_error error = {{0}};
    size_t before = memory_in_use();
    latent_plan_write(&writer, p);
    clla_status status = load_bytes(writer.bytes, writer.size, 1, &model, &error);
    CHECK(status == wanted, "want %s (%s), got %s: %s", clla_status_name(wanted), words, clla_status_name(status), error.text);
    CHECK(status == CLLA_OK || strstr(error.text, words), "\"%s\" does not say \"%s\"", error.text, words);
    clla_model_free(model);
    CHECK(memory_in_use() == before, "%s: %zu bytes leaked", words, memory_in_use() - before);
    writer_close(&writer);
}

/* The good plan with one thing changed is refused. */
#define REFUSED(words, ...)                                                                                                    \
    do {                                                                                                                       \
        latent_plan p = latent_plan_good();                                                                                    \
        __VA_ARGS__;                                                                                                           \
        expect(&p, CLLA_BAD_FILE, words);                                                                                      \
    } while (0)

static void test_sizes(void) {
    REFUSED("kv_lora_rank", p.without = "attention.kv_lora_rank");
    REFUSED("key_length_mla", p.without = "attention.key_length_mla");
    REFUSED("value_length_mla", p.without = "attention.value_length_mla");
    REFUSED("kv_lora_rank is 0: want 4 to 2048 channels", p.rank = 0);
    REFUSED("latent's 36 channels", p.rank = 36);
    REFUSED("latent's 33 channels", p.rank = 33);
    REFUSED("kv_lora_rank is 4096: want 4 to 2048 channels", p.rank = 4096);
    REFUSED("kv_lora_rank is 4294967264: want 4 to 2048 channels", p.rank = UINT32_MAX / 32 * 32);
    REFUSED("rope.dimension_count is 2147483648: want at most 2048 channels", p.rope = 1u << 31);
    REFUSED("rope.dimension_count is 7", p.rope = 7);
    REFUSED("has none left beside it", p.rope = 24);
    REFUSED("has none left beside it", p.rope = 26);
    REFUSED("key_length_mla is 0: want 1 to 4096", p.key = 0);
    REFUSED("key_length_mla is 1048576: want 1 to 4096", p.key = 1u << 20);
    REFUSED("value_length_mla is 0: want 1 to 4096", p.value = 0);
    REFUSED("multiple of 4", p.value = 18);
    REFUSED("head_count", p.heads = 0);
    REFUSED("head_count", p.heads = 1u << 30);
    REFUSED("block_count", p.layers = 0, p.owners = 0);
    REFUSED("kv_owner: want an array of 2000 numbers, one for each layer, got 4", p.layers = 2000);
    REFUSED("block_count", p.layers = 2000, p.owners = 0);
    REFUSED("q_lora_rank", p.q_rank = UINT32_MAX);
}

static void test_owners(void) {
    REFUSED("kv_owner: want an array of 4 numbers, one for each layer, got 3", p.owners = 3);
    REFUSED("kv_owner: want an array of 4 numbers, one for each layer, got 5", p.owners = 5);
    REFUSED("layer 0 cannot read the latent of layer 1", p.owner[0] = 1, p.owner[1] = 0);
    REFUSED("layer 1 cannot read the latent of layer 2", p.owner[1] = 2);
    REFUSED("layer 3 cannot read the latent of layer 1", p.owner[3] = 1);
    REFUSED("layer 2 cannot read the latent of layer -1", p.owner[2] = UINT32_MAX);
    REFUSED("layer 3 cannot read the latent of layer 65536", p.owner[3] = 65536);
}

/* Latents of so many groups, of 4 and 8 bits in turns. */
static void alternate(latent_plan *p, uint32_t groups) {
    p->rank = groups * p->group, p->bits_items = groups;
    for (uint32_t i = 0; i < groups; i++) p->group_bits[i] = 4u << i % 2;
}

static void test_bits(void) {
    REFUSED("kv_latent_group is 0", p.group = 0);
    REFUSED("kv_latent_group is 48", p.group = 48, p.rank = 96);
    REFUSED("kv_latent_group is 64", p.group = 64, p.rank = 96);
    REFUSED("kv_lora_rank is 37: want a multiple of 4", p.bits = 16, p.rank = 37);
    REFUSED("kv_latent_group is 32", p.rank = 40);
    REFUSED("kv_latent_group is 32", p.rank = 40, p.bits_items = 2, p.group_bits[0] = p.group_bits[1] = 16);
    REFUSED("kv_latent_group is 4294967264", p.group = UINT32_MAX / 32 * 32);
    REFUSED("kv_latent_bits of group 0 is 5: want 16, 8 or 4", p.bits = 5);
    REFUSED("kv_latent_bits of group 0 is 0: want 16, 8 or 4", p.bits = 0);
    REFUSED("kv_latent_bits of group 0 is 260: want 16, 8 or 4", p.bits = 260);
    REFUSED("kv_latent_bits of group 1 is 32: want 16, 8 or 4", p.bits_items = 2, p.group_bits[0] = 4, p.group_bits[1] = 32);
    REFUSED("kv_latent_bits of group 1 is -1: want 16, 8 or 4", p.bits_items = 2, p.group_bits[0] = 4, p.group_bits[1] = UINT32_MAX);
    REFUSED("kv_latent_bits: want an array of 2 numbers, one for each group of channels, got 1", p.bits_items = 1, p.group_bits[0] = 4);
    REFUSED("one for each group of channels, got 3", p.bits_items = 3, p.group_bits[0] = p.group_bits[1] = p.group_bits[2] = 8);
    REFUSED("rope_key_bits is 32: want 16, 8 or 4", p.rope_bits = 32);
    REFUSED("rope_key_bits is 4294967295: want 16, 8 or 4", p.rope_bits = UINT32_MAX);
    REFUSED("kv_sink_tokens is 1048576: want at most 1024", p.sinks = 1u << 20);
    REFUSED("kv_latent_bits: the bits change 16 times: want at most 15", alternate(&p, 17));
}

static void test_rest(void) {
    REFUSED("head_count_kv is 2", p.kv_heads_told = 2);
    REFUSED("key_length is 24", p.key_told = 24);
    REFUSED("value_length is 72", p.value_told = 72);
    REFUSED("there is no rope key", p.rope = 0, p.own_frequencies = true);
    REFUSED("own frequencies, which are not scaled", p.own_frequencies = true, p.rope_linear = 4);
    REFUSED("rope_freqs.weight: the architecture clla has no such tensor", p.own_frequencies = true, p.global_frequencies = true);
    REFUSED("attention.scale", p.scale = -1);
    REFUSED("attention.scale", p.scale = INFINITY);
    REFUSED("rope.freq_base", p.rope_base = -1);
}

static void test_tensors(void) {
    static const char *const names[] = {"attn_q", "attn_kv_a_mqa", "attn_kv_a_norm", "attn_k_b", "attn_v_b", "rope_freqs", "attn_output"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.2.%s.weight", names[i]);
        REFUSED(name, p.own_frequencies = true, p.without = name);
        REFUSED(name, p.own_frequencies = true, p.longer = name);
    }
    REFUSED("blk.1.attn_q_a_norm.weight", p.q_rank = 20, p.without = "blk.1.attn_q_a_norm.weight");
    REFUSED("blk.3.attn_q_b.weight", p.q_rank = 20, p.longer = "blk.3.attn_q_b.weight");
    REFUSED("blk.3.attn_k_b.weight", p.without = "blk.3.attn_k_b.weight"); /* a reader's own */
}

/* ---- what can be --------------------------------------------------------------------------------------------- */

static void run(const latent_plan *p, const char *kv) {
    clla_session *session = NULL;
    clla_session_size size;
    clla_error error = {{0}};
    const float *logits;
    int32_t ids[20];
    latent_plan_write(&writer, p);
    clla_model *m = load_writer(&writer, 1);
    writer_close(&writer);
    CHECK(m, "%s: no model", kv);
    if (!m) return;
    for (int i = 0; i < 20; i++) ids[i] = 10 + i * 7;
    clla_session_options options = {.context = 32, .kv = kv};
    CHECK(clla_session_bytes(m, &options, &size, &error) == CLLA_OK, "%s: %s", kv, error.text);
    CHECK(clla_session_create(m, &options, &session, &error) == CLLA_OK, "%s: %s", kv, error.text);
    CHECK(clla_session_eval(session, ids, 20, &logits, &error) == CLLA_OK && isfinite(logits[0]), "%s: %s", kv, error.text);
    clla_session_free(session);
    clla_model_free(m);
}

#define RUNS(kv, ...)                                                                                                          \
    do {                                                                                                                       \
        latent_plan p = latent_plan_good();                                                                                    \
        __VA_ARGS__;                                                                                                           \
        run(&p, kv);                                                                                                           \
    } while (0)

static void test_good(void) {
    RUNS("clla", p.kv_heads_told = 1, p.key_told = 72, p.value_told = 64);
    RUNS("clla", p.owners = 0);
    RUNS("clla", p.owner[3] = 0);
    RUNS("clla", p.rope = 0, p.key = 16, p.rope_bits = 4);
    RUNS("clla", p.rope = 22, p.rope_bits = 4);
    RUNS("clla", p.rank = 32, p.key = 10, p.value = 4);
    RUNS("clla", p.rank = 512, p.width = 20, p.heads = 1);
    RUNS("clla", p.rank = 256, p.group = 256, p.minimum = true);
    RUNS("clla", p.bits_items = 2, p.group_bits[0] = 16, p.group_bits[1] = 4);
    RUNS("clla", alternate(&p, 16));
    RUNS("clla", p.bits = 16, p.rope_bits = 16, p.sinks = 5);
    RUNS("clla", p.bits = 16, p.rope_bits = 16, p.rank = 8);
    RUNS("clla", p.bits = 16, p.rank = 40, p.group = 64);
    RUNS("bits=16", p.bits = 16, p.rank = 36);
    RUNS("width=heads,q8", p.bits = 16, p.rank = 8);
    RUNS("clla", p.sinks = 1024);
    RUNS("clla", p.type = TENSOR_Q8_0, p.key = 40, p.value = 16);
    RUNS("f32", p.q_rank = 3);
    RUNS("clla", p.rope_linear = 4, p.global_frequencies = true);
    RUNS("clla", p.own_frequencies = true, p.rope_linear = 1, p.rope_base = 500);
    RUNS("q8,sinks=4", p.shared_up = true, p.own_frequencies = true);
    RUNS("bits=4,min,group=64,rope=4", p.no_norm = true);
    RUNS("width=heads,q4,min", p.key = 72, p.rope = 40);
    RUNS("width=heads,q8", p.shared_up = true);
}

int main(void) {
    RUN("clla header: sizes that are missing, 0, odd or huge are refused", test_sizes);
    RUN("clla header: owners that are loops, later layers or readers are refused", test_owners);
    RUN("clla header: bits and groups that do not fit are refused", test_bits);
    RUN("clla header: numbers that contradict others are refused", test_rest);
    RUN("clla header: tensors that are missing or of another shape are refused by name", test_tensors);
    RUN("clla header: all that fits runs", test_good);
    return test_report();
}
