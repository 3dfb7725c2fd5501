"""The tokenizer files of an exported folder: Transformers loads them alone and gives the engine's ids and conversations."""
import subprocess

import pytest

import common
import texts
from test_tokenizer import RULES, Vocabulary, samples

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.skipif(not common.GGUF or not common.REVIEWS, reason="needs the model and the reviews")

FILES = ["chat_template.jinja", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]


def train(folder):
    rows = [common.chat_row(*r) for r in common.reviews(4)]
    common.make_run(folder, rows, {"max_steps": 1, "batch_size": 2, "lora_rank": 2})
    done = subprocess.run([str(common.HONED), "train", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "artifacts" / "peft"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return train(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def tokenizer(folder):
    return transformers.AutoTokenizer.from_pretrained(folder)


def test_ids(tokenizer):
    strings = samples(1000, seed=21) + ["<|im_start|>user\nHi<|im_end|>\n", "a<|endoftext|>b 12345", " <repo_name>x", "👩‍👩‍👧 1 22 ٣"]
    have = texts.ask([{"op": "encode", "text": s, "special": True} for s in strings])
    bad = [(s, h["ids"]) for s, h in zip(strings, have) if tokenizer.encode(s) != h["ids"]]
    assert not bad, "%d differ, the first: %r" % (len(bad), bad[0])


def test_conversations(tokenizer):
    rng = texts.seeded(22)
    for _ in range(100):
        messages = [{"role": m["role"], "content": m["content"]} for m in texts.conversation(rng) if m["role"] in ("system", "user", "assistant")]
        prompt = rng.random() < 0.5
        want = texts.ask([{"op": "render", "messages": messages, "add_generation_prompt": prompt, "bos_token": tokenizer.bos_token,
                           "eos_token": tokenizer.eos_token}])[0]
        assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt) == want["text"]


def test_names_of_special_tokens(tokenizer):
    fields = __import__("gguf").GGUFReader(common.GGUF).fields
    assert tokenizer.eos_token_id == fields["tokenizer.ggml.eos_token_id"].contents()
    assert tokenizer.bos_token_id == fields["tokenizer.ggml.bos_token_id"].contents()
    assert tokenizer.pad_token_id == fields["tokenizer.ggml.padding_token_id"].contents()
    assert tokenizer.model_max_length == fields["llama.context_length"].contents()
    assert len(tokenizer) == fields["llama.vocab_size"].contents()
    assert tokenizer.decode(tokenizer.encode(" Ünï  1.5 <|im_end|>")) == " Ünï  1.5 <|im_end|>"


@pytest.mark.parametrize("pre", sorted(RULES))
def test_pre_tokenizers(pre, tmp_path):
    """The same vocabulary under each name, with a BOS before every text."""
    vocabulary = Vocabulary(common.GGUF)
    model = vocabulary.model_with(pre, str(tmp_path / "vocab.gguf"), bos=1)
    out = tmp_path / "out"
    out.mkdir()
    common.probe({"what": "tokenizer", "model": model, "out": str(out)}, tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    strings = samples(600, seed=23)
    have = texts.ask([{"op": "encode", "text": s, "special": True} for s in strings], model)
    bad = [(s, h["ids"]) for s, h in zip(strings, have) if tokenizer.encode(s) != [1] + h["ids"]]
    assert not bad, "%d differ, the first: %r" % (len(bad), bad[0])


def test_bytes_are_the_same_each_time(folder, tmp_path):
    again = train(tmp_path / "run")
    for name in FILES:
        assert (again / name).read_bytes() == (folder / name).read_bytes()
