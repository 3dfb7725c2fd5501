"""Every route: what it answers when all is well, and when it is not."""
import hashlib
import io
import itertools
import json
import socket
import tarfile
import threading
import time

import requests

from daemon import HONED, rows, sse
import subprocess


def error(reply, status, code, field=None):
    assert reply.status_code == status, reply.text
    found = reply.json()["error"]
    assert found["code"] == code and found["message"], found
    if field:
        assert found["field"] == field, found
    return found


def test_probes_and_descriptions(daemon):
    assert daemon.get("/healthz").json()["status"] == "ok"
    assert daemon.get("/readyz").json()["status"] == "ready"
    figures = daemon.get("/metrics").text
    assert 'hone_jobs{status="queued"} 0' in figures and "hone_slots 1" in figures
    spec = daemon.get("/openapi.json").json()
    assert "/jobs/{id}/artifacts/{path}" in spec["paths"]
    assert spec["components"]["schemas"]["Hyperparameters"]["properties"]["learning_rate"]["maximum"] == 10
    evaluation = spec["paths"]["/jobs/{id}/evaluate"]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].split("/")[-1]
    assert set(spec["components"]["schemas"][evaluation]["properties"]) == {"dataset", "step", "generate"}
    for path in ("/", "/web/main.js", "/web/style.css"):
        page = daemon.get(path)
        assert page.status_code == 200 and "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert daemon.get("/").headers["Content-Type"].startswith("text/html")


def test_description(daemon):
    """A text for people: shown with the job and in lists, from JSON and from a form, no part of what is run."""
    text = "3rd try: *twice* the rows\n" + "ü" * 2000
    plain, told = daemon.job(), daemon.job(description=text)
    assert daemon.look(told)["description"] == text == daemon.look(told)["request"]["description"] and daemon.look(plain)["description"] is None
    assert [j["description"] for j in daemon.get("/jobs").json()["data"]] == [text, None]
    formed = daemon.post("/jobs", files={"dataset": ("d", rows())}, data={"model": "base", "description": "5"})
    assert formed.json()["description"] == "5", formed.text
    specs = [(daemon.state / "runs" / daemon.wait(job, "succeeded")["id"] / "spec.json").read_text() for job in (plain, told)]
    assert "twice" not in specs[1] and json.loads(specs[0])["run"] == json.loads(specs[1])["run"]
    body = {"model": "base", "dataset": daemon.dataset()}
    error(daemon.post("/jobs", json=body | {"description": "ü" * 2049}), 400, "invalid_field", "description")
    error(daemon.post("/jobs", json=body | {"description": 5}), 400, "invalid_field", "description")
    assert "description" in error(daemon.post("/jobs", json=body | {"descripton": "x"}), 400, "unknown_field", "descripton")["hint"]
    schemas = daemon.get("/openapi.json").json()["components"]["schemas"]
    assert schemas["JobRequest"]["properties"]["description"]["maxLength"] == 4096 and "description" in schemas["Job"]["properties"]


def test_dispatcher(daemon):
    assert "hint" in error(daemon.get("/nowhere"), 404, "not_found")
    reply = requests.put(daemon.url + "/jobs")
    error(reply, 405, "method_not_allowed")
    assert "POST" in reply.headers["Allow"]
    error(daemon.get("/jobs?limits=3"), 400, "unknown_field", "limits")
    error(daemon.post("/jobs", data=b"x=1", headers={"Content-Type": "text/plain"}), 415, "unsupported_media_type")
    error(daemon.post("/jobs", data=b"{", headers={"Content-Type": "application/json"}), 400, "invalid_json")
    error(daemon.post("/jobs", data=b"[1]", headers={"Content-Type": "application/json"}), 400, "invalid_json")
    assert requests.head(daemon.url + "/healthz").status_code == 200
    assert daemon.get("/healthz").headers["X-Content-Type-Options"] == "nosniff"


def test_foreign_pages_are_refused(daemon):
    port = daemon.url.rsplit(":", 1)[1]
    error(daemon.get("/jobs", headers={"Host": "evil.example:" + port}), 403, "forbidden")
    error(daemon.get("/jobs", headers={"Host": "127.evil.example"}), 403, "forbidden")
    error(daemon.get("/jobs", headers={"Origin": "http://evil.example"}), 403, "forbidden")
    error(daemon.get("/jobs", headers={"Origin": "null"}), 403, "forbidden")
    many = {f"X-{i}": "a" for i in range(90)}
    error(daemon.get("/jobs", headers=many | {"Origin": "http://evil.example"}), 403, "forbidden")
    error(daemon.get("/jobs?" + "limit=5&" * 90 + "nonsense=1"), 400, "unknown_field", "nonsense")
    assert daemon.get("/jobs", headers={"Host": "localhost:" + port, "Origin": "http://localhost:" + port}).status_code == 200


def test_datasets(daemon):
    first = daemon.post("/datasets?name=one", data=rows())
    assert first.status_code == 201
    record = first.json()
    assert record["sha256"] == hashlib.sha256(rows()).hexdigest() and record["rows"] == 1 and record["tasks"] == ["generation"]
    stored = daemon.state / "datasets" / record["sha256"] / "data"
    assert stored.read_bytes() == rows() and stored.stat().st_mode & 0o222 == 0
    again = daemon.post("/datasets?name=two", files={"file": ("x.jsonl", rows())})
    assert again.status_code == 200 and again.json()["id"] == record["id"]
    other = daemon.post("/datasets", files={"file": ("x.jsonl", rows())}, data={"columns": '{"text":"body"}'})
    assert other.status_code == 201 and other.json()["id"] != record["id"]
    assert [d["id"] for d in daemon.get("/datasets").json()["data"]] == [other.json()["id"], record["id"]]
    page = daemon.get("/datasets?limit=1").json()
    assert page["next"] == other.json()["id"]
    assert daemon.get(f"/datasets?limit=1&after={page['next']}").json()["data"][0]["id"] == record["id"]
    assert daemon.get(f"/datasets/{record['id']}/preview?model=base&row=1").json()["row"] == 1
    error(daemon.get(f"/datasets/{record['id']}/preview"), 400, "missing_field", "model")
    assert daemon.delete(f"/datasets/{other.json()['id']}").status_code == 204
    assert stored.exists(), "the other reading still uses the file"
    assert daemon.delete(f"/datasets/{record['id']}").status_code == 204
    assert not stored.exists()
    error(daemon.get(f"/datasets/{record['id']}"), 404, "not_found")


def test_a_refused_upload_leaves_nothing(daemon):
    found = error(daemon.post("/datasets", data=rows() + b"nonsense\n"), 422, "dataset_invalid")
    assert found["details"][0]["line"] == 2 and found["total"] == 1
    error(daemon.post("/datasets", data=b""), 422, "dataset_invalid")
    error(daemon.post("/datasets", data=b"CRASH\n"), 500, "internal")
    error(daemon.post("/datasets?on_error=maybe", data=rows()), 400, "invalid_field", "on_error")
    error(daemon.post("/datasets", files={"other": ("x", b"y")}), 400, "unknown_field", "other")
    assert daemon.post("/datasets?on_error=drop", data=rows(extra="!") + b"nonsense\n").json()["dropped"] == 1
    assert len(daemon.get("/datasets").json()["data"]) == 1
    assert list((daemon.state / "tmp").iterdir()) == [] and len(list((daemon.state / "datasets").iterdir())) == 1


def test_bytes_that_are_no_text(daemon):
    """Names and values that are not UTF-8 are refused by name wherever they stand; a file's own name is only shown."""
    for path in ("/datasets?format=js%FF", "/datasets?name=a%FF%FE", "/datasets?%C3%28=1", "/jobs?dry_run=%E2%82"):
        error(daemon.post(path, data=rows(3)), 400, "invalid_field")
    error(daemon.post("/datasets?name=a%FF", data=rows(3)), 400, "invalid_field", "name")
    error(daemon.get("/jobs?metadata[a]=%FF"), 400, "invalid_field", "metadata[a]")

    def form(name, value, filename):
        return (b'--xx\r\nContent-Disposition: form-data; name="' + name + b'"\r\n\r\n' + value + b"\r\n--xx\r\n"
                b'Content-Disposition: form-data; name="file"; filename="' + filename + b'"\r\n\r\n' + rows(3) + b"\r\n--xx--\r\n")

    kind = {"Content-Type": "multipart/form-data; boundary=xx"}
    error(daemon.post("/datasets", data=form(b"name", b"\xe9t\xe9", b"a.jsonl"), headers=kind), 400, "invalid_field", "name")
    error(daemon.post("/datasets", data=form(b"n\xe9", b"x", b"a.jsonl"), headers=kind), 400, "invalid_field")
    taken = daemon.post("/datasets", data=form(b"format", b"jsonl", b"donn\xe9es.jsonl"), headers=kind)
    assert taken.status_code in (200, 201) and taken.json()["name"] == "donn\ufffdes.jsonl", taken.text


def test_models(start, tmp_path):
    folder = tmp_path / "allowed"
    (folder / "hf").mkdir(parents=True)
    (folder / "m.gguf").write_bytes(b"weights")
    (folder / "hf/config.json").write_text("{}")
    (folder / "hf/train.py").write_text("not part of it")
    (tmp_path / "secret.gguf").write_bytes(b"x")
    (folder / "link.gguf").symlink_to(tmp_path / "secret.gguf")
    d = start("--model_dirs", str(folder))
    made = d.post("/models", json={"name": "m", "path": str(folder / "m.gguf")})
    assert made.status_code == 201 and made.json()["family"] == "fake" and "files" not in made.json()
    error(d.post("/models", json={"name": "m", "path": str(folder / "m.gguf")}), 409, "conflict", "name")
    error(d.post("/models", json={"name": "../m", "path": str(folder / "m.gguf")}), 400, "invalid_field", "name")
    for path in (tmp_path / "secret.gguf", folder / "link.gguf", folder / "../secret.gguf", "/etc/passwd", "m.gguf"):
        error(d.post("/models", json={"name": "x", "path": str(path)}), 403, "forbidden", "path")
    assert d.post("/models", json={"name": "hf", "path": str(folder / "hf")}).status_code == 201
    assert [p.name for p in (d.state / "models/hf").iterdir()] == ["config.json"]
    error(d.post("/models", json={"nane": "x"}), 400, "unknown_field", "nane")
    error(d.post("/models?name=bad", data=b"BAD", headers={"Content-Type": "application/x-gguf"}), 422, "model_invalid")
    two = d.post("/models", files=[("file", ("config.json", b"{}")), ("file", ("tokenizer.json", b"{}"))], data={"name": "up"})
    assert two.status_code == 201 and len(list((d.state / "models/up").iterdir())) == 2
    assert [m["name"] for m in d.get("/models").json()["data"]] == ["up", "hf", "m"]
    assert d.delete("/models/hf").status_code == 204 and d.get("/models/hf").status_code == 404
    assert list((d.state / "tmp").iterdir()) == []


def test_links_of_a_model_folder(start, tmp_path):
    """A folder of Hugging Face's cache is links to ../../blobs; they are followed as far as the allowed folders reach, whatever changes."""
    hub, outside = tmp_path / "hub/models--x", tmp_path / "outside.json"
    snapshot = hub / "snapshots/abc"
    snapshot.mkdir(parents=True)
    (hub / "blobs").mkdir()
    (hub / "blobs/1234").write_text("{}")
    (snapshot / "config.json").symlink_to("../../blobs/1234")
    outside.write_text('{"secret": 1}')
    d = start("--model_dirs", str(tmp_path / "hub"))

    def take(name, path=snapshot):
        return d.post("/models", json={"name": name, "path": str(path)})

    assert take("cache").status_code == 201
    taken = d.state / "models/cache/config.json"
    assert taken.read_text() == "{}" and not taken.is_symlink()
    (tmp_path / "hub/way").symlink_to(snapshot)
    assert take("by-link", tmp_path / "hub/way").status_code == 201
    for target in ("/etc/shadow", outside, "../../../../outside.json", "/proc/self/environ", "../../blobs/none"):
        (snapshot / "tokenizer.json").unlink(missing_ok=True)
        (snapshot / "tokenizer.json").symlink_to(target)
        refused = error(take("x"), 403, "forbidden", "path")
        assert "tokenizer.json" in refused["message"] and str(tmp_path / "hub") in refused["hint"], refused
    done = subprocess.run([HONED, "model", "import", "cli", str(snapshot), "--state", str(d.state)], capture_output=True, text=True, env=d.env)
    assert done.returncode == 1 and "tokenizer.json" in done.stderr, done.stderr
    (snapshot / "tokenizer.json").unlink()
    # A link that goes back and forth: at no moment does what is outside come in.
    stop = threading.Event()

    def exchange():
        for target in itertools.cycle((outside, "../../blobs/1234")):
            (snapshot / ".new").symlink_to(target)
            (snapshot / ".new").rename(snapshot / "config.json")
            if stop.wait(0.001):  # longer than a listing takes, which may miss a name that is being exchanged
                return

    thread = threading.Thread(target=exchange)
    thread.start()
    codes = []
    until = time.monotonic() + 60
    while len(codes) < 60 or (len(set(codes)) < 2 and time.monotonic() < until):
        codes.append(take(f"race{len(codes)}").status_code)
    stop.set()
    thread.join()
    assert set(codes) <= {201, 403} and len(set(codes)) == 2, codes
    assert {f.read_text() for f in d.state.glob("models/race*/*")} == {"{}"}
    assert not list(d.state.glob("models/.tmp-*")) and not list((d.state / "tmp").iterdir())


def test_job_from_start_to_end(daemon):
    job = daemon.job({"steps": 6}, name="first", metadata={"team": "a"}, hyperparameters={"learning_rate": 0.01})
    done = daemon.wait(job, "succeeded")
    assert done["progress"]["step"] == done["progress"]["total_steps"] == 6 and done["progress"]["fraction"] == 1
    assert done["metrics"]["best"] == {"step": 6, "metric": "val_loss", "value": 1.0} and done["artifacts_ready"]
    assert done["hyperparameters"]["learning_rate"] == 0.01 and done["request"]["metadata"] == {"team": "a"}
    types = [e["type"] for e in daemon.events(job)]
    assert types[:3] == ["queued", "warning", "claimed"] and types[-2:] == ["finished", "succeeded"]
    assert [e["seq"] for e in daemon.events(job)] == list(range(1, len(types) + 1))
    metrics = daemon.get(f"/jobs/{job}/metrics").json()
    assert [m["step"] for m in metrics["data"]] == [0, 1, 2, 3, 4, 5, 6, 6] and metrics["next"] is None
    assert metrics["data"][0]["loss"] is None and metrics["data"][0]["val_loss"] == 5.0 and metrics["data"][1]["val_loss"] is None
    page = daemon.get(f"/jobs/{job}/metrics?limit=3").json()
    assert page["next"] == 3 and daemon.get(f"/jobs/{job}/metrics?after=3").json()["data"][0]["seq"] == 4
    csv = daemon.get(f"/jobs/{job}/metrics?format=csv").text.splitlines()
    assert csv[0] == "step,epoch,tokens,loss,learning_rate,grad_norm,tokens_per_second,val_loss,val_accuracy,time"
    assert len(csv) == 8 and csv[-1].split(",")[7:9] == ["1", "0.5"]
    assert [c["step"] for c in daemon.get(f"/jobs/{job}/checkpoints").json()["data"]] == [2, 4, 6]
    assert daemon.get(f"/jobs/{job}/log").status_code == 200
    spec = json.loads((daemon.state / "runs" / job / "spec.json").read_text())
    assert spec["job"] == job and spec["host"]["threads"] >= 1
    assert (daemon.state / "runs" / job / "inputs/train").read_bytes() == rows({"steps": 6})


def test_artifacts(daemon):
    job = daemon.job()
    error(daemon.get(f"/jobs/{job}/artifacts/nothing"), 404, "not_found")
    daemon.wait(job, "succeeded")
    listed = daemon.get(f"/jobs/{job}/artifacts").json()["data"]
    assert [a["path"] for a in listed] == ["peft/adapter.bin"] and listed[0]["verified"] is True and listed[0]["kind"] == "peft"
    path = f"/jobs/{job}/artifacts/peft/adapter.bin"
    whole = daemon.get(path)
    assert hashlib.sha256(whole.content).hexdigest() == listed[0]["sha256"]
    assert whole.headers["ETag"] == f'"{listed[0]["sha256"]}"'
    size = len(whole.content)
    for text, expected in (("bytes=0-9", whole.content[:10]), ("bytes=-5", whole.content[-5:]), (f"bytes={size - 3}-", whole.content[-3:]),
                           (f"bytes=5-{size * 2}", whole.content[5:])):
        part = daemon.get(path, headers={"Range": text})
        assert part.status_code == 206 and part.content == expected and part.headers["Content-Range"].endswith(f"/{size}")
    bad = daemon.get(path, headers={"Range": f"bytes={size}-"})
    error(bad, 416, "bad_range")
    assert bad.headers["Content-Range"] == f"bytes */{size}"
    assert daemon.get(path, headers={"Range": "bytes=0-4", "If-Range": '"other"'}).status_code == 200
    assert daemon.get(path, headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304
    for wrong in ("../spec.json", "..%2fspec.json", "peft/../../spec.json", "/etc/passwd", "peft"):
        assert raw(daemon, f"GET /jobs/{job}/artifacts/{wrong} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").split()[1] == b"404"
    archive = tarfile.open(fileobj=io.BytesIO(daemon.get(f"/jobs/{job}/artifacts.tar").content))
    assert archive.getnames() == ["peft/adapter.bin"]
    assert archive.extractfile(archive.getnames()[0]).read() == whole.content


def raw(daemon, text, timeout=20):
    host, port = daemon.url.split("//")[1].split(":")
    with socket.create_connection((host, int(port)), timeout=timeout) as s:
        s.sendall(text.encode() if isinstance(text, str) else text)
        data = b""
        while chunk := s.recv(65536):
            data += chunk
        return data


def test_submission_is_checked(daemon):
    ds = daemon.dataset()
    good = {"model": "base", "dataset": ds}
    post = lambda **more: daemon.post("/jobs", json={k: v for k, v in (good | more).items() if v is not ...})
    assert "dataset" in error(post(datset="x"), 400, "unknown_field", "datset")["hint"]
    error(post(model=...), 400, "missing_field", "model")
    error(post(dataset=...), 400, "missing_field", "dataset")
    error(post(model="none"), 404, "not_found", "model")
    error(post(dataset="ds_aaaaaaaaaaaaaaaa"), 404, "not_found", "dataset")
    found = error(post(hyperparameters={"learning_rat": 1}), 400, "unknown_field", "hyperparameters.learning_rat")
    assert "learning_rate" in found["hint"]
    assert '"hyperparameters": {"epochs": …}' in error(post(epochs=3), 400, "unknown_field", "epochs")["hint"]
    error(post(hyperparameters={"epochs": "many"}), 400, "invalid_field", "hyperparameters.epochs")
    error(post(priority=1000), 400, "invalid_field", "priority")
    error(post(metadata={"a": 1}), 400, "invalid_field", "metadata")
    error(post(validation=2), 400, "invalid_field", "validation")
    error(post(validation={"fraction": 0.1, "dataset": ds}), 400, "invalid_field", "validation")
    assert daemon.get("/jobs").json()["data"] == []
    for wrong in ("0%", "100%", "-5%", "10 %", "%", "x%"):
        error(post(validation=wrong), 400, "invalid_field", "validation")
    assert daemon.get("/jobs").json()["data"] == []
    assert post(validation="12.5%").json()["validation"]["fraction"] == 0.125
    assert post(validation=0.1).status_code == post(validation=ds).status_code == post(validation="none").status_code == 201


def test_dry_run_and_memory(start):
    d = start("--memory", "1M")
    d.model()
    big = d.dataset({"peak_bytes": 2 << 20})
    dry = d.post("/jobs?dry_run=1", json={"model": "base", "dataset": big}).json()
    assert dry["fits"] is False and dry["available_bytes"] == 1 << 20 and dry["alternatives"]
    found = error(d.post("/jobs", json={"model": "base", "dataset": big}), 422, "does_not_fit")
    assert found["details"] and d.get("/jobs").json()["data"] == []


def test_multipart_in_one_call(daemon):
    reply = daemon.post("/jobs", files={"dataset": ("train.jsonl", rows(extra="mp")), "validation": ("v.jsonl", rows(extra="val"))},
                        data={"model": "base", "hyperparameters": '{"max_steps":3}', "priority": "5", "metadata": '{"a":"b"}', "name": "7"})
    assert reply.status_code == 201, reply.text
    job = reply.json()
    assert job["priority"] == 5 and job["name"] == "7" and job["progress"]["total_steps"] == 3 and reply.headers["Location"] == f"/jobs/{job['id']}"
    daemon.wait(job["id"], "succeeded")
    again = daemon.post("/jobs", json=job["request"])
    assert again.status_code == 201, "the request as recorded can be sent again"
    before = len(daemon.get("/datasets").json()["data"])
    error(daemon.post("/jobs", files={"dataset": ("t.jsonl", rows(extra="gone"))}, data={"model": "nope"}), 404, "not_found")
    error(daemon.post("/jobs", files={"dataset": ("t.jsonl", rows(extra="gone")), "validation": ("v", b"bad\n")}, data={"model": "base"}), 422,
          "dataset_invalid", "validation")
    assert daemon.post("/jobs?dry_run=1", files={"dataset": ("t.jsonl", rows(extra="gone"))}, data={"model": "base"}).json()["fits"]
    assert len(daemon.get("/datasets").json()["data"]) == before


def test_idempotency(daemon):
    body = {"model": "base", "dataset": daemon.dataset()}
    head = {"Idempotency-Key": "k1"}
    results = []
    threads = [threading.Thread(target=lambda: results.append(daemon.post("/jobs", json=body, headers=head))) for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len({r.json()["id"] for r in results}) == 1 and sorted(r.status_code for r in results)[-1] == 201
    again = daemon.post("/jobs", json=body, headers=head)
    assert again.status_code == 200 and again.headers["Idempotency-Replayed"] == "true"
    error(daemon.post("/jobs", json=body | {"name": "other"}, headers=head), 409, "conflict")
    assert len(daemon.get("/jobs").json()["data"]) == 1


def test_lists_and_changes(daemon):
    ids = [daemon.job(extra=str(i), metadata={"n": str(i % 2)}, name=f"j{i}") for i in range(4)]
    for job in ids:
        daemon.wait(job)
    names = lambda query="": [j["id"] for j in daemon.get("/jobs" + query).json()["data"]]
    assert names() == ids[::-1] and names("?order=asc") == ids
    assert names("?metadata[n]=1") == [ids[3], ids[1]] and names("?status=queued") == [] and names("?model=base&task=generation&limit=1") == [ids[3]]
    page = daemon.get("/jobs?limit=3").json()
    assert names(f"?limit=3&after={page['next']}") == [ids[0]]
    error(daemon.get("/jobs?status=done"), 400, "invalid_field", "status")
    error(daemon.get("/jobs?limit=0"), 400, "invalid_field", "limit")
    changed = daemon.patch(f"/jobs/{ids[0]}", json={"name": "new", "metadata": {"x": "y"}, "priority": -3}).json()
    assert (changed["name"], changed["metadata"], changed["priority"]) == ("new", {"x": "y"}, -3)
    error(daemon.patch(f"/jobs/{ids[0]}", json={"status": "x"}), 400, "unknown_field")
    error(daemon.post(f"/jobs/{ids[0]}/cancel"), 409, "conflict")
    assert daemon.delete(f"/jobs/{ids[0]}").status_code == 204
    error(daemon.get(f"/jobs/{ids[0]}"), 404, "not_found")
    assert not (daemon.state / "runs" / ids[0]).exists()


def test_a_kept_answer_is_as_new_as_the_last_change(daemon):
    """Answers about a job and its records' texts are kept: whoever changed it sees the change, in the other jobs of that plan nothing."""
    one, two = (daemon.job(extra="same", metadata={"n": str(i)}) for i in range(2))
    for job in (one, two):
        daemon.wait(job)
    before = daemon.look(two)
    for i in range(100):
        daemon.patch(f"/jobs/{one}", json={"name": f"n{i}", "metadata": {"n": str(i % 3)}})
        seen = [daemon.look(one) for _ in range(2)] + [j for j in daemon.get("/jobs").json()["data"] if j["id"] == one]
        assert [(j["name"], j["metadata"]) for j in seen] == [(f"n{i}", {"n": str(i % 3)})] * 3
    assert daemon.look(two) == before
    dry = daemon.post("/jobs?dry_run=1", json=before["request"]).json()
    assert daemon.post("/jobs?dry_run=1", json=before["request"]).json() == dry


def test_things_in_use_are_kept(daemon):
    job = daemon.job({"steps": 500, "step_seconds": 0.05})
    data = daemon.look(job)["dataset"]
    error(daemon.delete(f"/datasets/{data}"), 409, "conflict")
    error(daemon.delete("/models/base"), 409, "conflict")
    error(daemon.delete(f"/jobs/{job}"), 409, "conflict")
    daemon.post(f"/jobs/{job}/cancel")
    daemon.wait(job, "cancelled")
    assert daemon.delete(f"/datasets/{data}").status_code == 204 and daemon.delete("/models/base").status_code == 204


def test_predict(daemon):
    ask = {"inputs": ["hi", "ho"], "max_tokens": 5}
    assert daemon.post("/models/base/predict", json=ask).json()["data"][1]["text"] == "echo: ho"
    job = daemon.job({"steps": 500, "step_seconds": 0.05})
    daemon.wait_step(job, 1)
    error(daemon.post(f"/jobs/{job}/predict", json=ask), 409, "conflict", "step")
    assert daemon.post(f"/jobs/{job}/predict", json=ask | {"step": "last"}).status_code == 200
    daemon.post(f"/jobs/{job}/cancel")
    error(daemon.post("/models/base/predict", json={"inputs": []}), 400, "invalid_field", "inputs")
    error(daemon.post("/models/base/predict", json={}), 400, "missing_field", "inputs")
    error(daemon.post("/models/base/predict", json=ask | {"temperature": -1}), 400, "invalid_field", "temperature")
    with daemon.post("/models/base/predict", json=ask | {"stream": True}, stream=True) as reply:
        found = list(sse(reply))
    assert "".join(e["data"]["text"] for e in found if e["event"] == "chunk") == "echo: hiecho: ho" and found[-1]["event"] == "result"
    error(daemon.post("/models/base/predict", json={"inputs": ["CRASH"]}), 500, "internal")
    assert daemon.post("/models/base/predict", json=ask).status_code == 200, "a new helper took over"
    with daemon.post("/models/base/predict", json={"inputs": ["CRASH"], "stream": True}, stream=True) as reply:
        assert list(sse(reply))[-1]["event"] == "error"


def test_limits_and_broken_clients(start):
    d = start("--max_upload", "100K", "--max_body", "2K")
    d.model()
    error(d.post("/datasets", data=b"x" * 200_000), 413, "too_large")
    error(d.post("/datasets", data=(b"y" * 1000 for _ in range(200))), 413, "too_large")
    error(d.post("/jobs", json={"model": "x" * 3000}), 413, "too_large")
    error(d.post("/jobs", files={"dataset": ("x", b"y")}, data={"name": "z" * 5000}), 413, "too_large")
    host, port = d.url.split("//")[1].split(":")
    # A client that goes away in the middle of an upload leaves nothing.
    with socket.create_connection((host, int(port))) as s:
        s.sendall(b"POST /datasets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 50000\r\n\r\n" + b"z" * 1000)
        time.sleep(0.2)
        assert len(list((d.state / "tmp").iterdir())) == 1
    # Slow ones do not hold up the others.
    slow = [socket.create_connection((host, int(port))) for _ in range(50)]
    for s in slow:
        s.sendall(b"GET /jobs HTT")
    began = time.time()
    assert d.get("/healthz").status_code == 200 and time.time() - began < 1
    [s.close() for s in slow]
    deadline = time.time() + 10
    while list((d.state / "tmp").iterdir()) and time.time() < deadline:
        time.sleep(0.05)
    assert list((d.state / "tmp").iterdir()) == []
    assert raw(d, b"NONSENSE\r\n\r\n")[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.0 400")
    raw(d, b"POST /datasets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 9\r\nConnection: close\r\n\r\n--x\r\nbad\n")
    assert d.get("/healthz").status_code == 200


def test_keys(start, tmp_path):
    d = start("--require_keys", "yes")
    state = ["--state", str(d.state)]
    make = lambda scope: subprocess.run([HONED, "key", "create", "--name", scope, "--scope", scope, "--see", "all", *state], capture_output=True,
                                        text=True, check=True).stdout.strip()
    keys = {scope: {"Authorization": "Bearer " + make(scope)} for scope in ("read", "submit", "admin")}
    error(d.get("/jobs"), 401, "unauthorized")
    error(d.get("/nowhere"), 401, "unauthorized")
    error(d.get("/jobs", headers={"Authorization": "Bearer hone_wrong"}), 401, "unauthorized")
    assert d.get("/healthz").status_code == 200 and d.get("/").status_code == 200
    assert d.get("/jobs", headers=keys["read"]).status_code == 200
    error(d.post("/datasets", data=rows(), headers=keys["read"]), 403, "forbidden")
    assert d.post("/datasets", data=rows(), headers=keys["submit"]).status_code == 201
    error(d.post("/models?name=m", data=b"m", headers=keys["submit"] | {"Content-Type": "a/b"}), 403, "forbidden")
    assert d.post("/models?name=m", data=b"m", headers=keys["admin"] | {"Content-Type": "a/b"}).status_code == 201
    listed = subprocess.run([HONED, "key", "list", *state], capture_output=True, text=True, check=True).stdout
    assert "submit" in listed and "hone_" not in listed
    subprocess.run([HONED, "key", "revoke", "read", *state], check=True)
    error(d.get("/jobs", headers=keys["read"]), 401, "unauthorized")


def test_exposure_needs_a_decision(start, tmp_path):
    run = lambda *more: subprocess.run([HONED, "serve", "--state", str(tmp_path / "s"), "--listen", "0.0.0.0:0", *more], capture_output=True,
                                       text=True, timeout=20)
    assert run().returncode == 1 and "TLS" in run().stderr
    assert run("--require_keys", "no").returncode == 1
    assert run("--lisen", "1").returncode == 2


def test_command_line(start, tmp_path):
    d = start()
    (tmp_path / "m.gguf").write_bytes(b"weights")
    run = lambda *a: subprocess.run([HONED, *a], capture_output=True, text=True, env=d.env)
    assert run("model", "import", "cli", str(tmp_path / "m.gguf"), "--state", str(d.state)).returncode == 0
    assert d.get("/models/cli").json()["source"] == str(tmp_path / "m.gguf")
    assert "cli" in run("model", "list", "--state", str(d.state)).stdout
    assert run("model", "import", "cli", "/nowhere", "--state", str(d.state)).returncode == 1
    assert run("--version").stdout.startswith("honed ") and "serve" in run("--help").stdout and run("nonsense").returncode == 2
    assert "slots" in run("serve", "--help").stdout and run("doctor", "--state", str(d.state)).returncode == 0
    assert "uses the state folder" in run("serve", "--state", str(d.state), "--listen", "127.0.0.1:0").stderr


def test_doctor(tmp_path):
    """Says what is wrong and what to do, by its exit status too, and makes nothing."""
    run = lambda *a: subprocess.run([HONED, "doctor", *a], capture_output=True, text=True)
    done = run("--state", str(tmp_path / "not" / "there"), "--listen", "127.0.0.1:0")
    assert done.returncode == 0 and "BAD" not in done.stdout and not (tmp_path / "not").exists(), done.stdout
    assert all(word in done.stdout for word in ("kernels", "memory", "open files", "disk", "address"))
    done = run("--state", str(tmp_path / "x"), "--memory", "10M", "--listen", "127.0.0.1:0")
    assert done.returncode == 1 and "BAD   memory" in done.stdout and "256M" in done.stdout
    done = run("--state", str(tmp_path / "x"), "--disk_reserve", "900T", "--listen", "127.0.0.1:0")
    assert done.returncode == 1 and "BAD   disk" in done.stdout
    import socket
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("--state", str(tmp_path / "x"), "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
        assert done.returncode == 1 and "BAD   address" in done.stdout and "--listen" in done.stdout


def test_request_ids(daemon):
    """A client's own name for a request goes through to the answer and the log, if it is short and plain."""
    assert daemon.get("/healthz", headers={"X-Request-Id": "trace-7.a_B"}).headers["X-Request-Id"] == "trace-7.a_B"
    deadline = time.time() + 10  # the line is written after the answer
    while "req=trace-7.a_B" not in daemon.log.read_text():
        assert time.time() < deadline, daemon.log.read_text()
        time.sleep(0.02)
    for bad in ("a b", "x" * 200, 'q"', "", "ä".encode().decode("latin-1")):
        assert daemon.get("/healthz", headers={"X-Request-Id": bad.encode("latin-1")}).headers["X-Request-Id"].startswith("req_")


def test_configuration_file(start, tmp_path):
    conf = tmp_path / "honed.conf"
    conf.write_text("# a comment\nslots = 3\nmemory = 2G\n")
    d = start("--config", str(conf), "--slots", "2")
    assert "hone_slots 2" in d.get("/metrics").text and f"hone_memory_bytes {2 << 30}" in d.get("/metrics").text
    conf.write_text("slotz = 3\n")
    bad = subprocess.run([HONED, "serve", "--config", str(conf), "--state", str(tmp_path / "x")], capture_output=True, text=True)
    assert bad.returncode == 2 and "line 1" in bad.stderr


def test_tls(start, tmp_path):
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert], check=True, capture_output=True)
    d = start("--tls_cert", cert, "--tls_key", key)
    assert d.get("/healthz", verify=cert).json()["status"] == "ok"
    assert d.post("/datasets", data=rows(extra="x" * 500_000), verify=cert).status_code == 201
    bad = subprocess.run([HONED, "serve", "--state", str(tmp_path / "b"), "--listen", "127.0.0.1:0", "--tls_cert", cert], capture_output=True,
                         text=True, timeout=20)
    assert bad.returncode == 2 and "together" in bad.stderr


def test_a_read_key_has_nothing_made(start):
    d = start("--require_keys", "yes")
    keys = {}
    for scope in ("read", "submit", "admin"):
        made = subprocess.run([HONED, "key", "create", "--name", scope, "--scope", scope, "--see", "all", "--state", str(d.state)], capture_output=True, text=True,
                              check=True)
        keys[scope] = {"Authorization": "Bearer " + made.stdout.strip().split("\n")[-1].strip()}
    assert d.post("/models?name=base", data=b"fake model", headers=keys["admin"] | {"Content-Type": "application/octet-stream"}).status_code == 201
    data = d.post("/datasets?name=d", data=rows(), headers=keys["submit"]).json()["id"]
    job = d.post("/jobs", json={"model": "base", "dataset": data}, headers=keys["submit"]).json()["id"]
    deadline = time.time() + 20
    while d.get(f"/jobs/{job}", headers=keys["read"]).json()["status"] != "succeeded":
        assert time.time() < deadline
        time.sleep(0.05)
    at = f"/jobs/{job}/checkpoints/4/artifacts"
    for path in (at, at + ".tar", at + "/adapter.bin"):
        reply = d.get(path, headers=keys["read"])
        assert reply.status_code == 403 and "submit" in reply.json()["error"]["hint"], reply.text
    assert not (d.state / "runs" / job / "exports").exists()
    assert d.get(at, headers=keys["submit"]).json()["data"][0]["path"] == "adapter.bin"
    assert d.get(at + "/adapter.bin", headers=keys["read"]).content == b"exported"
