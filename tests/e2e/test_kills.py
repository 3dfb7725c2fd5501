"""Deaths of everything, in any order: trainers, helpers, the daemon, all of them at once, and clean restarts, over a queue of real
small jobs with cancels and pauses among them. What was accepted ends as an undisturbed run does, to the byte.

HONE_KILLS is the number of deaths (10), HONE_SEED the schedule's seed (told at each run and in each failure)."""
import fcntl
import json
import os
import pathlib
import random
import signal
import subprocess
import threading
import time
import uuid

import requests

import tiny
from daemon import ENDED, HONED

KILLS = int(os.environ.get("HONE_KILLS", 10))
SEED = int(os.environ.get("HONE_SEED", time.time()))
TARGETS = ["trainer", "trainers", "helper", "daemon", "all", "restart"]
ACTIVE = 4
SHARED = {"epochs": 200, "batch_size": 2, "learning_rate": 1e-3, "save_every": 20, "eval_every": 150, "lora_dropout": 0.1, "max_length": 96}
KINDS = [  # model, method, steps, seed, exports
    ("llama", "lora", 700, 1, ["peft", "gguf"]),
    ("bert", "lora", 1200, 2, ["peft"]),
    ("llama", "full", 900, 3, ["merged"]),
    ("bert", "full", 900, 4, ["merged"]),
]


def accepted(ask):
    """The answer of a request that is sent again when the helper died over it, as its sender is told."""
    while (reply := ask()).status_code == 500 and "helper process died" in reply.text:
        pass
    assert reply.status_code in (200, 201), reply.text
    return reply.json()


def body_of(daemon, kind):
    model, method, steps, seed, exports = KINDS[kind]
    chance = random.Random(seed)
    text = (tiny.chats if model == "llama" else tiny.labelled)(chance, 24)
    data = accepted(lambda: daemon.post("/datasets?name=t", data=text.encode()))
    return {"model": model, "method": method, "dataset": data["id"], "validation": 0.2, "exports": exports,
            "hyperparameters": SHARED | {"max_steps": steps, "seed": seed}}


def result(daemon, job):
    return {a["path"]: a["sha256"] for a in daemon.get(f"/jobs/{job}/artifacts").json()["data"]}


def curve(daemon, job):
    rows, after = [], 0
    while True:
        page = daemon.get(f"/jobs/{job}/metrics?after={after}&limit=1000").json()
        rows += [(m["step"], m["loss"], m["grad_norm"], m["val_loss"], m["tokens"]) for m in page["data"]]
        after = page["next"]
        if not after:
            return rows


def begin(start, folder):
    tiny.llama(folder / "models/llama")
    tiny.bert(folder / "models/bert")
    daemon = start("--model_dirs", str(folder / "models"), "--slots", "2", "--hang_seconds", "30", fake=False)
    for name in ("llama", "bert"):
        reply = daemon.post("/models", json={"name": name, "path": str(folder / "models" / name)})
        assert reply.status_code == 201, reply.text
    return daemon


class Traffic(threading.Thread):
    """Uploads and predictions all the while, so that the helpers die at work; every answer is a result or a clear error."""

    def __init__(self, daemon, job):
        super().__init__(daemon=True)
        self.server, self.job, self.stop, self.acknowledged, self.odd, self.lost = daemon, job, False, [], [], 0

    def run(self):
        number = 0
        while not self.stop:
            number += 1
            try:
                body = json.dumps({"text": f"row {number}", "label": "good"}) + "\n"
                self.look(self.server.post("/datasets?name=u", data=(body * 50 + body.replace("good", "bad")).encode()), (200, 201))
                self.look(self.server.post(f"/jobs/{self.job}/predict", json={"inputs": ["a fine film"], "max_tokens": 4}), (200,))
            except requests.RequestException:
                self.lost += 1
                time.sleep(0.02)

    def look(self, reply, good):
        if reply.status_code in good:
            if "id" in reply.json():
                self.acknowledged.append(reply.json()["id"])
        elif reply.status_code not in (500, 503) or not reply.json()["error"]["message"]:
            self.odd.append(reply.text)


def children(daemon, word):
    """Pids of the processes of this test that are `honed WORD …`, whoever their parent is now."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and daemon.env["HONE_TEST_RUN"].encode() in (entry / "environ").read_bytes():
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if len(words) > 1 and words[1] == word:
                    found.append(int(entry.name))
        except OSError:
            pass
    return found


def kill(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return bool(pids)


class Schedule:
    def __init__(self, daemon, chance, expected):
        self.daemon, self.chance, self.expected = daemon, chance, expected
        self.jobs, self.deaths, self.asked = {}, {}, {}

    def submit(self, kind):
        body = body_of(self.daemon, kind)
        self.jobs[accepted(lambda: self.daemon.post("/jobs", json=body))["id"]] = kind

    def active(self):
        return [job for job in self.jobs if self.daemon.look(job)["status"] not in ENDED]

    def may_die(self, job):
        """Three deaths without a new checkpoint would end it, as they should: it has moved on since the last one."""
        types = [e["type"] for e in self.daemon.events(job)]
        if "requeued" not in types:
            return True
        return "checkpoint" in types[len(types) - 1 - types[::-1].index("requeued"):]

    def trainers(self):
        running = [j["id"] for j in self.daemon.get("/jobs?status=running").json()["data"]]
        return [self.daemon.trainer(job) for job in running if self.may_die(job)]

    def ask(self):
        active = self.active()
        if not active:
            return
        job, verb = self.chance.choice(active), self.chance.choice(["pause", "pause", "resume", "cancel"])
        if verb == "cancel" and len(self.asked) > len(self.jobs) // 4:
            return
        reply = self.daemon.post(f"/jobs/{job}/{verb}")
        assert reply.status_code in (200, 409), reply.text
        if verb == "cancel" and reply.status_code == 200:
            self.asked[job] = verb

    def strike(self, target):
        daemon = self.daemon
        if target == "restart":
            assert daemon.stop() == 0
            return daemon.start()
        try:
            trainers = self.trainers() if target in ("trainer", "trainers", "all") else []
        except (OSError, ValueError):
            trainers = []  # between its claim and its start
        self.chance.shuffle(trainers)
        pids = trainers[:1] if target == "trainer" else trainers
        pids += children(daemon, b"helper") if target in ("helper", "all") else []
        if target in ("daemon", "all"):
            daemon.process.kill()
        hit = kill(pids)
        if target in ("daemon", "all"):
            daemon.process.wait()
            daemon.start()
        elif not hit:
            return None
        return True

    def run(self, kills):
        while sum(self.deaths.values()) < kills:
            for _ in range(ACTIVE - len(self.active())):
                self.submit(self.chance.randrange(len(KINDS)))
            if self.chance.random() < 0.5:
                self.ask()
            time.sleep(self.chance.uniform(0.0, 0.35))
            target = self.chance.choice(TARGETS)
            if self.strike(target):
                self.deaths[target] = self.deaths.get(target, 0) + 1

    def settle(self):
        def ended():
            states = {job: self.daemon.look(job)["status"] for job in self.active()}
            for job, status in states.items():
                if status == "paused":
                    self.daemon.post(f"/jobs/{job}/resume")
            return not states
        assert tiny.wait_until(ended, 120, 0.1), [self.daemon.look(job) for job in self.active()]


def check_events(daemon, job):
    events = daemon.events(job)
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1)), job
    once = [(e["type"], e["data"]["step"], e["data"].get("code")) for e in events if e["type"] in ("step", "eval", "checkpoint", "warning")
            and "step" in e["data"]]
    assert len(once) == len(set(once)), (job, [x for x in once if once.count(x) > 1])
    assert not [e for e in events if e["data"].get("code") == "not_reproduced"], job
    assert events[-1]["type"] in ENDED and sum(e["type"] in ENDED for e in events) == 1, (job, [e["type"] for e in events][-5:])


def check_state(daemon):
    """Nothing is left of a stopped daemon: no process, no temporary file, no held lock, no stray."""
    assert tiny.wait_until(lambda: not children(daemon, b"helper") + children(daemon, b"train")), "a process is left"
    left = [str(p) for p in daemon.state.rglob("*") if p.name.startswith(".tmp") or p.parent == daemon.state / "tmp"]
    assert not left, left
    for lock in daemon.state.rglob("*lock"):
        with open(lock) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    told = subprocess.run([HONED, "check", "--state", str(daemon.state)], capture_output=True, text=True)
    assert told.returncode == 0 and "0 wrong" in told.stdout, told.stdout + told.stderr


def run(start, folder, monkeypatch):
    monkeypatch.setenv("HONE_TEST_RUN", uuid.uuid4().hex)
    daemon = begin(start, folder)
    calm = []
    for kind in range(len(KINDS)):
        reply = daemon.post("/jobs", json=body_of(daemon, kind))
        assert reply.status_code == 201, reply.text
        calm.append(reply.json()["id"])
    expected = [(daemon.wait(job, "succeeded") and result(daemon, job), curve(daemon, job)) for job in calm]
    traffic = Traffic(daemon, calm[0])
    schedule = Schedule(daemon, random.Random(SEED), expected)
    traffic.start()
    schedule.run(KILLS)
    traffic.stop = True
    traffic.join(30)
    schedule.settle()
    outcomes = {}
    for job, kind in schedule.jobs.items():
        seen = daemon.look(job)
        outcomes[seen["status"]] = outcomes.get(seen["status"], 0) + 1
        assert seen["status"] == "succeeded" or (seen["status"] == "cancelled" and job in schedule.asked), seen
        check_events(daemon, job)
        if seen["status"] == "succeeded":
            assert result(daemon, job) == expected[kind][0], job
            assert curve(daemon, job) == expected[kind][1], job
    print(f"seed {SEED}: {schedule.deaths}, jobs {outcomes}, {len(traffic.acknowledged)} uploads, {traffic.lost} requests lost")
    assert not traffic.odd, traffic.odd[:3]
    for data in traffic.acknowledged:
        assert daemon.get(f"/datasets/{data}").status_code == 200, data
    assert daemon.stop() == 0
    daemon.start()  # sweeps what helpers left that died since the last start
    assert daemon.stop() == 0
    check_state(daemon)


def test_any_death_at_any_time(start, tmp_path, monkeypatch):
    try:
        run(start, tmp_path, monkeypatch)
    except BaseException:
        print(f"HONE_SEED={SEED} HONE_KILLS={KILLS} gives this schedule again")
        raise
