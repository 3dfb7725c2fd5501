/* What many readers ask for again and again; see cache.h. Two tables of fixed size, in which the
 * newer thing takes the older's place. */
#include "api/cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define VALUES 128
#define VALUE_BYTES 4096 /* of a text that is kept */
#define REPLIES 512      /* several pages of jobs */
#define REPLY_BYTES 16384
#define REPLY_MS \
    500 /* places in a long queue may be a moment old (hn_db_job_position), but not for good */

struct hn_kept {
    pthread_mutex_t lock; /* guards what follows */
    struct {
        char *text;
        json_t *value;
    } values[VALUES];
    struct {
        char id[HN_ID_SIZE], *text;
        int64_t version, at;
    } replies[REPLIES];
};

int hn_kept_create(struct hn_kept **ret, struct hn_error *err) {
    struct hn_kept *kept = hn_calloc(1, sizeof *kept);
    if (!kept)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    pthread_mutex_init(&kept->lock, NULL);
    *ret = kept;
    return 0;
}

void hn_kept_destroy(struct hn_kept *kept) {
    if (!kept)
        return;
    for (size_t i = 0; i < VALUES; i++) {
        free(kept->values[i].text);
        json_decref(kept->values[i].value);
    }
    for (size_t i = 0; i < REPLIES; i++)
        free(kept->replies[i].text);
    pthread_mutex_destroy(&kept->lock);
    free(kept);
}

/* FNV-1a */
static size_t slot_of(const char *text, size_t slots) {
    uint64_t hash = 14695981039346656037u;
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 1099511628211u;
    return (size_t)(hash >> 32) % slots;
}

static json_t *find_value(struct hn_kept *kept, const char *text, size_t slot) {
    pthread_mutex_lock(&kept->lock);
    bool found = kept->values[slot].text && strcmp(kept->values[slot].text, text) == 0;
    json_t *value = found ? json_incref(kept->values[slot].value) : NULL;
    pthread_mutex_unlock(&kept->lock);
    return value;
}

static void keep_value(struct hn_kept *kept, const char *text, size_t slot, json_t *value) {
    char *copy = strdup(text);
    if (!copy)
        return;
    pthread_mutex_lock(&kept->lock);
    char *old_text = kept->values[slot].text;
    json_t *old = kept->values[slot].value;
    kept->values[slot].text = copy;
    kept->values[slot].value = json_incref(value);
    pthread_mutex_unlock(&kept->lock);
    free(old_text);
    json_decref(old);
}

json_t *hn_kept_value(struct hn_kept *kept, const char *text) {
    json_t *value = NULL;
    size_t size = text ? strlen(text) : 0;
    bool small = size && size <= VALUE_BYTES;
    size_t slot = small ? slot_of(text, VALUES) : 0;
    if (small && (value = find_value(kept, text, slot)))
        return value;
    if (!size || hn_json_parse(text, size, &value, NULL))
        return json_null();
    if (small)
        keep_value(kept, text, slot, value);
    return value;
}

char *hn_kept_reply(struct hn_kept *kept, const char *id, int64_t version) {
    size_t slot = slot_of(id, REPLIES);
    int64_t now = hn_time_tick();
    pthread_mutex_lock(&kept->lock);
    bool found = kept->replies[slot].text && kept->replies[slot].version == version &&
        now - kept->replies[slot].at < REPLY_MS && strcmp(kept->replies[slot].id, id) == 0;
    char *text = found ? strdup(kept->replies[slot].text) : NULL;
    pthread_mutex_unlock(&kept->lock);
    return text;
}

void hn_keep_reply(struct hn_kept *kept, const char *id, int64_t version, const char *text) {
    char *copy = strlen(text) <= REPLY_BYTES && strlen(id) < HN_ID_SIZE ? strdup(text) : NULL;
    if (!copy)
        return;
    size_t slot = slot_of(id, REPLIES);
    int64_t now = hn_time_tick();
    pthread_mutex_lock(&kept->lock);
    char *old = kept->replies[slot].text;
    kept->replies[slot].text = copy;
    kept->replies[slot].version = version;
    kept->replies[slot].at = now;
    memcpy(kept->replies[slot].id, id, strlen(id) + 1);
    pthread_mutex_unlock(&kept->lock);
    free(old);
}
