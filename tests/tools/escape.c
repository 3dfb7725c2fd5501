/* For tests: confines itself as a trainer in argv[1] is, then tries what a hostile file might make it do. A line for each: name, errno. */
#include "server/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int opened(const char *path, int flags) {
    int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    return fd < 0 ? errno : 0;
}

static void *nothing(void *argument) {
    return argument;
}

static int thread(void) {
    pthread_t t;
    int failed = pthread_create(&t, NULL, nothing, NULL);
    if (!failed)
        pthread_join(t, NULL);
    return failed;
}

static int failed(long result) {
    return result < 0 ? errno : 0;
}

static int child(void) {
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return failed(pid);
}

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    const char *own = argv[1], *other = argv[2];
    char inside[4096], text[160];
    snprintf(inside, sizeof inside, "%s/file", own);
    const struct hn_place place = {own, true};
    bool all = hn_confine(&place, 1, text, sizeof text);
    printf("in force: %s\n", text);
    fflush(stdout);
    const struct {
        const char *name;
        int error;
    } tries[] = {{"own file", opened(inside, O_WRONLY | O_CREAT)}, {"own list", opened(own, O_RDONLY | O_DIRECTORY)},
        {"thread", thread()}, {"library", opened("/usr/lib/os-release", O_RDONLY)}, {"null", opened("/dev/null", O_WRONLY)},
        {"other file", opened(other, O_RDONLY)}, {"other write", opened(other, O_WRONLY)},
        {"library write", opened("/usr/lib/hone-escape", O_WRONLY | O_CREAT)}, {"home", opened("/root", O_RDONLY | O_DIRECTORY)},
        {"tmp", opened("/tmp/hone-escape", O_WRONLY | O_CREAT)}, {"remove", failed(unlink(other))},
        {"socket", failed(socket(AF_INET, SOCK_STREAM, 0))}, {"unix socket", failed(socket(AF_UNIX, SOCK_STREAM, 0))},
        {"process", child()}, {"program", failed(execl("/bin/true", "true", NULL))},
        {"trace", failed(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL))}, {"signal", failed(kill(getppid(), 0))}};
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++)
        printf("%s: %d\n", tries[i].name, tries[i].error);
    return all ? 0 : 1;
}
