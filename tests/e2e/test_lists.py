"""Long lists of jobs: search, order, pages; and what the page does with them."""
import datetime
import json
import time

import pytest
from browser import CHROMIUM
from filled import fill_jobs

JOBS = 400
TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


@pytest.fixture
def many(daemon):
    """A store of 400 ended jobs."""
    job = daemon.job({"steps": 2, "step_seconds": 0})
    daemon.wait(job, "succeeded")
    daemon.stop()
    daemon.rows = fill_jobs(daemon.state, job, JOBS)
    daemon.start()
    return daemon


def key(row, sort):
    if sort == "metric":
        return row["best"] and json.loads(row["best"])["value"]
    if sort == "duration":
        return row["finished_at"] and (datetime.datetime.strptime(row["finished_at"], TIME) - datetime.datetime.strptime(row["started_at"], TIME)).total_seconds()
    return 0 if sort == "created" else row["finished_at"]  # as they came


def pages(daemon, limit, **query):
    """Ids of all pages."""
    found, after = [], None
    while True:
        page = daemon.get("/jobs", params=query | {"limit": limit} | ({"after": after} if after else {})).json()
        found += [job["id"] for job in page["data"]]
        after = page["next"]
        if not after:
            return found
        assert len(page["data"]) == limit


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("sort", ["created", "finished", "metric", "duration"])
def test_orders_in_pages(many, sort, order):
    """Every job once, in order, those without a value at the end."""
    down = order == "desc"
    with_value = sorted((r for r in enumerate(many.rows) if key(r[1], sort) is not None), key=lambda r: (key(r[1], sort), r[0]), reverse=down)
    without = sorted((r for r in enumerate(many.rows) if key(r[1], sort) is None), key=lambda r: r[0], reverse=down)
    assert sort == "created" or without
    found = pages(many, 37, sort=sort, order=order)
    assert sorted(found) == sorted(r["id"] for r in many.rows)
    values = {r["id"]: key(r, sort) for r in many.rows}
    if sort == "duration":  # equal but for the last digits of days as a fraction
        assert [values[i] for i in found] == [key(r, sort) for _, r in with_value + without]
    else:
        assert found == [r["id"] for _, r in with_value + without]


@pytest.mark.parametrize("q,match", [
    ("tickets", lambda r: "Tickets" in (r["name"] or "")), ("TICKETS  7", lambda r: "Tickets" in (r["name"] or "") and ("7" in r["name"] or "7" in r["id"])),
    ("qwen-tiny", lambda r: r["model"] == "Qwen-tiny"), ("50%", lambda r: r["model"] == "bert_50%"), ("t_5", lambda r: r["model"] == "bert_50%"), ("0000000123", lambda r: "0000000123" in r["id"]),
    ("  ", lambda r: True), ("nothing like it", lambda r: False)])
def test_search(many, q, match):
    assert pages(many, 100, q=q, order="asc") == [r["id"] for r in many.rows if match(r)]


def test_search_by_data_set(many):
    other = many.post("/datasets?name=Umlauts+and+more", data=b'{"text": "x", "fake": {}}\n{"text": "y", "fake": {}}\n').json()["id"]
    job = many.post("/jobs", json={"model": "base", "dataset": other}).json()["id"]
    assert pages(many, 10, q="umlauts MORE") == [job]
    assert pages(many, 10, q="tickets", status="failed", model="base", sort="finished") == [
        r["id"] for r in sorted((r for r in many.rows if r["status"] == "failed" and r["model"] == "base" and "Tickets" in (r["name"] or "")), key=lambda r: (r["finished_at"], r["id"]), reverse=True)]


@pytest.mark.parametrize("query,field", [({"sort": "loss"}, "sort"), ({"order": "up"}, "order"), ({"q": "x" * 201}, "q"), ({"after": "job_none", "sort": "metric"}, "after")])
def test_what_is_refused(many, query, field):
    reply = many.get("/jobs", params=query)
    assert reply.status_code == 400 and reply.json()["error"]["field"] == field and reply.json()["error"]["hint"]


def test_a_page_of_ten_thousand_is_quick(daemon):
    job = daemon.job({"steps": 2, "step_seconds": 0})
    daemon.wait(job, "succeeded")
    daemon.stop()
    fill_jobs(daemon.state, job, 10_000)
    daemon.start()
    for query in ("", "&sort=metric&after=job_0000000000005000", "&sort=duration&order=asc", "&q=tickets+99"):
        spent = []
        for _ in range(7):
            at = time.perf_counter()
            assert len(daemon.get(f"/jobs?limit=50{query}").json()["data"]) == 50
            spent.append(time.perf_counter() - at)
        assert min(spent) < 0.2, (query, spent)  # 3 to 20 ms where nothing else runs


LISTED = "[...document.querySelectorAll('tbody tr')].map((r) => r.cells[1].innerText)"
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="needs chromium")


def press(browser, text, within="main"):
    browser.wait(f"[...document.querySelectorAll('{within} button')].some((b) => b.innerText === {json.dumps(text)} && !b.disabled)")
    browser.run(f"[...document.querySelectorAll('{within} button')].find((b) => b.innerText === {json.dumps(text)}).click()")


def choose(browser, *jobs):
    browser.run(f"{json.dumps(jobs)}.forEach((id) => document.querySelector(`[data-job=\"${{id}}\"]`).click())")


def put(browser, label, value, event="change"):
    browser.run(f"(() => {{ const e = document.querySelector('[aria-label^=\"{label}\"]'); e.value = {json.dumps(value)}; e.dispatchEvent(new Event('{event}')); }})()")


@needs_browser
def test_the_page_searches_and_keeps_it_in_the_address(many, browser):
    browser.open(f"{many.url}/#/")
    browser.wait(f"{LISTED}.length === 50")
    put(browser, "Search", "tickets", "input")
    put(browser, "Filter by status", "failed")
    put(browser, "Order", "duration asc")
    wanted = [r for r in sorted((r for r in many.rows if "Tickets" in (r["name"] or "") and r["status"] == "failed"), key=lambda r: key(r, "duration"))]
    browser.wait(f"{LISTED}[0] === {json.dumps(wanted[0]['name'])} && {LISTED}.length === {min(50, len(wanted))}")
    address = browser.run("location.hash")
    assert address == "#/?q=tickets&status=failed&sort=duration+asc"
    times = browser.run("[...document.querySelectorAll('tbody time')].map((t) => [t.innerText, t.title, t.dateTime])")
    assert all(told.endswith(" days ago") and title and stamp.endswith("Z") for told, title, stamp in times)
    browser.open("about:blank")
    browser.open(f"{many.url}/{address}")  # as somebody else opens it
    browser.wait(f"{LISTED}[0] === {json.dumps(wanted[0]['name'])}")
    assert browser.run("[document.querySelector('[type=search]').value, ...[...document.querySelectorAll('.filters select')].map((s) => s.value)]") == ["tickets", "failed", "", "", "duration asc"]
    browser.run("location.hash = '#/?sort=metric+desc'")
    browser.wait(f"{LISTED}.length === 50 && location.hash.includes('metric')")
    press(browser, "Next page")
    second = [r for r in sorted((r for r in many.rows if r["best"]), key=lambda r: key(r, "metric"), reverse=True)][50:100]
    browser.wait(f"{LISTED}[0] === {json.dumps(second[0]['name'] or second[0]['id'])}")
    value = browser.run("document.querySelector('tbody tr').cells[5].innerText")
    assert value.startswith("val loss ") and float(value.split()[-1]) == pytest.approx(key(second[0], "metric"), rel=1e-3)
    assert not browser.complaints, browser.complaints


@needs_browser
def test_several_at_once(many, browser):
    """Deleted after a while in which it can be undone, or at once when the page goes; what cannot be done with some is said."""
    browser.open(f"{many.url}/#/?status=failed")
    browser.wait(f"{LISTED}.length === 50")
    failed = [r for r in reversed(many.rows) if r["status"] == "failed"][:3]
    choose(browser, *(r["id"] for r in failed))
    assert browser.run("[...document.querySelectorAll('.bulk button')].map((b) => [b.innerText, b.disabled])") == [
        ["cancel", True], ["pause", True], ["resume", True], ["delete", False], ["none", False]]
    press(browser, "delete", ".bulk")
    told = browser.run("document.querySelector('dialog.confirm').innerText")
    assert told.startswith("Delete 3 jobs?") and all((r["name"] or r["id"]) in told for r in failed)
    press(browser, "Back", "dialog.confirm")
    assert browser.run("document.querySelector('.toast') === null && document.querySelectorAll('tbody input:checked').length === 3")
    press(browser, "delete", ".bulk")
    press(browser, "Delete 3 jobs", "dialog.confirm")
    ids = json.dumps([r["id"] for r in failed])
    browser.wait(f"{ids}.every((id) => !document.querySelector(`[data-job=\"${{id}}\"]`))")
    press(browser, "Undo", ".toast")
    browser.wait(f"{ids}.every((id) => document.querySelector(`[data-job=\"${{id}}\"]`))")
    assert browser.run("document.querySelector('.toast') === null && document.querySelector('.bulk').hidden")
    assert all(many.get(f"/jobs/{r['id']}").status_code == 200 for r in failed)
    choose(browser, failed[0]["id"], failed[1]["id"])
    press(browser, "delete", ".bulk")
    press(browser, "Delete 2 jobs", "dialog.confirm")
    browser.wait("document.querySelector('.toast') !== null")
    assert many.get(f"/jobs/{failed[0]['id']}").status_code == 200
    browser.open("about:blank")
    deadline = time.time() + 7  # sooner than the note would have gone
    while any(many.get(f"/jobs/{r['id']}").status_code == 200 for r in failed[:2]):
        assert time.time() < deadline
        time.sleep(0.05)
    assert many.get(f"/jobs/{failed[2]['id']}").status_code == 200
    assert not browser.complaints, browser.complaints


@needs_browser
def test_pausing_several(daemon, browser):
    running = daemon.job({"steps": 4000, "step_seconds": 0.05}, extra="r", name="the first")
    daemon.wait_step(running, 1)
    queued = [daemon.job({"steps": 1}, extra=str(i), name=f"<b>{i}</b>") for i in range(3)]
    browser.open(f"{daemon.url}/#/")
    browser.wait(f"{LISTED}.length === 4")
    browser.run("document.querySelector('[data-job=all]').click()")
    press(browser, "pause", ".bulk")
    press(browser, "Pause 4 jobs", "dialog.confirm")
    assert browser.wait("document.querySelector('.toast')?.innerText").startswith("4 jobs paused.")
    assert all(daemon.look(job)["status"] == "paused" for job in queued)
    press(browser, "Undo", ".toast")
    end = time.time() + 20
    while any(daemon.look(job)["status"] == "paused" for job in queued):
        assert time.time() < end
        time.sleep(0.05)
    browser.run("document.querySelector('[data-job=all]').checked || document.querySelector('[data-job=all]').click()")
    press(browser, "cancel", ".bulk")
    told = browser.run("document.querySelector('dialog.confirm').innerText")
    assert "cannot be taken up again" in told and ("<b>0</b>" in told or "left out" in told)
    browser.run("document.querySelector('dialog.confirm button.main').click()")
    assert daemon.wait(running)["status"] == "cancelled"
    assert not browser.run("document.querySelector('.toast button')") and not browser.complaints, browser.complaints
