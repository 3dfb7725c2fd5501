"""GET /datasets/{id}/report: what is found in planted rows, what it is kept by, and what becomes of one that nobody waits for or whose helper dies."""
import json
import os
import random
import signal
import time

import pytest

import tiny

WORDS = [a + b + c for a in ("ba", "cor", "di", "fen", "gu", "har") for b in ("la", "mo", "nir", "os", "pel") for c in ("t", "s", "nd", "r")]
LONG = 8000  # rows of a report that takes seconds
SECRET = "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"


def text(chance, n=25):
    return " ".join(chance.choice(WORDS) for _ in range(n))


@pytest.fixture
def served(start, tmp_path):
    tiny.llama(tmp_path / "models/llama")
    daemon = start("--model_dirs", str(tmp_path / "models"), fake=False)
    assert daemon.post("/models", json={"name": "llama", "path": str(tmp_path / "models/llama")}).status_code == 201
    return daemon


def upload(daemon, rows, **query):
    reply = daemon.post("/datasets", params={"name": "t"} | query, data="".join(json.dumps(row) + "\n" for row in rows).encode())
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]


def report(daemon, data, query=""):
    reply = daemon.get(f"/datasets/{data}/report?wait=60{query}")
    assert reply.status_code == 200, reply.text
    return reply.json()


def found(report):
    return {f["code"]: f for f in report["findings"]}


def test_planted_rows_are_found(served):
    chance = random.Random(1)
    base = [text(chance) for _ in range(60)]
    rows = [{"text": t, "label": ("good", "bad")[i % 2]} for i, t in enumerate(base)]
    rows += [{"label": "good", "text": base[0]},                                 # 61: line 1 again
             {"text": base[2].upper() + "!", "label": "good"},                   # 62: near line 3
             {"text": base[4].replace(base[4].split()[9], "another"), "label": "good"},  # 63: near line 5
             {"text": base[6], "label": "bad"},                                  # 64: contradicts line 7
             {"text": f"{text(chance)} {SECRET}", "label": "good"},              # 65
             {"text": f"{text(chance)} jane.doe@acme.co.uk", "label": "good"},   # 66
             {"text": f"{text(chance)} caf\u00c3\u00a9", "label": "good"},       # 67
             {"text": " ", "label": "good"},                                     # 68
             {"text": text(chance, 2000), "label": "good"}]                      # 69
    made = report(served, upload(served, rows))
    findings = found(made)
    lines = {code: f["lines"] for code, f in findings.items()}
    assert lines["exact_duplicate"] == [61] and lines["label_contradiction"] == [7, 64]
    assert lines["near_duplicate"] == [62, 63, 64]
    assert [(p["line"], p["other"]) for p in findings["near_duplicate"]["pairs"]] == [(62, 3), (63, 5), (64, 7)]
    assert all(0.7 <= p["similarity"] <= 1 for p in findings["near_duplicate"]["pairs"])
    assert (lines["secret"], lines["personal_data"], lines["encoding"], lines["empty"], lines["outlier"]) == ([65], [66], [67], [68], [69])
    assert [f["code"] for f in made["findings"]][:2] == ["label_contradiction", "secret"], "errors come first"
    assert findings["secret"]["kinds"] == {"github_token": 1} and findings["secret"]["samples"][0]["masked"] == "ghp_" + 12 * "*"
    assert findings["personal_data"]["samples"][0] == {"row": 66, "line": 66, "column": "text", "kind": "email", "masked": "j" + 12 * "*", "sure": True}
    assert SECRET not in json.dumps(made) and "jane" not in json.dumps(made)
    assert (findings["exact_duplicate"]["fix"], findings["exact_duplicate"]["option"]) == ("dedupe", "exact")
    assert made["rows"] == len(rows) and made["lengths"]["characters"]["max"] > 8000 and made["lengths"]["tokens"] is None
    assert {row["label"]: row["rows"] for row in made["labels"]["labels"]} == {"good": 38, "bad": 31}
    assert made["clusters"] == {"count": 4, "largest": [{"rows": 2, "row": r, "line": r} for r in (1, 3, 5, 7)]}
    assert 0 < made["diversity"]["distinct_2"]["value"] <= made["diversity"]["distinct_2"]["reference"] <= 1
    assert made["plan"]["near"] == "full" and made["notes"] == []


def test_leaks(served):
    chance = random.Random(2)
    base = [text(chance, 40) for _ in range(30)]
    rows = [{"text": t} for t in base]
    rows[3] = {"text": text(chance, 60) + " " + " ".join(base[3].split()[:20]) + " " + text(chance, 60)}
    rows[4] = {"text": base[4].replace(base[4].split()[3], "changed")}
    own, other = upload(served, rows), upload(served, [{"text": base[i]} for i in (3, 4, 5)] + [{"text": text(chance, 40)}])
    made = report(served, own, f"&against={other}")
    pairs = {code: [(p["line"], p["other"]) for p in f["pairs"]] for code, f in found(made).items()}
    assert pairs["leak_exact"] == [(6, 3)] and pairs["leak_near"] == [(5, 2)] and pairs["leak_contained"] == [(4, 1)]
    assert made["against"] == other and made["dataset"] == own
    assert not [c for c in found(report(served, own)) if c.startswith("leak")]
    asked = [{"question": text(chance, 6), "context": c, "answers": {"text": [c.split()[0]], "answer_start": [0]}} for c in base]
    own, other = upload(served, asked), upload(served, [asked[2] | {"question": text(chance, 6)}])
    assert found(report(served, own, f"&against={other}"))["leak_context"]["rows"] == [3]
    refused = served.get(f"/datasets/{own}/report?against=ds_aaaaaaaaaaaaaaaa")
    assert refused.status_code == 404 and refused.json()["error"]["field"] == "against"


def test_tokens_and_templates(served):
    chance = random.Random(3)
    rows = [{"messages": [{"role": "user", "content": text(chance, 10)}, {"role": "assistant", "content": "Thank you very much for " + text(chance, 8)}]}
            for _ in range(40)]
    rows[7]["messages"][1]["content"] = text(chance, 400)
    made = report(served, upload(served, rows), "&model=llama")
    tokens = made["lengths"]["tokens"]
    assert tokens["rows"] == 40 and tokens["min"] > 20 and tokens["cut_by"]["1024"] == 1 and tokens["cut_by"]["32768"] == 0
    assert found(made)["template"]["which"] == "thank you very much for" and found(made)["template"]["count"] == 39
    assert found(made)["too_long"]["lines"] == [8]


def test_languages_and_labels(served):
    english = ["the house is on the hill and we can see it from here", "it was not the first time that he had been in the city"]
    rows = [{"text": english[i % 2] + f" {WORDS[i]}", "label": "often" if i < 58 else "Seldom"} for i in range(60)]
    rows += [{"text": "das Haus ist nicht auf dem Berg und wir sind auch nicht hier", "label": "often"}]
    made = report(served, upload(served, rows))
    assert found(made)["language"]["lines"] == [61] and made["languages"]["shares"]["en"] > 0.9
    assert found(made)["rare_label"]["which"] == "Seldom" and found(made)["imbalance"]["count"] == 59


def test_jobs_leave_out_what_it_finds(served):
    """dedupe and drop_leaks: exact (true, as ever) or near, in the plan and in the job, with the lines; nothing unless it is asked for."""
    chance = random.Random(8)
    base = [text(chance) for _ in range(24)]
    changed = [t.replace(t.split()[7], "another") for t in base]
    rows = [{"text": t} for t in base] + [{"text": base[0]}, {"text": changed[1]}, {"text": changed[2].upper()}]
    body = {"model": "llama", "dataset": upload(served, rows), "validation": "none", "hyperparameters": {"max_steps": 1, "max_length": 64}}
    held = upload(served, [{"text": base[3]}, {"text": changed[4]}])

    def left_out(**more):
        reply = served.post("/jobs?dry_run=1", json=body | more)
        assert reply.status_code == 200, reply.text
        return [reply.json()["dropped"], *(w["message"].split(")")[0] + ")" for w in reply.json()["warnings"] if w["code"].startswith("left_out_"))]

    assert left_out() == left_out(dedupe=False, drop_leaks=False) == [0]
    assert left_out(dedupe=True) == left_out(dedupe="exact") == [1, "1 of 27 training rows (line 25)"]
    assert left_out(dedupe="near") == [3, "3 of 27 training rows (lines 25, 26, 27)"]
    assert left_out(validation=held, drop_leaks=True) == left_out(test=held, drop_leaks="exact") == [1, "1 of 27 training rows (line 4)"]
    assert left_out(validation=held, drop_leaks="near", dedupe="near")[0] == 5
    assert left_out(validation=held, drop_leaks="near", dedupe="near")[1:] == ["2 of 27 training rows (lines 4, 5)", "3 of 27 training rows (lines 25, 26, 27)"]
    for wrong in ("close", 1, ["near"]):
        refused = served.post("/jobs?dry_run=1", json=body | {"dedupe": wrong})
        assert refused.status_code == 400 and refused.json()["error"]["field"] == "dedupe"
    job = served.post("/jobs", json=body | {"dedupe": "near", "validation": held, "drop_leaks": "near"}).json()["id"]
    done = served.wait(job)
    assert done["status"] == "succeeded" and done["request"]["dedupe"] == "near"
    assert (done["dataset_counts"]["used"], done["dataset_counts"]["dropped"]) == (22, 5)
    assert {"left_out_duplicate", "left_out_leak"} <= {e["data"]["code"] for e in served.events(job) if e["type"] == "warning"}


def test_contradictions_are_left_out(served):
    """drop_contradictions: all rows of an input that has several answers, whichever of them stands there twice; not those of one answer."""
    chance = random.Random(9)
    base = [text(chance) for _ in range(20)]
    rows = [{"text": t, "label": ("good", "bad")[i % 2]} for i, t in enumerate(base)]
    rows += [{"text": base[0], "label": "good"}, {"text": base[0], "label": "bad"}, {"text": f" {base[0]}", "label": "bad"},  # 21 to 23, of line 1
             {"text": base[1], "label": "bad"}]                                                                         # 24: line 2 again
    data = upload(served, rows)
    fact = found(report(served, data))["label_contradiction"]
    assert (fact["lines"], fact["fix"], fact["option"]) == ([1, 21, 22, 23], "drop_contradictions", "exact")
    body = {"model": "llama", "dataset": data, "validation": "none", "hyperparameters": {"max_steps": 1}}
    for asked, dropped, said in ((True, 4, "(lines 1, 21, 22, 23)"), ("exact", 4, "left_out_contradiction"), (False, 0, None)):
        plan = served.post("/jobs?dry_run=1", json=body | {"drop_contradictions": asked}).json()
        assert plan["dropped"] == dropped and (said or "left_out") in json.dumps(plan) or not said and "left_out" not in json.dumps(plan)
    refused = served.post("/jobs?dry_run=1", json=body | {"drop_contradictions": "near"})
    assert refused.status_code == 400 and refused.json()["error"]["field"] == "drop_contradictions"


def test_it_is_kept_by_content(served):
    rows = [{"text": text(random.Random(4))} for _ in range(5)]
    own = upload(served, rows)
    kept = served.state / "reports"
    first = report(served, own)
    files = list(kept.iterdir())
    assert len(files) == 1 and files[0].name.startswith(served.get(f"/datasets/{own}").json()["sha256"])
    stamp = files[0].stat().st_mtime_ns
    assert report(served, own) == first and files[0].stat().st_mtime_ns == stamp
    served.restart()
    assert report(served, own) == first and files[0].stat().st_mtime_ns == stamp
    other = upload(served, [{"text": "x y z"}])
    report(served, own, f"&against={other}")
    assert len(list(kept.iterdir())) == 2
    assert served.delete(f"/datasets/{other}").status_code == 204 and list(kept.iterdir()) == files
    assert served.delete(f"/datasets/{own}").status_code == 204 and list(kept.iterdir()) == []


def helpers(daemon):
    """Ids of its report helpers at work."""
    out = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                words = open(f"/proc/{entry}/cmdline", "rb").read().split(b"\0")
                parent = open(f"/proc/{entry}/stat").read().rpartition(")")[2].split()[1]
            except OSError:
                continue
            if b"helper" in words and parent == str(daemon.process.pid):
                out.append(int(entry))
    return out


def test_a_long_one_tells_how_far_it_is_and_survives_its_helper(served):
    chance = random.Random(5)
    own = upload(served, [{"text": text(chance, 60)} for _ in range(LONG)])
    for pid in helpers(served):
        os.kill(pid, signal.SIGKILL)
    begun = time.time()
    reply = served.get(f"/datasets/{own}/report?wait=0")
    assert reply.status_code == 202 and reply.json()["status"] == "running" and reply.headers["Retry-After"] and time.time() - begun < 1
    assert tiny.wait_until(lambda: served.get(f"/datasets/{own}/report?wait=0").json().get("plan"))
    plan = served.get(f"/datasets/{own}/report?wait=0").json()["plan"]
    assert plan["rows"] == LONG and plan["bytes"] > LONG * 512
    assert served.get("/healthz").elapsed.total_seconds() < 1
    small = upload(served, [{"text": "another one"}])
    assert served.get(f"/datasets/{small}/preview?model=llama").status_code == 200, "nothing else waits for it"
    before = served.figures()["hone_helper_restarts_total"][(("helper", "report"),)]
    for pid in helpers(served):
        os.kill(pid, signal.SIGKILL)
    reply = served.get(f"/datasets/{own}/report?wait=60")
    assert reply.status_code == 500 and "helper process died" in reply.text
    assert served.figures()["hone_helper_restarts_total"][(("helper", "report"),)] == before + 1
    assert report(served, own)["rows"] == LONG, "the next question makes it again"
    assert served.get(f"/datasets/{own}/report?wait=61").status_code == 400


def test_a_daemon_that_stops_does_not_wait_for_it(served):
    chance = random.Random(6)
    own = upload(served, [{"text": text(chance, 60)} for _ in range(LONG)])
    assert served.get(f"/datasets/{own}/report?wait=0").status_code == 202
    begun = time.time()
    assert served.stop() == 0 and time.time() - begun < 20
