/* See languages.h. */
#include "engine/insight/languages.h"
#include "engine/base/utf8.h"

#include <string.h>

#define LETTERS 20   /* a text says enough from here on */
#define LOOK 2000    /* bytes that are looked at */
#define REMEMBERED 8 /* words */

enum script {
    LATIN,
    CYRILLIC,
    GREEK,
    ARABIC,
    HEBREW,
    DEVANAGARI,
    THAI,
    HANGUL,
    KANA,
    HAN,
    SCRIPTS
};

/* Words stand between blanks. */
static const struct language {
    const char *name;
    enum script script;
    const char *words;
} languages[] = {
    {"", SCRIPTS, ""},
    {"en", LATIN,
        " a i the and of to is in that it was for on are with as his they be at have this had not "
        "but "
        "what all were when we there can an your which their said if do will each about how out "
        "them then she would so these her has him could been who its my than did you from by or no "
        "we more like some into only more just too "},
    {"de", LATIN,
        " der die und das ist nicht ein eine ich sie es den mit auf für im dem von zu auch sich "
        "des "
        "war wie wir als aus bei oder wird sind einen einer aber noch nach nur wenn was kann über "
        "hat mehr werden durch man "},
    {"fr", LATIN,
        " le la les et des est une que qui dans pour pas sur ce il elle au du je nous vous avec "
        "sont "
        "plus ne se par mais ou cette être son ses aux tout fait comme ont leur même été "},
    {"es", LATIN,
        " el la los las y que es una por con para del no se lo su al como más pero sus le ya este "
        "sí porque esta son entre está cuando muy sin sobre también me hasta hay donde quien desde "
        "un en de "},
    {"it", LATIN,
        " il di che è la per un una non sono con del della le si da al nel gli dei anche come più "
        "lo "
        "ma questo ha alla o i in e delle se ci suo dal mi ho essere stato quando "},
    {"pt", LATIN,
        " o a os as que não é um uma para com do da em dos das por mais se no na como mas foi ao "
        "ele "
        "seu sua ou são já também você isso nos eu à pelo pela até muito "},
    {"nl", LATIN,
        " de het een en van is dat in niet op te zijn voor met die aan ik er je maar om ook als "
        "dan "
        "wat naar bij nog wordt werd heeft door uit geen worden deze dit ze hij "},
    {"sv", LATIN,
        " och att det som en är på för av med inte den till ett har jag om var de så men från kan "
        "man när vi hade nu ska eller också efter "},
    {"da", LATIN,
        " og at det er en til på med for ikke af den de som har jeg et om var han men der vi kan "
        "fra "
        "så eller skal være nu efter blev meget "},
    {"no", LATIN,
        " og det er en til på med for ikke av den de som har jeg et om var han men vi kan fra så "
        "eller skal være nå etter ble også mye "},
    {"fi", LATIN,
        " ja on ei se että oli hän mutta niin kuin myös joka ovat olla mitä tai kun jos sen ole "
        "hänen "
        "voi nyt sitten minä mukaan "},
    {"pl", LATIN,
        " i w nie na się że do to z jest jak o co po ale od za przez tak czy dla są był jego tym "
        "tego "
        "może być już oraz które tylko "},
    {"cs", LATIN,
        " a se v na je že to s z do o i jsem by ale jak za po pro jako byl jsou tak od které nebo "
        "jeho když už není "},
    {"hu", LATIN,
        " a az és hogy nem is egy ez meg de van volt csak mint már még vagy ha ezt azt el kell ami "
        "lehet minden "},
    {"ro", LATIN,
        " și de a în la cu nu o că pe este un din care mai să se pentru sunt sau au dar prin fost "
        "după fi are "},
    {"tr", LATIN,
        " bir ve bu da de için ne çok ile var daha gibi o ama olarak ben en değil kadar sonra olan "
        "mi "
        "her şey "},
    {"id", LATIN,
        " yang dan di itu dengan untuk tidak ini dari dalam akan pada juga saya ke karena ada "
        "mereka "
        "lebih bisa sudah atau adalah kita oleh "},
    {"vi", LATIN,
        " và là của có không được một người cho các những trong với này khi đã để đến như tôi về "
        "từ "
        "cũng ra "},
    {"ru", CYRILLIC,
        " и в не на что я с он как это по но они к у из мы за от так его то же был для вы бы она о "
        "все было или только если "},
    {"uk", CYRILLIC,
        " і в не на що я з він як це по але вони до у ми за від так його та був для ви б вона про "
        "все було або тільки якщо є "},
    {"bg", CYRILLIC,
        " и в не на че се с той как това по но те до у са за от така го да беше ще си е тя ли само "
        "ако или при "},
    {"el", GREEK, ""},
    {"ar", ARABIC, ""},
    {"he", HEBREW, ""},
    {"hi", DEVANAGARI, ""},
    {"th", THAI, ""},
    {"ko", HANGUL, ""},
    {"ja", KANA, ""},
    {"zh", HAN, ""},
};
#define LANGUAGES (sizeof languages / sizeof languages[0])
_Static_assert(LANGUAGES <= HN_LANGUAGES_MAX, "a table of languages has no room for all");

static enum script script_of(uint32_t c) {
    static const struct {
        uint32_t first, last;
        enum script script;
    } ranges[] = {{'a', 'z', LATIN}, {0xDF, 0x24F, LATIN}, {0x1E00, 0x1EFF, LATIN},
        {0x370, 0x3FF, GREEK}, {0x400, 0x52F, CYRILLIC}, {0x590, 0x5FF, HEBREW},
        {0x600, 0x6FF, ARABIC}, {0x900, 0x97F, DEVANAGARI}, {0xE00, 0xE7F, THAI},
        {0x3040, 0x30FF, KANA}, {0x4E00, 0x9FFF, HAN}, {0xAC00, 0xD7AF, HANGUL}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (c >= ranges[i].first && c <= ranges[i].last)
            return ranges[i].script;
    return SCRIPTS;
}

/* Letters of each script. A character of Chinese, Japanese or Korean counts as three. */
static size_t count_letters(const char *text, size_t size, size_t counts[SCRIPTS]) {
    size_t all = 0;
    for (size_t at = 0; at < size;) {
        size_t n = hn_utf8_length((unsigned char)text[at]);
        if (n > size - at)
            break;
        enum script script = script_of(hn_utf8_get(text + at));
        size_t weight = script == KANA || script == HAN || script == HANGUL ? 3 : 1;
        at += n;
        if (script == SCRIPTS)
            continue;
        counts[script] += weight;
        all += weight;
    }
    return all;
}

static uint64_t hash_word(const char *text, size_t size) {
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)text[i]) * 1099511628211u;
    return hash | 1;
}

static size_t place_of(const struct hn_language_table *table, uint64_t hash) {
    size_t at = (size_t)(hash >> 20) % HN_LANGUAGE_WORDS;
    while (table->places[at].hash && table->places[at].hash != hash)
        at = (at + 1) % HN_LANGUAGE_WORDS;
    return at;
}

void hn_language_table_init(struct hn_language_table *table) {
    memset(table, 0, sizeof *table);
    for (size_t k = 1; k < LANGUAGES; k++)
        for (const char *word = languages[k].words, *end; word[0] && word[1]; word = end) {
            end = strchr(word + 1, ' ');
            uint64_t hash = hash_word(word + 1, (size_t)(end - word) - 1);
            size_t at = place_of(table, hash);
            table->places[at].hash = hash;
            table->places[at].languages |= (uint32_t)1 << k;
        }
}

/* The language of the script that has most of these words, by a clear lead. A word counts once in a
 * while only: "a a a" is no language. */
static size_t by_words(
    const struct hn_language_table *table, enum script script, const char *text, size_t size) {
    size_t counts[LANGUAGES] = {0}, best = 0, second = 0, begin = 0, n_last = 0;
    uint64_t last[REMEMBERED] = {0};
    for (size_t i = 0; i <= size; i++) {
        if (i < size && text[i] != ' ' && text[i] != '\n')
            continue;
        uint64_t hash = i > begin ? hash_word(text + begin, i - begin) : 0;
        uint32_t found = hash ? table->places[place_of(table, hash)].languages : 0;
        for (size_t k = 0; found && k < REMEMBERED; k++)
            found = last[k] == hash ? 0 : found;
        if (found)
            last[n_last++ % REMEMBERED] = hash;
        for (size_t k = 1; found && k < LANGUAGES; k++)
            counts[k] += languages[k].script == script && found >> k & 1;
        begin = i + 1;
    }
    for (size_t k = 1; k < LANGUAGES; k++)
        if (counts[k] > counts[best])
            best = k;
    for (size_t k = 1; k < LANGUAGES; k++)
        if (k != best && counts[k] > counts[second])
            second = k;
    return counts[best] >= 3 && 2 * counts[best] >= 3 * counts[second] ? best : 0;
}

size_t hn_language_of(const struct hn_language_table *table, const char *text, size_t size) {
    size_t counts[SCRIPTS] = {0}, most = 0;
    size = size < LOOK ? size : LOOK;
    if (count_letters(text, size, counts) < LETTERS)
        return 0;
    if (counts[KANA] * 5 > counts[HAN]) { /* Japanese has both */
        counts[KANA] += counts[HAN];
        counts[HAN] = 0;
    }
    for (size_t i = 1; i < SCRIPTS; i++)
        if (counts[i] > counts[most])
            most = i;
    if (most == LATIN || most == CYRILLIC)
        return by_words(table, (enum script)most, text, size);
    for (size_t k = 1; k < LANGUAGES; k++)
        if (languages[k].script == (enum script)most)
            return k;
    return 0;
}

const char *hn_language_name(size_t language) {
    return language < LANGUAGES ? languages[language].name : "";
}
