"""A person with a spreadsheet and a browser: from an empty server to a working model, nothing typed but in the page."""
import csv
import gzip
import io
import json
import random
import time

import pytest
import tiny
from browser import CHROMIUM

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs chromium")
CATEGORIES = {"billing": ["invoice", "refund", "charged"], "delivery": ["parcel", "courier", "late"], "account": ["password", "login", "locked"]}


def tickets(n, seed=1, names=("ticket_id", "created", "message", "category", "channel")):
    """A help desk's tickets as a spreadsheet writes them: quotes, commas and line ends inside of cells."""
    chance, out = random.Random(seed), io.StringIO()
    table = csv.writer(out)
    table.writerow(names)
    for i in range(n):
        category = chance.choice(list(CATEGORIES))
        words = [chance.choice(["my", "the", "again", "please", "why"]) for _ in range(5)] + [chance.choice(CATEGORIES[category])]
        chance.shuffle(words)
        table.writerow([1000 + i, f"2026-03-{1 + i % 28:02}", " ".join(words) + f', "{i}"' + ("\nthanks" if i % 9 == 0 else ""), category, chance.choice(["mail", "chat"])])
    return out.getvalue()


def choose(browser, path, selector="#file"):
    """Gives a file to an input of the page."""
    document = browser.call("DOM.getDocument")["root"]["nodeId"]
    node = browser.call("DOM.querySelector", nodeId=document, selector=selector)["nodeId"]
    browser.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)


def pick(browser, column, role):
    browser.run(f"(() => {{ const e = document.querySelector('select[data-column=\"{column}\"]'); e.value = '{role}'; e.dispatchEvent(new Event('change')); }})()")


def click(browser, text, within="main"):
    browser.wait(f"(() => {{ const e = [...document.querySelectorAll('{within} button, {within} a')].find((e) => !e.disabled && e.offsetParent && e.innerText === {json.dumps(text)}); e?.click(); return !!e; }})()")


PICKED = "Object.fromEntries([...document.querySelectorAll('.preview select')].map((e) => [e.dataset.column, e.value]))"
TASK = "document.getElementById('task')?.innerText"


def test_a_file_is_seen_before_it_is_stored(start, tmp_path, browser):
    daemon = start(fake=False)
    path = tmp_path / "tickets.csv"
    path.write_text(tickets(9000))  # more than is looked at
    browser.open(f"{daemon.url}/#/upload")
    browser.wait("document.querySelector('#file') !== null")
    choose(browser, path)
    assert browser.wait(TASK).startswith("Classification")
    assert browser.run(PICKED) == {"ticket_id": "", "created": "", "message": "text", "category": "label", "channel": ""}
    shown = browser.run("[...document.querySelectorAll('.preview tbody tr')].map((r) => [...r.cells].map((c) => c.textContent))")
    rows = list(csv.reader(path.open()))[1:21]
    assert [row[1:] for row in shown] == rows and shown[0][0] == "2" and shown[1][0] == "4"  # a cell of two lines
    assert "usual names" in browser.run("document.querySelector('#look').innerText")
    assert daemon.get("/datasets").json()["data"] == []  # nothing is stored so far
    pick(browser, "message", "")
    browser.wait(f"{TASK}.startsWith('Not known')")
    assert browser.run("document.querySelector('form button.main').disabled")
    pick(browser, "channel", "text")
    browser.wait(f"{TASK}.startsWith('Classification')")
    assert "as you chose" in browser.run("document.querySelector('#look').innerText")
    click(browser, "Upload")
    browser.wait("location.hash.startsWith('#/data/ds_')")
    (made,) = daemon.get("/datasets").json()["data"]
    assert made["columns"] == {"text": "channel", "label": "category"} and made["rows"] == 9000 and made["name"] == "tickets.csv"
    assert not browser.complaints, browser.complaints


def test_columns_of_names_that_mean_nothing(start, tmp_path, browser):
    """Lines that were pasted: their first one names the columns, although the server knows none of the names."""
    daemon = start(fake=False)
    browser.open(f"{daemon.url}/#/upload")
    browser.wait("document.querySelector('textarea') !== null")
    lines = "was,wohin\n" + "".join(f"ein Satz {i},{'ab'[i % 2]} {i}\n" for i in range(30))
    browser.run(f"document.querySelector('textarea').value = {json.dumps(lines)}, document.querySelector('details').open = true")
    click(browser, "Look at these lines")
    browser.wait("document.querySelectorAll('.preview tbody tr').length === 20")
    assert browser.run(PICKED) == {"col1": "", "col2": ""} and browser.run(TASK).startswith("Not known")
    pick(browser, "col1", "prompt")
    browser.wait("document.querySelector('select[data-column=wohin]') !== null")
    pick(browser, "wohin", "completion")
    browser.wait(f"{TASK}.startsWith('Text generation')")
    click(browser, "Upload")
    browser.wait("location.hash.startsWith('#/data/ds_')")
    (made,) = daemon.get("/datasets").json()["data"]
    assert (made["columns"], made["rows"], made["name"]) == ({"prompt": "was", "completion": "wohin"}, 30, "pasted lines")
    assert not browser.complaints, browser.complaints


def test_bad_rows_are_grouped_and_left_out(start, tmp_path, browser):
    daemon = start(fake=False)
    good = tiny.labelled(random.Random(1), 30)
    path = tmp_path / "r.jsonl"
    path.write_text(good + '{"text": 5, "label": "good"}\n' * 8 + '{"text": "cut\n' + '{"text": "no label"}\n')
    browser.open(f"{daemon.url}/#/upload")
    browser.wait("document.querySelector('#file') !== null")
    choose(browser, path)
    groups = browser.wait("document.querySelector('#look .faults') && [...document.querySelectorAll('#look .faults li')].map((e) => e.innerText)")
    assert len(groups) == 3 and groups[0].startswith("8 rows: text must be") and "lines 31, 32, 33, 34, 35, …" in groups[0], groups
    assert any(g.startswith("1 row: not valid JSON") and "line 39" in g for g in groups), groups
    click(browser, "Upload")
    browser.wait("[...document.querySelectorAll('button')].some((b) => b.innerText.startsWith('Leave them out'))")
    assert len(browser.run("[...document.querySelectorAll('.preview')]")) == 1  # the table stays
    click(browser, "Leave them out and upload the rest")
    browser.wait("location.hash.startsWith('#/data/ds_')")
    (made,) = daemon.get("/datasets").json()["data"]
    assert (made["rows"], made["dropped"]) == (30, 10)
    browser.wait("document.querySelector('#data ul.bars li') !== null")
    counts = dict(browser.run("[...document.querySelectorAll('#data ul.bars li')].map((e) => [e.children[0].innerText, e.children[2].innerText])"))
    assert counts == {label["label"]: str(label["rows"]) for label in made["labels"]}
    click(browser, "Train on it")
    browser.wait(f"document.querySelector('form select[name=dataset]')?.value === {json.dumps(made['id'])}")
    assert [c for c in browser.complaints if "422" not in str(c)] == []


def test_a_look_stores_nothing(start):
    """The API of the page: what a file would be taken as, also where it would be refused."""
    daemon = start(fake=False)

    def look(text, **query):
        reply = daemon.post("/datasets?dry_run=1", data=text.encode(), params=query)
        assert reply.status_code == 200, reply.text
        return reply.json()

    told = look(tickets(50), name="t.csv", columns='{"text":"message","label":"category"}')
    assert (told["format"], told["rows"], told["error"], told["problem"]) == ("csv", 50, None, "single_label") and told["tasks"] == ["classification"]
    assert len(told["sample"]) == 20 and told["sample"][0]["cells"]["ticket_id"] == "1000" and told["label_count"] == 3
    unknown = look(tickets(50, names=("a", "b", "c", "d", "e")))
    assert unknown["columns"] is None and len(unknown["sample"]) == 20 and "columns" in unknown["error"]["hint"], unknown
    few = look("a,b\n1,2\n")  # no names, as it seems
    assert few["columns"] is None and few["sample"][1] == {"line": 2, "cells": {"col1": "1", "col2": "2"}}, few
    long = look(json.dumps({"text": "é" * 5000, "label": "x"}) + "\n")
    assert len(long["sample"][0]["cells"]["text"]) < 160 and long["sample"][0]["cells"]["text"].endswith("é …")
    assert look("\n\n")["error"]["message"] and daemon.get("/datasets").json()["data"] == []
    packed = daemon.post("/datasets?dry_run=1", data=gzip.compress(tickets(50).encode())).json()
    assert packed["rows"] == 50
    deadline = time.time() + 10  # nor is anything left of it, once the request has ended
    while list((daemon.state / "tmp").iterdir()):
        assert time.time() < deadline
        time.sleep(0.05)


def test_models_in_the_folders(start, tmp_path):
    """GET /models/available: files and folders, those of a Hugging Face cache by their name; nothing that a link leads out to; each once."""
    folder, out = tmp_path / "models", tmp_path / "out"
    bert = tiny.bert(folder / "Bert Base")
    cached = tiny.llama(folder / "hub/models--acme--Tiny-Llama.1/blobs")
    snapshot = folder / "hub/models--acme--Tiny-Llama.1/snapshots/0a1b"
    snapshot.mkdir(parents=True)
    for file in cached.iterdir():
        (snapshot / file.name).symlink_to(file)
    cached_config = cached / "config.json"
    cached_config.rename(cached / "5f5f")
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(cached / "5f5f")
    (folder / "sub").mkdir()
    (folder / "sub/M.Q4_K.gguf").write_bytes(b"GGUF" * 10)
    (folder / ".hidden.gguf").write_bytes(b"GGUF")
    tiny.bert(out / "elsewhere")
    (folder / "leads-out").symlink_to(out / "elsewhere")
    (folder / "round").symlink_to(folder)
    (folder / "only-config").mkdir()
    (folder / "only-config/config.json").write_text("{}")
    daemon = start("--model_dirs", f"{folder}:{folder / 'sub'}:{tmp_path / 'none'}", fake=False)
    told = daemon.get("/models/available").json()["data"]
    assert [(one["name"], one["path"], one["format"]) for one in told] == [
        ("bert-base", str(bert), "safetensors"), ("tiny-llama.1", str(snapshot), "safetensors"), ("m.q4_k", str(folder / "sub/M.Q4_K.gguf"), "gguf")]
    assert told[0]["bytes"] == (bert / "model.safetensors").stat().st_size and told[2]["bytes"] == 40
    for one in told[:2]:
        assert daemon.post("/models", json={"name": one["name"], "path": one["path"]}).status_code == 201
    assert start(fake=False).get("/models/available").json()["data"] == []


def test_from_a_spreadsheet_to_a_working_model(start, tmp_path, browser):
    """All of it in one page that is never loaded again: three steps, import, table, columns, form, run, result, prediction, download."""
    tiny.bert(tmp_path / "models/tiny-bert")
    daemon = start("--model_dirs", str(tmp_path / "models"), fake=False)
    path = tmp_path / "tickets.csv"
    path.write_text(tickets(240))
    browser.open(f"{daemon.url}/")
    browser.wait("document.querySelectorAll('#step-1 tbody tr').length === 1")
    browser.run("window.same = true")
    assert browser.run("document.querySelectorAll('.step.done').length") == 0
    click(browser, "Import")
    browser.wait("document.querySelector('#step-1.done')?.innerText.includes('✓ imported')")
    click(browser, "Upload a file")
    browser.wait("document.querySelector('#file') !== null")
    choose(browser, path)
    assert browser.wait(TASK).startswith("Classification")
    click(browser, "Upload")
    browser.wait("document.querySelectorAll('#data ul.bars li').length === 3")
    click(browser, "Train on it")
    browser.wait("document.querySelector('#cost')?.innerText.startsWith('It fits.')")
    click(browser, "Start")
    browser.wait("document.querySelectorAll('#headline .score').length === 1", 60)
    (job,) = daemon.get("/jobs").json()["data"]
    assert (job["status"], job["task"], job["model"], job["method"]) == ("succeeded", "classification", "tiny-bert", "lora")
    assert job["request"] == {"model": "tiny-bert", "dataset": job["dataset"], "hyperparameters": {}}
    best = next(e["data"] for e in daemon.events(job["id"]) if e["type"] == "eval" and e["data"]["step"] == job["exported_step"])
    assert browser.run("document.querySelector('#headline strong span').title") == repr(best["val_accuracy"]).removesuffix(".0")
    browser.run("document.querySelector('#try textarea').value = 'why was I charged\\nthe parcel is late', 0")
    click(browser, "Predict")
    browser.wait("document.querySelectorAll('#answer .bars').length === 2 && document.querySelectorAll('#answer .bars li').length === 6")
    browser.run("window.saved = [], URL.createObjectURL = (b) => { saved.push(b); return 'about:blank'; }, HTMLAnchorElement.prototype.click = () => {}, 0")
    browser.run("[...document.querySelectorAll('main button')].find((b) => b.innerText === 'Everything as one archive').click()")
    browser.wait("saved.length === 1")
    assert browser.run("saved[0].size") == len(daemon.get(f"/jobs/{job['id']}/artifacts.tar").content)
    browser.run("location.hash = '#/'")
    assert "tiny-bert" in browser.wait("document.querySelector('tbody')?.innerText") and browser.run("window.same")
    assert not browser.complaints, browser.complaints


def test_the_sample(start, browser):
    """It is taken with one click, is mixed and has as many rows of each label."""
    daemon = start(fake=False)
    browser.open(f"{daemon.url}/#/start")
    click(browser, "Take a sample to try")
    browser.wait("document.querySelectorAll('#data ul.bars li').length === 4")
    (made,) = daemon.get("/datasets").json()["data"]
    assert made["rows"] == 60 and [one["rows"] for one in made["labels"]] == [15] * 4 and made["columns"] == {"text": "message", "label": "category"}
    rows = daemon.get(f"/datasets/{made['id']}/rows?lines=2-9").json()["data"]
    assert len({row["label"] for row in rows[:4]}) == 4 and len({row["text"] for row in rows}) == 8
    assert not browser.complaints, browser.complaints
