/*
 * What the machine has: memory, processors, free disk. Container limits (cgroup v2) count, not only the hardware.
 */
#ifndef HN_MACHINE_H
#define HN_MACHINE_H

#include <stdint.h>

int64_t hn_machine_memory(void);  /* bytes this process and its children may use */
int64_t hn_machine_threads(void); /* processors this process may run on, at least 1 */
/* Bytes free for us on the file system of `path`; INT64_MAX when it cannot be told. */
int64_t hn_machine_disk_free(const char *path);
int64_t hn_machine_resident(void); /* resident bytes of this process, for the metrics page */

#endif
