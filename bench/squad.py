#!/usr/bin/env python3
"""Extractive question answering beside Transformers: exact match and F1 on held-out questions over several seeds.

  bench/squad.py MODEL_FOLDER train-v2.0.json dev-v2.0.json [--answerable] [--seeds 2] [--epochs 3] [--only SIDE] [--honed PATH]

Both sides train all weights of the same encoder on the same windows (512 tokens, overlapping by 128): AdamW, linear schedule with 10 %
warmup, batch 16, the model's dropout. Both results are measured by the same program, `honed`'s evaluation (whose figures the tests
compare with SQuAD's own formula): the peer's model is saved by Transformers and opened as a base trained for a task. --answerable leaves
questions without an answer out on both sides: a thousand rows are too few to tell these, and a model that always says "none" is right for
half of them.
"""
import argparse
import json
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from auto import plan

RATE, BATCH, WARMUP, LENGTH, STRIDE = 2e-4, 16, 0.1, 512, 128


def answerable(path, folder):
    squad = json.load(open(path))
    for article in squad["data"]:
        for paragraph in article["paragraphs"]:
            paragraph["qas"] = [qa for qa in paragraph["qas"] if qa["answers"]]
        article["paragraphs"] = [p for p in article["paragraphs"] if p["qas"]]
    out = pathlib.Path(folder) / path.name
    out.write_text(json.dumps(squad))
    return out


def hone(args, seed, folder):
    (folder / "inputs").mkdir(parents=True)
    (folder / "inputs" / "model").symlink_to(args.model.resolve())
    shutil.copy(args.train, folder / "inputs" / "train")
    knobs = {"learning_rate": RATE, "batch_size": BATCH, "warmup_ratio": WARMUP, "epochs": args.epochs, "seed": seed, "max_length": LENGTH}
    result = plan(args.honed, {"model": {"path": str(args.model), "sha256": "0", "name": "base"}, "method": "full", "validation": "none",
                               "train": {"path": str(folder / "inputs" / "train"), "sha256": "1", "format": "squad"},
                               "hyperparameters": knobs, "threads": 2, "memory_bytes": 8 << 30, "now": "2026-01-31"})
    (folder / "spec.json").write_text(json.dumps({"format": 1, "job": "job_bench", "run": result["run"], "host": result["host"]}))
    subprocess.run([args.honed, "train", str(folder)], check=True, stderr=subprocess.DEVNULL)
    return folder / "artifacts" / "merged"


def windows(tokenizer, path):
    """Features as Transformers' question answering scripts make them."""
    rows = []
    for article in json.load(open(path))["data"]:
        for paragraph in article["paragraphs"]:
            for qa in paragraph["qas"]:
                answer = qa["answers"][0] if qa["answers"] else None
                made = tokenizer(qa["question"], paragraph["context"], truncation="only_second", max_length=LENGTH, stride=STRIDE,
                                 return_overflowing_tokens=True, return_offsets_mapping=True)
                for i, ids in enumerate(made["input_ids"]):
                    begin = end = 0
                    if answer:
                        first, last = answer["answer_start"], answer["answer_start"] + len(answer["text"])
                        inside = [k for k, s in enumerate(made.sequence_ids(i)) if s == 1]
                        spans = made["offset_mapping"][i]
                        if spans[inside[0]][0] <= first and spans[inside[-1]][1] >= last:
                            begin = max(k for k in inside if spans[k][0] <= first)
                            end = min(k for k in inside if spans[k][1] >= last)
                    rows.append((ids, made["token_type_ids"][i], begin, end))
    return rows


def transformers(args, seed, folder):
    import torch
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer, get_linear_schedule_with_warmup
    torch.manual_seed(seed)
    torch.set_num_threads(2)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForQuestionAnswering.from_pretrained(args.model).train()
    rows = windows(tokenizer, args.train)
    steps = -(-len(rows) // BATCH) * args.epochs
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0)
    schedule = get_linear_schedule_with_warmup(optimizer, int(WARMUP * steps), steps)
    order = random.Random(seed)
    for _ in range(args.epochs):
        order.shuffle(rows)
        for at in range(0, len(rows), BATCH):
            batch = rows[at:at + BATCH]
            longest = max(len(r[0]) for r in batch)
            pad = lambda values: torch.tensor([v + [0] * (longest - len(v)) for v in values])
            model(input_ids=pad([r[0] for r in batch]), token_type_ids=pad([r[1] for r in batch]),
                  attention_mask=pad([[1] * len(r[0]) for r in batch]), start_positions=torch.tensor([r[2] for r in batch]),
                  end_positions=torch.tensor([r[3] for r in batch])).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def measure(args, model):
    result = plan(args.honed, {"model": {"path": str(model)}, "data": {"path": str(args.dev), "format": "squad"}}, op="evaluate")
    return result["metrics"]["exact_match"], result["metrics"]["f1"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "train", "dev"):
        parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--honed", default=str(pathlib.Path(__file__).resolve().parents[1] / "build" / "server" / "honed"))
    parser.add_argument("--answerable", action="store_true")
    parser.add_argument("--only", help="one side: Hone or Transformers")
    args = parser.parse_args()
    kept = tempfile.TemporaryDirectory(prefix="hone-squad-data-")
    if args.answerable:
        args.train, args.dev = answerable(args.train, kept.name), answerable(args.dev, kept.name)
    for name, side in (("Hone", hone), ("Transformers", transformers)):
        if args.only not in (None, name):
            continue
        figures, start = [], time.time()
        for seed in range(args.seeds):
            with tempfile.TemporaryDirectory(prefix="hone-squad-") as folder:
                figures.append(measure(args, side(args, seed, pathlib.Path(folder) / "run")))
        exact, f1 = ([f[i] for f in figures] for i in (0, 1))
        print(f"{name:13s} exact match {' '.join(f'{x:.2f}' for x in exact)}, mean {statistics.mean(exact):.2f}   "
              f"F1 {' '.join(f'{x:.2f}' for x in f1)}, mean {statistics.mean(f1):.2f}   {time.time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
