"""Writes a text as a C array: neutral.py TEXT OUT.c (run by the build)."""
import sys

data = open(sys.argv[1], "rb").read()
with open(sys.argv[2], "w", encoding="ascii") as f:
    f.write("#include <stddef.h>\nextern const char hn_neutral_text[];\nextern const size_t hn_neutral_size;\n")
    f.write("const char hn_neutral_text[] = {\n")
    for at in range(0, len(data), 32):
        # As signed values: plain char is signed here and conversion warnings are on.
        f.write(",".join(str(b - 256 if b > 127 else b) for b in data[at:at + 32]) + ",\n")
    f.write(f"0}};\nconst size_t hn_neutral_size = {len(data)};\n")
