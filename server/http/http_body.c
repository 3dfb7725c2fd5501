/*
 * Bodies: JSON into memory, forms and files to disk while they arrive.
 *
 * Memory is bounded whatever a client sends: a JSON body, and all fields of a form together, by
 * max_body, files by one buffer of 256 KiB that the pool writes and hashes while the connection is
 * suspended; all requests together by request_memory. Of the files of a form one is open at a time.
 */
#include "server/http/http_internal.h"
#include "server/base/machine.h"
#include "server/base/state.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FLUSH_BYTES ((size_t)256 << 10)
#define PARTS_MAX 64

int hn_http_check_text(const char *field, const char *text, struct hn_error *err) {
    size_t size = strlen(text);
    if (hn_utf8_valid(text, size) == size)
        return 0;
    hn_fail(err, HN_E_INVALID_FIELD, "a name or value of the query or the form is not valid UTF-8");
    hn_error_hint(err, "send UTF-8, percent-encoded in a query");
    if (hn_utf8_valid(field, strlen(field)) == strlen(field))
        hn_error_field(err, "%.64s", field);
    return HN_E_INVALID_FIELD;
}

/* A file's name is there to be recognised only: bytes of another encoding are replaced. */
static char *copy_filename(struct hn_request *req, const char *name) {
    json_t *text = hn_json_text(name, strlen(name));
    char *copy = text ? hn_request_copy(req, json_string_value(text)) : NULL;
    json_decref(text);
    return copy;
}

static struct hn_part *add_part(
    struct hn_exchange *x, const char *name, const char *filename, const char *type) {
    struct hn_part *part = hn_request_alloc(&x->req, sizeof *part), **last = &x->req.parts;
    size_t n = 0;
    for (; *last; last = &(*last)->next)
        n++;
    if (!part || n >= PARTS_MAX)
        return NULL;
    part->fd = -1;
    part->name = hn_request_copy(&x->req, name);
    part->filename = filename ? copy_filename(&x->req, filename) : NULL;
    part->content_type = type ? hn_request_copy(&x->req, type) : NULL;
    part->data.ceiling = (size_t)x->req.server->config->max_body;
    if (!part->name || (filename && !part->filename))
        return NULL;
    *last = part;
    return part;
}

static int open_file(struct hn_exchange *x, struct hn_part *part, struct hn_error *err) {
    char id[HN_ID_SIZE], path[HN_PATH_SIZE];
    hn_id_make("up", id);
    if (!hn_state_path(path, x->req.server->config->state, "tmp", id, NULL) ||
        !(part->path = hn_request_copy(&x->req, path)) || !(part->sha = hn_sha256_begin()))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    part->fd = open(part->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return part->fd < 0 ? hn_fail_errno(err, errno, "cannot store the upload") : 0;
}

static int too_large(struct hn_error *err, int64_t limit, const char *setting) {
    hn_fail(
        err, HN_E_TOO_LARGE, "the body is larger than the limit of %lld bytes", (long long)limit);
    hn_error_hint(err, "the server's setting %s decides; send less, or ask for more", setting);
    return HN_E_TOO_LARGE;
}

/* Appends, and counts what the buffer has grown by. */
static int append(
    struct hn_exchange *x, struct hn_buf *to, const char *data, size_t size, struct hn_error *err) {
    size_t before = to->capacity;
    hn_buf_append(to, data, size);
    if (to->failed)
        return to->ceiling && to->size + size > to->ceiling
            ? too_large(err, x->req.server->config->max_body, "max_body")
            : hn_fail(err, HN_E_INTERNAL, "out of memory");
    return to->capacity > before ? hn_memory_take(x, to->capacity - before, err) : 0;
}

static int disk_full(struct hn_error *err) {
    hn_fail(err, HN_E_DISK_FULL, "there is not enough free disk space for this upload");
    hn_error_hint(err, "delete jobs or data sets that are no longer needed");
    return HN_E_DISK_FULL;
}

static int64_t limit_of(const struct hn_exchange *x, const char **setting) {
    const struct hn_config *config = x->req.server->config;
    *setting = x->body_kind == HN_BODY_JSON ? "max_body" : "max_upload";
    return x->body_kind == HN_BODY_JSON ? config->max_body : config->max_upload;
}

/* What `curl -d` says of any text; people forget the header, and the JSON reader tells better what
 * is wrong. Pages of other sites, which could send this type unasked, are kept out by their
 * Origin. */
#define PLAIN_CURL "application/x-www-form-urlencoded"

/* Where a file may come as well, its name is in the query; JSON has it inside. */
static bool is_plain_json(const struct hn_exchange *x, const char *type) {
    bool named_file = (x->req.route->body & HN_BODY_FILE) && hn_request_query(&x->req, "name");
    return hn_media_is(type, PLAIN_CURL) && !named_file;
}

/* Files say themselves how they are packed; a packed body of another kind would have to be unpacked
 * by us. */
static int check_coding(const struct hn_exchange *x, struct hn_error *err) {
    const char *coding = hn_request_header(&x->req, "Content-Encoding");
    if (!coding || strcasecmp(coding, "identity") == 0 || x->body_kind == HN_BODY_FILE ||
        x->body_kind == HN_BODY_NONE)
        return 0;
    hn_fail(err, HN_E_UNSUPPORTED_MEDIA_TYPE,
        "a body with Content-Encoding \"%.60s\" is not understood here", coding);
    hn_error_field(err, "Content-Encoding");
    hn_error_hint(
        err, "send it as it is; only the file of a data set may be packed (gzip, zstd, xz, bzip2)");
    return HN_E_UNSUPPORTED_MEDIA_TYPE;
}

static int choose(struct hn_exchange *x, bool has_body, struct hn_error *err) {
    unsigned takes = x->req.route->body;
    const char *type = hn_request_header(&x->req, "Content-Type");
    if ((takes & HN_BODY_FORM) && hn_media_is(type, "multipart/form-data"))
        x->body_kind = HN_BODY_FORM;
    else if ((takes & HN_BODY_JSON) &&
        (!type || hn_media_is(type, "application/json") || is_plain_json(x, type)))
        x->body_kind = HN_BODY_JSON;
    else if (takes & HN_BODY_FILE)
        x->body_kind = HN_BODY_FILE;
    else if (has_body && takes) {
        hn_fail(err, HN_E_UNSUPPORTED_MEDIA_TYPE,
            "a body of type \"%.100s\" is not understood here", type ? type : "");
        hn_error_hint(err,
            takes & HN_BODY_FORM ? "send application/json or multipart/form-data (curl -F)"
                                 : "send -H 'Content-Type: application/json'");
        return HN_E_UNSUPPORTED_MEDIA_TYPE;
    } else {
        x->body_kind = HN_BODY_NONE; /* a body nobody asked for is read and not looked at */
    }
    return 0;
}

/* The part before the one that comes is complete: its last bytes go out, and its descriptor
 * back. */
static int end_part(struct hn_exchange *x, struct hn_error *err) {
    int rc = hn_body_flush(x, err);
    struct hn_part *part = x->current;
    if (part && part->fd >= 0) {
        if (close(part->fd) && !rc)
            rc = hn_fail_errno(err, errno, "cannot store the upload");
        part->fd = -1;
        hn_sha256_end(part->sha, part->sha256);
        part->sha = NULL;
    }
    return rc;
}

/* libmicrohttpd tells of a part's beginning once more when the first bytes of its value came with a
 * later packet than its head: nothing of the part is there yet, and its names are the same. */
static bool is_same_beginning(const struct hn_exchange *x, const char *name, const char *filename) {
    const struct hn_part *part = x->current;
    return part && !part->data.size && !part->bytes && !x->pending.size &&
        strcmp(part->name, name ? name : "") == 0 && !part->filename == !filename &&
        (!filename || strcmp(part->filename, filename) == 0);
}

static enum MHD_Result on_form(void *cls, enum MHD_ValueKind kind, const char *name,
    const char *filename, const char *type, const char *encoding, const char *data, uint64_t offset,
    size_t size) {
    (void)kind;
    (void)encoding;
    struct hn_exchange *x = cls;
    if (x->failed)
        return MHD_NO;
    struct hn_part *part = x->current;
    if (!part || (offset == 0 && !is_same_beginning(x, name, filename))) {
        int rc = end_part(x, &x->err);
        x->current = part = rc ? NULL : add_part(x, name ? name : "", filename, type);
        if (!rc && !part)
            rc = hn_fail(&x->err, HN_E_TOO_LARGE, "the form has more than %d parts", PARTS_MAX);
        if (!rc && filename)
            rc = open_file(x, part, &x->err);
        if (rc || !part) {
            x->failed = true;
            return MHD_NO;
        }
    }
    int64_t limit = x->req.server->config->max_body;
    int rc = 0;
    if (!part->path && (x->field_bytes += size) > (size_t)limit)
        rc = too_large(&x->err, limit, "max_body");
    if (!rc)
        rc = append(x, part->path ? &x->pending : &part->data, data, size, &x->err);
    x->failed = rc != 0;
    return rc ? MHD_NO : MHD_YES;
}

int hn_body_begin(struct hn_exchange *x, struct hn_error *err) {
    const char *length = hn_request_header(&x->req, "Content-Length"), *setting;
    unsigned long long declared = length ? strtoull(length, NULL, 10) : 0;
    bool has_body = declared > 0 || hn_request_header(&x->req, "Transfer-Encoding");
    int rc = choose(x, has_body, err);
    if (!rc)
        rc = check_coding(x, err);
    if (rc)
        return rc;
    int64_t limit = limit_of(x, &setting);
    if (declared > (unsigned long long)limit)
        return too_large(err, limit, setting);
    x->req.body.ceiling = (size_t)x->req.server->config->max_body;
    const struct hn_config *config = x->req.server->config;
    if (x->body_kind == HN_BODY_FORM || x->body_kind == HN_BODY_FILE) {
        int64_t free_bytes = hn_machine_disk_free(config->state);
        if (free_bytes < config->disk_reserve ||
            (unsigned long long)(free_bytes - config->disk_reserve) < declared)
            return disk_full(err);
    }
    if (x->body_kind == HN_BODY_FORM) {
        x->req.is_form = true;
        x->form = MHD_create_post_processor(x->connection, 65536, on_form, x);
        if (x->form)
            return 0;
        hn_fail(err, HN_E_INVALID_FIELD, "the multipart body has no boundary that can be used");
        hn_error_hint(err, "curl -F name=value -F dataset=@file makes a good one");
        return HN_E_INVALID_FIELD;
    }
    if (x->body_kind == HN_BODY_FILE) {
        x->current = add_part(x, "file", "", NULL);
        return x->current ? open_file(x, x->current, err)
                          : hn_fail(err, HN_E_INTERNAL, "out of memory");
    }
    return 0;
}

int hn_body_take(struct hn_exchange *x, const char *data, size_t size, struct hn_error *err) {
    const char *setting;
    int64_t limit = limit_of(x, &setting);
    x->received += size;
    if (x->received > (uint64_t)limit)
        return too_large(err, limit, setting);
    if (x->body_kind == HN_BODY_JSON)
        return append(x, &x->req.body, data, size, err);
    if (x->body_kind == HN_BODY_FILE)
        return append(x, &x->pending, data, size, err);
    if (x->body_kind == HN_BODY_FORM && MHD_post_process(x->form, data, size) == MHD_NO &&
        !x->failed) {
        hn_fail(err, HN_E_INVALID_FIELD, "the multipart body is damaged");
        hn_error_hint(err, "curl -F name=value -F dataset=@file makes a good one");
        return HN_E_INVALID_FIELD;
    }
    if (x->failed && err != &x->err)
        *err = x->err;
    return x->failed ? x->err.code : 0;
}

bool hn_body_wants_flush(const struct hn_exchange *x) {
    return x->pending.size >= FLUSH_BYTES;
}

int hn_body_flush(struct hn_exchange *x, struct hn_error *err) {
    struct hn_part *part = x->current;
    int rc = 0;
    if (part && part->fd >= 0 && x->pending.size) {
        hn_sha256_add(part->sha, x->pending.data, x->pending.size);
        part->bytes += x->pending.size;
        rc = hn_write_all(part->fd, x->pending.data, x->pending.size, err);
        const struct hn_config *config = x->req.server->config;
        if (rc == HN_E_DISK_FULL ||
            (!rc && hn_machine_disk_free(config->state) < config->disk_reserve))
            rc = disk_full(err);
    }
    hn_buf_clear(&x->pending);
    return rc;
}

int hn_body_end(struct hn_exchange *x, struct hn_error *err) {
    if (x->form) {
        MHD_destroy_post_processor(x->form); /* may deliver the last bytes */
        x->form = NULL;
        if (x->failed) {
            *err = x->err;
            return err->code;
        }
    }
    int rc = end_part(x, err);
    /* What the handler will make of the JSON in it lives as long as the request does. */
    if (!rc && x->req.body.size)
        rc = hn_memory_take(x, hn_memory_of_json(x->req.body.data, x->req.body.size), err);
    for (struct hn_part *part = x->req.parts; part && !rc; part = part->next) {
        rc = hn_http_check_text(part->name, part->name, err);
        if (!rc && part->data.data)
            rc = hn_http_check_text(part->name, part->data.data, err);
        if (!rc && part->data.data)
            rc = hn_memory_take(x, hn_memory_of_json(part->data.data, part->data.size), err);
    }
    return rc;
}

static void drop(struct hn_exchange *x, struct hn_buf *buf) {
    hn_memory_give(x, buf->capacity);
    hn_buf_free(buf);
}

void hn_body_forget(struct hn_exchange *x) {
    for (struct hn_part *part = x->req.parts; part; part = part->next)
        drop(x, &part->data);
    drop(x, &x->pending);
    drop(x, &x->req.body);
}

void hn_body_free(struct hn_exchange *x) {
    if (x->form) {
        x->failed = true; /* nothing of what is left counts */
        MHD_destroy_post_processor(x->form);
    }
    for (struct hn_part *part = x->req.parts; part; part = part->next) {
        if (part->fd >= 0)
            close(part->fd);
        if (part->sha)
            hn_sha256_end(part->sha, NULL);
        if (part->path)
            unlink(part->path);
        hn_buf_free(&part->data);
    }
    hn_buf_free(&x->pending);
    hn_buf_free(&x->req.body);
}
