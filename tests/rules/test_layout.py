"""The layout's law: who may include whom, one door for each dependency, headers that compile alone, names, no vendored files."""
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
SOURCES = [f for f in FILES if f.endswith((".c", ".h")) and f.split("/")[0] in ("engine", "server", "api")]
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
    narrow = {"engine/engine.h", "engine/hyperparams.def", "engine/errors.def"}
    files = [f for f in SOURCES if f.startswith(("server/", "api/"))]
    assert offenders(files, lambda f, i: i.startswith("engine/") and i not in narrow) == []


@pytest.mark.parametrize("header,doors", [
    ("cblas.h", r"engine/kernels/blas\.c"),
    ("sqlite3.h", r"server/store/store\w*\.[ch]"),
    ("microhttpd.h", r"server/http/http\w*\.[ch]"),
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
