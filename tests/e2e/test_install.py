"""`meson install` into a folder of its own: what lies where, and that the installed binary runs."""
import os
import pathlib
import re
import shutil
import subprocess

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
                     "usr/local/share/doc/hone/prometheus-rules.yml",
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
