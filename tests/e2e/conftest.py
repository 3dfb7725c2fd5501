import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import tiny  # noqa: E402
from browser import Browser  # noqa: E402
from daemon import Daemon  # noqa: E402


@pytest.fixture
def start(tmp_path):
    """Starts daemons; all of them have ended, without a sanitizer's complaint, when the test has."""
    running = []

    def begin(*options, fake=True, state=None, **how):
        daemon = Daemon(state or tmp_path / f"d{len(running)}" / "state", *options, fake=fake, **how)
        running.append(daemon)
        return daemon

    yield begin
    for daemon in running:
        daemon.stop()
        for file in (daemon.log, *daemon.state.glob("runs/*/trainer.log")):
            log = file.read_text(errors="replace")
            assert "Sanitizer" not in log and "runtime error" not in log, log[-6000:]
            refused = [line for line in log.splitlines() if "confined: system call" in line]
            assert not refused or "escape" in log, refused[:20]  # what the work needs is on the list


@pytest.fixture
def daemon(start):
    found = start()
    found.model()
    return found


@pytest.fixture
def with_models(start, tmp_path):
    """Starts a daemon with the engine itself that has tiny real models, named as those who make them in tiny.py."""
    def begin(*names, options=()):
        for name in names:
            getattr(tiny, name)(tmp_path / "models" / name)
        found = start("--model_dirs", str(tmp_path / "models"), *options, fake=False)
        for name in names:
            assert found.post("/models", json={"name": name, "path": str(tmp_path / "models" / name)}).status_code == 201
        return found
    return begin


@pytest.fixture
def browser(tmp_path):
    found = Browser(tmp_path / "browser")
    yield found
    found.close()


def make_certificate(folder, name="localhost"):
    """Paths of a certificate and its key."""
    cert, key = str(folder / f"{name}-cert.pem"), str(folder / f"{name}-key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                    f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def certificate(tmp_path):
    return make_certificate(tmp_path)
