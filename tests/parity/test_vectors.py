"""The engine against values that PyTorch, Transformers and PEFT gave for SmolLM2 and real rows (make_vectors.py made them).

Tolerances. Both sides compute in f32 and sum in different orders. Logits around 30 carry a relative error of a few 1e-6
through thirty layers: 3e-4 absolute. Gradients: 2e-3 of the largest value of a matrix. Losses of a training run drift
apart exponentially slowly as round-off enters AdamW's normalised steps: 0.5 % of the loss plus 2e-3 holds over fifty steps
with room; a wrong step, order, clip or schedule shows at once in tens of percent.
"""
import json

import numpy as np
import pytest

import common

pytestmark = pytest.mark.skipif(not common.GGUF or not common.REVIEWS, reason="needs the model and the reviews")


@pytest.fixture(scope="module")
def vectors():
    return json.loads((common.VECTORS / "smollm2.json").read_text())


def test_logits(vectors, tmp_path):
    out = tmp_path / "logits.bin"
    common.probe({"model": common.GGUF, "rows": vectors["rows"][:1], "what": "logits", "threads": 2, "out": str(out)}, tmp_path)
    logits = np.fromfile(out, np.float32).reshape(len(vectors["rows"][0]), -1)
    ours = np.array([logits[p, v] for p, v in vectors["logits"]["places"]])
    assert np.abs(ours - vectors["logits"]["values"]).max() < 3e-4


def test_first_loss_and_every_gradient(vectors, tmp_path):
    rows, weights = vectors["rows"][:4], vectors["weights"][:4]
    start = tmp_path / "start.bin"
    request = {"model": common.GGUF, "rows": rows, "weights": weights, "what": "loss", "threads": 2}
    knobs = {"hyperparameters": vectors["hyperparameters"]}
    common.probe({**request, "lora": knobs, "dump": str(start)}, tmp_path)
    values = np.fromfile(start, np.float32)
    values += np.random.default_rng(0).normal(0, 0.02, values.size).astype(np.float32)
    values.tofile(tmp_path / "values.bin")
    out = tmp_path / "grads.bin"
    reply = common.probe({**request, "lora": {**knobs, "values": str(tmp_path / "values.bin")}, "out": str(out)}, tmp_path)
    expected = vectors["gradients"]
    assert reply["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    grads, seen = np.fromfile(out, np.float32), 0
    for row in reply["names"]:
        for letter, offset, size in (("a", row["a"], row["rank"] * row["in"]), ("b", row["b"], row["out"] * row["rank"])):
            g = grads[offset:offset + size]
            key = f"{row['name']}:{letter}"
            assert np.linalg.norm(g.astype(np.float64)) == pytest.approx(expected["norms"][key], rel=1e-4), key
            picked = g[:: max(1, g.size // 5)][:5]
            assert np.abs(picked - expected["samples"][key]).max() <= 2e-3 * np.abs(g).max(), key
            seen += 1
    assert seen == len(expected["norms"])


def test_fifty_losses(vectors, tmp_path):
    rows = [common.chat_row(*r) for r in common.reviews(len(vectors["rows"]))]
    knobs = {**vectors["hyperparameters"], "log_every": 1}
    common.make_run(tmp_path / "run", rows, knobs)
    import subprocess
    done = subprocess.run([str(common.HONED), "train", str(tmp_path / "run")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ours = [e["data"]["loss"] for e in common.events(tmp_path / "run", "step")]
    theirs = vectors["losses"]
    assert len(ours) == len(theirs) == 50
    for step, (a, b) in enumerate(zip(ours, theirs), 1):
        assert abs(a - b) <= 0.005 * b + 2e-3, (step, a, b)
