"""The layout's law: who may include whom, one door for each dependency, headers that compile alone, names, no vendored files."""
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
SOURCES = [f for f in FILES if f.endswith((".c", ".h")) and f.split("/")[0] in ("engine", "server", "api")]
CODE = {f for f in FILES if f.endswith((".c", ".h", ".def")) and f.split("/")[0] in ("engine", "server", "api")}
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.M)


def includes(path):
    return INCLUDE.findall((ROOT / path).read_text())


def offenders(files, wrong):
    return [f"{f}: {i}" for f in files for i in includes(f) if wrong(f, i)]


def test_engine_stands_alone():
    banned = ("server/", "api/", "microhttpd.h", "sqlite3.h", "uv.h")
    assert offenders([f for f in SOURCES if f.startswith("engine/")], lambda f, i: i.startswith(banned)) == []


def test_server_does_not_include_api():
    allowed = ("server/main.c", "server/serve.c")
    assert offenders([f for f in SOURCES if f.startswith("server/") and f not in allowed], lambda f, i: i.startswith("api/")) == []


def test_outside_sees_the_narrow_engine():
    narrow = {"engine/engine.h", "engine/hyperparams.def", "engine/errors.def"} | {f for f in SOURCES if re.fullmatch(r"engine/tune/\w+\.h", f)}
    files = [f for f in SOURCES if f.startswith(("server/", "api/"))]
    assert offenders(files, lambda f, i: i.startswith("engine/") and i not in narrow) == []


FACE = re.compile(r"\A/\*\n \* Room ([\w./]+)\.(.*?)\*/", re.S)


def room(path):
    """The folder of a file; tables of the engine's root and the two headers that hold everything together count apart."""
    if path in ("engine/errors.def", "engine/hyperparams.def", "engine/job_request.def", "engine/objective.def", "engine/limits.h"):
        return "engine/tables"
    if path.startswith(("engine/hyperparams.", "engine/job_request.")):
        return "engine/hyperparams"
    return path if path == "server/server.h" else str(pathlib.PurePath(path).parent)


def faces():
    """Room → the rooms that it may include, as its main header's first comment says."""
    found = {}
    for f in SOURCES:
        if m := FACE.match((ROOT / f).read_text()):
            may = re.search(r"May include: ([^.]*(?:\.h[^.]*)*)\.", m[2].replace("\n *", ""))
            assert room(f) == m[1] and m[1] not in found and may, f
            found[m[1]] = set(may[1].split())
    return found


def test_rooms_include_what_their_face_allows():
    allowed = faces() | {"engine/tables": set()}
    assert {room(f) for f in CODE} == set(allowed), "each folder has one main header that begins with \"Room …\""
    used = {r: set() for r in allowed}
    for f in CODE:
        for i in includes(f):
            if i in CODE and room(i) != room(f):
                used[room(f)].add(room(i))
    assert used == allowed


def circles(nodes, arrows):
    """Nodes that lie on a circle: what is left when all without arrows were taken away, again and again."""
    left = {n: set(arrows(n)) - {n} for n in nodes}
    while free := [n for n in left if not left[n] & left.keys()]:
        for n in free:
            del left[n]
    return sorted(left)


def test_rooms_lie_on_floors():
    allowed = faces()
    assert circles(allowed, lambda r: allowed[r]) == []


def unit(path):
    """A source, its header and the header that its parts share are one."""
    folder, name = path.rsplit("/", 1)
    stem = name.split(".")[0].removesuffix("_internal")
    return f"{folder}/{pathlib.PurePath(folder).name if stem == 'internal' else stem}"


def test_no_circle_of_files():
    arrows = {}
    for f in CODE:
        arrows.setdefault(unit(f), set()).update(unit(i) for i in includes(f) if i in CODE)
    assert circles(arrows, lambda u: arrows[u]) == []


def test_one_name_one_meaning():
    """Types, macros and guards that a header introduces are introduced once; guards are made of the path."""
    where, bad = {}, []
    for f in [f for f in SOURCES if f.endswith(".h")]:
        text = (ROOT / f).read_text()
        guard = re.search(r"^#ifndef (\w+)$", text, re.M)
        if not guard or guard[1] != "HN_" + re.sub(r"\W", "_", f).upper():
            bad.append(f"{f}: guard")
        for name in re.findall(r"^(?:struct|enum|union) (\w+) \{", text, re.M) + re.findall(r"^#define (\w+)", text, re.M):
            if where.setdefault(name, f) != f:
                bad.append(f"{name}: {where[name]} and {f}")
    tags = {n: f for n, f in where.items() if n.startswith("hn_")}
    bad += [f"{n}: {tags[n]} and {f}" for f in SOURCES if f.endswith(".c")
            for n in re.findall(r"^(?:struct|enum|union) (\w+) \{", (ROOT / f).read_text(), re.M) if tags.get(n, f) != f and
            not (ROOT / tags[n]).read_text().count(f"struct {n};")]
    assert bad == []


def test_format():
    """clang-format, and 100 columns also in comments, which it leaves alone."""
    files = [f for f in FILES if f.endswith((".c", ".h"))]
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", *files], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]
    assert [f"{f}:{n}" for f in files for n, line in enumerate((ROOT / f).read_text().splitlines(), 1) if len(line) > 100] == []


@pytest.mark.parametrize("header,doors", [
    ("cblas.h", r"engine/kernels/blas\.c"),
    ("sqlite3.h", r"server/store/store\w*\.[ch]"),
    ("microhttpd.h", r"server/http/http\w*\.[ch]"),
    ("curl/curl.h", r"server/client/transfer\.c"),
    ("uv.h", r"server/(base/loop|http/http\w*)\.[ch]"),
    ("archive.h", r"engine/data/unpack\.c"),
    ("zlib.h", r"engine/data/unpack\.c"),
])
def test_one_door(header, doors):
    assert offenders(SOURCES, lambda f, i: i == header and not re.fullmatch(doors, f)) == []


def test_headers_compile_alone(tmp_path):
    flags = subprocess.run(["pkg-config", "--cflags", "jansson", "libmicrohttpd", "libuv"], capture_output=True, text=True).stdout.split()
    bad = []
    for header in [f for f in SOURCES if f.endswith(".h")]:
        source = tmp_path / "one.c"
        source.write_text(f'#include "{header}"\n#include "{header}"\n')
        done = subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{ROOT}", *flags,
                               str(source)], capture_output=True, text=True)
        if done.returncode:
            bad.append(header + "\n" + done.stderr)
    assert bad == []


def test_top_level_is_fixed():
    allowed = {"meson.build", "meson_options.txt", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "engine", "server", "api", "migrations", "web", "tests", "deploy", "bench"}
    assert [f for f in {x.split("/")[0] for x in FILES} if not f.startswith(".") and f not in allowed] == []


def test_nothing_is_vendored_and_nothing_is_large():
    assert [f for f in FILES if re.search(r"\.min\.(js|css)$|(^|/)(vendor|third_party|node_modules)/", f)] == []
    assert [f for f in FILES if (ROOT / f).stat().st_size > 1_000_000] == []


def test_banned_functions():
    """Functions that cannot be used safely; and exit(), which a library must not call."""
    banned = re.compile(r"\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|system|popen|tmpnam|alloca)\s*\(")
    allowed = {"engine/hyperparams.c", "engine/base/file.c"}  # fixed-size texts of our own
    bad = [f"{f}: {m.group(1)}" for f in SOURCES if f not in allowed for m in banned.finditer((ROOT / f).read_text())]
    assert bad == []


def test_every_crossing_name_has_the_prefix():
    """Functions that a header declares are named hn_…"""
    bad = []
    for f in SOURCES:
        if not f.endswith(".h"):
            continue
        for m in re.finditer(r"^[a-z][\w\s\*]*?\b(\w+)\([^;{]*\)(?:\s*__attribute__.*)?;", (ROOT / f).read_text(), re.M):
            if not m.group(1).startswith("hn_") and "static" not in m.group(0) and m.group(1) != "__attribute__":
                bad.append(f"{f}: {m.group(1)}")
    assert bad == []


def test_long_objects_name_each_value():
    """json_pack of more than six pairs puts names far from their values: HN_JSON_OBJECT keeps them together."""
    bad = []
    for f in SOURCES:
        for m in re.finditer(r'json_pack\(\s*((?:"[^"]*"\s*)+)', (ROOT / f).read_text()):
            form = "".join(re.findall(r'"([^"]*)"', m[1]))
            if form.count("s:") > 6 and form.count("{") == 1:
                bad.append(f"{f}: {form}")
    assert bad == []
