#!/usr/bin/env python3
"""Whether runs that fit badly in a known way are named rightly, and healthy ones never called ill. Needs HONED and the packages of tests/e2e.

    bench/insight.py fit [--seeds 5] [--healthy 21] [--kind NAME]
"""
import argparse
import json
import pathlib
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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["fit"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--healthy", type=int, default=21)
    parser.add_argument("--kind", choices=list(fits.VERDICTS))
    sys.exit(1 if fit(parser.parse_args()) else 0)


if __name__ == "__main__":
    main()
