"""What the parity tests of text share: the tool under test, varied strings, varied conversations."""
import json
import os
import random
import subprocess
import unicodedata

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODEL = os.environ.get("HONE_TEST_GGUF", "")
COUNT = int(os.environ.get("HONE_TEST_COUNT", "6000"))  # varied texts of each test; the soak takes more
TOOL = os.path.join(os.environ.get("HONE_BUILD", os.path.join(ROOT, "build")), "tests", "texttool")


def ask(requests, model=None):
    """One answer for each request, from one run of texttool."""
    lines = "\n".join(json.dumps(r) for r in requests) + "\n"
    run = subprocess.run([TOOL, model or MODEL], input=lines, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    return [json.loads(line) for line in run.stdout.rstrip("\n").split("\n")]


PIECES = [
    "a", "b", "the", "The", " quick", " ", "  ", "\n", "\n\n", "\r\n", "\t", "1", "23", "4567", "é", "e\u0301", "中文", "日本語", "カナ",
    "العربية", "हिन्दी", "👩‍👩‍👧", "🇩🇪", "\u200d", "\x00", "\x07", "\x1c", "\x7f", "\x85", "\xa0", "\u180e", "\u2028", "\ufeff", "\ufffd",
    "ſ", "'s", "'LL", "’", "...", "==", "!=", "<|im_start|>", "<|im_end|>", "<|im_", "end|>", "½", "Ⅷ", "٣", "ß", "ǅ", "한국어",
    "\u1100\u1161", "def f(x):\n    return x", "{{ x }}", "{% if %}", "<think>", "</think>", "<tool_call>", "\\n", '"quoted"', "&amp;",
    "https://example.org/?a=1&b=2", "snake_case", "CamelCase", "3.14e-10", "        ", "-" * 20, "。", "、", "¿", "™", "𝔘", "\U0001F9FF",
]


def varied_text(rng, pieces=None):
    return "".join(rng.choice(pieces or PIECES) for _ in range(rng.randrange(1, 30)))


def random_text(rng):
    """Characters of all kinds that Python's Unicode tables know."""
    blocks = [(0x20, 0x7F), (0xA0, 0x24F), (0x370, 0x6FF), (0x900, 0x1FFF), (0x2000, 0x2BFF), (0x3000, 0x30FF), (0x4E00, 0x9FFF),
              (0xAC00, 0xD7A3), (0xE000, 0xFFFD), (0x10000, 0x10FFF), (0x1F300, 0x1FAFF), (0, 0x20)]
    chars = (chr(rng.randrange(*rng.choice(blocks))) for _ in range(rng.randrange(1, 60)))
    return "".join(c for c in chars if unicodedata.category(c) != "Cn")


def data_texts(limit):
    """Lines of the files in HONE_TEST_DATA, a folder, if there is one."""
    out, folder = [], os.environ.get("HONE_TEST_DATA", "")
    for base, _, names in os.walk(folder) if folder else []:
        for name in sorted(names):
            if name.endswith((".txt", ".tsv", ".csv", ".jsonl", ".md", ".json", ".py", ".c")):
                with open(os.path.join(base, name), encoding="utf-8", errors="replace") as f:
                    for line in f:
                        out.append(line)
                        if len(out) >= limit:
                            return out
    return out


TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "The weather of a place \"now\".", "parameters": {
        "type": "object", "properties": {"city": {"type": "string", "description": "Näme"}, "days": {"type": "integer", "default": 1},
                                         "unit": {"type": "string", "enum": ["C", "F"]}}, "required": ["city"]}}},
    {"type": "function", "function": {"name": "add", "description": "a < b & c > d", "parameters": {
        "type": "object", "properties": {"x": {"type": "number"}, "list": {"type": "array", "items": {"type": "string"}},
                                         "either": {"type": ["string", "null"]}}, "required": []}, "return": {"type": "number"}}},
]


def conversation(rng):
    """A conversation as people have them, now and then one that they should not have."""
    text = lambda: rng.choice([varied_text(rng), varied_text(rng, ["hello", " world", "\n", "é", "<|im_end|>", " ", "1"]), "Hi", "  padded \n"])
    messages = []
    if rng.random() < 0.4:
        messages.append({"role": "system", "content": text()})
    if rng.random() < 0.05:
        messages.append({"role": "developer", "content": text()})
    for _ in range(rng.randrange(1, 4)):
        messages.append({"role": "user", "content": text()})
        answer = {"role": "assistant", "content": text()}
        if rng.random() < 0.2:
            answer["reasoning_content"] = text()
        elif rng.random() < 0.2:
            answer["content"] = "<think>\n" + text() + "\n</think>\n\n" + text()
        if rng.random() < 0.25:
            arguments = {"city": text(), "days": rng.randrange(5), "deep": {"a": [1, 2.5, None, True], "b": text()}}
            call = {"type": "function", "id": "call00%03d" % rng.randrange(1000), "function": {"name": "get_weather", "arguments": arguments}}
            answer["tool_calls"] = [call] * rng.choice([1, 1, 2])
            if rng.random() < 0.5:
                answer["content"] = ""
            messages.append(answer)
            for one in answer["tool_calls"]:
                result = rng.choice([text(), json.dumps({"temperature": 21.5, "text": text()})])
                messages.append({"role": "tool", "name": "get_weather", "tool_call_id": one["id"], "content": result})
            answer = {"role": "assistant", "content": text()}
        messages.append(answer)
    if rng.random() < 0.2:
        messages.pop()
    if rng.random() < 0.03:
        messages.reverse()
    return messages


def seeded(seed):
    return random.Random(seed)
