"""What is kept for a time, or up to a size, goes by itself; the store's file shrinks; the disk is measured; the scrub finds what rots."""
import os
import sqlite3
import time

from test_bit_rot import flip


def until(holds, seconds=15):
    deadline = time.time() + seconds
    while not (found := holds()) and time.time() < deadline:
        time.sleep(0.1)
    return found


def age(d, days):
    """Everything that is there was made so many days ago."""
    db = sqlite3.connect(d.state / "hone.db")
    then = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - days * 86400))
    db.execute("UPDATE jobs SET finished_at=? WHERE finished_at IS NOT NULL", (then,))
    db.execute("UPDATE datasets SET created_at=?", (then,))
    db.commit()
    db.close()
    for folder in (*d.state.glob("evaluations/*"), *d.state.glob("runs/*/exports")):
        os.utime(folder, (time.time() - days * 86400,) * 2)


def test_by_age(start):
    d = start("--retain_days", "5", "--care_seconds", "1")
    d.model()
    old = d.job({"steps": 2})
    d.wait(old, "succeeded")
    unused = d.dataset(extra="unused")
    evaluated = d.post(f"/jobs/{old}/evaluate", json={"dataset": unused})
    assert evaluated.status_code == 200, evaluated.text
    age(d, 6)
    kept = d.job({"steps": 2}, extra="kept")
    d.wait(kept, "succeeded")
    assert until(lambda: d.get(f"/jobs/{old}").status_code == 404 and d.get(f"/datasets/{unused}").status_code == 404)
    assert until(lambda: d.get("/evaluations").json()["data"] == [])
    assert not (d.state / "runs" / old).exists() and "job deleted" in d.log.read_text()
    assert d.look(kept)["status"] == "succeeded" and d.get(f"/datasets/{d.look(kept)['dataset']}").status_code == 200


def test_by_bytes(start):
    d = start("--retain_bytes", "2M", "--care_seconds", "1", "--slots", "1")
    d.model()
    jobs = []
    for i in range(5):
        jobs.append(d.job({"steps": 2}, extra=str(i)))
        d.wait(jobs[-1], "succeeded")
        if (path := d.state / "runs" / jobs[-1] / "artifacts").exists():
            (path / "ballast").write_bytes(os.urandom(700_000))
    assert until(lambda: len(d.get("/jobs").json()["data"]) <= 3)
    left = [j["id"] for j in d.get("/jobs").json()["data"]]
    assert left == jobs[::-1][:len(left)] and left, (left, jobs)  # the newest
    running = d.job({"steps": 300, "step_seconds": 0.02}, extra="runs")
    time.sleep(2.5)
    assert d.look(running)["status"] == "running"


def test_the_store_shrinks(start):
    d = start()
    d.model()
    job = d.job({"steps": 4000, "step_seconds": 0})
    d.wait(job, "succeeded", timeout=120)
    size = lambda: (d.state / "hone.db").stat().st_size  # noqa: E731
    assert until(lambda: size() > 5 << 18), size()  # the log was moved
    full = size()
    assert d.delete(f"/jobs/{job}").status_code == 204
    assert until(lambda: size() < full - (1 << 18)), (full, size())
    d.stop()
    assert sqlite3.connect(d.state / "hone.db").execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_store_of_an_earlier_version_can_shrink(start):
    d = start()
    d.stop()
    db = sqlite3.connect(d.state / "hone.db")
    db.executescript("PRAGMA auto_vacuum=NONE; VACUUM;")
    assert db.execute("PRAGMA auto_vacuum").fetchone() == (0,)
    db.close()
    d.start()
    assert sqlite3.connect(d.state / "hone.db").execute("PRAGMA auto_vacuum").fetchone() == (2,)


def test_the_disk_is_measured_and_compared(start):
    d = start("--care_seconds", "1")
    d.model(data=os.urandom(100_000))
    job = d.job({"steps": 3})
    d.wait(job, "succeeded")
    first = d.figures()["hone_scrubs_total"][()]
    d.restart()
    assert until(lambda: d.figures()["hone_scrubs_total"][()] >= 1) and first <= 1
    disk = {dict(labels)["kind"]: value for labels, value in d.figures()["hone_disk_bytes"].items()}
    assert disk["models"] >= 100_000 and disk["runs"] > 0 and disk["store"] > 0 and set(disk) >= {"datasets", "exports", "lost", "tokens"}
    assert d.figures()["hone_damaged"][()] == 0
    d.stop()
    (artifact, *_) = [p for p in (d.state / "runs" / job / "artifacts").rglob("*") if p.is_file()]
    stamp = artifact.stat()
    flip(artifact, 0.5)
    os.utime(artifact, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    d.start()
    assert until(lambda: d.figures()["hone_damaged"][()] == 1)
    told = d.log.read_text()
    assert "damaged on the disk" in told and artifact.name in told


def test_a_little_over_costs_little(start):
    """Over retain_bytes by a few bytes: the oldest evaluation goes, the newest stays."""
    d = start("--care_seconds", "1")
    d.model()
    data = d.dataset()
    made = [d.post("/models/base/evaluate", json={"dataset": data}).json()["id"] for _ in range(3)]
    for i, one in enumerate(made):
        (d.state / "evaluations" / one / "rows.jsonl").write_bytes(b"x" * 200_000)
        os.utime(d.state / "evaluations" / one, (time.time() - 1000 + i,) * 2)
    d.stop()
    d.options = ("--care_seconds", "1", "--retain_bytes", "500K")
    d.start()
    assert until(lambda: d.get(f"/evaluations/{made[0]}").status_code == 404)
    time.sleep(2.5)
    assert [d.get(f"/evaluations/{one}").status_code for one in made] == [404, 200, 200]
    assert "evaluation deleted" in d.log.read_text()
