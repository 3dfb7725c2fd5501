/* What many readers ask for again and again; see kept.h. Two tables of fixed size, in which the
 * newer thing takes the older's place. */
#include "api/cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define VALUES 128
#define VALUE_BYTES 4096 /* of a text that is kept */
#define REPLIES 64
#define REPLY_BYTES 16384
#define REPLY_MS \
    500 /* places in a long queue may be a moment old (hn_db_job_position), but not for good */

static struct {
    char *text;
    json_t *value;
} values[VALUES];

static struct {
    char id[HN_ID_SIZE], *text;
    int64_t version, at;
} replies[REPLIES];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* FNV-1a */
static size_t slot_of(const char *text, size_t slots) {
    uint64_t hash = 14695981039346656037u;
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 1099511628211u;
    return (size_t)(hash >> 32) % slots;
}

static json_t *find_value(const char *text, size_t slot) {
    pthread_mutex_lock(&lock);
    bool found = values[slot].text && strcmp(values[slot].text, text) == 0;
    json_t *value = found ? json_incref(values[slot].value) : NULL;
    pthread_mutex_unlock(&lock);
    return value;
}

static void keep_value(const char *text, size_t slot, json_t *value) {
    char *copy = strdup(text);
    if (!copy)
        return;
    pthread_mutex_lock(&lock);
    char *old_text = values[slot].text;
    json_t *old = values[slot].value;
    values[slot].text = copy;
    values[slot].value = json_incref(value);
    pthread_mutex_unlock(&lock);
    free(old_text);
    json_decref(old);
}

json_t *hn_kept_value(const char *text) {
    json_t *value = NULL;
    size_t size = text ? strlen(text) : 0;
    bool kept = size && size <= VALUE_BYTES;
    size_t slot = kept ? slot_of(text, VALUES) : 0;
    if (kept && (value = find_value(text, slot)))
        return value;
    if (!size || hn_json_parse(text, size, &value, NULL))
        return json_null();
    if (kept)
        keep_value(text, slot, value);
    return value;
}

char *hn_kept_reply(const char *id, int64_t version) {
    size_t slot = slot_of(id, REPLIES);
    int64_t now = hn_time_tick();
    pthread_mutex_lock(&lock);
    bool found = replies[slot].text && replies[slot].version == version &&
        now - replies[slot].at < REPLY_MS && strcmp(replies[slot].id, id) == 0;
    char *text = found ? strdup(replies[slot].text) : NULL;
    pthread_mutex_unlock(&lock);
    return text;
}

void hn_keep_reply(const char *id, int64_t version, const char *text) {
    char *copy = strlen(text) <= REPLY_BYTES && strlen(id) < HN_ID_SIZE ? strdup(text) : NULL;
    if (!copy)
        return;
    size_t slot = slot_of(id, REPLIES);
    int64_t now = hn_time_tick();
    pthread_mutex_lock(&lock);
    char *old = replies[slot].text;
    replies[slot].text = copy;
    replies[slot].version = version;
    replies[slot].at = now;
    memcpy(replies[slot].id, id, strlen(id) + 1);
    pthread_mutex_unlock(&lock);
    free(old);
}
