"""Metrics of written answers: the same figures as sacrebleu, rouge-score and SQuAD's script give, on texts of all kinds."""
import collections
import random
import re
import string

import pytest

import common

sacrebleu = pytest.importorskip("sacrebleu")
rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")

WORDS = """the a an The AN of cat cats dog's isn't 3.14 1,000 3,x x,3 -5 2-3 5- well-known (so) "quoted" U.S.A. e.g., $5 50% a_b a/b & &amp; &lt;b&gt; &quot;
&amp;lt; <skipped> end. end! wait... ,start .5 5. ÜBER straße İstanbul ΟΔΟΣ Σ ΣΑΣ. ΑΣ’α naïve café cafe\u0301 a\u0301 日本語。 東京、 𝒳 😀👍🏽 \u212aelvin résumé’s the’s “the” —the— an\u2014a
x²the ½ مرحبا שלום हिन्दी - -- -\n \n \t \u00a0 \u3000 \u2028 \x1c [x] {y} ~ ` ^ | \\ ' * + ; : ? @ # a\u0000b Ǆ ǅ ﬁn""".split(" ") + ["\n", "-\nx", "\u200d", "\u0085"]


def squad(s):
    """Its normal form, from evaluate-v2.0.py."""
    s = "".join(c for c in s.lower() if c not in set(string.punctuation))
    return re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", s).split()


def squad_scores(answer, references):
    golds = [g for g in references if squad(g)] or [""]

    def f1(gold):
        a, b = squad(gold), squad(answer)
        if not a or not b:
            return float(a == b)
        same = sum((collections.Counter(a) & collections.Counter(b)).values())
        return 2 * same / (len(a) + len(b))
    return max(float(squad(g) == squad(answer)) for g in golds), max(map(f1, golds))


def agree(rows, folder):
    """rows: [(answer, [references])], as many references in each."""
    ours = common.probe({"what": "text_metrics", "rows": rows}, folder)
    answers, references = [r[0] for r in rows], [list(x) for x in zip(*(r[1] for r in rows))]
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    expected = [(*squad_scores(a, r), scorer.score_multi(r, a)["rougeL"].fmeasure) for a, r in rows]
    for row, a, b in zip(rows, ours["scores"], expected):
        assert a == pytest.approx(b, abs=1e-12), row
    means = [sum(column) / len(rows) for column in zip(*expected)]
    assert ours["exact_match"] == pytest.approx(100 * means[0], rel=1e-6)
    assert ours["f1"] == pytest.approx(100 * means[1], rel=1e-6)
    assert ours["rouge_l"] == pytest.approx(means[2], rel=1e-6)
    assert ours["bleu"] == pytest.approx(sacrebleu.corpus_bleu(answers, references, force=True).score, rel=1e-6, abs=1e-9), rows
    assert ours["chrf"] == pytest.approx(sacrebleu.corpus_chrf(answers, references).score, rel=1e-6, abs=1e-9), rows
    return ours


def text(rng, most):
    return rng.choice(["", "", " ", "  "]) + "".join(rng.choice(WORDS) + rng.choice([" ", " ", " ", " ", "", "  "]) for _ in range(rng.randrange(most)))


def changed(rng, s):
    words = s.split(" ")
    return " ".join(rng.choice(WORDS) if rng.random() < 0.2 else w for w in words if rng.random() > 0.1)


@pytest.mark.parametrize("seed", range(30))
def test_random_texts(seed, tmp_path):
    rng, n = random.Random(seed), 1 + seed % 4
    rows = []
    for _ in range(rng.choice([1, 3, 40])):
        references = [text(rng, 25) for _ in range(n)]
        rows.append((changed(rng, rng.choice(references)) if rng.random() < 0.8 else text(rng, 6), references))
    agree([(a.replace("\0", ""), [r.replace("\0", "") for r in b]) for a, b in rows], tmp_path)


@pytest.mark.parametrize("rows", [
    [("", [""])], [("", ["a reference"])], [("an answer", [""])], [("a", ["the"])], [("the cat", ["cat"])],
    [("one two", ["one two"])], [("one two three four", ["one two three four"])], [("a b c d e", ["v w x y z"])],
    [("It is 3.14, or 1,000-2,000; isn't it?", ["It is 3.14 or 1,000 - 2,000. Is it not?"])],
    [("x.,y..z 1.,2 ,,", ["x.,y..z 1.,2 ,,"])], [("ends in -\n", ["ends in -"])], [("ﬁn ΟΔΟΣ ΑΣ. İ", ["fin οδος ας i\u0307"])],
    [("the the the the the the the", ["the cat is on the mat", "there is a cat on the mat"])],
    [("short", ["a much longer reference than that", "short one"]), ("", ["", "x"])]])
def test_edges(rows, tmp_path):
    agree(rows, tmp_path)


def test_same_text_is_perfect(tmp_path):
    ours = agree([("To be, or not to be: that is the question.", ["To be, or not to be: that is the question."])], tmp_path)
    assert [ours[k] for k in ("exact_match", "f1", "rouge_l")] == [100, 100, 1] and ours["bleu"] == pytest.approx(100) and ours["chrf"] == 100


def test_shapes_of_references(tmp_path):
    """A text, a list, SQuAD's object; none at all is the empty text."""
    rows = [("Paris", r) for r in ("Paris", ["Rome", "paris."], {"text": ["the Paris"], "answer_start": [1]}, {"text": []}, [])]
    ours = common.probe({"what": "text_metrics", "rows": rows}, tmp_path)
    assert [s[0] for s in ours["scores"]] == [1, 1, 1, 0, 0]


def test_many_words(tmp_path):
    """The table of words grows; every word is another one."""
    rows = [(" ".join(f"w{i * 1000 + k}" for k in range(1000)), [" ".join(f"w{i * 1000 + k}" for k in range(0, 1000, 2))]) for i in range(6)]
    agree(rows, tmp_path)
