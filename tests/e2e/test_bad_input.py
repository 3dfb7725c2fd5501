"""Everything wrong that a user may send, as a table: what is answered, and that nothing is left behind. One daemon takes it all, and
serves a sound request at the end. Needs the GGUF model."""
import json
import os
import pathlib

import pytest
import requests

GGUF = os.environ.get("HONE_TEST_GGUF", "")
pytestmark = pytest.mark.skipif(not GGUF, reason="HONE_TEST_GGUF is not set")
GOOD = b'{"prompt": "2 + 2 =", "completion": " 4"}\n' * 12
CHAT = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    from daemon import Daemon
    daemon = Daemon(tmp_path_factory.mktemp("bad") / "state", "--model_dirs", str(pathlib.Path(GGUF).parent), "--max_body", "1M", fake=False)
    done = requests.post(daemon.url + "/models", json={"name": "smollm2", "path": GGUF})
    assert done.status_code == 201, done.text
    done = requests.post(daemon.url + "/datasets", data=GOOD)
    assert done.status_code == 201, done.text
    daemon.good = done.json()["id"]
    yield daemon
    daemon.stop()
    assert "Sanitizer" not in daemon.log.read_text()


def left(daemon):
    """All that a request could leave: records, files of uploads, data sets, models and runs."""
    lists = {name: [x.get("id", x.get("name")) for x in requests.get(f"{daemon.url}/{name}").json()["data"]] for name in ("datasets", "models", "jobs")}
    folders = {name: sorted(x.name for x in (daemon.state / name).iterdir() if not x.name.startswith(".")) for name in ("tmp", "datasets", "models", "runs")}
    return lists, folders


# Files: (name, bytes, query, words of the message, line or None)
nested = b'{"text": ' + b"[" * 10000 + b"]" * 10000 + b"}\n"
FILES = [
    ("empty", b"", "", "empty", None),
    ("only blank lines", b"\n \n\r\n", "", "no rows", None),
    ("byte order mark alone", b"\xef\xbb\xbf", "", "no rows", None),
    ("UTF-16", "{\"text\": \"a\"}\n".encode("utf-16"), "", "UTF-16", None),
    ("a NUL byte", GOOD + b'{"prompt": "a\0b", "completion": "c"}\n', "", "0x00", 13),
    ("bytes that are no UTF-8", GOOD + b'{"prompt": "caf\xe9", "completion": "c"}\n', "", "0xE9", 13),
    ("a lone surrogate", GOOD + b'{"prompt": "\\ud800", "completion": "c"}\n', "", "not valid JSON", 13),
    ("a row cut short", GOOD + b'{"prompt": "a", "comp', "", "not valid JSON", 13),
    ("a row that is no object", GOOD + b'["a", "b"]\n', "", "no JSON object", 13),
    ("a key twice", b'{"text": "a", "text": "b"}\n', "", "duplicate", 1),
    ("nested too deep", nested, "", "not valid JSON", 1),
    ("unknown columns", b'{"foo": "a", "bar": "b"}\n', "", "not recognised", 1),
    ("a missing column", GOOD + b'{"prompt": "a"}\n', "", "completion", 13),
    ("null", GOOD + b'{"prompt": null, "completion": "c"}\n', "", "null", 13),
    ("a number as text", GOOD + b'{"prompt": 5, "completion": "c"}\n', "", "must be a text", 13),
    ("an empty text", GOOD + b'{"prompt": "", "completion": "c"}\n', "", "empty", 13),
    ("messages that are no list", b'{"messages": "hi"}\n', "", "list", 1),
    ("no messages", b'{"messages": []}\n', "", "empty list", 1),
    ("a message without a role", b'{"messages": [{"content": "a"}]}\n', "", "role", 1),
    ("an unknown role", b'{"messages": [{"role": "usr", "content": "a"}]}\n', "", "usr", 1),
    ("a message without content", b'{"messages": [{"role": "user"}]}\n', "", "content", 1),
    ("a negative weight", b'{"messages": [{"role": "assistant", "content": "a", "weight": -1}]}\n', "", "weight", 1),
    ("mixed kinds", GOOD + json.dumps(CHAT).encode() + b"\n", "", "before", 13),
    ("an empty label", b'{"text": "a", "label": ""}\n', "", "label", 1),
    ("an answer that is not there", b'{"context": "abc", "question": "?", "answers": {"text": ["x"], "answer_start": [0]}}\n', "", "stand", 1),
    ("tags that do not pair", b'{"tokens": ["a", "b"], "tags": ["O"]}\n', "", "2 tokens but 1 tags", 1),
    ("an array that never ends", b'[{"text": "a"}, {"text": "b"}', "", "never closed", 1),
    ("text behind an array", b'[{"text": "a"}] x', "", "behind the end", 1),
    ("an open quote in CSV", b'text,label\n"a,1\nb,2\n', "?format=csv", "never closed", None),
    ("too few fields in CSV", b"text,label\na,1\nb\n", "?format=csv", "1 columns", 3),
    ("Parquet", b"PAR1" + b"\0" * 100, "", "Parquet", None),
    ("a zip archive", b"PK\3\4" + b"\0" * 100, "", "archive", None),
    ("a damaged gzip file", b"\x1f\x8b\x08\x00" + b"\xff" * 100, "", "damaged", None),
    ("a damaged zstd file", b"\x28\xb5\x2f\xfd" + b"\xff" * 100, "", "damaged", None),
    ("a picture", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4, "", "", None),
    ("a mapping to nothing", GOOD, "?columns={\"prompt\":\"nope\"}", 'no column "nope", which is to be prompt', 1),
    ("a mapping with a typing error", b"id,message,category\n1,a b,x\n", "?columns={\"text\":\"mesage\",\"label\":\"category\"}", 'did you mean "message"?', None),
]


@pytest.mark.parametrize("data, query, words, line", [f[1:] for f in FILES], ids=[f[0] for f in FILES])
def test_files(served, data, query, words, line):
    before = left(served)
    for send in (dict(data=data), dict(files={"file": ("rows", data)})):
        done = requests.post(served.url + "/datasets" + query, **send)
        error = done.json()["error"]
        assert done.status_code == 422 and error["code"] == "dataset_invalid", done.text
        assert words in error["message"] and error["hint"], error
        if line:
            assert error["details"][0]["line"] == line, error
    done = requests.post(served.url + "/jobs", files={"dataset": ("rows", data)}, data={"model": "smollm2", **({"columns": query[9:]} if "columns" in query else {}),
                                                                                       **({"format": "csv"} if "format" in query else {})})
    assert done.status_code == 422 and done.json()["error"]["field"] in ("dataset", None), done.text
    assert left(served) == before


@pytest.mark.parametrize("data, rows", [(GOOD.replace(b"\n", b"\r\n"), 12), (b"\xef\xbb\xbf" + GOOD, 12), (GOOD[:-1], 12),
                                        ("{\"text\": \"naïve 🙂 \\ud83d\\ude00 \\u0000\"}\n".encode() * 3, 3),
                                        (b"text\tlabel\r\n" + b"a\t1\r\nb\t0\r\n" * 3, 6), (b'text;label\n"a;""b""\nc";1\nd;0\n', 2)],
                         ids=["Windows line ends", "byte order mark", "no last line end", "emoji", "TSV from Windows", "quotes over lines"])
def test_accepted(served, data, rows):
    done = requests.post(served.url + "/datasets", data=data)
    assert done.status_code == 201 and done.json()["rows"] == rows, done.text
    assert requests.delete(f"{served.url}/datasets/{done.json()['id']}").status_code in (200, 204)


def test_bad_rows_may_be_dropped(served):
    data = GOOD + b'{"prompt": 5, "completion": "c"}\nnonsense\n' + GOOD
    done = requests.post(served.url + "/datasets?on_error=drop", data=data).json()
    assert (done["rows"], done["dropped"]) == (24, 2) and done["warnings"][0]["lines"] == [13, 14], done
    requests.delete(f"{served.url}/datasets/{done['id']}")


# Jobs: (name, changes to a sound body, status, code, field, words)
JOBS = [
    ("no model", {"model": None}, 400, "missing_field", "model", ""),
    ("an unknown model", {"model": "smollm3"}, 404, "not_found", "model", "smollm3"),
    ("a path as model", {"model": "../../etc/passwd"}, 404, "not_found", "model", ""),
    ("no data set", {"dataset": None}, 400, "missing_field", "dataset", ""),
    ("an unknown data set", {"dataset": "ds_aaaaaaaaaaaaaaaa"}, 404, "not_found", "dataset", ""),
    ("a data set that is a number", {"dataset": 5}, 400, "invalid_field", "dataset", "id"),
    ("an unknown field", {"modle": "x"}, 400, "unknown_field", "modle", ""),
    ("an unknown hyperparameter", {"hyperparameters": {"learning_rte": 1}}, 400, "unknown_field", "hyperparameters.learning_rte", ""),
    ("a text for a number", {"hyperparameters": {"learning_rate": "1e-4"}}, 400, "invalid_field", "hyperparameters.learning_rate", ""),
    ("too large a number", {"hyperparameters": {"learning_rate": 1e9}}, 400, "invalid_field", "hyperparameters.learning_rate", ""),
    ("a negative number", {"hyperparameters": {"epochs": -1}}, 400, "invalid_field", "hyperparameters.epochs", ""),
    ("a fraction of rows", {"hyperparameters": {"batch_size": 1.5}}, 400, "invalid_field", "hyperparameters.batch_size", ""),
    ("an unknown schedule", {"hyperparameters": {"schedule": "cosin"}}, 400, "invalid_field", "hyperparameters.schedule", "cosine"),
    ("hyperparameters that are a list", {"hyperparameters": [1]}, 400, "invalid_field", "hyperparameters", ""),
    ("an unknown module", {"hyperparameters": {"lora_targets": ["q_prj"]}}, 400, "invalid_field", "hyperparameters.lora_targets", "q_prj"),
    ("a rank wider than the model", {"hyperparameters": {"lora_rank": 4000}}, 400, "invalid_field", "hyperparameters.lora_rank", ""),
    ("an unknown task", {"task": "translate"}, 400, "invalid_field", "task", ""),
    ("a task that the rows are not of", {"task": "classification"}, 400, "invalid_field", "task", "generation"),
    ("an unknown method", {"method": "qlora"}, 400, "invalid_field", "method", "qlora"),
    ("a head without labels", {"method": "head"}, 400, "unsupported", "method", "head"),
    ("an unknown export", {"exports": ["onnx"]}, 400, "invalid_field", "exports", "onnx"),
    ("no export", {"exports": []}, 400, "invalid_field", "exports", ""),
    ("an unknown precision", {"export_dtype": "f64"}, 400, "invalid_field", "export_dtype", ""),
    ("a precision of files", {"exports": ["merged_gguf"], "gguf_dtype": "q3_k"}, 400, "invalid_field", "gguf_dtype", "q4_0"),
    ("files without any bytes", {"exports": ["merged"], "max_shard_bytes": 0}, 400, "invalid_field", "max_shard_bytes", ""),
    ("files of a written size", {"max_shard_bytes": "5GB"}, 400, "invalid_field", "max_shard_bytes", "whole number"),
    ("a precision that is not computed", {"precision": "bf16"}, 400, "unsupported", "precision", "f32"),
    ("an unknown template", {"template": "chatml"}, 400, "invalid_field", "template", "applied"),
    ("an unknown export step", {"export_step": "first"}, 400, "invalid_field", "export_step", ""),
    ("half the rows twice", {"validation": 1.5}, 400, "invalid_field", "validation", ""),
    ("validation of two kinds", {"validation": {"fraction": 0.1, "dataset": "ds_a"}}, 400, "invalid_field", "validation", ""),
    ("an unknown validation set", {"validation": "ds_aaaaaaaaaaaaaaaa"}, 404, "not_found", "validation", ""),
    ("a priority out of range", {"priority": 101}, 400, "invalid_field", "priority", ""),
    ("a name that is a number", {"name": 5}, 400, "invalid_field", "name", ""),
    ("a long name", {"name": "x" * 300}, 400, "invalid_field", "name", "200"),
    ("too much metadata", {"metadata": {str(i): "x" for i in range(17)}}, 400, "invalid_field", "metadata", "16"),
    ("metadata that is no text", {"metadata": {"a": 1}}, 400, "invalid_field", None, ""),
    ("samples of a wrong kind", {"samples": {"rows": "x"}}, 400, "invalid_field", None, ""),
    ("begins from nothing", {"init_from": "job_aaaaaaaaaaaaaaaa"}, 404, "not_found", "init_from", ""),
    ("rows longer than allowed", {"hyperparameters": {"max_length": 8, "overflow": "error"}}, None, None, None, ""),
    ("memory for a giant", {"hyperparameters": {"micro_batch_tokens": 16777216, "max_length": 1048576, "batch_size": 1000000}}, None, None, None, ""),
]


@pytest.mark.parametrize("change, status, code, field, words", [j[1:] for j in JOBS], ids=[j[0] for j in JOBS])
def test_jobs(served, change, status, code, field, words):
    before = left(served)
    body = {k: v for k, v in {"model": "smollm2", "dataset": served.good, **change}.items() if v is not None}
    for query in ("", "?dry_run=1"):
        done = requests.post(served.url + "/jobs" + query, json=body)
        if status is None:  # either way is sound, as long as it is said
            assert done.status_code in (200, 201, 400, 422), done.text
            if done.status_code == 201:
                requests.post(f"{served.url}/jobs/{done.json()['id']}/cancel")
                served.wait(done.json()["id"])
                requests.delete(f"{served.url}/jobs/{done.json()['id']}")
            continue
        error = done.json()["error"]
        assert (done.status_code, error["code"]) == (status, code), done.text
        assert field is None or error["field"] == field, error
        assert words in error["message"] + (error["hint"] or ""), error
    assert left(served) == before


# Requests: (name, method, path, options, status, code)
REQUESTS = [
    ("no JSON", "POST", "/jobs", dict(data=b"{", headers={"Content-Type": "application/json"}), 400, "invalid_json"),
    ("an empty body", "POST", "/jobs", dict(data=b"", headers={"Content-Type": "application/json"}), 400, None),
    ("a list", "POST", "/jobs", dict(json=[1]), 400, None),
    ("JSON nested deep", "POST", "/jobs", dict(data=b"[" * 100000, headers={"Content-Type": "application/json"}), 400, "invalid_json"),
    ("a huge number", "POST", "/jobs", dict(data=b'{"priority": 1e999}', headers={"Content-Type": "application/json"}), 400, "invalid_json"),
    ("a key twice", "POST", "/jobs", dict(data=b'{"model": "a", "model": "b"}', headers={"Content-Type": "application/json"}), 400, "invalid_json"),
    ("another media type", "POST", "/jobs", dict(data=b"<job/>", headers={"Content-Type": "text/xml"}), 415, "unsupported_media_type"),
    ("a body too large", "POST", "/jobs", dict(data=b" " * 2_000_000, headers={"Content-Type": "application/json"}), 413, "too_large"),
    ("an unknown path", "GET", "/job", {}, 404, "not_found"),
    ("another method", "PUT", "/jobs", {}, 405, "method_not_allowed"),
    ("an unknown query", "GET", "/jobs?statsu=running", {}, 400, None),
    ("a limit that is no number", "GET", "/jobs?limit=many", {}, 400, "invalid_field"),
    ("a limit out of range", "GET", "/jobs?limit=0", {}, 400, "invalid_field"),
    ("an unknown status", "GET", "/jobs?status=runing", {}, 400, "invalid_field"),
    ("a job that is none", "GET", "/jobs/job_aaaaaaaaaaaaaaaa", {}, 404, "not_found"),
    ("an id with a path", "GET", "/jobs/..%2f..%2fetc%2fpasswd", {}, 404, "not_found"),
    ("an artifact outside", "GET", "/jobs/job_aaaaaaaaaaaaaaaa/artifacts/..%2f..%2fspec.json", {}, 404, "not_found"),
    ("cancelling nothing", "POST", "/jobs/job_aaaaaaaaaaaaaaaa/cancel", {}, 404, "not_found"),
    ("a model name with a slash", "POST", "/models", dict(json={"name": "../x", "path": GGUF}), 400, "invalid_field"),
    ("a model with the name of a path", "POST", "/models", dict(json={"name": "available", "path": GGUF}), 400, "invalid_field"),
    ("a model without a path", "POST", "/models", dict(json={"name": "x"}), 400, "missing_field"),
    ("a model from elsewhere", "POST", "/models", dict(json={"name": "x", "path": "/etc/passwd"}), 403, "forbidden"),
    ("a model that is text", "POST", "/models?name=x", dict(data=b"GGUF" + b"\0" * 100, headers={"Content-Type": "application/octet-stream"}), 400, "unsupported"),
    ("an empty model", "POST", "/models?name=x", dict(data=b"", headers={"Content-Type": "application/octet-stream"}), None, None),
    ("a taken name", "POST", "/models", dict(json={"name": "smollm2", "path": GGUF}), 409, "conflict"),
    ("predicting nothing", "POST", "/models/smollm2/predict", dict(json={"inputs": []}), 400, "invalid_field"),
    ("predicting a number", "POST", "/models/smollm2/predict", dict(json={"inputs": [5]}), 400, "invalid_field"),
    ("predicting hot", "POST", "/models/smollm2/predict", dict(json={"inputs": ["a"], "temperature": -1}), 400, "invalid_field"),
    ("a step of a base", "POST", "/models/smollm2/predict", dict(json={"inputs": ["a"], "step": 3}), 400, "invalid_field"),
    ("evaluating on nothing", "POST", "/models/smollm2/evaluate", dict(json={}), 400, "missing_field"),
    ("preview of a row beyond", "GET", "/datasets/{good}/preview?model=smollm2&row=99", {}, 404, "not_found"),
    ("preview of row 0", "GET", "/datasets/{good}/preview?model=smollm2&row=0", {}, 400, "invalid_field"),
    ("preview without a model", "GET", "/datasets/{good}/preview", {}, 400, "missing_field"),
    ("a form with two files", "POST", "/datasets", dict(files=[("file", ("a", GOOD)), ("file", ("b", GOOD))]), 400, None),
    ("a form with a strange part", "POST", "/datasets", dict(files={"fiel": ("a", GOOD)}), 400, "unknown_field"),
    ("columns that are no JSON", "POST", "/datasets?columns=prompt", dict(data=GOOD), 400, "invalid_field"),
    ("an unknown column", "POST", "/datasets?columns={\"promt\":\"x\"}", dict(data=GOOD), 400, "invalid_field"),
    ("an unknown format", "POST", "/datasets?format=xls", dict(data=GOOD), 400, "invalid_field"),
    ("on_error of another kind", "POST", "/datasets?on_error=ignore", dict(data=GOOD), 400, "invalid_field"),
]


@pytest.mark.parametrize("method, path, options, status, code", [r[1:] for r in REQUESTS], ids=[r[0] for r in REQUESTS])
def test_requests(served, method, path, options, status, code):
    before = left(served)
    done = requests.request(method, served.url + path.replace("{good}", served.good), **options)
    assert 400 <= done.status_code < 500 and (status is None or done.status_code == status), done.text
    error = done.json()["error"]
    assert error["message"] and (code is None or error["code"] == code), done.text
    assert left(served) == before


def test_a_row_of_100000_tokens(served):
    data = GOOD + json.dumps({"prompt": "long", "completion": " word" * 100000}).encode() + b"\n"
    done = requests.post(served.url + "/datasets", data=data).json()
    plan = requests.post(served.url + "/jobs?dry_run=1", json={"model": "smollm2", "dataset": done["id"], "validation": "none"}).json()
    assert plan["truncated"] == 1 and "truncated" in json.dumps(plan["warnings"]), plan
    refused = requests.post(served.url + "/jobs?dry_run=1", json={"model": "smollm2", "dataset": done["id"], "hyperparameters": {"overflow": "error"}})
    assert refused.status_code == 422 and "line 13" in refused.json()["error"]["message"], refused.text
    requests.delete(f"{served.url}/datasets/{done['id']}")


def test_idempotency_and_sound_request(served):
    """After all of it: the same key with another body is refused, and a sound job still runs."""
    body = {"model": "smollm2", "dataset": served.good, "hyperparameters": {"max_steps": 1}, "samples": {"rows": 0}, "exports": ["peft"]}
    first = requests.post(served.url + "/jobs", json=body, headers={"Idempotency-Key": "k"})
    assert first.status_code == 201
    again = requests.post(served.url + "/jobs", json=body, headers={"Idempotency-Key": "k"})
    assert again.status_code == 200 and again.json()["id"] == first.json()["id"]
    other = requests.post(served.url + "/jobs", json={**body, "name": "x"}, headers={"Idempotency-Key": "k"})
    assert other.status_code == 409 and other.json()["error"]["code"] == "conflict"
    job = served.wait(first.json()["id"], timeout=120)
    assert job["status"] == "succeeded", job
    for verb in ("cancel", "pause", "resume"):
        done = requests.post(f"{served.url}/jobs/{job['id']}/{verb}")
        assert done.status_code == 409, (verb, done.text)
    assert requests.delete(f"{served.url}/datasets/{served.good}").status_code in (200, 204, 409)
    for path, status in (("artifacts/../spec.json", 404), ("artifacts/none", 404), ("artifacts/peft/adapter_config.json", 200)):
        assert requests.get(f"{served.url}/jobs/{job['id']}/{path}").status_code == status, path
    ranged = requests.get(f"{served.url}/jobs/{job['id']}/artifacts/peft/adapter_config.json", headers={"Range": "bytes=99999999-"})
    assert ranged.status_code == 416 and ranged.headers["Content-Range"].startswith("bytes */")


def test_all_faults_at_once(served):
    """What is mended in one go is told in one answer; a name that leads nowhere has the nearest one beside it."""
    good = requests.post(served.url + "/datasets", data=GOOD).json()["id"]
    wrong = {"modell": "smollm2", "dataset": good, "epochs": 3, "hyperparameters": {"lr": 1, "batch_size": -3}}
    told = requests.post(served.url + "/jobs", json=wrong).json()["error"]
    assert told["field"] == "modell" and told["total"] == 4
    assert [d["field"] for d in told["details"]] == ["modell", "epochs", "hyperparameters.lr", "hyperparameters.batch_size"]
    assert all(d["message"] and d["hint"] for d in told["details"])
    told = requests.post(served.url + "/jobs", json={"model": "smolm", "dataset": "ds_none", "test": "ds_none"}).json()["error"]
    assert [d["field"] for d in told["details"]] == ["model", "dataset", "test"] and '"smollm2"' in told["hint"]
    alone = requests.post(served.url + "/jobs", json={"model": "SMOL", "dataset": good}).json()["error"]
    assert "details" not in alone, alone["details"]
    assert '"smollm2"' in alone["hint"]


def test_a_slash_too_many(served):
    assert requests.get(served.url + "/jobs/").json() == requests.get(served.url + "/jobs").json()
    assert requests.get(served.url + "/manual/api/").status_code == 200
    assert requests.get(served.url + "/none/").status_code == 404 and requests.put(served.url + "/jobs/").headers["Allow"] == "POST, GET"
    assert requests.get(served.url + "/jobs//").status_code == 404
