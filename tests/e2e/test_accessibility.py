"""Every view of the dashboard and the manual by axe-core, in light and dark, wide and narrow; and how much the first page takes over the wire."""
import importlib.util
import json
import pathlib

import pytest
from browser import CHROMIUM
from test_sweeps import begin, job, reviews, upload, wait

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs chromium")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# view: its address, and what is there when all of it is
VIEWS = {
    "jobs": ("#/", "document.querySelectorAll('tbody tr').length > 1"),
    "no such job": ("#/?q=nothing", "document.querySelector('main')?.innerText.includes('No such jobs')"),
    "start": ("#/start", "document.querySelectorAll('.step.done').length > 1"),
    "upload": ("#/upload", "document.querySelector('.drop') !== null"),
    "new job": ("#/new?dataset={data}", "document.querySelector('#cost') !== null"),
    "data": ("#/data", "document.querySelector('tbody') !== null"),
    "report": ("#/data/{data}", "document.querySelectorAll('#report table').length > 1"),
    "job": ("#/jobs/{job}", "document.querySelectorAll('#curves canvas').length > 4 && document.querySelector('#headline') !== null"),
    "sweeps": ("#/sweeps", "document.querySelector('tbody') !== null"),
    "sweep": ("#/sweeps/{sweep}", "document.querySelector('.parallel') !== null"),
    "comparison": ("#/compare?jobs={job},{other}", "document.querySelectorAll('#curves canvas').length > 4 && document.querySelector('#paired li') !== null"),
    "an error": ("#/jobs/job_0000000000000000", "document.querySelector('[role=alert]') !== null"),
    "manual": ("manual/", "document.querySelector('main h1') !== null"),
    "manual, a page": ("manual/api", "document.querySelector('main table') !== null"),
}


@pytest.fixture
def served(with_models):
    return with_models("bert")


def look(browser, width, dark):
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=1200, deviceScaleFactor=1, mobile=width < 600)
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])


def test_every_view(served, browser):
    axe = pytest.importorskip("axe_playwright_python", reason="needs axe-playwright-python, which tests/run.sh installs")
    source = (pathlib.Path(importlib.util.find_spec(axe.__name__).submodule_search_locations[0]) / "axe.min.js").read_text()
    body = job(served)
    ids = [served.wait(served.post("/jobs", json=body | {"name": name}).json()["id"])["id"] for name in ("one", "two")]
    sweep = wait(served, begin(served, kind="random", job=body, space={"learning_rate": {"min": 1e-5, "max": 1e-2, "log": True}}, budget={"jobs": 6}))
    assert sweep["status"] == "succeeded"
    names = {"data": upload(served, reviews(80)), "job": ids[0], "other": ids[1], "sweep": sweep["id"]}
    bad = []
    for view, (address, ready) in VIEWS.items():
        for width, dark in ((1280, False), (1280, True), (390, False)):
            look(browser, width, dark)
            browser.open("about:blank")
            browser.open(f"{served.url}/{address.format(**names)}")
            browser.wait(ready)
            browser.run(source + "; 0")
            told = browser.run(f"axe.run(document, {json.dumps({'runOnly': RULES, 'resultTypes': ['violations']})}).then((r) => r.violations.map((v) => [v.id, v.help, v.nodes.slice(0, 4).map((n) => n.html.slice(0, 160) + ' ' + n.failureSummary)]))")
            bad += [(view, width, "dark" if dark else "light", *one) for one in told]
            over = browser.run("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            if over > 0:
                bad.append((view, width, "wider than the window by", over))
    assert not bad, "\n".join(map(str, bad))
    assert browser.run("axe.version")


def test_the_first_page_is_small(served, browser):
    browser.open(served.url)
    browser.wait("document.querySelector('h1') !== null && document.getElementById('health').innerText.startsWith('version')")
    sent = browser.run("[performance.getEntriesByType('navigation')[0], ...performance.getEntriesByType('resource').filter((e) => e.name.includes('/web/'))].map((e) => [e.name, e.transferSize])")
    assert len(sent) > 20 and sum(size for _, size in sent) < 200_000, sorted(sent, key=lambda one: -one[1])
    assert not [name for name, _ in sent if "dygraph" in name]  # comes with the first curve
