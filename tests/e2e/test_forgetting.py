"""What is forgotten: the loss on the neutral text, and the distance from the base at validation rows. Tiny models."""
import json
import random

import pytest

from test_scores import common, files, host, tiny, train
import fits

SLOW = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-4, "max_length": 64, "eval_every": 8, "save_every": 4}
KEEPS = SLOW, "lora"
FORGETS = SLOW | {"learning_rate": 0.03}, "full"


def make(folder, what, held=None, **more):
    base = folder.parent / "llama"
    if not base.exists():
        tiny.llama(base)
    chance = random.Random(1)
    rows = fits.sayings(chance, 60)
    common.make_run(folder, rows, what[0], validation=held or fits.sayings(chance, 20, 1000), base=base, method=what[1], **more)
    host(folder, threads=2)
    return folder


def series(folder, name):
    return [e["data"].get(name) for e in common.events(folder, "eval")]


def test_a_run_that_forgets_and_one_that_does_not(tmp_path):
    """Both begin as the base; after that full training at a high rate is far from it, and a small adapter beside it."""
    kl, neutral = {}, {}
    for name, what in (("forgets", FORGETS), ("keeps", KEEPS)):
        folder = train(make(tmp_path / name, what))
        kl[name], neutral[name] = series(folder, "val_kl"), series(folder, "neutral_loss")
        assert kl[name][0] < 1e-9 and all(a < b for a, b in zip(kl[name], kl[name][1:]))
    assert neutral["forgets"][0] == neutral["keeps"][0]
    assert kl["forgets"][-1] > 1 and kl["keeps"][-1] < 0.01
    assert abs(neutral["keeps"][-1] - neutral["keeps"][0]) < 0.05 < abs(neutral["forgets"][-1] - neutral["forgets"][0])


@pytest.mark.parametrize("what", [KEEPS, FORGETS], ids=["lora", "full"])
def test_same_values_for_any_threads_and_after_a_stop(tmp_path, what):
    whole = train(make(tmp_path / "whole", what))
    threads = make(tmp_path / "threads", what)
    host(threads, threads=1)
    train(threads)
    stopped = make(tmp_path / "stopped", what)
    host(stopped, threads=2, stop_at=8)
    train(stopped, code=3)
    host(stopped, stop_at=None)
    train(stopped)
    made = "artifacts/merged" if what[1] == "full" else "artifacts/peft"
    for other in (threads, stopped):
        assert files(other, made) == files(whole, made)
        for name in ("val_kl", "neutral_loss", "val_loss"):
            assert series(other, name) == series(whole, name)


def test_tasks_with_a_head_have_neither(tmp_path):
    tiny.bert(tmp_path / "bert")
    chance = random.Random(1)
    rows = [{"text": tiny.sentence(chance), "label": chance.choice(["good", "bad"])} for _ in range(24)]
    common.make_run(tmp_path / "run", rows, {"max_steps": 2, "batch_size": 8}, validation=rows[:8], base=tmp_path / "bert")
    host(tmp_path / "run", threads=1)
    train(tmp_path / "run")
    assert all(not {"val_kl", "neutral_loss"} & e["data"].keys() for e in common.events(tmp_path / "run", "eval"))


def test_a_job_tells_both_series(start, tmp_path):
    tiny.llama(tmp_path / "models/llama")
    daemon = start("--model_dirs", str(tmp_path / "models"), fake=False)
    assert daemon.post("/models", json={"name": "llama", "path": str(tmp_path / "models/llama")}).status_code == 201
    chance = random.Random(1)
    data = ["".join(json.dumps(row) + "\n" for row in fits.sayings(chance, n, first)) for n, first in ((40, 0), (20, 1000))]
    train_id, held = (daemon.post("/datasets?name=t", data=text.encode()).json()["id"] for text in data)
    reply = daemon.post("/jobs", json={"model": "llama", "dataset": train_id, "validation": held, "hyperparameters": {"max_steps": 4}})
    job = reply.json()["id"]
    daemon.wait(job, "succeeded")
    rows = [row for row in daemon.get(f"/jobs/{job}/metrics").json()["data"] if row["val_loss"] is not None]
    assert rows and all(row["val_kl"] >= 0 and row["neutral_loss"] > 0 for row in rows)
    header = daemon.get(f"/jobs/{job}/metrics?format=csv").text.split("\n")[0].split(",")
    assert {"val_kl", "neutral_loss"} <= set(header)
    evidence = {e["code"]: e for e in daemon.get(f"/jobs/{job}/fit").json()["evidence"]}
    assert evidence["kl"]["value"] == pytest.approx(rows[-1]["val_kl"]) and evidence["kl"]["verdict"] is None
    assert evidence["neutral_rise"]["value"] == pytest.approx(rows[-1]["neutral_loss"] - rows[0]["neutral_loss"], abs=1e-6)


BOUND = 0.5


def bounded(folder, **knobs):
    return make(folder, (FORGETS[0] | {"eval_every": 1, "learning_rate": 0.015, "max_kl": BOUND} | knobs, "full"))


def test_a_run_stops_at_its_bound(tmp_path):
    """The first evaluation beyond max_kl ends the run; what is exported is the best one within it, which is the run's own at that step."""
    folder = train(bounded(tmp_path / "bounded"))
    end, evals = common.events(folder, "finished")[0]["data"], [e["data"] for e in common.events(folder, "eval")]
    assert end["reason"] == "max_kl" and end["step"] < 16 and evals[-1]["val_kl"] > BOUND
    assert all(e["val_kl"] <= BOUND for e in evals[:-1]) and not evals[-1]["best"]
    assert evals[-1]["val_loss"] < evals[-2]["val_loss"]  # it would have been the best
    assert end["exported_step"] == end["best"]["step"] == evals[-2]["step"]
    assert f"step {end['step']}: val_kl {evals[-1]['val_kl']:.4g} is above max_kl 0.5" in end["message"]
    stopped = bounded(tmp_path / "stopped")
    host(stopped, stop_at=end["step"] - 1)
    train(stopped, code=3)
    host(stopped, stop_at=None)
    assert files(train(stopped), "artifacts/merged") == files(folder, "artifacts/merged")
    assert common.events(stopped, "finished")[0]["data"]["message"] == end["message"]
    free = train(bounded(tmp_path / "free", max_kl=None))
    assert common.events(free, "finished")[0]["data"]["reason"] == "completed" and series(free, "val_kl")[: len(evals)] == series(folder, "val_kl")


def test_a_run_without_a_bound_is_the_run_it_was(tmp_path):
    """max_kl is part of a run's identity where it is given, and only there."""
    given, none = (json.loads((make(tmp_path / str(kl), (SLOW | {"max_kl": kl}, "lora")) / "spec.json").read_text()) for kl in (BOUND, None))
    assert given["run"]["hyperparameters"].pop("max_kl") == BOUND and given["run"] == none["run"]


def test_a_bound_that_cannot_be_measured_is_refused(tmp_path):
    tiny.llama(tmp_path / "llama")
    tiny.bert(tmp_path / "bert")
    texts, labels = fits.sayings(random.Random(1), 8), [{"text": f"{i}", "label": "ab"[i % 2]} for i in range(8)]
    for rows, base, more, code, word in ((texts, "llama", {}, "invalid_field", "validation rows"),
                                         (labels, "bert", {"validation": {"fraction": 0.5}}, "unsupported", "writes none")):
        path = tmp_path / base / "rows"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        reply = common.helper("job.plan", {"model": {"path": str(tmp_path / base), "sha256": "0" * 64, "name": "base"}, "now": "2026-01-31",
                                           "train": {"path": str(path), "sha256": "1" * 64, "format": "jsonl"}, "validation": "none",
                                           "hyperparameters": {"max_kl": 1, "max_length": 48}, **more})
        assert reply["error"]["code"] == code and reply["error"]["field"] == "hyperparameters.max_kl" and word in reply["error"]["message"]


def test_the_reason_stands_in_the_job(start, tmp_path):
    tiny.llama(tmp_path / "models/llama")
    daemon = start("--model_dirs", str(tmp_path / "models"), fake=False)
    assert daemon.post("/models", json={"name": "llama", "path": str(tmp_path / "models/llama")}).status_code == 201
    rows = "".join(json.dumps(row) + "\n" for row in fits.sayings(random.Random(1), 40)).encode()
    data = daemon.post("/datasets?name=t", data=rows).json()["id"]
    knobs = {"max_steps": 8, "eval_every": 1, "learning_rate": 0.03, "max_kl": BOUND}
    reply = daemon.post("/jobs", json={"model": "llama", "dataset": data, "validation": {"fraction": 0.3}, "method": "full", "hyperparameters": knobs})
    assert reply.status_code == 201, reply.text
    job = daemon.wait(reply.json()["id"], "succeeded")
    assert job["status_reason"]["code"] == "max_kl" and "above max_kl 0.5" in job["status_reason"]["message"]
    assert job["progress"]["step"] < 8
