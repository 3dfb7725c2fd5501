/* honed notify-secret: shows the operator what receivers of notices check signatures with. */
#include "server/cli/commands.h"
#include "server/hooks/secret.h"

#include <stdio.h>
#include <string.h>

int hn_command_notify_secret(int argc, char **argv) {
    struct hn_config config;
    struct hn_hook_secret secret = {0};
    struct hn_error err = {0};
    int left = 0;
    hn_config_init(&config);
    int rc = hn_command_config(&config, argc, argv, &left, &err);
    if (!rc && left) {
        hn_config_finish(&config);
        return hn_usage("honed notify-secret [--config F] [--state D]");
    }
    if (!rc)
        rc = hn_hook_secret_open(&config, false, &secret, &err);
    if (!rc)
        printf("%s\n", secret.text);
    explicit_bzero(&secret, sizeof secret);
    hn_config_finish(&config);
    return rc ? hn_complain(&err) : 0;
}
