"""Jobs through everything that can happen to them: deaths of trainers and of the daemon, pauses, hang-ups, full slots."""
import hashlib
import os
import random
import signal
import subprocess
import threading
import time

import requests

from daemon import HONED, sse


def chain(steps):
    text = "start"
    for step in range(1, steps + 1):
        text = hashlib.sha256(f"{text} {step}".encode()).hexdigest()
    return (text * 1000).encode()


def check_whole(daemon, job, steps):
    """Each step once, in order, without gaps; the artifact is that of an undisturbed run."""
    events = daemon.events(job)
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert [e["data"]["step"] for e in events if e["type"] == "step"] == list(range(1, steps + 1))
    metrics = daemon.get(f"/jobs/{job}/metrics").json()["data"]
    assert [m["step"] for m in metrics if m["loss"] is not None] == list(range(1, steps + 1))
    assert daemon.get(f"/jobs/{job}/artifacts/peft/adapter.bin").content == chain(steps)
    assert events[-1]["type"] == "succeeded"


def test_a_trainer_that_dies_is_started_again(daemon):
    job = daemon.job({"steps": 12, "save_every": 4, "die_at": [2, 7, 11]})
    done = daemon.wait(job, "succeeded")
    check_whole(daemon, job, 12)
    assert done["attempts"] == 4
    assert [e["data"]["reason"] for e in daemon.events(job) if e["type"] == "requeued"] == ["trainer_died"] * 3


def test_three_deaths_without_progress_end_it(daemon):
    job = daemon.job({"steps": 5, "die_always": True})
    done = daemon.wait(job, "failed")
    assert done["status_reason"]["code"] == "trainer_died" and done["attempts"] == 3
    last = daemon.events(job)[-1]
    assert last["type"] == "failed" and last["data"]["code"] == "trainer_died"


def test_failure_is_told(daemon):
    job = daemon.job({"fail_at": 2})
    done = daemon.wait(job, "failed")
    assert done["status_reason"] == {"code": "diverged", "message": "the loss is not finite"}
    assert [e["type"] for e in daemon.events(job)].count("failed") == 1


def test_hung_trainers_are_stopped(start):
    d = start("--hang_seconds", "1", "--grace_seconds", "1")
    d.model()
    job = d.job({"hang_at": 2, "deaf": True})
    done = d.wait(job, "failed")
    assert done["status_reason"]["code"] == "hung"


def test_cancel(daemon):
    first = daemon.job({"steps": 1000, "step_seconds": 0.05})
    second = daemon.job(extra="2")
    assert daemon.post(f"/jobs/{second}/cancel").json()["status"] == "cancelled"
    assert daemon.post(f"/jobs/{second}/cancel").status_code == 200, "repeating is fine"
    daemon.wait_step(first, 2)
    reply = daemon.post(f"/jobs/{first}/cancel").json()
    assert reply["status"] == "running" and reply["requested"] == "cancel"
    assert daemon.post(f"/jobs/{first}/pause").status_code == 409
    daemon.wait(first, "cancelled", 10)
    assert daemon.events(first)[-1]["type"] == "cancelled"
    assert daemon.post(f"/jobs/{first}/resume").status_code == 409


def test_cancel_of_a_deaf_trainer(start):
    d = start("--grace_seconds", "1")
    d.model()
    job = d.job({"steps": 1000, "step_seconds": 0.05, "deaf": True})
    d.wait_step(job, 1)
    d.post(f"/jobs/{job}/cancel")
    d.wait(job, "cancelled", 15)


def test_pause_and_resume(daemon):
    job = daemon.job({"steps": 60, "step_seconds": 0.06, "save_every": 7})
    daemon.wait_step(job, 5)
    assert daemon.post(f"/jobs/{job}/pause").json()["requested"] == "pause"
    paused = daemon.wait(job, "paused", 10)
    assert paused["requested"] is None and daemon.post(f"/jobs/{job}/pause").status_code == 200
    time.sleep(0.5)
    assert daemon.look(job)["progress"]["step"] == paused["progress"]["step"]
    assert daemon.post(f"/jobs/{job}/resume").json()["status"] in ("queued", "running")
    daemon.wait(job, "succeeded")
    check_whole(daemon, job, 60)


def test_a_pause_can_be_taken_back(daemon):
    job = daemon.job({"steps": 60, "step_seconds": 0.06})
    daemon.wait_step(job, 3)
    daemon.post(f"/jobs/{job}/pause")
    assert daemon.post(f"/jobs/{job}/resume").status_code == 200
    daemon.wait(job, "succeeded")
    check_whole(daemon, job, 60)


def test_queue_order(start):
    d = start()
    d.model()
    blocker = d.job({"steps": 120, "step_seconds": 0.03})
    low, high, middle = (d.job(extra=str(p), priority=p) for p in (-1, 9, 0))
    assert [d.look(j)["queue_position"] for j in (high, middle, low)] == [1, 2, 3]
    assert d.look(low)["status_reason"]["code"] == "waiting_for_slot"
    for job in (blocker, low, high, middle):
        d.wait(job, "succeeded")
    started = [d.look(j)["started_at"] for j in (high, middle, low)]
    assert started == sorted(started)


def test_keys_take_turns(start):
    """Whoever sends many jobs first does not keep the others waiting for all of them."""
    d = start("--require_keys", "yes")
    create = [HONED, "key", "create", "--state", str(d.state), "--see", "all", "--scope"]
    keys = {name: {"Authorization": "Bearer " + subprocess.run([*create, scope, "--name", name], capture_output=True, text=True,
                                                               check=True).stdout.strip()}
            for name, scope in (("own", "admin"), ("many", "submit"), ("few", "submit"))}
    d.get = lambda path: requests.get(d.url + path, headers=keys["own"], timeout=60)
    d.post = lambda path, headers=None, **more: requests.post(d.url + path, headers=keys["own"] | (headers or {}), timeout=60, **more)
    d.model()
    data, blocker = d.dataset(), d.job({"steps": 100, "step_seconds": 0.03})
    d.wait_step(blocker, 1)

    def submit(name, seed):
        reply = d.post("/jobs", json={"model": "base", "dataset": data, "hyperparameters": {"seed": seed}}, headers=keys[name])
        assert reply.status_code == 201, reply.text
        return reply.json()["id"]

    jobs = {submit(name, i): name for i, name in enumerate(["many", "many", "many", "few", "few"])}
    for job in jobs:
        d.wait(job, "succeeded")
    order = sorted(jobs, key=lambda job: d.look(job)["started_at"])
    assert [jobs[job] for job in order] == ["many", "few", "many", "few", "many"]


def test_memory_admission(start):
    d = start("--memory", "1M", "--slots", "2")
    d.model()
    first = d.job({"steps": 100, "step_seconds": 0.05, "peak_bytes": 700_000})
    d.wait(first, "running")
    big = d.job({"peak_bytes": 600_000}, extra="b")
    small = d.job({"peak_bytes": 100_000}, extra="s")
    d.wait(small, "succeeded")
    waiting = d.look(big)
    assert waiting["status"] == "queued" and waiting["status_reason"]["code"] == "waiting_for_memory"
    d.wait(first, "succeeded")
    d.wait(big, "succeeded")


def test_a_restart_with_less_memory(start):
    """What no longer fits does not start, not even alone; others pass it, and it runs when the memory is back."""
    d = start("--memory", "1M")
    d.model()
    first = d.job({"steps": 100, "step_seconds": 0.1, "peak_bytes": 900_000})
    d.wait(first, "running")
    second = d.job({"peak_bytes": 800_000}, extra="b", priority=0)
    d.stop()
    d = start("--memory", "500k", state=d.state)
    small = d.job({"peak_bytes": 100_000}, extra="s")
    d.wait(small, "succeeded")
    for job in (first, second):
        told = d.look(job)
        assert told["status"] == "queued" and told["status_reason"]["code"] == "does_not_fit", told
        assert "memory" in told["status_reason"]["message"]
    d.stop()
    d = start("--memory", "1M", state=d.state)
    for job in (first, second):
        d.wait(job, "succeeded")


def test_slots_run_side_by_side(start):
    d = start("--slots", "3")
    d.model()
    jobs = [d.job({"steps": 60, "step_seconds": 0.05}, extra=str(i)) for i in range(3)]
    for job in jobs:
        d.wait_step(job, 1)
    assert [d.look(j)["status"] for j in jobs] == ["running"] * 3
    for job in jobs:
        d.wait(job, "succeeded")


def test_the_daemons_death_changes_nothing(daemon):
    job = daemon.job({"steps": 80, "step_seconds": 0.03, "save_every": 10})
    daemon.wait_step(job, 5)
    pid = daemon.trainer(job)
    daemon.kill()
    os.kill(pid, 0)
    time.sleep(0.3)
    daemon.start()
    assert daemon.look(job)["status"] == "running" and daemon.trainer(job) == pid
    daemon.wait(job, "succeeded")
    check_whole(daemon, job, 80)
    assert daemon.look(job)["attempts"] == 1 and "attached" in daemon.log.read_text()


def test_an_end_that_the_daemon_missed_is_settled(daemon):
    job = daemon.job({"steps": 30, "step_seconds": 0.02})
    daemon.wait_step(job, 2)
    daemon.kill()
    time.sleep(1.5)
    daemon.start()
    daemon.wait(job, "succeeded", 10)
    check_whole(daemon, job, 30)


def test_kill_anything_at_any_time(daemon):
    """Twelve deaths of the daemon, the trainer or both; a stream of events is read across all of them."""
    job = daemon.job({"steps": 150, "step_seconds": 0.02, "save_every": 3})
    chance = random.Random(7)
    seen = []

    def listen():
        while not seen or seen[-1]["event"] != "succeeded":
            try:
                head = {"Accept": "text/event-stream", "Last-Event-ID": seen[-1]["id"] if seen else "0"}
                with requests.get(f"{daemon.url}/jobs/{job}/events", headers=head, stream=True, timeout=20) as reply:
                    for event in sse(reply):
                        seen.append(event)
            except requests.RequestException:
                time.sleep(0.1)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    for _ in range(12):
        time.sleep(chance.uniform(0.05, 0.5))
        what = chance.choice(["daemon", "trainer", "both"])
        if what != "daemon" and daemon.look(job)["status"] == "running":
            try:
                os.kill(daemon.trainer(job), signal.SIGKILL)
            except (ProcessLookupError, FileNotFoundError, ValueError):
                pass
        if what != "trainer":
            daemon.restart()
    daemon.wait(job, "succeeded")
    check_whole(daemon, job, 150)
    listener.join(20)
    assert [int(e["id"]) for e in seen] == list(range(1, len(daemon.events(job)) + 1))


def test_drain(start):
    d = start()
    d.model()
    job = d.job({"steps": 400, "step_seconds": 0.02})
    waiting = d.job(extra="w")
    d.wait_step(job, 3)
    assert d.stop() == 0
    d.start()
    types = [e["type"] for e in d.events(job)]
    assert "interrupted" in types and "requeued" in types
    assert next(e for e in d.events(job) if e["type"] == "requeued")["data"]["reason"] == "shutdown"
    d.post(f"/jobs/{waiting}/cancel")
    d.wait(job, "succeeded")
    check_whole(d, job, 400)


def test_a_second_signal_leaves_the_trainers(start):
    d = start("--grace_seconds", "30")
    d.model()
    job = d.job({"steps": 100, "step_seconds": 0.03, "deaf": True})
    d.wait_step(job, 2)
    d.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert d.get("/readyz").status_code == 503 and d.look(job)["status"] == "running"
    d.process.send_signal(signal.SIGTERM)
    assert d.process.wait(15) == 0
    os.kill(d.trainer(job), 0)
    d.start()
    d.wait(job, "succeeded")
    check_whole(d, job, 100)


def test_streams(daemon):
    job = daemon.job({"steps": 20, "step_seconds": 0.02})
    accept = {"Accept": "text/event-stream"}
    with daemon.get(f"/jobs/{job}/events", headers=accept, stream=True) as reply:
        assert reply.headers["Content-Type"] == "text/event-stream"
        found = list(sse(reply))
    assert found[-1]["event"] == "succeeded" and found[0]["event"] == "queued"
    assert [int(e["id"]) for e in found] == list(range(1, len(found) + 1)) == [e["data"]["seq"] for e in found]
    with daemon.get(f"/jobs/{job}/events", headers=accept | {"Last-Event-ID": "10"}, stream=True) as reply:
        assert next(sse(reply))["id"] == "11"
    assert daemon.get(f"/jobs/{job}/events", headers=accept | {"Last-Event-ID": found[-1]["id"]}).status_code == 204
    assert daemon.get("/jobs/job_aaaaaaaaaaaaaaaa/events", headers=accept).status_code == 404
    page = daemon.get(f"/jobs/{job}/events?limit=5").json()
    assert page["next"] == 5 and daemon.get(f"/jobs/{job}/events?after=5&limit=1").json()["data"][0]["seq"] == 6


def test_many_streams_at_once(daemon):
    job = daemon.job({"steps": 30, "step_seconds": 0.05})
    ends = []

    def listen():
        with requests.get(f"{daemon.url}/jobs/{job}/events", headers={"Accept": "text/event-stream"}, stream=True, timeout=30) as reply:
            ends.append([int(e["id"]) for e in sse(reply)])

    threads = [threading.Thread(target=listen) for _ in range(60)]
    [t.start() for t in threads]
    daemon.wait(job, "succeeded")
    [t.join(20) for t in threads]
    assert len(ends) == 60 and all(e == ends[0] for e in ends) and len(ends[0]) == len(daemon.events(job))


def test_thinned_metrics_keep_the_extremes(daemon):
    job = daemon.job({"steps": 3000, "step_seconds": 0, "save_every": 1000})
    daemon.wait(job, "succeeded")
    rows = daemon.get(f"/jobs/{job}/metrics?points=100").json()["data"]
    losses = [r["loss"] for r in rows if r["loss"] is not None]
    assert 40 <= len(rows) <= 110 and max(losses) == 5.0 and min(losses) == round(5 / 3000, 6)
    assert [r["step"] for r in rows if r["loss"] is None] == [0, 3000]
    whole = daemon.get(f"/jobs/{job}/metrics?format=csv").text.splitlines()
    assert [int(line.split(",")[0]) for line in whole[1:]] == list(range(3001))
    assert len(daemon.get(f"/jobs/{job}/metrics?format=csv&points=100").text.splitlines()) <= 111
    assert len(daemon.get(f"/jobs/{job}/metrics?format=csv&after=1&limit=5").text.splitlines()) == 6


def test_changed_model_files_are_noticed(daemon):
    blocker = daemon.job({"steps": 200, "step_seconds": 0.03})
    daemon.wait_step(blocker, 1)
    job = daemon.job(extra="x")
    path = daemon.state / "models/base/model.gguf"
    os.chmod(path, 0o600)
    path.write_bytes(b"other")
    assert daemon.wait(job, "failed")["status_reason"]["code"] == "model_invalid"
    daemon.wait(blocker, "succeeded")
