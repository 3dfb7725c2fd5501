"""What can fail, fails: memory, disk, processes, the clock, the store, a trainer that hangs or eats, inputs that vanish. The daemon never
dies of it, every job ends with its exact result or a clear reason, and afterwards everything works.

HONE_SWEEP is the number of places tried of each kind (2; "all": every one), HONE_SEED chooses them."""
import errno
import json
import mmap
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import tempfile
import threading
import time

import pytest
import requests

import tiny
from daemon import Daemon, ENDED, HONED

SWEEP = os.environ.get("HONE_SWEEP", "2")
SEED = int(os.environ.get("HONE_SEED", time.time()))
TOOLS = pathlib.Path(__file__).resolve().parents[1] / "tools"
KNOBS = {"epochs": 100, "max_steps": 30, "save_every": 4, "batch_size": 2, "eval_every": 10, "learning_rate": 1e-3, "max_length": 96}
WHO = {"serve": 1, "train": 2, "helper": 4}
WHAT = {"memory": 1, "write": 2, "sync": 4, "spawn": 8, "threads": 16}
pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")


class Control:
    """The block that tests/tools/fault.c reads."""
    FIELDS = ("who", "what", "countdown", "repeat", "error", "fired", "clock", "seen")

    def __init__(self, path):
        path.write_bytes(bytes(64))
        self.file = open(path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), 64)

    def set(self, **fields):
        for name, value in fields.items():
            struct.pack_into("q", self.map, 8 * self.FIELDS.index(name), value)

    def get(self, name):
        return struct.unpack_from("q", self.map, 8 * self.FIELDS.index(name))[0]

    def arm(self, who, what, n, error=errno.ENOMEM, repeat=1):
        self.set(who=0, what=0)
        self.set(countdown=n, repeat=repeat, error=error, fired=0, seen=0)
        self.set(what=WHAT[what], who=WHO[who])

    def disarm(self):
        self.set(who=0, what=0)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    made = tmp_path_factory.mktemp("fault") / "fault.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-w", "-o", made, TOOLS / "fault.c", "-ldl"], check=True)
    return made


class World:
    """A daemon with faults to be had, a model, and what its jobs come to when nothing fails."""

    def __init__(self, folder, library, *options):
        tiny.llama(folder / "models/llama")
        self.control = Control(folder / "control")
        os.environ["LD_PRELOAD"], os.environ["FAULT_CONTROL"] = str(library), str(folder / "control")
        try:
            self.daemon = Daemon(folder / "state", "--model_dirs", str(folder / "models"), *options, fake=False)
        finally:
            del os.environ["LD_PRELOAD"], os.environ["FAULT_CONTROL"]
        assert self.daemon.post("/models", json={"name": "llama", "path": str(folder / "models/llama")}).status_code == 201
        self.pid = self.daemon.process.pid

    def submit(self, seed=1, **knobs):
        """Both answers; the second is None when the first is no success."""
        data = self.daemon.post("/datasets?name=t", data=tiny.chats(random.Random(seed), 12).encode())
        if data.status_code not in (200, 201):
            return data, None
        return data, self.daemon.post("/jobs", json={"model": "llama", "dataset": data.json()["id"], "exports": ["peft"],
                                                     "hyperparameters": KNOBS | knobs})

    def job(self, seed=1, **knobs):
        _, reply = self.submit(seed, **knobs)
        assert reply is not None and reply.status_code == 201, reply and reply.text
        return reply.json()["id"]

    def result(self, job):
        return {a["path"]: a["sha256"] for a in self.daemon.get(f"/jobs/{job}/artifacts").json()["data"]}

    def skip_delay(self, job):
        """What an impatient user does: the time before the next attempt is not waited for."""
        status = self.daemon.look(job)["status"]
        if status == "queued":
            self.daemon.post(f"/jobs/{job}/pause")
        if status in ("queued", "paused"):  # paused: the fault was the last resume's
            self.daemon.post(f"/jobs/{job}/resume")

    def end(self, job, seconds=40):
        def ended():
            self.skip_delay(job)
            return self.daemon.look(job)["status"] in ENDED
        assert tiny.wait_until(ended, seconds, 0.05), self.daemon.look(job)
        return self.daemon.look(job)

    def sound(self):
        assert self.daemon.process.poll() is None, "the daemon died:\n" + self.daemon.log.read_text()[-3000:]
        assert self.daemon.get("/healthz").status_code == 200

    def close(self):
        self.control.disarm()
        self.control.set(clock=0)
        status = self.daemon.stop()
        assert status == 0
        told = subprocess.run([HONED, "check", "--state", str(self.daemon.state)], capture_output=True, text=True)
        assert told.returncode == 0, told.stdout + told.stderr


@pytest.fixture(scope="module")
def world(tmp_path_factory, library):
    made = World(tmp_path_factory.mktemp("world"), library, "--hang_seconds", "2", "--grace_seconds", "1")
    made.expected = made.result(made.end(made.job())["id"])
    yield made
    made.close()


@pytest.fixture
def calm(world):
    world.sound()
    yield world
    world.control.disarm()
    world.control.set(clock=0)
    world.sound()
    assert world.result(world.end(world.job())["id"]) == world.expected  # all works again


def whole_life(world):
    """Everything once; asserts that each answer is a success or says what is wrong, and that the job's end is exact or explained."""
    try:
        data, reply = world.submit()
    except requests.ConnectionError:
        return "connection"  # a connection that could not be had or kept is an answer as well, as long as the daemon lives
    for answer in (data, reply):
        if answer is not None and answer.status_code >= 400:
            assert answer.status_code in (500, 503, 507, 422), answer.text
            assert not answer.content or answer.json()["error"]["message"], answer.text
            print(answer.status_code, answer.text)
            return answer.status_code
    job = reply.json()["id"]

    def ended():
        try:
            world.skip_delay(job)
            return world.daemon.look(job)["status"] in ENDED
        except (requests.ConnectionError, KeyError, ValueError):
            return False
    assert tiny.wait_until(ended, 60, 0.05), world.daemon.log.read_text()[-3000:]
    world.control.disarm()
    found = world.daemon.look(job)
    events = world.daemon.events(job)
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    if found["status"] == "succeeded":
        assert world.result(job) == world.expected
    else:
        assert found["status"] == "failed" and found["status_reason"]["message"], found
        print(found["status_reason"])
    assert world.daemon.delete(f"/jobs/{job}").status_code == 204
    return found["status"]


SWEPT = [("memory", "serve", errno.ENOMEM), ("memory", "train", errno.ENOMEM), ("memory", "helper", errno.ENOMEM),
         ("write", "serve", errno.ENOSPC), ("write", "serve", errno.EIO), ("write", "serve", 0),
         ("write", "train", errno.ENOSPC), ("write", "train", errno.EIO), ("write", "train", 0),
         ("sync", "serve", errno.EIO), ("sync", "train", errno.EIO), ("sync", "helper", errno.EIO),
         ("spawn", "serve", errno.EAGAIN), ("threads", "train", errno.EAGAIN), ("threads", "helper", errno.EAGAIN)]


@pytest.mark.parametrize("what, who, error", SWEPT, ids=lambda v: errno.errorcode.get(v, str(v)) if isinstance(v, int) else v)
def test_the_nth_call_fails(calm, what, who, error):
    calm.control.arm(who, what, 1 << 40)
    assert whole_life(calm) == "succeeded"
    calm.control.disarm()
    seen = calm.control.get("seen")
    places = list(range(1, seen + 1))
    if SWEEP != "all":
        places = random.Random(SEED).sample(places, min(int(SWEEP), seen))
    outcomes = {}
    for n in places:
        try:
            calm.control.arm(who, what, n, error)
            outcome = whole_life(calm)
            calm.sound()
        except BaseException:
            print(f"HONE_SEED={SEED}: {what} {n} of {who} failed with {error}")
            raise
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    print(f"{what} of {who}, {error}: {len(places)} of {seen} calls, {outcomes}")


def test_the_disk_is_full_during_a_checkpoint(calm):
    """The last good checkpoint stays; the job waits, says for what, and goes on when there is room."""
    calm.control.arm("train", "write", 1 << 40)
    expected = calm.result(calm.end(calm.job(max_steps=200))["id"])
    half = calm.control.get("seen") // 2  # by count, not by clock: the whole job is a matter of a quarter of a second
    calm.control.arm("train", "write", half, errno.ENOSPC, repeat=1 << 40)
    job = calm.job(max_steps=200)
    waits = lambda: (calm.daemon.look(job)["status_reason"] or {}).get("code") == "waiting_for_disk"
    assert tiny.wait_until(waits, 20), calm.daemon.look(job)
    assert [e["data"] for e in calm.daemon.events(job) if e["type"] == "requeued"] == [{"reason": "disk_full"}]
    kept = [c["step"] for c in calm.daemon.get(f"/jobs/{job}/checkpoints").json()["data"]]
    assert kept, "no checkpoint is left"
    for attempt in range(2, 6):  # however often it is tried: a full disk is no death
        calm.skip_delay(job)
        assert tiny.wait_until(lambda: calm.daemon.look(job)["attempts"] == attempt)
        calm.daemon.wait(job, "queued", 20)
    assert calm.daemon.look(job)["status_reason"]["code"] == "waiting_for_disk"
    assert [c["step"] for c in calm.daemon.get(f"/jobs/{job}/checkpoints").json()["data"]][-1] >= kept[-1]
    calm.control.disarm()
    assert calm.end(job)["status"] == "succeeded"
    assert calm.result(job) == expected


def test_a_stopped_trainer(calm):
    job = calm.job(max_steps=1000)
    calm.daemon.wait_step(job, 5)
    os.kill(calm.daemon.trainer(job), signal.SIGSTOP)
    found = calm.end(job)
    assert found["status"] == "failed" and found["status_reason"]["code"] == "hung" and "hang_seconds" in found["status_reason"]["message"]


def test_slow_is_not_hung(start):
    """A step that tells nothing for three times hang_seconds, but computes."""
    daemon = start("--hang_seconds", "1", "--grace_seconds", "1")
    daemon.model()
    job = daemon.job({"steps": 3, "busy_at": 2, "busy_seconds": 4})
    assert daemon.wait(job, timeout=30)["status"] == "succeeded"


def test_a_greedy_trainer(start):
    daemon = start()
    daemon.model()
    job = daemon.job({"steps": 3, "eat_at": 2, "eat_bytes": 700 << 20, "peak_bytes": 50 << 20})
    found = daemon.wait(job, timeout=30)
    assert found["status"] == "failed" and found["status_reason"]["code"] == "memory_exceeded", found
    assert "50 MB were planned" in found["status_reason"]["message"]
    assert daemon.wait(daemon.job({"steps": 3}, extra="next"))["status"] == "succeeded"


def test_processes_cannot_be_started(calm):
    """A moment without processes costs nothing; if it lasts, the job says what was in the way."""
    data = calm.daemon.post("/datasets?name=t", data=tiny.chats(random.Random(1), 12).encode()).json()["id"]
    body = {"model": "llama", "dataset": data, "exports": ["peft"], "hyperparameters": KNOBS}
    for times, status in ((2, "succeeded"), (1 << 40, "failed")):
        assert calm.daemon.get("/healthz").status_code == 200
        calm.control.arm("serve", "spawn", 1, errno.EAGAIN, repeat=times)
        reply = calm.daemon.post("/jobs", json=body)
        if reply.status_code == 500:  # the helper was at rest and could not be started either
            assert "cannot start" in reply.json()["error"]["message"]
            continue
        found = calm.end(reply.json()["id"])
        assert found["status"] == status, found
        assert status == "succeeded" or "cannot start" in found["status_reason"]["message"], found
        calm.control.disarm()


@pytest.mark.parametrize("seconds", [-90 * 86400, 20 * 365 * 86400])
def test_the_clock_jumps(calm, seconds):
    """Nothing that waits is lost in the past or the future, and the order of events is their seq."""
    job, waiting = (calm.job(max_steps=n, save_every=400) for n in (800, 801))
    calm.daemon.wait_step(job, 5)
    killed = set()

    def kill():
        try:
            os.kill(calm.daemon.trainer(job), signal.SIGKILL)
            killed.add(calm.daemon.trainer(job))
        except (ProcessLookupError, ValueError):
            pass
        return len(killed) == 2
    assert tiny.wait_until(kill, every=0.005)  # after the second death the next start is delayed
    calm.control.set(clock=seconds)
    for name in (job, waiting):
        found = calm.daemon.wait(name, timeout=30)
        assert found["status"] == "succeeded"
        seqs = [e["seq"] for e in calm.daemon.events(name)]
        assert seqs == list(range(1, len(seqs) + 1))
    assert calm.daemon.get("/metrics").status_code == 200
    calm.control.set(clock=0)
    assert calm.daemon.wait(calm.job(max_steps=3))["status"] == "succeeded"


def test_the_store_is_held_by_another(calm):
    """Ten seconds of somebody else's write lock: everybody waits, nobody loses anything."""
    other = sqlite3.connect(calm.daemon.state / "hone.db", isolation_level=None)
    running = calm.job(max_steps=900)
    calm.daemon.wait_step(running, 5)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    assert calm.daemon.get("/jobs").status_code == 200  # reads go on
    told = []
    asking = threading.Thread(target=lambda: told.append(calm.submit(seed=9)))
    asking.start()
    time.sleep(10)
    assert not told
    other.execute("COMMIT")
    other.close()
    asking.join(30)
    assert told and told[0][1].status_code == 201, told and told[0][1].text
    assert time.monotonic() - began < 25
    assert calm.end(running)["status"] == "succeeded" and calm.end(told[0][1].json()["id"])["status"] == "succeeded"


@pytest.mark.parametrize("what", ["data", "model"])
def test_an_input_vanishes_while_it_is_queued(start, tmp_path, what):
    daemon = start("--slots", "1")
    daemon.model()
    first = daemon.job({"steps": 200, "step_seconds": 0.02})
    job = daemon.job({"steps": 3}, extra="second")
    daemon.wait_step(first, 2)
    if what == "data":
        sha = daemon.get("/datasets/" + daemon.look(job)["dataset"]).json()["sha256"]
        shutil.rmtree(daemon.state / "datasets" / sha)
    else:
        shutil.rmtree(daemon.state / "models/base")
    found = daemon.wait(job, timeout=20)
    assert found["status"] == "failed" and found["status_reason"]["code"] in ("dataset_invalid", "model_invalid"), found
    assert "is gone" in found["status_reason"]["message"], found
    assert daemon.wait(first)["status"] == "succeeded"


def test_a_store_that_may_not_be_written(start, tmp_path):
    """As after `chown`, or on a disk that the kernel made read-only: a clear refusal to start, nothing touched."""
    daemon = start()
    daemon.model()
    daemon.stop()
    store = daemon.state / "hone.db"
    before = store.read_bytes()
    store.chmod(0o400)
    words = [HONED, "serve", "--state", str(daemon.state), "--listen", "127.0.0.1:0"]
    if os.geteuid() == 0:  # root writes where it likes: as somebody else
        for path in [daemon.state, *daemon.state.rglob("*")]:
            os.chown(path, 65534, 65534)
        for parent in daemon.state.parents:  # pytest's folders are its user's alone
            if pathlib.Path(tempfile.gettempdir()) in parent.parents:
                parent.chmod(0o755)
        words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *words]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "hone.db cannot be written" in done.stderr and "hint" in done.stderr, done.stderr
    assert store.read_bytes() == before
    store.chmod(0o600)
