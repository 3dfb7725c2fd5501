"""Backups beside a running daemon, restored; and what verify finds."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading

import pytest

from daemon import HONED


def run(daemon, *words, code=0):
    done = subprocess.run([HONED, *map(str, words)], capture_output=True, text=True, env=daemon.env, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def result(daemon, job):
    return {a["path"]: a["sha256"] for a in daemon.get(f"/jobs/{job}/artifacts").json()["data"]}


def test_a_backup_is_restored(start, tmp_path):
    d = start("--slots", "1")
    d.model()
    done, slow = d.job({"steps": 4}), None
    d.wait(done, "succeeded")
    slow = d.job({"steps": 30, "step_seconds": 0.1, "save_every": 3}, extra="slow")
    waiting = d.job({"steps": 3}, extra="waits")
    d.wait_step(slow, 8)
    assert "no models" not in run(d, "backup", tmp_path / "copy", "--state", d.state)
    assert "0 wrong" in run(d, "check", "--state", d.state) and "0 wrong" in run(d, "check", "--state", tmp_path / "copy")
    here, there = (p / "runs" / slow / "events.jsonl" for p in (d.state, tmp_path / "copy"))
    assert here.stat().st_ino != there.stat().st_ino and os.access(there, os.W_OK) and not (there.parent / "lock").exists()
    assert sorted(p.name for p in (tmp_path / "copy").iterdir() if p.is_file()) == ["hone.db", "library.lock", "store.json"]
    data = next((d.state / "datasets").iterdir()).name
    assert (d.state / "datasets" / data / "data").stat().st_ino == (tmp_path / "copy/datasets" / data / "data").stat().st_ino
    wanted = {j: (d.wait(j, "succeeded"), result(d, j))[1] for j in (done, slow, waiting)}
    d.kill()
    shutil.rmtree(d.state)
    run(d, "backup", d.state, "--state", tmp_path / "copy")
    d.start()
    for job in (done, slow, waiting):
        d.wait(job, "succeeded")
        assert result(d, job) == wanted[job] != {}
        seqs = [e["seq"] for e in d.events(job)]
        assert seqs == list(range(1, len(seqs) + 1))
        path = next(iter(wanted[job]))
        assert d.get(f"/jobs/{job}/artifacts/{path}").status_code == 200
    steps = [m["step"] for m in d.get(f"/jobs/{slow}/metrics").json()["data"] if m["loss"] is not None]
    assert steps == list(range(1, 31))
    d.wait(d.job({"steps": 2}, extra="new"), "succeeded")
    assert "0 wrong" in run(d, "check", "--state", d.state)


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs a second file system")
def test_another_disk(daemon, tmp_path):
    """Copies; what jobs share with the library they share in the copy, too, and the model is still known as unchanged."""
    jobs = [daemon.job({"steps": 2}), daemon.job({"steps": 2}, extra="b")]
    for job in jobs:
        daemon.wait(job, "succeeded")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        copy = pathlib.Path(other) / "copy"
        run(daemon, "backup", copy, "--state", daemon.state)
        assert "0 wrong" in run(daemon, "check", "--state", copy)
        model = (copy / "models/base/model.gguf").stat()
        assert model.st_nlink == 3 and {(copy / "runs" / j / "inputs/model.gguf").stat().st_ino for j in jobs} == {model.st_ino}
        run(daemon, "backup", copy.parent / "bare", "--models", "no", "--state", daemon.state)
        assert not list((copy.parent / "bare").rglob("model.gguf"))
        assert "import it again" in run(daemon, "check", "--state", copy.parent / "bare", code=1)


def test_backups_while_all_changes(daemon, tmp_path):
    stop = threading.Event()

    def churn(number):
        i = 0
        while not stop.is_set():
            i += 1
            job = daemon.job({"steps": 2, "save_every": 1}, extra=f"{number}.{i}")
            daemon.post(f"/jobs/{job}/cancel")
            daemon.wait(job)
            data = daemon.look(job)["dataset"]
            daemon.delete(f"/jobs/{job}")
            daemon.delete(f"/datasets/{data}")

    threads = [threading.Thread(target=churn, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        for i in range(8):
            run(daemon, "backup", tmp_path / str(i), "--state", daemon.state)
            run(daemon, "check", "--state", daemon.state)
            assert "0 wrong" in run(daemon, "check", "--state", tmp_path / str(i))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not list(tmp_path.glob("*.part"))


def test_refusals(daemon, tmp_path):
    (tmp_path / "there").mkdir()
    assert "already" in run(daemon, "backup", tmp_path / "there", "--state", daemon.state, code=1)
    assert "hone.db" in run(daemon, "backup", tmp_path / "new", "--state", tmp_path / "there", code=1)
    assert "hone.db" in run(daemon, "check", "--state", tmp_path / "nowhere", code=1) and not (tmp_path / "nowhere").exists()
    assert "usage" in run(daemon, "backup", code=2) and "usage" in run(daemon, "check", "x", "--state", daemon.state, code=2)
    assert "usage" in run(daemon, "backup", "x", "--models", "maybe", code=2)


def test_verify_names_what_is_wrong(daemon, tmp_path):
    job = daemon.job({"steps": 2})
    daemon.wait(job, "succeeded")
    daemon.stop()
    check = lambda code=1: run(daemon, "check", "--state", daemon.state, code=code)
    assert "0 wrong" in check(0)

    def spoil(path, what, new=b"spoiled"):
        old, mode = path.read_bytes(), path.stat().st_mode
        path.unlink()
        if new is not None:
            path.write_bytes(new)
        told = check()
        assert what in told and "1 wrong" in told and "\N{RIGHTWARDS ARROW}" in told, told
        if path.exists():
            path.unlink()
        path.write_bytes(old)
        path.chmod(mode)

    artifact = daemon.state / "runs" / job / "artifacts/peft/adapter.bin"
    data = next((daemon.state / "datasets").iterdir()) / "data"
    spoil(artifact, "has other bytes")
    spoil(artifact, "is gone", None)
    spoil(data, "has other bytes")
    spoil(data, "upload it again", None)
    spoil(daemon.state / "models/base/model.gguf", "has other bytes")
    assert "0 wrong" in check(0)  # a copy of the folder is as good: files are known by their bytes
    run(daemon, "backup", tmp_path / "mended", "--state", daemon.state)
    assert "0 wrong" in run(daemon, "check", "--state", tmp_path / "mended")
    stray = tmp_path / "mended/models/nobody"
    stray.mkdir()
    told = run(daemon, "check", "--state", tmp_path / "mended", code=1)
    assert str(stray) in told and stray.exists()
    stray.rmdir()
    store = tmp_path / "mended/hone.db"
    pages = bytearray(store.read_bytes())
    pages[4096 * 3:4096 * 4] = b"\xff" * 4096
    store.write_bytes(pages)
    assert "restore" in run(daemon, "check", "--state", tmp_path / "mended", code=1)
