import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from daemon import Daemon  # noqa: E402


@pytest.fixture
def start(tmp_path):
    """Starts daemons; all of them have ended, without a sanitizer's complaint, when the test has."""
    running = []

    def begin(*options, fake=True, state=None):
        daemon = Daemon(state or tmp_path / f"d{len(running)}" / "state", *options, fake=fake)
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
