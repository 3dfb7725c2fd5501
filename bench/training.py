#!/usr/bin/env python3
"""Training steps beside PyTorch (+ Transformers, PEFT): tokens or rows a second and peak memory, same rows, same work, in turn.

  bench/training.py MODEL.gguf MINILM_FOLDER --gsm8k train.jsonl --sst2 train.tsv [--only CASE] [--rounds 2] [--honed PATH]

Each case runs both programs --rounds times, one after the other, on the same rows in the same order. The learning rate is next to
nothing, so that the losses of all steps must agree however adapters and heads were initialised: `loss` is the largest relative
difference, and the run fails above 1e-3. The first two steps are dropped. PyTorch pads a batch to its longest row, as its users do;
rates count real tokens only. The ratio is PyTorch's time over Hone's, by each side's fastest step (best) and by the medians;
MiniLM's by the sum over all steps of its pass. Memory is the largest resident set of the process.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "parity"), str(ROOT / "bench")]
STEPS, WARM, RATE = 10, 2, 1e-9
# case: (model, method, data, rows a step, steps, knobs)
CASES = {
    "lora 4x512": ("decoder", "lora", "blocks", 4, STEPS),
    "lora gsm8k": ("decoder", "lora", "gsm8k", 8, STEPS),
    "full 4x512": ("decoder", "full", "blocks", 4, STEPS),
    "full gsm8k": ("decoder", "full", "gsm8k", 8, STEPS),
    "minilm full": ("encoder", "full", "sst2", 32, 30),
    "minilm lora": ("encoder", "lora", "sst2", 32, 30),
}


def measured(command):
    """Runs a program; its largest resident set in bytes."""
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    text = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{command} failed:\n{text[-3000:]}")
    return usage.ru_maxrss << 10


def load_rows(data, n, args):
    """Rows as our engine reads them."""
    if data == "sst2":
        rows = []
        for line in open(args.sst2, encoding="utf-8"):
            text, label = line.rstrip("\n").split("\t")
            rows.append({"text": text, "label": ["negative", "positive"][int(label)]})
        return rows[:n]
    rows = [json.loads(line) for line in open(args.gsm8k, encoding="utf-8")]
    if data == "gsm8k":
        return [{"prompt": r["question"] + "\n", "completion": r["answer"]} for r in rows[:n]]
    text = "\n\n".join(r["question"] + "\n" + r["answer"] for r in rows)  # blocks of 513 tokens: each begins elsewhere in one text
    return [{"text": text[i * 4000:(i + 1) * 4000]} for i in range(n)]


def prepare(folder, case, args):
    """The run directory and, for the peer, the same rows as ids in the order of the steps."""
    from auto import plan
    import common
    kind, method, data, batch, steps = CASES[case]
    model = args.model if kind == "decoder" else args.minilm
    rows = load_rows(data, batch * steps, args)
    (folder / "inputs").mkdir(parents=True)
    (folder / "inputs" / ("model.gguf" if kind == "decoder" else "model")).symlink_to(model.resolve())
    (folder / "inputs" / "train").write_text("".join(json.dumps(r) + "\n" for r in rows))
    knobs = {"max_steps": steps, "epochs": 1, "batch_size": batch, "learning_rate": RATE, "lora_rank": 16, "warmup_ratio": 0}
    if data == "blocks":
        knobs["max_length"] = 513
    if kind == "encoder":
        knobs.update(dropout=0, attention_dropout=0)
    params = {"model": {"path": str(model), "sha256": "0", "name": "base"}, "method": method, "validation": "none",
              "train": {"path": str(folder / "inputs" / "train"), "sha256": "1", "format": "jsonl"}, "hyperparameters": knobs,
              "task": "classification" if kind == "encoder" else "generation", "samples": {"rows": 0, "max_tokens": 1},
              "threads": 2, "memory_bytes": 8 << 30, "now": "2026-01-31"}
    result = plan(args.honed, params)
    result["host"].update(threads=2, save_every=steps)
    (folder / "spec.json").write_text(json.dumps({"format": 1, "job": "job_bench", "run": result["run"], "host": result["host"]}))
    order = common.shuffle(len(rows), 0, 0)
    (folder / "peer.json").write_text(json.dumps({"kind": kind, "method": method, "data": data, "batch": batch, "steps": steps,
                                                  "model": str(model), "gguf": str(args.model), "rows": [rows[i] for i in order]}))


def run_hone(folder, args):
    run = folder.with_name("run")
    shutil.copytree(folder, run, symlinks=True)
    rss = measured([args.honed, "train", str(run)])
    steps = [json.loads(line) for line in open(run / "events.jsonl")]
    steps = [e["data"] for e in steps if e["type"] == "step"]
    for path in run.glob("artifacts/*/*model.safetensors"):  # at this rate still the head it began with
        path.replace(folder / "head.safetensors")
    shutil.rmtree(run)
    tokens = [b["tokens"] - a for a, b in zip([0] + [s["tokens"] for s in steps], steps)]
    return {"seconds": [s["seconds"] for s in steps], "losses": [s["loss"] for s in steps], "tokens": tokens, "rss": rss}


def run_peer(folder, args):
    out = folder / "peer.out"
    rss = measured([args.python, __file__, "--peer", str(folder / "peer.json"), str(out)])
    return {**json.loads(out.read_text()), "rss": rss}


def peer(path, out):
    """The same steps in PyTorch."""
    import time
    import torch
    torch.set_num_threads(2)
    job = json.load(open(path))
    from safetensors.torch import load_file
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    if job["kind"] == "encoder":
        tokenizer = AutoTokenizer.from_pretrained(job["model"])
        model = AutoModelForSequenceClassification.from_pretrained(job["model"], num_labels=2)
        for name, values in load_file(pathlib.Path(path).parent / "head.safetensors").items():
            if "classifier" in name:
                getattr(model.classifier, name.rpartition(".")[2]).data.copy_(values)
        rows = [(tokenizer(r["text"], truncation=True)["input_ids"], ["negative", "positive"].index(r["label"])) for r in job["rows"]]
        pad = tokenizer.pad_token_id
    else:
        import common
        import reference
        model = reference.load_base(job["gguf"])
        os.environ.setdefault("HONE_TEST_GGUF", job["gguf"])
        common.GGUF = job["gguf"]
        ids, weights = common.encode(job["rows"], pathlib.Path(path).parent)
        rows, pad = [], 0
        for i, w in zip(ids, weights):
            i, w = (i[:513], w[:513]) if job["data"] == "blocks" else (i, w)
            rows.append((i, [t if x else -100 for t, x in zip(i, w)]))
    if job["method"] == "lora":
        from peft import LoraConfig, get_peft_model
        more = {"task_type": "SEQ_CLS"} if job["kind"] == "encoder" else {}
        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", lora_dropout=0.0, **more))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, weight_decay=0)
    seconds, losses = [], []
    for step in range(job["steps"]):
        start = time.perf_counter()
        batch = rows[step * job["batch"]:(step + 1) * job["batch"]]
        longest = max(len(i) for i, _ in batch)
        ids = torch.tensor([i + [pad] * (longest - len(i)) for i, _ in batch])
        mask = torch.tensor([[1] * len(i) + [0] * (longest - len(i)) for i, _ in batch])
        if job["kind"] == "encoder":
            loss = model(input_ids=ids, attention_mask=mask, labels=torch.tensor([y for _, y in batch])).loss
        elif job["data"] == "blocks":  # no padding, and 512 positions that each have a target: as Hone's
            logits = model(input_ids=ids[:, :-1]).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        else:
            labels = torch.tensor([y + [-100] * (longest - len(y)) for _, y in batch])
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
    json.dump({"seconds": seconds, "losses": losses}, open(out, "w"))


def compare(case, args):
    kind, _, _, batch, steps = CASES[case]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hone-bench-"))
    try:
        prepare(folder / "base", case, args)
        ours, theirs = [], []
        for _ in range(args.rounds):
            ours.append(run_hone(folder / "base", args))
            theirs.append(run_peer(folder / "base", args))
    finally:
        shutil.rmtree(folder)
    tokens = ours[0]["tokens"]
    apart = max(abs(a - b) / abs(b) for a, b in zip(ours[0]["losses"], theirs[0]["losses"]))

    def rates(runs):
        if kind == "encoder":  # a whole pass: rows over the sum of its steps
            passes = [batch * steps / sum(r["seconds"]) for r in runs]
            return statistics.median(passes), max(passes)
        each = [n / s for r in runs for n, s in list(zip(tokens, r["seconds"]))[WARM:]]
        return statistics.median(each), max(each)

    (our_median, our_best), (their_median, their_best) = rates(ours), rates(theirs)
    unit = "rows/s" if kind == "encoder" else "tokens/s"
    print(f"{case:12s} Hone {our_median:6.0f} / {our_best:6.0f} {unit}, {min(r['rss'] for r in ours) / 1e6:6.0f} MB   "
          f"PyTorch {their_median:6.0f} / {their_best:6.0f}, {min(r['rss'] for r in theirs) / 1e6:6.0f} MB   "
          f"ratio {our_median / their_median:.2f} median, {our_best / their_best:.2f} best   loss {apart:.1e}", flush=True)
    if apart > 1e-3:
        raise SystemExit(f"{case}: the losses differ by {apart:.1e}: not the same work")


def main():
    if sys.argv[1:2] == ["--peer"]:
        return peer(*sys.argv[2:4])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("minilm", type=pathlib.Path)
    parser.add_argument("--gsm8k", required=True)
    parser.add_argument("--sst2", required=True)
    parser.add_argument("--only", action="append", choices=sorted(CASES))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--python", default=sys.executable, help="the Python that has torch, transformers and peft")
    parser.add_argument("--honed", default=str(ROOT / "build" / "server" / "honed"))
    args = parser.parse_args()
    os.environ["HONE_BUILD"] = str(pathlib.Path(args.honed).parents[1])
    for case in args.only or CASES:
        compare(case, args)


if __name__ == "__main__":
    main()
