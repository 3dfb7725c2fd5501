"""What each validation row scored: scores/<step>.bin of a run directory, and runs that stop at a step."""
import hashlib
import json
import pathlib
import random
import signal
import sqlite3
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parity"))
import common  # noqa: E402
import tiny  # noqa: E402

COLUMNS = [("line", "<u4"), ("loss", "<f4"), ("weight", "<f4"), ("right", "u1"), ("label", "<i4"), ("predicted", "<i4"), ("value", "<f4"),
           ("truth", "<f4"), ("p", "<f4")]


def read(path):
    data = path.read_bytes()
    magic, version, bits, labels, record, rows, objective, sha256 = struct.unpack_from("<8s4IQ16s32s", data)
    kind, chances = np.dtype([c for i, c in enumerate(COLUMNS) if bits >> i & 1]), labels if bits >> 31 else 0
    assert (magic, version, record) == (b"HNSCORE\n", 1, kind.itemsize) and len(data) == 80 + rows * (record + 4 * chances)
    found = np.frombuffer(data, kind, rows, 80)
    if objective.startswith(b"classes"):
        p = np.frombuffer(data, "<f4", rows * chances, 80 + rows * record).reshape(rows, chances)
        assert np.allclose(p.sum(1), 1, atol=1e-5) and np.array_equal(p[np.arange(rows), found["label"]], found["p"])
        assert np.array_equal(p.argmax(1), found["predicted"])
    return {"objective": objective.rstrip(b"\0").decode(), "labels": labels, "sha256": sha256.hex(), "rows": found}


def tagged(chance, n):
    words = [tiny.sentence(chance).split() for _ in range(n)]
    return [{"tokens": w, "tags": [chance.choice(["O", "B-X", "I-X", "B-Y"]) for _ in w]} for w in words]


def asked(chance, n):
    out = []
    for _ in range(n):
        context = tiny.sentence(chance, 60)
        word = chance.choice(context.split())
        out.append({"question": tiny.sentence(chance, 3), "context": context,
                    "answers": {"text": [word], "answer_start": [context.index(word)]}})
    return out


def labelled(pick):
    return lambda chance, n: [{"text": f"{tiny.sentence(chance)} {i}", "label": pick(chance)} for i in range(n)]


TASKS = {"classes": ("bert", labelled(lambda c: c.choice(["good", "bad", "ugly"]))),
         "multi_label": ("bert", labelled(lambda c: c.sample(["good", "bad", "ugly"], c.randint(0, 2)))),
         "value": ("bert", labelled(lambda c: 100 + c.random() * 50)), "tags": ("bert", tagged), "span": ("bert", asked),
         "tokens": ("llama", lambda c, n: [{"prompt": tiny.sentence(c), "completion": tiny.sentence(c, 3)} for _ in range(n)])}
PLAN = {"problem": {"multi_label": "multi_label"}, "task": {"span": "qa"}}
KNOBS = {"max_steps": 6, "batch_size": 4, "eval_every": 2, "learning_rate": 1e-3, "max_length": 48, "save_every": 1000}


def make(folder, objective="classes", rows_of=7, change=None, threads=2, **knobs):
    model, rows = TASKS[objective]
    chance = random.Random(rows_of)
    base = folder.parent / model
    if not base.exists():
        getattr(tiny, model)(base)
    train, held = rows(chance, 24), rows(chance, 13)
    if change:
        change(held)
    more = {name: words[objective] for name, words in PLAN.items() if objective in words}
    common.make_run(folder, train, {**KNOBS, **knobs}, validation=held, base=base, **more)
    host(folder, threads=threads)
    return folder


def host(folder, **values):
    spec = json.loads((folder / "spec.json").read_text())
    spec["host"] = {k: v for k, v in {**spec["host"], **values}.items() if v is not None}
    (folder / "spec.json").write_text(json.dumps(spec))


def train(folder, code=0):
    done = subprocess.run([str(common.HONED), "train", str(folder)], capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    return folder


def files(folder, under):
    root = folder / under
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(root.rglob("*")) if p.is_file()}


def score_files(steps):
    """Of validation rows and of the sample of training rows."""
    return {f"{kind}{step}.bin" for kind in ("", "train-") for step in steps}


def last_step(folder):
    return common.events(folder)[-1]["data"]["step"]


@pytest.mark.parametrize("objective", TASKS)
def test_training_rows_are_evaluated_beside(tmp_path, objective):
    """train_eval_loss is the loss of training rows without dropout: of the rows of a job that validates on them."""
    rows = TASKS[objective][1](random.Random(3), 40)
    runs = {}
    for name, held in (("other", TASKS[objective][1](random.Random(4), 40)), ("same", rows)):
        base = tmp_path / TASKS[objective][0]
        if not base.exists():
            getattr(tiny, base.name)(base)
        more = {key: words[objective] for key, words in PLAN.items() if objective in words}
        common.make_run(tmp_path / name, rows, KNOBS, validation=held, base=base, **more)
        host(tmp_path / name, threads=1)
        runs[name] = common.events(train(tmp_path / name), "eval")
    for event in runs["same"]:
        assert np.isclose(event["data"]["train_eval_loss"], event["data"]["val_loss"], rtol=1e-5)
    for ours, theirs in zip(runs["other"], runs["same"]):
        assert np.isclose(ours["data"]["train_eval_loss"], theirs["data"]["train_eval_loss"], rtol=1e-6)
        scores = read(tmp_path / f"other/scores/train-{ours['data']['step']}.bin")["rows"]
        assert list(scores["line"]) == list(range(1, 41))
        assert np.isclose(np.average(scores["loss"].astype(float), weights=scores["weight"]), ours["data"]["train_eval_loss"], rtol=1e-5)


def test_sample_of_training_rows_has_each_class(tmp_path):
    """Of 300 rows with one rare label in ten, 40 are evaluated: 4 of the rare one, and the same ones each time."""
    tiny.bert(tmp_path / "bert")
    chance = random.Random(1)
    rows = [{"text": f"{tiny.sentence(chance)} {i}", "label": "good" if i % 10 else "bad"} for i in range(300)]
    common.make_run(tmp_path / "run", rows, {**KNOBS, "max_steps": 2, "eval_every": 1}, validation=rows[:40], base=tmp_path / "bert")
    host(tmp_path / "run", threads=1)
    train(tmp_path / "run")
    lines = [list(read(tmp_path / f"run/scores/train-{step}.bin")["rows"]["line"]) for step in range(3)]
    assert lines[0] == lines[1] == lines[2] == sorted(set(lines[0])) and len(lines[0]) == 40
    assert sum(line % 10 == 1 for line in lines[0]) == 4 and max(lines[0]) > 200


def f1_macro(label, predicted):
    kinds = sorted(set(label) | set(predicted))
    return np.mean([2 * np.sum((label == k) & (predicted == k)) / (np.sum(label == k) + np.sum(predicted == k)) for k in kinds])


@pytest.mark.parametrize("objective", TASKS)
def test_scores_are_those_of_the_metrics(tmp_path, objective):
    """Every row once, in order; the evaluation's own figures follow from them."""
    folder = train(make(tmp_path / "run", objective))
    told = {e["data"]["step"]: e["data"] for e in common.events(folder, "eval")}
    assert set(files(folder, "scores")) == score_files(told) and 0 in told and 6 in told
    rows = 13
    for step, data in told.items():
        scores = read(folder / f"scores/{step}.bin")
        r = scores["rows"]
        assert scores["objective"] == objective and list(r["line"]) == list(range(1, rows + 1))
        assert np.isclose(np.sum(r["loss"].astype(float) * r["weight"]) / np.sum(r["weight"].astype(float)), data["val_loss"], rtol=1e-5)
        if objective in ("classes", "multi_label"):
            assert np.isclose(np.mean(r["right"]), data["val_accuracy"])
        if objective == "classes":
            assert scores["labels"] == 3 and np.isclose(f1_macro(r["label"], r["predicted"]), data["val_f1_macro"])
            assert np.allclose(r["p"], np.exp(-r["loss"]), rtol=1e-4) and np.all((r["label"] == r["predicted"]) == r["right"])
        if objective == "value":
            truth = [json.loads(line)["label"] for line in (folder / "inputs/validation").read_text().splitlines()]
            assert np.allclose(r["truth"], truth, rtol=1e-5)
            squares = np.sum((r["truth"] - r["value"].astype(float)) ** 2)
            assert np.isclose(1 - squares / np.sum((r["truth"] - np.mean(truth)) ** 2), data["val_r2"], atol=1e-4)
        if objective == "tags":
            f1 = 2 * np.sum(r["value"]) / max(np.sum(r["label"]) + np.sum(r["predicted"]), 1)
            assert np.isclose(f1, data["val_entity_f1"]) and np.sum(r["label"]) > 10
        if objective == "span":
            assert np.isclose(100 * np.mean(r["right"]), data["val_exact_match"]) and np.isclose(100 * np.mean(r["value"]), data["val_f1"], rtol=1e-5)


def test_rows_are_known_by_content_and_order(tmp_path):
    """Whatever the model and the training rows; another row or another order is another hash."""
    def turn(rows):
        rows.reverse()

    def relabel(rows):
        rows[0]["label"] = "good" if rows[0]["label"] != "good" else "bad"

    def respell(rows):
        rows[:] = [{"label": r["label"], "text": r["text"]} for r in rows]

    tiny.llama(tmp_path / "llama")
    sums = {}
    for name, how in {"same": {}, "other seed": {"knobs": {"seed": 3}}, "turned": {"change": turn}, "relabelled": {"change": relabel},
                      "respelled": {"change": respell}}.items():
        folder = make(tmp_path / name, change=how.get("change"), max_steps=1, **how.get("knobs", {}))
        sums[name] = read(train(folder) / "scores/1.bin")["sha256"]
    other = tmp_path / "other"
    rows = [[json.loads(line) for line in (tmp_path / f"same/inputs/{part}").read_text().splitlines()] for part in ("train", "validation")]
    common.make_run(other, rows[0][:20], {**KNOBS, "max_steps": 1}, validation=rows[1], base=tmp_path / "llama")
    sums["other model"] = read(train(other) / "scores/1.bin")["sha256"]
    assert sums["same"] == sums["other seed"] == sums["other model"] == sums["respelled"] != "0" * 64
    assert len({sums["same"], sums["turned"], sums["relabelled"]}) == 3


def test_same_bytes_after_a_stop_and_for_any_thread_count(tmp_path):
    folder = train(make(tmp_path / "one", lora_dropout=0.1))
    for name, threads in (("three", 3), ("killed", 1)):
        other = make(tmp_path / name, lora_dropout=0.1, threads=threads, **({"save_every": 1} if name == "killed" else {}))
        if name == "killed":
            child = subprocess.Popen([str(common.HONED), "train", str(other)], stderr=subprocess.DEVNULL)
            while not (other / "scores/train-2.bin").exists() and child.poll() is None:
                time.sleep(0.002)
            child.send_signal(signal.SIGKILL)
            child.wait()
            (other / "scores/2.bin").write_bytes(b"torn")
            for at in (other / "checkpoints").glob("*"):  # back to the beginning
                at.rename(tmp_path / f"away-{at.name}")
        train(other)
        assert files(other, "scores") == files(folder, "scores") and files(other, "artifacts") == files(folder, "artifacts")


def test_stop_at(tmp_path):
    """A run stopped at steps and told to go on is the same to the bit; a stop beyond the end, or at it, is none."""
    whole = train(make(tmp_path / "whole", lora_dropout=0.1))
    folder = make(tmp_path / "stopped", lora_dropout=0.1)
    for stop in (1, 2, 5):
        host(folder, stop_at=stop)
        train(folder, code=3)
        last = common.events(folder)[-1]
        assert last["type"] == "interrupted" and last["data"] == {"step": stop, "reason": "stop_at"}
        assert (folder / f"checkpoints/step-{stop:06d}/state.json").exists()
        assert {e["data"]["step"] for e in common.events(folder, "eval")} == {s for s in (0, 2, 4) if s <= stop}
    train(folder, code=3)  # again: nothing new
    assert last_step(folder) == 5 and len(common.events(folder, "step")) == 5
    host(folder, stop_at=None)
    train(folder)
    for under in ("scores", "artifacts"):
        assert files(folder, under) == files(whole, under)
    assert [e["data"]["loss"] for e in common.events(folder, "step")] == [e["data"]["loss"] for e in common.events(whole, "step")]
    assert not common.events(folder, "warning")
    for stop in (6, 100):
        end = make(tmp_path / f"end{stop}", lora_dropout=0.1)
        host(end, stop_at=stop)
        assert files(train(end), "artifacts") == files(whole, "artifacts")


def test_of_many_evaluations_few_are_kept(tmp_path):
    """The best, the newest and those at stops, where all would take more than 64 MiB by the end."""
    folder = make(tmp_path / "run", max_steps=None, epochs=10000, batch_size=1, eval_every=1, save_every=1)
    for stop in (3, 7, 9):
        host(folder, stop_at=stop)
        train(folder, code=3)
    best = [e["data"]["step"] for e in common.events(folder, "eval") if e["data"]["best"]][-1]
    assert set(files(folder, "scores")) == score_files({best, 3, 7, 9})


def test_a_job_that_stops_at_a_step(start, tmp_path):
    """The daemon passes the step on and lets the job wait there, until a person resumes it to its end; scores go with backups."""
    tiny.bert(tmp_path / "models/bert")
    daemon = start("--model_dirs", str(tmp_path / "models"), fake=False)
    assert daemon.post("/models", json={"name": "bert", "path": str(tmp_path / "models/bert")}).status_code == 201
    chance = random.Random(1)
    data, held = (daemon.post(f"/datasets?name={n}", data=tiny.labelled(chance, n).encode()).json()["id"] for n in (24, 12))
    knobs = {"batch_size": 4, "learning_rate": 1e-3, "max_length": 48}
    first, job = (daemon.post("/jobs", json={"model": "bert", "dataset": data, "validation": held, "hyperparameters": how}).json()["id"]
                  for how in ({**knobs, "epochs": 10000}, {**knobs, "max_steps": 6, "eval_every": 2, "save_every": 1000}))
    daemon.wait_step(first, 2)
    with sqlite3.connect(daemon.state / "hone.db", timeout=30) as db:
        db.execute("UPDATE jobs SET stop_at=4 WHERE id=?", (job,))
    daemon.post(f"/jobs/{first}/cancel")
    found = daemon.wait(job, "paused")
    assert found["status_reason"]["code"] == "waiting_for_promotion" and "step 4" in found["status_reason"]["message"]
    assert found["progress"]["step"] == 4
    run = daemon.state / "runs" / job
    assert set(files(run, "scores")) == score_files((0, 2, 4))
    assert [e["data"] for e in daemon.events(job) if e["type"] in ("interrupted", "paused")] == [
        {"step": 4, "reason": "stop_at"}, {"reason": "waiting_for_promotion"}]
    daemon.post(f"/jobs/{job}/resume")
    daemon.wait(job, "succeeded")
    assert set(files(run, "scores")) == score_files((0, 2, 4, 6))
    assert "stop_at" not in json.loads((run / "spec.json").read_text())["host"]
    subprocess.run([str(common.HONED), "backup", str(tmp_path / "copy"), "--state", str(daemon.state)], check=True)
    assert files(tmp_path / "copy/runs" / job, "scores") == files(run, "scores")
    assert daemon.delete(f"/jobs/{job}").status_code in (200, 204) and not run.exists()
