/*
 * Confinement of children: they work on files of strangers, so they see no more than their work
 * needs.
 *
 * Files by Landlock (kernel 5.13), TCP by Landlock too (6.7), system calls by seccomp. What a
 * kernel has not is left out, and said.
 */
#ifndef HN_SERVER_PROCESS_CONFINE_H
#define HN_SERVER_PROCESS_CONFINE_H

#include <stdbool.h>
#include <stddef.h>

struct hn_place {
    const char *path; /* NULL or "": none; one that is not there is passed over */
    bool write;
};

enum hn_confine_net {
    HN_CONFINE_OFFLINE, /* no sockets */
    HN_CONFINE_CALLS    /* it may open connections to others, and listens nowhere */
};
/* From now on this process (call it while it has one thread) opens files below these places, the
 * system's libraries and what is told of its processors only, makes no links and sockets, changes
 * no modes, owners and times, runs no programs and looks into no other process: it can make the
 * system calls of a list. `ret`: what is in force, a sentence for the log. False when something is
 * missing. */
bool hn_confine(
    const struct hn_place *places, size_t n, enum hn_confine_net net, char *ret, size_t size);
/* What this kernel offers, in the same words, without confining anything. */
bool hn_confine_look(char *ret, size_t size);

#endif
