"""Writes the files given as a C list: embed.py OUT.c SYMBOL FILE... (run by the build)."""
import os
import sys

out, symbol, files = sys.argv[1], sys.argv[2], sorted(sys.argv[3:])
with open(out, "w", encoding="ascii") as f:
    f.write('#include "server/base/embedded.h"\n')
    for i, path in enumerate(files):
        data = open(path, "rb").read() + b"\0"
        f.write(f"static const char file_{i}[] = {{\n")
        for at in range(0, len(data), 32):
            # As signed values: plain char is signed here and conversion warnings are on.
            f.write(",".join(str(b - 256 if b > 127 else b) for b in data[at:at + 32]) + ",\n")
        f.write("};\n")
    f.write(f"const struct hn_embedded {symbol}[] = {{\n")
    for i, path in enumerate(files):
        f.write(f'    {{"{os.path.basename(path)}", file_{i}, sizeof file_{i} - 1}},\n')
    f.write("    {0, 0, 0},\n};\n")
