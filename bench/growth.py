#!/usr/bin/env python3
"""How memory and rate grow with the length of sequences and the size of the model; LoRA rank 16, all tokens targets, two threads.

  bench/growth.py MODEL.gguf GSM8K_TRAIN.jsonl [--big] [--threads 2] [--honed PATH]

Sequences of 128, 512, 2,048 and 8,192 tokens, 2,048 tokens a step or one row; the last under a budget of 1.5 GB, so that layers are
computed again. --big adds a Llama shape of 1.1 billion weights (22 layers, 2,048 wide), random, in Q4_0, made here: steps of 512 tokens.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import tempfile

from auto import plan
from training import measured

LENGTHS = {128: 16, 512: 4, 2048: 1, 8192: 1}
STEPS, WARM = 5, 1


def run(args, model, length, batch, budget, method="lora", threads=2, steps=STEPS):
    """Trains on a text cut into rows of `length` targets: tokens/s of each step but the first, resident bytes, the plan."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hone-growth-"))
    try:
        (folder / "inputs").mkdir()
        (folder / "inputs" / ("model" if model.is_dir() else "model.gguf")).symlink_to(model.resolve())
        text = "\n\n".join(r["question"] + "\n" + r["answer"] for r in map(json.loads, open(args.gsm8k, encoding="utf-8")))
        size = 8 * length
        rows = [{"text": text[i * size:(i + 1) * size]} for i in range(batch * steps)]
        (folder / "inputs" / "train").write_text("".join(json.dumps(r) + "\n" for r in rows))
        result = plan(args.honed, {
            "model": {"path": str(model), "sha256": "0", "name": "base"}, "method": method, "validation": "none",
            "exports": ["merged"] if method == "full" else ["peft"],
            "train": {"path": str(folder / "inputs" / "train"), "sha256": "1", "format": "jsonl"}, "samples": {"rows": 0, "max_tokens": 1},
            "hyperparameters": {"max_steps": steps, "epochs": 1, "batch_size": batch, "max_length": length + 1, "learning_rate": 1e-4},
            "threads": threads, "memory_bytes": budget, "now": "2026-01-31"})
        result["host"].update(threads=threads, save_every=steps)
        (folder / "spec.json").write_text(json.dumps({"format": 1, "job": "job_bench", "run": result["run"], "host": result["host"]}))
        rss = measured([args.honed, "train", str(folder)])
        told = [json.loads(line)["data"] for line in open(folder / "events.jsonl") if '"type":"step"' in line]
        return [s["tokens_per_second"] for s in told[WARM:]], rss, result["plan"]
    finally:
        shutil.rmtree(folder)


def show(name, rates, rss, planned):
    print(f"{name:16s} {statistics.median(rates):6.0f} tokens/s   {rss / 1e6:6.0f} MB   planned {planned['peak_bytes'] / 1e6:6.0f} MB"
          f"{'   layers computed again' if planned['recompute'] else ''}", flush=True)


def make_big(tokens_from, path):
    """Random weights under the small model's tokenizer."""
    import gguf
    import numpy as np
    layers, hidden, heads, kv_heads, ffn = 22, 2048, 32, 4, 5632
    reader, random = gguf.GGUFReader(tokens_from), np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    for key, field in reader.fields.items():
        if key.startswith("tokenizer."):
            kind = field.types[0]
            writer.add_key_value(key, field.contents(), kind, sub_type=field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    vocab = len(reader.fields["tokenizer.ggml.tokens"].contents())
    writer.add_context_length(2048)
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)

    def matrix(name, rows, cols):
        values = gguf.quantize((random.standard_normal((rows, cols), dtype=np.float32) * 0.02), gguf.GGMLQuantizationType.Q4_0)
        writer.add_tensor(name, values, raw_dtype=gguf.GGMLQuantizationType.Q4_0)

    matrix("token_embd.weight", vocab, hidden)
    matrix("output.weight", vocab, hidden)
    writer.add_tensor("output_norm.weight", np.ones(hidden, np.float32))
    for i in range(layers):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{i}.{name}.weight", np.ones(hidden, np.float32))
        kv = hidden // heads * kv_heads
        for name, rows, cols in (("attn_q", hidden, hidden), ("attn_k", kv, hidden), ("attn_v", kv, hidden), ("attn_output", hidden, hidden),
                                 ("ffn_gate", ffn, hidden), ("ffn_up", ffn, hidden), ("ffn_down", hidden, ffn)):
            matrix(f"blk.{i}.{name}.weight", rows, cols)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("gsm8k", type=pathlib.Path)
    parser.add_argument("--big", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--honed", default=str(pathlib.Path(__file__).resolve().parents[1] / "build" / "server" / "honed"))
    args = parser.parse_args()
    for length, batch in LENGTHS.items():
        show(f"{batch} x {length}", *run(args, args.model, length, batch, 1_500_000_000, threads=args.threads,
                                         steps=3 if length == 8192 else STEPS))
    if args.big:
        with tempfile.TemporaryDirectory(prefix="hone-growth-") as folder:
            path = pathlib.Path(folder) / "big.gguf"
            make_big(args.model, path)
            print(f"made {os.path.getsize(path) / 1e6:.0f} MB of random weights", flush=True)
            show("1.1B, 1 x 512", *run(args, path, 512, 1, 2_000_000_000, threads=args.threads, steps=3))


if __name__ == "__main__":
    main()
