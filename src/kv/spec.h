/* spec.h: what a cache keeps, as a point on four axes, and the string that a person types for it.
 *
 *   width   all heads' keys and values (latents come with the models that have them)
 *   depth   every layer stores
 *   length  every token is kept
 *   bits    f32, f16, or q8: int8 codes with one f16 scale for each 32 channels of a token
 *
 * A string is one or more items joined by "," or "+": the presets "f32", "f16", "q8" (also "q8_0"), or "bits=32|16|8".
 * Printing a parsed spec gives the shortest form, which parses to the same spec. */
#ifndef CLLA_KV_SPEC_H
#define CLLA_KV_SPEC_H

#include <stddef.h>

#include "../status.h"

typedef enum kv_bits { KV_F32 = 32, KV_F16 = 16, KV_Q8 = 8 } kv_bits;

typedef struct kv_spec {
    kv_bits bits;
} kv_spec;

enum { KV_SPEC_TEXT = 64 };

/* NULL or "" is the default, f16. Unknown items, contradictions and repetitions are refused by name (BAD_KV_SPEC). */
clla_status kv_spec_parse(const char *text, kv_spec *spec, clla_error *error);
void kv_spec_print(const kv_spec *spec, char text[KV_SPEC_TEXT]);

#endif
