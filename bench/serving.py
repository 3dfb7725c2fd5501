#!/usr/bin/env python3
"""How fast answers are written over HTTP, beside llama.cpp's server: the same model file, requests and threads; tokens a second of all streams together
and the time to the first token, for 1, 4, 8 and 16 clients at once.

  bench/serving.py MODEL.gguf [--honed PATH] [--rounds 3] [--tokens 128] [--clients 1,4,8,16]

Both are asked in turn, each round; the best round counts. llama.cpp by the PyPI package xllamacpp (without it Hone alone). Prompts differ, so that nothing
of them is in a cache; one long beginning that all share is timed as well ("shared").
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARED = "You are a careful assistant of a large library. " * 60  # some 600 tokens


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start_hone(args, state):
    subprocess.run([args.honed, "model", "import", "base", args.model, "--state", state], check=True, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{free_port()}"
    process = subprocess.Popen([args.honed, "serve", "--state", state, "--listen", url[7:], "--log_level", "error"])
    for _ in range(200):
        try:
            urllib.request.urlopen(url + "/healthz").close()
            return url, process
        except OSError:
            time.sleep(0.05)
    raise SystemExit("honed did not start")


def serve_llama(path, threads, slots):
    """In a process of its own: llama.cpp's server, whose address it prints."""
    import xllamacpp
    p = xllamacpp.CommonParams()
    p.model.path, p.n_parallel, p.n_ctx = path, slots, slots * 1024
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(p)
    print(server.listening_address, flush=True)
    sys.stdin.read()


def start_llama(args):
    try:
        import xllamacpp  # noqa: F401
    except ImportError:
        return None, None
    process = subprocess.Popen([sys.executable, __file__, "--llama", args.model, str(os.cpu_count()), str(max(args.clients))], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return process.stdout.readline().strip(), process


def ask(url, prompt, tokens):
    """(seconds to the first token, tokens) of a stream of exactly so many tokens."""
    # without end tokens both write as many as asked for
    body = {"model": "base", "messages": [{"role": "user", "content": prompt}], "max_tokens": tokens, "temperature": 0, "stream": True,
            "stream_options": {"include_usage": True}}
    request = urllib.request.Request(url + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    begun, first, written = time.time(), None, 0
    with urllib.request.urlopen(request, timeout=600) as reply:
        for line in reply:
            if not line.startswith(b"data: {"):
                continue
            data = json.loads(line[6:])
            if first is None and data.get("choices") and data["choices"][0]["delta"].get("content"):
                first = time.time() - begun
            if data.get("usage"):
                written = data["usage"]["completion_tokens"]
    return first or time.time() - begun, written


def measure(url, clients, tokens, salt, before=""):
    prompts = [f"{before}Write a long story about the dragon number {salt}{i}." for i in range(clients)]
    begun = time.time()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        told = list(pool.map(lambda p: ask(url, p, tokens), prompts))
    firsts = sorted(f for f, _ in told)
    return sum(n for _, n in told) / (time.time() - begun), firsts[len(firsts) // 2], firsts[-1]


def main():
    if sys.argv[1:2] == ["--llama"]:
        return serve_llama(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--honed", default=str(ROOT / "build/server/honed"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--clients", type=lambda t: [int(n) for n in t.split(",")], default=[1, 4, 8, 16])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (hone, daemon), (llama, server) = start_hone(args, folder), start_llama(args)
        sides = {"hone": hone} | ({"llama.cpp": llama} if llama else {})
        try:
            for url in sides.values():
                ask(url, "hello", 4)
            print(f"{'clients':>8} {'':10} {'tokens/s':>9} {'first, median':>14} {'first, last':>12}")
            for clients in [(n, "") for n in args.clients] + [(max(args.clients), SHARED)]:
                best = {}
                for round in range(args.rounds):
                    for name, url in sides.items():
                        found = measure(url, clients[0], args.tokens, f"{round}-", clients[1])
                        best[name] = max(best.get(name, found), found)
                for name, (rate, median, last) in best.items():
                    print(f"{clients[0]:>8} {name:10} {rate:9.1f} {median:13.3f}s {last:11.3f}s{'  shared' if clients[1] else ''}", flush=True)
                if len(best) == 2:
                    print(f"{'':8} {'ratio':10} {best['hone'][0] / best['llama.cpp'][0]:9.2f}")
        finally:
            for process in (daemon, server):
                if process:
                    process.terminate()
                    process.wait()


if __name__ == "__main__":
    sys.exit(main())
