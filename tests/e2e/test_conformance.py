"""What the contract promises and no other file tries: odd steps and stops of predictions, resolved hyperparameters. Tiny real
models, so that the engine itself answers."""
import random

import pytest

import tiny

KNOBS = {"epochs": 20, "max_steps": 6, "batch_size": 4, "learning_rate": 1e-3, "eval_every": 2, "max_length": 96}


@pytest.fixture
def served(start, tmp_path):
    for make in (tiny.llama, tiny.bert):
        make(tmp_path / "models" / make.__name__)
    daemon = start("--model_dirs", str(tmp_path / "models"), fake=False)
    for name in ("llama", "bert"):
        assert daemon.post("/models", json={"name": name, "path": str(tmp_path / "models" / name)}).status_code == 201
    return daemon


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


def test_best_is_the_beginning_where_nothing_was_better(served):
    """Validation rows that want the opposite: the best evaluation stays the one before the first step."""
    train, held_out = (upload(served, '{"prompt": "a", "completion": "%s"}\n' % (letter * 30) * 16) for letter in "zq")
    job = submit(served, "llama", train, validation=held_out, hyperparameters=KNOBS | {"max_steps": 40, "eval_every": 40, "learning_rate": 1e-2})["id"]
    done = served.wait(job)
    assert done["status"] == "succeeded" and done["metrics"]["best"]["step"] == 0 == done["exported_step"]
    first, best, exported, last = (served.post(f"/jobs/{job}/predict", json={"inputs": ["a film"], "max_tokens": 8, "step": step}).json()["data"]
                                   for step in (0, "best", "exported", "last"))
    assert first == best == exported != last


@pytest.mark.parametrize("fields, named", [
    ({"labels": ["a"]}, "labels"), ({"class_weights": "balanced"}, "class_weights"), ({"class_weights": {"a": 2}}, "class_weights"),
    ({"samples": {"rows": 1000}}, "samples.rows"), ({"samples": 5}, "samples"), ({"samples": {"row": 1}}, "samples.row"),
    ({"exports": "peft"}, "exports"), ({"exports": []}, "exports"), ({"method": "head"}, "method"), ({"on_error": 5}, "on_error"),
    ({"hyperparameters": {"metric_for_best": "val_f1"}}, "hyperparameters.metric_for_best"),
])
def test_fields_that_do_not_fit_are_named(served, fields, named):
    body = {"model": "llama", "dataset": upload(served, tiny.chats(random.Random(1), 16))} | fields
    refusal(served.post("/jobs", json=body), 400, named)


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


def test_resolved_hyperparameters(served):
    """No "auto" is left in what a job or a dry run tells, and every choice has its reason."""
    body = {"model": "bert", "dataset": upload(served, tiny.labelled(random.Random(3), 300))}
    dry = served.post("/jobs?dry_run=1", json=body).json()
    job = served.post("/jobs", json=body).json()
    for told in (dry, job):
        assert "auto" not in told["hyperparameters"].values()
        assert {"epochs", "batch_size", "learning_rate", "max_length", "micro_batch_tokens", "eval_every", "save_every", "threads",
                "dropout", "attention_dropout", "metric_for_best", "validation"} <= told["auto"].keys()
