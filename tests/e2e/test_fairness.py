"""One client cannot hold the others: turns by client, room for short requests, clients that hang up, helpers that hang."""
import json
import os
import pathlib
import signal
import socket
import threading
import time

import pytest
import requests
import tiny
from daemon import PATIENCE

LONG = {"max_tokens": 4096}  # what makes a request one that is not known to be short


def client(address):
    """A session from an address of its own: another client, where no keys are used."""
    class Adapter(requests.adapters.HTTPAdapter):
        def init_poolmanager(self, *args, **options):
            super().init_poolmanager(*args, source_address=(address, 0), **options)
    session = requests.Session()
    session.mount("http://", Adapter(pool_maxsize=64))
    return session


def wait_until(found, seconds=10):
    end = time.monotonic() + seconds * PATIENCE
    while not found():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


class Asking(threading.Thread):
    """A request in a thread of its own: what came of it, and when."""

    def __init__(self, daemon, session, body, path="/models/base/predict"):
        super().__init__(daemon=True)
        self.ask = lambda: session.post(daemon.url + path, json=body, timeout=100)
        self.begun, self.reply = time.monotonic(), None
        self.start()

    def run(self):
        self.reply = self.ask()
        self.ended = time.monotonic()

    def end(self):
        self.join(60)
        assert self.reply is not None
        return self.reply


def send_raw(daemon, body, path="/models/base/predict", address="127.0.0.1"):
    """A request whose connection can be closed at any time."""
    host, port = daemon.url.removeprefix("http://").split(":")
    sock = socket.create_connection((host, int(port)), source_address=(address, 0))
    data = json.dumps(body).encode()
    sock.sendall(f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
    return sock


def parent(stat):
    try:
        return int(stat.read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return None  # it has just ended


def children(daemon):
    """Its helpers: whoever's parent it is, of whatever thread."""
    return [int(stat.parent.name) for stat in pathlib.Path("/proc").glob("[0-9]*/stat") if parent(stat) == daemon.process.pid]


def ask(daemon, session, body, path="/models/base/predict"):
    begun = time.monotonic()
    reply = session.post(daemon.url + path, json=body, timeout=60)
    return reply, time.monotonic() - begun


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """A tiny llama that may write 8192 tokens and never ends before it has."""
    folder = tiny.llama(tmp_path_factory.mktemp("models") / "base")
    config = json.loads((folder / "config.json").read_text()) | {"max_position_embeddings": 8192}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def real(start, tiny_model):
    daemon = start("--helper_seconds", "2", "--model_dirs", str(tiny_model.parent), fake=False)
    assert daemon.post("/models", json={"name": "base", "path": str(tiny_model)}).status_code == 201
    return daemon


def test_a_token_within_a_second_beside_long_lists(real):
    """Several lists of 1,024 x 4,096 from one client hold up neither another client's token nor its own, nor a GET."""
    long = [send_raw(real, {"inputs": [f"story {i}" for i in range(1024)], "max_tokens": 4096}) for _ in range(4)]
    time.sleep(0.5)
    for address in ("127.0.0.2", "127.0.0.1", "127.0.0.2"):
        reply, seconds = ask(real, client(address), {"inputs": ["hello"], "max_tokens": 1})
        assert reply.status_code == 200 and reply.json()["data"][0]["usage"]["completion_tokens"] == 1
        assert seconds < 1 * PATIENCE
    assert real.get("/jobs").elapsed.total_seconds() < 0.3 * PATIENCE
    time.sleep(2.5)  # longer than helper_seconds: what works is not taken for hung
    assert real.figures()["hone_helper_restarts_total"][(("helper", "predict"),)] == 0
    for sock in long:
        sock.close()
    reply, seconds = ask(real, client("127.0.0.1"), {"inputs": ["hello"] * 3, "max_tokens": 100})
    assert reply.status_code == 200 and seconds < 5 * PATIENCE, "what was hung up on has left the queue and the helper"
    assert real.figures()["hone_helper_restarts_total"][(("helper", "predict"),)] == 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_paused_list_is_answered_as_an_undisturbed_one(real, stream):
    """Another client's turn comes amid a long list, whose answers are the same for it."""
    body = {"inputs": [f"story {i}" for i in range(400)], "max_tokens": 160, "temperature": 1, "seed": 7}
    alone = real.post("/models/base/predict", json=body).json()
    list_ = Asking(real, client("127.0.0.1"), body | {"stream": stream})
    time.sleep(0.15)
    reply, _ = ask(real, client("127.0.0.2"), {"inputs": ["hello"] * 40, "max_tokens": 8})
    assert reply.status_code == 200 and len(reply.json()["data"]) == 40
    assert list_.reply is None, "the other client's turn came before the list's end"
    answer = list_.end()
    answer.encoding = "utf-8"
    assert "helper asked to pause" in real.log.read_text()
    if not stream:
        assert answer.json() == alone
        return
    events = [block.split("\ndata: ") for block in answer.text.strip().split("\n\n")]
    texts = [""] * len(body["inputs"])
    for kind, data in events:
        if kind == "event: chunk":
            texts[json.loads(data)["index"]] += json.loads(data)["text"]
    assert events[-1][0] == "event: result" and json.loads(events[-1][1]) == alone
    assert texts == [row["text"] for row in alone["data"]]


def test_a_stopped_helper_is_replaced(real):
    assert real.post("/models/base/predict", json={"inputs": ["a"], "max_tokens": 1}).status_code == 200
    asking = Asking(real, client("127.0.0.1"), {"inputs": ["story"] * 1024, "max_tokens": 4096})
    beside = Asking(real, client("127.0.0.2"), {"inputs": ["story"] * 40, "max_tokens": 8})
    time.sleep(0.3)
    for pid in children(real):
        os.kill(pid, signal.SIGSTOP)
    reply = asking.end()
    assert reply.status_code == 503 and "no sign of life for 2 seconds" in reply.json()["error"]["message"]
    assert "helper_seconds" in reply.json()["error"]["hint"] and "Retry-After" in reply.headers
    assert 1.5 < asking.ended - asking.begun < 5 * PATIENCE
    assert beside.end().status_code == 200, "whoever waited is served by the one that took its place"
    assert real.figures()["hone_helper_restarts_total"][(("helper", "predict"),)] >= 1
    reply, _ = ask(real, client("127.0.0.1"), {"inputs": ["a"], "max_tokens": 1})
    assert reply.status_code == 503, "the child for short requests was stopped, too"
    assert real.post("/models/base/predict", json={"inputs": ["a"], "max_tokens": 1}).status_code == 200


def test_a_helper_that_never_answers_is_replaced(start):
    daemon = start("--helper_seconds", "1")
    daemon.model()
    reply, seconds = ask(daemon, client("127.0.0.1"), {"inputs": ["wait:60"]} | LONG)
    assert reply.status_code == 503 and "no sign of life for 1 second" in reply.json()["error"]["message"]
    assert 1 <= seconds < 4 * PATIENCE
    assert daemon.figures()["hone_helper_restarts_total"][(("helper", "predict"),)] == 1
    assert daemon.post("/models/base/predict", json={"inputs": ["a"]} | LONG).status_code == 200


def test_clients_take_turns(daemon):
    """A client with one request comes after one of another's, however many that one has sent before."""
    many = [Asking(daemon, client("127.0.0.1"), {"inputs": ["wait:0.4"]} | LONG) for _ in range(6)]
    time.sleep(0.2)
    single = Asking(daemon, client("127.0.0.2"), {"inputs": ["wait:0.1"]} | LONG)
    assert single.end().status_code == 200
    assert sum(a.reply is not None for a in many) <= 2
    assert [a.end().status_code for a in many] == [200] * 6


def test_the_queue_is_bounded_for_a_client_and_for_all(daemon):
    """Whoever sends too many is told what is full; others still find room, until nobody does."""
    greedy = [Asking(daemon, client("127.0.0.1"), {"inputs": ["wait:0.1" if i else "wait:1.5"]} | LONG) for i in range(24)]
    wait_until(lambda: sum(a.reply is not None for a in greedy) == 24 - 17)
    refused = [a.reply for a in greedy if a.reply is not None]
    assert {r.status_code for r in refused} == {503} and all(r.headers["Retry-After"] == "5" for r in refused)
    assert "this client has 16 requests waiting for the helper process \"predict\"" in refused[0].json()["error"]["message"]
    other = Asking(daemon, client("127.0.0.2"), {"inputs": ["a"]} | LONG)
    assert other.end().status_code == 200
    assert sorted(a.end().status_code for a in greedy) == [200] * 17 + [503] * 7


def test_whoever_hangs_up_frees_its_place(daemon):
    """Queued and running requests, streams, too; other requests do not notice."""
    running = send_raw(daemon, {"inputs": ["wait:60"]} | LONG)
    time.sleep(0.3)
    queued = [send_raw(daemon, {"inputs": ["wait:60"]} | LONG) for _ in range(16)]
    time.sleep(0.3)
    waiting = Asking(daemon, client("127.0.0.2"), {"inputs": ["a"]} | LONG)
    for sock in [*queued, running]:
        sock.close()
    assert waiting.end().status_code == 200 and waiting.ended - waiting.begun < 2 * PATIENCE
    stream = send_raw(daemon, {"inputs": ["a", "wait:60"], "stream": True} | LONG)
    assert b"200 OK" in stream.recv(1000)
    stream.close()
    reply, seconds = ask(daemon, client("127.0.0.1"), {"inputs": ["a"]} | LONG)
    assert reply.status_code == 200 and seconds < 2 * PATIENCE
    assert daemon.figures()["hone_helper_restarts_total"][(("helper", "predict"),)] == 0, "these were ended on purpose"


def plan_body(daemon, dataset, steps):
    return {"model": "base", "dataset": dataset, "hyperparameters": {"max_steps": steps}}


def test_reads_do_not_wait_for_plans(daemon):
    """Forty plans of a second each, from three clients; GETs, a preview and a small upload come through at once meanwhile."""
    slow = daemon.dataset({"plan_seconds": 1})
    plans = [Asking(daemon, client(f"127.0.0.{2 + i % 3}"), plan_body(daemon, slow, i + 1), "/jobs?dry_run=true") for i in range(40)]
    time.sleep(0.5)
    for path in ("/jobs", "/datasets", f"/datasets/{slow}", "/models", "/metrics", f"/datasets/{slow}/preview?model=base") * 3:
        reply = daemon.get(path)
        assert reply.status_code == 200 and reply.elapsed.total_seconds() < 0.5 * PATIENCE, path
    begun = time.monotonic()
    daemon.dataset({}, "another")
    assert time.monotonic() - begun < 0.7 * PATIENCE
    assert sum(p.reply is None for p in plans) > 30, "they were being made all the while"


def test_a_plan_goes_on_for_those_who_still_want_it(daemon):
    """Two ask for the same plan; the first hangs up, and the second gets the plan that was begun for the first."""
    slow = daemon.dataset({"plan_seconds": 1.5})
    first = send_raw(daemon, plan_body(daemon, slow, 3), "/jobs?dry_run=true")
    time.sleep(0.4)
    second = Asking(daemon, client("127.0.0.2"), plan_body(daemon, slow, 3), "/jobs?dry_run=true")
    time.sleep(0.4)
    first.close()
    assert second.end().status_code == 200
    log = daemon.log.read_text()
    assert "client hung up" in log and "helper ended" not in log
    alone = send_raw(daemon, plan_body(daemon, slow, 4), "/jobs?dry_run=true")
    time.sleep(0.4)
    alone.close()
    wait_until(lambda: "helper ended" in daemon.log.read_text())
