/*
 * /openapi.json: made from the route table, the tables of hyperparameters and of a submission's
 * fields, and schemas.json, which says in short what else goes in and comes out: {"name": TYPE},
 * where the name may end with ? (it may be missing) and TYPE is a type of JSON schema or a schema's
 * name, with ? behind it where null is one of its values; "list T", "page T" ({"data","next"}),
 * "one a b c" of these words, "either A B", "any", or an object of the same kind. What it says of
 * query parameters ("query") and of a submission's fields beside their table ("job_fields") is JSON
 * schema as it stands. Tests hold the answers against it.
 */
#include "api/handlers.h"
#include "api/routes.h"
#include "server/base/embedded.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "/jobs/{id}/artifacts/{path*}" becomes OpenAPI's "/jobs/{id}/artifacts/{path}". */
static void plain_pattern(const char *pattern, char *ret) {
    for (; *pattern; pattern++)
        if (*pattern != '*')
            *ret++ = *pattern;
    *ret = 0;
}

/* A query parameter means the same wherever it is known. */
static json_t *query_parameter(const json_t *shapes, const char *name, size_t n) {
    json_t *schema = json_object_getn(json_object_get(shapes, "query"), name, n),
           *text = json_object_get(schema, "description");
    json_t *plain = schema ? json_copy(schema) : json_pack("{s:s}", "type", "string");
    json_object_del(plain, "description");
    return HN_JSON_OBJECT({"name", json_stringn(name, n)}, {"in", json_string("query")},
        {"description", text ? json_incref(text) : json_string("")}, {"schema", plain});
}

static json_t *parameters(const struct hn_route *route, const json_t *shapes) {
    json_t *list = json_array();
    for (const char *s = route->pattern; (s = strchr(s, '{')); s++) {
        size_t n = strcspn(s + 1, "*}");
        json_array_append_new(list,
            json_pack("{s:o,s:s,s:b,s:{s:s}}", "name", json_stringn(s + 1, n), "in", "path",
                "required", 1, "schema", "type", "string"));
    }
    for (const char *s = route->query; s && *s;) {
        size_t n = strcspn(s, ",");
        json_array_append_new(list, query_parameter(shapes, s, n));
        s += n + (s[n] == ',');
    }
    return list;
}

static json_t *schema_of(const json_t *shape);

static json_t *reference(const char *name, size_t n) {
    return json_pack("{s:o}", "$ref", json_sprintf("#/components/schemas/%.*s", (int)n, name));
}

static json_t *nullable(json_t *schema) {
    json_t *type = json_object_get(schema, "type");
    if (!type)
        return json_pack("{s:[o,{s:s}]}", "anyOf", schema, "type", "null");
    json_object_set_new(schema, "type", json_pack("[O,s]", type, "null"));
    return schema;
}

/* The words behind the first, each as text or as a reference. */
static json_t *words_of(const char *text, bool references) {
    json_t *list = json_array();
    for (text += strcspn(text, " "); *text; text += strcspn(text, " ")) {
        text++;
        size_t n = strcspn(text, " ");
        json_array_append_new(list, references ? reference(text, n) : json_stringn(text, n));
    }
    return list;
}

static json_t *word_schema(const char *text) {
    size_t n = strcspn(text, " ?");
    bool maybe = text[n] == '?';
    json_t *inner = text[n + maybe] == ' ' ? json_string(text + n + maybe + 1) : NULL, *schema;
    if (strncmp(text, "list", n) == 0)
        schema = json_pack("{s:s,s:o}", "type", "array", "items", schema_of(inner));
    else if (strncmp(text, "page", n) == 0)
        schema = json_pack("{s:s,s:[s,s],s:{s:{s:s,s:o},s:{s:[s,s]}}}", "type", "object",
            "required", "data", "next", "properties", "data", "type", "array", "items",
            schema_of(inner), "next", "type", "string", "null");
    else if (strncmp(text, "one", n) == 0)
        schema = json_pack("{s:s,s:o}", "type", "string", "enum", words_of(text, false));
    else if (strncmp(text, "either", n) == 0)
        schema = json_pack("{s:o}", "anyOf", words_of(text, true));
    else if (strncmp(text, "any", n) == 0)
        schema = json_object();
    else
        schema = text[0] >= 'A' && text[0] <= 'Z'
            ? reference(text, n)
            : json_pack("{s:o}", "type", json_stringn(text, n));
    json_decref(inner);
    return maybe ? nullable(schema) : schema;
}

/* What schemas.json says in short, at length. */
static json_t *schema_of(const json_t *shape) {
    const char *key;
    json_t *value;
    if (json_is_string(shape))
        return word_schema(json_string_value(shape));
    json_t *properties = json_object(), *required = json_array();
    json_object_foreach((json_t *)(uintptr_t)shape, key, value) {
        size_t n = strcspn(key, "?");
        json_object_setn_new(properties, key, n, schema_of(value));
        if (!key[n])
            json_array_append_new(required, json_string(key));
    }
    return json_pack(
        "{s:s,s:o,s:o}", "type", "object", "properties", properties, "required", required);
}

static json_t *shape_of(
    const json_t *shapes, const char *part, const struct hn_route *route, const char *pattern) {
    char key[160];
    snprintf(key, sizeof key, "%s %s", route->method, pattern);
    return json_object_get(json_object_get(shapes, part), key);
}

static json_t *request_body(
    const struct hn_route *route, const char *pattern, const json_t *shapes) {
    json_t *content = json_object(), *shape = shape_of(shapes, "requests", route, pattern);
    if (route->body & HN_BODY_JSON)
        json_object_set_new(content, "application/json",
            json_pack("{s:o}", "schema",
                shape ? schema_of(shape) : json_pack("{s:s}", "type", "object")));
    if (route->body & HN_BODY_FORM)
        json_object_set_new(
            content, "multipart/form-data", json_pack("{s:{s:s}}", "schema", "type", "object"));
    if (route->body & HN_BODY_FILE)
        json_object_set_new(content, "application/octet-stream",
            json_pack("{s:{s:s,s:s}}", "schema", "type", "string", "format", "binary"));
    return json_pack("{s:o}", "content", content);
}

static json_t *operation(const struct hn_route *route, const char *pattern, const json_t *shapes) {
    static const char *const scopes[] = {"open", "read", "submit", "admin"};
    json_t *shape = shape_of(shapes, "replies", route, pattern),
           *op = json_pack("{s:s,s:o,s:s,s:{s:{s:s},s:{s:s,s:{s:{s:{s:s}}}}}}", "summary",
               route->summary, "parameters", parameters(route, shapes), "x-scope",
               scopes[route->scope], "responses", "2XX", "description", "done", "default",
               "description", "an error", "content", "application/json", "schema", "$ref",
               strncmp(pattern, "/v1/", 4) == 0 ? "#/components/schemas/OpenAIError"
                                                : "#/components/schemas/Error");
    const char *other = json_string_value(shape_of(shapes, "other_types", route, pattern));
    json_t *content = json_object();
    if (shape)
        json_object_set_new(
            content, "application/json", json_pack("{s:o}", "schema", schema_of(shape)));
    if (other)
        json_object_set_new(content, other, json_pack("{s:{s:s}}", "schema", "type", "string"));
    if (op && json_object_size(content))
        json_object_set(
            json_object_get(json_object_get(op, "responses"), "2XX"), "content", content);
    json_decref(content);
    if (op && route->body)
        json_object_set_new(op, "requestBody", request_body(route, pattern, shapes));
    if (op && route->scope != HN_SCOPE_OPEN)
        json_object_set_new(op, "security", json_pack("[{s:[]},{}]", "key"));
    return op;
}

static json_t *hyperparameter_schema(void) {
    json_t *properties = json_object(), *rows = hn_hyperparams_schema(), *row;
    size_t i;
    json_array_foreach(rows, i, row) {
        const char *type = json_string_value(json_object_get(row, "type"));
        json_t *schema = json_pack("{s:O,s:O}", "description", json_object_get(row, "help"),
            "default", json_object_get(row, "default"));
        bool is_auto = strstr(type, "auto") != NULL;
        if (strcmp(type, "enum") == 0)
            json_object_set(schema, "enum", json_object_get(row, "values"));
        else if (strcmp(type, "boolean") == 0)
            json_object_set_new(schema, "type", json_string("boolean"));
        else if (strcmp(type, "all-linear|list") == 0)
            json_object_set_new(schema, "type", json_pack("[s,s]", "string", "array"));
        else {
            json_t *types = json_array();
            json_array_append_new(types, json_string(type[0] == 'i' ? "integer" : "number"));
            if (is_auto)
                json_array_append_new(types, json_string("string"));
            if (strstr(type, "null"))
                json_array_append_new(types, json_string("null"));
            json_object_set_new(schema, "type", types);
            json_object_set(schema, "minimum", json_object_get(row, "min"));
            json_object_set(schema, "maximum", json_object_get(row, "max"));
        }
        json_object_set(schema, "x-type", json_object_get(row, "type"));
        json_object_set_new(properties, json_string_value(json_object_get(row, "name")), schema);
    }
    json_decref(rows);
    return json_pack(
        "{s:s,s:b,s:o}", "type", "object", "additionalProperties", 0, "properties", properties);
}

static json_t *evaluate_request_schema(void) {
    json_t *writing = json_pack("{s:s,s:b,s:{s:{s:s,s:i,s:i},s:{s:[s,s]}}}", "type", "object",
        "additionalProperties", 0, "properties", "max_tokens", "type", "integer", "minimum", 1,
        "default", 128, "stop", "type", "string", "array");
    json_t *generate = json_pack("{s:s,s:[{s:s},o]}", "description",
        "models that write: true, or how long, to have every row answered greedily and "
        "exact_match, f1, rouge_l, chrf and bleu of the answers; absent: exact_match and f1 of "
        "questions, nothing of other rows; false: nothing",
        "anyOf", "type", "boolean", writing);
    return json_pack("{s:s,s:b,s:[s],s:{s:{s:s},s:{s:s,s:[s,s]},s:o}}", "type", "object",
        "additionalProperties", 0, "required", "dataset", "properties", "dataset", "type", "string",
        "step", "description",
        "of a job: \"exported\" (standard), \"best\", \"last\" or the number of a checkpoint",
        "type", "string", "integer", "generate", generate);
}

/* The table of a submission's fields knows kinds; of those that "any" code checks, and with
 * examples, schemas.json tells more. */
static json_t *job_request_schema(const json_t *shapes) {
    json_t *schema = hn_job_request_schema(), *fields = json_object_get(schema, "properties"),
           *more;
    const char *name;
    json_object_foreach(json_object_get(shapes, "job_fields"), name, more)
        json_object_update_missing(json_object_get(fields, name), more);
    return schema;
}

static json_t *error_schema(void) {
    json_t *codes = json_array();
#define HN_ERROR(NAME, code, KIND, text) json_array_append_new(codes, json_string(#code));
#include "engine/errors.def"
#undef HN_ERROR
    return json_pack("{s:s,s:{s:{s:s,s:{s:{s:s,s:o},s:{s:s},s:{s:[s,s]},s:{s:[s,s]},s:{s:s}}}}}",
        "type", "object", "properties", "error", "type", "object", "properties", "code", "type",
        "string", "enum", codes, "message", "type", "string", "field", "type", "string", "null",
        "hint", "type", "string", "null", "details", "type", "array");
}

int hn_system_openapi(struct hn_request *req, struct hn_error *err) {
    const struct hn_api *api = hn_api_table();
    json_t *paths = json_object(), *shapes = json_loads(hn_embedded_schemas[0].data, 0, NULL),
           *shape;
    const char *name;
    for (size_t i = 0; i < api->n_routes; i++) {
        const struct hn_route *route = &api->routes[i];
        char pattern[128], method[8] = "";
        if (strlen(route->pattern) >= sizeof pattern)
            continue;
        plain_pattern(route->pattern, pattern);
        for (size_t k = 0; route->method[k] && k + 1 < sizeof method; k++)
            method[k] = (char)(route->method[k] | 0x20);
        json_t *path = json_object_get(paths, pattern);
        if (!path) {
            path = json_object();
            json_object_set_new(paths, pattern, path);
        }
        json_object_set_new(path, method, operation(route, pattern, shapes));
    }
    json_t *schemas = json_pack("{s:o,s:o,s:o,s:o}", "JobRequest", job_request_schema(shapes),
        "EvaluateRequest", evaluate_request_schema(), "Hyperparameters", hyperparameter_schema(),
        "Error", error_schema());
    json_object_foreach(json_object_get(shapes, "schemas"), name, shape)
        json_object_set_new(schemas, name, schema_of(shape));
    hn_job_request_show_schema(json_object_get(schemas, "Job"));
    json_decref(shapes);
    return hn_reply_json(req, 200,
        json_pack("{s:s,s:{s:s,s:s},s:o,s:{s:{s:{s:s,s:s}},s:o}}", "openapi", "3.1.0", "info",
            "title", "Hone", "version", HN_VERSION, "paths", paths, "components", "securitySchemes",
            "key", "type", "http", "scheme", "bearer", "schemas", schemas),
        err);
}
