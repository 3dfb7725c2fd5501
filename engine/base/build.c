/* See build.h. */
#include "engine/base/build.h"
#include "build_id.h"

const char *hn_build_name(void) {
    return HN_VERSION " " HN_BUILD;
}
