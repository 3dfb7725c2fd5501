/*
 * Fuzz targets: one a kind of input that comes from outside. Built once a target with
 * HN_FUZZ_TARGET naming it: with libFuzzer (`meson setup -Dfuzz=true`, clang), or with a main of
 * its own that runs files and folders of inputs, which is how what was found once is run again in
 * every build. What they assert is what ASan and UBSan find, and the few invariants written here.
 */
#include "engine/families/load.h"
#include "engine/data/dataset.h"
#include "engine/train/events.h"
#include "engine/data/examples.h"
#include "engine/formats/folder.h"
#include "engine/formats/gguf.h"
#include "engine/hyperparams.h"
#include "engine/base/json.h"
#include "engine/model/model.h"
#include "engine/formats/safetensors.h"
#include "engine/run/spec.h"
#include "engine/template/template.h"
#include "engine/data/tool_calls.h"
#include "engine/data/unpack.h"
#include "engine/eval/json_grammar.h"
#include "server/http/http_parse.h"
#include "tests/fuzz/request.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef void target(const uint8_t *data, size_t size);

/* A file in memory with this content; its path is good until it is closed. */
static int put(const uint8_t *data, size_t size, char path[64]) {
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    assert(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

static char folder[64];

static void remove_folder(void) {
    hn_dir_remove(folder, NULL);
}

/* A folder with one file of this content, beside whatever else is in it. */
static const char *folder_with(const char *name, const uint8_t *data, size_t size) {
    static char path[128];
    if (!folder[0]) {
        snprintf(folder, sizeof folder, "/dev/shm/hone-fuzz-XXXXXX");
        assert(mkdtemp(folder) && atexit(remove_folder) == 0);
    }
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
    return folder;
}

static void gguf(const uint8_t *data, size_t size) {
    char path[64];
    struct hn_gguf file = {0};
    struct hn_codec codec = {0};
    struct hn_error err = {0};
    int fd = put(data, size, path);
    if (!hn_gguf_open(&file, path, &err) && !hn_codec_from_gguf(&file, &codec, &err)) {
        struct hn_ids ids = {0};
        hn_tokenizer_encode(codec.tokenizer, "Hello, wörld 12", 16, NULL, &ids, &err);
        hn_ids_free(&ids);
        hn_codec_finish(&codec);
    }
    hn_gguf_close(&file);
    close(fd);
}

static void model(const uint8_t *data, size_t size) {
    char path[64];
    struct hn_model open = {0};
    struct hn_error err = {0};
    int fd = put(data, size, path);
    hn_model_open(&open, path, &err);
    hn_model_close(&open);
    close(fd);
}

static void safetensors(const uint8_t *data, size_t size) {
    char path[64];
    struct hn_safetensors file = {0};
    struct hn_error err = {0};
    int fd = put(data, size, path);
    hn_safetensors_open(&file, path, &err);
    hn_safetensors_close(&file);
    close(fd);
}

/* Weights that fit a configuration of one layer, so that more of it is looked at than its being
 * alone. */
static void lay_weights(void) {
    static const float zeros[16 * 8]; /* as many as the largest has */
    static const struct {
        const char *name;
        size_t rows, cols;
    } of[] = {{"embed_tokens", 11, 8}, {"norm", 8, 0}, {"layers.0.input_layernorm", 8, 0},
        {"layers.0.post_attention_layernorm", 8, 0}, {"layers.0.self_attn.q_proj", 8, 8},
        {"layers.0.self_attn.k_proj", 4, 8}, {"layers.0.self_attn.v_proj", 4, 8},
        {"layers.0.self_attn.o_proj", 8, 8}, {"layers.0.mlp.gate_proj", 16, 8},
        {"layers.0.mlp.up_proj", 16, 8}, {"layers.0.mlp.down_proj", 8, 16}};
    enum { N = sizeof of / sizeof of[0] };
    char names[N][64], path[128];
    struct hn_safetensor_out out[N];
    for (size_t i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "model.%s.weight", of[i].name);
        out[i] = (struct hn_safetensor_out){.name = names[i],
            .n_dims = of[i].cols ? 2 : 1,
            .dims = {of[i].rows, of[i].cols},
            .type = HN_F32,
            .values = zeros};
    }
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    assert(hn_safetensors_write(path, out, N, NULL, NULL, NULL, NULL) == 0);
}

static void config(const uint8_t *data, size_t size) {
    static bool laid;
    struct hn_model open = {0};
    struct hn_error err = {0};
    folder_with("config.json", data, size);
    if (!laid)
        lay_weights();
    laid = true;
    hn_model_open(&open, folder, &err);
    hn_model_close(&open);
}

static void tokenizer(const uint8_t *data, size_t size) {
    static const char config_json[] = "{\"model_type\":\"llama\",\"vocab_size\":32}";
    struct hn_gguf text = {0};
    struct hn_folder model_folder = {0};
    struct hn_error err = {0};
    struct hn_codec codec = {0};
    folder_with("config.json", (const uint8_t *)config_json, sizeof config_json - 1);
    snprintf(
        model_folder.dir, sizeof model_folder.dir, "%s", folder_with("tokenizer.json", data, size));
    json_t *parsed = NULL;
    if (!hn_json_parse(config_json, sizeof config_json - 1, &parsed, &err))
        model_folder.config = parsed;
    if (!hn_folder_text(&model_folder, &text, &err) && !hn_codec_from_gguf(&text, &codec, &err)) {
        struct hn_ids ids = {0};
        hn_tokenizer_encode(codec.tokenizer, "Hello, wörld 12", 16, NULL, &ids, &err);
        hn_ids_free(&ids);
        hn_codec_finish(&codec);
    }
    hn_gguf_close(&text);
    json_decref(parsed);
}

static void template(const uint8_t *data, size_t size) {
    struct hn_template *compiled = NULL;
    struct hn_rendered out = {0};
    struct hn_error err = {0};
    json_t *messages = json_pack("[{s:s,s:s},{s:s,s:s}]", "role", "user", "content", "Hi \xc3\xa9",
        "role", "assistant", "content", "Yes");
    struct hn_template_input in = {.messages = messages,
        .add_generation_prompt = true,
        .bos_token = "<s>",
        .eos_token = "</s>",
        .date = "2026-01-31"};
    if (!hn_template_compile((const char *)data, size, &compiled, &err))
        hn_template_render(compiled, &in, &out, &err);
    hn_rendered_free(&out);
    hn_template_destroy(compiled);
    json_decref(messages);
}

/* What a request asks an answer to be, and what a model may have written: the first byte says
 * which. */
static void answers(const uint8_t *data, size_t size) {
    struct hn_error err = {0};
    if (!size)
        return;
    if (data[0] & 1) {
        json_t *tools = json_pack("[{s:{s:s}}]", "function", "name", "f");
        size_t kept = 0;
        json_t *calls = hn_calls_parse((const char *)data + 1, size - 1, tools, &kept);
        assert(kept <= size - 1);
        json_decref(calls);
        json_decref(tools);
        return;
    }
    json_t *schema = NULL;
    struct hn_grammar *grammar = NULL;
    if (!hn_json_parse((const char *)data + 1, size - 1, &schema, &err) &&
        !hn_json_grammar(schema, &grammar, &err))
        hn_grammar_destroy(grammar);
    json_decref(schema);
}

/* The first byte chooses the format and what happens to bad rows. */
static void dataset(const uint8_t *data, size_t size) {
    static const char *const formats[] = {NULL, "jsonl", "json", "csv", "tsv", "squad"};
    char path[64];
    if (!size)
        return;
    struct hn_dataset open;
    struct hn_error err = {0};
    struct hn_dataset_options options = {.format = formats[data[0] % 6], .drop = data[0] & 128};
    int fd = put(data + 1, size - 1, path);
    if (!hn_dataset_open(&open, path, &options, &err))
        for (size_t i = 0; i < open.n_rows; i++) {
            json_t *row = NULL;
            if (!hn_dataset_row(&open, i, &row, &err))
                assert(json_is_object(row));
            json_decref(row);
        }
    hn_dataset_close(&open);
    close(fd);
}

static void unpack(const uint8_t *data, size_t size) {
    char path[64], sha[HN_SHA256_HEX], to[96];
    struct hn_error err = {0};
    uint64_t bytes;
    int fd = put(data, size, path);
    snprintf(to, sizeof to, "/dev/shm/hone-fuzz-unpack-%d", (int)getpid());
    hn_unpack(path, to, 1 << 20, &bytes, sha, &err);
    unlink(to);
    close(fd);
}

/* Bodies of requests: strict JSON, and the hyperparameters in it. */
static void body(const uint8_t *data, size_t size) {
    json_t *value = NULL;
    struct hn_error err = {0};
    struct hn_hyperparams hp;
    if (hn_json_parse((const char *)data, size, &value, &err))
        return;
    hn_hyperparams_defaults(&hp);
    hn_hyperparams_read(&hp, value, "hyperparameters.", &err);
    char *text = hn_json_canonical(value);
    json_t *again = NULL;
    assert(!text || hn_json_parse(text, strlen(text), &again, &err) == 0);
    free(text);
    json_decref(again);
    json_decref(value);
}

static void spec(const uint8_t *data, size_t size) {
    json_t *value = NULL;
    struct hn_error err = {0};
    struct hn_spec read;
    if (hn_json_parse((const char *)data, size, &value, &err))
        return;
    if (!hn_spec_read(&read, value, &err))
        hn_spec_finish(&read);
}

static void events(const uint8_t *data, size_t size) {
    struct hn_events open = {.fd = -1};
    struct hn_error err = {0};
    if (!hn_events_open(&open, folder_with("events.jsonl", data, size), &err))
        hn_events_close(&open);
}

/* Headers and paths, each as if it were all of them. */
static void http(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1), host[64], port[16], *scratch = malloc(size + 8);
    const char *params[HN_PATH_PARAMS];
    uint64_t from = 0, count = 0;
    assert(text && scratch);
    memcpy(text, data, size);
    text[size] = 0;
    if (hn_range_parse(text, 1000, &from, &count) == HN_RANGE_OK)
        assert(from < 1000 && count > 0 && count <= 1000 - from);
    hn_host_split(text, host, sizeof host, port, sizeof port);
    hn_host_is_loopback(text);
    hn_host_is_address(text);
    hn_host_listed(text, "localhost");
    hn_origin_allowed(text, "localhost:4663", "a, b");
    hn_media_is(text, "application/json");
    hn_etag_listed(text, "abc");
    hn_accepts(text, "text/event-stream");
    hn_path_match("/jobs/{id}/artifacts/{path*}", text, scratch, params);
    free(scratch);
    free(text);
}

/* Bytes on a connection to a daemon. */
static void request(const uint8_t *data, size_t size) {
    hn_fuzz_request(data, size);
}

static target *const the_target = HN_FUZZ_TARGET;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    target *const unused[] = {gguf, model, safetensors, config, tokenizer, template, dataset,
        answers, unpack, body, spec, events, http, request};
    (void)unused;
    the_target(data, size);
    return 0;
}

#ifdef HN_FUZZ_REPLAY
static int run_path(const char *path) {
    struct stat st;
    int n = 0;
    if (stat(path, &st))
        return 0;
    if (S_ISDIR(st.st_mode)) {
        DIR *dir = opendir(path);
        for (struct dirent *e; dir && (e = readdir(dir));) {
            char child[4096];
            snprintf(child, sizeof child, "%s/%s", path, e->d_name);
            n += e->d_name[0] == '.' ? 0 : run_path(child);
        }
        if (dir)
            closedir(dir);
        return n;
    }
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc((size_t)st.st_size + 1);
    if (f && data && fread(data, 1, (size_t)st.st_size, f) == (size_t)st.st_size) {
        LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
        n = 1;
    }
    free(data);
    if (f)
        fclose(f);
    return n;
}

int main(int argc, char **argv) {
    int n = 0;
    for (int i = 1; i < argc; i++)
        n += run_path(argv[i]);
    printf("%d inputs\n", n);
    return 0;
}
#endif
