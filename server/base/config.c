/* See config.h. */
#include "server/base/config.h"
#include "server/base/hook_address.h"
#include "server/base/log.h"
#include "server/base/machine.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum type { TEXT, COUNT, SIZE, FLAG, WORD };

struct option {
    const char *name;
    enum type type;
    size_t offset;
    const char *standard; /* NULL: found out at start */
    int64_t min, max;
    const char *help; /* of a WORD: "…: a, b, c"; the setting is the place of one in that list */
};

#define AT(name) offsetof(struct hn_config, name)
#define TERA ((int64_t)1 << 50)
static const struct option options[] = {
    {"listen", TEXT, AT(listen), "127.0.0.1:4663", 0, 0, "address and port"},
    {"state", TEXT, AT(state), NULL, 0, 0, "folder of jobs, data sets and models"},
    {"slots", COUNT, AT(slots), "1", 1, 64, "jobs that may train at the same time"},
    {"threads", COUNT, AT(threads), "0", 0, 1024,
        "compute threads of all slots together; 0 = the machine's"},
    {"memory", SIZE, AT(memory), "0", 0, TERA,
        "memory for all trainers together; 0 = 80 % of the machine's"},
    {"model_dirs", TEXT, AT(model_dirs), "", 0, 0,
        "folders, joined by ':', from which POST /models may import"},
    {"max_upload", SIZE, AT(max_upload), "16G", 1, TERA, "largest data set or model file"},
    {"max_body", SIZE, AT(max_body), "4M", 1024, (int64_t)1 << 30, "largest JSON body"},
    {"request_memory", SIZE, AT(request_memory), "512M", 1 << 20, TERA,
        "for bodies and answers of all requests at a time; four times max_body at least"},
    {"max_connections", COUNT, AT(max_connections), "4096", 16, 15000,
        "open at once; for more, idle ones are closed, else they are told to come later"},
    {"max_per_client", COUNT, AT(max_per_client), "0", 0, 15000,
        "of one address; 0 = as many as there are"},
    {"idle_seconds", COUNT, AT(idle_seconds), "60", 1, 86400,
        "a connection has so long to send a request's headers"},
    {"token_cache", SIZE, AT(token_cache), "2G", 0, TERA,
        "disk for tokenised rows of recent jobs, kept for the next; 0 = none"},
    {"disk_reserve", SIZE, AT(disk_reserve), "512M", 0, TERA,
        "free space that uploads and jobs leave alone"},
    {"grace_seconds", COUNT, AT(grace_seconds), "60", 1, 86400,
        "time a trainer has to write its state when stopped"},
    {"hang_seconds", COUNT, AT(hang_seconds), "3600", 1, 2592000,
        "a trainer that neither tells nor computes anything for so long is stopped as hung"},
    {"helpers", COUNT, AT(helpers), "2", 1, 64,
        "processes that check data and plan, and as many that predict and evaluate; of two or more "
        "one is for short requests"},
    {"helper_seconds", COUNT, AT(helper_seconds), "60", 1, 86400,
        "a helper that shows no sign of life for so long is replaced"},
    {"serving", COUNT, AT(serving), "1", 1, 16,
        "models that may write answers for /v1/chat/completions at the same time, a process each"},
    {"inference_share", COUNT, AT(inference_share), "100", 1, 100,
        "percent of the time that these may compute while jobs train"},
    {"log_level", WORD, AT(log_level), "info", 0, 0,
        "lines that are written, from this level on: " HN_LOG_LEVELS},
    {"log_format", WORD, AT(log_format), "text", 0, 0, "their form: " HN_LOG_FORMATS},
    {"allowed_hosts", TEXT, AT(allowed_hosts), "", 0, 0,
        "names, joined by ',', by which a proxy or browser may call it"},
    {"tls_cert", TEXT, AT(tls_cert), "", 0, 0, "PEM file of the certificate chain; turns on HTTPS"},
    {"tls_key", TEXT, AT(tls_key), "", 0, 0, "PEM file of its private key"},
    {"require_keys", TEXT, AT(require_keys), "auto", 0, 0,
        "yes, no, or auto: only when listening beyond loopback"},
    {"socket", TEXT, AT(socket), "", 0, 0,
        "path of a Unix socket to listen on as well; local users are known by their accounts"},
    {"socket_users", TEXT, AT(socket_users), "", 0, 0,
        "scopes of local users and @groups on that socket: alice:submit,@ml:read"},
    {"notify_hosts", TEXT, AT(notify_hosts), "", 0, 0,
        "host[:port] entries, joined by ',', that jobs may name in notify_url to be told of their "
        "end; empty: none"},
    {"notify_secret_file", TEXT, AT(notify_secret_file), "", 0, 0,
        "file with the secret (whsec_...) that these notices are signed with; empty: one is made "
        "in "
        "STATE/notify_secret"},
    {"audit", FLAG, AT(audit), "yes", 0, 0,
        "no: STATE/audit.jsonl gets no line for each request that changes something"},
    {"confine", FLAG, AT(confine), "yes", 0, 0,
        "no: trainers and helpers may open any file that the daemon may"},
    {"insecure", FLAG, AT(insecure), "no", 0, 0,
        "yes: allow listening beyond loopback without TLS or keys"},
    {"retain_days", COUNT, AT(retain_days), "0", 0, 36500,
        "what is older is deleted: ended jobs, data sets that no job names, evaluations, exports; "
        "0 = kept"},
    {"retain_bytes", SIZE, AT(retain_bytes), "0", 0, TERA,
        "of these at most so much is kept, the newest; 0 = any"},
    {"lost_days", COUNT, AT(lost_days), "30", 0, 36500,
        "what a start found without a record is deleted from lost+found after so long; 0 = kept"},
    {"scrub_days", COUNT, AT(scrub_days), "7", 0, 3650,
        "while nothing trains, all files are compared with their hashes this often; 0 = never"},
    {"care_seconds", COUNT, AT(care_seconds), "60", 1, 86400,
        "how often old things are deleted, the disk measured and files compared"},
};
#define OPTIONS (sizeof options / sizeof options[0])

static void *field_of(struct hn_config *config, const struct option *option) {
    return (char *)config + option->offset;
}

static const struct option *find(const char *name) {
    char plain[64];
    size_t n = strlen(name);
    if (n >= sizeof plain)
        return NULL;
    for (size_t i = 0; i <= n; i++)
        plain[i] = name[i] == '-' ? '_' : name[i];
    for (size_t i = 0; i < OPTIONS; i++)
        if (strcmp(options[i].name, plain) == 0)
            return &options[i];
    return NULL;
}

bool hn_config_number(const char *text, bool size, int64_t *ret) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || end == text || value < 0)
        return false;
    if (size && *end) {
        static const char units[] = "KMGT";
        const char *unit = strchr(units, toupper((unsigned char)*end));
        if (!unit || !*unit || (end[1] && strcmp(end + 1, "B") != 0 && strcmp(end + 1, "iB") != 0))
            return false;
        for (const char *u = units; u <= unit; u++)
            if (__builtin_mul_overflow(value, 1024LL, &value))
                return false;
        end = (char *)(uintptr_t) "";
    }
    *ret = value;
    return *end == 0;
}

/* Which of "a, b, c" it is, from 0; -1 when it is none. */
static int64_t place_of(const char *words, const char *word) {
    size_t n = strlen(word);
    for (int64_t i = 0; *words; i++) {
        size_t size = strcspn(words, ",");
        if (size == n && strncmp(words, word, n) == 0)
            return i;
        words += size + strspn(words + size, ", ");
    }
    return -1;
}

static int refuse(
    struct hn_error *err, const struct option *option, const char *value, const char *wanted) {
    hn_fail(err, HN_E_INVALID_FIELD, "%s: \"%.200s\" is not %s", option->name, value, wanted);
    hn_error_field(err, "%s", option->name);
    hn_error_hint(err, "%s: %s", option->name, option->help);
    return HN_E_INVALID_FIELD;
}

int hn_config_set(
    struct hn_config *config, const char *name, const char *value, struct hn_error *err) {
    const struct option *option = find(name);
    if (!option) {
        hn_fail(err, HN_E_UNKNOWN_FIELD, "there is no setting \"%.100s\"", name);
        hn_error_hint(err, "`honed serve --help` lists the settings");
        return HN_E_UNKNOWN_FIELD;
    }
    void *field = field_of(config, option);
    int64_t number = 0;
    switch (option->type) {
    case TEXT: {
        char *copy = strdup(value);
        if (!copy)
            return hn_fail(err, HN_E_INTERNAL, "out of memory");
        free(*(char **)field);
        *(char **)field = copy;
        return 0;
    }
    case COUNT:
    case SIZE:
        if (!hn_config_number(value, option->type == SIZE, &number))
            return refuse(err, option, value,
                option->type == SIZE ? "a size such as 512M or 16G" : "a whole number");
        if (number < option->min || number > option->max)
            return refuse(err, option, value, "within its limits");
        *(int64_t *)field = number;
        return 0;
    case FLAG:
        if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
            return refuse(err, option, value, "yes or no");
        *(bool *)field = value[0] == 'y';
        return 0;
    case WORD:
        number = place_of(strchr(option->help, ':') + 2, value);
        if (number < 0)
            return refuse(err, option, value, "one of its words");
        *(int64_t *)field = number;
        return 0;
    }
    return HN_E_INTERNAL;
}

void hn_config_init(struct hn_config *config) {
    *config = (struct hn_config){0};
    for (size_t i = 0; i < OPTIONS; i++)
        if (options[i].standard)
            hn_config_set(config, options[i].name, options[i].standard, NULL);
}

void hn_config_finish(struct hn_config *config) {
    for (size_t i = 0; i < OPTIONS; i++)
        if (options[i].type == TEXT)
            free(*(char **)field_of(config, &options[i]));
    *config = (struct hn_config){0};
}

static char *trim(char *s) {
    while (isspace((unsigned char)*s))
        s++;
    size_t n = strlen(s);
    while (n && isspace((unsigned char)s[n - 1]))
        s[--n] = 0;
    return s;
}

/* Takes one line of a file in; `line` is changed. */
static int load_line(
    struct hn_config *config, const char *path, int number, char *line, struct hn_error *err) {
    struct hn_error inner = {0};
    line = trim(line);
    if (!*line || *line == '#')
        return 0;
    char *equals = strchr(line, '=');
    if (!equals)
        return hn_fail(
            err, HN_E_INVALID_FIELD, "%.300s, line %d: expected key = value", path, number);
    *equals = 0;
    int rc = hn_config_set(config, trim(line), trim(equals + 1), &inner);
    if (rc) {
        hn_fail(err, rc, "%.300s, line %d: %.500s", path, number, inner.message);
        hn_error_hint(err, "%s", inner.hint);
    }
    return rc;
}

int hn_config_check(struct hn_config *config, const char *path,
    void (*each)(void *ud, const struct hn_error *problem), void *ud, struct hn_error *err) {
    char *text;
    size_t size;
    int rc = hn_file_read(path, 1 << 20, &text, &size, err), number = 0;
    if (rc)
        return rc;
    char *rest = text;
    for (char *line; (!rc || each) && (line = strsep(&rest, "\n"));) {
        struct hn_error problem = {0};
        int wrong = load_line(config, path, ++number, line, each ? &problem : err);
        if (wrong && each)
            each(ud, &problem);
        rc = rc ? rc : wrong;
    }
    free(text);
    return each ? 0 : rc;
}

int hn_config_load(struct hn_config *config, const char *path, struct hn_error *err) {
    return hn_config_check(config, path, NULL, NULL, err);
}

/* The value of the option at argv[*i], which may be "--name=value" or "--name value"; NULL when it
 * is missing. */
static char *option_value(int argc, char **argv, int *i, char *name, size_t size) {
    char *arg = argv[*i] + 2, *equals = strchr(arg, '=');
    size_t n = equals ? (size_t)(equals - arg) : strlen(arg);
    if (n >= size)
        n = size - 1;
    memcpy(name, arg, n);
    name[n] = 0;
    if (equals)
        return equals + 1;
    return *i + 1 < argc ? argv[++*i] : NULL;
}

static int take_options(
    struct hn_config *config, int argc, char **argv, bool file, int *left, struct hn_error *err) {
    int kept = 0, rc = 0;
    for (int i = 0; i < argc && !rc; i++) {
        char name[64];
        if (strcmp(argv[i], "--") == 0) {
            while (++i < argc)
                argv[kept++] = argv[i];
            break;
        }
        if (strncmp(argv[i], "--", 2) != 0) {
            if (!file)
                argv[kept++] = argv[i];
            continue;
        }
        char *value = option_value(argc, argv, &i, name, sizeof name);
        if (!value) {
            hn_fail(err, HN_E_MISSING_FIELD, "--%s needs a value", name);
            hn_error_hint(err, "`honed serve --help` lists the settings");
            return HN_E_MISSING_FIELD;
        }
        bool is_file = strcmp(name, "config") == 0;
        if (is_file && file)
            rc = hn_config_load(config, value, err);
        else if (!is_file && !file)
            rc = hn_config_set(config, name, value, err);
    }
    *left = kept;
    return rc;
}

int hn_config_arguments(
    struct hn_config *config, int argc, char **argv, int *ret_argc, struct hn_error *err) {
    int left, rc = take_options(config, argc, argv, true, &left, err);
    if (rc)
        return rc;
    return take_options(config, argc, argv, false, ret_argc, err);
}

static int default_state(struct hn_config *config, struct hn_error *err) {
    struct hn_buf path = {.ceiling = 4000};
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME"),
               *service = getenv("STATE_DIRECTORY");
    if (service && *service == '/' && !strchr(service, ':'))
        hn_buf_text(&path, service); /* systemd made it for us */
    else if (xdg && *xdg == '/')
        hn_buf_printf(&path, "%s/hone", xdg);
    else if (home && *home == '/')
        hn_buf_printf(&path, "%s/.local/state/hone", home);
    else
        hn_buf_text(&path, "/var/lib/hone");
    if (path.failed || !path.data)
        return hn_fail(err, HN_E_INVALID_FIELD, "the path of the state folder is too long");
    config->state = path.data;
    return 0;
}

const char *hn_config_standard_file(void) {
    static const char file[] = "/etc/honed.conf";
    const char *named = getenv("HONE_CONFIG");
    if (named)
        return *named ? named : NULL;
    return access(file, R_OK) == 0 ? file : NULL;
}

int hn_config_resolve(struct hn_config *config, struct hn_error *err) {
    int rc = config->state ? 0 : default_state(config, err);
    if (!rc)
        rc = hn_hook_hosts_check(config->notify_hosts, err);
    if (rc)
        return rc;
    const char *keys = config->require_keys;
    if (strcmp(keys, "auto") != 0 && strcmp(keys, "yes") != 0 && strcmp(keys, "no") != 0)
        return refuse(err, find("require_keys"), keys, "auto, yes or no");
    if (!*config->tls_cert != !*config->tls_key) {
        hn_fail(err, HN_E_MISSING_FIELD, "tls_cert and tls_key are only useful together");
        hn_error_hint(err, "name both files, or neither");
        return HN_E_MISSING_FIELD;
    }
    if (config->request_memory / 4 < config->max_body) {
        hn_fail(err, HN_E_INVALID_FIELD,
            "request_memory is less than four times max_body (%lld bytes): a single request could "
            "not be answered",
            (long long)config->max_body);
        hn_error_hint(err, "raise request_memory, or lower max_body");
        return HN_E_INVALID_FIELD;
    }
    if (!config->memory)
        config->memory = hn_machine_memory() / 5 * 4;
    if (!config->threads)
        config->threads = hn_machine_threads();
    return 0;
}

char *hn_config_help(void) {
    struct hn_buf out = {0};
    hn_buf_printf(
        &out, "  --%-15s %s\n", "config F", "file of key = value lines with the same names");
    for (size_t i = 0; i < OPTIONS; i++) {
        hn_buf_printf(&out, "  --%-15s %s", options[i].name, options[i].help);
        if (options[i].standard && *options[i].standard)
            hn_buf_printf(&out, " (%s)", options[i].standard);
        hn_buf_char(&out, '\n');
    }
    return out.data;
}

json_t *hn_config_schema(void) {
    static const char *const types[] = {"text", "number", "size", "yes|no", "word"};
    json_t *list = json_array();
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *option = &options[i];
        json_t *row = json_pack("{s:s,s:s,s:s?,s:s}", "name", option->name, "type",
            types[option->type], "default", option->standard, "help", option->help);
        if (option->type == COUNT || option->type == SIZE) {
            json_object_set_new(row, "min", json_integer((json_int_t)option->min));
            json_object_set_new(row, "max", json_integer((json_int_t)option->max));
        }
        json_array_append_new(list, row);
    }
    return list;
}
