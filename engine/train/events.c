/* See events.h. */
#include "engine/train/events.h"
#include "engine/base/buf.h"
#include "engine/base/file.h"
#include "engine/base/json.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CEILING ((size_t)8 << 30)

void hn_time_text(char out[32]) {
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    size_t n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, 32 - n, ".%03dZ", (int)(now.tv_nsec / 1000000));
}

/* What makes an event the same as one told before; false for events that are always new. */
static bool event_key(const char *type, const json_t *data, char *key, size_t size) {
    static const char *const once[] = {"step", "eval", "checkpoint", "sample", "plan", "artifact",
        "verified", "warning", "test", "fit"};
    for (size_t i = 0; i < sizeof once / sizeof once[0]; i++) {
        if (strcmp(type, once[i]) != 0)
            continue;
        const json_t *line = json_object_get(data, "line"), *path = json_object_get(data, "path"),
                     *step = json_object_get(data, "step");
        const json_t *artifact = json_object_get(data, "artifact"),
                     *code = json_object_get(data, "code");
        const char *text = json_string_value(path ? path
                           : artifact             ? artifact
                                                  : code),
                   *base = json_string_value(json_object_get(data, "base"));
        snprintf(key, size, "%s:%lld:%lld:%s:%s", type, (long long)json_integer_value(step),
            (long long)json_integer_value(line), text ? text : "", base ? base : "");
        return true;
    }
    return false;
}

/* Values that depend on the clock or on the host are not compared. */
static bool same(const json_t *old, const json_t *new) {
    static const char *const timing[] = {"seconds", "tokens_per_second", "bytes",
        "micro_batch_tokens", "arena_bytes", "peak_bytes", "mapped_bytes", "best"};
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t) new, name, value) {
        bool skip = false;
        for (size_t i = 0; i < sizeof timing / sizeof timing[0]; i++)
            skip |= strcmp(name, timing[i]) == 0;
        const json_t *before = json_object_get(old, name);
        if (skip || !before)
            continue;
        if (json_is_number(value) && json_is_number(before)) {
            /* the file holds f32 */
            float a = (float)json_number_value(value), b = (float)json_number_value(before);
            if (a < b || a > b)
                return false;
        } else if (!json_equal(value, before)) {
            return false;
        }
    }
    return true;
}

static void remember(struct hn_events *events, const json_t *event) {
    const char *type = json_string_value(json_object_get(event, "type"));
    json_t *data = json_object_get(event, "data");
    char key[512];
    if (!type)
        return;
    size_t step = (size_t)json_integer_value(json_object_get(data, "step"));
    if (strcmp(type, "step") == 0 && step > events->last_step)
        events->last_step = step;
    events->attempts += strcmp(type, "started") == 0;
    events->finished |= strcmp(type, "finished") == 0;
    const char *reason = json_string_value(json_object_get(data, "reason"));
    if (strcmp(type, "interrupted") == 0 && reason && strcmp(reason, HN_STOP_AT) == 0)
        json_array_append_new(events->stops, json_integer((json_int_t)step));
    if (event_key(type, data, key, sizeof key))
        json_object_set(events->written, key, data);
}

static int read_lines(struct hn_events *events, const char *path, struct hn_error *err) {
    char *text;
    size_t size, end = 0;
    int rc = hn_file_read(path, CEILING, &text, &size, err);
    if (rc)
        return rc;
    for (const char *newline; (newline = memchr(text + end, '\n', size - end));) {
        json_t *event = NULL;
        size_t next = (size_t)(newline - text) + 1;
        if (hn_json_parse(text + end, next - 1 - end, &event,
                NULL)) /* damage inside: nothing after it can be trusted */
            break;
        remember(events, event);
        events->n = (size_t)json_integer_value(json_object_get(event, "n"));
        json_decref(event);
        end = next;
    }
    free(text);
    if (end < size && ftruncate(events->fd, (off_t)end))
        return hn_fail_errno(err, errno, "cannot cut the torn last line off %s", path);
    return 0;
}

int hn_events_open(struct hn_events *events, const char *run_dir, struct hn_error *err) {
    char path[4096];
    snprintf(path, sizeof path, "%s/events.jsonl", run_dir);
    *events = (struct hn_events){.fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600),
        .written = json_object(),
        .stops = json_array()};
    if (events->fd < 0)
        return hn_fail_errno(err, errno, "cannot open %s", path);
    /* its name; its lines are synced before anything rests on them */
    int rc = hn_file_sync(run_dir, err);
    if (!rc)
        rc = read_lines(events, path, err);
    if (rc)
        hn_events_close(events);
    return rc;
}

void hn_events_close(struct hn_events *events) {
    if (events->fd > 0)
        close(events->fd);
    json_decref(events->written);
    json_decref(events->stops);
    *events = (struct hn_events){.fd = -1};
}

static int append(
    struct hn_events *events, const char *type, const json_t *data, struct hn_error *err) {
    char now[32];
    hn_time_text(now);
    json_t *event = json_pack("{s:I, s:s, s:s, s:O}", "n", (json_int_t)events->n + 1, "time", now,
        "type", type, "data", data);
    char *text = event ? json_dumps(event, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(event);
    if (!text)
        return hn_fail(err, HN_E_INTERNAL, "out of memory writing an event");
    struct hn_buf line = {0};
    hn_buf_text(&line, text);
    hn_buf_char(&line, '\n');
    free(text);
    off_t before = lseek(events->fd, 0, SEEK_END);
    int rc = line.failed ? hn_fail(err, HN_E_INTERNAL, "out of memory writing an event")
                         : hn_write_all(events->fd, line.data, line.size, err);
    if (rc && before >= 0 &&
        ftruncate(events->fd, before)) /* a half-written line must not stay before the next one */
        rc = HN_E_DISK_FULL;
    events->n += !rc;
    hn_buf_free(&line);
    return rc;
}

int hn_events_add(struct hn_events *events, const char *type, json_t *data, struct hn_error *err) {
    char key[512];
    if (!data)
        return hn_fail(err, HN_E_INTERNAL, "out of memory writing an event");
    bool once = event_key(type, data, key, sizeof key);
    const json_t *old = once ? json_object_get(events->written, key) : NULL;
    int rc = 0;
    if (!old) {
        rc = append(events, type, data, err);
        /* A stop right after a checkpoint saves the same step again. A step itself is never told
         * twice by one attempt, and there can be millions of them. */
        if (!rc && once && strcmp(type, "step") != 0)
            json_object_set(events->written, key, data);
    } else if (!same(old, data) && strcmp(type, "fit") != 0 && !events->warned) {
        events->warned = true;
        json_t *warning = json_pack("{s:s, s:s, s:O}", "code", "not_reproduced", "message",
            "this attempt computed other values for a step than an earlier one: another build, CPU "
            "or library was used",
            "step",
            json_object_get(data, "step") ? json_object_get(data, "step") : json_integer(0));
        rc = append(events, "warning", warning, err);
        json_decref(warning);
    }
    json_decref(data);
    return rc;
}

int hn_events_sync(struct hn_events *events, struct hn_error *err) {
    return fdatasync(events->fd) ? hn_fail_errno(err, errno, "cannot sync events.jsonl") : 0;
}
