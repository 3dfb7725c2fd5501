/*
 * A tiny GGUF file for tests of text: all 256 byte tokens, a few merges, three control tokens, a
 * chat template. No tensors.
 */
#ifndef TINY_MODEL_H
#define TINY_MODEL_H

#include "engine/formats/gguf.h"
#include "engine/base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Ids: 0 <|endoftext|>, 1 <|im_start|>, 2 <|im_end|>, 3 + b the byte b, then the products of
 * tiny_merges in order, then the added tokens <tool> and four spaces. */
enum { TINY_END = 0, TINY_START = 1, TINY_STOP = 2, TINY_BYTES = 3, TINY_MERGED = 259 };
static const char *const tiny_merges[] = {
    "h e", "l l", "he ll", "hell o", "\xC4\xA0 w", "o r", "a b", "ab ab", "\xC4\xA0 \xC4\xA0"};
#define TINY_MERGES (sizeof tiny_merges / sizeof tiny_merges[0])
enum { TINY_TOOL = TINY_MERGED + 9, TINY_SPACES, TINY_VOCAB };

#define TINY_CHATML                                                                               \
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' " \
    "+ '\\n' }}{% "                                                                               \
    "endfor %}"                                                                                   \
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

/* GPT-2's character for a byte. */
static inline void tiny_byte(int byte, char *ret) {
    uint32_t c = (uint32_t)byte;
    if (byte < 0x21)
        c = 0x100 + c;
    else if (byte >= 0x7F && byte <= 0xA0)
        c = 0x100 + 0x21 + c - 0x7F;
    else if (byte == 0xAD)
        c = 0x143;
    ret[hn_utf8_put(c, ret)] = 0;
}

static inline void tiny_strings(
    struct hn_gguf_writer *w, const char *key, char (*texts)[24], size_t n) {
    struct hn_view *views = calloc(n, sizeof *views);
    for (size_t i = 0; i < n; i++)
        views[i] = (struct hn_view){texts[i], strlen(texts[i])};
    struct hn_gguf_kv kv = {{key, strlen(key)}, HN_GGUF_ARRAY, HN_GGUF_STRING, n, NULL, views};
    hn_gguf_put_copy(w, &kv);
    free(views);
}

/* Writes the file to a temporary path (kept in `path`), which the caller unlinks. `chat` NULL: no
 * template. */
static inline void tiny_write(char path[64], const char *pre, bool add_bos, const char *chat) {
    static char tokens[TINY_VOCAB][24], merges[TINY_MERGES][24];
    int32_t types[TINY_VOCAB];
    static const char *const control[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    struct hn_gguf_writer w = {0};
    struct hn_buf out = {0};
    for (int i = 0; i < TINY_VOCAB; i++)
        types[i] = i < TINY_BYTES ? 3 : i >= TINY_TOOL ? 4 : 1;
    for (int i = 0; i < 3; i++)
        snprintf(tokens[i], 24, "%s", control[i]);
    for (int b = 0; b < 256; b++)
        tiny_byte(b, tokens[TINY_BYTES + b]);
    for (size_t i = 0; i < TINY_MERGES; i++) {
        const char *space = strchr(tiny_merges[i], ' ');
        snprintf(merges[i], 24, "%s", tiny_merges[i]);
        snprintf(tokens[TINY_MERGED + i], 24, "%.*s%s", (int)(space - tiny_merges[i]),
            tiny_merges[i], space + 1);
    }
    snprintf(tokens[TINY_TOOL], 24, "<tool>");
    snprintf(tokens[TINY_SPACES], 24, "    ");
    hn_gguf_put_string(&w, "general.architecture", "llama");
    hn_gguf_put_u32(&w, "llama.context_length", 64);
    hn_gguf_put_string(&w, "tokenizer.ggml.model", "gpt2");
    hn_gguf_put_string(&w, "tokenizer.ggml.pre", pre);
    tiny_strings(&w, "tokenizer.ggml.tokens", tokens, TINY_VOCAB);
    tiny_strings(&w, "tokenizer.ggml.merges", merges, TINY_MERGES);
    struct hn_gguf_kv kv = {{"tokenizer.ggml.token_type", 25}, HN_GGUF_ARRAY, HN_GGUF_I32,
        TINY_VOCAB, (const uint8_t *)types, NULL};
    hn_gguf_put_copy(&w, &kv);
    hn_gguf_put_u32(&w, "tokenizer.ggml.bos_token_id", TINY_START);
    hn_gguf_put_u32(&w, "tokenizer.ggml.eos_token_id", TINY_STOP);
    hn_gguf_put_bool(&w, "tokenizer.ggml.add_bos_token", add_bos);
    if (chat)
        hn_gguf_put_string(&w, "tokenizer.chat_template", chat);
    hn_gguf_finish_header(&w, &out);
    snprintf(path, 64, "/tmp/hone-tiny-XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0 || out.failed || write(fd, out.data, out.size) != (ssize_t)out.size)
        abort();
    close(fd);
    hn_buf_free(&out);
}

/* A temporary file with these bytes. */
static inline void tiny_file(char path[64], const void *data, size_t size) {
    snprintf(path, 64, "/tmp/hone-file-XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    close(fd);
}

#endif
