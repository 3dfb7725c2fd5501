/* Chat templates: what is rendered, where every byte comes from, what is refused, and that hostile
 * ones come to an end. */
#include "engine/template/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static const char conversation[] =
    "[{\"role\":\"system\",\"content\":\"Be kind.\"},{\"role\":\"user\",\"content\":\" Hi "
    "\\u00e9\\n\"},{\"role\":\"assistant\",\"content\":\"Yes\",\"tags\":[\"x\",\"y\"],\"n\":3,"
    "\"r\":2.5,\"none\":null}]";

static int render_within(
    const char *source, int64_t milliseconds, struct hn_rendered *out, struct hn_error *err) {
    struct hn_template *tpl = NULL;
    json_t *messages = json_loads(conversation, 0, NULL);
    struct hn_template_input in = {.messages = messages,
        .bos_token = "<s>",
        .eos_token = "</s>",
        .date = "2026-01-31",
        .milliseconds = milliseconds};
    int rc = hn_template_compile(source, strlen(source), &tpl, err);
    if (!rc)
        rc = hn_template_render(tpl, &in, out, err);
    hn_template_destroy(tpl);
    json_decref(messages);
    return rc;
}

static int render(const char *source, struct hn_rendered *out, struct hn_error *err) {
    return render_within(source, 0, out, err);
}

static void test_renders(void **state) {
    (void)state;
    static const struct {
        const char *source, *want;
    } cases[] = {
        {"a{# note #}b\n", "ab"},
        {"{% if true %}\nx\n{% endif %}\ny", "x\ny"},
        {"  {% if true %}x{% endif %}", "x"},
        {"a  {%+ if true %}x{% endif %}", "a  x"},
        {"a \n {%- if true -%} \n x {%- endif %}\n\nb", "ax\nb"},
        {"{% raw %}{{ x }}{% endraw %}", "{{ x }}"},
        {"{{ bos_token }}{{ messages|length }}{{ eos_token }}", "<s>3</s>"},
        {"{% for m in messages %}{{ loop.index }}{{ m.role[0] }}{% if not loop.last %},{% endif "
         "%}{% endfor %}",
            "1s,2u,3a"},
        {"{% for m in messages if m.role != 'system' %}{{ loop.index0 }}{{ m['role'] }} {% else "
         "%}none{% endfor %}",
            "0user 1assistant "},
        {"{% for x in [] %}{% else %}none{% endfor %}", "none"},
        {"{% for a, b in {'x': 1, 'y': 2}.items() %}{{ a }}={{ b }};{% endfor %}", "x=1;y=2;"},
        {"{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break "
         "%}{% endif %}{{ i }}{% endfor %}",
            "02"},
        {"{% set x = 1 %}{% for i in [1, 2] %}{% set x = 5 %}{% endfor %}{{ x }}", "1"},
        {"{% set ns = namespace(x=1) %}{% for i in [1, 2] %}{% set ns.x = ns.x + i %}{% endfor "
         "%}{{ ns.x }}",
            "4"},
        {"{% set x %}a{{ 1 }}{% endset %}{{ x|upper }}", "A1"},
        {"{% macro f(a, b='!') %}{{ a }}{{ b }}{% endmacro %}{{ f('x') }}{{ f('y', b='?') }}",
            "x!y?"},
        {"{% macro f(n) %}{% if n %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
            "321"},
        {"{% macro box() %}[{{ caller() }}]{% endmacro %}{% call box() %}in{% endcall %}", "[in]"},
        {"{% filter upper %}a{{ 'b' }}{% endfilter %}", "AB"},
        {"{% with x = 2, y = 3 %}{{ x * y }}{% endwith %}{{ x is defined }}", "6False"},
        {"{% generation %}{{ messages[2].content }}{% endgeneration %}", "Yes"},
        {"{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 7 / 2 }} {{ 1 ~ 'a' ~ none }}",
            "3 -4 2 1024 3.5 1aNone"},
        {"{{ 1 < 2 < 3 }} {{ 'a' in 'cat' }} {{ 4 not in [1, 2] }} {{ not 0 and 'x' or 'y' }}",
            "True True True x"},
        {"{{ 'yes' if messages else 'no' }}{{ 'x' if false }}", "yes"},
        {"{{ [1, 2.0, 'a\\'b', none, true, (1,)] }}", "[1, 2.0, \"a'b\", None, True, (1,)]"},
        {"{{ 'h\xC3\xA9llo'[1] }}{{ 'hello'[-3:] }}{{ 'hello'[::-1] }}{{ [1, 2, 3][1:] }}",
            "\xC3\xA9lloolleh[2, 3]"},
        {"{{ messages[1].content|trim }}|{{ messages[1].content.strip().split(' ')|join('+') }}",
            "Hi \xC3\xA9|Hi+\xC3\xA9"},
        {"{{ messages[2]|tojson }}",
            "{\"role\": \"assistant\", \"content\": \"Yes\", \"tags\": [\"x\", \"y\"], \"n\": 3, "
            "\"r\": 2.5, \"none\": null}"},
        {"{{ {'a': [1, {'b': 'c\\n'}]}|tojson(indent=2) }}",
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"c\\n\"\n    }\n  ]\n}"},
        {"{{ messages|map(attribute='role')|join(',') }}", "system,user,assistant"},
        {"{{ (messages|selectattr('role', 'equalto', 'user')|list)|length }}{{ "
         "messages|rejectattr('n', 'defined')|list|length }}",
            "12"},
        {"{{ [3, 1, 2]|sort }}{{ ['b', 'A']|sort|first }}{{ [1, 1, 2]|unique|list }}{{ {'b': 1, "
         "'a': 2}|dictsort }}",
            "[1, 2, 3]A[1, 2][('a', 2), ('b', 1)]"},
        {"{{ x|default('d') }}{{ ''|default('e', true) }}{{ '3'|int + 1 }}{{ 'a b'|title }}{{ "
         "'a'|capitalize }}",
            "de4A BA"},
        {"{{ 'a\\nb'|indent(2) }}{{ 'x'|replace('x', 'yy') }}{{ [1, 2]|sum }}{{ 2.5|round|int }}",
            "a\n  byy32"},
        {"{{ messages is iterable }}{{ 'a' is string }}{{ 1 is number }}{{ none is none }}{{ {} is "
         "mapping }}{{ x is undefined }}",
            "TrueTrueTrueTrueTrueTrue"},
        {"{{ 'a.b.c'.split('.', 1) }}{{ 'abc'.startswith(('x', 'a')) }}{{ 'aXb'.lower().upper() "
         "}}{{ ' a '.lstrip() }}|",
            "['a', 'b.c']TrueAXBa |"},
        {"{{ strftime_now('%d %b %Y') }}", "31 Jan 2026"},
        {"{{ messages[0].get('x', 'none') }}{{ messages[0].keys()|list }}{{ '%s-%02d' % ('a', 3) "
         "}}",
            "none['role', 'content']a-03"},
        {"{{ 0.1 + 0.2 }} {{ 1e20 }} {{ 1.0 }} {{ 100000 * 1.5 }}",
            "0.30000000000000004 1e+20 1.0 150000.0"},
        {"{{ undefined_name }}{{ messages[0].nothing }}{{ messages[9] is defined }}", "False"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hn_rendered out = {0};
        struct hn_error err = {0};
        if (render(cases[i].source, &out, &err))
            fail_msg("%s: %s", cases[i].source, err.message);
        if (strcmp(out.text.data ? out.text.data : "", cases[i].want) != 0)
            fail_msg("%s: %s", cases[i].source, out.text.data);
        hn_rendered_free(&out);
    }
}

static void test_origins(void **state) {
    (void)state;
    struct hn_rendered out = {0};
    /* role: the template's; content: the message's, through strip, slices, case, concatenation,
     * joins and captured blocks */
    assert_int_equal(render("{{ messages[2].role }}:{{ messages[2].content.upper()[1:] + '!' }}{% "
                            "set x %}<{{ messages[1].content|trim }}>{% endset %}{{ x }}{{ "
                            "[messages[0].content, 'a']|join('-') }}{{ tools }}",
                         &out, NULL),
        0);
    assert_string_equal(out.text.data, "assistant:ES!<Hi \xC3\xA9>Be kind.-aNone");
    static const struct {
        const char *text;
        uint16_t origin;
    } parts[] = {{"assistant:", 0}, {"ES", 3}, {"!<", 0}, {"Hi \xC3\xA9", 2}, {">", 0},
        {"Be kind.", 1}, {"-aNone", 0}};
    size_t at = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        for (size_t k = 0; k < strlen(parts[i].text); k++, at++)
            assert_int_equal(out.origin[at], parts[i].origin);
    assert_int_equal(at, out.text.size);
    hn_rendered_free(&out);
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *source;
        int code;
        const char *says;
    } cases[] = {
        {"{{ raise_exception('Roles must alternate') }}", HN_E_DATASET_INVALID,
            "Roles must alternate"},
        {"a\n\n{% include 'x' %}", HN_E_UNSUPPORTED, "line 3"},
        {"{{ x|sing }}", HN_E_UNSUPPORTED, "sing"},
        {"{{ x is purple }}", HN_E_UNSUPPORTED, "purple"},
        {"{{ messages.append(1) }}", HN_E_UNSUPPORTED, "append"},
        {"{% if x %}", HN_E_MODEL_INVALID, "endif"},
        {"{{ 1 + }}", HN_E_MODEL_INVALID, "line 1"},
        {"{{ 'abc }}", HN_E_MODEL_INVALID, "string"},
        {"{{ (1 }}", HN_E_MODEL_INVALID, ""},
        {"{{ a.b.c }}", HN_E_DATASET_INVALID, "undefined"},
        {"{{ 'a' + 1 }}", HN_E_DATASET_INVALID, "str + int"},
        {"{{ 1 // 0 }}", HN_E_DATASET_INVALID, "zero"},
        {"{% endfor %}", HN_E_MODEL_INVALID, "endfor"},
        {"{% set messages.x = 1 %}", HN_E_MODEL_INVALID, "namespace"},
        {"{% for a, b in [1] %}{% endfor %}", HN_E_DATASET_INVALID, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hn_rendered out = {0};
        struct hn_error err = {0};
        int rc = render(cases[i].source, &out, &err);
        if (rc != cases[i].code || !strstr(err.message, cases[i].says))
            fail_msg("%s: %d %s", cases[i].source, rc, err.message);
        hn_rendered_free(&out);
    }
}

/* Two lists, as deep as loops can make them. */
#define DEEP                                                                                    \
    "{% set ns = namespace(x=[], y=[]) %}{% for a in range(99999) %}{% set ns.x = [ns.x] %}{% " \
    "set ns.y = [ns.y] %}{% endfor %}"

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Work on 8 MB again and again: whatever it is, it counts. */
static void test_work(void **state) {
    (void)state;
    static const char *const work[] = {"s|length", "s[-1]", "s.find('y')", "s.rfind(h)",
        "s.removeprefix(h)", "s.endswith((h, h))", "s == t", "[s, t]|sort", "'x'.strip(s)",
        "s.rsplit(h)", "s|reverse", "{s: 1, t: 2}|tojson(sort_keys=true)", "'{}'.format(s)"};
    for (size_t i = 0; i < sizeof work / sizeof work[0]; i++) {
        char source[600];
        snprintf(source, sizeof source,
            "{%% set k = 'x' * 1000 %%}{%% set s = k * 8000 %%}{%% set t = k ~ k * 7999 %%}{%% set "
            "h = k * 4000 %%}{%% for a in range(9999) %%}{%% for b in range(9999) %%}{%% if %s "
            "%%}{%% endif %%}{%% endfor %%}{%% endfor %%}",
            work[i]);
        struct hn_rendered out = {0};
        struct hn_error err = {0};
        double begun = seconds_now();
        if (!render(source, &out, &err))
            fail_msg("%s came to an end", work[i]);
        double seconds = seconds_now() - begun;
        if (seconds > 8 || !strstr(err.message, "the chat template fails in line 1: "))
            fail_msg("%s: %.1f s, %s", work[i], seconds, err.message);
        hn_rendered_free(&out);
    }
}

static void test_clock(void **state) {
    (void)state;
    struct hn_rendered out = {0};
    struct hn_error err = {0};
    int rc = render_within(
        "a\n{% for a in range(9999) %}{% for b in range(999) %}{% endfor %}{% endfor %}", 2, &out,
        &err);
    assert_int_equal(rc, HN_E_MODEL_INVALID);
    assert_string_equal(err.message,
        "the chat template fails in line 2: one conversation takes it more than 0.002 seconds");
    hn_rendered_free(&out);
}

/* What C leaves open and Python does not. */
static void test_numbers(void **state) {
    (void)state;
    static const struct {
        const char *source, *want; /* want NULL: an error */
    } cases[] = {
        {"{{ (-9223372036854775807 - 1)|abs }}", NULL},
        {"{{ -(-9223372036854775807 - 1) }}", NULL},
        {"{{ -5|abs }}{{ true|abs }}", "51"},
        {"{{ (-9223372036854775807 - 1) % 9223372036854775807 }}", "9223372036854775806"},
        {"{{ (-9223372036854775807 - 1) // 9223372036854775807 }}", "-2"},
        {"{{ (-9223372036854775807 - 1) % -1 }}", "0"},
        {"{{ 'x'.ljust(9223372036854775807) }}", NULL},
        {"{{ 'x'.zfill(-9223372036854775807 - 1) }}{{ '-1'.zfill(4) }}", "x-001"},
        {"{{ 'abc'[::1e300] }}", NULL},
        {"{{ 'abc'[::'x'] }}", NULL},
        {"{{ 'abc'[1e300:] }}", NULL},
        {"{{ 'a b'.split(' ', 1e300) }}{{ 'aa'|replace('a', 'b', -1e300) }}", "['a', 'b']bb"},
        {"{{ 1e300|int }}{{ '1e300'|int }}{{ 1e300|string }}", "001e+300"},
        {"{{ '%d' % 1e300 }}", "9223372036854775807"},
        {"{{ 4 is divisibleby 1e300 }}{{ 1e300 is even }}", "FalseFalse"},
        {"{{ [1, 2]|batch(1e300)|list }}", "[[1, 2]]"},
        {"{{ []|select|list }}{{ []|batch(2)|list }}{{ ''[0:] }}{{ [][::-1] }}", "[][][]"},
        {"{{ 2 ** 62 * 2 }}", NULL},
        {"{{ range(9223372036854775807, -9223372036854775807) }}", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hn_rendered out = {0};
        struct hn_error err = {0};
        int rc = render(cases[i].source, &out, &err);
        if (!rc != (cases[i].want != NULL) ||
            (!rc && strcmp(out.text.data ? out.text.data : "", cases[i].want) != 0))
            fail_msg("%s: %d %s %s", cases[i].source, rc, err.message,
                out.text.data ? out.text.data : "");
        hn_rendered_free(&out);
    }
}

static void test_bounds(void **state) {
    (void)state;
    static const char *const hostile[] = {
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% "
        "endfor %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(x='aaaaaaaa') %}{% for a in range(99) %}{% set ns.x = ns.x + ns.x "
        "%}{% endfor %}",
        "{{ 'x' * 99999999999 }}",
        "{{ 2 ** 99999999999 }}",
        "{{ range(99999999999) }}",
        "{% set ns = namespace(x=[]) %}{% for a in range(99999) %}{% set ns.x = [ns.x] %}{% endfor "
        "%}{{ ns.x }}",
        "{% set ns = namespace(x=[]) %}{% for a in range(99999) %}{% set ns.x = [ns.x] %}{% endfor "
        "%}{{ ns.x|tojson }}",
        "{% set ns = namespace(x=[0]) %}{% for a in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% "
        "endfor %}{{ ns.x == [ns.x] }}{{ ns.x }}",
        DEEP "{{ ns.x == ns.y }}",
        DEEP "{{ ns.x < ns.y }}",
        DEEP "{{ ns.x in [ns.y] }}",
        DEEP "{{ [ns.x, ns.y]|unique|list }}",
        DEEP "{{ {'a': ns.x} == {'a': ns.y} }}",
    };
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        struct hn_rendered out = {0};
        struct hn_error err = {0};
        if (!render(hostile[i], &out, &err))
            fail_msg("%s came to an end", hostile[i]);
        assert_true(err.message[0] != 0);
        hn_rendered_free(&out);
    }
    /* deep nesting in the source itself */
    char *deep = calloc(1, 200001);
    memset(deep, '(', 100000);
    memcpy(deep, "{{", 2);
    struct hn_rendered out = {0};
    assert_int_not_equal(render(deep, &out, NULL), 0);
    for (size_t i = 0; i < 10000; i++)
        memcpy(deep + i * 20, "{% if a %}{% if a %}", 20);
    assert_int_not_equal(render(deep, &out, NULL), 0);
    for (size_t i = 2; i < 200000; i++)
        deep[i] = "not "[i % 4];
    memcpy(deep, "{{", 2);
    assert_int_not_equal(render(deep, &out, NULL), 0);
    free(deep);
    hn_rendered_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_renders),
        cmocka_unit_test(test_origins), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_bounds), cmocka_unit_test(test_work), cmocka_unit_test(test_clock),
        cmocka_unit_test(test_numbers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
