/* main_wasi.c: a small command line on the public C interface, for WASI runtimes and as a native program.
 *
 *     clla complete MODEL -p TEXT [options]      write on from TEXT, with --resume FILE behind what FILE holds, drawing as
 *                                                it would have, unless --seed is given
 *     clla tokenize MODEL (-p TEXT | --file F)   the ids of a text; reads the file's header only
 *     clla inspect  MODEL [--ctx N --kv SPEC]    what the model is and what contexts cost, by parts; header only
 *
 * With --json it prints objects like those of the command line in js/, and the exit status is the same: 0 done; 2 the
 * command line or an option is wrong; 3 a file cannot be read, is damaged or holds a model that is not supported; 4 it
 * does not fit, into the context or into memory. One sentence on stderr says why. Chats, templates, progress and
 * downloads are js/'s. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "clla.h"
#include "platform.h"

enum { EXIT_DONE = 0, EXIT_USAGE = 2, EXIT_FILE = 3, EXIT_ROOM = 4, PIECE = 1 << 20, PATH_ROOM = 4096, NAMES_TRIED = 1000 };

typedef struct command_line {
    const char *command, *model, *prompt, *file, *kv, *resume;
    double max_tokens, temp, seed, ctx, threads; /* in range; < 0, not given: max_tokens until the context is full, seed 0 */
    bool json, ignore_eos, bos, special;
} command_line;

/* ---- the command line --------------------------------------------------------------------------------------- */

static const char usage[] =
    "usage: clla complete MODEL -p TEXT [--max-tokens N] [--temp T] [--seed N] [--ctx N] [--kv SPEC]\n"
    "                     [--threads N] [--ignore-eos] [--resume FILE] [--json]\n"
    "       clla tokenize MODEL (-p TEXT | --file F) [--bos] [--special] [--json]\n"
    "       clla inspect MODEL [--ctx N] [--kv SPEC] [--json]\n";

typedef struct option {
    const char *name, *commands; /* commands it belongs to, by first letter */
    enum { OPTION_FLAG, OPTION_TEXT, OPTION_NUMBER, OPTION_WHOLE } kind;
    double least, most;
    void *value; /* bool, const char *, double, double */
} option;

static int wrong(const char *format, const char *what) {
    fprintf(stderr, "clla: ");
    fprintf(stderr, format, what);
    fprintf(stderr, "\n%s", usage);
    return EXIT_USAGE;
}

static bool read_number(const option *o, const char *text) {
    char *end;
    errno = 0;
    const double number = strtod(text, &end);
    if (end == text || *end != '\0' || errno != 0 || !(number >= o->least && number <= o->most)) return false;
    if (o->kind == OPTION_WHOLE && number != floor(number)) return false;
    *(double *)o->value = number;
    return true;
}

/* Reads the option at arguments[*at] and its value, and moves *at to the last word read. */
static int read_option(const option *options, size_t count, const char *command, char **arguments, int n, int *at) {
    const char *name = arguments[*at];
    const option *o = NULL;
    for (size_t i = 0; i < count; i++)
        if (strcmp(options[i].name, name) == 0 && strchr(options[i].commands, command[0])) o = &options[i];
    if (o == NULL) return wrong("this command has no option %s", name);
    if (o->kind == OPTION_FLAG) {
        *(bool *)o->value = true;
        return EXIT_DONE;
    }
    if (++*at == n) return wrong("%s needs a value", name);
    if (o->kind == OPTION_TEXT) *(const char **)o->value = arguments[*at];
    else if (!read_number(o, arguments[*at])) return wrong("%s: the value is not a number it can have", name);
    return EXIT_DONE;
}

static int read_command_line(int n, char **arguments, command_line *c) {
    const option options[] = {
        {"-p", "ct", OPTION_TEXT, 0, 0, &c->prompt},
        {"--prompt", "ct", OPTION_TEXT, 0, 0, &c->prompt},
        {"--file", "t", OPTION_TEXT, 0, 0, &c->file},
        {"--kv", "ci", OPTION_TEXT, 0, 0, &c->kv},
        {"--ctx", "ci", OPTION_WHOLE, 1, UINT32_MAX, &c->ctx},
        {"--max-tokens", "c", OPTION_WHOLE, 0, UINT32_MAX, &c->max_tokens},
        {"--temp", "c", OPTION_NUMBER, 0, 100, &c->temp},
        {"--seed", "c", OPTION_WHOLE, 0, 9007199254740991.0, &c->seed},
        {"--threads", "c", OPTION_WHOLE, 1, 256, &c->threads},
        {"--ignore-eos", "c", OPTION_FLAG, 0, 0, &c->ignore_eos},
        {"--bos", "t", OPTION_FLAG, 0, 0, &c->bos},
        {"--special", "t", OPTION_FLAG, 0, 0, &c->special},
        {"--resume", "c", OPTION_TEXT, 0, 0, &c->resume},
        {"--json", "cti", OPTION_FLAG, 0, 0, &c->json},
    };
    if (n < 2) return wrong("%s", "which command?");
    c->command = arguments[1];
    if (strcmp(c->command, "complete") && strcmp(c->command, "tokenize") && strcmp(c->command, "inspect"))
        return wrong("there is no command %s", c->command);
    for (int at = 2; at < n; at++) {
        int status = EXIT_DONE;
        if (arguments[at][0] == '-')
            status = read_option(options, sizeof options / sizeof *options, c->command, arguments, n, &at);
        else if (c->model == NULL) c->model = arguments[at];
        else status = wrong("one model is enough; what is %s?", arguments[at]);
        if (status != EXIT_DONE) return status;
    }
    if (c->model == NULL) return wrong("%s needs a model file", c->command);
    if (c->command[0] == 'c' && c->prompt == NULL) return wrong("%s needs -p TEXT", c->command);
    if (c->command[0] == 't' && (c->prompt == NULL) == (c->file == NULL))
        return wrong("%s needs either -p TEXT or --file F", c->command);
    return EXIT_DONE;
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

static clla_status no_memory(const char *what, size_t size, clla_error *error) {
    return clla_fail(error, CLLA_OUT_OF_MEMORY, "no memory for %s (%zu bytes)", what, size);
}

static clla_status open_file(const char *path, FILE **file, clla_error *error) {
    *file = fopen(path, "rb");
    if (*file == NULL) return clla_fail(error, CLLA_BAD_FILE, "%s: %s", path, strerror(errno));
    return CLLA_OK;
}

/* The name of part number `part` (from 1) of the split file whose first part is `first`. */
static clla_status part_path(const char *first, uint32_t part, uint32_t parts, char *path, size_t capacity,
                             clla_error *error) {
    char first_end[32], end[32];
    snprintf(first_end, sizeof first_end, "-%05u-of-%05u.gguf", 1u, (unsigned)parts);
    snprintf(end, sizeof end, "-%05u-of-%05u.gguf", (unsigned)part, (unsigned)parts);
    const size_t size = strlen(first), end_size = strlen(first_end);
    if (size < end_size || strcmp(first + size - end_size, first_end) != 0)
        return clla_fail(error, CLLA_BAD_FILE, "%s: the model is in %u files; the first must end in %s", first,
                         (unsigned)parts, first_end);
    if (size + sizeof end > capacity) return clla_fail(error, CLLA_BAD_ARGUMENT, "%s: the path is too long", first);
    snprintf(path, capacity, "%.*s%s", (int)(size - end_size), first, end);
    return CLLA_OK;
}

/* Push one file into the loader; header_only stops when the header is there. */
static clla_status feed_file(clla_loader *loader, const char *path, bool header_only, uint8_t *piece,
                             clla_error *error) {
    FILE *file;
    clla_load_progress progress = {0};
    clla_status status = open_file(path, &file, error);
    if (status != CLLA_OK) return status;
    while (status == CLLA_OK && !(header_only && progress.header_complete)) {
        const size_t n = fread(piece, 1, PIECE, file);
        if (n == 0) break;
        status = clla_loader_feed(loader, piece, n, error);
        clla_loader_progress(loader, &progress);
    }
    if (status == CLLA_OK && ferror(file)) status = clla_fail(error, CLLA_BAD_FILE, "%s: %s", path, strerror(errno));
    fclose(file);
    return status;
}

static clla_status feed_parts(clla_loader *loader, const command_line *c, bool header_only, uint8_t *piece,
                              clla_error *error) {
    char path[PATH_ROOM];
    clla_load_progress progress = {0};
    clla_status status = feed_file(loader, c->model, header_only, piece, error);
    clla_loader_progress(loader, &progress);
    for (uint32_t part = 2; status == CLLA_OK && !header_only && part <= progress.parts; part++) {
        status = part_path(c->model, part, progress.parts, path, sizeof path, error);
        if (status == CLLA_OK) status = clla_loader_next_part(loader, error);
        if (status == CLLA_OK) status = feed_file(loader, path, false, piece, error);
    }
    return status;
}

static clla_status load(const command_line *c, bool header_only, clla_model **model, clla_error *error) {
    const clla_model_options options = {.threads = (uint32_t)c->threads, .vocabulary_only = header_only};
    clla_loader *loader = NULL;
    uint8_t *piece = memory_resize(NULL, PIECE);
    clla_status status = piece == NULL ? no_memory("reading", PIECE, error)
                                       : clla_loader_create(&options, &loader, error);
    if (status == CLLA_OK) status = feed_parts(loader, c, header_only, piece, error);
    memory_resize(piece, 0);
    if (status == CLLA_OK) return clla_loader_finish(loader, model, error);
    clla_loader_free(loader);
    return status;
}

/* A whole file as text, in memory_resize's memory. */
static clla_status read_text(const char *path, char **text, size_t *size, clla_error *error) {
    FILE *file;
    size_t capacity = 0, n = 0;
    clla_status status = open_file(path, &file, error);
    *text = NULL;
    *size = 0;
    if (status != CLLA_OK) return status;
    do {
        *size += n;
        if (*size == capacity) {
            capacity = 2 * capacity + PIECE;
            char *grown = memory_resize(*text, capacity);
            if (grown == NULL) status = no_memory("the text", capacity, error);
            else *text = grown;
        }
    } while (status == CLLA_OK && (n = fread(*text + *size, 1, capacity - *size, file)) > 0);
    if (status == CLLA_OK && ferror(file)) status = clla_fail(error, CLLA_BAD_FILE, "%s: %s", path, strerror(errno));
    fclose(file);
    return status;
}

static clla_status tokenize(const clla_model *model, const char *text, size_t size, unsigned flags, int32_t **ids,
                            size_t *count, clla_error *error) {
    clla_status status = clla_tokenize(model, text, size, flags, NULL, 0, count, error);
    if (status != CLLA_OK) return status;
    *ids = memory_resize(NULL, (*count + 1) * sizeof **ids);
    if (*ids == NULL) return no_memory("the tokens", *count * sizeof **ids, error);
    return clla_tokenize(model, text, size, flags, *ids, *count, count, error);
}

/* ---- writing ------------------------------------------------------------------------------------------------ */

static void print_ids(const char *name, const int32_t *ids, size_t count) {
    printf("\"%s\":[", name);
    for (size_t i = 0; i < count; i++) printf("%s%d", i ? "," : "", (int)ids[i]);
    printf("]");
}

static void print_json_text(const char *text, size_t size) {
    putchar('"');
    for (size_t i = 0; i < size; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\') printf("\\%c", c);
        else if (c == '\n') printf("\\n");
        else if (c < 0x20 || c == 0x7f) printf("\\u%04x", c);
        else putchar(c);
    }
    putchar('"');
}

/* ---- tokenize ----------------------------------------------------------------------------------------------- */

static clla_status run_tokenize(const command_line *c, clla_error *error) {
    clla_model *model = NULL;
    char *text = NULL;
    int32_t *ids = NULL;
    size_t size = c->prompt ? strlen(c->prompt) : 0, count = 0;
    const unsigned flags = (c->bos ? CLLA_BOS : 0u) | (c->special ? CLLA_SPECIAL : 0u);
    clla_status status = load(c, true, &model, error);
    if (status == CLLA_OK && c->file) status = read_text(c->file, &text, &size, error);
    if (status == CLLA_OK) status = tokenize(model, text ? text : c->prompt, size, flags, &ids, &count, error);
    if (status == CLLA_OK && c->json) {
        printf("{");
        print_ids("ids", ids, count);
        printf("}\n");
    } else if (status == CLLA_OK) {
        for (size_t i = 0; i < count; i++) printf("%d\n", (int)ids[i]);
    }
    memory_resize(ids, 0);
    memory_resize(text, 0);
    clla_model_free(model);
    return status;
}

/* ---- inspect ------------------------------------------------------------------------------------------------ */

static clla_status print_model(const clla_model *model, bool json, clla_error *error) {
    const size_t size = clla_model_info(model, NULL, 0);
    char *info = memory_resize(NULL, size + 1);
    if (info == NULL) return no_memory("the description", size, error);
    clla_model_info(model, info, size);
    printf(json ? "{\"model\":%.*s" : "%.*s\n", (int)size, info);
    memory_resize(info, 0);
    return CLLA_OK;
}

static double percent_of_plain(const clla_session_size *size, double bytes_per_token) {
    return 100 * bytes_per_token / size->plain_bytes_per_token;
}

/* What a session takes at several lengths: in all, or its cache alone. */
enum { LENGTHS = 4 };
static const uint32_t lengths[LENGTHS] = {2048, 8192, 32768, 131072};

static void print_lengths(const char *name, const clla_session_size sizes[LENGTHS], bool scratch) {
    printf(",\"%s\":{", name);
    for (int i = 0; i < LENGTHS; i++)
        printf("%s\"%u\":%llu", i ? "," : "", (unsigned)lengths[i],
               (unsigned long long)(sizes[i].cache + (scratch ? sizes[i].scratch : 0)));
    printf("}");
}

static void print_session_json(const clla_session_size *size, const clla_session_size sizes[LENGTHS]) {
    printf(",\"session\":{\"threads\":1,\"cache_bytes\":%llu,\"scratch_bytes\":%llu,\"bytes_per_token\":%.15g}",
           (unsigned long long)size->cache, (unsigned long long)size->scratch, size->bytes_per_token);
    printf(",\"kv\":\"%s\",\"bytes_per_token\":%.15g,\"mha_fp16_bytes_per_token\":%.15g,\"percent\":%.15g", size->kv,
           size->bytes_per_token, size->plain_bytes_per_token, percent_of_plain(size, size->bytes_per_token));
    const double rows = size->rows, sinks = (double)size->sinks;
    printf(",\"components\":{\"codes\":%.15g,\"scales\":%.15g,\"rope_keys\":%.15g,\"residual\":%.15g},\"storing_layers\":%.15g",
           size->codes, size->scales, size->rope_keys, sinks, rows);
    printf(",\"storing_layer\":{\"bytes_per_token\":%.15g,\"codes\":%.15g,\"scales\":%.15g", size->bytes_per_token / rows,
           size->codes / rows, size->scales / rows);
    printf(",\"rope_keys\":%.15g,\"residual\":%.15g}", size->rope_keys / rows, sinks / rows);
    print_lengths("session_bytes", sizes, true);
    print_lengths("cache_bytes", sizes, false);
}

static void print_session(const clla_session_size *size, const clla_session_size sizes[LENGTHS]) {
    printf("cache %s: %llu bytes (%.15g a token), scratch with one thread %llu bytes\n", size->kv,
           (unsigned long long)size->cache, size->bytes_per_token, (unsigned long long)size->scratch);
    printf("a token: codes %.15g, scales %.15g, rope keys %.15g bytes, in %u layers: "
           "%.3g %% of multi-head attention in 16 bits\n",
           size->codes, size->scales, size->rope_keys, (unsigned)size->rows, percent_of_plain(size, size->bytes_per_token));
    printf("a layer of them: codes %.15g, scales %.15g, rope keys %.15g bytes\n", size->codes / size->rows,
           size->scales / size->rows, size->rope_keys / size->rows);
    if (size->sinks) printf("the first tokens in 16 bits: %llu bytes once\n", (unsigned long long)size->sinks);
    for (int i = 0; i < LENGTHS; i++)
        printf("%6u tokens: cache %llu bytes (%.3g %%), scratch %llu bytes\n", (unsigned)lengths[i],
               (unsigned long long)sizes[i].cache, percent_of_plain(size, (double)sizes[i].cache / lengths[i]),
               (unsigned long long)sizes[i].scratch);
}

/* The specification in `options` fits the model. */
static clla_status measure_lengths(const clla_model *model, clla_session_options options,
                                   clla_session_size sizes[LENGTHS], clla_error *error) {
    clla_status status = CLLA_OK;
    for (int i = 0; i < LENGTHS && status == CLLA_OK; i++) {
        options.context = lengths[i];
        status = clla_session_bytes(model, &options, &sizes[i], error);
    }
    return status;
}

/* A file that holds a vocabulary only has no sessions (BAD_ARGUMENT): an error only where a person asked for one. Why a
 * model cannot run is told behind what else there is to tell. */
static clla_status run_inspect(const command_line *c, clla_error *error) {
    const clla_session_options options = {.context = (uint32_t)c->ctx, .kv = c->kv};
    clla_model *model = NULL;
    clla_session_size size = {0}, sizes[LENGTHS] = {{0}};
    clla_status status = load(c, true, &model, error);
    if (status == CLLA_OK) {
        clla_status sized = clla_session_bytes(model, &options, &size, error);
        if (sized == CLLA_OK) sized = measure_lengths(model, options, sizes, error);
        if (c->kv || c->ctx > 0) status = sized;
        if (status == CLLA_OK) status = print_model(model, c->json, error);
        if (status == CLLA_OK && sized == CLLA_OK) (c->json ? print_session_json : print_session)(&size, sizes);
        if (status == CLLA_OK && c->json) printf("}\n");
        if (status == CLLA_OK && sized != CLLA_BAD_ARGUMENT) status = sized;
    }
    clla_model_free(model);
    return status;
}

/* ---- complete ----------------------------------------------------------------------------------------------- */

typedef struct completion {
    const command_line *line;
    clla_model *model;
    clla_session *session;
    clla_sampler *sampler;
    clla_restorer *restorer; /* of the file to resume: its note goes into the next one */
    int32_t *prompt_ids, *ids;
    size_t prompt_count, count, limit;
    char *text; /* the whole reply, for --json; else one piece */
    size_t text_size, text_room;
    const char *finish_reason;
    double started, loaded, prefilled, ended; /* milliseconds */
} completion;

/* The session that a file holds; none where there is no file yet. */
static clla_status resume(completion *d, const clla_session_options *options, clla_error *error) {
    if (d->line->resume[0] == '\0') return clla_fail(error, CLLA_BAD_FILE, "--resume: a file without a name");
    FILE *file = fopen(d->line->resume, "rb");
    if (file == NULL && errno == ENOENT) return CLLA_OK;
    if (file == NULL) return clla_fail(error, CLLA_BAD_FILE, "%s: %s", d->line->resume, strerror(errno));
    uint8_t *piece = memory_resize(NULL, PIECE);
    clla_status status = piece == NULL ? no_memory("reading", PIECE, error)
                                       : clla_restorer_create(d->model, options, &d->restorer, error);
    for (size_t n; status == CLLA_OK && (n = fread(piece, 1, PIECE, file)) > 0;)
        status = clla_restorer_feed(d->restorer, piece, n, error);
    if (status == CLLA_OK && ferror(file)) status = clla_fail(error, CLLA_BAD_FILE, "%s", strerror(errno));
    if (status == CLLA_OK) status = clla_restorer_finish(d->restorer, &d->session, error);
    if (status != CLLA_OK && d->restorer) {
        const clla_error why = *error; /* of this file, not of the model's */
        clla_fail(error, status, "%s: %s", d->line->resume, why.text);
    }
    memory_resize(piece, 0);
    fclose(file);
    return status;
}

static clla_status write_session(clla_saver *saver, FILE *file, uint8_t *piece, clla_error *error) {
    size_t n = 0;
    clla_status status = CLLA_OK;
    do {
        status = clla_saver_read(saver, piece, PIECE, &n, error);
        if (status == CLLA_OK && fwrite(piece, 1, n, file) != n)
            status = clla_fail(error, CLLA_BAD_FILE, "the session cannot be saved: %s", strerror(errno));
    } while (status == CLLA_OK && n > 0);
    return status;
}

/* A new file beside `target`, which is to take its place. */
static clla_status open_beside(const char *target, char path[PATH_ROOM], FILE **file, clla_error *error) {
    *file = NULL;
    for (int i = 0; i < NAMES_TRIED; i++) {
        if (snprintf(path, PATH_ROOM, "%s.%d.tmp", target, i) >= PATH_ROOM)
            return clla_fail(error, CLLA_BAD_ARGUMENT, "%s: the path is too long", target);
        if ((*file = fopen(path, "wbx")) || errno != EEXIST) break;
    }
    if (*file == NULL) return clla_fail(error, CLLA_BAD_FILE, "%s cannot be written: %s", target, strerror(errno));
    return CLLA_OK;
}

/* So that nothing is generated in vain. */
static clla_status check_target(const char *target, clla_error *error) {
    char path[PATH_ROOM];
    FILE *file;
    clla_status status = open_beside(target, path, &file, error);
    if (status != CLLA_OK) return status;
    fclose(file);
    remove(path);
    return CLLA_OK;
}

/* Whole or not at all: into another file, which takes the place of the old one, or of a link. Whoever may read new files
 * may read it: WASI has no permissions to copy. */
static clla_status save(const completion *d, clla_error *error) {
    char path[PATH_ROOM];
    clla_save_options options = {.sampler = d->sampler};
    clla_saver *saver = NULL;
    FILE *file = NULL;
    if (d->restorer) options.note = clla_restorer_note(d->restorer, &options.note_size);
    uint8_t *piece = memory_resize(NULL, PIECE);
    clla_status status = piece == NULL ? no_memory("writing", PIECE, error)
                                       : clla_saver_create(d->session, &options, &saver, error);
    if (status == CLLA_OK) status = open_beside(d->line->resume, path, &file, error);
    if (status == CLLA_OK) status = write_session(saver, file, piece, error);
    if (file && fclose(file) != 0 && status == CLLA_OK)
        status = clla_fail(error, CLLA_BAD_FILE, "%s: %s", path, strerror(errno));
    if (status == CLLA_OK && rename(path, d->line->resume) != 0)
        status = clla_fail(error, CLLA_BAD_FILE, "%s: %s", d->line->resume, strerror(errno));
    if (file && status != CLLA_OK) remove(path);
    clla_saver_free(saver);
    memory_resize(piece, 0);
    return status;
}

/* The session of the file, or a new one. */
static clla_status open_session(completion *d, clla_error *error) {
    const clla_session_options options = {.context = (uint32_t)d->line->ctx, .kv = d->line->kv};
    clla_status status = d->line->resume ? resume(d, &options, error) : CLLA_OK;
    if (status == CLLA_OK && d->line->resume) status = check_target(d->line->resume, error);
    if (status != CLLA_OK || d->session) return status;
    return clla_session_create(d->model, &options, &d->session, error);
}

/* With the seed that is given; else the one of the file goes on, where it has one. */
static clla_status open_sampler(completion *d, clla_error *error) {
    const command_line *c = d->line;
    const clla_sampler_options sampling = {.temperature = (float)c->temp, .seed = c->seed < 0 ? 0 : (uint64_t)c->seed};
    clla_status status = clla_sampler_create(&sampling, clla_model_vocabulary(d->model), &d->sampler, error);
    if (status != CLLA_OK || d->restorer == NULL || c->seed >= 0) return status;
    clla_error why;
    if (clla_restorer_sampler(d->restorer, d->sampler, &why) != CLLA_OK && c->temp > 0)
        fprintf(stderr, "clla: %s: %s, so it draws with seed 0\n", c->resume, why.text);
    return CLLA_OK;
}

static clla_status open_completion(completion *d, clla_error *error) {
    const command_line *c = d->line;
    clla_status status = load(c, false, &d->model, error);
    d->loaded = platform_milliseconds();
    if (status == CLLA_OK) status = open_session(d, error);
    const unsigned bos = d->session && clla_session_length(d->session) > 0 ? 0u : CLLA_BOS_IF_WANTED;
    if (status == CLLA_OK)
        status = tokenize(d->model, c->prompt, strlen(c->prompt), CLLA_SPECIAL | bos, &d->prompt_ids, &d->prompt_count,
                          error);
    if (status == CLLA_OK && d->prompt_count == 0)
        status = clla_fail(error, CLLA_BAD_ARGUMENT, "the prompt is empty, and %s",
                           bos ? "the model has no token to begin with" : "a session goes on with a token at least");
    return status == CLLA_OK ? open_sampler(d, error) : status;
}

/* How many tokens there will be at most, and memory for them. The last one needs no room in the context, but where it is
 * saved: what was said before is all in the file. */
static clla_status take_room(completion *d, clla_error *error) {
    d->limit = clla_session_context(d->session) - clla_session_length(d->session) + (d->line->resume ? 0u : 1u);
    if (d->line->max_tokens >= 0 && d->line->max_tokens < (double)d->limit) d->limit = (size_t)d->line->max_tokens;
    d->ids = memory_resize(NULL, (d->limit + 1) * sizeof *d->ids);
    return d->ids != NULL ? CLLA_OK : no_memory("the reply", (d->limit + 1) * sizeof *d->ids, error);
}

/* Text that is complete with this token (-1: the end): kept for --json, else printed at once. */
static clla_status take_text(completion *d, clla_text_stream *stream, int32_t id, clla_error *error) {
    const size_t needed = d->text_size + clla_detokenize_room(d->model);
    if (needed > d->text_room) {
        char *grown = memory_resize(d->text, 2 * needed);
        if (grown == NULL) return no_memory("the reply", 2 * needed, error);
        d->text = grown, d->text_room = 2 * needed;
    }
    const size_t size = clla_detokenize(d->model, stream, id, false, d->text + d->text_size);
    if (d->line->json) {
        d->text_size += size;
    } else {
        fwrite(d->text, 1, size, stdout);
        fflush(stdout);
    }
    return CLLA_OK;
}

static clla_status generate(completion *d, clla_error *error) {
    clla_text_stream stream = {0};
    const float *logits = NULL;
    clla_status status = clla_session_eval(d->session, d->prompt_ids, d->prompt_count, &logits, error);
    d->prefilled = platform_milliseconds();
    if (status == CLLA_OK) status = take_room(d, error);
    if (status != CLLA_OK) return status;
    for (size_t i = 0; i < d->prompt_count; i++) clla_sampler_accept(d->sampler, d->prompt_ids[i]);
    d->finish_reason = "length";
    while (d->count < d->limit) {
        const int32_t id = clla_sample(d->sampler, logits);
        if (id < 0) return clla_fail(error, CLLA_BAD_FILE, "no token may follow: the model's logits are no numbers");
        if (clla_token_ends(d->model, id) && !d->line->ignore_eos) {
            d->finish_reason = "stop";
            break;
        }
        d->ids[d->count++] = id;
        status = take_text(d, &stream, id, error);
        if (status != CLLA_OK) return status;
        clla_sampler_accept(d->sampler, id);
        if (d->count == d->limit) break;
        status = clla_session_eval(d->session, &id, 1, &logits, error);
        if (status != CLLA_OK) return status;
    }
    status = take_text(d, &stream, -1, error);
    d->ended = platform_milliseconds();
    if (status != CLLA_OK || !d->line->resume) return status;
    if (d->count > 0 && d->count == d->limit) /* the last token is not in the session yet */
        status = clla_session_eval(d->session, &d->ids[d->count - 1], 1, &logits, error);
    return status == CLLA_OK ? save(d, error) : status;
}

static double per_second(size_t n, double milliseconds) { return milliseconds > 0 ? 1e3 * (double)n / milliseconds : 0; }

static void print_completion(const completion *d) {
    const size_t timed = d->count > 0 ? d->count - 1 : 0; /* the first token comes from the prompt's evaluation */
    printf("{");
    print_ids("ids", d->ids, d->count);
    printf(",\"text\":");
    print_json_text(d->text, d->text_size);
    printf(",\"finish_reason\":\"%s\",", d->finish_reason);
    print_ids("prompt_ids", d->prompt_ids, d->prompt_count);
    printf(",\"timings\":{\"load_ms\":%.1f,\"prompt_n\":%zu,\"prompt_per_second\":%.2f,\"decode_n\":%zu,"
           "\"decode_per_second\":%.2f,\"ttft_ms\":%.1f}}\n",
           d->loaded - d->started, d->prompt_count, per_second(d->prompt_count, d->prefilled - d->loaded), timed,
           per_second(timed, d->ended - d->prefilled), d->prefilled - d->loaded);
}

static clla_status run_complete(const command_line *c, clla_error *error) {
    completion d = {.line = c, .started = platform_milliseconds()};
    clla_status status = open_completion(&d, error);
    if (status == CLLA_OK) status = generate(&d, error);
    if (status == CLLA_OK && c->json) print_completion(&d);
    else if (status == CLLA_OK) printf("\n");
    memory_resize(d.text, 0);
    memory_resize(d.ids, 0);
    memory_resize(d.prompt_ids, 0);
    clla_restorer_free(d.restorer);
    clla_sampler_free(d.sampler);
    clla_session_free(d.session);
    clla_model_free(d.model);
    return status;
}

static int exit_status(clla_status status) {
    switch (status) {
    case CLLA_OK: return EXIT_DONE;
    case CLLA_BAD_ARGUMENT:
    case CLLA_BAD_KV_SPEC: return EXIT_USAGE;
    case CLLA_OUT_OF_MEMORY:
    case CLLA_CONTEXT_FULL: return EXIT_ROOM;
    default: return EXIT_FILE;
    }
}

int main(int n, char **arguments) {
    command_line c = {.max_tokens = -1, .seed = -1, .threads = 1};
    clla_error error = {{0}};
    const int usage_status = read_command_line(n, arguments, &c);
    if (usage_status != EXIT_DONE) return usage_status;
    const clla_status status = c.command[0] == 'c'   ? run_complete(&c, &error)
                               : c.command[0] == 't' ? run_tokenize(&c, &error)
                                                     : run_inspect(&c, &error);
    if (status != CLLA_OK) fprintf(stderr, "clla: %s: %s\n", clla_status_name(status), error.text);
    return exit_status(status);
}
