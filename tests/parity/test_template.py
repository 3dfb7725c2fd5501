"""Chat templates: the interpreter's text against Transformers', byte for byte, on varied conversations.

Templates: tests/data/templates, the model's own (HONE_TEST_GGUF), and every *.jinja of the folder HONE_TEST_TEMPLATES.
Where Transformers raises, the interpreter must fail as well. Run by pytest, or alone for a table by template.
"""
import datetime
import glob
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import texts  # noqa: E402

utils = pytest.importorskip("transformers.utils.chat_template_utils")
DATE = datetime.datetime(2026, 1, 31)


class FixedDate(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return DATE


utils.datetime = FixedDate
COUNT = texts.COUNT


def templates():
    found = {}
    folders = [os.path.join(texts.ROOT, "tests", "data", "templates"), os.environ.get("HONE_TEST_TEMPLATES", "")]
    for folder in filter(None, folders):
        for path in sorted(glob.glob(os.path.join(folder, "*.jinja"))):
            with open(path, encoding="utf-8", newline="") as f:
                found[os.path.basename(path)] = f.read()
    if texts.MODEL:
        from gguf import GGUFReader
        field = GGUFReader(texts.MODEL).fields.get("tokenizer.chat_template")
        if field:
            found["the model's own"] = field.contents()
    return found


def reference(template, request):
    try:
        out, _ = utils.render_jinja_template([request["messages"]], tools=request["tools"], chat_template=template,
                                             add_generation_prompt=request["add_generation_prompt"], bos_token="<s>", eos_token="</s>")
        return out[0]
    except Exception as e:  # whatever Python raises, a failure is a failure
        return e


def requests(template, count, seed):
    rng = texts.seeded(seed)
    return [{"op": "render", "template": template, "messages": texts.conversation(rng), "tools": rng.choice([None, None, texts.TOOLS]),
             "add_generation_prompt": rng.random() < 0.5, "bos_token": "<s>", "eos_token": "</s>", "date": "2026-01-31"}
            for _ in range(count)]


def differences(name, template, count):
    asked = requests(template, count, hash_of(name))
    bad, failed = [], 0
    for request, answer in zip(asked, texts.ask(asked)):
        want = reference(template, request)
        if isinstance(want, Exception):
            failed += 1
            if "error" not in answer:
                bad.append((request, repr(want), answer["text"]))
        elif answer.get("text") != want:
            bad.append((request, want, answer.get("text", answer.get("error"))))
        elif sum(size for _, size in answer["origins"]) != len(want.encode()):
            bad.append((request, "origins", answer["origins"]))
    return bad, failed


def hash_of(name):
    return sum(ord(c) * 31 ** i for i, c in enumerate(name)) % 2 ** 31


ALL = templates() if texts.MODEL else {}


@pytest.mark.skipif(not texts.MODEL, reason="HONE_TEST_GGUF is not set")
@pytest.mark.parametrize("name", sorted(ALL))
def test_renders_as_transformers(name):
    bad, _ = differences(name, ALL[name], max(50, COUNT // max(1, len(ALL))))
    assert not bad, "%d differ, the first:\n%r\nwant %r\nhave %r" % (len(bad), bad[0][0]["messages"], bad[0][1], bad[0][2])


if __name__ == "__main__":
    total = 0
    for key in sorted(ALL):
        differ, raised = differences(key, ALL[key], max(20, COUNT // max(1, len(ALL))))
        total += len(differ)
        print("%-50s %d differ, %d raise" % (key, len(differ), raised))
        for request, want, have in differ[:1]:
            print("   want", repr(want)[:600], "\n   have", repr(have)[:600])
    print(len(ALL), "templates,", total, "differences")
