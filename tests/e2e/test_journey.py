"""A person with a spreadsheet and a browser: from an empty server to a working model, nothing typed but in the page."""
import csv
import gzip
import io
import json
import random

import pytest
import tiny
from browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs chromium")
CATEGORIES = {"billing": ["invoice", "refund", "charged"], "delivery": ["parcel", "courier", "late"], "account": ["password", "login", "locked"]}


@pytest.fixture
def browser(tmp_path):
    browser = Browser(tmp_path / "browser")
    yield browser
    browser.close()


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
    assert packed["rows"] == 50 and not list((daemon.state / "tmp").iterdir())  # nor is anything left of it
