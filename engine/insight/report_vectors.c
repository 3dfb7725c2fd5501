/* What the vectors of a sample of the rows say; see embeddings.h. */
#include "engine/base/json.h"
#include "engine/base/rng.h"
#include "engine/insight/embeddings.h"
#include "engine/insight/report_internal.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK ((size_t)64) /* texts between two signs of progress */
#define EXAMPLES 3         /* lines that are told of a group */

/* Rows of a set with their vectors. */
struct sample {
    const struct hn_dataset *data;
    size_t n, *rows; /* [n] ascending */
    float *vectors;  /* [n, width] */
};

static void append_texts(struct hn_buf *out, const json_t *value) {
    const json_t *one;
    size_t i;
    if (json_is_string(value)) {
        if (out->size)
            hn_buf_char(out, ' ');
        hn_buf_append(out, json_string_value(value), json_string_length(value));
    }
    if (json_is_object(value))
        append_texts(out, json_object_get(value, "content"));
    json_array_foreach((json_t *)(uintptr_t)value, i, one)
        append_texts(out, one);
}

/* What the row asks, as it is written; of a conversation what users say. */
static void write_text(struct hn_buf *out, const json_t *row) {
    static const char *const names[] = {"text", "prompt", "question", "tokens"};
    const json_t *messages = json_object_get(row, "messages"), *message;
    size_t i;
    for (i = 0; i < sizeof names / sizeof names[0] && !out->size; i++)
        append_texts(out, json_object_get(row, names[i]));
    json_array_foreach((json_t *)(uintptr_t)messages, i, message) {
        const char *role = json_string_value(json_object_get(message, "role"));
        if (role && strcmp(role, "user") == 0)
            append_texts(out, message);
    }
}

static int by_number(const void *a, const void *b) {
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

/* Draws at most `most` rows, the same ones each time. */
static int draw_rows(struct sample *s, const struct hn_dataset *data, size_t most, size_t width,
    struct hn_error *err) {
    s->data = data;
    s->n = data->n_rows < most ? data->n_rows : most;
    s->rows = hn_calloc(s->n + 1, sizeof *s->rows);
    s->vectors = hn_calloc(s->n * width + 1, sizeof *s->vectors);
    if (!s->rows || !s->vectors)
        return hn_report_memory(err);
    for (size_t i = 0; i < data->n_rows; i++) {
        size_t at = i < s->n ? i : (size_t)(hn_random_u64(0, HN_PURPOSE_SAMPLE, 0, i) % (i + 1));
        if (at < s->n)
            s->rows[at] = i;
    }
    qsort(s->rows, s->n, sizeof *s->rows, by_number);
    return 0;
}

static int embed_chunk(
    struct hn_report *r, const struct sample *s, size_t from, size_t n, struct hn_error *err) {
    struct hn_buf texts[CHUNK] = {0};
    const char *list[CHUNK];
    int rc = 0;
    for (size_t i = 0; !rc && i < n; i++) {
        json_t *row = NULL;
        rc = hn_dataset_row(s->data, s->rows[from + i], &row, err);
        hn_buf_append(&texts[i], "", 0);
        write_text(&texts[i], row);
        json_decref(row);
        if (!rc && texts[i].failed)
            rc = hn_report_memory(err);
        list[i] = texts[i].data;
    }
    if (!rc)
        rc = r->request->embed(
            r->request->context, list, n, s->vectors + from * r->request->width, err);
    for (size_t i = 0; i < n; i++)
        hn_buf_free(&texts[i]);
    return rc;
}

/* `begun` and `share`: of all vectors. */
static int embed(struct hn_report *r, struct sample *s, const struct hn_dataset *data, double begun,
    double share, struct hn_error *err) {
    int rc = draw_rows(s, data, r->request->embedded, r->request->width, err);
    for (size_t at = 0; !rc && at < s->n; at += CHUNK) {
        rc = hn_report_tell_vectors(r, begun + share * (double)at / (double)s->n, err);
        if (!rc)
            rc = embed_chunk(r, s, at, s->n - at < CHUNK ? s->n - at : CHUNK, err);
    }
    return rc;
}

/* The mean cosine of two of the rows. */
static double mean_cosine(const struct sample *s, size_t width) {
    double square = 0, n = (double)s->n;
    for (size_t k = 0; k < width; k++) {
        double sum = 0;
        for (size_t i = 0; i < s->n; i++)
            sum += (double)s->vectors[i * width + k];
        square += sum * sum;
    }
    return s->n > 1 ? (square - n) / (n * (n - 1)) : 0;
}

/* {"rows","lines"} of group `c`: the lines of its rows that are nearest to its centre. */
static json_t *cluster_json(
    const struct sample *s, const uint32_t *cluster, const float *near, uint32_t c) {
    size_t best[EXAMPLES], kept = 0, rows = 0;
    json_t *lines = json_array();
    for (size_t i = 0; i < s->n; i++) {
        if (cluster[i] != c)
            continue;
        rows++;
        size_t at = kept < EXAMPLES ? kept++ : EXAMPLES;
        for (; at > 0 && near[best[at - 1]] < near[i]; at--)
            if (at < EXAMPLES)
                best[at] = best[at - 1];
        if (at < EXAMPLES)
            best[at] = i;
    }
    for (size_t i = 0; i < kept; i++)
        json_array_append_new(lines, json_integer((json_int_t)s->data->lines[s->rows[best[i]]]));
    return json_pack("{s:I,s:o}", "rows", (json_int_t)rows, "lines", lines);
}

static int by_rows(const void *a, const void *b) {
    json_int_t x = json_integer_value(json_object_get(*(json_t *const *)a, "rows")),
               y = json_integer_value(json_object_get(*(json_t *const *)b, "rows"));
    return (x < y) - (x > y);
}

/* The groups, largest first. */
static int find_clusters(const struct sample *s, size_t width, json_t **ret, struct hn_error *err) {
    json_t *list[20];
    size_t k = hn_cluster_count(s->n);
    uint32_t *cluster = hn_calloc(s->n + 1, sizeof *cluster);
    float *near = hn_calloc(s->n + 1, sizeof *near);
    int rc = cluster && near && (*ret = json_array())
        ? hn_clusters_find(s->vectors, s->n, width, k, cluster, near, err)
        : hn_report_memory(err);
    for (uint32_t c = 0; !rc && c < k; c++)
        list[c] = cluster_json(s, cluster, near, c);
    if (!rc)
        qsort(list, k, sizeof *list, by_rows);
    for (size_t c = 0; !rc && c < k; c++)
        json_array_append_new(*ret, list[c]);
    free(cluster);
    free(near);
    return rc;
}

static int find_close(struct hn_report *r, const struct sample *own, const struct sample *other,
    struct hn_error *err) {
    uint32_t *nearest = hn_calloc(own->n + 1, sizeof *nearest);
    float *cosine = hn_calloc(own->n + 1, sizeof *cosine);
    int rc = nearest && cosine ? hn_nearest_find(own->vectors, own->n, other->vectors, other->n,
                                     r->request->width, nearest, cosine, err)
                               : hn_report_memory(err);
    for (size_t i = 0; !rc && i < own->n; i++)
        if (cosine[i] >= HN_EMBEDDED_CLOSE && !r->leaked[own->rows[i]])
            hn_finding_pair(&r->findings, HN_FINDING_LEAK_EMBEDDING, own->rows[i],
                other->rows[nearest[i]], (double)cosine[i]);
    free(nearest);
    free(cosine);
    return rc;
}

static int measure(struct hn_report *r, const struct sample *own, const struct sample *other,
    struct hn_error *err) {
    size_t width = r->request->width;
    double vendi = 0, mean = mean_cosine(own, width);
    json_t *clusters = NULL;
    int rc = hn_vendi_score(own->vectors, own->n, width, &vendi, err);
    if (!rc)
        rc = find_clusters(own, width, &clusters, err);
    if (!rc && other->n && mean <= HN_EMBEDDED_SPREAD)
        rc = find_close(r, own, other, err);
    if (!rc && other->n && mean > HN_EMBEDDED_SPREAD)
        json_array_append_new(r->notes,
            json_string("this model's vectors are all much alike, so that they tell no leaks: name "
                        "a model of sentences, such as all-MiniLM-L6-v2"));
    if (!rc)
        rc = json_object_set_new(r->out, "embeddings",
                 HN_JSON_OBJECT({"rows", json_integer((json_int_t)own->n)},
                     {"other_rows", json_integer((json_int_t)other->n)},
                     {"width", json_integer((json_int_t)width)},
                     {"vendi", hn_json_float((float)vendi)},
                     {"most", json_integer((json_int_t)(own->n < width ? own->n : width))},
                     {"mean_cosine", hn_json_float((float)mean)},
                     {"clusters", json_incref(clusters)}))
            ? hn_report_memory(err)
            : 0;
    json_decref(clusters);
    return rc;
}

int hn_report_vectors(struct hn_report *r, struct hn_error *err) {
    struct sample own = {0}, other = {0};
    bool two = r->request->other != NULL;
    int rc = embed(r, &own, r->request->data, 0, two ? 0.5 : 1, err);
    if (!rc && two)
        rc = embed(r, &other, r->request->other, 0.5, 0.5, err);
    if (!rc)
        rc = measure(r, &own, &other, err);
    free(own.rows);
    free(own.vectors);
    free(other.rows);
    free(other.vectors);
    return rc;
}
