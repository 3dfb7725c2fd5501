"""Sentiment over HTTP with a real encoder: a headerless file, a job, its metrics, predictions, evaluation on another data set, a
second job that begins from the first one's checkpoint, a merged result. Needs MiniLM and the reviews."""
import hashlib
import json
import os
import pathlib
import re
import sys
import time

import pytest
import requests

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parity"))
import common  # noqa: E402

MINILM = os.environ.get("HONE_TEST_MINILM", "")
pytestmark = pytest.mark.skipif(not MINILM or not common.REVIEWS, reason="needs MiniLM and the reviews")


def tsv(n, offset=0):
    return "".join(f"{t}\t{int(label == 'positive')}\n" for t, label in common.reviews(n, offset)).encode()


@pytest.fixture
def served(start):
    daemon = start("--model_dirs", str(pathlib.Path(MINILM).parent), fake=False)
    done = requests.post(daemon.url + "/models", json={"name": "minilm", "path": MINILM})
    assert done.status_code == 201, done.text
    assert done.json()["tasks"] == ["classification", "token_classification", "qa"]
    return daemon


def submit(daemon, data, **more):
    files = {"dataset": ("reviews.tsv", data)}
    done = requests.post(daemon.url + "/jobs", files=files, data={"model": "minilm", **more})
    assert done.status_code == 201, done.text
    return done.json()


def test_sentiment(served):
    url = served.url
    untouched = requests.post(f"{url}/datasets", files={"file": ("test.tsv", tsv(30, 800))}).json()["id"]
    job = submit(served, tsv(220), test=untouched, hyperparameters='{"max_steps": 30, "batch_size": 16, "learning_rate": 1e-3}')
    assert job["task"] == "classification" and job["validation"]["rows"] == 22
    job = served.wait(job["id"], timeout=180)
    assert job["status"] == "succeeded", job["status_reason"]
    assert job["metrics"]["best"]["metric"] == "val_accuracy" and job["metrics"]["best"]["value"] > 0.5
    rows = requests.get(f"{url}/jobs/{job['id']}/metrics").json()["data"]
    assert {"val_loss", "val_accuracy", "val_f1_macro", "val_mcc", "val_auc", "val_ece"} <= set(rows[-1])
    header = requests.get(f"{url}/jobs/{job['id']}/metrics?format=csv").text.splitlines()[0]
    assert "val_accuracy" in header
    events = requests.get(f"{url}/jobs/{job['id']}/events?type=eval&limit=100").json()["data"]
    assert sum(map(sum, events[-1]["data"]["confusion"])) == 22
    answers = requests.post(f"{url}/jobs/{job['id']}/predict", json={"inputs": ["a wonderful, moving film", ""]})
    assert answers.status_code == 200 and [set(a["probabilities"]) for a in answers.json()["data"]] == [{"0", "1"}] * 2
    for bad, status in (({"inputs": [1]}, 400), ({"inputs": [{"question": "?"}]}, 400), ({"inputs": []}, 400)):
        assert requests.post(f"{url}/jobs/{job['id']}/predict", json=bad).status_code == status

    assert requests.delete(f"{url}/datasets/{untouched}").status_code in (200, 204)  # the job has ended
    same = requests.post(f"{url}/datasets", files={"file": ("test.tsv", tsv(30, 800))}).json()["id"]
    again = requests.post(f"{url}/jobs/{job['id']}/evaluate", json={"dataset": same}).json()
    assert job["test"]["rows"] == 30 and job["test"]["confusion"] == again["confusion"]
    assert job["test"]["test_accuracy"] == again["metrics"]["accuracy"]

    # Evaluated on other rows, by the labels' own names.
    other = requests.post(f"{url}/datasets", files={"file": ("other.tsv", tsv(60, 400))}).json()["id"]
    result = requests.post(f"{url}/jobs/{job['id']}/evaluate", json={"dataset": other}).json()
    assert result["rows"] == 60 and result["labels"] == ["0", "1"] and sum(map(sum, result["confusion"])) == 60
    assert result["metrics"]["accuracy"] == pytest.approx((result["confusion"][0][0] + result["confusion"][1][1]) / 60)
    assert result["job"] == job["id"] and result["dataset"] == other and result["step"] == "exported"

    # Row by row, later as well.
    served.restart()
    url = served.url
    assert requests.get(f"{url}/evaluations/{result['id']}").json() == result
    told = requests.get(url + result["links"]["rows"])
    assert told.status_code == 200 and told.headers["Content-Type"] == "application/x-ndjson"
    told = [json.loads(line) for line in told.text.splitlines()]
    assert [r["line"] for r in told] == list(range(1, 61)) and told[0]["text"] == common.reviews(1, 400)[0][0]
    assert sum(r["correct"] for r in told) / 60 == pytest.approx(result["metrics"]["accuracy"])
    assert all((str(r["label"]) == r["predicted"]) == r["correct"] for r in told)
    assert sum(r["loss"] for r in told) / 60 == pytest.approx(result["metrics"]["loss"], rel=1e-4)
    assert requests.get(f"{url}/evaluations").json() == {"data": [result, again], "next": None}
    assert requests.delete(f"{url}/evaluations/{result['id']}").status_code == 204
    for gone in (result["id"], "eval_aaaaaaaaaaaaaaaa", "eval_A", "x"):
        for tail in ("", "/rows"):
            assert requests.get(f"{url}/evaluations/{gone}{tail}").status_code == 404, gone
    assert requests.delete(f"{url}/evaluations/{result['id']}").json()["error"]["code"] == "not_found"
    for body, status, code in (({}, 400, "missing_field"), ({"dataset": "ds_none"}, 404, "not_found"),
                               ({"dataset": other, "step": 7}, 404, None), ({"datset": other}, 400, "unknown_field")):
        done = requests.post(f"{url}/jobs/{job['id']}/evaluate", json=body)
        assert done.status_code in (status, 409) and code in (None, done.json()["error"]["code"]), done.text
    done = requests.post(f"{url}/jobs/{job['id']}/evaluate", json={"dataset": other, "generate": True})
    assert done.status_code == 400 and done.json()["error"]["field"] == "generate" and "no text" in done.json()["error"]["message"]
    done = requests.post(f"{url}/models/minilm/evaluate", json={"dataset": other})
    assert done.status_code == 400 and "encoder" in done.json()["error"]["message"]

    # What a checkpoint's parameters would make, on demand; the exported step's are the job's own artifacts.
    kept = [c["step"] for c in requests.get(f"{url}/jobs/{job['id']}/checkpoints").json()["data"]]
    exported = job["exported_step"] or kept[-1]
    assert exported in kept
    for step in kept:
        listed = requests.get(f"{url}/jobs/{job['id']}/checkpoints/{step}/artifacts")
        assert listed.status_code == 200, listed.text
        made = {a["path"]: a["sha256"] for a in listed.json()["data"]}
        own = {a["path"]: a["sha256"] for a in requests.get(f"{url}/jobs/{job['id']}/artifacts").json()["data"] if a["path"] != "manifest.json"}
        assert set(made) == set(own) and (made == own) == (step == exported)
        body = requests.get(f"{url}/jobs/{job['id']}/checkpoints/{step}/artifacts/peft/adapter_model.safetensors")
        assert hashlib.sha256(body.content).hexdigest() == made["peft/adapter_model.safetensors"] == body.headers["ETag"].strip('"')
        assert requests.get(f"{url}/jobs/{job['id']}/checkpoints/{step}/artifacts.tar").content[257:262] == b"ustar"
    for path in ("checkpoints/7777/artifacts", "checkpoints/x/artifacts", f"checkpoints/{exported}/artifacts/../spec.json", "checkpoints/-1/artifacts.tar"):
        assert requests.get(f"{url}/jobs/{job['id']}/{path}").status_code == 404, path

    # A second job goes on from the first, whose deletion meanwhile does not matter.
    more = submit(served, tsv(120, 600), init_from=f'{{"job": "{job["id"]}"}}', exports='["merged"]',
                  hyperparameters='{"max_steps": 5, "batch_size": 16, "learning_rate": 1e-4}', validation="none")
    requests.delete(f"{url}/jobs/{job['id']}")
    more = served.wait(more["id"], timeout=180)
    assert more["status"] == "succeeded", more["status_reason"]
    first = requests.get(f"{url}/jobs/{more['id']}/metrics").json()["data"][0]
    assert first["loss"] < 0.65  # a new head begins at ln 2
    files = [a["path"] for a in requests.get(f"{url}/jobs/{more['id']}/artifacts").json()["data"]]
    assert "merged/model.safetensors" in files and "merged/vocab.txt" in files
    for init, code in (("job_none", 404), ({"job": more["id"], "step": 3}, 404), ({"job": more["id"], "stp": 3}, 400), (3, 400)):
        body = {"model": "minilm", "dataset": other, "init_from": init}
        done = requests.post(url + "/jobs", json=body)
        assert done.status_code == code and done.json()["error"]["field"].startswith("init_from"), done.text
    done = requests.post(url + "/jobs", json={"model": "minilm", "dataset": other, "init_from": more["id"], "method": "full"})
    assert done.status_code == 400 and done.json()["error"]["field"] == "init_from", done.text


@pytest.mark.skipif(not common.GGUF, reason="needs the GGUF model")
def test_written_answers(start):
    """A decoder is measured by what it writes."""
    daemon = start("--model_dirs", str(pathlib.Path(common.GGUF).parent), fake=False)
    assert requests.post(daemon.url + "/models", json={"name": "writer", "path": common.GGUF}).status_code == 201
    rows = [common.chat_row(t, label) for t, label in common.reviews(8)]
    data = requests.post(daemon.url + "/datasets", data="".join(json.dumps(r) + "\n" for r in rows).encode(),
                         headers={"Content-Type": "application/octet-stream"}).json()["id"]
    plain = requests.post(f"{daemon.url}/models/writer/evaluate", json={"dataset": data}).json()
    done = requests.post(f"{daemon.url}/models/writer/evaluate", json={"dataset": data, "generate": {"max_tokens": 8}})
    assert done.status_code == 200, done.text
    written = done.json()
    assert set(written["metrics"]) - set(plain["metrics"]) == {"exact_match", "f1", "rouge_l", "chrf", "bleu"}
    assert written["metrics"]["loss"] == plain["metrics"]["loss"] and written["answered"] == 8 and "answered" not in plain
    told = [json.loads(x) for x in requests.get(daemon.url + written["links"]["rows"]).text.splitlines()]
    assert [r["messages"] for r in told] == [r["messages"] for r in rows] and written["model"] == "writer"
    assert 100 * sum(r["correct"] for r in told) / 8 == written["metrics"]["exact_match"] and all(len(r["predicted"]) < 80 for r in told)
    for generate, field in ((1, "generate"), ({"max_tokens": 1 << 20}, "generate.max_tokens"), ({"top": 1}, "generate.top")):
        done = requests.post(f"{daemon.url}/models/writer/evaluate", json={"dataset": data, "generate": generate})
        assert done.status_code == 400 and done.json()["error"]["field"] == field, done.text
    assert not list((daemon.state / "tmp").iterdir()) and len(list((daemon.state / "evaluations").iterdir())) == 2  # refused ones leave nothing


def test_the_newest_evaluations_are_kept(served):
    """A hundred of them; the oldest makes room."""
    job = submit(served, tsv(40), validation="none", hyperparameters='{"max_steps": 1, "batch_size": 8}')
    for i in range(105):
        folder = served.state / "evaluations" / f"eval_{'a' * 13}{chr(97 + i // 26)}{chr(97 + i % 26)}a"
        folder.mkdir()
        os.utime(folder, (1000 + i, 1000 + i))
    assert served.wait(job["id"], timeout=120)["status"] == "succeeded"
    done = requests.post(f"{served.url}/jobs/{job['id']}/evaluate", json={"dataset": job["dataset"]})
    assert done.status_code == 200, done.text
    left = sorted(x.name for x in (served.state / "evaluations").iterdir())
    assert len(left) == 100 and done.json()["id"] in left and f"eval_{'a' * 15}a" not in left and f"eval_{'a' * 13}eaa" in left


def test_compressed_uploads(served, tmp_path):
    """gzip, zstd, xz and bzip2 are unpacked on arrival; the data set is the content. Damaged ones leave nothing."""
    import bz2
    import gzip
    import lzma
    import shutil
    import subprocess
    url, plain = served.url, tsv(50)
    first = requests.post(url + "/datasets", data=plain, headers={"Content-Type": "application/octet-stream"}).json()
    packed = {"gzip": gzip.compress(plain), "xz": lzma.compress(plain), "bzip2": bz2.compress(plain)}
    if shutil.which("zstd"):
        packed["zstd"] = subprocess.run(["zstd", "-c"], input=plain, capture_output=True).stdout
    for name, data in packed.items():
        done = requests.post(url + "/datasets", files={"file": (f"x.{name}", data)})
        assert done.status_code == 200 and done.json()["id"] == first["id"], done.text  # the same content: the same data set
        assert done.json()["bytes"] == len(plain)
        for bad in (data[:len(data) // 2], data[:30] + b"\xff\xff\xff\xff" + data[34:]):
            done = requests.post(url + "/datasets", files={"file": ("x", bad)})
            assert done.status_code == 422 and done.json()["error"]["code"] == "dataset_invalid", done.text
    import io
    import tarfile
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:gz") as t:
        t.addfile(tarfile.TarInfo("a"), io.BytesIO(b""))
    done = requests.post(url + "/datasets", files={"file": ("x.tgz", tar.getvalue())})
    assert done.status_code == 422 and "tar" in done.json()["error"]["message"]
    done = requests.post(url + "/datasets", files={"file": ("x.gz", gzip.compress(b""))})
    assert done.status_code == 422 and done.json()["error"]["code"] == "dataset_invalid"
    assert len(requests.get(url + "/datasets").json()["data"]) == 1 and not list((served.state / "tmp").iterdir())


def zstd_frame(data):
    """Of blocks that are stored as they are, at most 128 KB each (RFC 8878, 3.1.1)."""
    blocks = [data[i:i + 100_000] for i in range(0, len(data), 100_000)]
    return b"\x28\xb5\x2f\xfd\xa0" + len(data).to_bytes(4, "little") + b"".join(
        (len(block) << 3 | (i == len(blocks) - 1)).to_bytes(3, "little") + block for i, block in enumerate(blocks))


def test_several_members(served):
    """Members in a row are one file. A damaged second one, or something else behind the first, is refused with its place, and never
    left out; padding is taken as gzip and xz take it."""
    import bz2
    import gzip
    import lzma
    url, one, two = served.url, tsv(2000), tsv(1500, 1000).split(b"\n", 1)[1]
    whole = requests.post(url + "/datasets", files={"file": ("x", one + two)}).json()["id"]

    def send(data):
        return requests.post(url + "/datasets", files={"file": ("x", data)})

    for name, pack in (("gzip", gzip.compress), ("xz", lzma.compress), ("bzip2", bz2.compress), ("zstd", zstd_frame)):
        a, b = pack(one), pack(two)
        done = send(a + b)
        assert done.status_code == 200 and done.json()["id"] == whole, (name, done.text)
        bad = {"cut": a + b[:-9], "cut in its header": a + b[:3], "header": a + bytes([b[0] ^ 1]) + b[1:], "second byte": a + b[:1] + b"?" + b[2:],
               "rubbish": a + b + b"rubbish and more", "text": a + two, "another kind": a + (bz2 if name != "bzip2" else gzip).compress(two)}
        if name != "zstd":  # its checksum is left to whoever packs
            bad["content"] = a + b[:len(b) // 2] + bytes([b[len(b) // 2] ^ 0x10]) + b[len(b) // 2 + 1:]
        if name == "gzip":
            bad["checksum"] = a + b[:-6] + bytes([b[-6] ^ 1]) + b[-5:]
            bad["checksum of the first"] = a[:-6] + bytes([a[-6] ^ 1]) + a[-5:] + b
            bad["length"] = a + b[:-1] + bytes([b[-1] ^ 1])
            bad["padding in between"] = a + bytes(8) + b
        for padding in (1, 4, 512):
            if name == "gzip" or (name == "xz" and padding % 4 == 0):
                assert send(a + b + bytes(padding)).json()["id"] == whole, (name, padding)
            else:
                bad[f"{padding} zeros"] = a + b + bytes(padding)
        for what, data in bad.items():
            done = send(data)
            assert done.status_code == 422 and done.json()["error"]["code"] == "dataset_invalid", (name, what, done.text)
            where, at = re.search(r"(at|after) byte (\d+)", done.json()["error"]["message"]).groups()
            least = len(a) - 8 if "first" in what else len(a) if where == "at" else 1
            assert least <= int(at) <= len(data) and (where == "at" or name != "gzip"), (name, what, done.text, len(a))
    assert len(requests.get(url + "/datasets").json()["data"]) == 1 and not list((served.state / "tmp").iterdir())


def test_a_compressed_file_that_grows_is_stopped(start):
    import gzip
    daemon = start("--max_upload", "2M", fake=False)
    done = requests.post(daemon.url + "/datasets", files={"file": ("x.gz", gzip.compress(b"x" * 50_000_000))})
    assert done.status_code == 413 and done.json()["error"]["code"] == "too_large", done.text
    deadline = time.time() + 5  # the answer may be here a moment before the request is cleared away
    while list((daemon.state / "tmp").iterdir()):
        assert time.time() < deadline
        time.sleep(0.02)


def test_several_data_sets(served):
    """Weights are how often an epoch sees a row; every data set gives its share of the validation rows."""
    url = served.url
    ids = [requests.post(f"{url}/datasets", files={"file": ("a.tsv", tsv(n, offset))}).json()["id"] for n, offset in ((40, 0), (100, 100))]
    chat = requests.post(f"{url}/datasets", data=b'{"prompt":"a","completion":"b"}\n' * 20).json()["id"]
    mixed = [{"dataset": ids[0], "weight": 2.5}, ids[1]]
    body = {"model": "minilm", "dataset": mixed, "validation": 0.2, "hyperparameters": {"batch_size": 16, "epochs": 1}}
    for bad, field in (([], "dataset"), ([ids[0]] * 2, "dataset[1]"), ([ids[0], {"dataset": ids[1], "weight": 0}], "dataset[1].weight"),
                       ([ids[0], {"dataset": ids[1], "wieght": 1}], "dataset[1].wieght"), ([ids[0], chat], "dataset[1]"),
                       ([ids[0], 7], "dataset[1]"), ([ids[0], "ds_none"], "dataset[1]"), ([f"ds_{i}" for i in range(17)], "dataset")):
        done = requests.post(url + "/jobs", json={**body, "dataset": bad})
        assert done.status_code in (400, 404) and done.json()["error"]["field"] == field, done.text
    job = requests.post(url + "/jobs", json=body).json()
    assert job["dataset"] == ids[0] and job["datasets"] == [{"dataset": ids[0], "weight": 2.5}, {"dataset": ids[1], "weight": 1.0}]
    assert job["validation"]["rows"] == 28  # 8 of 40 and 20 of 100
    assert job["dataset_counts"]["rows"] == 32 * 2.5 + 80 and job["progress"]["total_steps"] == 10
    assert requests.delete(f"{url}/datasets/{ids[1]}").status_code == 409
    ended = served.wait(job["id"], timeout=180)
    assert ended["status"] == "succeeded", ended["status_reason"]
    assert [j["id"] for j in requests.get(f"{url}/jobs?dataset={ids[1]}").json()["data"]] == [job["id"]]
    again = requests.post(url + "/jobs", json=ended["request"])  # the request as kept can be sent again
    assert again.status_code == 201 and again.json()["dataset_counts"] == job["dataset_counts"]
    form = requests.post(url + "/jobs?dry_run=1", data={"model": "minilm", "dataset": '["%s","%s"]' % tuple(ids)}, files={"name": (None, "x")})
    assert form.status_code == 200 and form.json()["rows"] == 140, form.text


def test_verify_on(served):
    """The adapter tried on other precisions of its base; here the base itself, so that nothing may differ."""
    url = served.url
    data = requests.post(f"{url}/datasets", files={"file": ("a.tsv", tsv(40))}).json()["id"]
    body = {"model": "minilm", "dataset": data, "method": "lora", "hyperparameters": {"max_steps": 2}}
    for bad, field in (("minilm", "verify_on"), (["none"], "verify_on[0]"), (["minilm", 7], "verify_on[1]"), (["minilm"] * 5, "verify_on")):
        done = requests.post(url + "/jobs", json={**body, "verify_on": bad})
        assert done.status_code in (400, 404) and done.json()["error"]["field"] == field, done.text
    done = requests.post(url + "/jobs", json={**body, "method": "full", "verify_on": ["minilm"]})
    assert done.status_code == 400 and done.json()["error"]["field"] == "verify_on", done.text
    requests.post(url + "/models", json={"name": "again", "path": MINILM})
    job = requests.post(url + "/jobs", json={**body, "verify_on": ["again"]}).json()
    job = served.wait(job["id"], timeout=180)
    assert job["status"] == "succeeded", job["status_reason"]
    own, other = job["verification"]
    assert own["base"] is None and other["base"] == "again" and other["artifact"] == own["artifact"] == "peft"
    assert other["max_abs_logit_diff"] == own["max_abs_logit_diff"] <= 1e-4 and other["passed"] and other["tolerance"] is None


def test_what_is_asked_is_read_as_far_as_the_model_reads(served):
    """`max_length` auto is the longest training row: a handful of tokens here. It must not bind what is asked later."""
    url, most = served.url, 512
    short = "".join(f"a {'fine' if i % 2 else 'dull'} film {i}\t{'good' if i % 2 else 'bad'}\n" for i in range(40)).encode()
    job = submit(served, short, hyperparameters='{"max_steps": 20, "learning_rate": 1e-3}')
    job = served.wait(job["id"], timeout=180)
    assert job["status"] == "succeeded" and job["hyperparameters"]["max_length"] <= 16, job["status_reason"]
    ask = lambda inputs: requests.post(f"{url}/jobs/{job['id']}/predict", json={"inputs": inputs}).json()["data"]  # noqa: E731
    begin, end = "a fine film " * 10, "dull " * 100
    whole, prefix, cut = ask([begin + end, begin, end * 6])
    assert whole["label"] == "bad" and prefix["label"] == "good"
    assert "truncated" not in whole and "truncated" not in prefix
    assert cut["truncated"] == 600 + 2 - most  # a word is a token; two special ones
    told = "".join(json.dumps({"text": text, "label": "bad"}) + "\n" for text in (begin + end, end * 6)).encode()
    told = requests.post(f"{url}/datasets", data=told).json()["id"]
    result = requests.post(f"{url}/jobs/{job['id']}/evaluate", json={"dataset": told}).json()
    assert result["metrics"]["accuracy"] == 1 and result["truncated"] == 1

    rows = "".join(json.dumps({"tokens": ["in", "Oslo"], "tags": ["O", "B-LOC"]}) + "\n" for _ in range(12)).encode()
    job = served.wait(submit(served, rows, validation="none", hyperparameters='{"max_steps": 12, "learning_rate": 1e-3}')["id"], timeout=180)
    assert job["status"] == "succeeded", job["status_reason"]
    answers = ask([["in", "Oslo"] * 90, ["in", "Oslo"] * 300])
    assert len(answers[0]["entities"]) == 90 and "truncated" not in answers[0]
    assert answers[1]["truncated"] == 600 + 2 - most and len(answers[1]["entities"]) == 255
