"""Encoders and heads of tasks, from folders as Transformers saves them (small random models), against Transformers itself:
logits, the gradients of all weights, of an adapter and of the head alone, and the losses of fifty steps. Needs PyTorch."""
import copy

import numpy as np
import pytest

import common

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

VOCAB, STEPS, RATE, LABELS = 211, 50, 2e-3, 5
CLASSES, MULTI, VALUE, TAGS, SPAN = 1, 2, 3, 4, 5
NO_DROPOUT = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
BERT = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, vocab_size=VOCAB,
            max_position_embeddings=130, **NO_DROPOUT)
DECODER = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
               vocab_size=VOCAB, max_position_embeddings=512, pad_token_id=0, classifier_dropout=0.0)

MODELS = {
    "bert": transformers.BertConfig(**BERT),
    "roberta": transformers.RobertaConfig(**BERT, type_vocab_size=1, pad_token_id=1),
    "distilbert": transformers.DistilBertConfig(dim=64, hidden_dim=96, n_layers=3, n_heads=4, vocab_size=VOCAB, dropout=0.0,
                                                attention_dropout=0.0, seq_classif_dropout=0.0, qa_dropout=0.0,
                                                max_position_embeddings=128),
    "llama": transformers.LlamaConfig(**DECODER),
    "qwen2": transformers.Qwen2Config(**DECODER),
    "gemma3": transformers.Gemma3TextConfig(**{**DECODER, "num_hidden_layers": 3}, head_dim=16, sliding_window=7),
    "gpt2": transformers.GPT2Config(n_embd=64, n_layer=2, n_head=4, n_positions=128, vocab_size=VOCAB, resid_pdrop=0, embd_pdrop=0,
                                    attn_pdrop=0, classifier_dropout=0.0, pad_token_id=0),
}
ENCODERS = ("bert", "roberta", "distilbert")
AUTO = {CLASSES: transformers.AutoModelForSequenceClassification, MULTI: transformers.AutoModelForSequenceClassification,
        VALUE: transformers.AutoModelForSequenceClassification, TAGS: transformers.AutoModelForTokenClassification,
        SPAN: transformers.AutoModelForQuestionAnswering}
CASES = [(m, p) for m in MODELS for p in AUTO if m in ENCODERS or p in (CLASSES, VALUE) or (p == TAGS and m != "gemma3")]
TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")


def outputs_of(problem):
    return {VALUE: 1, SPAN: 2}.get(problem, LABELS)


def make(name, problem, folder):
    torch.manual_seed(len(name) + problem)
    config = copy.deepcopy(MODELS[name])
    config.num_labels = outputs_of(problem)
    config._attn_implementation = "eager"
    model = AUTO[problem].from_config(config).eval()
    with torch.no_grad():  # larger than they are made, so that every part matters
        for value in model.parameters():
            value += (0.1 if value.dim() > 1 else 0.2) * torch.randn(value.shape)
    model.save_pretrained(folder)
    return AUTO[problem].from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def rows(name, problem):
    """(ids, types, weights a token, targets a token, values a row)"""
    rng = np.random.default_rng(3)
    ids = [rng.integers(4, VOCAB, n).tolist() for n in (90, 3, 41, 64, 17)]
    types = [[int(name == "bert" and k > len(row) // 2) for k in range(len(row))] for row in ids]
    place = 0 if name in ENCODERS else -1
    weights, targets, values = [], [], []
    for i, row in enumerate(ids):
        w, t = [0.0] * len(row), [0] * len(row)
        if problem == TAGS:
            w = [float(k % 3 != 1) for k in range(len(row))]
            t = [int(x) for x in rng.integers(0, LABELS, len(row))]
        else:
            w[place] = 1.0
            t[place] = int(rng.integers(0, LABELS)) if problem == CLASSES else i
        v = {MULTI: [float(x) for x in rng.integers(0, 2, LABELS)], VALUE: [float(rng.normal())],
             SPAN: sorted(int(x) for x in rng.integers(0, len(row), 2))}.get(problem, [])
        weights.append(w), targets.append(t), values.append(v)
    return ids, types, weights, targets, values


def request_of(name, problem, folder):
    ids, types, weights, targets, values = rows(name, problem)
    if problem == SPAN:
        weights = [[1.0] + [0.0] * (len(row) - 1) for row in ids]
    return {"model": str(folder / "model"), "rows": ids, "weights": weights,
            "head": {"problem": problem, "outputs": outputs_of(problem), "types": types, "targets": targets, "values": values}}


def forward(model, name, problem):
    """Logits of each row as the engine gives them, and the loss over all rows."""
    ids, types, weights, targets, values = rows(name, problem)
    logits, loss, total, functional = [], 0, 0, torch.nn.functional
    for row, kind, w, t, v in zip(ids, types, weights, targets, values):
        more = {"token_type_ids": torch.tensor([kind])} if name == "bert" else {}
        out = model(torch.tensor([row]), **more)
        if problem == SPAN:
            logits.append(torch.stack([out.start_logits[0], out.end_logits[0]], 1))
            loss = loss + sum(functional.cross_entropy(logits[-1][:, k][None], torch.tensor([v[k]])) for k in (0, 1)) / 2
            total += 1
            continue
        here = out.logits[0][[k for k, x in enumerate(w) if x]] if problem == TAGS else out.logits
        logits.append(here)
        goal = torch.tensor([x for x, y in zip(t, w) if y])
        loss = loss + {CLASSES: lambda: functional.cross_entropy(here, goal, reduction="sum"),
                       TAGS: lambda: functional.cross_entropy(here, goal, reduction="sum"),
                       MULTI: lambda: functional.binary_cross_entropy_with_logits(here[0], torch.tensor(v)),
                       VALUE: lambda: functional.mse_loss(here[0], torch.tensor(v))}[problem]()
        total += sum(w)
    return torch.cat(logits), loss / total


@pytest.fixture(scope="module", params=CASES, ids=lambda c: "%s-%s" % (c[0], ["", "classes", "multi", "value", "tags", "span"][c[1]]))
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    return *request.param, make(*request.param, folder / "model"), folder


def test_logits(case):
    name, problem, model, folder = case
    common.probe({**request_of(name, problem, folder), "what": "logits", "out": str(folder / "logits")}, folder)
    theirs = forward(model, name, problem)[0].detach().numpy()
    ours = np.fromfile(folder / "logits", np.float32).reshape(theirs.shape)
    assert np.abs(ours - theirs).max() < 2e-5 * np.abs(theirs).max()


def compare(ours, theirs, name):
    # Biases of keys have a gradient of zero, which round-off makes 1e-8 of something.
    assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max() + 2e-6, name


def losses_of(model, parameters, name, problem):
    optimizer, losses = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0), []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = forward(model, name, problem)[1]
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    return losses


def test_full(case):
    name, problem, model, folder = case
    recompute = problem != CLASSES  # both ways, over all the cases
    request = {**request_of(name, problem, folder), "full": True, "threads": 2, "recompute": recompute}
    reply = common.probe({**request, "out": str(folder / "grads")}, folder)
    grads = np.fromfile(folder / "grads", np.float32)
    model.zero_grad()
    loss = forward(model, name, problem)[1]
    loss.backward()
    assert reply["loss"] == pytest.approx(loss.item(), rel=2e-5)
    theirs = dict(model.named_parameters())
    assert set(theirs) == {row["name"] for row in reply["table"]}
    for row in reply["table"]:
        ours = grads[row["offset"]:row["offset"] + row["rows"] * row["cols"]].reshape(row["rows"], row["cols"])
        want = theirs[row["name"]].grad
        want = np.zeros(ours.size) if want is None else want.numpy()  # RoBERTa has no loss through unused token types
        turned = name == "gpt2" and row["name"].endswith(TRANSPOSED)
        compare(ours, (want.T if turned else want).reshape(ours.shape), row["name"])


def test_full_fifty_losses(case):
    name, problem, model, folder = case
    reply = common.probe({**request_of(name, problem, folder), "full": True, "steps": STEPS, "learning_rate": RATE}, folder)
    model = copy.deepcopy(model)
    losses = losses_of(model, model.parameters(), name, problem)
    assert losses[-1] < 0.7 * losses[0]
    np.testing.assert_allclose(reply["losses"], losses, rtol=5e-3, atol=5e-3)


def test_head_alone(case):
    name, problem, model, folder = case
    reply = common.probe({**request_of(name, problem, folder), "steps": STEPS, "learning_rate": RATE}, folder)
    model = copy.deepcopy(model)
    mine = {row["name"] for row in reply["table"]}
    parameters = [v for k, v in model.named_parameters() if k in mine]
    assert len(parameters) == len(mine) and mine
    np.testing.assert_allclose(reply["losses"], losses_of(model, parameters, name, problem), rtol=2e-4, atol=1e-5)


def test_adapter(case):
    name, problem, model, folder = case
    request = {**request_of(name, problem, folder), "lora": {"hyperparameters": {"lora_rank": 4}}}
    start = common.probe({**request, "dump": str(folder / "values")}, folder)
    values = np.fromfile(folder / "values", np.float32)
    rng = np.random.default_rng(4)
    heads = {row["name"]: row for row in start["table"] if "lora_" not in row["name"]}
    kept = {key: values[r["offset"]:r["offset"] + r["rows"] * r["cols"]].copy() for key, r in heads.items()}
    values += rng.normal(0, 0.05, values.size).astype(np.float32)
    for key, r in heads.items():
        values[r["offset"]:r["offset"] + r["rows"] * r["cols"]] = kept[key]
    values.tofile(folder / "values")
    request["lora"]["values"] = str(folder / "values")
    reply = common.probe({**request, "steps": STEPS, "learning_rate": RATE}, folder)
    common.probe({**request, "out": str(folder / "grads")}, folder)
    grads = np.fromfile(folder / "grads", np.float32)
    names = sorted({row["name"].removesuffix(".weight") for row in start["names"]})
    saved = sorted({key.split(".")[0] for key in heads})
    wrapped = peft.get_peft_model(copy.deepcopy(model), peft.LoraConfig(
        r=4, lora_alpha=32, target_modules=names, modules_to_save=saved, fan_in_fan_out=name == "gpt2"))
    tensors = dict(wrapped.named_parameters())

    def entries():
        for row in start["table"]:
            shape, key = (row["rows"], row["cols"]), "base_model.model." + row["name"]
            if "lora_" in key:
                key = key.replace(".lora_A.", ".lora_A.default.").replace(".lora_B.", ".lora_B.default.")
            else:
                module = row["name"].split(".")[0]
                key = key.replace("model." + module, "model." + module + ".modules_to_save.default", 1)
            yield key, row["offset"], shape

    with torch.no_grad():
        for key, at, shape in entries():
            tensors[key].copy_(torch.from_numpy(values[at:at + shape[0] * shape[1]]).reshape(tensors[key].shape))
    trained = [p for p in tensors.values() if p.requires_grad]
    assert len(trained) == len(start["table"])
    optimizer, losses = torch.optim.AdamW(trained, lr=RATE, weight_decay=0), []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = forward(wrapped, name, problem)[1]
        loss.backward()
        losses.append(loss.item())
        for key, at, shape in entries() if step == 0 else ():
            compare(grads[at:at + shape[0] * shape[1]], tensors[key].grad.numpy().reshape(-1), key)
        optimizer.step()
    np.testing.assert_allclose(reply["losses"], losses, rtol=5e-3, atol=5e-3)
