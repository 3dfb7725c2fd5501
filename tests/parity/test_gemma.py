"""Gemma 3 270M with its real weights (GGUF, Q4_K_M): logits, the loss over more tokens than its window, and first adapter gradients are
those of Transformers' own model on gguf-py's dequantised weights."""
import functools
import os
import pathlib

import numpy as np
import pytest

import common

GEMMA = os.environ.get("HONE_TEST_GEMMA", "")
pytestmark = pytest.mark.skipif(not GEMMA or not common.REVIEWS, reason="needs Gemma 3 270M and the reviews")


@pytest.fixture(scope="module")
def read_once():
    """Transformers reads the file anew for the configuration, the weights and the tokenizer: ten seconds each."""
    gguf = pytest.importorskip("gguf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gguf, "GGUFReader", functools.cache(gguf.GGUFReader))
        yield


@pytest.fixture(scope="module")
def theirs(read_once):
    torch = pytest.importorskip("torch")
    import transformers
    path = pathlib.Path(GEMMA).resolve()
    model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager")
    assert model.config.layer_types.count("full_attention") == 3 and model.config.sliding_window == 512
    return model.eval()


@pytest.fixture(scope="module")
def ids(tmp_path_factory):
    """A text of 600 tokens, beyond the window of 512, and a short one, as the engine tokenises them."""
    folder = tmp_path_factory.mktemp("ids")
    text = " ".join(t for t, _ in common.reviews(40))
    rows, _ = common.encode([{"text": text}, {"text": "The village lay between two rivers."}], folder, GEMMA)
    assert rows[0][0] == 2 and len(rows[0]) >= 600  # <bos>
    return [rows[0][:600], rows[1]]


def test_logits_and_losses(theirs, ids, tmp_path):
    import reference
    import torch
    weights = [[1.0] * len(row) for row in ids]
    common.probe({"model": GEMMA, "rows": ids, "what": "logits", "out": str(tmp_path / "logits")}, tmp_path)
    ours = np.fromfile(tmp_path / "logits", np.float32).reshape(-1, theirs.config.vocab_size)
    with torch.no_grad():
        logits = [theirs(torch.tensor([row])).logits[0] for row in ids]
        loss = reference.loss_of(logits, ids, weights).item()
        want = torch.cat(logits).numpy()
    assert np.abs(ours - want).max() < 5e-5 * np.abs(want).max()
    assert (ours.argmax(1) == want.argmax(1)).all()
    reply = common.probe({"model": GEMMA, "rows": ids, "weights": weights, "lora": {"hyperparameters": {"lora_rank": 4}},
                          "out": str(tmp_path / "grads")}, tmp_path)
    assert reply["loss"] == pytest.approx(loss, rel=1e-5)


def test_ids_are_those_of_sentencepiece(theirs, ids):
    import transformers
    path = pathlib.Path(GEMMA).resolve()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    assert tokenizer("The village lay between two rivers.").input_ids == [i for i in ids[1] if i != tokenizer.eos_token_id]
