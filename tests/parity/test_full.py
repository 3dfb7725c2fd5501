"""Training of all weights: the losses of torch.optim.AdamW on the same rows, and a merged folder that Transformers loads
and that gives the trainer's logits. Needs PyTorch."""
import json
import shutil
import subprocess

import numpy as np
import pytest

import common

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.skipif(not common.GGUF or not common.REVIEWS, reason="needs the model and the reviews")

STEPS, BATCH = 3, 2
KNOBS = {"max_steps": STEPS, "batch_size": BATCH, "epochs": 1, "learning_rate": 1e-4, "warmup_ratio": 0, "weight_decay": 0.1, "seed": 5}


def train(folder, **more):
    rows = [common.chat_row(*r) for r in common.reviews(STEPS * BATCH)]
    plan = common.make_run(folder, rows, KNOBS, method="full", **more)
    done = subprocess.run([str(common.HONED), "train", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return plan, rows


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    plan, rows = train(folder)
    yield folder, plan, rows
    shutil.rmtree(folder)  # two gigabytes


def follow(folder, rows, knobs, base=common.GGUF):
    """The model after the same steps in PyTorch, with the loss and gradient norm of each."""
    import reference
    steps, size, rate = knobs["max_steps"], knobs["batch_size"], knobs["learning_rate"]
    ids, weights = common.encode(rows, folder)
    model = reference.load_base(base)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    norms = [p for p in model.parameters() if p.dim() == 1]
    matrices = [p for p in model.parameters() if p.dim() > 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0}], lr=rate)
    order, seen = common.shuffle(len(rows), knobs["seed"], 0), []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (steps - step) / steps
        batch = order[step * size:(step + 1) * size]
        optimizer.zero_grad()
        loss = reference.batch_loss(model, [ids[i] for i in batch], [weights[i] for i in batch])
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        seen.append((loss.item(), norm.item()))
        optimizer.step()
    return model, seen


@pytest.fixture(scope="module")
def theirs(run):
    folder, _, rows = run
    return follow(folder, rows, KNOBS)


def test_twenty_losses(tmp_path):
    """Round-off grows with the steps; what stays below it is an error of ours."""
    rows = [common.chat_row(*r) for r in common.reviews(20, 100)]
    knobs = {**KNOBS, "max_steps": 20, "batch_size": 1, "learning_rate": 1e-4, "save_every": 20}
    common.make_run(tmp_path / "run", rows, knobs, method="full", base=common.short_model())
    done = subprocess.run([str(common.HONED), "train", str(tmp_path / "run")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    steps = [e["data"] for e in common.events(tmp_path / "run", "step")]
    _, seen = follow(tmp_path / "run", rows, knobs, common.short_model())
    shutil.rmtree(tmp_path / "run")
    assert len(steps) == 20 and min(loss for loss, _ in seen) < 0.4 * seen[0][0]  # it learns: there is something to follow
    for ours, (loss, norm) in zip(steps, seen):
        assert ours["loss"] == pytest.approx(loss, rel=5e-3, abs=2e-3)


def test_losses(run, theirs):
    steps = [e["data"] for e in common.events(run[0], "step")]
    assert len(steps) == STEPS
    for ours, (loss, norm) in zip(steps, theirs[1]):
        assert ours["loss"] == pytest.approx(loss, rel=1e-3)
        assert ours["grad_norm"] == pytest.approx(norm, rel=1e-3)


def test_plan(run):
    _, plan, _ = run
    assert plan["method"] == "full" and plan["run"]["exports"] == ["merged"]
    parameters = sum(p.numel() for p in transformers.AutoModelForCausalLM.from_pretrained(run[0] / "artifacts" / "merged").parameters())
    assert plan["plan"]["peak_bytes"] > 16 * parameters


def test_merged_folder(run, theirs):
    """Their weights and ours have walked the same three steps; Adam's first steps are near ±lr each, so they stay close."""
    folder, _, _ = run
    merged = folder / "artifacts" / "merged"
    model = transformers.AutoModelForCausalLM.from_pretrained(merged).eval()
    want = dict(theirs[0].named_parameters())
    for name, value in model.named_parameters():
        moved = (value - want[name]).abs()
        assert moved.max() < 6e-4 and moved.mean() < 2e-6, name
    tokenizer = transformers.AutoTokenizer.from_pretrained(merged)
    assert tokenizer.eos_token_id == model.config.eos_token_id
    assert tokenizer.eos_token_id in model.generation_config.eos_token_id
    verified = common.events(folder, "verified")
    assert [v["data"]["artifact"] for v in verified] == ["merged"] and verified[0]["data"]["passed"]


def test_answers(run):
    """Greedy answers of the merged folder in Transformers are those of the engine's own result, and of its last checkpoint."""
    folder, _, _ = run
    merged = folder / "artifacts" / "merged"
    model = transformers.AutoModelForCausalLM.from_pretrained(merged).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(merged)
    chats = [common.chat_row(*r)["messages"][:1] for r in common.reviews(3, offset=100)]
    answers = []
    for chat in chats:
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        out = model.generate(**ids, max_new_tokens=12, do_sample=False)
        answers.append(tokenizer.decode(out[0, ids["input_ids"].shape[1]:], skip_special_tokens=True))
    for step in ("exported", "last"):
        reply = common.helper("predict", {"model": {"path": common.GGUF}, "source": {"run_dir": str(folder), "step": step},
                                          "inputs": chats, "max_tokens": 12})
        assert [x["text"] for x in reply["result"]["data"]] == answers


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_half_precision(dtype, tmp_path):
    """The folder holds the f32 result rounded to nearest even."""
    from safetensors.torch import load_file
    for name, more in (("run", {"export_dtype": dtype}), ("whole", {})):
        train(tmp_path / name, base=common.short_model(), **more)
    half = load_file(tmp_path / "run" / "artifacts" / "merged" / "model.safetensors")
    whole = load_file(tmp_path / "whole" / "artifacts" / "merged" / "model.safetensors")
    assert half.keys() == whole.keys() and "lm_head.weight" not in half
    kind = torch.float16 if dtype == "f16" else torch.bfloat16
    assert all(torch.equal(half[k], whole[k].to(kind)) for k in half)
    assert json.loads((tmp_path / "run" / "artifacts" / "merged" / "config.json").read_text())["dtype"] == str(kind).removeprefix("torch.")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "artifacts" / "merged")
    assert model.dtype == kind and np.isfinite(model(torch.tensor([[1, 2, 3]])).logits.float().detach().numpy()).all()
    seen = common.events(tmp_path / "run", "verified")[0]["data"]
    assert seen["passed"] and 0 < seen["max_abs_logit_diff"] < seen["tolerance"]
    shutil.rmtree(tmp_path)


def test_the_beginning_is_exported_when_nothing_was_better(tmp_path):
    """A learning rate that ruins the model: the result is the base itself, dequantised."""
    import reference
    rows = [common.chat_row(*r) for r in common.reviews(8)]
    common.make_run(tmp_path / "run", rows[:4], {**KNOBS, "max_steps": 2, "learning_rate": 10}, validation=rows[4:], method="full", base=common.short_model())
    done = subprocess.run([str(common.HONED), "train", str(tmp_path / "run")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert common.events(tmp_path / "run", "finished")[0]["data"]["exported_step"] == 0
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "artifacts" / "merged")
    want = reference.load_base(common.short_model()).state_dict()
    assert all(torch.equal(value, want[name]) for name, value in model.state_dict().items())
    shutil.rmtree(tmp_path / "run")


def test_refusals(tmp_path):
    """Exports and number types that a method does not have are refused by name."""
    for more, field in [({"method": "full", "exports": ["gguf"]}, "exports"), ({"method": "full", "exports": ["peft"]}, "exports"),
                        ({"method": "full", "export_dtype": "f8"}, "export_dtype"), ({"method": "half"}, "method")]:
        data = tmp_path / "train"
        data.write_text("".join(json.dumps(common.chat_row(*r)) + "\n" for r in common.reviews(4)))
        reply = common.helper("job.plan", {"model": {"path": common.GGUF}, "train": {"path": str(data), "format": "jsonl"},
                                           "validation": "none", "hyperparameters": {}, "now": "2026-01-31", **more})
        assert reply["error"]["field"] == field
