/*
 * Tokenizers: what all kinds share. See tokenizer.h; the kinds are bpe.c and its siblings, one row
 * each below.
 *
 * A text is repaired, cut at its added tokens, and the stretches between go to the kind. Repair
 * means: bytes that are not UTF-8 are read as Python's bytes.decode("utf-8", errors="replace")
 * reads them, one U+FFFD for each maximal subpart, because that is what every reference tokenizer
 * is fed with; the offsets still count the original's bytes.
 *
 * Added tokens are matched longest first, and only in bytes of the template (origin), so that
 * "<|im_end|>" in somebody's data stays ordinary text. Added tokens that consist of spaces carry no
 * such power and match anywhere. Those that a file marks as "normalized" are looked for behind all
 * others, in what these left.
 */
#include "engine/template/template.h"
#include "engine/tokenizer/tokenizer_internal.h"
#include "engine/base/utf8.h"

#include <stdlib.h>
#include <string.h>

static const struct hn_tokenizer_kind *const kinds[] = {&hn_tokenizer_bpe, &hn_tokenizer_piece_bpe,
    &hn_tokenizer_spm, &hn_tokenizer_wordpiece, &hn_tokenizer_unigram};

/* Tokens by which published models end a turn or a text, besides those the file names by id. */
static const char *const end_texts[] = {
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<|end|>",
    "</s>",
    "<|eot|>",
    "<|eom|>",
    "<EOT>",
    "<|END_OF_TURN_TOKEN|>",
    "<|end_of_turn|>",
    "<end_of_utterance>",
    "[|endofturn|]",
    "<｜end▁of▁sentence｜>",
    "<|return|>",
    "<|call|>",
    "<eos>",
};
static const char *const end_keys[] = {
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.eom_token_id",
};

void hn_ids_free(struct hn_ids *ids) {
    free(ids->ids);
    free(ids->offsets);
    free(ids->ends);
    *ids = (struct hn_ids){0};
}

static bool is_added(uint8_t type) {
    return type == HN_TOKEN_CONTROL || type == HN_TOKEN_USER_DEFINED;
}

static bool only_spaces(struct hn_view text) {
    for (size_t i = 0; i < text.size; i++)
        if (!memchr(" \t\n\r\f\v", text.data[i], 6))
            return false;
    return true;
}

/* <start_of_turn>, <end_of_turn>, <start_of_image> …, which some files list as user-defined. */
static bool structures_chat(struct hn_view text) {
    return memmem(text.data, text.size, "_of_", 4) ||
        (text.size > 2 && memcmp(text.data, "<|", 2) == 0);
}

static int compare_added(const void *a, const void *b, void *ud) {
    const struct hn_vocab *vocab = ud;
    struct hn_view x = hn_vocab_text(vocab, ((const struct hn_added *)a)->id);
    struct hn_view y = hn_vocab_text(vocab, ((const struct hn_added *)b)->id);
    unsigned char first_x = (unsigned char)x.data[0], first_y = (unsigned char)y.data[0];
    if (first_x != first_y)
        return first_x < first_y ? -1 : 1;
    if (x.size != y.size)
        return x.size > y.size ? -1 : 1;
    return ((const struct hn_added *)a)->id < ((const struct hn_added *)b)->id ? -1 : 1;
}

static int collect_added(struct hn_tokenizer *tok, struct hn_error *err) {
    const struct hn_vocab *vocab = &tok->vocab;
    size_t capacity = 0;
    for (size_t i = 0; i < vocab->n; i++) {
        struct hn_view text = hn_vocab_text(vocab, (int32_t)i);
        if (!is_added(vocab->types[i]) || text.size == 0)
            continue;
        if (!hn_grow(&tok->added, &capacity, tok->n_added + 1, sizeof *tok->added))
            return hn_fail(err, HN_E_INTERNAL, "out of memory");
        /* SentencePiece takes its user-defined pieces out of any text; those that structure a chat
         * stay the template's. */
        bool piece = tok->kind->takes_added && !structures_chat(text);
        bool anywhere = vocab->types[i] == HN_TOKEN_USER_DEFINED && (piece || only_spaces(text));
        tok->added[tok->n_added++] = (struct hn_added){(int32_t)i, anywhere, 0};
    }
    if (tok->n_added)
        qsort_r(
            tok->added, tok->n_added, sizeof *tok->added, compare_added, (void *)(uintptr_t)vocab);
    for (size_t i = 0; i < tok->n_added; i++)
        tok->added_first[(unsigned char)hn_vocab_text(vocab, tok->added[i].id).data[0] + 1]++;
    for (size_t b = 0; b < 256; b++)
        tok->added_first[b + 1] += tok->added_first[b];
    return 0;
}

/* What the file says of added tokens besides their texts. */
static int read_flags(struct hn_tokenizer *tok, const struct hn_gguf *gguf, struct hn_error *err) {
    const struct hn_gguf_kv *list = hn_gguf_find(gguf, HN_KEY_ADDED);
    uint8_t *flags = list ? hn_calloc(tok->vocab.n, 1) : NULL;
    /* SentencePiece looks for its user-defined pieces behind the space that it puts before the
     * text. */
    for (size_t i = 0; !list && tok->kind == &hn_tokenizer_spm && i < tok->n_added; i++)
        if (tok->added[i].anywhere) {
            tok->added[i].flags = HN_ADDED_NORMALIZED;
            tok->n_normalized++;
        }
    if (!list)
        return 0;
    if (!flags)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    for (size_t i = 0;
         list->type == HN_GGUF_ARRAY && list->element == HN_GGUF_I32 && i + 1 < list->count;
         i += 2) {
        int64_t id = hn_gguf_array_int(list, i);
        if (id >= 0 && (size_t)id < tok->vocab.n)
            flags[id] = (uint8_t)hn_gguf_array_int(list, i + 1);
    }
    for (size_t i = 0; i < tok->n_added; i++) {
        tok->added[i].flags = flags[tok->added[i].id];
        tok->n_normalized += (tok->added[i].flags & HN_ADDED_NORMALIZED) != 0;
    }
    free(flags);
    return 0;
}

static void add_end(struct hn_tokenizer *tok, int64_t id) {
    if (id < 0 || (size_t)id >= tok->vocab.n ||
        tok->n_ends == sizeof tok->ends / sizeof tok->ends[0] ||
        hn_tokenizer_is_end(tok, (int32_t)id))
        return;
    tok->ends[tok->n_ends++] = (int32_t)id;
}

static int32_t id_of(const struct hn_tokenizer *tok, const struct hn_gguf *gguf, const char *key) {
    int64_t id = hn_gguf_int(gguf, key, -1);
    return id >= 0 && (size_t)id < tok->vocab.n ? (int32_t)id : -1;
}

static int load(struct hn_tokenizer *tok, const struct hn_gguf *gguf, struct hn_error *err) {
    int rc = hn_vocab_load(&tok->vocab, gguf, tok->kind->spelling, err);
    if (!rc)
        rc = collect_added(tok, err);
    if (!rc)
        rc = read_flags(tok, gguf, err);
    if (!rc)
        rc = tok->kind->load(tok, gguf, err);
    if (rc)
        return rc;
    tok->bos = id_of(tok, gguf, "tokenizer.ggml.bos_token_id");
    tok->eos = id_of(tok, gguf, "tokenizer.ggml.eos_token_id");
    tok->adds_bos =
        hn_gguf_bool(gguf, "tokenizer.ggml.add_bos_token", tok->adds_bos) && tok->bos >= 0;
    for (size_t i = 0; i < sizeof end_keys / sizeof end_keys[0]; i++)
        add_end(tok, hn_gguf_int(gguf, end_keys[i], -1));
    const struct hn_gguf_kv *ends = hn_gguf_find(gguf, HN_KEY_ENDS);
    if (ends && ends->type == HN_GGUF_ARRAY && ends->element == HN_GGUF_I32)
        for (size_t i = 0; i < ends->count; i++)
            add_end(tok, hn_gguf_array_int(ends, i));
    for (size_t i = 0; i < tok->n_added; i++)
        for (size_t k = 0; k < sizeof end_texts / sizeof end_texts[0]; k++)
            if (hn_view_is(hn_vocab_text(&tok->vocab, tok->added[i].id), end_texts[k]))
                add_end(tok, tok->added[i].id);
    return hn_tokenizer_load_parts(tok, gguf, err);
}

int hn_tokenizer_from_gguf(
    const struct hn_gguf *gguf, struct hn_tokenizer **ret, struct hn_error *err) {
    struct hn_view model = hn_gguf_string(gguf, "tokenizer.ggml.model");
    const struct hn_tokenizer_kind *kind = NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (hn_view_is(model, kinds[i]->model))
            kind = kinds[i];
    if (!kind) {
        hn_fail(err, HN_E_UNSUPPORTED,
            "the model's tokenizer \"%.*s\" is not supported (\"gpt2\", byte-level BPE, \"llama\", "
            "SentencePiece's, and \"bert\", WordPiece, are)",
            (int)(model.size < 64 ? model.size : 64), model.data ? model.data : "");
        return HN_E_UNSUPPORTED;
    }
    struct hn_tokenizer *tok = hn_calloc(1, sizeof *tok);
    if (!tok)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    tok->kind = kind;
    int rc = load(tok, gguf, err);
    if (rc)
        hn_tokenizer_destroy(tok);
    else
        *ret = tok;
    return rc;
}

void hn_tokenizer_destroy(struct hn_tokenizer *tok) {
    if (!tok)
        return;
    tok->kind->destroy(tok->state);
    hn_vocab_finish(&tok->vocab);
    free(tok->added);
    free(tok);
}

static bool all_template(const uint16_t *origin, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (origin[i] != HN_ORIGIN_TEMPLATE)
            return false;
    return true;
}

/* A stretch of valid UTF-8; map[i], or base + i when map is NULL, is the original's offset of byte
 * i <= size. */
struct stretch {
    const char *text;
    size_t size;
    const uint16_t *origin;
    const uint32_t *map;
    size_t base;
};

static struct stretch part_of(const struct stretch *s, size_t begin, size_t end) {
    return (struct stretch){s->text + begin, end - begin, s->origin ? s->origin + begin : NULL,
        s->map ? s->map + begin : NULL, s->base + begin};
}

/* Begin of the character before `at`. */
static size_t step_back(const struct stretch *s, size_t at) {
    do
        at--;
    while (at > 0 && (s->text[at] & 0xC0) == 0x80);
    return at;
}

static bool stands_alone(const struct stretch *s, size_t begin, size_t end) {
    return (begin == 0 || !hn_utf8_is_word(hn_utf8_get(s->text + step_back(s, begin)))) &&
        (end == s->size || !hn_utf8_is_word(hn_utf8_get(s->text + end)));
}

/* The longest added token that may match at byte `at`, or NULL. */
static const struct hn_added *match_added(
    const struct hn_tokenizer *tok, const struct stretch *s, size_t at, bool normalized) {
    unsigned char first = (unsigned char)s->text[at];
    for (uint32_t i = tok->added_first[first]; i < tok->added_first[first + 1]; i++) {
        const struct hn_added *added = &tok->added[i];
        struct hn_view t = hn_vocab_text(&tok->vocab, added->id);
        if (!(added->flags & HN_ADDED_NORMALIZED) == normalized || t.size > s->size - at ||
            memcmp(t.data, s->text + at, t.size) != 0)
            continue;
        if (!added->anywhere && !(s->origin && all_template(s->origin + at, t.size)))
            continue;
        if (!(added->flags & HN_ADDED_WORD) || stands_alone(s, at, at + t.size))
            return added;
    }
    return NULL;
}

/* The spaces that the token takes in: *begin moves left, no further than to `floor`, *end to the
 * right. */
static void take_spaces(const struct stretch *s, const struct hn_added *added, size_t floor,
    size_t *begin, size_t *end) {
    while ((added->flags & HN_ADDED_LSTRIP) && *begin > floor) {
        size_t before = step_back(s, *begin);
        if (!hn_utf8_is_white(hn_utf8_get(s->text + before)))
            break;
        *begin = before;
    }
    while ((added->flags & HN_ADDED_RSTRIP) && *end < s->size &&
        hn_utf8_is_white(hn_utf8_get(s->text + *end)))
        *end += hn_utf8_length((unsigned char)s->text[*end]);
}

static bool is_block(const struct stretch *s, size_t at) {
    return s->size - at >= 3 && memcmp(s->text + at, "\xE2\x96\x81", 3) == 0;
}

static bool begins_with_space(const struct hn_tokenizer *tok, const struct stretch *s) {
    return s->text[0] == ' ' || (tok->kind->spelling == HN_SPELLED_WITH_BLOCKS && is_block(s, 0));
}

/* Whether the stretch (not empty) gets its space here: before the second look for added tokens, or
 * behind it. */
static bool gets_space(const struct hn_tokenizer *tok, const struct stretch *s, bool normalized) {
    if (tok->prefix == HN_PREFIX_EACH)
        return !normalized;
    bool applies = tok->prefix == HN_PREFIX_MISSING ||
        (tok->prefix == HN_PREFIX_FIRST && (s->map ? s->map[0] : s->base) == 0);
    return applies && (normalized || !tok->n_normalized) && !begins_with_space(tok, s);
}

/* A copy of the stretch: behind one more space, which stands where its first byte does, if `space`;
 * and with spaces for U+2581, which SentencePiece's pieces do not tell from them, if `blocks`. */
struct copy {
    char *text;
    uint16_t *origin;
    uint32_t *map;
};

static bool rewrite(struct stretch *s, bool space, bool blocks, struct copy *copy) {
    *copy = (struct copy){.text = hn_calloc(s->size + 1, 1),
        .map = hn_calloc(s->size + 2, sizeof *copy->map),
        .origin = s->origin ? hn_calloc(s->size + 1, sizeof *copy->origin) : NULL};
    if (!copy->text || !copy->map || (s->origin && !copy->origin))
        return false;
    size_t n = 0, from = 0;
    if (space) {
        copy->text[n] = ' ';
        copy->map[n++] = s->map ? s->map[0] : (uint32_t)s->base;
        if (s->origin)
            copy->origin[0] = s->origin[0];
    }
    for (; from < s->size; n++) {
        bool block = blocks && is_block(s, from);
        copy->text[n] = block ? ' ' : s->text[from];
        copy->map[n] = s->map ? s->map[from] : (uint32_t)(s->base + from);
        if (s->origin)
            copy->origin[n] = s->origin[from];
        from += block ? 3 : 1;
    }
    copy->map[n] = s->map ? s->map[from] : (uint32_t)(s->base + from);
    *s = (struct stretch){copy->text, n, copy->origin, copy->map, 0};
    return true;
}

static int encode_stretch(const struct hn_tokenizer *tok, const struct stretch *s, bool normalized,
    struct hn_ids *out, struct hn_error *err);

/* A stretch between added tokens of the first sort, or of both. */
static int encode_between(const struct hn_tokenizer *tok, struct stretch s, bool normalized,
    struct hn_ids *out, struct hn_error *err) {
    struct copy copy = {0};
    int rc = 0;
    if (s.size == 0)
        return 0;
    bool space = gets_space(tok, &s, normalized);
    bool blocks = tok->kind->spelling == HN_SPELLED_WITH_BLOCKS && !tok->kind->own_spaces &&
        memmem(s.text, s.size, "\xE2\x96\x81", 3);
    if ((space || blocks) && !rewrite(&s, space, blocks, &copy))
        rc = hn_fail(err, HN_E_INTERNAL, "out of memory while tokenising");
    else if (normalized || !tok->n_normalized)
        rc = tok->kind->encode(tok, s.text, s.size, s.map, s.base, out, err);
    else
        rc = encode_stretch(tok, &s, true, out, err);
    free(copy.text);
    free(copy.origin);
    free(copy.map);
    return rc;
}

/* Cuts at the added tokens: first at those matched in the text itself, then, in what is left, at
 * `normalized` ones.
 */
static int encode_stretch(const struct hn_tokenizer *tok, const struct stretch *s, bool normalized,
    struct hn_ids *out, struct hn_error *err) {
    size_t done = 0, at = 0;
    int rc = 0;
    while (!rc && at < s->size) {
        unsigned char first = (unsigned char)s->text[at];
        const struct hn_added *added = NULL;
        if (tok->added_first[first] != tok->added_first[first + 1])
            added = match_added(tok, s, at, normalized);
        if (!added) {
            at++;
            continue;
        }
        size_t begin = at, end = at + hn_vocab_text(&tok->vocab, added->id).size;
        take_spaces(s, added, done, &begin, &end);
        rc = encode_between(tok, part_of(s, done, begin), normalized, out, err);
        if (!rc &&
            !hn_ids_push(out, added->id, s->map ? s->map[begin] : s->base + begin,
                s->map ? s->map[end] : s->base + end))
            rc = hn_fail(err, HN_E_INTERNAL, "out of memory while tokenising");
        done = at = end;
    }
    return rc ? rc : encode_between(tok, part_of(s, done, s->size), normalized, out, err);
}

/* Encodes valid UTF-8. */
static int encode_valid(const struct hn_tokenizer *tok, const char *text, size_t size,
    const uint16_t *origin, const uint32_t *map, struct hn_ids *out, struct hn_error *err) {
    struct stretch s = {text, size, origin, map, 0};
    return encode_stretch(tok, &s, false, out, err);
}

/* A copy with U+FFFD for what is not UTF-8; at most three bytes for each bad one. */
static int encode_repaired(const struct hn_tokenizer *tok, const char *text, size_t size,
    const uint16_t *origin, struct hn_ids *out, struct hn_error *err) {
    char *copy = hn_calloc(3 * size, 1);
    uint32_t *map = hn_calloc(3 * size + 1, sizeof *map);
    uint16_t *origins = origin ? hn_calloc(3 * size, sizeof *origins) : NULL;
    size_t n = 0;
    int rc = copy && map && (origins || !origin)
        ? 0
        : hn_fail(err, HN_E_INTERNAL, "out of memory while tokenising");
    for (size_t at = 0; !rc && at < size;) {
        size_t good = hn_utf8_valid(text + at, size - at);
        memcpy(copy + n, text + at, good);
        for (size_t i = 0; i < good; i++, n++, at++) {
            map[n] = (uint32_t)at;
            if (origins)
                origins[n] = origin[at];
        }
        if (at == size)
            break;
        memcpy(copy + n, "\xEF\xBF\xBD", 3);
        for (size_t i = 0; i < 3; i++, n++) {
            map[n] = (uint32_t)at;
            if (origins)
                origins[n] = origin[at];
        }
        at += hn_utf8_bad_length(text + at, size - at);
    }
    if (!rc) {
        map[n] = (uint32_t)size;
        rc = encode_valid(tok, copy, n, origins, map, out, err);
    }
    free(copy);
    free(map);
    free(origins);
    return rc;
}

int hn_tokenizer_encode(const struct hn_tokenizer *tok, const char *text, size_t size,
    const uint16_t *origin, struct hn_ids *out, struct hn_error *err) {
    if (size > HN_TEXT_MAX)
        return hn_fail(err, HN_E_TOO_LARGE,
            "a text of %zu bytes is too long to tokenise (the limit is %zu)", size, HN_TEXT_MAX);
    if (size == 0)
        return 0;
    size_t keep = out->n;
    int rc = hn_utf8_valid(text, size) == size
        ? encode_valid(tok, text, size, origin, NULL, out, err)
        : encode_repaired(tok, text, size, origin, out, err);
    if (rc)
        out->n = keep;
    return rc;
}

void hn_tokenizer_decode(
    const struct hn_tokenizer *tok, int32_t id, bool special, struct hn_buf *out) {
    if (id < 0 || (size_t)id >= tok->vocab.n)
        return;
    if (tok->vocab.types[id] == HN_TOKEN_CONTROL && !special)
        return;
    struct hn_view text = hn_vocab_text(&tok->vocab, id);
    hn_buf_append(out, text.data, text.size);
}

size_t hn_tokenizer_vocab(const struct hn_tokenizer *tok) {
    return tok->vocab.n;
}

int32_t hn_tokenizer_bos(const struct hn_tokenizer *tok) {
    return tok->bos;
}

int32_t hn_tokenizer_eos(const struct hn_tokenizer *tok) {
    return tok->eos;
}

bool hn_tokenizer_adds_bos(const struct hn_tokenizer *tok) {
    return tok->adds_bos;
}

bool hn_tokenizer_is_end(const struct hn_tokenizer *tok, int32_t id) {
    for (size_t i = 0; i < tok->n_ends; i++)
        if (tok->ends[i] == id)
            return true;
    return false;
}

bool hn_tokenizer_is_control(const struct hn_tokenizer *tok, int32_t id) {
    return id >= 0 && (size_t)id < tok->vocab.n && tok->vocab.types[id] == HN_TOKEN_CONTROL;
}

bool hn_tokenizer_spells_control(const struct hn_tokenizer *tok, const char *text, size_t size) {
    for (size_t at = 0; at < size; at++) {
        unsigned char first = (unsigned char)text[at];
        for (uint32_t i = tok->added_first[first]; i < tok->added_first[first + 1]; i++) {
            struct hn_view t = hn_vocab_text(&tok->vocab, tok->added[i].id);
            if (hn_tokenizer_is_control(tok, tok->added[i].id) && t.size <= size - at &&
                memcmp(t.data, text + at, t.size) == 0)
                return true;
        }
    }
    return false;
}

/* The end token that the text ends with, or -1. */
static int32_t spelled_end(const struct hn_tokenizer *tok, const char *text, size_t size) {
    for (size_t i = 0; i < tok->n_ends; i++) {
        struct hn_view t = hn_vocab_text(&tok->vocab, tok->ends[i]);
        if (t.size && t.size <= size && memcmp(t.data, text + size - t.size, t.size) == 0)
            return tok->ends[i];
    }
    return -1;
}

size_t hn_tokenizer_before_end(
    const struct hn_tokenizer *tok, const char *text, size_t size, int32_t *ret_id) {
    size_t kept = size;
    *ret_id = -1;
    for (size_t end = size;;) {
        while (end && strchr(" \t\r\n", text[end - 1]) && text[end - 1])
            end--;
        int32_t id = spelled_end(tok, text, end);
        if (id < 0)
            return kept;
        kept = end = end - hn_vocab_text(&tok->vocab, id).size;
        *ret_id = id;
    }
}

int32_t hn_tokenizer_find(const struct hn_tokenizer *tok, const char *token) {
    size_t size = strlen(token);
    for (size_t i = 0; i < tok->n_added; i++)
        if (hn_view_is(hn_vocab_text(&tok->vocab, tok->added[i].id), token))
            return tok->added[i].id;
    return size ? hn_vocab_find(&tok->vocab, token, size) : -1;
}
