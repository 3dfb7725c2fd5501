#!/usr/bin/env python3
"""How fast long things are answered: ranges of a curve of --steps steps, pages of a list of --jobs jobs.

  bench/lists.py [--steps 1000000] [--jobs 10000] [--honed PATH]

The store is written by a script (tests/e2e/filled.py), then a daemon is started on it and each request is sent 20 times: median and
slowest, over HTTP, in milliseconds.
"""
import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))


def measure(daemon, path, times=20):
    spent = []
    for _ in range(times):
        at = time.perf_counter()
        reply = daemon.get(path)
        spent.append(1000 * (time.perf_counter() - at))
        assert reply.status_code == 200, reply.text
    print(f"{statistics.median(spent):8.1f} {max(spent):8.1f}  {len(reply.json()['data']):6d} rows {len(reply.content):9d} bytes  {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--honed", default=str(ROOT / "build-test/server/honed"))
    told = parser.parse_args()
    os.environ["HONED"] = told.honed
    from daemon import Daemon
    from filled import fill_jobs, fill_metrics
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(pathlib.Path(folder) / "state")
        daemon.model()
        job = daemon.job({"steps": 2, "step_seconds": 0})
        daemon.wait(job, "succeeded")
        daemon.stop()
        fill_jobs(daemon.state, job, told.jobs)
        fill_metrics(daemon.state, job, told.steps, evaluations=100)
        daemon.start()
        print("  median  slowest")
        n = told.steps
        for query in ("points=1500", f"points=1500&from={n // 3}&to={n // 2}", f"points=1500&from={n // 2}&to={n // 2 + 20000}", f"points=1500&from={n // 2 + 7}&to={n // 2 + 1800}",
                      "points=100000", "points=4", f"after={n // 2}&limit=1000"):
            measure(daemon, f"/jobs/{job}/metrics?{query}")
        middle = f"job_{told.jobs // 2:016}"
        for query in ("", *(f"&sort={sort}&order={order}" for sort in ("created", "finished", "metric", "duration") for order in ("desc", "asc")), f"&after={middle}",
                      f"&sort=metric&after={middle}", f"&sort=duration&order=asc&after={middle}", "&q=tickets", "&q=tickets+99&sort=metric", "&q=nowhere", "&q=nowhere&sort=duration",
                      "&status=failed&model=Qwen-tiny&task=generation&sort=finished", "&status=queued"):
            measure(daemon, f"/jobs?limit=50{query}")
        daemon.stop()


if __name__ == "__main__":
    main()
