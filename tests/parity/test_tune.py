"""engine/tune: the numbers of SciPy and Optuna, a plain simulation of ASHA, and the coverage of forecasts."""
import json
import math
import random
import subprocess

import numpy as np
import pytest

import common

stats = pytest.importorskip("scipy.stats")
optuna = pytest.importorskip("optuna")
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: E402
from optuna.samplers._tpe import parzen_estimator  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.ERROR)
TOOL = common.BUILD / "tests" / "tunetool"


def ask(requests):
    """tests/tools/tunetool.c's answer to each request."""
    lines = "".join(json.dumps(r).replace("NaN", "null") + "\n" for r in requests)
    done = subprocess.run([str(TOOL)], input=lines, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(requests) and not [a for a in answers if "error" in a]
    return answers


# ---- statistics ----

def test_mcnemar():
    pairs = [(b, c) for b in range(12) for c in range(12)] + [(100, 140), (3, 4000), (51234, 50000), (600000, 602000)]
    for (b, c), ours in zip(pairs, ask([{"op": "mcnemar", "b": b, "c": c} for b, c in pairs])):
        expected = stats.binomtest(b, b + c, 0.5).pvalue if b + c else 1
        assert ours["p"] == pytest.approx(expected, rel=1e-9), (b, c)


def differences(rng):
    n = rng.choice([1, 2, 5, 8, 14, 25, 49, 50, 51, 200])
    kind = rng.randrange(3)  # all different; ties; ties and zeros
    values = [rng.gauss(0.2, 1) if kind == 0 else rng.choice([-3, -2, -1, 1, 2, 3]) + 0.0 for _ in range(n)]
    return [0.0 if kind == 2 and rng.random() < 0.3 else v for v in values]


def test_wilcoxon():
    rng = random.Random(1)
    lists = [differences(rng) for _ in range(100)] + [[1, 1, 2, 3, 3, 3, -1, 4, -5, 6, 0, -2, 7], [1, 1, 2, 3, 3, 3, -1, 4, -5, 6, 0, -2, 7, 8]]
    seen = set()
    for d, ours in zip(lists, ask([{"op": "wilcoxon", "differences": d} for d in lists])):
        if not any(d):
            assert ours["p"] == 1
            continue
        expected = stats.wilcoxon(d, method="auto")
        assert min(ours["plus"], ours["minus"]) == expected.statistic
        assert ours["p"] == pytest.approx(expected.pvalue, rel=1e-9), d
        seen.add((ours["exact"], len(set(map(abs, d))) == len(d)))
    assert len(seen) == 4


def test_quantiles_and_means():
    ps = [1e-300, 1e-20, 1e-4, 0.02, 0.025, 0.3, 0.5, 0.7, 0.975, 0.9999, 1 - 1e-12]
    pairs = [(p, dof) for p in ps[1:-1] for dof in (0.5, 1, 2, 3.7, 4, 9, 30, 872, 9999, 10001, 1e6)]
    ours = ask([{"op": "quantiles", "normal": ps, "student": pairs}])[0]
    assert ours["normal"] == pytest.approx(list(stats.norm.ppf(ps)), rel=1e-9, abs=1e-12)
    assert ours["student"] == pytest.approx([stats.t.ppf(p, dof) for p, dof in pairs], rel=1e-9, abs=1e-12)
    values = [0.81, 0.84, 0.79, 0.86, 0.83]
    mean, folds = ask([{"op": "mean", "values": values, "extra": 0, "confidence": 0.9}, {"op": "folds", "values": values, "confidence": 0.9}])
    plain = stats.ttest_1samp(values, 0)
    assert [mean["low"], mean["high"], mean["p"]] == pytest.approx([*plain.confidence_interval(0.9), plain.pvalue], rel=1e-9)
    half = stats.t.ppf(0.95, 4) * np.std(values, ddof=1) * math.sqrt(1 / 5 + 1 / 4)
    assert [folds["low"], folds["high"]] == pytest.approx([np.mean(values) - half, np.mean(values) + half], rel=1e-9)


def test_holm():
    rng = random.Random(2)
    lists = [[rng.random() ** 3 for _ in range(rng.randrange(9))] for _ in range(30)] + [[0.01, 0.01, 0.04, 0.03, 0.005]]
    for p, ours in zip(lists, ask([{"op": "holm", "p": p} for p in lists])):
        order, worst, expected = sorted(range(len(p)), key=p.__getitem__), 0, [0] * len(p)
        for i, k in enumerate(order):
            worst = expected[k] = max(worst, min(1, (len(p) - i) * p[k]))
        assert ours["p"] == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("weighted", [False, True])
def test_bootstrap(weighted):
    rng = np.random.default_rng(3)
    d, w = rng.normal(0.1, 1, 83), rng.integers(1, 40, 83)
    request = {"op": "bootstrap", "differences": list(d), "weights": list(map(float, w)) if weighted else None, "replicates": 2000,
               "confidence": 0.9, "seed": 11}
    ours, other = ask([request, {**request, "seed": 12}])
    w = w if weighted else np.ones(83)
    rows = np.array(ours["rows"][1:])  # the first are all rows in order
    means = (d * w)[rows].sum(1) / w[rows].sum(1)
    assert ours["estimate"] == pytest.approx(np.average(d, weights=w), rel=1e-12)
    assert [ours["low"], ours["high"]] == pytest.approx(list(np.quantile(means, [0.05, 0.95])), rel=1e-9)
    assert ours["p"] == pytest.approx(min(1, 2 * (min((means <= 0).sum(), (means >= 0).sum()) + 1) / 2001), rel=1e-12)
    assert ours["rows"][0] == list(range(83)) and ours["rows"][1] != other["rows"][1]
    assert stats.chisquare(np.bincount(rows.ravel(), minlength=83)).pvalue > 1e-4  # every row as likely as another
    if not weighted:
        scipy = stats.bootstrap((d,), np.mean, confidence_level=0.9, n_resamples=20000, method="percentile", rng=1).confidence_interval
        assert [ours["low"], ours["high"]] == pytest.approx(list(scipy), abs=0.02)


def test_sequence():
    """Each block of base^k points has one in each of base^k parts; more even than random points; another one for each seed."""
    primes = [p for p in range(2, 132) if all(p % q for q in range(2, p))]
    for seed in range(3):
        points = np.array(ask([{"op": "sequence", "seed": seed, "n": 262, "dimensions": 32}])[0]["points"])
        for d, base in enumerate(primes):
            size = base ** int(math.log(262) / math.log(base) - 1e-9)
            for begin in range(0, 262 - size + 1, size):
                assert sorted((points[begin:begin + size, d] * size).astype(int)) == list(range(size))
            assert abs(np.corrcoef(points[:, d], points[:, d - 1])[0, 1]) < 0.3
        assert stats.qmc.discrepancy(points[:64, :6]) < 0.6 * stats.qmc.discrepancy(np.random.default_rng(seed).random((64, 6)))


# ---- search ----

SPACE = {
    "learning_rate": ({"kind": "real", "log": True, "low": 1e-5, "high": 1e-2}, FloatDistribution(1e-5, 1e-2, log=True)),
    "dropout": ({"kind": "real", "low": 0, "high": 0.3}, FloatDistribution(0, 0.3)),
    "decay": ({"kind": "real", "low": 0, "high": 0.5, "step": 0.125}, FloatDistribution(0, 0.5, step=0.125)),
    "batch": ({"kind": "int", "low": 4, "high": 32, "step": 4}, IntDistribution(4, 32, step=4)),
    "epochs": ({"kind": "int", "low": 1, "high": 40, "log": True}, IntDistribution(1, 40, log=True)),
    "schedule": ({"kind": "choice", "choices": 3}, CategoricalDistribution(["a", "b", "c"])),
    "rank": ({"kind": "int", "low": 1, "high": 128, "group": 1}, IntDistribution(1, 128)),
    "targets": ({"kind": "choice", "choices": 2, "group": 1}, CategoricalDistribution([0, 1])),
}
NAMES, AXES = list(SPACE), [a for a, _ in SPACE.values()]


def draw(rng, distribution):
    d = distribution
    if isinstance(d, CategoricalDistribution):
        return rng.choice(d.choices)
    if isinstance(d, IntDistribution):
        return rng.randrange(d.low, d.high + 1, d.step)
    if d.step:
        return d.low + d.step * rng.randrange(round((d.high - d.low) / d.step) + 1)
    return math.exp(rng.uniform(math.log(d.low), math.log(d.high))) if d.log else rng.uniform(d.low, d.high)


def draw_params(rng, conditional):
    present = [n for n in NAMES if not (conditional and SPACE[n][0].get("group") and rng.random() < 0.5)]
    if "rank" not in present or "targets" not in present:
        present = [n for n in present if not SPACE[n][0].get("group")]
    return {n: draw(rng, SPACE[n][1]) for n in present}


def score(params):
    return (math.log10(params["learning_rate"]) + 3.5) ** 2 + 0.1 * params["dropout"] + 0.3 * (params["schedule"] == "b") + \
        0.01 * abs(params.get("rank", 90) - 30) + 0.02 * abs(params["epochs"] - 10)


def internal(params):
    return [float(SPACE[n][1].to_internal_repr(params[n])) if n in params else math.nan for n in NAMES]


def make_study(rng, n, states, conditional=True):
    """A study with n trials and the same for the tool."""
    study, ours = optuna.create_study(), []
    for i in range(n):
        params, state = draw_params(rng, conditional), rng.choice(states)
        value, steps = score(params), {s: score(params) + rng.random() for s in range(rng.randrange(4))}
        study.add_trial(optuna.trial.create_trial(
            params=params, distributions={k: SPACE[k][1] for k in params}, state=getattr(optuna.trial.TrialState, state.upper()),
            value=value if state == "complete" else None, intermediate_values=steps if state == "pruned" else {}))
        if state == "pruned":
            value = steps[max(steps)] if steps else math.nan
        ours.append({"number": i, "state": state, "value": value, "last_step": max(steps, default=-1), "values": internal(params)})
    return study, ours


class StableNumpy:
    """Equal values are neighbours by age: numpy's own sort leaves their order open."""

    def __getattr__(self, name):
        return getattr(np, name)

    @staticmethod
    def argsort(a):
        return np.argsort(a, kind="stable")


def optuna_ratios(study, points):
    """log l - log g of Optuna's own estimators, summed over the groups that a point has."""
    sampler = optuna.samplers.TPESampler(multivariate=True, constant_liar=True)
    trials = study.get_trials()
    finished = sum(t.state != optuna.trial.TrialState.RUNNING for t in trials)
    below, above = optuna.samplers._tpe.sampler._split_trials(study, trials, optuna.samplers._tpe.sampler.default_gamma(finished))
    ratios = np.zeros(len(points))
    for group in (0, 1):
        names = [n for n in NAMES if SPACE[n][0].get("group", 0) == group]
        space = {n: SPACE[n][1] for n in names}
        has = [i for i, p in enumerate(points) if all(n in p for n in names)]
        if not has:
            continue
        samples = {n: np.array([SPACE[n][1].to_internal_repr(points[i][n]) for i in has], dtype=float) for n in names}
        l, g = (sampler._build_parzen_estimator(study, space, t, handle_below=b) for t, b in ((below, True), (above, False)))
        ratios[has] += l.log_pdf(samples) - g.log_pdf(samples)
    return ratios


@pytest.mark.parametrize("n,states", [(1, ["complete"]), (9, ["complete"]), (24, ["complete", "pruned"]), (26, ["complete"]), (27, ["pruned"]),
                                      (40, ["complete", "complete", "pruned", "running"]), (70, ["complete"]),
                                      (300, ["complete", "pruned", "running"]), (12, ["running"])])
def test_tpe_ratio(n, states, monkeypatch):
    monkeypatch.setattr(parzen_estimator, "np", StableNumpy())
    rng = random.Random(n)
    study, trials = make_study(rng, n, states)
    points = [draw_params(rng, True) for _ in range(200)]
    ours = ask([{"op": "log_ratio", "axes": AXES, "trials": trials, "points": [internal(p) for p in points]}])[0]["ratios"]
    assert ours == pytest.approx(list(optuna_ratios(study, points)), rel=1e-9, abs=1e-9)


def search(suggest, trials):
    best, seen = math.inf, []
    for number in range(trials):
        params = suggest(number, seen)
        value = score(params)
        seen.append({"number": number, "state": "complete", "value": value, "last_step": -1, "values": internal(params)})
        best = min(best, value)
    return best


def our_search(seed, trials):
    def suggest(number, seen):
        values = ask([{"op": "suggest", "axes": AXES, "trials": seen, "number": number, "planned": trials, "seed": seed}])[0]["values"]
        return {n: SPACE[n][1].to_external_repr(v) for n, v in zip(NAMES, values)}
    return search(suggest, trials)


def test_tpe_search():
    """What it finds in 40 trials is as good as what Optuna finds, and better than random points."""
    ours = [our_search(seed, 40) for seed in range(8)]
    theirs = []
    for seed in range(8):
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True))
        study.optimize(lambda t: score({n: t._suggest(n, SPACE[n][1]) for n in NAMES}), n_trials=40)
        theirs.append(study.best_value)
    rng = random.Random(4)
    chance = [min(score(draw_params(rng, False)) for _ in range(40)) for _ in range(200)]
    print(np.mean(ours), np.mean(theirs), np.mean(chance))
    assert np.mean(ours) < np.mean(theirs) * 1.15
    assert np.mean(ours) < 0.7 * np.mean(chance)


@pytest.mark.parametrize("n,quantile", [(12, 0.3), (30, 0.25), (60, 0.1), (400, 0.1), (60, 0.5)])
@pytest.mark.parametrize("conditional", [False, True])
def test_importance(n, quantile, conditional):
    rng = random.Random(n)
    study, trials = make_study(rng, n, ["complete"], conditional)
    ours = ask([{"op": "importance", "axes": AXES, "trials": trials, "quantile": quantile}])[0]
    theirs = optuna.importance.get_param_importances(study, evaluator=optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile))
    assert ours["known"] and ours["n_trials"] == n
    assert ours["shares"] == pytest.approx([theirs.get(name, 0) for name in NAMES], abs=1e-6)
    by_rule = ask([{"op": "importance", "axes": AXES, "trials": trials, "quantile": 0}])[0]
    assert by_rule["quantile"] == (0.1 if n >= 50 else 0.25 if n >= 16 else 0.3)


# ---- forecasts ----

def curve(rng, sizes, rows=872, seed_sd=0.006):
    """Measured errors of a power law: dev noise binomial and shared between the sizes by 70 %, seed noise; and the truth at 2x and 4x."""
    c, b = rng.uniform(0.05, 0.25), rng.uniform(0.25, 0.9)
    a = rng.uniform(0.15, 0.35) * sizes[0] ** b
    truth = [c + a * n ** -b for n in (*sizes, 2 * sizes[-1], 4 * sizes[-1])]
    shared = rng.gauss(0, 1)
    points = []
    for n, y in zip(sizes, truth):
        variance = y * (1 - y) / rows
        noise = math.sqrt(variance) * (math.sqrt(0.7) * shared + math.sqrt(0.3) * rng.gauss(0, 1))
        points.append([n, y + noise + rng.gauss(0, seed_sd), variance])
    return points, [y + rng.gauss(0, seed_sd) for y in truth[-2:]], points[-1][1]


def test_forecast_coverage():
    rng = random.Random(5)
    sizes = [200 * 2 ** k for k in range(6)]
    curves = [curve(rng, sizes) for _ in range(200)]
    requests = [{"op": "forecast", "points": p, "floor": 0, "seed_sd": 0.006, "at": [2 * sizes[-1], 4 * sizes[-1]]} for p, _, _ in curves]
    inside, errors, unchanged, refused = [0, 0], [[], []], [[], []], 0
    for (_, truth, last), ours in zip(curves, ask(requests)):
        if ours["refusal"]:
            refused += 1
            continue
        for i, (value, low, high) in enumerate(ours["values"]):
            inside[i] += low <= truth[i] <= high
            errors[i].append(value - truth[i])
            unchanged[i].append(last - truth[i])
    given = 200 - refused
    rmse = [math.sqrt(np.mean(np.square(e))) for e in errors + unchanged]
    print("coverage", [k / given for k in inside], "refused", refused, "rmse", rmse)
    assert refused <= 10
    assert all(0.85 <= k / given <= 0.99 for k in inside)
    assert rmse[0] < rmse[2] and rmse[1] < rmse[3]


def test_forecast_fit():
    """Exact points of a power law: the fit's own curve passes through them, and its forecast is near the truth."""
    sizes = [100 * 2 ** k for k in range(7)]
    points = [[n, 0.1 + 3 * n ** -0.5, 1e-8] for n in sizes]
    ours = ask([{"op": "forecast", "points": points, "floor": 0, "seed_sd": 0, "at": [2 * sizes[-1], 4 * sizes[-1]]}])[0]
    assert ours["refusal"] == 0 and ours["dof"] == 4
    for n, y, _ in points:
        assert ours["c"] + ours["a"] * n ** -ours["b"] == pytest.approx(y, abs=5e-4)
    assert [v[0] for v in ours["values"]] == pytest.approx([0.1 + 3 * (2 * sizes[-1]) ** -0.5, 0.1 + 3 * (4 * sizes[-1]) ** -0.5], abs=2e-3)


def test_forecast_refuses_what_is_no_power_law():
    rng = random.Random(6)
    peaks = []
    for _ in range(50):
        points, _, _ = curve(rng, [200 * 2 ** k for k in range(6)])
        points[3][1] += 0.15  # a peak in the middle
        peaks.append({"op": "forecast", "points": points, "floor": 0, "seed_sd": 0.006, "at": []})
    assert all(a["refusal"] == 3 and "well-behaved" in a["reason"] for a in ask(peaks))


# ---- ASHA ----

def plain_next(trials, rungs, eta, may_start):
    """Li 2020, algorithm 2, word for word: trials are {"number", "values", "waiting"}."""
    for k in reversed(range(rungs - 1)):
        at = sorted((t for t in trials if len(t["values"]) > k), key=lambda t: (t["values"][k], t["number"]))
        top = at[:len(at) // eta]
        waiting = next((t for t in top if t["waiting"] and len(t["values"]) == k + 1), None)
        if waiting and (not may_start or sum(t["values"][k] > waiting["values"][k] for t in at) >= len(at) / 2):
            return "promote", waiting["number"], k + 1
    return ("start", None, 0) if may_start else ("nothing", None, 0)


@pytest.mark.parametrize("eta,rungs,most,slots", [(3, 4, 40, 1), (3, 4, 40, 4), (2, 5, 60, 3), (4, 3, 9, 2), (3, 1, 5, 2)])
def test_asha(eta, rungs, most, slots):
    """A search with several slots, whose trials end in any order and sometimes fail: every decision is the plain one."""
    rng = random.Random(eta * rungs)
    trials, running = [], []
    tool = subprocess.Popen([str(TOOL)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    decisions = 0
    while True:
        while len(running) < slots:
            may = len(trials) < most
            request = {"op": "asha", "trials": trials, "rungs": rungs, "eta": eta, "may_start": may}
            tool.stdin.write(json.dumps(request) + "\n")
            tool.stdin.flush()
            ours = json.loads(tool.stdout.readline())
            action, number, rung = plain_next(trials, rungs, eta, may)
            decisions += 1
            assert (ours["action"], ours["rung"]) == (action, rung)
            if action == "nothing":
                break
            if action == "start":
                trials.append({"number": len(trials), "values": [], "waiting": False})
                number = len(trials) - 1
            else:
                assert trials[ours["trial"]]["number"] == number
                trials[number]["waiting"] = False
            running.append(trials[number])
        if not running:
            break
        t = running.pop(rng.randrange(len(running)))
        if rng.random() < 0.05:
            continue  # it failed: neither waiting nor at a new rung
        t["values"].append(round(rng.random(), 1))  # ties
        t["waiting"] = len(t["values"]) < rungs
    tool.stdin.close()
    tool.wait()
    full = [t for t in trials if len(t["values"]) == rungs]
    assert decisions > most and len(trials) == most
    assert (ours["finalist"] == "nothing") == bool(full)
    if not full:
        k = max(len(t["values"]) for t in trials if t["waiting"])
        best = min((t for t in trials if t["waiting"] and len(t["values"]) == k), key=lambda t: (t["values"][-1], t["number"]))
        assert (ours["finalist_trial"], ours["finalist_rung"]) == (best["number"], k)


@pytest.mark.parametrize("classes,n,wrong", [(2, 400, 0.1), (2, 60, 0.4), (3, 300, 0.2), (7, 500, 0.15), (5, 12, 0.3)])
def test_label_errors(classes, n, wrong):
    """Counts of confident learning beside cleanlab's, on a model's probabilities of rows with turned labels; one class may have no row."""
    from cleanlab import count
    rng = np.random.default_rng(classes * n)
    truth = rng.integers(0, classes, n)
    labels = np.where(rng.random(n) < wrong, rng.integers(0, max(classes - 1, 2), n), truth)
    logits = rng.normal(size=(n, classes)) + 2.5 * np.eye(classes)[truth]
    p = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32).astype(np.float64)
    ours, = ask([{"op": "label_errors", "labels": labels.tolist(), "p": p.tolist()}])
    raw = count.compute_confident_joint(labels, p, calibrate=False)
    rows = np.bincount(labels, minlength=classes)
    joint = raw / raw.sum(1, keepdims=True) * rows[:, None]
    assert np.allclose(np.reshape(ours["joint"], (classes, classes)), joint, rtol=1e-9, atol=1e-9)
    assert ours["joint_rate"] == pytest.approx(1 - np.trace(joint) / n, abs=1e-9)
    predicted, sure = p.argmax(1), p.max(1)
    shares = [(predicted == j).sum() * (labels != j)[predicted == j][np.argsort(-sure[predicted == j])][:max(50, int((predicted == j).sum() * 0.1))].mean()
              for j in set(predicted)]
    assert ours["noise_rate"] == pytest.approx(sum(shares) / n, abs=1e-9)
    assert ours["flagged"] == count.num_label_issues(labels, p, estimation_method="off_diagonal")
    assert abs(np.trace(count.compute_confident_joint(labels, p, calibrate=True)) - np.trace(joint)) <= classes  # theirs in whole rows
