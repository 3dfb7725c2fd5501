#!/usr/bin/env python3
"""What the daemon itself costs: idle memory and wake-ups, durable submissions beside the disk's own syncs, reads a second, a series of a
million steps thinned; then all of it again with 10,000 jobs waiting and 100,000 ended ones.

  bench/daemon.py MODEL.gguf [--honed PATH] [--state FOLDER_ON_THE_DISK_IN_QUESTION] [--sync_us N]

--sync_us makes each sync take N microseconds longer, of the daemon and of the disk beside it (strace), as an ordinary disk would.
Needs wrk. The client takes its share of the processors; the trainer of the one running job is stopped (SIGSTOP) meanwhile.
"""
import argparse
import http.client
import json
import math
import os
import pathlib
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
HOST, PORT = "127.0.0.1", 4797
CONNECTIONS = 64
QUEUED, ENDED, STEPS = 10_000, 100_000, 1_000_000


def call(method, path, body=None, connection=None):
    c = connection or http.client.HTTPConnection(HOST, PORT)
    c.request(method, path, body if body is None or isinstance(body, bytes) else json.dumps(body),
              {} if isinstance(body, bytes) else {"Content-Type": "application/json"})
    reply = c.getresponse()
    data = reply.read()
    assert reply.status < 300, data
    return json.loads(data)


def slowed(args, command):
    calls = "fsync,fdatasync"
    return command if not getattr(args, "sync_us", 0) else ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e",
                                             f"inject={calls}:delay_exit={args.sync_us}", *command]


def start(args, *options):
    command = [args.honed, "serve", "--state", args.state, "--listen", f"{HOST}:{PORT}", "--log_level", "warning", "--model_dirs",
               str(args.model.resolve().parent), *options]
    daemon = subprocess.Popen(slowed(args, command), stderr=subprocess.DEVNULL)
    for _ in range(200):
        try:
            call("GET", "/healthz")
            return daemon
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the daemon did not start")


def status(pid, name):
    return int(re.search(rf"^{name}:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1])


def idle(daemon, seconds=20):
    def switches():
        return sum(int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", (t / "status").read_text(), re.M)[1])
                   for t in pathlib.Path(f"/proc/{daemon.pid}/task").iterdir())
    time.sleep(3)
    before = switches()
    time.sleep(seconds)
    return status(daemon.pid, "VmRSS") / 1024, (switches() - before) / seconds


def syncs(folder, n=400):
    """Appends of a page, each synced, a second: what a commit costs at the least."""
    fd = os.open(os.path.join(folder, "sync-test"), os.O_CREAT | os.O_WRONLY)
    begin = time.perf_counter()
    for _ in range(n):
        os.write(fd, b"x" * 4096)
        os.fdatasync(fd)
    rate = n / (time.perf_counter() - begin)
    os.close(fd)
    os.unlink(os.path.join(folder, "sync-test"))
    return rate


def load(path, connections, script=None):
    out = subprocess.run(["wrk", "-t1", f"-c{connections}", "-d5", *(["-s", script] if script else []), f"http://{HOST}:{PORT}{path}"],
                         capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in out, out
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])


def submissions(body, folder):
    script = os.path.join(folder, "post.lua")
    pathlib.Path(script).write_text('wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
                                    f"wrk.body = [[{json.dumps(body)}]]\n")
    return load("/jobs", CONNECTIONS, script)


def best_of(fn, n=7):
    times = []
    for _ in range(n):
        begin = time.perf_counter()
        fn()
        times.append(time.perf_counter() - begin)
    return min(times) * 1000


def figures(title, daemon, job, body, args):
    print(f"\n{title}\n  resident at first             {status(daemon.pid, 'VmRSS') / 1024:8.1f} MB")
    disk = float(subprocess.run(slowed(args, [sys.executable, __file__, "--syncs", args.state]), capture_output=True, text=True, check=True).stdout)
    posts = submissions(body, args.state)
    print(f"  POST /jobs, {CONNECTIONS} connections   {posts:8.0f} /s    the disk's syncs {disk:8.0f} /s    ratio {posts / disk:.2f}", flush=True)
    print(f"  GET /jobs/ID                  {load('/jobs/' + job, 32):8.0f} /s")
    print(f"  GET /jobs (50 newest)         {best_of(lambda: call('GET', '/jobs?limit=50')):8.2f} ms")
    print(f"  1,000,000 steps as 1,000      {best_of(lambda: call('GET', f'/jobs/{job}/metrics?points=1000')):8.2f} ms")
    print(f"  resident after that           {status(daemon.pid, 'VmRSS') / 1024:8.1f} MB, at most {status(daemon.pid, 'VmHWM') / 1024:.1f} MB", flush=True)


def fill(path, job):
    """A million steps of one job, and copies of an ended one, straight into the store of a stopped daemon."""
    db = sqlite3.connect(path)
    n, = db.execute("SELECT n FROM jobs WHERE id=?", (job,)).fetchone()
    db.executemany("INSERT INTO metrics (job,seq,step,epoch,tokens,loss,learning_rate,grad_norm,tokens_per_second,time) VALUES "
                   "(?,?,?,?,?,?,?,?,?,'2026-01-31T00:00:00.000Z')",
                   ((n, i, i, i / 1e5, 500 * i, 2 + math.sin(i / 1e4) + i % 7 / 100, 1e-4, 1.0, 500.0) for i in range(1, STEPS + 1)))
    for level in range(1, 7):  # as the store keeps them beside every step
        db.execute("INSERT INTO metric_levels SELECT job, ?1, (seq-1)/?2, min(iif(loss=low,seq,NULL)), low, min(iif(loss=high,seq,NULL)), high FROM "
                   "(SELECT job, seq, loss, min(loss) OVER w AS low, max(loss) OVER w AS high FROM metrics WHERE job=?3 "
                   "WINDOW w AS (PARTITION BY (seq-1)/?2)) GROUP BY (seq-1)/?2", (level, 8 ** level, n))
    db.execute("UPDATE jobs SET next_metric=?, status='succeeded' WHERE n=?", (STEPS + 1, n))
    db.commit()
    db.close()


def crowd(path, job):
    db = sqlite3.connect(path)
    names = [row[1] for row in db.execute("PRAGMA table_info(jobs)") if row[1] != "n"]
    others = ",".join(name for name in names if name not in ("id", "status", "finished_at"))
    for status_, count in (("succeeded", ENDED), ("queued", QUEUED)):
        db.execute(f"WITH RECURSIVE i(k) AS (SELECT 1 UNION ALL SELECT k+1 FROM i WHERE k<{count}) INSERT INTO jobs (id,status,finished_at,{others}) "
                   f"SELECT 'job_' || substr('{status_}',1,2) || printf('%014d', k), '{status_}', "
                   f"iif('{status_}'='succeeded','2026-01-31T00:00:00.000Z',NULL),{others} FROM i, jobs WHERE jobs.id=?", (job,))
    db.commit()
    db.close()


def main():
    if sys.argv[1:2] == ["--syncs"]:
        return print(syncs(sys.argv[2]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--honed", default=str(ROOT / "build" / "server" / "honed"))
    parser.add_argument("--state")
    parser.add_argument("--sync_us", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hone-bench-") as folder:
        args.state = args.state or os.path.join(folder, "state")
        daemon = start(args)
        trainer = None
        try:
            rss, wakes = idle(daemon)
            print(f"idle: {rss:.1f} MB, {wakes:.2f} wake-ups a second", flush=True)
            call("POST", "/models", {"name": "base", "path": str(args.model.resolve())})
            rows = "".join(json.dumps({"prompt": f"{i} and {i}?", "completion": f" {2 * i}"}) + "\n" for i in range(40)).encode()
            data = call("POST", "/datasets", rows)["id"]
            body = {"model": "base", "dataset": data, "validation": "none", "hyperparameters": {"max_steps": 1000}}
            first, second = (call("POST", "/jobs", body)["id"] for _ in range(2))
            lock = pathlib.Path(args.state) / "runs" / first / "lock"
            while call("GET", f"/jobs/{first}")["progress"]["step"] < 1:
                time.sleep(0.1)
            trainer = int(lock.read_text().split()[0])
            os.kill(trainer, signal.SIGSTOP)
            daemon.kill(), daemon.wait()
            fill(os.path.join(args.state, "hone.db"), second)
            daemon = start(args)
            figures("a few jobs", daemon, second, body, args)
            daemon.kill(), daemon.wait()
            crowd(os.path.join(args.state, "hone.db"), second)
            daemon = start(args)
            figures(f"{QUEUED:,} waiting, {ENDED:,} ended", daemon, second, body, args)
        finally:
            if trainer:
                os.kill(trainer, signal.SIGKILL)
            daemon.terminate()
            daemon.wait()


if __name__ == "__main__":
    main()
