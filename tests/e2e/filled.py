"""Stores with more in them than a test can train: long curves and many jobs, written while no daemon runs. `bench/lists.py` measures with them."""
import json
import math
import random
import sqlite3
import time

LEVELS = 7  # of metric_levels, 8 rows to the next


def store(state):
    db = sqlite3.connect(state / "hone.db")
    db.execute("PRAGMA foreign_keys=ON")
    return db


def curve(steps, evaluations=10, seed=0):
    """(step, loss, val) of a run in the order in which they are told; a training row's val is None, an evaluation's loss."""
    chance = random.Random(seed)
    yield 0, None, 5.0
    every = max(1, steps // evaluations)
    for step in range(1, steps + 1):
        yield step, round(1 + 4 * math.exp(-6 * step / steps) + chance.gauss(0, 0.1), 6), None
        if step % every == 0:
            yield step, None, round(1.1 + 4 * math.exp(-6 * step / steps), 6)


def levels(losses):
    """Rows of metric_levels, as they would have been ingested: {(level, bucket): [min_seq, min_loss, max_seq, max_loss]}."""
    found = {}
    for seq, loss in losses:
        for level in range(1, LEVELS + 1):
            kept = found.setdefault((level, (seq - 1) // 8 ** level), [seq, loss, seq, loss])
            if loss < kept[1]:
                kept[:2] = seq, loss
            if loss > kept[3]:
                kept[2:] = seq, loss
    return found


def fill_metrics(state, job, steps, evaluations=10, seed=0):
    """The job's curve is replaced by one of so many steps."""
    db = store(state)
    (n,) = db.execute("SELECT n FROM jobs WHERE id=?", [job]).fetchone()
    rows = list(enumerate(curve(steps, evaluations, seed), 1))
    for name in ("metrics", "metric_levels"):
        db.execute(f"DELETE FROM {name} WHERE job=?", [n])
    db.executemany("INSERT INTO metrics (job,seq,step,epoch,tokens,loss,learning_rate,grad_norm,tokens_per_second,val,time) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                   ((n, seq, step, 3 * step / steps, None if loss is None else 100 * step, loss, None if loss is None else 1e-3 * (1 - step / steps),
                     None if loss is None else 1.0, None if loss is None else 1000.0, None if val is None else json.dumps({"val_loss": val}),
                     f"2026-01-01T{step // 3600 % 24:02}:{step // 60 % 60:02}:{step % 60:02}.000Z") for seq, (step, loss, val) in rows))
    db.executemany("INSERT INTO metric_levels (job,level,bucket,min_seq,min_loss,max_seq,max_loss) VALUES (?,?,?,?,?,?,?)",
                   ((n, *key, *kept) for key, kept in levels((seq, loss) for seq, (_, loss, _) in rows if loss is not None).items()))
    db.execute("UPDATE jobs SET step=?, total_steps=?, next_metric=? WHERE n=?", [steps, steps, len(rows) + 1, n])
    db.commit()
    db.close()


def fill_jobs(state, job, number, seed=0):
    """So many copies of an ended job with names, models, states, results and times of their own. Returns all of these jobs, it first."""
    chance = random.Random(seed)
    db = store(state)
    db.row_factory = sqlite3.Row
    kept = dict(db.execute("SELECT * FROM jobs WHERE id=?", [job]).fetchone())
    kept["run"] = json.dumps(json.loads(kept["run"]) | {"padding": "x" * 5000})  # as long as a real one's
    rows, first = [], dict(kept)
    del kept["n"]
    for i in range(number):
        ended = chance.choice(["succeeded", "succeeded", "failed", "cancelled"])
        begun, seconds = 1_760_000_000 + 60 * i, chance.randrange(1, 100_000)
        stamp = lambda t: time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(t))
        rows.append(kept | {
            "id": f"job_{i:016}", "name": None if i % 10 == 0 else f"{chance.choice(['Tickets', 'reviews', 'mails'])} {i}", "status": ended, "task": chance.choice(["generation", "classification"]),
            "model": chance.choice(["base", "Qwen-tiny", "bert_50%"]), "reason_code": None, "reason_message": None, "created_at": stamp(begun), "started_at": stamp(begun + 5),
            "finished_at": None if ended == "cancelled" and i % 3 == 0 else stamp(begun + 5 + seconds),
            "best": json.dumps({"step": 5, "metric": "val_loss", "value": round(chance.uniform(0, 3), 4)}) if ended == "succeeded" else None})
    names = list(rows[0])
    db.executemany(f"INSERT INTO jobs ({','.join(names)}) VALUES ({','.join('?' * len(names))})", ([row[name] for name in names] for row in rows))
    db.commit()
    db.close()
    return [first, *rows]
