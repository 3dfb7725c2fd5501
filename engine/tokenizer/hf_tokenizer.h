/*
 * What the parts of a folder's conversion share (folder_text.c tells the whole): the files read,
 * the tokens by id, and the GGUF fields being written. Internal to folder_*.c.
 */
#ifndef HN_ENGINE_TOKENIZER_HF_TOKENIZER_H
#define HN_ENGINE_TOKENIZER_HF_TOKENIZER_H

#include "engine/formats/folder.h"

#include <jansson.h>

#define HN_JSON_MAX ((size_t)256 << 20)

struct hn_text {
    /* of tokenizer.json, tokenizer_config.json, generation_config.json */
    json_t *tokenizer, *config, *generation;
    const struct hn_folder *folder;
    struct hn_view *tokens; /* [n] by id */
    int32_t *types;         /* [n] */
    size_t n;
    int32_t *added; /* [n_added] HN_KEY_ADDED */
    size_t n_added, added_capacity;
    int64_t unknown; /* id of the model's own unknown token, or -1; set by the kind */
    struct hn_gguf_writer w;
};

/* One kind of model in tokenizer.json. */
struct hn_text_kind {
    const char *type;
    /* Whether it is this one's: kinds of one type are asked in turn. NULL: always. */
    bool (*takes)(const struct hn_text *t, const json_t *model);
    const char *model; /* tokenizer.ggml.model */
    /* Writes what belongs to this kind alone; tokens and specials are written already. */
    int (*convert)(struct hn_text *t, const json_t *model, struct hn_error *err);
};
extern const struct hn_text_kind hn_text_piece_bpe, hn_text_byte_bpe, hn_text_unigram,
    hn_text_wordpiece;

bool hn_text_has_type(const json_t *part, const char *type); /* part["type"] == type */
/* HN_E_UNSUPPORTED naming what and, if it has one, the part's type. */
int hn_text_refuse(const char *what, const json_t *part, struct hn_error *err);
void hn_text_put_i32s(struct hn_text *t, const char *key, const int32_t *values, size_t n);
void hn_text_put_views(struct hn_text *t, const char *key, struct hn_view *views, size_t n);
int hn_text_put_merges(struct hn_text *t, const json_t *merges, struct hn_error *err);
int64_t hn_text_find(const struct hn_text *t, const char *token); /* id, or -1 */
/* Id of the token that the configuration names as "bos", "eos", "unk", "pad", "cls", "sep", "mask";
 * or -1. */
int64_t hn_text_special(const struct hn_text *t, const char *name);
/* The parts around texts, from tokenizer.json's post_processor. */
int hn_text_put_processor(struct hn_text *t, struct hn_error *err);
/* tokenizer.json as it would be, made of vocab.txt and tokenizer_config.json: *ret stays NULL
 * without vocab.txt. */
int hn_text_from_vocab_txt(const struct hn_text *t, json_t **ret, struct hn_error *err);

#endif
