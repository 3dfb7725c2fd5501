"""Bits that flip where a hash is known: nothing wrong ever comes out as if it were right."""
import hashlib
import json
import os
import random
import shutil
import subprocess

import pytest

import tiny
from daemon import HONED, Daemon
from test_verify import begin, submit

RUN = {"max_steps": 30, "epochs": 20, "batch_size": 2, "learning_rate": 5e-2, "eval_every": 3, "save_every": 4, "keep_checkpoints": 20,
       "warmup_ratio": 0, "lora_dropout": 0.1, "max_length": 96}


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[int(len(data) * place) if place >= 0 else place] ^= 4
    mode = path.stat().st_mode
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(mode)


def events(folder, type=None):
    found = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [e for e in found if type in (None, e["type"])]


def hashes(folder):
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in (folder / "artifacts").rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run of a tiny model with all its checkpoints, and the same as a death at its end left it."""
    top = tmp_path_factory.mktemp("whole")
    tiny.llama(top / "models/llama")
    daemon = Daemon(top / "d/state", "--model_dirs", str(top / "models"), fake=False)
    assert daemon.post("/models", json={"name": "llama", "path": str(top / "models/llama")}).status_code == 201
    job = submit(daemon, hyperparameters=RUN)
    daemon.wait(job, "succeeded")
    daemon.stop()
    run = daemon.state / "runs" / job
    died = top / "died"
    shutil.copytree(run, died, ignore=shutil.ignore_patterns("artifacts", "exports"))
    lines = (died / "events.jsonl").read_text().splitlines(True)
    last = max(i for i, line in enumerate(lines) if '"checkpoint"' in line)
    (died / "events.jsonl").write_text("".join(lines[:last + 1]))
    best = events(run, "finished")[0]["data"]["best"]["step"]
    assert 0 < best < 30 and (run / f"checkpoints/step-{best:06d}").exists()
    return run, died, best


def train(folder):
    done = subprocess.run([HONED, "train", str(folder)], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr


@pytest.fixture
def died(whole, tmp_path):
    shutil.copytree(whole[1], tmp_path / "run")
    return tmp_path / "run"


def test_a_whole_checkpoint_is_gone_on_from(whole, died):
    assert train(died)[0] == 0
    assert events(died, "resumed")[-1]["data"]["from_step"] == 30 and not events(died, "warning")
    assert hashes(died) == hashes(whole[0])


@pytest.mark.parametrize("file,place", [("state.safetensors", 0.0), ("state.safetensors", 0.5), ("state.safetensors", -1),
                                        ("state.json", 0.1), ("state.json", 0.5), ("state.json", -4)])
@pytest.mark.parametrize("which", ["newest", "best", "all"])
def test_a_flipped_bit_costs_only_time(whole, died, file, place, which):
    run, _, best = whole
    steps = sorted((died / "checkpoints").glob("step-*"))
    spoiled = {"newest": steps[-1:], "best": [died / f"checkpoints/step-{best:06d}"], "all": steps}[which]
    for checkpoint in spoiled:
        flip(checkpoint / file, place)
    assert train(died)[0] == 0
    told = [e["data"] for e in events(died, "warning")]
    assert [w["code"] for w in told] == ["checkpoint_unreadable"] * len(spoiled), told
    assert {w["step"] for w in told} == {int(c.name[5:]) for c in spoiled}
    resumed = [e["data"]["from_step"] for e in events(died, "resumed")]
    assert resumed == [] if which == "all" else all(step < (best if which == "best" else 30) for step in resumed)
    assert hashes(died) == hashes(run)


def test_a_checkpoint_of_an_earlier_version_is_read(whole, died):
    for state in (died / "checkpoints").glob("*/state.json"):
        known = json.loads(state.read_text())
        del known["sha256"], known["tensors"]
        state.chmod(0o600)
        state.write_text(json.dumps(known))
    assert train(died)[0] == 0 and not events(died, "warning")
    assert hashes(died) == hashes(whole[0])


def test_values_to_begin_from(start, tmp_path):
    """init_from: a damaged checkpoint is refused at submission; its copy in a waiting job before the run."""
    daemon = begin(start, tmp_path)
    first = submit(daemon, hyperparameters=RUN)
    daemon.wait(first, "succeeded")
    step = daemon.look(first)["exported_step"]
    waiting = submit(daemon, init_from={"job": first, "step": step}, hyperparameters=RUN | {"seed": 3})
    daemon.wait(waiting, "succeeded")
    folder = tmp_path / "again"
    shutil.copytree(daemon.state / "runs" / waiting, folder, ignore=shutil.ignore_patterns("artifacts", "checkpoints", "events.jsonl"))
    flip(folder / "inputs/init.safetensors", -1)
    assert train(folder)[0] == 5
    assert "init_from" in events(folder, "failed")[0]["data"]["message"]
    state = daemon.state / f"runs/{first}/checkpoints/step-{step:06d}/state.safetensors"
    flip(state, -1)
    data = daemon.post("/datasets?name=t", data=tiny.chats(random.Random(1), 12).encode()).json()["id"]
    refused = daemon.post("/jobs", json={"model": "llama", "dataset": data, "init_from": {"job": first, "step": step}})
    assert refused.status_code >= 400 and refused.json()["error"]["field"] == "init_from" and "damaged" in refused.text
    told = subprocess.run([HONED, "check", "--state", daemon.state], capture_output=True, text=True)
    assert told.returncode == 1 and f"checkpoint of step {step}" in told.stdout and first in told.stdout and "1 wrong" in told.stdout
    asked = daemon.post(f"/jobs/{first}/predict", json={"inputs": ["good"], "step": step})
    assert asked.status_code >= 400 and "damaged" in asked.text


def test_what_is_served_and_used(daemon):
    """Artifacts, data sets and models: bytes that are not those of the hash are named, and an upload mends its data set."""
    job = daemon.job({"steps": 3})
    daemon.wait(job, "succeeded")
    (listed, *_) = daemon.get(f"/jobs/{job}/artifacts").json()["data"]
    path = daemon.state / "runs" / job / "artifacts" / listed["path"]
    good = daemon.get(f"/jobs/{job}/artifacts/{listed['path']}")
    assert good.status_code == 200 and hashlib.sha256(good.content).hexdigest() == listed["sha256"]
    flip(path, 0.5)
    for url in (f"/jobs/{job}/artifacts/{listed['path']}", f"/jobs/{job}/artifacts.tar"):
        reply = daemon.get(url)
        assert reply.status_code == 500 and "damaged" in reply.text and listed["path"] in reply.text and "ETag" not in reply.headers
    flip(path, 0.5)
    assert daemon.get(f"/jobs/{job}/artifacts/{listed['path']}").content == good.content

    dataset = daemon.look(job)["dataset"]
    data = next((daemon.state / "datasets").iterdir()) / "data"
    before = data.read_bytes()
    flip(data, 0.3)
    refused = daemon.post("/jobs", json={"model": "base", "dataset": dataset})
    assert refused.status_code == 422 and refused.json()["error"]["code"] == "dataset_invalid" and "upload" in refused.text
    assert daemon.post("/datasets?name=d", data=before).json()["id"] == dataset
    assert data.read_bytes() == before
    assert daemon.post("/jobs", json={"model": "base", "dataset": dataset}).status_code == 201

    model = daemon.state / "models/base/model.gguf"
    times = model.stat()
    flip(model, 0.5)
    os.utime(model, ns=(times.st_atime_ns, times.st_mtime_ns))  # size, inode and mtime as they were
    refused = daemon.post("/jobs", json={"model": "base", "dataset": dataset})
    assert refused.status_code == 422 and refused.json()["error"]["code"] == "model_invalid" and "model.gguf" in refused.text


def test_inputs_are_compared_when_a_run_begins(start):
    daemon = start("--slots", "1")
    daemon.model()
    blocker = daemon.job({"steps": 100, "step_seconds": 0.02})
    daemon.wait_step(blocker, 1)
    waiting = daemon.job({"steps": 2}, extra="waits")
    for folder in (daemon.state / "datasets").iterdir():
        if b"waits" in (folder / "data").read_bytes():
            flip(folder / "data", 0.3)
    failed = daemon.wait(waiting, "failed")
    assert failed["status_reason"]["code"] == "dataset_invalid" and "other bytes" in failed["status_reason"]["message"]


def test_tokens_that_are_kept(start, tmp_path):
    """Tokenised rows of a plan lie on the disk until the run begins; damaged ones are made again."""
    daemon = begin(start, tmp_path)
    first = submit(daemon, hyperparameters=RUN)
    daemon.wait(first, "succeeded")
    blocker = submit(daemon, hyperparameters=RUN | {"max_steps": 3000, "epochs": 5000, "eval_every": 1000, "save_every": 1000})
    second = submit(daemon, hyperparameters=RUN)
    kept = [p for p in (daemon.state / "tokens").iterdir() if p.stat().st_size]
    assert kept
    for file in kept:
        for place in (0.6, 0.8, -1):
            flip(file, place)
    assert daemon.look(second)["status"] == "queued"
    daemon.post(f"/jobs/{blocker}/cancel")
    daemon.wait(second, "succeeded")
    wanted, found = (daemon.get(f"/jobs/{job}/artifacts").json()["data"] for job in (first, second))
    assert [(f["path"], f["sha256"]) for f in found] == [(f["path"], f["sha256"]) for f in wanted] != []


def test_a_damaged_result_is_not_asked(start, tmp_path):
    daemon = begin(start, tmp_path)
    job = submit(daemon)
    daemon.wait(job, "succeeded")
    ask = lambda: daemon.post(f"/jobs/{job}/predict", json={"inputs": ["good"]})  # noqa: E731
    assert ask().status_code == 200
    run = daemon.state / "runs" / job
    for file in (run / "artifacts/peft/adapter_model.safetensors", *(run / "inputs/model").glob("*.safetensors")):
        flip(file, -1)
        refused = ask()
        assert refused.status_code == 409 and "other bytes" in refused.text, refused.text
        flip(file, -1)
        assert ask().status_code == 200
