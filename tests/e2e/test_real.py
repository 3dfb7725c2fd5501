"""The daemon with the real engine and the real model: a job by curl's means, and ten deaths that change no byte of its result."""
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest
import requests

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parity"))
import common  # noqa: E402
from daemon import HONED  # noqa: E402

pytestmark = pytest.mark.skipif(not common.GGUF or not common.REVIEWS, reason="needs the model and the reviews")
KNOBS = {"max_steps": 12, "batch_size": 2, "learning_rate": 1e-3, "eval_every": 6, "save_every": 2, "lora_dropout": 0.1, "max_length": 128}


@pytest.fixture
def begin(start):
    """Starts a daemon that has this model."""
    def do(model):
        path = pathlib.Path(model).resolve()
        daemon = start("--model_dirs", str(path.parent), fake=False)
        reply = daemon.post("/models", json={"name": "smollm2", "path": str(path)})
        assert reply.status_code == 201, reply.text
        return daemon
    return do


def submit(daemon, **knobs):
    text = "".join(json.dumps(common.chat_row(*r)) + "\n" for r in common.reviews(16))
    val = "".join(json.dumps(common.chat_row(*r)) + "\n" for r in common.reviews(4, 100))
    reply = daemon.post("/jobs", files={"dataset": ("train.jsonl", text), "validation": ("val.jsonl", val)},
                        data={"model": "smollm2", "hyperparameters": json.dumps(KNOBS | knobs), "samples": '{"rows":1,"max_tokens":8}'})
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]


def result(daemon, job):
    return {a["path"]: a["sha256"] for a in daemon.get(f"/jobs/{job}/artifacts").json()["data"] if a["path"] != "manifest.json"}


def curve(daemon, job):
    return [(m["step"], m["loss"], m["grad_norm"], m["val_loss"]) for m in daemon.get(f"/jobs/{job}/metrics").json()["data"]]


def test_a_job_and_its_result(begin):
    real = begin(common.GGUF)
    job = submit(real)
    done = real.wait(job, "succeeded", 300)
    assert done["progress"]["step"] == 12 and done["metrics"]["val_loss"] < curve(real, job)[0][3]
    figures = real.figures()
    assert figures["hone_trained_steps_total"][()] == 12 and figures["hone_trained_tokens_total"][()] == done["progress"]["tokens"]
    assert figures["hone_models_bytes"][()] == pathlib.Path(common.GGUF).stat().st_size
    assert all(a["verified"] for a in real.get(f"/jobs/{job}/artifacts").json()["data"] if a["kind"] in ("peft", "gguf"))
    for step in ("exported", "last"):
        answer = real.post(f"/jobs/{job}/predict", json={"inputs": ["A fine film."], "max_tokens": 4, "step": step}).json()
        assert answer["data"][0]["usage"]["completion_tokens"] <= 4
    data = done["dataset"]
    tokens = real.get(f"/datasets/{data}/preview?model=smollm2&row=2").json()["tokens"]
    assert {t["state"] for t in tokens} >= {"trained", "masked"}
    told = subprocess.run([HONED, "check", "--state", str(real.state)], capture_output=True, text=True)
    assert told.returncode == 0 and "0 wrong" in told.stdout, told.stdout + told.stderr


def kill_trainer(daemon, job):
    try:
        os.kill(daemon.trainer(job), signal.SIGKILL)
        return True
    except (ProcessLookupError, FileNotFoundError, ValueError):
        return False


def test_ten_deaths_change_no_byte(begin):
    """Ten SIGKILLs at random moments: the trainer, the daemon, or both at once."""
    real = begin(common.short_model())
    steps = {"max_steps": 30, "eval_every": 15}
    begun = time.time()
    calm = submit(real, **steps)
    real.wait(calm, "succeeded", 300)
    pace = min(1.5, (time.time() - begun) / 15)  # so that ten moments lie within the run on a fast machine, too
    seed = int(os.environ.get("HONE_TEST_SEED", time.time()))
    print("seed", seed)
    chance = random.Random(seed)
    job = submit(real, **steps)
    deaths = {"trainer": 0, "daemon": 0, "both": 0}
    while sum(deaths.values()) < 10:
        time.sleep(chance.uniform(0.1, max(0.2, pace)))
        found = real.look(job)
        assert found["status"] in ("queued", "running"), found
        # A trainer is only killed once it has moved on since its last death: three without progress would end the job.
        may_die = found["status"] == "running" and not requeued_lately(real, job)
        whom = chance.choice(["trainer", "daemon", "both"]) if may_die else "daemon"
        if whom != "daemon" and not kill_trainer(real, job):
            continue
        if whom != "trainer":
            real.restart()
        deaths[whom] += 1
    print(deaths)
    real.wait(job, "succeeded", 400)
    assert result(real, job) == result(real, calm)
    assert curve(real, job) == curve(real, calm)
    events = real.events(job)
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert not [e for e in events if e["type"] == "warning" and e["data"]["code"] == "not_reproduced"]


def requeued_lately(daemon, job):
    types = [e["type"] for e in daemon.events(job)]
    if "requeued" not in types:
        return False
    last = len(types) - 1 - types[::-1].index("requeued")
    return "checkpoint" not in types[last:]
