#!/usr/bin/env python3
"""What insight is worth. Needs HONED and the packages of tests/e2e.

    bench/insight.py fit [--seeds 5] [--healthy 21] [--kind NAME]
        whether runs that fit badly in a known way are named rightly, and healthy ones never called ill
    bench/insight.py session all-MiniLM-L6-v2 train.tsv dev.tsv
        a noisy file from its report to a better model: rows `text TAB label` (SST-2), made worse in known ways
    bench/insight.py forgetting MODEL.gguf rows.txt [--steps 6]
        a run that forgets (full, 1e-3) beside one that does not (lora, auto): rows `meaning || text` (E2E)
"""
import argparse
import json
import pathlib
import random
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/e2e"))
import fits  # noqa: E402
import tiny  # noqa: E402
from daemon import Daemon  # noqa: E402


def begin(folder):
    for make in (tiny.llama, tiny.bert):
        make(folder / "models" / make.__name__)
    daemon = Daemon(folder / "d/state", "--model_dirs", str(folder / "models"), fake=False)
    for name in ("llama", "bert"):
        assert daemon.post("/models", json={"name": name, "path": str(folder / "models" / name)}).status_code == 201
    return daemon


def upload(daemon, rows):
    return daemon.post("/datasets?name=t", data="".join(json.dumps(row) + "\n" for row in rows).encode()).json()["id"]


def verdict(daemon, kind, seed):
    base, train, held, more = fits.build(kind, seed)
    reply = daemon.post("/jobs", json={"model": base, "dataset": upload(daemon, train), "validation": upload(daemon, held)} | more)
    assert reply.status_code == 201, reply.text
    job = reply.json()["id"]
    daemon.wait(job, timeout=600)
    return daemon.get(f"/jobs/{job}/fit").json()


def fit(options):
    wanted = [options.kind] if options.kind else [k for k in fits.VERDICTS if k not in fits.HEALTHY]
    seeds = {kind: range(options.seeds) for kind in wanted}
    if not options.kind:
        seeds |= {kind: range(-(-options.healthy // len(fits.HEALTHY))) for kind in fits.HEALTHY}
    right = alarms = 0
    with tempfile.TemporaryDirectory() as folder:
        daemon = begin(pathlib.Path(folder))
        try:
            for kind, numbers in seeds.items():
                found = [verdict(daemon, kind, seed)["verdict"] for seed in numbers]
                hits = sum(name == fits.VERDICTS[kind] for name in found)
                others = ", ".join(sorted({name for name in found if name != fits.VERDICTS[kind]}))
                print(f"{kind:16} {fits.VERDICTS[kind]:16} {hits} of {len(found)}  {others}", flush=True)
                right += hits if kind not in fits.HEALTHY else 0
                alarms += len(found) - hits if kind in fits.HEALTHY else 0
        finally:
            daemon.stop()
    print(f"named rightly: {right} of {sum(len(n) for k, n in seeds.items() if k not in fits.HEALTHY)}; healthy runs called ill: {alarms}")
    return alarms


# ---- a session ----

ROWS, DOUBLES, LEAKS, TURNED, LOOKED_AT = 1500, 150, 60, 0.1, 150


def spoil(rows, held):
    """Rows of which some have the other label now, some stand there twice, as they are or edited, and some are of the rows held out; and which were turned."""
    chance, other = random.Random(1), {"negative": "positive", "positive": "negative"}
    turned = set(chance.sample(range(len(rows)), round(TURNED * len(rows))))
    rows = [{**row, "label": other[row["label"]]} if i in turned else row for i, row in enumerate(rows)]
    again = chance.sample(rows, DOUBLES)
    edited = [{**row, "text": row["text"].title() + " !"} for row in again[DOUBLES // 2:]]
    private = [{"text": "write to jane.doe@mail.acme.co.uk , the key is AKIA" + "".join(chance.choice("ABCDEFGHIJ234567") for _ in range(16)), "label": "positive"}]
    return rows + again[:DOUBLES // 2] + edited + chance.sample(held, LEAKS) + private, {i + 1 for i in turned}


def train(daemon, test, path, body=None):
    """The job that a POST to the path makes, its verdict and its accuracy on rows that nothing looked at."""
    reply = daemon.post(path, json=body)
    assert reply.status_code == 201, reply.text
    job = daemon.wait(reply.json()["id"], timeout=3600)
    assert job["status"] == "succeeded", job["status_reason"]
    told = daemon.post(f"/jobs/{job['id']}/evaluate", json={"dataset": test}).json()
    print(f"  {job['dataset_counts']['used']} rows, {job['progress']['step']} steps; accuracy on the test rows {told['metrics']['accuracy']:.4f}, "
          f"loss {told['metrics']['loss']:.4f}")
    fit = daemon.get(f"/jobs/{job['id']}/fit").json()
    print(f"  verdict {fit['verdict']}: {fit['summary']}\n  {fit['advice'] or 'nothing to change'}", flush=True)
    return job["id"], fit


def session(options):
    def read(path):
        pairs = (line.rstrip("\n").split("\t") for line in open(path, encoding="utf-8"))
        return [{"text": text, "label": "positive" if label == "1" else "negative"} for text, label in pairs]
    held, test = read(options.dev)[:436], read(options.dev)[436:]
    rows, turned = spoil(read(options.train)[:ROWS], held)
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(pathlib.Path(folder) / "state", "--model_dirs", str(options.model.resolve().parent), fake=False)
        try:
            assert daemon.post("/models", json={"name": "minilm", "path": str(options.model.resolve())}).status_code == 201
            data, held, test = (upload(daemon, each) for each in (rows, held, test))
            print(f"the report on {len(rows)} rows, against those held out:")
            for found in daemon.get(f"/datasets/{data}/report?against={held}&wait=60").json()["findings"]:
                print(f"  {found['severity']:8}{found['code']:18}{found['count']:5}  {found['message']}" + (f" -> {found['fix']}" if found["fix"] else ""))
            body = {"model": "minilm", "dataset": data, "validation": held, "method": "full", "samples": {"rows": 0}, "hyperparameters": {"epochs": 3}}
            print("trained as it is:")
            first, _ = train(daemon, test, "/jobs", body)
            listed = daemon.get(f"/jobs/{first}/examples?sort=mislabelled&limit={LOOKED_AT}").json()["data"]
            wrong = sorted({row["line"] for row in listed} & turned)
            print(f"{len(wrong)} of the first {LOOKED_AT} rows by examples?sort=mislabelled have a turned label ({len(turned)} of all have); whoever looks at them "
                  "leaves those out, doubles and leaks as well:")
            body |= {"dedupe": "near", "drop_leaks": "near", "rows": {"exclude": wrong}}
            jobs, (last, verdict) = [first], train(daemon, test, "/jobs", body)
            jobs.append(last)
            while verdict["next"] and len(jobs) < 4:
                print(f"what the verdict says to try next ({verdict['next']['why']}):")
                last, verdict = train(daemon, test, f"/jobs/{last}/next")
                jobs.append(last)
            for metric in ("accuracy", "loss"):
                told = daemon.get(f"/compare?jobs={','.join(jobs)}&dataset={test}&metric={metric}").json()
                print(f"{metric}: " + ", ".join(f"{r['value']:.4f}" for r in told["results"]) + f". {told['summary']}")
        finally:
            daemon.stop()
    return 0


# ---- what is forgotten ----

RUNS = {"full, 1e-3": ("full", {"learning_rate": 1e-3}), "lora, auto": ("lora", {})}


def forgetting(options):
    pairs = dict(line.split("||") for line in options.rows.read_text().splitlines() if "||" in line)  # one text of each meaning
    rows = [{"prompt": f"{meaning.strip()}\n", "completion": said.strip()} for meaning, said in pairs.items()]
    random.Random(1).shuffle(rows)
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(pathlib.Path(folder) / "state", "--model_dirs", str(options.model.resolve().parent), fake=False)
        try:
            assert daemon.post("/models", json={"name": "base", "path": str(options.model.resolve())}).status_code == 201
            data, held = upload(daemon, rows[12:212]), upload(daemon, rows[:12])
            for name, (method, knobs) in RUNS.items():
                knobs = {"max_steps": options.steps, "eval_every": max(1, options.steps // 2), "batch_size": 4, "save_every": 1000} | knobs
                reply = daemon.post("/jobs", json={"model": "base", "dataset": data, "validation": held, "method": method, "export_step": "last",
                                                   "samples": {"rows": 0}, "hyperparameters": knobs})
                assert reply.status_code == 201, reply.text
                job = daemon.wait(reply.json()["id"], timeout=3600)
                assert job["status"] == "succeeded", job["status_reason"]
                told = [row for row in daemon.get(f"/jobs/{job['id']}/metrics").json()["data"] if row["val_loss"] is not None]
                for row in told:
                    print(f"{name:12} step {row['step']:3}: val_loss {row['val_loss']:.3f}  val_kl {row['val_kl']:.4f}  neutral_loss "
                          f"{row['neutral_loss']:.4f} ({row['neutral_loss'] - told[0]['neutral_loss']:+.4f})", flush=True)
                daemon.delete(f"/jobs/{job['id']}")
        finally:
            daemon.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    one = what.add_parser("fit")
    one.add_argument("--seeds", type=int, default=5)
    one.add_argument("--healthy", type=int, default=21)
    one.add_argument("--kind", choices=list(fits.VERDICTS))
    two = what.add_parser("session")
    for name in ("model", "train", "dev"):
        two.add_argument(name, type=pathlib.Path)
    three = what.add_parser("forgetting")
    three.add_argument("model", type=pathlib.Path)
    three.add_argument("rows", type=pathlib.Path)
    three.add_argument("--steps", type=int, default=6)
    options = parser.parse_args()
    sys.exit(1 if {"fit": fit, "session": session, "forgetting": forgetting}[options.what](options) else 0)


if __name__ == "__main__":
    main()
