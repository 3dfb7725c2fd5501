/*
 * Room server/library. Data sets, models and evaluations that were taken in; known by their sha256.
 *
 * Nouns: data set, model, evaluation, upload.
 * Ownership: Files in the library are never changed.
 * May include: server/base server/process server/store.
 */

/*
 * The library: data sets and models that were taken in. Everything in it is read-only and known by
 * its sha256.
 */
#ifndef HN_SERVER_LIBRARY_LIBRARY_H
#define HN_SERVER_LIBRARY_LIBRARY_H

#include "server/process/helper.h"
#include "server/base/seen.h"
#include "server/base/state.h"
#include "server/store/store.h"

struct hn_library {
    const char *state;
    struct hn_store *store;
    struct hn_helper *helper;
    struct hn_seen *seen;         /* NULL: files are read whole whenever they are compared */
    const struct hn_asker *asker; /* on whose account helpers are asked; NULL: the daemon's own */
    int64_t max_upload;           /* bytes of a data set, also when it comes compressed; 0: any */
};

struct hn_dataset_source {
    const char *path; /* the uploaded file below STATE/tmp; moved away on success */
    const char *sha256;
    uint64_t bytes;
    const char *name;             /* for people */
    const char *format;           /* NULL: recognised */
    const json_t *columns;        /* NULL: recognised */
    bool drop;                    /* on_error=drop */
    const char *owner;            /* NULL: nobody */
    const json_t *corrected_from; /* of a corrected copy: what it was made of (corrections.h) */
    bool provisional; /* of a submission that may still be refused: see hn_dataset_take_back */
};
/* Validates and takes in; a file compressed by gzip, zstd, xz or bzip2 is unpacked first and kept
 * unpacked. *ret gets the record (new reference), *ret_existing whether the owner had it before.
 * Nothing is left behind on failure. Blocks. */
int hn_dataset_import(const struct hn_library *library, const struct hn_dataset_source *source,
    json_t **ret, bool *ret_existing, json_t **ret_details, struct hn_error *err);
/* What is found in the file or its beginning, also where it cannot be taken as it is: the helper's
 * answer to dataset.look, with the labels' fields in it. Nothing is stored. Blocks. */
int hn_dataset_look(const struct hn_library *library, const struct hn_dataset_source *source,
    json_t **ret, struct hn_error *err);
int hn_dataset_remove(const struct hn_library *library, const char *id, struct hn_error *err);
/* Removes a provisional data set, unless a job or anybody else got its id meanwhile; one
 * transaction decides. */
void hn_dataset_take_back(const struct hn_library *library, const char *id);
/* What the helper's DATA wants: path, format, columns, on_error, sha256. New reference. */
json_t *hn_dataset_params(const char *state, const json_t *record);

/* Takes in the file or folder at `path`; the original is shared or copied, never moved or changed.
 * It and all files of it, links followed, must lie in the folders `within` (as of the setting
 * model_dirs; NULL: anywhere). Blocks. */
int hn_model_import(const struct hn_library *library, const char *name, const char *path,
    const char *within, const char *source, json_t **ret, json_t **ret_details,
    struct hn_error *err);
/* Makes a record for a folder that stands in models/ without one. */
int hn_model_adopt(const struct hn_library *library, const char *name, struct hn_error *err);
/* Whether `path` (resolved) is one of the folders, joined by ':', or below one. */
bool hn_model_allowed(const char *dirs, const char *path);
int hn_model_remove(const struct hn_library *library, const char *name, struct hn_error *err);
/* An ended job with its run directory. */
int hn_job_remove(const struct hn_library *library, const char *id, struct hn_error *err);
/* A record without what only the daemon needs. New reference. */
json_t *hn_record_public(const json_t *record);
/* Whether a record names what is in the folder ("datasets", "models", "runs"); true, too, when that
 * cannot be told. */
bool hn_library_knows(struct hn_db *db, const char *folder, const char *name);
/* Removes a folder that was made for a record which could not be written, unless the store has the
 * record after all: a commit may be on the disk although it was reported as failed. What stays is
 * moved to lost+found by the next start. */
void hn_library_take_back(const struct hn_library *library, const char *folder, const char *name);
/* Calls `each` for all that no record names. Nothing is taken in or removed meanwhile. */
typedef void (*hn_stray_fn)(void *ud, const char *folder, const char *name);
void hn_library_strays(const struct hn_library *library, hn_stray_fn each, void *ud);
/*
 * Only at start. Refuses (HN_E_CONFLICT) a store that is older than the folders, before anything is
 * changed. Then moves what no record names to lost+found (a death between a file and its record
 * leaves such), and writes the records' files that are missing.
 */
int hn_library_sweep(const struct hn_library *library, struct hn_error *err);

#endif
