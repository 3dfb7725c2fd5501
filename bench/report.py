#!/usr/bin/env python3
"""Times, memory and recall of the data report (GET /datasets/{id}/report).

usage: bench/report.py HONED [FOLDER]

Makes 100,000 and 1,000,000 rows of 10 to 60 words, of which one in ten is an edited copy of an earlier one: its case, one word, its punctuation, or
every tenth word changed. Prints seconds, the most memory that the helper had, and how many of each kind of copy the report's counts and pairs name.
Every file in FOLDER (.jsonl, .tsv, .csv, .json, .txt) is reported on as well, to see what is found in real rows.
"""
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

EDITS = ("case", "one word", "punctuation", "every tenth word")
SYLLABLES = "ba cor di fen gu har il jo ket lam mo nir os pel qua rem sul tov und vex".split()


def word(chance):
    """Few words are frequent, most are rare."""
    n, out = int(chance.random() ** 3 * 30000), ""
    while not out or n:
        out += SYLLABLES[n % 20]
        n //= 20
    return out


def edited(chance, words, edit):
    if edit == 0:
        return " ".join(words).upper()
    if edit == 1:
        at = chance.randrange(len(words))
        return " ".join(words[:at] + [word(chance)] + words[at + 1:])
    if edit == 2:
        return ", ".join(" ".join(words[i:i + 5]) for i in range(0, len(words), 5)) + "!"
    return " ".join(word(chance) if i % 10 == 9 else w for i, w in enumerate(words))


def make(path, n):
    """Rows and, of each copy (its number from 1), which edit it is."""
    chance, originals, copies = random.Random(n), [], {}
    with open(path, "w") as f:
        for i in range(n):
            if i % 10 == 9:
                kind = (i // 10) % 4
                copies[i + 1] = kind
                text = edited(chance, originals.pop(), kind)
            else:
                words = [word(chance) for _ in range(chance.randint(10, 60))]
                text = " ".join(words)
                if i % 10 == 0:
                    originals.append(words)
            f.write(json.dumps({"text": text}) + "\n")
    return copies


class Server:
    def __init__(self, honed, state):
        self.process = subprocess.Popen([honed, "serve", "--state", state, "--listen", "127.0.0.1:4799"], stderr=subprocess.DEVNULL)
        self.peak = 0

    def ask(self, method, path, data=None):
        request = urllib.request.Request("http://127.0.0.1:4799" + path, data=data, method=method, headers={"Content-Type": "application/octet-stream"})
        try:
            with urllib.request.urlopen(request, timeout=600) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def look(self):
        """The most memory that any of its children had, in MB."""
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                status = pathlib.Path(f"/proc/{entry}/status").read_text()
            except OSError:
                continue
            if f"\nPPid:\t{self.process.pid}\n" in status and "VmHWM:" in status:
                self.peak = max(self.peak, int(status.split("VmHWM:")[1].split()[0]) / 1024)

    def report(self, path, **query):
        head = b"text\tlabel\n" if path.suffix == ".tsv" else b""
        status, reply = self.ask("POST", "/datasets?" + urllib.parse.urlencode(query), head + path.read_bytes())
        if status > 201:
            return None, reply["error"]["message"]
        self.peak, status = 0, 202
        while status == 202:
            status, found = self.ask("GET", f"/datasets/{reply['id']}/report?wait=1")
            self.look()
        return found, None


def main():
    folder = pathlib.Path(tempfile.mkdtemp(dir=os.environ.get("TMPDIR", "/tmp")))
    server = Server(sys.argv[1], str(folder / "state"))
    time.sleep(1)
    try:
        for n in (100_000, 1_000_000):
            path = folder / f"{n}.jsonl"
            copies = make(path, n)
            found, problem = server.report(path)
            if problem:
                sys.exit(problem)
            print(f"{n:,} rows, {path.stat().st_size / 1e6:.0f} MB: {found['seconds']:.1f} s, {server.peak:.0f} MB (plan {found['plan']['bytes'] / 1e6:.0f})",
                  found["notes"] or "", flush=True)
            told = {code: f for f in found["findings"] if (code := f["code"]) in ("near_duplicate", "similar_row")}
            print("  ", {code: f["count"] for code, f in told.items()}, "of", len(copies), "copies;",
                  "false:", sum(row not in copies for f in told.values() for row in f["rows"]), "of the first",
                  sum(len(f["rows"]) for f in told.values()),
                  "| least similarity", min((p["similarity"] for f in told.values() for p in f["pairs"]), default=None))
            path.unlink()
        for path in sorted(pathlib.Path(sys.argv[2]).rglob("*")) if len(sys.argv) > 2 else ():
            if path.suffix in (".jsonl", ".tsv", ".csv", ".json", ".txt"):
                found, problem = server.report(path, **({"columns": '{"prompt":"question","completion":"answer"}'} if "gsm8k" in str(path) else {}))
                print(path.name, problem or (f"{found['rows']} rows, {found['seconds']:.1f} s", {f["code"]: f["count"] for f in found["findings"]}))
    finally:
        server.process.terminate()
        server.process.wait()
        subprocess.run(["rm", "-rf", str(folder)], check=True)


if __name__ == "__main__":
    main()
