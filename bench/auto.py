#!/usr/bin/env python3
"""The defaults beside a small grid: how much validation loss `auto` gives away.

  bench/auto.py MODEL.gguf --sst2 train.tsv --gsm8k train.jsonl [--rows 150] [--honed build/server/honed]

Each data set (SST-2: `text TAB label`; GSM8K: JSONL with question and answer) is cut to --rows training rows and 40 % as many
validation rows; one run with the defaults, then one for every point of the grid. A run's figure is the validation loss of the
checkpoint it would export. Prints one line a run and, last, the defaults' loss relative to the best of the grid.
"""
import argparse
import itertools
import json
import pathlib
import shutil
import socket
import subprocess
import tempfile

GRID = {"learning_rate": [2e-4, 5e-4, 1e-3], "batch_size": [4, 8], "epochs": [2, 4]}


def sst2(path):
    names = {"0": "negative", "1": "positive"}
    for line in open(path, encoding="utf-8"):
        text, label = line.rstrip("\n").split("\t")
        yield {"prompt": f"Review: {text}\nSentiment:", "completion": " " + names[label]}


def gsm8k(path):
    for line in open(path, encoding="utf-8"):
        row = json.loads(line)
        yield {"messages": [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}]}


def plan(honed, params, op="job.plan"):
    ours, theirs = socket.socketpair()
    with subprocess.Popen([honed, "helper", str(theirs.fileno())], pass_fds=[theirs.fileno()]):
        theirs.close()
        with ours.makefile("rwb") as stream:
            stream.write((json.dumps({"id": 1, "op": op, "params": params}) + "\n").encode())
            stream.flush()
            reply = json.loads(stream.readline())
        ours.close()
    if "error" in reply:
        raise SystemExit(reply["error"]["message"])
    return reply["result"]


def train(honed, model, rows, held, knobs):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hone-auto-"))
    try:
        (folder / "inputs").mkdir()
        (folder / "inputs" / "model.gguf").symlink_to(model)
        for name, part in (("train", rows), ("validation", held)):
            (folder / "inputs" / name).write_text("".join(json.dumps(r) + "\n" for r in part))
        data = {name: {"path": str(folder / "inputs" / name), "sha256": name, "format": "jsonl"} for name in ("train", "validation")}
        result = plan(honed, {"model": {"path": str(model), "sha256": "0", "name": "base"}, **data, "hyperparameters": knobs,
                              "samples": {"rows": 0, "max_tokens": 1}, "threads": 2, "memory_bytes": 8 << 30, "now": "2026-01-31"})
        (folder / "spec.json").write_text(json.dumps({"format": 1, "job": "job_auto", "run": result["run"], "host": result["host"]}))
        subprocess.run([honed, "train", str(folder)], check=True, stderr=subprocess.DEVNULL)
        events = [json.loads(line) for line in open(folder / "events.jsonl")]
        losses = [e["data"]["val_loss"] for e in events if e["type"] == "eval"]
        return min(losses), {k: result["hyperparameters"][k] for k in GRID}
    finally:
        shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=lambda p: pathlib.Path(p).resolve())
    parser.add_argument("--sst2")
    parser.add_argument("--gsm8k")
    parser.add_argument("--rows", type=int, default=150)
    parser.add_argument("--honed", default="build/server/honed")
    options = parser.parse_args()
    for name, read in (("sst2", sst2), ("gsm8k", gsm8k)):
        path = getattr(options, name)
        if not path:
            continue
        held = options.rows * 2 // 5
        rows = list(itertools.islice(read(path), options.rows + held))
        run = lambda knobs: train(options.honed, options.model, rows[held:], rows[:held], knobs)
        default, chosen = run({})
        print(f"{name}: {len(rows) - held} rows; auto {chosen}: {default:.5f}", flush=True)
        best = default
        for point in itertools.product(*GRID.values()):
            knobs = dict(zip(GRID, point))
            steps = -(-len(rows[held:]) // knobs["batch_size"]) * knobs["epochs"]
            loss, _ = run({**knobs, "eval_every": max(1, steps // 5)})
            best = min(best, loss)
            print(f"{name}: {knobs}: {loss:.5f}", flush=True)
        print(f"{name}: auto is {100 * (default / best - 1):.1f} % above the best of the grid", flush=True)


if __name__ == "__main__":
    main()
