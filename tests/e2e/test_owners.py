"""Owners: the manual's table "Who may what" cell by cell, and what else keys, teams, quotas and local users are promised."""
import hashlib
import json
import os
import pathlib
import re
import socket
import sqlite3
import subprocess
import threading
import time

import pytest
import requests
from daemon import HONED, PATIENCE, rows, sse

ROOT = pathlib.Path(__file__).resolve().parents[2]
STORES = ROOT / "tests" / "data" / "stores"
KEYS = ("--require_keys", "yes")


def key_command(d, *words):
    return subprocess.run([HONED, "key", *words, "--state", str(d.state)], capture_output=True, text=True)


def key(d, name, scope, *more):
    made = key_command(d, "create", "--name", name, "--scope", scope, *more)
    assert made.returncode == 0, made.stderr
    return {"Authorization": "Bearer " + made.stdout.strip()}


def key_id(d, name):
    return re.search(rf"(key_\w+) .* {name}$", key_command(d, "list").stdout, re.M)[1]


def submit(d, who, data, **fields):
    reply = d.post("/jobs", json={"model": "base", "dataset": data} | fields, headers=who)
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]


def upload(d, who, fake=None, extra=""):
    reply = d.post("/datasets?name=d", data=rows(fake, extra), headers=who)
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]


def wait(d, who, job, wanted="succeeded", seconds=20):
    deadline = time.time() + seconds * PATIENCE
    while (found := d.get(f"/jobs/{job}", headers=who).json())["status"] != wanted:
        assert time.time() < deadline, found
        time.sleep(0.05)
    return found


def refused(reply, status, code):
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), reply.text
    return reply.json()["error"]


# ---- the table ----

def table():
    """{row: {role: cell}} of the manual's section."""
    section = (ROOT / "web/manual/security.md").read_text().split("## Who may what")[1].split("\n## ")[0]
    lines = [[c.strip() for c in line.strip().strip("|").split("|")] for line in section.splitlines() if line.startswith("|")]
    return {line[0]: dict(zip(lines[0][1:], line[1:])) for line in lines[2:]}


class World:
    """Alice's objects, something made before keys were needed, and a key a column."""

    def __init__(self, start):
        d = start()
        d.model()
        self.old = d.job(extra=" old")
        d.wait(self.old)
        self.old_data = d.look(self.old)["dataset"]
        d.stop()
        d.options = KEYS
        self.d = d.start()
        self.keys = {"no key": {}, "read, its team": key(d, "watcher", "read", "--team", "ml"), "read, all": key(d, "board", "read", "--see", "all"),
                     "submit, own": key(d, "stranger", "submit"), "submit, its team": key(d, "mate", "submit", "--team", "ml"),
                     "submit, all": key(d, "helper", "submit", "--see", "all"), "admin": key(d, "root", "admin")}
        self.alice = key(d, "alice", "submit", "--team", "ml")
        self.n = 0
        self.data = upload(d, self.alice, extra=" alice")
        self.job = self.new_job()
        (d.state / "runs" / self.job / "checkpoints/step-000004/state.safetensors").write_bytes(b"weights")
        self.evaluation = self.new_evaluation()
        made = d.post("/sweeps", headers=self.alice, json={"kind": "grid", "space": {"learning_rate": [0.1]},
                                                           "job": {"model": "base", "dataset": self.data, "validation": 0.5}})
        assert made.status_code == 201, made.text
        self.sweep = made.json()["id"]
        self.own = {role: self.d.post("/datasets", data=rows(extra=role), headers=who).json().get("id") for role, who in self.keys.items()}

    def unique(self):
        self.n += 1
        return f" {self.n}"

    def new_data(self):
        return upload(self.d, self.alice, extra=self.unique())

    def new_job(self):
        job = submit(self.d, self.alice, self.data)
        wait(self.d, self.alice, job)
        return job

    def new_evaluation(self):
        reply = self.d.post("/models/base/evaluate", json={"dataset": self.data}, headers=self.alice)
        assert reply.status_code == 200, reply.text
        return reply.json()["id"]


def get(*paths):
    return lambda w, role: [("GET", path.format(w=w), None) for path in paths]


def job_body(w, role, **more):
    return {"model": "base", "dataset": w.own[role] or w.data} | more


def on_data(w, role):
    return [("POST", "/jobs", {"model": "base", "dataset": w.data}), ("POST", "/jobs", job_body(w, role, validation={"dataset": w.data})),
            ("POST", "/jobs", job_body(w, role, test=w.data)), ("POST", "/jobs", {"model": "base", "dataset": [w.data]}),
            ("POST", "/models/base/evaluate", {"dataset": w.data})]


def changes(w, role):
    at = f"/jobs/{w.job}"
    return [("PATCH", at, {"name": role}), ("POST", at + "/cancel", None), ("POST", at + "/pause", None), ("POST", at + "/resume", None)]


def uses(w, role):
    at = f"/jobs/{w.job}"
    return [("POST", at + "/predict", {"inputs": ["a"]}), ("POST", at + "/evaluate", {"dataset": w.own[role] or w.data}), ("POST", at + "/verify", None), ("POST", at + "/next", None),
            ("POST", "/jobs", job_body(w, role, init_from={"job": w.job, "step": "last"}))]


ACTIONS = {
    "dashboard, manual, `/healthz`, `/readyz`, `/openapi.json`": get("/", "/manual/", "/manual/data", "/healthz", "/readyz", "/openapi.json"),
    "models: look": get("/models", "/models/base"),
    "models: predict, evaluate": lambda w, role: [("POST", "/models/base/predict", {"inputs": ["a"]}),
                                                  ("POST", "/models/base/evaluate", {"dataset": w.own[role] or w.data})],
    "models: take in, delete, look into the folders of `model_dirs`": lambda w, role: [("GET", "/models/available", None), ("POST", "/models?name=m", b"a model"), ("DELETE", "/models/m", None)],
    "data sets: upload": lambda w, role: [("POST", "/datasets", rows(extra=w.unique()))],
    "jobs: submit on its own data": lambda w, role: [("POST", "/jobs", job_body(w, role))],
    "jobs: priority above 0": lambda w, role: [("POST", "/jobs", job_body(w, role, priority=1)), ("PATCH", f"/jobs/{w.job}", {"priority": 1})]
                              if role != "submit, own" else [("POST", "/jobs", job_body(w, role, priority=1))],
    "another's data set: look, preview, report": get("/datasets/{w.data}", "/datasets/{w.data}/preview?model=base", "/datasets/{w.data}/report",
                                                    "/datasets/{w.data}/rows?lines=1"),
    "another's data set: train, evaluate on it": on_data,
    "another's data set: copy with corrections": lambda w, role: [("POST", f"/datasets/{w.data}/corrections", {"exclude": {"lines": [9]}})],
    "another's data set: delete": lambda w, role: [("DELETE", f"/datasets/{w.new_data()}", None)],
    "another's job: look, metrics, events, log, results, fit": get("/jobs/{w.job}", "/jobs/{w.job}/metrics", "/jobs/{w.job}/metrics?format=csv",
        "/jobs/{w.job}/events", "/jobs/{w.job}/log", "/jobs/{w.job}/checkpoints", "/jobs/{w.job}/artifacts", "/jobs/{w.job}/artifacts.tar",
        "/jobs/{w.job}/artifacts/peft/adapter.bin", "/jobs/{w.job}/verify",
        "/jobs/{w.job}/examples", "/jobs/{w.job}/fit"),
    "another's job: change, cancel, pause, resume, delete": changes,  # deletion: last, below
    "another's job: predict, evaluate, verify, next, begin from it": uses,
    "another's evaluation: look, rows": get("/evaluations/{w.evaluation}", "/evaluations/{w.evaluation}/rows"),
    "another's evaluation: delete": lambda w, role: [("DELETE", f"/evaluations/{w.new_evaluation()}", None)],
    "another's sweep: look, trials, events": get("/sweeps/{w.sweep}", "/sweeps/{w.sweep}/trials", "/sweeps/{w.sweep}/trials?format=csv", "/sweeps/{w.sweep}/events"),
    "another's sweep: cancel, pause, resume": lambda w, role: [("POST", f"/sweeps/{w.sweep}/{verb}", None) for verb in ("cancel", "pause", "resume")],
    "another's objects in lists": None,
    "what was made without keys: look": get("/jobs/{w.old}", "/jobs/{w.old}/events", "/datasets/{w.old_data}"),
    "`/metrics`": get("/metrics"),
}


def ask(w, role, method, path, body):
    raw = {"data": body, "headers": w.keys[role] | {"Content-Type": "application/octet-stream"}} if isinstance(body, bytes) else \
        {"json": body, "headers": w.keys[role]}
    return requests.request(method, w.d.url + path, timeout=60, **raw)


def cell(reply):
    return str(reply.status_code) if reply.status_code in (401, 403, 404) else "yes"


def look_at_lists(w, role):
    """What of Alice's the lists show: all, nothing, or the status that refuses."""
    shown = []
    for path, wanted in (("/jobs?limit=1000", w.job), ("/datasets?limit=1000", w.data), ("/evaluations", w.evaluation), ("/sweeps", w.sweep),
                         (f"/jobs?dataset={w.data}", w.job), (f"/evaluations?dataset={w.data}", w.evaluation)):
        reply = w.d.get(path, headers=w.keys[role])
        shown.append(str(reply.status_code) if reply.status_code != 200 else "yes" if wanted in [o["id"] for o in reply.json()["data"]] else "no")
    return shown


def test_who_may_what(start):
    w, wrong = World(start), []
    assert ACTIONS.keys() == table().keys()
    for row, cells in table().items():
        assert list(cells) == list(w.keys)
        for role, wanted in cells.items():
            got = look_at_lists(w, role) if ACTIONS[row] is None else [cell(ask(w, role, *action)) for action in ACTIONS[row](w, role)]
            wrong += [(row, role, wanted, got)] if set(got) != {wanted} else []
    for role, wanted in table()["another's job: change, cancel, pause, resume, delete"].items():
        got = cell(ask(w, role, "DELETE", f"/jobs/{w.new_job() if wanted == 'yes' else w.job}", None))
        wrong += [("delete", role, wanted, got)] if got != wanted else []
    assert wrong == []


# ---- what cannot be told from the table ----

def test_ids_cannot_be_probed(start):
    """The words for what another key has are those for what nobody has; so are cursors."""
    d = start(*KEYS)
    d_admin, a, b = key(d, "root", "admin"), key(d, "a", "submit"), key(d, "b", "submit")
    d.post("/models?name=base", data=b"m", headers=d_admin | {"Content-Type": "a/b"})
    data = upload(d, a)
    job = submit(d, a, data)
    own = upload(d, b, extra=" b")
    wait(d, a, job)
    evaluation = d.post("/models/base/evaluate", json={"dataset": data}, headers=a).json()["id"]
    other = lambda id: id[:-4] + "zzzz"
    for path in ("/jobs/{job}", "/jobs/{job}/events", "/datasets/{data}", "/evaluations/{evaluation}", "/evaluations/{evaluation}/rows",
                 "/jobs?after={job}", "/datasets?after={data}", "/compare?jobs={job},{job}x", "/jobs?sweep={job}"):
        there, nowhere = (d.get(path.format(job=f(job), data=f(data), evaluation=f(evaluation)), headers=b) for f in (str, other))
        names = lambda text: re.sub(r"(job|ds|eval)_\w+", "ID", text)
        assert there.status_code == nowhere.status_code and names(there.text) == names(nowhere.text), path
    for body in ({"dataset": data}, {"dataset": own, "init_from": {"job": job}}, {"dataset": own, "test": data}):
        there, nowhere = (d.post("/jobs", json=json.loads(json.dumps({"model": "base"} | body).replace(data, f(data)).replace(job, f(job))), headers=b)
                          for f in (str, other))
        assert there.status_code == nowhere.status_code == 404
    jobs = [d.post("/jobs", json={"model": "base", "dataset": mine}, headers=who | {"Idempotency-Key": "k"}) for who, mine in ((a, data), (b, own), (a, data))]
    assert [r.status_code for r in jobs] == [201, 201, 200] and jobs[0].json()["id"] == jobs[2].json()["id"] != jobs[1].json()["id"]
    assert jobs[0].json()["owner"] == key_id(d, "a")


def test_same_bytes_of_two_keys(start):
    """Each has a data set of its own, and cannot see that another has the bytes, too; the file goes with the last."""
    d = start(*KEYS)
    a, b = key(d, "a", "submit"), key(d, "b", "submit")
    key(d, "root", "admin")
    first, second = (d.post(f"/datasets?name={n}", data=rows(), headers=who) for n, who in (("one", a), ("two", b)))
    assert (first.status_code, second.status_code) == (201, 201)
    one, two = first.json(), second.json()
    assert one["id"] != two["id"] and (one["name"], two["name"]) == ("one", "two") and one["sha256"] == two["sha256"]
    assert d.post("/datasets?name=again", data=rows(), headers=a).status_code == 200
    file = d.state / "datasets" / one["sha256"] / "data"
    assert d.delete(f"/datasets/{one['id']}", headers=a).status_code == 204
    assert d.get(f"/datasets/{one['id']}", headers=a).status_code == 404 and file.exists()
    assert d.get(f"/datasets/{two['id']}", headers=b).json() == two
    assert d.delete(f"/datasets/{two['id']}", headers=b).status_code == 204 and not file.exists()
    assert d.post("/datasets", data=rows(), headers=a).status_code == 201


def test_quotas(start):
    d = start(*KEYS, "--slots", "2")
    admin = key(d, "root", "admin")
    d.post("/models?name=base", data=b"m", headers=admin | {"Content-Type": "a/b"})
    size = len(rows({"steps": 40, "step_seconds": 0.05}))
    q = key(d, "q", "submit", "--max_bytes", str(size + 10), "--max_queued", "2", "--max_running", "1")
    data = upload(d, q, {"steps": 40, "step_seconds": 0.05})
    told = refused(d.post("/datasets", data=rows(), headers=q), 409, "quota_exceeded")
    assert str(size + 10) in told["message"] and str(size) in told["message"]
    refused(d.post("/jobs", files={"dataset": ("x", rows(extra="y"))}, data={"model": "base"}, headers=q), 409, "quota_exceeded")
    first = submit(d, q, data)
    wait(d, q, first, "running")
    second, third = submit(d, q, data), submit(d, q, data)
    told = refused(d.post("/jobs", json={"model": "base", "dataset": data}, headers=q), 409, "quota_exceeded")
    assert "2 queued jobs" in told["message"]
    deadline = time.time() + 10 * PATIENCE
    while (d.get(f"/jobs/{second}", headers=q).json()["status_reason"] or {}).get("code") != "waiting_for_quota":
        assert time.time() < deadline, d.get(f"/jobs/{second}", headers=q).text
        time.sleep(0.05)
    other = submit(d, admin, upload(d, admin))  # the second slot is for whoever may run
    wait(d, admin, other)
    assert d.get(f"/jobs/{second}", headers=q).json()["status"] == "queued"
    assert d.post(f"/jobs/{third}/pause", headers=q).status_code == 200
    fourth = submit(d, q, data)
    told = refused(d.post(f"/jobs/{third}/resume", headers=q), 409, "quota_exceeded")
    for job in (third, fourth):
        assert d.post(f"/jobs/{job}/cancel", headers=q).status_code == 200
    wait(d, q, first)
    assert wait(d, q, second, "running")["status_reason"] is None
    d.post(f"/jobs/{second}/cancel", headers=q)
    listed = key_command(d, "list").stdout
    assert f"max_bytes {size + 10}  max_queued 2  max_running 1" in listed


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_streams_end_with_their_key(start, how):
    d = start(*KEYS)
    admin = key(d, "root", "admin")
    d.post("/models?name=base", data=b"m", headers=admin | {"Content-Type": "a/b"})
    job = submit(d, admin, upload(d, admin, {"steps": 2000, "step_seconds": 0.05}))
    k = key(d, "k", "submit", "--see", "all", *(("--expires", "3s") if how == "expired" else ()))
    made, ended = time.time(), {}

    def listen(name, who, method, path, body):
        reply = requests.request(method, d.url + path, json=body, headers=who | {"Accept": "text/event-stream"}, stream=True, timeout=30)
        assert reply.status_code == 200
        for _ in sse(reply):
            pass
        ended[name] = time.time() - made

    asked = [("events", k, "GET", f"/jobs/{job}/events", None), ("predict", k, "POST", "/models/base/predict", {"inputs": ["x"] * 1000, "stream": True}),
             ("others", admin, "GET", f"/jobs/{job}/events", None)]
    threads = [threading.Thread(target=listen, args=a, daemon=True) for a in asked]
    for thread in threads:
        thread.start()
    time.sleep(0.7)
    assert ended == {}
    if how == "revoked":
        assert key_command(d, "revoke", "k").returncode == 0
    for thread in threads[:2]:
        thread.join(10 * PATIENCE)
    assert ended.keys() == {"events", "predict"} and max(ended.values()) < 6 * PATIENCE, ended
    refused(d.get("/jobs", headers=k), 401, "unauthorized")
    d.post(f"/jobs/{job}/cancel", headers=admin)
    threads[2].join(10 * PATIENCE)
    assert "others" in ended


def test_wrong_keys_are_slowed(start):
    d = start(*KEYS)
    good, bad = key(d, "k", "submit"), {"Authorization": "Bearer hone_wrong"}
    for _ in range(5):
        refused(d.get("/jobs", headers=bad), 401, "unauthorized")
    waits = []
    for _ in range(3):
        reply = d.get("/jobs", headers=bad)
        refused(reply, 429, "rate_limited")
        waits.append(int(reply.headers["Retry-After"]))
        time.sleep(waits[-1] + 0.05)
        refused(d.get("/jobs", headers=bad), 401, "unauthorized")  # answered once, then it waits longer
    assert waits == [1, 2, 4]
    refused(d.get("/jobs", headers=bad), 429, "rate_limited")
    assert d.get("/jobs").status_code == 401 and d.get("/healthz").status_code == 200
    assert d.get("/jobs", headers=good).status_code == 200
    refused(d.get("/jobs", headers=bad), 401, "unauthorized")  # and an address with a good key is not slowed


def test_evaluations_are_kept_for_each(start):
    """Those of one key do not push out another's."""
    d = start(*KEYS)
    root, a, b = key(d, "root", "admin"), key(d, "a", "submit"), key(d, "b", "submit")
    assert d.post("/models?name=base", data=b"fake", headers=root | {"Content-Type": "application/octet-stream"}).status_code == 201
    evaluate = lambda who, data: d.post("/models/base/evaluate", json={"dataset": data}, headers=who).json()["id"]  # noqa: E731
    mine = evaluate(a, upload(d, a, extra=" a"))
    data = upload(d, b, extra=" b")
    theirs = [evaluate(b, data) for _ in range(103)]
    assert d.get(f"/evaluations/{mine}", headers=a).status_code == 200
    assert d.get(f"/evaluations/{theirs[0]}", headers=b).status_code == 404
    assert d.get(f"/evaluations/{theirs[-1]}", headers=b).status_code == 200


def test_a_name_is_one_living_key(start):
    d = start(*KEYS)
    key(d, "ci", "submit")
    again = key_command(d, "create", "--name", "ci", "--scope", "submit")
    assert again.returncode and not again.stdout and "already" in again.stderr and key_id(d, "ci") in again.stderr
    assert key_command(d, "revoke", "ci").returncode == 0
    key(d, "ci", "submit")


def test_audit(start):
    d = start(*KEYS)
    a = key(d, "anna", "submit")
    made = d.post("/datasets", data=rows(), headers=a).json()["id"]
    d.get("/datasets", headers=a)
    d.delete("/models/nothing", headers=a)
    d.delete(f"/datasets/{made}", headers=a)
    d.post("/datasets", data=rows(), headers={"Authorization": "Bearer hone_wrong"})
    key_command(d, "revoke", "anna")
    file = d.state / "audit.jsonl"
    assert file.stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    anna = next(line["object"] for line in lines)
    seen = [(line["key"], line["method"], line["route"], line["object"], line["status"], line["error"]) for line in lines]
    user = f"uid:{os.getuid()}"
    assert seen == [(user, "COMMAND", "key create", anna, 0, None), (anna, "POST", "/datasets", made, 201, None),
                    (anna, "DELETE", "/models/{name}", "nothing", 403, "forbidden"), (anna, "DELETE", "/datasets/{id}", made, 204, None),
                    (None, "POST", "/datasets", None, 401, "unauthorized"), (user, "COMMAND", "key revoke", "anna", 0, None)]
    assert {line["address"] for line in lines[1:5]} == {"127.0.0.1"} and lines[1]["name"] == "anna" and all(line["time"] for line in lines)
    with open(file, "ab") as out:
        out.truncate(64 << 20)  # as after a long time
    b = key(d, "b", "submit")
    assert not (d.state / "audit.jsonl.1").exists()  # only the daemon puts it away
    d.post("/datasets", data=rows(), headers=b)
    assert (d.state / "audit.jsonl.1").exists() and len(file.read_text().splitlines()) == 1
    d.stop()
    d.options = (*KEYS, "--audit", "no")
    d.start()
    d.post("/datasets", data=rows(extra="x"))
    assert len(file.read_text().splitlines()) == 1


def local(path, method="GET", target="/jobs", body=b"", uid=None, header=""):
    """A request on the Unix socket, as another user if need be: status and body."""
    def talk():
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(30)
        s.connect(str(path))
        s.sendall(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/octet-stream\r\n{header}"
                  f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        data = b""
        while more := s.recv(65536):
            data += more
        return data
    if uid is None:
        data = talk()
    else:
        read, write = os.pipe()
        if (pid := os.fork()) == 0:
            try:
                os.setgroups([]), os.setgid(uid), os.setuid(uid)
                os.write(write, talk())
            finally:
                os._exit(0)
        os.close(write)
        data = b""
        while more := os.read(read, 65536):
            data += more
        os.close(read), os.waitpid(pid, 0)
    head, _, rest = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(rest)


def test_unix_socket(start, certificate):
    """Beside a port with TLS; this user is the daemon's own and so an admin."""
    folder = pathlib.Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    folder.chmod(0o755)
    path = folder / "honed.sock"
    d = start(*KEYS, "--tls_cert", certificate[0], "--tls_key", certificate[1], "--socket", str(path), "--socket_users", "daemon:submit,@bin:read")
    assert path.stat().st_mode & 0o777 == 0o666
    assert local(path)[0] == 200
    status, mine = local(path, "POST", "/datasets", rows())
    assert status == 201 and mine["owner"].startswith("uid:")
    assert local(path, header="Authorization: Bearer hone_wrong\r\n")[0] == 401
    if os.getuid() == 0:
        assert mine["owner"] == "uid:root"
        assert local(path, "POST", "/datasets", rows(extra="d"), uid=1)[1]["owner"] == "uid:daemon"
        assert [o["owner"] for o in local(path, target="/datasets", uid=1)[1]["data"]] == ["uid:daemon"]
        assert local(path, target=f"/datasets/{mine['id']}", uid=1)[0] == 404
        assert len(local(path, target="/datasets", uid=2)[1]["data"]) == 2  # bin, by its group
        assert local(path, "POST", "/datasets", rows(extra="e"), uid=2)[0] == 403
        assert local(path, uid=3)[0] == 403
    d.kill()
    assert path.exists()
    d.start()
    assert local(path)[0] == 200
    d.stop()
    assert not path.exists()


def test_socket_settings_are_checked(start, tmp_path):
    run = lambda *more: subprocess.run([HONED, "serve", "--state", str(tmp_path / "s"), "--listen", "127.0.0.1:0", *more], capture_output=True,
                                       text=True, timeout=20)
    path = str(tmp_path / "h.sock")
    assert "socket_users" in run("--socket", path, "--socket_users", "root:admin").stderr
    for users in ("nobody_at_all:read", "@no_such_group:read", "root", "root:boss"):
        found = run(*KEYS, "--socket", path, "--socket_users", users)
        assert found.returncode == 1 and users in found.stderr, found.stderr
    (tmp_path / "file").write_text("mine")
    assert "no socket" in run("--socket", str(tmp_path / "file")).stderr and (tmp_path / "file").read_text() == "mine"
    assert "absolute" in run("--socket", "h.sock").stderr
    d = start("--socket", path)  # without keys nobody is asked
    assert local(path)[0] == 200 and pathlib.Path(path).stat().st_mode & 0o777 == 0o600
    assert "another program" in subprocess.run([HONED, "serve", "--state", str(tmp_path / "t"), "--listen", "127.0.0.1:0", "--socket", path],
                                               capture_output=True, text=True, timeout=20).stderr
    assert d.get("/jobs").status_code == 200 and local(path)[0] == 200


def test_key_options_are_checked(start):
    d = start()
    for more, wanted in ((("read",), "nothing of its own"), (("admin", "--see", "own"), "sees everything"), (("submit", "--see", "some"), "--see"),
                         (("submit", "--team", "A B"), "--team"), (("submit", "--expires", "2001-01-01"), "--expires"), (("submit", "--expires", "soon"),
                         "--expires"), (("submit", "--max_bytes", "x"), "--max_bytes"), (("submit", "--max_running", "0"), "--max_running"), (("boss",), "--scope")):
        made = key_command(d, "create", "--name", "k", "--scope", *more)
        assert made.returncode == 1 and wanted in made.stderr, made.stderr
    assert key_command(d, "list").stdout == ""
    assert key_command(d, "create", "--name", "k", "--scope", "submit", "--team", "ml", "--expires", "2099-01-31", "--max_bytes", "1G").returncode == 0
    assert re.search(r"submit .* sees own  team ml  expires 2099-01-31T23:59:59.999Z  max_bytes 1073741824  k\n", key_command(d, "list").stdout)


def test_earlier_keys_and_stores(start, tmp_path):
    """A key of an earlier version sees and changes all, as it did; what belonged to nobody is found by it."""
    state = tmp_path / "old" / "state"
    state.mkdir(parents=True)
    db = sqlite3.connect(state / "hone.db")
    db.executescript((STORES / "0006.sql").read_text())
    db.execute("INSERT INTO keys (id,name,scope,hash,created_at) VALUES ('key_aaaaaaaaaaaaaaaa','old','submit',?,'2026-01-01T00:00:00.000Z')",
               [hashlib.sha256(b"hone_old").hexdigest()])
    db.commit()
    db.close()
    d = start(*KEYS, state=state)
    old, new = {"Authorization": "Bearer hone_old"}, key(d, "new", "submit")
    jobs = d.get("/jobs", headers=old).json()["data"]
    assert len(jobs) == 4 and d.get("/jobs", headers=new).json()["data"] == []
    assert d.patch(f"/jobs/{jobs[0]['id']}", json={"name": "mine"}, headers=old).status_code == 200
    assert d.get("/datasets", headers=old).json()["data"]


def test_owners_survive_a_rebuild(start):
    d = start(*KEYS)
    admin, a = key(d, "root", "admin"), key(d, "a", "submit")
    d.post("/models?name=base", data=b"m", headers=admin | {"Content-Type": "a/b"})
    data = upload(d, a)
    other = d.post("/datasets", data=rows(), headers=admin).json()["id"]
    job = submit(d, a, data)
    wait(d, a, job)
    owner = key_id(d, "a")
    d.stop()
    for file in d.state.glob("hone.db*"):
        file.unlink()
    done = subprocess.run([HONED, "rebuild", "--state", str(d.state)], capture_output=True, text=True, env=d.env)
    assert done.returncode == 0, done.stdout + done.stderr
    d.start()
    admin = key(d, "again", "admin")
    assert d.get(f"/datasets/{data}", headers=admin).json()["owner"] == owner == d.get(f"/jobs/{job}", headers=admin).json()["owner"]
    assert d.get(f"/datasets/{other}", headers=admin).json()["owner"] not in (owner, None)
    assert d.get("/jobs", headers=key(d, "a", "submit")).json()["data"] == []
