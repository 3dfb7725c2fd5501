#!/usr/bin/env python3
"""How soon a sweep finds good hyperparameters, how well it forecasts what more rows would give, and what sweeps cost.

  bench/tuning.py --replay                                   # 100 searches by each method on the kept table of jobs; needs optuna==5.0.0
  bench/tuning.py --forecast                                 # forecasts from the kept learning curves against what came out
  bench/tuning.py --overhead                                 # a sweep's trials against the same trainers run by hand
  bench/tuning.py --replay --forecast --measure MODEL_FOLDER train.tsv dev.tsv   # trains the table and the curves anew (an hour)
"""
import argparse
import itertools
import json
import math
import os
import pathlib
import random
import re
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import daemon
from auto import sst2
from searches import EVALUATIONS, GRID, replay

ROOT = pathlib.Path(__file__).resolve().parents[1]
KEPT = ROOT / "bench" / "tuning.json"
ROWS, HELD = 2000, 436


def shallow(model, folder, layers):
    """A copy of the encoder with its first layers alone, so that a job takes seconds."""
    shutil.copytree(model, folder)
    raw = (model / "model.safetensors").read_bytes()
    begin = 8 + struct.unpack("<Q", raw[:8])[0]
    header, data = {}, b""
    for name, entry in json.loads(raw[8:begin]).items():
        layer = re.search(r"layer\.(\d+)\.", name)
        if name != "__metadata__" and not (layer and int(layer[1]) >= layers):
            a, b = entry["data_offsets"]
            header[name] = {**entry, "data_offsets": [len(data), len(data) + b - a]}
            data += raw[begin + a:begin + b]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    config = json.loads((model / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": layers}))


class Server:
    """A daemon in a folder of its own."""

    def __init__(self, honed, folder, model, slots=2):
        self.state = folder / "state"
        with socket.create_server((daemon.HOST, 0)) as free:
            daemon.PORT = free.getsockname()[1]
        self.process = daemon.start(argparse.Namespace(honed=honed, state=str(self.state), model=model), "--slots", str(slots))
        daemon.call("POST", "/models", {"name": "base", "path": str(model)})

    def close(self):
        self.process.terminate()
        self.process.wait()

    def upload(self, rows):
        return daemon.call("POST", "/datasets", "".join(json.dumps(r) + "\n" for r in rows).encode())["id"]

    def events(self, job):
        found = {"step": [], "eval": []}
        for line in (self.state / "runs" / job / "events.jsonl").read_text().splitlines():
            event = json.loads(line)
            found.setdefault(event["type"], []).append(event["data"])
        return found

    def run(self, bodies):
        """Submits jobs and yields (index, its events) as they end."""
        waiting = {daemon.call("POST", "/jobs", body)["id"]: i for i, body in enumerate(bodies)}
        while waiting:
            time.sleep(0.5)
            for job in list(waiting):
                told = daemon.call("GET", f"/jobs/{job}")
                if told["status"] in ("failed", "cancelled"):
                    raise SystemExit(f"{job} of {bodies[waiting[job]]}: {told['status_reason']}")
                if told["status"] == "succeeded":
                    yield waiting.pop(job), self.events(job)


def measure_grid(server, train, held, kept, args):
    """Each point of the grid once, with nine evaluations. A step's seconds are the least of the jobs with the same batches."""
    points = [dict(zip(GRID, point)) for point in itertools.product(*GRID.values())]
    bodies = [{"model": "base", "dataset": train, "validation": held, "method": "lora", "samples": {"rows": 0}, "hyperparameters": {
        **p, "epochs": args.epochs, "threads": 1, "seed": 1, "eval_at_start": False,
        "eval_every": math.ceil(math.ceil(ROWS * args.epochs / p["batch_size"]) / EVALUATIONS)}} for p in points]
    auto = daemon.call("POST", "/jobs?dry_run=1", {**bodies[0], "hyperparameters": {"epochs": args.epochs, "threads": 1}})["hyperparameters"]
    rows, seconds = {}, {}
    for i, events in server.run(bodies):
        p, evals = points[i], events["eval"]
        assert len(evals) == EVALUATIONS, evals
        cell = p["batch_size"], p["lora_rank"]
        mine = [step["seconds"] for step in events["step"]]
        seconds[cell] = list(map(min, mine, seconds.get(cell, mine)))
        rows[i] = {**p, "steps": len(mine), "evaluated": [e["step"] for e in evals],
                   "accuracy": [round(e["val_accuracy"], 6) for e in evals], "loss": [round(e["val_loss"], 5) for e in evals]}
        for row in rows.values():
            cell = seconds[row["batch_size"], row["lora_rank"]]
            row["step_seconds"] = round(sum(cell) / len(cell), 4)
        kept["grid"] = {"model": f"all-MiniLM-L6-v2, first {args.layers} layers", "rows": ROWS, "epochs": args.epochs, "validation_rows": HELD,
                        "auto": {name: auto[name] for name in GRID}, "jobs": [rows[k] for k in sorted(rows)]}
        write(kept)
        print(f"{len(rows)}/{len(points)} {p}: {max(rows[i]['accuracy']):.4f}, {row['step_seconds']} s a step", flush=True)


def write(kept):
    KEPT.write_text(json.dumps(kept).replace('{"learning_rate": ', '\n{"learning_rate": ').replace('{"seed": ', '\n{"seed": ')
                    .replace(" \n", "\n") + "\n")


# ---- forecasts ----

CURVE = {"learning_rate": 1e-3, "batch_size": 8, "lora_rank": 16}
SIZES = [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1]


def sweep(body, every=0.2):
    """Submits a sweep, waits for its end and returns its seconds and trials."""
    begin = time.perf_counter()
    path = "/sweeps/" + daemon.call("POST", "/sweeps", body)["id"]
    while (told := daemon.call("GET", path))["status"] not in ("succeeded", "failed", "cancelled"):
        time.sleep(every)
    seconds, found = time.perf_counter() - begin, daemon.call("GET", path + "/trials")["data"]
    if told["status"] != "succeeded" or any(t["status"] != "succeeded" for t in found):
        raise SystemExit(f"{path} ended as {told['status']}: {[t['why'] or t['status_reason'] for t in found]}")
    return seconds, found


def measure_curves(train, held, kept, args):
    """Nested subsets of one seed a sweep: accuracy after one epoch (of the smaller ones: after 100 steps, as the server has it).
    Goes on where the kept curves end."""
    end, jobs = time.time() + 60 * args.minutes, kept.get("curves", {}).get("jobs", [])
    for seed in range(len(jobs), 20):
        if time.time() > end:
            break
        found = sweep({"kind": "data_size", "sizes": SIZES, "seed": seed, "job": {
            "model": "base", "dataset": train, "validation": held, "method": "lora",
            "hyperparameters": {**CURVE, "epochs": 1, "eval_every": math.ceil(ROWS / CURVE["batch_size"]), "eval_at_start": False, "threads": 1}}})[1]
        jobs.append({"seed": seed, "rows": [t["rows"] for t in found], "accuracy": [round(t["value"], 6) for t in found]})
        kept["curves"] = {"model": f"all-MiniLM-L6-v2, first {args.layers} layers", **CURVE, "validation_rows": HELD, "jobs": jobs}
        write(kept)
        print(jobs[-1], flush=True)


def forecast(kept, ask):
    """Each curve without its last point, as the server makes it (server/sweeps/report.c): half a point of error between seeds."""
    errors, plain, inside, refused = [], [], 0, []
    for job in kept["jobs"]:
        points = [[n, 1 - a, max(a * (1 - a) / kept["validation_rows"], 1e-8)] for n, a in zip(job["rows"], job["accuracy"])]
        told = ask(op="forecast", points=points[:-1], floor=0, seed_sd=0.005, at=[points[-1][0]])
        if told["refusal"]:
            refused.append(told["reason"])
            continue
        value, low, high = told["values"][0]
        truth = points[-1][1]
        errors.append(value - truth)
        plain.append(points[-2][1] - truth)
        inside += low <= truth <= high

    def rms(values):
        return 100 * math.sqrt(statistics.mean(x * x for x in values)) if values else math.nan

    print(f"{len(kept['jobs'])} subsets of {ROWS} rows: from 1/32 to 1/4 of them, the error at 1/1.\n"
          f"forecasts {len(errors)}, refused {len(refused)} {sorted(set(refused))}\n"
          f"RMSE {rms(errors):.2f} points of accuracy (no more than at 1/4: {rms(plain):.2f}); mean {100 * statistics.mean(errors):+.2f}; "
          f"inside the 90 % band {inside} of {len(errors)}", flush=True)


# ---- overhead ----

def spent(pid):
    """Processor seconds of a process and of its children that have ended."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def overhead(honed, trials=8, rounds=3):
    """A random sweep in one slot, then its run directories once more by `honed train`; in turn, the least of the rounds. Processor
    seconds are told beside those of the clock: on a shared machine they say more."""
    sys.path.append(str(ROOT / "tests" / "e2e"))
    import tiny
    swept, alone = [], []
    with tempfile.TemporaryDirectory(prefix="hone-bench-") as folder:
        folder = pathlib.Path(folder)
        tiny.bert(folder / "models" / "base")
        server = Server(honed, folder, folder / "models" / "base", slots=1)
        try:
            data = server.upload([json.loads(line) for line in tiny.labelled(random.Random(1), 400).splitlines()])
            for seed in range(rounds):
                before = spent(server.process.pid)
                seconds, found = sweep({"kind": "random", "seed": seed, "budget": {"jobs": trials}, "job": {
                    "model": "base", "dataset": data, "validation": 0.2, "hyperparameters": {"epochs": 60, "batch_size": 8, "eval_every": 1000, "threads": 1}},
                    "space": {"learning_rate": {"min": 1e-4, "max": 1e-2, "log": True}}}, every=0.1)
                swept.append((seconds, spent(server.process.pid) - before))
                copies = []
                for t in found:
                    copies.append(shutil.copytree(server.state / "runs" / t["job"], folder / f"copy-{t['job']}", ignore=shutil.ignore_patterns(
                        "events.jsonl", "checkpoints", "artifacts", "lock", "trainer.log", "scores")))
                begin, before = time.perf_counter(), spent(os.getpid())
                for copy in copies:
                    subprocess.run([honed, "train", str(copy)], check=True, stderr=subprocess.DEVNULL)
                alone.append((time.perf_counter() - begin, spent(os.getpid()) - before))
                print("sweep {:.2f} s, processor {:.2f} s;".format(*swept[-1]), "by hand {:.2f} s, {:.2f} s".format(*alone[-1]), flush=True)
        finally:
            server.close()
    for name, which in (("clock", 0), ("processor", 1)):
        a, b = min(x[which] for x in swept), min(x[which] for x in alone)
        print(f"{name}: least of {rounds} rounds {a:.2f} s and {b:.2f} s, {100 * (a / b - 1):+.1f} %, {1000 * (a - b) / trials:.0f} ms a trial")


class Tool:
    """tests/tools/tunetool.c: engine/tune's functions, a request and an answer a line."""

    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        told = json.loads(self.process.stdout.readline())
        if "error" in told:
            raise SystemExit(f"{request['op']}: {told['error']}")
        return told


def measure(args, kept):
    model, train, dev = (path.resolve() for path in args.measure)
    with tempfile.TemporaryDirectory(prefix="hone-bench-") as folder:
        base = pathlib.Path(folder) / "models" / "base"
        shallow(model, base, args.layers)
        server = Server(args.honed, pathlib.Path(folder), base)
        try:
            train, held = (server.upload(list(sst2(path, model))[:n]) for path, n in ((train, ROWS), (dev, HELD)))
            if args.replay:
                measure_grid(server, train, held, kept, args)
            if args.forecast:
                measure_curves(train, held, kept, args)
        finally:
            server.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replay", action="store_true",
                        help="searches on the kept grid of jobs: seconds of training until a job near the grid's best has ended")
    parser.add_argument("--within", type=float, default=0.3, help="--replay: how near, in points of accuracy (0.3)")
    parser.add_argument("--replays", type=int, default=100, help="--replay: searches by each method, with seeds 0, 1 and so on (100)")
    parser.add_argument("--forecast", action="store_true", help="hn_forecast on the kept learning curves")
    parser.add_argument("--overhead", action="store_true", help="eight trials by POST /sweeps and by hand, three rounds (two minutes)")
    parser.add_argument("--measure", nargs=3, type=pathlib.Path, metavar=("MODEL", "TRAIN", "DEV"),
                        help="first train what --replay and --forecast read: MODEL all-MiniLM-L6-v2, files `text TAB label` (SST-2)")
    parser.add_argument("--layers", type=int, default=3, help="--measure: the encoder's first layers alone, so that a job is short (3)")
    parser.add_argument("--epochs", type=float, default=1, help="--measure --replay: passes of a job (1)")
    parser.add_argument("--minutes", type=float, default=10,
                        help="--measure --forecast: add curves to those kept, and begin none after so many minutes (10); 20 at most")
    parser.add_argument("--honed", default=str(ROOT / "build" / "server" / "honed"), help="its build folder has tests/tunetool, too")
    args = parser.parse_args()
    if not (args.replay or args.forecast or args.overhead):
        parser.error("say what: --replay, --forecast or --overhead")
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    if args.measure:
        measure(args, kept)
    ask = Tool(pathlib.Path(args.honed).resolve().parents[1] / "tests" / "tunetool")
    if args.replay:
        replay(kept["grid"], ask, args.replays, args.within / 100)
    if args.forecast:
        forecast(kept["curves"], ask)
    if args.overhead:
        overhead(args.honed)


if __name__ == "__main__":
    main()
