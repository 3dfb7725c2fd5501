"""The tokenizer files of a PEFT folder give the engine's own ids and the engine's own rendering in Transformers."""
import subprocess

import pytest

import common

pytest.importorskip("transformers")
pytestmark = pytest.mark.skipif(not common.GGUF or not common.REVIEWS, reason="needs the model and the reviews")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import AutoTokenizer
    folder = tmp_path_factory.mktemp("run") / "run"
    common.make_run(folder, [common.chat_row(*r) for r in common.reviews(4)], {"max_steps": 1, "batch_size": 2, "lora_rank": 1})
    done = subprocess.run([str(common.HONED), "train", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return AutoTokenizer.from_pretrained(folder / "artifacts" / "peft")


def test_ids(tokenizer, tmp_path):
    samples = [r[0] for r in common.reviews(200)] + ["", " ", "a  b\n\n c", "12345 x67", "naïve café", "你好，世界", "مرحبا", "👩‍👩‍👧 ok",
                                                     "def f(x):\n\treturn x**2", "don't WE'LL", "\x00\x07"]
    rows = [{"messages": [{"role": "user", "content": s or "-"}, {"role": "assistant", "content": "y" + s}]} for s in samples]
    ours, _ = common.encode(rows, tmp_path)
    for row, ids in zip(rows, ours):
        text = tokenizer.apply_chat_template(row["messages"], tokenize=False)
        assert tokenizer(text, add_special_tokens=False).input_ids == ids, row


def test_special_tokens(tokenizer):
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.decode(tokenizer("<|im_start|>user").input_ids) == "<|im_start|>user"
