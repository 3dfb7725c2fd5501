#!/usr/bin/env python3
"""Predictions over HTTP: generation beside llama.cpp (prompt and new tokens a second), and classifications a second.

  bench/inference.py MODEL.gguf MINILM_FOLDER sst2_train.tsv [--honed PATH]

Generation: one prompt of about 500 tokens, answered with 1 and with 65 tokens; the difference is 64 new tokens, the first call the
prompt. The best of five calls each, two threads. llama.cpp (llama-cpp-python) does the same on the same file in this process.
Classification: an encoder trained for two steps answers batches of 1,024 texts: as they are, and cut to their first six words.
"""
import argparse
import json
import os
import pathlib
import subprocess
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
URL = "http://127.0.0.1:4798"
PROMPT = "The village lay between two rivers, and in spring both of them rose over the fields. " * 28
ROUNDS = 5


def post(path, body, **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(URL + path, data, headers)) as reply:
        return json.load(reply)


def get(path):
    with urllib.request.urlopen(URL + path) as reply:
        return json.load(reply)


def best(call):
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def generation(args):
    def ask(n):
        return best(lambda: post("/models/smollm2/predict", {"inputs": [{"prompt": PROMPT}], "max_tokens": n, "temperature": 0})["data"][0])

    ask(1)
    (first, one), (long, many) = ask(1), ask(65)
    tokens, new = one["usage"]["prompt_tokens"], many["usage"]["completion_tokens"] - one["usage"]["completion_tokens"]
    ours = tokens / first, new / (long - first)
    from llama_cpp import Llama
    model = Llama(str(args.model), n_ctx=2048, n_batch=512, n_threads=2, n_threads_batch=2, verbose=False)
    ids = model.tokenize(PROMPT.encode(), add_bos=False)

    def prompt():
        model.reset()
        model.eval(ids)

    def answer():
        prompt()
        for _ in range(64):
            model.eval([model.sample(temp=0)])

    prompt()
    first, long = best(prompt)[0], best(answer)[0]
    theirs = len(ids) / first, 64 / (long - first)
    for name, i in (("prompt", 0), ("new", 1)):
        print(f"generation, {name:6s} tokens/s   Hone {ours[i]:7.0f}   llama.cpp {theirs[i]:7.0f}   ratio {ours[i] / theirs[i]:.2f}", flush=True)


def classification(args):
    rows = [line.rstrip("\n").split("\t") for line in open(args.sst2, encoding="utf-8")]
    data = "".join(json.dumps({"text": t, "label": label}) + "\n" for t, label in rows[:64]).encode()
    dataset = post("/datasets?name=few", data)["id"]
    job = post("/jobs", {"model": "minilm", "dataset": dataset, "hyperparameters": {"max_steps": 2}})["id"]
    while get(f"/jobs/{job}")["status"] not in ("succeeded", "failed"):
        time.sleep(0.2)
    texts = [t for t, _ in rows[:1024]]
    for name, inputs in (("whole", texts), ("six words", [" ".join(t.split()[:6]) for t in texts])):
        seconds, _ = best(lambda: post(f"/jobs/{job}/predict", {"inputs": inputs}))
        print(f"classification, {name:9s}   {len(inputs) / seconds:.0f} texts/s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "minilm", "sst2"):
        parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("--honed", default=str(ROOT / "build" / "server" / "honed"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hone-bench-") as state:
        dirs = os.path.commonpath([args.model.resolve().parent, args.minilm.resolve()])
        daemon = subprocess.Popen([args.honed, "serve", "--state", state, "--listen", URL[7:], "--model_dirs", dirs],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(1)
            post("/models", {"name": "smollm2", "path": str(args.model.resolve())})
            post("/models", {"name": "minilm", "path": str(args.minilm.resolve())})
            classification(args)
            generation(args)
        finally:
            daemon.terminate()
            daemon.wait()


if __name__ == "__main__":
    main()
