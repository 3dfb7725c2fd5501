"""Clients that are slow, idle or too many: they are cut or told so, and cost the others nothing."""
import resource
import socket
import time

import requests

from daemon import PATIENCE


def connect(daemon, text=b""):
    host, port = daemon.url.split("//")[1].split(":")
    s = socket.create_connection((host, int(port)), timeout=20)
    s.sendall(text)
    return s


def drip(s, text, every):
    """Sends a byte at a time until the other side hangs up; how long that took."""
    began = time.time()
    try:
        for i in range(len(text)):
            s.sendall(text[i:i + 1])
            s.settimeout(every)
            try:
                if s.recv(4096) == b"":
                    return time.time() - began
            except TimeoutError:
                pass
    except OSError:
        return time.time() - began
    return None


def test_slow_headers_and_bodies_are_cut(start):
    d = start("--idle_seconds", "2")
    d.model()
    head = b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"x" * 1000
    assert 1.5 < drip(connect(d), head, 0.1) < 5
    body = connect(d, b"POST /datasets HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n")
    assert 1.5 < drip(body, b"x" * 5000, 0.1) < 6
    idle = connect(d)
    began = time.time()
    assert idle.recv(1) == b"" and 1.5 < time.time() - began < 5
    deadline = time.time() + 10
    while list((d.state / "tmp").iterdir()):
        assert time.time() < deadline
        time.sleep(0.05)
    # Who keeps a pace is not cut, nor who waits for us.
    reply = d.post("/datasets?name=d", data=(time.sleep(0.2) or b'{"text":"' + b"y" * 400 + b'"}\n' for _ in range(20)))
    assert reply.status_code == 201, reply.text
    job = d.job({"steps": 4, "step_seconds": 1.5})
    with d.get(f"/jobs/{job}/events", headers={"Accept": "text/event-stream"}, stream=True) as stream:
        assert b"event: succeeded" in stream.content
    keep = requests.Session()
    for _ in range(3):
        assert keep.get(d.url + "/healthz").status_code == 200
        time.sleep(1)


def test_too_many_connections(start):
    d = start("--max_per_client", "12")
    held = [connect(d) for _ in range(12)]
    deadline = time.time() + 10
    while (reply := d.get("/healthz")).status_code != 429:
        assert time.time() < deadline
    assert reply.json()["error"]["code"] == "rate_limited" and int(reply.headers["Retry-After"]) > 0
    assert reply.headers["Connection"].lower() == "close" and "max_per_client" in reply.json()["error"]["hint"]
    for s in held:
        s.close()
    while (reply := d.get("/healthz")).status_code != 200:
        assert time.time() < deadline
    assert d.figures()["hone_http_connections"][()] < 12


def test_no_room_among_requests_that_are_answered(start):
    """Event streams are not cut for others, who are told to come later."""
    d = start("--max_connections", "20")
    d.model()
    job = d.job({"steps": 1000, "step_seconds": 0.2})
    ask = f"GET /jobs/{job}/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode()
    held = [connect(d, ask) for _ in range(20)]
    assert all(s.recv(12) == b"HTTP/1.1 200" for s in held)
    for _ in range(100):
        reply = d.get("/healthz")
        assert reply.status_code == 503 and reply.json()["error"]["code"] == "busy" and int(reply.headers["Retry-After"]) > 0
    for s in held:
        s.close()
    deadline = time.time() + 10
    while (reply := d.get("/healthz")).status_code != 200:
        assert time.time() < deadline


def test_a_thousand_streams(start):
    """All of them get the end of the job, and others are served meanwhile."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    d = start("--max_connections", "1100")
    d.model()
    job = d.job({"steps": 30, "step_seconds": 0.2})
    ask = f"GET /jobs/{job}/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n".encode()
    streams = [connect(d, ask) for _ in range(1000)]
    began = time.time()
    assert d.get("/healthz").status_code == 200 and time.time() - began < 2 * PATIENCE
    for s in streams:
        text = b""
        while chunk := s.recv(65536):
            text += chunk
        assert b"event: succeeded" in text
        s.close()
    assert d.figures()["hone_event_streams"][()] == 0
