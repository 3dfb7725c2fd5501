/* What a data set is worth: equal and nearly equal rows, leaks, contradictions. */
#include "engine/base/rng.h"
#include "engine/insight/duplicates.h"
#include "engine/insight/shingles.h"
#include "engine/insight/spots.h"
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
             contradicts[] = {3, HN_ROW_NONE, 3, 0, HN_ROW_NONE, HN_ROW_NONE, HN_ROW_NONE};
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

static void test_open_questions_are_no_contradictions(void **state) {
    (void)state;
    for (int rows = 10; rows <= 11; rows++)
        for (int labels = 0; labels < 2; labels++) {
            struct hn_buf text = {0};
            struct compared c;
            for (int i = 0; i < rows; i++)
                hn_buf_printf(&text,
                    labels ? "{\"text\":\"write me a story\",\"label\":\"l%d\"}\n"
                           : "{\"prompt\":\"write me a story\",\"completion\":\"answer %d\"}\n",
                    i);
            compare(&c, text.data, NULL);
            assert_int_equal(c.found.contradicts[5] != HN_ROW_NONE, labels || rows == 10);
            finish(&c);
            hn_buf_free(&text);
        }
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

struct spots {
    char list[1024]; /* "kind:text kind:text " */
    bool unsure;
};

static void take_spot(void *context, const struct hn_spot *spot) {
    struct spots *s = context;
    size_t used = strlen(s->list);
    snprintf(
        s->list + used, sizeof s->list - used, "%s:%.*s ", spot->kind, (int)spot->size, spot->at);
    s->unsure = s->unsure || !spot->sure;
}

/* A secret of the kind that the table describes. */
static void make_secret(struct hn_buf *out, const char *prefix, const char *alphabet,
    const char *check, size_t least, uint64_t seed) {
    static const char all[] = "ABCDEFGHJKLMNPQRSTUVWXYZ234567acdefghjkmnpqrstuvwxyz089";
    static const struct {
        const char *name;
        size_t begin, n;
    } parts[] = {{"UPPER32", 0, 30}, {"HEX", 24, 10}, {"LETTERS", 0, 24}, {"BECH32", 13, 17}};
    size_t begin = 0, n = sizeof all - 1;
    for (size_t i = 0; i < 4; i++)
        if (strcmp(parts[i].name, alphabet) == 0) {
            begin = parts[i].begin;
            n = parts[i].n;
        }
    hn_buf_clear(out);
    hn_buf_text(out, prefix);
    if (strcmp(check, "PEM") == 0) {
        hn_buf_text(out, "RSA PRIVATE KEY-----\nMIIEow");
        return;
    }
    for (size_t i = 0; i < least; i++)
        hn_buf_char(out, all[begin + hn_random_u64(seed, HN_PURPOSE_ROWS, 0, i) % n]);
    if (strcmp(check, "MARK") == 0)
        memcpy(out->data + 20, "T3BlbkFJ", 8);
    if (strcmp(check, "JWT") == 0)
        hn_buf_text(out, ".eyJzdWIiOiIxIn0.c2lnbmF0dXJl");
}

static void test_secrets(void **state) {
    (void)state;
    static const struct {
        const char *kind, *prefix, *alphabet, *check;
        size_t least;
    } table[] = {
#define HN_SECRET(kind, prefix, ALPHABET, least, most, CHECK) \
    {kind, prefix, #ALPHABET, #CHECK, least},
#include "engine/insight/secrets.def"
#undef HN_SECRET
    };
    struct hn_secret_filter filter;
    struct hn_buf secret = {0}, text = {0};
    hn_secret_filter_init(&filter);
    assert_true(sizeof table / sizeof table[0] > 40);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            struct spots found = {0};
            make_secret(
                &secret, table[i].prefix, table[i].alphabet, table[i].check, table[i].least, seed);
            hn_buf_clear(&text);
            hn_buf_printf(&text, "Please use key=%s. It is new", secret.data);
            hn_secrets_find(&filter, text.data, text.size, take_spot, &found);
            char wanted[32];
            snprintf(wanted, sizeof wanted, "%s:", table[i].kind);
            if (strncmp(found.list, wanted, strlen(wanted)) != 0)
                fail_msg("%s: found \"%s\"", text.data, found.list);
            assert_null(strstr(found.list, "It is"));
            hn_buf_clear(&text); /* within a word, and too short, it is none */
            hn_buf_printf(&text, "x%s %s-", secret.data, table[i].prefix);
            found.list[0] = 0;
            hn_secrets_find(&filter, text.data, text.size, take_spot, &found);
            if (strstr("LETTERS ALNUM WORD HEX UPPER32", table[i].alphabet))
                assert_string_equal(found.list, "");
        }
    struct spots found = {0};
    static const char tokens[] = "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 "
                                 "ghp_0123456789abcdefghijABCDEFGHIJ000000 "
                                 "AKIAXXXXXXXXXXXXXXXX sk-learn hf_transfer SG.svg";
    hn_secrets_find(&filter, tokens, 40, take_spot, &found);
    assert_false(found.unsure);
    hn_secrets_find(&filter, tokens, sizeof tokens - 1, take_spot, &found);
    assert_true(found.unsure);
    assert_null(strstr(found.list, "AKIA"));
    hn_buf_free(&secret);
    hn_buf_free(&text);
}

static void test_personal_data(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"write to Jane.Doe+x@mail.acme.co.uk, or not", "email:Jane.Doe+x@mail.acme.co.uk "},
        {"me@example.com, @user, a@b and 5@3.2", "email:me@example.com "},
        {"pay 4111 1111 1111 1111 today", "card_number:4111 1111 1111 1111 "},
        {"pay 4000 0000 0000 0002 or 0000 0000 0000 0000", "card_number:4000 0000 0000 0002 "},
        {"pay 4539-1488-0343-6467 today", "card_number:4539-1488-0343-6467 "},
        {"pay 4539-1488-0343-6468 today", ""},
        {"IBAN DE89 3704 0044 0532 0130 00 here", "iban:DE89 3704 0044 0532 0130 00 "},
        {"IBAN DE88 3704 0044 0532 0130 00 here", ""},
        {"call +49 30 901820 now", "telephone_number:+49 30 901820 "},
        {"call (212) 664-7665 now", "telephone_number:(212) 664-7665 "},
        {"123-45-6789 and 000-12-3456", "social_security_number:123-45-6789 "},
        {"host 93.184.216.34, 192.168.1.1 not 127.0.0.1, 1.2.3.4 or 93.184.216.34.5",
            "ipv4_address:93.184.216.34 ipv4_address:192.168.1.1 "},
        {"2001:db8:85a3::8a2e:370:7334 and 12:30:45", "ipv6_address:2001:db8:85a3::8a2e:370:7334 "},
        {"00:1B:44:11:3A:B7", "mac_address:00:1B:44:11:3A:B7 "},
        {"In 2023 there were 12345678901234 of 10,000; pi is 3.14159265358979", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct spots found = {0};
        hn_personal_find(cases[i][0], strlen(cases[i][0]), take_spot, &found);
        if (strcmp(found.list, cases[i][1]) != 0)
            fail_msg("%s: found \"%s\"", cases[i][0], found.list);
    }
}

static void test_encodings(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"a plain text,\twith \"caf\xC3\xA9\" and \xE4\xB8\xAD\xE6\x96\x87 \xE2\x80\x94 "
         "\xF0\x9F\x98\x80",
            ""},
        {"n\xC3\x83O, S\xC3\x83\xE2\x80\x9D, CAF\xC3\x89\xE2\x80\x9D", ""},
        {"caf\xC3\x83\xC2\xA9", "mojibake"},
        {"it\xC3\xA2\xE2\x82\xAC\xE2\x84\xA2s", "mojibake"},
        {"20 \xC3\x82\xC2\xB0", "mojibake"},
        {"lost \xEF\xBF\xBD", "replacement_character"},
        {"bell \a", "control_character"},
        {"an \xEF\xBB\xBFin the middle", "byte_order_mark"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct spots found = {0};
        hn_encoding_find(cases[i][0], strlen(cases[i][0]), take_spot, &found);
        if (strncmp(found.list, cases[i][1], strlen(cases[i][1])) != 0 ||
            !cases[i][1][0] != !found.list[0])
            fail_msg("%s: found \"%s\"", cases[i][0], found.list);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_injected_edits_are_found),
        cmocka_unit_test(test_clusters_and_contradictions),
        cmocka_unit_test(test_open_questions_are_no_contradictions),
        cmocka_unit_test(test_leaks),
        cmocka_unit_test(test_what_rows_share_makes_no_duplicates),
        cmocka_unit_test(test_hostile_rows_end),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_personal_data),
        cmocka_unit_test(test_encodings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
