#!/usr/bin/env python3
"""Training all weights of GPT-2's smallest shape (124 million, random values): tokens a second and memory.

  bench/gpt2.py GSM8K_TRAIN.jsonl [--peer 'PROGRAM ARGUMENTS'] [--rounds 2] [--honed PATH]

4 x 64 and 4 x 256 tokens a step, two threads. --peer names a program that trains the same shape (llm.c with its products through BLAS):
it is called with B, T and a number of steps behind its arguments, in turn with Hone, and prints "… N tokens/s" after each step. The first
step of either side is dropped; medians, and the best of all rounds.
"""
import argparse
import json
import os
import pathlib
import re
import shlex
import statistics
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests" / "e2e"))
from growth import run  # noqa: E402
import tiny  # noqa: E402

WIDTH, LAYERS, HEADS, VOCAB, POSITIONS, STEPS = 768, 12, 12, 50257, 1024, 5


def make(folder):
    """A Hugging Face folder of that shape under a tokenizer of single bytes."""
    tiny.llama(folder)
    config = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_inner": None,
              "vocab_size": VOCAB, "n_positions": POSITIONS, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new", "bos_token_id": 0,
              "eos_token_id": 2, "tie_word_embeddings": True, "torch_dtype": "float32", "resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0}
    shapes = {"wte.weight": (VOCAB, WIDTH), "wpe.weight": (POSITIONS, WIDTH), "ln_f.weight": (WIDTH,), "ln_f.bias": (WIDTH,)}
    for i in range(LAYERS):
        for name, inner, out in (("attn.c_attn", WIDTH, 3 * WIDTH), ("attn.c_proj", WIDTH, WIDTH), ("mlp.c_fc", WIDTH, 4 * WIDTH),
                                 ("mlp.c_proj", 4 * WIDTH, WIDTH)):
            shapes |= {f"h.{i}.{name}.weight": (inner, out), f"h.{i}.{name}.bias": (out,)}
        shapes |= {f"h.{i}.{name}.{part}": (WIDTH,) for name in ("ln_1", "ln_2") for part in ("weight", "bias")}
    chance = np.random.default_rng(0)
    tiny.write_safetensors(folder / "model.safetensors", {
        "transformer." + name: np.zeros(shape, np.float32) if name.endswith("bias") else np.ones(shape, np.float32) if "ln_" in name
        else chance.standard_normal(shape, dtype=np.float32) * 0.02 for name, shape in shapes.items()})
    (folder / "config.json").write_text(json.dumps(config))


def peer(command, batch, length):
    told = subprocess.run([*shlex.split(command), str(batch), str(length), str(STEPS)], check=True, capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}).stdout
    return [float(x) for x in re.findall(r"([\d.]+) tokens/s", told)][1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gsm8k", help="a text to train on: lines of {question, answer}")
    parser.add_argument("--peer")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--honed", default=str(ROOT / "build" / "server" / "honed"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hone-gpt2-") as folder:
        model = pathlib.Path(folder) / "model"
        make(model)
        for length in (64, 256):
            ours, theirs, resident = [], [], 0
            for _ in range(args.rounds):
                rates, resident, _ = run(args, model, length, 4, 8_000_000_000, "full", steps=STEPS)
                ours += rates
                theirs += peer(args.peer, 4, length) if args.peer else []
            print(f"4 x {length:4d}  Hone {statistics.median(ours):6.0f} / {max(ours):6.0f} tokens/s, {resident / 1e6:.0f} MB" +
                  (f"   peer {statistics.median(theirs):6.0f} / {max(theirs):6.0f}   ratio {statistics.median(ours) / statistics.median(theirs):.2f} "
                   f"median, {max(ours) / max(theirs):.2f} best" if theirs else ""), flush=True)


if __name__ == "__main__":
    main()
