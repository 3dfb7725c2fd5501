"""The manual as it is served: every page, every link and anchor, what its tables must have, and the man pages."""
import html.parser
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HONE_BUILD", ROOT / "build-test"))
PAGES = sorted(path.stem for path in (ROOT / "web/manual").glob("*.md"))


def address(page):
    return "/manual/" if page == "index" else f"/manual/{page}"


class Page(html.parser.HTMLParser):
    """Links, anchors, cells in `code` and whatever would load something."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors, self.loads, self.first_cells = [], set(), [], set()
        self.cell, self.row_begins = None, False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        assert not any(name.startswith("on") or name == "style" for name in attrs), (tag, attrs)
        assert tag not in ("script", "style", "iframe", "object", "form"), tag
        if tag == "a":
            self.links.append(attrs["href"])
        if "id" in attrs:
            assert attrs["id"] not in self.anchors, attrs["id"]
            self.anchors.add(attrs["id"])
        self.loads += [attrs[name] for name in ("src", "href") if name in attrs and tag != "a"]
        if tag in ("tr", "td"):
            self.cell, self.row_begins = ("" if tag == "td" and self.row_begins else None), tag == "tr"

    def handle_endtag(self, tag):
        if tag == "td" and self.cell is not None:
            self.first_cells.add(self.cell)
            self.cell = None

    def handle_data(self, data):
        self.cell = self.cell + data if self.cell is not None else None


@pytest.fixture
def manual(daemon):
    found = {}
    for page in PAGES:
        reply = daemon.get(address(page))
        assert (reply.status_code, reply.headers["Content-Type"]) == (200, "text/html; charset=utf-8"), page
        assert "script-src 'self'" in reply.headers["Content-Security-Policy"]
        found[address(page)] = Page(reply.text)
    return found


def tables():
    return json.loads((BUILD / "web/tables.json").read_text())


def test_pages_and_links(daemon, manual):
    assert len(manual) == len(PAGES) > 10
    anchors = {path: page.anchors for path, page in manual.items()}
    for path, page in manual.items():
        for link in page.links:
            target, _, anchor = link.partition("#")
            if target in ("", *anchors):
                assert not anchor or anchor in anchors[target or path], (path, link)
            else:
                assert target.startswith("/") and daemon.get(target).status_code == 200, (path, link)
        assert set(anchors) <= set(page.links), path  # the navigation has all pages
        for load in page.loads:
            assert load.startswith("/web/") and daemon.get(load).status_code == 200, (path, load)


def test_addresses(daemon):
    assert daemon.get("/manual").text == daemon.get("/manual/").text
    assert 'href="/manual/"' in daemon.get("/").text
    for wrong in ("/manual/nothing", "/manual/data.html", "/manual/dat"):
        reply = daemon.get(wrong)
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")
        assert "/manual/" in reply.json()["error"]["hint"]
    spec = daemon.get("/openapi.json").json()["paths"]
    assert spec["/manual/{page}"]["get"]["x-scope"] == "open" and "/manual/" in spec


def test_hints_name_pages_that_exist(daemon, manual):
    named = 0
    for path in [p for folder in ("engine", "server", "api") for p in (ROOT / folder).rglob("*.c")]:
        for text in re.findall(r'/manual/([a-z]*)(#[a-z-]+)?', path.read_text()):
            page = manual.get("/manual/" + text[0])
            assert page and (not text[1] or text[1][1:] in page.anchors), (path, text)
            named += 1
    assert named >= 5


def test_a_hint_that_names_a_page(start):
    refused = start(fake=False).post("/datasets?format=docx", data=b"a").json()["error"]
    assert refused["code"] == "invalid_field" and refused["hint"].endswith("see /manual/data")


def test_nothing_is_missing(manual):
    for page, table in (("hyperparameters", "hyperparameters"), ("settings", "settings")):
        names = {row["name"] for row in tables()[table]}
        assert len(names) > 20 and names <= manual[f"/manual/{page}"].first_cells
    commands = {f"honed {row['synopsis']}" for row in tables()["commands"] if row["what"]}
    assert commands <= manual["/manual/settings"].first_cells
    commands = {f"honed {row['synopsis']}" for row in tables()["client"]}
    assert len(commands) > 5 and commands <= manual["/manual/commands"].first_cells


def test_errors_are_all_explained(manual):
    """Each code has a row; those of answers with their status, as api/reply.c has it."""
    statuses = dict(re.findall(r"\[HN_KIND_(\w+)\] = (\d+)", (ROOT / "api/reply.c").read_text()))
    text = (ROOT / "web/manual/errors.md").read_text()
    answers, reasons = text.split("## Reasons of failed jobs")[0], text.split("## Reasons of failed jobs")[1].split("## ")[0]
    rows = [row["code"] for row in tables()["errors"]]
    assert len(rows) > 20 and set(rows) <= manual["/manual/errors"].first_cells
    for error in tables()["errors"]:
        if f"| `{error['code']}` |" in reasons and error["kind"] == "INTERNAL":
            continue
        assert f"| `{error['code']}` | {statuses[error['kind']]} |" in answers, error


def test_metrics_are_all_defined():
    """Every name that metric_for_best takes stands in the page of metrics."""
    names = next(row["values"] for row in tables()["hyperparameters"] if row["name"] == "metric_for_best")
    defined = set(re.findall(r"`(val_\w+)`", "\n".join(
        line.split("|")[1] for line in (ROOT / "web/manual/metrics.md").read_text().splitlines() if line.startswith("|"))))
    assert set(names) - {"auto"} == defined - {"val_kl"}  # which bounds a run, but is no measure of how good it is


def test_fields_of_a_job_are_all_named(daemon):
    """The table in the tour of the API against JobRequest of /openapi.json."""
    fields = daemon.get("/openapi.json").json()["components"]["schemas"]["JobRequest"]["properties"]
    rows = (ROOT / "web/manual/api.md").read_text().split("| field of a job |")[1].split("\n\n")[0].splitlines()[2:]
    assert sorted(fields) == sorted(name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1]))


def test_example_settings():
    """The example names every setting once, commented out, with the standard value where there is one."""
    found = re.findall(r"^#(\w+) = (.*)$", (ROOT / "deploy/honed.conf.example").read_text(), re.M)
    settings = {row["name"]: row["default"] for row in tables()["settings"]}
    assert sorted(name for name, _ in found) == sorted(settings)
    assert {name: value for name, value in found if settings[name]} == {name: value for name, value in settings.items() if value}


def test_named_tests_exist():
    """Files of tests that the manual and CONTRIBUTING.md name."""
    existing = {path.name for path in (ROOT / "tests").rglob("test_*")}
    for path in [*(ROOT / "web/manual").glob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "README.md"]:
        named = set(re.findall(r"\btest_\w+\.(?:py|c)\b", path.read_text()))
        assert named <= existing, path
    told = (ROOT / "web/manual/code.md").read_text()
    assert [name for name in sorted(existing) if (ROOT / "tests/e2e" / name).exists() and name not in told] == []


def test_named_files_exist():
    """Files and folders of the source that the manual and CONTRIBUTING.md name."""
    for path in [*(ROOT / "web/manual").glob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "README.md"]:
        named = re.findall(r"(?<![\w/.])(?:engine|server|api|web|tests|bench|deploy|migrations)/[\w/.-]*\b/?(?![*\w])", path.read_text())
        missing = [name for name in named if "NAME" not in name and not (ROOT / name.rstrip(".")).exists()]
        assert missing == [], path


def test_links_of_files_in_the_repository():
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "web/manual").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
            assert link.startswith("https://") or (path.parent / link).exists(), (path, link)


@pytest.mark.parametrize("page", ["honed.1", "honed.conf.5"])
def test_man_pages(page):
    path = BUILD / "deploy" / page
    if page == "honed.conf.5":
        text = path.read_text().replace("\\", "")
        assert all(re.search(rf'^\.BR {row["name"]} ', text, re.M) for row in tables()["settings"])
    linters = [["man", "--warnings", "-l", str(path)], ["groff", "-man", "-ww", "-Tascii", str(path)], ["mandoc", "-Tlint", "-Wwarning", str(path)]]
    present = [command for command in linters if shutil.which(command[0])]
    if not present:
        pytest.skip("needs man, groff or mandoc")
    for command in present:
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"MANPAGER": "cat", "LC_ALL": "C.UTF-8"})
        warned = done.stderr + (done.stdout if command[0] == "mandoc" else "")
        assert done.returncode == 0 and not warned.strip(), (command, warned)
