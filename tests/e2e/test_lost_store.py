"""A store that is gone, empty, damaged, older or another one's: the start refuses and deletes nothing, `honed rebuild` mends it."""
import shutil
import socket
import sqlite3
import subprocess
import threading
import time

import pytest

from daemon import HONED, rows

HALF = {"steps": 60, "step_seconds": 0.02, "save_every": 5}


def rebuild(daemon, code=0):
    done = subprocess.run([HONED, "rebuild", "--state", daemon.state], capture_output=True, text=True, env=daemon.env, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def files(state):
    """Everything that was taken in or came out, with its bytes."""
    wanted = ("datasets", "models", "runs")
    return {str(p.relative_to(state)): p.read_bytes() for folder in wanted for p in (state / folder).rglob("*") if p.is_file()}


def refuses(daemon, *words):
    before = files(daemon.state)
    daemon.start(expect=False)
    assert daemon.process.wait(20) == 1
    told = daemon.log.read_text()[-1500:]
    assert "cannot start" in told and all(w in told for w in words), told
    assert files(daemon.state) == before


def results(daemon, job):
    return {a["path"]: a["sha256"] for a in daemon.get(f"/jobs/{job}/artifacts").json()["data"]}


def copy_store(from_folder, to):
    to.mkdir(exist_ok=True)
    for file in from_folder.glob("hone.db*"):
        shutil.copy(file, to)


def remove_store(state):
    for file in state.glob("hone.db*"):
        file.unlink()


def empty_store(state):
    remove_store(state)
    (state / "hone.db").touch()


def clear_store(state):
    db = sqlite3.connect(state / "hone.db")
    for table in ("events", "metrics", "metric_levels", "checkpoints", "artifacts", "jobs", "datasets", "models", "sqlite_sequence"):
        db.execute(f"DELETE FROM {table}")
    db.commit()
    db.close()


def damage_store(state):
    for file in state.glob("hone.db-*"):
        file.unlink()
    pages = bytearray((state / "hone.db").read_bytes())
    for at in range(4096 * 2, len(pages), 4096):
        pages[at:at + 64] = b"\xff" * 64
    (state / "hone.db").write_bytes(pages)


def no_database(state):
    remove_store(state)
    (state / "hone.db").write_bytes(b"this is no database, but somebody's letter\n" * 200)


def foreign_store(state):
    db = sqlite3.connect(state / "hone.db")
    db.execute("UPDATE identity SET id='sto_aaaaaaaaaaaaaaaa'")
    db.commit()
    db.close()


@pytest.fixture
def full(daemon):
    """A daemon with jobs in all states, killed."""
    daemon.ended = daemon.job({"steps": 5})
    daemon.wait(daemon.ended, "succeeded")
    daemon.cancelled = daemon.job(HALF, extra="c", name="to be cancelled", metadata={"team": "a"})
    daemon.wait_step(daemon.cancelled, 3)
    daemon.post(f"/jobs/{daemon.cancelled}/cancel")
    daemon.wait(daemon.cancelled, "cancelled")
    daemon.failed = daemon.job({"fail_at": 3}, extra="f")
    daemon.wait(daemon.failed, "failed")
    daemon.running = daemon.job(HALF, extra="r")
    daemon.wait_step(daemon.running, 12)
    return daemon


def kill_all(daemon):
    trainer = daemon.trainer(daemon.running)
    daemon.kill()
    subprocess.run(["kill", "-9", str(trainer)])
    time.sleep(0.1)


@pytest.mark.parametrize("spoil,word", [(remove_store, "is missing"), (empty_store, "is empty"), (clear_store, "no records"),
                                        (damage_store, "damaged"), (no_database, "damaged"), (foreign_store, "another state folder")])
def test_refused_and_rebuilt(full, spoil, word):
    d = full
    datasets = {x["id"]: x for x in d.get("/datasets").json()["data"]}
    wanted = {j: d.look(j) for j in (d.ended, d.cancelled, d.failed)}
    points = d.get(f"/jobs/{d.ended}/metrics").json()["data"]
    result = results(d, d.ended)
    kill_all(d)
    spoil(d.state)
    refuses(d, word, "honed rebuild", "nothing was changed" if "damaged" not in word else "")
    refuses(d, word)
    told = rebuild(d)
    assert "restored: 4 data sets, 1 models, 4 jobs; 0 could not be" in told, told
    d.start()
    assert {x["id"]: x for x in d.get("/datasets").json()["data"]} == datasets
    for job, was in wanted.items():
        now = d.look(job)
        for field in ("name", "status", "status_reason", "metadata", "model", "dataset", "hyperparameters", "request", "finished_at",
                      "metrics", "progress"):
            if not (field == "finished_at" and was["status"] == "succeeded"):
                assert now[field] == was[field], (job, field, now[field], was[field])
        assert d.events(job)[-1]["type"] == was["status"]
    assert d.get(f"/jobs/{d.ended}/metrics").json()["data"] == points
    assert results(d, d.ended) == result != {}
    assert d.get(f"/jobs/{d.ended}/artifacts/{next(iter(result))}").status_code == 200
    d.wait(d.running, "succeeded")  # it goes on from its checkpoint
    assert [m["step"] for m in d.get(f"/jobs/{d.running}/metrics").json()["data"] if m["loss"] is not None] == list(range(1, 61))
    fresh = d.job({"steps": 2}, extra="n")
    d.wait(fresh, "succeeded")
    if spoil is not remove_store:
        assert any(p.name.endswith("-hone.db") for p in (d.state / "lost+found").iterdir())


def test_an_older_store(full, tmp_path):
    """One from before the last data set, model and job: it is refused, and gets what it lacks."""
    d = full
    d.post("/jobs", json={"model": "base", "dataset": d.dataset(), "name": "x"})
    d.kill()
    copy_store(d.state, tmp_path / "then")
    d.start()
    d.model("second", b"second model")
    late = d.job({"steps": 4}, extra="late", model="second")
    d.wait(d.running, "succeeded")
    d.wait(late, "succeeded")
    result = results(d, late)
    d.stop()
    remove_store(d.state)
    copy_store(tmp_path / "then", d.state)
    refuses(d, "older than the folders", "honed rebuild")
    assert "1 data sets, 1 models, 3 jobs" in rebuild(d)  # one new, two whose end it did not know
    d.start()
    assert d.look(late)["status"] == "succeeded" and results(d, late) == result
    d.wait(d.running, "succeeded")
    assert {m["name"] for m in d.get("/models").json()["data"]} == {"base", "second"}


def test_an_older_store_that_lacks_an_end(full, tmp_path):
    """Nothing new was added since, but a job has ended: it must not come to life again."""
    d = full
    d.kill()
    copy_store(d.state, tmp_path / "then")
    d.start()
    assert d.post(f"/jobs/{d.running}/cancel").status_code == 200
    d.wait(d.running, "cancelled")
    d.stop()
    remove_store(d.state)
    copy_store(tmp_path / "then", d.state)
    refuses(d, "older than the folders", "the end of", d.running)
    assert "1 jobs; 0 could not" in rebuild(d)
    d.start()
    assert d.look(d.running)["status"] == "cancelled" and d.events(d.running)[-1]["type"] == "cancelled"
    seqs = [e["seq"] for e in d.events(d.running)]
    assert seqs == list(range(1, len(seqs) + 1))


def test_a_rebuild_that_is_killed(full):
    """What it has not restored yet is not rubbish: the start waits for a rebuild that came to its end."""
    d = full
    jobs = {d.look(j)["id"]: d.look(j)["status"] for j in (d.ended, d.cancelled, d.failed)}
    d.wait(d.running, "succeeded")
    d.stop()
    remove_store(d.state)
    broken = 0
    for moment in (0.01, 0.02, 0.03, 0.05, 0.08, 0.12):
        process = subprocess.Popen([HONED, "rebuild", "--state", d.state], stdout=subprocess.DEVNULL, env=d.env)
        time.sleep(moment)
        process.kill()
        process.wait()
        if (d.state / "rebuilding").exists():
            broken += 1
            refuses(d, "broken off", "honed rebuild")
    (d.state / "rebuilding").touch()
    refuses(d, "broken off", "honed rebuild")
    assert "0 could not be" in rebuild(d) and not (d.state / "rebuilding").exists()
    d.start()
    assert {j: d.look(j)["status"] for j in jobs} == jobs and d.look(d.running)["status"] == "succeeded"
    assert not list((d.state / "lost+found").glob("*-runs-*")) if (d.state / "lost+found").exists() else True


def test_the_log_is_moved_soon(daemon):
    """hone.db alone, without its log, has what was acknowledged a moment ago."""
    dataset = daemon.dataset(extra="kept")
    time.sleep(2.5)
    daemon.kill()
    for file in daemon.state.glob("hone.db-*"):
        file.unlink()
    daemon.start()
    assert [d["id"] for d in daemon.get("/datasets").json()["data"]] == [dataset]


def test_strays_are_kept(start, tmp_path):
    d = start("--lost_days", "1", "--care_seconds", "1")
    d.model()
    d.wait(d.job({"steps": 2}), "succeeded")
    d.stop()
    for folder, name in (("datasets", "f" * 64), ("models", "mine"), ("runs", "job_aaaaaaaaaaaaaaaa"), ("tmp", "my-own-notes")):
        (d.state / folder / name).mkdir()
        (d.state / folder / name / "data").write_text("the only copy")
    (d.state / "tmp/up_aaaaaaaaaaaaaaaa").write_text("of an upload that broke off")
    alike = [d.state / name for name in (".tmp-photos", "models/.tmp-mine", "tokens/2024-01-02", "tokens/abc", "records/runs/.tmp-x")]
    for folder in alike:
        folder.mkdir()
        (folder / "important").write_text("somebody's")
    old = d.state / "lost+found/20200101T000000Z-runs-old"
    foreign = d.state / "lost+found/somebody's"
    for folder in (old, foreign):
        folder.mkdir(parents=True)
    d.start()
    lost = {p.name.split("-", 1)[1]: p for p in (d.state / "lost+found").iterdir() if p.name[0] == "2"}
    for name in (f"datasets-{'f' * 64}", "models-mine", "runs-job_aaaaaaaaaaaaaaaa"):
        assert (lost[name] / "data").read_text() == "the only copy"
        assert name.split("-", 1)[1] in d.log.read_text()
    assert (d.state / "tmp/my-own-notes/data").exists() and not (d.state / "tmp/up_aaaaaaaaaaaaaaaa").exists()
    assert foreign.exists() and all((folder / "important").exists() for folder in alike)
    daemon_deletes = time.time() + 10
    while old.exists() and time.time() < daemon_deletes:
        time.sleep(0.1)
    assert not old.exists() and len(lost) >= 3


def test_folders_of_an_earlier_version(full):
    """Without records: models and data sets are inspected, jobs read from spec.json."""
    d = full
    result = results(d, d.ended)
    d.wait(d.running, "succeeded")
    d.stop()
    remove_store(d.state)
    shutil.rmtree(d.state / "records")
    (d.state / "store.json").unlink()
    refuses(d, "is missing")
    told = rebuild(d)
    assert "1 models, 4 jobs; 0 could not" in told, told
    d.start()
    job = d.look(d.ended)
    assert job["status"] == "succeeded" and job["model"] == "base" and results(d, d.ended) == result
    assert d.look(d.failed)["status"] == "failed"


def test_what_cannot_be_used_is_told(full):
    d = full
    data = sorted((d.state / "datasets").iterdir())[0] / "data"
    d.wait(d.running, "succeeded")
    d.stop()
    remove_store(d.state)
    data.chmod(0o600)
    data.write_bytes(rows(extra="changed"))
    told = rebuild(d, code=1)
    assert "not restored" in told and data.parent.name in told and "3 data sets" in told, told
    d.start()
    assert [p for p in (d.state / "lost+found").iterdir() if data.parent.name in p.name]
    assert "another daemon uses" in rebuild(d, code=1)


def test_nothing_to_rebuild(start, tmp_path):
    d = start()
    d.stop()
    d.state = tmp_path / "nowhere"
    assert "there is no state folder" in rebuild(d, code=1)
    assert not d.state.exists()


def test_a_refused_submission_keeps_what_another_was_told(daemon):
    """The upload of a submission that is refused goes away; not when somebody else uploaded the same bytes meanwhile."""
    refused = daemon.post("/jobs", files={"dataset": ("d.jsonl", rows())}, data={"model": "base", "test": "ds_aaaaaaaaaaaaaaaa"})
    assert refused.status_code == 404
    assert daemon.get("/datasets").json()["data"] == [] and not list((daemon.state / "datasets").iterdir())
    body = rows({"plan_seconds": 1.5, "peak_bytes": 1 << 50}, extra="shared")
    # A second client uploads while the first one's submission is being planned, and is told an id.
    refused = []
    first = threading.Thread(target=lambda: refused.append(
        daemon.post("/jobs", files={"dataset": ("d.jsonl", body)}, data={"model": "base"})))
    first.start()
    time.sleep(0.7)
    assert daemon.get("/datasets").json()["data"] == []  # not yet anybody's
    told = daemon.post("/datasets?name=mine", data=body)
    first.join()
    assert refused[0].status_code == 422, refused[0].text
    id = told.json()["id"]
    assert daemon.get(f"/datasets/{id}").status_code == 200
    assert [d["id"] for d in daemon.get("/datasets").json()["data"]] == [id]
    assert list((daemon.state / "datasets").iterdir())


def test_an_unanswered_submission_leaves_nothing(daemon):
    part = rows({"plan_seconds": 5}, extra="gone").decode()
    form = ("--border\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nbase\r\n--border\r\nContent-Disposition: form-data; name=\"dataset\"; "
            f"filename=\"d.jsonl\"\r\n\r\n{part}\r\n--border--\r\n")
    host, port = daemon.url[7:].rsplit(":", 1)
    with socket.create_connection((host, int(port))) as s:
        s.sendall(f"POST /jobs HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary=border\r\nContent-Length: {len(form)}\r\n\r\n{form}".encode())
        deadline = time.time() + 10
        while not list((daemon.state / "datasets").iterdir()) and time.time() < deadline:
            time.sleep(0.02)
        assert list((daemon.state / "datasets").iterdir()), s.recv(2000)
        time.sleep(0.3)
        daemon.kill()
    daemon.start()
    assert daemon.get("/datasets").json()["data"] == [] and not list((daemon.state / "datasets").iterdir())
