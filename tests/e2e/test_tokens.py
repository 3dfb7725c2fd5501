"""Rows are tokenised once: plans and trainers share a file of tokens, which changes no result, may be damaged or missing, and goes
with the data."""
import json
import os
import pathlib
import random
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parity"))
import common  # noqa: E402
from test_trainer import artifact_hashes, history  # noqa: E402

KNOBS = {"max_steps": 1, "batch_size": 2, "learning_rate": 1e-3, "seed": 5}
pytestmark = pytest.mark.skipif(not common.GGUF or not common.REVIEWS, reason="needs the model and the reviews")


def rows(n, offset=0):
    return [common.chat_row(*r) for r in common.reviews(n, offset)]


def make(folder, cache=None, n=12, knobs=KNOBS, **more):
    plan = common.make_run(folder, rows(n), knobs, validation=rows(4, 100), samples=1, base=common.short_model(),
                           **({"tokens": {"folder": str(cache), "bytes": 1 << 30}} if cache else {}), **more)
    return plan


def train(folder):
    done = subprocess.run([str(common.HONED), "train", str(folder)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert not (folder / "inputs" / "tokens").exists() and not [p for p in folder.rglob(".tmp*")]
    return artifact_hashes(folder), history(folder)


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    """A token file as a plan leaves it, and the result of the run without it."""
    root = tmp_path_factory.mktemp("tokens")
    (root / "cache").mkdir()
    plan = make(root / "run", root / "cache")
    assert [p.name for p in (root / "cache").iterdir()] == [plan["host"]["tokens"]]
    return root / "cache" / plan["host"]["tokens"], train(root / "run")


def test_a_second_plan_reads_the_first_ones_tokens(cached, tmp_path):
    plan = make(tmp_path / "a", cached[0].parent)
    before = cached[0].stat()
    # Other things of the run may differ, and a length that cuts nothing; then the very file is used, and the plan is the same.
    again = make(tmp_path / "b", cached[0].parent, knobs={**KNOBS, "learning_rate": 1e-4, "lora_rank": 4})
    assert again["host"]["tokens"] == plan["host"]["tokens"] and cached[0].stat().st_ino == before.st_ino
    assert again["counts"] == plan["counts"] and plan["plan"]["peak_bytes"] >= again["plan"]["peak_bytes"]
    bare = make(tmp_path / "c")
    assert bare["counts"] == plan["counts"] and "tokens" not in bare["host"]
    # What decides over tokens makes another file.
    names = {plan["host"]["tokens"]}
    for knobs in ({"max_length": 300}, {"loss_on": "all"}):
        names.add(make(tmp_path / f"d{len(names)}", cached[0].parent, knobs={**KNOBS, **knobs})["host"]["tokens"])
    names.add(make(tmp_path / "e", cached[0].parent, now="2026-02-01")["host"]["tokens"])
    assert len(names) == 4 and names == {p.name for p in cached[0].parent.iterdir()}


@pytest.mark.parametrize("kind", ["whole", "cut", "garbage", "empty", "other", "flipped"])
def test_damaged_tokens_change_nothing(cached, tmp_path, kind):
    make(tmp_path / "run")
    data, chance = bytearray(cached[0].read_bytes()), random.Random(kind)
    if kind == "other":
        (tmp_path / "cache").mkdir()
        other = make(tmp_path / "x", tmp_path / "cache", train={"path": str(tmp_path / "run/inputs/train"), "sha256": "9" * 64, "format": "jsonl"})
        data = bytearray((tmp_path / "cache" / other["host"]["tokens"]).read_bytes())
    if kind == "flipped":  # of the header: counts and places
        data[chance.randrange(80, 400)] ^= 1 << chance.randrange(8)
    content = {"cut": data[:-1000], "garbage": chance.randbytes(5000), "empty": b""}.get(kind, data)
    (tmp_path / "run" / "inputs" / "tokens").write_bytes(content)
    assert train(tmp_path / "run") == cached[1]


def test_a_place_that_cannot_be_written(cached, tmp_path):
    """Without room for the file, rows stay in memory."""
    make(tmp_path / "run")
    (tmp_path / "run" / "inputs" / "tokens").mkdir()
    done = subprocess.run([str(common.HONED), "train", str(tmp_path / "run")], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert artifact_hashes(tmp_path / "run") == cached[1][0]


def test_trimming(cached, tmp_path):
    (tmp_path / "cache").mkdir()
    for i in range(4):
        old = tmp_path / "cache" / f"old-{i}"
        old.write_bytes(b"x" * 1000)
        os.utime(old, (i, i))
    common.make_run(tmp_path / "run", rows(12), KNOBS, validation=rows(4, 100), base=common.short_model(), tokens={"folder": str(tmp_path / "cache"), "bytes": cached[0].stat().st_size + 2500})
    names = sorted(p.name for p in (tmp_path / "cache").iterdir())
    assert names[1:] == ["old-2", "old-3"], names  # the newest stay, and what was just made


def test_tokens_go_with_the_data(start, tmp_path):
    daemon = start("--model_dirs", str(pathlib.Path(common.GGUF).resolve().parent), fake=False)
    assert daemon.post("/models", json={"name": "smollm2", "path": str(pathlib.Path(common.GGUF).resolve())}).status_code == 201
    text = "".join(json.dumps(r) + "\n" for r in rows(12))
    data = daemon.post("/datasets?name=reviews", data=text.encode()).json()["id"]
    body = {"model": "smollm2", "dataset": data, "validation": "none", "hyperparameters": KNOBS, "samples": {"rows": 0}}
    assert daemon.post("/jobs?dry_run=true", json=body).status_code == 200
    files = list((daemon.state / "tokens").iterdir())
    assert len(files) == 1
    job = daemon.post("/jobs", json=body).json()["id"]
    assert daemon.wait(job, "succeeded", 120)
    assert list((daemon.state / "tokens").iterdir()) == files and not (daemon.state / "runs" / job / "inputs" / "tokens").exists()
    assert daemon.delete(f"/jobs/{job}").ok and daemon.delete(f"/datasets/{data}").ok
    assert not list((daemon.state / "tokens").iterdir())
