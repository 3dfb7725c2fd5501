#!/usr/bin/env python3
"""Instructions that the daemon spends on a request, of one build or of several: a figure that other load on the machine does not change.

  bench/instructions.py [HONED[:FAKE_ENGINE]] …

Fifty jobs of the tests' fake engine (of that build, where its protocol was another) have ended. Needs valgrind and requests.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import requests

ROOT = pathlib.Path(__file__).resolve().parents[1]
PORT, JOBS, TIMES = 4796, 50, 300
URL = f"http://127.0.0.1:{PORT}"


def start(honed, engine, state, *wrapper):
    daemon = subprocess.Popen([*wrapper, honed, "serve", "--state", state / "state", "--listen", f"127.0.0.1:{PORT}", "--log_level", "error",
                               "--model_dirs", state], env=dict(os.environ, HONED_TEST_EXE=str(engine)), stderr=subprocess.DEVNULL)
    for _ in range(200):
        try:
            requests.get(URL + "/healthz")
            return daemon
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the daemon did not start")


def fill(state):
    (state / "m.gguf").write_bytes(b"GOOD")
    requests.post(URL + "/models", json={"name": "base", "path": str(state / "m.gguf")}).raise_for_status()
    data = requests.post(URL + "/datasets", data=b'{"text":"a"}\n').json()["id"]
    for _ in range(JOBS):
        requests.post(URL + "/jobs", json={"model": "base", "dataset": data}).raise_for_status()
    while True:
        jobs = requests.get(URL + f"/jobs?limit={JOBS}").json()["data"]
        if all(job["status"] == "succeeded" for job in jobs):
            return jobs[0]["id"]
        time.sleep(0.2)


def instructions(daemon, out, session, path):
    def control(*options):
        subprocess.run(["callgrind_control", *options, str(daemon.pid)], check=True, capture_output=True)
    control("-i", "on")
    size = len(session.get(URL + path).content)
    control("-z")
    for _ in range(TIMES):
        session.get(URL + path)
    control("-d", "end")
    control("-i", "off")
    newest = max(out.parent.glob(out.name + ".*"), key=lambda p: p.stat().st_mtime)
    return int(re.search(r"^(?:totals|summary): (\d+)", newest.read_text(), re.M)[1]) / TIMES, size


def measure(honed, engine):
    with tempfile.TemporaryDirectory() as folder:
        state = pathlib.Path(folder)
        daemon = start(honed, engine, state)
        job = fill(state)
        daemon.terminate()
        daemon.wait()
        out = state / "callgrind"
        daemon = start(honed, engine, state, "valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--instr-atstart=no")
        time.sleep(3)
        session = requests.Session()
        for path in ("/healthz", f"/jobs/{job}", f"/jobs?limit={JOBS}"):
            count, size = instructions(daemon, out, session, path)
            print(f"{honed}  GET {path.replace(job, 'ID'):16} {count:12,.0f} instructions, {size:,} bytes", flush=True)
        daemon.kill()
        daemon.wait()


def main():
    for build in sys.argv[1:] or [str(ROOT / "build/server/honed")]:
        honed, _, engine = build.partition(":")
        measure(honed, engine or ROOT / "tests/e2e/fake_engine.py")


if __name__ == "__main__":
    main()
