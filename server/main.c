/* The command line: one row a subcommand. */
#include "engine/engine.h"

#include <stdio.h>

int main(void) {
    puts("honed " HN_VERSION);
    return 0;
}
