"""What a run says of its fit: what every training row cost at every epoch (rows.bin), the rows to look at, the verdict."""
import json
import pathlib
import random
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parity"))
import common  # noqa: E402
from test_scores import TASKS, files, host, make, train  # noqa: E402

KINDS = {0: [("trained", "u1"), ("loss", "<f4"), ("worst", "<f4")],
         1: [("trained", "u1"), ("loss", "<f4"), ("margin", "<f4"), ("p", "<f4"), ("predicted", "<i4")]}


def read_rows(folder):
    """rows.bin: what the header says, and [epoch, row] records; what is not written yet is not trained."""
    data = (folder / "rows.bin").read_bytes()
    magic, version, objective, n, batch, steps, seed, every, epochs = struct.unpack_from("<8s8Q", data)
    assert (magic, version) == (b"HNROWS\0\n", 1)
    kind = np.dtype(KINDS.get(objective, KINDS[0][:2]))
    front = np.frombuffer(data, "<u4", 2 * n, 72).reshape(n, 2)
    whole = data[72 + 8 * n:].ljust(n * epochs * kind.itemsize, b"\0")
    assert len(whole) == n * epochs * kind.itemsize
    return {"batch": batch, "steps": steps, "every": every, "line": front[:, 1], "rows": np.frombuffer(whole, kind).reshape(epochs, n)}


@pytest.mark.parametrize("objective", TASKS)
def test_rows_cost_what_their_step_cost(tmp_path, objective):
    """One row a step: the step's loss is the row's, at its place, each row once in an epoch."""
    folder = train(make(tmp_path / "run", objective, batch_size=1, max_steps=30, lora_dropout=0.2, label_smoothing=0.1))
    found = read_rows(folder)
    n = len(found["line"])
    assert found["every"] == 1 and found["steps"] == 30 and found["batch"] == 1 and n >= 24
    told = [e["data"]["loss"] for e in common.events(folder, "step")]
    rows = found["rows"]
    assert rows["trained"].sum() == 30 and rows["trained"].sum(axis=0).min() == (30 >= n)
    assert np.allclose(np.sort(rows["loss"][rows["trained"] == 1]), np.sort(told), rtol=1e-5)
    if objective == "classes":
        names = sorted({json.loads(line)["label"] for line in (folder / "inputs/train").read_text().splitlines()})
        given = [names.index(json.loads(line)["label"]) for line in (folder / "inputs/train").read_text().splitlines()]
        assert np.all((rows["predicted"][0] == given) == (rows["margin"][0] > 0))
        assert np.all((rows["p"][0] > 0) & (rows["p"][0] < 1)) and np.all((rows["p"][0] > 0.5) <= (rows["margin"][0] > 0))
    if objective == "tokens":
        assert np.all(rows["worst"][0] >= 0.9 * rows["loss"][0]) and np.any(rows["worst"][0] > rows["loss"][0])


def test_rows_are_the_same_after_a_kill_and_for_any_thread_count(tmp_path):
    how = {"lora_dropout": 0.1, "max_steps": 40, "eval_every": 20, "save_every": 7}
    whole = train(make(tmp_path / "whole", **how))
    for name, threads in (("three", 3), ("killed", 2)):
        other = make(tmp_path / name, threads=threads, **how)
        for at in (9, 23) if name == "killed" else ():
            child = subprocess.Popen([str(common.HONED), "train", str(other)], stderr=subprocess.DEVNULL)
            while child.poll() is None and not (other / "events.jsonl").exists() or len(common.events(other, "step")) < at:
                time.sleep(0.001)
            child.send_signal(signal.SIGKILL)
            child.wait()
        train(other)
        assert (other / "rows.bin").read_bytes() == (whole / "rows.bin").read_bytes()
        assert files(other, "artifacts") == files(whole, "artifacts")
    (other / "rows.bin").write_bytes(b"of something else")
    (other / "events.jsonl").unlink()
    for folder in (other / "checkpoints").iterdir():
        folder.rename(tmp_path / folder.name)
    train(other)
    assert (other / "rows.bin").read_bytes() == (whole / "rows.bin").read_bytes()
