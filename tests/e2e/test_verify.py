"""Results run again: the same bytes, also across a restart of the daemon; a file that was tampered with is found out."""
import hashlib
import random
import re

import tiny

KNOBS = {"epochs": 20, "max_steps": 30, "batch_size": 2, "learning_rate": 1e-3, "eval_every": 10, "lora_dropout": 0.1, "max_length": 96}


def begin(start, folder):
    tiny.llama(folder / "models/llama")
    daemon = start("--model_dirs", str(folder / "models"), fake=False)
    model(daemon, folder)
    return daemon


def model(daemon, folder):
    assert daemon.post("/models", json={"name": "llama", "path": str(folder / "models/llama")}).status_code == 201


def submit(daemon, **more):
    data = daemon.post("/datasets?name=t", data=tiny.chats(random.Random(1), 12).encode()).json()["id"]
    reply = daemon.post("/jobs", json={"model": "llama", "dataset": data, "validation": 0.25, "hyperparameters": KNOBS} | more)
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]


def verify(daemon, job, **body):
    reply = daemon.post(f"/jobs/{job}/verify", json=body or None)
    assert reply.status_code == 201, reply.text
    return reply.json()


def answers(daemon, job):
    return daemon.get(f"/jobs/{job}/verify").json()["data"]


def seal(checkpoint):
    """Makes state.json vouch for the files as they are: what bit rot does is noticed before (test_bit_rot.py)."""
    state = checkpoint / "state.json"
    text = re.sub(r'"sha256":"\w+",', "", state.read_text())
    text = re.sub(r'"tensors":"\w+"', f'"tensors":"{hashlib.sha256((checkpoint / "state.safetensors").read_bytes()).hexdigest()}"', text)
    whole = hashlib.sha256(text.encode()).hexdigest()
    state.unlink()
    state.write_text(text[:-1] + f',"sha256":"{whole}"' + "}")


def test_the_same_bytes_again(start, tmp_path):
    daemon = begin(start, tmp_path)
    first = submit(daemon)
    daemon.wait(first, "succeeded")
    assert answers(daemon, first) == []
    again = submit(daemon, init_from={"job": first})  # one that begins from what lies in its own folder alone
    daemon.wait(again, "succeeded")
    for job in (first, again):
        made = verify(daemon, job)
        assert made["verifies"] == job and made["priority"] == -100
        daemon.restart()
        daemon.wait(made["id"], "succeeded")
        (told,) = answers(daemon, job)
        assert told["job"] == made["id"] and told["same"] is True and told["status"] == "succeeded"
        assert told["from_step"] == 0
        *files, end = told["files"]
        assert {f["path"] for f in files} == {a["path"] for a in daemon.get(f"/jobs/{job}/artifacts").json()["data"]}
        assert all(f["expected"] == f["stored"] == f["found"] and f["same"] for f in files)
        assert end["path"] == "checkpoints/step-000030/state.safetensors" and end["stored"] == end["found"] and end["same"]


def test_the_last_steps_again(start, tmp_path):
    """From a checkpoint that was kept; what comes out differs where that checkpoint does."""
    daemon = begin(start, tmp_path)
    first = submit(daemon, hyperparameters=KNOBS | {"save_every": 8, "keep_checkpoints": 3}, export_step="best")
    daemon.wait(first, "succeeded")
    kept = [c["step"] for c in daemon.get(f"/jobs/{first}/checkpoints").json()["data"]]
    assert kept[-2:] == [24, 30], kept
    made = verify(daemon, first, last_steps=6)
    daemon.restart()
    daemon.wait(made["id"], "succeeded")
    (told,) = answers(daemon, first)
    assert told["from_step"] == 24 and told["same"] is True and all(f["same"] for f in told["files"])
    steps = [e["data"]["step"] for e in daemon.events(made["id"]) if e["type"] == "step"]
    assert steps == list(range(25, 31))

    file = daemon.state / "runs" / first / "checkpoints/step-000024/state.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1 << 6
    file.unlink()  # the verification before has the same file
    file.write_bytes(data)
    seal(file.parent)
    daemon.wait(verify(daemon, first, last_steps=1)["id"], "succeeded")
    told, before = answers(daemon, first)
    assert told["from_step"] == 24 and told["same"] is False and before["same"] is True
    assert not told["files"][-1]["same"]


def test_steps_that_are_not_kept(start, tmp_path):
    daemon = begin(start, tmp_path)
    job = submit(daemon)
    daemon.wait(job, "succeeded")
    for body, status, word in (({"last_steps": 30}, 409, "no checkpoint"), ({"last_steps": 0}, 400, "last_steps"),
                               ({"last_steps": "6"}, 400, "last_steps"), ({"steps": 3}, 400, "steps"), ([], 400, "object")):
        reply = daemon.post(f"/jobs/{job}/verify", json=body)
        assert reply.status_code == status and word in reply.json()["error"]["message"], reply.text
    assert answers(daemon, job) == []


def test_tampered_and_gone(start, tmp_path):
    daemon = begin(start, tmp_path)
    job = submit(daemon)
    daemon.wait(job, "succeeded")
    folder = daemon.state / "runs" / job / "artifacts"
    adapter, readme = folder / "peft/adapter_model.safetensors", folder / "peft/README.md"
    data = bytearray(adapter.read_bytes())
    data[-1] ^= 1
    adapter.chmod(0o600)
    adapter.write_bytes(data)
    readme.unlink()
    daemon.wait(verify(daemon, job)["id"], "succeeded")
    (told,) = answers(daemon, job)
    assert told["same"] is False
    bad = {f["path"]: f for f in told["files"] if not f["same"]}
    assert set(bad) == {"peft/adapter_model.safetensors", "peft/README.md"} and bad["peft/README.md"]["stored"] is None
    assert all(f["expected"] == f["found"] != f["stored"] for f in bad.values())


def test_refusals(start, tmp_path):
    daemon = begin(start, tmp_path)
    job = submit(daemon)
    daemon.wait(job, "succeeded")
    made = verify(daemon, job)["id"]
    daemon.wait(made, "succeeded")
    cancelled = submit(daemon, priority=-1)
    daemon.post(f"/jobs/{cancelled}/cancel")
    daemon.wait(cancelled)
    for name, status in (("job_none", 404), (made, 409), (cancelled, 409 if daemon.look(cancelled)["status"] != "succeeded" else 201)):
        assert daemon.post(f"/jobs/{name}/verify").status_code == status, name
    assert daemon.delete("/models/llama").status_code in (204, 409)
    tiny_other = tmp_path / "other"
    tiny.llama(tiny_other / "models/llama", seed=7)
    if daemon.get("/models/llama").status_code == 404:
        with open(tmp_path / "models/llama/model.safetensors", "wb") as file:
            file.write((tiny_other / "models/llama/model.safetensors").read_bytes())
        reply = daemon.post(f"/jobs/{job}/verify")
        assert reply.status_code == 409 and "deleted or replaced" in reply.json()["error"]["message"]
        model(daemon, tmp_path)
        reply = daemon.post(f"/jobs/{job}/verify")
        assert reply.status_code == 409 and "deleted or replaced" in reply.json()["error"]["message"]
