"""Metrics of written answers: the same figures as sacrebleu, rouge-score and SQuAD's script give, on texts of all kinds."""
import collections
import json
import random
import re
import string

import pytest

import common

sacrebleu = pytest.importorskip("sacrebleu")
rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")

needs_model = pytest.mark.skipif(not common.GGUF, reason="needs the GGUF model")
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
        assert [a[k] for k in ("exact_match", "f1", "rouge_l")] == pytest.approx(b, rel=1e-6), row
        assert a["correct"] == (b[0] == 1)
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
    assert [s["correct"] for s in ours["scores"]] == [True, True, True, False, False]


def test_many_words(tmp_path):
    """The table of words grows; every word is another one."""
    rows = [(" ".join(f"w{i * 1000 + k}" for k in range(1000)), [" ".join(f"w{i * 1000 + k}" for k in range(0, 1000, 2))]) for i in range(6)]
    agree(rows, tmp_path)


# Answers that a model writes

def evaluate(rows, folder, **more):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    (folder / "told").unlink(missing_ok=True)
    return common.helper("evaluate", {"rows_to": str(folder / "told"), "model": {"path": common.GGUF}, "source": None, "data": {"path": str(path), "format": "jsonl"}, **more})


def told(folder):
    return [json.loads(line) for line in (folder / "told").read_text().splitlines()]


def predict(inputs, **more):
    return [a["text"] for a in common.helper("predict", {"model": {"path": common.GGUF}, "source": None, "inputs": inputs, **more})["result"]["data"]]


def question(i):
    """Two answers, or none."""
    name, animal, pet = [("Ann", "dog", "Rex"), ("Bob", "cat", "Tom"), ("Eve", "horse", "Ida"), ("Max", "bird", "Pip")][i % 4]
    context, answers = f"{name} has a {animal} called {pet}.", [pet, f"called {pet}"] if i % 3 else []
    return {"context": context, "question": f"What is {name}'s {animal} called?",
            "answers": {"text": answers, "answer_start": [context.find(a) for a in answers]}}


QUESTIONS = [question(i) for i in range(80)]


@needs_model
def test_evaluation_writes_answers(tmp_path):
    """The metrics are those of the answers that predict gives to the same prompts; the loss stays what it was."""
    texts = [("Say hello in French.", "Bonjour."), ("Name a colour.", "Red is a colour."), ("What is 2 + 2?", "2 + 2 = 4."), ("Ça va?", "Oui, ça va « bien ».")]
    chats = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in texts]
    plain = evaluate(chats, tmp_path)["result"]
    losses = [r["loss"] for r in told(tmp_path)]
    assert min(losses) < plain["metrics"]["loss"] < max(losses) and all("predicted" not in r for r in told(tmp_path))
    result = evaluate(chats, tmp_path, generate={"max_tokens": 12})["result"]
    assert [r["loss"] for r in told(tmp_path)] == losses and [r["messages"] for r in told(tmp_path)] == [c["messages"] for c in chats]
    assert "bleu" not in plain["metrics"] and "answered" not in plain and result["answered"] == result["rows"] == 4
    assert {k: result["metrics"][k] for k in plain["metrics"]} == plain["metrics"]
    answers = predict([q for q, _ in texts], max_tokens=12)
    ours = agree([(a, [b]) for a, (_, b) in zip(answers, texts)], tmp_path)
    assert [r["predicted"] for r in told(tmp_path)] == answers and {r["finish_reason"] for r in told(tmp_path)} <= {"stop", "length"}
    assert sum(r["rouge_l"] for r in told(tmp_path)) / 4 == pytest.approx(result["metrics"]["rouge_l"], rel=1e-6)
    for name in ("exact_match", "f1", "rouge_l", "chrf", "bleu"):
        assert result["metrics"][name] == pytest.approx(ours[name], rel=1e-6), name
    completions = [{"prompt": "The capital of France is", "completion": " Paris"}, {"prompt": "One, two, three,", "completion": " four, five"}]
    result = evaluate(completions, tmp_path, generate={"max_tokens": 6, "stop": ","})["result"]
    ours = agree(list(zip(predict([{"prompt": r["prompt"]} for r in completions], max_tokens=6, stop=","), [[r["completion"]] for r in completions])), tmp_path)
    assert result["metrics"]["chrf"] == pytest.approx(ours["chrf"], rel=1e-6) and result["metrics"]["rouge_l"] == pytest.approx(ours["rouge_l"], rel=1e-6)


@needs_model
def test_questions_are_answered_by_default(tmp_path):
    """exact_match and f1 against the best of a row's answers; against what training would teach where there is none."""
    rows = QUESTIONS[:6]
    result = evaluate(rows, tmp_path)["result"]
    answers = predict([{"question": r["question"], "context": r["context"]} for r in rows], max_tokens=128)
    scores = [squad_scores(a, r["answers"]["text"] or ["There is no answer."]) for a, r in zip(answers, rows)]
    assert result["metrics"]["exact_match"] == pytest.approx(100 * sum(s[0] for s in scores) / 6, abs=1e-4)
    assert result["metrics"]["f1"] == pytest.approx(100 * sum(s[1] for s in scores) / 6, abs=1e-4) and result["metrics"]["f1"] > 10
    assert "bleu" not in result["metrics"] and "perplexity" in result["metrics"]
    for row, answer, (exact, f1) in zip(told(tmp_path), answers, scores):
        assert (row["predicted"], row["correct"], row["f1"]) == (answer, exact == 1, pytest.approx(f1, rel=1e-6)) and "rouge_l" not in row
    assert "f1" not in evaluate(rows, tmp_path, generate=False)["result"]["metrics"]
    assert "bleu" in evaluate(rows, tmp_path, generate={"max_tokens": 2})["result"]["metrics"]


@needs_model
def test_more_rows_than_are_answered_at_once(tmp_path):
    long = {"context": "word " * 9000, "question": "?", "answers": {"text": ["word"], "answer_start": [0]}}
    result = evaluate(QUESTIONS[:70] + [long], tmp_path, generate={"max_tokens": 1})["result"]
    assert (result["rows"], result["dropped"], result["answered"]) == (71, 1, 70)  # the last one is longer than the context


@needs_model
@pytest.mark.parametrize("generate, code, field, words", [
    (3, "invalid_field", "generate", "true, false"), ({"max_tokens": 0}, "invalid_field", "generate.max_tokens", "max_tokens"),
    ({"max_token": 3}, "unknown_field", "generate.max_token", "generate.max_token"), ({"stop": [1]}, "invalid_field", "generate.stop", "stop")])
def test_refused(generate, code, field, words, tmp_path):
    error = evaluate(QUESTIONS[:1], tmp_path, generate=generate)["error"]
    assert (error["code"], error["field"]) == (code, field) and words in error["message"]


@needs_model
def test_plain_text_has_no_answers(tmp_path):
    error = evaluate([{"text": "Some plain text."}], tmp_path, generate=True)["error"]
    assert error["field"] == "generate" and "plain text" in error["message"]
