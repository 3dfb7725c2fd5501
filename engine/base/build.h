#ifndef HN_ENGINE_BASE_BUILD_H
#define HN_ENGINE_BASE_BUILD_H

/* Version and build of this binary, for --version and records. */
const char *hn_build_name(void);

#endif
