"""Searches for hyperparameters replayed on a table of jobs that were trained once (bench/tuning.py --replay): Hone's, Optuna's and plain ones."""
import math
import random
import statistics
import warnings

EVALUATIONS = 9  # of each job, so that halving by three pauses at the first and the third
RATES = [1e-4, 2.236e-4, 5e-4, 1.118e-3, 2.5e-3]  # a fifth of what `auto` takes to five times of it, as a search does
GRID = {"learning_rate": RATES, "batch_size": [8, 16, 32], "lora_rank": [8, 16, 32]}


class Table:
    """The kept jobs: what each had reached at each of its evaluations, and what that took."""

    def __init__(self, kept):
        self.auto, self.jobs = kept["auto"], {tuple(job[name] for name in GRID): job for job in kept["jobs"]}
        self.best = max(max(job["accuracy"]) for job in self.jobs.values())
        self.whole = statistics.mean(job["steps"] * job["step_seconds"] for job in self.jobs.values())

    def value(self, key, evaluations):
        return max(self.jobs[key]["accuracy"][:evaluations])  # what is exported is the best evaluation

    def nearest(self, rate, batch, rank):
        return min(RATES, key=lambda x: abs(math.log(x / rate))), batch, rank


class Search:
    """One search on the table: seconds of training so far. What was trained before costs nothing again."""

    def __init__(self, table, within):
        self.table, self.goal, self.trained, self.seconds, self.reached = table, table.best - within - 1e-9, {}, 0, None

    def train(self, key, evaluations):
        job, before = self.table.jobs[key], self.trained.get(key, 0)
        if evaluations > before:
            steps = job["evaluated"][evaluations - 1] - (job["evaluated"][before - 1] if before else 0)
            self.seconds += steps * job["step_seconds"]
            self.trained[key] = evaluations
        value = self.table.value(key, evaluations)
        if evaluations == EVALUATIONS and value >= self.goal and self.reached is None:
            self.reached = self.seconds
        return value


def at_random(search, seed):
    for key in random.Random(seed).sample(sorted(search.table.jobs), len(search.table.jobs)):
        search.train(key, EVALUATIONS)


def one_share(search, seed, evaluations, sample=20, keep=3):
    """All of a sample for one share of a run, the best to the end (Egele 2023); then the next sample."""
    keys = random.Random(seed).sample(sorted(search.table.jobs), len(search.table.jobs))
    for i in range(0, len(keys), sample):
        found = {key: search.train(key, evaluations) for key in keys[i:i + sample]}
        for key in sorted(found, key=found.get, reverse=True)[:keep]:
            search.train(key, EVALUATIONS)


def with_optuna(search, seed, pruner, auto=False, trials=200):
    """Optuna's own study; each job reports each evaluation and is asked whether to go on."""
    import optuna
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True), pruner=pruner)
    if auto:
        study.enqueue_trial(search.table.auto)
    for _ in range(trials):
        if search.reached is not None:
            break
        trial = study.ask()
        key = search.table.nearest(trial.suggest_float("learning_rate", RATES[0], RATES[-1], log=True),
                                   *(trial.suggest_categorical(name, GRID[name]) for name in ("batch_size", "lora_rank")))
        for evaluations in range(1, EVALUATIONS + 1):
            value = search.train(key, evaluations)
            trial.report(search.table.jobs[key]["accuracy"][evaluations - 1], evaluations)
            if evaluations < EVALUATIONS and trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, value)


def with_hone(search, seed, ask, trials=80, eta=3, rungs=1, startup=None, by="accuracy", budget=True):
    """The server's loop (server/sweeps/next.c) with one slot, on its own functions. A point that had its turn is passed over. With a budget in
    seconds, that of the whole table, what is left goes to those that wait. Other numbers of trials from the sequence than its own, and
    halving by loss, are for comparison."""
    axes = [{"kind": "real", "log": True, "low": RATES[0], "high": RATES[-1]}] + [
        {"kind": "choice", "choices": len(GRID[name])} for name in ("batch_size", "lora_rank")]
    stops = sorted({math.ceil(EVALUATIONS * eta ** -i - 1e-9) for i in range(rungs + 1)})
    jobs, listed, number = search.table.jobs, [], 0

    def value(t, rung):  # lower is better
        key, evaluations = t["key"], stops[rung]
        return min(jobs[key]["loss"][:evaluations]) if by == "loss" else -search.table.value(key, evaluations)

    def point():
        if not number:
            auto = search.table.auto
            return [auto["learning_rate"], GRID["batch_size"].index(auto["batch_size"]), GRID["lora_rank"].index(auto["lora_rank"])]
        if startup is not None and len(listed) < startup:
            unit = ask(op="sequence", seed=seed, n=number + 1, dimensions=3)["points"][number]
            return [RATES[0] * (RATES[-1] / RATES[0]) ** unit[0], *(int(u * a["choices"]) for u, a in zip(unit[1:], axes[1:]))]
        return ask(op="suggest", axes=axes, number=number, planned=trials if startup is None or startup >= 10 else 20, seed=seed, trials=[
            {"number": t["number"], "values": t["point"], "state": "complete" if t["reached"] == len(stops) else "pruned",
             "value": value(t, t["reached"] - 1), "last_step": jobs[t["key"]]["evaluated"][stops[t["reached"] - 1] - 1]}
            for t in listed])["values"]

    while search.reached is None:
        told = ask(op="asha", rungs=len(stops), eta=eta, may_start=len(listed) < min(trials, len(jobs)), trials=[
            {"number": t["number"], "waiting": t["reached"] < len(stops), "values": [value(t, k) for k in range(t["reached"])]} for t in listed])
        action, at = told["action"], told["trial"]
        if action == "nothing":
            action, at = told["finalist"], told["finalist_trial"]
        waiting = [t for t in listed if t["reached"] < len(stops)]
        if action == "nothing" and budget and waiting:
            furthest = min(waiting, key=lambda t: (-t["reached"], value(t, t["reached"] - 1), t["number"]))
            furthest["reached"] = len(stops)
            search.train(furthest["key"], EVALUATIONS)
            continue
        if action == "nothing":
            break
        if action == "start":
            key, passed = None, -1
            while key is None or key in search.trained and passed < 100:
                values, number, passed = point(), number + 1, passed + 1
                key = search.table.nearest(values[0], *(GRID[n][int(v)] for n, v in zip(("batch_size", "lora_rank"), values[1:])))
            if key in search.trained:  # the model proposes nothing else any more: the first that is left
                key = next(k for k in sorted(jobs) if k not in search.trained)
            at = len(listed)
            listed.append({"number": number - 1, "point": values, "key": key, "reached": 0})
        search.train(listed[at]["key"], stops[listed[at]["reached"]])
        listed[at]["reached"] += 1


def methods_of(ask):
    import optuna
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)

    def hyperband():
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=EVALUATIONS, reduction_factor=3)

    others = {"20 trials, no budget in seconds": {"trials": 20, "budget": False}, "no budget in seconds": {"budget": False}, "eta 2": {"eta": 2},
              "two rungs": {"rungs": 2}, "one rung, 1/9": {"eta": 9}, "20 of the sequence first": {"startup": 20}, "all of the sequence": {"startup": 1000},
              "halving by loss": {"by": "loss"}}
    return {"Hone's search": lambda s, seed: with_hone(s, seed, ask),
            "Optuna's defaults (TPE, median)": lambda s, seed: with_optuna(s, seed, optuna.pruners.MedianPruner()),
            "Optuna, TPE and Hyperband": lambda s, seed: with_optuna(s, seed, hyperband()),
            "the same from auto's point on": lambda s, seed: with_optuna(s, seed, hyperband(), auto=True),
            "random, each to its end": at_random,
            "1/9 of a run for 20, the best 3": lambda s, seed: one_share(s, seed, 1),
            "1/3 of a run for 20, the best 3": lambda s, seed: one_share(s, seed, 3),
            **{f"Hone, {name}": lambda s, seed, other=other: with_hone(s, seed, ask, **other) for name, other in others.items()}}


def replay(kept, ask, replays, within):
    table = Table(kept)
    near = sum(table.value(key, EVALUATIONS) >= table.best - within - 1e-9 for key in table.jobs)
    total = table.whole * len(table.jobs)
    print(f"{len(table.jobs)} jobs of {table.whole:.1f} s on average, best accuracy {table.best:.4f}, {near} within {100 * within:.1f} points of it, "
          f"auto's {table.value(tuple(table.auto.values()), EVALUATIONS):.4f}.\n{replays} searches each: seconds of training until one of these has "
          f"been trained to its end (mean: {total:.0f} s,\nthe whole table, where none was), and in how many within the time of 3, 5, 10 and 20 "
          f"whole jobs.\n")
    for name, method in methods_of(ask).items():
        reached = []
        for seed in range(replays):
            search = Search(table, within)
            method(search, seed)
            reached.append(search.reached if search.reached is not None else math.inf)
        mean, never = statistics.mean(min(x, total) for x in reached), sum(map(math.isinf, reached))
        shares = "  ".join(f"{100 * sum(x <= k * table.whole for x in reached) / replays:3.0f} %" for k in (3, 5, 10, 20))
        print(f"{name:32} median {statistics.median(reached):6.0f}  mean {mean:6.0f}   {shares}   never {never:3}", flush=True)
