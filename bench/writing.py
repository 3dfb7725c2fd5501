#!/usr/bin/env python3
"""Text generation: what fine-tuning does to written answers, by exact match, ROUGE-L, chrF and BLEU of greedy answers to held-out rows.

  bench/writing.py MODEL.gguf train.txt test.txt [--rows 400] [--held 60] [--honed PATH]

Lines are `meaning||sentence` (E2E NLG). The defaults of a LoRA job, through the API as a person would: upload, job, evaluate the base
and the result on the same rows.
"""
import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import inference
from inference import get, post

MEASURES = ("bleu", "chrf", "rouge_l", "loss")


def rows(path, n, seed):
    lines = [line.rstrip("\n").split("||") for line in open(path, encoding="utf-8") if "||" in line]
    by_meaning = {}
    for meaning, sentence in lines:  # one sentence a meaning: else the answers in training would stand against each other
        by_meaning.setdefault(meaning.strip(), sentence.strip())
    chosen = random.Random(seed).sample(sorted(by_meaning.items()), min(n, len(by_meaning)))
    return "".join(json.dumps({"prompt": m + "\n", "completion": s}) + "\n" for m, s in chosen).encode()


def show(name, found):
    print(f"{name:12s} " + "   ".join(f"{m} {found['metrics'][m]:.3f}" for m in MEASURES), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "train", "test"):
        parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--held", type=int, default=60)
    parser.add_argument("--honed", default=str(pathlib.Path(__file__).resolve().parents[1] / "build" / "server" / "honed"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hone-bench-") as state:
        daemon = subprocess.Popen([args.honed, "serve", "--state", state, "--listen", inference.URL[7:], "--model_dirs",
                                   os.fspath(args.model.resolve().parent)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(1)
            post("/models", {"name": "base", "path": str(args.model.resolve())})
            train, held = (post(f"/datasets?name={name}", rows(path, n, 7))["id"]
                           for name, path, n in (("train", args.train, args.rows), ("held", args.test, args.held)))
            asked = {"dataset": held, "generate": {"max_tokens": 80, "stop": "\n"}}
            show("base", post("/models/base/evaluate", asked))
            job, begun = post("/jobs", {"model": "base", "dataset": train})["id"], time.time()
            while (status := get(f"/jobs/{job}")["status"]) not in ("succeeded", "failed", "cancelled"):
                time.sleep(1)
            print(f"{status} after {time.time() - begun:.0f} s")
            show("fine-tuned", post(f"/jobs/{job}/evaluate", asked))
            example = post(f"/jobs/{job}/predict", {"inputs": [{"prompt": json.loads(rows(args.test, 1, 3))["prompt"]}], "max_tokens": 60, "stop": "\n"})
            print(json.loads(rows(args.test, 1, 3))["prompt"].strip(), "\n→", example["data"][0]["text"].strip())
        finally:
            daemon.terminate()
            daemon.wait()


if __name__ == "__main__":
    sys.exit(main())
