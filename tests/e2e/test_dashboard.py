"""The dashboard in a real browser, on a real job: evaluations are asked for, shown and forgotten."""
import json
import random
import time

import pytest
import tiny
from browser import CHROMIUM

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs chromium")
SECTION = "document.getElementById('evaluations')"


def test_evaluations_of_a_job(start, tmp_path, browser):
    tiny.bert(tmp_path / "models/bert")
    daemon = start("--model_dirs", str(tmp_path / "models"), fake=False)
    assert daemon.post("/models", json={"name": "bert", "path": str(tmp_path / "models/bert")}).status_code == 201
    ids = {name: daemon.post(f"/datasets?name={name}", data=tiny.labelled(random.Random(seed), n).encode()).json()["id"]
           for name, seed, n in (("train", 1, 16), ("<b>other</b>", 2, 24))}
    knobs = {"max_steps": 3, "batch_size": 4, "learning_rate": 1e-3}
    jobs = [daemon.post("/jobs", json={"model": "bert", "dataset": ids["train"], "validation": "none", "hyperparameters": knobs}).json()["id"]
            for _ in range(2)]
    for job in jobs:
        daemon.wait(job, "succeeded")
    elsewhere = daemon.post(f"/jobs/{jobs[1]}/evaluate", json={"dataset": ids["train"]}).json()["id"]

    browser.open(f"{daemon.url}/#/jobs/{jobs[0]}")
    browser.wait(f"{SECTION}?.querySelectorAll('option').length >= 2 + 4")
    choose = f"{SECTION}.querySelector('select').value = {json.dumps(ids['<b>other</b>'])}, {SECTION}.querySelector('button.main').click()"
    browser.run(choose)
    browser.wait(f"{SECTION}.querySelectorAll('details').length === 1")
    (made,) = daemon.get(f"/evaluations?job={jobs[0]}").json()["data"]
    assert made["dataset"] == ids["<b>other</b>"] and made["rows"] == 24 and made["id"] != elsewhere
    assert made["step"] == "exported"  # and another job's is not shown
    text = browser.run(f"{SECTION}.querySelector('details').innerText")
    assert "<b>other</b>, 24 rows, exported" in text and not browser.run(f"{SECTION}.querySelector('summary b')")
    shown = browser.run(f"[...{SECTION}.querySelectorAll('table')].map((t) => [...t.querySelectorAll('tbody tr')].map((r) => [...r.cells].map((c) => c.innerText)))")
    metrics, confusion = shown
    assert float(dict(metrics)["accuracy"]) == pytest.approx(made["metrics"]["accuracy"], rel=1e-3)
    assert [[int(n) for n in row[1:]] for row in confusion] == made["confusion"] and [row[0] for row in confusion] == made["labels"]

    # Its rows, as they are saved; a refusal is told; a checkpoint's; forgotten.
    browser.run("window.saved = [], URL.createObjectURL = (b) => { saved.push(b); return 'about:blank'; }, HTMLAnchorElement.prototype.click = () => {}, 0")
    browser.run(f"[...{SECTION}.querySelectorAll('details button')].find((b) => b.innerText === 'Every row').click()")
    browser.wait("saved.length === 1")
    assert browser.run("saved[0].text()") == daemon.get(made["links"]["rows"]).text
    browser.run(f"{SECTION}.querySelectorAll('select')[1].value = '3', {SECTION}.querySelector('button.main').click()")
    browser.wait(f"{SECTION}.querySelectorAll('details').length === 2 && {SECTION}.innerText.includes('step 3')")
    daemon.delete(f"/datasets/{ids['<b>other</b>']}")
    browser.run(f"{SECTION}.querySelector('button.main').click()")
    assert ids["<b>other</b>"] in browser.wait(f"{SECTION}.querySelector('[role=alert]')?.innerText")
    browser.run(f"[...{SECTION}.querySelectorAll('details button')].find((b) => b.innerText === 'Forget').click()")
    browser.wait(f"{SECTION}.querySelectorAll('details').length === 1")
    assert [e["step"] for e in daemon.get(f"/evaluations?job={jobs[0]}").json()["data"]] == ["exported"]
    assert [e["id"] for e in daemon.get(f"/evaluations?dataset={ids['train']}").json()["data"]] == [elsewhere]
    assert daemon.get("/evaluations?job=job_none").json()["data"] == [] and len(daemon.get("/evaluations").json()["data"]) == 2
    assert not [c for c in browser.complaints if "404" not in str(c)], browser.complaints


def test_form_has_every_field(daemon, browser):
    """As the schema names them; a job that is submitted again keeps what it was sent."""
    body = {"model": "base", "dataset": daemon.dataset(), "validation": {"fraction": 0.25}, "method": "lora", "name": "again", "description": "one\u00a0more",
            "priority": -3, "dedupe": True, "exports": ["peft"], "export_dtype": "BF16", "metadata": {"a": "5"},
            "hyperparameters": {"max_steps": 2, "schedule": "cosine", "lora_targets": ["q_proj"]}}
    job = daemon.post("/jobs", json=body).json()["id"]
    schemas = daemon.get("/openapi.json").json()["components"]["schemas"]
    browser.open(f"{daemon.url}/#/new?from={job}")
    browser.wait("document.querySelector('form button.main') !== null")
    named = browser.run("[...document.querySelectorAll('form input, form select')].map((e) => e.name).filter(Boolean)")
    assert sorted(named) == sorted([n for n in schemas["JobRequest"]["properties"] if n != "hyperparameters"] + list(schemas["Hyperparameters"]["properties"]) + ["file"])
    browser.run("[...document.querySelectorAll('form button')].find((b) => b.innerText.startsWith('What would')).click()")
    told = browser.wait("(document.querySelector('main').innerText.match(/It fits.*/s) ?? [''])[0]")
    assert "null" not in told, told
    browser.run("document.querySelector('form button.main').click()")
    browser.wait(f"/jobs.job_/.test(location.hash) && !location.hash.includes({json.dumps(job)})")
    (again,) = [j for j in daemon.get("/jobs").json()["data"] if j["id"] != job]
    assert again["request"] == body
    assert not browser.complaints, browser.complaints


def test_the_report_on_a_data_set(start, browser):
    """From the list of data sets: findings with lines and what to send, lengths, diversity; and against another data set."""
    daemon = start(fake=False)
    rows = [{"text": f"{tiny.sentence(random.Random(i), 12)} {i}"} for i in range(20)]
    own, other = (daemon.post(f"/datasets?name={name}", data="".join(json.dumps(r) + "\n" for r in some).encode()).json()["id"]
                  for name, some in (("<b>own</b>", rows + rows[:1]), ("other", rows[4:5])))
    browser.open(f"{daemon.url}/#/data")
    browser.wait(f"document.querySelector('a[href=\"#/data/{own}\"]') !== null")
    browser.run(f"document.querySelector('a[href=\"#/data/{own}\"]').click()")
    found = "[...document.querySelectorAll('#report table')].map((t) => [...t.querySelectorAll('tbody tr')].map((r) => [...r.cells].map((c) => c.innerText)))"
    browser.wait(f"{found}.length >= 3")
    findings = {row[1]: row for row in browser.run(found)[0]}
    assert findings["exact_duplicate"][2] == "1" and findings["exact_duplicate"][4:] == ["21~1", '"dedupe":"exact"']
    assert browser.run("document.querySelector('h1').innerText") == "<b>own</b>"
    browser.run(f"document.querySelector('main select').value = {json.dumps(other)}, document.querySelector('main button').click()")
    browser.wait("document.querySelector('#report').innerText.includes('leak_exact')")
    assert not browser.complaints, browser.complaints


def planted(seed, n, wrong):
    """Rows whose text says what the label is, but for the wrong ones."""
    chance = random.Random(seed)
    rows = []
    for i in range(n):
        label = chance.choice(["good", "bad"])
        words = [chance.choice(["film", "plot", "actor", "scene"]) for _ in range(6)]
        words[chance.randrange(6)] = {"good": "great", "bad": "poor"}[label]
        rows.append({"text": " ".join(words) + f" {i}", "label": {"good": "bad", "bad": "good"}[label] if i in wrong else label})
    return rows


def cells(browser, section):
    return browser.run(f"[...document.querySelectorAll('#{section} tbody tr')].map((r) => [...r.cells].map((c) => c.innerText))")


def choose(browser, section, row, out=None, label=None):
    """Ticks "leave out" or sets a label in a row of the list."""
    at = f"document.querySelectorAll('#{section} tbody tr')[{row}]"
    browser.run(f"(() => {{ const e = {at}.querySelector('input'); e.checked = {json.dumps(bool(out))}; e.dispatchEvent(new Event('change')); }})()")
    if label is not None:
        browser.run(f"(() => {{ const e = {at}.querySelector('select'); e.value = {json.dumps(label)}; e.dispatchEvent(new Event('change')); }})()")


def test_wrong_labels_are_corrected(start, tmp_path, browser):
    """From the training rows of a job and from the rows of folds: leave out, set a label, a copy, and what is trained on it."""
    tiny.bert(tmp_path / "models/bert")
    daemon = start("--model_dirs", str(tmp_path / "models"), fake=False)
    assert daemon.post("/models", json={"name": "bert", "path": str(tmp_path / "models/bert")}).status_code == 201
    rows = planted(1, 120, {11, 37, 58})
    data = daemon.post("/datasets?name=<b>r</b>", data="".join(json.dumps(r) + "\n" for r in rows).encode()).json()["id"]
    body = {"model": "bert", "dataset": data, "validation": "none", "method": "full", "hyperparameters": {"epochs": 8, "batch_size": 8, "learning_rate": 3e-3}}
    job = daemon.post("/jobs", json=body).json()["id"]
    assert daemon.wait(job)["status"] == "succeeded"
    sweep = daemon.post("/sweeps", json={"kind": "folds", "job": {k: v for k, v in body.items() if k != "validation"}, "folds": 2}).json()["id"]

    browser.open(f"{daemon.url}/#/jobs/{job}")
    browser.wait("document.querySelectorAll('#examples tbody tr').length === 20")
    listed, told = cells(browser, "examples"), daemon.get(f"/jobs/{job}/examples?sort=mislabelled").json()["data"]
    assert [row[0] for row in listed] == [str(r["line"]) for r in told] and {row[0] for row in listed[:3]} == {"12", "38", "59"}
    for row, one in zip(listed, told):
        assert row[1:4] == [one["text"], one["label"], one["predicted"]] and float(row[4]) == pytest.approx(one["p"], rel=1e-3)
    button = "document.querySelector('#examples button.main')"
    assert browser.run(f"[{button}.disabled, {button}.innerText]") == [True, "Make a corrected copy (0 changes)"]
    choose(browser, "examples", 0, out=True)
    choose(browser, "examples", 1, label=told[1]["predicted"])
    choose(browser, "examples", 2, out=True)
    choose(browser, "examples", 2, out=False)  # on second thoughts
    assert browser.run(f"[{button}.disabled, {button}.innerText]") == [False, "Make a corrected copy (2 changes)"]
    browser.run("[...document.querySelectorAll('#examples button')].find((b) => b.innerText === 'More rows').click()")
    browser.wait("document.querySelectorAll('#examples tbody tr').length === 40")
    assert browser.run(f"{button}.innerText") == "Make a corrected copy (2 changes)" and browser.run("document.querySelector('#examples input').checked")
    browser.run(f"{button}.click()")
    link = browser.wait("document.querySelector('#examples a[href^=\"#/data/\"]')?.getAttribute('href')")
    made = daemon.get("/datasets/" + link.rsplit("/", 1)[1]).json()
    assert made["rows"] == 119 and made["corrected_from"]["dataset"] == data and browser.run("document.querySelector('#examples a').innerText") == "<b>r</b>, corrected"
    changes = {c["line"]: c for c in made["corrected_from"]["changes"]}
    assert changes == {told[0]["line"]: {"line": told[0]["line"], "excluded": True},
                       told[1]["line"]: {"line": told[1]["line"], "from": told[1]["label"], "to": told[1]["predicted"]}}
    browser.run("[...document.querySelectorAll('#examples a')].find((a) => a.innerText === 'Train on it').click()")
    browser.wait(f"document.querySelector('form select[name=dataset]')?.value === {json.dumps(made['id'])}")

    # The folds of a sweep.
    deadline = time.time() + 120
    while (found := daemon.get(f"/sweeps/{sweep}").json())["status"] not in ("succeeded", "failed"):
        assert time.time() < deadline, found
        time.sleep(0.2)
    browser.open(f"{daemon.url}/#/sweeps/{sweep}")
    browser.wait("document.querySelectorAll('#suspects tbody tr').length > 0")
    told = [json.loads(line) for line in daemon.get(f"/sweeps/{sweep}/rows?sort=mislabelled").text.splitlines()[:50]]
    told = [row for row in told if not row["right"]]
    listed = cells(browser, "suspects")
    assert [row[0] for row in listed] == [str(row["line"]) for row in told]
    for row, one in zip(listed, told):
        assert row[1:4] == [rows[one["line"] - 1]["text"], one["label"], one["predicted"]] and float(row[4]) == pytest.approx(one["p"], rel=1e-3)
    choose(browser, "suspects", 0, label=told[0]["predicted"])
    browser.run("document.querySelector('#suspects button.main').click()")
    browser.wait("[...document.querySelectorAll('#suspects button')].some((b) => b.innerText === 'The same folds on it')")
    browser.run("[...document.querySelectorAll('#suspects button')].find((b) => b.innerText === 'The same folds on it').click()")
    again = browser.wait(f"location.hash !== '#/sweeps/{sweep}' && location.hash.split('/')[2]")
    assert daemon.get(f"/sweeps/{again}").json()["request"]["job"]["dataset"] not in (data, made["id"])
    daemon.post(f"/sweeps/{again}/cancel")
    assert not browser.complaints, browser.complaints
