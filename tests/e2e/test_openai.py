"""OpenAI's API by clients that others wrote: openai (sync and async), litellm, langchain-openai; and by hand what they do not send. Tiny real models."""
import asyncio
import base64
import concurrent.futures
import csv
import io
import json
import os
import pathlib
import random
import re
import signal
import struct
import subprocess
import sys
import time

import pytest
import requests

import tiny
from daemon import HONED

openai = pytest.importorskip("openai")
KNOBS = {"max_steps": 6, "batch_size": 4, "learning_rate": 1e-3, "eval_every": 2, "save_every": 2, "keep_checkpoints": 9, "max_length": 96}
DISTILL = pathlib.Path(__file__).resolve().parents[2] / "deploy/distill.py"
ASK = [{"role": "user", "content": "a good film"}]


@pytest.fixture
def served(with_models):
    return with_models("llama", "bert")


@pytest.fixture
def client(served):
    return openai.OpenAI(base_url=served.url + "/v1", api_key="none", max_retries=0)


def chats(seed=1, n=16):
    return tiny.chats(random.Random(seed), n).encode()


def trained(served, client, **more):
    file = client.files.create(file=("train.jsonl", chats()), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model="llama", training_file=file.id, validation_file=file.id, extra_body={"x_hone": {"hyperparameters": KNOBS}}, **more)
    assert served.wait("job_" + job.id[6:])["status"] == "succeeded"
    return client.fine_tuning.jobs.retrieve(job.id)


def test_from_file_to_answer(served, client):
    """The flow of the fine-tuning guide: upload, create, list events, retrieve, use."""
    file = client.files.create(file=("train.jsonl", chats()), purpose="fine-tune")
    assert client.files.wait_for_processing(file.id).status == "processed" and file.filename == "train.jsonl"
    assert client.files.content(file.id).read() == chats() and [f.id for f in client.files.list()] == [file.id]
    job = client.fine_tuning.jobs.create(model="llama", training_file=file.id, validation_file=file.id, suffix="My Model!", seed=7, metadata={"team": "x"}, method={
        "type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 0.5}}})
    assert job.status in ("queued", "running") and job.object == "fine_tuning.job" and job.fine_tuned_model is None and job.seed == 7
    assert (job.hyperparameters.n_epochs, job.hyperparameters.batch_size, job.hyperparameters.learning_rate_multiplier) == (2, 4, 0.5)
    native = served.wait("job_" + job.id[6:])
    assert native["status"] == "succeeded" and native["name"] == "My Model!" and "0.5" in native["auto"]["learning_rate"]
    job = client.fine_tuning.jobs.retrieve(job.id)
    assert job.fine_tuned_model == f"ft:llama:hone:my-model:{job.id[6:]}" and job.trained_tokens and job.finished_at >= job.created_at
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=3))[::-1]
    assert len({e.id for e in events}) == len(events) and [e.created_at for e in events] == sorted(e.created_at for e in events)
    said = [e.message for e in events]
    assert said[0] == f"Created fine-tuning job: {job.id}" and said[1].startswith(f"Validating training file: {file.id} and validation file:")
    assert said[2:4] == ["Files validated, moving job to queued state", "Fine-tuning job started"] or said[3] != said[2]
    assert said[-2:] == [f"New fine-tuned model created: {job.fine_tuned_model}", "The job has successfully completed"]
    losses = [re.fullmatch(r"Step (\d+)/8: training loss=([\d.]+)", text) for text in said]
    assert [int(m[1]) for m in losses if m] == list(range(1, 9))
    assert any(re.fullmatch(r"Step 8/8: training loss=[\d.]+, validation loss=[\d.]+, full validation loss=[\d.]+", text) for text in said)
    table = list(csv.DictReader(io.StringIO(client.files.content(job.result_files[0]).text)))
    assert list(table[0])[:5] == ["step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy"] and table[-1]["step"] == "8"
    assert client.files.retrieve(job.result_files[0]).purpose == "fine-tune-results"
    assert {m.id for m in client.models.list()} == {"llama", "bert", job.fine_tuned_model}
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id, limit=1))
    assert [c.step_number for c in checkpoints] == sorted((c.step_number for c in checkpoints), reverse=True) and len(checkpoints) > 1
    answers = [client.chat.completions.create(model=m, messages=ASK, temperature=0, max_tokens=12).choices[0].message.content
               for m in (job.fine_tuned_model, checkpoints[0].fine_tuned_model_checkpoint)]
    assert answers[0] == served.post(f"/jobs/job_{job.id[6:]}/predict", json={"inputs": [ASK], "max_tokens": 12}).json()["data"][0]["text"]
    assert answers[1] == served.post(f"/jobs/job_{job.id[6:]}/predict", json={"inputs": [ASK], "max_tokens": 12, "step": checkpoints[0].step_number}).json()["data"][0]["text"]
    assert [j.id for j in client.fine_tuning.jobs.list(metadata={"team": "x"})] == [job.id] and not list(client.fine_tuning.jobs.list(metadata={"team": "y"}))
    again = client.fine_tuning.jobs.create(model=job.fine_tuned_model, training_file=file.id, extra_body={"x_hone": {"hyperparameters": KNOBS}})
    assert served.look("job_" + again.id[6:])["request"]["init_from"] == {"job": "job_" + job.id[6:]} and again.validation_file is None
    served.wait("job_" + again.id[6:])


def test_jobs_are_stopped_and_paged(served, client):
    file = client.files.create(file=("t.jsonl", chats()), purpose="fine-tune")
    long = {"x_hone": {"hyperparameters": KNOBS | {"max_steps": 100000, "epochs": 10000}}}
    ids = [client.fine_tuning.jobs.create(model="llama", training_file=file.id, suffix=str(i), extra_body=long).id for i in range(5)]
    assert [j.id for j in client.fine_tuning.jobs.list(limit=2)] == ids[::-1]
    page = client.fine_tuning.jobs.list(limit=5)
    assert page.has_more is False and page.data[0].id == ids[-1]
    paused = client.fine_tuning.jobs.pause(ids[4])
    assert served.wait("job_" + paused.id[6:], "paused") and client.fine_tuning.jobs.retrieve(ids[4]).status == "paused"
    assert client.fine_tuning.jobs.resume(ids[4]).status == "queued"
    for id in ids:
        client.fine_tuning.jobs.cancel(id)
    assert all(served.wait("job_" + id[6:])["status"] == "cancelled" for id in ids)
    with pytest.raises(openai.BadRequestError) as refused:  # not 409, which clients send again
        client.fine_tuning.jobs.cancel(ids[0]) and client.fine_tuning.jobs.resume(ids[0])
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_a_repeated_request_makes_one_job(served, client):
    file = client.files.create(file=("t.jsonl", chats()), purpose="fine-tune")
    body = {"model": "llama", "training_file": file.id, "x_hone": {"hyperparameters": KNOBS}}
    first = served.post("/v1/fine_tuning/jobs", json=body).json()["id"]
    assert served.post("/v1/fine_tuning/jobs", json=body, headers={"X-Stainless-Retry-Count": "1"}).json()["id"] == first
    assert served.post("/v1/fine_tuning/jobs", json=body, headers={"X-Stainless-Retry-Count": "0"}).json()["id"] != first
    assert served.post("/v1/fine_tuning/jobs", json=body | {"seed": 3}, headers={"X-Stainless-Retry-Count": "1"}).json()["id"] != first


def test_webhooks(start, tmp_path):
    """The client's own unwrap takes the notice of a job's end, and refuses another secret's."""
    from test_notices import Receiver, until
    receiver = Receiver()
    tiny.llama(tmp_path / "models" / "llama")
    daemon = start("--model_dirs", str(tmp_path / "models"), "--notify_hosts", receiver.host, fake=False)
    assert daemon.post("/models", json={"name": "llama", "path": str(tmp_path / "models/llama")}).status_code == 201
    client = openai.OpenAI(base_url=daemon.url + "/v1", api_key="none", max_retries=0)
    file = client.files.create(file=("t.jsonl", chats()), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model="llama", training_file=file.id, extra_body={"x_hone": {"hyperparameters": KNOBS, "notify_url": receiver.url}})
    _, headers, body = until(lambda: receiver.got)[0]
    receiver.stop()
    secret = subprocess.run([HONED, "notify-secret", "--state", str(daemon.state)], capture_output=True, text=True, check=True).stdout.strip()
    event = client.webhooks.unwrap(body.decode(), dict(headers), secret=secret)
    assert event.type == "fine_tuning.job.succeeded" and event.data.id == job.id and abs(event.created_at - time.time()) < 100
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(body.decode(), dict(headers), secret="whsec_" + base64.b64encode(b"x" * 32).decode())


def test_uploads_as_clients_send_them(served):
    """The Node client sends the file first, in chunks and without a length; others the purpose first."""
    def form(parts):
        for name, filename, text in parts:
            yield f'--between\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'.encode()
            for at in range(0, len(text), 700):
                yield text[at:at + 700]
            yield b"\r\n"
        yield b"--between--\r\n"

    file, purpose = ("file", '; filename="a.jsonl"', chats(n=200)), ("purpose", "", b"fine-tune")
    ids = {requests.post(served.url + "/v1/files", data=form(parts), headers={"Content-Type": "multipart/form-data; boundary=between"}).text
           for parts in ([file, purpose], [purpose, file])}
    assert len({json.loads(text)["id"] for text in ids}) == 1, ids
    for parts, param in (([file], "purpose"), ([purpose], "file"), ([file, ("purpose", "", b"vision")], "purpose"), ([file, purpose, ("more", "", b"x")], "more")):
        reply = requests.post(served.url + "/v1/files", data=form(parts), headers={"Content-Type": "multipart/form-data; boundary=between"})
        assert reply.status_code == 400 and reply.json()["error"]["param"] == param, reply.text
    bad = ("file", '; filename="b.jsonl"', b'{"messages": []}\n{"x')
    reply = requests.post(served.url + "/v1/files", data=form([bad, purpose]), headers={"Content-Type": "multipart/form-data; boundary=between"})
    assert reply.status_code == 400 and "line 1" in reply.json()["error"]["message"] and "line 2" in reply.json()["error"]["message"]


def test_refusals(served, client):
    file = client.files.create(file=("t.jsonl", chats()), purpose="fine-tune").id
    chat = {"model": "llama", "messages": ASK}
    job = {"model": "llama", "training_file": file}
    for path, body, status, code, param in (
            ("chat/completions", chat | {"model": "nope"}, 404, "model_not_found", "model"),
            ("chat/completions", chat | {"model": "ft:llama:hone::aaaaaaaaaaaaaaaa"}, 404, "model_not_found", "model"),
            ("chat/completions", {"messages": ASK}, 400, "missing_field", "model"),
            ("chat/completions", {"model": "llama"}, 400, "missing_field", "messages"),
            ("chat/completions", chat | {"messages": [{"role": "user", "content": "a film " * 9000}]}, 400, "context_length_exceeded", "messages"),
            ("chat/completions", chat | {"temperature": 3}, 400, "invalid_field", "temperature"),
            ("chat/completions", chat | {"tempreature": 1}, 400, "unknown_field", "tempreature"),
            ("chat/completions", chat | {"top_logprobs": 2}, 400, "unsupported", "top_logprobs"),
            ("chat/completions", chat | {"logit_bias": {"999999": 1}}, 400, "invalid_field", "logit_bias"),
            ("chat/completions", chat | {"stop": ["a"] * 100}, 400, "invalid_field", "stop"),
            ("chat/completions", chat | {"n": 128, "logprobs": True, "top_logprobs": 20}, 400, "invalid_field", "logprobs"),
            ("completions", {"model": "llama", "prompt": ["a"] * 65, "n": 2}, 400, "invalid_field", "n"),
            ("chat/completions", chat | {"tools": json.loads("[" * 900 + "]" * 900)}, 400, "invalid_json", None),
            ("completions", {"model": "llama", "prompt": "a", "echo": True}, 400, "unsupported", "echo"),
            ("completions", {"model": "llama", "prompt": [1, 10**9]}, 400, "invalid_field", "prompt"),
            ("embeddings", {"model": "bert"}, 400, "missing_field", "input"),
            ("fine_tuning/jobs", {"model": "llama"}, 400, "missing_field", "training_file"),
            ("fine_tuning/jobs", job | {"training_file": "file-x"}, 400, "invalid_field", "training_file"),
            ("fine_tuning/jobs", job | {"model": "nope"}, 404, "model_not_found", "model"),
            ("fine_tuning/jobs", job | {"method": {"type": "dpo"}}, 400, "unsupported", "method"),
            ("fine_tuning/jobs", job | {"hyperparameters": {"n_epochs": -1}}, 400, "invalid_field", "n_epochs"),
            ("fine_tuning/jobs", job | {"hyperparameters": {"epochs": 1}}, 400, "unknown_field", "hyperparameters.epochs"),
            ("fine_tuning/jobs", job | {"integrations": [{"type": "wandb"}]}, 400, "unsupported", "integrations"),
            ("fine_tuning/jobs", job | {"seed": 2**31}, 400, "invalid_field", "seed")):
        reply = served.post("/v1/" + path, json=body)
        error = reply.json()["error"]
        assert (reply.status_code, error["code"], error["param"]) == (status, code, param), reply.text
        assert set(error) == {"message", "type", "param", "code"} and error["type"] == "invalid_request_error" and error["message"]
        assert reply.headers["X-Should-Retry"] == "false" and reply.headers["X-Request-Id"]
    for path in ("files/file-aaaaaaaaaaaaaaaa", "fine_tuning/jobs/ftjob-aaaaaaaaaaaaaaaa", "fine_tuning/jobs/x/events", "models/nope", "nothing"):
        assert served.get("/v1/" + path).status_code == 404 and served.get("/v1/" + path).json()["error"]["type"] == "invalid_request_error"


def test_keys(start, tmp_path):
    """A key is an API key; what others own is not there."""
    tiny.llama(tmp_path / "models" / "llama")
    daemon = start("--model_dirs", str(tmp_path / "models"), "--require_keys", "yes", fake=False)

    def key(name, scope, *more):
        made = subprocess.run([HONED, "key", "create", "--name", name, "--scope", scope, *more, "--state", str(daemon.state)], capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()

    admin, keys = key("root", "admin"), [key(name, "submit", "--see", "own") for name in ("a", "b")]
    assert daemon.post("/models", json={"name": "llama", "path": str(tmp_path / "models/llama")}, headers={"Authorization": f"Bearer {admin}"}).status_code == 201
    with pytest.raises(openai.AuthenticationError) as refused:
        openai.OpenAI(base_url=daemon.url + "/v1", api_key="wrong", max_retries=0).models.list()
    assert refused.value.code == "invalid_api_key"
    first, second = (openai.OpenAI(base_url=daemon.url + "/v1", api_key=key, max_retries=0) for key in keys)
    file = first.files.create(file=("t.jsonl", chats()), purpose="fine-tune")
    job = first.fine_tuning.jobs.create(model="llama", training_file=file.id, extra_body={"x_hone": {"hyperparameters": KNOBS}})
    while first.fine_tuning.jobs.retrieve(job.id).status in ("queued", "running"):
        time.sleep(0.1)
    name = first.fine_tuning.jobs.retrieve(job.id).fine_tuned_model
    assert name in [m.id for m in first.models.list()] and name not in [m.id for m in second.models.list()]
    assert not second.files.list().data and not second.fine_tuning.jobs.list().data
    for ask in (lambda: second.files.content(file.id), lambda: second.fine_tuning.jobs.retrieve(job.id), lambda: second.fine_tuning.jobs.cancel(job.id),
                lambda: second.chat.completions.create(model=name, messages=ASK), lambda: second.models.retrieve(name), lambda: second.files.delete(file.id),
                lambda: second.fine_tuning.jobs.create(model="llama", training_file=file.id), lambda: second.fine_tuning.jobs.create(model=name, training_file=file.id)):
        with pytest.raises(openai.NotFoundError):
            ask()


def test_chat(served, client):
    def ask(**more):
        return client.chat.completions.create(**({"model": "llama", "messages": ASK, "max_tokens": 20, "seed": 5} | more))

    whole = ask()
    assert whole.choices[0].finish_reason in ("stop", "length") and whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert ask().choices[0].message.content == whole.choices[0].message.content
    pieces = list(ask(stream=True, stream_options={"include_usage": True}))
    assert "".join(p.choices[0].delta.content or "" for p in pieces if p.choices) == whole.choices[0].message.content
    assert pieces[0].choices[0].delta.role == "assistant" and pieces[-1].usage == whole.usage or pieces[-1].usage.total_tokens == whole.usage.total_tokens
    assert pieces[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    several = ask(n=3)
    assert [c.index for c in several.choices] == [0, 1, 2] and several.choices[0].message.content == whole.choices[0].message.content
    assert len({c.message.content for c in several.choices}) > 1
    text = ask(temperature=0, max_tokens=60).choices[0].message.content
    stop = next(c for c in text[1:] if c.isalpha())
    stopped = ask(temperature=0, max_tokens=60, stop=[stop]).choices[0]
    assert stopped.message.content == text[:text.index(stop)] and stopped.finish_reason == "stop"
    probable = ask(temperature=0, logprobs=True, top_logprobs=5, max_tokens=8).choices[0]
    said = probable.logprobs.content
    assert b"".join(bytes(t.bytes) for t in said).decode(errors="replace").startswith(probable.message.content[:4])
    for t in said:
        assert t.logprob == max(o.logprob for o in t.top_logprobs) and len(t.top_logprobs) == 5
        assert [o.logprob for o in t.top_logprobs] == sorted((o.logprob for o in t.top_logprobs), reverse=True)
    streamed = [t for p in ask(temperature=0, logprobs=True, max_tokens=8, stream=True) if p.choices and p.choices[0].logprobs for t in p.choices[0].logprobs.content or []]
    assert [(t.token, t.logprob) for t in streamed] == [(t.token, t.logprob) for t in said]
    shared = ask(messages=ASK * 1 + [{"role": "assistant", "content": "yes"}, {"role": "user", "content": "why"}])
    assert shared.usage.prompt_tokens > whole.usage.prompt_tokens
    assert ask().usage.prompt_tokens_details.cached_tokens >= 16 or whole.usage.prompt_tokens < 17


def test_what_changes_the_choice_of_tokens(served, client):
    def ask(**more):
        return client.completions.create(**({"model": "llama", "prompt": "a good film", "max_tokens": 24, "temperature": 0} | more))

    text = ask(logprobs=1).choices[0]
    ids = served.post("/v1/completions", json={"model": "llama", "prompt": "a good film", "max_tokens": 1, "temperature": 0, "logprobs": 0}).json()
    assert ids["choices"][0]["logprobs"]["tokens"] == text.logprobs.tokens[:1]
    assert all(abs(a - max(b.values())) < 1e-6 for a, b in zip(text.logprobs.token_logprobs, text.logprobs.top_logprobs))
    forced = ask(logit_bias={"5": 100}, max_tokens=4, logprobs=0).choices[0].logprobs.tokens
    assert len(set(forced)) == 1 and len(forced) == 4
    varied = ask(logit_bias={"5": 100}, frequency_penalty=2, presence_penalty=2, max_tokens=40, logprobs=0).choices[0].logprobs.tokens
    assert len(set(varied)) == 1, "100 outweighs what two penalties take in forty tokens"
    plain, penalised = (ask(max_tokens=60, logprobs=0, **more).choices[0].logprobs.tokens for more in ({}, {"frequency_penalty": 2, "presence_penalty": 2}))
    assert len(set(penalised)) > len(set(plain)) or len(set(plain)) == len(plain)
    several = ask(prompt=["a good film", "the", "a good film"], max_tokens=6)
    assert [c.text for c in several.choices] == [ask(prompt=p, max_tokens=6).choices[0].text for p in ("a good film", "the", "a good film")]
    assert ask(prompt=[5, 6, 7], max_tokens=3).usage.prompt_tokens == 3


def test_answers_do_not_depend_on_each_other(served, client):
    """Forty at once, of which some begin alike and some are given up, are what each is alone."""
    def ask(i):
        messages = [{"role": "system", "content": "a b c d e f g h i j k l m n o p q r s t u v w x y z"}, {"role": "user", "content": f"film {i % 9}"}]
        return client.chat.completions.create(model="llama", messages=messages, max_tokens=5 + i % 7, seed=i).choices[0].message.content

    def give_up(i):
        reply = requests.post(served.url + "/v1/chat/completions", json={"model": "llama", "messages": ASK, "max_tokens": 90, "stream": True, "seed": i}, stream=True)
        next(reply.iter_content(10))
        reply.close()

    alone = [ask(i) for i in range(40)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        left = [pool.submit(give_up, i) for i in range(6)]
        assert list(pool.map(ask, range(40))) == alone
        for done in left:
            done.result()


def test_a_dead_helper_costs_its_answers_only(served, client):
    def helpers():
        found = subprocess.run(["pgrep", "-P", str(served.process.pid), "-f", "helper"], capture_output=True, text=True).stdout.split()
        return [int(pid) for pid in found]

    job = trained(served, client)
    before = set(helpers())
    stream = client.chat.completions.create(model="llama", messages=ASK, n=128, stream=True, logit_bias={"5": 100})
    next(iter(stream))
    for pid in set(helpers()) - before:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises((openai.APIError, requests.RequestException)):
        for _ in stream:
            pass
    for model in ("llama", job.fine_tuned_model):
        assert client.chat.completions.create(model=model, messages=ASK, max_tokens=3).choices


def test_a_label_is_an_answer(served, client):
    data = served.post("/datasets?name=t", data=tiny.labelled(random.Random(3), 40).encode()).json()["id"]
    job = served.post("/jobs", json={"model": "bert", "dataset": data, "hyperparameters": KNOBS}).json()["id"]
    assert served.wait(job)["status"] == "succeeded"
    answer = client.chat.completions.create(model=f"ft:bert:hone::{job[4:]}", messages=ASK).choices[0]
    told = served.post(f"/jobs/{job}/predict", json={"inputs": ["a good film"]}).json()["data"][0]
    assert answer.message.content == told["label"] and answer.x_hone["probabilities"] == told["probabilities"]
    assert "".join(p.choices[0].delta.content or "" for p in client.chat.completions.create(
        model=f"ft:bert:hone::{job[4:]}", messages=ASK, stream=True)) == told["label"]
    assert "".join(p.choices[0].text for p in client.completions.create(model=f"ft:bert:hone::{job[4:]}", prompt="a good film", stream=True)) == told["label"]
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model=f"ft:bert:hone::{job[4:]}", prompt=[[1, 2]])


SCHEMAS = [
    ({"enum": ["a", "ab", 3, None, {"x": [1, "ü"]}]}, 5),
    ({"type": "object", "properties": {"a": {"type": "boolean"}, "b": {"const": 1}, "c": {"type": ["null", "boolean"]}}, "required": ["b"]}, 9),
    ({"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2}, 6),
    ({"type": "array", "maxItems": 0}, 1),
    ({"type": "string", "minLength": 2, "maxLength": 3}, 20),
    ({"type": "integer"}, 10),
    ({"enum": [f"v{i}" for i in range(300)]}, 60),
    ({"type": "object", "properties": {f"p{i}": {"const": i} for i in range(300)}}, 2),
    ({"type": "number"}, 10),
    ({"anyOf": [{"type": "object", "additionalProperties": {"type": "integer"}, "properties": {}}, {"type": "null"}]}, 2),
    ({"$defs": {"tree": {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 1}}, "required": ["kids"]}},
      "$ref": "#/$defs/tree"}, 1),
    ({"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"enum": [1, 2]}}, "required": ["b"], "additionalProperties": True}}, "required": ["a"]}, 2),
]


@pytest.mark.parametrize("schema,least", SCHEMAS, ids=lambda s: json.dumps(s)[:30] if isinstance(s, dict) else "")
def test_answers_of_a_schema(served, client, schema, least):
    """Whatever an untrained model writes is of the schema when it ends, and the beginning of such a text when it is cut; small schemas are written in all their ways."""
    jsonschema = pytest.importorskip("jsonschema")
    strict = jsonschema.validators.validator_for(schema)(schema)
    how = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    seen = set()
    for seed in range(4):
        for choice in client.chat.completions.create(model="llama", messages=ASK, response_format=how, temperature=1.3, seed=seed, n=40, max_tokens=120).choices:
            if choice.finish_reason == "stop":
                value = json.loads(choice.message.content)
                strict.validate(value)
                seen.add(json.dumps(value))
            else:
                assert choice.finish_reason == "length"
    assert len(seen) >= least, seen
    free = client.chat.completions.create(model="llama", messages=ASK, response_format={"type": "json_object"}, temperature=0.5, n=16, seed=1, max_tokens=200).choices
    assert all(isinstance(json.loads(c.message.content), dict) for c in free if c.finish_reason == "stop")


def test_schemas_that_are_refused(served):
    for schema, word in (({"type": "string", "pattern": "a"}, "pattern"), ({"$ref": "#"}, "itself"), ({"type": "foo"}, "foo"), ({"minimum": 1}, "minimum"),
                         ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "itself"), ({"type": "object", "properties": {}, "required": ["z"]}, "z"),
                         ({"type": "array", "minItems": 3, "maxItems": 2}, "maxItems"), ({"$ref": "#/$defs/x"}, "$defs"), ({"enum": []}, "enum"),
                         ({"type": "string", "maxLength": 10**9}, "maxLength"), ({"minLength": 5}, "minLength"), ({"type": "integer", "minLength": 5}, "minLength"),
                         ({"type": "object", "properties": {"a": True}, "anyOf": [{"required": ["a"]}]}, "beside"), ({"$ref": "#/$defs/a", "$defs": {"a": {}}, "type": "null"}, "beside"),
                         ({"$defs": {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 40} for i in range(7)} | {"d7": {"type": "null"}}, "$ref": "#/$defs/d0"}, "many ways"), (json.loads('{"type":"array","items":' * 80 + "true" + "}" * 80), "nested")):
        how = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        reply = served.post("/v1/chat/completions", json={"model": "llama", "messages": ASK, "max_tokens": 2, "response_format": how})
        error = reply.json()["error"]
        assert reply.status_code == 400 and word in error["message"] and error["param"].startswith("response_format"), reply.text
    for how in ({"type": "xml"}, {"type": "json_schema"}, "json_object"):
        assert served.post("/v1/chat/completions", json={"model": "llama", "messages": ASK, "response_format": how}).json()["error"]["param"] == "response_format"


def test_tools(start, tmp_path):
    """The template writes the tools and the model's calls come back as tool_calls; a template without a place for them is refused."""
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]
    models = tmp_path / "models"
    tiny.llama(models / "plain")
    tiny.llama(models / "hermes")
    config = json.loads((models / "hermes/tokenizer_config.json").read_text())
    config["chat_template"] = "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{{ m.content }} {% endfor %}"
    (models / "hermes/tokenizer_config.json").write_text(json.dumps(config))
    shape = json.loads((models / "hermes/config.json").read_text())
    (models / "hermes/config.json").write_text(json.dumps(shape | {"max_position_embeddings": 2048}))  # descriptions of tools are long
    (models / "hermes/chat_template.jinja").unlink(missing_ok=True)
    daemon = start("--model_dirs", str(models), fake=False)
    for name in ("plain", "hermes"):
        assert daemon.post("/models", json={"name": name, "path": str(models / name)}).status_code == 201
    refused = daemon.post("/v1/chat/completions", json={"model": "plain", "messages": ASK, "tools": tools})
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "tools"
    asked = {"model": "hermes", "messages": ASK, "max_tokens": 3, "temperature": 0}
    plain, with_tools, without = (daemon.post("/v1/chat/completions", json=asked | more).json()["usage"]["prompt_tokens"]
                                  for more in ({}, {"tools": tools}, {"tools": tools, "tool_choice": "none"}))
    assert with_tools > plain == without
    assert daemon.post("/v1/chat/completions", json=asked | {"tools": tools, "tool_choice": "always"}).json()["error"]["param"] == "tool_choice"
    assert daemon.post("/v1/chat/completions", json=asked | {"tool_choice": "required"}).json()["error"]["param"] == "tool_choice"

    # A call that must be made: of a function of the list, with arguments of its parameters, also as a stream and by langchain.
    tools[0]["function"]["parameters"] |= {"required": ["city"], "properties": {"city": {"enum": ["Rome", "Oslo"]}, "days": {"type": "integer"}}}
    tools.append({"type": "function", "function": {"name": "now"}})
    client = openai.OpenAI(base_url=daemon.url + "/v1", api_key="none", max_retries=0)
    called = set()
    for seed in range(12):
        forced = dict(model="hermes", messages=ASK, tools=tools, tool_choice="required", max_tokens=300, seed=seed)
        choice = client.chat.completions.create(**forced).choices[0]
        assert choice.finish_reason == "tool_calls", choice
        (call,) = choice.message.tool_calls
        called.add(call.function.name)
        arguments = json.loads(call.function.arguments)
        assert choice.message.content is None and call.id
        assert arguments == {} if call.function.name == "now" else arguments["city"] in ("Rome", "Oslo") and arguments.keys() <= {"city", "days"}
        parts = [c for p in client.chat.completions.create(**forced, stream=True) for c in p.choices[0].delta.tool_calls or []]
        assert [(p.function.name, p.function.arguments) for p in parts] == [(call.function.name, call.function.arguments)]
    assert called == {"weather", "now"}
    named = client.chat.completions.create(model="hermes", messages=ASK, tools=tools, tool_choice={"type": "function", "function": {"name": "now"}}, max_tokens=60)
    assert named.choices[0].message.tool_calls[0].function.name == "now"
    for wrong, param in (({"tool_choice": {"type": "function", "function": {"name": "x"}}}, "tools"), ({"tools": [{"type": "function", "function": {
            "name": "f", "parameters": {"type": "string", "pattern": "a"}}}], "tool_choice": "required"}, "tools[0].function.parameters")):
        assert daemon.post("/v1/chat/completions", json=asked | {"tools": tools} | wrong).json()["error"]["param"] == param
    langchain = pytest.importorskip("langchain_openai")
    for method in ("function_calling", "json_schema"):
        chat = langchain.ChatOpenAI(model="hermes", base_url=daemon.url + "/v1", api_key="none", max_tokens=300)
        found = chat.with_structured_output({"title": "weather", "description": "w", "type": "object", "properties": {"city": {"type": "string", "enum": ["Rome"]}},
                                             "required": ["city"], "additionalProperties": False}, method=method).invoke("a good film")
        assert found == {"city": "Rome"}


def test_a_hosted_model_is_kept(served, tmp_path):
    """deploy/distill.py, beside this same server: cut off in the middle of a line, it goes on; what cannot be answered is told."""
    prompts, out = tmp_path / "prompts.txt", tmp_path / "train.jsonl"
    prompts.write_text('a good film\n\n{"prompt": "the end"}\n{"messages": [{"role": "user", "content": "why"}, {"role": "assistant", "content": "old"}]}\na good film\n')

    def distill(*more):
        return subprocess.run([sys.executable, DISTILL, prompts, out, "--url", served.url + "/v1", "--model", "llama", "--max-tokens", "6", "--retries", "0", *more],
                              capture_output=True, text=True)

    cut = distill()
    assert cut.returncode == 1 and "prompts.txt:1: the answer was cut at 6 tokens" in cut.stderr and out.read_text() == ""
    done = distill("--keep-cut")
    assert done.returncode == 0 and done.stderr.endswith("3 answered, 0 not\n"), done.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(r["messages"][0]["content"] for r in rows) == ["a good film", "the end", "why"] and all(r["messages"][-1]["role"] == "assistant" for r in rows)
    whole = out.read_bytes()
    out.write_bytes(whole[:-9])
    assert "1 prompts to answer" in distill("--keep-cut").stderr and sorted(out.read_bytes().splitlines()) == sorted(whole.splitlines())
    assert served.post("/v1/files", files=[("file", ("t.jsonl", out.read_bytes()))], data={"purpose": "fine-tune"}).status_code == 200
    prompts.write_text('{"x": 1}\n')
    assert "prompts.txt:1" in distill().stderr


def test_embeddings(served, client):
    told = client.embeddings.create(model="bert", input=["a good film", "the"])  # asks for base64
    plain = client.embeddings.create(model="bert", input="a good film", encoding_format="float")
    assert len(told.data) == 2 and told.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-6)
    assert sum(x * x for x in plain.data[0].embedding) == pytest.approx(1, abs=1e-5)
    raw = served.post("/v1/embeddings", json={"model": "bert", "input": "a good film", "encoding_format": "base64"}).json()["data"][0]["embedding"]
    data = base64.b64decode(raw)
    assert list(struct.unpack(f"<{len(data) // 4}f", data)) == pytest.approx(plain.data[0].embedding, abs=1e-6)


def test_other_clients(served):
    """asyncio; litellm; langchain-openai."""
    async def many():
        client = openai.AsyncOpenAI(base_url=served.url + "/v1", api_key="none")
        answers = await asyncio.gather(*[client.chat.completions.create(model="llama", messages=ASK, max_tokens=4, temperature=0) for _ in range(6)])
        return {a.choices[0].message.content for a in answers}

    alone = asyncio.run(many())
    assert len(alone) == 1
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    litellm = pytest.importorskip("litellm")
    how = {"model": "openai/llama", "api_base": served.url + "/v1", "api_key": "none", "messages": ASK, "max_tokens": 4, "temperature": 0}
    assert {litellm.completion(**how).choices[0].message.content} == alone
    assert {"".join(c.choices[0].delta.content or "" for c in litellm.completion(**how, stream=True))} == alone
    assert len(litellm.embedding(model="openai/bert", api_base=served.url + "/v1", api_key="none", input=["a", "b"]).data) == 2
    langchain = pytest.importorskip("langchain_openai")
    chat = langchain.ChatOpenAI(model="llama", base_url=served.url + "/v1", api_key="none", temperature=0, max_tokens=4)
    assert {chat.invoke("a good film").content} == alone and {"".join(p.content for p in chat.stream("a good film"))} == alone
    embed = langchain.OpenAIEmbeddings(model="bert", base_url=served.url + "/v1", api_key="none", check_embedding_ctx_length=False)
    assert len(embed.embed_documents(["a film", "b"])) == 2


def test_more_than_can_be_answered_wait_or_are_told_to(served):
    """Three hundred at once: each is answered, or told with 429 when to come again."""
    def ask(i):
        reply = requests.post(served.url + "/v1/chat/completions", json={"model": "llama", "messages": ASK, "max_tokens": 3, "seed": i}, timeout=120)
        assert reply.status_code == 200 or (reply.status_code == 429 and reply.headers["Retry-After"] and reply.json()["error"]["type"] == "rate_limit_error"), reply.text
        return reply.status_code

    with concurrent.futures.ThreadPoolExecutor(300) as pool:
        told = list(pool.map(ask, range(300)))
    assert told.count(200) >= 64, told
    assert ask(0) == 200
    assert json.loads(served.get("/healthz").text)["status"] == "ok"
