"""Real but tiny models, made on the spot without PyTorch: a llama with a byte-level BPE and a BERT with a WordPiece vocabulary,
both with random values from a seed. A step takes about a millisecond, a whole job less than a second."""
import json
import pathlib
import struct

import numpy as np

WIDTH, INNER, LAYERS, HEADS = 32, 64, 2, 2
WORDS = "good bad film plot actor the a of was is very dull fine great poor scene long short end start music tale".split()
CHATML = ("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def write_safetensors(path, tensors):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [at, at + values.nbytes]}
        at += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(v.tobytes() for v in tensors.values()))


def values(shapes, seed):
    chance = np.random.default_rng(seed)
    return {name: np.ones(shape, np.float32) if name.lower().endswith(("norm.weight", "layernorm.weight"))
            else (0.1 * chance.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}


def byte_names():
    """GPT-2's printable stand-ins for the 256 bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) if b in plain else chr(256 + [c for c in range(256) if c not in plain].index(b)) for b in range(256)]


def llama(folder, seed=1):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocab = {word: i for i, word in enumerate(special + byte_names())}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "normalizer": None, "pre_tokenizer": level, "post_processor": None,
                 "decoder": level, "added_tokens": [{"id": i, "content": word, "single_word": False, "lstrip": False, "rstrip": False,
                                                     "normalized": False, "special": True} for i, word in enumerate(special)],
                 "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                           "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": vocab, "merges": []}}
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": WIDTH, "intermediate_size": INNER,
              "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "vocab_size": len(vocab),
              "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu", "bos_token_id": 0,
              "eos_token_id": 2, "tie_word_embeddings": True, "torch_dtype": "float32"}
    shapes = {"model.embed_tokens.weight": (len(vocab), WIDTH), "model.norm.weight": (WIDTH,)}
    for i in range(LAYERS):
        at = f"model.layers.{i}."
        shapes |= {at + f"self_attn.{p}_proj.weight": (WIDTH, WIDTH) for p in "qkvo"}
        shapes |= {at + "mlp.gate_proj.weight": (INNER, WIDTH), at + "mlp.up_proj.weight": (INNER, WIDTH),
                   at + "mlp.down_proj.weight": (WIDTH, INNER), at + "input_layernorm.weight": (WIDTH,),
                   at + "post_attention_layernorm.weight": (WIDTH,)}
    write_safetensors(folder / "model.safetensors", values(shapes, seed))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": special[0], "eos_token": special[2], "pad_token": special[0],
        "chat_template": CHATML, "model_max_length": 256}))
    return folder


def bert(folder, seed=2):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,"
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + c for c in letters), *WORDS[:7], *WORDS[8:]]
    vocab = list(dict.fromkeys(vocab))
    config = {"architectures": ["BertModel"], "model_type": "bert", "hidden_size": WIDTH, "intermediate_size": INNER,
              "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "vocab_size": len(vocab), "max_position_embeddings": 128,
              "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
              "attention_probs_dropout_prob": 0.1, "pad_token_id": 0, "torch_dtype": "float32"}
    shapes = {"embeddings.word_embeddings.weight": (len(vocab), WIDTH), "embeddings.position_embeddings.weight": (128, WIDTH),
              "embeddings.token_type_embeddings.weight": (2, WIDTH), "embeddings.LayerNorm.weight": (WIDTH,),
              "embeddings.LayerNorm.bias": (WIDTH,), "pooler.dense.weight": (WIDTH, WIDTH), "pooler.dense.bias": (WIDTH,)}
    for i in range(LAYERS):
        at = f"encoder.layer.{i}."
        for part, out, inner in (("attention.self.query", WIDTH, WIDTH), ("attention.self.key", WIDTH, WIDTH),
                                 ("attention.self.value", WIDTH, WIDTH), ("attention.output.dense", WIDTH, WIDTH),
                                 ("intermediate.dense", INNER, WIDTH), ("output.dense", WIDTH, INNER)):
            shapes |= {f"{at}{part}.weight": (out, inner), f"{at}{part}.bias": (out,)}
        for part in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{at}{part}.weight": (WIDTH,), f"{at}{part}.bias": (WIDTH,)}
    write_safetensors(folder / "model.safetensors", values(shapes, seed))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True,
                                                              "model_max_length": 128}))
    return folder


def sentence(chance, n=8):
    return " ".join(chance.choice(WORDS) for _ in range(n))


def chats(chance, n):
    return "".join(json.dumps({"messages": [{"role": "user", "content": sentence(chance)},
                                            {"role": "assistant", "content": chance.choice(["good", "bad"])}]}) + "\n" for _ in range(n))


def labelled(chance, n):
    return "".join(json.dumps({"text": sentence(chance), "label": chance.choice(["good", "bad"])}) + "\n" for _ in range(n))


def wait_until(holds, seconds=30, every=0.02):
    """The first true answer of `holds`, asked again and again; the last one when the time is up."""
    import time
    deadline = time.monotonic() + seconds
    while not (found := holds()) and time.monotonic() < deadline:
        time.sleep(every)
    return found
