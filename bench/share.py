#!/usr/bin/env python3
"""Which part of the rate of its own matrix products a training step reaches, and those products beside other libraries'.

  bench/share.py MODEL.gguf GSM8K_TRAIN.jsonl [--onednn LIBDNNL.so] [--openblas LIBOPENBLAS.so] [--rounds 3] [--only "lora 512"]

Only necessary work counts, in FLOP a token: 4·(P_layers + P_head·targets/tokens) + 6·P_lora + 3.5·A for LoRA (rank 16, all linear
layers), 6·(P_layers + P_head·targets/tokens) + 3.5·A for all weights; A = 4·width·pairs/tokens in every layer, pairs of a query and a key
that it sees. Rates of steps and of products (bench_share: the same shapes through the same pool) are taken in turn, and the best of all
rounds stands. Then two threads beside one, and the products of the step's shapes in each library with two threads of its own.
"""
import argparse
import ctypes
import json
import os
import pathlib
import subprocess
import sys
import time

from growth import run

ROOT = pathlib.Path(__file__).resolve().parents[1]
RANK, BUDGET = 16, 6_000_000_000
CASES = {f"{method} {length}": (method, length, batch) for method in ("lora", "full") for length, batch in ((128, 16), (512, 4), (2048, 1))}


def sizes(model):
    """Weights in the layers, in the head, in adapters of all linear layers; layers, width of attention."""
    import gguf
    reader = gguf.GGUFReader(model)
    field = lambda name: reader.fields["llama." + name].contents()
    layers = lora = head = 0
    for tensor in reader.tensors:
        shape = [int(n) for n in tensor.shape]
        if len(shape) < 2:
            continue
        if tensor.name.startswith("blk."):
            layers += shape[0] * shape[1]
            lora += RANK * (shape[0] + shape[1])
        elif tensor.name == "token_embd.weight":
            head = shape[0] * shape[1]
    return layers, head, lora, field("block_count"), field("embedding_length")


def work(model, method, length):
    """FLOP a token of a packed row whose every token has a target."""
    layers, head, lora, blocks, width = sizes(model)
    attention = 3.5 * 4 * width * (length + 1) / 2 * blocks
    return 6 * (layers + head) + attention if method == "full" else 4 * (layers + head) + 6 * lora + attention


def products(args, rows, method, threads):
    told = subprocess.run([args.honed.parents[1] / "bench/bench_share", args.model, str(rows), "256", str(threads), method],
                          check=True, capture_output=True, text=True).stdout
    found = json.loads(told)
    return found["flops"] / found["seconds"], found["shapes"]


def shares(args):
    for name, (method, length, batch) in CASES.items():
        if args.only and name not in args.only:
            continue
        step = path = 0
        for _ in range(args.rounds):
            rates, _, planned = run(args, args.model, length, batch, BUDGET, method)
            step = max(step, *rates)
            path = max(path, products(args, planned["micro_batch_tokens"], method, 2)[0])
        rate = step * work(args.model, method, length)
        print(f"{name:10s} {step:6.0f} tokens/s = {rate / 1e9:6.1f} GFLOP/s of {path / 1e9:6.1f}: {100 * rate / path:5.1f} %", flush=True)


def threads(args):
    step, path = [0, 0], [0, 0]
    for _ in range(args.rounds):
        for n in (1, 2):
            step[n - 1] = max(step[n - 1], *run(args, args.model, 512, 4, BUDGET, threads=n)[0])
            path[n - 1] = max(path[n - 1], products(args, 896, "lora", n)[0])
    print(f"two threads beside one: steps {step[1]:.0f} / {step[0]:.0f} tokens/s = {step[1] / step[0]:.2f}, products alone "
          f"{path[1] / 1e9:.1f} / {path[0] / 1e9:.1f} GFLOP/s = {path[1] / path[0]:.2f}", flush=True)


def library_rate(library, kind, shapes, runs=5):
    """FLOP/s over all shapes with the library's own threads, weights in f32. Run in a process of its own."""
    loaded = ctypes.CDLL(library)
    flops = seconds = 0
    size = max(max(m * k, k * n, m * n) for m, n, k, _ in shapes)
    a, b, c = ((ctypes.c_float * size)(*([0.5] * 64)) for _ in range(3))
    for m, n, k, times in shapes:
        best = 1e9
        for _ in range(runs):
            start = time.perf_counter()
            if kind == "onednn":  # row-major: C = A · B
                i = ctypes.c_int64
                loaded.dnnl_sgemm(ctypes.c_char(b"N"), ctypes.c_char(b"N"), i(m), i(n), i(k), ctypes.c_float(1), a, i(k), b, i(n),
                                  ctypes.c_float(0), c, i(n))
            else:
                i = ctypes.c_int
                loaded.cblas_sgemm(101, 111, 111, i(m), i(n), i(k), ctypes.c_float(1), a, i(k), b, i(n), ctypes.c_float(0), c, i(n))
            best = min(best, time.perf_counter() - start)
        flops += 2 * m * n * k * times
        seconds += best * times
    return flops / seconds


def libraries(args):
    own, found = 0, {}
    for _ in range(args.rounds):
        rate, shapes = products(args, 896, "full", 2)
        own = max(own, rate)
        for kind in ("onednn", "openblas"):
            if getattr(args, kind):
                told = subprocess.run([sys.executable, __file__, "--library", kind, getattr(args, kind), json.dumps(shapes)], check=True,
                                      capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"})
                found[kind] = max(found.get(kind, 0), float(told.stdout))
    for kind, rate in found.items():
        print(f"products of all shapes: own {own / 1e9:.1f} GFLOP/s, {kind} {rate / 1e9:.1f}: {own / rate:.2f}", flush=True)


def main():
    if sys.argv[1:2] == ["--library"]:
        return print(library_rate(sys.argv[3], sys.argv[2], json.loads(sys.argv[4])))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("gsm8k")
    parser.add_argument("--onednn")
    parser.add_argument("--openblas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=[*CASES, "threads", "libraries"])
    parser.add_argument("--honed", type=pathlib.Path, default=ROOT / "build" / "server" / "honed")
    args = parser.parse_args()
    shares(args)
    for name, part in (("threads", threads), ("libraries", libraries)):
        if not args.only or name in args.only:
            part(args)


if __name__ == "__main__":
    main()
