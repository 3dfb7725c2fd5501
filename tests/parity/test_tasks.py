"""Tasks with heads, from rows to results: `honed train` on a real encoder (and decoder), its metrics against scikit-learn, seqeval
and SQuAD's rules, and its results in Transformers and PEFT, whose logits must be the trainer's own. Needs PyTorch."""
import collections
import json
import os
import re
import shutil
import string
import subprocess

import numpy as np
import pytest

import common

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

MINILM = os.environ.get("HONE_TEST_MINILM", "")
pytestmark = pytest.mark.skipif(not MINILM or not common.REVIEWS, reason="needs MiniLM and the reviews")
KNOBS = {"max_steps": 6, "batch_size": 8, "learning_rate": 1e-3, "max_length": 64, "eval_every": 3}


def train(folder, rows, hyperparameters=KNOBS, base=MINILM, **more):
    plan = common.make_run(folder, rows, hyperparameters, base=base, **more)
    done = subprocess.run([str(common.HONED), "train", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return plan


def predict(folder, inputs, base=MINILM, step="exported"):
    reply = common.helper("predict", {"model": {"path": base or common.GGUF}, "source": {"run_dir": str(folder), "step": step},
                                      "inputs": inputs})
    assert "result" in reply, reply
    return reply["result"]["data"]


def evaluate(folder, rows, base=MINILM, step="last"):
    """The result, and the rows as they are told one by one."""
    data, out = folder.parent / "evaluated", folder.parent / "told"
    data.write_text("".join(json.dumps(r) + "\n" for r in rows))
    out.unlink(missing_ok=True)
    reply = common.helper("evaluate", {"model": {"path": base or common.GGUF}, "source": {"run_dir": str(folder), "step": step},
                                       "data": {"path": str(data), "format": "jsonl"}, "rows_to": str(out)})
    assert "result" in reply, reply
    told = [json.loads(line) for line in out.read_text().splitlines()]
    assert [r["line"] for r in told] == list(range(1, len(rows) + 1))
    assert all(told[i][key] == row[key] for i, row in enumerate(rows) for key in row)  # with all that the data has
    return reply["result"], told


def sentiment(n, offset=0, number=int):
    return [{"text": t, "label": number(label == "positive")} for t, label in common.reviews(n, offset)]


# Metrics

def probe_metrics(problem, logits, truth, folder):
    logits.astype(np.float32).tofile(folder / "logits")
    truth.astype(np.float32).tofile(folder / "truth")
    return common.probe({"what": "metrics", "problem": problem, "outputs": logits.shape[1], "logits": str(folder / "logits"),
                         "truth": str(folder / "truth")}, folder)


@pytest.mark.parametrize("k", [2, 3, 7])
def test_metrics_of_classes(k, tmp_path):
    sk = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(k)
    for n in (40, 500):
        logits = rng.normal(0, 2, (n, k)).round(1).astype(np.float32)  # rounded: ties
        truth = rng.integers(0, k, n)
        truth[:k] = np.arange(k)
        ours = probe_metrics(1, logits, truth, tmp_path)
        guess, p = logits.argmax(1), torch.softmax(torch.tensor(logits, dtype=torch.float64), 1).numpy()
        binary = "binary" if k == 2 else "macro"
        wanted = {"accuracy": sk.accuracy_score(truth, guess), "f1_macro": sk.f1_score(truth, guess, average="macro"),
                  "f1_weighted": sk.f1_score(truth, guess, average="weighted"),
                  "precision": sk.precision_score(truth, guess, average=binary, zero_division=0),
                  "recall": sk.recall_score(truth, guess, average=binary, zero_division=0),
                  "mcc": sk.matthews_corrcoef(truth, guess),
                  "auc": sk.roc_auc_score(truth, p[:, 1]) if k == 2 else sk.roc_auc_score(truth, p, multi_class="ovr")}
        top, right = p.max(1), guess == truth
        bins = np.clip(np.ceil(top * 15).astype(int) - 1, 0, 14)
        wanted["ece"] = sum(abs(top[bins == b].sum() - right[bins == b].sum()) for b in range(15)) / n
        assert set(ours) == set(wanted)
        for name, value in wanted.items():
            assert ours[name] == pytest.approx(value, abs=1e-6), name


def test_metrics_of_several_labels(tmp_path):
    sk = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    logits, truth = rng.normal(0, 1, (300, 4)), (rng.random((300, 4)) < [0.5, 0.1, 0.3, 0.02]).astype(int)
    ours, guess = probe_metrics(2, logits, truth, tmp_path), (logits.astype(np.float32) > 0).astype(int)
    wanted = {"accuracy": sk.accuracy_score(truth, guess), "auc": sk.roc_auc_score(truth, logits.astype(np.float32))}
    for name, kind, score in (("f1_macro", "macro", sk.f1_score), ("f1_weighted", "weighted", sk.f1_score),
                              ("precision", "macro", sk.precision_score), ("recall", "macro", sk.recall_score)):
        wanted[name] = score(truth, guess, average=kind, zero_division=0)
    for name, value in wanted.items():
        assert ours[name] == pytest.approx(value, abs=1e-6), name


def test_metrics_of_values(tmp_path):
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(2)
    truth = rng.normal(0, 1, 200).round(1)
    guess = (truth + rng.normal(0, 1, 200)).round(1)
    ours = probe_metrics(3, guess[:, None], truth, tmp_path)
    guess, truth = guess.astype(np.float32).astype(float), truth.astype(np.float32).astype(float)
    assert ours["mse"] == pytest.approx(((guess - truth) ** 2).mean(), rel=1e-6)
    assert ours["pearson"] == pytest.approx(stats.pearsonr(guess, truth)[0], rel=1e-6)
    assert ours["spearman"] == pytest.approx(stats.spearmanr(guess, truth)[0], rel=1e-6)


# Classification

@pytest.fixture(scope="module")
def texts():
    return [t for t, _ in common.reviews(20, 500)] + ["", "Unaffable café 🙂 " * 60]


def reach(model):
    """What is asked is read as far as the model reads, whatever the training's max_length: RoBERTa numbers its places from 2 on."""
    config = model.config
    return config.max_position_embeddings - (config.pad_token_id + 1 if config.model_type == "roberta" else 0)


def probabilities(model, tokenizer, texts):
    out = []
    for text in texts:
        with torch.no_grad():
            out.append(model(**tokenizer(text, truncation=True, max_length=reach(model), return_tensors="pt")).logits[0])
    return torch.stack(out)


def agree(answers, logits, labels):
    for answer, row in zip(answers, torch.softmax(logits.double(), -1)):
        for i, label in enumerate(labels):
            assert answer["probabilities"][label] == pytest.approx(row[i].item(), abs=2e-5)
        assert answer["label"] == labels[row.argmax()]


@pytest.mark.parametrize("method", ["full", "lora", "head"])
def test_sentiment(method, texts, tmp_path):
    """All three methods: the result loads with its head and labels, and gives the trainer's probabilities."""
    sk = pytest.importorskip("sklearn.metrics")
    exports = ["peft", "merged"] if method == "lora" else ["merged"]
    held = sentiment(40, 200)
    train(tmp_path / "run", sentiment(80), method=method, exports=exports, validation=held)
    answers, art = predict(tmp_path / "run", texts), tmp_path / "run" / "artifacts"
    assert [e["data"]["passed"] for e in common.events(tmp_path / "run", "verified")] == [True] * len(exports)
    tokenizer = transformers.AutoTokenizer.from_pretrained(art / "merged")
    merged, info = transformers.AutoModelForSequenceClassification.from_pretrained(art / "merged", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert merged.config.id2label == {0: "0", 1: "1"} and merged.config.problem_type == "single_label_classification"
    agree(answers, probabilities(merged.eval(), tokenizer, texts), ["0", "1"])
    own = common.helper("predict", {"model": {"path": str(art / "merged")}, "source": None, "inputs": texts[:-1]})["result"]["data"]
    agree(own, probabilities(merged.eval(), tokenizer, texts[:-1]), ["0", "1"])  # the folder as a model of its own
    if method == "lora":
        base = transformers.AutoModelForSequenceClassification.from_pretrained(MINILM, num_labels=2)
        model = peft.PeftModel.from_pretrained(base, art / "peft").eval()
        agree(answers, probabilities(model, tokenizer, texts), ["0", "1"])
    last = common.events(tmp_path / "run", "eval")[-1]["data"]
    step = predict(tmp_path / "run", [r["text"] for r in held], step="last")
    truth, guess = [r["label"] for r in held], [int(a["label"]) for a in step]
    assert last["val_accuracy"] == pytest.approx(sk.accuracy_score(truth, guess))
    assert last["confusion"] == sk.confusion_matrix(truth, guess).tolist()
    result, told = evaluate(tmp_path / "run", held)
    assert result["metrics"]["loss"] == pytest.approx(np.mean([r["loss"] for r in told]), rel=1e-5)
    for row, answer, label in zip(told, step, truth):
        assert row["predicted"] == answer["label"] and row["correct"] == (answer["label"] == str(label))
        assert row["probabilities"] == pytest.approx(answer["probabilities"], abs=1e-5)
        assert row["loss"] == pytest.approx(-np.log(answer["probabilities"][str(label)]), rel=1e-4)


def test_threads_and_resume_give_the_same_bytes(tmp_path):
    """Full training with dropout: one thread, two threads, and killed in between."""
    hashes = []
    for name, threads in (("one", 1), ("two", 2), ("killed", 2)):
        folder = tmp_path / name
        common.make_run(folder, sentiment(60), {**KNOBS, "save_every": 2}, base=MINILM, method="full", validation=sentiment(20, 90))
        spec = json.loads((folder / "spec.json").read_text())
        assert spec["run"]["hyperparameters"]["dropout"] == 0.1
        spec["host"]["threads"] = threads
        (folder / "spec.json").write_text(json.dumps(spec))
        child = subprocess.Popen([str(common.HONED), "train", str(folder)], stderr=subprocess.PIPE, text=True)
        for line in child.stderr:
            if name == "killed" and "step 5 of" in line:
                child.kill()
                break
        child.stderr.close()
        if child.wait():
            assert name == "killed"
            assert subprocess.run([str(common.HONED), "train", str(folder)], capture_output=True).returncode == 0
        hashes.append([(e["data"]["path"], e["data"]["sha256"]) for e in common.events(folder, "artifact") if "manifest" not in e["data"]["path"]])
        losses = [e["data"]["loss"] for e in common.events(folder, "step")]
        assert len(losses) == 6 and not common.events(folder, "warning")
    assert hashes[0] == hashes[1] == hashes[2]


def test_class_weights_and_given_labels(tmp_path):
    """Weights as torch's CrossEntropyLoss(weight=…): the first loss, of a head that begins near zero, is their mean."""
    rows = [{"text": t, "label": "good" if label == "positive" else "bad"} for t, label in common.reviews(40)]
    plan = train(tmp_path / "run", rows, labels=["good", "bad", "mixed"], class_weights={"good": 3, "mixed": 0.5})
    assert plan["run"]["labels"] == ["good", "bad", "mixed"] and plan["run"]["label_weights"] == [3, 1, 0.5]
    assert predict(tmp_path / "run", ["fine"])[0]["probabilities"].keys() == {"good", "bad", "mixed"}
    balanced = common.make_run(tmp_path / "other", rows, KNOBS, base=MINILM, class_weights="balanced")["run"]
    counts = collections.Counter(r["label"] for r in rows)
    assert balanced["label_weights"] == pytest.approx([40 / (2 * counts[x]) for x in balanced["labels"]])


@pytest.mark.parametrize("kind", ["several", "number"])
def test_several_labels_and_numbers(kind, texts, tmp_path):
    rows = sentiment(60)
    for i, row in enumerate(rows):
        row["label"] = [x for x, has in (("long", len(row["text"]) > 100), ("good", row["label"]), ("the", "the" in row["text"])) if has] \
            if kind == "several" else round(len(row["text"]) / 100 + 0.001, 3)
    plan = train(tmp_path / "run", rows[:40], method="full", validation=rows[40:])
    art = tmp_path / "run" / "artifacts" / "merged"
    model = transformers.AutoModelForSequenceClassification.from_pretrained(art).eval()
    logits = probabilities(model, transformers.AutoTokenizer.from_pretrained(art), texts)
    answers = predict(tmp_path / "run", texts)
    held = predict(tmp_path / "run", [r["text"] for r in rows[40:]], step="last")
    result, told = evaluate(tmp_path / "run", rows[40:])
    assert result["metrics"]["loss"] == pytest.approx(np.mean([r["loss"] for r in told]), rel=1e-5)
    for row, answer in zip(told, held):
        if kind == "several":
            assert row["predicted"] == answer["labels"] and row["correct"] == (sorted(answer["labels"]) == sorted(row["label"]))
        else:
            assert row["predicted"] == pytest.approx(answer["value"], abs=1e-5) and "correct" not in row
    if kind == "several":
        assert plan["run"]["labels"] == ["good", "long", "the"] and model.config.problem_type == "multi_label_classification"
        for answer, row in zip(answers, torch.sigmoid(logits)):
            assert [answer["probabilities"][x] for x in plan["run"]["labels"]] == pytest.approx(row.tolist(), abs=2e-5)
            assert answer["labels"] == [x for x, p in zip(plan["run"]["labels"], row) if p > 0.5]
    else:
        assert plan["run"]["problem"] == "value" and model.config.problem_type == "regression"
        assert [a["value"] for a in answers] == pytest.approx(logits[:, 0].tolist(), abs=2e-5)
        assert "val_pearson" in common.events(tmp_path / "run", "eval")[-1]["data"]


@pytest.mark.skipif(not common.GGUF, reason="needs the GGUF model")
def test_decoder_with_a_score(texts, tmp_path):
    """A quantised decoder with a score head: the merged folder gives the trainer's answers in Transformers."""
    train(tmp_path / "run", sentiment(32), {**KNOBS, "max_steps": 2}, base=None, exports=["merged"], validation=sentiment(8, 50))
    texts = texts[:6]
    art = tmp_path / "run" / "artifacts" / "merged"
    model, info = transformers.AutoModelForSequenceClassification.from_pretrained(art, output_loading_info=True)
    assert type(model).__name__ == "LlamaForSequenceClassification" and not info["missing_keys"] and not info["unexpected_keys"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(art)
    agree(predict(tmp_path / "run", texts, base=None), probabilities(model.eval(), tokenizer, texts), ["0", "1"])


# Tags

def tagged(n, offset=0):
    """Words of reviews; "entities" are runs of capitalised words and, as another kind, numbers."""
    rows = []
    for text, _ in common.reviews(n, offset):
        words = text.split()[:40]
        tags = []
        for i, word in enumerate(words):
            if word[:1].isupper():
                tags.append("I-NAME" if tags and tags[-1].endswith("NAME") else "B-NAME")
            else:
                tags.append("B-NUM" if any(c.isdigit() for c in word) else "O")
        rows.append({"tokens": words, "tags": tags})
    return rows


def test_tags(tmp_path):
    seqeval = pytest.importorskip("seqeval.metrics")
    held = tagged(30, 300)
    plan = train(tmp_path / "run", tagged(120), {**KNOBS, "max_steps": 40, "eval_every": 40}, method="full", validation=held)
    art = tmp_path / "run" / "artifacts" / "merged"
    answers = predict(tmp_path / "run", [r["tokens"] for r in held], step="last")
    last = common.events(tmp_path / "run", "eval")[-1]["data"]
    truth, guess = [r["tags"] for r in held], [a["tags"] for a in answers]
    assert [len(t) for t in truth] == [len(g) for g in guess]
    assert last["val_entity_f1"] == pytest.approx(seqeval.f1_score(truth, guess), abs=1e-6) and last["val_entity_f1"] > 0.1
    assert last["val_accuracy"] == pytest.approx(seqeval.accuracy_score(truth, guess), abs=1e-6)
    result, told = evaluate(tmp_path / "run", held)
    assert [r["predicted"] for r in told] == guess and result["metrics"]["entity_f1"] == last["val_entity_f1"]
    assert [r["correct"] for r in told] == [t[:len(g)] == g for t, g in zip(truth, guess)] and all(r["loss"] > 0 for r in told)
    model = transformers.AutoModelForTokenClassification.from_pretrained(art).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(art)
    assert [model.config.id2label[i] for i in range(len(model.config.id2label))] == plan["run"]["labels"]
    for row, answer in zip(held, predict(tmp_path / "run", [r["tokens"] for r in held])):
        batch = tokenizer(row["tokens"], is_split_into_words=True, truncation=True, max_length=reach(model), return_tensors="pt")
        with torch.no_grad():
            best = model(**batch).logits[0].argmax(-1).tolist()
        first = {}
        for i, word in enumerate(batch.word_ids()):
            if word is not None:
                first.setdefault(word, model.config.id2label[best[i]])
        assert answer["tags"] == [first[i] for i in range(len(first))]
        for entity in answer["entities"]:
            text = " ".join(row["tokens"])
            assert text[entity["start"]:entity["end"]] == entity["text"] == " ".join(row["tokens"][entity["first"]:entity["last"] + 1])


# Answers in a context

def normal(s):
    s = "".join(c for c in s.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", s).split())


def score(truths, guess):
    """SQuAD's exact match and F1 of one question."""
    truths = [t for t in truths if normal(t)] or [""]

    def f1(truth):
        a, b = normal(guess).split(), normal(truth).split()
        if not a or not b:
            return float(a == b)
        same = sum((collections.Counter(a) & collections.Counter(b)).values())
        return 2 * same / (len(a) + len(b)) if same else 0.0
    return max(float(normal(t) == normal(guess)) for t in truths), max(map(f1, truths))


def questions(n, offset=0):
    """What a review's first word of eight letters or more is: a rule that is quickly learned, and has no answer now and then."""
    rows = []
    for text, _ in common.reviews(n, offset):
        found = re.search(r"\b\w{8,}\b", text)
        rows.append({"question": "Which long word comes first?", "context": text,
                     "answers": {"text": [found[0]] if found else [], "answer_start": [found.start()] if found else []}})
    return rows


def best_span(model, tokenizer, row, length, unanswerable):
    """As the run_qa example searches: the best pair inside the context over all windows."""
    batch = tokenizer(row["question"], row["context"], truncation="only_second", max_length=length, stride=stride_of(tokenizer, row, length),
                      return_overflowing_tokens=True, return_offsets_mapping=True)
    best, null = (-1e30, 0, 0), 1e30
    for k in range(len(batch["input_ids"])):
        with torch.no_grad():
            out = model(**{key: torch.tensor([batch[key][k]]) for key in ("input_ids", "token_type_ids", "attention_mask")})
        start, end = out.start_logits[0], out.end_logits[0]
        null = min(null, (start[0] + end[0]).item())
        inside = [i for i, s in enumerate(batch.sequence_ids(k)) if s == 1]
        for i in inside:
            for j in inside:
                if i <= j < i + 30 and (start[i] + end[j]).item() > best[0]:
                    best = ((start[i] + end[j]).item(), batch["offset_mapping"][k][i][0], batch["offset_mapping"][k][j][1])
    if unanswerable and null > best[0]:
        return "", None, null
    return row["context"][best[1]:best[2]], best[1], best[0]


def stride_of(tokenizer, row, length):
    room = length - len(tokenizer(row["question"])["input_ids"]) - 1
    return min(128, room // 2)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_answers(method, tmp_path):
    held = questions(40, 300)
    knobs = {**KNOBS, "max_steps": 60, "eval_every": 60, "max_length": 32, "batch_size": 8}
    plan = train(tmp_path / "run", questions(200), knobs, method=method, exports=["merged"], validation=held)
    assert plan["run"]["unanswerable"] is True and plan["task"] == "qa"
    answers = predict(tmp_path / "run", [{"question": r["question"], "context": r["context"]} for r in held], step="last")
    last = common.events(tmp_path / "run", "eval")[-1]["data"]
    scores = np.array([score(r["answers"]["text"], a["answer"]) for r, a in zip(held, answers)])
    assert last["val_exact_match"] == pytest.approx(100 * scores[:, 0].mean(), abs=1e-4)
    assert last["val_f1"] == pytest.approx(100 * scores[:, 1].mean(), abs=1e-4)
    result, told = evaluate(tmp_path / "run", held)
    assert result["metrics"]["f1"] == last["val_f1"] and all(r["loss"] > 0 for r in told)
    for row, answer, (exact, f1) in zip(told, answers, scores):
        assert (row["predicted"], row["start"], row["correct"]) == (answer["answer"], answer["start"], exact == 1)
        assert row["f1"] == pytest.approx(f1) and row["score"] == pytest.approx(answer["score"], abs=1e-4)
    art = tmp_path / "run" / "artifacts" / "merged"
    model = transformers.AutoModelForQuestionAnswering.from_pretrained(art).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(art)
    for row, answer in zip(held, predict(tmp_path / "run", [{"question": r["question"], "context": r["context"]} for r in held])):
        text, start, best = best_span(model, tokenizer, row, 32, True)
        assert answer["score"] == pytest.approx(best, abs=1e-3)
        assert (answer["answer"], answer["start"]) == (text, start)


def test_each_head_has_its_own_dropout(tmp_path):
    """DistilBERT names one for classes and one for questions; tags have that of hidden states."""
    transformers.AutoTokenizer.from_pretrained(MINILM).save_pretrained(tmp_path / "plain")
    config = transformers.DistilBertConfig(vocab_size=30522, dim=32, hidden_dim=64, n_heads=2, n_layers=1, dropout=0.0,
                                           attention_dropout=0.0, seq_classif_dropout=0.0, qa_dropout=0.0)
    transformers.DistilBertModel(config).save_pretrained(tmp_path / "plain")
    losses = {}
    for changed in ("", "qa_dropout", "seq_classif_dropout"):
        folder = tmp_path / "plain"
        if changed:
            folder = shutil.copytree(tmp_path / "plain", tmp_path / changed)
            saved = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps({**saved, changed: 0.5}))
        train(tmp_path / ("run" + changed), questions(16), {"max_steps": 2, "batch_size": 8, "learning_rate": 1e-3}, base=folder,
              method="full", exports=["merged"])
        losses[changed] = [e["data"]["loss"] for e in common.events(tmp_path / ("run" + changed), "step")]
    assert losses["seq_classif_dropout"] == losses[""] != losses["qa_dropout"]


@pytest.mark.skipif(not common.GGUF, reason="needs the GGUF model")
def test_answers_written(tmp_path):
    """A decoder writes its answers: rows with questions are conversations of one question, and nothing else changes."""
    rows = questions(12)
    chats = [{"messages": [{"role": "user", "content": r["context"] + "\n\n" + r["question"]},
                           {"role": "assistant", "content": (r["answers"]["text"] or ["There is no answer."])[0]}]} for r in rows]
    knobs, losses = {**KNOBS, "max_steps": 2, "max_length": 128}, []
    for name, data in (("qa", rows), ("chat", chats)):
        plan = train(tmp_path / name, data, knobs, base=None, samples=1, exports=["peft"])
        assert plan["task"] == ("qa" if name == "qa" else "generation")
        losses.append([e["data"]["loss"] for e in common.events(tmp_path / name, "step")])
    assert losses[0] == losses[1] and common.events(tmp_path / "qa", "sample")[0]["data"]["reference"]
    question = {"question": rows[0]["question"], "context": rows[0]["context"]}
    assert predict(tmp_path / "qa", [question], base=None)[0]["text"] == \
        predict(tmp_path / "qa", [rows[0]["context"] + "\n\n" + rows[0]["question"]], base=None)[0]["text"]


def test_squad_file(tmp_path):
    """SQuAD's nested files are rows of their own."""
    rows = questions(12)
    paragraphs = [{"context": r["context"], "qas": [
        {"id": str(i), "question": r["question"], "is_impossible": not r["answers"]["text"],
         "answers": [{"text": t, "answer_start": s} for t, s in zip(r["answers"]["text"], r["answers"]["answer_start"])]},
        {"id": str(i) + "b", "question": "\"paragraphs\" [ {?", "is_impossible": True, "answers": [],
         "plausible_answers": [{"text": "x", "answer_start": 0}]}]} for i, r in enumerate(rows)]
    for indent in (None, 2):
        path = tmp_path / "squad.json"
        path.write_text(json.dumps({"version": "v2.0", "data": [{"title": "a", "paragraphs": paragraphs[:5]},
                                                                {"paragraphs": [], "title": "none"},
                                                                {"paragraphs": paragraphs[5:], "title": "[b]"}]}, indent=indent))
        reply = common.helper("dataset.inspect", {"path": str(path), "format": None, "columns": None, "on_error": "refuse"})
        assert reply["result"]["format"] == "squad" and reply["result"]["rows"] == 24 and reply["result"]["tasks"][0] == "qa"
    paragraphs[3]["qas"][0]["answers"] = [{"text": "not there", "answer_start": 2}]
    paragraphs[3]["qas"][0]["is_impossible"] = False
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    reply = common.helper("dataset.inspect", {"path": str(path), "format": None, "columns": None, "on_error": "refuse"})
    assert reply["error"]["code"] == "dataset_invalid" and "not there" in reply["error"]["message"]


@pytest.mark.parametrize("rows, more, field, words", [
    ([{"text": "a", "label": 1}] * 4, {}, None, "same label"),
    ([{"text": "a", "label": 1}, {"text": "b", "label": 2}], {"labels": ["1"]}, "labels", "\"2\""),
    ([{"text": "a", "label": 1}, {"text": "b", "label": 2}], {"labels": ["1", "1"]}, "labels", "different"),
    ([{"text": "a", "label": 1}, {"text": "b", "label": 2}], {"class_weights": {"3": 1}}, "class_weights", "\"3\""),
    ([{"text": "a", "label": 1}, {"text": "b", "label": 2}], {"exports": ["gguf"]}, "exports", "head"),
    ([{"text": "a", "label": 1}, {"text": "b", "label": 2}], {"hyperparameters": {"metric_for_best": "val_f1"}}, "hyperparameters.metric_for_best", "val_accuracy"),
    ([{"prompt": "a", "completion": "b"}] * 2, {}, None, "encoder")])
def test_refused(rows, more, field, words, tmp_path):
    path = tmp_path / "rows"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    reply = common.helper("job.plan", {"model": {"path": MINILM}, "train": {"path": str(path), "format": "jsonl"}, "validation": "none",
                                       "hyperparameters": {}, "now": "2026-01-31", **more})
    assert "error" in reply and words in reply["error"]["message"], reply
    assert field is None or reply["error"]["field"] == field
