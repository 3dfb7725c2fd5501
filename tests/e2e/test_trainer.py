"""`honed train RUN_DIR` alone, on the real model's first layers: results, exact resumption after any death, the same bytes for any thread
count, stops, failures with a reason, and a spec that anyone can write."""
import datetime
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parity"))
import common  # noqa: E402

pytestmark = pytest.mark.skipif(not common.GGUF or not common.REVIEWS, reason="needs the model and the reviews")
KNOBS = {"max_steps": 8, "batch_size": 2, "learning_rate": 1e-3, "eval_every": 4, "save_every": 2, "lora_dropout": 0.1, "seed": 5}


def rows(n, offset=0):
    return [common.chat_row(*r) for r in common.reviews(n, offset)]


def make(folder, threads=2, **knobs):
    common.make_run(folder, rows(12), {**KNOBS, **knobs}, validation=rows(2, 100), samples=1, base=common.short_model())
    spec = json.loads((folder / "spec.json").read_text())
    spec["host"]["threads"] = threads
    (folder / "spec.json").write_text(json.dumps(spec))
    return folder


def train(folder, timeout=300):
    return subprocess.run([str(common.HONED), "train", str(folder)], capture_output=True, text=True, timeout=timeout)


def artifact_hashes(folder):
    """Every artifact's bytes but the manifest's, which names the attempt's kernels."""
    root = folder / "artifacts"
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(root.rglob("*")) if p.is_file()}


def history(folder):
    """Events that tell of the computation, without clocks."""
    out = []
    for e in common.events(folder):
        if e["type"] in ("step", "eval", "sample", "verified", "artifact", "finished", "checkpoint"):
            data = {k: v for k, v in e["data"].items() if k not in ("seconds", "tokens_per_second", "bytes")}
            out.append((e["type"], json.dumps(data, sort_keys=True)))
    return out


def check_sequence(folder):
    assert [e["n"] for e in common.events(folder)] == list(range(1, len(common.events(folder)) + 1))
    steps = [e["data"]["step"] for e in common.events(folder, "step")]
    assert steps == sorted(set(steps))


DEATHS = 4


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = make(tmp_path_factory.mktemp("undisturbed") / "run")
    done = train(folder)
    assert done.returncode == 0, done.stderr
    return folder


def seconds_of(folder):
    """How long the run took from its first event to its last: deaths are drawn from it, so that they fall alike on any machine."""
    first, last = common.events(folder)[0]["time"], common.events(folder)[-1]["time"]
    return (datetime.datetime.fromisoformat(last) - datetime.datetime.fromisoformat(first)).total_seconds()


def test_what_a_run_leaves(undisturbed):
    kinds = [e["type"] for e in common.events(undisturbed)]
    assert kinds[0] == "started" and kinds[-1] == "finished"
    assert kinds.count("step") == 8 and kinds.count("eval") == 3 and kinds.count("sample") == 2
    check_sequence(undisturbed)
    losses = [e["data"]["val_loss"] for e in common.events(undisturbed, "eval")]
    assert losses[-1] < losses[0]
    verified = common.events(undisturbed, "verified")
    assert {v["data"]["artifact"] for v in verified} == {"peft", "gguf"} and all(v["data"]["passed"] for v in verified)
    for e in common.events(undisturbed, "artifact"):
        data = (undisturbed / "artifacts" / e["data"]["path"]).read_bytes()
        assert len(data) == e["data"]["size"] and hashlib.sha256(data).hexdigest() == e["data"]["sha256"]
    assert not [p for p in undisturbed.rglob(".tmp*")]


def test_finished_run_is_left_alone(undisturbed):
    before = (undisturbed / "events.jsonl").read_bytes()
    assert train(undisturbed).returncode == 0
    assert (undisturbed / "events.jsonl").read_bytes() == before


@pytest.mark.parametrize("threads", [1, 3])
def test_same_bytes_for_any_thread_count(undisturbed, tmp_path, threads):
    folder = make(tmp_path / "run", threads)
    assert train(folder).returncode == 0
    assert artifact_hashes(folder) == artifact_hashes(undisturbed)
    assert history(folder) == history(undisturbed)


@pytest.mark.parametrize("seed", range(int(os.environ.get("HONE_KILLS", "3"))))
def test_killed_anywhere_and_resumed_gives_the_same_bytes(undisturbed, tmp_path, seed):
    folder, chance, whole = make(tmp_path / "run"), random.Random(seed), seconds_of(undisturbed)
    for _ in range(DEATHS):
        child = subprocess.Popen([str(common.HONED), "train", str(folder)], stderr=subprocess.DEVNULL)
        try:
            child.wait(chance.uniform(0.05, 0.9) * whole)
        except subprocess.TimeoutExpired:
            child.kill()
        if child.wait() == 0:
            break
        if chance.random() < 0.5:  # power loss: the last line may be torn
            with open(folder / "events.jsonl", "ab") as f:
                f.write(b'{"n":999,"type":"st')
    done = train(folder)
    assert done.returncode == 0, done.stderr
    assert artifact_hashes(folder) == artifact_hashes(undisturbed)
    assert history(folder) == history(undisturbed)
    check_sequence(folder)
    assert not [e for e in common.events(folder, "warning")]
    assert not [p for p in folder.rglob(".tmp*")]


def test_sigterm_writes_the_state_and_a_second_trainer_is_refused(undisturbed, tmp_path):
    folder = make(tmp_path / "run", save_every=1000)
    child = subprocess.Popen([str(common.HONED), "train", str(folder)], stderr=subprocess.DEVNULL)
    while not (folder / "events.jsonl").exists() or len(common.events(folder, "step")) < 4:
        time.sleep(0.05)
    assert train(folder).returncode == 4
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 3
    last = common.events(folder)[-1]
    assert last["type"] == "interrupted" and last["data"]["reason"] == "signal"
    step = last["data"]["step"]
    assert (folder / "checkpoints" / f"step-{step:06d}" / "state.json").exists()
    assert train(folder).returncode == 0
    assert common.events(folder, "resumed")[-1]["data"]["from_step"] == step
    assert artifact_hashes(folder) == artifact_hashes(undisturbed)


def test_another_level_of_kernels_is_told(undisturbed, tmp_path):
    """A run that goes on with other kernels says so, since its bytes are no longer those of any undisturbed run."""
    folder = make(tmp_path / "run")
    child = subprocess.Popen([str(common.HONED), "train", str(folder)], stderr=subprocess.DEVNULL)
    while not (folder / "events.jsonl").exists() or len(common.events(folder, "checkpoint")) < 1:
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 3 and not common.events(folder, "warning")
    done = subprocess.run([str(common.HONED), "train", str(folder)], capture_output=True, env=dict(os.environ, HONE_KERNELS="portable"), timeout=300)
    assert done.returncode == 0, done.stderr
    told = [w["data"] for w in common.events(folder, "warning")]
    assert [w["code"] for w in told] == ["kernels_changed"] and told[0]["message"].count("portable") == 1
    manifests = [json.loads((f / "artifacts" / "manifest.json").read_text()) for f in (folder, undisturbed)]
    assert [m["kernels_changed"] for m in manifests] == [True, False] and "portable" in manifests[0]["kernels"]
    loss, same = ([e["data"]["val_loss"] for e in common.events(f, "eval")][-1] for f in (folder, undisturbed))
    assert abs(loss - same) < 1e-3 * same


def test_damaged_checkpoint_is_skipped(undisturbed, tmp_path):
    folder = make(tmp_path / "run")
    child = subprocess.Popen([str(common.HONED), "train", str(folder)], stderr=subprocess.DEVNULL)
    while len(list((folder / "checkpoints").glob("step-*"))) < 2 if (folder / "checkpoints").exists() else True:
        time.sleep(0.05)
    child.kill()
    child.wait()
    newest = sorted((folder / "checkpoints").glob("step-*"))[-1]
    with open(newest / "state.safetensors", "r+b") as f:
        f.truncate(1000)
    assert train(folder).returncode == 0
    assert [e["data"]["code"] for e in common.events(folder, "warning")] == ["checkpoint_unreadable"]
    assert artifact_hashes(folder) == artifact_hashes(undisturbed)


def test_divergence_is_told_with_step_and_rows(tmp_path):
    folder = make(tmp_path / "run", learning_rate=10, warmup_ratio=0, max_grad_norm=0, init_scale=1000, lora_alpha=1e6, lora_dropout=0)
    assert train(folder).returncode == 5
    last = common.events(folder)[-1]
    assert last["type"] == "failed" and last["data"]["code"] == "diverged"
    assert f"at step {last['data']['step']}" in last["data"]["message"] and "learning_rate" in last["data"]["hint"]
    assert len(last["data"]["lines"]) == 2


def test_early_stopping_exports_the_best(tmp_path):
    folder = make(tmp_path / "run", max_steps=30, eval_every=1, early_stopping_patience=2, learning_rate=0.05, warmup_ratio=0)
    assert train(folder).returncode == 0
    end = common.events(folder, "finished")[0]["data"]
    evals = [(e["data"]["val_loss"], e["data"]["step"]) for e in common.events(folder, "eval")]
    assert end["reason"] == "early_stopping" and end["step"] < 30
    assert end["exported_step"] == end["best"]["step"] == min(evals)[1]


def test_missing_input_is_a_clear_failure(tmp_path):
    folder = make(tmp_path / "run")
    (folder / "inputs" / "train").unlink()
    assert train(folder).returncode == 5
    last = common.events(folder)[-1]
    assert last["type"] == "failed" and "inputs/train" in last["data"]["message"]


def test_micro_batches_change_only_round_off(tmp_path):
    """The loss of a step is the mean over its target tokens however it is split; rows of different lengths, several a step."""
    runs = []
    for tokens in (16, 4096):
        folder = make(tmp_path / str(tokens), micro_batch_tokens=tokens, batch_size=6, lora_dropout=0, max_steps=4, loss_on="all")
        assert train(folder).returncode == 0
        runs.append([(e["data"]["loss"], e["data"]["grad_norm"]) for e in common.events(folder, "step")])
    for one, other in zip(*runs):
        assert one == pytest.approx(other, rel=2e-4)


def test_a_spec_with_auto_left_is_refused(tmp_path):
    folder = make(tmp_path / "run")
    spec = json.loads((folder / "spec.json").read_text())
    spec["run"]["hyperparameters"]["batch_size"] = "auto"
    (folder / "spec.json").write_text(json.dumps(spec))
    assert train(folder).returncode == 5
    assert "auto" in common.events(folder)[-1]["data"]["message"]


def make_full(folder):
    """All weights: a checkpoint is 0.5 GB, so few steps and the last checkpoint alone are kept."""
    knobs = {"max_steps": 4, "batch_size": 2, "learning_rate": 1e-4, "eval_every": 100, "eval_at_start": False, "save_every": 1,
             "keep_checkpoints": 1, "seed": 5}
    common.make_run(folder, rows(8), knobs, method="full", exports=["merged"], base=common.short_model())
    return folder


def test_all_weights_killed_and_resumed(tmp_path):
    whole, folder = make_full(tmp_path / "whole"), make_full(tmp_path / "run")
    done = train(whole)
    assert done.returncode == 0, done.stderr
    child = subprocess.Popen([str(common.HONED), "train", str(folder)], stderr=subprocess.DEVNULL)
    while not (folder / "events.jsonl").exists() or len(common.events(folder, "step")) < 3:
        time.sleep(0.05)
    child.kill()
    child.wait()
    assert train(folder).returncode == 0
    assert 1 <= common.events(folder, "resumed")[-1]["data"]["from_step"] <= 3
    assert artifact_hashes(folder) == artifact_hashes(whole)
    assert [h for h in history(folder) if h[0] != "checkpoint"] == [h for h in history(whole) if h[0] != "checkpoint"]
    shutil.rmtree(tmp_path)
