"""The engine beside PyTorch, Transformers and PEFT in one run, on rows that no stored vector holds. Needs PyTorch."""
import numpy as np
import pytest

import common

torch = pytest.importorskip("torch")
pytest.importorskip("peft")
pytestmark = pytest.mark.skipif(not common.GGUF or not common.REVIEWS, reason="needs the model and the reviews")


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    rows = [common.chat_row(*r) for r in common.reviews(3, 500)]
    ids, weights = common.encode(rows, folder)
    start = common.probe({"model": common.GGUF, "rows": ids, "weights": weights, "what": "loss", "lora": {"hyperparameters": {"seed": 9}},
                          "dump": str(folder / "start.bin")}, folder)
    values = np.fromfile(folder / "start.bin", np.float32)
    values += np.random.default_rng(4).normal(0, 0.02, values.size).astype(np.float32)
    values.tofile(folder / "values.bin")
    return folder, ids, weights, start["names"], values


@pytest.mark.parametrize("recompute", [False, True])
def test_loss_and_gradients(sample, recompute):
    import reference
    folder, ids, weights, table, values = sample
    model = reference.add_lora(reference.load_base(common.GGUF))
    reference.set_adapter(model, values, table)
    loss = reference.batch_loss(model, ids, weights)
    loss.backward()
    reply = common.probe({"model": common.GGUF, "rows": ids, "weights": weights, "what": "loss", "threads": 2, "recompute": recompute,
                          "lora": {"hyperparameters": {"seed": 9}, "values": str(folder / "values.bin")}, "out": str(folder / "g.bin")}, folder)
    assert reply["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    grads, gradients = np.fromfile(folder / "g.bin", np.float32), reference.adapter_gradients(model, table)
    for row in table:
        for letter, offset in (("a", row["a"]), ("b", row["b"])):
            theirs = gradients[f"{row['name']}:{letter}"]
            ours = grads[offset:offset + theirs.size].reshape(theirs.shape)
            assert np.abs(ours - theirs).max() <= 1e-3 * np.abs(theirs).max(), (row["name"], letter)
