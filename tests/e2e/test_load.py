"""Many requests and many jobs: when all has been seen once, the daemon's memory and descriptors stay as they are, and nothing temporary
is left on the disk.

HONE_REQUESTS (20,000) and HONE_JOBS (30) are how many; HONE_SEED chooses the requests (told at each run)."""
import json
import os
import pathlib
import random
import resource
import socket
import threading
import time

import tiny

REQUESTS = int(os.environ.get("HONE_REQUESTS", 20_000))
JOBS = int(os.environ.get("HONE_JOBS", 30))
SEED = int(os.environ.get("HONE_SEED", time.time()))
GROWTH = 8 << 20  # bytes that a daemon may gain after the warm-up: page cache of the store and the allocator's own unrest
OPENED = 6        # two more readers of the store, three files each
CLIENTS, BATCH = 4, 16
KNOBS = {"epochs": 2, "max_steps": 4, "batch_size": 2, "learning_rate": 1e-3, "max_length": 96}


def begin(start, folder):
    tiny.llama(folder / "models/llama")
    daemon = start("--model_dirs", str(folder / "models"), "--slots", "2", "--log_level", "info", fake=False)
    assert daemon.post("/models", json={"name": "llama", "path": str(folder / "models/llama")}).status_code == 201
    return daemon


def submit(daemon, data, seed=0):
    reply = daemon.post("/jobs", json={"model": "llama", "dataset": data, "validation": "none", "exports": ["peft"],
                                       "hyperparameters": KNOBS | {"seed": seed}})
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]


def upload(daemon, rows=6):
    return daemon.post("/datasets?name=t", data=tiny.chats(random.Random(1), rows).encode()).json()["id"]


def weigh(daemon):
    """Resident bytes and open descriptors, when nobody is connected."""
    assert tiny.wait_until(lambda: daemon.figures()["hone_http_connections"][()] <= 1)
    process = pathlib.Path(f"/proc/{daemon.process.pid}")
    pages = int((process / "statm").read_text().split()[1])
    return pages * resource.getpagesize(), len(list((process / "fd").iterdir()))


def check_flat(daemon, what, number, seconds, before, after):
    (bytes_before, files_before), (bytes_after, files_after) = before, after
    print(f"{number} {what} in {seconds:.1f} s ({number / seconds:.0f} a second): {bytes_before / 2**20:.1f} MB and {files_before} "
          f"descriptors after the warm-up, {bytes_after / 2**20:.1f} MB and {files_after} at the end")
    assert bytes_after - bytes_before <= GROWTH and files_after - files_before <= OPENED
    assert daemon.stop() == 0
    left = [str(p) for p in daemon.state.rglob("*") if p.name.startswith(".tmp") or p.parent == daemon.state / "tmp"]
    assert not left, left


class Client:
    """One connection; requests go out in batches, their answers come in order."""

    def __init__(self, daemon):
        host, port = daemon.url.split("//")[1].split(":")
        self.address, self.socket = (host, int(port)), None

    def connect(self):
        self.socket = socket.create_connection(self.address, timeout=60)
        self.file = self.socket.makefile("rb")

    def close(self):
        if self.socket:
            self.file.close()
            self.socket.close()
        self.socket = None

    def answer(self):
        status, length, closes = int(self.file.readline().split()[1]), 0, False
        while (line := self.file.readline().lower()) not in (b"\r\n", b""):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
            closes |= line.startswith(b"connection: close")
        self.file.read(length)
        return status, closes

    def ask(self, batch):
        """[(bytes, status)]: sent at once; after an answer that closes the connection the rest is sent again."""
        while batch:
            if not self.socket:
                self.connect()
            self.socket.sendall(b"".join(text for text, _ in batch))
            for done, (text, wanted) in enumerate(batch, 1):
                status, closes = self.answer()
                assert status == wanted, (status, wanted, text)
                if closes:
                    self.close()
                    break
            batch = batch[done:]


def request(wanted, method, path, body=None, **headers):
    text = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    head = [f"{method} {path} HTTP/1.1", "Host: localhost", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    if body is not None:
        head.append(f"Content-Length: {len(text)}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + text, wanted


def mixture(job, data):
    """(how often, request): reads, writes and what is refused."""
    at, kind = f"/jobs/{job}", {"Content_Type": "application/json"}
    plan = {"model": "llama", "dataset": data, "validation": "none", "hyperparameters": KNOBS}
    reads = [(20, request(200, "GET", "/healthz")), (10, request(200, "GET", "/jobs?limit=20")), (20, request(200, "GET", at)),
             (10, request(200, "GET", at + "/metrics?limit=50")), (10, request(200, "GET", at + "/events?limit=50")),
             (5, request(200, "GET", at + "/artifacts")), (5, request(206, "GET", at + "/artifacts/manifest.json", Range="bytes=1-9")),
             (5, request(200, "GET", "/datasets?limit=5")), (5, request(200, "GET", f"/datasets/{data}/preview?model=llama&row=2")),
             (2, request(200, "GET", "/metrics")), (1, request(200, "GET", "/openapi.json")), (1, request(200, "GET", "/"))]
    writes = [(4, request(200, "PATCH", at, {"name": f"n{i}", "metadata": {"k": str(i)}}, **kind)) for i in range(3)]
    writes += [(4, request(200, "POST", "/datasets?name=t", tiny.chats(random.Random(1), 6).encode())),
               (2, request(200, "POST", "/jobs?dry_run=1", plan, **kind)),
               (1, request(200, "POST", at + "/predict", {"inputs": ["good"], "max_tokens": 1}, **kind))]
    refused = [(3, request(404, "GET", "/nowhere")), (3, request(404, "GET", "/jobs/job_none")), (3, request(405, "PUT", "/jobs")),
               (3, request(400, "GET", "/jobs?limit=x")), (3, request(400, "POST", "/jobs", b'{"model":', **kind)),
               (3, request(400, "POST", "/jobs", {"modle": "llama"}, **kind)), (3, request(409, "POST", at + "/cancel")),
               (3, request(416, "GET", at + "/artifacts/manifest.json", Range="bytes=9999999-")),
               (2, request(422, "POST", "/datasets?name=bad", b'{"text":\n')), (2, request(403, "GET", "/jobs", Origin="http://a.example"))]
    return list(zip(*reads, *writes, *refused))


def hammer(daemon, chance, weights, requests, number):
    """`number` requests over all clients; the first thing that goes wrong in any of them is raised here."""
    wrong = []

    def work(count, seed):
        client, own = Client(daemon), random.Random(seed)
        try:
            while count > 0 and not wrong:
                client.ask(own.choices(requests, weights, k=min(BATCH, count)))
                count -= BATCH
        except BaseException as e:
            wrong.append(e)
        finally:
            client.close()

    threads = [threading.Thread(target=work, args=(number // CLIENTS, chance.random())) for _ in range(CLIENTS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if wrong:
        raise wrong[0]


def test_many_requests(start, tmp_path):
    print(f"HONE_SEED={SEED} HONE_REQUESTS={REQUESTS}")
    daemon = begin(start, tmp_path)
    data = upload(daemon)
    job = submit(daemon, data)
    daemon.wait(job, "succeeded")
    chance, (weights, requests) = random.Random(SEED), mixture(job, data)
    hammer(daemon, chance, weights, requests, max(REQUESTS // 10, 2000))
    before, began = weigh(daemon), time.time()
    hammer(daemon, chance, weights, requests, REQUESTS)
    seconds = time.time() - began
    check_flat(daemon, "requests", REQUESTS, seconds, before, weigh(daemon))


def test_many_jobs(start, tmp_path):
    daemon = begin(start, tmp_path)
    data, waiting = upload(daemon), []

    def run(first, last):
        for seed in range(first, last):
            waiting.append(submit(daemon, data, seed))
            while len(waiting) > 8 or (seed == last - 1 and waiting):
                daemon.wait(waiting.pop(0), "succeeded")

    warm = max(JOBS // 10, 5)
    run(0, warm)
    before, began = weigh(daemon), time.time()
    run(warm, warm + JOBS)
    seconds = time.time() - began
    check_flat(daemon, "jobs", JOBS, seconds, before, weigh(daemon))
