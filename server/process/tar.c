/* See tar.h. */
#include "server/process/tar.h"
#include "server/process/rundir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 512

struct hn_tar {
    char *run_dir, *root;
    json_t *files;
    size_t next;           /* index of the file after the current one */
    int fd;                /* of the current file, -1 between files */
    uint64_t left;         /* bytes of it still to send */
    size_t padding;        /* zeros after it */
    char block[2 * BLOCK]; /* a header, or the two empty blocks of the end */
    size_t block_at, block_size;
    bool ended, broken;
};

int hn_tar_create(const char *run_dir, const char *root, const json_t *files, struct hn_tar **ret,
    struct hn_error *err) {
    struct hn_tar *tar = hn_calloc(1, sizeof *tar);
    if (!tar)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    tar->fd = -1;
    tar->run_dir = strdup(run_dir);
    tar->root = strdup(root);
    tar->files = json_incref((json_t *)(uintptr_t)files);
    if (!tar->run_dir || !tar->root) {
        hn_tar_destroy(tar);
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    }
    *ret = tar;
    return 0;
}

void hn_tar_destroy(struct hn_tar *tar) {
    if (!tar)
        return;
    if (tar->fd >= 0)
        close(tar->fd);
    json_decref(tar->files);
    free(tar->run_dir);
    free(tar->root);
    free(tar);
}

static void put_octal(char *field, size_t width, uint64_t value) {
    for (size_t i = width - 1; i-- > 0; value >>= 3)
        field[i] = (char)('0' + (value & 7));
}

static void put_size(char *field, uint64_t size) {
    if (size < (uint64_t)1 << 33) {
        put_octal(field, 12, size);
        return;
    }
    field[0] = (char)0x80;
    for (size_t i = 12; i-- > 1; size >>= 8)
        field[i] = (char)(size & 0xff);
}

/* Field offsets of ustar: name 0, mode 100, uid 108, gid 116, size 124, mtime 136, checksum 148,
 * type 156, magic 257, prefix 345. */
static bool put_header(struct hn_tar *tar, const char *path, uint64_t size) {
    char *h = tar->block, name[1024];
    memset(h, 0, BLOCK);
    int n = snprintf(name, sizeof name, "%s", path);
    if (n < 0 || (size_t)n >= sizeof name)
        return false;
    char *base = name;
    if (n > 100) { /* the front part goes into the prefix field, cut at a slash */
        char *cut = strchr(name + (n - 101), '/');
        if (!cut || cut - name > 155)
            return false;
        *cut = 0;
        memcpy(h + 345, name, strlen(name));
        base = cut + 1;
    }
    memcpy(h, base, strlen(base));
    put_octal(h + 100, 8, 0644);
    put_octal(h + 108, 8, 0);
    put_octal(h + 116, 8, 0);
    put_size(h + 124, size);
    put_octal(h + 136, 12, 0);
    h[156] = '0';
    memcpy(h + 257, "ustar\00000", 8);
    memset(h + 148, ' ', 8);
    unsigned sum = 0;
    for (size_t i = 0; i < BLOCK; i++)
        sum += (unsigned char)h[i];
    put_octal(h + 148, 7, sum);
    tar->block_at = 0;
    tar->block_size = BLOCK;
    return true;
}

static bool next_file(struct hn_tar *tar) {
    const json_t *file = json_array_get(tar->files, tar->next);
    if (!file) { /* two empty blocks end an archive */
        memset(tar->block, 0, sizeof tar->block);
        tar->block_at = 0;
        tar->block_size = sizeof tar->block;
        tar->ended = true;
        return true;
    }
    tar->next++;
    char path[HN_PATH_SIZE];
    const char *name = json_string_value(json_object_get(file, "path"));
    tar->left = (uint64_t)json_integer_value(json_object_get(file, "size"));
    tar->padding = (size_t)((BLOCK - tar->left % BLOCK) % BLOCK);
    if (!hn_state_path(path, tar->root, name, NULL, NULL) || !put_header(tar, name, tar->left))
        return false;
    return hn_rundir_open(tar->run_dir, path, O_RDONLY, &tar->fd, NULL) == 0;
}

static ssize_t read_current(struct hn_tar *tar, char *buf, size_t max) {
    if (tar->left) {
        ssize_t n;
        do
            n = read(tar->fd, buf, max < tar->left ? max : (size_t)tar->left);
        while (n < 0 && errno == EINTR);
        if (n <= 0)
            /* shorter than recorded: an archive that ends early is noticed, a padded one is not */
            return -1;
        tar->left -= (uint64_t)n;
        return n;
    }
    size_t n = max < tar->padding ? max : tar->padding;
    memset(buf, 0, n);
    tar->padding -= n;
    if (!tar->padding) {
        close(tar->fd);
        tar->fd = -1;
    }
    return (ssize_t)n;
}

ssize_t hn_tar_read(struct hn_tar *tar, char *buf, size_t max) {
    size_t used = 0;
    while (used < max && !tar->broken) {
        ssize_t n;
        if (tar->block_at < tar->block_size) {
            size_t have = tar->block_size - tar->block_at;
            n = (ssize_t)(have < max - used ? have : max - used);
            memcpy(buf + used, tar->block + tar->block_at, (size_t)n);
            tar->block_at += (size_t)n;
        } else if (tar->fd >= 0) {
            n = read_current(tar, buf + used, max - used);
        } else if (tar->ended) {
            break;
        } else {
            n = next_file(tar) ? 0 : -1;
        }
        if (n < 0)
            tar->broken = true;
        else
            used += (size_t)n;
    }
    return used || !tar->broken ? (ssize_t)used : -1;
}
