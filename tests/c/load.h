/* load.h: a model from bytes in memory, for tests. */
#ifndef CLLA_TEST_LOAD_H
#define CLLA_TEST_LOAD_H

#include "clla.h"
#include "gguf_writer.h"

static inline clla_status load_bytes(const uint8_t *bytes, size_t size, uint32_t threads, clla_model **model,
                                     clla_error *error) {
    clla_loader *loader;
    clla_status status = clla_loader_create(&(clla_model_options){.threads = threads}, &loader, error);
    if (status != CLLA_OK) return status;
    status = clla_loader_feed(loader, bytes, size, error);
    if (status == CLLA_OK) return clla_loader_finish(loader, model, error);
    clla_loader_free(loader);
    return status;
}

static inline clla_model *load_writer(gguf_writer *w, uint32_t threads) {
    clla_model *model = NULL;
    clla_error error = {{0}};
    clla_status status = load_bytes(w->bytes, w->size, threads, &model, &error);
    if (status != CLLA_OK) printf("    load: %s: %s\n", clla_status_name(status), error.text);
    return model;
}

#endif
