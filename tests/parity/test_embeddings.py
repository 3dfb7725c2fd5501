"""Vectors of rows in the data report: pooled as sentence-transformers pools them (PyTorch), the Vendi score beside NumPy's eigenvalues, and leaks that
only the vectors tell. Needs PyTorch."""
import json
import os
import pathlib
import random
import sys

import numpy as np
import pytest

import common

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import tiny  # noqa: E402

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
MINILM = os.environ.get("HONE_TEST_MINILM", "")


def vectors(folder, texts, longest=256):
    """Means of the last hidden states over a text's tokens, of length 1."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    longest = min(longest, model.config.max_position_embeddings)
    out = []
    with torch.no_grad():
        for text in texts:
            hidden = model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=longest)).last_hidden_state[0]
            mean = hidden.mean(0).numpy().astype(np.float64)
            out.append(mean / np.linalg.norm(mean))
    return np.array(out)


def vendi(x):
    values = np.linalg.eigvalsh(x @ x.T / len(x))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def report(folder, model, own, other=None):
    def data(name, texts):
        (folder / name).write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
        return {"path": str(folder / name)}
    reply = common.helper("dataset.report", {"data": data("own", own), "other": data("other", other) if other else None, "model": {"path": str(model)}})
    assert "result" in reply, reply
    return reply["result"]


def texts(n, seed=1):
    chance = random.Random(seed)
    return [tiny.sentence(chance, 3 + i % 20) + f" {i}" for i in range(n)]


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_pooled_and_scored_as_torch_does(tmp_path, family):
    """Fewer rows than values in a vector, and more; texts longer than the context."""
    getattr(tiny, family)(tmp_path / "model")
    for n in (7, 90):
        rows = texts(n) + ["one text " * 300]
        found, x = report(tmp_path, tmp_path / "model", rows)["embeddings"], vectors(tmp_path / "model", rows)
        cosines = x @ x.T
        assert found["rows"] == n + 1 and found["width"] == x.shape[1] and found["other_rows"] == 0 and found["most"] == min(x.shape)
        assert found["vendi"] == pytest.approx(vendi(x), rel=2e-3)
        assert found["mean_cosine"] == pytest.approx((cosines.sum() - len(x)) / (len(x) * (len(x) - 1)), abs=1e-4)
        assert sum(c["rows"] for c in found["clusters"]) == n + 1 and len(found["clusters"]) == max(2, min(20, int(((n + 1) / 2) ** 0.5)))


def test_no_model_no_vectors(tmp_path):
    (tmp_path / "own").write_text('{"text":"a"}\n' * 3)
    reply = common.helper("dataset.report", {"data": {"path": str(tmp_path / "own")}, "other": None, "model": None})
    assert reply["result"]["embeddings"] is None


@pytest.mark.skipif(not MINILM, reason="needs MiniLM")
def test_leaks_in_other_words(tmp_path):
    """What has been said with other words and is no near duplicate; unrelated rows are not told; the groups are the topics."""
    topics = [["the cat sleeps on the warm sofa", "a dog barks at the old postman", "two horses run over the green meadow"],
              ["the share price of the bank fell", "investors buy bonds of the state", "the central bank raised interest rates"],
              ["the striker scored in the last minute", "our team lost the football match", "the goalkeeper saved a penalty"]]
    own = [text + end for end in ("", " today", " again", " last week", " in spring", " he said") for topic in topics for text in topic]
    own += ["A man is eating food.", "The weather is lovely today."]
    other = ["A man is eating some food.", "Parliament voted on the new law about copyright.", "He soldered the capacitor to the circuit board."]
    found = report(tmp_path, MINILM, own, other)
    x, y = vectors(MINILM, own), vectors(MINILM, other)
    assert found["embeddings"]["vendi"] == pytest.approx(vendi(x), rel=1e-3)
    near = {p["row"] for f in found["findings"] if f["code"] in ("leak_near", "leak_exact", "leak_contained") for p in f["pairs"]}
    close = {i + 1: int(j) + 1 for i, j in enumerate((x @ y.T).argmax(1)) if (x @ y.T)[i, j] >= 0.95}
    (leak,) = [f for f in found["findings"] if f["code"] == "leak_embedding"]
    assert {p["row"]: p["other_row"] for p in leak["pairs"]} == {i: j for i, j in close.items() if i not in near}
    for pair in leak["pairs"]:
        assert pair["similarity"] == pytest.approx(float(x[pair["row"] - 1] @ y[pair["other_row"] - 1]), abs=1e-4)
    assert {own.index("A man is eating food.") + 1} == set(close)
    for cluster in found["embeddings"]["clusters"]:
        kinds = {next(t for t, topic in enumerate(topics) if any(text in own[line - 1] for text in topic)) for line in cluster["lines"] if line <= 54}
        assert len(kinds) <= 1, cluster
