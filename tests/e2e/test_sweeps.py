"""Experiments: what a sweep submits, promotes and says; that it survives what a job survives; that bad requests are refused by name."""
import collections
import csv
import io
import json
import random
import re
import sqlite3
import subprocess
import time

import pytest
import requests

import test_scores
import tiny
from browser import CHROMIUM, Browser
from daemon import HONED

ENDED = ("succeeded", "failed", "cancelled")
GOOD, BAD = "good great fine".split(), "bad dull poor".split()


@pytest.fixture
def served(start, tmp_path):
    tiny.bert(tmp_path / "models" / "bert")
    daemon = start("--model_dirs", str(tmp_path / "models"), fake=False)
    reply = daemon.post("/models", json={"name": "bert", "path": str(tmp_path / "models" / "bert")})
    assert reply.status_code == 201, reply.text
    return daemon


def reviews(n, seed=1):
    """Texts whose label is the word in them, so that something can be learned."""
    chance = random.Random(seed)
    out = []
    for i in range(n):
        label = i % 2
        words = tiny.sentence(chance, 6).split()
        words = [w for w in words if w not in GOOD + BAD]
        words.insert(chance.randrange(len(words) + 1), chance.choice(GOOD if label else BAD))
        out.append({"text": " ".join(words) + f" {i}", "label": "pos" if label else "neg"})
    return out


def upload(daemon, rows):
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    reply = requests.post(f"{daemon.url}/datasets", data=data)
    assert reply.status_code in (200, 201), reply.text
    return reply.json()["id"]


def job(daemon, rows=None, **knobs):
    data = upload(daemon, rows or reviews(80))
    return {"model": "bert", "dataset": data, "validation": 0.3,
            "hyperparameters": {"max_steps": 18, "batch_size": 8, "eval_every": 2, "learning_rate": 3e-3, "max_length": 24, "threads": 1} | knobs}


def begin(daemon, **body):
    reply = daemon.post("/sweeps", json=body)
    assert reply.status_code == 201, reply.text
    assert reply.headers["Location"] == f"/sweeps/{reply.json()['id']}"
    return reply.json()["id"]


def wait(daemon, sweep, statuses=ENDED, seconds=120):
    deadline = time.time() + seconds
    while time.time() < deadline:
        told = daemon.get(f"/sweeps/{sweep}").json()
        if told["status"] in statuses:
            return told
        time.sleep(0.05)
    raise AssertionError((told, daemon.get(f"/sweeps/{sweep}/trials").json()))


def trials(daemon, sweep):
    return daemon.get(f"/sweeps/{sweep}/trials").json()["data"]


def test_grid(served):
    sweep = begin(served, kind="grid", name="first", job=job(served) | {"priority": 3}, seeds=2,
                  space={"learning_rate": [1e-5, 3e-3], "lora_rank": {"values": [4, 8], "when": {"method": "lora"}}})
    told = wait(served, sweep)
    assert told["status"] == "succeeded", told
    found = trials(served, sweep)
    assert [t["role"] for t in found] == ["auto"] + ["trial"] * 4 + ["seed"] * 2
    assert [t["settings"] for t in found[1:5]] == [{"learning_rate": rate, "lora_rank": rank} for rank in (4, 8) for rate in (1e-5, 3e-3)]
    for trial in found:
        made = served.get(f"/jobs/{trial['job']}").json()
        assert made["priority"] == 3
        assert made["parent_sweep"] == sweep and made["name"] == f"first, trial {trial['number']}" and trial["value"] == made["metrics"]["best"]["value"]
        for name, value in trial["settings"].items():
            assert made["hyperparameters"][name] == value
    best = max((t for t in found if t["role"] != "seed"), key=lambda t: (t["value"], -t["number"]))
    assert told["best"]["job"] == best["job"] and told["best"]["value"] == best["value"]
    assert told["importance"] is None and "too little" in told["summary"], told["summary"]
    assert len(told["seeds"]) == 2 and {s["settings"]["seed"] for s in told["seeds"]} == {1}
    assert told["saved"]["tokenised_rows"] == 56 * 6
    listed = served.get(f"/jobs?sweep={sweep}").json()["data"]
    assert {j["id"] for j in listed} == {t["job"] for t in found}
    rows = list(csv.DictReader(io.StringIO(served.get(f"/sweeps/{sweep}/trials?format=csv").text)))
    assert [float(r["value"]) for r in rows] == pytest.approx([t["value"] for t in found]) and float(rows[1]["learning_rate"]) == 1e-5
    kept = {t["job"]: served.get(f"/jobs/{t['job']}/checkpoints").json()["data"] for t in found}
    assert kept[best["job"]] and not any(steps for name, steps in kept.items() if name != best["job"])
    assert [s["id"] for s in served.get("/sweeps").json()["data"]] == [sweep]
    assert served.delete(f"/sweeps/{sweep}").status_code == 204 and served.get(f"/sweeps/{sweep}").status_code == 404
    assert served.get(f"/jobs/{best['job']}").json()["parent_sweep"] is None


def artifacts(daemon, job):
    return {a["path"]: a["sha256"] for a in daemon.get(f"/jobs/{job}/artifacts").json()["data"]}


SEARCH = {"kind": "search", "rungs": 2, "budget": {"jobs": 12}, "space": {"learning_rate": {"min": 1e-5, "max": 1e-2}, "batch_size": [4, 8, 16]}, "seed": 7}


def test_search(served):
    """Trials pause at rungs, few go on; the winner's bytes are those of a run that never paused."""
    body = job(served)
    told = wait(served, begin(served, job=body, **SEARCH))
    assert told["status"] == "succeeded", told
    found = trials(served, told["id"])
    assert len(found) == 12 and found[0]["role"] == "auto" and found[0]["settings"] == {}
    assert all([r["step"] for r in t["rungs"]] == [2, 6] for t in found), found[0]
    ended = collections.Counter((t["rung"], t["status"]) for t in found)
    assert ended[2, "succeeded"] >= 1 and sum(n for (rung, status), n in ended.items() if rung == 1 and status == "cancelled") >= 6, ended
    for trial in found:
        value = {"accuracy": trial["value"]}
        assert (trial["step"], trial["status"]) in [(2, "cancelled"), (6, "cancelled"), (18, "succeeded")], (trial, value)
    assert found[0]["status"] == "succeeded"  # trial 0, for the gain over it
    gain = told["best"]["gain_over_auto"]
    assert gain is None if told["best"]["number"] == 0 else gain["value"] == pytest.approx(told["best"]["value"] - found[0]["value"]), told
    best = served.get(f"/jobs/{told['best']['job']}").json()
    assert 1e-5 <= best["hyperparameters"]["learning_rate"] <= 1e-2
    again = served.post("/jobs", json=best["request"]).json()
    again = served.wait(again["id"])
    assert again["metrics"]["best"] == best["metrics"]["best"] and artifacts(served, again["id"]) == artifacts(served, best["id"])
    events = served.get(f"/sweeps/{told['id']}/events").json()["data"]
    kinds = collections.Counter(e["type"] for e in events)
    assert kinds["trial"] == 12 and kinds["promoted"] >= 2 and [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert [events[0]["type"], events[1]["type"], events[-1]["type"]] == ["queued", "running", "succeeded"]


def test_budget_is_used_up(served):
    """Whoever waits is taken up again as long as the rest of the run fits."""
    told = wait(served, begin(served, job=job(served), **SEARCH | {"budget": {"jobs": 12, "steps": 180}}))
    found = trials(served, told["id"])
    used, done = sum(t["step"] for t in found), sum(t["status"] == "succeeded" for t in found)
    assert used == told["progress"]["steps"] and 180 - 16 < used <= 180 and done >= 7, (used, done)


def same_trials(daemon, sweep):
    return [{k: t[k] for k in ("number", "role", "settings", "status", "rung", "value", "best_step", "step")} for t in trials(daemon, sweep)]


def test_killed_anywhere(start, tmp_path):
    """The same seed gives the same trials and results, however often daemon and trainers are killed."""
    tiny.bert(tmp_path / "models" / "bert")
    chance, results = random.Random(3), []
    for killed in (False, True):
        daemon = start("--model_dirs", str(tmp_path / "models"), fake=False)
        daemon.post("/models", json={"name": "bert", "path": str(tmp_path / "models" / "bert")})
        sweep = begin(daemon, job=job(daemon), **SEARCH)
        for _ in range(12 if killed else 0):
            time.sleep(chance.random() * 0.5)
            daemon.restart()
        told = wait(daemon, sweep)
        results.append((same_trials(daemon, sweep), {k: told[k] for k in ("importance", "summary")} | {"gain": told["best"]["gain_over_auto"]}))
    first, second = ((t, re.sub(r"job_\w+", "job", json.dumps(s))) for t, s in results)
    for one, other in zip(first[0], second[0]):
        assert one == other
    assert first == second


def test_pause_resume_cancel(served):
    sweep = begin(served, job=job(served, max_steps=60), kind="random", budget={"jobs": 6})
    wait(served, sweep, ["running"])
    for _ in range(10):
        assert served.post(f"/sweeps/{sweep}/pause").json()["status"] == "paused"
        assert served.post(f"/sweeps/{sweep}/resume").json()["status"] == "running"
    told = served.post(f"/sweeps/{sweep}/pause").json()
    deadline = time.time() + 30
    while served.get(f"/sweeps/{sweep}").json()["progress"]["running"] and time.time() < deadline:
        time.sleep(0.05)
    before = served.get(f"/sweeps/{sweep}").json()
    time.sleep(0.5)
    assert served.get(f"/sweeps/{sweep}").json()["progress"] == before["progress"] and before["status"] == "paused", before
    assert served.post(f"/sweeps/{sweep}/resume").json()["status"] == "running"
    told = wait(served, sweep)
    assert told["status"] == "succeeded" and told["progress"]["finished"] == 6, told
    error = served.post(f"/sweeps/{sweep}/pause").json()["error"]
    assert error["code"] == "conflict" and "succeeded" in error["message"]
    sweep = begin(served, job=job(served, max_steps=400), kind="random", budget={"jobs": 6})
    wait(served, sweep, ["running"])
    assert served.delete(f"/sweeps/{sweep}").json()["error"]["code"] == "conflict"
    told = served.post(f"/sweeps/{sweep}/cancel").json()
    assert told["status"] == "cancelled"
    deadline = time.time() + 30
    while any(t["status"] not in ENDED for t in trials(served, sweep)) and time.time() < deadline:
        time.sleep(0.05)
    assert all(t["status"] in ENDED for t in trials(served, sweep)) and len(trials(served, sweep)) < 6
    assert served.post(f"/sweeps/{sweep}/cancel").json()["status"] == "cancelled"


def test_failed_trials_are_results(served):
    """What cannot be planned, or diverges, is told with its reason; a sweep of nothing else fails."""
    body = job(served, overflow="error")
    told = wait(served, begin(served, job=body, kind="grid", space={"max_length": {"values": [24, 8]}}))
    found = trials(served, told["id"])
    assert told["status"] == "succeeded" and found[2]["status"] == "refused" and found[2]["job"] is None, found
    assert "dataset_invalid" in found[2]["why"] and "failed" in told["summary"], told["summary"]


def refused(daemon, field, words, **body):
    reply = daemon.post("/sweeps", json=body)
    error = reply.json().get("error", {})
    assert reply.status_code in (400, 404, 409, 422) and error["field"] == field and words in error["message"] + (error["hint"] or ""), reply.text


def test_refusals(served):
    body = job(served)
    space = {"learning_rate": [1e-4, 1e-3]}
    for field, words, change in [
        ("kind", "search", {"kind": "serach"}), ("kind", "search", {"kind": None}), ("knd", "kind", {"knd": 1}),
        ("job", "POST /jobs", {"job": None}), ("job.model", "", {"job": body | {"model": "nope"}}), ("job.modle", "model", {"job": {**body, "modle": 1}}),
        ("job.validation", "compared", {"job": body | {"validation": "none"}}),
        ("space", "at least one", {"space": {}}), ("space", "needs a space", {"space": None}),
        ("space.learning_rat", "learning_rate", {"space": {"learning_rat": [1]}}),
        ("space.learning_rate.values", "1 to 64", {"space": {"learning_rate": {"values": []}}}),
        ("space.learning_rate.values", "twice", {"space": {"learning_rate": [1e-4, 1e-4]}}),
        ("space.learning_rate", "from 0 to 10", {"space": {"learning_rate": [1e-4, 11]}}),
        ("space.learning_rate.min", "swap", {"kind": "random", "space": {"learning_rate": {"min": 1e-3, "max": 1e-4}}}),
        ("space.learning_rate.min", "above 0", {"kind": "random", "space": {"learning_rate": {"min": 0, "max": 1e-4, "log": True}}}),
        ("space.lora_rank", "whole number", {"kind": "random", "space": {"lora_rank": {"min": 1.5, "max": 4}}}),
        ("space.learning_rate", "values", {"space": {"learning_rate": {"min": 1e-5, "max": 1e-3}}}),
        ("space.model.values[0]", "nope", {"space": {"model": ["nope"]}}), ("space.method", "adapter", {"space": {"method": ["loar"]}}),
        ("space.lora_rank.when.metod", "method", {"space": {"lora_rank": {"values": [4, 8], "when": {"metod": "lora"}}}}),
        ("space.lora_rank.when", "never holds", {"space": {"lora_rank": {"values": [4, 8], "when": {"method": "full"}}}}),
        ("space", "10000 points", {"space": {"seed": {"min": 1, "max": 1000000000}}}),
        ("space", "10000 points", {"space": {k: [i / 100 for i in range(1, 65)] for k in ("weight_decay", "lora_dropout", "dropout", "label_smoothing", "beta1")}}),
        ("folds", "belongs to", {"folds": 3}), ("eta", "2", {"eta": 1}), ("scheduler", "asha", {"scheduler": "median"}),
        ("budget.seconds", "raise it", {"budget": {"seconds": 1}}), ("budget.steps", "raise it", {"budget": {"steps": 10}}),
        ("budget.hours", "budget.jobs", {"budget": {"hours": 1}}), ("metric", "val_accuracy", {"metric": "accuracy"}),
        ("seeds", "1", {"seeds": 0}), ("keep", "best", {"keep": "some"}), ("warm_start", "ids", {"kind": "search", "warm_start": 3}),
        ("warm_start[0]", "", {"kind": "search", "warm_start": ["job_0000000000000000"]}),
    ]:
        refused(served, field, words, **{k: v for k, v in ({"kind": "grid", "job": body, "space": space} | change).items() if v is not None})
    assert served.get("/sweeps").json()["data"] == [] and served.get("/jobs").json()["data"] == []


def test_dry_run_and_budget(served):
    body = job(served)
    told = served.post("/sweeps?dry_run=1", json={"kind": "search", "job": body}).json()
    assert told["trials"] == 20 and told["estimate"]["steps"] < 20 * 18 and told["scheduler"] == "asha", told
    assert [a["name"] for a in told["axes"]] == ["learning_rate", "batch_size", "lora_rank", "weight_decay"]
    assert told["axes"][0]["min"] == pytest.approx(3e-3 / 5) and told["axes"][0]["max"] == pytest.approx(3e-3 * 5)
    told = served.post("/sweeps?dry_run=1", json={"kind": "random", "job": body, "budget": {"steps": 100}}).json()
    assert told["trials"] == 5 and [w["code"] for w in told["warnings"]] == ["fewer_trials"], told
    told = served.post("/sweeps?dry_run=1", json={"kind": "random", "job": body, "budget": {"jobs": 50}, "space": {"batch_size": [4, 8, 16]}}).json()
    assert told["trials"] == 4, told  # three points, and the job as it is
    assert served.get("/sweeps").json()["data"] == []


def test_compare(served):
    body = job(served)
    made = [served.wait(served.post("/jobs", json=body | {"hyperparameters": body["hyperparameters"] | {"learning_rate": rate}}).json()["id"])
            for rate in (3e-3, 1e-7)]
    ids = [j["id"] for j in made]
    told = served.get("/compare?jobs=" + ",".join(ids)).json()
    assert told["rows"] == 24 and [r["name"] for r in told["results"]] == ids, told
    pair = told["pairs"][0]
    assert pair["a"] == ids[0] and pair["difference"] == pytest.approx(made[0]["metrics"]["best"]["value"] - made[1]["metrics"]["best"]["value"])
    assert ids[0] in told["summary"] or "no difference" in told["summary"], told
    other = served.wait(served.post("/jobs", json=body | {"validation": 0.2}).json()["id"])
    error = served.get(f"/compare?jobs={ids[0]},{other['id']}").json()["error"]
    assert error["code"] == "conflict", error
    for query, field in (("jobs=" + ids[0], "jobs"), ("", "jobs"), (f"jobs={ids[0]},{ids[0]}", "jobs"), (f"jobs={ids[0]},job_0000000000000000", "jobs")):
        assert served.get("/compare?" + query).json()["error"]["field"] == field


def test_compare_on_a_data_set(served):
    """Jobs with other validation rows, and a base model, by what they score on the same data set."""
    body = job(served)
    ids = [served.wait(served.post("/jobs", json=body | {"validation": share}).json()["id"])["id"] for share in (0.2, 0.3)]
    data = upload(served, reviews(30, seed=5))
    query = f"/compare?jobs={','.join(ids)}&dataset={data}"
    error = served.get(query).json()["error"]
    assert error["code"] == "conflict" and error["field"] == "jobs" and f"POST /jobs/{ids[0]}/evaluate" in error["hint"], error
    made = [served.post(f"/jobs/{i}/evaluate", json={"dataset": data}).json() for i in ids]
    told = served.get(query).json()
    assert [(r["name"], r["evaluation"]) for r in told["results"]] == [(i, e["id"]) for i, e in zip(ids, made)] and told["rows"] == 30, told
    assert [r["value"] for r in told["results"]] == pytest.approx([e["metrics"][told["metric"]] for e in made])
    assert served.post(f"/jobs/{ids[1]}/evaluate", json={"dataset": data}).json()["id"] == served.get(query).json()["results"][1]["evaluation"]
    for wrong, field in ((f"jobs={ids[0]}&models=bert", "models"), (f"jobs={ids[0]}&models=bert&dataset={data}", "models"),
                         (f"jobs={ids[0]}&dataset=ds_0000000000000000", "dataset"), (f"jobs={ids[0]}&dataset={data}", "jobs")):
        assert served.get("/compare?" + wrong).json()["error"]["field"] == field, wrong


def test_streamed_events(served):
    sweep = begin(served, job=job(served), kind="random", budget={"jobs": 2})
    seen = []
    with requests.get(f"{served.url}/sweeps/{sweep}/events", headers={"Accept": "text/event-stream"}, stream=True, timeout=60) as stream:
        for line in stream.iter_lines():
            if line.startswith(b"data:"):
                seen.append(json.loads(line[5:]))
    assert seen[-1]["type"] == "succeeded" and [e["seq"] for e in seen] == list(range(1, len(seen) + 1))
    again = requests.get(f"{served.url}/sweeps/{sweep}/events", timeout=60, headers={"Accept": "text/event-stream", "Last-Event-ID": str(len(seen))})
    assert again.status_code == 204


def test_warm_start(served):
    body = job(served)
    for rate in (1e-3, 2e-3, 5e-3, 8e-3):
        served.wait(served.post("/jobs", json=body | {"hyperparameters": body["hyperparameters"] | {"learning_rate": rate}}).json()["id"])
    cold, warm = (served.post("/sweeps", json={"kind": "search", "job": body, "space": {"learning_rate": {"min": 1e-5, "max": 1e-2}},
                                               "budget": {"jobs": 8}, "scheduler": "none", "warm_start": w}).json()["id"] for w in (False, True))
    tried = [[t["settings"] for t in trials(served, wait(served, s)["id"])] for s in (cold, warm)]
    assert tried[0] != tried[1] and tried[0][:4] == tried[1][:4]  # eight points before the model speaks, earlier jobs counted


def test_folds(served):
    """Every row is held out once; rows of one group lie in one fold."""
    rows = [row | {"author": f"a{i // 4}"} for i, row in enumerate(reviews(80))]
    body = job(served, rows)
    told = wait(served, begin(served, kind="folds", job=body, folds=4, group_by="author"))
    assert told["status"] == "succeeded", told
    found = trials(served, told["id"])
    assert [t["role"] for t in found] == ["fold"] * 4 and sum(80 - t["rows"] for t in found) == 80, found
    assert told["folds"]["rows"] == 80 and [f["value"] for f in told["folds"]["folds"]] == pytest.approx([t["value"] for t in found]), told["folds"]
    held = [json.loads(line) for line in served.get(f"/sweeps/{told['id']}/rows").text.splitlines()]
    assert sorted(r["line"] for r in held) == list(range(1, 81)) and all(r["label"] == rows[r["line"] - 1]["label"] for r in held), held[:3]
    assert all(r["right"] == (r["label"] == r["predicted"]) and 0 < r["p"] < 1 for r in held) and not list((served.state / "tmp").iterdir())
    groups = collections.defaultdict(set)
    for r in held:
        groups[rows[r["line"] - 1]["author"]].add(r["fold"])
    assert all(len(folds) == 1 for folds in groups.values())
    mean = sum(t["value"] for t in found) / 4
    assert told["folds"]["mean"] == pytest.approx(mean) and told["folds"]["mean_interval"][0] < mean < told["folds"]["mean_interval"][1]
    refused(served, "folds", "", kind="folds", job=job(served, reviews(6)), folds=7)
    rare = reviews(20) + [{"text": f"short tale {i}", "label": "rare"} for i in range(3)]
    refused(served, "folds", "rare", kind="folds", job=job(served, rare), folds=5)
    refused(served, "group_by", "author", kind="folds", job=body, group_by="autor")


def test_wrong_labels(served):
    """Turned labels are counted, named in the report and come first in the list."""
    rows = reviews(480)
    turned = list(range(7, 480, 20))
    for i in turned:
        rows[i]["label"] = "neg" if rows[i]["label"] == "pos" else "pos"
    body = job(served, rows, max_steps=150, batch_size=16, eval_every=40, learning_rate=3e-3)
    name = "x" + "\u2603" * 60  # 181 bytes, of which 150 end inside a character
    told = wait(served, begin(served, kind="folds", job=body, folds=4, name=name))
    assert served.get("/jobs/" + trials(served, told["id"])[2]["job"]).json()["name"] == name[:50] + ", trial 2"
    found = told["folds"]["label_errors"]
    listed = [json.loads(line) for line in served.get(f"/sweeps/{told['id']}/rows?sort=mislabelled").text.splitlines()]
    first = [row["line"] for row in listed[:len(turned)]]
    assert found["lines"] == [row["line"] for row in listed[:found["flagged"]]] and found["estimated"] == round(found["noise_rate"] * 480), found
    assert len(set(first) & {i + 1 for i in turned}) >= 16, (first, turned, told["folds"])
    assert abs(found["flagged"] - len(turned)) <= 12 and f"{found['estimated']} of 480 labels look wrong" in told["summary"], told
    assert [row["score"] for row in listed] == sorted((row["score"] for row in listed), reverse=True) and len(listed) == 480
    run = served.state / "runs" / trials(served, told["id"])[0]["job"]
    late = [test_scores.read(run / f"scores/{step}.bin")["rows"] for step in (80, 120, 150)]  # the second half of the run
    p = {int(line): float(mean) for line, mean in zip(late[0]["line"], sum(rows["p"].astype(float) for rows in late) / 3)}
    assert {row["line"]: row["p"] for row in listed if row["fold"] == 1} == pytest.approx(p, abs=1e-6)
    error = served.get(f"/sweeps/{told['id']}/rows?sort=worst").json()["error"]
    assert error["field"] == "sort", error


def test_data_size(served):
    body = job(served, reviews(200))
    told = wait(served, begin(served, kind="data_size", job=body, sizes=[0.125, 0.25, 0.5, 1]))
    assert told["status"] == "succeeded", told
    found = trials(served, told["id"])
    assert [t["rows"] for t in found] == [18, 35, 70, 140] and [p["rows"] for p in told["curve"]] == [18, 35, 70, 140], (found, told["curve"])
    assert [p["value"] for p in told["curve"]] == pytest.approx([t["value"] for t in found])
    assert (told["forecast"] is None) != (told["forecast_refused"] is None)
    refused(served, "sizes", "too few", kind="data_size", job=job(served, reviews(20)))
    refused(served, "sizes", "twice", kind="data_size", job=body, sizes=[0.5, 0.5])
    refused(served, "sizes", "share", kind="data_size", job=body, sizes=[0.5, 1000])


def test_ablation(served):
    """Rows that are left out, beside as many at random, beside all."""
    rows = reviews(80)
    rows += rows[:10]
    wrong = [{**row, "label": "pos" if row["label"] == "neg" else "neg"} for row in reviews(12, seed=9)]
    body = job(served, rows + wrong + reviews(4, seed=9))
    without = ["exact_duplicates", {"name": "turned", "lines": ["91-102"]}, "diverse_half", "near_duplicates", "contradictions"]
    told = wait(served, begin(served, kind="ablation", job=body, without=without))
    assert told["status"] == "succeeded", told
    found = trials(served, told["id"])
    assert [(t["role"], t["name"]) for t in found] == [("all", None), ("without", "exact_duplicates"), ("random", "exact_duplicates"),
                                                       ("without", "turned"), ("random", "turned"),
                                                       ("without", "diverse_half"), ("random", "diverse_half"),
                                                       ("without", "near_duplicates"), ("random", "near_duplicates"),
                                                       ("without", "contradictions"), ("random", "contradictions")]
    whole = found[0]["rows"]
    for one, (without, chance) in zip(told["ablation"], (found[1:3], found[3:5], found[5:7], found[7:9], found[9:])):
        assert one["rows"] == whole - without["rows"] == whole - chance["rows"] > 0, (one, found)
        assert (one["all"], one["without"], one["random"]) == pytest.approx((found[0]["value"], without["value"], chance["value"]))
        assert one["difference"] == pytest.approx(without["value"] - chance["value"]), one
    assert found[9]["rows"] in range(whole - 8, whole, 2), "both rows of each text that has both labels, unless they are held out"
    assert abs(whole - 2 * found[5]["rows"]) <= 1 and "With the diverse half alone" in told["summary"], told
    refused(served, "without", "1 to 16", kind="ablation", job=body, without=[])
    refused(served, "without[0]", "exact_duplicates", kind="ablation", job=body, without=["typos"])


def test_two_slots_killed(start, tmp_path):
    """With trials side by side nothing is lost and nothing runs twice."""
    tiny.bert(tmp_path / "models" / "bert")
    daemon = start("--model_dirs", str(tmp_path / "models"), "--slots", "2", fake=False)
    daemon.post("/models", json={"name": "bert", "path": str(tmp_path / "models" / "bert")})
    sweep, chance = begin(daemon, job=job(daemon), **SEARCH), random.Random(5)
    for _ in range(12):
        time.sleep(chance.random() * 0.4)
        daemon.restart()
    told = wait(daemon, sweep)
    found = trials(daemon, sweep)
    assert told["status"] == "succeeded" and [t["number"] for t in found] == list(range(12)), found
    assert len({t["job"] for t in found}) == 12 and len(daemon.get(f"/jobs?sweep={sweep}&limit=100").json()["data"]) == 12
    assert len({json.dumps(t["settings"]) for t in found}) == 12
    kinds = collections.Counter(e["type"] for e in daemon.get(f"/sweeps/{sweep}/events?limit=1000").json()["data"])
    assert kinds["trial"] == 12 and kinds["succeeded"] == 1, kinds
    for trial in found:  # no step was done twice: each has one line of the metrics
        rows = daemon.get(f"/jobs/{trial['job']}/metrics?limit=10000").json()["data"]
        steps = [r["step"] for r in rows if r["loss"] is not None]
        assert steps == sorted(set(steps)) and len(steps) == trial["step"], steps


def test_many_trials(start):
    """A thousand trials wait at a rung while the daemon starts: the best third goes on, one at a time, and cancelling ends all."""
    daemon = start()
    daemon.model()
    data = upload(daemon, reviews(300))
    sweep = begin(daemon, kind="random", scheduler="asha", rungs=2, job={"model": "base", "dataset": data, "validation": 0.1, "hyperparameters":
                  {"max_steps": 9, "eval_every": 1}}, budget={"jobs": 1000}, space={"learning_rate": {"min": 1e-6, "max": 1}})
    deadline = time.time() + 20
    while not trials(daemon, sweep) and time.time() < deadline:
        time.sleep(0.05)
    first = daemon.wait(trials(daemon, sweep)[0]["job"], "paused")
    daemon.kill()
    db = sqlite3.connect(daemon.state / "hone.db")
    names = [row[1] for row in db.execute("PRAGMA table_info(jobs)") if row[1] not in ("n", "id", "status", "reason_code", "stop_at", "step", "finished_at", "ingested_bytes",
                                                                                   "ingested_n", "next_metric")]
    db.execute("DELETE FROM trials WHERE number>0")
    db.execute("DELETE FROM jobs WHERE id<>?", (first["id"],))
    for i in range(1, 1000):
        made = f"job_{i:016d}"
        db.execute(f"INSERT INTO jobs (id,status,reason_code,stop_at,step,next_metric,{','.join(names)}) SELECT ?,'paused','waiting_for_promotion',1,1,2,{','.join(names)} "
                   "FROM jobs WHERE id=?", (made, first["id"]))
        db.execute("INSERT INTO metrics (job,seq,step,val,time) SELECT n,1,1,?,created_at FROM jobs WHERE id=?", (json.dumps({"val_loss": 1 + (i * 7919) % 1000}), made))
        db.execute("INSERT INTO trials SELECT sweep,?,'trial',settings,point,'[1,3]',?,NULL FROM trials WHERE number=0", (i, made))
    db.commit()
    db.close()
    begun = time.time()
    daemon.start()
    deadline = time.time() + 30
    while time.time() < deadline:
        went_on = [e["data"] for e in daemon.get(f"/sweeps/{sweep}/events?limit=1000").json()["data"] if e["type"] == "promoted"]
        if len(went_on) >= 3:
            break
        time.sleep(0.05)
    values = {t["number"]: t["rungs"][0]["value"] for t in trials(daemon, sweep)[1:]}
    assert [p["number"] for p in went_on[:3]] == sorted(values, key=values.get)[:3] and time.time() - begun < 15, went_on
    assert daemon.post(f"/sweeps/{sweep}/cancel").json()["status"] == "cancelled"
    assert daemon.get(f"/sweeps/{sweep}").json()["progress"]["paused"] == 0


def test_lr_range(served):
    told = wait(served, begin(served, kind="lr_range", job=job(served)))
    assert told["status"] == "succeeded", told
    rates = [p["learning_rate"] for p in told["curve"]]
    assert rates[-1] == pytest.approx(0.3, rel=1e-3) if len(rates) == 100 else len(rates) > 30, rates
    assert rates == pytest.approx([0.3 * 10 ** (5 * ((i + 1) / 100 - 1)) for i in range(len(rates))], rel=1e-4)
    assert 3e-6 < told["suggestion"]["learning_rate"] < 0.3 and f"{told['suggestion']['learning_rate']:.3g}" in told["summary"]


@pytest.mark.skipif(not CHROMIUM, reason="needs chromium")
def test_page(served, tmp_path):
    """A search from the page of a job: its trials, plots and summary, without a reload."""
    made = served.wait(served.post("/jobs", json=job(served)).json()["id"])
    browser = Browser(tmp_path / "browser")
    try:
        browser.open(f"{served.url}/#/jobs/{made['id']}")
        browser.wait("[...document.querySelectorAll('button')].some((b) => b.innerText === 'Search better settings')")
        browser.run("[...document.querySelectorAll('button')].find((b) => b.innerText === 'Search better settings').click()")
        browser.wait("location.hash.startsWith('#/sweeps/swp_')")
        browser.wait("document.querySelector('.state.succeeded') && document.querySelector('main').innerText.includes('Best of')", 120)
        (sweep,) = served.get("/sweeps").json()["data"]
        found = trials(served, sweep["id"])
        rows = browser.wait("document.querySelectorAll('table tbody tr').length")
        assert rows == len(found) == 20 and sweep["summary"] in browser.run("document.querySelector('main').innerText")
        plots = browser.run("[...document.querySelectorAll('.plots svg')].map((s) => [s.getAttribute('aria-label'), s.querySelectorAll('circle').length])")
        assert [p[0] for p in plots] == ["best val_accuracy so far"] + [f"val_accuracy by {name}" for name in ("learning_rate", "batch_size", "lora_rank", "weight_decay")]
        assert plots[0][1] == 20 and plots[1][1] == 19, plots
        # Settings together, what mattered, and the winner's settings on all rows.
        names = browser.run("[...document.querySelectorAll('.parallel .name')].map((t) => t.textContent)")
        assert names == ["learning rate", "batch size", "lora rank", "weight decay", "val accuracy"]
        assert browser.run("[document.querySelectorAll('.parallel .trial').length, document.querySelectorAll('.parallel .best').length]") == [20, 1]
        browser.run("[...document.querySelectorAll('a')].find((a) => a.innerText.startsWith('Train the winner')).click()")
        browser.wait("document.querySelector('form select[name=validation]')?.value === 'none'")
        best = served.look(sweep["best"]["job"])
        assert float(browser.run("document.querySelector('form [name=learning_rate]').value")) == best["request"]["hyperparameters"]["learning_rate"]
        browser.run("history.back()")
        browser.wait("document.querySelector('table tbody tr:nth-child(2) a') !== null")
        # These trials are too few to say what mattered: as if they had been enough.
        browser.run("(() => { const ask = fetch; window.fetch = async (path, how) => { const reply = await ask(path, how); return /sweeps.swp_\\w+$/.test(path) ? Response.json({ ...await reply.json(), importance: { lora_rank: 0.25, learning_rate: 0.75 } }) : reply; }; location.hash = '#/sweeps'; })()")
        browser.wait("document.querySelector('h1')?.innerText === 'Sweeps'")
        browser.run("history.back()")
        shares = browser.wait("document.querySelector('#together .bars') && [...document.querySelectorAll('#together .bars li')].map((li) => [li.children[0].innerText, li.children[2].innerText])")
        assert shares == [["learning rate", "75 %"], ["lora rank", "25 %"]]
        browser.run("document.querySelector('table tbody tr:nth-child(2) a').click()")
        browser.wait("location.hash.startsWith('#/jobs/') && [...document.querySelectorAll('a')].some((a) => a.innerText === 'Its sweep')")
        browser.open(f"{served.url}/#/sweeps")
        browser.wait("document.querySelector('tbody')?.innerText.includes('search around')")
        assert not browser.complaints, browser.complaints
    finally:
        browser.close()


def test_owners(start, tmp_path):
    """Trials belong to who sent the sweep; others do not see either."""
    tiny.bert(tmp_path / "models" / "bert")
    daemon = start("--model_dirs", str(tmp_path / "models"), "--require_keys", "yes", fake=False)
    keys = {}
    for name, scope in (("boss", "admin"), ("ann", "submit"), ("bob", "submit")):
        made = subprocess.run([HONED, "key", "create", "--state", str(daemon.state), "--name", name, "--scope", scope, *(["--see", "own"] if scope == "submit" else [])],
                              capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
        keys[name] = {"Authorization": "Bearer " + made.stdout.strip()}
    assert daemon.post("/models", json={"name": "bert", "path": str(tmp_path / "models" / "bert")}, headers=keys["boss"]).status_code == 201
    rows = "".join(json.dumps(row) + "\n" for row in reviews(80)).encode()
    data = requests.post(f"{daemon.url}/datasets", data=rows, headers=keys["ann"]).json()["id"]
    body = {"kind": "grid", "space": {"learning_rate": [1e-3]}, "job": {"model": "bert", "dataset": data, "validation": 0.3, "hyperparameters": {"max_steps": 4}}}
    assert daemon.post("/sweeps", json=body, headers=keys["bob"]).json()["error"]["field"] == "job.dataset"
    sweep = daemon.post("/sweeps", json=body, headers=keys["ann"]).json()
    deadline = time.time() + 60
    while daemon.get(f"/sweeps/{sweep['id']}", headers=keys["ann"]).json()["status"] != "succeeded" and time.time() < deadline:
        time.sleep(0.1)
    trial = daemon.get(f"/sweeps/{sweep['id']}/trials", headers=keys["ann"]).json()["data"][1]
    assert trial["status"] == "succeeded" and daemon.get(f"/jobs/{trial['job']}", headers=keys["boss"]).json()["owner"] == sweep["owner"] != None
    for path in ("", "/trials", "/events"):
        assert daemon.get(f"/sweeps/{sweep['id']}{path}", headers=keys["bob"]).status_code == 404
    for verb in ("pause", "cancel"):
        assert daemon.post(f"/sweeps/{sweep['id']}/{verb}", headers=keys["bob"]).status_code == 404
    assert daemon.get("/sweeps", headers=keys["bob"]).json()["data"] == [] and len(daemon.get("/sweeps", headers=keys["boss"]).json()["data"]) == 1
    assert daemon.get(f"/compare?jobs={trial['job']},{trial['job'][:-1]}x", headers=keys["bob"]).status_code == 404
    assert daemon.delete(f"/sweeps/{sweep['id']}", headers=keys["bob"]).status_code == 404


def test_not_too_many(start):
    """What each commit looks at is bounded."""
    daemon = start()
    daemon.model()
    body = {"kind": "random", "job": {"model": "base", "dataset": upload(daemon, reviews(300)), "validation": 0.1}, "space": {"learning_rate": [0.1, 0.2]}}
    made = [daemon.post("/sweeps", json=body) for _ in range(1)]
    daemon.post(f"/sweeps/{made[0].json()['id']}/pause")
    while made[-1].status_code == 201:
        assert len(made) <= 50
        made.append(daemon.post("/sweeps", json=body))
        if made[-1].status_code == 201:
            daemon.post(f"/sweeps/{made[-1].json()['id']}/pause")
    assert made[-1].json()["error"]["code"] == "quota_exceeded" and len(made) == 51, (len(made), made[-1].text)
    assert daemon.post(f"/sweeps/{made[0].json()['id']}/cancel").ok and daemon.post("/sweeps", json=body).status_code == 201
