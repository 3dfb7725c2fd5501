"""Encoders' tokenizers from Hugging Face folders against the tokenizers library: WordPiece with BERT's normalizer under all its
switches, byte-level BPE as RoBERTa has it; ids, where the tokens stand in the text, the tokens around texts and pairs. The
vocabulary of WordPiece is that of a published model (HONE_TEST_MINILM), the other one is trained here on the reviews."""
import copy
import json
import os
import pathlib
import random
import shutil

import pytest

import common
import texts

tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")
from tokenizers import models, pre_tokenizers, processors, trainers  # noqa: E402

MINILM = os.environ.get("HONE_TEST_MINILM", "")
COUNT = texts.COUNT
needs_minilm = pytest.mark.skipif(not MINILM, reason="HONE_TEST_MINILM is not set")
needs_reviews = pytest.mark.skipif(not common.REVIEWS, reason="needs the reviews")

MARKED = ["Ünïcödé", "İstanbul", "ΣΑΣ", "ﬁ", "ǅ", "한글", "e\u0323\u0301", "a\u0344\u0323", "Ⅷ", "中a文", "don't", "naïve", "[MASK]", "[SEP]", "##ing",
          "unaffable", "x" * 99, "y" * 101, "\u00ad", "\u200b", "\ue000", "\x0b", "\x1c", "\u0085", "\ufeff", "K", "ẞ", "ẛ̣", "🙂", "क़्", "Å"]


def strings(seed, count):
    rng = random.Random(seed)
    pieces = texts.PIECES + MARKED
    out = [texts.random_text(rng) if i % 2 else texts.varied_text(rng, pieces) for i in range(count)]
    return out + ["", " ", "\n", "a" * 5000, "é" * 3000, "\u0301" * 300, " a  b ", "中" * 2000]


def byte_spans(text, offsets):
    """Offsets in characters → in bytes."""
    at = [0]
    for c in text:
        at.append(at[-1] + len(c.encode()))
    return [[at[b], at[e]] for b, e in offsets]


def compare(reference, folder, asked):
    bad = []
    for text, have in zip(asked, texts.ask([{"op": "encode", "text": s, "special": True} for s in asked], str(folder))):
        want = reference.encode(text, add_special_tokens=False)
        if have.get("ids") != want.ids or have["spans"] != byte_spans(text, want.offsets):
            bad.append((text, want.ids, have.get("ids", have), byte_spans(text, want.offsets), have.get("spans")))
    assert not bad, "%d of %d differ, the first: %r" % (len(bad), len(asked), bad[0])


def compare_wrapped(reference, folder, asked):
    pairs = list(zip(asked, asked[1:]))
    requests = [{"op": "wrap", "text": a} for a, _ in pairs] + [{"op": "wrap", "text": a, "pair": b} for a, b in pairs]
    wanted = [reference.encode(a) for a, _ in pairs] + [reference.encode(a, b) for a, b in pairs]
    for request, want, have in zip(requests, wanted, texts.ask(requests, str(folder))):
        assert (have["ids"], have["types"]) == (want.ids, want.type_ids), request
        for side in range(2 if "pair" in request else 1):
            if side in want.sequence_ids:
                assert have["begin"][side] == want.sequence_ids.index(side), request


def write(folder, tokenizer_json, config=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json) if isinstance(tokenizer_json, dict) else tokenizer_json)
    (folder / "tokenizer_config.json").write_text(json.dumps(config or {}))
    (folder / "config.json").write_text("{}")
    reference = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    reference.no_padding()
    reference.no_truncation()
    return reference


@pytest.fixture(scope="module")
def minilm():
    return json.loads((pathlib.Path(MINILM) / "tokenizer.json").read_text())


@needs_minilm
def test_published_folder(minilm):
    """As it stands, ids as Transformers gives them."""
    fast = transformers.AutoTokenizer.from_pretrained(MINILM)
    fast.backend_tokenizer.no_padding()
    fast.backend_tokenizer.no_truncation()
    compare(fast.backend_tokenizer, MINILM, strings(1, COUNT))
    # Without special tokens in the data, which data cannot spell.
    compare_wrapped(fast.backend_tokenizer, MINILM, [s for s in strings(2, COUNT // 20) if "[MASK]" not in s and "[SEP]" not in s])


SWITCHES = {
    "cased": {"lowercase": False},
    "cased, accents off": {"lowercase": False, "strip_accents": True},
    "uncased, accents kept": {"strip_accents": False},
    "uncased, ideographs together": {"handle_chinese_chars": False},
    "uncleaned": {"clean_text": False},
    "nothing": {"clean_text": False, "handle_chinese_chars": False, "lowercase": False},
    "no normalizer": None,
}


@needs_minilm
@pytest.mark.parametrize("name", SWITCHES)
def test_normalizers(minilm, name, tmp_path):
    made = copy.deepcopy(minilm)
    made["normalizer"] = SWITCHES[name] and {**made["normalizer"], **SWITCHES[name]}
    compare(write(tmp_path, made), tmp_path, strings(name, COUNT // 4))


@needs_minilm
@pytest.mark.parametrize("name", ["uncased", "cased", "uncased, accents kept"])
def test_every_character(minilm, name, tmp_path):
    """Alone and between letters, with a vocabulary that has every character: of the planes that have any, and some of the rest."""
    chars = [chr(c) for c in (*range(1, 0x40000), *range(0x40000, 0x110000, 97)) if not 0xD800 <= c < 0xE000]
    vocab = {t: i for i, t in enumerate(["[UNK]", "a", "##b", "##a", "b"])}
    for c in chars:
        vocab.setdefault(c, len(vocab)), vocab.setdefault("##" + c, len(vocab))
    made = {**copy.deepcopy(minilm), "added_tokens": [], "post_processor": None, "padding": None, "truncation": None}
    made["model"]["vocab"] = vocab
    made["normalizer"] = {**made["normalizer"], **(SWITCHES.get(name) or {})}
    reference = write(tmp_path, made)
    asked = [" ".join("a%sb" % c for c in chars[i:i + 4096]) for i in range(0, len(chars), 4096)]
    for text, have in zip(asked, texts.ask([{"op": "encode", "text": s} for s in asked], str(tmp_path))):
        want = reference.encode(text)
        if have["ids"] != want.ids:
            words = texts.ask([{"op": "encode", "text": w} for w in text.split(" ")], str(tmp_path))
            bad = [w for w, h in zip(text.split(" "), words) if h["ids"] != reference.encode(w).ids]
            assert not bad, " ".join("U+%04X" % ord(w[1]) for w in bad)
        assert have["spans"] == byte_spans(text, want.offsets)


@needs_minilm
@pytest.mark.parametrize("config", [{}, {"do_lower_case": False}, {"do_lower_case": True, "tokenize_chinese_chars": False, "strip_accents": False}])
def test_vocab_txt(minilm, config, tmp_path):
    """Without tokenizer.json."""
    shutil.copy(pathlib.Path(MINILM) / "vocab.txt", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", **config}))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    fast = transformers.BertTokenizer.from_pretrained(tmp_path)
    compare(fast.backend_tokenizer, tmp_path, strings(3, COUNT // 8))
    compare_wrapped(fast.backend_tokenizer, tmp_path, ["a film", "", "of rare beauty"])


@needs_minilm
def test_gguf(minilm, tmp_path):
    """The same vocabulary in a GGUF file, where pieces at a word's begin are marked instead."""
    gguf = pytest.importorskip("gguf")
    vocab = sorted(minilm["model"]["vocab"], key=minilm["model"]["vocab"].get)
    special = {a["content"] for a in minilm["added_tokens"]}
    unused = [i for i, t in enumerate(vocab) if t.startswith("[unused")]
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_context_length(128), writer.add_tokenizer_model("bert")
    writer.add_token_list([t if t in special else t[2:] if t.startswith("##") else "▁" + t for t in vocab])
    writer.add_token_types([3 if t in special else 5 if i in unused else 1 for i, t in enumerate(vocab)])
    writer.add_unk_token_id(100), writer.add_uint32("tokenizer.ggml.cls_token_id", 101), writer.add_sep_token_id(102)
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()
    reference = write(tmp_path / "hf", minilm)
    compare(reference, tmp_path / "m.gguf", strings(4, COUNT // 8))
    compare_wrapped(reference, tmp_path / "m.gguf", ["a film", "", "of rare beauty"])


@needs_reviews
@pytest.mark.parametrize("prefix, trim", [(True, True), (False, True), (True, False), (False, False)])
def test_roberta(prefix, trim, tmp_path):
    tok = tokenizers.Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    trainer = trainers.BpeTrainer(vocab_size=800, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
                                  special_tokens=["<s>", "<pad>", "</s>", "<unk>", tokenizers.AddedToken("<mask>", lstrip=True)])
    tok.train_from_iterator([t for t, _ in common.reviews(400)], trainer)
    tok.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=trim, add_prefix_space=prefix)
    reference = write(tmp_path, tok.to_str(), {"bos_token": "<s>", "cls_token": "<s>", "sep_token": "</s>", "eos_token": "</s>"})
    pieces = texts.PIECES + ["<mask>", " <mask> ", "<s>", "  <mask>", "\n<mask>"]
    rng = random.Random(5)
    asked = [texts.random_text(rng) if i % 2 else texts.varied_text(rng, pieces) for i in range(COUNT // 2)]
    asked = ["".join(c for c in s if not 0x10780 <= ord(c) <= 0x107BF) for s in asked]  # see test_folder.py
    compare(reference, tmp_path, asked)
    compare_wrapped(reference, tmp_path, [t for t, _ in common.reviews(200)] + ["", "a"])


@needs_reviews
def test_added_tokens_flags(tmp_path):
    """lstrip, rstrip, single_word, normalized, and which comes first."""
    tok = tokenizers.Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.train_from_iterator([t for t, _ in common.reviews(200)], trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False, special_tokens=["<s>"]))
    add = tokenizers.AddedToken
    tok.add_special_tokens([add("<l>", lstrip=True), add("<r>", rstrip=True, normalized=False), add("<lr>", lstrip=True, rstrip=True), add("word", single_word=True)])
    tok.add_tokens([add("<n>", normalized=True), add("<n><l>", normalized=True), add("aqb", normalized=False, single_word=True), add("aqbaqb", normalized=True)])
    reference = write(tmp_path, tok.to_str())
    pieces = ["<l>", "<r>", "<lr>", "word", "<n>", "<n><l>", "aqb", "aqbaqb", " ", "\n", "\u3000", "\x1c", "x", "_", "é", "\u0301", "1", "-", "ⓐ", "\u200d"]
    rng = random.Random(6)
    compare(reference, tmp_path, [texts.varied_text(rng, pieces) for _ in range(COUNT // 4)])


BAD = {
    "a model of another kind": (lambda t: t["model"].update(type="WordLevel"), "WordLevel"),
    "another normalizer": (lambda t: t.update(normalizer={"type": "Lowercase"}), "Lowercase"),
    "another pre-tokenizer": (lambda t: t.update(pre_tokenizer={"type": "Whitespace"}), "Whitespace"),
    "no unknown token": (lambda t: t["model"].update(unk_token="<nowhere>"), "<nowhere>"),
    "vocabulary of another shape": (lambda t: t["model"].update(vocab=[1, 2]), "vocab"),
    "an id too large": (lambda t: t["model"]["vocab"].update(x=1 << 40), "too large"),
    "a template without ids": (lambda t: t["post_processor"].update(special_tokens={}), "without ids"),
    "a template with an id out of range": (lambda t: t["post_processor"]["special_tokens"]["[SEP]"].update(ids=[1 << 20]), "make no sense"),
    "a template without a text": (lambda t: t["post_processor"].update(single=t["post_processor"]["single"][:1]), "make no sense|post-processor"),
    "a template with a text twice": (lambda t: t["post_processor"]["pair"].extend(t["post_processor"]["pair"]), "make no sense"),
    "a template that is too long": (lambda t: t["post_processor"].update(pair=t["post_processor"]["pair"] * 50), "more than"),
    "a post-processor of another kind": (lambda t: t.update(post_processor={"type": "Strange"}), "Strange"),
    "a template of numbers": (lambda t: t["post_processor"].update(single=[1, 2]), "without ids"),
}


@needs_minilm
@pytest.mark.parametrize("name", BAD)
def test_refused(minilm, name, tmp_path):
    made = copy.deepcopy(minilm)
    BAD[name][0](made)
    (tmp_path / "tokenizer.json").write_text(json.dumps(made))
    with pytest.raises(AssertionError, match=BAD[name][1]):
        texts.ask([{"op": "encode", "text": "a"}], str(tmp_path))
