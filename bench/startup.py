#!/usr/bin/env python3
"""What a LoRA job spends besides training: between its claim and its first forward pass, in validation, and in the rest.

  bench/startup.py MODEL.gguf GSM8K_TRAIN.jsonl [--rows 64] [--honed PATH]

First a job over all rows of the file, with two threads: the time from its claim to the beginning of its first step. Then --rows of them are
both the training and the validation set, so that a pass of either reads the same tokens: seconds of a validation beside those of training, and
the share that arithmetic gives, in the terms of share.py and without attention: 2·(P_layers + P_head·targets/tokens) + 2·P_lora of a step's.
"""
import argparse
import datetime
import os
import pathlib
import tempfile
import time

import daemon as server
from share import ROOT, sizes
from slots import rows

BATCH = 8


def events(job):
    """What an ended job told, in order; `time` in seconds."""
    told = server.call("GET", f"/jobs/{job}/events?limit=1000")["data"]
    for event in told:
        event["time"] = datetime.datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp()
    return told


def run(dataset, validation, **hyperparameters):
    body = {"model": "base", "dataset": dataset, "validation": validation, "exports": ["peft"], "samples": {"rows": 0},
            "hyperparameters": {"batch_size": BATCH, "log_every": 1, **hyperparameters}}
    job = server.call("POST", "/jobs", body)["id"]
    while server.call("GET", f"/jobs/{job}")["status"] in ("queued", "running"):
        time.sleep(0.1)
    told = events(job)
    if told[-1]["type"] != "succeeded":
        raise SystemExit(told[-1])
    return told


def of(told, kind):
    return [event for event in told if event["type"] == kind]


def forward_share(model, step):
    """The arithmetic's share of a forward pass in a LoRA step; attention, a few parts in a hundred, is left out."""
    layers, head, lora, _, _ = sizes(model)
    per_target = head * step["target_tokens"] / step["tokens"]
    return (2 * (layers + per_target) + 2 * lora) / (4 * (layers + per_target) + 6 * lora)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("gsm8k")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--honed", default=str(ROOT / "build" / "server" / "honed"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hone-startup-") as folder:
        args.state = os.path.join(folder, "state")
        daemon = server.start(args, "--slots", "1", "--threads", "2")
        try:
            server.call("POST", "/models", {"name": "base", "path": str(args.model.resolve())})
            every, few = (server.call("POST", "/datasets", rows(args.gsm8k, n, 0))["id"] for n in (10**6, args.rows))
            told = run(every, "none", max_steps=1)
            first = of(told, "step")[0]
            print(f"claim to first forward pass, all rows: {first['time'] - first['data']['seconds'] - of(told, 'claimed')[0]['time']:.2f} s", flush=True)
            told = run(few, few, epochs=2, eval_every=args.rows // BATCH)
        finally:
            daemon.terminate()
            daemon.wait()
    steps, passes = [e["data"] for e in of(told, "step")], [e["data"] for e in of(told, "eval")]
    training, validation = sum(s["seconds"] for s in steps) / 2, min(p["seconds"] for p in passes)
    print(f"{args.rows} rows: a pass of training {training:.2f} s, a validation {validation:.2f} s: {validation / training:.2f} of it, by arithmetic "
          f"{forward_share(args.model, steps[-1]):.2f}")
    whole = told[-1]["time"] - of(told, "claimed")[0]["time"]
    spent = sum(s["seconds"] for s in steps) + sum(p["seconds"] for p in passes)
    print(f"the whole job {whole:.2f} s, of which neither a step nor a validation {whole - spent:.2f} s (start, checkpoints, the adapter written and read back)")


if __name__ == "__main__":
    main()
