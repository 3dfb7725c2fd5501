"""A merged result in many files: every list, archive and copy of it has them all."""
import io
import json
import random
import tarfile

import tiny


def test_every_list_has_every_file(start, tmp_path, monkeypatch):
    monkeypatch.setattr(tiny, "LAYERS", 8)
    tensors = 2 + 9 * tiny.LAYERS
    tiny.llama(tmp_path / "models/llama")
    daemon = start("--model_dirs", str(tmp_path / "models"), fake=False)
    assert daemon.post("/models", json={"name": "llama", "path": str(tmp_path / "models/llama")}).status_code == 201
    data = daemon.post("/datasets?name=t", data=tiny.chats(random.Random(1), 12).encode()).json()["id"]
    body = {"model": "llama", "dataset": data, "validation": "none", "exports": ["merged"], "max_shard_bytes": 1,
            "hyperparameters": {"max_steps": 4, "batch_size": 2, "save_every": 2, "learning_rate": 1e-3, "max_length": 96}}
    job = daemon.post("/jobs", json=body).json()["id"]
    daemon.wait(job, "succeeded")
    expected = {f"merged/model-{i + 1:05}-of-{tensors:05}.safetensors" for i in range(tensors)} | {"merged/model.safetensors.index.json"}
    sources = {f"/jobs/{job}": 4, f"/jobs/{job}/checkpoints/2": 2}
    for source in sources:
        listed = {}
        path = f"{source}/artifacts?limit=50" if source.endswith(job) else f"{source}/artifacts"
        while path:
            reply = daemon.get(path).json()
            listed |= {f["path"]: f["sha256"] for f in reply["data"]}
            path = f"{source}/artifacts?limit=50&after={reply['next']}" if reply["next"] else None
        assert {p for p in listed if "safetensors" in p} == expected, source
        with tarfile.open(fileobj=io.BytesIO(daemon.get(f"{source}/artifacts.tar").content)) as archive:
            assert set(archive.getnames()) == listed.keys() >= expected, source
        assert daemon.get(f"{source}/artifacts/merged/model-00070-of-{tensors:05}.safetensors").status_code == 200
    # The files as they were fetched are a base to train on.
    again = tmp_path / "models/again"
    again.mkdir()
    for path in listed:
        if path.startswith("merged/"):
            (again / path.removeprefix("merged/")).write_bytes(daemon.get(f"/jobs/{job}/artifacts/{path}").content)
    assert json.loads((again / "config.json").read_text())["tie_word_embeddings"] is True
    taken = daemon.post("/models", json={"name": "again", "path": str(again)})
    assert taken.status_code == 201, taken.text
    second = daemon.post("/jobs", json={**body, "model": "again", "exports": ["peft"]}).json()["id"]
    assert daemon.wait(second, "succeeded")["status"] == "succeeded"
