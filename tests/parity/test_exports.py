"""Results load in the software that users load them with, and give the trainer's logits: the PEFT folder through PeftModel
over the same base, and the GGUF adapter applied to the base's matrices by gguf-py and numpy alone. Needs PyTorch."""
import json
import subprocess

import numpy as np
import pytest

import common

torch = pytest.importorskip("torch")
pytest.importorskip("peft")
pytestmark = pytest.mark.skipif(not common.GGUF or not common.REVIEWS, reason="needs the model and the reviews")


@pytest.fixture(scope="module", params=[{}, {"rslora": True, "lora_targets": ["q_proj", "k_proj", "down_proj"], "lora_rank": 4}],
                ids=["all-linear", "rslora-some"])
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    rows = [common.chat_row(*r) for r in common.reviews(24)]
    common.make_run(folder, rows, {"max_steps": 3, "batch_size": 4, "learning_rate": 2e-3, "warmup_ratio": 0, **request.param})
    done = subprocess.run([str(common.HONED), "train", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


# f32 round-off through thirty layers on logits around 30, the adapter's products taken in another order.
TOLERANCE = 5e-4


@pytest.fixture(scope="module")
def ids():
    return json.loads((common.VECTORS / "smollm2.json").read_text())["rows"][5]


@pytest.fixture(scope="module")
def ours(run, ids, tmp_path_factory):
    """Logits of the trainer's own parameters, taken from its last checkpoint."""
    from safetensors.numpy import load_file
    folder = tmp_path_factory.mktemp("probe")
    knobs = json.loads((run / "spec.json").read_text())["run"]["hyperparameters"]
    request = {"model": common.GGUF, "rows": [ids], "what": "logits", "threads": 2, "out": str(folder / "logits.bin")}
    table = common.probe({**request, "lora": {"hyperparameters": knobs}}, folder)
    state = load_file(run / "checkpoints" / "step-000003" / "state.safetensors")
    values = np.zeros(table["params"], np.float32)
    for row in table["names"]:
        stem = "values/" + row["name"].removesuffix(".weight")
        values[row["a"]:row["a"] + row["rank"] * row["in"]] = state[stem + ".lora_A.weight"].ravel()
        values[row["b"]:row["b"] + row["out"] * row["rank"]] = state[stem + ".lora_B.weight"].ravel()
    assert np.abs(values).max() > 0
    values.tofile(folder / "values.bin")
    common.probe({**request, "lora": {"hyperparameters": knobs, "values": str(folder / "values.bin")}}, folder)
    return np.fromfile(folder / "logits.bin", np.float32).reshape(len(ids), -1)


def logits_of(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


def test_peft_folder(run, ids, ours):
    import reference
    from peft import PeftModel
    base = reference.load_base(common.GGUF)
    plain = logits_of(base, ids)
    model = PeftModel.from_pretrained(base, run / "artifacts" / "peft").eval()
    assert np.abs(logits_of(model, ids) - ours).max() < TOLERANCE
    assert np.abs(plain - ours).max() > 0.05  # and the adapter does something


def test_gguf_adapter(run, ids, ours):
    import gguf
    import reference
    reader = gguf.GGUFReader(run / "artifacts" / "gguf" / "adapter.gguf")
    assert reader.fields["general.type"].contents() == "adapter"
    assert reader.fields["adapter.type"].contents() == "lora"
    alpha = reader.fields["adapter.lora.alpha"].contents()
    tensors = {t.name: np.array(t.data).reshape(list(reversed(t.shape.tolist()))) for t in reader.tensors}
    model = reference.load_base(common.GGUF)
    state = model.state_dict()
    for name in [n for n in tensors if n.endswith(".lora_a")]:
        a, b = tensors[name], tensors[name[:-1] + "b"]
        _, layer, part, _, _ = name.split(".")
        key = f"model.layers.{layer}.{reference.NAMES[part]}.weight"
        delta = (alpha / a.shape[0]) * b @ a
        heads = reference.heads_of(model, key)
        state[key] += torch.from_numpy(reference.to_hf(delta, heads) if heads else delta)
    model.load_state_dict(state)
    assert np.abs(logits_of(model, ids) - ours).max() < TOLERANCE
