"""Files as spreadsheets, other tools and habits leave them: read where people would expect it, else named for what they are."""
import io
import json
import zipfile

import pytest
import requests


@pytest.fixture
def daemon(start):
    return start(fake=False)


ROWS = [(f"a text, number {i}", "good" if i % 2 else "bad") for i in range(24)]


def upload(daemon, data, **query):
    return requests.post(f"{daemon.url}/datasets", data=data, params=query)


def lines(end, delimiter=";", first="", header="text;label"):
    return (first + header.replace(";", delimiter) + end + "".join(f'"{text}"{delimiter}{label}{end}' for text, label in ROWS)).encode()


def conll(columns, end="\n", comment=""):
    return (comment + end.join(end.join(columns.format(i=i + 1, word=word, tag=tag) for i, (word, tag) in enumerate(
        [("EU", "B-ORG"), ("rejects", "O"), ("German", "B-MISC"), ("#", "O")])) + end for _ in range(12)) + end).encode()


def test_read(daemon):
    for data, rows in [
    (lines("\n", first="sep=;\n"), 24),
    (lines("\r\n", ",", first="SEP=,\r\n"), 24),
    (lines("\r"), 24),
    (lines("\r", "\t"), 24),
    (b"\xef\xbb\xbf" + lines("\r\n", first="sep=;\r\n"), 24),
    (lines("\n", "|", first="sep=|\n"), 24),
    (lines("\n") + b"text;label\n" + lines("\n"), 48),  # put together of two, with the header of each
    (b"".join(json.dumps({"text": t, "label": y}).encode() + b"\r" for t, y in ROWS), 24),
    ]:
        reply = upload(daemon, data)
        assert reply.status_code == 201, reply.text
        told = reply.json()
        assert told["rows"] == rows and told["problem"] == "single_label", told
        assert [(one["label"], one["rows"]) for one in told["labels"]] == [("bad", rows // 2), ("good", rows // 2)]


def test_conll(daemon):
    for data in [
    conll("{word}\t{tag}"), conll("{word} NNP B-NP {tag}"), conll("{i}\t{word}\t_\t{tag}"), conll("{word}\t{tag}", "\r\n"),
    conll("{word} {tag}", comment="-DOCSTART- O\n\n"), conll("{word}\t{tag}", comment="# id = 1\n"), conll("{word}\t{tag}", "\r")
    ]:
        reply = upload(daemon, data)
        assert reply.status_code == 201, reply.text
        told = reply.json()
        assert (told["format"], told["rows"], told["tasks"]) == ("conll", 12, ["token_classification"]), told
        assert [(one["label"], one["rows"]) for one in told["labels"]] == [("B-MISC", 12), ("B-ORG", 12), ("O", 24)]


def test_conll_by_name(daemon):
    """Tags that are no spans are not recognised by looking."""
    data = b"The\tDT\nfilm\tNN\n\n" * 12
    told = upload(daemon, data, format="conll").json()
    assert told["rows"] == 12 and [one["label"] for one in told["labels"]] == ["DT", "NN"], told
    error = upload(daemon, data + b"film\n\n" + data, format="conll").json()["error"]
    assert error["details"][0]["line"] == 37 and "no tag" in error["message"], error


def archive(name):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("[Content_Types].xml", "<x/>")
        file.writestr(name, "<x/>")
    return out.getvalue()


def test_named(daemon):
    for data, words in [
    (archive("xl/workbook.xml"), "Excel workbook"),
    (archive("word/document.xml"), "Word document"),
    (archive("anything.csv"), "archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "older Office"),
    (b"%PDF-1.7\n%\xe2\xe3\n", "PDF"),
    ("text,label\n".encode("utf-16") + "a,b\n".encode("utf-16-le") * 20, "UTF-16"),
    ("text,label\n".encode("utf-16-le") + "a,b\n".encode("utf-16-le") * 20, "UTF-16"),
    (b"PAR1" + bytes(64), "Parquet"),
    ]:
        reply = upload(daemon, data)
        error = reply.json()["error"]
        assert reply.status_code == 422 and words in error["message"] and error["hint"], error


def test_numbers_that_json_has_not(daemon):
    """In columns that nobody uses they do not matter; where they are used they are what they say."""
    unused = [f'{{"id": {2**64 + i}, "score": {bad}, "prompt": "a {i}", "completion": "b"}}' for i, bad in
              enumerate(["NaN", "-Infinity", "Infinity", "1e999", "-1e999", "0.5"] * 4)]
    told = upload(daemon, "\n".join(unused).encode()).json()
    assert told["rows"] == 24 and {w["code"] for w in told["warnings"]} == {"ignored_column"}, told
    labels = [f'{{"text": "a \\"NaN\\" {i}", "label": {2**64 + i % 2}}}' for i in range(24)]
    told = upload(daemon, "\n".join(labels).encode()).json()
    assert [one["label"] for one in told["labels"]] == [str(2**64), str(2**64 + 1)], told
    error = upload(daemon, b'{"text": "a", "label": NaN}\n' * 12).json()["error"]
    assert error["details"][0]["field"] == "label" and error["details"][0]["line"] == 1, error
    error = upload(daemon, b'{"text": "a", "label": 0.5, "x": nan}\n' * 12).json()["error"]
    assert "JSON" in error["message"], error


def test_a_header_is_no_row(daemon):
    """Not even where the columns are mapped by their numbers."""
    data = "title,body\n" + "".join(f"how many {i}?,{i}\n" for i in range(12))
    told = upload(daemon, data.encode(), columns='{"prompt": "col1", "completion": "col2"}').json()
    assert told["rows"] == 12 and "guessed_columns" in [w["code"] for w in told["warnings"]], told
    told = upload(daemon, data[data.index("\n") + 1:].encode(), columns='{"prompt": "col1", "completion": "col2"}').json()
    assert told["rows"] == 12 and "guessed_columns" not in [w["code"] for w in told["warnings"]], told


@pytest.mark.parametrize("header, columns", [
    ("ticket_id,created,message,category,channel", {"text": "message", "label": "category"}), ("id,Review,Sentiment", {"text": "Review", "label": "Sentiment"}),
    ("question,answer,source", {"prompt": "question", "completion": "answer"}), ("prompt,response", {"prompt": "prompt", "completion": "response"}),
    ("text,category,day", {"text": "text", "label": "category"}), ("comment,stars,day", {"text": "comment", "label": "stars"}),
    ("text,stars,day", {"text": "text"}), ("review,comment,category", None), ("context,question,answer", None), ("kind,notes,day", None)])
def test_names_that_columns_usually_have(daemon, header, columns):
    """Say what the columns are, with a warning, unless two may be meant; columns= says otherwise; what is not recognised is told once."""
    n = header.count(",") + 1
    data = (header + "\n" + "".join(",".join(f"a value {i * n + k}" for k in range(n)) + "\n" for i in range(12))).encode()
    reply = upload(daemon, data)
    if not columns:
        error = reply.json()["error"]
        assert reply.status_code == 422 and len(error["details"]) == 1 and all(name in error["message"] for name in header.split(",")), error
        return
    told = reply.json()
    guessed = [w["message"] for w in told["warnings"] if w["code"] == "guessed_columns"]
    assert told["columns"] == columns and told["rows"] == 12, told
    assert len(guessed) == (header != "text,stars,day") and all(name in guessed[0] for name in columns.values() if guessed), told
    first = header.split(",")[0]
    assert upload(daemon, data, columns=json.dumps({"text": first})).json()["columns"] == {"text": first}
    rows = [dict(zip(header.split(","), (f"a value {i * n + k}" for k in range(n)))) for i in range(12)]
    told = upload(daemon, "".join(json.dumps(row) + "\n" for row in rows).encode()).json()
    assert told["columns"] == (columns if "text" not in header.split(",") else {"text": "text"}), told


def test_the_other_of_two_columns(daemon):
    """Beside a text, a column of any name whose values repeat is its label; one whose values do not is left aside."""
    rows = [f"a text number {i},{'angry' if i % 3 else 'calm'}" for i in range(24)]
    told = upload(daemon, "\n".join(["text,mood", *rows]).encode()).json()
    assert [(one["label"], one["rows"]) for one in told["labels"]] == [("angry", 16), ("calm", 8)] and "guessed_columns" in [w["code"] for w in told["warnings"]], told
    told = upload(daemon, "\n".join(["points,text", *(f"{i / 7:.3f},words {i}" for i in range(24))]).encode()).json()
    assert told["problem"] == "regression" and told["rows"] == 24, told
    told = upload(daemon, "\n".join(["text,remark", *(f"a text {i},remark {i}" for i in range(24))]).encode()).json()
    assert told["labels"] is None and "ignored_columns" in [w["code"] for w in told["warnings"]] or told["tasks"] == ["generation"], told


def table(header, rows):
    return "".join(line + "\n" for line in [header, *rows] if line is not None).encode()


WORDS = [f"a text of number {i},{'good' if i % 2 else 'bad'}" for i in range(24)]
VALUES = [f"a text of number {i},{i}.5" for i in range(24)]
BY_NUMBER = json.dumps({"text": "col1", "label": "col2"})


def test_headers(daemon):
    """Names in any words are no row, and no row of data is taken for them."""
    for header, rows, columns, n in [
    ("文本,标签", WORDS, None, 24),
    ("文本,得分", VALUES, None, 24),
    ("Текст,Оценка", WORDS[:10], None, 10),
    ("Phrase,Étiquette", WORDS, None, 24),
    ("Review,Score (1-5)", VALUES, None, 24),
    ("comment_text,toxic?", WORDS, None, 24),
    ("Text der Bewertung,Stimmung des Autors", WORDS, None, 24),
    ("text:string,label:int", VALUES, None, 24),
    ("Tweet text,Price EUR", VALUES, BY_NUMBER, 24),
    ("Tweet text,My sentiment,Id", [f"{row},{i}" for i, row in enumerate(WORDS)], BY_NUMBER, 24),
    ("text,label,,", [f"{row},," for row in WORDS], None, 24),
    (",text,label", [f"{i},{row}" for i, row in enumerate(WORDS)], None, 24),
    ("text,label,label", [f"{row},{i}" for i, row in enumerate(WORDS)], BY_NUMBER, 24),
    ('text,label', WORDS + ['"text","label"', "Text, Label", "\ufefftext,label", '\ufeff"text","label"'] + WORDS, None, 48),
    (None, WORDS, None, 24),
    (None, WORDS, BY_NUMBER, 24),
    ("This was by far the best of all that I have seen,superb", WORDS, None, 25),  # a sentence with a rare label is a row
    ("很好的电影，我很喜欢,极好", WORDS, None, 25),
    ("Nothing to complain about,fine", WORDS + ["Not what we wanted,meh"], None, 26),  # others are rare as well
    ]:
        told = upload(daemon, table(header, rows), **({"columns": columns} if columns else {})).json()
        assert told.get("rows") == n, (header, told)
        names = ["bad", "good"] if "good" in rows[1] else []
        assert n != 24 or told["problem"] == ("single_label" if names else "regression"), (header, told)
        assert n != 24 or [one["label"] for one in told["labels"] if names] == names, (header, told)
    error = upload(daemon, table("text,label,label", [f"{row},1" for row in WORDS])).json()["error"]
    assert 'two columns of the header are called "label"' in error["message"] and error["hint"], error
    error = upload(daemon, table("Nummer,Inhalt", [f"{i},a text of number {i}" for i in range(24)])).json()["error"]
    assert "columns" in error["message"], error


def test_a_look_stores_nothing_and_tells_faults(daemon):
    """What a file would be taken as, with its first rows as they are; columns that are not known, and rows that cannot be used, are no refusal."""
    head, rows = "id;message;category\n", "".join(f"{i};where is {i};{'ab'[i % 2]}\n" for i in range(30))
    told = upload(daemon, (head + rows).encode(), dry_run=1).json()
    assert (told["format"], told["columns"], told["tasks"], told["rows"]) == ("csv", {"text": "message", "label": "category"}, ["classification"], 30)
    assert told["error"] is None and told["label_count"] == 2 and told["labels"] == [{"label": "a", "rows": 15}, {"label": "b", "rows": 15}]
    assert len(told["sample"]) == 20 and told["sample"][1] == {"line": 3, "cells": {"id": "1", "message": "where is 1", "category": "b"}}
    told = upload(daemon, (head + rows + ";".join("xyz") + "; too many\n" + "31;;a\n").encode(), dry_run=1).json()
    assert told["error"]["total"] == 2 == told["dropped"] and [d["line"] for d in told["error"]["details"]] == [32, 33] and told["columns"]
    told = upload(daemon, b"q;a;b\n" + b"who;me;you\n" * 30, dry_run=1).json()
    assert told["columns"] is None and told["tasks"] == [] and told["sample"][0]["cells"] == {"col1": "q", "col2": "a", "col3": "b"} and told["error"]
    told = upload(daemon, b"q;a;b\n" + b"who;me;you\n" * 30, dry_run=1, columns='{"prompt":"q","completion":"b"}').json()
    assert told["columns"] == {"prompt": "q", "completion": "b"} and told["rows"] == 30 and told["error"] is None
    long = upload(daemon, json.dumps({"text": "\u00e9" * 4000, "n": [1] * 4000}).encode(), dry_run=1).json()
    cells = long["sample"][0]["cells"]
    assert cells["text"] == "\u00e9" * 150 + " \u2026" and cells["n"].startswith("[1,1,") and len(cells["n"]) < 310
    assert upload(daemon, lines("\n"), dry_run=1, columns='{"texts":"a"}').status_code == 400
    assert requests.get(f"{daemon.url}/datasets").json()["data"] == []


BLOCK = "EU\tB-ORG\nrejects\tO\nGerman\tB-MISC\n#call\tO\n\n"


def test_tags_in_other_spellings(daemon):
    for data, rows, labels in [
    (BLOCK.replace("-", "_") * 12, 12, ["B_MISC", "B_ORG", "O"]),
    (BLOCK.lower() * 12, 12, ["b-misc", "b-org", "o"]),
    (BLOCK.replace("\tO", "\t0") * 12, 12, ["0", "B-MISC", "B-ORG"]),
    ("Word\tTag\n" + BLOCK.replace("B-", "") * 12, 12, ["MISC", "O", "ORG"]),
    ("Wort\tArt\n" + BLOCK * 12, 12, ["B-MISC", "B-ORG", "O"]),
    (BLOCK.replace("B-ORG", "O").replace("B-MISC", "O") * 3000 + BLOCK, 3001, ["B-MISC", "B-ORG", "O"]),
    ]:
        told = upload(daemon, data.encode()).json()
        assert (told.get("format"), told.get("rows"), told.get("tasks")) == ("conll", rows, ["token_classification"]), (data[:60], told)
        assert [one["label"] for one in told["labels"]] == labels, told
    for broken, words in [("New\tYork\tO\n", "3 columns"), ("York\n", "no tag")]:
        error = upload(daemon, (BLOCK * 3 + broken + BLOCK).encode()).json()["error"]
        assert error["details"][0]["line"] == 16 and words in error["message"], error
        told = upload(daemon, (BLOCK * 3 + broken + BLOCK).encode(), on_error="drop").json()
        assert (told["format"], told["rows"], told["dropped"]) == ("conll", 3, 1), told
    told = upload(daemon, (BLOCK.replace("B-", "") * 12).encode()).json()
    assert told["format"] == "tsv" and "looks_like_conll" in [w["code"] for w in told["warnings"]], told
    error = upload(daemon, (BLOCK.replace("B-", "").replace("\t", " ") * 12).encode()).json()["error"]
    assert "format=conll" in error["hint"], error
    for data in ["text\tlabel\n" + "good\tB-1\nbad\tE-2\n" * 12, "text\tlabel\n" + "a good one\tyes\na bad one\tno\n\n" * 12]:
        told = upload(daemon, data.encode()).json()
        assert told["format"] == "tsv" and "looks_like_conll" not in [w["code"] for w in told["warnings"]], told
