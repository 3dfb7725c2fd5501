"""Where a completion begins in the tokens of a row: the ids are those of the whole text in the reference tokenizer, what is trained is what
stands behind the ids that a prediction begins with, and a space belongs to the same token on either side of the border."""
import pytest

import common
import texts

pytest.importorskip("tokenizers")
pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")
pytestmark = pytest.mark.skipif(not common.REVIEWS, reason="needs the reviews")
from test_chat_families import make  # noqa: E402
from test_sentencepiece import train, write  # noqa: E402

PROMPTS = ["High or low?", "The film was", "1 + 1 =", "A: one\nB:", "x", "a\tb"]
SPACES = ["", " ", "  ", "\n", "\n\n", " \n", "\t"]
WORDS = ["brest", "good film", "42", "(no)", "é", "中文", "a"]
LLAMA2 = ("{% for m in messages %}{{ 'USER: ' + m.content + ' ' if m.role == 'user' else 'ASSISTANT: ' + m.content + eos_token }}{% endfor %}"
          "{% if add_generation_prompt %}{{ 'ASSISTANT: ' }}{% endif %}")


@pytest.fixture(scope="module", params=["byte-level", "sentencepiece", "sentencepiece with a space before", "a model of today"])
def tokenizer(request, tmp_path_factory):
    """Folder or file, ids of a text in the reference, id of the end."""
    folder = tmp_path_factory.mktemp("borders")
    if request.param == "byte-level":
        fast = make("qwen2_5", folder)
        return str(folder), lambda t: fast(t, add_special_tokens=False).input_ids, fast.eos_token_id
    if request.param == "a model of today":
        if not common.GGUF:
            pytest.skip("needs the GGUF model")
        # its ids of whole texts are compared in test_tokenizer.py
        return common.GGUF, lambda t: texts.ask([{"op": "encode", "text": t}], common.GGUF)[0]["ids"], 2
    before = request.param.endswith("before")
    sp = train(folder, "bpe", add_dummy_prefix=before, split_by_whitespace=before)
    write(sp, folder / "m.gguf", before)
    return str(folder / "m.gguf"), sp.encode, sp.eos_id()


def split(reply):
    trained = [w > 0 for w in reply["weights"]]
    border = trained.index(True)
    assert all(trained[border:])
    return reply["ids"][:border], reply["ids"][border:]


def test_prompt_and_targets_are_the_whole_text(tokenizer):
    path, reference, end = tokenizer
    rows = [(p, s, w) for p in PROMPTS for s in SPACES for w in WORDS if not (s == "" and p != "1 + 1 =")]
    left = texts.ask([{"op": "example", "prompt": p + s, "completion": w} for p, s, w in rows], path)
    right = texts.ask([{"op": "example", "prompt": p, "completion": s + w} for p, s, w in rows], path)
    asked = texts.ask([{"op": "asked", "input": {"prompt": p + s}} for p, s, w in rows], path)
    whole = texts.ask([{"op": "encode", "text": p + s + w} for p, s, w in rows], path)
    for (p, s, w), a, b, c, d in zip(rows, left, right, asked, whole):
        prompt, targets = split(a)
        want = d["ids"] if path == common.GGUF else reference(p + s + w)
        assert prompt + targets == want + [end], (p, s, w)
        if s == " ":
            assert targets == split(b)[1], (p, s, w, prompt, targets, b)  # equal targets for "brest" and " brest"
        if s:  # else a word may go on into the next: nobody who asks can know
            assert c["ids"] == prompt and (c["again"] == "" or c["again"].strip() == "" and (p + s).endswith(c["again"])), (p, s, w, a, c)


def test_the_border_inside_of_a_word(tokenizer):
    """It moves to before the token that both parts make, or stays where they make none."""
    path, reference, end = tokenizer
    for p, w in (("The fi", "lm"), ("goo", "d film"), ("wonder", "ful")):
        reply = texts.ask([{"op": "example", "prompt": p, "completion": w}], path)[0]
        want, alone = reference(p + w) + [end], reference(p)
        same = next((i for i, (x, y) in enumerate(zip(want, alone)) if x != y), len(alone))
        assert split(reply) == (want[:max(same, 1)], want[max(same, 1):]), (p, w)


def test_chats_whose_turn_begins_with_a_space(tokenizer):
    path, _, _ = tokenizer
    for answer in WORDS:
        messages = [{"role": "user", "content": "High or low?"}, {"role": "assistant", "content": answer}]
        row = texts.ask([{"op": "example", "messages": messages, "template": LLAMA2}], path)[0]
        asked = texts.ask([{"op": "asked", "input": messages[:1], "template": LLAMA2}], path)[0]
        prompt, targets = split(row)
        assert asked["ids"] == prompt and asked["again"] in ("", " "), (answer, row, asked)
