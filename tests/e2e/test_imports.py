"""Folders as people have them, through the daemon: all files of a model survive import and export, and a refusal names what lay
in the folder, also what is not taken."""
import json
import random

import pytest

import tiny

TOOLS = "{% if tools %}[{{ tools | length }} tools]{% endif %}" + tiny.CHATML


@pytest.fixture
def served(start, tmp_path):
    daemon = start("--model_dirs", str(tmp_path / "models"), fake=False)
    daemon.folder = tiny.llama(tmp_path / "models" / "m")
    return daemon


def take_in(daemon, status=201):
    reply = daemon.post("/models", json={"name": "m", "path": str(daemon.folder)})
    assert reply.status_code == status, reply.text
    return reply.json()


def render(daemon, **more):
    row = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}], **more}
    data = daemon.post("/datasets?name=r", data=(json.dumps(row) + "\n").encode()).json()["id"]
    return daemon.get(f"/datasets/{data}/preview?model=m").json()["rendered"]


def test_further_chat_templates(served):
    """The folder additional_chat_templates/ of Transformers: imported, rendered with, part of the model's hash, exported."""
    first = take_in(served)["sha256"]
    assert served.delete("/models/m").status_code == 204
    extra = served.folder / "additional_chat_templates"
    extra.mkdir()
    (extra / "tool_use.jinja").write_text(TOOLS)
    (extra / "rag.jinja").write_text("{{ 'documents' }}")
    assert take_in(served)["sha256"] != first
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    assert render(served, tools=[tool]).startswith("[1 tools]") and not render(served).startswith("[")
    data = served.post("/datasets?name=t", data=tiny.chats(random.Random(1), 12).encode()).json()["id"]
    body = {"model": "m", "dataset": data, "validation": "none", "exports": ["peft", "merged"],
            "hyperparameters": {"max_steps": 2, "max_length": 96}}
    job = served.wait(served.post("/jobs", json=body).json()["id"], "succeeded")["id"]
    paths = {a["path"] for a in served.get(f"/jobs/{job}/artifacts").json()["data"]}
    for kind in ("peft", "merged"):
        for name in ("tool_use", "rag"):
            path = f"{kind}/additional_chat_templates/{name}.jinja"
            assert path in paths
            assert served.get(f"/jobs/{job}/artifacts/{path}").text == (extra / f"{name}.jinja").read_text()


@pytest.mark.parametrize("left,words", [("pytorch_model.bin", "PyTorch pickles"), ("checkpoint-500/config.json", "the checkpoints of a training")])
def test_what_is_not_taken_is_named(left, words, served):
    """Files that an import leaves where they are still say what the folder is."""
    for file in served.folder.iterdir():
        if file.name in ("config.json", "model.safetensors") and (file.name[0] == "m" or "/" in left):
            file.unlink()
    (served.folder / left).parent.mkdir(exist_ok=True)
    (served.folder / left).write_bytes(b"PK\3\4")
    error = take_in(served, 422)["error"]
    assert words in error["message"] and left.split("/")[0] in error["message"], error
