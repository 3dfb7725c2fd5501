"""Curves: rows of a range, thinned exactly, and what the page draws of them."""
import bisect

import pytest
from filled import curve, fill_metrics


@pytest.fixture
def long(daemon):
    """A job of 20,000 steps."""
    daemon.id = daemon.job({"steps": 2, "step_seconds": 0})
    daemon.wait(daemon.id, "succeeded")
    daemon.stop()
    fill_metrics(daemon.state, daemon.id, 20_000)
    return daemon.start()


def ask(daemon, **query):
    return daemon.get(f"/jobs/{daemon.id}/metrics", params=query)


@pytest.mark.parametrize("points,first,last", [(30, 1, 20_000), (30, 0, 20_000), (300, 1, 20_000), (300, 777, 15_333), (100, 9_000, 9_999), (100, 9_000, 9_120),
                                               (4, 5, 19_999), (60, 19_000, 10**9)])
def test_buckets_keep_least_greatest_and_last(long, points, first, last):
    """Between two last rows lie a bucket's rows, whose least and greatest are answered; all of it is as it was measured, and evaluations are complete."""
    whole = [(step, loss, val) for step, loss, val in curve(20_000) if first <= step <= last]
    rows = ask(long, points=points, **{"from": first, "to": last}).json()["data"]
    assert [(r["step"], r["val_loss"]) for r in rows if r["loss"] is None] == [(step, val) for step, loss, val in whole if loss is None]
    train, kept = [(step, loss) for step, loss, _ in whole if loss is not None], [(r["step"], r["loss"]) for r in rows if r["loss"] is not None]
    assert set(kept) <= set(train) and kept == sorted(kept) and kept[-1] == train[-1]
    buckets = max(1, points // 3)
    assert len(kept) <= 3 * (buckets + 1), "about so many points"
    assert len(kept) >= min(len(train), buckets)
    losses = [loss for _, loss in kept]
    assert min(losses) == min(loss for _, loss in train) and max(losses) == max(loss for _, loss in train)
    # Whatever stands between the rows that were answered is not beyond the extremes around it.
    steps, width = [step for step, _ in train], 2 * len(whole) / buckets
    for i, (step, loss) in enumerate(train):
        low, high = bisect.bisect_left(steps, step - width), bisect.bisect_right(steps, step + width)
        near = [v for s, v in kept if steps[low] <= s <= steps[high - 1]]
        assert i % 7 or min(near) <= loss <= max(near), (step, loss)


@pytest.mark.parametrize("points,first,last", [(300, 9_000, 9_999), (600, 777, 2_999), (4, 100, 111)])
def test_short_buckets_are_exact(long, points, first, last):
    whole = [(step, loss, val) for step, loss, val in curve(20_000) if first <= step <= last]
    wide = -(-len(whole) // (points // 3))
    kept = set()
    for at in range(0, len(whole), wide):
        own = [(step, loss) for step, loss, _ in whole[at:at + wide] if loss is not None]
        kept |= {min(own, key=lambda r: r[1]), max(own, key=lambda r: r[1]), own[-1]}
    rows = ask(long, points=points, **{"from": first, "to": last}).json()["data"]
    assert [(r["step"], r["loss"]) for r in rows if r["loss"] is not None] == sorted(kept)


def test_ranges_in_pages_and_csv(long):
    rows = ask(long, **{"from": 100, "to": 120}).json()
    assert [r["step"] for r in rows["data"]] == list(range(100, 121)) and rows["next"] is None
    page = ask(long, limit=5, **{"from": 100, "to": 120}).json()
    assert [r["step"] for r in page["data"]] == [100, 101, 102, 103, 104] and page["next"] == page["data"][-1]["seq"]
    rest = ask(long, after=page["next"], **{"from": 100, "to": 120}).json()
    assert page["data"] + rest["data"] == rows["data"]
    assert [int(line.split(",")[0]) for line in ask(long, format="csv", **{"from": 1998, "to": 2001}).text.splitlines()[1:]] == [1998, 1999, 2000, 2001]
    assert ask(long, **{"from": 20_001}).json()["data"] == [] == ask(long, points=10, **{"from": 30_000, "to": 40_000}).json()["data"]
    assert [r["loss"] for r in ask(long, to=0).json()["data"]] == [None]


@pytest.mark.parametrize("query,field", [({"from": 9, "to": 8}, "from"), ({"from": -1}, "from"), ({"to": "x"}, "to"), ({"to": ""}, "to"), ({"from": 10**30}, "from"), ({"points": 3}, "points")])
def test_bad_ranges_are_refused(long, query, field):
    reply = ask(long, **query)
    error = reply.json()["error"]
    assert reply.status_code == 400 and error["field"] == field and (error["hint"] or "whole number" in error["message"]), error
