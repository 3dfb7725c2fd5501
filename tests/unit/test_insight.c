/* What a data set is worth: equal and nearly equal rows, leaks, contradictions. */
#include "engine/base/rng.h"
#include "engine/insight/duplicates.h"
#include "engine/insight/shingles.h"
#include "tests/unit/tiny_model.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

enum { BASE = 400, WORDS = 2000, EDITS = 4 };

struct compared {
    char file[2][64];
    struct hn_dataset data[2];
    struct hn_row_set_facts facts[2];
    struct hn_duplicates found;
};

/* Compares the rows of one text, or of two. */
static void compare(struct compared *c, const char *rows, const char *other) {
    const char *texts[] = {rows, other};
    struct hn_error err = {0};
    *c = (struct compared){0};
    for (int i = 0; i < 2 && texts[i]; i++) {
        tiny_file(c->file[i], texts[i], strlen(texts[i]));
        if (hn_dataset_open(&c->data[i], c->file[i], NULL, &err) ||
            hn_row_set_facts_read(&c->facts[i], &c->data[i], NULL, c->data[i].n_rows, &err))
            fail_msg("%s", err.message);
    }
    const struct hn_duplicates_request request = {
        .own = &c->facts[0], .other = other ? &c->facts[1] : NULL};
    if (hn_duplicates_find(&c->found, &request, &err))
        fail_msg("%s", err.message);
}

static void finish(struct compared *c) {
    hn_duplicates_finish(&c->found);
    for (int i = 0; i < 2 && c->file[i][0]; i++) {
        free(c->facts[i].facts);
        hn_dataset_close(&c->data[i]);
        unlink(c->file[i]);
    }
}

static void put_word(struct hn_buf *out, uint64_t number) {
    static const char *const syllables[] = {
        "ba", "cor", "di", "fen", "gu", "har", "il", "jo", "ket", "lam", "mo", "nir", "os", "pel"};
    do
        hn_buf_text(out, syllables[number % 14]);
    while (number /= 14);
}

static uint64_t word_of(size_t row, size_t i) { /* few words are frequent */
    double u = hn_random_unit(1, HN_PURPOSE_SHUFFLE, row, i);
    return (uint64_t)(u * u * u * WORDS);
}

/* A row of 30 words; edit 1: in capitals, 2: one word is another, 3: punctuation, 4: every tenth
 * word is another. */
static void put_row(struct hn_buf *out, size_t row, int edit) {
    hn_buf_text(out, "{\"text\":\"");
    size_t begin = out->size, place = 5 + row % 20;
    for (size_t i = 0; i < 30; i++) {
        bool other = (edit == 2 && i == place) || (edit == 4 && i % 10 == 9);
        put_word(out, other ? 5000 + row * 30 + i : word_of(row, i));
        hn_buf_text(out, edit == 3 && i % 6 == 5 ? ", " : i < 29 ? " " : "");
    }
    for (size_t k = begin; edit == 1 && k < out->size; k++)
        out->data[k] = (char)toupper((unsigned char)out->data[k]);
    hn_buf_text(out, "\"}\n");
}

static double exact_index(const struct hn_dataset *data, size_t a, size_t b) {
    const uint64_t key[2] = {3, 4};
    static const struct hn_shingle_counts none;
    struct hn_shingles s[2] = {{0}};
    struct hn_jaccard room = {0};
    size_t rows[] = {a, b};
    struct hn_row_texts texts = {0};
    for (int i = 0; i < 2; i++) {
        json_t *row = NULL;
        assert_int_equal(hn_dataset_row(data, rows[i], &row, NULL), 0);
        assert_int_equal(hn_row_texts_read(&texts, data->columns, row, NULL), 0);
        assert_true(hn_shingles_read(&s[i], key, texts.body.data, texts.body.size));
        json_decref(row);
    }
    double index = hn_jaccard(&room, &none, &s[0], &s[1]);
    hn_row_texts_finish(&texts);
    hn_jaccard_finish(&room);
    hn_shingles_finish(&s[0]);
    hn_shingles_finish(&s[1]);
    return index;
}

static void test_injected_edits_are_found(void **state) {
    (void)state;
    static const double wanted[] = {0.99, 0.99, 0.99, 0.95};
    struct hn_buf rows = {0};
    struct compared c;
    for (int edit = 0; edit <= EDITS; edit++)
        for (size_t row = 0; row < BASE; row++)
            if (!edit || row % EDITS == (size_t)edit - 1)
                put_row(&rows, row, edit);
    compare(&c, rows.data, NULL);
    assert_int_equal(c.facts[0].n, 2 * BASE);
    assert_int_equal(c.found.hashes, 128);
    size_t found[EDITS] = {0}, wrong = 0;
    for (size_t i = 0; i < c.facts[0].n; i++) {
        const struct hn_row_match *m = &c.found.own[i];
        size_t edit = i < BASE ? 0 : (i - BASE) / (BASE / EDITS), row = (i - BASE) % (BASE / EDITS);
        if (m->state) {
            double index = exact_index(&c.data[0], i, m->other);
            assert_true(index >= HN_NEAR_SIMILAR);
            assert_true(fabs(index - (double)m->similarity) < 0.05);
        }
        if (i < BASE)
            wrong += m->state != HN_ROW_FRESH;
        else
            found[edit] += m->state && m->other == row * EDITS + edit;
    }
    assert_int_equal(wrong, 0);
    for (int edit = 0; edit < EDITS; edit++)
        if ((double)found[edit] < wanted[edit] * BASE / EDITS)
            fail_msg("edit %d: %zu of %d", edit + 1, found[edit], BASE / EDITS);
    finish(&c);
    hn_buf_free(&rows);
}

static void test_clusters_and_contradictions(void **state) {
    (void)state;
    struct compared c;
    compare(&c,
        "{\"text\":\"the film was good fun for the whole family\",\"label\":\"good\"}\n"
        "{\"text\":\"a row that is alone\",\"label\":\"bad\"}\n"
        "{\"label\":\"good\",\"text\":\"the film was good fun for the whole family\"}\n"
        "{\"text\":\"The film was good fun, for the whole family!\",\"label\":\"bad\"}\n"
        "{\"text\":\"the film was good fun for the whole familx\",\"label\":\"good\"}\n"
        "{\"text\":\"...\",\"label\":\"bad\"}\n{\"text\":\"?!\",\"label\":\"good\"}\n",
        NULL);
    enum hn_row_state states[] = {HN_ROW_FRESH, HN_ROW_FRESH, HN_ROW_EXACT, HN_ROW_NEAR,
        HN_ROW_NEAR, HN_ROW_FRESH, HN_ROW_FRESH};
    uint32_t clusters[] = {0, 1, 0, 0, 0, 5, 6},
             contradicts[] = {
                 3, HN_ROW_NONE, HN_ROW_NONE, 0, HN_ROW_NONE, HN_ROW_NONE, HN_ROW_NONE};
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal(c.found.own[i].state, states[i]);
        assert_int_equal(c.found.cluster[i], clusters[i]);
        assert_int_equal(c.found.contradicts[i], contradicts[i]);
    }
    finish(&c);
    compare(&c,
        "{\"prompt\":\"Which is it\",\"chosen\":\"the red one\",\"rejected\":\"the blue one\"}\n"
        "{\"prompt\":\"which is it?\",\"chosen\":\"the blue one\",\"rejected\":\"the red one\"}\n"
        "{\"prompt\":\"which is it?\",\"chosen\":\"a third one\",\"rejected\":\"a fourth\"}\n",
        NULL);
    assert_int_equal(c.found.contradicts[0], 1);
    assert_int_equal(c.found.contradicts[1], 0);
    assert_int_equal(c.found.contradicts[2], HN_ROW_NONE);
    finish(&c);
}

static void test_leaks(void **state) {
    (void)state;
    struct compared c;
    compare(&c,
        "{\"text\":\"nothing like it stands on the other side\",\"label\":1}\n"
        "{\"text\":\"this very sentence is measured later on\",\"label\":1}\n"
        "{\"text\":\"another sentence of both sides of the split\",\"label\":1}\n"
        "{\"text\":\"a third sentence with a word that was changed\",\"label\":0}\n",
        "{\"text\":\"a third sentence with a word that was change\",\"label\":\"0\"}\n"
        "{\"text\":\"Another sentence of both sides of the split.\",\"label\":0}\n"
        "{\"text\":\"this very sentence is measured later on\",\"label\":\"1\"}\n");
    enum hn_row_state states[] = {HN_ROW_FRESH, HN_ROW_EXACT, HN_ROW_NEAR, HN_ROW_NEAR};
    uint32_t others[] = {HN_ROW_NONE, 2, 1, 0};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(c.found.leaks[i].state, states[i]);
        assert_int_equal(c.found.leaks[i].other, others[i]);
        assert_int_equal(c.found.own[i].state, HN_ROW_FRESH);
    }
    finish(&c);
}

/* Rows with one long template in common are no duplicates of each other, nor are questions about
 * different contexts, or different questions about one. */
static void test_what_rows_share_makes_no_duplicates(void **state) {
    (void)state;
    struct hn_buf rows = {0};
    struct compared c;
    for (int i = 0; i < 120; i++) {
        hn_buf_printf(&rows,
            "{\"prompt\":\"Read the following review with care, think about it step by step, and "
            "say in one word whether the person who wrote it liked the film. Review: ");
        for (size_t k = 0; k < 8; k++) {
            put_word(&rows, 300 + ((uint64_t)i * 8 + k) * 7919 % 100003);
            hn_buf_char(&rows, ' ');
        }
        hn_buf_text(&rows, "\",\"completion\":\"yes\"}\n");
    }
    compare(&c, rows.data, NULL);
    for (size_t i = 0; i < c.facts[0].n; i++)
        assert_int_equal(c.found.own[i].state, HN_ROW_FRESH);
    finish(&c);
    hn_buf_clear(&rows);
    for (size_t i = 0; i < 20; i++) {
        hn_buf_printf(&rows, "{\"question\":\"%s\",\"context\":\"",
            i % 2 ? "Who wrote the book that is spoken of here?"
                  : "In which year did the events take place?");
        for (size_t k = 0; k < 40; k++) {
            put_word(&rows, 300 + (i / 2 * 50 + k) * 7919 % 100003);
            hn_buf_char(&rows, ' ');
        }
        hn_buf_text(&rows, "1970\",\"answers\":[\"1970\"]}\n");
    }
    compare(&c, rows.data, NULL);
    for (size_t i = 0; i < c.facts[0].n; i++)
        assert_int_equal(c.found.own[i].state, HN_ROW_FRESH);
    finish(&c);
    hn_buf_free(&rows);
}

/* Many equal rows, rows of one character, a row of millions of them, and rows that share half of
 * their text with hundreds of others end soon. */
static void test_hostile_rows_end(void **state) {
    (void)state;
    struct hn_buf rows = {0};
    struct compared c;
    for (int i = 0; i < 20000; i++)
        hn_buf_printf(&rows, "{\"text\":\"%s\"}\n", i % 2 ? "the same again" : "x");
    for (int i = 0; i < 26; i++)
        hn_buf_printf(&rows, "{\"text\":\"%c\"}\n", 'A' + i);
    for (int k = 0; k < 2; k++) {
        hn_buf_text(&rows, "{\"text\":\"");
        for (size_t i = 0; i < 500000; i++)
            hn_buf_text(&rows, k ? "abcd " : "abce ");
        hn_buf_text(&rows, "\"}\n");
    }
    for (int i = 0; i < 3000; i++)
        hn_buf_printf(&rows, "{\"text\":\"half of this sentence is in all of them %d%d%d\"}\n",
            i * 7919, i * 104729, i * 700001);
    compare(&c, rows.data, NULL);
    assert_int_equal(c.found.own[19999].state, HN_ROW_EXACT);
    assert_int_equal(c.found.own[20000 + 'X' - 'A'].state, HN_ROW_NEAR); /* of x */
    assert_int_equal(c.found.own[20000].state, HN_ROW_FRESH);
    finish(&c);
    hn_buf_free(&rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_injected_edits_are_found),
        cmocka_unit_test(test_clusters_and_contradictions),
        cmocka_unit_test(test_leaks),
        cmocka_unit_test(test_what_rows_share_makes_no_duplicates),
        cmocka_unit_test(test_hostile_rows_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
