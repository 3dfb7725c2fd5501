"""The dashboard in a real browser, on a real job: evaluations are asked for, shown and forgotten."""
import json
import random

import pytest
import tiny
from browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs chromium")
SECTION = "document.getElementById('evaluations')"


@pytest.fixture
def browser(tmp_path):
    browser = Browser(tmp_path / "browser")
    yield browser
    browser.close()


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
    assert "Report on <b>own</b>" in browser.run("document.querySelector('h1').innerText")
    browser.run(f"document.querySelector('main select').value = {json.dumps(other)}, document.querySelector('main button').click()")
    browser.wait("document.querySelector('#report').innerText.includes('leak_exact')")
    assert not browser.complaints, browser.complaints
