/*
 * watch: a job's progress until it ends, asked for again and again, so that a daemon that restarts
 * or a connection that breaks only makes it wait. Ctrl-C ends the watching, never the job: it is
 * read from a descriptor between two asks.
 */
#include "server/client/client.h"
#include "server/base/id.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define PERIOD_MS 500
#define PATIENCE_MS (15 * 60 * 1000) /* without an answer of the server */

struct watch {
    struct hn_client *client;
    const char *id;
    struct hn_bar bar;
    int signals;
    int64_t answered; /* tick of the last answer */
    bool silent;      /* that the server does not answer is told */
    bool interrupted;
    /* what was told last */
    char status[32];
    double val_loss, tenth;
};

static bool wait_signal(struct watch *w, int milliseconds) {
    struct pollfd at = {.fd = w->signals, .events = POLLIN};
    int n = w->signals >= 0 ? poll(&at, 1, milliseconds) : poll(NULL, 0, milliseconds);
    struct signalfd_siginfo taken;
    if (n > 0 && read(w->signals, &taken, sizeof taken) == sizeof taken)
        w->interrupted = true;
    return w->interrupted;
}

static bool on_progress(void *ud, int64_t sent, int64_t to_send) {
    (void)sent;
    (void)to_send;
    return !wait_signal(ud, 0);
}

static int open_signals(sigset_t *before) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, before);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void show(struct watch *w, const json_t *job) {
    struct hn_client *c = w->client;
    char a[HN_FIGURE];
    struct hn_buf rest = {0};
    const char *status = hn_client_text(c, job, "status");
    double fraction = hn_member_number(job, "progress.fraction"),
           val = hn_member_number(job, "metrics.val_loss"),
           eta = hn_member_number(job, "progress.eta_seconds"),
           total = hn_member_number(job, "progress.total_steps");
    bool known = fraction >= 0 && fraction <= 1 && total > 0;
    if (known)
        hn_buf_printf(&rest, "step %s/%s", hn_client_text(c, job, "progress.step"),
            hn_client_text(c, job, "progress.total_steps"));
    if (!isnan(hn_member_number(job, "metrics.loss")))
        hn_buf_printf(
            &rest, "  loss %s", hn_figure_number(a, hn_member_number(job, "metrics.loss")));
    if (!isnan(val))
        hn_buf_printf(&rest, "  val_loss %s", hn_figure_number(a, val));
    if (!isnan(eta))
        hn_buf_printf(&rest, "  ETA %s", hn_figure_seconds(a, eta));
    const char *reason = hn_client_text(c, job, "status_reason.message");
    if (strcmp(reason, "-") != 0)
        hn_buf_printf(&rest, "  %s", reason);
    double tenth = known ? floor(fraction * 10) : 0;
    bool news = strcmp(w->status, status) != 0 || tenth > w->tenth ||
        (!isnan(val) && !(val == w->val_loss));
    hn_bar_show(&w->bar, status, known ? fraction : -1, rest.data ? rest.data : "", news);
    snprintf(w->status, sizeof w->status, "%s", status);
    w->tenth = tenth;
    w->val_loss = val;
    hn_buf_free(&rest);
}

/* Asks once. *ret stays NULL when the server has no answer at the moment. */
static int look(struct watch *w, json_t **ret) {
    struct hn_client *c = w->client;
    const struct hn_ask ask = {.method = "GET",
        .path = hn_client_path(c, "/jobs/%s", w->id),
        .seconds = 30,
        .progress = on_progress,
        .ud = w};
    struct hn_answer answer;
    enum hn_outcome outcome = hn_client_try(c, &ask, &answer);
    bool later = outcome == HN_OUTCOME_UNREACHABLE ||
        (outcome == HN_OUTCOME_REFUSED && (answer.status >= 500 || answer.status == 429));
    int status = HN_CLIENT_WELL;
    if (!outcome) {
        w->answered = hn_time_tick();
        w->silent = false;
        *ret = json_incref(answer.json);
    } else if (later && hn_time_tick() - w->answered < PATIENCE_MS) {
        hn_bar_show(&w->bar, "waiting", -1, "the server does not answer; trying again", !w->silent);
        w->silent = true;
    } else if (outcome != HN_OUTCOME_STOPPED) {
        hn_bar_clear(&w->bar);
        status = hn_client_complain(c, &answer);
    }
    hn_answer_finish(&answer);
    return status;
}

/* What the metric was before the first step: the base model's. */
static double of_base(struct hn_client *c, const char *id, const char *metric) {
    json_t *events = NULL;
    const struct hn_ask ask = {
        .method = "GET", .path = hn_client_path(c, "/jobs/%s/events?type=eval&limit=1", id)};
    struct hn_answer answer;
    double value = NAN;
    if (!hn_client_try(c, &ask, &answer))
        events = json_incref(json_object_get(answer.json, "data"));
    const json_t *data = json_object_get(json_array_get(events, 0), "data");
    if (hn_member_number(data, "step") == 0)
        value = hn_member_number(data, metric);
    json_decref(events);
    hn_answer_finish(&answer);
    return value;
}

static void print_verdict(struct hn_client *c, const char *id) {
    const struct hn_ask ask = {.method = "GET", .path = hn_client_path(c, "/jobs/%s/fit", id)};
    struct hn_answer answer;
    if (!hn_client_try(c, &ask, &answer)) {
        printf("fit: %s: %s\n", hn_client_text(c, answer.json, "verdict"),
            hn_client_text(c, answer.json, "summary"));
        if (json_is_object(json_object_get(answer.json, "next")))
            printf("next: %s\n", hn_client_text(c, answer.json, "advice"));
    }
    hn_answer_finish(&answer);
}

static int print_result(struct hn_client *c, const char *id, const json_t *job) {
    char value[HN_FIGURE], before[HN_FIGURE];
    const char *status = json_string_value(json_object_get(job, "status"));
    bool well = status && strcmp(status, "succeeded") == 0;
    if (c->json) {
        hn_client_print_json(job);
        return well ? HN_CLIENT_WELL : HN_CLIENT_JOB_FAILED;
    }
    printf("%s: %s", id, hn_client_text(c, job, "status"));
    const char *metric = hn_client_text(c, job, "metrics.best.metric");
    double base = of_base(c, id, metric), best = hn_member_number(job, "metrics.best.value");
    if (!isnan(best))
        printf(", %s %s at step %s", metric, hn_figure_number(value, best),
            hn_client_text(c, job, "metrics.best.step"));
    else if (!isnan(hn_member_number(job, "metrics.loss")))
        printf(", loss %s", hn_figure_number(value, hn_member_number(job, "metrics.loss")));
    if (!isnan(best) && !isnan(base))
        printf(" (base model: %s)", hn_figure_number(before, base));
    const char *reason = hn_client_text(c, job, "status_reason.message");
    printf("%s%s\n", strcmp(reason, "-") ? ": " : "", strcmp(reason, "-") ? reason : "");
    if (well)
        print_verdict(c, id);
    return well ? HN_CLIENT_WELL : HN_CLIENT_JOB_FAILED;
}

int hn_client_follow(struct hn_client *c, const char *id) {
    sigset_t before;
    struct watch w = {.client = c,
        .id = id,
        .signals = open_signals(&before),
        .answered = hn_time_tick(),
        .val_loss = NAN};
    json_t *job = NULL;
    bool ended = false;
    hn_bar_init(&w.bar);
    int status = HN_CLIENT_WELL;
    size_t mark = c->n_kept;
    while (!status && !ended && !w.interrupted) {
        hn_client_forget(c, mark);
        json_decref(job);
        job = NULL;
        status = look(&w, &job);
        if (job)
            show(&w, job);
        ended = job && hn_client_ended(job);
        if (!status && !ended)
            wait_signal(&w, PERIOD_MS);
    }
    hn_bar_clear(&w.bar);
    if (!status && ended) {
        status = print_result(c, id, job);
    } else if (!status) {
        fprintf(stderr,
            "%s goes on; `honed watch %s` follows it again, `honed cancel %s` ends it\n", id, id,
            id);
        status = HN_CLIENT_INTERRUPTED;
    }
    json_decref(job);
    if (w.signals >= 0)
        close(w.signals);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return status;
}

int hn_client_watch(struct hn_client *c) {
    json_t *job = NULL;
    int status = hn_client_find(c, HN_NAMED_JOB, c->words[0], &job);
    if (!status)
        status = hn_client_follow(c, hn_client_text(c, job, "id"));
    json_decref(job);
    return status;
}
