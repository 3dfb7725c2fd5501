"""Presets: hyperparameters by a word, where the job does not give them itself."""
import json
import pathlib
import random
import re

import pytest

import tiny
from test_api import error

ROOT = pathlib.Path(__file__).resolve().parents[2]
CAREFUL = {"schedule": "cosine", "warmup_ratio": 0.1, "weight_decay": 0.01, "early_stopping_patience": 3}


@pytest.fixture
def served(start, tmp_path):
    tiny.llama(tmp_path / "models" / "llama")
    daemon = start("--model_dirs", str(tmp_path / "models"), fake=False)
    assert daemon.post("/models", json={"name": "base", "path": str(tmp_path / "models" / "llama")}).status_code == 201
    return daemon


def body(daemon, **more):
    chance = random.Random(1)
    rows = "".join(f'{{"text":"{tiny.sentence(chance)} {i}"}}\n' for i in range(30))
    reply = daemon.post("/datasets", data=rows.encode())
    assert reply.status_code in (200, 201), reply.text
    fixed = {"save_every": 5, "eval_every": 5}  # else by the number of steps
    return {"model": "base", "dataset": reply.json()["id"], "validation": "none", **more, "hyperparameters": fixed | more.get("hyperparameters", {})}


def plan(daemon, **more):
    reply = daemon.post("/jobs?dry_run=1", json=body(daemon, **more))
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_what_they_set(served):
    plain = plan(served)
    assert plan(served, preset="standard")["hyperparameters"] == plain["hyperparameters"] == plan(served, preset=None)["hyperparameters"]
    quick = plan(served, preset="quick")
    assert quick["hyperparameters"] == plain["hyperparameters"] | {"epochs": 1.0} and quick["steps"] < plain["steps"]
    assert quick["auto"]["epochs"].startswith("1: preset quick")
    careful = plan(served, preset="careful")
    assert careful["hyperparameters"] == plain["hyperparameters"] | CAREFUL
    for name in CAREFUL:
        assert "preset careful" in careful["auto"][name] and name not in plain["auto"]


def test_what_is_given_stays(served):
    told = plan(served, preset="careful", hyperparameters={"schedule": "linear", "weight_decay": 0.5})
    assert told["hyperparameters"]["schedule"] == "linear" and told["hyperparameters"]["weight_decay"] == 0.5
    assert told["hyperparameters"]["warmup_ratio"] == 0.1
    assert told["auto"].keys() & CAREFUL.keys() == {"warmup_ratio", "early_stopping_patience"}
    chosen = plan(served, preset="quick", hyperparameters={"epochs": "auto"})
    assert chosen["hyperparameters"]["epochs"] == plan(served)["hyperparameters"]["epochs"] and "preset" not in chosen["auto"]["epochs"]


def test_the_job_says_it(served):
    job = served.post("/jobs", json=body(served, preset="quick")).json()
    assert job["request"]["preset"] == "quick" and job["hyperparameters"]["epochs"] == 1.0 and "preset quick" in job["auto"]["epochs"]
    formed = served.post("/jobs?dry_run=1", files={k: (None, v if isinstance(v, str) else json.dumps(v)) for k, v in
                                                         body(served, preset="quick").items()})
    assert formed.json()["hyperparameters"]["epochs"] == 1.0
    assert served.wait(job["id"])["status"] == "succeeded"


def test_refused(served):
    for wrong in ("fast", "", "Quick"):
        told = error(served.post("/jobs", json=body(served, preset=wrong)), 400, "invalid_field", "preset")
        assert "careful" in told["hint"]
    error(served.post("/jobs", json=body(served, preset=1)), 400, "invalid_field", "preset")


def test_the_page_means_the_same(served):
    """web/submit_words.js fills the form with what the word stands for."""
    text = (ROOT / "web/submit_words.js").read_text()
    found = dict(re.findall(r'name: "(\w+)", set: \{([^}]*)\}', text))
    base = plan(served)["hyperparameters"]
    assert found.keys() == {"standard", "quick", "careful"}
    for name, pairs in found.items():
        values = {k: v.strip('"') if v.startswith('"') else float(v) for k, v in re.findall(r'(\w+): ("\w+"|[\d.]+)', pairs)}
        assert plan(served, preset=name)["hyperparameters"] == base | values
