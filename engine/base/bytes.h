/* Numbers as files hold them: little-endian, of 1 to 8 bytes; floats by their 32 bits. */
#ifndef HN_ENGINE_BASE_BYTES_H
#define HN_ENGINE_BASE_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void hn_put_le(uint8_t *to, uint64_t value, size_t size) {
    for (size_t i = 0; i < size; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

static inline uint64_t hn_get_le(const uint8_t *from, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)from[i] << 8 * i;
    return value;
}

static inline void hn_put_float(uint8_t *to, float value) {
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    hn_put_le(to, word, sizeof word);
}

/* May be anything, NaN too. */
static inline float hn_get_float(const uint8_t *from) {
    uint32_t word = (uint32_t)hn_get_le(from, sizeof word);
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

#endif
