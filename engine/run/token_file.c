/* See token_file.h. */
#include "engine/run/token_file.h"
#include "engine/base/buf.h"
#include "engine/base/json.h"
#include "build_id.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALIGNMENT 64

struct token_set {
    uint64_t rows, tokens, outputs, aligned, spans;
    uint64_t rows_total, dropped, truncated, target_tokens;
    struct hn_left_out left_out;
    struct hn_notices notices;
    char sha256[HN_SHA256_HEX + 7]; /* of the rows' contents, or "" */
    /* bytes from the file's begin; 0: the set has no such array */
    uint64_t offsets[HN_EXAMPLES_ARRAYS];
};

struct hn_token_header {
    char magic[8], sum[72]; /* hash of all that follows in the header */
    char key[72];
    char data[72]; /* hash of all that follows the header */
    uint64_t max_length;
    uint64_t longest; /* tokens of the longest row before it was cut */
    uint64_t windows; /* rows were cut into windows, whose number depends on max_length */
    uint64_t dataset_bytes;
    struct token_set sets[HN_TOKEN_SETS];
};

static const char magic[8] = "HNTOKEN4";

void hn_token_key(const struct hn_spec *spec, char ret[HN_SHA256_HEX]) {
    /* What changes no token; anything unknown counts as if it did. */
    static const char *const others[] = {"method", "init", "exports", "export_step", "export_dtype",
        "gguf_dtype", "max_shard_bytes", "samples", "recompute", "hyperparameters"};
    static const char *const fields[] = {"overflow", "loss_on"};
    json_t *key = json_copy((json_t *)(uintptr_t)spec->run);
    const json_t *hp = json_object_get(key, "hyperparameters");
    json_object_set_new(key, "build", json_string(HN_BUILD));
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        json_object_set(key, fields[i], json_object_get(hp, fields[i]));
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        json_object_del(key, others[i]);
    /* Names that inputs have here or there are not what they are. */
    static const char *const inputs[] = {"model", "train", "validation", "test"};
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        json_t *input = json_copy(json_object_get(key, inputs[i]));
        if (json_is_object(input)) {
            json_object_del(input, "file");
            json_object_set(key, inputs[i], input);
        }
        json_decref(input);
    }
    json_t *more = json_array(), *source;
    size_t i;
    json_array_foreach(json_object_get(key, "more"), i, source) {
        json_t *copy = json_copy(source);
        json_object_del(copy, "file");
        json_array_append_new(more, copy);
    }
    json_object_set_new(key, "more", more);
    char *text = hn_json_canonical(key);
    hn_sha256(text ? text : "", text ? strlen(text) : 0, ret);
    free(text);
    json_decref(key);
}

static void header_sum(const struct hn_token_header *header, char ret[HN_SHA256_HEX]) {
    const char *from = header->key;
    hn_sha256(from, sizeof *header - (size_t)(from - (const char *)header), ret);
}

/* Tokens that flipped on the disk would be trained like any others. */
static bool data_is_whole(const struct hn_map *map) {
    const struct hn_token_header *header = (const struct hn_token_header *)(const void *)map->data;
    char found[HN_SHA256_HEX];
    hn_sha256(map->data + sizeof *header, map->size - sizeof *header, found);
    return memcmp(header->data, found, sizeof found) == 0;
}

/* Of what was written behind the place of the header. */
static int data_sum(struct hn_token_writer *w, struct hn_error *err) {
    static const size_t chunk = 1 << 18;
    void *sha = hn_sha256_begin();
    char *buf = malloc(chunk);
    int rc = sha && buf ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    off_t at = (off_t)sizeof *w->header;
    ssize_t n = 0;
    while (!rc && (n = pread(w->fd, buf, chunk, at)) > 0) {
        hn_sha256_add(sha, buf, (size_t)n);
        at += n;
    }
    if (!rc && n < 0)
        rc = hn_fail_errno(err, errno, "cannot read %s", w->tmp);
    if (sha)
        hn_sha256_end(sha, rc ? NULL : w->header->data);
    free(buf);
    return rc;
}

static bool within(uint64_t offset, uint64_t items, uint64_t item, uint64_t size) {
    uint64_t bytes, end;
    return offset >= sizeof(struct hn_token_header) && offset % ALIGNMENT == 0 &&
        !__builtin_mul_overflow(items, item, &bytes) &&
        !__builtin_add_overflow(offset, bytes, &end) && end <= size;
}

/* Points the set's arrays into the map; false when they do not lie in it. */
static bool place(const struct token_set *set, const struct hn_map *map, struct hn_examples *ex) {
    *ex = (struct hn_examples){.n_rows = set->rows,
        .n_tokens = set->tokens,
        .outputs = set->outputs,
        .aligned = set->aligned,
        .spans = set->spans,
        .rows_total = set->rows_total,
        .dropped = set->dropped,
        .truncated = set->truncated,
        .target_tokens = set->target_tokens,
        .left_out = set->left_out,
        .notices = set->notices,
        .map = map};
    snprintf(ex->sha256, sizeof ex->sha256, "%.64s", set->sha256);
    for (size_t i = 0; i < HN_EXAMPLES_ARRAYS; i++) {
        struct hn_examples_array array = hn_examples_array(ex, i);
        if (!set->offsets[i])
            continue;
        if (!within(set->offsets[i], array.n, array.item, map->size))
            return false;
        *array.data = (void *)(uintptr_t)(map->data + set->offsets[i]);
    }
    if (!ex->tokens || !ex->weights || !ex->starts || !ex->lines || !ex->rows || ex->starts[0])
        return false;
    for (size_t i = 0; i < ex->n_rows; i++)
        if (ex->starts[i + 1] < ex->starts[i] || ex->starts[i + 1] > ex->n_tokens)
            return false;
    return true;
}

/* Used now: trimming goes by that. Not with utimensat, which a confined process may not call, since
 * it would also set the times of files that it may only read. */
static void touch(const char *path) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && pwrite(fd, magic, 1, 0) < 0) {
        /* It counts as used when it was made, then. */
    }
    if (fd >= 0)
        close(fd);
}

bool hn_token_file_open(const char *path, const struct hn_spec *spec, struct hn_map *map,
    struct hn_examples *sets[HN_TOKEN_SETS], size_t *ret_dataset_bytes) {
    char key[HN_SHA256_HEX], sum[HN_SHA256_HEX] = "";
    const struct hn_token_header *header;
    if (hn_map_open(map, path, NULL))
        return false;
    header = (const struct hn_token_header *)(const void *)map->data;
    hn_token_key(spec, key);
    if (map->size > sizeof *header)
        header_sum(header, sum);
    bool good = sum[0] && memcmp(header->magic, magic, sizeof magic) == 0 &&
        memcmp(header->sum, sum, sizeof sum) == 0 && memcmp(header->key, key, sizeof key) == 0 &&
        data_is_whole(map) &&
        (header->max_length == (uint64_t)spec->hp.max_length ||
            (!header->windows && header->longest <= header->max_length &&
                header->longest <= (uint64_t)spec->hp.max_length));
    for (size_t i = 0; good && i < HN_TOKEN_SETS; i++)
        if (header->sets[i].rows_total)
            good = place(&header->sets[i], map, sets[i]);
    if (good) {
        *ret_dataset_bytes = header->dataset_bytes;
        touch(path);
        return true;
    }
    for (size_t i = 0; i < HN_TOKEN_SETS; i++)
        *sets[i] = (struct hn_examples){0};
    hn_map_close(map);
    return false;
}

/* A file without a name in the folder of `path`: nothing is left of it, whatever happens. */
static FILE *nameless(const char *path, struct hn_error *err) {
    const char *slash = strrchr(path, '/');
    char folder[4096];
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) { /* not every file system has them */
        snprintf(folder + strlen(folder), sizeof folder - strlen(folder), "/.tmp-XXXXXX");
        fd = mkostemp(folder, O_CLOEXEC);
        if (fd >= 0)
            unlink(folder);
    }
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w+");
    if (!f) {
        hn_fail_errno(err, errno, "cannot write beside %s", path);
        if (fd >= 0)
            close(fd);
    }
    return f;
}

int hn_token_writer_begin(struct hn_token_writer *w, const char *path, struct hn_error *err) {
    *w = (struct hn_token_writer){.path = path, .fd = -1, .at = sizeof *w->header};
    if (!(w->header = hn_calloc(1, sizeof *w->header)))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    int rc = hn_file_begin(path, w->tmp, sizeof w->tmp, &w->fd, err);
    if (!rc && lseek(w->fd, (off_t)w->at, SEEK_SET) < 0)
        rc = hn_fail_errno(err, errno, "cannot write %s", w->tmp);
    return rc;
}

/* Rows of a piece count from the set's begin. */
static void rebase(struct hn_examples *ex, size_t rows, size_t tokens) {
    for (size_t i = 0; i <= ex->n_rows; i++)
        ex->starts[i] += tokens;
    for (size_t i = 0; ex->outputs && i < ex->n_tokens; i++)
        ex->targets[i] += (int32_t)rows;
}

int hn_token_writer_add(void *writer, struct hn_examples *ex, struct hn_error *err) {
    struct hn_token_writer *w = writer;
    if (!ex->n_rows)
        return 0;
    rebase(ex, w->rows, w->tokens);
    for (size_t i = 0; i < HN_EXAMPLES_ARRAYS; i++) {
        struct hn_examples_array array = hn_examples_array(ex, i);
        /* its first is the last of the piece before */
        size_t behind = array.data == (void **)&ex->starts && w->rows;
        if (!*array.data)
            continue;
        if (!w->parts[i] && !(w->parts[i] = nameless(w->path, err)))
            return err ? err->code : HN_E_INTERNAL;
        if (fwrite((char *)*array.data + behind * array.item, array.item, array.n - behind,
                w->parts[i]) != array.n - behind)
            return hn_fail_errno(err, errno, "cannot write beside %s", w->path);
    }
    w->rows += ex->n_rows;
    w->tokens += ex->n_tokens;
    ex->n_rows = ex->n_tokens = 0;
    return 0;
}

/* Appends a part to the file, at the next multiple of ALIGNMENT. */
static int append_part(
    struct hn_token_writer *w, FILE *part, uint64_t *ret_offset, struct hn_error *err) {
    char block[1 << 16] = {0};
    size_t gap = (ALIGNMENT - w->at % ALIGNMENT) % ALIGNMENT, n;
    if (fflush(part) || fseek(part, 0, SEEK_SET))
        return hn_fail_errno(err, errno, "cannot write beside %s", w->path);
    int rc = hn_write_all(w->fd, block, gap, err);
    *ret_offset = w->at += gap;
    while (!rc && (n = fread(block, 1, sizeof block, part)) > 0) {
        rc = hn_write_all(w->fd, block, n, err);
        w->at += n;
    }
    return rc || !ferror(part) ? rc : hn_fail_errno(err, errno, "cannot read beside %s", w->path);
}

int hn_token_writer_end(struct hn_token_writer *w, enum hn_token_set number, struct hn_examples *ex,
    struct hn_error *err) {
    struct token_set *set = &w->header->sets[number];
    int rc = hn_token_writer_add(w, ex, err);
    *set = (struct token_set){.rows = w->rows,
        .tokens = w->tokens,
        .outputs = ex->outputs,
        .aligned = ex->aligned,
        .spans = ex->spans,
        .rows_total = ex->rows_total,
        .dropped = ex->dropped,
        .truncated = ex->truncated,
        .target_tokens = ex->target_tokens,
        .left_out = ex->left_out,
        .notices = ex->notices};
    snprintf(set->sha256, sizeof set->sha256, "%s", ex->sha256);
    w->header->longest = ex->longest > w->header->longest ? ex->longest : w->header->longest;
    w->header->windows |= ex->windows;
    for (size_t i = 0; i < HN_EXAMPLES_ARRAYS; i++) {
        if (!rc && w->parts[i])
            rc = append_part(w, w->parts[i], &set->offsets[i], err);
        if (w->parts[i])
            fclose(w->parts[i]);
        w->parts[i] = NULL;
    }
    w->rows = w->tokens = 0;
    return rc;
}

int hn_token_writer_publish(struct hn_token_writer *w, const struct hn_spec *spec,
    size_t dataset_bytes, struct hn_error *err) {
    struct hn_token_header *header = w->header;
    memcpy(header->magic, magic, sizeof magic);
    hn_token_key(spec, header->key);
    header->max_length = (uint64_t)spec->hp.max_length;
    header->dataset_bytes = dataset_bytes;
    int rc = data_sum(w, err);
    header_sum(header, header->sum);
    if (!rc)
        rc = lseek(w->fd, 0, SEEK_SET) < 0 ? hn_fail_errno(err, errno, "cannot write %s", w->tmp)
                                           : hn_write_all(w->fd, header, sizeof *header, err);
    rc = hn_file_commit(w->fd, w->tmp, w->path, rc, err);
    w->fd = -1;
    return rc;
}

void hn_token_writer_finish(struct hn_token_writer *w) {
    for (size_t i = 0; i < HN_EXAMPLES_ARRAYS; i++)
        if (w->parts[i])
            fclose(w->parts[i]);
    if (w->fd >= 0) {
        close(w->fd);
        unlink(w->tmp);
    }
    free(w->header);
    *w = (struct hn_token_writer){.fd = -1};
}

struct entry {
    char name[NAME_MAX + 1];
    uint64_t bytes;
    struct timespec used;
};

static int newest_first(const void *a, const void *b) {
    const struct timespec *x = &((const struct entry *)a)->used,
                          *y = &((const struct entry *)b)->used;
    return x->tv_sec != y->tv_sec ? (x->tv_sec < y->tv_sec ? 1 : -1)
                                  : (x->tv_nsec < y->tv_nsec) - (x->tv_nsec > y->tv_nsec);
}

void hn_token_files_trim(const char *folder, uint64_t limit) {
    struct entry *entries = NULL;
    size_t n = 0, capacity = 0;
    uint64_t total = 0;
    struct stat st;
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (e->d_name[0] == '.' || fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) ||
            !S_ISREG(st.st_mode) || !hn_grow(&entries, &capacity, n + 1, sizeof *entries))
            continue;
        entries[n] = (struct entry){.bytes = (uint64_t)st.st_size, .used = st.st_mtim};
        snprintf(entries[n++].name, sizeof entries->name, "%s", e->d_name);
    }
    if (n)
        qsort(entries, n, sizeof *entries, newest_first);
    for (size_t i = 0; i < n; i++) {
        total += entries[i].bytes;
        if (total > limit)
            unlinkat(dirfd(dir), entries[i].name, 0);
    }
    free(entries);
    if (dir)
        closedir(dir);
}
