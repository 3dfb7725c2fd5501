#!/usr/bin/env python3
"""How well turned labels are found again: SST-2's rows with some labels turned, five folds by POST /sweeps, and what the ranking finds of them.

  bench/wrong_labels.py all-MiniLM-L6-v2 train.tsv [--rates 0.05 0.1 0.2] [--seeds 1] [--one_sided]

Prints for each: average precision of the ranking by self-confidence, precision of its first rows (half as many as were turned, and 50, 100), the share of
wrong labels that is told against the true one, and beside it cleanlab's find_label_issues on the same probabilities. Needs cleanlab==2.9.0.
Rows whose labels were wrong before anything was turned count as found wrongly, so that what is printed is a lower bound.
"""
import argparse
import json
import pathlib
import random
import tempfile
import urllib.request

import numpy as np
from cleanlab.filter import find_label_issues

import daemon
from auto import sst2
from tuning import ROOT, Server, sweep

OTHER = {"negative": "positive", "positive": "negative"}


def turn(rows, rate, seed, one_sided):
    """Which rows, from 1, have the other label now; of one side only the positive ones."""
    chosen = [i for i, row in enumerate(rows) if not one_sided or row["label"] == "positive"]
    lines = set(random.Random(seed).sample(chosen, round(rate * len(rows))))
    return [row | {"label": OTHER[row["label"]]} if i in lines else row for i, row in enumerate(rows)], {i + 1 for i in lines}


def average_precision(ranked, wrong):
    hits, total = 0, 0.0
    for i, line in enumerate(ranked, 1):
        if line in wrong:
            hits += 1
            total += hits / i
    return total / len(wrong)


def f1(found, wrong):
    return 2 * len(found & wrong) / (len(found) + len(wrong))


def beside_cleanlab(listed):
    """Lines that cleanlab finds, pruning by noise rate, on the same out-of-fold probabilities."""
    labels = np.array([row["label"] == "positive" for row in listed], int)
    p = np.array([row["p"] for row in listed])
    chances = np.stack([np.where(labels == k, p, 1 - p) for k in (0, 1)], 1)
    mask = find_label_issues(labels, chances, n_jobs=1)
    return {row["line"] for row, bad in zip(listed, mask) if bad}


def measure(server, rows, rate, seed, args):
    turned, wrong = turn(rows, rate, seed, args.one_sided)
    job = {"model": "base", "dataset": server.upload(turned), "method": args.method, "samples": {"rows": 0},
           "hyperparameters": {"epochs": args.epochs, "threads": 1, "seed": seed} | json.loads(args.set)}
    seconds, _ = sweep({"kind": "folds", "folds": 5, "job": job}, every=5)
    told = daemon.call("GET", "/sweeps?limit=1")["data"][0]  # the newest
    path = "/sweeps/" + told["id"]
    with urllib.request.urlopen(f"http://{daemon.HOST}:{daemon.PORT}{path}/rows?sort=mislabelled") as reply:
        listed = [json.loads(line) for line in reply]
    if args.keep:
        (args.keep / f"{rate}-{seed}.json").write_text(json.dumps({"wrong": sorted(wrong), "rows": [{"line": r["line"], "label": r["label"], "p": r["p"]} for r in listed]}))
    ranked, errors = [row["line"] for row in listed], told["folds"]["label_errors"]
    half = len(wrong) // 2
    theirs = beside_cleanlab(listed)
    print(f"{100 * rate:4.0f} % turned, seed {seed}: accuracy out of fold {told['folds']['value']:.4f}, average precision {average_precision(ranked, wrong):.3f}, "
          f"precision of the first 50, 100 and {half}: " + ", ".join(f"{len(set(ranked[:k]) & wrong) / k:.2f}" for k in (50, 100, half)) +
          f"; share told {errors['noise_rate']:.4f} ({errors['noise_rate'] / rate - 1:+.0%}), flagged {errors['flagged']}, F1 {f1(set(ranked[:errors['flagged']]), wrong):.3f}, "
          f"cleanlab's F1 {f1(theirs, wrong):.3f} ({len(theirs)}); {seconds:.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("train", type=pathlib.Path)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.05, 0.1, 0.2])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--one_sided", action="store_true", help="turn positive labels alone")
    parser.add_argument("--rows", type=int, default=6920)
    parser.add_argument("--method", default="full")
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--set", default="{}", metavar="JSON", help="other hyperparameters")
    parser.add_argument("--keep", type=pathlib.Path, metavar="FOLDER", help="where probabilities and turned lines are kept")
    parser.add_argument("--honed", default=str(ROOT / "build" / "server" / "honed"))
    args = parser.parse_args()
    rows = list(sst2(args.train, args.model))[:args.rows]
    with tempfile.TemporaryDirectory(prefix="hone-bench-") as folder:
        server = Server(args.honed, pathlib.Path(folder), args.model.resolve())
        try:
            for rate in args.rates:
                for seed in range(args.seeds):
                    measure(server, rows, rate, seed, args)
        finally:
            server.close()


if __name__ == "__main__":
    main()
