"""Curves: rows of a range, thinned exactly, and what the page draws of them."""
import bisect

import pytest
from browser import CHROMIUM
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
    assert reply.status_code == 400 and error["field"] == field and error["hint"], error


def drag(browser, left, right):
    """Over the loss, between two shares of its width."""
    box = browser.run("(() => { const b = document.querySelector('.curve').getBoundingClientRect(); scrollTo(0, scrollY + b.top - 100); const c = document.querySelector('.curve').getBoundingClientRect(); return [c.left + 60, c.top + 100, c.width - 75]; })()")
    x, y, width = box
    for kind, at in (("mousePressed", left), ("mouseMoved", (left + right) / 2), ("mouseMoved", right), ("mouseReleased", right)):
        browser.call("Input.dispatchMouseEvent", type=kind, x=x + at * width, y=y, button="left", buttons=0 if kind == "mouseReleased" else 1, clickCount=1)


@pytest.mark.skipif(not CHROMIUM, reason="needs chromium")
def test_zooming_in_sees_every_row(long, browser):
    browser.open(f"{long.url}/#/jobs/{long.id}")
    note = "(document.querySelector('#curves > div > p')?.innerText ?? '')"
    browser.wait(f"{note}.includes('of 20,011 rows drawn') && document.querySelectorAll('#curves .panel').length === 4")
    titles = browser.run("[...document.querySelectorAll('#curves figcaption')].map((e) => e.innerText)")
    assert titles == ["loss", "learning rate", "gradient norm", "tokens a second"]
    assert browser.run("document.querySelector('.marker.best').title").startswith("best")
    assert browser.run("document.querySelector('.curve').getAttribute('aria-label')").startswith("loss by step; training loss ")
    drag(browser, 0.5, 0.55)
    browser.wait(f"{note}.includes('every row drawn')")
    asked = browser.run("performance.getEntriesByType('resource').map((e) => e.name).filter((n) => n.includes('from='))")
    assert len(asked) == 1 and "points=1500&from=" in asked[0], asked
    # The pointer tells the step and its values; in all panels.
    box = browser.run("(() => { const c = document.querySelector('.curve').getBoundingClientRect(); return [c.left + c.width / 2, c.top + 100]; })()")
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])
    told = browser.wait("(document.querySelector('.legend').innerText.match(/step ([\\d,]+)[^]*training loss ([\\d.]+)/) ?? []).slice(1)")
    losses = {step: loss for step, loss, _ in curve(20_000) if loss is not None}
    assert 9_500 < int(told[0].replace(",", "")) < 11_500 and float(told[1]) == pytest.approx(losses[int(told[0].replace(",", ""))], abs=1e-3)
    assert browser.run("document.querySelectorAll('.legend')[1].innerText").startswith(f"step {told[0]}")
    # All of it again; other axes; smoothing and a logarithmic scale change the picture.
    browser.run("[...document.querySelectorAll('#curves button')].find((b) => b.innerText === 'Whole run').click()")
    browser.wait(f"{note}.includes('of 20,011 rows drawn')")
    picture = "document.querySelector('.curve canvas').toDataURL()"
    before = browser.run(picture)
    for change in ("e = document.querySelector('#curves input[type=range]'), e.value = 0.9, e.dispatchEvent(new Event('input'))", "document.querySelector('#curves input[type=checkbox]').click()"):
        browser.run(f"(() => {{ let e; {change}; }})()")
        browser.wait(f"{picture} !== {before!r}")
        before = browser.run(picture)
    for axis, told in (("epoch", "1.5"), ("tokens", "1,000,000"), ("time", ":")):
        browser.run(f"(() => {{ const e = document.querySelector('#curves select'); e.value = '{axis}'; e.dispatchEvent(new Event('change')); }})()")
        browser.wait(f"document.querySelectorAll('#curves .panel').length === 4 && [...document.querySelectorAll('.curve .dygraph-axis-label-x')].some((e) => e.innerText.includes('{told}'))")
    assert browser.run("getComputedStyle(document.querySelector('.curve .dygraph-axis-label')).color") == browser.run("getComputedStyle(document.querySelector('.soft')).color")
    licence = long.get("/web/dygraphs-licence.txt")
    assert "Dan Vanderkam" in licence.text and licence.headers["Content-Type"].startswith("text/plain")
    assert not browser.complaints, browser.complaints


@pytest.mark.skipif(not CHROMIUM, reason="needs chromium")
def test_a_run_is_drawn_up_to_its_planned_end(daemon, browser):
    """And grows by what is told, without asking for its rows again."""
    job = daemon.job({"steps": 4000, "step_seconds": 0.02})
    daemon.wait_step(job, 5)
    browser.open(f"{daemon.url}/#/jobs/{job}")
    browser.wait("[...document.querySelectorAll('.curve .dygraph-axis-label-x')].some((e) => e.innerText === '3,500')")
    step = "Number(document.querySelector('.curve').getAttribute('aria-label').match(/training loss [^;]* at step (\\d+)/)?.[1] ?? 0)"
    first = browser.wait(step)
    browser.wait(f"{step} >= {first + 50}")
    assert browser.run("performance.getEntriesByType('resource').filter((e) => e.name.includes('/metrics?')).length") == 1
    daemon.post(f"/jobs/{job}/cancel")
    daemon.wait(job, "cancelled")
    assert not browser.complaints, browser.complaints
