/* The table of a submission's fields: strict reading of JSON and forms, what the plan gets, the
 * run's identity, the schema. */
#include "engine/engine.h"
#include "engine/run/spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static json_t *parse(const char *text) {
    json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(value);
    return value;
}

static int check(const char *text, struct hn_error *err) {
    json_t *request = parse(text);
    int rc = hn_job_request_check(request, NULL, err);
    json_decref(request);
    return rc;
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *request, *field, *hint;
        int code;
    } cases[] = {
        {"{\"modle\":\"x\"}", "modle", "did you mean \"model\"?", HN_E_UNKNOWN_FIELD},
        {"{\"name\":5}", "name", "", HN_E_INVALID_FIELD},
        {"{\"task\":[]}", "task", "", HN_E_INVALID_FIELD},
        {"{\"priority\":101}", "priority", "", HN_E_INVALID_FIELD},
        {"{\"dedupe\":1}", "dedupe", "", HN_E_INVALID_FIELD},
        {"{\"drop_leaks\":\"nearly\"}", "drop_leaks", "", HN_E_INVALID_FIELD},
        {"{\"max_shard_bytes\":0}", "max_shard_bytes", "", HN_E_INVALID_FIELD},
        {"{\"metadata\":{\"a\":1}}", "metadata", "", HN_E_INVALID_FIELD},
        {"{\"columns\":[]}", "columns",
            "for example {\"prompt\":\"question\",\"completion\":\"answer\"}", HN_E_INVALID_FIELD},
        {"{\"hyperparameters\":{\"learning_rte\":1}}", "hyperparameters.learning_rte",
            "did you mean \"hyperparameters.learning_rate\"?", HN_E_UNKNOWN_FIELD},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hn_error err = {0};
        assert_int_equal(check(cases[i].request, &err), cases[i].code);
        assert_string_equal(err.field, cases[i].field);
        assert_string_equal(err.hint, cases[i].hint);
    }
    assert_int_equal(check("{\"model\":\"m\",\"dataset\":\"d\",\"name\":null,\"priority\":-100,"
                           "\"exports\":[\"peft\"],\"hyperparameters\":null,\"columns\":null}",
                         NULL),
        0);
}

static void test_all_faults_are_told(void **state) {
    (void)state;
    static const char *const fields[] = {
        "modle", "hyperparameters.lr", "hyperparameters.epochs", "priority"};
    json_t *request = parse("{\"modle\":\"a\",\"priority\":\"b\",\"hyperparameters\":{\"lr\":1,"
                            "\"epochs\":\"x\",\"seed\":1}}"),
           *faults = NULL, *fault;
    struct hn_error err;
    size_t i;
    assert_int_equal(hn_job_request_check(request, &faults, &err), HN_E_UNKNOWN_FIELD);
    assert_string_equal(err.field, "modle");
    assert_int_equal(json_array_size(faults), 4);
    json_array_foreach(faults, i, fault)
        assert_string_equal(json_string_value(json_object_get(fault, "field")), fields[i]);
    json_decref(faults);
    json_decref(request);
    faults = NULL; /* one alone is the error itself */
    request = parse("{\"priority\":\"b\"}");
    assert_int_equal(hn_job_request_check(request, &faults, &err), HN_E_INVALID_FIELD);
    assert_null(faults);
    json_decref(request);
}

static void test_nearest(void **state) {
    (void)state;
    static const char *const names[] = {"learning_rate", "all-MiniLM-L6", "seed", NULL};
    assert_string_equal(hn_word_nearest("lr", names), "learning_rate");
    assert_string_equal(hn_word_nearest("minilm", names), "all-MiniLM-L6");
    assert_string_equal(hn_word_nearest("sede", names), "seed");
    assert_null(hn_word_nearest("x", names + 3));
}

static void test_length(void **state) {
    (void)state;
    char name[300];
    memset(name, 'x', sizeof name);
    struct hn_error err = {0};
    json_t *request = json_pack("{s:s%}", "name", name, (size_t)200);
    assert_int_equal(hn_job_request_check(request, NULL, NULL), 0);
    json_object_set_new(request, "name", json_stringn(name, 201));
    assert_int_equal(hn_job_request_check(request, NULL, &err), HN_E_INVALID_FIELD);
    assert_string_equal(err.hint, "shorten it");
    json_decref(request);
}

static void expect_form(const char *name, const char *text, const char *json) {
    json_t *found = hn_job_request_form(name, text), *wanted = parse(json);
    assert_true(json_equal(found, wanted));
    json_decref(found);
    json_decref(wanted);
}

static void test_forms(void **state) {
    (void)state;
    expect_form("name", "5", "\"5\"");
    expect_form("priority", "5", "5");
    expect_form("dataset", "ds_1", "\"ds_1\"");
    expect_form("dataset", "[\"ds_1\"]", "[\"ds_1\"]");
    expect_form("validation", "0.1", "0.1");
    expect_form("validation", "none", "\"none\"");
    expect_form("max_shard_bytes", "5GB", "\"5GB\"");
    assert_true(hn_job_request_takes_file("dataset"));
    assert_true(hn_job_request_takes_file("validation"));
    assert_false(hn_job_request_takes_file("test"));
    assert_false(hn_job_request_takes_file("nothing"));
}

/* What goes to the plan, and from there into the run's identity: as sent, and no more than that. */
static void test_identity(void **state) {
    (void)state;
    json_t *request = parse("{\"model\":\"m\",\"name\":\"n\",\"priority\":3,\"export_dtype\":"
                            "\"BF16\",\"dedupe\":true,\"drop_leaks\":false}"),
           *params = json_object(), *run = json_object();
    hn_job_request_pass(request, params);
    assert_null(json_object_get(params, "name"));
    assert_null(json_object_get(params, "model"));
    assert_true(json_is_null(json_object_get(params, "gguf_dtype")));
    assert_true(json_is_object(json_object_get(params, "hyperparameters")));
    hn_spec_write_fields(run, params, HN_JOB_RUN);
    hn_spec_write_fields(run, params, HN_JOB_GIVEN);
    json_t *wanted = parse("{\"export_dtype\":\"BF16\",\"dedupe\":true}");
    assert_true(json_equal(run, wanted));
    struct hn_spec spec = {0};
    assert_int_equal(hn_spec_read_fields(&spec, run, NULL), 0);
    assert_int_equal(spec.export_dtype, HN_BF16);
    assert_int_equal(spec.gguf_dtype, HN_F16);
    assert_int_equal(spec.max_shard_bytes, HN_SHARD_BYTES);
    assert_true(spec.dedupe);
    assert_false(spec.drop_leaks);
    json_object_set_new(run, "gguf_dtype", json_string("bf16"));
    struct hn_error err = {0};
    assert_int_equal(hn_spec_read_fields(&spec, run, &err), HN_E_INVALID_FIELD);
    assert_string_equal(err.field, "gguf_dtype");
    json_decref(wanted);
    json_decref(run);
    json_decref(params);
    json_decref(request);
}

/* A specification that was read is written again as it stood. */
static void test_written_again(void **state) {
    (void)state;
    static const char text[] =
        "{\"format\":1,\"run\":{\"task\":\"classification\",\"method\":\"lora\",\"model\":{"
        "\"sha256\":"
        "\"m\",\"file\":\"inputs/model\"},\"train\":{\"file\":\"inputs/"
        "train\",\"sha256\":\"t\",\"format\":"
        "\"csv\",\"columns\":{\"text\":\"a\"},\"on_error\":\"drop\",\"weight\":2.0},\"validation\":"
        "{"
        "\"fraction\":0.25},\"init\":{\"file\":\"inputs/"
        "init.safetensors\",\"sha256\":\"i\",\"job\":"
        "\"job_1\",\"step\":7},\"labels\":[\"x\",\"y\"],\"exports\":[\"merged\",\"peft\"],\"export_"
        "step\":"
        "\"best\",\"export_dtype\":\"BF16\",\"samples\":{\"rows\":0,\"max_tokens\":5},"
        "\"recompute\":true,"
        "\"template_date\":\"2026-01-31\",\"more\":[{\"file\":\"inputs/"
        "train-2\",\"sha256\":\"u\",\"format\":"
        "\"jsonl\",\"columns\":null,\"on_error\":\"refuse\",\"weight\":0.5}],\"test\":{\"file\":"
        "\"inputs/"
        "test\",\"sha256\":\"v\",\"format\":\"jsonl\",\"columns\":null,\"on_error\":\"refuse\"},"
        "\"dedupe\":true,\"max_shard_bytes\":1000,\"problem\":\"classes\"},\"host\":{\"verify_"
        "on\":[{"
        "\"name\":\"o\",\"sha256\":\"p\",\"file\":\"inputs/"
        "verify-1.gguf\"}],\"memory_bytes\":9,\"tokens\":"
        "\"k-8\"}}";
    struct hn_hyperparams hp;
    hn_hyperparams_defaults(&hp);
    hp.epochs = hp.learning_rate = 1;
    hp.batch_size = hp.micro_batch_tokens = hp.max_length = hp.eval_every = 16;
    hp.dropout = hp.attention_dropout = 0;
    json_t *json = parse(text), *host = json_object_get(json, "host"),
           *knobs = hn_hyperparams_write(&hp, HN_HP_HOST);
    json_object_set_new(
        json_object_get(json, "run"), "hyperparameters", hn_hyperparams_write(&hp, HN_HP_RUN));
    json_object_update(host, knobs);
    json_decref(knobs);
    struct hn_spec spec;
    struct hn_error err = {0};
    if (hn_spec_read(&spec, json_incref(json), &err))
        fail_msg("%s", err.message);
    json_t *again = hn_spec_write(&spec);
    char *was = hn_json_canonical(json), *is = hn_json_canonical(again);
    assert_string_equal(was, is);
    free(was);
    free(is);
    json_decref(again);
    json_decref(json);
    hn_spec_finish(&spec);
}

static void test_schema(void **state) {
    (void)state;
    size_t n;
    const struct hn_job_field *fields = hn_job_fields(&n);
    json_t *schema = hn_job_request_schema(), *properties = json_object_get(schema, "properties");
    assert_int_equal(json_object_size(properties), n);
    for (size_t i = 0; i < n; i++) {
        const json_t *property = json_object_get(properties, fields[i].name);
        assert_string_equal(
            json_string_value(json_object_get(property, "description")), fields[i].help);
    }
    const json_t *shard = json_object_get(properties, "max_shard_bytes");
    assert_int_equal(json_integer_value(json_object_get(shard, "default")), HN_SHARD_BYTES);
    assert_int_equal(json_integer_value(json_object_get(shard, "maximum")), HN_SHARD_BYTES_MAX);
    json_decref(schema);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_all_faults_are_told),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_written_again),
        cmocka_unit_test(test_schema),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
