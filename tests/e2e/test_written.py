"""hyperparameters.eval_generate: answers to validation rows, written at every evaluation and measured as `evaluate` measures them; the same
for any thread count and after any death."""
import json
import pathlib
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parity"))
import common  # noqa: E402
from test_trainer import artifact_hashes, check_sequence, history, rows, train  # noqa: E402

pytestmark = pytest.mark.skipif(not common.GGUF or not common.REVIEWS, reason="needs the model and the reviews")
KNOBS = {"max_steps": 6, "batch_size": 4, "learning_rate": 1e-3, "eval_every": 3, "save_every": 2, "seed": 5, "eval_generate": 100,
         "metric_for_best": "val_exact_match"}
NAMES = {"val_exact_match", "val_f1", "val_rouge_l", "val_chrf", "val_bleu"}


def make(folder, threads=2, **more):
    common.make_run(folder, rows(16), KNOBS, validation=rows(10, 100), **more)
    spec = json.loads((folder / "spec.json").read_text())
    spec["host"]["threads"] = threads
    spec["run"]["samples"]["max_tokens"] = 4
    (folder / "spec.json").write_text(json.dumps(spec))
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = make(tmp_path_factory.mktemp("written") / "run")
    done = train(folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_figures_are_those_of_evaluate(undisturbed):
    evals = [e["data"] for e in common.events(undisturbed, "eval")]
    assert [e["step"] for e in evals] == [0, 3, 6] and all(NAMES <= set(e) for e in evals)
    assert evals[-1]["val_exact_match"] > evals[0]["val_exact_match"]  # one word is asked for, and learned
    finished = common.events(undisturbed, "finished")[0]["data"]
    assert finished["best"]["metric"] == "val_exact_match"
    best = next(e for e in evals if e["step"] == finished["best"]["step"])
    assert best["val_exact_match"] == finished["best"]["value"] == max(e["val_exact_match"] for e in evals)
    reply = common.helper("evaluate", {"model": {"path": common.GGUF}, "source": {"run_dir": str(undisturbed), "step": "exported"},
                                       "data": {"path": str(undisturbed / "inputs" / "validation"), "format": "jsonl"},
                                       "generate": {"max_tokens": 4}})
    found = reply["result"]["metrics"]
    for name in NAMES:
        assert found[name.removeprefix("val_")] == pytest.approx(best[name], rel=1e-6), name


def test_same_for_any_threads_and_after_deaths(undisturbed, tmp_path):
    folder = make(tmp_path / "run", threads=1)
    for seconds in (1.5, 3, 5):
        child = subprocess.Popen([str(common.HONED), "train", str(folder)], stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        child.kill()
        child.wait()
    assert train(folder).returncode == 0
    check_sequence(folder)
    assert artifact_hashes(folder) == artifact_hashes(undisturbed) and history(folder) == history(undisturbed)


def test_refused_where_nothing_is_written(tmp_path):
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"text": f"word {i}", "label": "ab"[i % 2]}) + "\n" for i in range(8)))
    reply = common.helper("job.plan", {"model": {"path": common.GGUF, "sha256": "0", "name": "base"}, "method": "lora", "validation": "none",
                                       "train": {"path": str(data), "sha256": "1", "format": "jsonl"}, "now": "2026-01-31",
                                       "hyperparameters": {"eval_generate": 4}, "threads": 2, "memory_bytes": 8 << 30})
    assert reply["error"]["field"] == "hyperparameters.eval_generate" and reply["error"]["code"] == "unsupported"
    data.write_text("".join(json.dumps({"text": f"word {i}"}) + "\n" for i in range(8)))
    plain = common.helper("job.plan", {"model": {"path": common.GGUF, "sha256": "0", "name": "base"}, "validation": "none",
                                       "train": {"path": str(data), "sha256": "1", "format": "jsonl"}, "now": "2026-01-31",
                                       "hyperparameters": {"metric_for_best": "val_chrf"}, "threads": 2, "memory_bytes": 8 << 30})
    assert plain["error"]["field"] == "hyperparameters.metric_for_best" and "eval_generate" in plain["error"]["hint"]
