"""The same model in PyTorch: a Transformers Llama from the GGUF file by gguf-py, with PEFT's LoRA on top."""
import gguf
import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

NAMES = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
         "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}


def to_hf(matrix, heads):
    """Rows of a query or key matrix from GGUF's order (rotary pairs side by side) to Hugging Face's (halves)."""
    rows, cols = matrix.shape
    return matrix.reshape(heads, rows // heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


def to_gguf(matrix, heads):
    rows, cols = matrix.shape
    return matrix.reshape(heads, 2, rows // heads // 2, cols).swapaxes(1, 2).reshape(rows, cols)


def load_base(path):
    reader = gguf.GGUFReader(path)

    def get(key):
        return reader.fields["llama." + key].contents()

    heads, kv_heads = get("attention.head_count"), get("attention.head_count_kv")
    tensors = {}
    for t in reader.tensors:
        values = np.ascontiguousarray(gguf.dequantize(t.data, t.tensor_type)).astype(np.float32)
        tensors[t.name] = torch.from_numpy(values).reshape(list(reversed(t.shape.tolist())))
    config = LlamaConfig(hidden_size=get("embedding_length"), intermediate_size=get("feed_forward_length"),
                         num_hidden_layers=get("block_count"), num_attention_heads=heads, num_key_value_heads=kv_heads,
                         vocab_size=tensors["token_embd.weight"].shape[0], max_position_embeddings=get("context_length"),
                         rms_norm_eps=get("attention.layer_norm_rms_epsilon"), rope_theta=get("rope.freq_base"),
                         tie_word_embeddings="output.weight" not in tensors, attn_implementation="sdpa")
    model = LlamaForCausalLM(config)
    state = {"model.embed_tokens.weight": tensors["token_embd.weight"], "model.norm.weight": tensors["output_norm.weight"],
             "lm_head.weight": tensors.get("output.weight", tensors["token_embd.weight"])}
    for name, values in tensors.items():
        parts = name.split(".")
        if parts[0] != "blk":
            continue
        if parts[2] in ("attn_q", "attn_k"):
            values = to_hf(values, heads if parts[2] == "attn_q" else kv_heads)
        state[f"model.layers.{parts[1]}.{NAMES[parts[2]]}.weight"] = values.clone()
    model.load_state_dict(state)
    model.tie_weights()
    return model.eval()


def add_lora(model, **options):
    settings = dict(r=16, lora_alpha=32, target_modules="all-linear", lora_dropout=0.0)
    settings.update(options)
    return get_peft_model(model, LoraConfig(**settings))


def heads_of(model, name):
    module = name.split(".")[-2]
    config = model.config
    return {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(module, 0)


def set_adapter(model, values, table):
    """Puts the engine's parameter vector into the PEFT model; `table` is the probe's "names"."""
    tensors = dict(model.named_parameters())
    with torch.no_grad():
        for row in table:
            stem = "base_model.model." + row["name"].removesuffix(".weight")
            a = values[row["a"]:row["a"] + row["rank"] * row["in"]].reshape(row["rank"], row["in"])
            b = values[row["b"]:row["b"] + row["out"] * row["rank"]].reshape(row["out"], row["rank"])
            heads = heads_of(model, row["name"])
            b = to_hf(b, heads) if heads else b
            tensors[stem + ".lora_A.default.weight"].copy_(torch.from_numpy(np.ascontiguousarray(a)))
            tensors[stem + ".lora_B.default.weight"].copy_(torch.from_numpy(np.ascontiguousarray(b)))


def adapter_gradients(model, table):
    """{"name.lora_A": array, …} in the engine's row order."""
    tensors, out = dict(model.named_parameters()), {}
    for row in table:
        stem = "base_model.model." + row["name"].removesuffix(".weight")
        heads = heads_of(model, row["name"])
        b = tensors[stem + ".lora_B.default.weight"].grad.numpy()
        out[row["name"] + ":a"] = tensors[stem + ".lora_A.default.weight"].grad.numpy()
        out[row["name"] + ":b"] = to_gguf(b, heads) if heads else b
    return out


def batch_loss(model, rows, weights):
    """Mean cross entropy over all weighted targets of the rows, each row computed alone (no padding)."""
    return loss_of((model(torch.tensor([ids])).logits[0] for ids in rows), rows, weights)


def loss_of(logits, rows, weights):
    """The same from each row's logits."""
    total = sum(sum(w[1:]) for w in weights)
    loss = 0
    for found, ids, w in zip(logits, rows, weights):
        each = torch.nn.functional.cross_entropy(found[:-1], torch.tensor(ids[1:]), reduction="none")
        loss = loss + (each * torch.tensor(w[1:], dtype=torch.float32)).sum() / total
    return loss
