/* honed completion: scripts by which shells complete commands and options, made from the tables of
 * commands and settings. */
#include "server/cli/commands.h"
#include "server/client/client.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *what;
} local[] = {
#define HN_COMMAND(name, synopsis, what, run) {name, what},
#include "server/cli/commands.def"
#undef HN_COMMAND
};

typedef void (*command_fn)(void *ud, const char *name, const char *what);
typedef void (*option_fn)(
    void *ud, const char *name, char letter, const char *value, const char *help);

static void each_command(command_fn each) {
    hn_client_each_command(each, NULL);
    for (size_t i = 0; i < sizeof local / sizeof local[0]; i++)
        if (local[i].what)
            each(NULL, local[i].name, local[i].what);
}

/* Of a command that works here: the settings; those that ask a server have a table. */
static void each_option(const char *command, option_fn each, void *ud) {
    bool here = false;
    for (size_t i = 0; i < sizeof local / sizeof local[0]; i++)
        here = here || (local[i].what && strcmp(local[i].name, command) == 0);
    if (!here) {
        hn_client_each_option(command, each, ud);
        return;
    }
    bool settings =
        command[0] != '-' && strcmp(command, "completion") != 0 && strcmp(command, "train") != 0;
    json_t *list = settings ? hn_config_schema() : NULL, *row;
    size_t i;
    if (settings)
        each(ud, "config", 0, "FILE", "file of settings");
    json_array_foreach(list, i, row)
        each(ud, json_string_value(json_object_get(row, "name")), 0, "VALUE",
            json_string_value(json_object_get(row, "help")));
    json_decref(list);
}

/* A text inside '…'. Shells' own signs in zsh's specifications are escaped as well. */
static void put_quoted(const char *text, bool zsh) {
    for (; *text; text++)
        if (*text == '\'')
            fputs("'\\''", stdout);
        else if (zsh && strchr("[]:\\", *text))
            printf("\\%c", *text);
        else
            putchar(*text);
}

static void bash_option(
    void *ud, const char *name, char letter, const char *value, const char *help) {
    (void)ud;
    (void)letter;
    (void)value;
    (void)help;
    printf(" --%s", name);
}

static void bash_name(void *ud, const char *name, const char *what) {
    (void)ud;
    (void)what;
    printf(" %s", name);
}

static void bash_case(void *ud, const char *name, const char *what) {
    (void)ud;
    (void)what;
    printf("        %s) options='", name);
    each_option(name, bash_option, NULL);
    puts(hn_client_takes_job(name) ? "' jobs=1 ;;" : "' ;;");
}

/* Names of jobs are asked of the server, which has a moment to answer. */
static void print_bash(void) {
    printf("_honed() {\n    local word=${COMP_WORDS[COMP_CWORD]} options= jobs=\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        COMPREPLY=($(compgen -W '");
    each_command(bash_name);
    printf("' -- \"$word\"))\n        return\n    fi\n    case ${COMP_WORDS[1]} in\n");
    each_command(bash_case);
    puts("    esac\n    COMPREPLY=()\n"
         "    case $word in -*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\")) ;;\n"
         "    *) [ -z \"$jobs\" ] || COMPREPLY=($(compgen -W \"$(timeout 2 \"${COMP_WORDS[0]}\" "
         "jobs "
         "--names 2>/dev/null)\" -- \"$word\")) ;;\n    esac\n}\n"
         "complete -o default -F _honed honed");
}

static void zsh_name(void *ud, const char *name, const char *what) {
    (void)ud;
    printf("        '%s:", name);
    put_quoted(what, true);
    puts("'");
}

static void zsh_option(
    void *ud, const char *name, char letter, const char *value, const char *help) {
    (void)ud;
    (void)letter;
    printf(" '*--%s[", name);
    put_quoted(help, true);
    printf("]%s%s", value ? ":" : "", value ? value : "");
    fputs(value ? ":_files'" : "'", stdout);
}

static void zsh_case(void *ud, const char *name, const char *what) {
    (void)ud;
    (void)what;
    printf("        %s) _arguments", name);
    each_option(name, zsh_option, NULL);
    puts(" '*:word:_files' ;;");
}

static void print_zsh(void) {
    puts("#compdef honed\n_honed() {\n    local -a commands=(");
    each_command(zsh_name);
    puts("    )\n    if (( CURRENT == 2 )); then\n        _describe command commands\n        "
         "return\n"
         "    fi\n    local command=$words[2]\n    shift words\n    (( CURRENT-- ))\n"
         "    case $command in");
    each_command(zsh_case);
    puts("    esac\n}\n_honed \"$@\"");
}

static void fish_option(
    void *ud, const char *name, char letter, const char *value, const char *help) {
    printf("complete -c honed -n '__fish_seen_subcommand_from %s' -l %s", (const char *)ud, name);
    if (letter)
        printf(" -s %c", letter);
    printf("%s -d '", value ? " -r" : "");
    put_quoted(help, false);
    puts("'");
}

static void fish_command(void *ud, const char *name, const char *what) {
    (void)ud;
    printf("complete -c honed -n __fish_use_subcommand -f -a '%s' -d '", name);
    put_quoted(what, false);
    puts("'");
    each_option(name, fish_option, (void *)(uintptr_t)name);
}

int hn_command_completion(int argc, char **argv) {
    const char *shell = argc == 1 ? argv[0] : "";
    if (strcmp(shell, "bash") == 0)
        print_bash();
    else if (strcmp(shell, "zsh") == 0)
        print_zsh();
    else if (strcmp(shell, "fish") == 0)
        each_command(fish_command);
    else
        return hn_usage("honed completion bash|zsh|fish\n"
                        "       for example: honed completion bash > "
                        "~/.local/share/bash-completion/completions/honed");
    return fflush(stdout) ? 1 : 0;
}
