"""What can fail, fails: memory, disk, processes, the clock, the store, a trainer that hangs or eats, inputs that vanish. The daemon never
dies of it, every job ends with its exact result or a clear reason, and afterwards everything works.

HONE_SWEEP is the number of places tried of each kind (3; "all": every one), HONE_SEED chooses them."""
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
import time

import pytest
import requests

import tiny
from daemon import Daemon, ENDED, HONED

SWEEP = os.environ.get("HONE_SWEEP", "3")
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
        if self.daemon.look(job)["status"] == "queued":
            self.daemon.post(f"/jobs/{job}/pause")
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
