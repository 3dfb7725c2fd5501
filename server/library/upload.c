/* See upload.h. */
#include "server/library/upload.h"

#include <string.h>

int hn_upload_source(const struct hn_upload *upload, const char *on_error,
    struct hn_dataset_source *ret, struct hn_error *err) {
    bool drop = on_error && strcmp(on_error, "drop") == 0;
    if (on_error && !drop && strcmp(on_error, "refuse") != 0) {
        hn_fail(err, HN_E_INVALID_FIELD, "on_error must be refuse or drop");
        hn_error_field(err, "on_error");
        return HN_E_INVALID_FIELD;
    }
    if (!upload->bytes) {
        hn_fail(err, HN_E_DATASET_INVALID, "the data set is empty");
        hn_error_hint(err, "curl --data-binary @train.jsonl, or -F file=@train.jsonl");
        return HN_E_DATASET_INVALID;
    }
    const char *file = upload->filename && *upload->filename ? upload->filename : "dataset";
    const char *slash = strrchr(file, '/');
    *ret = (struct hn_dataset_source){.path = upload->path,
        .sha256 = upload->sha256,
        .bytes = upload->bytes,
        .name = slash ? slash + 1 : file,
        .drop = drop};
    return 0;
}
