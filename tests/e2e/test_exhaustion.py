"""Connections, descriptors and memory run out: the daemon goes on, tells those that it cannot serve, and comes back by itself."""
import json
import multiprocessing
import os
import random
import resource
import selectors
import socket
import threading
import time

import pytest

from daemon import PATIENCE

# What stands beside the clients of test_a_crowd: idle, dripping, event streams, clients, seconds. The figures of the claim are
# 3000,200,1000,64,20.
CROWD = [int(n) for n in os.environ.get("HONE_CROWD", "600,40,200,16,3").split(",")]


@pytest.fixture(autouse=True)
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def address(daemon):
    host, port = daemon.url.split("//")[1].split(":")
    return host, int(port)


def connect(daemon, text=b"", timeout=20):
    s = socket.create_connection(address(daemon), timeout=timeout)
    s.sendall(text)
    return s


def request(path, method="GET", body=b"", **headers):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answer(s):
    """Status, headers and body of one answer."""
    file = s.makefile("rb")
    status, headers = file.readline(), {}
    while (line := file.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    if not status:
        return 0, {}, b""
    return int(status.split()[1]), headers, file.read(int(headers.get("content-length", 0)))


def files(daemon):
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


def wait_until(true, seconds=10):
    deadline = time.time() + seconds
    while not true():
        assert time.time() < deadline
        time.sleep(0.05)


def form(parts, size, filename=True):
    out = b""
    for i in range(parts):
        name = f'; filename="f{i}"' if filename else ""
        out += f'--BB\r\nContent-Disposition: form-data; name="p{i}"{name}\r\n\r\n'.encode() + b"x" * size + b"\r\n"
    return out + b"--BB--\r\n"


def test_more_idle_connections_than_descriptors(start):
    d = start(prefix=("prlimit", "--nofile=128:128"))
    assert "fewer connections" in d.log.read_text()
    held = [connect(d) for _ in range(256)]
    for _ in range(20):
        began = time.time()
        assert d.get("/healthz").status_code == 200 and time.time() - began < PATIENCE
    # A form takes one descriptor for all its files, and the daemon has enough for several.
    body = form(60, 3000)
    ask = request("/datasets", "POST", Content_Type="multipart/form-data; boundary=BB", Content_Length=len(body))
    posts = [connect(d, ask + body[:-1000]) for _ in range(20)]
    time.sleep(0.3)
    assert files(d) < 128 and d.get("/healthz").status_code == 200
    for s in posts:
        s.sendall(body[-1000:])
    assert {answer(s)[0] for s in posts} <= {201, 400, 503}
    for s in held + posts:
        s.close()
    wait_until(lambda: files(d) < 60)


def test_no_descriptor_is_left(start):
    """The limit falls below what is open: clients are told, with descriptors kept for that, and served when it is over."""
    d = start()
    d.model()
    job = d.job({"steps": 1000, "step_seconds": 0.1})
    ask = request(f"/jobs/{job}/events", Accept="text/event-stream")
    held = [connect(d, ask) for _ in range(30)]
    assert all(s.recv(12) == b"HTTP/1.1 200" for s in held)
    pid = d.process.pid
    used = max(int(n) for n in os.listdir(f"/proc/{pid}/fd")) + 1
    holes = used - files(d)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, used))
    more = [connect(d, ask) for _ in range(holes + 20)]
    statuses = [answer(s)[0] if i >= holes else 0 for i, s in enumerate(more)]
    assert 503 in statuses and set(statuses) <= {0, 200, 503}, statuses  # the daemon gives back some of its own meanwhile
    told = [answer(connect(d, request("/healthz"))) for _ in range(20)]
    assert {t[0] for t in told} <= {200, 503}
    for _, headers, body in (t for t in told if t[0] == 503):
        assert headers["retry-after"] == "5" and json.loads(body)["error"]["code"] == "busy"
    for s in held + more:
        s.close()
    wait_until(lambda: d.get("/healthz").status_code == 200)


def test_idle_connections_make_room(start):
    d = start("--max_connections", "100")
    busy, held = connect(d), []
    for _ in range(60):
        held += [connect(d, b"GET /x HTTP/1.1\r\nHost: loc" if i % 2 else b"") for i in range(25)]
        began = time.time()
        busy.sendall(request("/healthz"))  # it has asked later than most of the others
        assert answer(busy)[0] == 200 and d.get("/healthz").status_code == 200
        assert time.time() - began < PATIENCE
    # The first ones are gone, and those that had begun to ask know why.
    assert held[0].recv(100) == b"" and answer(held[1])[0] == 503
    held[-2].sendall(b"alhost\r\n\r\n")
    assert answer(held[-2])[0] == 404


def test_slow_bodies_make_room(start):
    d = start("--max_connections", "16")
    ask = request("/datasets", "POST", b"x", Content_Length=100000)
    held = [connect(d, ask) for _ in range(16)]
    time.sleep(2.5)
    assert d.get("/healthz").status_code == 200
    for s in held:
        s.close()


class Watchdog:
    def __init__(self, folder):
        self.path = str(folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.env = {"NOTIFY_SOCKET": self.path, "WATCHDOG_USEC": "600000"}

    def fed(self, seconds):
        """How often within that time."""
        n, until = 0, time.time() + seconds
        while (left := until - time.time()) > 0:
            self.socket.settimeout(left)
            try:
                n += self.socket.recv(100) == b"WATCHDOG=1"
            except TimeoutError:
                break
        return n


def test_watchdog_is_fed_by_answers(start, tmp_path):
    dog = Watchdog(tmp_path)
    d = start("--require_keys", "yes", "--log_level", "info", env=dog.env)
    assert dog.fed(2) >= 3
    assert "/healthz" not in d.log.read_text()
    pid = d.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, before[1]))  # nothing can be accepted any more
    time.sleep(0.5)
    dog.fed(0.2)
    assert dog.fed(1.5) == 0 and "does not answer itself" in d.log.read_text()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    assert dog.fed(3) >= 3
    began = time.time()
    assert d.stop() == 0 and time.time() - began < 5 * PATIENCE


def test_watchdog_through_tls(start, tmp_path, certificate):
    dog = Watchdog(tmp_path)
    start("--tls_cert", certificate[0], "--tls_key", certificate[1], "--max_connections", "16", env=dog.env)
    assert dog.fed(2) >= 3


def test_body_that_is_too_large_is_told(start, certificate):
    """Clients that read nothing before they have sent all."""
    d = start("--max_upload", "1M", "--max_body", "1M")
    big = b"x" * (24 << 20)
    chunked = b"".join(b"%x\r\n%s\r\n" % (1 << 20, big[:1 << 20]) for _ in range(24)) + b"0\r\n\r\n"
    kinds = [("/datasets", "application/octet-stream"), ("/jobs", "application/json"), ("/datasets", "multipart/form-data; boundary=BB")]
    for path, kind in kinds:
        body = form(3, 8 << 20) if "form" in kind else big
        for head, text in ((dict(Content_Length=len(body)), body), (dict(Transfer_Encoding="chunked"), chunked),
                           (dict(Content_Length=len(body), Expect="100-continue"), body),
                           (dict(Content_Length=len(body), Expect="100-continue"), b"")):
            s = connect(d, request(path, "POST", Content_Type=kind, **head))
            s.sendall(text)
            status, headers, reply = answer(s)
            wanted = {413} if "form" not in kind or "Content_Length" in head else {400, 413}
            assert status in wanted and json.loads(reply)["error"]["hint"], (path, head, status)
            assert status == 400 or "1048576" in json.loads(reply)["error"]["message"]
            assert s.recv(1) == b""
            s.close()
    t = start("--max_upload", "1M", "--tls_cert", certificate[0], "--tls_key", certificate[1])
    assert t.post("/datasets", data=big, verify=certificate[0]).status_code == 413
    wait_until(lambda: not [f for f in os.listdir(f"/proc/{d.process.pid}/fd") if "socket" in os.readlink(f"/proc/{d.process.pid}/fd/{f}")][20:])


def test_fields_of_a_form_share_one_limit(start):
    d = start()
    body = form(63, 1 << 20, filename=False)
    reply = d.post("/jobs", data=body, headers={"Content-Type": "multipart/form-data; boundary=BB"})
    assert reply.status_code == 413 and "max_body" in reply.json()["error"]["hint"], reply.text


def test_requests_share_a_budget(start):
    d = start("--request_memory", "16M", "--log_level", "info")
    body = form(3, 1 << 20, filename=False)
    ask = request("/jobs", "POST", Content_Type="multipart/form-data; boundary=BB", Content_Length=len(body))
    held = [connect(d, ask + body[:-10]) for _ in range(12)]
    refused = []
    wait_until(lambda: d.figures()["hone_http_request_bytes"][()] > 8 << 20)
    time.sleep(0.3)
    assert d.figures()["hone_http_request_bytes"][()] <= 16 << 20
    for s in held:
        s.sendall(body[-10:])
        refused.append(answer(s))
    assert {r[0] for r in refused} == {400, 503}, [r[0] for r in refused]
    told = next(r for r in refused if r[0] == 503)
    assert told[1]["retry-after"] == "5" and "request_memory" in json.loads(told[2])["error"]["hint"]
    # JSON that is small as text and large as values.
    reply = d.post("/jobs?dry_run=1", data=b'{"a":[' + b"[]," * 500_000 + b"1]}", headers={"Content-Type": "application/json"})
    assert reply.status_code == 503, reply.text
    for s in held:
        s.close()
    wait_until(lambda: d.figures()["hone_http_request_bytes"][()] < 1 << 20)
    assert d.post("/jobs", json={"model": "x", "dataset": "y"}).status_code == 404


def crowd(address, ask, idle, dripping, streams, ready, stop):
    """Connections that send nothing, or a byte a second, or take events; all in one process beside the clients."""
    def connect(text):
        s = socket.create_connection(address, timeout=20)
        s.sendall(text)
        return s

    drips, poll = [connect(b"GET /jobs HTTP/1.1\r\nX: ") for _ in range(dripping)], selectors.DefaultSelector()
    listening = [connect(ask) for _ in range(streams)]
    for s in listening:
        assert s.recv(12) == b"HTTP/1.1 200"
        poll.register(s, selectors.EVENT_READ)
    held = [connect(b"") for _ in range(idle)]
    ready.set()
    while not stop.is_set():
        for s in drips:
            try:
                s.send(b"x")
            except OSError:
                pass
        until = time.time() + 0.5
        while time.time() < until:
            for key, _ in poll.select(0.1):
                assert key.fileobj.recv(65536)
    assert held


def ask_often(address, until, times, wrong):
    s = None
    while time.time() < until:
        began = time.time()
        try:
            s = s or socket.create_connection(address, timeout=20)
            s.sendall(request("/jobs?limit=5") if random.random() < 0.5 else request("/healthz"))
            status, headers, _ = answer(s)
        except OSError as e:
            wrong.append(repr(e))
            status, headers = 0, {}
        times.append(time.time() - began)
        if status != 200:
            wrong.append(status)
        if status != 200 or random.random() < 0.05:
            s.close()
            s = None
        time.sleep(random.random() * 0.02)


def test_a_crowd(start):
    """Idle, dripping and listening connections beside clients: none waits long, and none is left without an answer."""
    idle, dripping, streams, clients, seconds = CROWD
    d = start("--log_level", "info")
    d.model()
    job = d.job({"steps": 10000, "step_seconds": 0.25})
    ready, stop = multiprocessing.Event(), multiprocessing.Event()
    ask = request(f"/jobs/{job}/events", Accept="text/event-stream")
    other = multiprocessing.Process(target=crowd, args=(address(d), ask, idle, dripping, streams, ready, stop))
    other.start()
    assert ready.wait(60)
    times, wrong, until = [], [], time.time() + seconds
    threads = [threading.Thread(target=ask_often, args=(address(d), until, times, wrong)) for _ in range(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    stop.set()
    other.join(30)
    assert other.exitcode == 0 and not wrong, wrong[:10]
    times.sort()
    p99 = times[len(times) * 99 // 100]
    print(f"{idle} idle, {dripping} dripping, {streams} streams: {len(times)} requests of {clients} clients in {seconds} s, "
          f"median {times[len(times) // 2] * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms, most {times[-1] * 1000:.1f} ms")
    assert p99 < 0.5 * PATIENCE
