"""What a run says of its fit: what every training row cost at every epoch (rows.bin), the rows to look at, the verdict."""
import json
import pathlib
import random
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parity"))
import common  # noqa: E402
import fits  # noqa: E402
import tiny  # noqa: E402
from test_scores import TASKS, files, host, make, train  # noqa: E402

KINDS = {0: [("trained", "u1"), ("loss", "<f4"), ("worst", "<f4")],
         1: [("trained", "u1"), ("loss", "<f4"), ("margin", "<f4"), ("p", "<f4"), ("predicted", "<i4")]}


def read_rows(folder):
    """rows.bin: what the header says, and [epoch, row] records; what is not written yet is not trained."""
    data = (folder / "rows.bin").read_bytes()
    magic, version, objective, n, batch, steps, seed, every, epochs = struct.unpack_from("<8s8Q", data)
    assert (magic, version) == (b"HNROWS\0\n", 1)
    kind = np.dtype(KINDS.get(objective, KINDS[0][:2]))
    front = np.frombuffer(data, "<u4", 2 * n, 72).reshape(n, 2)
    whole = data[72 + 8 * n:].ljust(n * epochs * kind.itemsize, b"\0")
    assert len(whole) == n * epochs * kind.itemsize
    return {"batch": batch, "steps": steps, "every": every, "line": front[:, 1], "rows": np.frombuffer(whole, kind).reshape(epochs, n)}


@pytest.mark.parametrize("objective", TASKS)
def test_rows_cost_what_their_step_cost(tmp_path, objective):
    """One row a step: the step's loss is the row's, at its place, each row once in an epoch."""
    folder = train(make(tmp_path / "run", objective, batch_size=1, max_steps=30, lora_dropout=0.2, label_smoothing=0.1))
    found = read_rows(folder)
    n = len(found["line"])
    assert found["every"] == 1 and found["steps"] == 30 and found["batch"] == 1 and n >= 24
    told = [e["data"]["loss"] for e in common.events(folder, "step")]
    rows = found["rows"]
    assert rows["trained"].sum() == 30 and rows["trained"].sum(axis=0).min() == (30 >= n)
    assert np.allclose(np.sort(rows["loss"][rows["trained"] == 1]), np.sort(told), rtol=1e-5)
    if objective == "classes":
        names = sorted({json.loads(line)["label"] for line in (folder / "inputs/train").read_text().splitlines()})
        given = [names.index(json.loads(line)["label"]) for line in (folder / "inputs/train").read_text().splitlines()]
        assert np.all((rows["predicted"][0] == given) == (rows["margin"][0] > 0))
        assert np.all((rows["p"][0] > 0) & (rows["p"][0] < 1)) and np.all((rows["p"][0] > 0.5) <= (rows["margin"][0] > 0))
    if objective == "tokens":
        assert np.all(rows["worst"][0] >= 0.9 * rows["loss"][0]) and np.any(rows["worst"][0] > rows["loss"][0])


def test_rows_are_the_same_after_a_kill_and_for_any_thread_count(tmp_path):
    how = {"lora_dropout": 0.1, "max_steps": 40, "eval_every": 20, "save_every": 7}
    whole = train(make(tmp_path / "whole", **how))
    for name, threads in (("three", 3), ("killed", 2)):
        other = make(tmp_path / name, threads=threads, **how)
        for at in (9, 23) if name == "killed" else ():
            child = subprocess.Popen([str(common.HONED), "train", str(other)], stderr=subprocess.DEVNULL)
            while child.poll() is None and not (other / "events.jsonl").exists() or len(common.events(other, "step")) < at:
                time.sleep(0.001)
            child.send_signal(signal.SIGKILL)
            child.wait()
        train(other)
        assert (other / "rows.bin").read_bytes() == (whole / "rows.bin").read_bytes()
        assert files(other, "artifacts") == files(whole, "artifacts")
    (other / "rows.bin").write_bytes(b"of something else")
    (other / "events.jsonl").unlink()
    for folder in (other / "checkpoints").iterdir():
        folder.rename(tmp_path / folder.name)
    train(other)
    assert (other / "rows.bin").read_bytes() == (whole / "rows.bin").read_bytes()


@pytest.fixture
def served(start, tmp_path):
    for kind in (tiny.llama, tiny.bert):
        kind(tmp_path / "models" / kind.__name__)
    daemon = start("--model_dirs", str(tmp_path / "models"), fake=False)
    for name in ("llama", "bert"):
        assert daemon.post("/models", json={"name": name, "path": str(tmp_path / "models" / name)}).status_code == 201
    return daemon


def upload(daemon, rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    return daemon.post("/datasets?name=t", data=text.encode()).json()["id"]


def submit(daemon, rows, model="bert", validation=0.2, hyperparameters=None, **more):
    knobs = {"epochs": 8, "batch_size": 8, "learning_rate": 5e-3, "max_length": 48, "eval_every": 20} | (hyperparameters or {})
    reply = daemon.post("/jobs", json={"model": model, "dataset": upload(daemon, rows), "validation": validation, "hyperparameters": knobs} | more)
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]


def reviews(chance, n, wrong=()):
    """What a text says is its label, but for the wrong ones."""
    rows = []
    for i in range(n):
        label = chance.choice(["good", "bad"])
        text = [chance.choice(["film", "plot", "actor", "scene", "music"]) for _ in range(6)]
        text[chance.randrange(6)] = {"good": "great", "bad": "poor"}[label]
        rows.append({"text": " ".join(text), "label": {"good": "bad", "bad": "good"}[label] if i in wrong else label})
    return rows


def test_planted_wrong_labels_are_found(served):
    wrong = {11, 37, 58, 90, 122, 151}
    job = submit(served, reviews(random.Random(1), 200, wrong), method="full", validation="none")
    assert served.wait(job)["status"] == "succeeded"

    def ask(status=200, **query):
        reply = served.get(f"/jobs/{job}/examples", params=query)
        assert reply.status_code == status, reply.text
        return reply.json()

    first = ask(limit=6)
    assert {row["line"] - 1 for row in first["data"]} == wrong and first["rows"] == 200 and first["every"] == 1
    row = first["data"][0]
    assert row["label"] != row["predicted"] and len(row["losses"]) == len(row["margins"]) == 8 and row["score"] < 0 < row["p"] < 0.5 and f"probability {row['p']:.2g}" in row["why"]
    assert np.isclose(row["score"], np.mean(row["margins"]), rtol=1e-5) and row["predicted"] in row["why"]
    assert first["data"] == sorted(first["data"], key=lambda r: r["score"])
    # pages: all rows once
    lines, after = [], 0
    while after is not None:
        page = ask(sort="line", limit=70, after=after)
        lines += [r["line"] for r in page["data"]]
        after = page["next"]
    assert lines == list(range(1, 201))
    hard = ask(sort="hard", limit=200)["data"]
    assert [r["score"] for r in hard] == sorted((r["score"] for r in hard), reverse=True)
    assert all(np.isclose(r["score"], np.mean(r["losses"]), rtol=1e-4) for r in hard)
    for row in ask(sort="forgotten", limit=200)["data"]:
        right = [m > 0 for m in row["margins"]]
        assert row["score"] == sum(a and not b for a, b in zip(right, right[1:])) > 0
    for row in ask(sort="memorised", limit=200)["data"]:
        at = int(row["score"])
        assert at > 1 and max(row["losses"][at - 1:]) < 0.1054 < row["losses"][at - 2]
    early = ask(sort="hard", epoch=2)["data"][0]
    assert len(early["losses"]) == 2
    # the rows of a step, and the step's loss
    told = [e["data"] for e in served.events(job) if e["type"] == "step"]
    step = ask(step=9, limit=100)["data"]
    assert len(step) == 8 and np.isclose(np.mean([r["score"] for r in step]), told[8]["loss"], rtol=1e-5)
    assert ask(400, sort="best")["error"]["field"] == "sort" and ask(400, step=10**6)["error"]["field"] == "step"
    assert ask(400, epoch=99)["error"]["field"] == "epoch"


def test_rows_of_texts(served):
    rows = [{"prompt": tiny.sentence(random.Random(i), 4), "completion": " good"} for i in range(30)]
    rows[13]["completion"] = " zzqxj"
    job = submit(served, rows, "llama", "none", {"epochs": 6, "learning_rate": 1e-2})
    assert served.wait(job)["status"] == "succeeded"
    found = served.get(f"/jobs/{job}/examples").json()["data"]
    assert found[0]["line"] == 14 and found[0]["label"] == " zzqxj" and found[0]["predicted"] is None and found[0]["margins"] is None
    assert served.get(f"/jobs/{job}/examples?sort=mislabelled&limit=1").json()["data"][0]["line"] == 14
    refused = served.get(f"/jobs/{job}/examples?sort=forgotten")
    assert refused.status_code == 400 and "hard" in refused.json()["error"]["hint"]


def run_kind(daemon, kind, seed=0):
    base, train_rows, held, more = fits.build(kind, seed)
    body = {"model": base, "dataset": upload(daemon, train_rows), "validation": upload(daemon, held)} | more
    reply = daemon.post("/jobs", json=body)
    assert reply.status_code == 201, reply.text
    job = reply.json()["id"]
    daemon.wait(job, timeout=120)
    return job, daemon.get(f"/jobs/{job}/fit").json()


@pytest.mark.parametrize("kind", fits.VERDICTS)
def test_built_runs_are_named(served, kind):
    """And the body that is proposed is accepted as it stands."""
    job, fit = run_kind(served, kind)
    assert fit["verdict"] == fits.VERDICTS[kind], fit
    assert fit["provisional"] is False and fit["summary"] and fit["advice"] and (fit["evidence"] or kind == "diverged")
    changed = served.look(job)["request"]
    if fit["next"] is None:
        assert fit["verdict"] in ("good", "undecided", "label_limited", "data_limited")
        refused = served.post(f"/jobs/{job}/next")
        assert refused.status_code == 409 and fit["verdict"] in refused.json()["error"]["message"]
        return
    assert fit["next"]["why"] == fit["advice"] and fit["next"]["body"] != changed
    told = served.post("/jobs?dry_run=1", json=fit["next"]["body"])
    assert told.status_code == 200, told.text
    for name, value in fit["next"]["body"].get("hyperparameters", {}).items():
        assert value == "auto" or told.json()["hyperparameters"][name] == value
    if kind in ("underfit", "head only"):
        reply = served.post(f"/jobs/{job}/next")
        assert reply.status_code == 201 and served.look(reply.json()["id"])["request"] == fit["next"]["body"]
        served.post(f"/jobs/{reply.json()['id']}/cancel")


def test_verdict_while_it_runs(served):
    """An event whenever it changes, the last one that of the end; the same when a part is computed again."""
    job, fit = run_kind(served, "overfit")
    told = [e["data"] for e in served.events(job) if e["type"] == "fit"]
    assert len(told) >= 2 and all(a["verdict"] != b["verdict"] for a, b in zip(told, told[1:]))
    assert served.look(job)["fit"] == {**told[-1], "provisional": False} and told[-1]["health"] == "attention"
    assert told[-1]["verdict"] == "overfit" and told[-1]["best_step"] == fit["best_step"] and told[0]["provisional"]
    steps = [e["data"]["step"] for e in served.events(job) if e["type"] == "eval"]
    assert fit["best_step"] in steps and fit["best_gain"] > 0
    evals = {e["data"]["step"]: e["data"]["val_loss"] for e in served.events(job) if e["type"] == "eval"}
    assert min(evals, key=evals.get) == fit["best_step"]
    rise = next(e for e in fit["evidence"] if e["code"] == "rise")
    assert np.isclose(rise["value"], evals[max(evals)] - min(evals.values()), rtol=1e-3)
    assert rise["interval"][0] < rise["value"] < rise["interval"][1]


def test_few_rows_decide_nothing(served):
    job = submit(served, reviews(random.Random(1), 40), validation=0.25, method="full")
    done = served.wait(job)
    assert done["status"] == "succeeded" and done["fit"] is None
    fit = served.get(f"/jobs/{job}/fit").json()
    assert fit["verdict"] == "undecided" and fit["health"] == "unknown"


def test_a_ruined_run_is_told_of_few_rows(served):
    """It succeeded, and its record says at once that it is of no use."""
    knobs = {"learning_rate": 10, "warmup_ratio": 0, "max_grad_norm": 0, "epochs": 4, "batch_size": 4}
    job = submit(served, reviews(random.Random(1), 40), validation=0.25, method="full", hyperparameters=knobs, export_step="last")
    done = served.wait(job)
    assert done["status"] == "succeeded", done["status_reason"]
    assert done["fit"]["verdict"] == "unstable" and done["fit"]["health"] == "bad" and done["fit"]["provisional"] is False
    assert served.get(f"/jobs?limit=1").json()["data"][0]["fit"] == done["fit"]
    assert served.get(f"/jobs/{job}/fit").json()["health"] == "bad"
