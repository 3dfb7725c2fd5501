"""A model is its content: what was trained on it or has it open goes by that, not by a name that another may have by now."""
import random

import pytest

import tiny


@pytest.fixture
def served(start, tmp_path):
    for name, seed in (("one", 3), ("two", 4)):
        tiny.llama(tmp_path / "models" / name, seed=seed)
    daemon = start("--model_dirs", str(tmp_path / "models"), fake=False)
    daemon.folders = tmp_path / "models"
    return daemon


def take_in(daemon, name, folder):
    reply = daemon.post("/models", json={"name": name, "path": str(daemon.folders / folder)})
    assert reply.status_code == 201, reply.text


def ask(daemon, name):
    reply = daemon.post(f"/models/{name}/predict", json={"inputs": [{"prompt": "a fine film and"}], "max_tokens": 12})
    assert reply.status_code == 200, reply.text
    return reply.json()["data"][0]["text"]


def test_a_name_is_given_to_another_model(served):
    take_in(served, "m", "one")
    first = ask(served, "m")
    data = served.post("/datasets?name=t", data=tiny.chats(random.Random(1), 12).encode()).json()["id"]
    body = {"model": "m", "dataset": data, "validation": "none", "exports": ["peft"], "hyperparameters": {"max_steps": 4, "max_length": 96}}
    job = served.wait(served.post("/jobs", json=body).json()["id"], "succeeded")["id"]
    assert served.delete("/models/m").status_code == 204
    take_in(served, "m", "two")
    take_in(served, "same", "two")
    assert ask(served, "m") == ask(served, "same") != first
    refused = served.post("/jobs", json=body | {"init_from": job})
    assert refused.status_code == 400 and refused.json()["error"]["field"] == "init_from", refused.text
    take_in(served, "renamed", "one")
    assert ask(served, "renamed") == first
    assert served.post("/jobs?dry_run=1", json=body | {"model": "renamed", "init_from": job}).status_code == 200
    again = served.post(f"/jobs/{job}/verify")  # the base is the one of the job, whatever it is called by now
    assert again.status_code == 201, again.text
    assert served.wait(again.json()["id"], "succeeded")["model"] == "renamed"
    assert served.delete("/models/renamed").status_code == 204
    refused = served.post(f"/jobs/{job}/verify")
    assert refused.status_code == 409 and "deleted or replaced" in refused.json()["error"]["message"], refused.text
