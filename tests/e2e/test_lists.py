"""Long lists of jobs: search, order, pages; and what the page does with them."""
import datetime
import json
import time

import pytest
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
