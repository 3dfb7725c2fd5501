/* See machine.h. */
#include "server/base/machine.h"
#include "engine/engine.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define GROUPS "/sys/fs/cgroup"

static int64_t bytes_of(const char *text) {
    return strtoll(text, NULL, 10); /* "max" is 0 */
}

/* "150000 100000": microseconds of processor time in so many of the clock. */
static int64_t processors_of(const char *text) {
    long long quota = 0, period = 0;
    return sscanf(text, "%lld %lld", &quota, &period) == 2 && period > 0
        ? (quota + period - 1) / period
        : 0;
}

/* The smallest value of `file` in the group that `mark` stands before in `membership`, and in all
 * above it. Above may be all that a container sees of its own group. */
static int64_t least_of(const char *membership, const char *mark, const char *folder,
    const char *file, int64_t (*value_of)(const char *)) {
    char group[2048], path[4096], *text;
    size_t size;
    int64_t least = INT64_MAX;
    const char *found = strstr(membership, mark);
    if (!found)
        return least;
    found += strlen(mark);
    snprintf(group, sizeof group, "%.*s", (int)strcspn(found, "\n"), found);
    for (char *end = group + strlen(group); end; end = strrchr(group, '/')) {
        *end = 0;
        snprintf(path, sizeof path, "%s%s/%s", folder, group, file);
        if (hn_file_read(path, 64, &text, &size, NULL))
            continue;
        int64_t value = value_of(text);
        least = value > 0 && value < least ? value : least;
        free(text);
    }
    return least;
}

int64_t hn_machine_group_memory(const char *membership, const char *groups) {
    char first[2048];
    snprintf(first, sizeof first, "%s/memory", groups);
    int64_t second = least_of(membership, "0::", groups, "memory.max", bytes_of);
    int64_t old = least_of(membership, ":memory:", first, "memory.limit_in_bytes", bytes_of);
    return second < old ? second : old;
}

int64_t hn_machine_group_processors(const char *membership, const char *groups) {
    return least_of(membership, "0::", groups, "cpu.max", processors_of);
}

static int64_t ask_group(int64_t (*ask)(const char *, const char *)) {
    char *membership;
    size_t size;
    if (hn_file_read("/proc/self/cgroup", 65536, &membership, &size, NULL))
        return INT64_MAX;
    int64_t limit = ask(membership, GROUPS);
    free(membership);
    return limit;
}

int64_t hn_machine_memory(void) {
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    int64_t all = pages > 0 && page > 0 ? (int64_t)pages * page : (int64_t)1 << 30,
            limit = ask_group(hn_machine_group_memory);
    return limit < all ? limit : all;
}

int64_t hn_machine_threads(void) {
    cpu_set_t set;
    int64_t n = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set),
            limit = ask_group(hn_machine_group_processors);
    n = limit < n ? limit : n;
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
