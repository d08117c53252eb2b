/* fuzz_clla.c: models of architecture `clla` whose numbers are what the input says, one byte a number: ranks of 0 or huge,
 * owners in loops, groups that do not divide, tensors that are missing or too long. What the loader accepts must run, with
 * any cache specification that it accepts. An input of zeros is a good model. A mutation changes one number or the
 * specification, or makes the model good again, so that most faults stand alone. Damage to the bytes of such files is
 * fuzz_loader's. */
#include <stdio.h>

#include "../c/latent_plan.h"
#include "arena.h"
#include "clla.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

enum { PLAN_BYTES = 29 + PLAN_LAYERS + PLAN_GROUPS, SPEC_TEXT = 64 }; /* that plan_of and the choice of a specification read */

static void need(bool truth, const char *what) {
    if (truth) return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

/* ---- from bytes to a plan ------------------------------------------------------------------------------------ */

typedef struct input {
    const uint8_t *data;
    size_t left;
} input;

static uint32_t next(input *in) {
    if (in->left == 0) return 0;
    in->left--;
    return *in->data++;
}

/* Small numbers as they are, then those that are often wrong; 0 keeps what was there. */
static void choose(input *in, uint32_t *number) {
    static const uint32_t numbers[] = {0,   48,  64,       96,       127,      128,      129,      255,     256,        512,
                                       513, 1023, 1024, 2048, 2049, 4096, 1u << 16, 1u << 20, 1u << 31, UINT32_MAX};
    uint32_t byte = next(in), count = sizeof numbers / sizeof numbers[0];
    if (byte == 0) return;
    *number = byte >= 256 - count ? numbers[byte - (256 - count)] : byte <= 160 ? byte : (byte - 160) * 32;
}

/* Bits that can be, more often than not. */
static void choose_bits(input *in, uint32_t *bits) {
    if (in->left && *in->data % 4) *bits = 4u << next(in) % 3;
    else choose(in, bits);
}

static bool flag(input *in) { return next(in) % 2; }

static const char *choose_name(input *in) {
    static const char *const names[] = {
        "blk.0.attn_q.weight", "blk.0.attn_kv_a_mqa.weight", "blk.0.attn_kv_a_norm.weight", "blk.1.attn_k_b.weight",
        "blk.0.attn_v_b.weight", "blk.0.rope_freqs.weight", "blk.1.attn_output.weight", "blk.0.attn_q_a.weight",
        "blk.1.attn_q_b.weight", "attention.kv_lora_rank", "attention.kv_latent_group", "attention.kv_latent_bits",
        "rope.dimension_count", "attention.value_length_mla", "token_embd.weight", "output_norm.weight",
    };
    uint32_t byte = next(in);
    return byte >= 240 ? names[byte - 240] : NULL;
}

static latent_plan plan_of(input *in) {
    static const tensor_type types[] = {TENSOR_F16, TENSOR_F32, TENSOR_BF16, TENSOR_Q8_0, TENSOR_Q4_0, TENSOR_Q4_1, TENSOR_IQ4_NL};
    latent_plan p = latent_plan_good();
    p.layers = p.owners = 2, p.rank = 32, p.ff = 4; /* small, so that many are tried */
    uint32_t *const numbers[] = {&p.width, &p.heads, &p.rank, &p.rope, &p.key, &p.value, &p.ff, &p.q_rank, &p.group, &p.sinks, &p.context,
                                 &p.owners, &p.bits_items, &p.kv_heads_told, &p.key_told, &p.value_told};
    choose(in, &p.layers), p.owners = p.layers;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) choose(in, numbers[i]);
    choose_bits(in, &p.bits), choose_bits(in, &p.rope_bits);
    for (uint32_t i = 0; i < PLAN_LAYERS; i++) p.owner[i] = i / 2 * 2, choose(in, &p.owner[i]);
    for (uint32_t i = 0; i < PLAN_GROUPS; i++) p.group_bits[i] = 4u << i % 3, choose_bits(in, &p.group_bits[i]);
    p.minimum = flag(in), p.no_norm = flag(in), p.shared_up = flag(in), p.own_frequencies = flag(in);
    uint32_t scale = next(in);
    p.scale = scale ? (float)scale / 64 - 1 : 0;
    p.type = types[next(in) % 7];
    p.without = choose_name(in), p.longer = choose_name(in);
    p.seed = next(in);
    if (p.owners > PLAN_ROWS) p.owners = PLAN_ROWS; /* items that are written */
    if (p.bits_items > PLAN_ROWS) p.bits_items = PLAN_ROWS;
    return p;
}

/* Each byte an item of a specification or, beyond those, a letter. */
static void choose_spec(input *in, char text[SPEC_TEXT]) {
    static const char *const items[] = {
        "", ",clla", ",f32", ",f16", ",q8", ",q4", ",width=heads", ",width=latent", ",depth=own", ",depth=shared", ",length=all", ",bits=32",
        ",bits=16", ",bits=8", ",bits=4", ",rope=32", ",rope=16", ",rope=8", ",rope=4", ",sym", ",min", ",group=32", ",group=64", ",group=96",
        ",sinks=0", ",sinks=1", ",sinks=7", ",sinks=1024",
    };
    for (size_t length = 0; in->left && length + 16 < SPEC_TEXT; length = strlen(text)) {
        uint32_t byte = next(in);
        if (byte >= sizeof items / sizeof items[0]) text[length] = (char)byte;
        else strcat(text, items[byte] + (length == 0 && byte > 0)); /* no comma before the first */
    }
}

/* ---- what an accepted model must do -------------------------------------------------------------------------- */

static void run(clla_model *model, const char *kv) {
    clla_session_options options = {.context = 20, .kv = kv, .chunk = 5};
    clla_session_size bytes;
    clla_session *session = NULL, *fork = NULL;
    const float *logits = NULL;
    clla_error error = {{0}};
    int32_t ids[15];
    for (int32_t i = 0; i < 15; i++) ids[i] = i * 13 % TINY_VOCABULARY;
    if (clla_session_bytes(model, &options, &bytes, &error)) return need(error.text[0], "a specification or a reason");
    if (bytes.cache + bytes.scratch > 1 << 26) return;
    size_t before = memory_in_use();
    if (clla_session_create(model, &options, &session, &error)) return need(error.text[0], "a session or a reason");
    need(memory_in_use() - before == bytes.cache + bytes.scratch, "as many bytes as were told");
    need(!clla_session_eval(session, ids, 8, &logits, &error) && logits, "a chunk and more");
    need(!clla_session_truncate(session, 5, &error), "truncate");
    need(!clla_session_fork(session, &fork, &error), "fork");
    need(!clla_session_eval(session, ids, 1, &logits, &error), "decode");
    need(!clla_session_eval(fork, ids, 15, &logits, &error), "to the end of the context");
    clla_session_free(session), clla_session_free(fork);
}

static clla_model *load(const gguf_writer *w) {
    clla_loader *loader = NULL;
    clla_model *model = NULL;
    clla_error error = {{0}};
    need(!clla_loader_create(&(clla_model_options){.memory_limit = 1 << 24}, &loader, &error), "a loader");
    clla_status status = clla_loader_feed(loader, w->bytes, w->size, &error);
    clla_status last = clla_loader_finish(loader, &model, &error);
    need(!status || last == status, "failures are final");
    need(!last == !!model && (model || error.text[0]), "a model or a reason");
    return model;
}

/* The plan, one of several specifications, and one that is made up. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static gguf_writer w;
    static const char *const specs[] = {NULL, "f16", "f32", "q8", "q4", "width=heads,f32", "width=heads,q4,min", "bits=4,min,rope=4,sinks=3"};
    size_t before = memory_in_use();
    input in = {data, size};
    latent_plan p = plan_of(&in);
    char text[SPEC_TEXT] = {0};
    latent_plan_write(&w, &p);
    clla_model *model = load(&w);
    writer_close(&w);
    if (model) {
        run(model, specs[next(&in) % 8]);
        choose_spec(&in, text);
        if (text[0]) run(model, text);
        clla_model_free(model);
    }
    need(memory_in_use() == before, "nothing leaks");
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    if (max_size < PLAN_BYTES) return LLVMFuzzerMutate(data, size, max_size);
    if (size < PLAN_BYTES) memset(data + size, 0, PLAN_BYTES - size), size = PLAN_BYTES;
    if (seed % 8 == 0) return PLAN_BYTES + LLVMFuzzerMutate(data + PLAN_BYTES, size - PLAN_BYTES, max_size - PLAN_BYTES);
    if (seed % 16 == 1) memset(data, 0, PLAN_BYTES); /* back to a model that is good */
    else data[seed / 8 % PLAN_BYTES] = seed % 16 == 9 ? 0 : (uint8_t)(seed >> 16);
    return size;
}
