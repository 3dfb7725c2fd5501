"""Trainers and helpers see their own files only, have no network and start no programs; and still do all their work."""
import errno
import json
import os
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parity"))
import common  # noqa: E402
from daemon import HONED  # noqa: E402

ESCAPE = pathlib.Path(HONED).resolve().parents[1] / "tests" / "escape"
ALLOWED = ("own file", "own list", "thread", "library", "null")
FILES = ("other file", "other write", "library write", "home", "tmp", "remove")
CALLS = ("socket", "unix socket", "process", "program", "trace")


def test_what_a_confined_process_can_do(tmp_path):
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.write_text("private")
    done = subprocess.run([str(ESCAPE), str(own), str(other)], capture_output=True, text=True)
    found = dict(line.rsplit(": ", 1) for line in done.stdout.splitlines())
    said = found.pop("in force")
    print(said)
    assert {name: int(found[name]) for name in ALLOWED} == dict.fromkeys(ALLOWED, 0)
    if "files by Landlock" in said:
        assert {name: int(found[name]) for name in FILES} == dict.fromkeys(FILES, errno.EACCES)
        assert other.read_text() == "private"
    if said.endswith("calls by seccomp"):
        assert {name: int(found[name]) for name in CALLS} == dict.fromkeys(CALLS, errno.EPERM)
    assert done.returncode == (0 if "open" not in said else 1)


@pytest.mark.skipif(not common.GGUF or not common.REVIEWS, reason="needs the model and the reviews")
@pytest.mark.parametrize("confine", ["yes", "no"])
def test_a_job_from_end_to_end(start, tmp_path, confine):
    """Import, upload of a compressed file, plan, training, an export on demand, predictions and an evaluation with its rows."""
    import gzip
    daemon = start("--model_dirs", str(pathlib.Path(common.GGUF).resolve().parent), "--confine", confine, fake=False)
    assert daemon.post("/models", json={"name": "smollm2", "path": str(pathlib.Path(common.GGUF).resolve())}).status_code == 201
    text = "".join(json.dumps(common.chat_row(*r)) + "\n" for r in common.reviews(6)).encode()
    data = daemon.post("/datasets", files={"file": ("rows.jsonl.gz", gzip.compress(text))}).json()["id"]
    job = daemon.post("/jobs", json={"model": "smollm2", "dataset": data, "validation": "none", "samples": {"rows": 1, "max_tokens": 4},
                                     "hyperparameters": {"max_steps": 1, "batch_size": 2, "max_length": 96}}).json()["id"]
    daemon.wait(job, "succeeded", 120)
    log = (daemon.state / "runs" / job / "trainer.log").read_text()
    assert ("confined: " in log) == (confine == "yes"), log
    trained = daemon.post(f"/jobs/{job}/predict", json={"inputs": ["Fine."], "max_tokens": 2})
    assert trained.ok, trained.text
    judged = daemon.post(f"/jobs/{job}/evaluate", json={"dataset": data})
    assert judged.ok and judged.json()["metrics"]["loss"] > 0, judged.text
    rows = daemon.get(f"/evaluations/{judged.json()['id']}/rows")
    assert rows.ok and len(rows.text.splitlines()) == 6, rows.text
    assert not list((daemon.state / "tmp").iterdir()) and os.access(daemon.state / "hone.db", os.R_OK)
