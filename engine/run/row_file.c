/* See row_file.h. */
#include "engine/run/row_file.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"
#include "engine/model/objective.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VERSION 1

static const char magic[8] = {'H', 'N', 'R', 'O', 'W', 'S', 0, '\n'};

enum { FIELDS = 8, HEADER_SIZE = 8 + FIELDS * 8, ENTRY_SIZE = 8, RECORD_MAX = 17 };

/* What is no number is 0: it comes from no training step. */
static float get_number(const uint8_t *from) {
    float value = hn_get_float(from);
    return isfinite(value) ? value : 0;
}

/* One byte that says "trained", the loss, and what the objective has besides. */
static size_t record_size(enum hn_objective objective) {
    return objective == HN_OBJECTIVE_CLASSES ? 17 : objective == HN_OBJECTIVE_TOKENS ? 9 : 5;
}

size_t hn_row_layout_epoch(const struct hn_row_layout *layout) {
    return (layout->n_rows + layout->batch_size - 1) / layout->batch_size;
}

static size_t epochs_of(const struct hn_row_layout *layout) {
    size_t epoch = hn_row_layout_epoch(layout);
    return layout->steps / epoch + (layout->steps % epoch != 0);
}

size_t hn_row_layout_bytes(const struct hn_row_layout *layout) {
    return layout->epochs ? HEADER_SIZE +
            layout->n_rows * (ENTRY_SIZE + layout->epochs * record_size(layout->objective))
                          : 0;
}

void hn_row_layout_plan(struct hn_row_layout *ret, const struct hn_run *run) {
    const struct hn_spec *spec = run->loaded.spec;
    *ret = (struct hn_row_layout){.objective = spec->labels.objective,
        .n_rows = run->train.n_rows,
        .batch_size = (size_t)spec->hp.batch_size,
        .steps = run->steps,
        .seed = (uint64_t)spec->hp.seed,
        .every = 1};
    size_t all = epochs_of(ret), record = record_size(ret->objective);
    size_t room = (HN_ROWS_KEPT - HEADER_SIZE) / ret->n_rows; /* bytes for a row */
    size_t most = room > ENTRY_SIZE + 1 ? (room - ENTRY_SIZE - 1) / record : 0;
    if (most)
        ret->every = (all + most - 1) / most;
    ret->epochs = most ? (all + ret->every - 1) / ret->every : 0;
}

static void put_header(uint8_t out[HEADER_SIZE], const struct hn_row_layout *l) {
    const uint64_t fields[FIELDS] = {
        VERSION, l->objective, l->n_rows, l->batch_size, l->steps, l->seed, l->every, l->epochs};
    memcpy(out, magic, sizeof magic);
    for (size_t i = 0; i < FIELDS; i++)
        hn_put_le(out + 8 + 8 * i, fields[i], 8);
}

static uint8_t *make_front(
    const struct hn_row_layout *layout, const struct hn_examples *ex, size_t *ret_size) {
    *ret_size = HEADER_SIZE + layout->n_rows * ENTRY_SIZE;
    uint8_t *front = hn_calloc(*ret_size, 1);
    if (!front)
        return NULL;
    put_header(front, layout);
    for (size_t i = 0; i < layout->n_rows; i++) {
        hn_put_le(front + HEADER_SIZE + i * ENTRY_SIZE, ex->rows[i], 4);
        hn_put_le(front + HEADER_SIZE + i * ENTRY_SIZE + 4, ex->lines[i], 4);
    }
    return front;
}

static int write_at(const struct hn_row_file *file, const void *data, size_t size, size_t at,
    struct hn_error *err) {
    for (size_t done = 0; done < size;) {
        ssize_t n = pwrite(file->fd, (const char *)data + done, size - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return hn_fail_errno(err, n < 0 ? errno : ENOSPC, "cannot write " HN_ROWS_FILE);
        done += (size_t)n;
    }
    return 0;
}

int hn_row_file_open(struct hn_row_file *ret, const char *run_dir,
    const struct hn_row_layout *layout, const struct hn_examples *ex, struct hn_error *err) {
    char path[4096];
    uint8_t header[HEADER_SIZE], expected[HEADER_SIZE];
    size_t size;
    snprintf(path, sizeof path, "%s/" HN_ROWS_FILE, run_dir);
    *ret = (struct hn_row_file){
        .fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), .layout = *layout};
    if (ret->fd < 0)
        return hn_fail_errno(err, errno, "cannot open %s", path);
    put_header(expected, layout);
    bool same = pread(ret->fd, header, sizeof header, 0) == (ssize_t)sizeof header &&
        memcmp(header, expected, sizeof header) == 0;
    if (!same && ftruncate(ret->fd, 0))
        return hn_fail_errno(err, errno, "cannot write %s", path);
    uint8_t *front = make_front(layout, ex, &size);
    int rc = front ? write_at(ret, front, size, 0, err)
                   : hn_fail(err, HN_E_INTERNAL, "out of memory for the lines of the rows");
    free(front);
    return rc;
}

static size_t place_of(const struct hn_row_layout *l, size_t k, size_t row) {
    return HEADER_SIZE + l->n_rows * ENTRY_SIZE + (k * l->n_rows + row) * record_size(l->objective);
}

int hn_row_file_put(const struct hn_row_file *file, size_t epoch, size_t row,
    const struct hn_row_record *record, struct hn_error *err) {
    const struct hn_row_layout *l = &file->layout;
    uint8_t bytes[RECORD_MAX];
    if (epoch % l->every || epoch / l->every >= l->epochs)
        return 0;
    bytes[0] = record->trained;
    hn_put_float(bytes + 1, record->loss);
    if (l->objective == HN_OBJECTIVE_TOKENS)
        hn_put_float(bytes + 5, record->worst);
    if (l->objective == HN_OBJECTIVE_CLASSES) {
        hn_put_float(bytes + 5, record->choice.margin);
        hn_put_float(bytes + 9, record->choice.p);
        hn_put_le(bytes + 13, (uint32_t)record->choice.predicted, 4);
    }
    return write_at(
        file, bytes, record_size(l->objective), place_of(l, epoch / l->every, row), err);
}

int hn_row_file_sync(const struct hn_row_file *file, struct hn_error *err) {
    return file->fd >= 0 && fdatasync(file->fd)
        ? hn_fail_errno(err, errno, "cannot sync " HN_ROWS_FILE)
        : 0;
}

void hn_row_file_close(struct hn_row_file *file) {
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}

static int no_rows(const char *path, const char *why, struct hn_error *err) {
    return hn_fail(err, HN_E_INVALID_FIELD, "%.500s does not tell of training rows: %s", path, why);
}

static bool read_header(const struct hn_map *map, struct hn_row_layout *l) {
    uint64_t f[FIELDS];
    if (map->size < HEADER_SIZE || memcmp(map->data, magic, sizeof magic) != 0)
        return false;
    for (size_t i = 0; i < FIELDS; i++)
        f[i] = hn_get_le(map->data + 8 + 8 * i, 8);
    if (f[0] != VERSION || f[1] >= HN_OBJECTIVES)
        return false;
    *l = (struct hn_row_layout){(enum hn_objective)f[1], f[2], f[3], f[4], f[5], f[6], f[7]};
    /* numbers of which no product overflows */
    return l->n_rows && l->batch_size && l->every && l->epochs && l->n_rows < HN_ROWS_KEPT &&
        l->batch_size <= (size_t)1 << 32 && l->epochs < HN_ROWS_KEPT &&
        hn_row_layout_bytes(l) <= HN_ROWS_KEPT;
}

int hn_row_history_open(struct hn_row_history *ret, const char *path, struct hn_error *err) {
    *ret = (struct hn_row_history){0};
    int rc = hn_map_open(&ret->map, path, err);
    if (rc)
        return rc;
    if (!read_header(&ret->map, &ret->layout))
        rc = no_rows(path, "it does not begin as such a file", err);
    else if (ret->map.size < HEADER_SIZE + ret->layout.n_rows * ENTRY_SIZE)
        rc = no_rows(path, "it is shorter than the list of its rows", err);
    if (rc)
        hn_row_history_close(ret);
    return rc;
}

void hn_row_history_close(struct hn_row_history *history) {
    hn_map_close(&history->map);
    *history = (struct hn_row_history){0};
}

size_t hn_row_history_row(const struct hn_row_history *history, size_t i) {
    return (size_t)hn_get_le(history->map.data + HEADER_SIZE + i * ENTRY_SIZE, 4);
}

size_t hn_row_history_line(const struct hn_row_history *history, size_t i) {
    return (size_t)hn_get_le(history->map.data + HEADER_SIZE + i * ENTRY_SIZE + 4, 4);
}

struct hn_row_record hn_row_history_get(const struct hn_row_history *history, size_t k, size_t i) {
    const struct hn_row_layout *l = &history->layout;
    struct hn_row_record r = {0};
    size_t at = place_of(l, k, i);
    if (at + record_size(l->objective) > history->map.size)
        return r;
    const uint8_t *bytes = history->map.data + at;
    r.trained = bytes[0] == 1;
    r.loss = get_number(bytes + 1);
    if (l->objective == HN_OBJECTIVE_TOKENS)
        r.worst = get_number(bytes + 5);
    if (l->objective == HN_OBJECTIVE_CLASSES)
        r.choice = (struct hn_choice){get_number(bytes + 5), get_number(bytes + 9),
            (int32_t)(uint32_t)hn_get_le(bytes + 13, 4)};
    return r;
}
