"""Starting and asking a daemon in tests. One class; every test has a state folder of its own."""
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import requests

HERE = pathlib.Path(__file__).resolve().parent
HONED = os.environ.get("HONED", str(HERE.parents[1] / "build/server/honed"))
PATIENCE = float(os.environ.get("HONE_PATIENCE", 1))  # how much longer than usual an answer may take: sanitizers are slow
ENDED = ("succeeded", "failed", "cancelled")


class Daemon:
    def __init__(self, state, *options, fake=True, prefix=(), env=None):
        self.state = pathlib.Path(state)
        self.options = options
        self.prefix = prefix  # a command that runs the daemon, such as prlimit
        self.env = dict(os.environ) | (env or {})
        self.env.pop("HONED_TEST_EXE", None)
        if fake:
            self.env["HONED_TEST_EXE"] = str(HERE / "fake_engine.py")
        self.log = self.state.parent / "daemon.log"
        self.process = None
        self.start()

    def start(self, expect=True):
        self.state.parent.mkdir(parents=True, exist_ok=True)
        at = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*self.prefix, HONED, "serve", "--state", self.state, "--listen", "127.0.0.1:0", "--log_level", "debug",
                                             *self.options], stderr=log, env=self.env)
        deadline = time.time() + 30
        while time.time() < deadline:
            found = re.search(r'"?address"?[=:]"?([\w.:\[\]]+)"?[ ,]"?tls"?[=:]"?(\w+)', self.log.read_text()[at:])
            if found:
                self.url = ("https://" if found[2] == "yes" else "http://") + found[1]
                return self
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        if expect:
            raise AssertionError("the daemon did not start:\n" + self.log.read_text()[at:])
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, timeout=60):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        finally:
            if self.process.poll() is None:
                self.kill()

    def restart(self):
        self.kill()
        return self.start()

    def get(self, path, **options):
        return requests.get(self.url + path, timeout=60, **options)

    def post(self, path, **options):
        return requests.post(self.url + path, timeout=120, **options)

    def delete(self, path, **options):
        return requests.delete(self.url + path, timeout=60, **options)

    def patch(self, path, **options):
        return requests.patch(self.url + path, timeout=60, **options)

    def figures(self):
        """/metrics as {name: {labels: value}}; each family must have its type and help."""
        from prometheus_client.parser import text_string_to_metric_families
        reply = self.get("/metrics")
        assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        found = {}
        for family in text_string_to_metric_families(reply.text):
            assert family.type in ("gauge", "counter", "histogram") and family.documentation and family.samples is not None
            for sample in family.samples:
                labels = tuple(sorted(sample.labels.items()))
                assert labels not in found.setdefault(sample.name, {}), sample
                found[sample.name][labels] = sample.value
        return found

    def model(self, name="base", data=b"fake model"):
        reply = self.post(f"/models?name={name}", data=data, headers={"Content-Type": "application/octet-stream"})
        assert reply.status_code == 201, reply.text
        return reply.json()

    def dataset(self, fake=None, extra=""):
        reply = self.post("/datasets?name=d", data=rows(fake, extra))
        assert reply.status_code in (200, 201), reply.text
        return reply.json()["id"]

    def job(self, fake=None, extra="", **fields):
        body = {"model": "base", "dataset": self.dataset(fake, extra)} | fields
        reply = self.post("/jobs", json=body)
        assert reply.status_code == 201, reply.text
        return reply.json()["id"]

    def look(self, job):
        return self.get(f"/jobs/{job}").json()

    def events(self, job):
        return self.get(f"/jobs/{job}/events?limit=10000").json()["data"]

    def wait(self, job, wanted=ENDED, timeout=60):
        wanted = (wanted,) if isinstance(wanted, str) else wanted
        deadline = time.time() + timeout
        while time.time() < deadline:
            found = self.look(job)
            if found["status"] in wanted:
                return found
            assert found["status"] not in ENDED, json.dumps(found)
            time.sleep(0.05)
        raise AssertionError(f"{job} did not become {wanted}: {json.dumps(found)}\n{self.log.read_text()[-3000:]}")

    def wait_step(self, job, step, timeout=60):
        deadline = time.time() + timeout
        while self.look(job)["progress"]["step"] < step:
            assert time.time() < deadline, self.look(job)
            time.sleep(0.02)

    def trainer(self, job):
        pid, _ = (self.state / "runs" / job / "lock").read_text().split()
        return int(pid)


def rows(fake=None, extra=""):
    return json.dumps({"text": "hello" + extra, "fake": fake or {}}).encode() + b"\n"


def sse(reply):
    """Events of a text/event-stream reply, as dicts of id, event, data."""
    block = {}
    for line in reply.iter_lines(decode_unicode=True):
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            block[name] = value
        elif block:
            if "data" in block:
                block["data"] = json.loads(block["data"])
                yield block
            block = {}
