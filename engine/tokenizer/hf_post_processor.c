/*
 * tokenizer.json's post_processor → the parts around a text and around a pair of texts
 * (tokenizer_kind.h), and whether spans are trimmed. What could not be said by parts is refused by
 * name.
 */
#include "engine/tokenizer/hf_tokenizer.h"
#include "engine/tokenizer/tokenizer_internal.h"

struct parts {
    int32_t values[2 * HN_WRAP_PARTS_MAX];
    size_t n;
};

struct wrap {
    struct parts single, pair;
    int trim;
    bool known; /* a processor has set the parts */
};

static bool add(struct parts *parts, json_int_t id, json_int_t type) {
    if (parts->n + 2 > 2 * HN_WRAP_PARTS_MAX || id < HN_PART_SECOND || id >= INT32_MAX ||
        type < 0 || type >= 1 << 16)
        return false;
    parts->values[parts->n++] = (int32_t)id;
    parts->values[parts->n++] = (int32_t)type;
    return true;
}

/* One step of a template: {"SpecialToken": {"id", "type_id"}} or {"Sequence": {"id": "A",
 * "type_id"}}. */
static bool add_step(struct parts *parts, const json_t *step, const json_t *specials) {
    const json_t *special = json_object_get(step, "SpecialToken"),
                 *text = json_object_get(step, "Sequence");
    const json_t *part = special ? special : text;
    const char *name = json_string_value(json_object_get(part, "id"));
    json_int_t type = json_integer_value(json_object_get(part, "type_id"));
    if (!name)
        return false;
    if (text)
        return add(parts, name[0] == 'B' ? HN_PART_SECOND : HN_PART_FIRST, type);
    const json_t *ids = json_object_get(json_object_get(specials, name), "ids");
    bool ok = json_array_size(ids) > 0;
    for (size_t i = 0; ok && i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        ok = json_is_integer(id) && json_integer_value(id) >= 0 &&
            add(parts, json_integer_value(id), type);
    }
    return ok;
}

static bool read_template(struct wrap *wrap, const json_t *processor) {
    const json_t *specials = json_object_get(processor, "special_tokens");
    const json_t *single = json_object_get(processor, "single"),
                 *pair = json_object_get(processor, "pair");
    bool ok = true;
    for (size_t i = 0; ok && i < json_array_size(single); i++)
        ok = add_step(&wrap->single, json_array_get(single, i), specials);
    for (size_t i = 0; ok && i < json_array_size(pair); i++)
        ok = add_step(&wrap->pair, json_array_get(pair, i), specials);
    return ok && wrap->single.n && wrap->pair.n;
}

/* ["[SEP]", 102] */
static json_int_t second(const json_t *processor, const char *key) {
    const json_t *id = json_array_get(json_object_get(processor, key), 1);
    return json_is_integer(id) ? json_integer_value(id) : -3;
}

/* BertProcessing: cls A sep, cls A sep B sep, with type 1 for the second text; RobertaProcessing
 * doubles the middle sep and leaves all types 0. */
static bool read_fixed(struct wrap *wrap, const json_t *processor, bool roberta) {
    json_int_t cls = second(processor, "cls"), sep = second(processor, "sep"), type = !roberta;
    struct parts *single = &wrap->single, *pair = &wrap->pair;
    if (roberta && json_is_true(json_object_get(processor, "trim_offsets")))
        wrap->trim = json_is_true(json_object_get(processor, "add_prefix_space"))
            ? HN_TRIM_BUT_PREFIX
            : HN_TRIM_SPACES;
    return cls >= 0 && sep >= 0 && add(single, cls, 0) && add(single, HN_PART_FIRST, 0) &&
        add(single, sep, 0) && add(pair, cls, 0) && add(pair, HN_PART_FIRST, 0) &&
        add(pair, sep, 0) && (!roberta || add(pair, sep, 0)) && add(pair, HN_PART_SECOND, type) &&
        add(pair, sep, type);
}

static int read_processor(struct wrap *wrap, const json_t *processor, struct hn_error *err) {
    bool bert = hn_text_has_type(processor, "BertProcessing"),
         roberta = hn_text_has_type(processor, "RobertaProcessing"),
         template = hn_text_has_type(processor, "TemplateProcessing");
    if (hn_text_has_type(processor, "ByteLevel")) {
        const json_t *trim = json_object_get(processor, "trim_offsets"),
                     *prefix = json_object_get(processor, "add_prefix_space");
        if (!trim || json_is_true(trim))
            wrap->trim = !prefix || json_is_true(prefix) ? HN_TRIM_BUT_PREFIX : HN_TRIM_SPACES;
        return 0;
    }
    if (!json_is_object(processor))
        return 0;
    if ((!bert && !roberta && !template) || wrap->known)
        return hn_text_refuse("post-processor", processor, err);
    wrap->known = true;
    if (template ? read_template(wrap, processor) : read_fixed(wrap, processor, roberta))
        return 0;
    return hn_fail(err, HN_E_MODEL_INVALID,
        "tokenizer.json: the post-processor names tokens without ids, or more than %d parts",
        HN_WRAP_PARTS_MAX);
}

/* Language models see BOS before a text and nothing else: a file that puts other tokens there is
 * refused, since rows for training would lack them. [CLS] and <s> of encoders may stand there. */
static int check_lead(
    const struct hn_text *t, const struct wrap *wrap, bool *adds_bos, struct hn_error *err) {
    size_t lead = 0;
    while (lead < wrap->single.n && wrap->single.values[lead] != HN_PART_FIRST)
        lead += 2;
    int64_t bos = hn_text_special(t, "bos"), cls = hn_text_special(t, "cls");
    int32_t first = wrap->single.values[0];
    if (lead > 2 || (lead == 2 && first != bos && first != cls && wrap->single.n < 6))
        return hn_text_refuse(
            "post-processor", json_object_get(t->tokenizer, "post_processor"), err);
    *adds_bos = lead == 2 && first == bos;
    return 0;
}

int hn_text_put_processor(struct hn_text *t, struct hn_error *err) {
    const json_t *processor = json_object_get(t->tokenizer, "post_processor");
    const json_t *parts =
        hn_text_has_type(processor, "Sequence") ? json_object_get(processor, "processors") : NULL;
    struct wrap wrap = {0};
    bool adds_bos = false;
    int rc = 0;
    for (size_t i = 0; !rc && i < (parts ? json_array_size(parts) : 1); i++)
        rc = read_processor(&wrap, parts ? json_array_get(parts, i) : processor, err);
    if (!rc && wrap.known)
        rc = check_lead(t, &wrap, &adds_bos, err);
    if (rc)
        return rc;
    if (!wrap.known) { /* nothing around them */
        add(&wrap.single, HN_PART_FIRST, 0);
        add(&wrap.pair, HN_PART_FIRST, 0);
        add(&wrap.pair, HN_PART_SECOND, 1);
    }
    hn_gguf_put_bool(&t->w, "tokenizer.ggml.add_bos_token", adds_bos);
    hn_gguf_put_u32(&t->w, HN_KEY_TRIM, (uint32_t)wrap.trim);
    hn_text_put_i32s(t, HN_KEY_SINGLE, wrap.single.values, wrap.single.n);
    hn_text_put_i32s(t, HN_KEY_PAIR, wrap.pair.values, wrap.pair.n);
    return 0;
}
