"""SentencePiece tokenizers of GGUF files against the sentencepiece library: a model trained here on the reviews, with byte fallback,
user-defined pieces and no space put before the text, as Gemma's is."""
import random

import pytest

import common
import texts

sentencepiece = pytest.importorskip("sentencepiece")
gguf = pytest.importorskip("gguf")
pytestmark = pytest.mark.skipif(not common.REVIEWS, reason="needs the reviews")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spm")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([t for t, _ in common.reviews(3000)]), model_prefix=str(folder / "m"), model_type="bpe", vocab_size=1500,
        byte_fallback=True, normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False,
        split_by_whitespace=False, user_defined_symbols=["\n\n", "\n", "▁▁", "<b>", "</b>"], minloglevel=2)
    sp = sentencepiece.SentencePieceProcessor(model_file=str(folder / "m.model"))
    write(sp, folder / "m.gguf", False)
    return sp, folder


def write(sp, path, prefix):
    kinds = [6 if sp.is_byte(i) else 3 if sp.is_control(i) else 2 if sp.is_unknown(i) else 1 for i in range(sp.vocab_size())]
    for piece in ("\n\n", "\n", "▁▁", "<b>", "</b>"):
        kinds[sp.piece_to_id(piece)] = 4
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(128), writer.add_tokenizer_model("llama"), writer.add_add_space_prefix(prefix)
    writer.add_token_list([sp.id_to_piece(i) for i in range(sp.vocab_size())])
    writer.add_token_scores([sp.get_score(i) for i in range(sp.vocab_size())]), writer.add_token_types(kinds)
    writer.add_bos_token_id(sp.bos_id()), writer.add_eos_token_id(sp.eos_id()), writer.add_unk_token_id(sp.unk_id())
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()


def test_ids(pair):
    sp, folder = pair
    rng = random.Random(11)
    pieces = texts.PIECES + ["<b>", "</b>", "x▁y", "<0x0A>", "  the", " a film", "    ", "\n\n\n"]
    strings = [texts.random_text(rng) if i % 2 else texts.varied_text(rng, pieces) for i in range(18000)]
    strings += [t for t, _ in common.reviews(2000, 3000)]
    strings = [s.replace("\x00", "") for s in strings]  # the library's binding ends a text there
    replies = texts.ask([{"op": "encode", "text": s} for s in strings], str(folder / "m.gguf"))
    for s, reply in zip(strings, replies):
        assert reply["ids"] == sp.encode(s), s


def test_long_text(pair):
    sp, folder = pair
    text = " ".join(t for t, _ in common.reviews(2500))
    assert texts.ask([{"op": "encode", "text": text}], str(folder / "m.gguf"))[0]["ids"] == sp.encode(text)


def test_space_before_the_text_is_refused(pair):
    sp, folder = pair
    write(sp, folder / "prefix.gguf", True)
    with pytest.raises(AssertionError, match="space before each text"):
        texts.ask([{"op": "encode", "text": "a"}], str(folder / "prefix.gguf"))
