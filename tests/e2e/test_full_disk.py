"""A disk without a byte left: uploads are refused, and what the hint says helps: deleting works, and then the rest does."""
import os
import subprocess

import pytest


@pytest.fixture
def small(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.getuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", str(folder)], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder):
    with open(folder / "filler", "ab", buffering=0) as f:
        for size in (1 << 20, 4096, 1):
            try:
                while f.write(b"x" * size) == size:
                    pass
            except OSError:
                pass


@pytest.mark.parametrize("what", ["job", "dataset", "model"])
def test_deleting_works_on_a_full_disk(small, start, what):
    d = start("--disk_reserve", "0", state=small / "d" / "state")
    d.model()
    d.model("spare", b"another model")
    job = d.job({"steps": 400, "step_seconds": 0.001})
    d.wait(job, "succeeded")
    spare = d.dataset(extra="spare")
    assert (d.state / "ballast").stat().st_size == 16 << 20
    fill(small)
    refused = d.post("/datasets?name=x", data=b'{"text":"no room"}\n' * 1000)
    assert refused.status_code == 507 and "delete" in refused.text, refused.text
    fill(small)
    path = {"job": f"/jobs/{job}", "dataset": f"/datasets/{spare}", "model": "/models/spare"}[what]
    assert d.delete(path).status_code == 204
    assert d.get(path).status_code == 404
    (small / "filler").unlink()
    assert d.post("/datasets?name=x", data=b'{"text":"room"}\n').status_code == 201
    d.wait(d.job({"steps": 2}, extra="after"), "succeeded")
