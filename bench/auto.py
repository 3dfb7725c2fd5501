#!/usr/bin/env python3
"""The defaults beside a small grid around them: how much validation loss `auto` gives away.

  bench/auto.py --sst2 MODEL train.tsv --gsm8k MODEL train.jsonl [--rows 150] [--seeds 1] [--honed build/server/honed]

Each data set (SST-2: `text TAB label`, GSM8K: JSONL with question and answer) is cut to --rows training rows and 40 % as many
validation rows. SST-2 is classified where the model is a folder (an encoder), and written as prompt and completion where it is a GGUF
file. One run a seed with the defaults, then for every point of the grid: half, once and twice the default learning rate, half and once
the batch, two and four epochs. A run's figure is the lowest validation loss of its evaluations, a point's the mean over its seeds.
Prints one line a point and, last, the defaults' loss relative to the best of the grid.
"""
import argparse
import itertools
import json
import pathlib
import shutil
import socket
import statistics
import subprocess
import tempfile

GRID = {"learning_rate": [0.5, 1, 2], "batch_size": [0.5, 1], "epochs": [2, 4]}  # epochs as they are, the others times the default


def sst2(path, model):
    names = {"0": "negative", "1": "positive"}
    for line in open(path, encoding="utf-8"):
        text, label = line.rstrip("\n").split("\t")
        if model.is_dir():
            yield {"text": text, "label": names[label]}
        else:
            yield {"prompt": f"Review: {text}\nSentiment:", "completion": " " + names[label]}


def gsm8k(path, model):
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
        (folder / "inputs" / ("model" if model.is_dir() else "model.gguf")).symlink_to(model)
        for name, part in (("train", rows), ("validation", held)):
            (folder / "inputs" / name).write_text("".join(json.dumps(r) + "\n" for r in part))
        data = {name: {"path": str(folder / "inputs" / name), "sha256": name, "format": "jsonl"} for name in ("train", "validation")}
        result = plan(honed, {"model": {"path": str(model), "sha256": "0", "name": "base"}, **data, "hyperparameters": knobs,
                              "task": "classification" if "label" in rows[0] else "generation",
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
    parser.add_argument("--sst2", nargs=2, type=lambda p: pathlib.Path(p).resolve(), metavar=("MODEL", "FILE"))
    parser.add_argument("--gsm8k", nargs=2, type=lambda p: pathlib.Path(p).resolve(), metavar=("MODEL", "FILE"))
    parser.add_argument("--rows", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--honed", default="build/server/honed")
    options = parser.parse_args()
    for name, read in (("sst2", sst2), ("gsm8k", gsm8k)):
        if not getattr(options, name):
            continue
        model, path = getattr(options, name)
        held = options.rows * 2 // 5
        rows = list(itertools.islice(read(path, model), options.rows + held))

        def run(knobs):
            """The mean loss over the seeds, each loss, and what was chosen."""
            found = [train(options.honed, model, rows[held:], rows[:held], {**knobs, "seed": s + 1}) for s in range(options.seeds)]
            losses = [loss for loss, _ in found]
            return statistics.mean(losses), " ".join(f"{x:.4f}" for x in losses), found[0][1]

        default, each, chosen = run({})
        print(f"{name}: {len(rows) - held} rows; auto {chosen}: {default:.5f} ({each})", flush=True)
        best = default
        for rate, batch, epochs in itertools.product(*GRID.values()):
            knobs = {"learning_rate": rate * chosen["learning_rate"], "batch_size": max(1, int(batch * chosen["batch_size"])), "epochs": epochs}
            steps = -(-(len(rows) - held) // knobs["batch_size"]) * epochs
            loss, each, _ = run({**knobs, "eval_every": max(1, steps // 5)})
            best = min(best, loss)
            print(f"{name}: {knobs}: {loss:.5f} ({each})", flush=True)
        print(f"{name}: auto is {100 * (default / best - 1):.1f} % above the best of the grid", flush=True)


if __name__ == "__main__":
    main()
