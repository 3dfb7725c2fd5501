#!/usr/bin/env python3
"""Tokenisation on one core beside Hugging Face's tokenizers: the same texts, the same ids, tokens a second (the best of five passes).

  bench/tokenizer.py MODEL.gguf MINILM_FOLDER gsm8k.jsonl [--texttool PATH]
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"], os.environ["RAYON_NUM_THREADS"] = "false", "1"
ROOT = pathlib.Path(__file__).resolve().parents[1]
PASSES = 5


def ours(tool, model, texts):
    with subprocess.Popen([tool, str(model)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        def ask(**request):
            child.stdin.write(json.dumps(request) + "\n")
            child.stdin.flush()
            return json.loads(child.stdout.readline())
        ids = [ask(op="encode", text=t, special=True)["ids"] for t in texts]
        best = min(sum(ask(op="time", text=t, repeat=1)["seconds"] for t in texts) for _ in range(PASSES))
        child.stdin.close()
    return ids, sum(map(len, ids)) / best


def theirs(model, texts):
    from transformers import AutoTokenizer
    name = dict(gguf_file=model.name) if model.is_file() else {}
    tokenizer = AutoTokenizer.from_pretrained(model.parent if model.is_file() else model, **name)
    fast, best = tokenizer.backend_tokenizer, 1e9
    fast.no_truncation()
    fast.no_padding()
    ids = [e.ids for e in (fast.encode(t, add_special_tokens=False) for t in texts)]
    for _ in range(PASSES):
        begin = time.perf_counter()
        for t in texts:
            fast.encode(t, add_special_tokens=False)
        best = min(best, time.perf_counter() - begin)
    return ids, sum(map(len, ids)) / best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "minilm", "data"):
        parser.add_argument(name, type=lambda p: pathlib.Path(p).resolve())
    parser.add_argument("--texttool", default=str(ROOT / "build" / "tests" / "texttool"))
    args = parser.parse_args()
    texts = [r["question"] + "\n" + r["answer"] for r in map(json.loads, open(args.data, encoding="utf-8"))][:2000]
    for name, model in (("byte BPE (SmolLM2)", args.model), ("WordPiece (MiniLM)", args.minilm)):
        (a, rate), (b, other) = ours(args.texttool, model, texts), theirs(model, texts)
        same = sum(x == y for x, y in zip(a, b))
        print(f"{name:20s} {rate / 1e6:6.2f} million tokens/s   tokenizers {other / 1e6:6.2f}   ratio {rate / other:.1f}   same ids in {same} of {len(texts)}")


if __name__ == "__main__":
    sys.exit(main())
