/* spec.c: the cache specification to and from its string. */
#include "spec.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- defaults ------------------------------------------------------------------------------------------------ */

/* The bits that all groups of the latent have, or KV_MIXED. */
static kv_bits trained_bits(const kv_model *m) {
    for (uint32_t g = 1; g < m->rank / m->group; g++)
        if (m->group_bits[g] != m->group_bits[0]) return KV_MIXED;
    return (kv_bits)m->group_bits[0];
}

static kv_spec default_spec(const kv_model *m, kv_width width) {
    if (width == KV_HEADS) return (kv_spec){.width = KV_HEADS, .bits = KV_F16, .rope_bits = KV_F16, .group = KV_GROUP};
    return (kv_spec){.width = KV_LATENT, .bits = trained_bits(m), .rope_bits = m->rope_dim ? m->rope_bits : KV_F16,
                     .minimum = m->minimum, .group = m->group, .sinks = m->sinks};
}

bool kv_spec_equal(const kv_spec *a, const kv_spec *b) {
    return a->width == b->width && a->bits == b->bits && a->rope_bits == b->rope_bits && a->minimum == b->minimum &&
           a->group == b->group && a->sinks == b->sinks;
}

/* ---- reading items ------------------------------------------------------------------------------------------- */

typedef enum field {
    PRESET = 1,
    WIDTH = 2,
    DEPTH = 4,
    LENGTH = 8,
    BITS = 16,
    ROPE = 32,
    MINIMUM = 64,
    GROUP = 128,
    SINKS = 256
} field;

/* What was typed, before it meets the model. */
typedef struct request {
    unsigned given; /* fields */
    kv_width width;
    kv_bits bits, rope_bits;
    bool minimum, shared;
    uint32_t group, sinks;
} request;

/* Items without a number: the name, the fields it settles and their values. */
static const struct {
    const char *name;
    unsigned fields;
    request values;
} words[] = {
    {"clla", PRESET | WIDTH, {.width = KV_LATENT}},
    {"f32", PRESET | BITS, {.bits = KV_F32, .rope_bits = KV_F32}},
    {"f16", PRESET | BITS, {.bits = KV_F16, .rope_bits = KV_F16}},
    {"q8", PRESET | BITS, {.bits = KV_Q8, .rope_bits = KV_Q8}},
    {"q8_0", PRESET | BITS, {.bits = KV_Q8, .rope_bits = KV_Q8}},
    {"q4", PRESET | BITS, {.bits = KV_Q4, .rope_bits = KV_Q8}},
    {"q4_0", PRESET | BITS, {.bits = KV_Q4, .rope_bits = KV_Q8}},
    {"width=heads", WIDTH, {.width = KV_HEADS}},
    {"width=latent", WIDTH, {.width = KV_LATENT}},
    {"depth=own", DEPTH, {.shared = false}},
    {"depth=shared", DEPTH, {.shared = true}},
    {"length=all", LENGTH, {0}},
    {"bits=32", BITS, {.bits = KV_F32}},
    {"bits=16", BITS, {.bits = KV_F16}},
    {"bits=8", BITS, {.bits = KV_Q8}},
    {"bits=4", BITS, {.bits = KV_Q4}},
    {"rope=32", ROPE, {.rope_bits = KV_F32}},
    {"rope=16", ROPE, {.rope_bits = KV_F16}},
    {"rope=8", ROPE, {.rope_bits = KV_Q8}},
    {"rope=4", ROPE, {.rope_bits = KV_Q4}},
    {"sym", MINIMUM, {.minimum = false}},
    {"min", MINIMUM, {.minimum = true}},
};

static int shown(size_t size) { return (int)(size < 40 ? size : 40); }

static clla_status take(request *r, unsigned fields, const char *text, size_t size, clla_error *error) {
    if (r->given & fields)
        return clla_fail(error, CLLA_BAD_KV_SPEC, "cache specification: \"%.*s\" settles what another item has settled",
                         shown(size), text);
    r->given |= fields;
    return CLLA_OK;
}

_Static_assert(KV_GROUP == 32 && KV_SINKS_MAX == 1024, "as messages say");

static bool begins(const char *text, size_t size, const char *name) {
    return size >= strlen(name) && memcmp(text, name, strlen(name)) == 0;
}

/* The N of "name=N": 1 to 6 digits. */
static bool read_number(const char *text, size_t size, uint32_t *number) {
    *number = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        *number = *number * 10 + (uint32_t)(text[i] - '0');
    }
    return size >= 1 && size <= 6;
}

static clla_status take_number(request *r, unsigned fields, uint32_t *number, const char *wanted, const char *text, size_t size,
                               clla_error *error) {
    const size_t name = sizeof "sinks=" - 1; /* "group=" is as long */
    if (read_number(text + name, size - name, number)) return take(r, fields, text, size, error);
    return clla_fail(error, CLLA_BAD_KV_SPEC, "cache specification: \"%.*s\": want %s", shown(size), text, wanted);
}

static void copy_fields(request *to, const request *from, unsigned fields) {
    if (fields & WIDTH) to->width = from->width;
    if (fields & DEPTH) to->shared = from->shared;
    if (fields & BITS) to->bits = from->bits;
    if (fields & ROPE) to->rope_bits = from->rope_bits;
    else if (fields & PRESET && !(to->given & ROPE)) to->rope_bits = from->rope_bits; /* an item of its own goes first */
    if (fields & MINIMUM) to->minimum = from->minimum;
}

static clla_status read_item(request *r, const char *text, size_t size, clla_error *error) {
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strlen(words[i].name) == size && memcmp(words[i].name, text, size) == 0) {
            copy_fields(r, &words[i].values, words[i].fields);
            return take(r, words[i].fields, text, size, error);
        }
    if (begins(text, size, "group="))
        return take_number(r, GROUP, &r->group, "a multiple of 32, at most the channels of a row", text, size, error);
    if (begins(text, size, "sinks="))
        return take_number(r, SINKS, &r->sinks, "how many tokens, a whole number of at most 1024", text, size, error);
    return clla_fail(error, CLLA_BAD_KV_SPEC,
                     "cache specification: \"%.*s\" is not one of f32, f16, q8, q4, clla, width=heads|latent, "
                     "depth=own|shared, length=all, bits=32|16|8|4, rope=32|16|8|4, sym, min, group=N, sinks=N",
                     shown(size), text);
}

static clla_status read_items(const char *text, request *r, clla_error *error) {
    for (clla_status status = CLLA_OK;; text++) {
        size_t size = strcspn(text, ",+");
        if ((status = read_item(r, text, size, error)) != CLLA_OK || !text[size]) return status;
        text += size;
    }
}

/* ---- what goes together -------------------------------------------------------------------------------------- */

static clla_status refuse(clla_error *error, const char *why) {
    return clla_fail(error, CLLA_BAD_KV_SPEC, "cache specification: %s", why);
}

/* Does any part of a row have four-bit codes, beside a rope key, which is symmetric; codes at all? */
static bool has_q4(const kv_spec *s, const kv_model *m) {
    if (s->bits != KV_MIXED) return s->bits == KV_Q4;
    return memchr(m->group_bits, KV_Q4, m->rank / m->group) != NULL;
}

static bool has_codes(const kv_spec *s) {
    return s->bits < KV_F16 || (s->width == KV_LATENT && s->rope_bits < KV_F16);
}

/* Sinks stay in 16 bits: that is more than codes have, and less than 32 bits. */
static bool has_room_for_sinks(const kv_spec *s) {
    return has_codes(s) && s->bits != KV_F32 && !(s->width == KV_LATENT && s->rope_bits == KV_F32);
}

static bool is_shared(const kv_model *m) {
    for (uint32_t i = 0; i < m->layers; i++)
        if (m->owner[i] != i) return true;
    return false;
}

static clla_status check_axes(const request *r, const kv_model *m, clla_error *error) {
    bool latent = r->given & WIDTH ? r->width == KV_LATENT : m->rank > 0;
    if (latent && m->rank == 0) return refuse(error, "the model has no latents: its width is heads");
    if (!(r->given & DEPTH)) return CLLA_OK;
    if (r->shared && !latent)
        return refuse(error, "keys and values of heads differ in every layer: depth=shared needs width=latent");
    if (r->shared && !is_shared(m)) return refuse(error, "every layer of the model owns its row: depth is own");
    if (!r->shared && latent && is_shared(m))
        return refuse(error, "layers of the model share their latents and have none of their own: depth is shared");
    return CLLA_OK;
}

static clla_status check_bits(const request *r, const kv_spec *s, const kv_model *m, clla_error *error) {
    uint32_t channels = s->width == KV_LATENT ? m->rank : m->key_dim > m->value_dim ? m->key_dim : m->value_dim;
    if (r->given & ROPE && s->width == KV_HEADS)
        return refuse(error, "rope= is the bits of the rope key beside a latent: the width is heads");
    if (r->given & ROPE && m->rope_dim == 0)
        return refuse(error, "the model has no rope key beside its latent");
    if (r->given & MINIMUM && !has_q4(s, m))
        return refuse(error, "sym and min are ways of 4-bit codes (rope keys are always sym): add bits=4");
    if (r->given & GROUP && s->bits >= KV_F16) return refuse(error, "groups share a scale: add bits=8 or bits=4");
    if (r->given & GROUP && r->group != m->group && s->bits == KV_MIXED)
        return refuse(error, "the model gives bits group by group: a group of another size needs bits=8 or bits=4");
    if (s->bits < KV_F16 && (s->group == 0 || s->group % KV_GROUP || (s->group > channels && s->group > KV_GROUP)))
        return clla_fail(error, CLLA_BAD_KV_SPEC, "cache specification: group=%u: want a multiple of %d, at most the %u channels",
                         s->group, KV_GROUP, channels);
    if (s->width == KV_LATENT && s->bits < KV_F16 && m->rank % s->group)
        return clla_fail(error, CLLA_BAD_KV_SPEC, "cache specification: group=%u does not divide the latent's %u channels",
                         s->group, m->rank);
    if (r->given & SINKS && s->sinks && !has_codes(s))
        return refuse(error, "sinks= keeps the first tokens at 16 bits: all tokens have 16 or more");
    if (r->given & SINKS && s->sinks && !has_room_for_sinks(s))
        return refuse(error, "sinks= keeps the first tokens at 16 bits: the others have 32 in part");
    if (s->sinks > KV_SINKS_MAX)
        return clla_fail(error, CLLA_BAD_KV_SPEC, "cache specification: sinks=%u: want at most %d tokens", s->sinks,
                         KV_SINKS_MAX);
    return CLLA_OK;
}

/* Fields that mean nothing have one value, so that equal caches have equal specs. */
static void normalise(kv_spec *s, const kv_model *m) {
    if (s->bits >= KV_F16) s->group = KV_GROUP;
    if (!has_q4(s, m)) s->minimum = false;
    if (!has_room_for_sinks(s)) s->sinks = 0;
}

clla_status kv_spec_parse(const char *text, const kv_model *model, kv_spec *spec, clla_error *error) {
    request r = {0};
    *spec = default_spec(model, model->rank ? KV_LATENT : KV_HEADS);
    normalise(spec, model);
    if (!text || !*text) return CLLA_OK;
    clla_status status = read_items(text, &r, error);
    if (status == CLLA_OK) status = check_axes(&r, model, error);
    if (status != CLLA_OK) return status;
    *spec = default_spec(model, r.given & WIDTH ? r.width : spec->width);
    if (r.given & BITS) spec->bits = r.bits;
    if (r.rope_bits && spec->width == KV_LATENT && model->rope_dim) spec->rope_bits = r.rope_bits;
    if (r.given & MINIMUM) spec->minimum = r.minimum;
    if (r.given & GROUP) spec->group = r.group;
    if (r.given & SINKS) spec->sinks = r.sinks;
    status = check_bits(&r, spec, model, error);
    normalise(spec, model);
    return status;
}

/* ---- printing ------------------------------------------------------------------------------------------------ */

typedef struct printer {
    char *text;
    size_t length;
} printer;

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static void
put(printer *p, bool wanted, const char *format, ...) {
    va_list arguments;
    if (!wanted) return;
    if (p->length) p->text[p->length++] = ',';
    va_start(arguments, format);
    int size = vsnprintf(p->text + p->length, KV_SPEC_TEXT - p->length, format, arguments);
    va_end(arguments);
    p->length += (size_t)size;
}

static const char *preset_of(const kv_spec *s) {
    return s->bits == KV_F32 ? "f32" : s->bits == KV_F16 ? "f16" : s->bits == KV_Q8 ? "q8" : "q4";
}

void kv_spec_print(const kv_spec *s, const kv_model *m, char text[KV_SPEC_TEXT]) {
    kv_spec d = default_spec(m, s->width); /* what the items printed so far would give */
    printer p = {text, 0};
    bool latent = s->width == KV_LATENT;
    put(&p, !latent && m->rank, "width=heads");
    put(&p, !latent, "%s", preset_of(s));
    put(&p, latent && s->bits != d.bits, "bits=%d", (int)s->bits);
    put(&p, latent && s->rope_bits != d.rope_bits, "rope=%d", (int)s->rope_bits);
    d.bits = s->bits, d.rope_bits = s->rope_bits;
    normalise(&d, m);
    put(&p, s->minimum != d.minimum, "%s", s->minimum ? "min" : "sym");
    put(&p, s->group != d.group, "group=%u", s->group);
    put(&p, s->sinks != d.sinks, "sinks=%u", s->sinks);
    if (p.length == 0) put(&p, true, "clla");
}
