#!/usr/bin/env python3
"""Two slots on two processors: tokens a second of two LoRA jobs side by side, one thread each, beside one job with two threads; and whether
two jobs on one base share its pages.

  bench/slots.py MODEL.gguf GSM8K_TRAIN.jsonl [--steps 12] [--rounds 2] [--honed PATH]

Rates are the median of a job's steps without the first two and those after its neighbour's end. Shared memory is read from
/proc/PID/smaps_rollup while both train: resident (Rss) counts shared pages in full, Pss by the number of processes that map them.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import time

import daemon as server

ROOT = pathlib.Path(__file__).resolve().parents[1]


def rows(path, n, first):
    read = [json.loads(line) for line in open(path, encoding="utf-8")][first:first + n]
    return "".join(json.dumps({"prompt": r["question"] + "\n", "completion": r["answer"]}) + "\n" for r in read).encode()


def memory(state, job):
    """Resident and proportional set size of a job's trainer, and of its map of the model, in MB."""
    pid = (pathlib.Path(state) / "runs" / job / "lock").read_text().split()[0]
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    total = [int(re.search(rf"^{name}:\s+(\d+)", rollup, re.M)[1]) / 1024 for name in ("Rss", "Pss")]
    base = [0, 0]
    for part in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", pathlib.Path(f"/proc/{pid}/smaps").read_text()):
        if ".gguf" in part.partition("\n")[0] or "/models/" in part.partition("\n")[0]:
            for i, name in enumerate(("Rss", "Pss")):
                base[i] += int(re.search(rf"^{name}:\s+(\d+)", part, re.M)[1]) / 1024
    return total, base


def trained(job):
    series = server.call("GET", f"/jobs/{job}/metrics?limit=10000")["data"]
    return [m for m in series if m["loss"] is not None]


def run(args, slots, threads):
    with tempfile.TemporaryDirectory(prefix="hone-slots-") as folder:
        args.state = os.path.join(folder, "state")
        daemon = server.start(args, "--slots", str(slots), "--threads", str(threads))
        try:
            server.call("POST", "/models", {"name": "base", "path": str(args.model.resolve())})
            jobs = []
            for i in range(slots):
                data = server.call("POST", "/datasets", rows(args.gsm8k, 8 * args.steps, 8 * args.steps * i))["id"]
                jobs.append(server.call("POST", "/jobs", {"model": "base", "dataset": data, "validation": "none", "exports": ["peft"], "samples":
                                                          {"rows": 0}, "hyperparameters": {"max_steps": args.steps, "epochs": 1, "batch_size": 8}})["id"])
            seen = None
            while any(server.call("GET", f"/jobs/{job}")["status"] in ("queued", "running") for job in jobs):
                try:
                    seen = [memory(args.state, job) for job in jobs]
                except (OSError, TypeError, ValueError, IndexError):
                    pass  # one of them has not begun, or has ended: what was seen of all together stands
                time.sleep(0.2)
            series = [trained(job) for job in jobs]
            end = min(s[-1]["time"] for s in series)
            return sum(statistics.median(m["tokens_per_second"] for m in s[2:] if m["time"] <= end) for s in series), seen
        finally:
            daemon.terminate()
            daemon.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("gsm8k")
    parser.add_argument("--steps", type=int, default=12, help="at least 5: some are dropped at both ends")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--honed", default=str(ROOT / "build" / "server" / "honed"))
    args = parser.parse_args()
    one = two = 0
    for _ in range(args.rounds):
        one = max(one, run(args, 1, 2)[0])
        rate, seen = run(args, 2, 1)
        two = max(two, rate)
    print(f"one job, two threads {one:.0f} tokens/s; two jobs, a thread each {two:.0f} together: {two / one:.2f}")
    for (rss, pss), base in seen:
        print(f"trainer: resident {rss:.0f} MB, proportional {pss:.0f} MB; of the base {base[0]:.0f} and {base[1]:.0f} MB")


if __name__ == "__main__":
    main()
