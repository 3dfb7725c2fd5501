/* Byte-level BPE on a tiny vocabulary: merges, added tokens and origins, repair, offsets, long
 * words, pre-tokenizers.
 */
#include "engine/template/template.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/unit/tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

struct fixture {
    char path[64];
    struct hn_gguf gguf;
    struct hn_tokenizer *tok;
};

static void set_up(struct fixture *f, const char *pre) {
    tiny_write(f->path, pre, false, NULL);
    assert_int_equal(hn_gguf_open(&f->gguf, f->path, NULL), 0);
    assert_int_equal(hn_tokenizer_from_gguf(&f->gguf, &f->tok, NULL), 0);
}

static void tear_down(struct fixture *f) {
    hn_tokenizer_destroy(f->tok);
    hn_gguf_close(&f->gguf);
    unlink(f->path);
}

#define B(c) (TINY_BYTES + (unsigned char)(c))
#define M(i) (TINY_MERGED + (i))

static void expect(const struct fixture *f, const char *text, size_t size, const uint16_t *origin,
    const int32_t *want, size_t n) {
    struct hn_ids ids = {0};
    assert_int_equal(hn_tokenizer_encode(f->tok, text, size, origin, &ids, NULL), 0);
    assert_int_equal(ids.n, n);
    assert_memory_equal(ids.ids, want, n * sizeof *want);
    hn_ids_free(&ids);
}
#define EXPECT(f, text, origin, ...)                                      \
    expect(f, text, strlen(text), origin, (const int32_t[]){__VA_ARGS__}, \
        sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void test_merges(void **state) {
    struct fixture f;
    (void)state;
    set_up(&f, "gpt-2");
    EXPECT(&f, "hello", NULL, M(3));
    EXPECT(&f, "hello world", NULL, M(3), M(4), M(5), B('l'), B('d'));
    EXPECT(&f, "hell", NULL, M(2));
    EXPECT(&f, "ababab", NULL, M(7), M(6));
    EXPECT(&f, "x12", NULL, B('x'), B('1'), B('2'));
    struct hn_ids none = {0};
    assert_int_equal(hn_tokenizer_encode(f.tok, "", 0, NULL, &none, NULL), 0);
    assert_int_equal(none.n, 0);
    tear_down(&f);
}

/* The leftmost of equal pairs goes first, in the short way and in the long one. */
static void test_long_words(void **state) {
    struct fixture f;
    struct hn_ids ids = {0};
    static char text[200001];
    (void)state;
    set_up(&f, "gpt-2");
    for (size_t i = 0; i < 200000; i += 2)
        memcpy(text + i, "ab", 2);
    text[200000] = 'a';
    assert_int_equal(hn_tokenizer_encode(f.tok, text, 200001, NULL, &ids, NULL), 0);
    assert_int_equal(ids.n, 50001);
    assert_int_equal(ids.ids[0], M(7));
    assert_int_equal(ids.ids[49999], M(7));
    assert_int_equal(ids.ids[50000], B('a'));
    assert_int_equal(ids.offsets[50000], 200000);
    hn_ids_free(&ids);
    tear_down(&f);
}

static void test_added_tokens(void **state) {
    struct fixture f;
    static const uint16_t zeros[64];
    (void)state;
    set_up(&f, "gpt-2");
    EXPECT(&f, "<|im_end|>a", zeros, TINY_STOP, B('a'));
    EXPECT(&f, "a<tool>", zeros, B('a'), TINY_TOOL);
    EXPECT(&f, "a<tool>", NULL, B('a'), B('<'), B('t'), B('o'), B('o'), B('l'), B('>'));
    /* one byte of data is enough to keep the match from happening */
    uint16_t mixed[6] = {0, 0, 0, 1, 0, 0};
    EXPECT(&f, "<tool>", mixed, B('<'), B('t'), B('o'), B('o'), B('l'), B('>'));
    EXPECT(&f, "a    b", NULL, B('a'), TINY_SPACES, B('b'));
    tear_down(&f);
}

static void test_repair(void **state) {
    struct fixture f;
    struct hn_ids ids = {0};
    (void)state;
    set_up(&f, "gpt-2");
    /* a lone continuation, a truncated sequence, an overlong one: 1 + 1 + 2 replacements */
    static const char text[] = "a\x80"
                               "b\xE4\xB8"
                               "c\xC0\xAF"
                               "d";
    assert_int_equal(hn_tokenizer_encode(f.tok, text, sizeof text - 1, NULL, &ids, NULL), 0);
    assert_int_equal(ids.n, 4 + 3 * 4);
    assert_int_equal(ids.ids[1], B(0xEF));
    assert_int_equal(ids.ids[4], B('b'));
    assert_int_equal(ids.offsets[4], 2);
    assert_int_equal(ids.ids[8], B('c'));
    assert_int_equal(ids.offsets[8], 5);
    assert_int_equal(ids.offsets[ids.n - 1], 8);
    struct hn_buf back = {0};
    for (size_t i = 0; i < ids.n; i++)
        hn_tokenizer_decode(f.tok, ids.ids[i], false, &back);
    assert_string_equal(back.data,
        "a\xEF\xBF\xBD"
        "b\xEF\xBF\xBD"
        "c\xEF\xBF\xBD\xEF\xBF\xBD"
        "d");
    hn_buf_free(&back);
    hn_ids_free(&ids);
    tear_down(&f);
}

static void test_composition(void **state) {
    struct fixture f;
    struct hn_ids ids = {0};
    (void)state;
    set_up(&f, "qwen2");
    assert_int_equal(hn_tokenizer_encode(f.tok, "xe\xCC\x81y", 5, NULL, &ids, NULL),
        0); /* e + U+0301 becomes U+00E9 */
    const int32_t want[] = {B('x'), B(0xC3), B(0xA9), B('y')};
    assert_int_equal(ids.n, 4);
    assert_memory_equal(ids.ids, want, sizeof want);
    assert_int_equal(ids.offsets[1], 1);
    assert_int_equal(ids.offsets[3], 4);
    hn_ids_free(&ids);
    tear_down(&f);
}

static void test_specials(void **state) {
    struct fixture f;
    struct hn_buf text = {0};
    (void)state;
    set_up(&f, "smollm");
    assert_int_equal(hn_tokenizer_vocab(f.tok), TINY_VOCAB);
    assert_int_equal(hn_tokenizer_bos(f.tok), TINY_START);
    assert_int_equal(hn_tokenizer_eos(f.tok), TINY_STOP);
    assert_false(hn_tokenizer_adds_bos(f.tok));
    assert_true(hn_tokenizer_is_end(f.tok, TINY_STOP));
    assert_true(hn_tokenizer_is_end(f.tok, TINY_END));
    assert_false(hn_tokenizer_is_end(f.tok, TINY_START));
    assert_int_equal(hn_tokenizer_find(f.tok, "<|im_end|>"), TINY_STOP);
    assert_int_equal(hn_tokenizer_find(f.tok, "hello"), M(3));
    assert_int_equal(hn_tokenizer_find(f.tok, "nowhere"), -1);
    hn_tokenizer_decode(f.tok, TINY_STOP, false, &text);
    assert_int_equal(text.size, 0);
    hn_tokenizer_decode(f.tok, TINY_STOP, true, &text);
    hn_tokenizer_decode(f.tok, -1, true, &text);
    hn_tokenizer_decode(f.tok, 1 << 20, true, &text);
    assert_string_equal(text.data, "<|im_end|>");
    hn_buf_free(&text);
    tear_down(&f);
}

static void test_unknown(void **state) {
    struct hn_gguf gguf;
    struct hn_tokenizer *tok = NULL;
    struct hn_error err = {0};
    char path[64];
    (void)state;
    tiny_write(path, "of-tomorrow", false, NULL);
    assert_int_equal(hn_gguf_open(&gguf, path, NULL), 0);
    assert_int_equal(hn_tokenizer_from_gguf(&gguf, &tok, &err), HN_E_UNSUPPORTED);
    assert_null(tok);
    assert_non_null(strstr(err.message, "of-tomorrow"));
    hn_gguf_close(&gguf);
    unlink(path);
}

static void test_utf8(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t good, bad;
    } cases[] = {{"abc", 3, 0}, {"\xC3\xA9", 2, 0}, {"\xED\xA0\x80", 0, 1},
        {"a\xF4\x90\x80\x80", 1, 1}, {"\xF0\x9F\x92", 0, 3}, {"\xF0\x9F\x92x", 0, 3},
        {"12345678\xFF", 8, 1}, {"\xC1\x81", 0, 1}, {"\xE0\x80\x80", 0, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t size = strlen(cases[i].text), good = hn_utf8_valid(cases[i].text, size);
        assert_int_equal(good, cases[i].good);
        if (good < size)
            assert_int_equal(hn_utf8_bad_length(cases[i].text + good, size - good), cases[i].bad);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_merges),
        cmocka_unit_test(test_long_words), cmocka_unit_test(test_added_tokens),
        cmocka_unit_test(test_repair), cmocka_unit_test(test_composition),
        cmocka_unit_test(test_specials), cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_utf8)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
