/*
 * A client's bytes against a whole daemon, in this process and with all routes, so that headers,
 * URLs, queries, forms, JSON bodies and what handlers make of them are tried as they come over the
 * wire. Everything but the helper, which dies whenever it is asked.
 */
#ifndef HN_TESTS_FUZZ_REQUEST_H
#define HN_TESTS_FUZZ_REQUEST_H

#include <stddef.h>
#include <stdint.h>

void hn_fuzz_request(const uint8_t *data, size_t size);

#endif
