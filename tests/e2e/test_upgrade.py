"""From the last released build to this one, over trainers that run, and back: refused. The old one is built from the history."""
import os
import pathlib
import random
import subprocess

import pytest

import tiny
from daemon import HONED
from test_bit_rot import RUN

ROOT = pathlib.Path(__file__).resolve().parents[2]
RELEASED = "07de42b16cc2796cfe37bdb878173aa75db223fd"  # set anew with each release


@pytest.fixture(scope="module")
def released():
    cache = pathlib.Path(os.environ.get("HONE_CACHE") or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "hone")
    folder = cache / f"released-{RELEASED[:12]}"
    binary = folder / "build/server/honed"
    if not binary.exists():
        if subprocess.run(["git", "cat-file", "-e", RELEASED], cwd=ROOT, capture_output=True).returncode:
            pytest.skip("the history of this checkout does not reach back to the last release")
        folder.mkdir(parents=True, exist_ok=True)
        tree = subprocess.run(["git", "archive", RELEASED], cwd=ROOT, capture_output=True, check=True).stdout
        subprocess.run(["tar", "x", "-C", str(folder)], input=tree, check=True)
        subprocess.run(["meson", "setup", "build", "-Dtests=false"], cwd=folder, check=True, capture_output=True)
        subprocess.run(["ninja", "-C", "build", "server/honed"], cwd=folder, check=True, capture_output=True)
    return str(binary)


def submit(daemon, **more):
    data = daemon.post("/datasets?name=t", data=tiny.chats(random.Random(1), 12).encode()).json()["id"]
    reply = daemon.post("/jobs", json={"model": "llama", "dataset": data, "validation": 0.25} | more)
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]


def test_over_running_trainers(released, start, tmp_path, monkeypatch):
    tiny.llama(tmp_path / "models/llama")
    monkeypatch.setattr("daemon.HONED", released)
    d = start("--model_dirs", str(tmp_path / "models"), fake=False)
    assert d.post("/models", json={"name": "llama", "path": str(tmp_path / "models/llama")}).status_code == 201
    done = submit(d, hyperparameters=RUN)
    d.wait(done, "succeeded")
    result = d.get(f"/jobs/{done}/artifacts").json()["data"]
    running = submit(d, hyperparameters=RUN | {"epochs": 4000, "max_steps": 2500, "eval_every": 500, "save_every": 500, "learning_rate": 1e-3})
    waiting = submit(d, hyperparameters=RUN | {"seed": 9})
    d.wait_step(running, 200)
    trainer = d.trainer(running)
    d.kill()

    monkeypatch.setattr("daemon.HONED", HONED)
    d.start()
    assert d.trainer(running) == trainer and os.path.exists(f"/proc/{trainer}")
    d.wait(running, "succeeded", timeout=120)
    assert "attached to a running trainer" in d.log.read_text()
    assert d.look(running)["attempts"] == 1 and not [e for e in d.events(running) if e["type"] == "warning"]
    d.wait(waiting, "succeeded")
    assert d.get(f"/jobs/{done}/artifacts").json()["data"] == result
    assert d.get(f"/jobs/{done}/artifacts/{result[0]['path']}").status_code == 200
    assert d.post(f"/jobs/{done}/predict", json={"inputs": ["good"]}).status_code == 200
    assert not list((d.state / "lost+found").glob("*")) if (d.state / "lost+found").exists() else True
    again = submit(d, init_from={"job": done}, hyperparameters=RUN)
    d.wait(again, "succeeded")
    d.stop()
    checked = subprocess.run([HONED, "check", "--state", d.state], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout

    before = (d.state / "hone.db").read_bytes()
    monkeypatch.setattr("daemon.HONED", released)
    d.start(expect=False)
    assert d.process.wait(30) == 1 and "newer version" in d.log.read_text()[-2000:]
    assert (d.state / "hone.db").read_bytes() == before
    monkeypatch.setattr("daemon.HONED", HONED)
    d.start()
    assert d.look(again)["status"] == "succeeded"


def test_a_job_that_was_interrupted_before_the_upgrade(released, start, tmp_path, monkeypatch):
    """Its checkpoint is of the old build: it goes on, and says by whom it was computed."""
    tiny.llama(tmp_path / "models/llama")
    monkeypatch.setattr("daemon.HONED", released)
    d = start("--model_dirs", str(tmp_path / "models"), fake=False)
    assert d.post("/models", json={"name": "llama", "path": str(tmp_path / "models/llama")}).status_code == 201
    job = submit(d, hyperparameters=RUN | {"epochs": 4000, "max_steps": 800, "eval_every": 400, "save_every": 100, "learning_rate": 1e-3})
    d.wait_step(job, 300)
    d.stop()
    monkeypatch.setattr("daemon.HONED", HONED)
    d.start()
    d.wait(job, "succeeded", timeout=120)
    assert [e["data"]["code"] for e in d.events(job) if e["type"] == "warning"] == ["kernels_changed"]
    assert [e["data"]["from_step"] for e in d.events(job) if e["type"] == "resumed"] != []
