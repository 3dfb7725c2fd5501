"""deploy/clients/hone.py, and the examples of the manual's page on commands, against the daemon with the fake engine."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time

import pytest

from daemon import rows

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILE = ROOT / "deploy/clients/hone.py"
sys.path.insert(0, str(FILE.parent))
import hone  # noqa: E402


def examples(language):
    """The blocks of code in the section of the manual that begins with the word."""
    text = (ROOT / "web/manual/commands.md").read_text().split(f"\n### {language}\n")[1].split("\n#")[0]
    return ["\n".join(line[4:] for line in block.splitlines()) for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", text, re.M)]


@pytest.fixture
def client(daemon):
    return hone.Hone(daemon.url)


def test_a_job_from_file_to_result(daemon, client, tmp_path):
    file = tmp_path / 'ro"ws\r\n.jsonl'
    file.write_bytes(rows({"steps": 20, "step_seconds": 0.02}))
    told = []
    data = client.upload(file, name="ü", progress=lambda sent, size: told.append((sent, size)))
    assert data["name"] == "ü" and data["bytes"] == file.stat().st_size and told[-1][0] == file.stat().st_size < told[-1][1]
    assert client.upload(file, name="ü")["id"] == data["id"]
    assert client.submit("base", data["id"], dry_run=True)["steps"] == 20
    job = client.submit(model="base", dataset=data["id"], name="first", hyperparameters={"learning_rate": 1e-4})
    states = list(client.follow("first", period=0.05))
    assert states[-1]["status"] == "succeeded" and len(states) > 3
    metrics = client.metrics("first")
    assert [row["loss"] for row in metrics if row["loss"]] == [round(5 / step, 6) for step in range(1, 21)]
    assert client.predict(job["id"], ["a", "b"], max_tokens=5)[1]["text"] == "echo: b"
    assert len(client.predict("first", ["x"] * 600)) == 600 and client.predict("base", ["x"], base=True)[0]["text"] == "echo: x"
    assert [row["id"] for row in client.jobs(status="succeeded", limit=1)] == [job["id"]]


def test_rows_as_they_come(daemon, client):
    job = daemon.job({"steps": 30, "step_seconds": 0.03})
    seen = list(client.follow_metrics(job, period=0.05))
    assert seen == client.metrics(job) and seen[-1]["step"] == 30


def test_follow_through_a_restart(start, tmp_path):
    daemon = start("--socket", str(tmp_path / "s"))  # a path is the same after a restart
    daemon.model()
    job = daemon.job({"steps": 30, "step_seconds": 0.05})
    daemon.wait_step(job, 2)
    threading.Timer(0.3, daemon.restart).start()
    states = list(hone.Hone(f"unix:{tmp_path}/s").follow(job, period=0.1))
    assert states[-1]["status"] == "succeeded"
    daemon.kill()
    with pytest.raises(hone.Unreachable):
        list(hone.Hone(f"unix:{tmp_path}/s").follow(job, period=0.05, patience=0.2))


def test_download(daemon, client, tmp_path):
    job = daemon.job({"steps": 2})
    daemon.wait(job)
    data = daemon.get(f"/jobs/{job}/artifacts/peft/adapter.bin").content
    sha = client.artifacts(job)[0]["sha256"]
    assert client.download(job, tmp_path / "a") == [tmp_path / "a/peft/adapter.bin"]
    assert (tmp_path / "a/peft/adapter.bin").read_bytes() == data
    part = tmp_path / f"b/peft/.adapter.bin.{sha[:8]}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(data[:10000])
    told = []
    client.download(job, tmp_path / "b", "peft", progress=lambda done, size: told.append(done))
    assert (tmp_path / "b/peft/adapter.bin").read_bytes() == data and told[0] > 10000 and not part.exists()
    part.write_bytes(b"x" * 10000)
    with pytest.raises(hone.HoneError, match="damaged"):
        client.download(job, tmp_path / "b")
    assert not part.exists() and (tmp_path / "b/peft/adapter.bin").read_bytes() == data
    with pytest.raises(hone.HoneError, match="no artifact"):
        client.download(job, tmp_path / "c", "gguf")
    client.artifacts = lambda _: [{"path": "../x", "size": 1, "sha256": sha}]
    with pytest.raises(hone.HoneError, match="cannot be one"):
        client.download(job, tmp_path / "c")


def test_errors(daemon, client, certificate, start, tmp_path):
    with pytest.raises(hone.HoneError) as refused:
        client.submit("base", daemon.dataset(), hyperparameters={"learning_rate": -1, "epochz": 1})
    assert refused.value.status == 400 and len(refused.value.details) == 2 and refused.value.hint
    with pytest.raises(hone.HoneError, match="no jobs"):
        client.job("nothing")
    with pytest.raises(hone.Unreachable):
        hone.Hone("http://127.0.0.1:1").job("job_x")
    secure = start("--tls_cert", certificate[0], "--tls_key", certificate[1])
    with pytest.raises(hone.Unreachable):
        next(hone.Hone(secure.url).jobs(), None)
    assert list(hone.Hone(secure.url, ca=certificate[0]).jobs()) == []


def test_command_line(daemon, tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(rows({"steps": 3}))
    env = os.environ | {"HONE_SERVER": daemon.url}

    def run(*words, status=0):
        done = subprocess.run([sys.executable, FILE, *words], capture_output=True, text=True, timeout=60, env=env, cwd=tmp_path)
        assert done.returncode == status, done
        return done.stdout.strip() if status == 0 else done.stderr

    job = run("submit", run("upload", "rows.jsonl", "--name", "r"), "--model", "base", "--name", "j", "--set", "epochs=2")
    assert json.loads(run("follow", job).splitlines()[-1])[:3] == ["succeeded", 3, 3]
    assert run("metrics", "j").splitlines()[0].startswith("seq,step,epoch")
    assert json.loads(run("predict", "j", "x"))["text"] == "echo: x"
    assert run("download", "j", "out") == "out/peft/adapter.bin"
    assert "learning" in run("submit", "ds_x", "--model", "base", "--set", "learning=1", status=1)
    assert "cannot reach" in run("--server", "http://127.0.0.1:1", "metrics", "j", status=3)


def test_the_manuals_python(daemon, tmp_path):
    (tmp_path / "tickets.csv").write_text(rows({"steps": 4}).decode())
    code, = examples("Python")
    shutil.copy(FILE, tmp_path)
    done = subprocess.run([sys.executable, "-c", code.replace('"minilm"', '"base"').replace(', columns={"text": "message", "label": "category"}', "")],
                          capture_output=True, text=True, timeout=60, cwd=tmp_path, env=os.environ | {"HONE_SERVER": daemon.url})
    assert done.returncode == 0 and "4 1.25" in done.stdout and "echo: " in done.stdout, done
    assert (tmp_path / "adapter/peft/adapter.bin").exists()


@pytest.mark.skipif(not shutil.which("jq") or not shutil.which("curl"), reason="needs jq and curl")
def test_the_manuals_curl(daemon):
    job = daemon.job({"steps": 20, "step_seconds": 0.03})
    code, = examples("curl")
    began = time.time()
    done = subprocess.run(["bash", "-euc", code.replace("sleep 5", "sleep 0.1")], capture_output=True, text=True, timeout=60,
                          env=os.environ | {"HONE_SERVER": daemon.url, "JOB": job})
    steps = [line.split("\t")[0] for line in done.stdout.splitlines()]
    assert done.returncode == 0 and time.time() - began < 30, done
    assert steps == [str(row["step"]) for row in daemon.get(f"/jobs/{job}/metrics").json()["data"]] and len(steps) > 20
