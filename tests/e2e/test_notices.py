"""Notices of ended jobs to their notify_url: signed, tried again, delivered at least once, and only where the operator allows it."""
import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import re
import socket
import sqlite3
import ssl
import subprocess
import threading
import time

import pytest
from test_api import error

from daemon import HONED

DAY_MS = 24 * 3600 * 1000


class Receiver:
    """Answers with `statuses` in their order, the last one for ever; keeps what came. A status of None: no answer before `release`."""

    def __init__(self, *statuses, headers=()):
        self.statuses, self.headers, self.got, self.release = list(statuses) or [200], dict(headers), [], threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((self.path, self.headers, body))
                status = outer.statuses.pop(0) if len(outer.statuses) > 1 else outer.statuses[0]
                if status is None:
                    outer.release.wait(60)
                    return
                self.send_response(status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "3")
                self.end_headers()
                self.wfile.write(b"ok\n")

            do_GET = do_POST

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def host(self):
        return f"127.0.0.1:{self.port}"

    @property
    def url(self):
        return f"http://{self.host}/hook?token=abc"

    def stop(self):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver():
    with contextlib.ExitStack() as stack:
        def make(*statuses, **options):
            made = Receiver(*statuses, **options)
            stack.callback(made.stop)
            return made
        yield make


def until(check, timeout=40):
    deadline = time.time() + timeout
    while not (found := check()):
        assert time.time() < deadline, "it did not come"
        time.sleep(0.05)
    return found


def settled(daemon, job, *states):
    return until(lambda: (n := daemon.look(job)["notice"])["state"] in (states or ("delivered", "given_up")) and n)


def secret(daemon):
    return (daemon.state / "notify_secret").read_text().strip()


def verify(text, headers, body):
    """As Standard Webhooks says a receiver does it."""
    assert text.startswith("whsec_")
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.new(base64.b64decode(text[6:]), signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == "v1," + wanted
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 300
    assert json.loads(body)["id"] == headers["webhook-id"]


def begin(start, *hosts, **options):
    d = start("--notify_hosts", ",".join(hosts), **options)
    d.model()
    return d


def test_each_end_is_told_and_signed(start, receiver):
    r = receiver()
    d = begin(start, r.host)
    assert (d.state / "notify_secret").stat().st_mode & 0o777 == 0o600 and len(base64.b64decode(secret(d)[6:])) == 32
    jobs = {"succeeded": d.job({"steps": 2}, name="a", metadata={"team": "ü"}, notify_url=r.url), "failed": d.job({"steps": 4, "fail_at": 2}, notify_url=r.url)}
    cancelled = d.job({"steps": 500, "step_seconds": 0.05}, notify_url=r.url)
    for status, job in jobs.items():
        assert d.wait(job)["status"] == status
    d.post(f"/jobs/{cancelled}/cancel")
    d.wait(cancelled)
    quiet = d.job({"steps": 2})
    assert d.wait(quiet)["notice"] is None
    jobs["cancelled"] = cancelled
    for job in jobs.values():
        told = settled(d, job)
        assert (told["state"], told["status"], told["attempts"], told["message"]) == ("delivered", 200, 1, None) and told["time"]
    assert len(r.got) == 3
    by_type = {}
    for path, headers, body in r.got:
        assert path == "/hook?token=abc" and headers["Content-Type"] == "application/json" and headers["User-Agent"].startswith("honed/")
        assert "Authorization" not in headers
        verify(secret(d), headers, body)
        by_type[json.loads(body)["type"]] = json.loads(body)
    assert by_type.keys() == {"job.succeeded", "job.failed", "job.cancelled"}
    for status, job in jobs.items():
        event, shown = by_type["job." + status], d.look(job)
        assert event["object"] == "event" and re.fullmatch(r"evt_[a-z2-7]{16}", event["id"]) and event["id"] == shown["notice"]["id"]
        assert event["created_at"].endswith("Z")
        assert event["data"] == {k: shown[k] for k in ("id", "name", "status", "status_reason", "task", "model", "metadata", "created_at", "started_at",
                                                       "finished_at")}
    assert by_type["job.failed"]["data"]["status_reason"]["code"] and by_type["job.succeeded"]["data"]["metadata"] == {"team": "ü"}


def test_a_waiting_job_that_is_cancelled_is_told(start, receiver):
    r = receiver()
    d = begin(start, r.host)
    long = d.job({"steps": 500, "step_seconds": 0.05})
    job = d.job({"steps": 1}, notify_url=r.url)
    assert d.post(f"/jobs/{job}/cancel").json()["status"] == "cancelled"
    assert settled(d, job)["state"] == "delivered" and json.loads(r.got[0][2])["type"] == "job.cancelled"
    d.post(f"/jobs/{long}/cancel")


def test_tried_again_under_the_same_id(start, receiver):
    r = receiver(500, 200)
    d = begin(start, r.host)
    job = d.job({"steps": 1}, notify_url=r.url)
    d.wait(job)
    waiting = until(lambda: (n := d.look(job)["notice"])["attempts"] == 1 and n)
    assert waiting["state"] == "waiting" and waiting["status"] == 500 and "500" in waiting["message"]
    told = settled(d, job)
    assert told["state"] == "delivered" and told["attempts"] == 2
    (_, first, one), (_, second, two) = r.got
    assert one == two and first["webhook-id"] == second["webhook-id"] and first["webhook-timestamp"] != second["webhook-timestamp"]
    verify(secret(d), second, two)
    assert d.look(job)["warnings"] == [{"code": "fake", "message": "nothing is learned"}]


def test_gone_ends_it_and_a_person_sees_it(start, receiver):
    r = receiver(410)
    d = begin(start, r.host)
    job = d.job({"steps": 1}, notify_url=r.url)
    d.wait(job)
    told = settled(d, job)
    assert told["state"] == "given_up" and told["attempts"] == 1 and told["status"] == 410 and len(r.got) == 1
    warning = d.look(job)["warnings"][-1]
    assert warning["code"] == "notice_given_up" and "410" in warning["message"]


def test_redirects_are_not_followed(start, receiver):
    aim = receiver()
    r = receiver(302, headers={"Location": aim.url})
    d = begin(start, r.host, aim.host)
    job = d.job({"steps": 1}, notify_url=r.url)
    d.wait(job)
    told = until(lambda: (n := d.look(job)["notice"])["attempts"] and n)
    assert told["state"] == "waiting" and told["status"] == 302 and not aim.got


def test_one_that_hangs_keeps_nobody_waiting_and_survives_a_kill(start, receiver):
    slow, fast = receiver(None, 200), receiver()
    d = begin(start, slow.host, f"localhost:{fast.port}")
    job = d.job({"steps": 1}, notify_url=slow.url)
    d.wait(job)
    until(lambda: slow.got)
    other = d.job({"steps": 1}, notify_url=fast.url.replace("127.0.0.1", "localhost"))
    d.wait(other)
    assert settled(d, other)["state"] == "delivered" and d.look(job)["notice"]["attempts"] == 0
    d.restart()
    told = settled(d, job)
    assert told["state"] == "delivered" and told["attempts"] == 1
    assert len(slow.got) == 2 and len({h["webhook-id"] for _, h, _ in slow.got}) == 1
    assert len(fast.got) == 1


def test_a_stop_while_one_hangs_is_quick(start, receiver):
    r = receiver(None)
    d = begin(start, r.host)
    d.job({"steps": 1}, notify_url=r.url)
    until(lambda: r.got)
    began = time.time()
    assert d.stop() == 0 and time.time() - began < 10


def test_given_up_after_a_day(start, receiver):
    r = receiver(503)
    d = begin(start, r.host)
    job = d.job({"steps": 1}, notify_url=r.url)
    d.wait(job)
    until(lambda: d.look(job)["notice"]["attempts"] == 1)
    d.stop()
    with sqlite3.connect(d.state / "hone.db") as db:
        db.execute("UPDATE notices SET created_ms=created_ms-?, due_ms=0, attempts=30", (DAY_MS - 1000,))
    d.start()
    told = settled(d, job)
    assert told["state"] == "given_up" and told["status"] == 503 and "31 attempts" in d.look(job)["warnings"][-1]["message"]


def test_waits_grow_to_an_hour(start, receiver):
    r = receiver(503)
    d = begin(start, r.host)
    job = d.job({"steps": 1}, notify_url=r.url)
    d.wait(job)
    until(lambda: d.look(job)["notice"]["attempts"] == 1)
    waits = []
    for attempts in range(1, 8):
        with contextlib.closing(sqlite3.connect(d.state / "hone.db", timeout=10)) as db, db:
            db.execute("UPDATE notices SET due_ms=0 WHERE attempts=?", (attempts,))
        d.restart()
        began = time.time() * 1000
        until(lambda: d.look(job)["notice"]["attempts"] == attempts + 1)
        with contextlib.closing(sqlite3.connect(d.state / "hone.db", timeout=10)) as db:
            waits.append(round((db.execute("SELECT due_ms FROM notices").fetchone()[0] - began) / 1000))
    assert all(abs(w - wanted) <= 3 for w, wanted in zip(waits, (20, 80, 320, 1280, 3600, 3600, 3600))), waits


def test_who_cannot_be_reached_is_tried_again(start):
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    d = begin(start, f"127.0.0.1:{port}", "nowhere.invalid")
    for url in (f"http://127.0.0.1:{port}/secret-path", "http://nowhere.invalid/"):
        job = d.job({"steps": 1}, notify_url=url)
        d.wait(job)
        told = until(lambda: (n := d.look(job)["notice"])["attempts"] and n)
        assert told["state"] == "waiting" and told["status"] is None and told["message"]
    assert "secret-path" not in d.log.read_text() and "was refused" not in d.log.read_text()


def test_only_what_the_operator_allows(start, receiver):
    r = receiver()
    d = begin(start, "hooks.example", f"10.0.0.5:8080,[::1]:{r.port}, Other.Example ")
    good = ["https://hooks.example/x", "http://HOOKS.example:443/", "http://10.0.0.5:8080", f"http://[::1]:{r.port}/?a=b", "https://other.example?x"]
    for url in good:
        reply = d.post("/jobs", json={"model": "base", "dataset": d.dataset({"steps": 500, "step_seconds": 0.05}), "notify_url": url})
        assert reply.status_code == 201, (url, reply.text)
        assert reply.json()["notify_url"] == url and reply.json()["notice"] is None
    body = {"model": "base", "dataset": d.dataset()}
    for url in ("https://hooks.example:8443/", r.url, "https://x.hooks.example/", "https://hooks.example.evil.org/", "http://10.0.0.5/"):
        told = error(d.post("/jobs", json=body | {"notify_url": url}), 400, "invalid_field", "notify_url")
        assert "notify_hosts" in told["hint"], told
    for url in ("", "hooks.example", "ftp://hooks.example/", "https://a@hooks.example/", "https://evil.org@hooks.example/", "https://hooks.example:0/",
                "https://hooks.example:99999/", "https://hooks.example:80x/", "https://hooks.example/ü", "https://hooks.example/a b", "https://hooks.example/#f",
                "https://hooks.example\\@evil.org/", "https://[::1/", "https://[]/", "https:///x", "https://hooks.example/\r\nX: y", "file:///etc/passwd",
                "HTTPS://hooks.example/", "https://" + "a" * 300 + "/"):
        error(d.post("/jobs", json=body | {"notify_url": url}), 400, "invalid_field", "notify_url")
    error(d.post("/jobs", json=body | {"notify_url": "https://hooks.example/" + "a" * 2048}), 400, "invalid_field", "notify_url")
    error(d.post("/jobs?dry_run=1", json=body | {"notify_url": r.url}), 400, "invalid_field", "notify_url")
    error(d.post("/jobs", json=body | {"notify_url": 5}), 400, "invalid_field", "notify_url")
    assert not r.got


def test_without_the_setting_nothing_is_called(start, receiver):
    r = receiver()
    d = start()
    d.model()
    told = error(d.post("/jobs", json={"model": "base", "dataset": d.dataset(), "notify_url": r.url}), 400, "invalid_field", "notify_url")
    assert "notify_hosts" in told["hint"] and r.host in told["hint"]
    assert not (d.state / "notify_secret").exists()
    done = subprocess.run([HONED, "notify-secret", "--state", d.state], capture_output=True, text=True)
    assert done.returncode == 1 and "notify_hosts" in done.stderr and not done.stdout


def test_a_host_that_is_taken_back(start, receiver):
    r = receiver(503)
    d = begin(start, r.host)
    job = d.job({"steps": 1}, notify_url=r.url)
    d.wait(job)
    until(lambda: d.look(job)["notice"]["attempts"] == 1)
    d.stop()
    d.options = ("--notify_hosts", "hooks.example")
    d.start()
    told = settled(d, job)
    assert told["state"] == "given_up" and "does not call" in told["message"] and len(r.got) == 1


def test_a_deleted_job_takes_its_notice_along(start, receiver):
    r = receiver(503)
    d = begin(start, r.host)
    job = d.job({"steps": 1}, notify_url=r.url)
    d.wait(job)
    until(lambda: d.look(job)["notice"]["attempts"] == 1)
    assert d.delete(f"/jobs/{job}").status_code == 204
    time.sleep(6)
    assert len(r.got) == 1
    with contextlib.closing(sqlite3.connect(d.state / "hone.db")) as db:
        assert db.execute("SELECT count(*) FROM notices").fetchone() == (0,)


def test_the_secret(start, receiver, tmp_path):
    r = receiver()
    own = tmp_path / "secret"
    own.write_text("whsec_" + base64.b64encode(b"k" * 24).decode() + "\n")
    own.chmod(0o600)
    d = start("--notify_hosts", r.host, "--notify_secret_file", str(own))
    d.model()
    job = d.job({"steps": 1}, notify_url=r.url)
    d.wait(job)
    settled(d, job)
    verify(own.read_text().strip(), *r.got[0][1:])
    assert not (d.state / "notify_secret").exists()
    shown = subprocess.run([HONED, "notify-secret", "--state", d.state, "--notify_secret_file", own], capture_output=True, text=True)
    assert shown.stdout == own.read_text() and shown.returncode == 0
    d.stop()
    for text, mode in (("whsec_short", 0o600), ("secret", 0o600), ("whsec_" + base64.b64encode(b"k" * 23).decode(), 0o600),
                       ("whsec_" + base64.b64encode(b"k" * 65).decode(), 0o600), ("", 0o600), (own.read_text() * 2, 0o600), (own.read_text(), 0o644)):
        own.write_text(text)
        own.chmod(mode)
        d.start(expect=False)
        assert d.process.wait(20) == 1 and "the secret of notices" in d.log.read_text()[-1500:], text
    own.unlink()
    d.start(expect=False)
    assert d.process.wait(20) == 1 and "there is no such file" in d.log.read_text()[-1500:]
    for hosts in ("https://a.example", "a.example:", "a b:x", "[::1", "a.example:70000"):
        refused = subprocess.run([HONED, "serve", "--state", tmp_path / "s", "--notify_hosts", hosts], capture_output=True, text=True, timeout=30)
        assert refused.returncode == 2 and "notify_hosts" in refused.stderr, refused


def test_the_environment_names_no_proxy(start, receiver):
    proxy, r = receiver(), receiver()
    d = begin(start, f"hone-test.localhost:{r.port}", f"localhost:{r.port}", env={"http_proxy": f"http://{proxy.host}", "ALL_PROXY": f"http://{proxy.host}", "no_proxy": ""})
    job = d.job({"steps": 1}, notify_url=f"http://localhost:{r.port}/x")
    d.wait(job)
    assert settled(d, job)["state"] == "delivered" and not proxy.got


def test_confined_as_children_are(start, receiver):
    r = receiver(None)
    d = begin(start, r.host)
    d.job({"steps": 1}, notify_url=r.url)
    until(lambda: r.got)
    children = subprocess.run(["pgrep", "-P", str(d.process.pid), "-f", "deliver"], capture_output=True, text=True).stdout.split()
    status = pathlib.Path(f"/proc/{children[0]}/status").read_text()
    assert "NoNewPrivs:\t1" in status and len(children) == 1
    if b"__asan_init" not in pathlib.Path(HONED).read_bytes() and os.uname().machine == "x86_64":  # sanitizers do what seccomp forbids
        assert "Seccomp:\t2" in status


def test_certificates_are_checked(start, certificate):
    """TLS as clients of strangers do it: one that nobody vouches for is not told anything."""
    cert, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    r = Receiver()
    r.server.socket = context.wrap_socket(r.server.socket, server_side=True)
    d = begin(start, r.host)
    job = d.job({"steps": 1}, notify_url=r.url.replace("http:", "https:"))
    d.wait(job)
    told = until(lambda: (n := d.look(job)["notice"])["attempts"] and n)
    r.stop()
    assert told["state"] == "waiting" and told["status"] is None and "certificate" in told["message"] and not r.got
