"""What the plan says before a run starts, beside what the kernel says the trainer's largest resident set was."""
import json
import shutil
import subprocess
import sys

import pytest

import common

# A process of its own, and small: a child's figure begins with what its parent has when it forks.
WATCH = """
import resource, subprocess, sys
done = subprocess.run([sys.argv[1], "train", sys.argv[2]], stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""
pytestmark = pytest.mark.skipif(not common.GGUF or not common.REVIEWS, reason="needs the model and the reviews")


def long_rows():
    texts = [text for text, _ in common.reviews(120)]
    return [{"text": " ".join(texts[i:i + 14])} for i in range(0, 100, 5)]


def chat_rows():
    return [common.chat_row(*r) for r in common.reviews(60)]


@pytest.mark.parametrize("name, layers, rows, method, knobs, memory", [
    ("answers", 30, chat_rows, "lora", {"batch_size": 8}, 8 << 30),
    ("texts", 8, long_rows, "lora", {"batch_size": 4}, 8 << 30),
    ("texts in little memory", 8, long_rows, "lora", {"batch_size": 4}, 330 << 20),
    ("full", 8, chat_rows, "full", {"batch_size": 8}, 8 << 30)])
def test_resident_set(name, layers, rows, method, knobs, memory, tmp_path):
    folder = tmp_path / "run"
    data = rows()
    plan = common.make_run(folder, data, {"max_steps": 1, **knobs}, method=method, validation=data[:3], samples=1,
                           memory_bytes=memory, base=common.short_model(layers))
    done = subprocess.run([sys.executable, "-c", WATCH, str(common.HONED), str(folder)], capture_output=True, text=True)
    shutil.rmtree(folder / "artifacts", ignore_errors=True)
    assert done.returncode == 0, done.stderr
    planned, resident = plan["plan"]["peak_bytes"], int(done.stdout) << 10
    event = common.events(folder, "plan")[0]["data"]
    assert event["peak_bytes"] == planned == plan["dry_run"]["peak_bytes"]
    assert planned <= memory
    assert 0.98 < planned / resident < 1.10, (planned >> 20, resident >> 20)
    if memory < 1 << 30:
        assert plan["plan"]["recompute"] or json.loads((folder / "spec.json").read_text())["run"]["hyperparameters"]["micro_batch_tokens"] < 1024
