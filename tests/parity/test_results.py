"""Results of every family and task, read back by Transformers of this major version and the last, and PEFT, as their README says:
class, labels, no tensor too few or too many, and the engine's own answers. Needs PyTorch."""
import copy
import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import common
import test_bases
import test_encoders
import test_folder
from test_bases import edit_config

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")
import tiny  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402
pytestmark = pytest.mark.skipif(not common.REVIEWS, reason="needs the reviews")

LAST = os.environ.get("HONE_TEST_TRANSFORMERS4", str(pathlib.Path.home() / ".cache" / "hone" / "transformers4"))
VERSIONS = [None] + ([LAST] if os.path.isdir(LAST) else [])
TEXTS = ["a film of rare beauty", "very dull", "good good scene"]
WORDS = [t.split() for t in TEXTS]
LABELS = ["bad", "good", "so so"]
ANSWERS = [["who is good", "the actor was good and the plot bad"], ["what is dull", "a long tale is dull"]]


READERS = {}


@pytest.fixture(scope="module", autouse=True)
def readers():
    yield
    for reader in READERS.values():
        reader.stdin.close()
        reader.wait()
    READERS.clear()


def read(kind, folder, inputs, adapter=None, version=None, **load):
    """What tests/parity/read_result.py finds, under the given version of Transformers."""
    if version not in READERS:
        env = {**os.environ, **({"PYTHONPATH": version} if version else {})}
        READERS[version] = subprocess.Popen([sys.executable, str(common.ROOT / "tests" / "parity" / "read_result.py")], text=True, env=env,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    reader = READERS[version]
    reader.stdin.write(json.dumps({"kind": kind, "folder": str(folder), "adapter": str(adapter) if adapter else None, "inputs": inputs,
                                   "load": load}) + "\n")
    reader.stdin.flush()
    while not (line := reader.stdout.readline()).startswith("ANSWER"):
        assert line, "the reader ended"
    found = json.loads(line.removeprefix("ANSWER"))
    assert "error" not in found, found["error"]
    assert found["version"].startswith("4." if version else "5.")
    return found


def older_class(folder):
    """The tokenizer's class by the name that both versions know: version 5 saves one of its own."""
    path = folder / "tokenizer_config.json"
    path.write_text(path.read_text().replace("TokenizersBackend", "PreTrainedTokenizerFast"))


def as_told(adapter):
    """With what the README of an adapter says to load the base."""
    call = re.search(r"from_pretrained\(BASE, ([^`]*)\)`", (adapter / "README.md").read_text())
    return eval(f"dict({call[1]})") if call else {}


def make_encoder(name, folder):
    """The bare encoder with a tokenizer of its family."""
    config = copy.deepcopy(test_encoders.MODELS[name])
    torch.manual_seed(3)
    if name == "roberta":
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
        tok = Tokenizer(models.BPE())
        tok.pre_tokenizer, tok.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        tok.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                                           special_tokens=["<s>", "<pad>", "</s>", "<unk>"], show_progress=False))
        tok.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
        fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tok, bos_token="<s>", cls_token="<s>", eos_token="</s>", sep_token="</s>",
                                                    unk_token="<unk>", pad_token="<pad>")
        config.vocab_size = len(fast)
        fast.save_pretrained(folder)
    else:
        tiny.bert(folder)
        config.vocab_size = len((folder / "vocab.txt").read_text().splitlines())
        fast = transformers.BertTokenizerFast.from_pretrained(str(folder))
        (folder / "model.safetensors").unlink()
        fast.save_pretrained(folder)
    transformers.AutoModel.from_config(config).save_pretrained(folder)


def rows_of(task):
    if task == "generation":
        return [{"text": t} for t in TEXTS * 2]
    if task == "tags":
        return [{"tokens": w, "tags": ["O" if len(x) < 4 else "B-LONG" for x in w]} for w in WORDS * 2]
    if task == "answers":
        return [{"question": q, "context": c, "answers": {"text": [c.split()[1]], "answer_start": [c.index(c.split()[1])]}} for q, c in ANSWERS * 2]
    labels = {"classes": LABELS, "several": [["bad"], ["good", "so so"], []], "number": [0.5, 1.25, -2.5]}[task]
    return [{"text": t, "label": x} for t, x in list(zip(TEXTS, labels)) * 2]


KINDS = {"generation": "AutoModelForCausalLM", "tags": "AutoModelForTokenClassification", "answers": "AutoModelForQuestionAnswering"}
TYPES = {"classes": "single_label_classification", "several": "multi_label_classification", "number": "regression"}
DECODERS = ["llama", "mistral", "qwen2", "qwen3", "gemma3", "gpt2"]
CASES = [(f, t) for f in DECODERS for t in ("generation", "classes", "several", "number", "tags") if (f, t) != ("gemma3", "tags")] + \
        [(f, t) for f in ("bert", "roberta", "distilbert") for t in ("classes", "several", "number", "tags", "answers")]


def check_answers(task, answers, logits, labels):
    for answer, row in zip(answers, map(torch.tensor, logits)):
        if task == "classes":
            assert [answer["probabilities"][x] for x in labels] == pytest.approx(torch.softmax(row, -1).tolist(), abs=2e-4)
        elif task == "several":
            assert [answer["probabilities"][x] for x in labels] == pytest.approx(torch.sigmoid(row).tolist(), abs=2e-4)
        elif task == "number":
            assert answer["value"] == pytest.approx(row[0].item(), abs=2e-3)


@pytest.mark.parametrize("family,task", CASES)
def test_read_back(family, task, tmp_path):
    base, run = tmp_path / "model", tmp_path / "run"
    if family in DECODERS:
        test_folder.make_folder("gpt-2", base, family)
        edit_config(base, pad_token_id=0)  # Transformers finds a row's last token by it
        if family == "gemma3":
            edit_config(base, layer_types=None, query_pre_attn_scalar=16)  # what GGUF files mean
    else:
        base.mkdir() if family == "roberta" else None
        make_encoder(family, base)
    older_class(base)
    # What another task and another file left in the base's configuration
    edit_config(base, num_labels=7, id2label={str(i): f"X{i}" for i in range(7)}, label2id={f"X{i}": i for i in range(7)},
                problem_type="regression", quantization_config=0, auto_map={"AutoModel": "x.py"})
    exports = ["peft", "merged"] + (["gguf", "merged_gguf"] if task == "generation" else [])
    rows = rows_of(task)
    plan = common.make_run(run, rows, {"max_steps": 3, "batch_size": 2, "learning_rate": 5e-3, "lora_rank": 4, "max_length": 48}, base=base,
                           method="lora", exports=exports, export_dtype="f32")
    test_bases.train(run)
    art, kind = run / "artifacts", KINDS.get(task, "AutoModelForSequenceClassification")
    inputs = {"tags": WORDS, "answers": ANSWERS}.get(task, TEXTS)
    labels = plan["run"].get("labels")
    asked = [{"question": q, "context": c} for q, c in ANSWERS] if task == "answers" else inputs
    answers = None if task == "generation" else common.helper("predict", {
        "model": {"path": str(base)}, "source": {"run_dir": str(run), "step": "exported"}, "inputs": asked})["result"]["data"]
    outputs = len(labels) if labels else 1 if task == "number" else 2
    edit_config(base, quantization_config=None, auto_map=None, id2label=None, label2id=None, num_labels=None, problem_type=None)
    first = None
    for version in VERSIONS:
        merged = read(kind, art / "merged", inputs, version=version)
        assert not merged["missing"] and not merged["unexpected"] and not merged["stale"]
        assert merged["architectures"] == [merged["class"]] and merged["problem_type"] == TYPES.get(task)
        assert merged["dtype"] == "torch.float32"
        if task != "generation":
            assert merged["num_labels"] == outputs and len(merged["label2id"]) == outputs
            if labels:
                assert merged["id2label"] == {str(i): x for i, x in enumerate(labels)}
            check_answers(task, answers, merged["logits"], labels)
        adapted = read(kind, base, inputs, art / "peft", version, **as_told(art / "peft"))
        for a, b in zip(merged["logits"], adapted["logits"]):
            assert np.allclose(a, b, atol=2e-4 * max(1, np.abs(a).max()))
        first = first or merged["logits"]
        assert all(np.allclose(a, b, atol=1e-4 * max(1, np.abs(a).max())) for a, b in zip(first, merged["logits"]))
    if task == "generation":
        ids = transformers.AutoTokenizer.from_pretrained(base)(TEXTS[0])["input_ids"]
        common.probe({"model": str(art / "merged_gguf" / "model.gguf"), "rows": [ids], "what": "logits", "out": str(tmp_path / "l")}, tmp_path)
        ours = np.fromfile(tmp_path / "l", np.float32).reshape(len(ids), -1)
        assert np.abs(ours - np.array(first[0])).max() < 2e-2 * np.abs(first[0]).max()  # matrices are F16 there
        (found,) = common.llamacpp(art / "merged_gguf" / "model.gguf", [ids])
        expected = torch.log_softmax(torch.tensor(ours[-1]), -1)
        assert found and all(abs(value - expected[token].item()) < 2e-2 for token, value in found.items()), (found, expected.topk(5))


@pytest.mark.parametrize("family,changes,words", [("gemma3", {"query_pre_attn_scalar": 24}, "the scale of attention"),
                                                  ("llama", {"hidden_act": "gelu"}, "the activation")])
def test_what_gguf_cannot_say_is_refused(family, changes, words, tmp_path):
    test_folder.make_folder("gpt-2", tmp_path / "model", family)
    edit_config(tmp_path / "model", layer_types=None, **{"query_pre_attn_scalar": 16, **changes})
    with pytest.raises(AssertionError, match=words):
        common.make_run(tmp_path / "run", rows_of("generation"), {"max_steps": 1}, base=tmp_path / "model", exports=["merged_gguf"])


def test_generation_settings(tmp_path):
    """How the base's authors have it sampled, and every token that ends a text: in config.json, generation_config.json and GGUF."""
    import gguf
    base, run = tmp_path / "model", tmp_path / "run"
    tiny.llama(base)
    edit_config(base, eos_token_id=[0, 2])
    (base / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 2], "do_sample": True, "temperature": 0.6, "top_p": 0.9}))
    common.make_run(run, [{"text": t} for t in TEXTS], {"max_steps": 1}, base=base, exports=["merged", "merged_gguf"])
    test_bases.train(run)
    merged = run / "artifacts" / "merged"
    for version in VERSIONS:
        found = read("AutoModelForCausalLM", merged, TEXTS, version=version)
        assert found["eos"] == [0, 2]
        assert found["generation"] == {"eos_token_id": [0, 2], "do_sample": True, "temperature": 0.6, "top_p": 0.9}
    fields = gguf.GGUFReader(run / "artifacts" / "merged_gguf" / "model.gguf").fields
    assert {fields[f"tokenizer.ggml.{k}_token_id"].contents() for k in ("eos", "eot")} == {0, 2}


@pytest.mark.parametrize("source,name", [("https://huggingface.co/acme/tiny-1", "acme/tiny-1"), ("acme/tiny-1", "acme/tiny-1"),
                                         ("models--acme--tiny-1/snapshots/abc", "acme/tiny-1"), (None, None)])
def test_adapters_name_their_base(source, name, tmp_path):
    base, run = tiny.llama(tmp_path / "model"), tmp_path / "run"
    common.make_run(run, [{"text": t} for t in TEXTS], {"max_steps": 1}, base=base, exports=["peft"],
                    model={"path": str(base), "sha256": "0" * 64, "name": "base", "source": source})
    test_bases.train(run)
    config = json.loads((run / "artifacts" / "peft" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == name
    read("AutoModelForCausalLM", base, TEXTS, run / "artifacts" / "peft")


ROPES = {"llama3": lambda w: w.add_tensor("rope_freqs.weight", np.array([1, 1, 1, 1.5, 3.0, 8, 8, 8], np.float32)),
         "linear": lambda w: (w.add_string("llama.rope.scaling.type", "linear"), w.add_rope_scaling_factor(4.0)),
         "yarn": lambda w: (w.add_string("llama.rope.scaling.type", "yarn"), w.add_rope_scaling_factor(4.0), w.add_rope_scaling_orig_ctx_len(128))}


def rewrite(source, target, change=None, alignment=None, drop=(), **fields):
    """A GGUF file with other fields."""
    import gguf
    import gguf.quants
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    if alignment:
        writer.add_custom_alignment(alignment)
    for key, field in reader.fields.items():
        if key.startswith(("GGUF.", "hone.")) or key == "general.architecture" or key in drop:
            continue
        kind = field.types[0]
        writer.add_key_value(key, field.contents(), kind, sub_type=field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    for key, value in fields.items():
        writer.add_key_value(key.replace("__", "."), value, gguf.GGUFValueType.UINT16 if isinstance(value, int) else gguf.GGUFValueType.STRING)
    for t in reader.tensors:
        writer.add_tensor(t.name, np.array(t.data), raw_dtype=t.tensor_type)
    if change:
        change(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def make_gguf(folder):
    """A small base as a GGUF file, made by a run."""
    test_folder.make_folder("gpt-2", folder / "hf", "llama")
    older_class(folder / "hf")
    common.make_run(folder / "first", [{"text": t} for t in TEXTS], {"max_steps": 1}, base=folder / "hf", exports=["merged_gguf"])
    test_bases.train(folder / "first")
    return folder / "first" / "artifacts" / "merged_gguf" / "model.gguf"


def run_on_gguf(folder, base, exports, monkeypatch):
    monkeypatch.setattr(common, "GGUF", str(base))
    common.make_run(folder, [{"text": t} for t in TEXTS], {"max_steps": 1, "max_length": 48, "learning_rate": 1e-6}, exports=exports)
    test_bases.train(folder)
    return folder / "artifacts"


def test_gguf_layout_of_the_base(tmp_path, monkeypatch):
    """Alignment, parts and the importance matrix of the base's file are not the result's."""
    import gguf
    base = rewrite(make_gguf(tmp_path), tmp_path / "base.gguf", alignment=64, split__count=1, split__no=0, split__tensors__count=21,
                   quantize__imatrix__file="x.dat")
    made = gguf.GGUFReader(run_on_gguf(tmp_path / "run", base, ["merged_gguf", "gguf"], monkeypatch) / "merged_gguf" / "model.gguf")
    assert not [k for k in made.fields if k.startswith(("general.alignment", "split.", "quantize."))]
    assert {t.name for t in made.tensors} == {t.name for t in gguf.GGUFReader(base).tensors}


@pytest.mark.parametrize("kind", ["linear", "yarn", "llama3"])
def test_scaled_rope_of_a_gguf_base(kind, tmp_path, monkeypatch):
    """Into config.json as Transformers reads it."""
    plain = make_gguf(tmp_path)
    if kind == "llama3":  # by the formula
        scaled = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["llama3"](transformers.LlamaConfig(
            hidden_size=64, num_attention_heads=4, max_position_embeddings=512, rope_parameters={
                "rope_type": "llama3", "rope_theta": 1e4, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192}), "cpu")[0].numpy()
        change = lambda w: w.add_tensor("rope_freqs.weight", (1e4 ** -(np.arange(8) / 8) / scaled).astype(np.float32))  # noqa: E731
    else:
        change = ROPES[kind]
    base = rewrite(plain, tmp_path / "base.gguf", change)
    art = run_on_gguf(tmp_path / "run", base, ["merged", "merged_gguf"], monkeypatch)
    assert json.loads((art / "merged" / "config.json").read_text())["rope_parameters"]["rope_type"] == kind
    ids = transformers.AutoTokenizer.from_pretrained(art / "merged")(TEXTS[0])["input_ids"]
    common.probe({"model": str(base), "rows": [ids], "what": "logits", "out": str(tmp_path / "l")}, tmp_path)
    ours = np.fromfile(tmp_path / "l", np.float32).reshape(len(ids), -1)
    for version in VERSIONS:
        found = np.array(read("AutoModelForCausalLM", art / "merged", TEXTS[:1], version=version)["logits"][0])
        assert np.abs(found - ours).max() < 0.02 * np.abs(ours).max()  # one small step lies between


# Heads that a base brings

NAMES = ["good", "so so", "bad"]  # in an order that no sorting has


def with_head(family, folder, names, kind="AutoModelForSequenceClassification"):
    """A base that was trained for a task; names: None for those that Transformers gives."""
    if family in DECODERS:
        test_folder.make_folder("gpt-2", folder, family)
        edit_config(folder, pad_token_id=0)
    else:
        folder.mkdir() if family == "roberta" else None
        make_encoder(family, folder)
    older_class(folder)
    torch.manual_seed(5)
    named = {"id2label": dict(enumerate(names))} if names else {}
    model = getattr(transformers, kind).from_pretrained(folder, num_labels=len(names or NAMES), **named)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "classifier" in name or "score" in name or "qa_outputs" in name:
                value += 0.5 * torch.randn(value.shape)
    model.save_pretrained(folder)


def plan_and_train(tmp_path, rows, **more):
    """A step that moves next to nothing: answers are still those of the base's head."""
    plan = common.make_run(tmp_path / "run", rows, {"max_steps": 1, "batch_size": 2, "learning_rate": 1e-9, "lora_rank": 2, "max_length": 48},
                           base=tmp_path / "model", exports=["peft", "merged"], export_dtype="f32", **more)
    test_bases.train(tmp_path / "run")
    return plan


def ask(tmp_path, inputs):
    return common.helper("predict", {"model": {"path": str(tmp_path / "model")}, "source": {"run_dir": str(tmp_path / "run"), "step": "exported"},
                                     "inputs": inputs})["result"]["data"]


def by_name(logits, names):
    return [dict(zip(names, torch.softmax(torch.tensor(row), -1).tolist())) for row in logits]


@pytest.mark.parametrize("family,given", [(f, None) for f in ("bert", "roberta", "distilbert", "llama", "gpt2")] +
                         [("bert", ["bad", "good", "so so"]), ("llama", ["so so", "bad", "good"])])
def test_rows_of_a_head_follow_names(family, given, tmp_path):
    """The base's order where nobody asks for another; in any order each label has the base's row of that name."""
    with_head(family, tmp_path / "model", NAMES)
    theirs = by_name(read("AutoModelForSequenceClassification", tmp_path / "model", TEXTS)["logits"], NAMES)
    plan = plan_and_train(tmp_path, rows_of("classes"), **({"labels": given} if given else {}))
    labels = plan["run"]["labels"]
    assert labels == (given or NAMES) and plan["plan"]["head"] == plan["dry_run"]["head"] == "reused"
    for answer, base in zip(ask(tmp_path, TEXTS), theirs):
        assert answer["probabilities"] == pytest.approx(base, abs=1e-4)
    art = tmp_path / "run" / "artifacts"
    for folder, adapter, load in ((art / "merged", None, {}), (tmp_path / "model", art / "peft", as_told(art / "peft"))):
        found = read("AutoModelForSequenceClassification", folder, TEXTS, adapter, **load)
        assert [found["id2label"][str(i)] for i in range(3)] == labels
        for row, base in zip(by_name(found["logits"], labels), theirs):
            assert row == pytest.approx(base, abs=1e-4)


@pytest.mark.parametrize("names,labels,head", [
    (None, [0, 1, 2], "reused"), (["x", "y", "z"], LABELS, "new"), (NAMES, ["good", "bad", "good"], "new"), (["bad", "good"], LABELS, "new")],
    ids=["LABEL_0", "others", "fewer", "more"])
def test_heads_of_other_labels(names, labels, head, tmp_path):
    """By default names a number is its row; a head of other labels begins anew; the adapter loads as its README says."""
    with_head("bert", tmp_path / "model", names)
    theirs = by_name(read("AutoModelForSequenceClassification", tmp_path / "model", TEXTS)["logits"], ["0", "1", "2"])
    plan = plan_and_train(tmp_path, [{"text": t, "label": x} for t, x in zip(TEXTS * 2, labels * 2)])
    assert plan["plan"]["head"] == head
    answers, ours = ask(tmp_path, TEXTS), plan["run"]["labels"]
    close = [a["probabilities"] == pytest.approx(b, abs=1e-4) for a, b in zip(answers, theirs)]
    assert all(close) if head == "reused" else not any(close)
    art = tmp_path / "run" / "artifacts"
    for version in VERSIONS:
        found = read("AutoModelForSequenceClassification", tmp_path / "model", TEXTS, art / "peft", version, **as_told(art / "peft"))
        assert [found["id2label"][str(i)] for i in range(len(ours))] == ours
        check_answers("classes", answers, found["logits"], ours)


def test_tags_of_a_base(tmp_path):
    names = ["B-LONG", "O"]
    with_head("bert", tmp_path / "model", names, "AutoModelForTokenClassification")
    plan = plan_and_train(tmp_path, rows_of("tags"))
    assert plan["run"]["labels"] == names and plan["plan"]["head"] == "reused"
    theirs = read("AutoModelForTokenClassification", tmp_path / "model", WORDS)
    merged = read("AutoModelForTokenClassification", tmp_path / "run" / "artifacts" / "merged", WORDS)
    assert merged["id2label"] == theirs["id2label"]
    assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(merged["logits"], theirs["logits"]))


def test_answers_of_a_base(tmp_path):
    with_head("bert", tmp_path / "model", ["a", "b"], "AutoModelForQuestionAnswering")
    assert plan_and_train(tmp_path, rows_of("answers"))["plan"]["head"] == "reused"
