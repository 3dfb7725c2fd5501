"""The API by its own openapi.json: whatever schemathesis makes up is answered with a documented status in the documented form, and
never with a server's error. HONE_EXAMPLES and HONE_SEED choose how many cases an operation gets, and which."""
import os
import pathlib
import subprocess
import sys

import pytest

SCHEMATHESIS = pathlib.Path(sys.executable).with_name("schemathesis")
CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
          "response_headers_conformance", "unsupported_method", "use_after_free")
pytestmark = pytest.mark.skipif(not SCHEMATHESIS.exists(), reason="needs schemathesis")


def test_openapi_is_kept(daemon, tmp_path):
    """Streams of events have no end and are left out; there are jobs in several states, data sets and a result to ask about."""
    daemon.wait(daemon.job(), "succeeded")
    daemon.job(fake={"steps": 100000})
    daemon.job(extra=" waits")
    (tmp_path / "config.toml").write_text("")
    found = subprocess.run([str(SCHEMATHESIS), "--config-file", str(tmp_path / "config.toml"), "run", daemon.url + "/openapi.json",
                            "--seed", os.environ.get("HONE_SEED", "1"), "-n", os.environ.get("HONE_EXAMPLES", "12"), "--checks",
                            ",".join(CHECKS), "--request-timeout", "30",
                            # of a path's name that may hold slashes most of what it makes up is thrown away by itself
                            "--suppress-health-check=filter_too_much", "--exclude-path-regex", "/events$"],
                           capture_output=True, text=True, cwd=tmp_path)
    assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]
    assert daemon.get("/healthz").ok
