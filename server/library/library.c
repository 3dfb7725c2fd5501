/*
 * See library.h. Order makes it safe: a file is placed and synced before its record is written, and
 * a record is deleted before its file; a crash in between leaves a folder without a record, which
 * the next start removes.
 */
#include "server/library/library.h"
#include "server/store/ballast.h"
#include "server/base/id.h"
#include "server/base/lost.h"
#include "server/store/records.h"
#include "server/process/rundir.h"
#include "server/store/store_identity.h"
#include "server/store/store_restore.h"
#include "server/store/store_files.h"
#include "server/store/store_jobs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define INSPECT_SECONDS 1800
#define BRIEF_BYTES ((uint64_t)1 << 20) /* of a data set that is looked at in no time */

/* Taking in and removing files of one name exclude each other, also between the daemon and the
 * command line. */
static int lock_library(const char *state) {
    char path[HN_PATH_SIZE];
    if (!hn_state_path(path, state, "library.lock", NULL, NULL))
        return -1;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    while (fd >= 0 && flock(fd, LOCK_EX) && errno == EINTR)
        continue;
    return fd;
}

static void unlock_library(int fd) {
    if (fd >= 0)
        close(fd);
}

json_t *hn_record_public(const json_t *record) {
    json_t *copy = json_copy((json_t *)(uintptr_t)record);
    json_object_del(copy, "entry");
    json_object_del(copy, "files");
    json_object_del(copy, "on_error");
    if (!json_string_length(json_object_get(copy, "owner")) && json_object_get(copy, "owner"))
        json_object_set_new(copy, "owner", json_null());
    return copy;
}

json_t *hn_dataset_params(const char *state, const json_t *record) {
    char path[HN_PATH_SIZE];
    hn_state_path(
        path, state, "datasets", json_string_value(json_object_get(record, "sha256")), "data");
    return json_pack("{s:s,s:O,s:O,s:O,s:O}", "path", path, "format",
        json_object_get(record, "format"), "columns", json_object_get(record, "columns"),
        "on_error", json_object_get(record, "on_error"), "sha256",
        json_object_get(record, "sha256"));
}

static json_t *dataset_record(const struct hn_dataset_source *source, const json_t *seen) {
    int64_t dropped = (int64_t)json_integer_value(json_object_get(seen, "dropped"));
    json_t *warnings = json_object_get(seen, "warnings"),
           *columns = json_object_get(seen, "columns"), *labels = json_object_get(seen, "labels");
    /* Where nothing was dropped, dropping and refusing read the file the same way. */
    return HN_JSON_OBJECT({"name", json_string(source->name)},
        {"format", json_string(json_string_value(json_object_get(seen, "format")))},
        {"columns", hn_json_share(columns)},
        {"tasks", hn_json_share(json_object_get(seen, "tasks"))},
        {"rows", json_integer(json_integer_value(json_object_get(seen, "rows")))},
        {"bytes", json_integer(source->bytes)}, {"sha256", json_string(source->sha256)},
        {"dropped", json_integer(dropped)},
        {"problem", hn_json_share_or_null(json_object_get(labels, "problem"))},
        {"label_count", hn_json_share_or_null(json_object_get(labels, "label_count"))},
        {"labels", hn_json_share_or_null(json_object_get(labels, "labels"))},
        {"warnings", json_is_array(warnings) ? json_incref(warnings) : json_array()},
        {"corrected_from", hn_json_share_or_null(source->corrected_from)},
        {"on_error", json_string(dropped ? "drop" : "refuse")});
}

/* What the helper says of the file, by one of its requests. */
static int ask_of_dataset(const struct hn_library *library, const char *op,
    const struct hn_dataset_source *source, json_t **ret, json_t **ret_details,
    struct hn_error *err) {
    json_t *params =
        json_pack("{s:s,s:s?,s:o,s:s}", "path", source->path, "format", source->format, "columns",
            source->columns ? json_incref((json_t *)(uintptr_t)source->columns) : json_null(),
            "on_error", source->drop ? "drop" : "refuse");
    const struct hn_question question = {.op = op,
        .params = params,
        .asker = library->asker,
        .brief = source->bytes <= BRIEF_BYTES,
        .timeout_seconds = INSPECT_SECONDS};
    int rc = hn_helper_call(library->helper, &question, ret, ret_details, err);
    json_decref(params);
    return rc;
}

static int inspect_dataset(const struct hn_library *library, const struct hn_dataset_source *source,
    json_t **ret, json_t **ret_details, struct hn_error *err) {
    json_t *seen = NULL;
    int rc = ask_of_dataset(library, "dataset.inspect", source, &seen, ret_details, err);
    if (!rc && !(*ret = dataset_record(source, seen)))
        rc = hn_fail(err, HN_E_INTERNAL, "the helper's answer about the data set is not complete");
    json_decref(seen);
    return rc;
}

void hn_library_take_back(const struct hn_library *library, const char *folder, const char *name) {
    char path[HN_PATH_SIZE];
    struct hn_db *db = hn_store_read(library->store, NULL);
    if (db && !hn_library_knows(db, folder, name) &&
        hn_state_path(path, library->state, folder, name, NULL))
        hn_dir_remove(path, NULL);
    hn_store_release(library->store, db);
}

/* The uploaded file to its place; *placed tells whether it was not there before. A file that is
 * there and has other bytes than its name says was damaged: the upload, whose bytes were just
 * hashed, takes its place. */
static int place_dataset(const struct hn_library *library, const struct hn_dataset_source *source,
    bool *placed, struct hn_error *err) {
    char dir[HN_PATH_SIZE], data[HN_PATH_SIZE];
    if (!hn_state_path(dir, library->state, "datasets", source->sha256, NULL) ||
        !hn_state_path(data, library->state, "datasets", source->sha256, "data"))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    *placed = access(data, F_OK) != 0;
    if (!*placed && hn_seen_compare(library->seen, data, source->sha256, NULL) == 0)
        return 0;
    int rc = hn_dir_create(dir, err);
    if (!rc && chmod(source->path, 0400))
        rc = hn_fail_errno(err, errno, "cannot protect %s", source->path);
    if (!rc)
        rc = hn_file_sync(source->path, err);
    if (!rc && rename(source->path, data))
        rc = hn_fail_errno(err, errno, "cannot move the upload to %s", data);
    if (!rc)
        rc = hn_file_sync(dir, err);
    if (rc && *placed)
        hn_dir_remove(dir, NULL);
    return rc;
}

/* By its first bytes; "PK" and others stay what they are, for the helper to name. */
static bool is_compressed(const char *path) {
    static const struct {
        const char *bytes;
        size_t n;
    } magics[] = {{"\x1F\x8B", 2}, {"\x28\xB5\x2F\xFD", 4},
        {"\xFD"
         "7zXZ",
            5},
        {"BZh", 3}};
    char head[8] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, head, sizeof head);
    if (fd >= 0)
        close(fd);
    for (size_t i = 0; i < sizeof magics / sizeof magics[0]; i++)
        if (n >= (ssize_t)magics[i].n && memcmp(head, magics[i].bytes, magics[i].n) == 0)
            return true;
    return false;
}

/* What the helper has unpacked beside the upload: the data set is its content. */
struct unpacked {
    char path[HN_PATH_SIZE], sha256[HN_SHA256_HEX];
};

static int unpack(const struct hn_library *library, struct hn_dataset_source *source,
    struct unpacked *u, struct hn_error *err) {
    char unique[HN_ID_SIZE];
    json_t *answer = NULL, *details = NULL;
    hn_id_make("raw", unique);
    if (!hn_state_path(u->path, library->state, "tmp", unique, NULL))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    json_t *params = json_pack("{s:s,s:s,s:I}", "path", source->path, "to", u->path, "limit",
        (json_int_t)library->max_upload);
    const struct hn_question question = {.op = "dataset.unpack",
        .params = params,
        .asker = library->asker,
        .timeout_seconds = INSPECT_SECONDS};
    int rc = hn_helper_call(library->helper, &question, &answer, &details, err);
    const char *sha256 = json_string_value(json_object_get(answer, "sha256"));
    if (!rc && (!sha256 || strlen(sha256) >= sizeof u->sha256))
        rc = hn_fail(err, HN_E_INTERNAL, "the helper's answer about the file is not complete");
    if (!rc) {
        snprintf(u->sha256, sizeof u->sha256, "%s", sha256);
        source->path = u->path;
        source->sha256 = u->sha256;
        source->bytes = (uint64_t)json_integer_value(json_object_get(answer, "bytes"));
    }
    json_decref(params);
    json_decref(answer);
    json_decref(details);
    return rc;
}

static int import_plain(const struct hn_library *library, const struct hn_dataset_source *source,
    json_t **ret, bool *ret_existing, json_t **ret_details, struct hn_error *err) {
    json_t *record = NULL;
    bool placed = false;
    int rc = inspect_dataset(library, source, &record, ret_details, err);
    if (rc)
        return rc;
    int lock = lock_library(library->state);
    rc = place_dataset(library, source, &placed, err);
    struct hn_dataset_insert insert = {
        .record = record, .owner = source->owner, .provisional = source->provisional};
    if (!rc)
        rc = hn_store_call(library->store, hn_db_dataset_insert, &insert, err);
    if (!rc && !insert.existing && !source->provisional)
        hn_record_update(library->state, library->store, "datasets",
            json_string_value(json_object_get(record, "id")));
    if (rc && placed)
        hn_library_take_back(library, "datasets", source->sha256);
    unlock_library(lock);
    if (rc) {
        json_decref(record);
        return rc;
    }
    *ret = record;
    *ret_existing = insert.existing;
    return 0;
}

int hn_dataset_import(const struct hn_library *library, const struct hn_dataset_source *source,
    json_t **ret, bool *ret_existing, json_t **ret_details, struct hn_error *err) {
    struct hn_dataset_source plain = *source;
    struct unpacked u = {.path = ""};
    int rc = is_compressed(source->path) ? unpack(library, &plain, &u, err) : 0;
    if (!rc)
        rc = import_plain(library, &plain, ret, ret_existing, ret_details, err);
    if (u.path[0])
        unlink(u.path); /* gone already when it was moved to its place */
    return rc;
}

int hn_dataset_look(const struct hn_library *library, const struct hn_dataset_source *source,
    json_t **ret, struct hn_error *err) {
    struct hn_dataset_source plain = *source;
    struct unpacked u = {.path = ""};
    json_t *details = NULL;
    int rc = is_compressed(source->path) ? unpack(library, &plain, &u, err) : 0;
    if (!rc)
        rc = ask_of_dataset(library, "dataset.look", &plain, ret, &details, err);
    json_t *labels = rc ? NULL : json_incref(json_object_get(*ret, "labels"));
    static const char *const fields[] = {"problem", "label_count", "labels"};
    for (size_t i = 0; !rc && i < sizeof fields / sizeof fields[0]; i++)
        if (json_object_set_new(
                *ret, fields[i], hn_json_share_or_null(json_object_get(labels, fields[i]))))
            rc = hn_fail(err, HN_E_INTERNAL, "out of memory");
    json_decref(labels);
    if (u.path[0])
        unlink(u.path);
    json_decref(details);
    return rc;
}

static int remove_dataset(const struct hn_library *library, hn_store_fn from_store, const char *id,
    struct hn_error *err) {
    struct hn_dataset_delete del = {.id = id};
    char dir[HN_PATH_SIZE];
    int lock = lock_library(library->state);
    int rc = hn_ballast_call(library->state, library->store, from_store, &del, err);
    if (!rc && del.deleted)
        hn_record_forget(library->state, "datasets", id);
    if (!rc && del.sha256[0] && hn_state_path(dir, library->state, "datasets", del.sha256, NULL))
        hn_dir_remove(dir, NULL);
    if (!rc && del.sha256[0])
        hn_state_forget_reports(library->state, del.sha256);
    if (!rc && del.deleted)
        hn_state_forget_tokens(library->state);
    unlock_library(lock);
    return rc;
}

int hn_dataset_remove(const struct hn_library *library, const char *id, struct hn_error *err) {
    return remove_dataset(library, hn_db_dataset_delete, id, err);
}

void hn_dataset_take_back(const struct hn_library *library, const char *id) {
    remove_dataset(library, hn_db_dataset_take_back, id, NULL);
}

/* Of a folder only what a model consists of is taken, not the pictures and training scripts beside
 * it. */
static bool model_file(const char *name) {
    static const char *const endings[] = {
        ".gguf", ".safetensors", ".json", ".txt", ".model", ".jinja"};
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t m = strlen(endings[i]);
        if (n > m && n <= 255 && name[0] != '.' && strcmp(name + n - m, endings[i]) == 0)
            return true;
    }
    return false;
}

/* {"name","size","sha256"}: what the file has to be whenever it is used. */
static int note_file(const struct hn_library *library, const char *path, const char *name,
    json_t *files, struct hn_error *err) {
    char hash[HN_SHA256_HEX];
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st)) {
        int rc = hn_fail_errno(err, errno, "cannot open %s", path);
        if (fd >= 0)
            close(fd);
        return rc;
    }
    int rc = hn_seen_hash(library->seen, fd, path, hash, err);
    close(fd);
    if (!rc)
        json_array_append_new(files,
            json_pack(
                "{s:s,s:I,s:s}", "name", name, "size", (json_int_t)st.st_size, "sha256", hash));
    return rc;
}

/* All files of a folder that was taken in before. */
static int note_folder(
    const struct hn_library *library, const char *dir, json_t *files, struct hn_error *err) {
    char path[HN_PATH_SIZE];
    DIR *d = opendir(dir);
    if (!d)
        return hn_fail_errno(err, errno, "cannot open the folder %s", dir);
    int rc = 0;
    for (struct dirent *entry; !rc && (entry = readdir(d));)
        if (model_file(entry->d_name) && hn_state_path(path, dir, entry->d_name, NULL, NULL))
            rc = note_file(library, path, entry->d_name, files, err);
    closedir(d);
    return rc;
}

bool hn_model_allowed(const char *dirs, const char *path) {
    bool found = false;
    char *list = strdup(dirs), *rest = list;
    for (char *dir; list && !found && (dir = strsep(&rest, ":"));) {
        char *real = *dir ? realpath(dir, NULL) : NULL;
        size_t n = real ? strlen(real) : 0;
        if (real)
            found = strncmp(path, real, n) == 0 && (path[n] == '/' || path[n] == 0 || n == 1);
        free(real);
    }
    free(list);
    return found;
}

/* Where a model is taken from. What is open is looked at, not its path again: a link that is
 * exchanged meanwhile changes nothing. */
struct origin {
    const struct hn_library *into;
    const char *within;     /* folders as of model_dirs, or NULL: any */
    const char *dir;        /* of the model to be */
    json_t *files, *others; /* names: what was taken, and what was left where it is */
};

/* Opens what the name means at last, links followed, without reading it; -1 when that is not there
 * or not allowed. */
static int open_within(const struct origin *o, int at, const char *name, struct stat *st) {
    char link[HN_FD_PATH_SIZE], real[HN_PATH_SIZE];
    int fd = openat(at, name, O_PATH | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : readlink(hn_fd_path(link, fd), real, sizeof real - 1);
    real[n > 0 ? n : 0] = 0;
    if (n > 0 && fstat(fd, st) == 0 && (!o->within || hn_model_allowed(o->within, real)))
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static int take_file(const struct origin *o, int fd, const char *name, struct hn_error *err) {
    char to[HN_PATH_SIZE], from[HN_FD_PATH_SIZE];
    if (!hn_state_path(to, o->dir, name, NULL, NULL))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    if (access(hn_fd_path(from, fd), R_OK))
        return hn_fail_errno(err, errno, "cannot read the file %s of the model", name);
    int rc = hn_blob_place(from, to, HN_BLOB_PRIVATE, err);
    return rc ? rc : note_file(o->into, to, name, o->files, err);
}

static int refuse_link(const struct origin *o, const char *name, struct hn_error *err) {
    int code = o->within ? HN_E_FORBIDDEN : HN_E_MODEL_INVALID;
    hn_fail(err, code, "the file %s of the folder is a link to something that is not there%s", name,
        o->within ? ", or not in the allowed folders" : "");
    hn_error_field(err, "path");
    hn_error_hint(err,
        o->within ? "put what it means into the folder itself, or its folder into the setting "
                    "model_dirs: %s"
                  : "put what it means in its place%s",
        o->within ? o->within : "");
    return code;
}

static int take_entry(
    const struct origin *o, int folder, const char *name, const char *as, struct hn_error *err) {
    struct stat st;
    int fd = open_within(o, folder, name, &st), rc = 0;
    if (fd < 0)
        return refuse_link(o, name, err);
    if (S_ISREG(st.st_mode))
        rc = json_array_size(o->files) < HN_MODEL_FILES
            ? take_file(o, fd, as, err)
            : hn_fail(
                  err, HN_E_MODEL_INVALID, "the folder holds more than %d files", HN_MODEL_FILES);
    close(fd);
    return rc;
}

static DIR *open_folder(int at, const char *name) {
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d && fd >= 0)
        close(fd);
    return d;
}

/* The folder with further chat templates: a model's files lie in one folder here, so each gets its
 * folder's name in front. */
static int take_templates(const struct origin *o, int folder, struct hn_error *err) {
    struct stat st;
    int fd = open_within(o, folder, HN_MODEL_TEMPLATES, &st), rc = 0;
    DIR *d = fd < 0 ? NULL : open_folder(fd, ".");
    for (struct dirent *entry; d && !rc && (entry = readdir(d));) {
        char as[300];
        size_t n = strlen(entry->d_name);
        if (n > 6 && strcmp(entry->d_name + n - 6, ".jinja") == 0 && model_file(entry->d_name) &&
            (size_t)snprintf(as, sizeof as, HN_MODEL_TEMPLATES ".%s", entry->d_name) <= 255)
            rc = take_entry(o, dirfd(d), entry->d_name, as, err);
    }
    if (d)
        closedir(d);
    if (fd >= 0)
        close(fd);
    return rc;
}

/* Notes what is left where it is, for messages. */
static void leave(const struct origin *o, const struct dirent *entry) {
    char name[300];
    snprintf(name, sizeof name, "%s%s", entry->d_name, entry->d_type == DT_DIR ? "/" : "");
    if (entry->d_name[0] != '.' && json_array_size(o->others) < HN_MODEL_FILES)
        json_array_append_new(o->others, json_string(name)); /* not UTF-8: not noted */
}

static int take_folder(const struct origin *o, int folder, const char *path, struct hn_error *err) {
    DIR *d = open_folder(folder, ".");
    if (!d)
        return hn_fail_errno(err, errno, "cannot open the folder %s", path);
    int rc = 0;
    for (struct dirent *entry; !rc && (entry = readdir(d));)
        if (strcmp(entry->d_name, HN_MODEL_TEMPLATES) == 0)
            rc = take_templates(o, folder, err);
        else if (model_file(entry->d_name))
            rc = take_entry(o, folder, entry->d_name, entry->d_name, err);
        else
            leave(o, entry);
    closedir(d);
    if (!rc && !json_array_size(o->files) && !json_array_size(o->others)) {
        rc = hn_fail(err, HN_E_MODEL_INVALID, "the folder %s is empty", path);
        hn_error_hint(err, "expected config.json, safetensors and a tokenizer, or a .gguf file");
    }
    return rc;
}

/* Only GGUF comes as a file; its name decides nothing else. */
static const char *entry_of(const struct stat *st) {
    return S_ISDIR(st->st_mode) ? "" : "model.gguf";
}

static int take_model(
    const struct origin *o, const char *path, const char **entry, struct hn_error *err) {
    struct stat st;
    int fd = open_within(o, AT_FDCWD, path, &st);
    if (fd < 0) {
        hn_fail(err, HN_E_NOT_FOUND, "there is no file or folder %s on the server", path);
        hn_error_field(err, "path");
        return HN_E_NOT_FOUND;
    }
    *entry = entry_of(&st);
    int rc = S_ISDIR(st.st_mode) || S_ISREG(st.st_mode)
        ? hn_dir_create(o->dir, err)
        : hn_fail(err, HN_E_INVALID_FIELD, "%s is neither a file nor a folder", path);
    if (!rc)
        rc = S_ISDIR(st.st_mode) ? take_folder(o, fd, path, err) : take_file(o, fd, *entry, err);
    close(fd);
    return rc;
}

/* `others`: of struct origin, or NULL. */
static int inspect_model(const struct hn_library *library, const char *dir, const char *entry,
    json_t *others, json_t **ret, json_t **ret_details, struct hn_error *err) {
    char path[HN_PATH_SIZE];
    if (!hn_state_path(path, dir, *entry ? entry : NULL, NULL, NULL))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    json_t *params = json_pack("{s:s,s:O?}", "path", path, "others", others);
    const struct hn_question question = {.op = "model.inspect",
        .params = params,
        .asker = library->asker,
        .timeout_seconds = INSPECT_SECONDS};
    int rc = hn_helper_call(library->helper, &question, ret, ret_details, err);
    json_decref(params);
    static const char *const wanted[] = {"family", "format", "sha256", "tasks"};
    for (size_t i = 0; !rc && i < sizeof wanted / sizeof wanted[0]; i++)
        if (!json_object_get(*ret, wanted[i]))
            rc = hn_fail(err, HN_E_INTERNAL, "the helper's answer about the model is not complete");
    return rc;
}

int hn_model_import(const struct hn_library *library, const char *name, const char *path,
    const char *within, const char *source, json_t **ret, json_t **ret_details,
    struct hn_error *err) {
    char tmp[HN_PATH_SIZE], final[HN_PATH_SIZE], unique[HN_ID_SIZE], staging[HN_ID_SIZE + 8];
    const char *entry = "";
    /* Not in tmp/, where the helper that looks at it may write: its files can be hard links to the
     * user's own. */
    hn_id_make("mdl", unique);
    snprintf(staging, sizeof staging, ".tmp-%s", unique);
    if (!hn_state_path(tmp, library->state, "models", staging, NULL) ||
        !hn_state_path(final, library->state, "models", name, NULL))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    json_t *files = json_array(), *others = json_array(), *record = NULL;
    const struct origin from = {
        .into = library, .within = within, .dir = tmp, .files = files, .others = others};
    int rc = take_model(&from, path, &entry, err);
    if (!rc)
        rc = inspect_model(library, tmp, entry, others, &record, ret_details, err);
    if (!rc && *entry &&
        !json_equal(
            json_object_get(record, "sha256"), json_object_get(json_array_get(files, 0), "sha256")))
        rc = hn_fail(err, HN_E_CONFLICT, "%s was changed while it was imported", path);
    int lock = lock_library(library->state);
    struct hn_db *db = rc ? NULL : hn_store_read(library->store, err);
    json_t *present = NULL;
    if (db && hn_db_model_get(db, name, &present, NULL) == 0) {
        rc = hn_fail(err, HN_E_CONFLICT, "there is already a model \"%s\"", name);
        hn_error_field(err, "name");
        hn_error_hint(err, "choose another name, or DELETE /models/%s first", name);
    } else if (!rc && !db) {
        rc = HN_E_INTERNAL;
    }
    hn_store_release(library->store, db);
    bool placed = false;
    if (!rc) {
        if (access(final, F_OK) == 0)
            rc = hn_lost_keep(library->state, "models", name,
                "it stood where a model is imported, and no record names it", err);
        if (!rc)
            rc = hn_dir_publish(tmp, final, err);
        placed = !rc;
    }
    if (!rc) {
        json_object_set_new(record, "name", json_string(name));
        json_object_set_new(record, "source", source ? json_string(source) : json_null());
        json_object_set_new(record, "entry", json_string(entry));
        json_object_set(record, "files", files);
        rc = hn_store_call(library->store, hn_db_model_insert, record, err);
    }
    if (!rc)
        hn_record_update(library->state, library->store, "models", name);
    if (rc && placed)
        hn_library_take_back(library, "models", name);
    else if (rc)
        hn_dir_remove(tmp, NULL);
    unlock_library(lock);
    json_decref(present);
    json_decref(files);
    json_decref(others);
    if (rc) {
        json_decref(record);
        return rc;
    }
    *ret = record;
    return 0;
}

int hn_model_adopt(const struct hn_library *library, const char *name, struct hn_error *err) {
    char dir[HN_PATH_SIZE], path[HN_PATH_SIZE];
    const char *entry = "model.gguf";
    json_t *files = json_array(), *record = NULL;
    if (!hn_state_path(dir, library->state, "models", name, NULL) ||
        !hn_state_path(path, dir, entry, NULL, NULL))
        return hn_fail(err, HN_E_INTERNAL, "path too long");
    if (access(path, F_OK))
        entry = "";
    int rc = note_folder(library, dir, files, err);
    if (!rc)
        rc = inspect_model(library, dir, entry, NULL, &record, NULL, err);
    if (!rc) {
        json_object_set_new(record, "name", json_string(name));
        json_object_set_new(record, "source", json_null());
        json_object_set_new(record, "entry", json_string(entry));
        json_object_set(record, "files", files);
        rc = hn_store_call(library->store, hn_db_model_insert, record, err);
    }
    json_decref(files);
    json_decref(record);
    return rc;
}

int hn_model_remove(const struct hn_library *library, const char *name, struct hn_error *err) {
    char dir[HN_PATH_SIZE];
    int lock = lock_library(library->state);
    int rc = hn_ballast_call(
        library->state, library->store, hn_db_model_delete, (void *)(uintptr_t)name, err);
    if (!rc)
        hn_record_forget(library->state, "models", name);
    if (!rc && hn_state_path(dir, library->state, "models", name, NULL))
        hn_dir_remove(dir, NULL);
    unlock_library(lock);
    return rc;
}

int hn_job_remove(const struct hn_library *library, const char *id, struct hn_error *err) {
    char dir[HN_PATH_SIZE];
    if (!hn_id_valid("job", id) || !hn_state_path(dir, library->state, "runs", id, NULL))
        /* which knows no such job */
        return hn_store_call(library->store, hn_db_job_delete, (void *)(uintptr_t)id, err);
    int rc = hn_ballast_call(
        library->state, library->store, hn_db_job_delete, (void *)(uintptr_t)id, err);
    if (rc == HN_E_DISK_FULL) {
        /* A long history needs more room in the store's log than there is: the files go first. The
         * store has said that it may. */
        hn_dir_remove(dir, NULL);
        rc = hn_store_call(library->store, hn_db_job_delete, (void *)(uintptr_t)id, err);
    }
    if (rc)
        return rc;
    hn_record_forget(library->state, "runs", id);
    hn_dir_remove(dir, NULL);
    return 0;
}

bool hn_library_knows(struct hn_db *db, const char *folder, const char *name) {
    bool used = false;
    json_t *record = NULL;
    if (folder[0] == 'd')
        return hn_db_dataset_file_used(db, name, &used, NULL) != 0 || used;
    int rc =
        folder[0] == 'm' ? hn_db_model_get(db, name, &record, NULL) : hn_db_job_exists(db, name);
    json_decref(record);
    return rc != HN_E_NOT_FOUND;
}

void hn_library_strays(const struct hn_library *library, hn_stray_fn each, void *ud) {
    static const char *const folders[] = {"datasets", "models", "runs"};
    struct hn_db *db = hn_store_read(library->store, NULL);
    int lock = lock_library(library->state);
    for (size_t i = 0; db && i < sizeof folders / sizeof folders[0]; i++) {
        char path[HN_PATH_SIZE];
        DIR *dir =
            hn_state_path(path, library->state, folders[i], NULL, NULL) ? opendir(path) : NULL;
        for (struct dirent *entry; dir && (entry = readdir(dir));)
            if (entry->d_name[0] != '.' && !hn_library_knows(db, folders[i], entry->d_name))
                each(ud, folders[i], entry->d_name);
        if (dir)
            closedir(dir);
    }
    unlock_library(lock);
    hn_store_release(library->store, db);
}

static int refuse_older(const struct hn_library *library, const char *what, const char *kind,
    const char *name, struct hn_error *err) {
    hn_fail(err, HN_E_CONFLICT, "hone.db is older than the folders: %s %s/%s; nothing was changed",
        what, kind, name);
    hn_error_hint(err,
        "put the newer hone.db (and hone.db-wal) back, or add what it lacks with `honed rebuild "
        "--state %.200s`",
        library->state);
    return HN_E_CONFLICT;
}

/* A record's file is written after its commit: one that tells the end of a job which the store
 * takes for a running one is newer. */
static int look_at_ends(const struct hn_library *library, struct hn_db *db, struct hn_error *err) {
    json_t *ids = NULL, *id;
    char own[HN_ID_SIZE];
    size_t i;
    int rc = hn_db_identity(db, own, err);
    if (!rc)
        rc = hn_db_jobs_unended(db, &ids, err);
    json_array_foreach(ids, i, id) {
        struct hn_record record = {.record = NULL};
        if (rc || hn_record_read(library->state, "runs", json_string_value(id), &record, NULL))
            continue;
        const char *status = json_string_value(json_object_get(record.record, "status"));
        if (strcmp(record.store, own) == 0 && status && hn_job_ended(status))
            rc = refuse_older(
                library, "it does not know the end of", "runs", json_string_value(id), err);
        json_decref(record.record);
    }
    json_decref(ids);
    return rc;
}

/* Files of records that this store does not have: what it deleted, or, with numbers it has not
 * reached, what it never knew. */
static int look_at_records(const struct hn_library *library, struct hn_db *db, const char *kind,
    json_t **ret_old, struct hn_error *err) {
    char own[HN_ID_SIZE];
    json_t *names = NULL, *name;
    int64_t last = 0;
    size_t i;
    int rc = hn_db_identity(db, own, err);
    if (!rc)
        rc = hn_db_last_number(db, kind, &last, err);
    if (!rc)
        rc = hn_record_names(library->state, kind, &names, err);
    *ret_old = json_array();
    json_array_foreach(names, i, name) {
        const char *text = json_string_value(name);
        struct hn_record record = {.record = NULL};
        int64_t n;
        if (rc || hn_db_number_of(db, kind, text, &n, NULL) != HN_E_NOT_FOUND)
            continue;
        bool readable = hn_record_read(library->state, kind, text, &record, NULL) == 0;
        if (readable && strcmp(record.store, own) == 0 && record.n > last) {
            rc = refuse_older(library, "it does not know", kind, text, err);
        } else {
            json_array_append(*ret_old, name);
        }
        json_decref(record.record);
    }
    json_decref(names);
    return rc;
}

static void keep_stray(void *ud, const char *folder, const char *name) {
    const struct hn_library *library = ud;
    hn_lost_keep(library->state, folder, name, "no record names it", NULL);
}

/* Data sets that a submission brought which was never answered. */
static int take_back_all(const struct hn_library *library, struct hn_db *db, struct hn_error *err) {
    json_t *ids = NULL, *id;
    size_t i;
    int rc = hn_db_datasets_provisional(db, &ids, err);
    json_array_foreach(ids, i, id)
        hn_dataset_take_back(library, json_string_value(id));
    json_decref(ids);
    return rc;
}

int hn_library_sweep(const struct hn_library *library, struct hn_error *err) {
    static const char *const kinds[] = {"datasets", "models", "runs"};
    json_t *old[3] = {NULL}, *name;
    char folder[32];
    size_t i, k;
    struct hn_db *db = hn_store_read(library->store, err);
    int rc = db ? 0 : HN_E_INTERNAL;
    for (i = 0; !rc && i < 3; i++) /* all are looked at before anything is moved */
        rc = look_at_records(library, db, kinds[i], &old[i], err);
    if (!rc)
        rc = look_at_ends(library, db, err);
    if (!rc)
        rc = take_back_all(library, db, err);
    if (!rc)
        rc = hn_records_complete(library->state, db, err);
    hn_store_release(library->store, db);
    if (!rc)
        hn_library_strays(library, keep_stray, (void *)(uintptr_t)library);
    for (i = 0; i < 3; i++) {
        snprintf(folder, sizeof folder, "records/%s", kinds[i]);
        json_array_foreach(old[i], k, name) {
            char file[320];
            snprintf(file, sizeof file, "%s.json", json_string_value(name));
            if (!rc)
                hn_lost_keep(library->state, folder, file, "its record was deleted", NULL);
        }
        json_decref(old[i]);
    }
    return rc;
}
