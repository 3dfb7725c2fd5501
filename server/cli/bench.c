/*
 * `honed bench [PATH]`: what this machine reaches, and with a model what training it and asking it
 * here would be like. The run is a real one, in a folder of its own that goes again: rows made up
 * on the spot, planned, trained in a child and read from its events. No state folder is touched.
 */
#include "server/cli/commands.h"
#include "server/process/executor.h"
#include "server/base/machine.h"
#include "server/base/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define ROWS 64
#define WORDS 200    /* of a row */
#define STEPS 6      /* of which the first warms up */
#define ANSWER 64    /* tokens */
#define SECONDS 3600 /* the helper may take over a plan or an answer */

struct bench {
    struct hn_config config;
    struct hn_helper *helper;
    const char *model;
    char dir[1024], inputs[HN_PATH_SIZE], rows[HN_PATH_SIZE];
    bool encoder;
};

static int ask(
    struct bench *b, const char *op, json_t *params, json_t **ret, struct hn_error *err) {
    const struct hn_question question = {.op = op, .params = params, .timeout_seconds = SECONDS};
    int rc = params ? hn_helper_call(b->helper, &question, ret, NULL, err)
                    : hn_fail(err, HN_E_INTERNAL, "out of memory");
    json_decref(params);
    return rc;
}

static double number(const json_t *object, const char *name) {
    return json_number_value(json_object_get(object, name));
}

static int show_machine(struct bench *b, struct hn_error *err) {
    json_t *rate = NULL;
    long long threads = (long long)b->config.threads;
    int rc = ask(b, "machine.rate", json_pack("{s:I}", "threads", (json_int_t)threads), &rate, err);
    if (rc)
        return rc;
    printf("kernels   %s, %s\n", hn_kernel_level(),
        json_string_value(json_object_get(rate, "kernels")));
    printf("products  %.0f GFLOP/s with one thread, %.0f with %lld\n",
        number(rate, "product") / 1e9, number(rate, "products") / 1e9, threads);
    printf("memory    %.1f GB/s copied with one thread, %.1f with %lld\n",
        number(rate, "copy") / 1e9, number(rate, "copies") / 1e9, threads);
    json_decref(rate);
    return 0;
}

static int show_model(struct bench *b, struct hn_error *err) {
    json_t *about = NULL;
    int rc = ask(b, "model.inspect", json_pack("{s:s}", "path", b->model), &about, err);
    if (rc)
        return rc;
    const char *first = json_string_value(json_array_get(json_object_get(about, "tasks"), 0));
    b->encoder = first && strcmp(first, "generation") != 0;
    printf("model     %s, %.1f million parameters, %s\n",
        json_string_value(json_object_get(about, "family")), number(about, "parameters") / 1e6,
        json_string_value(json_object_get(about, "quantisation")));
    json_decref(about);
    return 0;
}

/* Sentences without sense, of the same length and different words. */
static int write_rows(const struct bench *b, struct hn_error *err) {
    static const char *const words[] = {"the", "river", "under", "an", "old", "bridge", "carries",
        "seven", "boats", "of", "wood", "and", "people", "who", "sing", "about", "winter"};
    enum { N = sizeof words / sizeof words[0] };
    FILE *f = fopen(b->rows, "we");
    unsigned seed = 1;
    for (int row = 0; f && row < ROWS; row++) {
        fprintf(f, "{%s\"text\":\"", b->encoder ? row % 2 ? "\"label\":1," : "\"label\":0," : "");
        for (int i = 0; i < WORDS; i++) {
            seed = seed * 1103515245 + 12345;
            fprintf(f, "%s%s", i ? " " : "", words[(seed >> 16) % N]);
        }
        fprintf(f, "\"}\n");
    }
    return f && fclose(f) == 0 ? 0 : hn_fail(err, HN_E_DISK_FULL, "cannot write %s", b->rows);
}

/* The plan's specification, with its inputs where it says. */
static int prepare(struct bench *b, double *ret_planned, struct hn_error *err) {
    char path[HN_PATH_SIZE], spec[HN_PATH_SIZE];
    json_t *plan = NULL;
    int64_t threads = b->config.threads;
    if (!hn_state_path(b->inputs, b->dir, "inputs", NULL, NULL) ||
        !hn_state_path(b->rows, b->dir, "inputs", "train", NULL) ||
        !hn_state_path(spec, b->dir, "spec.json", NULL, NULL))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    int rc = hn_dir_create(b->inputs, err);
    if (!rc)
        rc = write_rows(b, err);
    if (!rc)
        rc = ask(b, "job.plan",
            HN_JSON_OBJECT(
                {"model",
                    HN_JSON_OBJECT({"path", json_string(b->model)}, {"sha256", json_string("")})},
                {"train",
                    HN_JSON_OBJECT({"path", json_string(b->rows)}, {"sha256", json_string("")},
                        {"format", json_string("jsonl")})},
                {"validation", json_string("none")},
                {"hyperparameters",
                    HN_JSON_OBJECT({"max_steps", json_integer(STEPS)},
                        {"batch_size", json_integer(8)}, {"epochs", json_integer(1)})},
                {"samples", HN_JSON_OBJECT({"rows", json_integer(0)})},
                {"exports", json_pack("[o]", json_string("peft"))},
                {"memory_bytes", json_integer(b->config.memory)},
                {"threads", json_integer(threads)}),
            &plan, err);
    if (rc)
        return rc;
    json_t *run = json_object_get(plan, "run"), *host = json_object_get(plan, "host");
    const char *file = json_string_value(json_object_get(json_object_get(run, "model"), "file"));
    *ret_planned = number(json_object_get(plan, "plan"), "peak_bytes");
    json_object_set_new(host, "threads", json_integer((json_int_t)threads));
    json_t *whole =
        json_pack("{s:i,s:s,s:O,s:O}", "format", 1, "job", "bench", "run", run, "host", host);
    if (!file || !hn_state_path(path, b->dir, file, NULL, NULL) || symlink(b->model, path) ||
        json_dump_file(whole, spec, JSON_COMPACT | JSON_REAL_PRECISION(17)))
        rc = hn_fail(err, HN_E_INTERNAL, "cannot write %s", spec);
    json_decref(whole);
    json_decref(plan);
    return rc;
}

static int run_trainer(const struct bench *b, struct hn_error *err) {
    struct hn_process process;
    int rc = hn_executor_local.spawn(b->dir, NULL, &process, err);
    while (!rc && hn_executor_local.alive(b->dir))
        usleep(50000);
    return rc || hn_executor_local.release(&process) == HN_EXIT_FINISHED
        ? rc
        : hn_fail(err, HN_E_INTERNAL, "the trainer failed; what it said is above");
}

static int rising(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median of the steps behind the first, from the run's events; 0 without. */
static double median_rate(const struct bench *b) {
    char path[HN_PATH_SIZE], line[1 << 16];
    double rates[STEPS];
    size_t n = 0;
    FILE *f = hn_state_path(path, b->dir, "events.jsonl", NULL, NULL) ? fopen(path, "re") : NULL;
    while (f && fgets(line, sizeof line, f)) {
        json_t *event = json_loads(line, 0, NULL), *data = json_object_get(event, "data");
        const char *type = json_string_value(json_object_get(event, "type"));
        if (type && strcmp(type, "step") == 0 && number(data, "step") > 1 && n < STEPS)
            rates[n++] = number(data, "tokens_per_second");
        json_decref(event);
    }
    if (f)
        fclose(f);
    if (!n)
        return 0;
    qsort(rates, n, sizeof rates[0], rising);
    return rates[n / 2];
}

static int show_training(struct bench *b, struct hn_error *err) {
    double planned = 0;
    struct rusage usage;
    int rc = prepare(b, &planned, err);
    if (!rc)
        rc = run_trainer(b, err);
    if (rc)
        return rc;
    /* the helper lives: the trainer is the only child that was waited for */
    getrusage(RUSAGE_CHILDREN, &usage);
    printf("training  %.0f tokens/s, LoRA, 8 rows a step, %lld threads; %.2f GB of memory, %.2f "
           "planned\n",
        median_rate(b), (long long)b->config.threads, (double)usage.ru_maxrss * 1024 / 1e9,
        planned / 1e9);
    return 0;
}

static int show_writing(struct bench *b, struct hn_error *err) {
    double seconds = 0, tokens = 0;
    for (int i = 0; i < 2; i++) { /* the first opens the model */
        struct timespec begin, end;
        json_t *answer = NULL;
        clock_gettime(CLOCK_MONOTONIC, &begin);
        int rc = ask(b, "predict",
            json_pack("{s:{s:s},s:[{s:s}],s:i}", "model", "path", b->model, "inputs", "prompt",
                "Once upon a time", "max_tokens", ANSWER),
            &answer, err);
        clock_gettime(CLOCK_MONOTONIC, &end);
        if (rc)
            return rc;
        seconds =
            (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) * 1e-9;
        tokens =
            number(json_object_get(json_array_get(json_object_get(answer, "data"), 0), "usage"),
                "completion_tokens");
        json_decref(answer);
    }
    printf("writing   %.1f tokens/s of one answer\n", tokens / seconds);
    return 0;
}

/* Where it fell over, what it wrote is of use. */
static void show_log(const struct bench *b) {
    char path[HN_PATH_SIZE], line[1024];
    FILE *f = hn_state_path(path, b->dir, "trainer.log", NULL, NULL) ? fopen(path, "re") : NULL;
    while (f && fgets(line, sizeof line, f))
        fputs(line, stderr);
    if (f)
        fclose(f);
}

static int measure(struct bench *b, struct hn_error *err) {
    const char *tmp = getenv("TMPDIR");
    int rc = show_machine(b, err);
    if (rc || !b->model)
        return rc;
    rc = show_model(b, err);
    if (rc)
        return rc;
    if (snprintf(b->dir, sizeof b->dir, "%.900s/hone-bench-XXXXXX", tmp && *tmp ? tmp : "/tmp") <
            0 ||
        !mkdtemp(b->dir))
        return hn_fail(err, HN_E_INTERNAL, "cannot make a folder in %s", b->dir);
    rc = show_training(b, err);
    if (rc)
        show_log(b);
    hn_dir_remove(b->dir, NULL);
    return rc || b->encoder ? rc : show_writing(b, err);
}

int hn_command_bench(int argc, char **argv) {
    struct bench b = {.helper = NULL};
    struct hn_error err = {0};
    char *real = NULL;
    int left, status = 0;
    hn_config_init(&b.config);
    int rc = hn_command_config(&b.config, argc, argv, &left, &err);
    if (!rc && left > 1)
        status = hn_usage("honed bench [PATH] [--threads N]");
    if (!rc && left == 1 && !(b.model = real = realpath(argv[0], NULL)))
        rc = hn_fail(&err, HN_E_NOT_FOUND, "cannot find %s", argv[0]);
    if (!rc && !status)
        rc = hn_helper_create("bench", 1, b.config.helper_seconds, NULL, &b.helper, &err);
    if (!rc && !status)
        rc = measure(&b, &err);
    hn_helper_destroy(b.helper);
    hn_config_finish(&b.config);
    free(real);
    return rc ? hn_complain(&err) : status;
}
