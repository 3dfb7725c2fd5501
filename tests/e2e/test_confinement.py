"""Trainers and helpers see their own files only, have no network and start no programs; and still do all their work."""
import errno
import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys

import pytest
import requests

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parity"))
import common  # noqa: E402
import tiny  # noqa: E402
from daemon import HONED  # noqa: E402

ESCAPE = pathlib.Path(HONED).resolve().parents[1] / "tests" / "libescape.so"


def signature(file):
    st = file.stat()
    return st.st_ino, st.st_mode, st.st_uid, st.st_size, st.st_mtime_ns, hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.skipif("asan" in HONED or "tsan" in HONED, reason="a sanitizer's calls are not kept to a list")
def test_a_hostile_trainer(start, tmp_path, monkeypatch):
    """A library in the trainer tries all that it should not do, then lets it train."""
    key = tmp_path / "tls.key"
    key.write_text("private")
    tiny.llama(tmp_path / "models/llama")
    monkeypatch.setenv("LD_PRELOAD", str(ESCAPE))
    monkeypatch.setenv("HONE_ESCAPE_MODEL", "inputs/model/model.safetensors")
    monkeypatch.setenv("HONE_ESCAPE_KEY", str(key))
    daemon = start("--model_dirs", str(tmp_path / "models"), fake=False)
    monkeypatch.delenv("LD_PRELOAD")
    assert daemon.post("/models", json={"name": "llama", "path": str(tmp_path / "models/llama")}).status_code == 201
    data = daemon.post("/datasets?name=t", data=tiny.chats(random.Random(1), 12).encode()).json()
    files = [tmp_path / "models/llama/model.safetensors", daemon.state / "models/llama/model.safetensors",
             daemon.state / "datasets" / data["sha256"] / "data"]
    before = [signature(file) for file in files]
    job = daemon.post("/jobs", json={"model": "llama", "dataset": data["id"], "validation": "none",
                                     "hyperparameters": {"max_steps": 2, "max_length": 96}}).json()["id"]
    daemon.wait(job, "succeeded")
    run = daemon.state / "runs" / job
    assert (run / "inputs/model/model.safetensors").samefile(files[1])
    log = daemon.get(f"/jobs/{job}/log").text
    assert "files by Landlock" in log and "system calls by seccomp" in log, log
    found = dict(line.removeprefix("escape ").rsplit(": ", 1) for line in log.splitlines() if line.startswith("escape "))
    assert len(found) > 80
    refusals = {errno.EPERM, errno.EACCES, errno.EXDEV}
    wrong = {name: error for name, error in found.items() if (int(error) in refusals) == name.startswith("allowed")}
    # A lock's descriptor that is for reading only; a call that no kernel has yet.
    assert wrong == {"lock write": str(errno.EBADF), "lock truncate": str(errno.EINVAL), "call of the future": str(errno.ENOSYS)}
    assert [int(found[name]) for name in found if name.startswith("allowed")] == [0] * 10
    assert [signature(file) for file in files] == before
    assert not (run / "new").exists() and not (run / "artifacts/shadow").is_symlink()
    assert (run / "lock").read_text().split()[0] in (daemon.state.parent / "daemon.log").read_text()


SECRET = "known to few " * 200


def test_links_in_a_run_directory_are_not_followed(daemon, tmp_path):
    """Whatever a trainer has left: the daemon, its archives, a backup and the check open plain files of the run directory only."""
    job = daemon.job({"steps": 4})
    daemon.wait(job, "succeeded")
    run = daemon.state / "runs" / job
    adapter = run / "artifacts/peft/adapter.bin"
    secret = tmp_path / "secret"
    secret.write_text((SECRET * 30)[:adapter.stat().st_size])
    (tmp_path / "peft").mkdir()
    (tmp_path / "peft/adapter.bin").write_text(secret.read_text())
    (run / "trainer.log").unlink(missing_ok=True)
    pages = [f"/jobs/{job}/{page}" for page in ("log", "artifacts/peft/adapter.bin", "artifacts.tar", "checkpoints", "verify")]

    def link_file():
        adapter.unlink()
        adapter.symlink_to(secret)
        (run / "trainer.log").symlink_to(secret)

    def link_folder():
        adapter.unlink()
        adapter.parent.rmdir()
        adapter.parent.symlink_to(tmp_path / "peft")
        (run / "trainer.log").unlink()
        os.mkfifo(run / "trainer.log")

    def link_all():
        adapter.parent.unlink()
        (run / "artifacts").rmdir()
        (run / "artifacts").symlink_to(tmp_path)
        shutil.rmtree(run / "checkpoints")
        (run / "checkpoints").symlink_to(tmp_path)

    for i, change in enumerate((link_file, link_folder, link_all)):
        change()
        for page in pages:
            try:
                assert SECRET.encode() not in daemon.get(page).content, page
            except requests.exceptions.ChunkedEncodingError:
                assert "tar" in page  # it ends where the file is
        assert daemon.get(pages[0]).status_code == 409 and daemon.get(pages[1]).status_code in (404, 409)
        subprocess.run([HONED, "backup", str(tmp_path / f"copy{i}"), "--state", str(daemon.state)], check=True)
        assert not [f for f in (tmp_path / f"copy{i}/runs" / job).rglob("*") if f.is_symlink() or (f.is_file() and SECRET in f.read_text())]
        checked = subprocess.run([HONED, "check", "--state", str(daemon.state)], capture_output=True, text=True, env=daemon.env)
        assert checked.returncode == 1 and "adapter.bin" in checked.stdout, checked.stdout
    (run / "trainer.log").unlink()


def test_events_and_log_of_a_run_are_plain_files(daemon, tmp_path):
    """A link where the next trainer's log and events come to lie: the job ends, and nothing is written to what it points to."""
    job = daemon.job({"steps": 30, "step_seconds": 0.1, "save_every": 1})
    daemon.wait_step(job, 2)
    daemon.post(f"/jobs/{job}/pause")
    daemon.wait(job, "paused")
    run, other = daemon.state / "runs" / job, tmp_path / "other"
    other.write_text("other\n")
    (run / "trainer.log").unlink()
    (run / "trainer.log").symlink_to(other)
    daemon.post(f"/jobs/{job}/resume")
    found = daemon.wait(job, "failed")
    assert "trainer.log" in found["status_reason"]["message"] and "plain file" in found["status_reason"]["message"]
    assert other.read_text() == "other\n"


def test_a_trainer_that_lets_go_of_its_lock(daemon):
    """It looks dead and is not: it is killed, and the next one begins alone."""
    job = daemon.job({"steps": 6, "unlock_at": [3], "step_seconds": 0.05})
    daemon.wait_step(job, 2)
    pid = daemon.trainer(job)
    daemon.wait(job, "succeeded")
    assert not pathlib.Path(f"/proc/{pid}").exists()
    assert daemon.look(job)["attempts"] == 2


@pytest.mark.skipif(not common.GGUF or not common.REVIEWS, reason="needs the model and the reviews")
@pytest.mark.parametrize("confine", ["yes", "no"])
def test_a_job_from_end_to_end(start, tmp_path, confine):
    """Import, upload of a compressed file, plan, training, an export on demand, predictions and an evaluation with its rows."""
    import gzip
    daemon = start("--model_dirs", str(pathlib.Path(common.GGUF).resolve().parent), "--confine", confine, fake=False)
    assert daemon.post("/models", json={"name": "smollm2", "path": str(pathlib.Path(common.GGUF).resolve())}).status_code == 201
    text = "".join(json.dumps(common.chat_row(*r)) + "\n" for r in common.reviews(6)).encode()
    data = daemon.post("/datasets", files={"file": ("rows.jsonl.gz", gzip.compress(text))}).json()["id"]
    job = daemon.post("/jobs", json={"model": "smollm2", "dataset": data, "validation": "none", "samples": {"rows": 1, "max_tokens": 4},
                                     "hyperparameters": {"max_steps": 1, "batch_size": 2, "max_length": 96}}).json()["id"]
    daemon.wait(job, "succeeded", 120)
    log = (daemon.state / "runs" / job / "trainer.log").read_text()
    assert ("confined: " in log) == (confine == "yes"), log
    trained = daemon.post(f"/jobs/{job}/predict", json={"inputs": ["Fine."], "max_tokens": 2})
    assert trained.ok, trained.text
    judged = daemon.post(f"/jobs/{job}/evaluate", json={"dataset": data})
    assert judged.ok and judged.json()["metrics"]["loss"] > 0, judged.text
    rows = daemon.get(f"/evaluations/{judged.json()['id']}/rows")
    assert rows.ok and len(rows.text.splitlines()) == 6, rows.text
    assert not list((daemon.state / "tmp").iterdir()) and os.access(daemon.state / "hone.db", os.R_OK)
