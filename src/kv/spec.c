/* spec.c: the cache specification to and from its string. */
#include "spec.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *item;
    kv_bits bits;
} items[] = {{"f16", KV_F16},     {"f32", KV_F32},     {"q8", KV_Q8},     {"q8_0", KV_Q8},
             {"bits=16", KV_F16}, {"bits=32", KV_F32}, {"bits=8", KV_Q8}};

static bool find_item(const char *text, size_t size, kv_bits *bits) {
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++)
        if (strlen(items[i].item) == size && memcmp(items[i].item, text, size) == 0) {
            *bits = items[i].bits;
            return true;
        }
    return false;
}

clla_status kv_spec_parse(const char *text, kv_spec *spec, clla_error *error) {
    *spec = (kv_spec){.bits = KV_F16};
    if (!text || !*text) return CLLA_OK;
    for (bool first = true;; first = false) {
        size_t size = strcspn(text, ",+");
        kv_bits bits;
        if (!find_item(text, size, &bits))
            return clla_fail(error, CLLA_BAD_KV_SPEC, "cache specification: \"%.*s\" is not f32, f16, q8 or bits=32|16|8",
                             (int)(size < 40 ? size : 40), text);
        if (!first)
            return clla_fail(error, CLLA_BAD_KV_SPEC, "cache specification: the bits are given twice (\"%.*s\")", (int)size,
                             text);
        spec->bits = bits;
        if (!text[size]) return CLLA_OK;
        text += size + 1;
    }
}

void kv_spec_print(const kv_spec *spec, char text[KV_SPEC_TEXT]) {
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++)
        if (items[i].bits == spec->bits) {
            snprintf(text, KV_SPEC_TEXT, "%s", items[i].item);
            return;
        }
}
