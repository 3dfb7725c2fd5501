"""Runs built to fit badly in a known way, and healthy ones: what the verdict on them must be. Tiny models; a run takes seconds."""
import random

TOPICS = ["film", "plot", "actor", "scene", "music", "tale", "story"]
GOOD, BAD = ["good", "great", "fine"], ["bad", "poor", "dull"]
CLASSES = {"method": "full", "hyperparameters": {"epochs": 6, "batch_size": 16, "learning_rate": 2e-3, "max_length": 48}}
TEXTS = {"method": "full", "hyperparameters": {"epochs": 6, "batch_size": 8, "learning_rate": 3e-3, "max_length": 64}}


def review(chance, i, label):
    words = [chance.choice(TOPICS) for _ in range(7)]
    words[chance.randrange(7)] = chance.choice(GOOD if label == "good" else BAD)
    return {"text": " ".join(words) + f" {i}", "label": label}


def reviews(chance, n, first=0, noise=0.0):
    rows = [review(chance, first + i, chance.choice(["good", "bad"])) for i in range(n)]
    for row in rows:
        if chance.random() < noise:
            row["label"] = "bad" if row["label"] == "good" else "good"
    return rows


def topics(chance, n, first=0):
    """Three classes, by one word."""
    rows = []
    for i in range(n):
        label = chance.choice(["film", "music", "tale"])
        words = [chance.choice(["a", "the", "was", "very", "long", "short", "end", "start"]) for _ in range(7)]
        words[chance.randrange(7)] = label
        rows.append({"text": " ".join(words) + f" {first + i}", "label": label})
    return rows


def coins(chance, n, first=0):
    """Labels that no text tells."""
    return [{"text": " ".join(chance.choice(TOPICS) for _ in range(7)) + f" {first + i}", "label": chance.choice(["good", "bad"])} for i in range(n)]


def sayings(chance, n, first=0):
    """The answer repeats a word of the question, behind a word of its own."""
    rows = []
    for i in range(n):
        word = chance.choice(TOPICS)
        rows.append({"prompt": f"{chance.choice(GOOD + BAD)} {word} {first + i}:", "completion": f" the {word} was {chance.choice(['fine', 'dull'])}"})
    return rows


def letters(chance, n, first=0):
    """Answers that can only be known by heart, of letters that are not all as frequent."""
    return [{"prompt": f"{first + i}:", "completion": " " + "".join(chance.choice("aaaabbcdefgh") for _ in range(12))} for i in range(n)]


def plan(base, **hyperparameters):
    more = {k: hyperparameters.pop(k) for k in ("method",) if k in hyperparameters}
    return base | more | {"hyperparameters": base["hyperparameters"] | hyperparameters}


def build(kind, seed):
    """(base model, training rows, validation rows, fields of the request)"""
    chance = random.Random(f"{kind} {seed}")
    train, held = reviews(chance, 400), reviews(chance, 120, 1000)
    known = {"seed": seed}
    if kind == "good":
        return "bert", train, held, plan(CLASSES, **known)
    if kind == "good topics":
        return "bert", topics(chance, 400), topics(chance, 120, 1000), plan(CLASSES, **known)
    if kind == "good texts":
        return "llama", sayings(chance, 300), sayings(chance, 100, 1000), plan(TEXTS, **known)
    if kind == "underfit":
        return "llama", sayings(chance, 300), sayings(chance, 100, 1000), plan(TEXTS, epochs=1, learning_rate=1e-4, **known)
    if kind == "overfit":
        return "llama", letters(chance, 60), letters(chance, 60, 1000), plan(TEXTS, epochs=25, learning_rate=3e-3, **known)
    if kind == "memorised":
        return "llama", letters(chance, 50), letters(chance, 50, 1000), plan(TEXTS, epochs=80, learning_rate=5e-3, **known)
    if kind == "unstable":
        return "bert", train, held, plan(CLASSES, schedule="constant", learning_rate=0.3, **known)
    if kind == "diverged":
        return "llama", sayings(chance, 300), sayings(chance, 100, 1000), plan(
            TEXTS, method="lora", learning_rate=10, max_grad_norm=0, warmup_ratio=0, init_scale=1000, lora_alpha=1e6, **known)
    if kind == "leaking":
        train = sayings(chance, 100)
        return "llama", train, train[:30] + sayings(chance, 90, 1000), plan(TEXTS, epochs=25, **known)
    if kind == "noisy labels":
        return "bert", reviews(chance, 600, noise=0.2), reviews(chance, 200, 1000, noise=0.2), plan(CLASSES, epochs=5, **known)
    if kind == "too little data":
        return "llama", sayings(chance, 16), sayings(chance, 100, 1000), plan(TEXTS, epochs=30, batch_size=4, **known)
    if kind == "overconfident":
        return "bert", train, reviews(chance, 200, 1000, noise=0.1), plan(CLASSES, epochs=16, **known)
    if kind == "head only":
        return "bert", coins(chance, 300), coins(chance, 120, 1000), plan(CLASSES, method="head", **known)
    raise ValueError(kind)


VERDICTS = {"good": "good", "good topics": "good", "good texts": "good", "underfit": "underfit", "overfit": "overfit", "memorised": "memorised",
            "unstable": "unstable", "diverged": "unstable", "leaking": "leak_suspected", "noisy labels": "label_limited",
            "too little data": "data_limited", "overconfident": "overconfident", "head only": "nothing_learned"}
HEALTHY = ["good", "good topics", "good texts"]
