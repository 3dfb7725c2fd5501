#include "engine/engine.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "train") == 0)
        return hn_train(argv[2], -1);
    if (argc == 3 && strcmp(argv[1], "helper") == 0)
        return hn_helper_serve(atoi(argv[2]));
    puts("honed " HN_VERSION);
    return 0;
}
