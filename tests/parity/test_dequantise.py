"""Dequantisation equals gguf-py's to the bit, on random blocks (any bytes; scales made finite) of every supported type."""
import numpy as np
import pytest

import common

gguf = pytest.importorskip("gguf")
TYPES = {"F16": (1, 2), "BF16": (1, 2), "Q4_0": (32, 18), "Q4_1": (32, 20), "Q8_0": (32, 34), "Q5_0": (32, 22), "Q5_1": (32, 24),
         "Q2_K": (256, 84), "Q3_K": (256, 110), "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210), "IQ4_NL": (32, 18),
         "IQ4_XS": (256, 136), "IQ2_XXS": (256, 66), "IQ2_XS": (256, 74), "IQ2_S": (256, 82), "IQ3_XXS": (256, 98), "IQ3_S": (256, 110),
         "IQ1_S": (256, 50), "IQ1_M": (256, 56)}
HALVES = {"F16": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q8_0": [0], "Q5_0": [0], "Q5_1": [0, 2], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2],
          "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0], "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0],
          "IQ3_XXS": [0], "IQ3_S": [0], "IQ1_S": [0], "IQ1_M": [54]}  # where a block has its scales


@pytest.mark.parametrize("name", TYPES)
def test_same_bits(name, tmp_path):
    block, size = TYPES[name]
    kind = gguf.GGMLQuantizationType[name]
    raw = np.random.default_rng(len(name)).integers(0, 256, (4096, size), dtype=np.uint8)
    for at in HALVES.get(name, []):  # an f16 of 31 in the exponent is infinite or not a number
        raw[:, at + 1] &= 0xBF
    if name == "BF16":
        raw[:, 1] &= 0xBF
    (tmp_path / "blocks.bin").write_bytes(raw.tobytes())
    out = tmp_path / "out.bin"
    for which in ("reference", "fast"):
        common.probe({"what": "dequantise", "type": int(kind), "table": which, "blocks": str(tmp_path / "blocks.bin"), "out": str(out)}, tmp_path)
        ours = np.fromfile(out, np.float32)
        expected = gguf.dequantize(raw, kind).ravel().astype(np.float32)
        assert ours.size == expected.size == 4096 * block
        assert (ours.view(np.uint32) == expected.view(np.uint32)).all(), which


@pytest.mark.parametrize("name", ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS", "Q5_0", "IQ4_NL", "IQ2_XXS", "IQ2_XS", "IQ2_S",
                                  "IQ3_XXS", "IQ3_S", "IQ1_S", "IQ1_M"])
def test_products(name, tmp_path):
    """Forward and backward products over such weights, in a model: the logits and an adapter's gradients are those of the same
    weights stored as F32."""
    rng, (block, size), kind = np.random.default_rng(7), TYPES[name], gguf.GGMLQuantizationType[name]
    replies, files = [], []
    hidden, ffn, vocab = 256, 512, 97
    shapes = {"token_embd": (vocab, hidden), "attn_q": (hidden, hidden), "attn_k": (128, hidden), "attn_v": (128, hidden),
              "attn_output": (hidden, hidden), "ffn_gate": (ffn, hidden), "ffn_up": (ffn, hidden), "ffn_down": (hidden, ffn)}
    blocks = {}
    for key, (rows, cols) in shapes.items():
        raw = rng.integers(0, 256, (rows, cols // block * size), dtype=np.uint8)
        for at in HALVES[name]:  # small scales, of either sign
            raw.reshape(-1, size)[:, at + 1] = raw.reshape(-1, size)[:, at + 1] & 0x83 | 0x04
        blocks[key] = raw
    for plain in (False, True):
        path = tmp_path / f"{plain}.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_block_count(1), writer.add_embedding_length(hidden), writer.add_feed_forward_length(ffn), writer.add_head_count(4)
        writer.add_head_count_kv(2), writer.add_context_length(128), writer.add_layer_norm_rms_eps(1e-5)
        for norm in ("output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"):
            writer.add_tensor(norm, np.ones(hidden, np.float32))
        for key, raw in blocks.items():
            full = key + ".weight" if key == "token_embd" else f"blk.0.{key}.weight"
            if plain:
                writer.add_tensor(full, gguf.dequantize(raw, kind).astype(np.float32))
            else:
                writer.add_tensor(full, raw, raw_dtype=kind)
        writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()
        ids = [np.random.default_rng(2).integers(0, vocab, n).tolist() for n in (70, 9)]
        request = {"model": str(path), "rows": ids, "threads": 2, "lora": {"hyperparameters": {"lora_rank": 2}}, "out": str(tmp_path / "out")}
        common.probe({**request, "what": "logits"}, tmp_path)
        logits = np.fromfile(tmp_path / "out", np.float32)
        common.probe(request, tmp_path)
        replies.append((logits, np.fromfile(tmp_path / "out", np.float32)))
    for ours, exact in zip(*replies):
        assert np.isfinite(exact).all() and np.abs(exact).max() > 0
        assert np.abs(ours - exact).max() <= 1e-5 * np.abs(exact).max()


@pytest.mark.parametrize("name", [n for n, (block, _) in TYPES.items() if block > 1])
def test_rows_that_are_no_whole_blocks(name, tmp_path):
    """Refused by the names of tensor and type, before anything is read."""
    block, size = TYPES[name]
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_tensor("blk.0.attn_q.weight", np.zeros((4, size), np.uint8), raw_dtype=gguf.GGMLQuantizationType[name])
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()
    whole = (tmp_path / "model.gguf").read_bytes()
    at = whole.index(b"blk.0.attn_q.weight") + len("blk.0.attn_q.weight") + 4  # behind the number of dimensions
    assert int.from_bytes(whole[at:at + 8], "little") == block
    (tmp_path / "model.gguf").write_bytes(whole[:at] + (block // 2).to_bytes(8, "little") + whole[at + 8:])
    told = common.helper("model.inspect", {"path": str(tmp_path / "model.gguf")})["error"]
    assert told["code"] == "model_invalid" and f"blk.0.attn_q.weight has rows of {block // 2} values" in told["message"]
    assert f"blocks of {block} as its type {name}" in told["message"]
