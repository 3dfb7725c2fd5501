"""Greedy generation with the key-value cache against Transformers' own generate on the same base, token by token as text."""
import pytest

import common

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not common.GGUF, reason="needs the model")
PROMPTS = ["The capital of France is", "def fibonacci(n):\n", "Once upon a time there was a small robot who"]


def test_greedy(tmp_path):
    import reference
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(common.GGUF.rsplit("/", 1)[0], gguf_file=common.GGUF.rsplit("/", 1)[1])
    # Transformers drops the pre-tokenizer of GGUF files; these prompts hold no digits, where the two differ.
    model = reference.load_base(common.GGUF)
    reply = common.helper("predict", {"model": {"path": common.GGUF}, "inputs": [{"prompt": p} for p in PROMPTS], "max_tokens": 40})
    for prompt, ours in zip(PROMPTS, reply["result"]["data"]):
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        with torch.no_grad():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False, pad_token_id=0,
                                 eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"))
        text = tokenizer.decode(out[0, ids.shape[1]:], skip_special_tokens=True)
        assert ours["text"] == text
        assert ours["usage"]["prompt_tokens"] == ids.shape[1]


def test_sampling_is_reproducible_and_seeded():
    request = {"model": {"path": common.GGUF}, "inputs": ["Tell me a story."], "max_tokens": 24, "temperature": 0.9, "top_p": 0.95}
    texts = [common.helper("predict", {**request, "seed": s})["result"]["data"][0]["text"] for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_answer_does_not_depend_on_its_neighbours():
    one = common.helper("predict", {"model": {"path": common.GGUF}, "inputs": ["What is 2+2?"], "max_tokens": 16})
    many = common.helper("predict", {"model": {"path": common.GGUF}, "inputs": ["Hi!", "What is 2+2?", "Name a colour.", "Why?", "Who?"],
                                     "max_tokens": 16})
    assert one["result"]["data"][0]["text"] == many["result"]["data"][1]["text"]


def test_stop_and_length():
    data = common.helper("predict", {"model": {"path": common.GGUF}, "inputs": [{"prompt": "one, two, three,"}], "max_tokens": 30,
                                     "stop": ["six"]})["result"]["data"][0]
    assert data["finish_reason"] in ("stop", "length") and "six" not in data["text"]
