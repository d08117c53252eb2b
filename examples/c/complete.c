/* complete.c: write on from a text, with nothing but clla.h.
 *
 *     complete MODEL.gguf TEXT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clla.h"

enum { NEW_TOKENS = 64, PROMPT_MAX = 1024 };

static clla_error error;

static void check(clla_status status) {
    if (status == CLLA_OK) return;
    fprintf(stderr, "%s: %s\n", clla_status_name(status), error.text);
    exit(1);
}

/* The file is pushed into the loader, in pieces of any size. */
static clla_model *load(const char *path) {
    static uint8_t piece[1 << 16];
    clla_loader *loader;
    clla_model *model;
    size_t n;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    check(clla_loader_create(&(clla_model_options){.threads = 2}, &loader, &error));
    while ((n = fread(piece, 1, sizeof piece, file)) > 0) check(clla_loader_feed(loader, piece, n, &error));
    fclose(file);
    check(clla_loader_finish(loader, &model, &error));
    return model;
}

/* Tokens become text; a token may end in the middle of a character, which then comes with the next one. */
static void print_token(const clla_model *model, clla_text_stream *stream, char *text, int32_t id) {
    fwrite(text, 1, clla_detokenize(model, stream, id, false, text), stdout);
    fflush(stdout);
}

int main(int n, char **arguments) {
    if (n != 3) {
        fprintf(stderr, "usage: complete MODEL.gguf TEXT\n");
        return 2;
    }
    clla_model *model = load(arguments[1]);
    clla_session *session;
    clla_sampler *sampler;
    check(clla_session_create(model, &(clla_session_options){0}, &session, &error));
    check(clla_sampler_create(&(clla_sampler_options){.temperature = 0}, clla_model_vocabulary(model), &sampler, &error));

    int32_t ids[PROMPT_MAX];
    size_t count;
    const float *logits; /* [vocabulary] of the last token */
    check(clla_tokenize(model, arguments[2], strlen(arguments[2]), CLLA_BOS_IF_WANTED, ids, PROMPT_MAX, &count, &error));
    if (count > PROMPT_MAX) {
        fprintf(stderr, "the text has %zu tokens; this example takes %d\n", count, PROMPT_MAX);
        return 1;
    }
    check(clla_session_eval(session, ids, count, &logits, &error));

    clla_text_stream stream = {{0}};
    char *text = malloc(clla_detokenize_room(model));
    if (text == NULL) return 1;
    fputs(arguments[2], stdout);
    for (int i = 0; i < NEW_TOKENS && clla_session_length(session) < clla_session_context(session); i++) {
        const int32_t id = clla_sample(sampler, logits);
        if (clla_token_ends(model, id)) break;
        print_token(model, &stream, text, id);
        clla_sampler_accept(sampler, id);
        check(clla_session_eval(session, &id, 1, &logits, &error));
    }
    print_token(model, &stream, text, -1);
    printf("\n");

    free(text);
    clla_sampler_free(sampler);
    clla_session_free(session);
    clla_model_free(model);
    return 0;
}
