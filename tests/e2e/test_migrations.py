"""Stores of every earlier schema, kept as they were (tests/data/stores), are brought forward with all they hold; a newer one is refused and
left alone."""
import hashlib
import pathlib
import sqlite3

import pytest

STORES = sorted((pathlib.Path(__file__).resolve().parents[1] / "data" / "stores").glob("*.sql"))
MIGRATIONS = sorted((pathlib.Path(__file__).resolve().parents[2] / "migrations").glob("0*.sql"))


def restore(path, script):
    path.parent.mkdir(parents=True)
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode=WAL")
    db.executescript(script.read_text())
    db.close()


def test_every_schema_is_kept():
    """Whoever adds a migration keeps a store of it."""
    assert [s.stem for s in STORES] == [m.name[:4] for m in MIGRATIONS]


@pytest.mark.parametrize("script", STORES, ids=lambda s: s.stem)
def test_brought_forward(start, tmp_path, script):
    state = tmp_path / "old" / "state"
    restore(state / "hone.db", script)
    db = sqlite3.connect(state / "hone.db")
    jobs = dict(db.execute("SELECT id,status FROM jobs"))
    steps = dict(db.execute("SELECT j.id,count(*) FROM jobs j JOIN metrics m ON m.job=j.n GROUP BY j.id"))
    told = dict(db.execute("SELECT j.id,count(*) FROM jobs j JOIN events e ON e.job=j.n GROUP BY j.id"))
    db.close()
    daemon = start(state=state)
    listed = {job["id"]: job for job in daemon.get("/jobs?limit=100").json()["data"]}
    assert {id: job["status"] for id, job in listed.items()} == jobs and len(jobs) == 4
    for sweep in daemon.get("/sweeps").json()["data"]:
        assert [t["job"] for t in daemon.get(f"/sweeps/{sweep['id']}/trials").json()["data"]] == [id for id, job in listed.items() if job["parent_sweep"] == sweep["id"]]
    data = daemon.get("/datasets").json()["data"]
    assert sum(d["corrected_from"] is not None for d in data) == (script.stem >= "0010")
    assert sum(j["fit"] is not None for j in listed.values()) == (script.stem >= "0011")
    assert sum(j["notice"] is not None for j in listed.values()) == (script.stem >= "0013")
    assert data and daemon.get("/models").json()["data"]
    for id in jobs:
        assert daemon.look(id)["id"] == id and len(daemon.events(id)) == told[id]
        assert len(daemon.get(f"/jobs/{id}/metrics?limit=10000").json()["data"]) == steps.get(id, 0)
    daemon.model("fresh")  # and life goes on
    assert daemon.wait(daemon.job(extra=" after", model="fresh"), "succeeded")["status"] == "succeeded"
    daemon.stop()
    now = sqlite3.connect(state / "hone.db").execute("PRAGMA user_version").fetchone()[0]
    assert now == len(MIGRATIONS)


def test_newer_is_refused(start, tmp_path):
    state = tmp_path / "new" / "state"
    restore(state / "hone.db", STORES[-1])
    db = sqlite3.connect(state / "hone.db")
    db.execute("PRAGMA user_version=99")
    db.close()
    before = hashlib.sha256((state / "hone.db").read_bytes()).hexdigest()
    with pytest.raises(AssertionError, match="newer version.*schema 99"):
        start(state=state)
    assert hashlib.sha256((state / "hone.db").read_bytes()).hexdigest() == before
