"""Corrected copies of data sets: rows left out and labels set, byte for byte as an independent editor here makes them; what is refused; what is kept."""
import hashlib
import itertools
import json
import subprocess

import pytest
import requests

from daemon import HONED

TEXTS = ["good one", "bad two", "so, so three", 'say "four"', "line\nfive", "fünf sechs", "seven", "eight", "nine", "ten"]
LABELS = ["pos", "neg", "pos", "neg", "pos", "neg", "pos", "neg", "pos", "neg"]


@pytest.fixture
def served(start):
    return start(fake=False)


def upload(daemon, data, **query):
    reply = requests.post(f"{daemon.url}/datasets", data=data, params=query)
    assert reply.status_code in (200, 201), reply.text
    return reply.json()


def bytes_of(daemon, record):
    return (daemon.state / "datasets" / record["sha256"] / "data").read_bytes()


def correct(daemon, record, status=201, **body):
    reply = daemon.post(f"/datasets/{record['id']}/corrections", json=body)
    assert reply.status_code == status, reply.text
    return reply.json()


def refused(daemon, record, status=400, **body):
    return correct(daemon, record, status, **body)["error"]


def quoted(text, force=False):
    return '"' + text.replace('"', '""') + '"' if force or any(c in text for c in ',"\r\n') else text


def csv_rows(end, quote=False):
    """[(line, what stands before the label, what behind it)] and the header."""
    rows, line = [], 2
    for text in TEXTS:
        rows.append((line, f"{quoted(text)},", end, quote))
        line += 1 + text.count("\n")
    return "text,label" + end, rows


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_csv(served, end):
    """Quotes, rows of several lines, Windows line ends, a byte order mark, a blank line, a last line without an end."""
    for last, quote in ((True, False), (False, True)):
        try_csv(served, end, last, quote)


def try_csv(served, end, last, quote):
    head, rows = csv_rows(end, quote)
    mark = "\ufeff" if end == "\r\n" else ""

    def write(labels, out=()):
        text = mark + head + end + "".join(before + quoted(label, quote) + behind for (line, before, behind, _), label in zip(rows, labels) if line not in out)
        return (text if last else text.removesuffix(end)).encode()

    lines = [line + 1 for line, *_ in rows]  # for the blank line
    data = upload(served, write(LABELS), name="train.csv")
    assert data["rows"] == 10 and data["corrected_from"] is None
    labels = list(LABELS)
    labels[2], labels[4], labels[8] = "neg", "neg", 'so "so", or\nso'
    made = correct(served, data, exclude={"lines": [lines[1], f"{lines[5]}-{lines[6]}"]}, new_labels=True,
                   labels=[{"line": lines[i], "label": labels[i]} for i in (8, 4, 2)])
    assert bytes_of(served, made) == write(labels, [rows[i][0] for i in (1, 5, 6)])
    assert made["rows"] == 7 and made["name"] == "train.csv, corrected" and made["sha256"] == hashlib.sha256(bytes_of(served, made)).hexdigest()
    changes = [{"line": lines[i], "excluded": True} if i in (1, 5, 6) else {"line": lines[i], "from": LABELS[i], "to": labels[i]} for i in (1, 2, 4, 5, 6, 8)]
    assert made["corrected_from"] == {"dataset": data["id"], "sha256": data["sha256"], "excluded": 3, "relabelled": 3, "changes": changes}
    assert served.get(f"/datasets/{made['id']}").json() == made
    assert bytes_of(served, data) == write(LABELS) and served.get(f"/datasets/{data['id']}").json() == data
    # the last row
    ended = write(LABELS, [rows[9][0]])
    assert bytes_of(served, correct(served, data, exclude={"lines": [lines[9]]})) == (ended if last else ended + end.encode())


def test_other_columns(served):
    """Tabs, semicolons, other names, labels first, blanks around quotes, old Macs' line ends, no header."""
    cases = [
        ("a b\tpos\nc\tneg\n" * 6, {}, 2, "pos", lambda t: t.replace("c\tneg", "c\tpos", 1)),
        ("id;review;stars\n" + "".join(f"{i};t{i};{'up' if i % 2 else 'down'}\n" for i in range(12)), {"columns": '{"text":"review","label":"stars"}'}, 3, "down",
         lambda t: t.replace("1;t1;up", "1;t1;down", 1)),
        ("label,text\n" + "".join(f'"{l}", "x, {i}"\n' for i, l in enumerate(LABELS)), {}, 3, "pos", lambda t: t.replace('"neg", "x, 1"', '"pos", "x, 1"')),
        ("text,label\r" + "".join(f"x {i},{l}\r" for i, l in enumerate(LABELS)), {}, 11, "pos", lambda t: t.replace("x 9,neg", "x 9,pos")),
        ("text\tlabel\n" + "".join(f'"a\n{i}"\t{l}\n' for i, l in enumerate(LABELS)), {}, 4, "pos", lambda t: t.replace('1"\tneg', '1"\tpos')),
        ("text,label\n" + "".join(f"x {i},{i % 3}\n" for i in range(12)), {}, 2, 2, lambda t: t.replace("x 0,0", "x 0,2")),
        ("text,label\n" + "".join(f'x {i},"{i}.5"\n' for i in range(12)), {}, 2, 2.75, lambda t: t.replace('x 0,"0.5"', 'x 0,"2.75"')),
        ("text,label\n" + "".join(f"x {i},\"{i},5\"\n" for i in range(12)), {}, 2, "1,25", lambda t: t.replace('"0,5"', '"1,25"')),
    ]
    for text, query, line, label, edit in cases:
        data = upload(served, text.encode(), **query)
        made = correct(served, data, labels=[{"line": line, "label": label}])
        assert bytes_of(served, made).decode() == edit(text) != text and made["rows"] == data["rows"], text
        for name in ("format", "columns", "tasks", "problem"):
            assert made[name] == data[name], (name, text)


def test_jsonl(served):
    """Keys in any order and spelling, nested values before the label, types as other rows have them."""
    lines = [json.dumps({"text": t, "label": l}) for t, l in zip(TEXTS, LABELS)]
    lines[1] = '  {"l\\u0061bel" : "neg" , "text":"a \\"label\\": \\"x\\" }"}  '
    lines[2] = '{"extra": {"label": ["}", 1, {"a": "]"}], "n": NaN}, "text": "t", "label"\t:\t"pos"}'
    data = upload(served, ("\ufeff" + "\r\n".join(lines[:5]) + "\r\n\r\n" + "\r\n".join(lines[5:])).encode())
    made = correct(served, data, exclude={"lines": ["1", 11]}, labels=[{"line": 2, "label": "pos"}, {"line": 3, "label": "neg"}])
    want = list(lines)
    want[1] = want[1].replace('"neg"', '"pos"')
    want[2] = want[2].replace('"pos"}', '"neg"}')
    assert bytes_of(served, made).decode() == "\ufeff" + "\r\n".join(want[1:5]) + "\r\n\r\n" + "\r\n".join(want[5:9]) + "\r\n"
    # Numbers stay numbers, and lists lists.
    for values, given, stands in (([0, 1, 2] * 4, "2", "2"), (["0", "1", "x"] * 4, "1", '"1"'), ([0.5 + i / 8 for i in range(12)], 2.3, "2.3"),
                                  ([["a", "b"], ["b"], []] * 4, ["b", "a"], '["b", "a"]'), ([[0, 1], [1, 1], [0, 0]] * 4, [1, 0], "[1, 0]"),
                                  ([True, False] * 6, "false", "false")):
        text = "".join(json.dumps({"text": f"t {i}", "label": v}) + "\n" for i, v in enumerate(values))
        data = upload(served, text.encode())
        made = correct(served, data, labels=[{"line": 1, "label": given}])
        assert bytes_of(served, made).decode() == text.replace(f'"label": {json.dumps(values[0])}', f'"label": {stands}', 1) != text
        assert made["problem"] == data["problem"]


def test_json(served):
    """An array stays one, whichever elements go."""
    rows = [{"label": l, "text": f"{t}, ] {i}"} for i, (t, l) in enumerate(zip(TEXTS + ["eleven", "twelve"], LABELS + ["pos", "neg"]))]
    outs = [[0], [11], [3, 4, 5, 11], [0, 1, 9, 10, 11]]
    for out, text in itertools.product(outs, (json.dumps(rows, indent=1) + "\n", "[" + "\n,\n".join(json.dumps(r) for r in rows) + "]")):
        data = upload(served, text.encode())
        lines = [text[:text.index(json.dumps(r["text"]))].count("\n") + (-1 if text[1] == "\n" else 1) for r in rows]
        made = correct(served, data, exclude={"lines": [lines[i] for i in out]}, labels=[{"line": lines[7], "label": "pos"}])
        new = bytes_of(served, made).decode()
        assert json.loads(new) == [r | ({"label": "pos"} if i == 7 else {}) for i, r in enumerate(rows) if i not in out]
        assert sum(len(p) for p in new.split()) <= sum(len(p) for p in text.split()) and new[0] == "[" and new.endswith(text[text.rindex("]"):])


def test_conll(served):
    text = "# one\nEU B-ORG\nrejects O\n\n# two\nGerman B-MISC\ncall O\n\n\nIt O\nis O\n"
    data = upload(served, text.encode())
    assert data["format"] == "conll" and data["rows"] == 3
    assert bytes_of(served, correct(served, data, exclude={"lines": [2, 6]})).decode() == "# one\n# two\n\nIt O\nis O\n"
    assert bytes_of(served, correct(served, data, exclude={"lines": [10]})).decode() == text.split("It")[0]
    error = refused(served, data, labels=[{"line": 2, "label": "O"}])
    assert error["code"] == "unsupported" and error["field"] == "labels"


def test_bad_rows_stay(served):
    """What on_error=drop left out is in the copy as it was, and is left out there."""
    lines = [json.dumps({"text": t, "label": l}) for t, l in zip(TEXTS, LABELS)]
    lines.insert(3, "oops")
    data = upload(served, "\n".join(lines).encode(), on_error="drop")
    made = correct(served, data, exclude={"lines": [1]})
    assert bytes_of(served, made).decode() == "\n".join(lines[1:]) and made["dropped"] == data["dropped"] == 1
    assert "line 4" in refused(served, data, exclude={"lines": [4]})["message"]


def test_refusals(served):
    text = "text,label\n" + "".join(f"{quoted(t)},{l}\n" for t, l in zip(TEXTS, LABELS))
    data = upload(served, text.encode())
    before = len(served.get("/datasets").json()["data"])
    for body, field, words in [
        ({"exclude": {"lines": [1]}}, "exclude.lines[0]", "no row begins in line 1"),
        ({"exclude": {"lines": [2, 7]}}, "exclude.lines[1]", "no row begins in line 7"),
        ({"exclude": {"lines": ["40-50"]}}, "exclude.lines[0]", "no row begins in lines 40-50"),
        ({"exclude": {"lines": ["3-2"]}}, "exclude.lines[0]", "no line and no range"),
        ({"exclude": {"lines": ["2:3"]}}, "exclude.lines[0]", "no line and no range"),
        ({"exclude": {"lines": [-1]}}, "exclude.lines[0]", "no line and no range"),
        ({"exclude": {"lines": 3}}, "exclude.lines", "must be a list"),
        ({"exclude": [3]}, "exclude", "must be"),
        ({"exclude": {"line": [3]}}, "exclude.line", "no field"),
        ({"exclude": {"lines": ["1-99"]}}, "exclude.lines", "no row would be left"),
        ({"exclude": {"lines": [3]}, "labels": [{"line": 3, "label": "pos"}]}, "labels[0].line", "left out and given a label"),
        ({"labels": [{"line": 3, "label": "pos"}, {"line": 3, "label": "neg"}]}, "labels[1].line", "two labels"),
        ({"labels": [{"line": 3, "label": "Pos"}]}, "labels[0].label", '"Pos" stands in no row'),
        ({"labels": [{"line": 3, "label": ["pos"]}]}, "labels[0].label", "is a list"),
        ({"labels": [{"line": 3, "label": " "}]}, "labels[0].label", "no label"),
        ({"labels": [{"line": 3, "label": {}}]}, "labels[0].label", "no label"),
        ({"labels": [{"line": 3}]}, "labels[0].label", "needs a line and a label"),
        ({"labels": [{"label": "pos"}]}, "labels[0].line", "needs a line and a label"),
        ({"labels": [{"line": "3", "label": "pos"}]}, "labels[0].line", "line"),
        ({"labels": [{"line": 3, "lable": "pos"}]}, "labels[0].lable", "no field"),
        ({"labels": [{"line": 99, "label": "pos"}]}, "labels[0].line", "no row begins in line 99"),
        ({"labels": {"line": 3}}, "labels", "must be a list"),
        ({"labels": [3]}, None, "must be {"),
        ({"labels": [{"line": 3, "label": "neg"}]}, None, "nothing would change"),
        ({}, None, "nothing would change"),
        ({"exlude": {"lines": [3]}}, "exlude", "no field"),
        ({"exclude": {"lines": [3]}, "name": "n" * 201}, "name", "200"),
        ({"exclude": {"lines": [3]}, "new_labels": 1}, None, "new_labels"),
    ]:
        error = refused(served, data, **body)
        assert words in error["message"] and (field is None or error["field"] == field), (body, error)
    assert len(served.get("/datasets").json()["data"]) == before and not list((served.state / "tmp").iterdir())
    # Values to predict are numbers; other kinds of rows have no labels; two rows in one line are not told apart.
    values = upload(served, ("text,label\n" + "".join(f"x {i},{i}.5\n" for i in range(20))).encode())
    assert "no number" in refused(served, values, labels=[{"line": 2, "label": "x"}])["message"]
    chats = upload(served, b'{"prompt":"a","completion":"b"}\n' * 3)
    assert "prompt and completion" in refused(served, chats, labels=[{"line": 1, "label": "x"}])["message"]
    assert correct(served, chats, exclude={"lines": [2]})["rows"] == 2
    flat = upload(served, json.dumps([{"text": t, "label": l} for t, l in zip(TEXTS, LABELS)]).encode())
    assert "several rows begin in line 1" in refused(served, flat, exclude={"lines": [1]})["message"]
    assert correct(served, flat, exclude={"lines": ["#2-3"]})["rows"] == len(TEXTS) - 2
    error = refused(served, flat, exclude={"lines": [f"#{len(TEXTS) + 1}"]})
    assert f"there are {len(TEXTS)} rows" in error["message"] and error["field"] == "exclude.lines[0]"
    rows = served.get(f"/datasets/{flat['id']}/rows", params={"lines": "#2,#4-5"}).json()["data"]
    assert [row["row"] for row in rows] == [2, 4, 5] and rows[0]["text"] == TEXTS[1], rows
    squad = {"data": [{"title": "t", "paragraphs": [{"context": "a b c", "qas": [{"id": "1", "question": "q?", "answers": [{"text": "a", "answer_start": 0}]}]}]}]}
    nested = upload(served, json.dumps(squad).encode())
    error = refused(served, nested, exclude={"lines": [1]})
    assert error["code"] == "unsupported" and "rows" in error["hint"]
    assert served.post("/datasets/ds_none/corrections", json={}).status_code == 404
    tabs = upload(served, ("text\tlabel\n" + "".join(f"x {i}\t{l}\n" for i, l in enumerate(LABELS))).encode())
    assert "cannot be written" in refused(served, tabs, labels=[{"line": 2, "label": "a\tb"}], new_labels=True)["message"]


def test_read_otherwise(served):
    """Where the rows that go are what the others are read by, nothing is made."""
    data = upload(served, "".join(f"c{i}\t{'x' if i % 2 else 'y'}\n" for i in range(12)).encode())
    error = refused(served, data, 409, exclude={"lines": ["2-12"]})
    assert "read otherwise" in error["message"] and error["code"] == "conflict" and not list((served.state / "tmp").iterdir())
    assert correct(served, data, exclude={"lines": ["2-3"]})["rows"] == 10


def test_rows_by_line(served):
    text = "text,label\n" + "".join(f"{quoted(t)},{l}\n" for t, l in zip(TEXTS, LABELS))
    data = upload(served, text.encode())
    get = lambda lines: served.get(f"/datasets/{data['id']}/rows?lines={lines}")
    assert get("6,2-3,7").json() == {"data": [{"line": n, "row": i + 1, "text": TEXTS[i], "label": LABELS[i]} for n, i in ((6, 4), (2, 0), (3, 1))]}
    assert get("999").json() == {"data": []}
    assert [get(wrong).json()["error"]["field"] for wrong in ("", "0", "a", "3-2", "2:3", "3,,4")] == ["lines"] * 6
    long = upload(served, json.dumps({"text": "ü" * 3000}).encode())
    (row,) = served.get(f"/datasets/{long['id']}/rows?lines=1").json()["data"]
    assert row == {"line": 1, "row": 1, "text": "ü" * 2000, "label": None, "truncated": True}


def test_kept(served):
    """The same again is the same data set; a copy of a copy; what it was made of outlives a restart and a lost store."""
    data = upload(served, ("text,label\n" + "".join(f"{quoted(t)},{l}\n" for t, l in zip(TEXTS, LABELS))).encode(), name="d")
    first = correct(served, data, exclude={"lines": [3]}, name="first")
    assert correct(served, data, 200, exclude={"lines": ["3-3", 3]}) == first and first["name"] == "first"
    second = correct(served, first, labels=[{"line": 2, "label": "neg"}])
    assert second["name"] == "first, corrected" and second["corrected_from"]["dataset"] == first["id"]
    assert correct(served, second, exclude={"lines": [2]})["name"] == "first, corrected"
    listed = {d["id"]: d for d in served.get("/datasets").json()["data"]}
    assert listed[first["id"]]["corrected_from"] == {k: v for k, v in first["corrected_from"].items() if k != "changes"}
    back = correct(served, second, 200, labels=[{"line": 2, "label": "pos"}])
    assert back == first  # content decides
    assert served.delete(f"/datasets/{data['id']}").status_code == 204
    served.stop()
    for file in served.state.glob("hone.db*"):
        file.unlink()
    done = subprocess.run([HONED, "rebuild", "--state", served.state], capture_output=True, text=True, env=served.env, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    served.start()
    assert served.get(f"/datasets/{first['id']}").json() == first


def test_limits(start):
    """A copy that would be larger than an upload may be; a file that is no more what was taken in."""
    text = "text,label\n" + "".join(f"{quoted(t)},{l}\n" for t, l in zip(TEXTS, LABELS))
    small = start("--max_upload", str(len(text) + 3), fake=False)
    data = upload(small, text.encode())
    assert refused(small, data, 413, labels=[{"line": 2, "label": "longer label"}], new_labels=True)["code"] == "too_large"
    assert correct(small, data, labels=[{"line": 2, "label": "posi"}], new_labels=True)["label_count"] == 3
    file = small.state / "datasets" / data["sha256"] / "data"
    file.chmod(0o600)
    file.write_bytes(file.read_bytes().replace(b"seven", b"SEVEN"))
    assert refused(small, data, 422, exclude={"lines": [2]})["code"] == "dataset_invalid"
    assert not list((small.state / "tmp").iterdir())
