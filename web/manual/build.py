"""Makes the manual's HTML (run by the build): build.py CMARK TABLES.json OUT_FOLDER PAGE.md...

Each page is CommonMark with tables. A paragraph {{settings}}, {{hyperparameters}}, {{commands}} or {{client}} becomes that table of the program;
links between pages are written as other.md#section and become /manual/other#section. A link that leads nowhere fails the build.
"""
import html
import json
import pathlib
import re
import subprocess
import sys

HEADING = re.compile(r"<h([1-4])>(.*?)</h\1>", re.S)
LINK = re.compile(r'href="([\w-]+)\.md(#[^"]*)?"')


def cell(text):
    return str(text).replace("|", "\\|")


def number(value):
    return f"{value:g}" if abs(value) < 1e5 else f"{value:,.0f}"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell(c) for c in line) + " |" for line in lines)


def hyperparameters(tables):
    rows = []
    for hp in tables["hyperparameters"]:
        values = f"{number(hp['min'])} to {number(hp['max'])}" if "min" in hp else ", ".join(f"`{v}`" for v in hp.get("values", [])) or \
            {"boolean": "true, false"}.get(hp["type"], "`all-linear` or a list of module names")
        values += {"auto": " or `auto`", "null": " or null"}.get(hp["type"].split("|")[-1], "")
        default = hp["default"] if isinstance(hp["default"], str) else json.dumps(hp["default"])
        rows.append([f"`{hp['name']}`", hp["help"], f"`{default}`", values])
    return table(["name", "what it is", "default", "values"], rows)


def settings(tables):
    rows = []
    for s in tables["settings"]:
        default = "found at start" if s["default"] is None else f"`{s['default']}`" if s["default"] else "none"
        kind = s["type"] if "min" not in s or s["type"] == "size" else f"{s['min']} to {s['max']}"
        rows.append([f"`{s['name']}`", s["help"], default, kind])
    return table(["setting", "what it is", "default", "value"], rows)


def client(tables):
    return table(["command", "what it does"], [[f"`honed {c['synopsis']}`", f"{c['what']}: `{c['example']}`"] for c in tables["client"]])


def client_options(tables):
    return table(["option", "meaning"], [[f"`--{o['name']}{' ' + o['value'] if o['value'] else ''}`", o["help"]] for o in tables["client_options"]
                                         if o["common"]])


def commands(tables):
    return table(["command", "what it does"], [[f"`honed {c['synopsis']}`", c["what"]] for c in tables["commands"] if c["what"]])


def slug(text):
    """As GitHub makes it, so that links work there as well."""
    plain = html.unescape(re.sub(r"<[^>]+>", "", text)).lower()
    return re.sub(r" ", "-", re.sub(r"[^\w\- ]", "", plain))


def render(cmark, text):
    body = subprocess.run([cmark, "-e", "table"], input=text.encode(), stdout=subprocess.PIPE, check=True).stdout.decode()
    return HEADING.sub(lambda m: f'<h{m[1]} id="{slug(m[2])}">{m[2]}</h{m[1]}>', body)


def address(name):
    return "/manual/" if name == "index" else f"/manual/{name}"


def check_links(name, body, anchors):
    for page, anchor in LINK.findall(body):
        if page not in anchors or (anchor and anchor[1:] not in anchors[page]):
            sys.exit(f"{name}.md: the link {page}.md{anchor} leads nowhere")
    for anchor in re.findall(r'href="#([^"]*)"', body):
        if anchor not in anchors[name]:
            sys.exit(f"{name}.md: the link #{anchor} leads nowhere")


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · Hone manual</title>
<link rel="icon" href="/web/icon.svg">
<link rel="stylesheet" href="/web/style.css">
</head>
<body>
<a class="skip" href="#main">Skip to content</a>
<header>
  <a class="brand" href="/"><img src="/web/icon.svg" alt="" width="22" height="22"> Hone</a>
  <nav aria-label="Dashboard"><a href="/">Dashboard</a> <a href="/manual/" aria-current="true">Manual</a></nav>
</header>
<div class="manual">
<nav aria-label="Manual">
{nav}
</nav>
<main id="main" tabindex="-1">
{body}</main>
</div>
</body>
</html>
"""


def main():
    cmark, tables, out, *paths = sys.argv[1:]
    tables = json.loads(pathlib.Path(tables).read_text(encoding="utf-8"))
    made = {"{{client}}": client, "{{client_options}}": client_options, "{{hyperparameters}}": hyperparameters, "{{settings}}": settings, "{{commands}}": commands}
    bodies = {}
    for path in map(pathlib.Path, paths):
        text = path.read_text(encoding="utf-8")
        for mark, make in made.items():
            text = text.replace(mark, make(tables)) if mark in text else text
        bodies[path.stem] = render(cmark, text)
    anchors = {name: set(re.findall(r'id="([^"]*)"', body)) for name, body in bodies.items()}
    titles = {name: HEADING.sub(r"\2", re.search(r"<h1[^>]*>(.*?)</h1>", body, re.S)[1]) for name, body in bodies.items()}
    for name, body in bodies.items():
        check_links(name, body, anchors)
        body = LINK.sub(lambda m: f'href="{address(m[1])}{m[2] or ""}"', body)
        here = ' aria-current="page"'
        nav = "\n".join(f'<a href="{address(n)}"{here if n == name else ""}>{t}</a>' for n, t in titles.items())
        page = PAGE.format(title=re.sub(r"<[^>]+>", "", titles[name]), nav=nav, body=body)
        (pathlib.Path(out) / f"{name}.html").write_text(page, encoding="utf-8")


main()
