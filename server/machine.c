/* See machine.h. */
#include "server/machine.h"
#include "engine/engine.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* The smallest memory.max on the way from our cgroup to the root; INT64_MAX without one. */
static int64_t cgroup_memory(void) {
    char *text;
    size_t size;
    if (hn_file_read("/proc/self/cgroup", 65536, &text, &size, NULL))
        return INT64_MAX;
    int64_t least = INT64_MAX;
    char *line = strstr(text, "0::/");
    if (line) {
        line += 3;
        line[strcspn(line, "\n")] = 0;
        for (;;) {
            char path[4096], *limit;
            snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", line);
            if (hn_file_read(path, 64, &limit, &size, NULL) == 0) {
                long long value = strtoll(limit, NULL, 10);
                if (value > 0 && value < least)
                    least = value;
                free(limit);
            }
            char *slash = strrchr(line, '/');
            if (!slash)
                break;
            *slash = 0;
        }
    }
    free(text);
    return least;
}

int64_t hn_machine_memory(void) {
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    int64_t all = pages > 0 && page > 0 ? (int64_t)pages * page : (int64_t)1 << 30, limit = cgroup_memory();
    return limit < all ? limit : all;
}

int64_t hn_machine_threads(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set))
        return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? n : 1;
}

int64_t hn_machine_disk_free(const char *path) {
    struct statvfs st;
    if (statvfs(path, &st))
        return INT64_MAX;
    return (int64_t)st.f_bavail * (int64_t)st.f_frsize;
}

int64_t hn_machine_resident(void) {
    long long total, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    if (fscanf(f, "%lld %lld", &total, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident * sysconf(_SC_PAGESIZE);
}
