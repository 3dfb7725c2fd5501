/* See run.h. */
#include "engine/families/load.h"
#include "engine/data/folds.h"
#include "engine/data/prompt.h"
#include "engine/data/split.h"
#include "engine/run/run.h"
#include "engine/run/sift.h"
#include "engine/run/batch.h"
#include "engine/base/buf.h"
#include "engine/run/checkpoint.h"
#include "engine/run/forgetting.h"
#include "engine/data/row_set.h"
#include "engine/run/token_file.h"
#include "engine/run/train_sample.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Code, libraries, stacks and OpenBLAS's own buffers of a trainer before it holds anything of the
 * run; measured. */
#define PROCESS_BYTES ((size_t)48 << 20)

/* What an evaluation keeps of each row: its sums, its scores, their file. */
#define SCORE_BYTES ((size_t)96)
/* What the verdict on the fit holds of each validation row: scores at four evaluations, and
 * differences. */
#define FIT_BYTES ((size_t)256)

/* Loss and choice of a target that is trained on. */
#define TARGET_BYTES (sizeof(double) + sizeof(struct hn_choice))

#define SAMPLE_TRIES ((size_t)8) /* rows that are looked at for one sample */

/* A file of the run through hn_dataset_open or hn_dataset_append. */
typedef int open_fn(
    struct hn_dataset *, const char *, const struct hn_dataset_options *, struct hn_error *);

static int open_data(open_fn *open, struct hn_dataset *data, const char *dir,
    const struct hn_source *source, struct hn_error *err) {
    char path[4096];
    struct hn_dataset_options options = {
        .format = source->format, .columns = source->columns, .drop = source->drop};
    hn_spec_path(path, sizeof path, dir, source->file);
    return open(data, path, &options, err);
}

/* Complement of a sorted list of rows. */
static size_t *other_rows(size_t n_rows, const size_t *rows, size_t n, size_t *ret_n) {
    size_t *out = hn_calloc(n_rows, sizeof *out), count = 0;
    for (size_t i = 0, k = 0; out && i < n_rows; i++) {
        if (k < n && rows[k] == i)
            k++;
        else
            out[count++] = i;
    }
    *ret_n = count;
    return out;
}

/* Rows in a file: what is in memory of them at most, by letting pages go now and then. */
#define RELEASE_BYTES ((size_t)32 << 20)
#define RELEASE_TOKENS ((size_t)1 << 20)

int hn_run_open_training(
    struct hn_dataset *data, const char *dir, const struct hn_spec *spec, struct hn_error *err) {
    int rc = open_data(hn_dataset_open, data, dir, &spec->train, err);
    for (size_t i = 0; !rc && i < spec->n_more; i++)
        rc = open_data(hn_dataset_append, data, dir, &spec->more[i], err);
    return rc;
}

/*
 * Training rows by their data sets' weights: a row of weight 2.5 stands there twice, and every
 * second row once more. The rows that a fraction takes are spread evenly and are the same in every
 * epoch, so that an epoch is always the same rows. Takes over `rows` (sorted).
 */
static size_t *weigh_rows(const struct hn_run *run, size_t *rows, size_t *n, struct hn_error *err) {
    const struct hn_spec *spec = run->loaded.spec;
    size_t counts[HN_SPEC_MORE + 1] = {0}, total = 0, *out = NULL;
    for (int pass = 0; pass < 2; pass++) {
        memset(counts, 0, sizeof counts);
        total = 0;
        for (size_t i = 0; i < *n; i++) {
            size_t part = hn_dataset_part(&run->train_data, rows[i]), k = counts[part]++;
            double weight = part ? spec->more[part - 1].weight : spec->train.weight;
            size_t copies =
                (size_t)(floor((double)(k + 1) * weight + 1e-9) - floor((double)k * weight + 1e-9));
            for (size_t c = 0; c < copies; c++, total++)
                if (out)
                    out[total] = rows[i];
        }
        if (!pass && !(out = hn_calloc(total + 1, sizeof *out)))
            hn_fail(err, HN_E_INTERNAL, "out of memory");
        if (!out)
            break;
    }
    free(rows);
    *n = total;
    return out;
}

/* Rows on their way into a file, whose contents are summed up. */
struct summed {
    struct hn_row_sum sum;
    const struct hn_dataset *data;
    struct hn_token_writer *writer;
};

static int sum_and_write(void *user, struct hn_examples *ex, struct hn_error *err) {
    struct summed *s = user;
    int rc = hn_row_sum_add(&s->sum, s->data, ex->rows, ex->n_rows, err);
    return rc ? rc : hn_token_writer_add(s->writer, ex, err);
}

/* The rows that validation takes of the training data. */
static int hold_out(const struct hn_run *run, size_t **ret, size_t *ret_n, struct hn_error *err) {
    const struct hn_spec *spec = run->loaded.spec;
    if (spec->folds.folds)
        return hn_folds_split(&run->train_data, &spec->labels, &spec->folds, ret, ret_n, err);
    return spec->validation_fraction > 0 ? hn_split_validation(&run->train_data, &spec->labels,
                                               spec->validation_fraction, ret, ret_n, err)
                                         : 0;
}

/* What rows are there to train on, of those in rows[*n]; `out` tells of the others. */
struct counted_out {
    struct hn_left_out chosen; /* as the job's field `rows` says */
    size_t doubles;            /* by dedupe, drop_leaks, drop_contradictions, */
    struct hn_notices told;    /* and which */
};

static int choose_rows(const struct hn_run *run, size_t *rows, size_t *n, const size_t *held,
    size_t n_held, struct counted_out *out, struct hn_error *err) {
    const struct hn_spec *spec = run->loaded.spec;
    const struct hn_measuring sets[] = {{&run->train_data, held, n_held},
        {&run->validation_data, NULL, run->validation_data.n_rows},
        {&run->test_data, NULL, run->test_data.n_rows}};
    int rc = hn_row_choice_exclude(&spec->choice, &run->train_data, rows, n, &out->chosen, err);
    out->doubles = *n;
    if (!rc)
        rc = hn_sift_training(spec, &run->train_data, sets, rows, n, &out->told, err);
    out->doubles -= *n;
    return rc ? rc
              : hn_row_choice_draw(
                    &spec->choice, &run->train_data, &spec->labels, rows, n, &out->chosen, err);
}

/* Rows of one set, in memory or through the writer into its file. `left_out` (or NULL) tells of
 * others that were of it. */
static int encode_set(struct hn_run *run, const struct hn_dataset *data, const size_t *rows,
    size_t n, const struct counted_out *left_out, enum hn_token_set set, struct hn_examples *ex,
    struct hn_token_writer *writer, struct hn_error *err) {
    struct hn_encode_options options = hn_loaded_encode_options(&run->loaded);
    struct summed summed = {.data = data, .writer = writer};
    bool sum = set == HN_TOKENS_VALIDATION; /* the rows whose scores are kept */
    hn_examples_flush *flush = sum ? sum_and_write : hn_token_writer_add;
    int rc = hn_examples_stream(&run->loaded.codec, data, rows, n, &options, writer ? flush : NULL,
        sum ? (void *)&summed : writer, ex, err);
    if (rc && err && err->code != HN_E_INTERNAL && set != HN_TOKENS_TRAIN) {
        const char *name = set == HN_TOKENS_VALIDATION ? "validation" : "test";
        char where[32];
        snprintf(where, sizeof where, "%s rows", name);
        hn_error_prefix(err, where);
        hn_error_field(err, "%s", name);
    }
    if (!rc && sum)
        rc = hn_row_sum_add(&summed.sum, data, ex->rows, ex->n_rows, err);
    hn_row_sum_end(&summed.sum, rc ? NULL : ex->sha256);
    if (!rc && left_out) {
        ex->rows_total += left_out->doubles;
        ex->dropped += left_out->doubles;
        ex->left_out = left_out->chosen;
        hn_notices_join(&ex->notices, &left_out->told);
    }
    return rc || !writer ? rc : hn_token_writer_end(writer, set, ex, err);
}

static int encode_all(struct hn_run *run, struct hn_token_writer *writer, struct hn_error *err) {
    const struct hn_spec *spec = run->loaded.spec;
    const struct hn_dataset *data = &run->train_data, *other = &run->validation_data;
    size_t *held = NULL, *kept = NULL, n_held = 0, n_kept = data->n_rows;
    struct counted_out left_out = {0};
    int rc = hold_out(run, &held, &n_held, err);
    if (!rc && !(kept = other_rows(data->n_rows, held, n_held, &n_kept)))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc)
        rc = choose_rows(run, kept, &n_kept, held, n_held, &left_out, err);
    if (!rc && !(kept = weigh_rows(run, kept, &n_kept, err)))
        rc = HN_E_INTERNAL;
    if (!rc)
        rc = encode_set(
            run, data, kept, n_kept, &left_out, HN_TOKENS_TRAIN, &run->train, writer, err);
    if (!rc && n_held)
        rc = encode_set(
            run, data, held, n_held, NULL, HN_TOKENS_VALIDATION, &run->validation, writer, err);
    else if (!rc && spec->validation.file)
        rc = encode_set(run, other, NULL, other->n_rows, NULL, HN_TOKENS_VALIDATION,
            &run->validation, writer, err);
    if (!rc && spec->test.file)
        rc = encode_set(run, &run->test_data, NULL, run->test_data.n_rows, NULL, HN_TOKENS_TEST,
            &run->test, writer, err);
    free(held);
    free(kept);
    return rc;
}

static size_t dataset_bytes(const struct hn_dataset *data) {
    size_t bytes = data->offsets_capacity * sizeof *data->offsets +
        data->sizes_capacity * sizeof *data->sizes + data->lines_capacity * sizeof *data->lines +
        data->parts_capacity * sizeof *data->parts;
    for (size_t i = 0; i < data->n_more; i++)
        bytes += dataset_bytes(&data->more[i]);
    return bytes;
}

static void close_data(struct hn_run *run) {
    hn_dataset_close(&run->train_data);
    hn_dataset_close(&run->validation_data);
    hn_dataset_close(&run->test_data);
}

static void forget_rows(struct hn_run *run) {
    hn_examples_finish(&run->train);
    hn_examples_finish(&run->validation);
    hn_examples_finish(&run->test);
    hn_examples_finish(&run->train_sample);
    hn_examples_finish(&run->neutral);
    hn_examples_finish(&run->kl_rows);
    hn_map_close(&run->tokens);
}

static bool read_tokens(struct hn_run *run, const char *path) {
    struct hn_examples *sets[HN_TOKEN_SETS] = {&run->train, &run->validation, &run->test};
    return hn_token_file_open(path, run->loaded.spec, &run->tokens, sets, &run->dataset_bytes);
}

/* HN_E_CONFLICT: the rows are good, but the file cannot be written. */
static int write_tokens(struct hn_run *run, const char *path, struct hn_error *err) {
    struct hn_token_writer writer;
    struct hn_error local = {0};
    int rc = hn_token_writer_begin(&writer, path, &local);
    bool begun = !rc;
    if (begun)
        rc = encode_all(run, &writer, &local);
    if (!rc)
        rc = hn_token_writer_publish(&writer, run->loaded.spec, run->dataset_bytes, &local);
    hn_token_writer_finish(&writer);
    forget_rows(run);
    if (!rc && read_tokens(run, path))
        return 0;
    if (rc && begun && rc != HN_E_INTERNAL && rc != HN_E_DISK_FULL) {
        /* of the rows, not of the file */
        *err = local;
        return rc;
    }
    return HN_E_CONFLICT;
}

/* The rows as tokens: from the file, else made, and kept in the file for whoever comes next. */
static int load_rows(struct hn_run *run, const char *dir, const char *path, struct hn_error *err) {
    if (path && read_tokens(run, path))
        return 0;
    int rc = hn_run_open_data(run, dir, err);
    run->dataset_bytes = dataset_bytes(&run->train_data) + dataset_bytes(&run->validation_data) +
        dataset_bytes(&run->test_data);
    if (!rc)
        rc = path ? write_tokens(run, path, err) : HN_E_CONFLICT;
    return rc == HN_E_CONFLICT ? encode_all(run, NULL, err) : rc;
}

static bool spec_has_head(const struct hn_spec *spec) {
    return spec->labels.objective != HN_OBJECTIVE_TOKENS;
}

/* 0: the row has a prompt of fewer than `room` tokens; else why not. */
static int try_prompt(const struct hn_run *run, const struct hn_dataset *data, size_t row,
    size_t room, struct hn_error *err) {
    struct hn_prompt prompt = {0};
    int rc = hn_prompt_from_row(&run->loaded.codec, data, row, &prompt, err);
    size_t n = prompt.ids.n;
    if (!rc)
        hn_prompt_finish(&prompt);
    if (!rc && !n)
        return hn_fail(err, HN_E_UNSUPPORTED, "the prompt has no tokens");
    if (!rc && n >= room)
        return hn_fail(err, HN_E_TOO_LARGE, "the prompt has %zu tokens, more than fit", n);
    return rc;
}

/* Notes a row without a prompt; other errors stay. */
static int note_unwritten(struct hn_run *run, const struct hn_dataset *data, size_t row,
    enum hn_notice_kind kind, int rc, const struct hn_error *why, struct hn_error *err) {
    if (rc == HN_E_INTERNAL) {
        if (err)
            *err = *why;
        return rc;
    }
    for (size_t i = 0; i < run->unwritten.n; i++) /* one reason stands for all */
        if (run->unwritten.list[i].kind == kind) {
            hn_notices_add(&run->unwritten, kind, run->unwritten.list[i].about, data->lines[row]);
            return 0;
        }
    hn_notices_add(&run->unwritten, kind, why->message, data->lines[row]);
    return 0;
}

/* The first row from `first` on that has a prompt, of at most SAMPLE_TRIES before `end`. */
static int choose_sample(struct hn_run *run, const struct hn_examples *ex, size_t first, size_t end,
    struct hn_error *err) {
    end = end - first > SAMPLE_TRIES ? first + SAMPLE_TRIES : end;
    for (size_t i = first; i < end; i++) {
        struct hn_error why = {0};
        int rc = try_prompt(run, run->sample_data, ex->rows[i], SIZE_MAX, &why);
        run->n_samples_tried++;
        if (!rc) {
            run->sample_rows[run->n_sample_rows++] = ex->rows[i];
            return 0;
        }
        rc = note_unwritten(run, run->sample_data, ex->rows[i], HN_NOTICE_NO_SAMPLE, rc, &why, err);
        if (rc)
            return rc;
    }
    return 0;
}

/* Samples come from the validation rows, spread evenly; from the training rows where there are
 * none. A row without a prompt leaves its place to the next one. */
static int choose_samples(struct hn_run *run, const char *dir, struct hn_error *err) {
    const struct hn_examples *ex = run->validation.n_rows ? &run->validation : &run->train;
    if (spec_has_head(run->loaded.spec)) /* it writes no text */
        return 0;
    run->sample_data = ex == &run->validation && run->loaded.spec->validation.file
        ? &run->validation_data
        : &run->train_data;
    size_t n = (size_t)run->loaded.spec->sample_rows < ex->n_rows
        ? (size_t)run->loaded.spec->sample_rows
        : ex->n_rows;
    if (!(run->sample_rows = hn_calloc(n, sizeof *run->sample_rows)))
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    int rc = n ? hn_run_open_data(run, dir, err) : 0;
    for (size_t i = 0; !rc && i < n; i++)
        rc = choose_sample(run, ex, i * ex->n_rows / n, (i + 1) * ex->n_rows / n, err);
    return rc;
}

static int check_answers(struct hn_run *run, const struct hn_examples *ex,
    const struct hn_dataset *data, struct hn_error *err) {
    const struct hn_spec *spec = run->loaded.spec;
    size_t n = (size_t)spec->hp.eval_generate, good = 0;
    size_t room = (size_t)spec->hp.max_length + (size_t)spec->sample_tokens;
    n = n < ex->n_rows ? n : ex->n_rows;
    run->n_answers_tried += n;
    for (size_t i = 0; i < n; i++) {
        struct hn_error why = {0};
        size_t row = ex->rows[i * ex->n_rows / n];
        int rc = try_prompt(run, data, row, room, &why);
        good += !rc;
        if (rc && (rc = note_unwritten(run, data, row, HN_NOTICE_NO_ANSWER, rc, &why, err)))
            return rc;
    }
    if (good || !n)
        return 0;
    const struct hn_notice *last = &run->unwritten.list[run->unwritten.n - 1];
    hn_fail(err, HN_E_INVALID_FIELD,
        "eval_generate: no answer can be written to any of %zu rows; line %u: %s", n,
        last->lines[0], last->about);
    hn_error_field(err, "hyperparameters.eval_generate");
    hn_error_hint(err, "give rows with something before the answer, or leave eval_generate at 0");
    return HN_E_INVALID_FIELD;
}

int hn_run_check_prompts(struct hn_run *run, struct hn_error *err) {
    if (spec_has_head(run->loaded.spec) || !run->loaded.spec->hp.eval_generate)
        return 0;
    int rc = check_answers(run, &run->validation,
        run->loaded.spec->validation.file ? &run->validation_data : &run->train_data, err);
    return rc ? rc : check_answers(run, &run->test, &run->test_data, err);
}

/* For walks over all rows: of a large file, only a part of it is in memory at a time. */
static void release_sometimes(const struct hn_examples *ex, size_t row) {
    if (ex->starts[row] / RELEASE_TOKENS != ex->starts[row + 1] / RELEASE_TOKENS)
        hn_examples_release(ex);
}

static void find_longest(struct hn_run *run, const struct hn_examples *ex) {
    for (size_t i = 0; i < ex->n_rows; i++) {
        size_t n = hn_row_length(ex, i);
        run->longest = n > run->longest ? n : run->longest;
        release_sometimes(ex, i);
    }
}

/* All of them once, so that what does not fit is told before training. */
static int look_at_others(struct hn_run *run, const char *dir, struct hn_error *err) {
    int rc = 0;
    for (size_t i = 0; !rc && i < run->loaded.spec->n_verify_on; i++) {
        struct hn_loaded other;
        rc = hn_loaded_open_other(&run->loaded, i, dir, &other, err);
        if (!rc && other.model.mapped_bytes > run->other_bytes)
            run->other_bytes = other.model.mapped_bytes;
        hn_loaded_finish(&other);
    }
    return rc;
}

int hn_run_open_data(struct hn_run *run, const char *dir, struct hn_error *err) {
    const struct hn_spec *spec = run->loaded.spec;
    int rc = run->train_data.n_rows ? 0 : hn_run_open_training(&run->train_data, dir, spec, err);
    if (!rc && spec->validation.file && !run->validation_data.n_rows)
        rc = open_data(hn_dataset_open, &run->validation_data, dir, &spec->validation, err);
    if (!rc && spec->test.file && !run->test_data.n_rows)
        rc = open_data(hn_dataset_open, &run->test_data, dir, &spec->test, err);
    return rc;
}

bool hn_run_reads_texts(const struct hn_run *run) {
    return run->n_sample_rows || run->loaded.spec->hp.eval_generate ||
        run->loaded.spec->labels.objective == HN_OBJECTIVE_SPAN ||
        hn_notices_have(&run->validation.notices, HN_NOTICE_LOST_WORD) ||
        hn_notices_have(&run->test.notices, HN_NOTICE_LOST_WORD);
}

/* Beside validation rows only: without them nothing is evaluated. */
static int sample_training(struct hn_run *run, struct hn_error *err) {
    size_t held = run->validation.n_rows,
           most = held < HN_TRAIN_SAMPLE_ROWS ? held : HN_TRAIN_SAMPLE_ROWS;
    int rc = held ? hn_train_sample_make(&run->train, most, (uint64_t)run->loaded.spec->hp.seed,
                        &run->train_sample, err)
                  : 0;
    hn_examples_release(&run->train);
    return rc;
}

/* A full run changes the weights that it read, so that it needs the file's own beside them; an
 * adapter is left out of the graph instead. */
static int open_base(struct hn_run *run, const char *dir, struct hn_error *err) {
    const struct hn_spec *spec = run->loaded.spec;
    char path[4096];
    if (spec->method != HN_METHOD_FULL)
        return 0;
    hn_spec_path(path, sizeof path, dir, spec->model_file);
    int rc = hn_model_open(&run->base, path, err);
    return rc ? rc
              : hn_model_set_head(
                    &run->base, spec->labels.objective, hn_labels_outputs(&spec->labels), err);
}

/* Beside validation rows, of models that write text. */
static int sample_forgetting(struct hn_run *run, const char *dir, struct hn_error *err) {
    if (spec_has_head(run->loaded.spec) || !run->validation.n_rows)
        return 0;
    int rc = hn_kl_rows_make(&run->validation, &run->kl_rows, err);
    hn_examples_release(&run->validation);
    return rc ? rc : open_base(run, dir, err);
}

int hn_run_load(struct hn_run *run, const struct hn_spec *spec, const char *dir, const char *tokens,
    struct hn_error *err) {
    *run = (struct hn_run){.threads = spec->threads > 0 ? (unsigned)spec->threads
                                                        : (unsigned)sysconf(_SC_NPROCESSORS_ONLN)};
    int rc = hn_loaded_open(&run->loaded, spec, dir, err);
    if (!rc)
        rc = load_rows(run, dir, tokens, err);
    if (!rc && run->train.n_rows == 0) {
        rc = hn_fail(err, HN_E_DATASET_INVALID,
            "no row of the training data is left to train on (%zu of %zu dropped)",
            run->train.dropped, run->train.rows_total);
        hn_error_hint(err,
            "raise max_length, or check that the rows have answers: GET /datasets/{id}/preview "
            "shows what is trained");
    }
    if (!rc)
        rc = sample_training(run, err);
    if (!rc)
        rc = sample_forgetting(run, dir, err);
    if (!rc)
        rc = hn_loaded_choose_params(&run->loaded, err);
    if (!rc)
        rc = choose_samples(run, dir, err);
    if (!rc)
        rc = look_at_others(run, dir, err);
    if (!rc) {
        find_longest(run, &run->train);
        find_longest(run, &run->validation);
        find_longest(run, &run->test);
    }
    if (!rc && !hn_run_reads_texts(run))
        close_data(run);
    return rc;
}

static size_t ceil_div(size_t a, size_t b) {
    return (a + b - 1) / b;
}

static int count_steps(struct hn_run *run, struct hn_error *err) {
    const struct hn_hyperparams *hp = &run->loaded.spec->hp;
    run->steps_per_epoch = ceil_div(run->train.n_rows, (size_t)hp->batch_size);
    double steps = ceil(hp->epochs * (double)run->steps_per_epoch - 1e-9);
    if (!(steps >= 1 && steps < 1e12))
        return hn_fail(
            err, HN_E_INVALID_FIELD, "epochs and batch_size give an impossible number of steps");
    run->steps = (size_t)steps;
    if (hp->max_steps != HN_NONE_INT && (size_t)hp->max_steps < run->steps)
        run->steps = (size_t)hp->max_steps;
    return 0;
}

struct row_size {
    size_t tokens, targets;
};

static int more_tokens(const void *a, const void *b) {
    const struct row_size *x = a, *y = b;
    return (x->tokens < y->tokens) - (x->tokens > y->tokens);
}

static int more_targets(const void *a, const void *b) {
    const struct row_size *x = a, *y = b;
    return (x->targets < y->targets) - (x->targets > y->targets);
}

/* More targets a token: x.targets / x.tokens against y's. */
static int denser(const void *a, const void *b) {
    const struct row_size *x = a, *y = b;
    size_t left = x->targets * y->tokens, right = y->targets * x->tokens;
    return (left < right) - (left > right);
}

/*
 * The most tokens and targets that a batch of at most `limit` tokens and `rows` rows can have,
 * whichever rows the shuffle brings together: so memory is planned for what can happen, not for
 * what the limit would allow. Targets by the denser rows first, the last one in part: an upper
 * bound of what whole rows give.
 */
static int largest_batch(const struct hn_examples *ex, size_t limit, size_t rows,
    size_t dims[HN_DIMS], struct hn_error *err) {
    struct row_size *sizes = hn_calloc(ex->n_rows, sizeof *sizes);
    if (!sizes)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0; i < ex->n_rows; i++) {
        sizes[i].tokens = hn_row_length(ex, i);
        for (size_t k = ex->starts[i] + !ex->aligned; k < ex->starts[i + 1]; k++)
            sizes[i].targets += ex->weights[k] > 0;
        sizes[i].targets = ex->spans ? 2 : sizes[i].targets;
        release_sometimes(ex, i);
    }
    size_t n = rows < ex->n_rows ? rows : ex->n_rows, tokens = 0, by_rows = 0, by_tokens = 0, room;
    qsort(sizes, ex->n_rows, sizeof *sizes, more_tokens);
    for (size_t i = 0; i < n && tokens < limit; i++)
        tokens += sizes[i].tokens;
    room = tokens = tokens < limit ? tokens : limit;
    qsort(sizes, ex->n_rows, sizeof *sizes, more_targets);
    for (size_t i = 0; i < n && by_rows < tokens; i++)
        by_rows += sizes[i].targets;
    qsort(sizes, ex->n_rows, sizeof *sizes, denser);
    for (size_t i = 0; i < ex->n_rows && room; i++) {
        size_t taken = sizes[i].tokens < room ? sizes[i].tokens : room;
        by_tokens += taken < sizes[i].tokens ? (sizes[i].targets < taken ? sizes[i].targets : taken)
                                             : sizes[i].targets;
        room -= taken;
    }
    free(sizes);
    dims[HN_DIM_TOKENS] = tokens;
    dims[HN_DIM_TARGETS] = by_rows < by_tokens ? by_rows : by_tokens;
    return 0;
}

static bool evaluates(const struct hn_run *run) {
    return run->validation.n_rows || run->test.n_rows;
}

/* The largest of what validation, test, sampled training rows and neutral text can bring
 * together. */
static int largest_evaluation(
    struct hn_run *run, size_t limit, size_t dims[HN_DIMS], struct hn_error *err) {
    const struct hn_examples *sets[] = {
        &run->validation, &run->test, &run->train_sample, &run->neutral};
    size_t one[HN_DIMS];
    int rc = 0;
    memset(dims, 0, HN_DIMS * sizeof *dims);
    for (size_t i = 0; !rc && i < sizeof sets / sizeof sets[0]; i++) {
        if (!sets[i]->n_rows)
            continue;
        rc = largest_batch(sets[i], limit, SIZE_MAX, one, err);
        for (size_t d = 0; !rc && d < HN_DIMS; d++)
            dims[d] = one[d] > dims[d] ? one[d] : dims[d];
    }
    return rc;
}

/* What reading merged models back maps, one at a time. */
static size_t merged_bytes(const struct hn_run *run) {
    const struct hn_dtype_info *folder = hn_dtype_info((int)run->loaded.spec->export_dtype),
                               *file = hn_dtype_info((int)run->loaded.spec->gguf_dtype);
    size_t a = run->loaded.spec->exports & HN_EXPORT_MERGED
        ? run->loaded.model.parameters * folder->bytes
        : 0;
    size_t b = run->loaded.spec->exports & HN_EXPORT_MERGED_GGUF
        ? hn_dtype_bytes(file, run->loaded.model.parameters)
        : 0;
    return a > b ? a : b;
}

/* Rows lie in a file when a run trains: what is in memory of them between two releases. */
static size_t rows_bytes(const struct hn_run *run) {
    size_t bytes = hn_examples_bytes(&run->test) + hn_examples_bytes(&run->train) +
        hn_examples_bytes(&run->validation);
    return bytes < RELEASE_BYTES ? bytes : RELEASE_BYTES;
}

/* The base's logits lie behind the phases that are compared, in the same arena. */
static size_t comparison_bytes(const struct hn_run *run) {
    const struct hn_plan *base = &run->phases[HN_PHASE_BASE].plan,
                         *tuned = &run->phases[HN_PHASE_TUNED].plan;
    return run->kl_rows.n_rows ? hn_kl_arena(base, tuned) : 0;
}

static size_t fit_bytes(const struct hn_run *run) {
    size_t rows = run->validation.n_rows <= HN_FIT_ROWS ? run->validation.n_rows : 0;
    return (rows + 2 * run->train_sample.n_rows) * FIT_BYTES;
}

/* The larger of training and of reading results back, when gradients and moments are gone. */
static void sum_memory(struct hn_run *run) {
    struct hn_memory *m = &run->memory;
    *m = (struct hn_memory){
        .process = PROCESS_BYTES, .params = 4 * sizeof(float) * run->loaded.n_params};
    /* A full run reads the file to begin, before gradients and moments take any memory, and where
     * it is compared with its base. */
    m->mapped = run->loaded.spec->method == HN_METHOD_FULL ? run->base.mapped_bytes
                                                           : run->loaded.model.mapped_bytes;
    m->arena = comparison_bytes(run);
    for (int i = 0; i < HN_PHASES; i++)
        m->arena =
            run->phases[i].plan.arena_bytes > m->arena ? run->phases[i].plan.arena_bytes : m->arena;
    m->data = rows_bytes(run) + hn_examples_bytes(&run->train_sample) +
        (run->validation.n_rows + run->train_sample.n_rows) * SCORE_BYTES + fit_bytes(run) +
        hn_examples_bytes(&run->neutral) + hn_examples_bytes(&run->kl_rows) +
        (hn_run_reads_texts(run) ? run->dataset_bytes : 0) + hn_batch_bytes(run->batch_tokens) +
        run->batch_tokens * TARGET_BYTES;
    size_t training = m->arena + m->params + m->mapped;
    size_t read_back = merged_bytes(run) > run->other_bytes ? merged_bytes(run) : run->other_bytes;
    size_t verifying = m->arena + m->params / 4 + m->mapped + read_back;
    m->peak = (training > verifying ? training : verifying) + m->data + m->process;
}

/* Windows of the neutral text that fit a micro-batch. */
static int cut_neutral(struct hn_run *run, struct hn_error *err) {
    size_t window = run->loaded.model.config.context,
           most = (size_t)run->loaded.spec->hp.micro_batch_tokens;
    hn_examples_finish(&run->neutral);
    return run->kl_rows.n_rows
        ? hn_neutral_make(&run->loaded, window < most ? window : most, &run->neutral, err)
        : 0;
}

/* The phases that compare the base with what becomes of it, in batches of at most `tokens`. */
static int plan_forgetting(struct hn_run *run, size_t tokens, struct hn_error *err) {
    const struct hn_model *own = &run->loaded.model,
                          *base = run->loaded.adapter.n ? own : &run->base;
    struct hn_graph_options bare = {.logits = true},
                            tuned = {.adapter = run->loaded.adapter.n ? &run->loaded.adapter : NULL,
                                .logits = true};
    struct hn_plan_options plan = {.caps = {.threads = run->threads}};
    if (!run->kl_rows.n_rows)
        return 0;
    int rc = largest_batch(&run->kl_rows, tokens, SIZE_MAX, plan.caps.dims, err);
    if (plan.caps.dims[HN_DIM_TARGETS] > HN_KL_CHUNK)
        plan.caps.dims[HN_DIM_TARGETS] = HN_KL_CHUNK;
    if (!rc)
        rc = hn_phase_make(&run->phases[HN_PHASE_BASE], base, &bare, &plan, err);
    return rc ? rc : hn_phase_make(&run->phases[HN_PHASE_TUNED], own, &tuned, &plan, err);
}

int hn_run_plan(struct hn_run *run, struct hn_error *err) {
    const struct hn_spec *spec = run->loaded.spec;
    for (int i = 0; i < HN_PHASES; i++)
        hn_phase_finish(&run->phases[i]);
    int rc = count_steps(run, err);
    if (!rc)
        rc = cut_neutral(run, err);
    size_t tokens = (size_t)spec->hp.micro_batch_tokens;
    tokens = tokens > run->longest ? tokens : run->longest; /* a row is never split */
    const struct hn_model_config *config = &run->loaded.model.config;
    bool own = spec->hp.dropout >= config->dropout && spec->hp.dropout <= config->dropout;
    struct hn_graph_options loss = {.adapter = run->loaded.adapter.n ? &run->loaded.adapter : NULL,
        .label_smoothing = spec->hp.label_smoothing,
        .dropout = spec->hp.dropout,
        .attention_dropout = spec->hp.attention_dropout,
        /* the model's own, unless a person chose */
        .head_dropout = own ? config->head_dropout : spec->hp.dropout};
    struct hn_graph_options eval = {.adapter = loss.adapter},
                            verify = {.adapter = loss.adapter, .logits = true};
    struct hn_plan_options plan = {
        .caps = {.threads = run->threads}, .train = true, .recompute = spec->recompute};
    if (!rc)
        rc = largest_batch(&run->train, tokens, (size_t)spec->hp.batch_size, plan.caps.dims, err);
    run->batch_tokens = plan.caps.dims[HN_DIM_TOKENS];
    if (!rc)
        rc = hn_phase_make(&run->phases[HN_PHASE_TRAIN], &run->loaded.model, &loss, &plan, err);
    plan.train = false;
    if (!rc && evaluates(run))
        rc = largest_evaluation(run, tokens, plan.caps.dims, err);
    if (run->batch_tokens < plan.caps.dims[HN_DIM_TOKENS])
        run->batch_tokens = plan.caps.dims[HN_DIM_TOKENS];
    if (run->batch_tokens < HN_SAMPLE_CHUNK)
        run->batch_tokens = HN_SAMPLE_CHUNK;
    if (!rc && evaluates(run))
        rc = hn_phase_make(&run->phases[HN_PHASE_EVAL], &run->loaded.model, &eval, &plan, err);
    if (!rc)
        rc = plan_forgetting(run, tokens, err);
    plan.caps.dims[HN_DIM_TARGETS] = spec_has_head(spec) ? run->longest : HN_VERIFY_TARGETS;
    plan.caps.dims[HN_DIM_TOKENS] = run->longest;
    if (!rc)
        rc = hn_phase_make(&run->phases[HN_PHASE_VERIFY], &run->loaded.model, &verify, &plan, err);
    if (!rc && (run->n_sample_rows || spec->hp.eval_generate))
        rc = hn_sample_phase(&run->phases[HN_PHASE_SAMPLE], &run->loaded.model, loss.adapter,
            HN_SAMPLE_SLOTS,
            HN_SAMPLE_SLOTS * ((size_t)spec->hp.max_length + (size_t)spec->sample_tokens),
            run->threads, err);
    if (!rc)
        sum_memory(run);
    hn_examples_release(&run->train);
    return rc;
}

void hn_run_finish(struct hn_run *run) {
    for (int i = 0; i < HN_PHASES; i++)
        hn_phase_finish(&run->phases[i]);
    free(run->sample_rows);
    forget_rows(run);
    close_data(run);
    hn_model_close(&run->base);
    hn_loaded_finish(&run->loaded);
    *run = (struct hn_run){0};
}
