#!/usr/bin/env python3
"""LoRA steps of two builds in turn, so that what else the machine does meets both: is the newer one slower?

  bench/turn.py OLD_TREE NEW_TREE MODEL.gguf GSM8K_TRAIN.jsonl [--rounds 4]

Trees with their own bench/growth.py and a build in build/. Each round trains six steps of one row of 512 tokens with each build, in
changing order; the first step is not counted. Prints tokens/s of all steps, and best and median of new beside old.
"""
import argparse
import pathlib
import statistics
import subprocess
import sys

ONE = """import sys, pathlib, types, growth
tree, model, rows = map(pathlib.Path, sys.argv[1:])
args = types.SimpleNamespace(honed=tree / "build/server/honed", gsm8k=rows)
print(*growth.run(args, model, 512, 1, 6_000_000_000, "lora", 2, 6)[0])"""


def rates(tree, args):
    told = subprocess.run([sys.executable, "-c", ONE, tree, args.model, args.gsm8k], env={"PYTHONPATH": str(tree / "bench")},
                          check=True, capture_output=True, text=True).stdout
    return [float(word) for word in told.split()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("old", "new", "model", "gsm8k"):
        parser.add_argument(name, type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--rounds", type=int, default=4)
    args = parser.parse_args()
    found = {"old": [], "new": []}
    for i in range(args.rounds):
        for name in ("old", "new") if i % 2 == 0 else ("new", "old"):
            steps = rates(getattr(args, name), args)
            found[name] += steps
            print(name, *(f"{rate:.0f}" for rate in steps), flush=True)
    for which, of in (("best", max), ("median", statistics.median)):
        print(f"{which}: new {of(found['new']):.1f} / old {of(found['old']):.1f} tokens/s = {of(found['new']) / of(found['old']):.3f}")


if __name__ == "__main__":
    main()
