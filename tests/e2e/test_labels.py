"""What a column of labels is taken for, said everywhere and open to choice; targets of any size; what a split keeps together."""
import csv
import io
import json
import random

import pytest
import requests

import tiny


@pytest.fixture
def served(start, tmp_path):
    tiny.bert(tmp_path / "models" / "bert")
    tiny.llama(tmp_path / "models" / "llama")
    daemon = start("--model_dirs", str(tmp_path / "models"), fake=False)
    for name in ("bert", "llama"):
        reply = daemon.post("/models", json={"name": name, "path": str(tmp_path / "models" / name)})
        assert reply.status_code == 201, reply.text
    return daemon


def table(labels, seed=1, delimiter=","):
    """A CSV of texts that all differ."""
    chance, out = random.Random(seed), io.StringIO()
    rows = csv.writer(out, delimiter=delimiter)
    rows.writerow(["text", "label"])
    rows.writerows([f"{tiny.sentence(chance)} {i}", label] for i, label in enumerate(labels))
    return out.getvalue().encode()


def lines(labels, seed=1):
    chance = random.Random(seed)
    return "".join(json.dumps({"text": f"{tiny.sentence(chance)} {i}", "label": label}) + "\n" for i, label in enumerate(labels)).encode()


def upload(daemon, data, **query):
    reply = requests.post(f"{daemon.url}/datasets", data=data, params=query)
    assert reply.status_code in (200, 201), reply.text
    return reply.json()


def plan(daemon, data, **more):
    data = data["id"] if isinstance(data, dict) else upload(daemon, data)["id"]
    return daemon.post("/jobs?dry_run=1", json={"model": "bert", "dataset": data, "validation": "none", **more})


def names(answer):
    return [one["label"] for one in answer["labels"]]


def codes(answer):
    return [one["code"] for one in answer["warnings"]]


COLUMNS = {
    # written as → what it is, the labels in their order, the code of a warning
    "codes": (table(["01", "1", "007"] * 8), "single_label", ["01", "1", "007"], "guessed_problem"),
    "versions": (table(["1.1", "1.10", "1.2"] * 8), "single_label", ["1.1", "1.10", "1.2"], "guessed_problem"),
    "diagnoses": (table(["250.00", "401.9", "427.31"] * 8), "single_label", ["250.00", "401.9", "427.31"], "guessed_problem"),
    "exponents": (table(["1E2", "1E3", "2E1"] * 8), "single_label", ["1E2", "1E3", "2E1"], "guessed_problem"),
    "whole fractions": (table(["0.0", "1.0"] * 12), "single_label", ["0.0", "1.0"], "guessed_problem"),
    "whole reals": (lines([0.0, 1.0] * 12), "single_label", ["0.0", "1.0"], "guessed_problem"),
    "classes": (table(["0", "1", "2"] * 8), "single_label", ["0", "1", "2"], None),
    "ratings": (table([1, 2, 3, 4, 5] * 5), "single_label", ["1", "2", "3", "4", "5"], None),
    "gaps": (table([10, 20, 30] * 8), "single_label", ["10", "20", "30"], "guessed_problem"),
    "many whole numbers": (table(range(1200)), "regression", [], "guessed_problem"),
    "prices": (table([f"{p * 1000.5:.2f}" for p in range(1, 40)]), "regression", [], None),
    "fixed decimals": (table([f"{p / 8:.2f}" for p in range(1, 40)]), "regression", [], None),
    "steps of a half": (table(["0.5", "1.0", "1.5", "2.0"] * 6), "regression", [], "guessed_problem"),
    "decimal commas": (table(["2,5", "3,75", "1,25"] * 8, delimiter=";"), "regression", [], "guessed_problem"),
    "quoted beside numbers": (lines(["01", 1, 2, "02"] * 6), "single_label", ["01", "1", "02", "2"], "guessed_problem"),
    "one class in two types": (lines(["1", 1, 0, 2] * 6), "single_label", ["0", "1", "2"], "guessed_problem"),
    "numbers and a word": (table(["1.5", "2.5", "3.5", "none"] * 6), "single_label", ["1.5", "2.5", "3.5", "none"], "guessed_problem"),
    "true and false": (lines([True, False] * 12), "single_label", ["false", "true"], None),
    "spellings": (table(["good", "Good", "good ", "bad"] * 6), "single_label", ["Good", "bad", "good", "good "], "similar_labels"),
    "forms of Unicode": (lines(["caf\u00e9", "cafe\u0301", "tea"] * 8), "single_label", ["cafe\u0301", "caf\u00e9", "tea"], "similar_labels"),
    "lists": (lines([["a", "b"], ["b"], []] * 8), "multi_label", ["a", "b"], None),
    "zeros and ones": (lines([[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 0]] * 6), "multi_label",
                       ["label_0", "label_1", "label_2", "label_3"], "guessed_problem"),
    "lists of numbers": (lines([[1, 0], [2], [0, 2]] * 8), "multi_label", ["0", "1", "2"], None),
    "a switch of lists": (lines([[1.0, 0.0], [0.0, 1.0]] * 12), "multi_label", ["label_0", "label_1"], "guessed_problem"),
    "zeros and ones as texts": (lines([["1", "0"], ["0", "1"]] * 12), "multi_label", ["label_0", "label_1"], "guessed_problem"),
    "half of them zeros and ones": (lines([[1, 0], [0, 2]] * 12), "multi_label", ["0", "1", "2"], "guessed_problem"),
    "blanks around numbers": (table([f" {p / 8:.3f}" for p in range(1, 40)]), "regression", [], None),
    "prices with a sign": (table([f"${p}.50" for p in range(1, 40)]), "single_label", sorted(f"${p}.50" for p in range(1, 40)), "guessed_problem"),
    "numbers and many blanks": (table(["N/A"] * 20 + [f"{p / 8:.3f}" for p in range(1, 12)]), "single_label",
                                sorted(["N/A", *(f"{p / 8:.3f}" for p in range(1, 12))]), "guessed_problem"),
    "lists as texts": (table(["['a', 'b']", "['b']"] * 12), "single_label", ["['a', 'b']", "['b']"], "guessed_problem"),
    "lists and single ones": (lines([["a", "b"], "b", "a"] * 8), "multi_label", ["a", "b"], "guessed_problem"),
}


def test_columns(served):
    for name, (data, problem, labels, warning) in COLUMNS.items():
        data = upload(served, data)
        reply = plan(served, data)
        assert reply.status_code == 200, (name, reply.text)
        row = requests.get(f"{served.url}/datasets/{data['id']}/preview?model=bert&row=1").json()
        for answer in (data, reply.json(), row):
            assert (answer["problem"], names(answer), answer["label_count"]) == (problem, labels, answer["label_count"]), name
        told = [w for w in reply.json()["warnings"] if w["code"] in ("guessed_problem", "similar_labels")]
        assert [w["code"] for w in told] == ([warning] if warning else []), (name, told)
        assert [w for w in data["warnings"] if w["code"] in ("guessed_problem", "similar_labels")] == [{**w, "lines": []} for w in told], name
        assert not told or "000000" not in told[0]["message"], told
    rows = {one["label"]: one["rows"] for one in upload(served, COLUMNS["zeros and ones"][0])["labels"]}
    assert rows == {"label_0": 12, "label_1": 18, "label_2": 6, "label_3": 6}
    assert [one["rows"] for one in upload(served, COLUMNS["codes"][0])["labels"]] == [8, 8, 8]


def test_overruled(served):
    ask = lambda data, **more: plan(served, data, **more)  # noqa: E731
    for name, problem, labels in (("versions", "regression", []), ("prices", "single_label", None), ("decimal commas", "single_label",
                                  ["1,25", "2,5", "3,75"]), ("ratings", "regression", []), ("classes", "multi_label", ["0", "1", "2"])):
        reply = ask(COLUMNS[name][0], problem=problem)
        assert reply.status_code == 200, (name, reply.text)
        answer = reply.json()
        assert answer["problem"] == problem and labels in (None, names(answer)) and "guessed_problem" not in codes(answer), name
    answer = ask(COLUMNS["versions"][0], labels=["1.2", "1.10", "1.1"]).json()
    assert names(answer) == ["1.2", "1.10", "1.1"] and answer["problem"] == "single_label"
    answer = ask(COLUMNS["zeros and ones"][0], labels=["sad", "glad", "mad", "bad"]).json()
    assert [tuple(one.values()) for one in answer["labels"]] == [("sad", 12), ("glad", 18), ("mad", 6), ("bad", 6)]
    answer = ask(COLUMNS["zeros and ones"][0], labels=["0", "1"]).json()
    assert names(answer) == ["0", "1"]


@pytest.mark.parametrize("data,more,field,words", [
    (table(["1,234", "12,500", "1,999"] * 8), {}, "problem", "thousands"),
    (table(["950,5", "1.200", "75,25"] * 8, delimiter=";"), {}, "problem", "1.200"),
    (table(["1,5", "1,234", "2,75"] * 8, delimiter=";"), {}, "problem", "thousands"),
    (lines([[0, 1, 0], [1, 0, 1]] * 12 + [[1, 0]]), {}, "label", "line 25"),
    (lines([[0, 1, 0], [1, 0, 1]] * 12 + [[]]), {}, "label", "line 25"),
    (lines([[], []] * 12), {}, None, "no row has a label"),
    (lines([[0, 1] * 2500, [1, 0] * 2500] * 4), {}, None, "4096"),
    (table([f"{123456789 + i % 5}" for i in range(40)]), {"problem": "regression"}, None, "single precision"),
    (table([f"{100000.5 * (1 + i)}" for i in range(30)]), {"method": "full", "export_dtype": "f16"}, "export_dtype", "65504"),
    (table(["good", "bad"] * 12), {"problem": "regression"}, "problem", '"good" (12 rows)'),
    (lines([["a"], ["b"]] * 12), {"problem": "single_label"}, "problem", "list"),
    (table(["good", "bad"] * 12), {"problem": "ranking"}, "problem", "single_label"),
    (table([f"{p / 8:.3f}" for p in range(30)]), {"labels": ["a", "b"]}, "labels", '"0.000"'),
    (table([f"{p / 8:.3f}" for p in range(30)]), {"class_weights": "balanced"}, "class_weights", "single_label"),
    (table(["2.5"] * 24), {}, None, "same value"),
    (table(["x"] * 24), {}, None, "same label"),
])
def test_refused(served, data, more, field, words):
    reply = plan(served, data, **more)
    error = reply.json()["error"]
    assert reply.status_code in (400, 422) and error["field"] == field, error
    assert words in error["message"] + (error["hint"] or ""), error


def finish(daemon, data, **more):
    reply = daemon.post("/jobs", json={"dataset": upload(daemon, data)["id"], **more})
    assert reply.status_code == 201, reply.text
    job = daemon.wait(reply.json()["id"], timeout=120)
    assert job["status"] == "succeeded", job["status_reason"]
    return job


def rooms(n, unit):
    chance = random.Random(5)
    # the words of tiny models say how many rooms: a rule that is quickly learned
    out = []
    for i in range(n):
        size = chance.randint(1, 5)
        out.append({"text": " ".join(["good"] * size + ["bad"] * (5 - size)) + f" {tiny.WORDS[i % 20]}", "label": unit(size)})
    return "".join(json.dumps(row) + "\n" for row in out).encode()


@pytest.mark.parametrize("model,method", [("bert", "full"), ("bert", "lora"), ("llama", "lora")])
def test_values_of_any_size(served, model, method):
    """The same rows in other units give the same result, in those units."""
    units = {"rooms": lambda s: float(s) + 0.25, "prices": lambda s: 50000.0 * (s + 0.25)}
    found = {}
    for name, unit in units.items():
        job = finish(served, rooms(120, unit), model=model, method=method, validation=0.2,
                     hyperparameters={"epochs": 12, "learning_rate": 3e-3, "batch_size": 16})
        assert job["problem"] == "regression" and job["metrics"]["best"]["metric"] == "val_r2"
        asked = {"inputs": ["good good good good good film", "bad bad bad bad good film"]}
        told = served.post(f"/jobs/{job['id']}/predict", json=asked).json()["data"]
        last = served.post(f"/jobs/{job['id']}/predict", json={**asked, "step": "best"}).json()["data"]
        assert [a["value"] for a in told] == pytest.approx([a["value"] for a in last], rel=1e-4)
        found[name] = job["metrics"]["best"]["value"], [a["value"] for a in told]
        told = served.post(f"/jobs/{job['id']}/evaluate", json={"dataset": job["dataset"]}).json()["metrics"]
        other = served.post(f"/jobs/{job['id']}/evaluate", json={"dataset": job["dataset"], "step": "best"}).json()["metrics"]
        assert told == pytest.approx(other, rel=1e-3)
    assert found["rooms"][0] > 0.8
    assert found["prices"][0] == pytest.approx(found["rooms"][0], abs=0.02)
    assert [v / 50000 for v in found["prices"][1]] == pytest.approx(found["rooms"][1], abs=0.15)


def test_no_better_than_the_mean(served):
    chance = random.Random(3)
    data = "".join(json.dumps({"text": tiny.sentence(chance), "label": chance.random() + 0.1}) + "\n" for _ in range(60)).encode()
    job = finish(served, data, model="bert", validation=0.5, hyperparameters={"epochs": 30, "learning_rate": 5e-3})
    told = served.get(f"/jobs/{job['id']}/events?type=warning").json()["data"]
    assert [e["data"]["code"] for e in told] == ["no_better_than_mean"] and job["metrics"]["best"]["value"] <= 0.05
    assert "no_better_than_mean" in [w["code"] for w in job["warnings"]]


def test_split_keeps_rare_labels_and_twins(served):
    chance = random.Random(2)
    rows = [{"text": f"{tiny.sentence(chance)} {i}", "label": "common"} for i in range(96)]
    rows += [{"text": f"a rare film {i}", "label": f"rare {i}"} for i in range(8)]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    for fraction in (0.1, 0.3, 0.5):
        job = plan(served, upload(served, data), validation=fraction).json()
        assert abs(job["rows"] - (104 - 104 * fraction)) <= 1 + 8 * fraction, (fraction, job["rows"])
    job = finish(served, data, model="bert", validation=0.5, hyperparameters={"max_steps": 2})
    told = served.get(f"/jobs/{job['id']}/events?type=eval").json()["data"][-1]["data"]
    assert job["label_count"] == 9 and told["labels"][0] == "common"
    assert [sum(row) for row in told["confusion"]] == [job["validation"]["rows"]] + [0] * 8
    # every row three times, with other punctuation: each input lies on one side
    twins = []
    for i in range(40):
        text = f"{tiny.sentence(chance)} {i}"
        twins += [{"text": text + end, "label": "ab"[i % 2]} for end in ("", ".", "  !")]
    chance.shuffle(twins)
    data = upload(served, "".join(json.dumps(row) + "\n" for row in twins).encode())
    answer = plan(served, data, validation=0.2).json()
    told = [w["message"] for w in answer["warnings"] if w["code"] == "equal_inputs"]
    assert len(told) == 1 and told[0].startswith("120 of 120 rows"), answer["warnings"]
    assert answer["rows"] == 96  # 24 held out: eight whole inputs
    job = finish(served, "".join(json.dumps(row) + "\n" for row in twins).encode(), model="bert", validation=0.2, hyperparameters={"max_steps": 2})
    assert job["validation"]["rows"] == 24
    # a validation set of its own that shares rows
    own = upload(served, "".join(json.dumps(row) + "\n" for row in [*twins[:3], {"text": "quite another one", "label": "a"}]).encode())
    told = [w["message"] for w in plan(served, data, validation=own["id"]).json()["warnings"] if w["code"] == "shared_rows"]
    assert len(told) == 1 and told[0].startswith("3 of 4 validation rows"), told


def test_a_label_that_is_not_known(served):
    """Which data set, which line, and whether it is only spelled otherwise."""
    train, other = upload(served, table(["0", "1"] * 12)), upload(served, table(["0", "1.0"] * 6, seed=2))
    error = plan(served, train, validation=other["id"]).json()["error"]
    assert error["field"] == "validation" and error["message"].startswith("validation rows: line 3"), error
    assert 'which spells it "1"' in error["message"], error
    error = plan(served, train, test=other["id"]).json()["error"]
    assert error["field"] == "test" and error["message"].startswith("test rows: line 3"), error


def test_what_cannot_be_held_out(served):
    """Neither a label's last row nor a part of the rows of one input."""
    for rows in ([{"text": "a film", "label": "a"}, {"text": "a plot", "label": "b"}],
                 [{"text": f"a film {i}", "label": f"class {i}"} for i in range(20)],
                 [{"text": "a film", "label": "ab"[i % 2]} for i in range(20)]):
        told = plan(served, "".join(json.dumps(row) + "\n" for row in rows).encode(), validation=0.5).json()
        assert told["rows"] == len(rows) and [w for w in told["warnings"] if "held out" in w["message"] and w["code"] == "no_validation"], told
    rows = [{"text": f"a {'good' if i % 3 else 'bad'} film", "label": "ab"[i % 2]} for i in range(30)]
    told = plan(served, "".join(json.dumps(row) + "\n" for row in rows).encode(), validation=0.1).json()
    assert told["rows"] == 20, told  # the ten of the rarer input


def test_begun_from_another_job(served):
    """A head's rows are labels and its outputs values: by name, and by scale."""
    chance = random.Random(4)
    rows = [{"text": f"a {word} film {i}", "label": word} for i, word in enumerate(["good", "bad"] * 40)]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    knobs = {"max_steps": 60, "learning_rate": 3e-3, "batch_size": 16}
    first = finish(served, data, model="bert", method="full", labels=["good", "bad"], hyperparameters=knobs)
    still = {"init_from": first["id"], "hyperparameters": {"max_steps": 1, "learning_rate": 1e-9}}
    ask = lambda job: [a.get("label", a.get("value")) for a in served.post(  # noqa: E731
        f"/jobs/{job['id']}/predict", json={"inputs": ["a good film 3", "a bad film 4"]}).json()["data"]]
    assert ask(first) == ["good", "bad"]
    assert ask(finish(served, data, model="bert", method="full", **still)) == ["good", "bad"]  # takes the order of that job
    for more in ({"labels": ["bad", "good"]}, {"problem": "multi_label"}):
        reply = served.post("/jobs", json={"dataset": upload(served, data)["id"], "model": "bert", "method": "full", **still, **more})
        assert reply.status_code == 400 and reply.json()["error"]["field"] == "init_from", reply.text
    other = data.replace(b'"label": "good"', b'"label": "pos"').replace(b'"label": "bad"', b'"label": "neg"')
    reply = served.post("/jobs", json={"dataset": upload(served, other)["id"], "model": "bert", "method": "full", **still})
    assert reply.status_code == 400 and "neg" in reply.json()["error"]["message"], reply.text

    values = lambda unit, shift=0.0: "".join(json.dumps({"text": f"a {word} film {i}", "label": unit * (  # noqa: E731
        {"good": 3.0, "bad": 1.0}[word] + shift + chance.random() / 10)}) + "\n" for i, word in enumerate(["good", "bad"] * 40)).encode()
    first = finish(served, values(1), model="bert", method="full", hyperparameters=knobs, validation=0.2)
    good, bad = ask(first)
    assert good > 2.5 and bad < 1.5
    still = {**still, "init_from": first["id"]}
    same = finish(served, values(1, 0.5), model="bert", method="full", **still)  # of one size: the function stays
    assert ask(same) == pytest.approx([good, bad], abs=0.02)
    moved = finish(served, values(50000), model="bert", method="full", **still)  # another unit
    assert [v / 50000 for v in ask(moved)] == pytest.approx([good, bad], abs=0.2)
    assert "init_unit" in [w["code"] for w in moved["warnings"]]


def test_questions_that_are_cut(served):
    rows = [{"question": "which film " * 140 + str(i), "context": "a good film", "answers": {"text": ["good"], "answer_start": [2]}} for i in range(12)]
    data = upload(served, "".join(json.dumps(row) + "\n" for row in rows).encode())
    told = plan(served, data).json()
    assert told["truncated"] == 12 and "truncated" in codes(told), told


def test_validation_in_percent(served):
    data = upload(served, table(["a", "b"] * 50))["id"]
    shares = [served.post("/jobs?dry_run=1", json={"model": "bert", "dataset": data, "validation": v}).json()["validation"] for v in ("10%", 0.1)]
    assert shares[0] == shares[1] and shares[0]["fraction"] == 0.1
    for wrong in ("0%", "100%", "150%", "-5%", "x%", "%", "10 %", "10%%"):
        told = served.post("/jobs?dry_run=1", json={"model": "bert", "dataset": data, "validation": wrong})
        assert told.status_code == 400 and told.json()["error"]["field"] == "validation" and "percent" in told.json()["error"]["message"], told.text
