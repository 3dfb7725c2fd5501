/* See json_grammar.h. */
#include "engine/eval/json_grammar.h"
#include "engine/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SPACES = 20, REFS = 256, TIMES = 4096, DEEP = 64 };

/* Rules that all schemas share. */
struct basics {
    uint32_t space, string, character, number, integer, boolean, null, value, object, array, member;
};

struct maker {
    struct hn_grammar *g;
    const json_t *root;
    const char *field; /* of the request, for errors */
    struct basics b;
    struct {
        const json_t *schema;
        uint32_t rule;
    } refs[REFS]; /* schemas that $ref names, written once */
    size_t n_refs;
    unsigned depth;
    struct hn_error *err;
};

static int refuse(struct maker *m, int code, const char *place, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static int refuse(struct maker *m, int code, const char *place, const char *format, ...) {
    char text[500];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    hn_fail(m->err, code, "the schema: %s", text);
    hn_error_field(m->err, "%s%.200s", m->field, place);
    return code;
}

static void text(struct maker *m, const char *s) {
    hn_grammar_text(m->g, s, strlen(s));
}

static void set(struct maker *m, const char *pairs) {
    hn_grammar_set(m->g, (const uint8_t(*)[2])(const void *)pairs, strlen(pairs) / 2);
}

static void alternative(struct maker *m, uint32_t rule) {
    hn_grammar_alternative(m->g, rule);
}

static void ref(struct maker *m, uint32_t rule) {
    hn_grammar_ref(m->g, rule);
}

/* Rules cannot be nested while they are written: what another one needs is made before it. */

/* rule: nothing | what rule */
static uint32_t any_number_of(struct maker *m, uint32_t what) {
    uint32_t rule = hn_grammar_rule(m->g);
    alternative(m, rule);
    alternative(m, rule);
    ref(m, what);
    ref(m, rule);
    return rule;
}

/* nothing | what (nothing | what (…)): at most n */
static uint32_t at_most(struct maker *m, uint32_t what, size_t n) {
    uint32_t inner = hn_grammar_rule(m->g);
    alternative(m, inner);
    for (size_t i = 0; i < n; i++) {
        uint32_t outer = hn_grammar_rule(m->g);
        alternative(m, outer);
        alternative(m, outer);
        ref(m, what);
        ref(m, inner);
        inner = outer;
    }
    return inner;
}

/* least to most (SIZE_MAX: any number) times `what`. */
static uint32_t times(struct maker *m, uint32_t what, size_t least, size_t most) {
    uint32_t rest = most == SIZE_MAX ? any_number_of(m, what)
                                     : at_most(m, what, most > least ? most - least : 0);
    uint32_t rule = hn_grammar_rule(m->g);
    alternative(m, rule);
    for (size_t i = 0; i < least; i++)
        ref(m, what);
    ref(m, rest);
    return rule;
}

static void write_space(struct maker *m) {
    uint32_t blank = hn_grammar_rule(m->g);
    alternative(m, blank);
    set(m, "  \t\t");
    uint32_t blanks = at_most(m, blank, SPACES);
    m->b.space = hn_grammar_rule(m->g);
    alternative(m, m->b.space);
    alternative(m, m->b.space);
    text(m, " ");
    alternative(m, m->b.space);
    text(m, "\n");
    ref(m, blanks);
}

/* A character of a string: UTF-8 without overlong forms and surrogates (RFC 3629), or an escape. */
static void write_character(struct maker *m) {
    static const char *const utf8[][4] = {{"  !!#[]\x7f"}, {"\xc2\xdf", "\x80\xbf"},
        {"\xe0\xe0", "\xa0\xbf", "\x80\xbf"}, {"\xe1\xec\xee\xef", "\x80\xbf", "\x80\xbf"},
        {"\xed\xed", "\x80\x9f", "\x80\xbf"}, {"\xf0\xf0", "\x90\xbf", "\x80\xbf", "\x80\xbf"},
        {"\xf1\xf3", "\x80\xbf", "\x80\xbf", "\x80\xbf"},
        {"\xf4\xf4", "\x80\x8f", "\x80\xbf", "\x80\xbf"}};
    m->b.character = hn_grammar_rule(m->g);
    for (size_t i = 0; i < sizeof utf8 / sizeof utf8[0]; i++) {
        alternative(m, m->b.character);
        for (size_t k = 0; k < 4 && utf8[i][k]; k++)
            set(m, utf8[i][k]);
    }
    alternative(m, m->b.character);
    text(m, "\\");
    set(m, "\"\"\\\\//bbffnnrrtt");
    /* \uXXXX; a surrogate only with the other one behind it */
    alternative(m, m->b.character);
    text(m, "\\u");
    set(m, "09acACefEF");
    for (int i = 0; i < 3; i++)
        set(m, "09afAF");
    alternative(m, m->b.character);
    text(m, "\\u");
    set(m, "ddDD");
    set(m, "07");
    set(m, "09afAF");
    set(m, "09afAF");
    alternative(m, m->b.character);
    text(m, "\\u");
    set(m, "ddDD");
    set(m, "89abAB");
    set(m, "09afAF");
    set(m, "09afAF");
    text(m, "\\u");
    set(m, "ddDD");
    set(m, "cfCF");
    set(m, "09afAF");
    set(m, "09afAF");
}

static uint32_t quoted(struct maker *m, uint32_t characters) {
    uint32_t rule = hn_grammar_rule(m->g);
    alternative(m, rule);
    text(m, "\"");
    ref(m, characters);
    text(m, "\"");
    return rule;
}

static void write_numbers(struct maker *m) {
    uint32_t digit = hn_grammar_rule(m->g);
    alternative(m, digit);
    set(m, "09");
    /* as many as a double can tell apart, so that a number ends */
    uint32_t some = at_most(m, digit, 16), few = at_most(m, digit, 2), rules[2];
    for (int k = 0; k < 2; k++) {
        rules[k] = hn_grammar_rule(m->g);
        for (int sign = 0; sign < 2; sign++) {
            alternative(m, rules[k]);
            text(m, sign ? "-" : "");
            text(m, "0");
            alternative(m, rules[k]);
            text(m, sign ? "-" : "");
            set(m, "19");
            ref(m, some);
        }
    }
    m->b.integer = rules[0];
    uint32_t fraction = hn_grammar_rule(m->g);
    alternative(m, fraction);
    alternative(m, fraction);
    text(m, ".");
    set(m, "09");
    ref(m, some);
    uint32_t power = hn_grammar_rule(m->g);
    alternative(m, power);
    alternative(m, power);
    set(m, "eeEE");
    set(m, "++--");
    set(m, "09");
    ref(m, few);
    alternative(m, power);
    set(m, "eeEE");
    set(m, "09");
    ref(m, few);
    m->b.number = hn_grammar_rule(m->g);
    alternative(m, m->b.number);
    ref(m, m->b.integer);
    ref(m, fraction);
    ref(m, power);
}

/* A comma (or nothing) and an item behind it. */
static uint32_t behind(struct maker *m, const char *separator, uint32_t item) {
    uint32_t rule = hn_grammar_rule(m->g);
    alternative(m, rule);
    text(m, separator);
    if (*separator)
        ref(m, m->b.space);
    ref(m, item);
    return rule;
}

/* open space close | open space item (, space item)* space close */
static uint32_t listed(struct maker *m, const char *open, uint32_t item, const char *close) {
    uint32_t rest = any_number_of(m, behind(m, ",", item)), rule = hn_grammar_rule(m->g);
    alternative(m, rule);
    text(m, open);
    ref(m, m->b.space);
    text(m, close);
    alternative(m, rule);
    text(m, open);
    ref(m, m->b.space);
    ref(m, item);
    ref(m, rest);
    ref(m, m->b.space);
    text(m, close);
    return rule;
}

static uint32_t word(struct maker *m, const char *a, const char *b) {
    uint32_t rule = hn_grammar_rule(m->g);
    alternative(m, rule);
    text(m, a);
    if (b) {
        alternative(m, rule);
        text(m, b);
    }
    return rule;
}

/* "name" : value */
static uint32_t pair(struct maker *m, uint32_t name, uint32_t value) {
    uint32_t rule = hn_grammar_rule(m->g);
    alternative(m, rule);
    ref(m, name);
    text(m, ":");
    ref(m, m->b.space);
    ref(m, value);
    return rule;
}

static void write_basics(struct maker *m) {
    write_space(m);
    write_character(m);
    m->b.string = quoted(m, any_number_of(m, m->b.character));
    write_numbers(m);
    m->b.boolean = word(m, "true", "false");
    m->b.null = word(m, "null", NULL);
    m->b.value = hn_grammar_rule(m->g);
    m->b.member = pair(m, m->b.string, m->b.value);
    m->b.object = listed(m, "{", m->b.member, "}");
    m->b.array = listed(m, "[", m->b.value, "]");
    const uint32_t kinds[] = {
        m->b.object, m->b.array, m->b.string, m->b.number, m->b.boolean, m->b.null};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        alternative(m, m->b.value);
        ref(m, kinds[i]);
    }
}

/* --- schemas -------------------------------------------------------------------------------- */

static int schema_rule(struct maker *m, const json_t *schema, const char *place, uint32_t *ret);

static const char *const known[] = {"type", "properties", "required", "additionalProperties",
    "items", "prefixItems", "minItems", "maxItems", "minLength", "maxLength", "enum", "const",
    "anyOf", "oneOf", "$ref", "$defs", "definitions", "title", "description", "default", "examples",
    "$schema", "$id", "$comment"};

static int check_known(struct maker *m, const json_t *schema, const char *place) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)schema, name, value) {
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            found = found || strcmp(known[i], name) == 0;
        if (!found)
            return refuse(m, HN_E_UNSUPPORTED, place, "\"%.60s\" is not supported", name);
    }
    return 0;
}

static int read_count(struct maker *m, const json_t *schema, const char *name, size_t standard,
    const char *place, size_t *ret) {
    const json_t *value = json_object_get(schema, name);
    *ret = standard;
    if (!value)
        return 0;
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > TIMES)
        return refuse(
            m, HN_E_INVALID_FIELD, place, "%s must be a whole number up to %d", name, TIMES);
    *ret = (size_t)json_integer_value(value);
    return 0;
}

static int read_counts(struct maker *m, const json_t *schema, const char *least_name,
    const char *most_name, const char *place, size_t *least, size_t *most) {
    int rc = read_count(m, schema, least_name, 0, place, least);
    if (!rc)
        rc = read_count(m, schema, most_name, SIZE_MAX, place, most);
    if (!rc && *most < *least)
        rc = refuse(m, HN_E_INVALID_FIELD, place, "%s is below %s", most_name, least_name);
    return rc;
}

static int string_rule(struct maker *m, const json_t *schema, const char *place, uint32_t *ret) {
    size_t least, most;
    int rc = read_counts(m, schema, "minLength", "maxLength", place, &least, &most);
    if (rc)
        return rc;
    *ret =
        least || most != SIZE_MAX ? quoted(m, times(m, m->b.character, least, most)) : m->b.string;
    return 0;
}

/* A value as it is. */
static uint32_t constant(struct maker *m, const json_t *value) {
    char *said = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    uint32_t rule = hn_grammar_rule(m->g);
    alternative(m, rule);
    text(m, said ? said : "null");
    free(said);
    return rule;
}

static int array_rule(struct maker *m, const json_t *schema, const char *place, uint32_t *ret) {
    const json_t *items = json_object_get(schema, "items");
    char inner[300];
    size_t least, most;
    uint32_t item = m->b.value;
    snprintf(inner, sizeof inner, "%s.items", place);
    if (json_object_get(schema, "prefixItems"))
        return refuse(m, HN_E_UNSUPPORTED, place, "\"prefixItems\" is not supported");
    int rc = read_counts(m, schema, "minItems", "maxItems", place, &least, &most);
    if (!rc && items)
        rc = schema_rule(m, items, inner, &item);
    if (rc)
        return rc;
    if (!least && most == SIZE_MAX) {
        *ret = listed(m, "[", item, "]");
        return 0;
    }
    uint32_t rest = most
        ? times(m, behind(m, ",", item), least ? least - 1 : 0, most == SIZE_MAX ? most : most - 1)
        : m->b.space;
    *ret = hn_grammar_rule(m->g);
    if (!least) {
        alternative(m, *ret);
        text(m, "[");
        ref(m, m->b.space);
        text(m, "]");
    }
    if (most) {
        alternative(m, *ret);
        text(m, "[");
        ref(m, m->b.space);
        ref(m, item);
        ref(m, rest);
        ref(m, m->b.space);
        text(m, "]");
    }
    return 0;
}

static bool is_required(const json_t *schema, const char *name) {
    const json_t *list = json_object_get(schema, "required");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *one = json_string_value(json_array_get(list, i));
        if (one && strcmp(one, name) == 0)
            return true;
    }
    return false;
}

/*
 * The members from the i-th on, in two forms: where one came before them (each has a comma) and
 * where none did. Made from the last to the first.
 */
static int members(
    struct maker *m, const json_t *schema, const char *place, uint32_t more, uint32_t *ret) {
    json_t *properties = json_object_get(schema, "properties"), *value, *names = json_array();
    const char *name;
    json_object_foreach(properties, name, value)
        json_array_append_new(names, json_string(name));
    uint32_t after = more == UINT32_MAX ? UINT32_MAX : any_number_of(m, behind(m, ",", more));
    uint32_t first = hn_grammar_rule(m->g);
    alternative(m, first); /* no member at all */
    if (more != UINT32_MAX) {
        uint32_t one = behind(m, "", more);
        uint32_t both = hn_grammar_rule(m->g);
        alternative(m, both);
        alternative(m, both);
        ref(m, one);
        ref(m, after);
        first = both;
    }
    if (after == UINT32_MAX) {
        after = hn_grammar_rule(m->g);
        alternative(m, after);
    }
    int rc = 0;
    for (size_t i = json_array_size(names); !rc && i-- > 0;) {
        char inner[300];
        uint32_t rule = 0;
        name = json_string_value(json_array_get(names, i));
        snprintf(inner, sizeof inner, "%s.properties.%.100s", place, name);
        rc = schema_rule(m, json_object_get(properties, name), inner, &rule);
        if (rc)
            break;
        uint32_t member = pair(m, constant(m, json_array_get(names, i)), rule),
                 with_comma = behind(m, ",", member), without = behind(m, "", member),
                 next_after = hn_grammar_rule(m->g), next_first = hn_grammar_rule(m->g);
        bool needed = is_required(schema, name);
        alternative(m, next_after);
        ref(m, with_comma);
        ref(m, after);
        if (!needed) {
            alternative(m, next_after);
            ref(m, after);
        }
        alternative(m, next_first);
        ref(m, without);
        ref(m, after);
        if (!needed) {
            alternative(m, next_first);
            ref(m, first);
        }
        after = next_after;
        first = next_first;
    }
    json_decref(names);
    *ret = first;
    return rc;
}

static int object_rule(struct maker *m, const json_t *schema, const char *place, uint32_t *ret) {
    const json_t *additional = json_object_get(schema, "additionalProperties"),
                 *required = json_object_get(schema, "required");
    char inner[300];
    uint32_t more = UINT32_MAX, all;
    snprintf(inner, sizeof inner, "%s.additionalProperties", place);
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *name = json_string_value(json_array_get(required, i));
        if (!name || !json_object_get(json_object_get(schema, "properties"), name))
            return refuse(m, HN_E_INVALID_FIELD, place,
                "\"required\" names \"%.60s\", which is not in \"properties\"", name ? name : "?");
    }
    if (!json_object_get(schema, "properties") && !additional) {
        *ret = m->b.object;
        return 0;
    }
    int rc = 0;
    if (json_is_true(additional)) {
        more = m->b.member;
    } else if (json_is_object(additional)) {
        uint32_t value;
        rc = schema_rule(m, additional, inner, &value);
        if (!rc)
            more = pair(m, m->b.string, value);
    }
    if (!rc)
        rc = members(m, schema, place, more, &all);
    if (rc)
        return rc;
    *ret = hn_grammar_rule(m->g);
    alternative(m, *ret);
    text(m, "{");
    ref(m, m->b.space);
    ref(m, all);
    ref(m, m->b.space);
    text(m, "}");
    return 0;
}

static int any_of(struct maker *m, const json_t *list, const char *place, const char *name,
    bool constants, uint32_t *ret) {
    size_t n = json_array_size(list);
    uint32_t *rules = hn_calloc(n + 1, sizeof *rules);
    int rc = !rules ? hn_fail(m->err, HN_E_INTERNAL, "out of memory")
        : n         ? 0
                    : refuse(m, HN_E_INVALID_FIELD, place, "\"%s\" is a list of one or more", name);
    for (size_t i = 0; !rc && i < n; i++) {
        char inner[300];
        snprintf(inner, sizeof inner, "%s.%s[%zu]", place, name, i);
        if (constants)
            rules[i] = constant(m, json_array_get(list, i));
        else
            rc = schema_rule(m, json_array_get(list, i), inner, &rules[i]);
    }
    if (!rc) {
        *ret = hn_grammar_rule(m->g);
        for (size_t i = 0; i < n; i++) {
            alternative(m, *ret);
            ref(m, rules[i]);
        }
    }
    free(rules);
    return rc;
}

/* "#", "#/$defs/NAME", "#/definitions/NAME": written once, so that it may name itself. */
static int ref_rule(struct maker *m, const char *name, const char *place, uint32_t *ret) {
    const json_t *schema = strcmp(name, "#") == 0 ? m->root : NULL;
    static const char *const homes[] = {"$defs", "definitions"};
    for (size_t i = 0; i < 2; i++) {
        size_t n = strlen(homes[i]);
        if (strncmp(name, "#/", 2) == 0 && strncmp(name + 2, homes[i], n) == 0 &&
            name[2 + n] == '/')
            schema = json_object_get(json_object_get(m->root, homes[i]), name + 3 + n);
    }
    if (!schema)
        return refuse(m, HN_E_INVALID_FIELD, place,
            "\"$ref\": \"%.60s\" is not there; \"#\" and \"#/$defs/NAME\" are looked up", name);
    for (size_t i = 0; i < m->n_refs; i++)
        if (m->refs[i].schema == schema) {
            *ret = m->refs[i].rule;
            return 0;
        }
    if (m->n_refs == REFS)
        return refuse(m, HN_E_INVALID_FIELD, place, "more than %d definitions", REFS);
    uint32_t rule = hn_grammar_rule(m->g), inner;
    m->refs[m->n_refs].schema = schema;
    m->refs[m->n_refs++].rule = rule;
    int rc = schema_rule(m, schema, name, &inner);
    if (rc)
        return rc;
    alternative(m, rule);
    ref(m, inner);
    *ret = rule;
    return 0;
}

static int typed(
    struct maker *m, const json_t *schema, const char *type, const char *place, uint32_t *ret) {
    const struct {
        const char *name;
        uint32_t rule;
    } simple[] = {{"number", m->b.number}, {"integer", m->b.integer}, {"boolean", m->b.boolean},
        {"null", m->b.null}};
    for (size_t i = 0; i < sizeof simple / sizeof simple[0]; i++)
        if (strcmp(type, simple[i].name) == 0) {
            *ret = simple[i].rule;
            return 0;
        }
    if (strcmp(type, "string") == 0)
        return string_rule(m, schema, place, ret);
    if (strcmp(type, "array") == 0)
        return array_rule(m, schema, place, ret);
    if (strcmp(type, "object") == 0)
        return object_rule(m, schema, place, ret);
    return refuse(m, HN_E_INVALID_FIELD, place, "\"%.60s\" is not a type", type);
}

static int by_types(
    struct maker *m, const json_t *schema, const json_t *types, const char *place, uint32_t *ret) {
    uint32_t rules[8];
    size_t n = json_array_size(types);
    if (!n || n > 8)
        return refuse(m, HN_E_INVALID_FIELD, place, "\"type\" is a type or a list of some");
    for (size_t i = 0; i < n; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        int rc = typed(m, schema, type ? type : "?", place, &rules[i]);
        if (rc)
            return rc;
    }
    *ret = hn_grammar_rule(m->g);
    for (size_t i = 0; i < n; i++) {
        alternative(m, *ret);
        ref(m, rules[i]);
    }
    return 0;
}

/* What constrains a value, and by which branch of `choose` it is read. */
static const struct {
    const char *name, *branches;
} constraints[] = {{"$ref", "$ref"}, {"const", "const"}, {"enum", "enum"}, {"anyOf", "anyOf"},
    {"oneOf", "oneOf"}, {"type", "const enum string number integer boolean null array object"},
    {"minLength", "string"}, {"maxLength", "string"}, {"items", "array"}, {"prefixItems", "array"},
    {"minItems", "array"}, {"maxItems", "array"}, {"properties", "object"}, {"required", "object"},
    {"additionalProperties", "object"}};

/* Whether the schema's type, or one of its types, is among the words. */
static bool has_type(const json_t *schema, const char *words) {
    const json_t *type = json_object_get(schema, "type");
    size_t n = json_is_array(type) ? json_array_size(type) : 1;
    for (size_t i = 0; i < n; i++) {
        const char *one = json_string_value(json_is_array(type) ? json_array_get(type, i) : type);
        if (one && *one && strstr(words, one))
            return true;
    }
    return false;
}

/* Refuses what stands beside the keyword that is read and would go unread. NULL: by type. */
static int check_siblings(
    struct maker *m, const json_t *schema, const char *branch, const char *place) {
    for (size_t i = 0; i < sizeof constraints / sizeof constraints[0]; i++) {
        const char *name = constraints[i].name, *words = constraints[i].branches;
        if (!json_object_get(schema, name) ||
            (branch ? strstr(words, branch) != NULL
                    : strcmp(name, "type") == 0 || has_type(schema, words)))
            continue;
        return branch ? refuse(m, HN_E_UNSUPPORTED, place, "\"%s\" beside \"%s\" is not supported",
                            name, branch)
                      : refuse(m, HN_E_UNSUPPORTED, place, "\"%s\" needs its \"type\"", name);
    }
    return 0;
}

static const char *branch_of(const json_t *schema) {
    static const char *const branches[] = {"$ref", "const", "enum", "anyOf", "oneOf"};
    for (size_t i = 0; i < sizeof branches / sizeof branches[0]; i++)
        if (json_object_get(schema, branches[i]))
            return branches[i];
    return json_object_get(schema, "type")      ? NULL
        : json_object_get(schema, "properties") ? "object"
                                                : NULL;
}

static int choose(struct maker *m, const json_t *schema, const char *place, uint32_t *ret) {
    const json_t *type = json_object_get(schema, "type"), *any = json_object_get(schema, "anyOf"),
                 *one = json_object_get(schema, "oneOf"), *list = json_object_get(schema, "enum"),
                 *value = json_object_get(schema, "const");
    const char *name = json_string_value(json_object_get(schema, "$ref"));
    int rc = check_siblings(m, schema, branch_of(schema), place);
    if (rc)
        return rc;
    if (name)
        return ref_rule(m, name, place, ret);
    if (value) {
        *ret = constant(m, value);
        return 0;
    }
    if (list)
        return any_of(m, list, place, "enum", true, ret);
    if (any || one)
        return any_of(m, any ? any : one, place, any ? "anyOf" : "oneOf", false, ret);
    if (json_is_array(type))
        return by_types(m, schema, type, place, ret);
    if (json_is_string(type))
        return typed(m, schema, json_string_value(type), place, ret);
    if (type)
        return refuse(m, HN_E_INVALID_FIELD, place, "\"type\" is a type or a list of some");
    if (json_object_get(schema, "properties"))
        return object_rule(m, schema, place, ret);
    *ret = m->b.value;
    return 0;
}

static int schema_rule(struct maker *m, const json_t *schema, const char *place, uint32_t *ret) {
    if (json_is_true(schema)) {
        *ret = m->b.value;
        return 0;
    }
    if (!json_is_object(schema))
        return refuse(m, HN_E_INVALID_FIELD, place, "a schema is an object");
    if (++m->depth > DEEP)
        return refuse(m, HN_E_INVALID_FIELD, "", "it is nested more than %d deep", DEEP);
    int rc = check_known(m, schema, place);
    if (!rc)
        rc = choose(m, schema, place, ret);
    m->depth--;
    return rc;
}

static int finish(struct maker *m, int rc, struct hn_grammar **ret) {
    if (!rc)
        rc = hn_grammar_done(m->g, m->err);
    if (rc)
        hn_grammar_destroy(m->g);
    else
        *ret = m->g;
    return rc;
}

/* The text of a call of this function. */
static int call_rule(struct maker *m, const json_t *function, size_t i, const char *open,
    const char *close, uint32_t *ret) {
    const json_t *parameters = json_object_get(function, "parameters");
    char place[80];
    uint32_t arguments;
    int rc = 0;
    snprintf(place, sizeof place, "[%zu].function.parameters", i);
    m->root = parameters;
    if (json_object_size(parameters)) {
        rc = schema_rule(m, parameters, place, &arguments);
    } else {
        json_t *none = json_object();
        arguments = constant(m, none);
        json_decref(none);
    }
    if (rc)
        return rc;
    uint32_t name = constant(m, json_object_get(function, "name"));
    *ret = hn_grammar_rule(m->g);
    alternative(m, *ret);
    text(m, open);
    text(m, "{\"name\": ");
    ref(m, name);
    text(m, ", \"arguments\": ");
    ref(m, arguments);
    text(m, "}");
    text(m, close);
    return 0;
}

int hn_call_grammar(const json_t *tools, const char *name, const char *open, const char *close,
    struct hn_grammar **ret, struct hn_error *err) {
    struct maker m = {.g = hn_grammar_create(), .field = "tools", .err = err};
    size_t n = json_array_size(tools), used = 0;
    uint32_t *rules = hn_calloc(n + 1, sizeof *rules);
    if (!m.g || !rules) {
        hn_grammar_destroy(m.g);
        free(rules);
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    }
    uint32_t whole = hn_grammar_rule(m.g);
    int rc = 0;
    write_basics(&m);
    for (size_t i = 0; !rc && i < n; i++) {
        const json_t *function = json_object_get(json_array_get(tools, i), "function");
        const char *own = json_string_value(json_object_get(function, "name"));
        if (own && (!name || strcmp(own, name) == 0))
            rc = call_rule(&m, function, i, open, close, &rules[used++]);
    }
    if (!rc && !used)
        rc = refuse(&m, HN_E_INVALID_FIELD, "", "there is no function \"%.60s\"", name ? name : "");
    for (size_t i = 0; !rc && i < used; i++) {
        alternative(&m, whole);
        ref(&m, rules[i]);
    }
    free(rules);
    return finish(&m, rc, ret);
}

int hn_json_grammar(const json_t *schema, struct hn_grammar **ret, struct hn_error *err) {
    struct maker m = {
        .g = hn_grammar_create(), .root = schema, .field = "response_format", .err = err};
    if (!m.g)
        return hn_fail(err, HN_E_INTERNAL, "out of memory");
    uint32_t whole = hn_grammar_rule(m.g), value;
    write_basics(&m);
    value = m.b.object;
    int rc = schema ? schema_rule(&m, schema, "", &value) : 0;
    hn_grammar_alternative(m.g, whole);
    ref(&m, m.b.space);
    ref(&m, value);
    return finish(&m, rc, ret);
}
