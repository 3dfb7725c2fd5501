#!/usr/bin/env python3
"""Sentiment on an encoder: accuracy on held-out rows over several seeds, for full training, LoRA and the server's defaults.

  bench/sentiment.py MODEL_FOLDER train.tsv dev.tsv [--seeds 3] [--epochs 3] [--honed build/server/honed] [--only NAME] [--peer]

Files are `text TAB label` (SST-2: 6,920 training rows, 872 dev rows; MODEL_FOLDER: all-MiniLM-L6-v2). The figure is the accuracy
at the last step, as the reference runs have it: full AdamW at 1e-4 with decay 0.01, constant rate and dropout 0.1; LoRA rank 16 at
5e-4. The defaults choose their rate, batch and epochs themselves and export the best evaluation, so theirs is shown as well.
--peer: the first two settings in Transformers and PEFT instead (the model's dropout in both, as their users have it).
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


def peer(model, train, dev, method, knobs, epochs, seed):
    """The setting in PyTorch: accuracy on the dev rows at the end of each epoch."""
    import random
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(model)
    net = AutoModelForSequenceClassification.from_pretrained(model, num_labels=2)
    if method == "lora":
        from peft import LoraConfig, get_peft_model
        net = get_peft_model(net, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="SEQ_CLS"))
    rows, held = ([(tokenizer(text)["input_ids"], int(label)) for text, label in
                   (line.rstrip("\n").split("\t") for line in open(path, encoding="utf-8"))] for path in (train, dev))
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=knobs["learning_rate"],
                                  weight_decay=knobs.get("weight_decay", 0))

    def forward(part):
        longest = max(len(ids) for ids, _ in part)
        ids = torch.tensor([i + [0] * (longest - len(i)) for i, _ in part])
        return net(input_ids=ids, attention_mask=(ids != 0).long()).logits, torch.tensor([y for _, y in part])

    order, found = random.Random(seed), []
    for _ in range(int(epochs)):
        net.train()
        order.shuffle(rows)
        for at in range(0, len(rows), knobs["batch_size"]):
            logits, labels = forward(rows[at:at + knobs["batch_size"]])
            torch.nn.functional.cross_entropy(logits, labels).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        net.eval()
        with torch.no_grad():
            right = sum((z.argmax(1) == y).sum().item() for z, y in (forward(held[at:at + 64]) for at in range(0, len(held), 64)))
        found.append(right / len(held))
    return found


def main():
    root = pathlib.Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("train", type=pathlib.Path)
    parser.add_argument("dev", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--only", choices=sorted(SETTINGS))
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--honed", default=str(root / "build" / "server" / "honed"))
    args = parser.parse_args()
    for name, (method, knobs) in SETTINGS.items():
        if args.only and name != args.only:
            continue
        last, best = [], []
        if args.peer and "defaults" in name:
            continue
        for seed in range(args.seeds):
            if args.peer:
                start, found = time.time(), peer(args.model, args.train, args.dev, method, knobs, args.epochs, seed)
                last.append(found[-1])
                best.append(max(found))
                print(f"{name:16} seed {seed}  last {100 * last[-1]:.2f}  best {100 * best[-1]:.2f}  "
                      f"{time.time() - start:.0f} s  PyTorch", flush=True)
                continue
            more = {} if "defaults" in name else {"epochs": args.epochs, "eval_every": 1000}
            a, b, seconds, hp = run(args.honed, args.model.resolve(), args.train, args.dev, method, {**knobs, **more, "seed": seed})
            last.append(a)
            best.append(b)
            print(f"{name:16} seed {seed}  last {100 * a:.2f}  best {100 * b:.2f}  {seconds:.0f} s  lr {hp['learning_rate']:g} "
                  f"batch {hp['batch_size']} epochs {hp['epochs']:g}", flush=True)
        print(f"{name:16} mean    last {100 * sum(last) / len(last):.2f}  best {100 * sum(best) / len(best):.2f}", flush=True)


main()
