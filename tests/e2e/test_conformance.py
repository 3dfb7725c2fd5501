"""What the contract promises and no other file tries: odd steps and stops of predictions, resolved hyperparameters. Tiny real
models, so that the engine itself answers."""
import os
import random
import re
import subprocess
import time

import pytest

import tiny
from daemon import HONED

KNOBS = {"epochs": 20, "max_steps": 6, "batch_size": 4, "learning_rate": 1e-3, "eval_every": 2, "max_length": 96}


@pytest.fixture
def served(with_models):
    return with_models("llama", "bert")


def upload(daemon, data):
    return daemon.post("/datasets?name=t", data=data.encode()).json()["id"]


def submit(daemon, model, data, **more):
    reply = daemon.post("/jobs", json={"model": model, "dataset": data, "validation": 0.25, "hyperparameters": KNOBS} | more)
    assert reply.status_code == 201, reply.text
    return reply.json()


def refusal(reply, status, field=None):
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert error["field"] == field and "/" not in error["message"], error
    return error


def test_predictions(served):
    data = upload(served, tiny.chats(random.Random(1), 16))
    job = submit(served, "llama", data)["id"]
    assert served.wait(job)["status"] == "succeeded"

    def ask(path=f"/jobs/{job}/predict", **more):
        return served.post(path, json={"inputs": ["a good film"], "max_tokens": 12} | more)

    for stop in (5, [5], "", ["a", ""], ["a"] * 100):
        refusal(ask(stop=stop), 400, "stop")
    chance = {"temperature": 1, "seed": 1, "max_tokens": 60}
    whole = ask(**chance).json()["data"][0]["text"]
    early, late = list(dict.fromkeys(c for c in whole if c.isalpha() and c.isascii()))[1:3]
    for stop in ([late, early], [early, late], early):
        answer = ask(stop=stop, **chance).json()["data"][0]
        assert answer["text"] == whole[:whole.index(early)] and answer["finish_reason"] == "stop"
    # Step 0 is the beginning: the base's own answers, since an adapter starts as nothing.
    assert ask(step=0).json()["data"] == ask("/models/llama/predict").json()["data"]
    assert "checkpoints" in refusal(ask(step=5), 404, "step")["hint"]
    assert "twice" not in refusal(ask(inputs=[[]]), 400, "messages")["message"]
    evaluated = served.post(f"/jobs/{job}/evaluate", json={"dataset": data, "step": 5})
    refusal(evaluated, 404, "step")
    labelled = upload(served, tiny.labelled(random.Random(2), 16))
    for verb, body in (("predict", {"inputs": ["a"]}), ("evaluate", {"dataset": labelled})):
        assert "no head" in refusal(served.post(f"/models/bert/{verb}", json=body), 400)["message"]


def test_a_text_is_asked_as_the_rows_were(served):
    """Chats: as a user's message. prompt and completion, or text: as it stands. The base answers as it would chat."""
    chat = [{"role": "user", "content": "a good film"}]
    kinds = {"chat": tiny.chats(random.Random(1), 16), "prompt": '{"q": "a good", "a": "film"}\n' * 16, "text": '{"text": "a good film"}\n' * 16}
    for kind, rows in kinds.items():
        columns = '{"prompt": "q", "completion": "a"}' if kind == "prompt" else "{}"
        data = served.post("/datasets", params={"columns": columns}, data=rows.encode()).json()["id"]
        job = submit(served, "llama", data)["id"]
        assert served.wait(job)["status"] == "succeeded"
        told = served.post(f"/jobs/{job}/predict", json={"inputs": ["a good film", chat, {"prompt": "a good film"}], "max_tokens": 4}).json()
        text, as_chat, bare = (answer["usage"]["prompt_tokens"] for answer in told["data"])
        assert bare < as_chat and text == (as_chat if kind == "chat" else bare)
    text, as_chat = (a["usage"]["prompt_tokens"] for a in served.post("/models/llama/predict", json={
        "inputs": ["a good film", chat], "max_tokens": 4}).json()["data"])
    assert text == as_chat


def test_best_is_the_beginning_where_nothing_was_better(served):
    """Validation rows that want the opposite: the best evaluation stays the one before the first step."""
    train, held_out = (upload(served, '{"prompt": "a", "completion": "%s"}\n' % (letter * 30) * 16) for letter in "zq")
    job = submit(served, "llama", train, validation=held_out, hyperparameters=KNOBS | {"max_steps": 40, "eval_every": 40, "learning_rate": 1e-2})["id"]
    done = served.wait(job)
    assert done["status"] == "succeeded" and done["metrics"]["best"]["step"] == 0 == done["exported_step"]
    first, best, exported, last = (served.post(f"/jobs/{job}/predict", json={"inputs": ["a film"], "max_tokens": 8, "step": step}).json()["data"]
                                   for step in (0, "best", "exported", "last"))
    assert first == best == exported != last


def test_entities_stand_where_they_say(served):
    """Of a text with odd white space in its own characters; of a list of words in those of the words joined."""
    words = tiny.WORDS[:7]
    rows = "".join('{"tokens": ["%s", "%s"], "tags": ["B-X", "I-X"]}\n' % (a, b) for a in words for b in words)
    job = submit(served, "bert", upload(served, rows + '{"tokens": ["a"], "tags": ["O"]}\n'), task="token_classification")["id"]
    assert served.wait(job)["status"] == "succeeded"
    text = "  good\n\n b\u00e4d  \u00e9\tfilm "
    for given, whole in ((text, text), (["good", "b\u00e4d", "x y", "film"], "good b\u00e4d x y film")):
        answer = served.post(f"/jobs/{job}/predict", json={"inputs": [given]}).json()["data"][0]
        assert len(answer["tags"]) == 4 and answer["entities"]
        for entity in answer["entities"]:
            assert whole[entity["start"]:entity["end"]] == entity["text"], answer


@pytest.mark.parametrize("fields, named", [
    ({"labels": ["a"]}, "labels"), ({"class_weights": "balanced"}, "class_weights"), ({"class_weights": {"a": 2}}, "class_weights"),
    ({"samples": {"rows": 1000}}, "samples.rows"), ({"samples": 5}, "samples"), ({"samples": {"row": 1}}, "samples.row"),
    ({"exports": "peft"}, "exports"), ({"exports": []}, "exports"), ({"method": "head"}, "method"), ({"on_error": 5}, "on_error"),
    ({"hyperparameters": {"metric_for_best": "val_auc"}}, "hyperparameters.metric_for_best"),
])
def test_fields_that_do_not_fit_are_named(served, fields, named):
    body = {"model": "llama", "dataset": upload(served, tiny.chats(random.Random(1), 16))} | fields
    refusal(served.post("/jobs", json=body), 400, named)


def test_models_by_path_and_by_upload(served, tmp_path):
    """An empty file is refused without the server's paths; several files of a form have no one source."""
    empty = tmp_path / "models/empty.gguf"
    empty.write_bytes(b"")
    refusal(served.post("/models", json={"name": "empty", "path": str(empty)}), 422)
    folder = sorted((tmp_path / "models/bert").iterdir())
    done = served.post("/models?name=sent", files=[("file", (f.name, f.read_bytes())) for f in folder])
    assert done.status_code == 201 and done.json()["source"] is None, done.text
    assert done.json()["sha256"] == served.get("/models/bert").json()["sha256"]


@pytest.mark.parametrize("metric, smallest", [("val_ece", True), ("val_auc", False), ("val_f1_weighted", False), ("val_recall", False)])
def test_every_metric_may_decide(served, metric, smallest):
    """The best evaluation is the one with the smallest or largest value of that metric; labels may be given as the numbers they are."""
    chance = random.Random(5)
    data = upload(served, "".join('{"text": "%s", "label": %d}\n' % (tiny.sentence(chance), i % 2) for i in range(60)))
    job = submit(served, "bert", data, labels=[1, 0], hyperparameters=KNOBS | {"metric_for_best": metric, "eval_every": 1})["id"]
    done = served.wait(job)
    assert done["status"] == "succeeded" and done["metrics"]["best"]["metric"] == metric
    told = [e["data"] for e in served.events(job) if e["type"] == "eval"]
    assert done["metrics"]["best"]["value"] == (min if smallest else max)(e[metric] for e in told) and told[0]["labels"] == ["1", "0"]


def test_doubles_and_leaks_are_left_out(served):
    """dedupe: of equal training rows the first stays, however they are spelled. drop_leaks: none that is held out is trained on."""
    rows = ['{"prompt": "%d", "completion": "c"}\n' % i for i in range(20)]
    again = ['{"completion":"c",  "prompt":"%d", "id": %d}\n' % (i, i) for i in range(5)]
    train, held_out = upload(served, "".join(rows + again)), upload(served, "".join(rows[:3]))
    body = {"model": "llama", "dataset": train, "hyperparameters": KNOBS}

    def counts(**more):
        told = served.post("/jobs?dry_run=1", json=body | more).json()
        return told["rows"], told["dropped"]

    assert counts(validation="none") == counts(validation="none", dedupe=False) == (25, 0)
    assert counts(validation="none", dedupe=True) == (20, 5)
    assert counts(validation=held_out, drop_leaks=True) == counts(validation="none", test=held_out, drop_leaks=True) == (19, 6)
    assert counts(validation=held_out, drop_leaks=True, dedupe=True) == (17, 8)
    fraction = counts(validation=0.2, drop_leaks=True)
    assert fraction == (20, 0)  # a split keeps equal rows on one side
    refusal(served.post("/jobs", json=body | {"validation": train, "drop_leaks": True}), 422, "drop_leaks")
    job = submit(served, "llama", train, validation=held_out, drop_leaks=True, dedupe=True)["id"]
    done = served.wait(job)
    assert done["status"] == "succeeded" and done["dataset_counts"]["used"] == 17 and done["dataset_counts"]["dropped"] == 8
    assert any(e["data"]["code"] == "dropped" and "doubles" in e["data"]["message"] for e in served.events(job) if e["type"] == "warning")


def test_answers_that_do_not_stand_in_the_context(served):
    """An encoder must not learn from them that there is no answer: they are left out, and it is told. A decoder writes them."""
    row = '{"context": "a good film", "question": "film", "answers": %s}\n'
    data = served.post("/datasets", data=(row % '["good"]' * 12 + row % '["a nice one"]' * 3 + row % "[]" * 2).encode()).json()
    warning = [w for w in data["warnings"] if w["code"] == "answer_not_found"]
    assert warning[0]["lines"] == [13, 14, 15]
    long = '{"context": "%s", "question": "film", "answers": ["nice"]}\n' % ("a good film " * 100)  # of many windows: one row
    data = served.post("/datasets", data=(row % '["good"]' * 14 + long * 3).encode()).json()
    told = {m: served.post("/jobs?dry_run=1", json={"model": m, "dataset": data["id"], "validation": "none"}).json() for m in ("bert", "llama")}
    assert (told["bert"]["rows"], told["bert"]["dropped"]) == (14, 3) and told["llama"]["dropped"] == 3


def test_columns_and_on_error_of_a_file_with_the_job(served):
    """What POST /datasets takes for a file is taken for one that comes with a job."""
    rows = '{"q": "a", "a": "b"}\n' * 12 + "no JSON\n"

    def send(**fields):
        return served.post("/jobs", files={"dataset": ("rows.jsonl", rows)},
                           data={"model": "llama", "columns": '{"prompt": "q", "completion": "a"}', "hyperparameters": '{"max_steps": 1}'} | fields)

    assert "line 13" in refusal(send(), 422, "dataset")["message"]
    refusal(send(on_error="skip"), 400, "on_error")
    assert not served.get("/datasets").json()["data"]
    job = send(on_error="drop")
    assert job.status_code == 201, job.text
    kept = served.get("/datasets/" + job.json()["dataset"]).json()
    assert (kept["rows"], kept["dropped"]) == (12, 1)


def test_preview_has_a_text_for_every_token(served):
    """Parts of a character, which this tokenizer makes of all beyond ASCII, have their bytes besides."""
    data = upload(served, '{"prompt": "é", "completion": "a\\u0000b"}\n')
    tokens = served.get(f"/datasets/{data}/preview?model=llama&row=1").json()["tokens"]
    assert [t["text"] for t in tokens] == ["\ufffd", "\ufffd", "a", "\0", "b", "<|im_end|>"]
    assert [t.get("bytes") for t in tokens][:3] == ["c3", "a9", None]
    data = upload(served, '{"context": "a\\u0000b", "question": "c?", "answers": ["b"]}\n')
    assert "a\0b\n\nc?" in served.get(f"/datasets/{data}/preview?model=llama&row=1").json()["rendered"]


def test_resolved_hyperparameters(served):
    """No "auto" is left in what a job or a dry run tells, and every choice has its reason."""
    body = {"model": "bert", "dataset": upload(served, tiny.labelled(random.Random(3), 300))}
    dry = served.post("/jobs?dry_run=1", json=body).json()
    job = served.post("/jobs", json=body).json()
    for told in (dry, job):
        assert "auto" not in told["hyperparameters"].values()
        assert {"epochs", "batch_size", "learning_rate", "max_length", "micro_batch_tokens", "eval_every", "save_every", "threads",
                "dropout", "attention_dropout", "metric_for_best", "validation"} <= told["auto"].keys()


def check_shape(spec, schema, value, where):
    """`value` has what `schema` says and nothing that it does not: an answer cannot grow a field that is not described."""
    if "$ref" in schema:
        schema = spec["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    if "anyOf" in schema:
        fitting = []
        for one in schema["anyOf"]:
            try:
                fitting.append(check_shape(spec, one, value, where))
            except AssertionError as e:
                last = e
        assert fitting, last
        return True
    types = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None)}
    wanted = schema.get("type", [])
    wanted = [wanted] if isinstance(wanted, str) else wanted
    assert not wanted or any(isinstance(value, types[t]) and (t == "boolean" or not isinstance(value, bool)) for t in wanted), (where, value)
    assert value in schema.get("enum", [value]), (where, value)
    for i, one in enumerate(value if isinstance(value, list) else []):
        check_shape(spec, schema.get("items", {}), one, f"{where}[{i}]")
    if isinstance(value, dict) and "properties" in schema:
        assert set(schema["required"]) <= set(value) <= set(schema["properties"]) | {k for k in value if k.startswith("val_")}, (where, set(value))
        for key in value:
            check_shape(spec, schema["properties"].get(key, {}), value[key], f"{where}.{key}")
    return True


def openai_side(served, check, dataset):
    """The same objects below /v1."""
    file, labelled = "file-" + dataset[3:], ("file", ("a.jsonl", tiny.chats(random.Random(9), 12).encode()))
    uploaded = served.post("/v1/files", files=[labelled], data={"purpose": "fine-tune"}).json()
    check("get", "/v1/files/{file}", file=uploaded["id"])
    check("get", "/v1/files?limit=1&purpose=fine-tune")
    check("delete", "/v1/files/{file}", file=uploaded["id"])
    body = {"model": "llama", "training_file": file, "validation_file": file, "x_hone": {"hyperparameters": KNOBS}}
    job = check("post", "/v1/fine_tuning/jobs", body)["id"]
    assert served.wait("job_" + job[6:])["status"] == "succeeded"
    name = check("get", "/v1/fine_tuning/jobs/{job}", job=job)["fine_tuned_model"]
    for path in ("/events", "/events?limit=2", "/checkpoints"):
        check("get", "/v1/fine_tuning/jobs/{job}" + path, job=job)
    check("get", "/v1/fine_tuning/jobs?limit=1")
    waiting = check("post", "/v1/fine_tuning/jobs", body | {"x_hone": {"hyperparameters": KNOBS | {"max_steps": 100000, "epochs": 10000}}})["id"]
    for verb in ("pause", "resume", "cancel"):
        check("post", "/v1/fine_tuning/jobs/{job}/" + verb, job=waiting)
    check("get", "/v1/models")
    check("get", "/v1/models/{name}", name=name)
    check("post", "/v1/chat/completions", {"model": name, "messages": [{"role": "user", "content": "a"}], "max_tokens": 2})
    check("post", "/v1/completions", {"model": "llama", "prompt": "a", "max_tokens": 2})
    check("post", "/v1/embeddings", {"model": "bert", "input": ["a film"]})


def test_answers_are_as_described(served):
    """Every route with a JSON answer, of a job of each kind of task."""
    spec = served.get("/openapi.json").json()
    chance = random.Random(4)
    data = {"llama": upload(served, tiny.chats(chance, 16)), "bert": upload(served, tiny.labelled(chance, 40)), "reg": upload(
        served, "".join('{"text": "a film", "label": %s.5}\n' % (i % 3) for i in range(20))), "qa": upload(
            served, '{"context": "a good film", "question": "film", "answers": {"text": ["good"], "answer_start": [2]}}\n' * 20), "tags": upload(
                served, '{"tokens": ["a", "film"], "tags": ["O", "B-X"]}\n' * 20)}
    inputs = {"llama": "a", "bert": "a", "reg": "a", "qa": {"question": "film", "context": "a good film"}, "tags": "a film"}
    described = {(method, path): entry["responses"]["2XX"]["content"]["application/json"]["schema"] for path, methods in spec["paths"].items()
                 for method, entry in methods.items() if "application/json" in entry["responses"]["2XX"].get("content", {})}
    seen = set()

    def check(method, path, body=None, **names):
        reply = getattr(served, method)(path.format(**names), **({"json": body} if body is not None else {}))
        assert reply.status_code in (200, 201), reply.text
        check_shape(spec, described[method, path.split("?")[0]], reply.json(), path)
        seen.add((method, path.split("?")[0]))
        return reply.json()

    for path in ("/healthz", "/readyz", "/openapi.json"):
        check("get", path)
    for rows in (tiny.labelled(chance, 3), "no JSON\n", "{}\n"):
        looked = served.post("/datasets?dry_run=1", data=rows.encode())
        assert looked.status_code == 200 and check_shape(spec, spec["components"]["schemas"]["DatasetLook"], looked.json(), "look")
    for name, dataset in data.items():
        body = {"model": "llama" if name == "llama" else "bert", "dataset": dataset, "validation": 0.25, "hyperparameters": KNOBS, "test": dataset}
        check("post", "/jobs?dry_run=1", body)
        job = check("post", "/jobs", body)["id"]
        check("get", "/jobs/{id}", id=job)
        assert served.wait(job)["status"] == "succeeded"
        for path in ("", "/metrics", "/events?limit=1000", "/checkpoints", "/artifacts", "/artifacts?limit=1", "/fit", "/examples"):
            check("get", "/jobs/{id}" + path, id=job)
        check("get", "/jobs/{id}/checkpoints/{step}/artifacts", id=job, step=6)
        check("post", "/jobs/{id}/predict", {"inputs": [inputs[name]], "max_tokens": 2}, id=job)
        evaluation = check("post", "/jobs/{id}/evaluate", {"dataset": dataset}, id=job)["id"]
        check("get", "/evaluations/{id}", id=evaluation)
        check("get", "/datasets/{id}/preview?model=" + body["model"], id=dataset)
        check("get", "/datasets/{id}/report?wait=60&model=" + body["model"], id=dataset)
        check("get", "/datasets/{id}", id=dataset)
        check("get", "/datasets/{id}/rows?lines=2,4-6", id=dataset)
        check("patch", "/jobs/{id}", {"name": "n"}, id=job)
    openai_side(served, check, data["llama"])
    check("post", "/datasets/{id}/corrections", {"exclude": {"lines": [1]}, "labels": [], "name": "c"}, id=data["bert"])
    check("post", "/models/{name}/predict", {"inputs": ["a"], "max_tokens": 2}, name="llama")
    check("post", "/models/{name}/evaluate", {"dataset": data["llama"]}, name="llama")
    for path in ("/jobs", "/jobs?limit=1", "/models", "/datasets", "/evaluations"):
        check("get", path)
    check("get", "/models/available")
    check("get", "/models/{name}", name="llama")
    check("post", "/jobs/{id}/verify", id=job)
    coins = {"model": "bert", "dataset": upload(served, tiny.labelled(chance, 160)), "validation": 0.25, "hyperparameters": KNOBS, "method": "head"}
    job_of_coins = served.post("/jobs", json=coins).json()["id"]
    assert served.wait(job_of_coins)["status"] == "succeeded" and check("get", "/jobs/{id}/fit", id=job_of_coins)["next"]
    served.post(f"/jobs/{check('post', '/jobs/{id}/next', id=job_of_coins)['id']}/cancel")
    waiting = check("post", "/jobs", body | {"hyperparameters": KNOBS | {"max_steps": 100000, "epochs": 10000}})["id"]
    for verb in ("pause", "resume", "cancel"):
        check("post", "/jobs/{id}/" + verb, id=waiting)
    check("get", "/jobs/{id}/verify", id=job)
    trial = {"model": "bert", "dataset": data["bert"], "validation": 0.25, "hyperparameters": KNOBS}
    experiment = {"kind": "grid", "job": trial, "space": {"learning_rate": [1e-3, 1e-4]}}
    check("post", "/sweeps?dry_run=1", experiment)
    sweep = check("post", "/sweeps", experiment)["id"]
    for verb in ("pause", "resume"):
        check("post", "/sweeps/{id}/" + verb, id=sweep)
    deadline = time.time() + 120
    while check("get", "/sweeps/{id}", id=sweep)["status"] != "succeeded":
        assert time.time() < deadline, served.get(f"/sweeps/{sweep}").text
        time.sleep(0.2)
    trials = [t["job"] for t in check("get", "/sweeps/{id}/trials", id=sweep)["data"]]
    check("get", "/compare?jobs=" + ",".join(trials))
    check("get", "/sweeps/{id}/events", id=sweep)
    check("get", "/sweeps")
    check("post", "/sweeps/{id}/cancel", id=check("post", "/sweeps", experiment)["id"])
    assert described.keys() - seen == {("post", "/datasets"), ("post", "/models"), ("post", "/v1/files")}


def test_columns_without_names_that_are_known(served):
    """The hint says how to name them: by number, or by the file's own first line."""
    rows = "mr,ref\na b,c d\ne f,g h\n"
    assert "col1" in refusal(served.post("/datasets", data=rows), 422)["hint"]
    for columns, n in (('{"prompt": "col1", "completion": "col2"}', 3), ('{"prompt": "mr", "completion": "ref"}', 2)):
        assert served.post("/datasets", params={"columns": columns}, data=rows).json()["rows"] == n


def test_types_of_results_in_either_case(served):
    body = {"model": "llama", "dataset": upload(served, tiny.chats(random.Random(1), 16)), "exports": ["merged_gguf"]}
    for fields in ({"gguf_dtype": "Q8_0"}, {"gguf_dtype": "q4_0"}, {"export_dtype": "BF16"}):
        assert served.post("/jobs?dry_run=1", json=body | fields).status_code == 200, fields
    refusal(served.post("/jobs?dry_run=1", json=body | {"gguf_dtype": "Q5_0"}), 400, "gguf_dtype")


def test_the_nearest_name(served):
    """By letters that differ, and for what people shorten."""
    for wrong, meant in (("lr", "learning_rate"), ("bs", "batch_size"), ("wd", "weight_decay"), ("epoch", "epochs"), ("lora_r", "lora_rank")):
        error = refusal(served.post("/jobs", json={"model": "llama", "hyperparameters": {wrong: 1}}), 400, "hyperparameters." + wrong)
        assert f'"hyperparameters.{meant}"' in error["hint"], error


def test_jobs_of_a_sweep(served):
    submit(served, "bert", upload(served, tiny.labelled(random.Random(2), 16)))
    assert served.get("/jobs?sweep=swp_aaaaaaaaaaaaaaaa").json() == {"data": [], "next": None}


def test_bench_measures_machine_and_models(tmp_path):
    """`honed bench` trains and asks a model in a folder of its own, which goes again; every command explains itself."""
    def honed(*words):
        return subprocess.run([HONED, *words], capture_output=True, text=True, env={**os.environ, "TMPDIR": str(tmp_path)})

    for make, lines in ((None, 3), (tiny.llama, 6), (tiny.bert, 5)):
        done = honed("bench", *([str(make(tmp_path / make.__name__))] if make else []), "--threads", "1")
        assert done.returncode == 0, done.stderr
        told = [line.split()[0] for line in done.stdout.splitlines()]
        assert told == ["kernels", "products", "memory", "model", "training", "writing"][:lines]
        assert all(float(word) > 0 for word in re.findall(r"([\\d.]+) (?:tokens|GFLOP|GB)", done.stdout))
    assert not [p.name for p in tmp_path.iterdir() if "bench" in p.name]
    missing = honed("bench", str(tmp_path / "missing"))
    assert missing.returncode == 1 and "cannot find" in missing.stderr
    asked = honed("doctor", "--state", str(tmp_path / "s"), "--model_dirs", f"{tmp_path}:{tmp_path}/missing", "--tls_cert", "/missing.pem", "--tls_key",
                  "/missing.key")
    assert asked.returncode == 1 and "missing: No such file" in asked.stdout and "/missing.pem cannot be read" in asked.stdout
    for command in ("serve", "train", "model", "key", "backup", "check", "doctor", "bench"):
        asked = honed(command, "--help")
        assert asked.returncode == 0 and f"honed {command}" in asked.stdout and not asked.stderr


def test_every_field_is_described(served):
    """With a type, a sentence and, where the type does not tell what to send, an example that is accepted."""
    spec = served.get("/openapi.json").json()
    fields = spec["components"]["schemas"]["JobRequest"]["properties"]
    for name, schema in {**fields, **spec["components"]["schemas"]["Hyperparameters"]["properties"]}.items():
        assert schema.get("description") and schema.keys() & {"type", "anyOf", "oneOf", "enum", "$ref"}, (name, schema)
        assert schema.get("type") not in ("object", "array") or schema.get("examples"), name
    for path, methods in spec["paths"].items():
        for method, entry in methods.items():
            assert all(p["description"] and p["schema"]["type"] for p in entry["parameters"] if p["in"] == "query"), (method, path)
    data = upload(served, tiny.labelled(random.Random(5), 40))
    examples = {"labels": [[]], "init_from": [], "verify_on": [], "dataset": [], "model": [], "columns": [], "hyperparameters": fields["hyperparameters"]["examples"]}
    tried = 0
    for name, schema in fields.items():
        for example in examples.get(name, schema.get("examples", [])):
            if example in ("ds_…", []) or name == "exports":
                continue
            if name == "class_weights" and isinstance(example, dict):
                example = {label["label"]: 1 for label in served.get(f"/datasets/{data}").json()["labels"]}
            told = served.post("/jobs?dry_run=1", json={"model": "bert", "dataset": data, name: example})
            assert told.status_code == 200, (name, example, told.text)
            tried += 1
    assert tried >= 10
