"""`meson install` into a folder of its own: what lies where, and that the installed binary runs."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HONE_BUILD", ROOT / "build-test"))
pytestmark = pytest.mark.skipif(not shutil.which("meson"), reason="needs meson")


def test_install(tmp_path):
    done = subprocess.run(["meson", "install", "-C", str(BUILD), "--no-rebuild"], env=os.environ | {"DESTDIR": str(tmp_path)},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"usr/local/bin/honed", "usr/local/share/man/man1/honed.1", "usr/local/share/man/man5/honed.conf.5",
                     "usr/local/lib/systemd/system/honed.service", "usr/local/share/doc/hone/honed.conf.example", "usr/local/share/doc/hone/hone.py",
                     "usr/local/share/doc/hone/prometheus-rules.yml", "usr/local/share/doc/hone/grafana-dashboard.json",
                     "usr/local/share/bash-completion/completions/honed", "usr/local/share/zsh/site-functions/_honed",
                     "usr/local/share/fish/vendor_completions.d/honed.fish"}
    binary = tmp_path / "usr/local/bin/honed"
    said = subprocess.run([str(binary), "--version"], capture_output=True, text=True)
    assert said.returncode == 0 and re.fullmatch(r"honed \d+\.\d+\.\d+ \(.+\)\n", said.stdout), said
    unit = (tmp_path / "usr/local/lib/systemd/system/honed.service").read_text()
    assert "ExecStart=/usr/local/bin/honed serve --config /etc/honed.conf\n" in unit and "@" not in unit.split("[Service]")[1].split("SystemCallFilter")[0]


def test_the_installed_example_is_a_configuration(tmp_path):
    """With every line taken in; values of files that are not there are left out."""
    text = (ROOT / "deploy/honed.conf.example").read_text()
    lines = [line[1:] for line in text.splitlines() if re.match(r"#\w+ = ", line) and not re.match(r"#(state|tls_|socket)", line)]
    (tmp_path / "honed.conf").write_text("\n".join(lines) + "\n")
    done = subprocess.run([str(BUILD / "server/honed"), "doctor", "--config", str(tmp_path / "honed.conf"), "--state", str(tmp_path / "state")],
                          capture_output=True, text=True)
    assert "honed.conf, line" not in done.stderr and done.returncode in (0, 1), done


CONTAINERFILE = (ROOT / "deploy/Containerfile").read_text()


@pytest.mark.skipif(not shutil.which("dpkg"), reason="needs dpkg")
def test_the_image_has_what_the_program_needs():
    """Libraries that are linked, and those that are opened while it runs (OpenBLAS, libcurl), by the packages they come in."""
    runtime = CONTAINERFILE.split("FROM ${BASE}\n")[1]
    listed = set(re.findall(r"\S+", re.search(r"--no-install-recommends \\\n(.*?)&&", runtime, re.S)[1])) - {"\\"}
    text = subprocess.run(["readelf", "-d", str(BUILD / "server/honed")], capture_output=True, text=True, check=True).stdout
    needed = set(re.findall(r"\(NEEDED\).*\[(.+)\]", text))
    packages = set()
    for library in needed:
        found = subprocess.run(["dpkg", "-S", f"*/{library}"], capture_output=True, text=True).stdout
        packages |= {line.split(":")[0] for line in found.splitlines()}
    assert needed and packages - {"libc6", "libc6-i386", "libgcc-s1"} <= listed, packages - listed
    assert {"libopenblas0-pthread", "libcurl3-gnutls", "ca-certificates"} <= listed
    builds = set(re.findall(r"[\w.+-]+-dev\b", CONTAINERFILE))
    assert builds <= set(re.findall(r"[\w.+-]+-dev\b", (ROOT / "deploy/common.sh").read_text()))


def test_the_image_looks_whether_it_is_well(start):
    """Its health check, with the port of this server, and its settings."""
    command = json.loads(re.search(r"HEALTHCHECK .*? CMD (\[.*\])", CONTAINERFILE)[1])
    settings = re.search(r"printf '%s\\n' (.*) > /etc/honed.conf", CONTAINERFILE)[1]
    lines = dict(line.split(" = ") for line in re.findall(r"'([^']+)'", settings))
    daemon = start(*(part for name in ("require_keys", "insecure") for part in (f"--{name}", lines[name])))
    port = daemon.url.rsplit(":", 1)[1]
    assert "4663" in command[2] and lines["listen"].endswith(":4663") and lines["state"] == "/var/lib/hone"
    check = [part.replace("4663", port) for part in command]
    assert subprocess.run(check, timeout=20).returncode == 0
    daemon.stop()
    assert subprocess.run(check, timeout=20, stderr=subprocess.DEVNULL).returncode != 0


def complete(shell, script, tmp_path):
    done = subprocess.run([str(BUILD / "server/honed"), "completion", shell], capture_output=True, text=True, check=True)
    name = {"bash": "honed", "zsh": "_honed", "fish": "honed.fish"}[shell]
    (tmp_path / name).write_text(done.stdout)
    env = os.environ | {"PATH": f"{BUILD / 'server'}:{os.environ['PATH']}", "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "TERM": "dumb"}
    done = subprocess.run([shell, *script], capture_output=True, text=True, env=env, cwd=tmp_path, timeout=60)
    assert done.returncode == 0 and not done.stderr.strip(), done
    return done.stdout


def test_completion_in_bash(tmp_path):
    said = complete("bash", ["--norc", "-c", "source ./honed; COMP_WORDS=(honed subm); COMP_CWORD=1; _honed; echo ${COMPREPLY[@]}; "
                                             "COMP_WORDS=(honed submit --mod); COMP_CWORD=2; _honed; echo ${COMPREPLY[@]}"], tmp_path)
    assert said.split() == ["submit", "--model"]


def test_completion_of_jobs_in_bash(start, tmp_path, monkeypatch):
    """Ids and plain names of the server's jobs, where a job is meant; nothing, and soon, where no server answers."""
    daemon = start()
    daemon.model()
    ids = [daemon.job(extra=name, name=name) for name in ("tickets", "$(touch x)", "two words")]
    monkeypatch.setenv("HONE_SERVER", daemon.url)
    ask = "source ./honed; COMP_WORDS=(honed %s ''); COMP_CWORD=2; _honed; printf '%%s\\n' ${COMPREPLY[@]}"
    assert set(complete("bash", ["--norc", "-c", ask % "watch"], tmp_path).split()) == {*ids, "tickets"}
    assert not complete("bash", ["--norc", "-c", ask % "submit"], tmp_path).split() and not (tmp_path / "x").exists()
    daemon.stop()
    began = time.time()
    assert not complete("bash", ["--norc", "-c", ask % "watch"], tmp_path).split() and time.time() - began < 10


@pytest.mark.skipif(not shutil.which("fish"), reason="needs fish")
def test_completion_in_fish(tmp_path):
    said = complete("fish", ["--no-config", "-c", "source ./honed.fish; complete -C 'honed subm'; complete -C 'honed submit --mod'"], tmp_path)
    lines = [line.split("\t") for line in said.splitlines()]
    assert [line[0] for line in lines] == ["submit", "--model"] and all(len(line) == 2 and line[1] for line in lines), said


@pytest.mark.skipif(not shutil.which("zsh"), reason="needs zsh")
def test_completion_in_zsh(tmp_path):
    """compinit takes the file in and calls it; what it offers is what compadd is given."""
    said = complete("zsh", ["-f", "-c", """
        fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -d $PWD/dump; [[ $_comps[honed] == _honed ]] || exit 3
        _describe() { print -l -- ${(P)2} }
        _arguments() { print -l -- $@ }
        words=(honed subm); CURRENT=2; _honed
        words=(honed submit --mod); CURRENT=3; _honed"""], tmp_path)
    assert re.search(r"^submit:\w", said, re.M) and re.search(r"^\*--model\[.+\]:\w+:_files$", said, re.M), said
