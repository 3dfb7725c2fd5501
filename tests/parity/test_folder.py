"""A Hugging Face folder as a base, tokenizer and all: ids beside Transformers' own, a run of `honed train` on it, the adapter
in PEFT, a merged result that is a base again. The tokenizers are trained here on the reviews, with the normalizers,
pre-tokenizers and post-processors of published families."""
import copy
import random
import subprocess
import unicodedata

import numpy as np
import pytest

import common
import texts
from test_families import FAMILIES
from test_tokenizer import RULES

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
tokenizers = pytest.importorskip("tokenizers")
pytestmark = pytest.mark.skipif(not common.REVIEWS, reason="needs the reviews")
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402

CHATML = ("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


KINDS = ["gpt-2", "smollm", "llama-bpe", "smaug-bpe", "qwen2", "tekken", "gpt-4o"]


def make_tokenizer(kind, folder):
    pre, form_c, whole = RULES[kind]
    tok = tokenizers.Tokenizer(models.BPE(ignore_merges=whole))
    tok.pre_tokenizer, tok.decoder = pre, decoders.ByteLevel()
    if form_c:
        tok.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
                                  special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tok.train_from_iterator([t for t, _ in common.reviews(400)], trainer)
    if kind == "llama-bpe":
        tok.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
            single="<|endoftext|> $A", pair="<|endoftext|> $A <|endoftext|> $B", special_tokens=[("<|endoftext|>", 0)])])
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tok, bos_token="<|endoftext|>", eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = CHATML
    fast.save_pretrained(folder)
    return fast


def make_folder(kind, folder, family="llama"):
    config = copy.deepcopy(FAMILIES[family])
    config.vocab_size = 600
    torch.manual_seed(1)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return make_tokenizer(kind, folder)


@pytest.mark.parametrize("kind", KINDS)
def test_ids(kind, tmp_path):
    fast = make_folder(kind, tmp_path / "model")
    rng = random.Random(kind)
    strings = [texts.random_text(rng) if i % 2 else texts.varied_text(rng) for i in range(texts.COUNT)]
    # Letters of Unicode 14 that the reference's tables do not know yet: see engine/tokenizer/pretokenize.c.
    strings = ["".join(c for c in s if not 0x10780 <= ord(c) <= 0x107BF) for s in strings]
    if RULES[kind][1]:  # the reference leaves marks in the wrong order now and then (U+059C U+0D3C): Unicode's own form C counts
        strings = [s for s in strings if normalizers.NFC().normalize_str(s) == unicodedata.normalize("NFC", s)]
    assert len(strings) > 0.95 * texts.COUNT
    replies = texts.ask([{"op": "encode", "text": s, "special": True} for s in strings], str(tmp_path / "model"))
    for s, reply in zip(strings, replies):
        assert reply["ids"] == fast(s, add_special_tokens=False)["input_ids"], s


KNOBS = {"epochs": 8, "batch_size": 8, "learning_rate": 5e-3, "lora_rank": 8, "max_length": 128}


@pytest.fixture(scope="module", params=["llama", "mistral", "qwen2", "qwen3", "gemma3", "gpt2"])
def trained(request, tmp_path_factory):
    """A LoRA run of `honed train` on a folder, with its plan."""
    folder = tmp_path_factory.mktemp("folder")
    make_folder("qwen2", folder / "model", request.param)
    rows = [common.chat_row(*r) for r in common.reviews(64)]
    plan = common.make_run(folder / "run", rows, KNOBS, validation=rows[:8], samples=2, base=folder / "model")
    done = subprocess.run([str(common.HONED), "train", str(folder / "run")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return request.param, folder


def test_run(trained):
    name, folder = trained
    losses = [e["data"]["loss"] for e in common.events(folder / "run", "step")]
    assert losses[-1] < 0.9 * losses[0]
    verified = {e["data"]["artifact"]: e["data"] for e in common.events(folder / "run", "verified")}
    assert set(verified) == {"peft", "gguf"} and all(v["passed"] for v in verified.values())


def logits_of(folder, source, ids):
    """The engine's logits, by the probe, of a folder without or with the adapter of a PEFT folder merged by PEFT."""
    common.probe({"model": str(source), "rows": ids, "what": "logits", "out": str(folder / "logits")}, folder)
    return np.fromfile(folder / "logits", np.float32).reshape(sum(map(len, ids)), -1)


def test_peft_loads(trained):
    """PeftModel over the same folder moves the logits, and greedy answers are the engine's."""
    name, folder = trained
    base = transformers.AutoModelForCausalLM.from_pretrained(folder / "model", attn_implementation="eager").eval()
    fast = transformers.AutoTokenizer.from_pretrained(folder / "model")
    model = peft.PeftModel.from_pretrained(base, folder / "run" / "artifacts" / "peft").eval()
    chats = [common.chat_row(*r)["messages"][:1] for r in common.reviews(6, offset=200)]
    answers = []
    for chat in chats:
        ids = fast.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        out = model.generate(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"], max_new_tokens=8, do_sample=False,
                             eos_token_id=fast.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"]))
        answers.append(fast.decode(out[0, ids["input_ids"].shape[1]:], skip_special_tokens=True))
    reply = common.helper("predict", {"model": {"path": str(folder / "model")}, "source": {"run_dir": str(folder / "run"), "step": "exported"},
                                      "inputs": chats, "max_tokens": 8})
    assert [x["text"] for x in reply["result"]["data"]] == answers
    # The merged model, saved by PEFT, gives the engine the logits that PEFT has.
    ids = [fast("a film of rare beauty")["input_ids"]]
    theirs = model(torch.tensor(ids)).logits[0].detach().numpy()
    model.merge_and_unload().save_pretrained(folder / "merged")
    ours = logits_of(folder, folder / "merged", ids)
    assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max() + 1e-4


@pytest.mark.parametrize("name", ["llama tied, biases", "qwen3", "gemma3", "gpt2"])
def test_full_result_loads(name, tmp_path):
    """All weights trained: the merged folder in Transformers has the base's tensor names and shapes, gives the engine's logits, and
    is a base again."""
    fast = make_folder("qwen2", tmp_path / "model", name)
    rows = [common.chat_row(*r) for r in common.reviews(16)]
    common.make_run(tmp_path / "run", rows, {"max_steps": 4, "batch_size": 8, "learning_rate": 1e-3}, method="full", base=tmp_path / "model")
    done = subprocess.run([str(common.HONED), "train", str(tmp_path / "run")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(e["data"]["passed"] for e in common.events(tmp_path / "run", "verified"))
    merged = tmp_path / "run" / "artifacts" / "merged"
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model").state_dict()
    model, info = transformers.AutoModelForCausalLM.from_pretrained(merged, attn_implementation="eager", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    moved = {k: (v - base[k]).abs().max().item() for k, v in model.state_dict().items()}
    assert max(moved.values()) < 2e-2 and all(0 < moved[k] for k in moved if "embed" in k or "wte" in k)
    ids = [fast("a film of rare beauty")["input_ids"]]
    theirs = model.eval()(torch.tensor(ids)).logits[0].detach().numpy()
    ours = logits_of(tmp_path, merged, ids)
    assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max() + 1e-5
    assert transformers.AutoTokenizer.from_pretrained(merged)("don't 123")["input_ids"] == fast("don't 123")["input_ids"]
