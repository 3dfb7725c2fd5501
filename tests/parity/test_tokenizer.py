"""The tokenizer's ids against Hugging Face tokenizers, on the vocabulary of HONE_TEST_GGUF (byte-level BPE).

The reference is built from the file's own vocabulary and merges, with the pre-tokenizer that its name stands for;
Transformers' GGUF loader ignores that name. Run by pytest, or alone for the figures, the speed, and the characters on
which the Unicode tables of both sides differ.
"""
import os
import sys
import time

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import texts  # noqa: E402

tokenizers = pytest.importorskip("tokenizers")
gguf = pytest.importorskip("gguf")
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers  # noqa: E402

COUNT = texts.COUNT
CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
O200K = (r"[^\r\n\p{L}\p{N}]?" + UPPER + "*" + LOWER + r"+TAIL|[^\r\n\p{L}\p{N}]?" + UPPER + "+" + LOWER + r"*TAIL|DIGITS"
         r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK3 = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
             r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_level(*before):
    return pre_tokenizers.Sequence(list(before) + [pre_tokenizers.ByteLevel(add_prefix_space=False)])


def split(*patterns):
    steps = [pre_tokenizers.Split(Regex(p), behavior="isolated") for p in patterns]
    return pre_tokenizers.Sequence(steps + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


# name → (pre-tokenizer, form C first, whole words)
RULES = {
    "gpt-2": (byte_level(), False, False),
    "smollm": (byte_level(pre_tokenizers.Digits(individual_digits=True)), False, False),
    "llama-bpe": (split(CL100K % r"\p{N}{1,3}"), False, True),
    "smaug-bpe": (split(CL100K % r"\p{N}{1,3}"), False, False),
    "qwen2": (split(CL100K % r"\p{N}"), True, False),
    "tekken": (split(O200K.replace("TAIL", "").replace("DIGITS", r"\p{N}")), False, True),
    "gpt-4o": (split(O200K.replace("TAIL", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?").replace("DIGITS", r"\p{N}{1,3}")), False, False),
    "deepseek-v3": (split(r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+", DEEPSEEK3), False, False),
}


class Vocabulary:
    def __init__(self, path):
        fields = gguf.GGUFReader(path).fields
        get = lambda key: fields["tokenizer.ggml." + key].contents()
        self.pre, self.tokens, self.merges, self.types = get("pre"), get("tokens"), get("merges"), get("token_type")

    def reference(self, pre):
        rule, form_c, whole = RULES[pre]
        tok = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(self.tokens)}, merges=[tuple(m.split(" ")) for m in self.merges],
                                   ignore_merges=whole))
        if form_c:
            tok.normalizer = normalizers.NFC()
        tok.pre_tokenizer = rule
        tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, y in zip(self.tokens, self.types) if y == 3])
        return tok

    def model_with(self, pre, path, bos=None):
        """The same vocabulary under another pre-tokenizer, without tensors; with `bos`, texts begin with that token."""
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        writer.add_token_merges(self.merges)
        if bos is not None:
            writer.add_bos_token_id(bos)
            writer.add_add_bos_token(True)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        return path


def samples(count, seed=7):
    rng = texts.seeded(seed)
    out = texts.data_texts(count // 2)
    while len(out) < count * 9 // 10:
        out.append(texts.varied_text(rng))
    while len(out) < count:
        out.append(texts.random_text(rng))
    return out + ["", " ", "\n", " " * 3000, "a" * 5000, "\u4e2d" * 3000, "ab" * 4000, "\r\n" * 500, "'" * 99, "1" * 1000]


def broken(count, seed=8):
    """Bytes that are not UTF-8."""
    rng, out = texts.seeded(seed), []
    for _ in range(count):
        data = bytearray(texts.varied_text(rng).encode())
        for _ in range(rng.randrange(1, 5)):
            data.insert(rng.randrange(len(data) + 1), rng.choice([0x80, 0xBF, 0xC0, 0xC3, 0xE2, 0xED, 0xF0, 0xF4, 0xFF, 0x9F]))
        out.append(bytes(data[rng.randrange(3):]))
    return out


def differences(reference, strings, model=None):
    want = [e.ids for e in reference.encode_batch(strings, add_special_tokens=False)]
    have = texts.ask([{"op": "encode", "text": s, "special": True} for s in strings], model)
    return [(s, w, h.get("ids", h)) for s, w, h in zip(strings, want, have) if w != h.get("ids")]


needs_model = pytest.mark.skipif(not texts.MODEL, reason="HONE_TEST_GGUF is not set")


@needs_model
def test_ids_equal():
    vocabulary = Vocabulary(texts.MODEL)
    bad = differences(vocabulary.reference(vocabulary.pre), samples(COUNT))
    assert not bad, "%d differ, the first: %r" % (len(bad), bad[0])


@needs_model
@pytest.mark.parametrize("pre", sorted(RULES))
def test_pre_tokenizers(pre, tmp_path):
    vocabulary = Vocabulary(texts.MODEL)
    bad = differences(vocabulary.reference(pre), samples(COUNT // 8, seed=11), vocabulary.model_with(pre, str(tmp_path / "vocab.gguf")))
    assert not bad, "%d differ, the first: %r" % (len(bad), bad[0])


@needs_model
def test_broken_utf8_reads_as_python_does():
    vocabulary = Vocabulary(texts.MODEL)
    reference, data = vocabulary.reference(vocabulary.pre), broken(COUNT // 10)
    want = [e.ids for e in reference.encode_batch([d.decode("utf-8", errors="replace") for d in data])]
    have = [a["ids"] for a in texts.ask([{"op": "encode", "hex": d.hex(), "special": True} for d in data])]
    assert want == have


@needs_model
def test_offsets_lie_in_the_text():
    strings = samples(COUNT // 10, seed=9)
    for text, answer in zip(strings, texts.ask([{"op": "encode", "text": s, "special": True} for s in strings])):
        offsets = answer["offsets"]
        # not always from 0: a byte that is no token of this vocabulary is left out, here as in the reference
        assert offsets == sorted(offsets) and (not offsets or offsets[-1] < len(text.encode()))


def report_characters(vocabulary):
    """Every character between two letters and two spaces: where do the tables differ?"""
    chars = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    differ = {s[1] for s, _, _ in differences(vocabulary.reference(vocabulary.pre), ["a%sb 1%s  %s" % (c, c, c) for c in chars])}
    print("%d of %d characters are cut differently: %s" % (len(differ), len(chars), " ".join("U+%04X" % ord(c) for c in sorted(differ))[:2000]))


def report_speed(reference):
    text = "".join(samples(4000))
    begin = time.time()
    tokens = len(reference.encode(text, add_special_tokens=False).ids)
    theirs = time.time() - begin
    ours = texts.ask([{"op": "time", "text": text, "repeat": 5}])[0]["seconds"] / 5
    print("%d bytes, %d tokens: tokenizers %.3f s, hone %.4f s, %.1f times as fast" % (len(text.encode()), tokens, theirs, ours, theirs / ours))


if __name__ == "__main__":
    import tempfile
    book = Vocabulary(texts.MODEL)
    wrong = differences(book.reference(book.pre), samples(COUNT))
    print("%s: %d texts, %d differ" % (book.pre, COUNT + 10, len(wrong)))
    for name in sorted(RULES):
        with tempfile.TemporaryDirectory() as folder:
            wrong = differences(book.reference(name), samples(COUNT // 4, seed=11), book.model_with(name, os.path.join(folder, "v.gguf")))
            print("%s: %d differ %r" % (name, len(wrong), wrong[:1]))
    report_speed(book.reference(book.pre))
    report_characters(book)
