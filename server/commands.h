/* The subcommands that work without a running daemon, or beside one: models, keys, the look at the machine. */
#ifndef HN_COMMANDS_H
#define HN_COMMANDS_H

/* argv[0] is the word after the subcommand's name. Each returns a process exit status. */
int hn_command_model(int argc, char **argv);
int hn_command_key(int argc, char **argv);
int hn_command_doctor(int argc, char **argv);

#endif
