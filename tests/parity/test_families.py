"""Model families from Hugging Face folders, as Transformers saves them (small random models), against Transformers itself:
logits, the loss's gradients of all weights and of an adapter, and the losses of fifty steps. Needs PyTorch."""
import copy

import numpy as np
import pytest

import common

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")

VOCAB, STEPS, RATE = 211, 50, 2e-3
SIZES = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
             vocab_size=VOCAB, max_position_embeddings=512)
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 128}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}


def llama(**more):
    return transformers.LlamaConfig(**{**SIZES, **more})


FAMILIES = {
    "llama": llama(),
    "llama tied, biases": llama(tie_word_embeddings=True, attention_bias=True, mlp_bias=True),
    "llama linear": llama(rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}),
    "llama llama3": llama(rope_parameters=LLAMA3),
    "llama yarn": llama(rope_parameters=YARN),
    "mistral window": transformers.MistralConfig(**SIZES, head_dim=16, sliding_window=9),
    "mistral": transformers.MistralConfig(**SIZES, head_dim=32, sliding_window=None),
    "qwen2": transformers.Qwen2Config(**SIZES),
    "qwen2 windows": transformers.Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=11, max_window_layers=1),
    "qwen3": transformers.Qwen3Config(**SIZES, head_dim=32, tie_word_embeddings=True),
    "gemma3": transformers.Gemma3TextConfig(**SIZES, head_dim=16, sliding_window=7, query_pre_attn_scalar=24,
                                            layer_types=["sliding_attention", "full_attention", "sliding_attention"]),
    "gpt2": transformers.GPT2Config(n_embd=64, n_layer=3, n_head=4, n_positions=128, vocab_size=VOCAB, resid_pdrop=0, embd_pdrop=0,
                                    attn_pdrop=0),
}
TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")


def make(name, folder, dtype=torch.float32, **save):
    torch.manual_seed(len(name))
    config = copy.deepcopy(FAMILIES[name])  # saving notes the dtype in it
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).to(dtype).eval()
    with torch.no_grad():  # larger than they are made, so that every part matters
        for key, value in model.named_parameters():
            value += (0.1 if value.dim() > 1 else 0.2) * torch.randn(value.shape).to(dtype)
    model.save_pretrained(folder, **save)
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def rows():
    rng = np.random.default_rng(3)  # ids from 4: PyTorch gives a padding id no gradient
    ids = [rng.integers(4, VOCAB, n).tolist() for n in (90, 3, 41, 64, 17)]
    return ids, [[float(k % 3 != 1) for k in range(len(row))] for row in ids]


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("family")
    return request.param, make(request.param, folder / "model"), folder


def test_logits(case):
    name, model, folder = case
    ids, _ = rows()
    common.probe({"model": str(folder / "model"), "rows": ids, "what": "logits", "out": str(folder / "logits")}, folder)
    ours = np.fromfile(folder / "logits", np.float32).reshape(-1, VOCAB)
    theirs = torch.cat([model(torch.tensor([row])).logits[0] for row in ids]).detach().numpy()
    assert np.abs(ours - theirs).max() < 2e-5 * np.abs(theirs).max()


def compare(ours, theirs, name):
    assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max() + 1e-7, name


def test_full(case):
    import reference
    name, model, folder = case
    ids, weights = rows()
    reply = common.probe({"model": str(folder / "model"), "rows": ids, "weights": weights, "full": True, "threads": 2, "recompute": True,
                          "out": str(folder / "grads")}, folder)
    grads = np.fromfile(folder / "grads", np.float32)
    model.zero_grad()
    loss = reference.batch_loss(model, ids, weights)
    loss.backward()
    assert reply["loss"] == pytest.approx(loss.item(), rel=1e-5)
    theirs = dict(model.named_parameters())
    assert len(theirs) == len(reply["table"])
    for row in reply["table"]:
        ours = grads[row["offset"]:row["offset"] + row["rows"] * row["cols"]].reshape(row["rows"], row["cols"])
        want = theirs[row["name"]].grad.numpy()
        turned = name == "gpt2" and row["name"].endswith(TRANSPOSED)
        compare(ours, (want.T if turned else want).reshape(ours.shape), row["name"])


def test_full_fifty_losses(case):
    import reference
    name, model, folder = case
    ids, weights = rows()
    reply = common.probe({"model": str(folder / "model"), "rows": ids, "weights": weights, "full": True, "steps": STEPS,
                          "learning_rate": RATE}, folder)
    model = copy.deepcopy(model)
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0), []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = reference.batch_loss(model, ids, weights)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]
    np.testing.assert_allclose(reply["losses"], losses, rtol=2e-3, atol=2e-3)


def test_adapter(case):
    import reference
    name, model, folder = case
    ids, weights = rows()
    request = {"model": str(folder / "model"), "rows": ids, "weights": weights, "lora": {"hyperparameters": {"lora_rank": 4}}}
    start = common.probe({**request, "dump": str(folder / "values")}, folder)
    values = np.fromfile(folder / "values", np.float32)
    values += np.random.default_rng(4).normal(0, 0.05, values.size).astype(np.float32)
    values.tofile(folder / "values")
    request["lora"]["values"] = str(folder / "values")
    reply = common.probe({**request, "out": str(folder / "grads"), "steps": STEPS, "learning_rate": RATE}, folder)
    first = common.probe({**request, "out": str(folder / "grads")}, folder)
    peft = reference.add_lora(copy.deepcopy(model), r=4)
    tensors = dict(peft.named_parameters())
    grads = np.fromfile(folder / "grads", np.float32)
    assert len(start["names"]) * 2 == sum("lora_" in key for key in tensors)

    def entries():
        for row in start["names"]:
            stem = "base_model.model." + row["name"].removesuffix(".weight")
            yield stem + ".lora_A.default.weight", row["a"], (row["rank"], row["in"])
            yield stem + ".lora_B.default.weight", row["b"], (row["out"], row["rank"])

    with torch.no_grad():
        for key, at, shape in entries():
            tensors[key].copy_(torch.from_numpy(values[at:at + shape[0] * shape[1]].reshape(shape)))
    optimizer, losses = torch.optim.AdamW([p for k, p in tensors.items() if "lora_" in k], lr=RATE, weight_decay=0), []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = reference.batch_loss(peft, ids, weights)
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            for key, at, shape in entries():
                compare(grads[at:at + shape[0] * shape[1]].reshape(shape), tensors[key].grad.numpy(), key)
        optimizer.step()
    assert first["loss"] == pytest.approx(losses[0], rel=1e-5)
    np.testing.assert_allclose(reply["losses"], losses, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["gemma3", "gpt2", "qwen2"])
def test_half_precision_in_shards(name, dtype, tmp_path):
    model = make(name, tmp_path / "model", dtype, max_shard_size="60KB")
    assert len(list((tmp_path / "model").glob("*.safetensors"))) > 2
    ids, _ = rows()
    common.probe({"model": str(tmp_path / "model"), "rows": ids, "what": "logits", "out": str(tmp_path / "logits")}, tmp_path)
    ours = np.fromfile(tmp_path / "logits", np.float32).reshape(-1, VOCAB)
    theirs = torch.cat([model(torch.tensor([row])).logits[0] for row in ids]).detach().numpy()
    assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()


@pytest.mark.parametrize("change, words", [
    ({"rope_parameters": {"rope_type": "spiral", "rope_theta": 1e4, "factor": 2.0}}, "spiral"),
    ({"rope_scaling": {"type": "longrope", "factor": 2.0}}, "longrope"),  # beside rope_parameters it is what counts
    ({"model_type": "falcon"}, "falcon"), ({"hidden_act": "mish"}, "mish"), ({"hidden_size": 63}, "shape"),
    ({"num_hidden_layers": 2}, "does not know"), ({"num_hidden_layers": 4}, "no tensor")])
def test_refused(change, words, tmp_path):
    import json
    import subprocess
    make("llama", tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    (tmp_path / "request.json").write_text(json.dumps({"model": str(tmp_path / "model"), "rows": [[1, 2]], "what": "logits"}))
    done = subprocess.run([str(common.PROBE), str(tmp_path / "request.json")], capture_output=True, text=True)
    assert done.returncode == 1 and words in done.stderr, done.stderr
