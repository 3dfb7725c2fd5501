/*
 * What the machine has: memory, processors, free disk. Limits of the control group (a service's, a
 * container's) count, not only the hardware.
 */
#ifndef HN_SERVER_BASE_MACHINE_H
#define HN_SERVER_BASE_MACHINE_H

#include <stdint.h>

int64_t hn_machine_memory(void);  /* bytes this process and its children may use */
int64_t hn_machine_threads(void); /* processors this process may run on, at least 1 */
/* The limits that hold for the groups of `membership` (as /proc/self/cgroup has it) below the
 * folder `groups`: version 2, of memory also version 1. INT64_MAX without one. */
int64_t hn_machine_group_memory(const char *membership, const char *groups);
int64_t hn_machine_group_processors(const char *membership, const char *groups);
/* Bytes free for us on the file system of `path`; INT64_MAX when it cannot be told. */
int64_t hn_machine_disk_free(const char *path);
int64_t hn_machine_resident(void); /* resident bytes of this process, for the metrics page */

#endif
