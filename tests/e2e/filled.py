"""Stores with more in them than a test can train: long curves and many jobs, written while no daemon runs. `bench/lists.py` measures with them."""
import json
import math
import random
import sqlite3

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
