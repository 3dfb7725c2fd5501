"""Evaluations that take long: told how far they are, looked at again, cancelled; what fails costs that request alone."""
import json
import random
import threading
import time

import pytest
import requests

import tiny
from test_api import error
from test_owners import key


@pytest.fixture
def d(daemon):
    return daemon


def dataset(d, rows=20, **fake):
    lines = [json.dumps({"text": f"row {i} {fake}", "fake": fake}) for i in range(rows)]
    reply = d.post("/datasets", data="\n".join(lines).encode())
    assert reply.status_code in (200, 201), reply.text
    return reply.json()["id"]


def ask(d, data, wait=None, at="/models/base", **options):
    return d.post(f"{at}/evaluate" + ("" if wait is None else f"?wait={wait}"), json={"dataset": data}, **options)


def until(look, timeout=40):
    deadline = time.time() + timeout
    while not (found := look()):
        assert time.time() < deadline, "it did not come"
        time.sleep(0.05)
    return found


def finished(d, id):
    return until(lambda: (r := d.get(f"/evaluations/{id}")).status_code != 202 and [r])[0]  # an error's reply counts as false


def test_short_ones_answer_as_ever(d):
    data = dataset(d)
    plain, patient = ask(d, data), ask(d, data, wait=30)
    assert plain.status_code == patient.status_code == 200
    kept = d.get(f"/evaluations/{patient.json()['id']}")
    assert kept.status_code == 200 and kept.json() == patient.json() and kept.json()["model"] == "base" and kept.json()["rows"] == 20
    assert list((d.state / "tmp").iterdir()) == []


def test_long_ones_tell_how_far_they_are(d):
    data = dataset(d, evaluate_seconds=0.1)
    reply = ask(d, data, wait=0)
    told = reply.json()
    assert reply.status_code == 202 and reply.headers["Location"] == f"/evaluations/{told['id']}" and reply.headers["Retry-After"] == "2"
    assert told == {"id": told["id"], "status": "running", "owner": None, "progress": 0.0, "rows": 0, "total": told["total"], "answered": None,
                    "model": "base", "dataset": data}
    seen = until(lambda: (t := d.get(reply.headers["Location"]).json()) and t.get("rows", 0) > 2 and t)
    assert seen["total"] == 20 and seen["progress"] == pytest.approx(seen["rows"] / 20) and seen["status"] == "running"
    error(d.get(f"/evaluations/{told['id']}/rows"), 404, "not_found")
    assert told["id"] not in d.get("/evaluations").text
    kept = finished(d, told["id"]).json()
    assert kept["id"] == told["id"] and kept["rows"] == 20 and "status" not in kept
    assert len(d.get(kept["links"]["rows"]).text.splitlines()) == 20
    assert [e["id"] for e in d.get("/evaluations").json()["data"]] == [told["id"]]
    assert ask(d, dataset(d, 3, evaluate_seconds=0.01), wait=20).status_code == 200


def test_of_a_job(d):
    job = d.job({"steps": 2})
    d.wait(job)
    told = ask(d, dataset(d, evaluate_seconds=0.1), wait=1, at=f"/jobs/{job}")
    assert told.status_code == 202 and told.json()["job"] == job
    assert finished(d, told.json()["id"]).json()["job"] == job


def test_cancelled(d):
    id = ask(d, dataset(d, evaluate_seconds=2), wait=0).json()["id"]
    other = ask(d, dataset(d, evaluate_seconds=0.1), wait=0).json()["id"]
    until(lambda: d.get(f"/evaluations/{id}").json()["total"])
    assert d.delete(f"/evaluations/{id}").status_code == 204
    error(finished(d, id), 404, "not_found")
    assert finished(d, other).status_code == 200
    until(lambda: list((d.state / "tmp").iterdir()) == [])
    error(d.delete(f"/evaluations/{id}"), 404, "not_found")


def test_a_helper_that_dies_costs_that_one_alone(d):
    other = ask(d, dataset(d, evaluate_seconds=0.1), wait=0).json()["id"]
    dying = ask(d, dataset(d, evaluate_seconds=0.05, evaluate_dies=True), wait=0).json()["id"]
    told = error(finished(d, dying), 500, "internal")
    assert "died" in told["message"]
    error(d.get(f"/evaluations/{dying}"), 404, "not_found")  # told once
    assert finished(d, other).status_code == 200
    error(ask(d, dataset(d, evaluate_dies=True)), 500, "internal")
    assert ask(d, dataset(d)).status_code == 200 and list((d.state / "tmp").iterdir()) == []


def test_a_fault_is_told_to_who_comes_for_it(d):
    failing = ask(d, dataset(d, evaluate_seconds=0.05, evaluate_fails=True), wait=0)
    assert failing.status_code == 202
    assert "target" in error(finished(d, failing.json()["id"]), 422, "dataset_invalid")["message"]
    error(ask(d, dataset(d, evaluate_fails=True), wait=30), 422, "dataset_invalid")


def test_a_client_that_leaves(d):
    """Without wait= it ends with the client, as ever; with it, it goes on."""
    data = dataset(d, evaluate_seconds=0.2)
    for query, outcome in (("", 0), ("?wait=60", 1)):
        with pytest.raises(requests.exceptions.RequestException):
            requests.post(f"{d.url}/models/base/evaluate{query}", json={"dataset": data}, timeout=1)
        until(lambda: not list((d.state / "tmp").iterdir()))
        assert len(d.get("/evaluations").json()["data"]) == outcome


def test_bad_ones(d):
    data = dataset(d)
    for wrong in ("-1", "601", "x", ""):
        error(ask(d, data, wait=wrong), 400, "invalid_field", "wait")
    error(ask(d, "ds_aaaaaaaaaaaaaaaa", wait=0), 404, "not_found", "dataset")


def test_not_too_many(start):
    d = start("--helpers", "1")
    d.model()
    data = dataset(d, evaluate_seconds=5)
    ids, answers = [], []
    for _ in range(20):
        reply = ask(d, data, wait=0)
        answers.append(reply.status_code)
        ids += [reply.json()["id"]] if reply.status_code == 202 else []
    assert answers == [202] * 16 + [503] * 4
    for id in ids:
        assert d.delete(f"/evaluations/{id}").status_code == 204
    until(lambda: ask(d, dataset(d), wait=5).status_code == 200)


def test_whose_it_is(start):
    d = start("--require_keys", "yes")
    a, b, admin = (key(d, name, scope) for name, scope in (("a", "submit"), ("b", "submit"), ("boss", "admin")))
    assert d.post("/models?name=base", data=b"fake model", headers=admin | {"Content-Type": "application/octet-stream"}).status_code == 201
    row = json.dumps({"text": "x", "fake": {"evaluate_seconds": 0.2}})
    data = d.post("/datasets", data="\n".join([row] * 30).encode(), headers=a).json()["id"]
    id = ask(d, data, wait=0, headers=a).json()["id"]
    assert d.get(f"/evaluations/{id}", headers=a).status_code == 202 and d.get(f"/evaluations/{id}", headers=admin).status_code == 202
    error(d.get(f"/evaluations/{id}", headers=b), 404, "not_found")
    error(d.delete(f"/evaluations/{id}", headers=b), 404, "not_found")
    assert d.get(f"/evaluations/{id}").status_code == 401
    assert d.delete(f"/evaluations/{id}", headers=a).status_code == 204


def test_a_stop_is_quick(d):
    threading.Thread(target=lambda: ask(d, dataset(d, evaluate_seconds=5), wait=60), daemon=True).start()
    ask(d, dataset(d, evaluate_seconds=5, n=1), wait=0)
    time.sleep(1)
    began = time.time()
    assert d.stop() == 0 and time.time() - began < 15


def test_a_real_one(start, tmp_path):
    tiny.llama(tmp_path / "models" / "llama")
    d = start("--model_dirs", str(tmp_path / "models"), fake=False)
    assert d.post("/models", json={"name": "base", "path": str(tmp_path / "models" / "llama")}).status_code == 201
    chance = random.Random(1)
    rows = "".join(json.dumps({"prompt": f"{tiny.sentence(chance)} {i}", "completion": tiny.sentence(chance)}) + "\n" for i in range(400))
    data = d.post("/datasets", data=rows.encode()).json()["id"]
    plain = d.post("/models/base/evaluate", json={"dataset": data, "generate": {"max_tokens": 4}}).json()
    reply = d.post("/models/base/evaluate?wait=0", json={"dataset": data, "generate": {"max_tokens": 4}})
    assert reply.status_code == 202
    told = []
    while (r := d.get(reply.headers["Location"])).status_code == 202:
        told.append(r.json())
    rising = [t["progress"] for t in told]
    assert rising == sorted(rising) and all(t["total"] in (None, 400) for t in told) and any(t["rows"] or t["answered"] for t in told)
    assert r.json()["metrics"] == plain["metrics"] and r.json()["answered"] == plain["answered"]
