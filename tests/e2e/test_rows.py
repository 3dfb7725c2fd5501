"""Which rows a job trains on and which it holds out: folds, shares, lines that are left out; in plans, runs and answers."""
import csv
import io
import json
import random

import pytest

import test_scores
import tiny
from test_scores import common


@pytest.fixture
def served(with_models):
    return with_models("bert")


def table(n, seed=1):
    """CSV: every third row is "rare"; an author writes five rows."""
    chance, out = random.Random(seed), io.StringIO()
    rows = csv.writer(out)
    rows.writerow(["text", "label", "author"])
    rows.writerows([f"{tiny.sentence(chance)} {i}", "common" if i % 3 else "rare", f"a{i // 5}"] for i in range(n))
    return out.getvalue().encode()


def plan(daemon, data, **more):
    return daemon.post("/jobs?dry_run=1", json={"model": "bert", "dataset": data, **more})


def upload(daemon, data):
    reply = daemon.post("/datasets?name=d&columns=%7B%22text%22%3A%22text%22%2C%22label%22%3A%22label%22%7D", data=data)
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]


KNOBS = {"max_steps": 1, "batch_size": 4, "max_length": 32}


def test_every_row_is_held_out_once(served):
    """Jobs over all folds: the scored lines are all lines, each once, an author's together; the folds are told."""
    data, seen = upload(served, table(60)), {}
    for fold in (1, 2, 3):
        asked = {"fold": fold, "folds": 3, "group_by": "author", "seed": 5}
        job = served.post("/jobs", json={"model": "bert", "dataset": data, "validation": asked, "hyperparameters": KNOBS}).json()
        assert job["validation"] == {**asked, "rows": 20} and job["dataset_counts"]["used"] == 40, job
        served.wait(job["id"], "succeeded")
        run = served.state / "runs" / job["id"]
        spec = json.loads((run / "spec.json").read_text())["run"]
        assert spec["validation"] == asked and spec["export_step"] == "best"
        rows = test_scores.read(run / "scores/1.bin")["rows"]
        assert len(rows) == 20 and 5 <= sum(rows["label"] == 1) <= 9  # labels are sorted: common, rare
        for line in rows["line"]:
            assert seen.setdefault(int(line), fold) == fold
    assert set(seen) == set(range(2, 62))
    assert all(len({seen[2 + 5 * author + i] for i in range(5)}) == 1 for author in range(12))


def test_what_is_left_out_is_told(served):
    data = upload(served, table(300))
    for rows, used, words in [({"share": 0.25, "seed": 1}, 68, "0 by their lines, 0 at random, 202 beyond"),
                              ({"count": 50}, 50, "220 beyond"), ({"random_out": 20, "seed": 2}, 250, "0 by their lines, 20 at random"),
                              ({"exclude": ["2-31", 40, 999], "random_out": 10, "share": 0.5}, None, "10 at random")]:
        reply = plan(served, data, rows=rows)
        found = reply.json()
        told = {w["code"]: w["message"] for w in found["warnings"]}
        assert words in told["left_out"] and found["dropped"] == 0, told
        assert found["rows"] + found["left_out"] == 270 and used in (None, found["rows"])
        assert ("exclude_without_effect" in told) == ("exclude" in rows)
    assert plan(served, data).json()["left_out"] == 0


def test_part_of_the_identity(served):
    """Another share is another run; the same one is the same to the bit, and trains on so many rows."""
    data, results = upload(served, table(80)), {}
    for name, rows in (("all", None), ("half", {"share": 0.5, "seed": 1}), ("half again", {"share": 0.5, "seed": 1}),
                       ("other half", {"share": 0.5, "seed": 2})):
        body = {"model": "bert", "dataset": data, "validation": 0.25, "rows": rows, "hyperparameters": {**KNOBS, "max_steps": 3}}
        job = served.post("/jobs", json=body).json()
        assert served.wait(job["id"], "succeeded")["dataset_counts"]["left_out"] == (30 if rows else 0)
        run = served.state / "runs" / job["id"]
        assert json.loads((run / "spec.json").read_text())["run"].get("rows") == rows
        assert [e["data"]["rows"] for e in common.events(run, "plan")] == [30 if rows else 60]
        results[name] = test_scores.files(run, "artifacts")["peft/adapter_model.safetensors"]
        lines = test_scores.read(run / "scores/3.bin")
        assert results.setdefault("validation", lines["sha256"]) == lines["sha256"]
    assert results["half"] == results["half again"]
    assert len({results["all"], results["half"], results["other half"]}) == 3


def test_rows_by_number(served):
    """Rows of files that have many in one line are left out by number."""
    asked = [{"id": str(i), "question": f"who is {i}?", "answers": [{"text": "old", "answer_start": 4}]} for i in range(12)]
    data = served.post("/datasets?name=q", data=json.dumps({"data": [{"title": "t", "paragraphs": [{"context": "the old man and the sea", "qas": asked}]}]})).json()["id"]
    for exclude, left_out in ((["#2", "#5-6"], 3), (["#12", "1:#11-12"], 2), (["#13"], 0)):
        told = plan(served, data, validation="none", rows={"exclude": exclude}, hyperparameters={"max_steps": 1}).json()
        warnings = {w["code"]: w["message"] for w in told["warnings"]}
        assert told["rows"] == 12 - left_out and ("exclude_without_effect" in warnings) == (exclude == ["#13"]), told


def test_choices_are_made_for_the_rows_in_use(served):
    """What auto chooses follows the number of rows that are trained on."""
    data = upload(served, table(1500))
    whole, part = (plan(served, data, rows=rows).json() for rows in (None, {"count": 400}))
    assert whole["hyperparameters"]["batch_size"] == 16 and part["hyperparameters"]["batch_size"] == 8
    assert "400 training rows" in part["auto"]["epochs"]


@pytest.mark.parametrize("fields, field, words, hint", [
    ({"validation": {"fold": 1, "folds": 21}}, "validation.folds", 'label "rare" has 20 rows, fewer than the 21 folds', "fewer folds"),
    ({"validation": {"fold": 1, "folds": 61}}, "validation.folds", "61 folds of 60 rows", ""),
    ({"validation": {"fold": 1, "folds": 13, "group_by": "author"}}, "validation.folds", "only 12 sets", "another column"),
    ({"validation": {"fold": 1, "folds": 3, "group_by": "autor"}}, "validation.group_by", '"autor"', 'did you mean "author"'),
    ({"validation": {"fold": 1, "folds": 3, "group": "x"}}, "validation.group", "no field", "group_by"),
    ({"validation": {"fold": 4, "folds": 3}}, "validation.fold", "no fold 4 of 3", ""),
    ({"validation": {"folds": 3}}, "validation.fold", "needs both", ""),
    ({"validation": {"fold": 1, "folds": 1}}, "validation.folds", "", ""),
    ({"validation": {"fold": 1, "folds": 3, "dataset": "ds_x"}}, "validation.dataset", "", ""),
    ({"rows": {"share": 0}}, "rows.share", "above 0", "quarter"),
    ({"rows": {"shar": 0.5}}, "rows.shar", "no field", "rows.share"),
    ({"rows": {"count": 55}, "validation": 0.25}, "rows.count", "of 45 training rows", "smaller"),
    ({"rows": {"random_out": 60}, "validation": "none"}, "rows.random_out", "of 60 training rows", "smaller"),
    ({"rows": {"exclude": ["7-3"]}}, "rows.exclude[0]", "no range of lines", "20-30"),
    ({"rows": {"exclude": ["1-99"]}, "validation": 0.25}, "rows.exclude", "all 45 training rows", "leave some"),
    ({"rows": [1]}, "rows", "object", "share")])
def test_refused(served, fields, field, words, hint):
    reply = plan(served, upload(served, table(60)), **fields)
    error = reply.json()["error"]
    assert reply.status_code == 400 and error["field"] == field, error
    assert words in error["message"] and hint in (error["hint"] or ""), error


def test_the_diverse_share(served):
    """Rows that say what others said already come last, in each class; a smaller share is a part of a larger one."""
    words = [f"{a}{b}" for a in "bcdfghjk" for b in "aeiou"]
    fresh = [" ".join(words[(7 * i + 3 * k) % 40] for k in range(6)) + f" {i}" for i in range(20)]
    texts = [text for i in range(20) for text in (fresh[i], f"the same old film {i}")]  # every second row says nothing new
    rows = "text,label,author\n" + "".join(f"{text},{'ab'[i // 2 % 2]},{i}\n" for i, text in enumerate(texts))
    data, chosen = upload(served, rows.encode()), {}
    for share in (0.25, 0.5):
        job = served.post("/jobs", json={"model": "bert", "dataset": data, "validation": "none", "hyperparameters": {**KNOBS, "max_steps": 20},
                                         "rows": {"share": share, "diverse": True}}).json()
        served.wait(job["id"], "succeeded")
        found = served.get(f"/jobs/{job['id']}/examples?sort=line&limit=100").json()
        chosen[share] = [row["line"] for row in found["data"]]
        assert job["dataset_counts"]["used"] == len(chosen[share]), job["dataset_counts"]
    assert len(chosen[0.25]) == 10 and len(chosen[0.5]) == 20 and set(chosen[0.25]) < set(chosen[0.5])
    assert sum((line - 2) % 2 == 0 for line in chosen[0.5]) >= 18, chosen  # but for the first of the same old
    assert sum((line - 2) // 2 % 2 for line in chosen[0.5]) == 10  # as many of each class
    for rows, field in (({"diverse": True}, "rows.diverse"), ({"share": 0.5, "diverse": 1}, "rows.diverse")):
        assert plan(served, data, rows=rows).json()["error"]["field"] == field
