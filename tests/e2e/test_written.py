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
KNOBS = {"max_steps": 12, "batch_size": 4, "learning_rate": 1e-2, "eval_every": 6, "save_every": 2, "seed": 5, "eval_generate": 100,
         "metric_for_best": "val_exact_match"}
NAMES = {"val_exact_match", "val_f1", "val_rouge_l", "val_chrf", "val_bleu"}


def make(folder, threads=2, **more):
    common.make_run(folder, rows(16), KNOBS, validation=rows(10, 100), base=common.short_model(), **more)
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
    assert [e["step"] for e in evals] == [0, 6, 12] and all(NAMES <= set(e) for e in evals)
    assert evals[-1]["val_exact_match"] > evals[0]["val_exact_match"]  # one word is asked for, and learned
    finished = common.events(undisturbed, "finished")[0]["data"]
    assert finished["best"]["metric"] == "val_exact_match"
    best = next(e for e in evals if e["step"] == finished["best"]["step"])
    assert best["val_exact_match"] == finished["best"]["value"] == max(e["val_exact_match"] for e in evals)
    reply = common.helper("evaluate", {"model": {"path": common.short_model()}, "source": {"run_dir": str(undisturbed), "step": "exported"},
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


def test_series_over_http(start, tmp_path):
    """In /metrics, as JSON and CSV, in the events, and deciding what is best: the same numbers everywhere; null where nothing was written."""
    import csv
    import random
    import tiny
    tiny.llama(tmp_path / "models/llama")
    daemon = start("--model_dirs", str(tmp_path / "models"), fake=False)
    assert daemon.post("/models", json={"name": "llama", "path": str(tmp_path / "models/llama")}).status_code == 201
    data = daemon.post("/datasets?name=t", data=tiny.chats(random.Random(1), 16).encode()).json()["id"]
    knobs = {"max_steps": 4, "batch_size": 4, "learning_rate": 1e-3, "eval_every": 2, "max_length": 96, "eval_generate": 3, "metric_for_best": "val_chrf"}
    body = {"model": "llama", "dataset": data, "validation": 0.25, "samples": {"rows": 0, "max_tokens": 6}, "hyperparameters": knobs}
    made = daemon.post("/jobs", json=body)
    assert made.status_code == 201 and made.json()["hyperparameters"]["eval_generate"] == 3, made.text
    job = daemon.wait(made.json()["id"], "succeeded")
    told = {e["data"]["step"]: e["data"] for e in daemon.events(job["id"]) if e["type"] == "eval"}
    series = [r for r in daemon.get(f"/jobs/{job['id']}/metrics").json()["data"] if r["loss"] is None]
    assert [r["step"] for r in series] == [0, 2, 4] == sorted(told)
    for row in series:
        assert {n: row[n] for n in NAMES} == {n: told[row["step"]][n] for n in NAMES}
    table = list(csv.DictReader(daemon.get(f"/jobs/{job['id']}/metrics?format=csv").text.splitlines()))
    assert NAMES <= table[0].keys() and all((r["val_chrf"] != "") == (int(r["step"]) in told) for r in table)
    best = job["metrics"]["best"]
    assert best["metric"] == "val_chrf" and best["value"] == max(e["val_chrf"] for e in told.values()) == told[best["step"]]["val_chrf"]
    schema = daemon.get("/openapi.json").json()["components"]["schemas"]["Hyperparameters"]["properties"]
    assert schema["eval_generate"]["default"] == 0 and set(schema["metric_for_best"]["enum"]) >= NAMES
