"""A job in the browser: watched while it runs, over a death of the daemon, to its end; and what the page then offers, without a reload."""
import json
import random
import socket
import subprocess
import sys

import pytest
import tiny
from browser import CHROMIUM

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs chromium")


@pytest.fixture
def served(start, tmp_path):
    """At a fixed port, so that a restarted daemon is found again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for make in (tiny.bert, tiny.llama):
        make(tmp_path / "models" / make.__name__)
    daemon = start("--model_dirs", str(tmp_path / "models"), "--listen", f"127.0.0.1:{port}", fake=False)
    for name in ("bert", "llama"):
        assert daemon.post("/models", json={"name": name, "path": str(tmp_path / "models" / name)}).status_code == 201
    return daemon


def upload(daemon, text, name="d"):
    return daemon.post(f"/datasets?name={name}", data=text.encode()).json()["id"]


def judged(seed, n):
    """Two of three are good; a word says which."""
    chance = random.Random(seed)
    rows = [(tiny.sentence(chance, 5), chance.random() < 0.67) for _ in range(n)]
    return "".join(json.dumps({"text": f"{text} {'great' if good else 'poor'} {i}", "label": "good" if good else "bad"}) + "\n" for i, (text, good) in enumerate(rows))


def percent(value):
    return f"{100 * value:.1f} %"


def bars(browser, at):
    return browser.run(f"[...document.querySelectorAll('{at} .bars li')].map((li) => [li.children[0].innerText, li.children[2].innerText])")


def test_watched_to_its_end(served, browser):
    train, test = upload(served, judged(1, 120)), upload(served, judged(2, 40), "test")
    knobs = {"epochs": 1000, "max_steps": 2700, "batch_size": 8, "learning_rate": 1e-3, "eval_every": 900}
    job = served.post("/jobs", json={"name": "<b>j</b>", "model": "bert", "dataset": train, "validation": 0.25, "test": test, "method": "full",
                                     "hyperparameters": knobs}).json()["id"]
    browser.open(f"{served.url}/#/jobs/{job}")
    browser.wait("document.querySelector('#phase')?.innerText.startsWith('Training')")
    browser.run("window.same = true")
    assert browser.run("document.querySelector('progress') !== null && document.querySelector('#result').children.length === 0")
    served.restart()  # the trainer goes on meanwhile
    assert served.look(job)["status"] == "running", "it ended before the daemon died"
    browser.wait("document.querySelectorAll('#headline .score').length === 2", 60)
    done = served.wait(job)
    evals = [e["data"] for e in served.events(job) if e["type"] == "eval"]
    (at,) = [e for e in evals if e["step"] == done["exported_step"]]
    scores = browser.run("[...document.querySelectorAll('#headline .score')].map((e) => e.innerText.replace(/\\s+/g, ' '))")
    assert scores == [f"{percent(at['val_accuracy'])} of rows right, 30 validation rows", f"{percent(done['test']['test_accuracy'])} of rows right, 40 test rows"]
    most = {rows: max(sum(row) for row in told["confusion"]) / told["rows"] for rows, told in (("validation", at), ("test", done["test"]))}
    assert bars(browser, "#headline") == [
        ["this model, validation rows", percent(at["val_accuracy"])], ["before training", percent(evals[0]["val_accuracy"])],
        ["always “good” (validation)", percent(most["validation"])], ["this model, test rows", percent(done["test"]["test_accuracy"])],
        ["always “good” (test)", percent(most["test"])]]
    fit = served.get(f"/jobs/{job}/fit").json()
    assert browser.wait("document.querySelector('#result #fit')?.innerText").startswith(fit["verdict"].replace("_", " "))
    assert fit["summary"] in browser.run("document.querySelector('#result #fit').innerText")

    # How to use it, and trying it.
    ways = dict(browser.run("[...document.querySelectorAll('#use details')].map((d) => [d.querySelector('strong').innerText, d.querySelector('pre').textContent])"))
    client = ways.pop("OpenAI's client")
    assert list(ways) == ["curl", "Python", "Transformers"] and all(f"{served.url}/jobs/{job}/" in text for text in ways.values())
    said = subprocess.run([sys.executable, "-c", client], capture_output=True, text=True)
    assert said.stdout.strip() in ("good", "bad"), said.stderr
    texts = ["a great film", "a <b>poor</b> film"]
    browser.run(f"document.querySelector('#try textarea').value = {json.dumps(chr(10).join([*texts, '']))}, document.querySelector('#try button').click()")
    browser.wait("document.querySelectorAll('#answer .answer').length === 2")
    answers = served.post(f"/jobs/{job}/predict", json={"inputs": texts}).json()["data"]
    told = [[name, percent(p)] for a in answers for name, p in sorted(a["probabilities"].items(), key=lambda item: -item[1])]
    assert bars(browser, "#answer") == told and not browser.run("document.querySelector('#answer b')")

    # More lines than are shown; a table in, and out with what was said of its rows.
    browser.run("document.querySelector('#try textarea').value = 'x\\n'.repeat(201), document.querySelector('#try button').click()")
    browser.wait("document.querySelector('#answer').innerText.includes('201 lines')")

    def choose(text):
        browser.run(f"""(() => {{ const box = new DataTransfer(); box.items.add(new File([{json.dumps(text)}], 't.csv'));
            const input = document.querySelector('#table input'); input.files = box.files; input.dispatchEvent(new Event('change')); }})()""")

    for wrong, word in (('text\n"open\nb\n', "Row 2"), ("a,b\n1,2,3\n", "Row 2 has 3 fields"), ("text\n", "no rows")):
        choose(wrong)
        browser.wait(f"document.querySelector('#table').innerText.includes({json.dumps(word)})")
    table = "\ufeffid;message\r\n" + "".join(f'{i};"a ""great"" film; no {i}"\r\n' for i in range(300)) + "\r\n301\r\n"
    choose(table)
    browser.wait("document.querySelector('#table button')?.innerText === 'Predict 301 rows'")
    assert browser.run("document.querySelector('#table select').selectedOptions[0].innerText") == "message"
    browser.run("window.made = null, URL.createObjectURL = (blob) => { blob.text().then((text) => { window.made = text; }); return '#'; }, document.querySelector('#table button').click()")
    out = browser.wait("window.made")
    lines, answer = out.split("\r\n"), served.post(f"/jobs/{job}/predict", json={"inputs": ['a "great" film; no 7']}).json()["data"][0]
    assert lines[0] == "id;message;prediction;score" and lines[8].startswith(f'7;"a ""great"" film; no 7";{answer["label"]};') and lines[302].startswith("301;;")
    assert float(lines[8].split(";")[-1]) == pytest.approx(answer["probabilities"][answer["label"]], abs=1e-6)

    # Rows that are wrong, the confusion matrix by shades, digits, the title; no reload.
    browser.run("document.querySelector('#wrong button').click()")
    told = browser.wait("[...document.querySelectorAll('#wrong [aria-live] p')].map((p) => p.innerText).join('')")
    wrong = round((1 - done["test"]["test_accuracy"]) * 40)
    assert told.startswith(f"{wrong} of 40 rows" if wrong else "None of 40 rows"), told
    assert browser.run("document.querySelectorAll('#wrong tbody tr').length") == wrong
    shades = browser.run("[...document.querySelectorAll('[aria-label=\"Confusion matrix\"] tr:first-child td.heat')].map((t) => [t.innerText, t.style.getPropertyValue('--heat')])")
    assert [float(heat) for _, heat in shades[:2]] == [pytest.approx(n / sum(evals[-1]["confusion"][0])) for n in evals[-1]["confusion"][0]]
    assert browser.run("import('/web/dom.js').then((dom) => [3530, 100, 12345678, 0.25, 1234.5, 0.00012345].map(dom.short))") == [
        "3530", "100", "12345678", "0.25", "1235", "0.0001234"]
    assert browser.run("document.querySelector('#facts .rounded').title").startswith("rounded; exactly ")
    assert browser.run("document.title") == "<b>j</b> · Hone" and browser.run("window.same")
    assert not [c for c in browser.complaints if "ERR_" not in str(c)], browser.complaints


def test_answers_in_their_own_form(served, browser):
    """An answer is marked in its context where it stands, by characters; a text of the result stands beside the base's."""
    row = '{"context": "a good film", "question": "film", "answers": {"text": ["good"], "answer_start": [2]}}\n'
    made = {name: served.post("/jobs", json={"model": model, "dataset": upload(served, rows), "validation": "none",
                                             "hyperparameters": {"max_steps": 4, "learning_rate": 1e-3}}).json()["id"]
            for name, model, rows in (("qa", "bert", row * 20), ("text", "llama", tiny.chats(random.Random(3), 20)))}
    for job in made.values():
        assert served.wait(job)["status"] == "succeeded"
    browser.open(f"{served.url}/#/jobs/{made['qa']}")
    browser.wait("document.querySelector('#try input') !== null")
    assert "nothing says how good it is" in browser.run("document.querySelector('#result').innerText")
    context = "\U0001f600 a good film"
    browser.run(f"document.querySelector('#try textarea').value = {json.dumps(context)}, document.querySelector('#try input').value = 'film', document.querySelector('#try button').click()")
    marked = browser.wait("document.querySelector('#answer mark')?.innerText")
    (answer,) = served.post(f"/jobs/{made['qa']}/predict", json={"inputs": [{"question": "film", "context": context}]}).json()["data"]
    assert marked == answer["answer"] == context[answer["start"]:answer["end"]]
    assert browser.run("document.querySelector('#answer mark').parentElement.textContent") == context

    browser.open(f"{served.url}/#/jobs/{made['text']}")
    browser.wait("document.querySelector('#try textarea')?.placeholder.startsWith('Ask')")
    assert browser.run("[...document.querySelectorAll('#use strong')].map((e) => e.innerText)") == ["curl", "Python", "OpenAI's client", "PEFT", "Ollama", "llama.cpp"]
    browser.run("document.querySelector('#try textarea').value = 'a good film', document.querySelector('#try button').click()")
    browser.wait("document.querySelector('#answer pre')?.innerText && !document.querySelector('#try button').disabled")
    body = {"inputs": ["a good film"], "max_tokens": 256}
    wanted = [served.post(path, json=body).json()["data"][0]["text"] for path in (f"/jobs/{made['text']}/predict", "/models/llama/predict")]
    assert browser.run("[...document.querySelectorAll('#answer pre')].map((e) => e.textContent)") == wanted
    assert all(served.get(path).headers["Content-Type"].startswith("text/html") for path in ("/", "/web", "/web/", "/manual/"))
    assert not browser.complaints, browser.complaints


def test_form_while_typing(served, browser):
    """The essentials first; what the job would take follows what is typed; errors stand at their fields in the page's words, and the first has the focus."""
    data = [upload(served, judged(seed, n), name) for seed, n, name in ((1, 120, "tickets"), (2, 40, "others"))]
    browser.open(f"{served.url}/#/new?dataset={data[0]}")
    cost = "document.querySelector('#cost')?.innerText ?? ''"
    steps = served.post("/jobs?dry_run=1", json={"model": "llama", "dataset": data[0]}).json()["steps"]
    browser.wait("document.querySelector('form select[name=model]') !== null")

    def put(name, value):
        browser.run(f"(() => {{ const e = document.querySelector('form [name={name}]'); e.value = {json.dumps(value)}; e.dispatchEvent(new Event('input', {{ bubbles: true }})); }})()")

    put("model", "bert")
    plan = served.post("/jobs?dry_run=1", json={"model": "bert", "dataset": data[0], "validation": 0.2}).json()  # held out of few rows, too
    browser.wait(f"{cost}.includes('{plan['steps']} steps over {plan['rows']} rows')")
    assert browser.run("document.querySelector('form [name=dataset]').value") == data[0]
    assert not browser.run("document.querySelector('details').open") and browser.run("document.querySelector('form [name=file]').offsetParent === null")
    told = browser.run("document.querySelector('[data-field=learning_rate] .effective').textContent")
    assert told == f"now {plan['hyperparameters']['learning_rate']} – " + plan["auto"]["learning_rate"].split(": ", 1)[1], told
    put("max_steps", "7")
    browser.wait(f"{cost}.includes(' 7 steps')")
    put("max_steps", "")
    browser.run("(() => { const e = document.querySelector('form select:not([name])'); e.value = 'quick'; e.dispatchEvent(new Event('change')); })()")
    put("validation", data[1])
    quick = served.post("/jobs?dry_run=1", json={"model": "bert", "dataset": data[0], "validation": data[1], "hyperparameters": {"epochs": 1}}).json()
    assert quick["steps"] < steps
    browser.wait(f"{cost}.includes('{quick['steps']} steps over 120 rows (40 held out)')")
    put("batch_size", "-1")
    wrong = "Object.fromEntries([...document.querySelectorAll('form .error')].filter((e) => e.textContent && e.parentElement.dataset.field).map((e) => [e.parentElement.dataset.field, e.textContent]))"
    assert browser.wait(f"document.querySelector('[aria-invalid]') && {wrong}")["batch_size"].startswith("Rows a step (batch size) must be a whole number")
    assert browser.run("document.activeElement.name !== 'batch_size'")  # nobody is torn from what they type
    put("priority", "5000")
    browser.run("document.querySelector('form button.main').click()")
    browser.wait("document.activeElement.name === 'priority' && document.querySelector('details').open")
    assert list(browser.run(wrong)) == ["priority", "batch_size"] and served.get("/jobs").json()["data"] == []
    put("priority", "")
    put("batch_size", "")
    browser.wait("document.querySelector('[aria-invalid]') === null")
    browser.run("document.querySelector('form button.main').click()")
    job = browser.wait("location.hash.startsWith('#/jobs/') && location.hash.slice(7)")
    assert served.look(job)["request"] == {"model": "bert", "dataset": data[0], "validation": data[1], "hyperparameters": {"epochs": 1}}
    assert served.wait(job)["status"] == "succeeded"
    assert not [c for c in browser.complaints if "400" not in str(c)], browser.complaints
