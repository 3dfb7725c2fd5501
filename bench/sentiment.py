#!/usr/bin/env python3
"""Sentiment on an encoder: accuracy on held-out rows over several seeds, for full training, LoRA and the server's defaults.

  bench/sentiment.py MODEL_FOLDER train.tsv dev.tsv [--seeds 3] [--epochs 3] [--honed build/server/honed] [--only NAME]

Files are `text TAB label` (SST-2: 6,920 training rows, 872 dev rows; MODEL_FOLDER: all-MiniLM-L6-v2). The figure is the accuracy
at the last step, as the reference runs have it: full AdamW at 1e-4 with decay 0.01, constant rate and dropout 0.1; LoRA rank 16 at
5e-4. The defaults choose their rate, batch and epochs themselves and export the best evaluation, so theirs is shown as well.
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import tempfile
import time

from auto import plan

SETTINGS = {
    "full": ("full", {"learning_rate": 1e-4, "weight_decay": 0.01, "schedule": "constant", "warmup_ratio": 0, "batch_size": 32}),
    "lora": ("lora", {"learning_rate": 5e-4, "schedule": "constant", "warmup_ratio": 0, "batch_size": 32, "lora_rank": 16}),
    "full, defaults": ("full", {}),
    "lora, defaults": ("lora", {}),
}


def run(honed, model, train, dev, method, knobs):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hone-sentiment-"))
    try:
        (folder / "inputs").mkdir()
        (folder / "inputs" / "model").symlink_to(model)
        for name, path in (("train", train), ("validation", dev)):
            shutil.copy(path, folder / "inputs" / name)
        data = {name: {"path": str(folder / "inputs" / name), "sha256": name, "format": "tsv"} for name in ("train", "validation")}
        result = plan(honed, {"model": {"path": str(model), "sha256": "0", "name": "base"}, **data, "method": method,
                              "hyperparameters": knobs, "threads": 2, "memory_bytes": 8 << 30, "now": "2026-01-31"})
        (folder / "spec.json").write_text(json.dumps({"format": 1, "job": "job_bench", "run": result["run"], "host": result["host"]}))
        start = time.time()
        subprocess.run([honed, "train", str(folder)], check=True, stderr=subprocess.DEVNULL)
        lines = [json.loads(x) for x in (folder / "events.jsonl").read_text().splitlines()]
        evals = [x["data"] for x in lines if x["type"] == "eval"]
        hp = result["hyperparameters"]
        return evals[-1]["val_accuracy"], max(e["val_accuracy"] for e in evals), time.time() - start, hp
    finally:
        shutil.rmtree(folder)


def main():
    root = pathlib.Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("train", type=pathlib.Path)
    parser.add_argument("dev", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--only", choices=sorted(SETTINGS))
    parser.add_argument("--honed", default=str(root / "build" / "server" / "honed"))
    args = parser.parse_args()
    for name, (method, knobs) in SETTINGS.items():
        if args.only and name != args.only:
            continue
        last, best = [], []
        for seed in range(args.seeds):
            more = {} if "defaults" in name else {"epochs": args.epochs, "eval_every": 1000}
            a, b, seconds, hp = run(args.honed, args.model.resolve(), args.train, args.dev, method, {**knobs, **more, "seed": seed})
            last.append(a)
            best.append(b)
            print(f"{name:16} seed {seed}  last {100 * a:.2f}  best {100 * b:.2f}  {seconds:.0f} s  lr {hp['learning_rate']:g} "
                  f"batch {hp['batch_size']} epochs {hp['epochs']:g}", flush=True)
        print(f"{name:16} mean    last {100 * sum(last) / len(last):.2f}  best {100 * sum(best) / len(best):.2f}", flush=True)


main()
