"""Comparisons of scored rows beside SciPy and scikit-learn: metrics, paired tests, intervals, Holm; folds together; what is refused."""
import json
import math
import pathlib
import struct
import sys

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

import common

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import test_scores  # noqa: E402

OBJECTIVES = {"tokens": (), "classes": ("right", "label", "predicted", "p"), "multi_label": ("right",), "value": ("value", "truth"),
              "tags": ("right", "label", "predicted", "value"), "span": ("right", "value")}


def write(path, objective, labels=0, sha256="a" * 64, **values):
    n = len(values["loss"])
    values = {"line": np.arange(1, n + 1), "weight": np.ones(n), **values}
    columns = [c for c in test_scores.COLUMNS if c[0] in ("line", "loss", "weight") + OBJECTIVES[objective]]
    bits = sum(1 << test_scores.COLUMNS.index(c) for c in columns)
    rows = np.zeros(n, np.dtype(columns))
    for name, _ in columns:
        rows[name] = values[name]
    path.write_bytes(struct.pack("<8s4IQ16s32s", b"HNSCORE\n", 1, bits, labels, rows.itemsize, n, objective.encode(),
                                 bytes.fromhex(sha256)) + rows.tobytes())
    return rows


def classes(path, chance, skill, label, **more):
    """Answers that are right with the given chance."""
    n = len(label)
    predicted = np.where(chance.random(n) < skill, label, chance.integers(0, 4, n))
    loss = np.where(predicted == label, 0.2, 2.0) + chance.random(n)
    return write(path, "classes", 4, loss=loss, label=label, predicted=predicted, right=predicted == label, p=np.exp(-loss), **more)


def compare(sets, **params):
    reply = common.helper("compare", {"sets": [{"name": name, "path": str(path)} for name, path in sets.items()], **params})
    return reply["result"]


def boot(chance, n, statistic):
    """Quantiles of the statistic over drawn rows, and their standard error's size."""
    draws = [statistic(chance.integers(0, n, n)) for _ in range(2000)]
    return np.quantile(draws, 0.025), np.quantile(draws, 0.975)


def close(interval, expected):
    width = expected[1] - expected[0]
    return all(abs(a - b) < 0.12 * width for a, b in zip(interval, expected))


def quick(metric, label, predicted):
    """From counts, since scikit-learn takes a millisecond."""
    m = np.bincount(label * 4 + predicted, minlength=16).reshape(4, 4)
    actual, guessed, hits, n = m.sum(1), m.sum(0), np.diag(m), m.sum()
    f1 = (2 * hits / np.maximum(actual + guessed, 1))[actual + guessed > 0]
    if metric == "mcc":
        return (n * hits.sum() - actual @ guessed) / math.sqrt((n * n - actual @ actual) * (n * n - guessed @ guessed))
    return {"accuracy": hits.sum() / n, "f1_macro": f1.mean(), "f1_weighted": (f1 * actual[actual + guessed > 0]).sum() / n}[metric]


METRICS = {"accuracy": sklearn.metrics.accuracy_score, "f1_macro": lambda t, p: sklearn.metrics.f1_score(t, p, average="macro"),
           "f1_weighted": lambda t, p: sklearn.metrics.f1_score(t, p, average="weighted"), "mcc": sklearn.metrics.matthews_corrcoef}


@pytest.mark.parametrize("metric", METRICS)
def test_classes(tmp_path, metric):
    chance = np.random.default_rng(1)
    label = chance.choice(4, 150, p=[0.4, 0.3, 0.2, 0.1])
    skills = {"good": 0.8, "fair": 0.6, "same": 0.62}
    rows = {name: classes(tmp_path / name, chance, skill, label) for name, skill in skills.items()}
    found = compare({name: tmp_path / name for name in skills}, metric=metric, seed=4)
    of = METRICS[metric]
    assert found["rows"] == 150 and found["metric"] == metric and found["lower_is_better"] is False
    for result in found["results"]:
        r = rows[result["name"]]
        assert math.isclose(result["value"], of(r["label"], r["predicted"]), rel_tol=1e-9)
        assert math.isclose(result["value"], quick(metric, r["label"], r["predicted"]), rel_tol=1e-9)
        assert close(result["interval"], boot(chance, 150, lambda i: quick(metric, r["label"][i], r["predicted"][i])))
    assert [(p["a"], p["b"]) for p in found["pairs"]] == [("good", "fair"), ("good", "same"), ("fair", "same")]
    for pair in found["pairs"]:
        a, b = rows[pair["a"]], rows[pair["b"]]
        assert math.isclose(pair["difference"], of(a["label"], a["predicted"]) - of(b["label"], b["predicted"]), abs_tol=1e-9)
        assert close(pair["interval"], boot(chance, 150, lambda i: quick(metric, a["label"][i], a["predicted"][i]) -
                                            quick(metric, b["label"][i], b["predicted"][i])))
        if metric == "accuracy":
            only = int(np.sum(a["right"] & ~b["right"] & 1)), int(np.sum(b["right"] & ~a["right"] & 1))
            assert pair["test"] == "mcnemar" and math.isclose(pair["p"], scipy.stats.binomtest(only[0], sum(only)).pvalue, rel_tol=1e-9)
        else:
            assert pair["test"] == "bootstrap" and (pair["p"] < 0.05) == (not pair["interval"][0] <= 0 <= pair["interval"][1])
    verdicts = [p["verdict"] for p in found["pairs"]]
    assert verdicts[0] == "better" and verdicts[2] == "no difference shown"
    turned = compare({"fair": tmp_path / "fair", "good": tmp_path / "good"}, metric=metric, seed=4)["pairs"][0]
    assert turned["verdict"] == "worse" and math.isclose(turned["p"], found["pairs"][0]["p"], rel_tol=1e-9)


def test_holm(tmp_path):
    """Adjusted as a family; a verdict goes by the adjusted value."""
    chance = np.random.default_rng(3)
    label = chance.integers(0, 4, 300)
    names = ["a", "b", "c", "d", "e"]
    for name, skill in zip(names, (0.5, 0.56, 0.6, 0.7, 0.52)):
        classes(tmp_path / name, chance, skill, label)
    pairs = compare({name: tmp_path / name for name in names})["pairs"]
    p = np.array([pair["p"] for pair in pairs])
    adjusted, most = np.zeros(len(p)), 0
    for rank, i in enumerate(np.argsort(p, kind="stable")):
        most = max(most, min(1, (len(p) - rank) * p[i]))
        adjusted[i] = most
    assert np.allclose([pair["p_adjusted"] for pair in pairs], adjusted)
    assert all((pair["verdict"] == "no difference shown") == (pair["p_adjusted"] >= 0.05) for pair in pairs)
    assert any(pair["p"] < 0.05 <= pair["p_adjusted"] for pair in pairs)


def test_losses_and_perplexity(tmp_path):
    """Weighted by target tokens; lower is better."""
    chance = np.random.default_rng(5)
    weight = chance.integers(1, 30, 80)
    base = chance.gamma(2, 1, 80)
    rows = {name: write(tmp_path / name, "tokens", loss=base * factor + 0.05 * chance.random(80), weight=weight)
            for name, factor in (("a", 1), ("b", 0.9))}
    sets = {name: tmp_path / name for name in rows}
    found, other = compare(sets), compare(sets, metric="val_perplexity")
    a, b = rows["a"], rows["b"]
    mean = [float(np.sum(r["loss"].astype(float) * r["weight"]) / np.sum(r["weight"].astype(float))) for r in (a, b)]
    pair = found["pairs"][0]
    assert found["metric"] == "loss" and found["lower_is_better"] and np.allclose([r["value"] for r in found["results"]], mean)
    exact = scipy.stats.wilcoxon(a["loss"].astype(float), b["loss"].astype(float))
    assert pair["test"] == "wilcoxon" and math.isclose(pair["p"], exact.pvalue, rel_tol=1e-6) and pair["verdict"] == "worse"
    assert close(pair["interval"], boot(chance, 80, lambda i: np.average(a["loss"][i], weights=weight[i]) -
                                        np.average(b["loss"][i], weights=weight[i])))
    assert np.allclose([r["value"] for r in other["results"]], np.exp(mean)) and other["pairs"][0]["test"] == "bootstrap"
    assert other["pairs"][0]["verdict"] == "worse"


def test_values_tags_and_spans(tmp_path):
    chance = np.random.default_rng(6)
    truth = 100 + 20 * chance.standard_normal(70)
    a, b = (write(tmp_path / name, "value", loss=np.zeros(70), truth=truth, value=truth + noise * chance.standard_normal(70))
            for name, noise in (("a", 5), ("b", 15)))
    sets = {name: tmp_path / name for name in "ab"}
    for metric, of in (("r2", sklearn.metrics.r2_score), ("mse", sklearn.metrics.mean_squared_error)):
        found = compare(sets, metric=metric)
        assert np.allclose([r["value"] for r in found["results"]], [of(r["truth"], r["value"]) for r in (a, b)], rtol=1e-4)
        assert found["pairs"][0]["verdict"] == "better"
    assert compare(sets)["metric"] == "r2"
    actual, common_ = chance.integers(0, 4, 50), None
    predicted = chance.integers(0, 4, 50)
    common_ = np.minimum(actual, predicted) * (chance.random(50) < 0.7)
    write(tmp_path / "t", "tags", 3, loss=np.zeros(50), label=actual, predicted=predicted, value=common_, right=common_ == actual)
    value = compare({"t": tmp_path / "t"})
    assert value["metric"] == "entity_f1" and value["pairs"] == []
    assert math.isclose(value["results"][0]["value"], 2 * common_.sum() / (actual.sum() + predicted.sum()))
    s = write(tmp_path / "s", "span", loss=np.zeros(50), right=chance.random(50) < 0.5, value=chance.random(50))
    for metric, column in (("f1", "value"), ("exact_match", "right")):
        assert math.isclose(compare({"s": tmp_path / "s"}, metric=metric)["results"][0]["value"], 100 * np.mean(s[column].astype(float)), rel_tol=1e-6)


def test_folds_together(tmp_path):
    chance = np.random.default_rng(8)
    label = chance.integers(0, 4, 90)
    parts = [classes(tmp_path / f"f{i}", chance, 0.7, label[30 * i:30 * i + 30], sha256=f"{i}" * 64, line=np.arange(30 * i + 1, 30 * i + 31))
             for i in range(3)]
    asked = {"oof": [str(tmp_path / f"f{i}") for i in range(3)], "metric": "f1_macro", "rows_to": str(tmp_path / "rows"),
             "labels": ["w", "x", "y", "z"]}
    found, rows = common.helper("compare", asked)["result"], np.concatenate(parts)
    of = METRICS["f1_macro"]
    assert found["rows"] == 90 and math.isclose(found["value"], of(rows["label"], rows["predicted"]), rel_tol=1e-9)
    assert close(found["interval"], boot(chance, 90, lambda i: quick("f1_macro", rows["label"][i], rows["predicted"][i])))
    assert [f["rows"] for f in found["folds"]] == [30] * 3
    assert np.allclose([f["value"] for f in found["folds"]], [of(p["label"], p["predicted"]) for p in parts])
    lines = [json.loads(line) for line in (tmp_path / "rows").read_text().splitlines()]
    assert [line["line"] for line in lines] == list(range(1, 91)) and [line["fold"] for line in lines] == [1 + i // 30 for i in range(90)]
    assert ["wxyz".index(line["label"]) for line in lines] == list(rows["label"])
    assert [line["right"] for line in lines] == [bool(r) for r in rows["right"]]
    assert np.allclose([line["loss"] for line in lines], rows["loss"]) and np.allclose([line["p"] for line in lines], rows["p"])
    again = common.helper("compare", asked)["error"]  # what is there is not written over
    assert "cannot write" in again["message"]
    same = common.helper("compare", {"oof": [str(tmp_path / "f0")] * 2})["error"]
    assert same["code"] == "conflict" and "same rows" in same["message"]


def test_refused(tmp_path):
    chance = np.random.default_rng(9)
    label = chance.integers(0, 4, 20)
    classes(tmp_path / "a", chance, 0.7, label)
    classes(tmp_path / "b", chance, 0.7, label, sha256="b" * 64)
    write(tmp_path / "c", "tokens", loss=np.zeros(20))
    whole = (tmp_path / "a").read_bytes()
    broken = {"short": whole[:-1], "magic": b"X" + whole[1:], "version": whole[:8] + b"\2" + whole[9:], "rows": whole[:24] + b"\x15" + whole[25:],
              "many": whole[:24] + b"\xff" * 8 + whole[32:], "empty": b"", "nan": whole[:84] + b"\xff\xff\xff\x7f" + whole[88:],
              "label": whole[:93] + b"\x04" + whole[94:], "negative": whole[:93] + b"\xff" * 4 + whole[97:]}

    def error(*names, **params):
        sets = [{"name": name, "path": str(tmp_path / name)} for name in names]
        return common.helper("compare", {"sets": sets, **params})["error"]

    found = error("a", "b")
    assert found["code"] == "conflict" and '"a" and "b"' in found["message"] and found["hint"]
    assert error("a", "c")["code"] == "conflict"
    found = error("a", metric="r2")
    assert found["code"] == "invalid_field" and found["field"] == "metric" and "f1_macro" in found["hint"]
    assert error("a", "none")["code"] == "not_found"
    assert error()["field"] == "sets"
    for name, data in broken.items():
        (tmp_path / name).write_bytes(data)
        assert "score file" in error(name)["message"], name


def test_runs(tmp_path):
    """Of real runs: those with the same validation rows, and the base model on the same rows."""
    for name, knobs in (("one", {}), ("two", {"learning_rate": 3e-2}), ("other", {"rows_of": 8})):
        test_scores.train(test_scores.make(tmp_path / name, max_steps=4, **knobs))
    path = {name: tmp_path / name / "scores/4.bin" for name in ("one", "two", "other")}
    found = compare({"one": path["one"], "two": path["two"]})
    told = [common.events(tmp_path / name, "eval")[-1]["data"]["val_accuracy"] for name in ("one", "two")]
    assert found["rows"] == 13 and np.allclose([r["value"] for r in found["results"]], told)
    sets = [{"name": n, "path": str(path[n])} for n in ("one", "other")]
    assert common.helper("compare", {"sets": sets})["error"]["code"] == "conflict"
    asked = {"model": {"path": str(tmp_path / "bert")}, "source": {"run_dir": str(tmp_path / "one"), "step": "exported"},
             "data": {"path": str(tmp_path / "one/inputs/validation"), "format": "jsonl"}, "scores_to": str(tmp_path / "again.bin")}
    assert "result" in common.helper("evaluate", asked)
    best = json.loads((tmp_path / "one/events.jsonl").read_text().splitlines()[-1])["data"]["exported_step"]
    ours, again = test_scores.read(tmp_path / f"one/scores/{best}.bin"), test_scores.read(tmp_path / "again.bin")
    assert ours["sha256"] == again["sha256"] and np.array_equal(ours["rows"]["predicted"], again["rows"]["predicted"])
