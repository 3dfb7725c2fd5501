/* See deliver.h. */
#include "server/hooks/deliver.h"
#include "server/client/transfer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEADERS 8

static int read_line(int fd, json_t **ret) {
    struct hn_buf line = {.ceiling = HN_DELIVER_LINE};
    char part[4096];
    while (!line.failed && (!line.size || line.data[line.size - 1] != '\n')) {
        ssize_t n = read(fd, part, sizeof part);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        hn_buf_append(&line, part, (size_t)n);
    }
    int rc = line.failed || !line.size ? HN_E_INVALID_JSON
                                       : hn_json_parse(line.data, line.size, ret, NULL);
    hn_buf_free(&line);
    return rc;
}

/* All of an answer is dropped, however long; its end is waited for no longer than its time. */
static bool drop(void *ud, long status, const char *data, size_t size) {
    (void)ud;
    (void)status;
    (void)data;
    (void)size;
    return true;
}

static json_t *post(const json_t *wanted) {
    const char *url = json_string_value(json_object_get(wanted, "url")),
               *headers[HEADERS + 1] = {NULL};
    json_t *list = json_object_get(wanted, "headers"), *header;
    struct hn_endpoint at = {.url = (char *)(uintptr_t)url, .direct = true};
    struct hn_ask ask = {.method = "POST",
        .path = "",
        .text = json_string_value(json_object_get(wanted, "body")),
        .headers = headers,
        .accept = "*/*",
        .seconds = HN_DELIVER_SECONDS,
        .sink = drop};
    struct hn_transfer *transfer = NULL;
    struct hn_answer answer = {0};
    struct hn_error err = {0};
    size_t i;
    json_array_foreach(list, i, header)
        if (i < HEADERS)
            headers[i] = json_string_value(header);
    if (!url || !ask.text)
        return NULL;
    if (!hn_transfer_create(&at, &transfer, &err))
        hn_transfer_ask(transfer, &ask, &answer, &err);
    /* A status counts as soon as it is there, whatever becomes of the body behind it. */
    const char *why = answer.why[0] ? answer.why : err.message;
    json_t *message = answer.status ? json_sprintf("it answered with status %ld", answer.status)
                                    : hn_json_text(why, strlen(why));
    json_t *ret = json_pack("{s:I,s:o}", "status", (json_int_t)answer.status, "message", message);
    hn_answer_finish(&answer);
    hn_transfer_destroy(transfer);
    return ret;
}

int hn_deliver(int fd) {
    json_t *wanted = NULL;
    json_t *told = read_line(fd, &wanted) ? NULL : post(wanted);
    char *text = told ? json_dumps(told, JSON_COMPACT) : NULL;
    struct hn_buf line = {0};
    hn_buf_text(&line, text ? text : "");
    hn_buf_char(&line, '\n');
    bool good = text && !line.failed && hn_write_all(fd, line.data, line.size, NULL) == 0;
    hn_buf_free(&line);
    free(text);
    json_decref(told);
    json_decref(wanted);
    return good ? 0 : 1;
}
