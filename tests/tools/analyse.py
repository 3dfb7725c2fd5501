#!/usr/bin/env python3
"""gcc -fanalyzer and cppcheck over engine/, server/ and api/: whatever they say is mended, or accepted in analyse.txt with a reason.
A line there that accepts nothing any more is a finding as well.

    analyse.py BUILD       a folder set up by meson, for its compile commands
"""
import collections
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
ACCEPTED = pathlib.Path(__file__).with_name("analyse.txt")
CHECKED = ("engine", "server", "api")


def accepted():
    rows = [line.split(None, 3) for line in ACCEPTED.read_text().splitlines() if line and not line.startswith("#")]
    return {tuple(row[:3]): row[3] for row in rows}  # a line without a reason is none


def run_gcc(entry):
    words = [w for w in shlex.split(entry["command"]) if w != "-Werror"]
    del words[words.index("-o"):]
    done = subprocess.run([*words, "-fanalyzer", "-fdiagnostics-plain-output", "-o", os.devnull, "-c", entry["file"]], cwd=entry["directory"],
                          capture_output=True, text=True)
    found = re.findall(r"^(\S+?):(\d+):\d+: warning: (.*) \[-W([\w-]+)\]$", done.stderr, re.M)
    if done.returncode:
        found.append((entry["file"], 0, done.stderr.strip(), "does-not-compile"))
    return [("gcc", place(pathlib.Path(entry["directory"], file)), check, line, text) for file, line, text, check in found]


def place(path):
    return os.path.relpath(path.resolve(), ROOT)


def gcc(build):
    entries = json.loads((build / "compile_commands.json").read_text())
    entries = [e for e in entries if place(pathlib.Path(e["directory"], e["file"])).split("/")[0] in CHECKED]
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return [f for found in pool.map(run_gcc, entries) for f in found]


def cppcheck():
    done = subprocess.run(["cppcheck", "-q", "--enable=warning,performance,portability", "--inline-suppr", "--std=c11", "-D_GNU_SOURCE",
                           "--include=/usr/include/jansson.h", f"-I{ROOT}", "--template={file}\t{line}\t{id}\t{message}", *CHECKED], cwd=ROOT, capture_output=True,
                          text=True)
    rows = [line.split("\t") for line in done.stderr.splitlines() if line.count("\t") == 3]
    return [("cppcheck", file, check, line, text) for file, line, check, text in rows]


def main():
    allowed, used, bad = accepted(), set(), collections.Counter()
    for tool, file, check, line, text in sorted(set(gcc(pathlib.Path(sys.argv[1]).resolve()) + cppcheck())):
        key = next((k for k in ((tool, file, check), (tool, "*", check)) if k in allowed), None)
        used.add(key)
        if not key:
            bad[f"{file}:{line}: {text} [{tool} {check}]"] += 1
    for key in allowed.keys() - used:
        bad[f"{ACCEPTED.name}: nothing to accept: {' '.join(key)}"] += 1
    print("\n".join(bad))
    print(f"{len(allowed)} kinds accepted, {len(bad)} findings")
    return bool(bad)


sys.exit(main())
