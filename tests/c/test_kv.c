/* test_kv.c: the cache's specification, to and from its string, and the quantizer, held against a plain one that is
 * written here after the definition in bits.h. The storage is test_kv_cache.c's. */
#include "test.h"

#include "kv/bits.h"
#include "kv_models.h"
#include "ref.h"

/* ---- specifications ------------------------------------------------------------------------------------------ */

static void items_mean_what_they_say(void) {
    const struct {
        const kv_model *model;
        const char *typed, *printed; /* the short form */
        kv_spec spec;
    } cases[] = {
        {&heads_model, "", "f16", {KV_HEADS, KV_F16, KV_F16, false, 32, 0}},
        {&heads_model, "f16", "f16", {KV_HEADS, KV_F16, KV_F16, false, 32, 0}},
        {&heads_model, "f32", "f32", {KV_HEADS, KV_F32, KV_F16, false, 32, 0}},
        {&heads_model, "q8", "q8", {KV_HEADS, KV_Q8, KV_F16, false, 32, 0}},
        {&heads_model, "q8_0", "q8", {KV_HEADS, KV_Q8, KV_F16, false, 32, 0}},
        {&heads_model, "q4", "q4", {KV_HEADS, KV_Q4, KV_F16, false, 32, 0}},
        {&heads_model, "q4_0", "q4", {KV_HEADS, KV_Q4, KV_F16, false, 32, 0}},
        {&heads_model, "bits=32", "f32", {KV_HEADS, KV_F32, KV_F16, false, 32, 0}},
        {&heads_model, "bits=16", "f16", {KV_HEADS, KV_F16, KV_F16, false, 32, 0}},
        {&heads_model, "bits=8", "q8", {KV_HEADS, KV_Q8, KV_F16, false, 32, 0}},
        {&heads_model, "width=heads+depth=own,length=all,bits=4", "q4", {KV_HEADS, KV_Q4, KV_F16, false, 32, 0}},
        {&heads_model, "q4,sym", "q4", {KV_HEADS, KV_Q4, KV_F16, false, 32, 0}},
        {&heads_model, "min+q4", "q4,min", {KV_HEADS, KV_Q4, KV_F16, true, 32, 0}},
        {&heads_model, "sinks=7,group=64,q4,min", "q4,min,group=64,sinks=7", {KV_HEADS, KV_Q4, KV_F16, true, 64, 7}},
        {&heads_model, "q8,group=32,sinks=0", "q8", {KV_HEADS, KV_Q8, KV_F16, false, 32, 0}},
        {&heads_model, "q8,sinks=1024", "q8,sinks=1024", {KV_HEADS, KV_Q8, KV_F16, false, 32, 1024}},
        {&heads_model, "f16,sinks=0", "f16", {KV_HEADS, KV_F16, KV_F16, false, 32, 0}},
        {&uneven_model, "q8,group=32", "q8", {KV_HEADS, KV_Q8, KV_F16, false, 32, 0}},
        {&mla_model, NULL, "clla", {KV_LATENT, KV_F16, KV_F16, false, 32, 0}},
        {&mla_model, "f16", "clla", {KV_LATENT, KV_F16, KV_F16, false, 32, 0}},
        {&mla_model, "q4", "bits=4,rope=8", {KV_LATENT, KV_Q4, KV_Q8, false, 32, 0}},
        {&mla_model, "depth=own,rope=8,sinks=2", "rope=8,sinks=2", {KV_LATENT, KV_F16, KV_Q8, false, 32, 2}},
        {&pairs_model, "", "clla", {KV_LATENT, KV_Q4, KV_Q8, false, 32, 0}},
        {&pairs_model, "clla", "clla", {KV_LATENT, KV_Q4, KV_Q8, false, 32, 0}},
        {&pairs_model, "q4", "clla", {KV_LATENT, KV_Q4, KV_Q8, false, 32, 0}},
        {&pairs_model, "q4,rope=4", "rope=4", {KV_LATENT, KV_Q4, KV_Q4, false, 32, 0}},
        {&pairs_model, "rope=16,q8", "bits=8,rope=16", {KV_LATENT, KV_Q8, KV_F16, false, 32, 0}},
        {&pairs_model, "width=latent,depth=shared,length=all,bits=4,rope=8", "clla", {KV_LATENT, KV_Q4, KV_Q8, false, 32, 0}},
        {&pairs_model, "f32", "bits=32,rope=32", {KV_LATENT, KV_F32, KV_F32, false, 32, 0}},
        {&pairs_model, "q8", "bits=8", {KV_LATENT, KV_Q8, KV_Q8, false, 32, 0}},
        {&pairs_model, "clla,rope=4,min,group=128,sinks=3", "rope=4,min,group=128,sinks=3", {KV_LATENT, KV_Q4, KV_Q4, true, 128, 3}},
        {&pairs_model, "width=heads", "width=heads,f16", {KV_HEADS, KV_F16, KV_F16, false, 32, 0}},
        {&pairs_model, "width=heads,depth=own,q4,group=96", "width=heads,q4,group=96", {KV_HEADS, KV_Q4, KV_F16, false, 96, 0}},
        {&mixed_model, "", "clla", {KV_LATENT, KV_MIXED, KV_Q4, false, 32, 4}},
        {&mixed_model, "sinks=0,min", "min,sinks=0", {KV_LATENT, KV_MIXED, KV_Q4, true, 32, 0}},
        {&mixed_model, "f16", "bits=16,rope=16", {KV_LATENT, KV_F16, KV_F16, false, 32, 0}},
        {&mixed_model, "bits=4,group=160", "bits=4,group=160", {KV_LATENT, KV_Q4, KV_Q4, false, 160, 4}},
        {&minimum_model, "", "clla", {KV_LATENT, KV_Q4, KV_Q4, true, 64, 0}},
        {&minimum_model, "sym", "sym", {KV_LATENT, KV_Q4, KV_Q4, false, 64, 0}},
        {&minimum_model, "bits=8", "bits=8", {KV_LATENT, KV_Q8, KV_Q4, false, 64, 0}},
        {&minimum_model, "f16", "bits=16,rope=16", {KV_LATENT, KV_F16, KV_F16, false, 32, 0}},
        {&fourless_model, "", "clla", {KV_LATENT, KV_MIXED, KV_Q8, false, 32, 0}},
        {&fourless_model, "rope=4", "rope=4", {KV_LATENT, KV_MIXED, KV_Q4, false, 32, 0}},
        {&fourless_model, "q4", "bits=4", {KV_LATENT, KV_Q4, KV_Q8, true, 32, 0}},
        {&bare_model, "clla", "clla", {KV_LATENT, KV_Q8, KV_F16, false, 32, 0}},
        {&bare_model, "q4", "bits=4", {KV_LATENT, KV_Q4, KV_F16, false, 32, 0}},
        {&bare_model, "f32", "bits=32", {KV_LATENT, KV_F32, KV_F16, false, 32, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kv_spec spec;
        clla_error error = {{0}};
        char text[KV_SPEC_TEXT];
        const char *typed = cases[i].typed ? cases[i].typed : "(null)";
        CHECK(kv_spec_parse(cases[i].typed, cases[i].model, &spec, &error) == CLLA_OK, "%s: %s", typed, error.text);
        CHECK(kv_spec_equal(&spec, &cases[i].spec), "case %zu, %s: bits %d, rope %d, min %d, group %u, sinks %u", i, typed,
              (int)spec.bits, (int)spec.rope_bits, spec.minimum, spec.group, spec.sinks);
        kv_spec_print(&spec, cases[i].model, text);
        CHECK(strcmp(text, cases[i].printed) == 0, "case %zu: %s is printed as %s, not %s", i, typed, text, cases[i].printed);
    }
}

/* What is printed of a text parses to the same, and is printed alike. False where this model refuses the text. */
static bool round_trips(const char *text, const kv_model *m) {
    char again[KV_SPEC_TEXT], twice[KV_SPEC_TEXT];
    kv_spec spec, read;
    clla_error error = {{0}};
    if (kv_spec_parse(text, m, &spec, &error) != CLLA_OK) {
        CHECK(error.text[0], "%s: refused without a reason", text);
        return false;
    }
    kv_spec_print(&spec, m, again);
    CHECK(kv_spec_parse(again, m, &read, &error) == CLLA_OK, "%s is printed as %s: %s", text, again, error.text);
    CHECK(kv_spec_equal(&spec, &read), "%s is printed as %s, which is another one", text, again);
    kv_spec_print(&read, m, twice);
    CHECK(strcmp(again, twice) == 0, "%s, then %s", again, twice);
    return true;
}

/* Every combination of items, in the order of the axes. Returns how many this model has. */
static int all_combinations(const kv_model *m) {
    static const char *const axes[][11] = {
        {"", "clla", "f32", "f16", "q8", "q8_0", "q4", "q4_0", NULL},
        {"", "width=heads", "width=latent", NULL},
        {"", "depth=own", "depth=shared", NULL},
        {"", "bits=32", "bits=16", "bits=8", "bits=4", NULL},
        {"", "rope=32", "rope=16", "rope=8", "rope=4", NULL},
        {"", "sym", "min", NULL},
        {"", "group=32", "group=64", "group=128", NULL},
        {"", "sinks=0", "sinks=1", "sinks=1000", NULL},
    };
    enum { AXES = sizeof axes / sizeof *axes };
    int at[AXES] = {0}, parsed = 0, axis;
    do {
        char text[256] = "";
        for (axis = 0; axis < AXES; axis++)
            if (at[axis]) strcat(strcat(text, *text ? "," : ""), axes[axis][at[axis]]);
        parsed += round_trips(text, m);
        for (axis = 0; axis < AXES && !axes[axis][++at[axis]]; axis++) at[axis] = 0;
    } while (axis < AXES);
    return parsed;
}

static void printed_specs_parse_to_themselves(void) {
    for (int i = 0; i < KV_MODELS; i++) {
        int parsed = all_combinations(kv_models[i]);
        CHECK(parsed >= 100, "model %d: %d specifications only", i, parsed);
    }
}

/* A model as some header may have it. */
static kv_model random_model(ref_random *r) {
    static const uint8_t bits[] = {4, 8, 16};
    kv_model m = {.layers = 1 + ref_next(r) % 6, .heads = 1 + ref_next(r) % 9, .key_dim = 4 + ref_next(r) % 200, .value_dim = 4 + ref_next(r) % 200};
    m.group = KV_GROUP;
    for (uint32_t i = 0; i < m.layers; i++) m.owner[i] = (uint16_t)i;
    if (ref_next(r) % 4 == 0) return m;
    uint32_t groups = 1 + ref_next(r) % 8, same = ref_next(r) % 2, share = 1 + ref_next(r) % 3, first = ref_next(r);
    m.group *= 1 + ref_next(r) % 3, m.rank = groups * m.group, m.rope_dim = ref_next(r) % 3 ? 2 + ref_next(r) % 40 * 2 : 0;
    m.rope_bits = (kv_bits)bits[ref_next(r) % 3], m.minimum = ref_next(r) % 2, m.sinks = ref_next(r) % 2 ? ref_next(r) % 1025 : 0;
    for (uint32_t i = 0; i < groups; i++) m.group_bits[i] = bits[(same ? first : ref_next(r)) % 3];
    for (uint32_t i = 0; i < m.layers; i++) m.owner[i] = (uint16_t)(i / share * share);
    return m;
}

/* Some items, in any order, with numbers that fit and some that do not. */
static void random_text(ref_random *r, char text[256]) {
    static const char *const items[] = {"clla", "f32", "f16", "q8", "q4", "width=heads", "width=latent", "depth=own", "depth=shared", "length=all",
                                        "bits=32", "bits=16", "bits=8", "bits=4", "rope=32", "rope=16", "rope=8", "rope=4", "sym", "min"};
    enum { ITEMS = sizeof items / sizeof *items };
    size_t length = 0;
    for (uint32_t n = 1 + ref_next(r) % 5; n > 0; n--) {
        const char *joint = length == 0 ? "" : ref_next(r) % 2 ? "," : "+";
        uint32_t item = ref_next(r) % (ITEMS + 4), group = 32 * (ref_next(r) % 9), sinks = ref_next(r) % 1030;
        if (item < ITEMS) length += (size_t)sprintf(text + length, "%s%s", joint, items[item]);
        else if (item % 2) length += (size_t)sprintf(text + length, "%sgroup=%u", joint, group);
        else length += (size_t)sprintf(text + length, "%ssinks=%u", joint, sinks);
    }
}

static void random_specs_round_trip_for_random_models(void) {
    ref_random random = {11};
    int parsed = 0;
    for (int i = 0; i < 400; i++) {
        kv_model m = random_model(&random);
        CHECK(round_trips("", &m), "model %d: no default", i);
        for (int k = 0; k < 200; k++) {
            char text[256];
            random_text(&random, text);
            parsed += round_trips(text, &m);
        }
    }
    CHECK(parsed >= 10000, "%d specifications only", parsed);
}

static void refusals_tell_why(void) {
    const struct {
        const kv_model *model;
        const char *typed, *why;
    } cases[] = {
        {&heads_model, "q3", "\"q3\" is not one of f32, f16, q8, q4, clla, width=heads|latent"},
        {&heads_model, ",", "\"\" is not one of"},
        {&heads_model, "q8,", "\"\" is not one of"},
        {&heads_model, "q8 ", "\"q8 \" is not one of"},
        {&heads_model, "Q8", "\"Q8\" is not one of"},
        {&heads_model, "bits=2", "\"bits=2\" is not one of"},
        {&heads_model, "length=512", "\"length=512\" is not one of"},
        {&heads_model, "group=", "\"group=\": want a multiple of 32"},
        {&heads_model, "group=3x", "\"group=3x\": want a multiple of 32"},
        {&heads_model, "sinks=-1", "\"sinks=-1\": want how many tokens, a whole number of at most 1024"},
        {&heads_model, "q4,sinks=1000000", "\"sinks=1000000\": want how many tokens, a whole number of at most 1024"},
        {&heads_model, "sinks=4294967296", "\"sinks=4294967296\": want how many"},
        {&heads_model, "sinks=", "\"sinks=\": want how many"},
        {&heads_model, "group=1000032", "\"group=1000032\": want a multiple of 32, at most the channels of a row"},
        {&heads_model, "sinks", "\"sinks\" is not one of"},
        {&heads_model, "q8,q8", "\"q8\" settles what another item has settled"},
        {&heads_model, "q8,bits=4", "\"bits=4\" settles"},
        {&pairs_model, "rope=4,f16,rope=8", "\"rope=8\" settles"},
        {&pairs_model, "clla,q4", "\"q4\" settles"},
        {&pairs_model, "clla,width=heads", "\"width=heads\" settles"},
        {&heads_model, "q4,sym+min", "\"min\" settles"},
        {&heads_model, "q8,sinks=1,sinks=1", "\"sinks=1\" settles"},
        {&heads_model, "q8,group=32,group=64", "\"group=64\" settles"},
        {&heads_model, "clla", "the model has no latents: its width is heads"},
        {&heads_model, "width=latent", "the model has no latents"},
        {&heads_model, "depth=shared", "depth=shared needs width=latent"},
        {&pairs_model, "width=heads,depth=shared", "depth=shared needs width=latent"},
        {&mla_model, "depth=shared", "every layer of the model owns its row: depth is own"},
        {&pairs_model, "depth=own", "layers of the model share their latents and have none of their own: depth is shared"},
        {&heads_model, "bits=8,rope=8", "the width is heads"},
        {&pairs_model, "width=heads,rope=8", "the width is heads"},
        {&bare_model, "rope=8", "the model has no rope key beside its latent"},
        {&heads_model, "min", "add bits=4"},
        {&heads_model, "q8,sym", "add bits=4"},
        {&mla_model, "min", "add bits=4"},
        {&fourless_model, "min", "add bits=4"},
        {&fourless_model, "rope=4,sym", "sym and min are ways of 4-bit codes (rope keys are always sym): add bits=4"},
        {&heads_model, "f16,group=32", "groups share a scale: add bits=8 or bits=4"},
        {&mla_model, "rope=8,group=64", "groups share a scale"},
        {&mixed_model, "group=160", "the model gives bits group by group"},
        {&heads_model, "q4,group=0", "group=0: want a multiple of 32, at most the 64 channels"},
        {&heads_model, "q4,group=48", "group=48: want a multiple of 32, at most the 64 channels"},
        {&heads_model, "q4,group=96", "group=96: want a multiple of 32, at most the 64 channels"},
        {&pairs_model, "group=96", "group=96 does not divide the latent's 128 channels"},
        {&pairs_model, "group=256", "group=256: want a multiple of 32, at most the 128 channels"},
        {&heads_model, "sinks=4", "all tokens have 16 or more"},
        {&pairs_model, "f16,sinks=4", "all tokens have 16 or more"},
        {&pairs_model, "f32,sinks=4", "all tokens have 16 or more"},
        {&pairs_model, "rope=32,sinks=4", "the others have 32 in part"},
        {&pairs_model, "f32,rope=8,sinks=4", "the others have 32 in part"},
        {&heads_model, "q8,sinks=1025", "sinks=1025: want at most 1024 tokens"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kv_spec spec;
        clla_error error = {{0}};
        clla_status status = kv_spec_parse(cases[i].typed, cases[i].model, &spec, &error);
        CHECK(status == CLLA_BAD_KV_SPEC && strstr(error.text, cases[i].why), "%s: %s: %s, not %s", cases[i].typed,
              clla_status_name(status), error.text, cases[i].why);
    }
}

/* What a person may paste: long, without end, with bytes that are no text. */
static void any_text_is_read_or_refused(void) {
    static char text[5000];
    ref_random random = {5};
    const char letters[] = "q84f136bits=,+rope=width=latent\xff\x01 group=sinks=0123456789min";
    for (int i = 0; i < 20000; i++) {
        size_t size = ref_next(&random) % (i % 100 ? 40 : sizeof text);
        kv_spec spec;
        clla_error error = {{0}};
        for (size_t k = 0; k < size; k++) text[k] = letters[ref_next(&random) % (sizeof letters - 1)];
        text[size] = 0;
        clla_status status = kv_spec_parse(text, kv_models[i % KV_MODELS], &spec, &error);
        CHECK(status == CLLA_OK || (status == CLLA_BAD_KV_SPEC && error.text[0]), "%s", text);
    }
}

/* ---- the quantizer ------------------------------------------------------------------------------------------- */

enum { CHANNELS = 256 };

/* To the nearest half precision number, ties to even, in double precision; beyond the largest that one. */
static float plain_half(float x) {
    if (fabsf(x) > 65504.0f) return x > 0 ? 65504.0f : -65504.0f;
    if (x == 0) return 0.0f;
    int exponent = ilogb((double)x);
    double step = ldexp(1, (exponent < -14 ? -14 : exponent) - 10);
    return (float)(rint((double)x / step) * step);
}

static float clamp(float x, float low, float high) { return x < low ? low : x > high ? high : x; }

/* One group, line by line as bits.h defines it. */
static void plain_group(kv_bits bits, bool minimum, uint32_t n, const float *x, float *y) {
    float most = -INFINITY, least = INFINITY, largest = 0;
    for (uint32_t i = 0; i < n; i++) {
        most = fmaxf(most, x[i]), least = fminf(least, x[i]), largest = fmaxf(largest, fabsf(x[i]));
    }
    bool symmetric = bits == KV_Q8 || !minimum;
    float high = bits == KV_Q8 ? 127.0f : symmetric ? 7.0f : 15.0f;
    float low = bits == KV_Q8 ? -127.0f : symmetric ? -8.0f : 0.0f;
    float s = plain_half(symmetric ? largest / high : (most - least) / high), m = symmetric ? 0 : plain_half(least);
    float inverse = s > 0 ? 1 / s : 0;
    for (uint32_t i = 0; i < n; i++) {
        int code = (int)clamp(rintf((x[i] - m) * inverse), low, high);
        y[i] = (float)code * s + m;
    }
}

static void plain_run(const kv_run *run, const float *x, float *y) {
    for (uint32_t c = 0; c < run->channels; c += run->group) {
        uint32_t n = run->channels - c < run->group ? run->channels - c : run->group;
        if (run->bits < KV_F16) plain_group(run->bits, run->minimum, n, x + c, y + c);
        else
            for (uint32_t i = c; i < c + n; i++) y[i] = run->bits == KV_F16 ? plain_half(x[i]) : x[i];
    }
}

/* The same bits but for the sign of zeros. */
static bool same(const float *a, const float *b, uint32_t n, uint32_t *where) {
    for (*where = 0; *where < n; ++*where)
        if (!(a[*where] == b[*where])) return false;
    return true;
}

static const struct {
    kv_bits bits;
    bool minimum;
} kinds[] = {{KV_Q4, false}, {KV_Q4, true}, {KV_Q8, false}, {KV_F16, false}, {KV_F32, false}};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* Round in every kind, in groups of three sizes; a run of `channels` that begins at channel 0. */
static void check_rounding(const float *x, uint32_t channels, const char *what) {
    for (int k = 0; k < KINDS; k++)
        for (uint32_t group = 32; group <= 128; group *= 2) {
            float expected[CHANNELS], got[CHANNELS];
            uint32_t i;
            kv_format f = {0};
            kv_format_add(&f, channels, kinds[k].bits, group, kinds[k].minimum);
            memcpy(got, x, channels * sizeof *x);
            kv_format_round(&f, got);
            plain_run(&f.runs[0], x, expected);
            CHECK(same(got, expected, channels, &i), "%s, %d bits%s, group %u, channel %u: %g becomes %.9g, not %.9g", what,
                  (int)kinds[k].bits, kinds[k].minimum ? " min" : "", group, i, (double)x[i], (double)got[i],
                  (double)expected[i]);
        }
}

static void rounding_is_the_definition(void) {
    ref_random random = {77};
    float x[CHANNELS];
    for (int round = 0; round < 600; round++) {
        int scale = round % 60 - 34; /* down to where scales are subnormal halves or 0, up to where they overflow */
        float offset = round % 3 == 2 ? ldexpf(ref_uniform(&random, -2, 2), scale) : 0;
        for (int i = 0; i < CHANNELS; i++) x[i] = ldexpf(ref_uniform(&random, -1, 1), scale) + offset;
        check_rounding(x, CHANNELS, "random");
        check_rounding(x, 24 + (uint32_t)round % 200, "random, a part of the last block");
    }
}

static void rounding_of_odd_groups(void) {
    static const float ends[] = {0x1p-24f, 0x1p-25f, 7 * 0x1p-24f, 7 * 0x1p-25f, 127 * 0x1p-14f, 65504, 65520, 7 * 65504.0f,
                                 1e30f,    3e38f};
    float x[CHANNELS] = {0};
    check_rounding(x, CHANNELS, "zeros");
    for (size_t k = 0; k < sizeof ends / sizeof *ends; k++)
        for (int sign = -1; sign <= 1; sign += 2) {
            memset(x, 0, sizeof x);
            x[5] = (float)sign * ends[k];
            check_rounding(x, CHANNELS, "one that is not zero");
            for (int i = 0; i < CHANNELS; i++) x[i] = i == 40 ? (float)sign * ends[k] : ldexpf(1, i % 9 - 6);
            check_rounding(x, CHANNELS, "an outlier");
            for (int i = 0; i < CHANNELS; i++) x[i] = (float)sign * ends[k];
            check_rounding(x, CHANNELS, "all the same");
        }
}

/* Half-way between two codes: scales are powers of two, so that ties are exact. */
static void ties_go_to_even(void) {
    float x[CHANNELS], y[32];
    for (int exponent = -8; exponent <= 3; exponent++) {
        for (int i = 0; i < CHANNELS; i++) x[i] = ldexpf((float)(i % 29 - 14) / 2, exponent);
        check_rounding(x, CHANNELS, "ties of 4 bits");
        for (int i = 0; i < CHANNELS; i++) x[i] = ldexpf(i % 32 == 0 ? 127 : (float)(i % 61 - 30) / 2, exponent);
        check_rounding(x, CHANNELS, "ties of 8 bits");
    }
    kv_format f = {0};
    kv_format_add(&f, 32, KV_Q4, 32, false);
    for (int i = 0; i < 32; i++) y[i] = i == 0 ? 7 : (float)(i % 8) + 0.5f - 4;
    kv_format_round(&f, y);
    const float expected[8] = {-4, -2, -2, 0, 0, 2, 2, 4}; /* of -3.5 -2.5 -1.5 -0.5 0.5 1.5 2.5 3.5 */
    for (int i = 1; i < 32; i++) CHECK(y[i] == expected[i % 8], "%d: %g, not %g", i, (double)y[i], (double)expected[i % 8]);
}

/* The lowest 4-bit code, -8, is met where the scale was rounded down. */
static void all_codes_are_used(void) {
    ref_random random = {3};
    bool seen[16] = {false};
    kv_format f = {0};
    kv_format_add(&f, 32, KV_Q4, 32, false);
    for (int round = 0; round < 2000; round++) {
        float x[32] = {0}, y[32];
        x[0] = -ldexpf(ref_uniform(&random, 1, 2), -22); /* scales are 0, 1 or 2 times the least half */
        x[1] = x[0] * ref_uniform(&random, -1, 1);
        memcpy(y, x, sizeof y);
        kv_format_round(&f, y);
        float s = plain_half(-x[0] / 7);
        for (int i = 0; i < 2; i++)
            if (s > 0) seen[(int)(y[i] / s) + 8] = true;
    }
    for (int i = 0; i < 16; i++) CHECK(seen[i], "code %d was never met", i - 8);
}

/* No number, or none that is finite: codes stay codes; where the definition has no answer, nothing breaks. */
static void what_is_not_finite_becomes_something(void) {
    const float odd[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (int k = 0; k < KINDS; k++)
        for (uint32_t place = 0; place < 32; place += 31)
            for (int o = 0; o < 4; o++) {
                float x[32], y[32];
                kv_format f = {0};
                kv_format_add(&f, 32, kinds[k].bits, 32, kinds[k].minimum);
                for (int i = 0; i < 32; i++) x[i] = (float)i - 7.5f;
                x[place] = odd[o];
                memcpy(y, x, sizeof y);
                kv_format_round(&f, y);
                if (kinds[k].bits == KV_F32) continue;
                bool number = !isnan(odd[o]) || (kinds[k].bits < KV_F16 && !kinds[k].minimum);
                for (int i = 0; i < 32 && number; i++)
                    CHECK(isfinite(y[i]), "%d bits%s, %g at %u: channel %d is %g", (int)kinds[k].bits,
                          kinds[k].minimum ? " min" : "", (double)odd[o], place, i, (double)y[i]);
            }
}

/* Runs of a row are rounded each by itself; what formats tell of themselves adds up. */
static void runs_side_by_side(void) {
    ref_random random = {12};
    float x[CHANNELS], got[CHANNELS], expected[CHANNELS];
    uint32_t where;
    kv_format f = {0};
    kv_format_add(&f, 64, KV_Q8, 32, false);
    kv_format_add(&f, 96, KV_Q4, 32, true);
    kv_format_add(&f, 0, KV_F32, 32, false);
    kv_format_add(&f, 32, KV_F16, 32, false);
    kv_format_add(&f, 20, KV_Q4, 32, false);
    CHECK(f.count == 4 && f.channels == 212, "%u runs, %u channels", f.count, f.channels);
    for (int i = 0; i < CHANNELS; i++) x[i] = ref_uniform(&random, -3, 3);
    memcpy(got, x, sizeof got);
    kv_format_round(&f, got);
    for (uint32_t i = 0; i < f.count; i++) plain_run(&f.runs[i], x + f.runs[i].first, expected + f.runs[i].first);
    CHECK(same(got, expected, f.channels, &where), "channel %u: %g, not %g", where, (double)got[where], (double)expected[where]);
    CHECK(memcmp(got + 212, x + 212, 44 * sizeof *x) == 0, "wrote behind the row");
    const size_t bytes[] = {4 * 2 * 34, 4 * 3 * 20, 4 * 32 * 2 + 8, 4 * 18}, codes[] = {4 * 64, 4 * 48, 4 * 64, 4 * 16};
    for (uint32_t i = 0; i < 4; i++) {
        CHECK(kv_run_group_bytes(&f.runs[i]) == bytes[i], "run %u: %zu bytes", i, kv_run_group_bytes(&f.runs[i]));
        CHECK(kv_run_code_bytes(&f.runs[i]) == codes[i], "run %u: %zu bytes of codes", i, kv_run_code_bytes(&f.runs[i]));
    }
}

int main(void) {
    RUN("kv spec: every item, its meaning and its short form", items_mean_what_they_say);
    RUN("kv spec: what is printed parses to the same, for every combination and model", printed_specs_parse_to_themselves);
    RUN("kv spec: and so it does for models and specifications made at random", random_specs_round_trip_for_random_models);
    RUN("kv spec: every refusal tells the reason", refusals_tell_why);
    RUN("kv spec: any text is read or refused", any_text_is_read_or_refused);
    RUN("kv bits: rounding is the definition, bit for bit", rounding_is_the_definition);
    RUN("kv bits: zeros, outliers, tiny and huge numbers", rounding_of_odd_groups);
    RUN("kv bits: ties go to even", ties_go_to_even);
    RUN("kv bits: all sixteen codes are met", all_codes_are_used);
    RUN("kv bits: what is not finite breaks nothing", what_is_not_finite_becomes_something);
    RUN("kv bits: runs of a row, each by itself", runs_side_by_side);
    return test_report();
}
