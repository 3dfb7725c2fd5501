/* honed key: what makes, lists and revokes API keys. */
#include "server/http/audit.h"
#include "server/cli/commands.h"
#include "server/store/store_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define USAGE                                                                                    \
    "honed key create --name N --scope read|submit|admin [--see own|all] [--team T] [--expires " \
    "30d|2027-01-31]\n"                                                                          \
    "                       [--max_bytes 10G] [--max_queued N] [--max_running N] [--state D]\n"  \
    "       honed key list [--state D] | honed key revoke NAME|ID [--state D]"

#define YEARS_MS (100 * 366 * HN_DAY_MS)

/* Texts as given, NULL where absent. */
struct wish {
    const char *name, *scope, *see, *team, *expires, *max_bytes, *max_queued, *max_running;
};

static int refuse(struct hn_error *err, const char *message, const char *hint) {
    hn_fail(err, HN_E_INVALID_FIELD, "%s", message);
    hn_error_hint(err, "%s", hint);
    return HN_E_INVALID_FIELD;
}

static bool is_one_of(const char *text, const char *const *words) {
    while (*words && strcmp(text, *words) != 0)
        words++;
    return *words != NULL;
}

/* UTF-8 without control characters: it stands in lists, logs and JSON. */
static bool is_plain(const char *text) {
    json_t *value = json_string(text);
    bool plain = value != NULL;
    for (const char *s = text; plain && *s; s++)
        plain = (unsigned char)*s >= ' ' && *s != 127;
    json_decref(value);
    return plain;
}

/* A span ("30d", "12h", "5m", "60s") from now, or the end of a day. */
static int read_expiry(const char *text, char ret[HN_TIME_SIZE], struct hn_error *err) {
    static const struct {
        char unit;
        int64_t ms;
    } units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', HN_DAY_MS}};
    struct tm tm = {0};
    int64_t now = hn_time_ms(), at = -1, span;
    char *end = NULL;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (!errno && n > 0 && end[0] == units[i].unit && !end[1] &&
            !__builtin_mul_overflow((int64_t)n, units[i].ms, &span) && span < YEARS_MS)
            at = now + span;
    const char *rest = strlen(text) == 10 ? strptime(text, "%Y-%m-%d", &tm) : NULL;
    if (rest && !*rest)
        at = (int64_t)timegm(&tm) * 1000 + HN_DAY_MS - 1;
    if (at <= now || at > now + YEARS_MS)
        return refuse(err, "--expires must be a span or a date that is still to come",
            "for example 12h, 30d, or 2027-01-31 (until the end of that day, UTC)");
    hn_time_rfc3339(at, ret);
    return 0;
}

static int read_limit(
    const char *name, const char *text, bool size, int64_t *ret, struct hn_error *err) {
    if (!text || (hn_config_number(text, size, ret) && *ret > 0))
        return 0;
    hn_fail(err, HN_E_INVALID_FIELD, "--%s: \"%.100s\" is not %s above 0", name, text,
        size ? "a size" : "a number");
    hn_error_hint(
        err, "for example --%s %s; without it there is no limit", name, size ? "10G" : "5");
    return HN_E_INVALID_FIELD;
}

static int check_reach(
    const struct wish *wish, struct hn_key_insert *insert, struct hn_error *err) {
    static const char *const scopes[] = {"read", "submit", "admin", NULL},
                             *const sights[] = {"own", "all", NULL};
    bool admin = strcmp(wish->scope, "admin") == 0;
    if (!is_one_of(wish->scope, scopes))
        return refuse(err, "--scope must be read, submit or admin",
            "read looks, submit also trains, admin also takes in models");
    if (wish->see && !is_one_of(wish->see, sights))
        return refuse(err, "--see must be own or all",
            "own: its own and its team's jobs and data sets; all: everybody's");
    if (wish->team && !hn_name_valid(wish->team))
        return refuse(err, "--team: this cannot be the name of a team",
            "use 1 to 64 of a-z, 0-9, dot, underscore and dash");
    insert->see = wish->see ? wish->see : admin ? "all" : "own";
    insert->team = wish->team;
    if (admin && strcmp(insert->see, "all") != 0)
        return refuse(
            err, "a key of scope admin sees everything", "leave --see out, or use --scope submit");
    if (strcmp(wish->scope, "read") == 0 && strcmp(insert->see, "own") == 0 && !wish->team)
        return refuse(err, "a key of scope read makes nothing, so it has nothing of its own to see",
            "give it a team (--team T) or let it see everything (--see all)");
    return 0;
}

static int read_wish(const struct wish *wish, struct hn_key_insert *insert,
    char expires[HN_TIME_SIZE], struct hn_error *err) {
    if (!*wish->name || strlen(wish->name) > 64 || !is_plain(wish->name))
        return refuse(err, "--name must have 1 to 64 bytes of UTF-8 without control characters",
            "for example --name ci");
    int rc = check_reach(wish, insert, err);
    if (!rc && wish->expires)
        rc = read_expiry(wish->expires, expires, err);
    insert->expires_at = wish->expires ? expires : NULL;
    if (!rc)
        rc = read_limit("max_bytes", wish->max_bytes, true, &insert->max_bytes, err);
    if (!rc)
        rc = read_limit("max_queued", wish->max_queued, false, &insert->max_queued, err);
    return rc ? rc : read_limit("max_running", wish->max_running, false, &insert->max_running, err);
}

static int create(struct hn_session *s, const struct wish *wish, struct hn_error *err) {
    unsigned char random[20];
    char secret[64] = "hone_", id[HN_ID_SIZE], hash[HN_SHA256_HEX], expires[HN_TIME_SIZE] = "";
    struct hn_key_insert insert = {
        .id = id, .name = wish->name, .scope = wish->scope, .hash = hash};
    int rc = read_wish(wish, &insert, expires, err);
    if (rc)
        return rc;
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return hn_fail_errno(err, errno, "no randomness");
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(secret + 5 + 2 * i, 3, "%02x", random[i]);
    hn_id_make("key", id);
    hn_sha256(secret, strlen(secret), hash);
    rc = hn_store_call(s->store, hn_db_key_insert, &insert, err);
    if (s->config.audit)
        hn_audit_command(s->config.state, "key create", id, rc);
    if (!rc)
        printf("%s\n", secret);
    if (!rc)
        fprintf(stderr,
            "%s (%s, scope %s, sees %s%s%s%s%s) was created; the line above is its secret, shown "
            "this once\n",
            id, wish->name, wish->scope, insert.see, wish->team ? ", team " : "",
            wish->team ? wish->team : "", *expires ? ", expires " : "", expires);
    return rc;
}

static void print_limit(const json_t *key, const char *name) {
    const json_t *value = json_object_get(key, name);
    if (json_is_integer(value))
        printf("  %s %lld", name, (long long)json_integer_value(value));
}

static void print_text(const json_t *key, const char *name, const char *label) {
    const char *text = json_string_value(json_object_get(key, name));
    if (text && *text)
        printf("  %s %s", label, text);
}

static int list(struct hn_session *s, struct hn_error *err) {
    struct hn_db *db = hn_store_read(s->store, err);
    json_t *all = NULL, *key;
    size_t i;
    int rc = db ? hn_db_key_list(db, &all, err) : HN_E_INTERNAL;
    json_array_foreach(all, i, key) {
        printf("%s  %-8s %s", json_string_value(json_object_get(key, "id")),
            json_string_value(json_object_get(key, "scope")),
            json_string_value(json_object_get(key, "created_at")));
        print_text(key, "see", "sees");
        print_text(key, "team", "team");
        print_text(key, "expires_at", "expires");
        print_text(key, "revoked_at", "revoked");
        print_limit(key, "max_bytes");
        print_limit(key, "max_queued");
        print_limit(key, "max_running");
        printf("  %s\n", json_string_value(json_object_get(key, "name")));
    }
    json_decref(all);
    hn_store_release(s->store, db);
    return rc;
}

static int revoke(struct hn_session *s, char *which, struct hn_error *err) {
    int rc = hn_store_call(s->store, hn_db_key_revoke, which, err);
    if (s->config.audit)
        hn_audit_command(s->config.state, "key revoke", which, rc);
    return rc;
}

static void take(struct wish *wish, int *argc, char **argv) {
    const struct {
        const char *word;
        const char **value;
    } options[] = {
        {"--name", &wish->name},
        {"--scope", &wish->scope},
        {"--see", &wish->see},
        {"--team", &wish->team},
        {"--expires", &wish->expires},
        {"--max_bytes", &wish->max_bytes},
        {"--max-bytes", &wish->max_bytes},
        {"--max_queued", &wish->max_queued},
        {"--max-queued", &wish->max_queued},
        {"--max_running", &wish->max_running},
        {"--max-running", &wish->max_running},
    };
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        const char *value = hn_argument_take(argc, argv, options[i].word);
        if (value)
            *options[i].value = value;
    }
}

int hn_command_key(int argc, char **argv) {
    struct wish wish = {.name = NULL};
    struct hn_session s;
    struct hn_error err = {0};
    take(&wish, &argc, argv);
    if (hn_session_open(&s, argc, argv, false, &err))
        return hn_complain(&err);
    int rc = 0, status = 0;
    if (s.argc == 1 && strcmp(s.argv[0], "create") == 0 && wish.name && wish.scope)
        rc = create(&s, &wish, &err);
    else if (s.argc == 1 && strcmp(s.argv[0], "list") == 0)
        rc = list(&s, &err);
    else if (s.argc == 2 && strcmp(s.argv[0], "revoke") == 0)
        rc = revoke(&s, s.argv[1], &err);
    else
        status = hn_usage(USAGE);
    hn_session_close(&s);
    return rc ? hn_complain(&err) : status;
}
