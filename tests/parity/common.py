"""What the parity tests share: where programs and models are, running the engine, and its random numbers."""
import functools
import json
import os
import pathlib
import socket
import subprocess
import sys
import tarfile
import io

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HONE_BUILD", ROOT / "build"))
HONED = BUILD / "server" / "honed"
PROBE = BUILD / "tests" / "probe"
GGUF = os.environ.get("HONE_TEST_GGUF", "")
REVIEWS = os.environ.get("HONE_TEST_REVIEWS", "")  # vaderSentiment's source archive
VECTORS = ROOT / "tests" / "data" / "vectors"
HEAD_DIM = 64


@functools.cache
def short_model(layers=3):
    """The GGUF model's first layers: its tokenizer and its kinds of weights in a tenth of the time, for tests that depend on no depth."""
    import gguf
    path = BUILD / f"{pathlib.Path(GGUF).stem}-{layers}-layers.gguf"
    if path.exists() and path.stat().st_mtime > pathlib.Path(GGUF).stat().st_mtime:
        return str(path)
    reader, part = gguf.GGUFReader(GGUF), path.with_suffix(f".{os.getpid()}")
    family = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(part, family)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = layers if name == f"{family}.block_count" else field.contents()
        writer.add_key_value(name, value, field.types[0], sub_type=field.types[-1] if len(field.types) > 1 else None)
    for tensor in reader.tensors:
        block = tensor.name.split(".")
        if block[0] != "blk" or int(block[1]) < layers:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.rename(path)
    return str(path)


def probe(request, folder):
    """Runs tests/tools/probe.c; see there for the request."""
    path = pathlib.Path(folder) / "request.json"
    path.write_text(json.dumps(request))
    done = subprocess.run([str(PROBE), str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def helper(op, params):
    """One request to `honed helper` over a socket, as the daemon makes it."""
    ours, theirs = socket.socketpair()
    child = subprocess.Popen([str(HONED), "helper", str(theirs.fileno())], pass_fds=[theirs.fileno()])
    theirs.close()
    stream = ours.makefile("rwb")
    stream.write((json.dumps({"id": 1, "op": op, "params": params}) + "\n").encode())
    stream.flush()
    while "chunk" in (reply := json.loads(stream.readline())):
        pass
    stream.close()
    ours.close()
    child.wait()
    return reply


def reviews(n, offset=0):
    """Real rated movie reviews as chat rows: (text, "positive" | "negative"), clear ones only, in a fixed order."""
    with tarfile.open(REVIEWS) as outer:
        name = next(x for x in outer.getnames() if x.endswith("hutto_ICWSM_2014.tar.gz"))
        with tarfile.open(fileobj=io.BytesIO(outer.extractfile(name).read())) as inner:
            text = inner.extractfile("hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt").read().decode(errors="replace")
    rows = [line.split("\t") for line in text.splitlines()]
    rows = [(r[2].strip(), float(r[1])) for r in rows if len(r) >= 3 and abs(float(r[1])) >= 1]
    rows.sort(key=lambda r: (len(r[0]) * 7919 + ord(r[0][0]) * 104729 + ord(r[0][-2:][0])) % 10007)
    return [(t, "positive" if s > 0 else "negative") for t, s in rows[offset:offset + n]]


def chat_row(text, label):
    question = "Is this movie review positive or negative? Answer with one word.\n\n" + text
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": label}]}


def make_run(folder, rows, hyperparameters, validation=None, samples=0, base=None, **more):
    """A run directory for `honed train`, planned by the helper with `more` parameters. Returns the plan's reply. `base`: a model
    folder or another GGUF file."""
    folder = pathlib.Path(folder)
    (folder / "inputs").mkdir(parents=True, exist_ok=True)
    base = base or GGUF
    os.symlink(base, folder / "inputs" / ("model" if os.path.isdir(base) else "model.gguf"))
    (folder / "inputs" / "train").write_text("".join(json.dumps(r) + "\n" for r in rows))
    params = {"model": {"path": str(base), "sha256": "0" * 64, "name": "base"},
              "train": {"path": str(folder / "inputs" / "train"), "sha256": "1" * 64, "format": "jsonl"},
              "validation": "none", "hyperparameters": hyperparameters, "samples": {"rows": samples, "max_tokens": 16},
              "threads": 2, "memory_bytes": 8 << 30, "now": "2026-01-31", **more}
    if validation:
        (folder / "inputs" / "validation").write_text("".join(json.dumps(r) + "\n" for r in validation))
        params["validation"] = {"path": str(folder / "inputs" / "validation"), "sha256": "2" * 64, "format": "jsonl"}
    reply = helper("job.plan", params)
    assert "result" in reply, reply
    result = reply["result"]
    result["host"]["threads"] = 2
    (folder / "spec.json").write_text(json.dumps({"format": 1, "job": "job_test", "run": result["run"], "host": result["host"]}))
    return result


def encode(rows, folder, model=None):
    """Token ids and target weights of rows, through the engine's preview."""
    path = pathlib.Path(folder) / "rows.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    ids, weights = [], []
    for i in range(len(rows)):
        reply = helper("dataset.preview", {"model": {"path": model or GGUF}, "data": {"path": str(path), "format": "jsonl"}, "row": i + 1,
                                           "task": None, "hyperparameters": {}})
        tokens = reply["result"]["tokens"]
        ids.append([t["id"] for t in tokens])
        weights.append([1.0 if t["state"] == "trained" else 0.0 for t in tokens])
    return ids, weights


def events(folder, kind=None):
    lines = [json.loads(x) for x in (pathlib.Path(folder) / "events.jsonl").read_text().splitlines()]
    return [x for x in lines if kind is None or x["type"] == kind]


def philox_u64(seed, purpose, step, index):
    """engine/base/rng.h's hn_random_u64."""
    mask = 0xFFFFFFFF
    c = [index & mask, (index >> 32 & mask) ^ (purpose << 24 & mask), step & mask, step >> 32 & mask]
    k = [seed & mask, seed >> 32 & mask]
    for _ in range(10):
        a, b = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(b >> 32) ^ c[1] ^ k[0], b & mask, (a >> 32) ^ c[3] ^ k[1], a & mask]
        k = [(k[0] + 0x9E3779B9) & mask, (k[1] + 0xBB67AE85) & mask]
    return c[1] << 32 | c[0]


def shuffle(n, seed, epoch):
    """Training order of an epoch: engine/train/train.c's Fisher-Yates."""
    order = list(range(n))
    for i in range(n, 1, -1):
        k = philox_u64(seed, 2, epoch, i) % i
        order[i - 1], order[k] = order[k], order[i - 1]
    return order


def llamacpp(model, prompts, adapter=None):
    """Of each prompt {id: log probability} of the five next tokens that llama.cpp finds most likely."""
    pytest.importorskip("xllamacpp")
    done = subprocess.run([sys.executable, str(ROOT / "tests" / "parity" / "read_llamacpp.py")], text=True, capture_output=True, timeout=120,
                          input=json.dumps({"model": str(model), "adapter": str(adapter) if adapter else None, "prompts": prompts}))
    lines = [line for line in done.stdout.splitlines() if line.startswith("ANSWER")]
    assert lines, done.stderr[-3000:]
    return [{int(k): v for k, v in row.items()} for row in json.loads(lines[0].removeprefix("ANSWER"))]
