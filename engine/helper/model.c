/* model.inspect: what a model file is, and its hash. */
#include "engine/base/json.h"
#include "engine/families/load.h"
#include "engine/data/examples.h"
#include "engine/base/file.h"
#include "engine/helper/call.h"
#include "engine/model/model.h"

#include <string.h>

static json_t *tasks_of(const struct hn_model *model) {
    static const enum hn_task tasks[HN_HEADS] = {[HN_HEAD_SEQUENCE] = HN_TASK_CLASSIFICATION,
        [HN_HEAD_TOKENS] = HN_TASK_TOKEN_CLASSIFICATION,
        [HN_HEAD_SPAN] = HN_TASK_QA};
    json_t *list = json_array();
    if (model->by_role[HN_ROLE_HEAD]) {
        json_array_append_new(list, json_string(hn_task_name(HN_TASK_GENERATION)));
        json_array_append_new(list, json_string(hn_task_name(HN_TASK_QA))); /* written */
    }
    for (int i = 0; i < HN_HEADS; i++)
        if (model->arch->heads[i].score)
            json_array_append_new(list, json_string(hn_task_name(tasks[i])));
    return list;
}

int hn_helper_model_inspect(
    struct hn_helper_call *call, const json_t *params, json_t **ret, struct hn_error *err) {
    const char *path;
    struct hn_model model = {0};
    struct hn_codec codec = {0};
    char hash[HN_SHA256_HEX];
    uint64_t bytes = 0;
    (void)call;
    int rc = hn_helper_path(params, &path, err);
    if (!rc && hn_is_folder(path))
        rc = hn_folder_check(path, json_object_get(params, "others"), err);
    if (!rc)
        rc = hn_model_open(&model, path, err);
    if (!rc)
        rc = hn_codec_open(&model, &codec, err);
    if (!rc)
        rc = model.is_folder ? hn_folder_hash(path, hash, &bytes, err)
                             : hn_sha256_file(path, hash, &bytes, err);
    if (!rc)
        *ret = HN_JSON_OBJECT({"family", json_string(model.config.family)},
            {"format", json_string(model.is_folder ? "safetensors" : "gguf")},
            {"quantisation", json_string(model.quantisation)},
            {"parameters", json_integer(model.parameters)},
            {"context", json_integer(model.config.context)},
            {"vocab", json_integer(model.config.vocab)}, {"tasks", tasks_of(&model)},
            {"chat_template", json_boolean(codec.chat != NULL)}, {"sha256", json_string(hash)},
            {"bytes", json_integer(bytes)});
    hn_codec_finish(&codec);
    hn_model_close(&model);
    return rc;
}
