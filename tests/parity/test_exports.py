"""Results load in the software that users load them with, and give the trainer's logits: the PEFT folder through PeftModel
over the same base, the GGUF adapter applied to the base's matrices by gguf-py and numpy alone, the merged folder in Transformers,
the merged GGUF file by gguf-py. Needs PyTorch."""
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
    common.make_run(folder, rows, {"max_steps": 3, "batch_size": 4, "learning_rate": 2e-3, "warmup_ratio": 0, **request.param},
                    exports=["peft", "gguf"] + ([] if request.param else ["merged", "merged_gguf"]))
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


def test_gguf_adapter_in_llamacpp(run, ids, ours):
    """Both read the base's blocks: llama.cpp multiplies by its own quantised activations, which moves the log probabilities a little."""
    (plain,), (found,) = (common.llamacpp(common.GGUF, [ids], adapter) for adapter in (None, run / "artifacts" / "gguf" / "adapter.gguf"))
    expected = torch.log_softmax(torch.tensor(ours[-1]), -1)
    off, without = ([abs(value - expected[token].item()) for token, value in one.items()] for one in (found, plain))
    assert sum(off) / len(off) < 0.25 and sum(without) > 2 * sum(off), (off, without)  # without it, it is another model


def test_merged_folder(run, ids, ours):
    import transformers
    if not (run / "artifacts" / "merged").exists():
        pytest.skip("of the first run only: such files are large")
    folder = run / "artifacts" / "merged"
    model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert np.abs(logits_of(model.eval(), ids) - ours).max() < 10 * TOLERANCE  # W + s·B·A rounded once more
    assert transformers.AutoTokenizer.from_pretrained(folder)("a b").input_ids


def test_merged_gguf(run, ids, ours):
    """F16 matrices; the same fields as the base's; its logits are the trainer's but for the rounding."""
    import gguf
    import reference
    path = run / "artifacts" / "merged_gguf" / "model.gguf"
    if not path.exists():
        pytest.skip("of the first run only: such files are large")
    merged, base = gguf.GGUFReader(path), gguf.GGUFReader(common.GGUF)
    assert {t.name: t.shape.tolist() for t in merged.tensors} == {t.name: t.shape.tolist() for t in base.tensors}
    assert {t.tensor_type.name for t in merged.tensors} == {"F16", "F32"}
    new = {"general.file_type", "general.quantization_version"}
    for key, field in base.fields.items():
        if not key.startswith("GGUF.") and key not in new:
            assert merged.fields[key].contents() == field.contents(), key
    assert merged.fields["general.file_type"].contents() == 1
    assert np.abs(logits_of(reference.load_base(str(path)), ids) - ours).max() < 0.5


@pytest.mark.parametrize("kind", ["q8_0", "q4_0"])
def test_requantised(kind, tmp_path):
    """Blocks are gguf-py's own for the same values, and the drift is told."""
    import gguf
    import test_folder
    test_folder.make_folder("gpt-2", tmp_path / "model", "llama")
    rows = [common.chat_row(*r) for r in common.reviews(8)]
    common.make_run(tmp_path / "run", rows, {"max_steps": 1, "batch_size": 4, "learning_rate": 1e-3, "max_length": 64},
                    base=str(tmp_path / "model"), exports=["merged_gguf", "merged"], gguf_dtype=kind)
    done = subprocess.run([str(common.HONED), "train", str(tmp_path / "run")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    from safetensors.numpy import load_file
    exact = load_file(tmp_path / "run" / "artifacts" / "merged" / "model.safetensors")
    reader = gguf.GGUFReader(tmp_path / "run" / "artifacts" / "merged_gguf" / "model.gguf")
    tensors = {t.name: t for t in reader.tensors}
    for name, hf in (("blk.2.ffn_down.weight", "model.layers.2.mlp.down_proj.weight"), ("blk.0.attn_v.weight", "model.layers.0.self_attn.v_proj.weight"),
                     ("token_embd.weight", "model.embed_tokens.weight")):
        assert tensors[name].tensor_type.name == kind.upper()
        assert (tensors[name].data == gguf.quantize(exact[hf], tensors[name].tensor_type)).all()
    drift = {e["data"]["artifact"]: e["data"] for e in common.events(tmp_path / "run", "verified")}
    assert drift["merged"]["max_abs_logit_diff"] < 1e-5 < drift["merged_gguf"]["max_abs_logit_diff"] and drift["merged_gguf"]["passed"]
    answer = common.helper("predict", {"model": {"path": str(tmp_path / "model")}, "source": {"run_dir": str(tmp_path / "run"), "step": "exported"},
                                       "inputs": ["Say yes."], "max_tokens": 3})
    assert "text" in answer["result"]["data"][0]


@pytest.mark.parametrize("family, method", [("llama tied, biases", "lora"), ("gpt2", "full")])
def test_shards(family, method, tmp_path):
    """Weights beyond max_shard_bytes lie in several files, with the index that save_pretrained would write; Transformers loads them
    with tied embeddings, and the engine takes them as a base. The same values as in one file."""
    import test_folder
    import transformers
    from safetensors.torch import load_file
    test_folder.make_folder("gpt-2", tmp_path / "model", family)
    rows, limit, merged = [common.chat_row(*r) for r in common.reviews(8)], 60000, {}
    for name, more in (("one", {}), ("several", {"max_shard_bytes": limit})):
        folder = tmp_path / name
        common.make_run(folder, rows, {"max_steps": 1, "batch_size": 4, "learning_rate": 1e-3, "max_length": 64}, base=str(tmp_path / "model"),
                        exports=["merged"], method=method, **more)
        done = subprocess.run([str(common.HONED), "train", str(folder)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        merged[name] = folder / "artifacts" / "merged"
        told = {e["data"]["path"] for e in common.events(folder, "artifact")}
        listed = [f["path"] for f in json.loads((folder / "artifacts" / "manifest.json").read_text())["files"]]
        assert listed == sorted(f"merged/{f.name}" for f in merged[name].iterdir()) and told == {*listed, "manifest.json"}
        assert [e["data"]["passed"] for e in common.events(folder, "verified")] == [True]
    one = load_file(merged["one"] / "model.safetensors")
    shards = sorted(f.name for f in merged["several"].glob("*.safetensors"))
    assert len(shards) > 2 and shards == [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    index = json.loads((merged["several"] / "model.safetensors.index.json").read_text())
    assert not (merged["one"] / "model.safetensors.index.json").exists()
    seen = {}
    for shard in shards:
        held = load_file(merged["several"] / shard)
        assert sum(v.nbytes for v in held.values()) <= limit or len(held) == 1
        assert {k for k, v in index["weight_map"].items() if v == shard} == held.keys()
        seen |= held
    assert seen.keys() == one.keys() and all(torch.equal(seen[k], one[k]) for k in one)
    model, info = transformers.AutoModelForCausalLM.from_pretrained(merged["several"], output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight and "lm_head.weight" not in seen
    model.save_pretrained(tmp_path / "theirs", max_shard_size=limit)
    theirs = json.loads((tmp_path / "theirs" / "model.safetensors.index.json").read_text())
    assert theirs["metadata"] == index["metadata"] and theirs["weight_map"].keys() == index["weight_map"].keys()
    ids = np.random.default_rng(1).integers(4, 600, 40).tolist()
    found = []
    for folder in merged.values():
        common.probe({"model": str(folder), "rows": [ids], "what": "logits", "out": str(tmp_path / "logits")}, tmp_path)
        found.append(np.fromfile(tmp_path / "logits", np.float32))
    assert (found[0] == found[1]).all()
    want = logits_of(model.eval(), ids)
    assert np.abs(found[1].reshape(want.shape) - want).max() < 2e-5 * np.abs(want).max()


def test_too_many_shards(tmp_path):
    import test_families
    import test_folder
    import transformers
    config = transformers.LlamaConfig(**{**test_families.SIZES, "hidden_size": 16, "num_hidden_layers": 112, "vocab_size": 600})
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    test_folder.make_tokenizer("gpt-2", tmp_path / "model")
    (tmp_path / "train").write_text("".join(json.dumps(common.chat_row(*r)) + "\n" for r in common.reviews(4)))
    ask = {"model": {"path": str(tmp_path / "model")}, "train": {"path": str(tmp_path / "train"), "format": "jsonl"}, "validation": "none",
           "hyperparameters": {}, "now": "2026-01-31", "exports": ["merged"]}
    refused = common.helper("job.plan", {**ask, "max_shard_bytes": 1})["error"]
    assert refused["field"] == "max_shard_bytes" and "1011" in refused["message"] and "5000000000" in refused["hint"]
    assert "result" in common.helper("job.plan", {**ask, "max_shard_bytes": 100000})
    assert "result" in common.helper("job.plan", {**ask, "max_shard_bytes": 1, "exports": ["peft"]})


def test_another_precision_of_the_base(tmp_path):
    """The same weights as an F32 folder, whose rows of queries and keys stand in another order: the adapter must agree there.
    Rounded to bfloat16 they are near; another model is refused before anything is trained."""
    import reference
    base = reference.load_base(common.short_model())
    base.save_pretrained(tmp_path / "f32")
    base.to(torch.bfloat16).save_pretrained(tmp_path / "bf16")
    others = [{"name": n, "path": str(tmp_path / n), "sha256": n} for n in ("f32", "bf16")]
    rows, knobs = [common.chat_row(*r) for r in common.reviews(4)], {"max_steps": 2, "batch_size": 2, "learning_rate": 2e-3}
    plan = common.make_run(tmp_path / "run", rows, knobs, verify_on=others, exports=["gguf", "peft"], base=common.short_model())
    for i, other in enumerate(others):
        (tmp_path / "run" / plan["host"]["verify_on"][i]["file"]).symlink_to(other["path"])
    done = subprocess.run([str(common.HONED), "train", str(tmp_path / "run")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {e["data"].get("base"): e["data"] for e in common.events(tmp_path / "run", "verified")}
    assert set(found) == {None, "f32", "bf16"} and found["f32"]["base_sha256"] == "f32"
    assert found["f32"]["max_abs_logit_diff"] < TOLERANCE and found["f32"]["argmax_agreement"] == 1
    assert TOLERANCE < found["bf16"]["max_abs_logit_diff"] < 5 and 0 < found["bf16"]["mean_kl"] < 0.05
    # A trainer that dies between its own comparison and the others tells each of them once, and of nothing else.
    told = (tmp_path / "run" / "events.jsonl").read_text().splitlines(keepends=True)
    own = next(i for i, line in enumerate(told) if json.loads(line)["type"] == "verified")
    (tmp_path / "run" / "events.jsonl").write_text("".join(told[:own + 1]))
    subprocess.run([str(common.HONED), "train", str(tmp_path / "run")], capture_output=True, check=True)
    again = [e["data"] for e in common.events(tmp_path / "run", "verified")]
    assert again == [json.loads(line)["data"] for line in told if json.loads(line)["type"] == "verified"]
    assert "not_reproduced" not in (tmp_path / "run" / "events.jsonl").read_text()
    config = base.config
    config.num_hidden_layers = 2
    type(base)(config).save_pretrained(tmp_path / "small")
    reply = common.helper("job.plan", {"model": {"path": common.GGUF, "sha256": "0", "name": "base"}, "hyperparameters": knobs,
                                       "train": {"path": str(tmp_path / "run" / "inputs" / "train"), "sha256": "1"}, "memory_bytes": 8 << 30,
                                       "verify_on": [{"name": "small", "path": str(tmp_path / "small"), "sha256": "2"}]})
    assert reply["error"]["field"] == "verify_on[0]" and "small" in reply["error"]["message"]
