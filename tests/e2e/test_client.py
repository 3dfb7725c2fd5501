"""The commands that ask a running server, with the fake engine: names and ids, errors as the API tells them, exit statuses, what a terminal is
spared."""
import csv
import http.server
import io
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import threading

import pytest

from daemon import HONED


class Client:
    """Runs `honed COMMAND …` against a daemon."""

    def __init__(self, server, folder):
        self.server, self.folder = server, folder
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("HONE_")} | {"HONE_CONFIG": "", "LC_ALL": "C.UTF-8"}

    def __call__(self, *words, status=0, text=None, env=None):
        done = subprocess.run([HONED, *map(str, words)], input=text or "", capture_output=True, text=True, cwd=self.folder, timeout=60,
                              env=self.env | {"HONE_SERVER": self.server} | (env or {}))
        assert done.returncode == status, (words, done)
        return done.stdout if status == 0 else done.stderr

    def on_terminal(self, *words, env=None):
        """What is written to a terminal, and the exit status."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen([HONED, *map(str, words)], stdin=theirs, stdout=theirs, stderr=theirs, cwd=self.folder,
                                   env=self.env | {"HONE_SERVER": self.server, "TERM": "xterm", "COLUMNS": "100"} | (env or {}))
        os.close(theirs)
        said = b""
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:
                break
            if not data:
                break
            said += data
        os.close(ours)
        return said.decode(), process.wait(60)


@pytest.fixture
def honed(daemon, tmp_path):
    return Client(daemon.url, tmp_path)


@pytest.fixture
def answering(tmp_path):
    """A server that answers everything alike: answering(status, type, body) gives a client of it."""
    servers = []

    def begin(status, kind, body):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_DELETE = do_GET

            def log_message(self, *_):
                pass

        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return Client(f"http://127.0.0.1:{servers[-1].server_port}", tmp_path)

    yield begin
    for server in servers:
        server.shutdown()
        server.server_close()


def test_jobs_by_name_and_id(daemon, honed):
    first = daemon.job({"steps": 3}, name="tickets")
    daemon.wait(first)
    second = daemon.job({"steps": 4}, extra="2")
    table = honed("jobs").splitlines()
    assert table[0].split()[:3] == ["ID", "NAME", "STATUS"] and second in table[1] and first in table[2]
    assert "tickets" in table[2] and "succeeded" in table[2] and "3/3" in table[2]
    assert [job["id"] for job in json.loads(honed("jobs", "--json", "--status", "succeeded", "-n", 1))] in ([first], [second])
    for word in ("tickets", first, first[:10]):
        assert json.loads(honed("show", word, "--json"))["id"] == first
    shown = honed("show", "tickets")
    assert first in shown and "3/3" in shown and "nothing is learned" in shown
    said = honed("show", "tickts", status=1)
    assert 'there is no job "tickts"' in said and '"tickets"' in said
    daemon.job({"steps": 3}, name="tickets", description="another")
    assert first in (said := honed("show", "tickets", status=1)) and "2 jobs" in said


def test_verbs(daemon, honed):
    job = daemon.job({"steps": 200, "step_seconds": 0.05}, name="long")
    daemon.wait_step(job, 2)
    assert job in honed("pause", "long")
    daemon.wait(job, "paused")
    assert job in honed("resume", "long")
    assert json.loads(honed("cancel", "long", "--json"))["id"] == job
    daemon.wait(job)
    assert "--yes" in honed("delete", "long", status=2)
    assert "deleted" in honed("delete", "long", "--yes") and daemon.get(f"/jobs/{job}").status_code == 404
    data = daemon.dataset()
    assert data in honed("datasets")
    assert "deleted" in honed("delete", data, "-y")


def test_models(daemon, honed, tmp_path):
    """A file is uploaded where the server may not read it itself; what is taken in is the server's own."""
    (tmp_path / "small.gguf").write_bytes(b"another fake model")
    assert "small: fake" in honed("models", "import", "small", "small.gguf")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text("x")
    (folder / ".hidden.json").write_text("x")
    assert json.loads(honed("models", "import", "folder", folder, "--json"))["name"] == "folder"
    assert [line.split()[0] for line in honed("models").splitlines()] == ["NAME", "folder", "small", "base"]
    assert '"small"' in honed("models", "remove", "smal", status=1)
    assert "removed" in honed("models", "remove", "small")
    (tmp_path / "bad.gguf").write_bytes(b"BAD")
    said = honed("models", "import", "bad", "bad.gguf", status=1)
    assert "this is no model" in said and "send a good one" in said
    assert "here" in honed("models", "import", "none", "nothing.gguf", status=1)
    assert "import" in honed("models", "imprt", status=2)


def test_a_model_that_the_server_reads_itself(start, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "m.gguf").write_bytes(b"fake model")
    daemon = start("--model_dirs", str(tmp_path / "models"))
    honed = Client(daemon.url, tmp_path)
    found = json.loads(honed("models", "import", "m", "models/m.gguf", "--json"))
    assert found["source"] == str(tmp_path / "models" / "m.gguf")


def test_usage(honed):
    assert "usage: honed jobs" in (told := honed("jobs", "--help")) and "honed jobs --status running" in told
    assert "--status" in honed("jobs", "--stats", "x", status=2)
    assert "needs" in honed("show", status=2)
    assert "needs a value" in honed("jobs", "--status", status=2)
    assert "extra" in honed("jobs", "extra", status=2)
    assert "--limit" in honed("jobs", "--limit", "0", status=2)
    assert "queued" in honed("jobs", "--status", "ended", status=1)  # as the API says it
    assert json.loads(honed("jobs", "--status", "ended", "--json", status=1))["error"]["field"] == "status"


def test_where_the_server_is(daemon, honed, tmp_path):
    address = daemon.url.removeprefix("http://")
    (tmp_path / "honed.conf").write_text(f"listen = {address}\n")
    by_file = {"HONE_SERVER": "", "HONE_CONFIG": str(tmp_path / "honed.conf")}
    honed("jobs", env=by_file)
    honed("jobs", "--config", "honed.conf", env={"HONE_SERVER": "http://127.0.0.1:1"})
    honed("jobs", "--server", address, env={"HONE_SERVER": "http://127.0.0.1:1"})
    said, status = honed.on_terminal("jobs", env=by_file)
    assert status == 0 and f"server: {daemon.url} ({tmp_path}/honed.conf)" in said
    said = honed("jobs", "--server", "http://127.0.0.1:1", status=3)
    assert "cannot reach" in said and "--server" in said
    assert json.loads(honed("jobs", "--json", "--server", "http://127.0.0.1:1", status=3))["error"]["code"] == "unreachable"
    (tmp_path / "honed.conf").write_text("listen\n")
    assert "line 1" in honed("jobs", env=by_file, status=1)


def test_socket_and_keys(start, tmp_path):
    socket = tmp_path / "s"
    daemon = start("--require_keys", "yes", "--socket", str(socket))
    made = subprocess.run([HONED, "key", "create", "--name", "k", "--scope", "read", "--see", "all", "--state", daemon.state], capture_output=True, text=True, check=True)
    key = next(word for word in made.stdout.split() if word.startswith("hone_"))
    honed = Client(daemon.url, tmp_path)
    assert "HONE_KEY" in honed("jobs", status=1)
    honed("jobs", env={"HONE_KEY": key})
    honed("jobs", "--key", key)
    honed("jobs", "--server", f"unix:{socket}")  # the daemon's own user is known there
    (tmp_path / "c").write_text(f"socket = {socket}\nlisten = 127.0.0.1:1\n")
    honed("jobs", "--config", "c", env={"HONE_SERVER": ""})


def test_certificate(start, tmp_path, certificate):
    cert, key = certificate
    daemon = start("--tls_cert", cert, "--tls_key", key)
    honed = Client(daemon.url, tmp_path)
    assert "--ca" in honed("jobs", status=3)
    honed("jobs", "--ca", cert)


def test_what_is_no_answer_of_hone(answering):
    page = b"<html><body>502 Bad Gateway</body></html>"
    for status, kind, body in ((502, "text/html", page), (200, "text/html", page), (200, "application/json", b"{"), (301, "text/html", b"")):
        said = answering(status, kind, body)("jobs", status=1)
        assert f"status {status}" in said and "proxy" in said and "<html>" not in said
    assert "larger than" in answering(200, "application/json", b" " * (70 << 20))("jobs", status=1)


def test_nothing_drives_the_terminal(answering):
    name = "\x1b[2J\x1b]0;owned\x07\u202eabc\u009b\x00\r\n"
    job = {"id": "job_aaaaaaaaaaaaaaaa", "name": name, "status": "running", "model": "m\x1b[31m", "progress": {"step": 1e300, "total_steps": -5},
           "metrics": "no object", "fit": {"health": ["\x1b"]}, "created_at": "\x1b"}
    honed = answering(200, "application/json", json.dumps({"data": [job], "next": None}).encode())
    for words in (("jobs",), ("jobs", "--json"), ("show", "job_a")):
        said, status = honed.on_terminal(*words)
        assert status == 0 and not set(said.replace("\r\n", "")) & {"\x1b", "\x07", "\u202e", "\u009b", "\x00"}, (words, said)
    refused = {"error": {"code": "conflict", "message": "no\x1b[2J", "hint": "\x07", "details": [{"line": 1, "message": "\x1b[2J"}]}}
    said, status = answering(409, "application/json", json.dumps(refused).encode()).on_terminal("jobs")
    assert status == 1 and "\x1b" not in said and "line 1" in said


def write_rows(path, fake=None, n=1):
    path.write_text("".join(json.dumps({"text": f"hello {i}", "fake": fake or {}}) + "\n" for i in range(n)))
    return path


def test_submit(daemon, honed, tmp_path):
    data = write_rows(tmp_path / "rows.jsonl", {"steps": 3})
    said = honed("submit", data, "-m", "base", "--name", "one", "--set", "learning_rate=1e-4", "-s", "epochs=2", "--field", 'metadata={"team":"ml"}',
                 "--validation", "none", "--json")
    job = json.loads(said)
    assert job["name"] == "one" and job["metadata"] == {"team": "ml"}
    assert job["request"]["hyperparameters"] == {"learning_rate": 1e-4, "epochs": 2} and job["request"]["validation"] == "none"
    again = json.loads(honed("submit", job["dataset"], "--model", "base", "--json"))
    assert again["dataset"] == job["dataset"]
    assert json.loads(honed("submit", "rows.jsonl", "--model", "base", "--json"))["dataset"] == job["dataset"]
    assert len(json.loads(honed("jobs", "--json"))) == 3
    said = honed("submit", data, "--model", "base", "--validation", write_rows(tmp_path / "val.jsonl", n=2))
    assert said.startswith("job_") and "queued" in said


def test_submit_refused(daemon, honed, tmp_path):
    data = write_rows(tmp_path / "rows.jsonl")
    assert '"base"' in honed("submit", data, "--model", "bas", status=1)
    said = honed("submit", data, "--model", "base", "--set", "learning_rate=-1", "--set", "epochz=2", "--field", "priority=1000", status=1)
    for fault in ("learning_rate", "epochs", "priority"):
        assert fault in said
    assert daemon.get("/jobs").json()["data"] == daemon.get("/datasets").json()["data"] == []
    assert "--model" in honed("submit", data, status=2)
    assert "NAME=VALUE" in honed("submit", data, "--model", "base", "--set", "epochs", status=2)
    assert "no file" in honed("submit", "rows.csv", "--model", "base", status=1)
    assert "data set" in honed("submit", "rows", "--model", "base", status=1)
    (tmp_path / "bad.jsonl").write_text('{"text":"x"}\nnot json\n')
    assert "line 2" in honed("submit", "bad.jsonl", "--model", "base", status=1)


def test_columns_of_a_file(daemon, honed, tmp_path):
    (tmp_path / "t.jsonl").write_text('{"text":"x"}\n')
    job = json.loads(honed("submit", "t.jsonl", "--model", "base", "--text", "message", "--label", "category", "--column", "id=key", "--json"))
    assert daemon.get(f"/datasets/{job['dataset']}").json()["columns"] == {"text": "message", "label": "category", "id": "key"}


def test_dry_run(daemon, honed, tmp_path):
    plan = honed("submit", write_rows(tmp_path / "rows.jsonl", {"steps": 7}), "--model", "base", "--dry-run")
    assert "7 on 1 rows" in plan and "1.0 kB" in plan and "learning_rate" in plan and "because" in plan and "nothing is learned" in plan
    assert daemon.get("/jobs").json()["data"] == []


def test_watch(daemon, honed, tmp_path):
    data = write_rows(tmp_path / "rows.jsonl", {"steps": 30, "step_seconds": 0.03})
    done = subprocess.run([HONED, "submit", data, "--model", "base", "--watch"], capture_output=True, text=True, timeout=60,
                          env=honed.env | {"HONE_SERVER": daemon.url})
    assert done.returncode == 0 and "running" in done.stderr and "step " in done.stderr and "\x1b" not in done.stderr, done
    last = done.stdout.splitlines()
    assert "succeeded, val_loss 0.2 at step 30 (base model: 5)" in last[-2] and last[-1].startswith("fit: undecided"), done
    job = daemon.get("/jobs").json()["data"][0]["id"]
    said, status = honed.on_terminal("watch", job[:8])
    assert status == 0 and "100 %" in said and "█" in said and "succeeded" in said
    assert json.loads(honed("watch", job, "--json"))["status"] == "succeeded"


def test_watch_of_a_job_that_fails(daemon, honed):
    job = daemon.job({"steps": 9, "fail_at": 3})
    done = subprocess.run([HONED, "watch", job, "--server", daemon.url], capture_output=True, text=True, timeout=60, env=honed.env)
    assert done.returncode == 4 and "failed" in done.stdout and "the loss is not finite" in done.stdout


def test_watch_survives_a_restart(start, tmp_path):
    with socket.socket() as free:  # the address has to be the same again
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    daemon = start("--listen", f"127.0.0.1:{port}")
    daemon.model()
    job = daemon.job({"steps": 40, "step_seconds": 0.05})
    daemon.wait_step(job, 3)
    process = subprocess.Popen([HONED, "watch", job, "--server", daemon.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env=Client(daemon.url, tmp_path).env)
    assert "step" in process.stderr.readline()
    daemon.kill()
    while "does not answer" not in process.stderr.readline():
        assert process.poll() is None
    daemon.start()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "succeeded" in out


def test_leaving_a_watch(daemon, honed):
    job = daemon.job({"steps": 400, "step_seconds": 0.05})
    daemon.wait_step(job, 2)
    process = subprocess.Popen([HONED, "watch", job, "--server", daemon.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=honed.env)
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130 and f"{job} goes on" in err and out == ""
    assert daemon.look(job)["status"] == "running"
    daemon.post(f"/jobs/{job}/cancel")


def test_logs_and_metrics(daemon, honed):
    job = daemon.job({"steps": 30, "step_seconds": 0.03}, name="m")
    honed("logs", "m", "-f")
    assert daemon.look(job)["status"] == "succeeded"
    assert honed("logs", job) == daemon.get(f"/jobs/{job}/log").text
    rows = json.loads(honed("metrics", "m", "--json"))
    assert [row["loss"] for row in rows if row["loss"]] == [round(5 / step, 6) for step in range(1, 31)]
    assert honed("metrics", "m", "--csv") == daemon.get(f"/jobs/{job}/metrics?format=csv").text.replace("\r\n", "\n")
    table = honed("metrics", "m").splitlines()
    assert table[0].split()[:4] == ["step", "epoch", "loss", "val_loss"] and table[-1].split()[0] == "30"
    plot = honed("metrics", "m", "--plot", "--metric", "loss", env={"COLUMNS": "60"}).splitlines()
    assert plot[0].strip() == "loss" and len(plot) == 14 and max(map(len, plot)) == 60
    assert plot[1].split()[0] == "5" and plot[-2].split("│")[0].strip() == "0.1667" and plot[-1].split() == ["1", "30"]
    drawn = [i for i, line in enumerate(plot) if any("\u2801" <= c <= "\u28ff" for c in line)]
    assert drawn == list(range(1, 13))  # the curve falls through all rows
    assert plot[1].split("│")[1][0] != " " and plot[12].split("│")[1][0] == " "
    ascii = honed("metrics", "m", "--plot", env={"LC_ALL": "C"})
    assert "*" in ascii and ascii.isascii() and "val_loss" in ascii
    assert "no values" in honed("metrics", "m", "--plot", "--metric", "nothing")


def test_predict(daemon, honed, tmp_path):
    daemon.wait(daemon.job({"steps": 1}, name="p"))
    assert honed("predict", "p", "one", "two words") == "echo: one\necho: two words\n"
    assert honed("predict", "base", "one") == "echo: one\n"
    assert honed("predict", "p", "-", text="a\r\n\nb\n") == honed("predict", "p", text="a\nb") == "echo: a\necho: b\n"
    assert [row["text"] for row in json.loads(honed("predict", "p", "x", "--json", "--max-tokens", "3"))] == ["echo: x"]
    (tmp_path / "in.csv").write_text('\ufeffid,message\n1,"a ""quoted"", one\nof two lines"\n2,ü\n3\n', encoding="utf-8")
    out = list(csv.reader(io.StringIO(honed("predict", "p", "--csv", "in.csv", "--text", "message"))))
    assert out == [["id", "message", "prediction", "score"], ["1", 'a "quoted", one\nof two lines', 'echo: a "quoted", one\nof two lines', ""],
                   ["2", "ü", "echo: ü", ""], ["3", "", "echo: ", ""]]
    assert "id, message" in honed("predict", "p", "--csv", "in.csv", status=1)
    (tmp_path / "in.tsv").write_text("text\tx\n" + "".join(f"t{i}\t{i}\n" for i in range(600)))
    lines = honed("predict", "p", "--csv", "in.tsv").splitlines()
    assert lines[0] == "text\tx\tprediction\tscore" and lines[1:] == [f"t{i}\t{i}\techo: t{i}\t" for i in range(600)]
    (tmp_path / "latin.csv").write_bytes(b"text\n\xfc\n")
    assert "UTF-8" in honed("predict", "p", "--csv", "latin.csv", status=1)
    assert "no job" in honed("predict", "bse", "x", status=1)
    assert "number" in honed("predict", "p", "x", "--max-tokens", "many", status=2)


def test_answers_of_other_tasks(answering):
    answers = [{"label": "good", "probabilities": {"bad": 0.25, "good": 0.75}}, {"value": 2.5}, {"answer": "Paris", "score": 0.5},
               {"entities": [{"text": "Anna", "label": "PER"}, {"text": "Rom", "label": "LOC"}]}, {"labels": ["a", "b"], "probabilities": {}}]
    body = {"data": answers, "next": None}
    honed = answering(200, "application/json", json.dumps(body | {"name": "x", "id": "job_aaaaaaaaaaaaaaaa"}).encode())
    said = honed("predict", "job_aaaaaaaaaaaaaaaa", *"abcde")
    assert said == "good  (0.750)\n2.5\nParis\nAnna/PER, Rom/LOC\na,b\n"
    assert "5 of 1" in honed("predict", "job_aaaaaaaaaaaaaaaa", "a", status=1)


def test_chat(daemon, honed):
    daemon.wait(daemon.job({"steps": 1}, name="c"))
    said = honed("chat", "c", "--system", "short", text="hello\n\nagain\n").splitlines()
    assert len(said) == 2 and said[0].startswith("echo: ") and "hello" in said[0] and "short" in said[1]
    assert "again" in said[1] and "hello" not in said[1]  # an empty line began a new chat
    said = honed("chat", "c", text="one\ntwo\n").splitlines()
    assert "one" in said[1] and "assistant" in said[1] and "two" in said[1]


def test_evaluate_compare_sweep_report(daemon, honed, tmp_path):
    data = daemon.dataset({"steps": 2})
    job = daemon.job({"steps": 2}, name="e")
    daemon.wait(job)
    said = honed("evaluate", "e", data)
    assert "1 rows" in said and "loss" in said
    assert json.loads(honed("evaluate", "base", data[:8], "--json"))["dataset"] == data
    assert "findings" in honed("report", data) and json.loads(honed("report", data, "--json"))["dataset"] == data
    assert honed("compare", "e", "base", status=1)  # the fake engine compares nothing; the API's refusal comes through
    sweep = {"kind": "grid", "job": {"model": "base", "dataset": data, "validation": 0.5}, "space": {"learning_rate": [0.001, 0.002]}, "name": "s"}
    (tmp_path / "sweep.json").write_text(json.dumps(sweep))
    said = honed("sweep", "submit", "sweep.json")
    assert said.startswith("swp_")
    assert "grid" in honed("sweep") and "of 3 trials" in honed("sweep", "show", "s") and "SETTINGS" in honed("sweep", "show", said.split(":")[0])
    honed("sweep", "cancel", "s")
    assert "no \"stop\"" in honed("sweep", "stop", "s", status=2)


def test_download(daemon, honed, tmp_path):
    job = daemon.job({"steps": 2}, name="d")
    assert "no artifact" in honed("download", job, status=1) or daemon.wait(job)
    daemon.wait(job)
    files = daemon.get(f"/jobs/{job}/artifacts").json()["data"]
    data = daemon.get(f"/jobs/{job}/artifacts/peft/adapter.bin").content
    assert "d/peft/adapter.bin" in honed("download", "d") and (tmp_path / "d/peft/adapter.bin").read_bytes() == data
    honed("download", "d", "peft", "-o", "out/deep")
    assert (tmp_path / "out/deep/peft/adapter.bin").read_bytes() == data
    honed("download", "d", "peft/adapter.bin", "-o", "one.bin")
    assert (tmp_path / "one.bin").read_bytes() == data
    honed("download", "d", "peft/adapter.bin")
    assert (tmp_path / "adapter.bin").read_bytes() == data
    part = tmp_path / f".two.bin.{files[0]['sha256'][:8]}.part"
    part.write_bytes(data[:1000])
    assert json.loads(honed("download", "d", "peft/adapter.bin", "-o", "two.bin", "--json"))[0]["file"] == "two.bin"
    assert (tmp_path / "two.bin").read_bytes() == data and not part.exists()
    log = daemon.log.read_text()
    assert re.search(r"artifacts/peft/adapter.bin.*206|206.*artifacts/peft/adapter.bin", log)
    part.write_bytes(b"x" * 1000)  # what was left there is not of this file
    assert "damaged" in honed("download", "d", "peft/adapter.bin", "-o", "two.bin", status=1) and not part.exists()
    honed("download", "d", "peft/adapter.bin", "-o", "two.bin")
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []
    assert "no artifact" in honed("download", "d", "gguf", status=1)


def test_a_hostile_artifact(answering, tmp_path):
    for path in ("../x", "/tmp/x", "a/../../x", "a//b", "a/.x", ".x", "a\nb", "", "a/", "x" * 500):
        body = {"id": "job_aaaaaaaaaaaaaaaa", "name": "../../up", "next": None, "data": [{"path": path, "size": 1, "sha256": "0" * 64}]}
        honed = answering(200, "application/json", json.dumps(body).encode())
        assert "artifact" in honed("download", "job_aaaaaaaaaaaaaaaa", status=1)
    body["data"][0]["path"] = "good"  # more comes than was told
    said = answering(200, "application/json", json.dumps(body).encode())("download", "job_aaaaaaaaaaaaaaaa", status=1)
    assert "more than its 1 bytes" in said
    assert [p for p in tmp_path.rglob("*") if not p.name.endswith(".part") and p.is_file()] == []


def test_a_broken_download_goes_on(daemon, tmp_path):
    """A proxy that cuts the connection after some bytes, again and again."""
    job = daemon.job({"steps": 2})
    daemon.wait(job)
    data = daemon.get(f"/jobs/{job}/artifacts/peft/adapter.bin").content
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            reply = daemon.get(self.path, headers={k: v for k, v in self.headers.items() if k in ("Range", "If-Range", "Accept")})
            self.send_response(reply.status_code)
            for name in ("Content-Type", "Content-Length", "Content-Range", "ETag"):
                if name in reply.headers:
                    self.send_header(name, reply.headers[name])
            self.end_headers()
            cut = self.path.endswith(".bin")
            if cut:
                asked.append(self.headers.get("Range"))
            self.wfile.write(reply.content[:20000] if cut else reply.content)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        Client(f"http://127.0.0.1:{server.server_port}", tmp_path)("download", job, "-o", "out")
    finally:
        server.shutdown()
        server.server_close()
    assert (tmp_path / "out/peft/adapter.bin").read_bytes() == data
    assert asked == [None, "bytes=20000-", "bytes=40000-", "bytes=60000-"]


def complete(shell_script, *words):
    """What bash offers for the last of the words."""
    line = f"source {shell_script}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _honed; echo ${{COMPREPLY[@]}}"
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout.split()


def test_completion(honed, tmp_path):
    script = tmp_path / "honed.bash"
    script.write_text(honed("completion", "bash"))
    assert complete(script, "honed", "re") == ["report", "resume", "rebuild"] and "helper" not in complete(script, "honed", "he")
    assert complete(script, "honed", "submit", "--w") == ["--watch"] and complete(script, "honed", "jobs", "--w") == []
    assert complete(script, "honed", "serve", "--max_u") == ["--max_upload"] and complete(script, "honed", "key", "--stat") == ["--state"]
    assert "'trainer'\\''s" not in honed("completion", "zsh") and "trainer'\\''s own log" in honed("completion", "zsh")
    assert "complete -c honed -n '__fish_seen_subcommand_from logs' -l follow -s f -d " in honed("completion", "fish")
    for shell in ("zsh", "fish"):
        if shutil.which(shell):
            subprocess.run([shell, "-n", "/dev/stdin"], input=honed("completion", shell), text=True, check=True)
    assert "bash|zsh|fish" in honed("completion", "tcsh", status=2)


def test_check_config(honed, tmp_path):
    conf = tmp_path / "honed.conf"
    conf.write_text("slots = 2\n# a comment\nslotz = 2\nthreads\nmax_upload = many\n")
    said = honed("--check-config", "--config", conf, status=1)
    assert [f"line {n}" in said for n in range(1, 6)] == [False, False, True, True, True]
    assert said == honed("serve", "--config", conf, "--check-config", status=1) == honed("--check-config", status=1, env={"HONE_CONFIG": str(conf)})
    conf.write_text("slots = 2\ntls_cert = /x\n")
    assert "tls_key" in honed("--check-config", "--config", conf, status=1)
    for line, word in {"listen = nonsense": "address:port", "listen = 127.0.0.1:65536": "port 65536", "state = here": "absolute",
                       "socket = here": "absolute", "socket_users = root:king": "there is none",
                       "require_keys = yes\nsocket = /s\nsocket_users = root:king": "scopes"}.items():
        conf.write_text((f"state = {tmp_path}/state\n" if "state" not in line else "") + line + "\n")
        assert word in honed("--check-config", "--config", conf, status=1)
        assert word in honed("serve", "--config", conf, status=1), "--check-config and the server agree"
    conf.write_text("slots = 2\n")
    assert "can be used" in honed("--check-config", "--config", conf)
    assert "slotz" in honed("serve", "--check-config", "--config", conf, "--slotz", "2", status=1)
    assert "no configuration" in honed("--check-config", status=1)
    assert "nothing.conf" in honed("--check-config", "--config", "nothing.conf", status=1)


def test_commands_read_the_settings_of_the_service(daemon, honed, tmp_path):
    conf = tmp_path / "honed.conf"
    conf.write_text(f"state = {daemon.state}\n")
    run = lambda *words, **env: subprocess.run([HONED, *words], capture_output=True, text=True, timeout=60, env=honed.env | env)
    for done in (run("check", HONE_CONFIG=str(conf)), run("check", "--config", str(conf))):
        assert done.returncode == 0 and done.stderr == f"state: {daemon.state} ({conf})\n", done
    done = run("model", "list", HONE_CONFIG=str(conf))
    assert done.stdout.startswith("base ") and str(daemon.state) in done.stderr
    done = run("model", "list", "--state", str(daemon.state), HONE_CONFIG=str(tmp_path / "none"))
    assert done.returncode == 0 and done.stderr == ""
    done = run("check", HONE_CONFIG=str(tmp_path / "none"))
    assert done.returncode == 1 and str(tmp_path / "none") in done.stderr
