#!/usr/bin/env python3
"""A stand-in for the engine, for fast tests of the daemon: the helper's wire and the run directory's protocol, no learning.

The daemon spawns it instead of itself when HONED_TEST_EXE names it. What it shall do is told by the first row of the data set:
{"text":"…","fake":{"steps":20,"step_seconds":0.01,"save_every":5,"die_at":[3],"hang_at":7,"fail_at":9,"peak_bytes":1000,"deaf":true,
"plan_seconds":1,"evaluate_seconds":1 (a row),"evaluate_dies":true,"evaluate_fails":true,"unlock_at":[2],"busy_at":2,"busy_seconds":1,"eat_at":2,"eat_bytes":1}}.
An input to predict may say what to do, too: "CRASH", "wait:SECONDS".
die_at: kills itself when it reaches that step, once per entry. Results are a hash chain over the steps, so that a lost or doubled
step shows in the artifact's bytes.
"""
import fcntl
import hashlib
import json
import os
import pathlib
import signal
import socket
import sys
import time


def now():
    t = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(t)) + f".{int(t * 1000) % 1000:03d}Z"


def directives(path):
    try:
        return json.loads(open(path, encoding="utf-8").readline()).get("fake", {})
    except (OSError, ValueError, AttributeError):
        return {}


class Refused(Exception):
    def __init__(self, code, message, field="", hint="", details=None):
        super().__init__(message)
        self.error = {"code": code, "message": message, "field": field, "hint": hint}
        if details:
            self.error |= {"details": details, "total": len(details)}


def inspect_dataset(p):
    rows, bad = 0, []
    for number, line in enumerate(open(p["path"], "rb"), 1):
        if b"CRASH" in line:
            os.abort()
        try:
            ok = "text" in json.loads(line)
        except (ValueError, TypeError):
            ok = False
        rows += ok
        if not ok:
            bad.append({"line": number, "column": 1, "field": "text", "message": "not a row", "hint": "write {\"text\":…}"})
    if bad and p["on_error"] == "refuse":
        raise Refused("dataset_invalid", f"{len(bad)} rows cannot be used", details=bad[:100])
    return {"format": p["format"] or "jsonl", "columns": p["columns"] or {"text": "text"}, "tasks": ["generation"], "rows": rows,
            "dropped": len(bad), "warnings": []}


def correct(p):
    lines = open(p["data"]["path"], "rb").read().splitlines(keepends=True)
    exclude = p["request"].get("exclude")
    wanted = exclude.get("lines") if isinstance(exclude, dict) else None
    out = [line for number, line in enumerate(lines, 1) if not isinstance(wanted, list) or number not in wanted]
    if not out or len(out) == len(lines):
        raise Refused("invalid_field", "nothing would change")
    data = b"".join(out)
    with open(p["to"], "xb") as file:
        file.write(data)
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "excluded": len(lines) - len(out), "relabelled": 0, "changes": []}


def inspect_model(p):
    path = pathlib.Path(p["path"])
    file = path / "config.json" if path.is_dir() else path
    data = file.read_bytes()
    if data.startswith(b"BAD"):
        raise Refused("model_invalid", "this is no model", hint="send a good one")
    return {"family": "fake", "format": "gguf", "quantisation": None, "parameters": 7, "context": 64, "vocab": 256,
            "tasks": ["generation"], "chat_template": False, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def plan(p):
    fake = directives(p["train"]["path"])
    hp = p["hyperparameters"]
    steps = hp.get("max_steps") or fake.get("steps", 4)
    peak = fake.get("peak_bytes", 1000)
    time.sleep(fake.get("plan_seconds", 0))
    data = {k: p["train"].get(k) for k in ("format", "columns", "sha256")}
    run = {"task": "generation", "method": p["method"] or "lora", "model": {"sha256": p["model"]["sha256"], "file": "inputs/model.gguf"},
           "train": data | {"file": "inputs/train"}, "validation": None, "hyperparameters": hp | {"max_steps": steps}}
    resolved = {"epochs": 1.0, "max_steps": steps, "learning_rate": 0.001, "metric_for_best": "val_loss"} | hp
    return {"run": run, "host": {"threads": None, "memory_bytes": p["memory_bytes"], "save_every": fake.get("save_every", 2)},
            "task": "generation", "method": run["method"], "hyperparameters": resolved, "auto": {"learning_rate": "because"},
            "validation": (p.get("validation") or {}) | {"rows": 1} if isinstance(p.get("validation"), dict) else None, "counts": {"rows": 1, "used": 1, "dropped": 0, "truncated": 0, "target_tokens": 5},
            "warnings": [{"code": "fake", "message": "nothing is learned"}],
            "plan": {"peak_bytes": peak, "micro_batch_tokens": 16, "recompute": False},
            "dry_run": {"peak_bytes": peak, "disk_bytes": 1, "steps": steps, "rows": 1, "tokens": 5, "target_tokens": 5, "dropped": 0,
                        "truncated": 0, "seconds_estimate": 1.0, "hyperparameters": resolved,
                        "alternatives": [{"change": {"micro_batch_tokens": 8}, "peak_bytes": peak // 2}]}}


def predict(p, chunk):
    data = []
    for i, text in enumerate(p["inputs"]):
        if text == "CRASH":
            os.abort()
        if str(text).startswith("wait:"):
            time.sleep(float(text[5:]))
        for word in ("echo:", " ", str(text)):
            if p.get("stream"):
                chunk({"index": i, "text": word})
                time.sleep(0.02)
        data.append({"text": f"echo: {text}", "finish_reason": "stop", "usage": {"prompt_tokens": 1, "completion_tokens": 2}})
    return {"data": data}


def chat(p, chunk):
    chunk({"begun": True})
    choices = []
    for i, asked in enumerate(p["inputs"] * p.get("n", 1)):
        text = "echo: " + str(asked.get("prompt", asked.get("messages")) if isinstance(asked, dict) else asked)
        if p.get("stream"):
            chunk({"index": i, "text": text})
        choices.append({"index": i, "text": text, "finish_reason": "stop", "tokens": 2})
    return {"choices": choices, "prompt_tokens": 1, "cached_tokens": 0, "completion_tokens": 2 * len(choices)}


def evaluate(p, chunk):
    fake = directives(p["data"]["path"])
    rows = sum(1 for _ in open(p["data"]["path"], "rb"))
    for done in range(rows):
        chunk({"rows": done, "total": rows, "answered": None})
        time.sleep(fake.get("evaluate_seconds", 0))
    if fake.get("evaluate_dies"):
        os.abort()
    if fake.get("evaluate_fails"):
        raise Refused("dataset_invalid", "no row has a target")
    if p.get("rows_to"):
        with open(p["rows_to"], "x") as out:
            out.writelines(json.dumps({"line": i + 1, "loss": 1.0}) + "\n" for i in range(rows))
    return {"rows": rows, "dropped": 0, "truncated": 0, "metrics": {"loss": 1.0}}


def export(p):
    folder, data = pathlib.Path(p["to"]), b"exported"
    folder.mkdir(parents=True)
    (folder / "adapter.bin").write_bytes(data)
    files = [{"path": "adapter.bin", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}]
    (folder / "manifest.json").write_text(json.dumps({"files": files}))
    return {}


REPORT = {"rows": 1, "seconds": 0.1, "plan": {"rows": 1, "bytes": 700, "near": "full"}, "labels": None, "notes": [], "findings": [],
          "lengths": {"characters": {"mean": 5, "min": 5, "p10": 5, "median": 5, "p90": 5, "p99": 5, "max": 5}, "tokens": None},
          "languages": {"rows": 0, "shares": {}}, "diversity": {}, "diversity_rows": 1, "embeddings": None, "clusters": {"count": 0, "largest": []}}


def helper(fd):
    sock = socket.socket(fileno=fd)
    send = lambda o: sock.sendall(json.dumps(o).encode() + b"\n")
    for line in sock.makefile("rb"):
        request = json.loads(line)
        if "pause" in request or "cancel" in request:
            continue
        number, op, p = request["id"], request["op"], request["params"]
        try:
            result = {"dataset.inspect": inspect_dataset, "dataset.correct": correct, "dataset.rows": lambda p: {"data": []}, "model.inspect": inspect_model, "job.plan": plan, "evaluate": lambda p: evaluate(p, lambda c: send({"id": number, "chunk": c})),
                      "dataset.preview": lambda p: {"row": p["row"], "line": p["row"], "rendered": "x", "tokens": [], "counts": {}, "warnings": []},
                      "dataset.look": lambda p: {"format": "jsonl", "columns": {"text": "text"}, "tasks": ["generation"], "rows": 1, "dropped": 0, "labels": None,
                                                 "warnings": [], "sample": [{"line": 1, "cells": {"text": "a"}}], "error": None},
                      "fit": lambda p: {"verdict": "undecided", "health": "unknown", "summary": "x", "rule": "x", "evidence": [], "best_step": None, "best_gain": None,
                                        "advice": "x", "change": None, "provisional": False},
                      "examples": lambda p: {"data": [], "next": None, "rows": 0, "every": 1},
                      "dataset.report": lambda p: REPORT,
                      "chat": lambda p: chat(p, lambda c: send({"id": number, "chunk": c})),
                      "embed": lambda p: {"data": [[0.6, 0.8] for _ in p["inputs"]], "tokens": len(p["inputs"])},
                      "export": export, "predict": lambda p: predict(p, lambda c: send({"id": number, "chunk": c}))}[op](p)
            send({"id": number, "result": result})
        except Refused as refused:
            send({"id": number, "error": refused.error})


class Trainer:
    def __init__(self, folder, lock_fd):
        self.dir = pathlib.Path(folder)
        self.spec = json.loads((self.dir / "spec.json").read_text())
        self.fake = directives(self.dir / "inputs/train")
        if lock_fd < 0:
            lock_fd = os.open(self.dir / "lock", os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                sys.exit(4)
        self.lock = lock_fd
        self.stop = False
        self.n = 0
        self.told = 0
        signal.signal(signal.SIGTERM, self.on_term)

    def on_term(self, *_):
        if not self.fake.get("deaf"):
            self.stop = True

    def open_events(self):
        path = self.dir / "events.jsonl"
        whole = b""
        if path.exists():
            data = path.read_bytes()
            whole = data[:data.rfind(b"\n") + 1]
            if len(whole) != len(data):
                os.truncate(path, len(whole))
        for line in whole.splitlines():
            event = json.loads(line)
            self.n = event["n"]
            if event["type"] == "step":
                self.told = max(self.told, event["data"]["step"])
        self.out = open(path, "ab", buffering=0)
        return bool(whole)

    def tell(self, kind, **data):
        self.n += 1
        self.out.write(json.dumps({"n": self.n, "time": now(), "type": kind, "data": data}).encode() + b"\n")

    def checkpoint(self, step, chain):
        os.fsync(self.out.fileno())
        final = self.dir / f"checkpoints/step-{step:06d}"
        if final.exists():
            return
        tmp = self.dir / f"checkpoints/.tmp-{step}"
        tmp.mkdir(parents=True, exist_ok=True)
        (tmp / "state.json").write_text(json.dumps({"step": step, "chain": chain}))
        tmp.rename(final)
        self.tell("checkpoint", step=step, bytes=100, best=False)

    def resume(self):
        found = sorted((self.dir / "checkpoints").glob("step-*")) if (self.dir / "checkpoints").exists() else []
        if not found:
            return 0, "start"
        state = json.loads((found[-1] / "state.json").read_text())
        return state["step"], state["chain"]

    def misbehave(self, step):
        marks = self.dir / "marks"
        if step in self.fake.get("die_at", []) or self.fake.get("die_always"):
            mark = marks / str(step)
            if self.fake.get("die_always") or not mark.exists():
                marks.mkdir(exist_ok=True)
                mark.touch()
                self.out.write(b'{"n": torn')
                os.kill(os.getpid(), signal.SIGKILL)
        mark = marks / f"unlock-{step}"
        if step in self.fake.get("unlock_at", []) and not mark.exists():
            marks.mkdir(exist_ok=True)
            mark.touch()
            os.close(self.lock)
            time.sleep(3600)
        if self.fake.get("hang_at") == step:
            time.sleep(3600)
        if self.fake.get("busy_at") == step:
            end = time.monotonic() + self.fake["busy_seconds"]
            while time.monotonic() < end:
                pass
        if self.fake.get("eat_at") == step:
            eaten = b"x" * self.fake["eat_bytes"]
            time.sleep(10)
            del eaten
        if self.fake.get("fail_at") == step:
            self.tell("failed", code="diverged", message="the loss is not finite", hint="lower the rate", step=step, lines=[])
            sys.exit(5)

    def run(self):
        again = self.open_events()
        steps = self.spec["run"]["hyperparameters"]["max_steps"]
        self.tell("started", attempt=1, pid=os.getpid(), build="fake", kernels="none", threads=self.spec["host"]["threads"])
        self.tell("plan", peak_bytes=1000, steps=steps, rows=1, dropped=0, truncated=0, tokens=5, target_tokens=5)
        step, chain = self.resume()
        if again:
            self.tell("resumed", from_step=step, replayed_to=self.told)
        elif step == 0:
            self.tell("eval", step=0, rows=1, seconds=0.1, best=True, val_loss=5.0)
        stop_at = self.spec["host"].get("stop_at") or steps
        while step < steps:
            if self.stop or step >= stop_at:
                self.checkpoint(step, chain)
                self.tell("interrupted", step=step, reason="signal" if self.stop else "stop_at")
                sys.exit(3)
            time.sleep(self.fake.get("step_seconds", 0.01))
            step += 1
            self.misbehave(step)
            chain = hashlib.sha256(f"{chain} {step}".encode()).hexdigest()
            if step > self.told:
                self.tell("step", step=step, epoch=step / steps, loss=round(5 / step, 6), learning_rate=0.001, grad_norm=1.0,
                          tokens=5 * step, target_tokens=5, tokens_per_second=100.0, seconds=0.01)
                if step in (steps, stop_at):
                    self.tell("eval", step=step, rows=1, seconds=0.1, best=True, val_loss=round(6 / step, 6), val_accuracy=0.5)
            if step % self.spec["host"]["save_every"] == 0 or step == steps:
                self.checkpoint(step, chain)
        self.export(step, chain)
        self.tell("finished", step=step, reason="completed", best={"step": step}, exported_step=step, seconds=1.0)

    def export(self, step, chain):
        folder = self.dir / "artifacts/peft"
        folder.mkdir(parents=True, exist_ok=True)
        data = (chain * 1000).encode()
        (folder / "adapter.bin").write_bytes(data)
        self.tell("verified", artifact="peft", base_sha256="x", rows=1, max_abs_logit_diff=0.0, passed=True)
        self.tell("artifact", path="peft/adapter.bin", size=len(data), sha256=hashlib.sha256(data).hexdigest())


def number_after(word):
    return int(sys.argv[sys.argv.index(word) + 1]) if word in sys.argv else -1


if __name__ == "__main__":
    if sys.argv[1] == "helper":
        helper(int(sys.argv[2]))
    elif sys.argv[1] == "train":
        Trainer(sys.argv[2], number_after("--lock-fd")).run()
    else:  # no work of the engine: as the daemon itself does it
        os.execv(f"/proc/{os.getppid()}/exe", sys.argv)
