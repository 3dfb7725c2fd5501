"""What an operator looks at and reaches for: figures, logs, who may ask, backups."""
import datetime
import json
import pathlib
import re
import subprocess

import requests

from daemon import HONED


def test_alert_rules_name_figures_there_are(daemon):
    """With labels that they have; a rule of a figure that is not there would never tell anything."""
    rules = (pathlib.Path(__file__).resolve().parents[2] / "deploy/prometheus-rules.yml").read_text()
    found = daemon.figures()
    used = re.findall(r"(hone_\w+)(?:{(\w+)=\"(\w+)\"})?", " ".join(re.findall(r"expr: (.*)", rules)))
    assert len(used) >= 6 and all(name in found for name, _, _ in used), used
    for name, label, value in used:
        assert not label or any((label, value) in key for key in found[name]), (name, label, value, found[name])


def test_dashboard_for_grafana(daemon):
    """Its panels ask for figures that are there, by labels that they have."""
    board = json.loads((pathlib.Path(__file__).resolve().parents[2] / "deploy/grafana-dashboard.json").read_text())
    daemon.wait(daemon.job({"steps": 1}))
    found, asked = daemon.figures(), set()
    for panel in board["panels"]:
        for target in panel["targets"]:
            for name, labels in re.findall(r"(hone_\w+)(?:{([^}]*)})?", target["expr"]):
                assert name in found, (panel["title"], name)
                asked.add(re.sub("_bucket$", "", name))
                wanted = set(re.findall(r"(\w+)=\"(\w+)\"", labels))
                assert any(wanted <= set(key) for key in found[name]), (panel["title"], name, wanted)
                shown = re.findall(r"{{(\w+)}}", target["legendFormat"]) + re.findall(r"by \((\w+)\)", target["expr"])
                own = {label for key in found[name] for label, _ in key} | {"instance"}
                assert set(shown) <= own, (panel["title"], shown, own)
    assert len(asked) >= 15 and re.search(r"label_values\((\w+)", board["templating"]["list"][1]["query"])[1] in found
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in board["panels"]]
    assert len(set(places)) == len(places) == len({p["id"] for p in board["panels"]})


def test_figures(daemon):
    before = daemon.figures()
    assert before["hone_trained_steps_total"][()] == 0 and before["hone_queue_wait_seconds_count"][()] == 0
    job = daemon.job({"steps": 6, "peak_bytes": 5000, "step_seconds": 0.2})
    daemon.wait_step(job, 1)
    during = daemon.figures()
    assert during["hone_slots_busy"][()] == 1 and during["hone_memory_planned_bytes"][()] == 5000
    assert during["hone_jobs"][(("status", "running"),)] == 1
    with daemon.get(f"/jobs/{job}/events", headers={"Accept": "text/event-stream"}, stream=True) as stream:
        next(stream.iter_lines())
        assert daemon.figures()["hone_event_streams"][()] == 1
        for _ in stream.iter_lines():
            pass
    daemon.wait(job, "succeeded")
    daemon.get("/nowhere")
    requests.put(daemon.url + "/jobs")
    after = daemon.figures()
    assert after["hone_trained_steps_total"][()] == 6 and after["hone_trained_tokens_total"][()] == 30
    assert after["hone_memory_planned_bytes"][()] == 0 and after["hone_event_streams"][()] == 0
    assert after["hone_queue_wait_seconds_count"][()] == 1 and after["hone_queue_wait_seconds_sum"][()] < 5
    assert after["hone_datasets_bytes"][()] == daemon.get("/datasets").json()["data"][0]["bytes"]
    assert after["hone_models_bytes"][()] == len(b"fake model")
    answered = after["hone_http_requests_total"]
    label = lambda method, route, kind: (("class", kind), ("method", method), ("route", route))
    assert answered[label("POST", "/jobs", "2xx")] == 1 and answered[label("GET", "/jobs/{id}", "2xx")] > 1
    assert answered[label("other", "none", "4xx")] == 2
    for name in ("hone_http_request_seconds", "hone_store_commit_seconds", "hone_queue_wait_seconds"):
        for labels, count in after[name + "_count"].items():
            buckets = [(float(dict(k)["le"]), v) for k, v in after[name + "_bucket"].items() if set(labels) < set(k) or not labels]
            assert [v for _, v in sorted(buckets)] == sorted(v for _, v in buckets), "buckets only grow"
            assert dict(buckets)[float("inf")] == count and after[name + "_sum"][labels] >= 0
    assert after["hone_store_commit_seconds_count"][()] > 5


def test_a_dead_helper_is_counted(daemon):
    assert daemon.post("/datasets", data=b"CRASH\n").status_code == 500
    assert daemon.figures()["hone_helper_restarts_total"][(("helper", "data"),)] == 1


def test_log_as_json(start):
    """Every line is an object; a request's has its id, route, status and time, a job's its id; nothing from outside forges one."""
    d = start("--log_format", "json")
    d.model()
    job = d.job({"steps": 3, "die_at": [2], "save_every": 1})
    d.wait(job, "succeeded")
    d.get("/jobs?limit=x", headers={"X-Request-Id": "12345"})
    d.get('/no"where\\%0Aat={all}%ff')
    assert d.stop() == 0
    lines = [json.loads(line) for line in d.log.read_text().splitlines()]
    for line in lines:
        assert list(line)[:3] == ["time", "level", "message"] and datetime.datetime.fromisoformat(line["time"]), line
        assert line["level"] in ("debug", "info", "warning", "error")
    asked = {line["req"]: line for line in lines if line["message"] == "request"}
    assert asked["12345"] | {"ms": 0, "time": ""} == {
        "time": "", "level": "info", "message": "request", "req": "12345", "method": "GET", "path": "/jobs", "route": "/jobs", "status": 400,
        "ms": 0, "key": "-", "client": "127.0.0.1", "end": "ok", "error": asked["12345"]["error"]}
    assert [line["path"] for line in asked.values() if line["status"] == 404] == ['/no"where\\\nat={all}\N{REPLACEMENT CHARACTER}']
    assert any(line["route"] == "/jobs/{id}" and line["path"] == f"/jobs/{job}" for line in asked.values())
    assert {"job claimed", "trainer started", "run ended"} <= {line["message"] for line in lines if line.get("job") == job}
    refused = subprocess.run([HONED, "serve", "--log_format", "xml"], capture_output=True, text=True)
    assert refused.returncode == 2 and "json" in refused.stderr


def test_hosts_and_origins(start):
    """Without keys: names that another's name server could have given are refused, and so are other sites' pages."""
    d = start("--allowed_hosts", "hone.example.org, gpu.lan")
    d.model()
    port = d.url.rsplit(":", 1)[1]
    ask = lambda method, host, origin=None, path="/jobs": requests.request(
        method, d.url + path, headers={"Host": host} | ({"Origin": origin} if origin else {}), timeout=20)
    for host in ("localhost", f"127.0.0.1:{port}", f"[::1]:{port}", "app.localhost:1", "192.168.7.4:80", "HONE.example.org", "gpu.lan:8443"):
        assert ask("GET", host).status_code == 200, host
    for host in ("evil.example", "hone.example.org.evil.example", "127.0.0.1.nip.example", "example.org", "", "a:b", "localhost:x"):
        for path in ("/jobs", "/", "/nowhere", "/metrics"):
            reply = ask("GET", host, path=path)
            assert reply.status_code == 403 and "allowed_hosts" in reply.json()["error"]["hint"], (host, path)
    # A browser's dashboard: straight, through a proxy that keeps the Host, and through one that does not.
    for host, origin in ((f"localhost:{port}", f"http://localhost:{port}"), ("hone.example.org", "https://hone.example.org"),
                         (f"127.0.0.1:{port}", "https://hone.example.org")):
        assert ask("DELETE", host, origin, "/jobs/job_aaaaaaaaaaaaaaaa").status_code == 404, origin
    for origin in ("http://evil.example", "null", f"http://localhost:{int(port) - 1}", "https://hone.example.org.evil.example", "file://",
                   "chrome-extension://hone.example.org"):
        for method, path in (("POST", "/jobs"), ("DELETE", "/models/base"), ("PATCH", "/jobs/job_aaaaaaaaaaaaaaaa"), ("POST", "/datasets")):
            reply = ask(method, f"localhost:{port}", origin, path)
            assert reply.status_code == 403 and "web page" in reply.json()["error"]["message"], (method, origin)
    assert d.get("/models/base").status_code == 200
    assert subprocess.run(["curl", "-sf", d.url + "/jobs"]).returncode == 0


def test_keys_make_any_host_do(start):
    """A page that rebinds its name has no key; a proxy may pass on any name. Foreign origins stay out."""
    d = start("--require_keys", "yes")
    key = subprocess.run([HONED, "key", "create", "--name", "k", "--scope", "admin", "--state", str(d.state)], capture_output=True, text=True)
    ask = lambda **headers: d.get("/jobs", headers=headers).status_code
    bearer = "Bearer " + key.stdout.strip()
    assert ask(Host="any.example", Authorization=bearer) == 200 and ask(Host="any.example") == 401
    assert ask(Host="any.example", Authorization=bearer, Origin="https://other.example") == 403
