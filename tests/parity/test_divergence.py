"""val_kl and neutral_loss of a tiny model, against Transformers with the base's folder and with what was exported."""
import random
import subprocess
import sys

import pytest

import common

sys.path.insert(0, str(common.ROOT / "tests/e2e"))
import fits  # noqa: E402
import tiny  # noqa: E402

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

WINDOW, WINDOWS, TOKENS, LEAST, MOST, TARGETS = 64, 16, 1024, 8, 64, 32  # engine/run/forgetting.h
KNOBS = {"epochs": 2, "batch_size": 8, "max_length": 96, "eval_every": 100}


def spread(n, everything):
    return [(2 * i + 1) * everything // (2 * n) for i in range(n)]


def windows(ids):
    n = len(ids) // WINDOW
    return [ids[i * WINDOW:(i + 1) * WINDOW] for i in spread(min(n, WINDOWS), n)]


def logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].double()


def kl_of(base, tuned, ids, weights):
    """Of each target that is compared, in nats."""
    targets = [i for i in range(1, len(ids)) if weights[i]]
    targets = [targets[i] for i in spread(min(len(targets), TARGETS), len(targets))]
    p, q = (torch.log_softmax(logits(model, ids), -1) for model in (base, tuned))
    each = torch.nn.functional.kl_div(q, p, log_target=True, reduction="none").sum(-1)
    return [each[i - 1].item() for i in targets]


def finished(folder, method):
    base = transformers.AutoModelForCausalLM.from_pretrained(folder.parent / "llama").eval()
    if method == "full":
        return base, transformers.AutoModelForCausalLM.from_pretrained(folder / "artifacts/merged").eval()
    peft = pytest.importorskip("peft")
    again = transformers.AutoModelForCausalLM.from_pretrained(folder.parent / "llama")
    return base, peft.PeftModel.from_pretrained(again, folder / "artifacts/peft").eval()


@pytest.mark.parametrize("method,rate", [("lora", 3e-3), ("full", 1e-2)])
def test_against_transformers(tmp_path, method, rate):
    tiny.llama(tmp_path / "llama")
    chance = random.Random(1)
    held = fits.sayings(chance, 20, 1000) + [{"prompt": "many:", "completion": " " + tiny.sentence(chance, 12)}] * 20  # more rows and targets than are compared
    folder = tmp_path / "run"
    common.make_run(folder, fits.sayings(chance, 60), {**KNOBS, "learning_rate": rate}, validation=held, base=tmp_path / "llama", method=method,
                    export_step="last")
    done = subprocess.run([str(common.HONED), "train", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = common.events(folder, "eval")[-1]["data"]
    base, tuned = finished(folder, method)
    encoded = list(zip(*common.encode(held, tmp_path, str(tmp_path / "llama"))))
    rows = spread(min(len(held), MOST, max(LEAST, TOKENS * len(held) // sum(len(ids) for ids, _ in encoded))), len(held))
    found = [kl_of(base, tuned, *encoded[i]) for i in rows]
    every = [value for row in found for value in row]
    assert max(len(row) for row in found) == TARGETS and LEAST < len(found) < len(held)
    assert told["val_kl"] == pytest.approx(sum(every) / len(every), rel=1e-4) and told["val_kl"] > 0.05
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "llama")
    text = (common.ROOT / "engine/run/neutral.txt").read_text()
    cut = windows(tokenizer(text, add_special_tokens=False)["input_ids"])
    assert len(cut) == WINDOWS
    for model, event in ((base, common.events(folder, "eval")[0]["data"]), (tuned, told)):
        losses = [torch.nn.functional.cross_entropy(logits(model, ids)[:-1], torch.tensor(ids[1:])) for ids in cut]
        assert event["neutral_loss"] == pytest.approx(float(sum(losses)) / WINDOWS, rel=1e-5)
