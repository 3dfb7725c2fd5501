"""Jobs side by side in the browser: curves, settings that differ, the comparison in words, and the way to it where it is refused."""
import json

import pytest
from browser import CHROMIUM
from test_sweeps import job, reviews, upload

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs chromium")


@pytest.fixture
def served(with_models):
    return with_models("bert")


def test_side_by_side(served, browser):
    body = job(served)

    def train(name, validation=0.3, **knobs):
        made = served.post("/jobs", json=body | {"name": name, "validation": validation, "hyperparameters": body["hyperparameters"] | knobs}).json()["id"]
        return served.wait(made)

    good, bad = train("<b>good</b>", max_steps=30), train("bad", max_steps=30, learning_rate=1e-7)
    ids = [good["id"], bad["id"]]
    browser.open(f"{served.url}/#/")
    browser.wait("document.querySelectorAll('tbody tr').length === 2")
    browser.run(f"{json.dumps(ids)}.forEach((id) => document.querySelector(`[data-job=\"${{id}}\"]`).click())")
    browser.run("[...document.querySelectorAll('.bulk a')].find((a) => a.innerText === 'compare').click()")
    told = served.get("/compare?jobs=" + ",".join(ids)).json()
    words = browser.wait("document.querySelector('#paired li')?.innerText")
    assert browser.run("location.hash") == "#/compare?jobs=" + ",".join(ids)
    (pair,) = told["pairs"]
    wanted = "<b>good</b> is better than bad by" if pair["verdict"] == "better" else "Between <b>good</b> and bad no difference is shown"
    assert pair["verdict"] != "worse" and words.startswith(wanted), (words, pair)
    assert f"On the same {told['rows']} rows" in browser.run("document.querySelector('#paired').innerText")
    rows = browser.run("[...document.querySelectorAll('#differences tbody tr')].map((r) => [...r.cells].map((c) => c.innerText))")
    assert rows == [["learning_rate", "0.003", "1e-7"]]
    titles = browser.wait("document.querySelectorAll('#curves canvas').length > 4 && [...document.querySelectorAll('#curves figcaption')].map((e) => e.innerText)")
    assert titles[0] == "training loss" and "loss on validation rows" in titles and "accuracy on validation rows" in titles
    assert browser.run("[...document.querySelector('#curves .legend').children].slice(1).map((e) => e.innerText)") == ["<b>good</b>", "bad"]

    # Other validation rows: refused, with a way out.
    other = train("other", validation=0.2)
    data = upload(served, reviews(40, seed=9))
    browser.run(f"location.hash = '#/compare?jobs={ids[0]},{other['id']}'")
    browser.wait("document.querySelector('#paired [role=alert]') !== null && document.querySelector('#paired').innerText.includes('choose one below')")
    browser.run(f"(() => {{ const e = document.querySelector('#paired select'); e.value = {json.dumps(data)}; e.dispatchEvent(new Event('change')); }})()")
    browser.wait("document.querySelector('#paired button').innerText === 'Evaluate 2 of 2 on it, then compare'")
    browser.run("document.querySelector('#paired button').click()")
    browser.wait("document.querySelector('#paired').innerText.includes('On the same 40 rows')")
    assert {e["job"] for e in served.get(f"/evaluations?dataset={data}").json()["data"]} == {ids[0], other["id"]}
    assert browser.run("location.hash").endswith(f"&dataset={data}")
    browser.wait("document.querySelector('#paired button').innerText === 'Compare on it'")
    browser.run("location.hash = '#/compare?jobs=job_x'")
    browser.wait("document.querySelector('main').innerText.includes('Two jobs are needed')")
    assert not [c for c in browser.complaints if "409" not in str(c)], browser.complaints
