/*
 * Prints the tables that the program is made from as one JSON object: commands, settings,
 * hyperparameters, errors. Run by the build, which makes the manual's tables and the man pages
 * from it; not installed.
 */
#include "server/base/config.h"

#include <stdio.h>

static json_t *commands(void) {
    json_t *list = json_array();
#define HN_COMMAND(name, synopsis, what, run) \
    json_array_append_new(                    \
        list, json_pack("{s:s,s:s,s:s?}", "name", name, "synopsis", synopsis, "what", what));
#include "server/cli/commands.def"
#undef HN_COMMAND
    return list;
}

static json_t *client_options(void) {
    json_t *list = json_array();
#define HN_CLIENT_OPTION(name, letter, value, help)                                               \
    json_array_append_new(list,                                                                   \
        json_pack("{s:s,s:s?,s:s,s:b}", "name", name, "value", (const char *)value, "help", help, \
            "common", json_array_size(list) < HN_CLIENT_COMMON));
#include "server/client/client.def"
#undef HN_CLIENT_OPTION
    return list;
}

static json_t *client_commands(void) {
    json_t *list = json_array();
#define HN_CLIENT_COMMAND(name, least, most, run, synopsis, what, options, example)          \
    json_array_append_new(list,                                                              \
        json_pack("{s:s,s:s,s:s,s:s,s:s}", "name", name, "synopsis", synopsis, "what", what, \
            "options", options, "example", example));
#include "server/client/client.def"
#undef HN_CLIENT_COMMAND
    return list;
}

static json_t *errors(void) {
    json_t *list = json_array();
#define HN_ERROR(NAME, code, KIND, text) \
    json_array_append_new(               \
        list, json_pack("{s:s,s:s,s:s}", "code", #code, "kind", #KIND, "text", text));
#include "engine/errors.def"
#undef HN_ERROR
    return list;
}

int main(void) {
    json_t *all = HN_JSON_OBJECT({"version", json_string(HN_VERSION)}, {"commands", commands()},
        {"client", client_commands()}, {"client_options", client_options()},
        {"settings", hn_config_schema()}, {"hyperparameters", hn_hyperparams_schema()},
        {"errors", errors()});
    int rc = all ? json_dumpf(all, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(10)) : -1;
    json_decref(all);
    return rc || fflush(stdout) != 0;
}
