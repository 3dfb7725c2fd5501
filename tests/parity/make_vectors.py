"""Makes tests/data/vectors/smollm2.json with PyTorch, Transformers and PEFT: what test_vectors.py compares the engine with.

    HONE_TEST_GGUF=… HONE_TEST_REVIEWS=… python tests/parity/make_vectors.py

Real reviews as chat rows; the engine's own tokens (checked against the reference tokenizer elsewhere), initial adapter and
order; logits at some places, the first loss, every adapter gradient's norm and some of its values, fifty losses.
"""
import json
import tempfile

import numpy as np
import torch
import transformers
import peft

import common
import reference

torch.set_num_threads(2)
STEPS, BATCH, ROWS = 50, 4, 64


def main():
    folder = tempfile.mkdtemp()
    rows = [common.chat_row(*r) for r in common.reviews(ROWS)]
    ids, weights = common.encode(rows, folder)
    knobs = {"learning_rate": 5e-4, "batch_size": BATCH, "epochs": 100, "max_steps": STEPS, "seed": 3}
    start = common.probe({"model": common.GGUF, "rows": ids[:1], "weights": weights[:1], "what": "loss",
                          "lora": {"hyperparameters": knobs}, "dump": folder + "/start.bin"}, folder)
    table, values = start["names"], np.fromfile(folder + "/start.bin", np.float32)
    model = reference.add_lora(reference.load_base(common.GGUF))
    reference.set_adapter(model, values, table)
    out = {"made_with": {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__},
           "rows": ids, "weights": weights, "hyperparameters": knobs}

    with torch.no_grad():
        logits = model(torch.tensor([ids[0]])).logits[0].numpy()
    places = [(p, v) for p in range(0, len(ids[0]), 7) for v in range(11, logits.shape[1], 4999)]
    out["logits"] = {"places": places, "values": [float(logits[p, v]) for p, v in places]}

    # Gradients away from the start (B = 0 makes A's vanish): a perturbed adapter.
    noise = np.random.default_rng(0).normal(0, 0.02, values.size).astype(np.float32)
    np.save(folder + "/noise.npy", noise)
    reference.set_adapter(model, values + noise, table)
    loss = reference.batch_loss(model, ids[:4], weights[:4])
    loss.backward()
    gradients = reference.adapter_gradients(model, table)
    out["gradients"] = {"loss": float(loss.detach()), "noise": "numpy default_rng(0).normal(0, 0.02)",
                        "norms": {k: float(np.linalg.norm(g.astype(np.float64))) for k, g in gradients.items()},
                        "samples": {k: [float(x) for x in g.ravel()[:: max(1, g.size // 5)][:5]] for k, g in gradients.items()}}

    reference.set_adapter(model, values, table)
    model.zero_grad()
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1.0, betas=(0.9, 0.999), eps=1e-8, weight_decay=0)
    warmup, losses = 2, []  # ceil(0.03 * 50)
    per_epoch = ROWS // BATCH
    for step in range(1, STEPS + 1):
        order = common.shuffle(ROWS, knobs["seed"], (step - 1) // per_epoch)
        chosen = order[(step - 1) % per_epoch * BATCH:][:BATCH]
        rate = 5e-4 * (step / warmup if step <= warmup else (STEPS - step + 1) / (STEPS - warmup + 1))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss = reference.batch_loss(model, [ids[i] for i in chosen], [weights[i] for i in chosen])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        print(step, losses[-1], flush=True)
    out["losses"] = losses
    common.VECTORS.mkdir(parents=True, exist_ok=True)
    (common.VECTORS / "smollm2.json").write_text(json.dumps(out))


main()
