"""The power is cut at any moment of an upload, a job, its checkpoints and its publication. The state folder is rebuilt as the disk
would hold it, once with all that was written and once with nothing but what had been synced; a daemon started on it has all that was
acknowledged and brings every job to the same bytes.

HONE_CUTS is the number of cuts tried (80; "all": every one), HONE_SEED chooses them. Needs strace and leave to trace."""
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time

import pytest

import tiny
from daemon import Daemon, HONED

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tools"))
import disk_record  # noqa: E402

CUTS = os.environ.get("HONE_CUTS", "80")
SEED = int(os.environ.get("HONE_SEED", time.time()))
KNOBS = {"epochs": 20, "max_steps": 24, "save_every": 5, "batch_size": 2, "eval_every": 8, "learning_rate": 1e-3, "max_length": 96}


def may_trace():
    return shutil.which("strace") and subprocess.run(["strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "true"],
                                                     capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not may_trace(), reason="needs strace and leave to trace")


class Recorded(Daemon):
    """A daemon under strace; `promised` is what it has acknowledged and when."""

    def __init__(self, trace, *arguments, **options):
        self.trace, self.promised = trace, []
        super().__init__(*arguments, **options)

    def start(self, expect=True):
        whole = subprocess.Popen
        try:
            subprocess.Popen = lambda words, **more: whole(disk_record.command(self.trace, map(str, words)), **more)
            return super().start(expect)
        finally:
            subprocess.Popen = whole

    def stop(self, timeout=60):
        if self.process.poll() is None:
            tracee = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            os.kill(int(tracee[0]), 15)
        return self.process.wait(timeout)

    def promise(self, what, reply=None):
        assert reply is None or reply.status_code in (200, 201), reply.text
        self.promised.append((time.time(), what))


def submit(daemon, model, text, **more):
    reply = daemon.post("/datasets?name=t", data=text.encode())
    daemon.promise({"dataset": reply.json()["id"]}, reply)
    reply = daemon.post("/jobs", json={"model": model, "dataset": reply.json()["id"], "validation": 0.2,
                                       "hyperparameters": KNOBS} | more)
    daemon.promise({"job": reply.json()["id"]}, reply)
    return reply.json()["id"]


def result(daemon, job):
    return {a["path"]: a["sha256"] for a in daemon.get(f"/jobs/{job}/artifacts").json()["data"]}


def record(folder):
    """A day in the life of a daemon; what it did to the disk, what it promised, what came out."""
    tiny.llama(folder / "models/llama")
    tiny.bert(folder / "models/bert")
    chance = random.Random(5)
    daemon = Recorded(folder / "trace", folder / "first/state", "--model_dirs", str(folder / "models"), fake=False)
    try:
        for name in ("llama", "bert"):
            daemon.promise({"model": name}, daemon.post("/models", json={"name": name, "path": str(folder / "models" / name)}))
        jobs = [submit(daemon, "llama", tiny.chats(chance, 16), exports=["peft", "gguf"]), submit(daemon, "bert", tiny.labelled(chance, 16))]
        # It begins from a checkpoint of the first one, which it was given before anybody was told that it is accepted.
        daemon.wait(jobs[0], "succeeded")
        jobs.append(submit(daemon, "llama", tiny.chats(chance, 12), init_from={"job": jobs[0], "step": "last"}))
        cancelled = submit(daemon, "llama", tiny.chats(chance, 12), method="full", priority=-100)
        daemon.promise({"cancelled": cancelled}, daemon.post(f"/jobs/{cancelled}/cancel"))
        for job in jobs:
            daemon.wait(job, "succeeded")
            daemon.promise({"succeeded": job})
        expected = {job: result(daemon, job) for job in jobs}
    finally:
        daemon.stop()
    return daemon, expected


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    folder = tmp_path_factory.mktemp("day")
    daemon, expected = record(folder)
    events = disk_record.read(folder / "trace", daemon.state)
    disk = disk_record.Disk(daemon.state)
    moments = [i for i, event in enumerate(events) if disk.play(event)]
    assert disk.same(daemon.state) == []  # the record is whole
    return daemon, expected, events, cuts_of(events, moments)


def cuts_of(events, moments):
    """{(event, only what was synced?): time} of every different disk that a cut may leave, and when the next call that changes it was
    begun: all that had been promised by then must be on it."""
    cuts = {}
    for only_synced in (False, True):
        changes = [i for i in moments if ("sync" in events[i][2]) == only_synced]
        cuts |= {(i, only_synced): events[after][4][1] for i, after in zip(changes, changes[1:])}
        cuts[changes[-1], only_synced] = time.time()
    return cuts


def wake(folder, models, promised, expected):
    """A daemon on what is left: all that was promised is there, every job ends as it would have, nothing is wrong in the end."""
    daemon = Daemon(folder, "--model_dirs", str(models), fake=False)
    try:
        for what in promised:
            for kind, name in what.items():
                path = {"dataset": "datasets", "model": "models"}.get(kind, "jobs")
                found = daemon.get(f"/{path}/{name}")
                assert found.status_code == 200, (kind, name, found.text)
                assert kind not in ("cancelled", "succeeded") or found.json()["status"] == kind, (kind, found.json())
        jobs = {j["id"]: j["status"] for j in daemon.get("/jobs?limit=100").json()["data"]}
        for job in jobs:
            if job in expected:
                daemon.wait(job, "succeeded")
                assert result(daemon, job) == expected[job], job
                seqs = [e["seq"] for e in daemon.events(job)]
                assert seqs == list(range(1, len(seqs) + 1)), job
    finally:
        daemon.stop()
    left = [str(p) for p in daemon.state.rglob("*") if p.name.startswith(".tmp") or p.parent == daemon.state / "tmp"]
    assert not left, left
    told = subprocess.run([HONED, "check", "--state", str(folder)], capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr


def test_a_cut_at_any_moment(day, tmp_path):
    daemon, expected, events, cuts = day
    chosen = set(cuts if CUTS == "all" else random.Random(SEED).sample(sorted(cuts), min(int(CUTS), len(cuts))))
    print(f"seed {SEED}: {len(chosen)} of {len(cuts)} cuts")
    disk = disk_record.Disk(daemon.state)
    for i, event in enumerate(events):
        disk.play(event)
        for only_synced in [only for only in (True, False) if (i, only) in chosen]:
            folder = tmp_path / f"{i}-{'synced' if only_synced else 'written'}" / "state"
            folder.parent.mkdir()
            disk.rebuild(folder, only_synced, daemon.state)
            promised = [what for at, what in daemon.promised if at <= cuts[i, only_synced]]
            try:
                wake(folder, daemon.state.parents[1] / "models", promised, expected)
            except BaseException:
                print(f"HONE_SEED={SEED}: cut after event {i} {event[2]} {[p for p in map(disk_record.path_of, event[3]) if p]}, {folder}")
                raise
            shutil.rmtree(folder.parent)
