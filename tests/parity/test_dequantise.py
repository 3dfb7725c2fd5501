"""Dequantisation equals gguf-py's to the bit, on random blocks (any bytes; scales made finite) of every supported type."""
import numpy as np
import pytest

import common

gguf = pytest.importorskip("gguf")
TYPES = {"F16": (1, 2), "BF16": (1, 2), "Q4_0": (32, 18), "Q4_1": (32, 20), "Q8_0": (32, 34)}


@pytest.mark.parametrize("name", TYPES)
def test_same_bits(name, tmp_path):
    block, size = TYPES[name]
    kind = gguf.GGMLQuantizationType[name]
    raw = np.random.default_rng(len(name)).integers(0, 256, (4096, size), dtype=np.uint8)
    halves = {"F16": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q8_0": [0]}.get(name, [])
    for at in halves:  # an f16 of 31 in the exponent is infinite or not a number
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
