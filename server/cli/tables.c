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
    json_t *all = json_pack("{s:s,s:o,s:o,s:o,s:o}", "version", HN_VERSION, "commands", commands(),
        "settings", hn_config_schema(), "hyperparameters", hn_hyperparams_schema(), "errors",
        errors());
    int rc = all ? json_dumpf(all, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(10)) : -1;
    json_decref(all);
    return rc || fflush(stdout) != 0;
}
