/* See client.h. Here: the table, arguments, asks and how errors are told. */
#include "server/client/client.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct option {
    const char *name;
    char letter;
    const char *value, *help;
};

static const struct option options[] = {
#define HN_CLIENT_OPTION(name, letter, value, help) {name, letter, value, help},
#include "server/client/client.def"
#undef HN_CLIENT_OPTION
};
#define OPTIONS (sizeof options / sizeof options[0])

struct command {
    const char *name;
    int least, most;
    int (*run)(struct hn_client *client);
    const char *synopsis, *what, *options, *example;
};

static const struct command commands[] = {
#define HN_CLIENT_COMMAND(name, least, most, run, synopsis, what, options, example) \
    {name, least, most, run, synopsis, what, options, example},
#include "server/client/client.def"
#undef HN_CLIENT_COMMAND
};
#define COMMANDS (sizeof commands / sizeof commands[0])

/* The common ones, and those that the row names. */
static bool takes(const struct command *command, size_t option) {
    const char *name = options[option].name, *list = command->options;
    if (option < HN_CLIENT_COMMON)
        return true;
    const char *value = options[option].value ? options[option].value : "";
    for (size_t n; *list; list += n + strspn(list + n, " ")) {
        n = strcspn(list, " ");
        size_t word = strcspn(list, " =");
        bool same = strlen(name) == word && strncmp(list, name, word) == 0;
        if (same && word < n) /* of two of one name, the one with this value */
            same =
                strlen(value) == n - word - 1 && strncmp(list + word + 1, value, n - word - 1) == 0;
        if (same)
            return true;
    }
    return false;
}

void hn_client_list(FILE *file) {
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(file, "  honed %-48s %s\n", commands[i].synopsis, commands[i].what);
}

void hn_client_each_command(void (*each)(void *ud, const char *name, const char *what), void *ud) {
    for (size_t i = 0; i < COMMANDS; i++)
        each(ud, commands[i].name, commands[i].what);
}

bool hn_client_takes_job(const char *command) {
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, command) == 0)
            return strstr(commands[i].synopsis, " JOB");
    return false;
}

void hn_client_each_option(const char *command,
    void (*each)(void *ud, const char *name, char letter, const char *value, const char *help),
    void *ud) {
    for (size_t i = 0; i < COMMANDS; i++)
        for (size_t j = 0; j < OPTIONS && strcmp(commands[i].name, command) == 0; j++)
            if (takes(&commands[i], j))
                each(ud, options[j].name, options[j].letter, options[j].value, options[j].help);
}

static void print_help(const struct command *command) {
    printf("usage: honed %s\n\n%c%s.\n\n", command->synopsis, command->what[0] & ~32,
        command->what + 1);
    for (size_t i = OPTIONS; i-- > 0;) {
        if (!takes(command, i))
            continue;
        struct hn_buf left = {0};
        if (options[i].letter)
            hn_buf_printf(&left, "-%c, ", options[i].letter);
        hn_buf_printf(&left, "--%s%s%s", options[i].name, options[i].value ? " " : "",
            options[i].value ? options[i].value : "");
        printf("  %-22s %s\n", left.data ? left.data : "", options[i].help);
        hn_buf_free(&left);
    }
    printf("\nFor example:\n  %s\n", command->example);
}

int hn_client_usage(const struct hn_client *c, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("honed: ", stderr);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n       `honed %s --help` tells how it is used\n", c->command);
    return HN_CLIENT_USAGE;
}

int hn_client_fail(struct hn_client *c, const char *hint, const char *format, ...) {
    char message[800];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    hn_fail(&c->err, HN_E_INVALID_FIELD, "%s", message);
    hn_error_hint(&c->err, "%s", hint ? hint : "");
    c->outcome = HN_OUTCOME_LOCAL;
    return hn_client_complain(c, NULL);
}

const char *hn_client_option(const struct hn_client *c, const char *name) {
    for (size_t i = c->n_options; i-- > 0;)
        if (strcmp(c->options[i].name, name) == 0)
            return c->options[i].value;
    return NULL;
}

/* By "--name", "--name=value" or "-x"; NULL when the command takes no such one. */
static const struct option *find_option(const struct command *command, const char *arg) {
    const char *name = arg[1] == '-' ? arg + 2 : arg + 1;
    size_t n = strcspn(name, "=");
    for (size_t i = 0; i < OPTIONS; i++) {
        bool same = arg[1] == '-'
            ? strlen(options[i].name) == n && strncmp(options[i].name, name, n) == 0
            : options[i].letter && name[0] == options[i].letter && !name[1];
        if (same && takes(command, i))
            return &options[i];
    }
    return NULL;
}

static int unknown_option(
    const struct hn_client *c, const struct command *command, const char *arg) {
    const char *names[OPTIONS + 1];
    char word[64];
    size_t n = 0;
    for (size_t i = 0; i < OPTIONS; i++)
        if (takes(command, i))
            names[n++] = options[i].name;
    names[n] = NULL;
    snprintf(word, sizeof word, "%.*s", (int)strcspn(arg, "="), arg);
    const char *bare = word + strspn(word, "-"),
               *near = *bare ? hn_word_nearest(bare, names) : NULL;
    return near
        ? hn_client_usage(c, "%s takes no option %s; is --%s meant?", c->command, word, near)
        : hn_client_usage(c, "%s takes no option %s", c->command, word);
}

/* Sorts argv into words and options. */
static int read_arguments(
    struct hn_client *c, const struct command *command, int argc, char **argv) {
    bool ended = false;
    for (int i = 0; i < argc; i++) {
        char *arg = argv[i];
        if (ended || arg[0] != '-' || !arg[1]) {
            c->words[c->n_words++] = arg;
            continue;
        }
        if (strcmp(arg, "--") == 0) {
            ended = true;
            continue;
        }
        const struct option *option = find_option(command, arg);
        char *equals = arg[1] == '-' ? strchr(arg, '=') : NULL;
        if (!option)
            return unknown_option(c, command, arg);
        if (!option->value && equals)
            return hn_client_usage(c, "--%s takes no value", option->name);
        if (option->value && !equals && i + 1 == argc)
            return hn_client_usage(c, "--%s needs a value: %s", option->name, option->value);
        const char *value = !option->value ? "" : equals ? equals + 1 : argv[++i];
        c->options[c->n_options++] = (struct hn_given_option){option->name, value};
    }
    return HN_CLIENT_WELL;
}

static int check_words(const struct hn_client *c, const struct command *command) {
    if (c->n_words < command->least)
        return hn_client_usage(
            c, "%s needs %s", c->command, command->synopsis + strlen(command->name) + 1);
    if (command->most >= 0 && c->n_words > command->most)
        return hn_client_usage(
            c, "%s does not know what \"%s\" is for", c->command, c->words[command->most]);
    return HN_CLIENT_WELL;
}

static void finish(struct hn_client *c) {
    hn_transfer_destroy(c->transfer);
    free(c->at.url);
    free(c->at.socket);
    free(c->at.key);
    free(c->at.ca);
    free(c->at.from);
    hn_client_forget(c, 0);
    free(c->kept);
    free(c->words);
    free(c->options);
}

static int run(const struct command *command, int argc, char **argv) {
    struct hn_client c = {.command = command->name};
    c.words = hn_calloc((size_t)argc + 1, sizeof *c.words);
    c.options = hn_calloc((size_t)argc + 1, sizeof *c.options);
    int status = c.words && c.options ? read_arguments(&c, command, argc, argv)
                                      : hn_client_fail(&c, NULL, "out of memory");
    c.json = !status && hn_client_option(&c, "json");
    if (!status && hn_client_option(&c, "help")) {
        print_help(command);
        finish(&c);
        return HN_CLIENT_WELL;
    }
    if (!status)
        status = check_words(&c, command);
    if (!status)
        status = hn_client_connect(&c);
    if (!status)
        status = command->run(&c);
    if (fflush(stdout) && !status)
        status = HN_CLIENT_FAILED;
    finish(&c);
    return status;
}

bool hn_client_command(const char *name, int argc, char **argv, int *ret_status) {
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0) {
            *ret_status = run(&commands[i], argc, argv);
            return true;
        }
    return false;
}

char *hn_client_keep(struct hn_client *c, char *text) {
    static char none[1];
    if (!text)
        return none;
    if (!hn_grow(&c->kept, &c->kept_capacity, c->n_kept + 1, sizeof *c->kept)) {
        free(text);
        return none;
    }
    c->kept[c->n_kept++] = text;
    return text;
}

void hn_client_forget(struct hn_client *c, size_t mark) {
    while (c->n_kept > mark)
        free(c->kept[--c->n_kept]);
}

const char *hn_client_path(struct hn_client *c, const char *format, ...) {
    struct hn_buf out = {0};
    va_list args;
    va_start(args, format);
    for (const char *p = format; *p; p++) {
        if (p[0] != '%' || p[1] != 's') {
            hn_buf_char(&out, *p);
            continue;
        }
        char *encoded = hn_percent(va_arg(args, const char *));
        hn_buf_text(&out, encoded ? encoded : "");
        free(encoded);
        p++;
    }
    va_end(args);
    return hn_client_keep(c, out.data);
}

static void print_fault(FILE *to, const json_t *fault) {
    const char *field = json_string_value(json_object_get(fault, "field")),
               *message = json_string_value(json_object_get(fault, "message")),
               *hint = json_string_value(json_object_get(fault, "hint"));
    const json_t *line = json_object_get(fault, "line");
    struct hn_buf text = {0}, clean = {0};
    hn_buf_text(&text, "       - ");
    if (json_is_integer(line))
        hn_buf_printf(&text, "line %lld: ", (long long)json_integer_value(line));
    if (field && *field && !(message && strstr(message, field)))
        hn_buf_printf(&text, "%s: ", field);
    hn_buf_text(&text, message ? message : "");
    if (hint && *hint)
        hn_buf_printf(&text, " (%s)", hint);
    if (text.data)
        hn_screen_clean(&clean, text.data, text.size, false);
    fprintf(to, "%s\n", clean.data ? clean.data : "");
    hn_buf_free(&clean);
    hn_buf_free(&text);
}

/* All that is at fault, where it is more than what the message says already. */
static void print_details(FILE *to, const struct hn_answer *answer, const char *said) {
    const json_t *list = answer ? hn_member(answer->json, "error.details") : NULL, *fault;
    size_t i, n = json_array_size(list);
    json_array_foreach((json_t *)(uintptr_t)list, i, fault) {
        const char *message = json_string_value(json_object_get(fault, "message"));
        if (i < 20 && (!message || strcmp(message, said) != 0))
            print_fault(to, fault);
    }
    if (n > 20)
        fprintf(to, "       ... and %zu more\n", n - 20);
}

int hn_client_complain(struct hn_client *c, const struct hn_answer *answer) {
    int status = c->outcome == HN_OUTCOME_UNREACHABLE ? HN_CLIENT_UNREACHABLE : HN_CLIENT_FAILED;
    if (c->json) {
        json_t *told = answer && json_object_get(answer->json, "error")
            ? json_incref(answer->json)
            : json_pack("{s:{s:s,s:s,s:n,s:s}}", "error", "code",
                  status == HN_CLIENT_UNREACHABLE ? "unreachable" : hn_error_name(c->err.code),
                  "message", c->err.message, "field", "hint", c->err.hint);
        json_dumpf(told, stderr, JSON_COMPACT | JSON_ENSURE_ASCII);
        fputc('\n', stderr);
        json_decref(told);
        return status;
    }
    struct hn_buf text = {0};
    hn_screen_clean(&text, c->err.message, strlen(c->err.message), false);
    if (c->err.hint[0]) {
        hn_buf_text(&text, "\n       ");
        hn_screen_clean(&text, c->err.hint, strlen(c->err.hint), false);
    }
    fprintf(stderr, "honed: %s\n", text.data ? text.data : "out of memory");
    hn_buf_free(&text);
    print_details(stderr, answer, c->err.message);
    return status;
}

enum hn_outcome hn_client_try(
    struct hn_client *c, const struct hn_ask *ask, struct hn_answer *ret) {
    *ret = (struct hn_answer){0};
    c->outcome = HN_OUTCOME_LOCAL;
    c->err = (struct hn_error){0};
    if (c->transfer || !hn_transfer_create(&c->at, &c->transfer, &c->err))
        c->outcome = hn_transfer_ask(c->transfer, ask, ret, &c->err);
    if (ret->status == 401 && !c->at.key)
        hn_error_hint(&c->err,
            "give a key in HONE_KEY (or with --key); `honed key create` on the "
            "server makes one");
    return c->outcome;
}

int hn_client_call(
    struct hn_client *c, const char *method, const char *path, const json_t *body, json_t **ret) {
    const struct hn_ask ask = {.method = method, .path = path, .body = body};
    struct hn_answer answer;
    int status = hn_client_try(c, &ask, &answer) ? hn_client_complain(c, &answer) : HN_CLIENT_WELL;
    if (ret)
        *ret = status ? NULL : json_incref(answer.json);
    hn_answer_finish(&answer);
    return status;
}

int hn_client_get(struct hn_client *c, const char *path, json_t **ret) {
    return hn_client_call(c, "GET", path, NULL, ret);
}

int hn_client_rows(struct hn_client *c, const char *path, size_t most, json_t **ret) {
    json_t *all = json_array(), *page = NULL;
    const char *after = NULL;
    size_t largest = strncmp(path, "/sweeps", 7) == 0 ? 200 : 1000; /* page that the API gives */
    int status = HN_CLIENT_WELL;
    do {
        size_t left = most - json_array_size(all);
        struct hn_buf query = {0};
        hn_buf_printf(&query, "%s%climit=%zu", path, strchr(path, '?') ? '&' : '?',
            left < largest ? left : largest);
        if (after)
            hn_buf_printf(&query, "&after=%s", hn_client_path(c, "%s", after));
        json_decref(page);
        page = NULL;
        status = hn_client_get(c, query.data ? query.data : path, &page);
        hn_buf_free(&query);
        json_array_extend(all, json_object_get(page, "data"));
        after = json_array_size(json_object_get(page, "data"))
            ? json_string_value(json_object_get(page, "next"))
            : NULL;
    } while (!status && after && json_array_size(all) < most);
    json_decref(page);
    if (status)
        json_decref(all);
    else
        *ret = all;
    return status;
}

bool hn_client_on_upload(void *ud, int64_t sent, int64_t to_send) {
    struct hn_bar *bar = ud;
    char done[HN_FIGURE], all[HN_FIGURE], text[100];
    if (bar->terminal && to_send > 0) {
        snprintf(text, sizeof text, "%s of %s%s", hn_figure_bytes(done, (double)sent),
            hn_figure_bytes(all, (double)to_send), sent >= to_send ? ", being checked" : "");
        hn_bar_show(bar, "uploading", (double)sent / (double)to_send, text, false);
    }
    return true;
}

bool hn_client_ended(const json_t *job) {
    const char *status = json_string_value(json_object_get(job, "status"));
    return !status || strcmp(status, "succeeded") == 0 || strcmp(status, "failed") == 0 ||
        strcmp(status, "cancelled") == 0;
}

bool hn_client_to_stdout(void *ud, long status, const char *data, size_t size) {
    (void)ud;
    (void)status;
    hn_screen_write(stdout, data, size);
    return !ferror(stdout);
}

json_t *hn_member(const json_t *object, const char *path) {
    while (object && strchr(path, '.')) {
        char name[64];
        size_t n = strcspn(path, ".");
        snprintf(name, sizeof name, "%.*s", (int)n, path);
        object = json_object_get(object, name);
        path += n + 1;
    }
    return json_object_get(object, path);
}

double hn_member_number(const json_t *object, const char *path) {
    const json_t *value = hn_member(object, path);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

const char *hn_client_text(struct hn_client *c, const json_t *object, const char *path) {
    const json_t *value = hn_member(object, path);
    struct hn_buf out = {0};
    if (json_is_string(value)) {
        hn_buf_text(&out, "");
        hn_screen_clean(&out, json_string_value(value), json_string_length(value), false);
        return hn_client_keep(c, out.data);
    }
    if (!value || json_is_null(value))
        return "-";
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
    if (text)
        hn_screen_clean(&out, text, strlen(text), false);
    free(text);
    return hn_client_keep(c, out.data);
}

void hn_client_print_json(const json_t *value) {
    char *text = json_dumps(value, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    if (text)
        hn_screen_write(stdout, text, strlen(text));
    putchar('\n');
    free(text);
}
