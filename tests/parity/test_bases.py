"""Bases in the shapes in which people have them: flags that disagree with the tensors, files beside the weights, names that
wrappers left behind, beside what Transformers makes of the same folder. Needs PyTorch."""
import json
import pathlib

import numpy as np
import pytest

import common
import test_families

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from safetensors.numpy import load_file, save_file  # noqa: E402

IDS = [5, 70, 71, 72, 73, 74, 75, 99, 100, 33]


def edit_config(folder, **changes):
    """Sets fields of config.json; None takes one out."""
    path = pathlib.Path(folder) / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def logits_of(folder, out):
    common.probe({"model": str(folder), "rows": [IDS], "what": "logits", "out": str(out / "logits")}, out)
    return np.fromfile(out / "logits", np.float32).reshape(len(IDS), -1)


def agree(folder, out):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    theirs = model(torch.tensor([IDS])).logits[0].detach().numpy()
    assert np.abs(logits_of(folder, out) - theirs).max() < 1e-4 * np.abs(theirs).max()
    return model


EMBEDDINGS = {"gpt2": "transformer.wte.weight"}


@pytest.mark.parametrize("flag", [True, False, None], ids=["tied", "untied", "unsaid"])
@pytest.mark.parametrize("stored", ["equal", "different", "embedding", "head"])
@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3", "gemma3", "gpt2"])
def test_tied_or_not(family, stored, flag, tmp_path):
    """The flag and the stored tensors in all combinations: what Transformers does, or a refusal where it would begin at random."""
    folder = tmp_path / "model"
    test_families.make(family, folder)
    edit_config(folder, tie_word_embeddings=flag)
    tensors, embedding = load_file(folder / "model.safetensors"), EMBEDDINGS.get(family, "model.embed_tokens.weight")
    head = tensors[embedding] if stored != "different" else tensors[embedding][::-1].copy()
    tensors["lm_head.weight"] = head.copy()
    if stored in ("embedding", "head"):
        del tensors["lm_head.weight" if stored == "embedding" else embedding]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    tied = family in ("gemma3", "gpt2") if flag is None else flag
    if stored in ("equal", "different") or tied:
        model = agree(folder, tmp_path)
        assert (model.lm_head.weight is model.get_input_embeddings().weight) == (tied and stored != "different")
    else:
        with pytest.raises(AssertionError, match=r"have no lm_head\.weight.*tie_word_embeddings|no token embedding"):
            logits_of(folder, tmp_path)


@pytest.mark.parametrize("flag,stored", [(True, "different"), (None, "equal"), (True, "head")])
def test_tied_or_not_is_exported(flag, stored, tmp_path):
    """All weights trained: the flag of the result is what was trained, whatever the base's said."""
    import test_folder
    family = "llama" if flag else "gpt2"
    test_folder.make_folder("gpt-2", tmp_path / "model", family)
    edit_config(tmp_path / "model", tie_word_embeddings=flag)
    tensors, embedding = load_file(tmp_path / "model" / "model.safetensors"), EMBEDDINGS.get(family, "model.embed_tokens.weight")
    tensors["lm_head.weight"] = (-tensors[embedding] if stored == "different" else tensors[embedding]).copy()
    if stored == "head":
        del tensors[embedding]
    save_file(tensors, tmp_path / "model" / "model.safetensors", {"format": "pt"})
    common.make_run(tmp_path / "run", [{"text": "a film of rare beauty"}] * 4, {"max_steps": 2, "batch_size": 2, "learning_rate": 1e-3},
                    method="full", base=tmp_path / "model", exports=["merged"])
    train(tmp_path / "run")
    merged = tmp_path / "run" / "artifacts" / "merged"
    assert json.loads((merged / "config.json").read_text())["tie_word_embeddings"] is (stored != "different")
    assert ("lm_head.weight" in load_file(merged / "model.safetensors")) is (stored == "different")
    agree(merged, tmp_path)


def train(folder):
    import subprocess
    done = subprocess.run([str(common.HONED), "train", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    verified = common.events(folder, "verified")
    assert verified and all(e["data"]["passed"] for e in verified)
