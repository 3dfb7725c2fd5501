/* See row_facts.h. */
#include "engine/insight/row_facts.h"
#include "engine/data/row_set.h"

#include <stdlib.h>
#include <string.h>

static int short_key(const struct hn_buf *text, uint64_t *ret, struct hn_error *err) {
    uint64_t key[2] = {0};
    int rc = text->size ? hn_text_key(text->data, text->size, key, err) : 0;
    *ret = text->size ? key[0] | 1 : 0;
    return rc;
}

static bool is_blank(const struct hn_buf *text) {
    size_t i = 0;
    while (i < text->size && strchr(" \n", text->data[i]) && text->data[i])
        i++;
    return i == text->size;
}

int hn_row_facts_of(struct hn_row_facts *ret, struct hn_row_texts *texts, enum hn_columns columns,
    json_t *row, struct hn_error *err) {
    *ret = (struct hn_row_facts){0};
    int rc = hn_row_texts_read(texts, columns, row, err);
    if (!rc)
        rc = hn_text_key(texts->input.data, texts->input.size, ret->input, err);
    if (!rc && texts->body.size == texts->input.size &&
        memcmp(texts->body.data, texts->input.data, texts->body.size) == 0)
        memcpy(ret->body, ret->input, sizeof ret->body);
    else if (!rc)
        rc = hn_text_key(texts->body.data, texts->body.size, ret->body, err);
    if (!rc && texts->scope.size)
        rc = hn_text_key(texts->scope.data, texts->scope.size, ret->scope, err);
    ret->body[0] ^= ret->scope[0]; /* the same question about other contexts is another */
    if (!rc)
        rc = short_key(&texts->answer, &ret->answer, err);
    if (!rc)
        rc = short_key(&texts->worse, &ret->worse, err);
    if (!rc)
        rc = hn_row_content_key(row, ret->content, err);
    ret->blank = is_blank(&texts->body);
    if (ret->blank) /* nothing is compared with nothing */
        memcpy(ret->body, ret->content, sizeof ret->body);
    if (is_blank(&texts->input))
        memcpy(ret->input, ret->content, sizeof ret->input);
    return rc;
}

int hn_row_set_facts_read(struct hn_row_set_facts *ret, const struct hn_dataset *data,
    const size_t *rows, size_t n, struct hn_error *err) {
    struct hn_row_texts texts = {0};
    *ret = (struct hn_row_set_facts){data, rows, hn_calloc(n, sizeof *ret->facts), n};
    int rc = ret->facts ? 0 : hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; !rc && i < n; i++) {
        json_t *row = NULL;
        rc = hn_dataset_row(data, hn_row_set_facts_row(ret, i), &row, err);
        if (!rc)
            rc = hn_row_facts_of(&ret->facts[i], &texts, data->columns, row, err);
        json_decref(row);
    }
    hn_row_texts_finish(&texts);
    return rc;
}
