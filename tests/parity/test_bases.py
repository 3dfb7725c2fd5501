"""Bases in the shapes in which people have them: flags that disagree with the tensors, files beside the weights, names that
wrappers left behind, beside what Transformers makes of the same folder. Needs PyTorch."""
import json
import pathlib
import re
import sys

import numpy as np
import pytest

import common
import test_families

sys.path.append(str(common.ROOT / "tests" / "e2e"))
import tiny  # noqa: E402

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from safetensors.numpy import load_file, save_file  # noqa: E402

IDS = [5, 70, 71, 72, 73, 74, 75, 99, 100, 33]


def edit_config(folder, **changes):
    """Sets fields of config.json; None takes one out."""
    path = pathlib.Path(folder) / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in config.items() if changes.get(k, 0) is not None}))


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


def change_tensors(folder, change):
    """Stores change(tensors) as the folder's weights."""
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})


@pytest.fixture
def plain(tmp_path):
    return tiny.llama(tmp_path / "model")


def inspect(folder, **more):
    return common.helper("model.inspect", {"path": str(folder), **more})


def refusal(folder, **more):
    error = inspect(folder, **more)["error"]
    return error["message"] + " " + error["hint"]


WRAPPERS = {
    "torch.compile": lambda k: "_orig_mod." + k, "DDP": lambda k: "module." + k, "DDP over torch.compile": lambda k: "module._orig_mod." + k,
    "layers compiled": lambda k: k.replace("layers.0.", "layers.0._orig_mod."),
    "FSDP": lambda k: "_fsdp_wrapped_module." + k.replace("layers.1.", "layers.1._fsdp_wrapped_module._checkpoint_wrapped_module."),
    "PEFT": lambda k: "base_model.model." + k, "TRL": lambda k: "pretrained_model." + k, "vision": lambda k: "language_model." + k}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_names_of_wrappers(wrapper, plain, tmp_path):
    before = logits_of(plain, tmp_path)
    change_tensors(plain, lambda tensors: {WRAPPERS[wrapper](k): v for k, v in tensors.items()})
    assert "result" in inspect(plain)
    assert np.array_equal(logits_of(plain, tmp_path), before)


def test_a_name_stored_twice(plain):
    change_tensors(plain, lambda tensors: {**tensors, "_orig_mod.model.norm.weight": tensors["model.norm.weight"] + 1})
    assert "model.norm.weight is stored twice" in refusal(plain)


def test_loads_what_is_harmless(plain, tmp_path):
    """A value head, left-over settings of a quantisation whose weights are plain, a name twice in config.json, tokens that no row of
    the embedding has, an index of an earlier save."""
    before = logits_of(plain, tmp_path)
    change_tensors(plain, lambda tensors: {**tensors, "v_head.summary.weight": np.zeros((1, tiny.WIDTH), np.float32)})
    edit_config(plain, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    (plain / "config.json").write_text((plain / "config.json").read_text().replace('"hidden_size"', '"hidden_size": 7, "hidden_size"'))
    (plain / "model.safetensors.index.json").write_text('{"weight_map": {"model.norm.weight": "model-00001-of-00001.safetensors"}}')
    tokenizer = json.loads((plain / "tokenizer.json").read_text())
    tokenizer["added_tokens"].append({**tokenizer["added_tokens"][0], "id": 400, "content": "<image>"})
    (plain / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert "result" in inspect(plain)
    assert np.array_equal(logits_of(plain, tmp_path), before)
    config = json.loads((plain / "config.json").read_text())
    (plain / "config.json").write_text(json.dumps({**config, "quantization_config": None}))  # as some save it
    assert "result" in inspect(plain)
    row = {"messages": [{"role": "user", "content": "a <image>"}, {"role": "assistant", "content": "b"}]}
    common.make_run(tmp_path / "run", [row] * 2, {"max_steps": 1}, base=plain)  # plain text in a message stays text


QUANTISED = {
    "gptq, 4 bits": ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, ".qweight"),
    "awq, 4 bits": ({"quantization_config": {"quant_method": "awq", "bits": 4}}, ".qweight"),
    "GPTQ or AWQ": ({}, ".qweight"),
    "bitsandbytes, 8 bits": ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}, ".SCB"),
    "mlx, 4 bits": ({"quantization": {"bits": 4}, "quantization_config": {"bits": 4}}, ".scales"),
    "compressed-tensors": ({"compression_config": {"quant_method": "compressed-tensors"}}, ".weight_packed"),
    "FP8": ({}, ".weight_scale_inv"),
    "bitsandbytes, 4 bits": ({}, ".absmax"),
}


@pytest.mark.parametrize("method", QUANTISED)
def test_quantised(method, plain):
    changes, ending = QUANTISED[method]
    edit_config(plain, **changes)

    def quantise(tensors):
        name = "model.layers.0.mlp.up_proj.weight"
        return {**{k: v for k, v in tensors.items() if k != name}, name.removesuffix(".weight") + ending: np.zeros(4, np.float32)}

    change_tensors(plain, quantise)
    assert "the weights are quantised: " + method in refusal(plain)


def test_fp8(plain):
    """Values of eight bits are named by their method, too, not by their type alone."""
    torch.manual_seed(1)
    import safetensors.torch as st
    tensors = st.load_file(plain / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"] = tensors["model.layers.0.mlp.up_proj.weight"].to(torch.float8_e4m3fn)
    st.save_file(tensors, plain / "model.safetensors", {"format": "pt"})
    edit_config(plain, quantization_config={"quant_method": "fp8"})
    assert "the weights are quantised: fp8" in refusal(plain)


def drop(*names):
    def change(folder):
        for name in names:
            (folder / name).unlink()
    return change


def put(name, content, *without):
    def change(folder):
        drop(*without)(folder)
        (folder / name).write_bytes(content)
    return change


def add_tensors(**tensors):
    return lambda folder: change_tensors(folder, lambda old: {**old, **{k.replace("__", "."): v for k, v in tensors.items()}})


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 268435456\n"
FOUND = {
    "an adapter": (put("adapter_config.json", b'{"base_model_name_or_path": "meta-llama/Llama-3.2-1B"}', "config.json", "model.safetensors"),
                   "a PEFT adapter of .meta-llama/Llama-3.2-1B. .*import the base"),
    "a GGUF file": (put("m.Q4_K_M.gguf", b"GGUF", "config.json", "model.safetensors"), "a GGUF file .m.Q4_K_M.gguf..*its own path"),
    "PyTorch": (put("pytorch_model.bin", b"PK\3\4", "model.safetensors"), "no model.safetensors; it holds weights as PyTorch pickles"),
    "Mistral's layout": (put("consolidated.safetensors", b"", "model.safetensors"), "layout of Meta and Mistral"),
    "parts without index": (put("model-00001-of-00002.safetensors", b"", "model.safetensors"), "parts of the weights without their index"),
    "another name": (put("weights.safetensors", b"", "model.safetensors"), r"another safetensors file \(weights.safetensors\)"),
    "git-lfs": (put("model.safetensors", POINTER), "model.safetensors is a pointer of git-lfs.*git lfs pull"),
    "git-lfs, tokenizer": (put("tokenizer.json", POINTER), "tokenizer.json is a pointer of git-lfs"),
    "a web page": (put("model.safetensors", b"<!DOCTYPE html><html>Sign in"), "model.safetensors is a web page"),
    "JSON": (put("config.json", b'{\n "a": 1,\n "b" 2}'), "config.json is not valid JSON: line 3, column 6"),
    "JSON of the index": (put("model.safetensors.index.json", b'{\n"weight_map": }', "model.safetensors"),
                          "model.safetensors.index.json is not valid JSON: line 2"),
    "ZeRO-3": (add_tensors(model__extra__weight=np.zeros((0,), np.float32)), "stored without values.*ZeRO-3.*zero_to_fp32"),
    "LoRA inside": (add_tensors(model__layers__0__self_attn__q_proj__lora_A__default__weight=np.zeros((2, tiny.WIDTH), np.float32)),
                    "a LoRA adapter that is not merged.*merge_and_unload"),
    "vision": (add_tensors(model__vision_tower__x__weight=np.zeros((2, 2), np.float32)), "a model that sees pictures"),
    "no tokenizer": (put("tokenizer.model", b"x", "tokenizer.json"), r"no tokenizer.json; it has SentencePiece's own file \(tokenizer.model\)"),
}


@pytest.mark.parametrize("case", FOUND)
def test_what_was_found_is_named(case, plain):
    change, words = FOUND[case]
    change(plain)
    assert re.search(words, refusal(plain)), refusal(plain)


GGUF_FILES = {
    "an adapter": ({"general.type": "adapter"}, "a LoRA adapter"), "mmproj": ({"general.architecture": "clip"}, "sees pictures .mmproj."),
    "a part": ({"split.count": 3, "split.no": 1}, "part 2 of 3.*llama-gguf-split --merge"), "a vocabulary": ({}, "a vocabulary alone")}


@pytest.mark.parametrize("case", GGUF_FILES)
def test_gguf_files_of_other_kinds(case, tmp_path):
    import gguf
    fields, words = GGUF_FILES[case]
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", fields.get("general.architecture", "llama"))
    for key, value in fields.items():
        if key != "general.architecture":
            writer.add_uint16(key, value) if isinstance(value, int) else writer.add_string(key, value)
    if case != "a vocabulary":
        writer.add_tensor("x", np.zeros(32, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert re.search(words, refusal(tmp_path / "x.gguf")), refusal(tmp_path / "x.gguf")


@pytest.mark.parametrize("content,words", [(POINTER, "pointer of git-lfs"), (b"PK\3\4 and more", "a zip archive")])
def test_no_gguf_file(content, words, tmp_path):
    (tmp_path / "x.gguf").write_bytes(content)
    assert words in refusal(tmp_path / "x.gguf")


SIZES = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4, vocab_size=211)
DEFAULTS = {  # sizes for which the family's own defaults fit the weights; fields that are left out
    "llama": (transformers.LlamaConfig, {}, ["num_key_value_heads", "head_dim"]),
    "mistral": (transformers.MistralConfig, {"num_attention_heads": 8, "num_key_value_heads": 8}, ["num_key_value_heads", "sliding_window"]),
    "qwen2": (transformers.Qwen2Config, {"num_attention_heads": 32, "num_key_value_heads": 32}, ["num_key_value_heads"]),
    "qwen3": (transformers.Qwen3Config, {"head_dim": 128}, ["head_dim"]),
    "gemma3": (transformers.Gemma3TextConfig, {"head_dim": 256, "query_pre_attn_scalar": 256}, ["num_key_value_heads", "head_dim",
               "query_pre_attn_scalar", "hidden_activation", "sliding_window"]),
    "gpt2": (transformers.GPT2Config, {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 211}, ["n_positions", "n_inner"]),
}
ALWAYS = ["rms_norm_eps", "rope_parameters", "rope_theta", "layer_types", "tie_word_embeddings", "hidden_act", "activation_function",
          "layer_norm_epsilon", "attention_bias", "mlp_bias", "use_sliding_window", "max_window_layers", "max_position_embeddings"]


@pytest.mark.parametrize("family", DEFAULTS)
def test_defaults_of_absent_fields(family, tmp_path):
    kind, sizes, absent = DEFAULTS[family]
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(kind(**({} if family == "gpt2" else SIZES) | sizes))
    with torch.no_grad():
        for value in model.parameters():
            value += 0.1 * torch.randn(value.shape)
    model.save_pretrained(tmp_path / "model")
    edit_config(tmp_path / "model", **{k: None for k in absent + ALWAYS})
    agree(tmp_path / "model", tmp_path)
    if family == "qwen2":  # a window that the flag does not ask for
        edit_config(tmp_path / "model", sliding_window=3, max_window_layers=0)
        agree(tmp_path / "model", tmp_path)


ROPES = {"llama3": test_families.LLAMA3, "linear": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0},
         "dynamic": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}}


@pytest.mark.parametrize("family,kind", [("llama", "llama3"), ("llama", "linear"), ("qwen2", "linear"), ("llama", "dynamic"),
                                         ("mistral", "llama3")])
def test_scaled_rope_into_gguf(family, kind, tmp_path):
    """Llama 3's factors as rope_freqs.weight, a linear scaling by its fields: as llama.cpp's converter has them."""
    import gguf
    import test_folder
    test_folder.make_folder("gpt-2", tmp_path / "model", family)
    edit_config(tmp_path / "model", rope_parameters=ROPES[kind], rope_theta=None)
    agree(tmp_path / "model", tmp_path)
    common.make_run(tmp_path / "run", [{"text": "a film of rare beauty"}] * 4, {"max_steps": 1, "batch_size": 2, "learning_rate": 1e-3},
                    base=tmp_path / "model", exports=["merged", "merged_gguf"], gguf_dtype="f32")
    train(tmp_path / "run")
    artifacts = tmp_path / "run" / "artifacts"
    reader = gguf.GGUFReader(artifacts / "merged_gguf" / "model.gguf")
    model, tensors = agree(artifacts / "merged", tmp_path), {t.name: t for t in reader.tensors}
    if kind == "llama3":
        scaled = model.model.rotary_emb.inv_freq
        plain = 1 / 5e5 ** (torch.arange(len(scaled)) / len(scaled))
        assert np.allclose(tensors["rope_freqs.weight"].data, plain / scaled, rtol=1e-5)
    else:
        assert "rope_freqs.weight" not in tensors
        scaled = reader.fields.get(f"{family}.rope.scaling.factor")
        assert (scaled and scaled.contents()) == (4 if kind == "linear" else None)
    ours = logits_of(artifacts / "merged_gguf" / "model.gguf", tmp_path)
    assert np.abs(ours - logits_of(artifacts / "merged", tmp_path)).max() < 1e-4


def test_gguf_without_a_pre_tokenizer(tmp_path):
    """Cut by llama.cpp's default, and said so."""
    import gguf
    import test_folder
    test_folder.make_folder("gpt-2", tmp_path / "model")
    rows = [{"text": "a film of rare beauty"}] * 4
    common.make_run(tmp_path / "run", rows, {"max_steps": 1, "batch_size": 2}, base=tmp_path / "model", exports=["merged_gguf"])
    train(tmp_path / "run")
    made = tmp_path / "run" / "artifacts" / "merged_gguf" / "model.gguf"
    content = made.read_bytes()
    assert content.count(b"tokenizer.ggml.pre") == 1  # renamed, so that every offset stays
    (tmp_path / "old.gguf").write_bytes(content.replace(b"tokenizer.ggml.pre", b"tokenizer.ggml.prx"))
    assert gguf.GGUFReader(tmp_path / "old.gguf").fields["tokenizer.ggml.model"].contents() == "gpt2"
    for base, codes in ((made, []), (tmp_path / "old.gguf", ["pre_tokenizer_missing"])):
        folder = tmp_path / base.stem
        (folder / "inputs").mkdir(parents=True)
        (folder / "inputs" / "train").write_text("".join(json.dumps(r) + "\n" for r in rows))
        reply = common.helper("job.plan", {
            "model": {"path": str(base), "sha256": "0" * 64, "name": "base"}, "validation": "none", "hyperparameters": {"max_steps": 1},
            "train": {"path": str(folder / "inputs" / "train"), "sha256": "1" * 64, "format": "jsonl"}, "samples": {"rows": 0, "max_tokens": 1},
            "threads": 2, "memory_bytes": 8 << 30, "now": "2026-01-31"})
        assert [w["code"] for w in reply["result"]["warnings"] if w["code"].startswith("pre_")] == codes
