"""How rows become text and targets: every field of a row reaches the text, or a warning says that it does not; what only looks like a
template is told; nothing that training needs of a row fails later. With tiny models of several templates."""
import json

import pytest
import tiny

TOOLS = [{"type": "function", "function": {"name": "tide", "description": "Height of the tide",
                                           "parameters": {"type": "object", "properties": {"port": {"type": "string"}}}}}]
ALONE = [TOOLS[0]["function"]]
ASKED, TOLD = "How high is the water in Brest?", "It stands at 4.2 metres."
ASK, TELL = {"role": "user", "content": ASKED}, {"role": "assistant", "content": TOLD}
CALL = {"name": "tide", "arguments": {"port": "Brest"}}
CALLED = '<tool_call>{"name": "tide", "arguments": {"port": "Brest"}}</tool_call>'

# All that there is, in the manner of Qwen3: reasoning only behind the last question, and an empty block where there is none.
FULL = """{%- if tools %}<|im_start|>system
{% for t in tools %}{{ t.function.name }} {{ t | tojson }}
{% endfor %}<|im_end|>
{% endif %}{%- set ns = namespace(last=0) %}{%- for m in messages %}{%- if m.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}
{%- for m in messages %}<|im_start|>{{ m.role }}
{% if m.role == 'assistant' and loop.index0 > ns.last %}<think>
{% if m.reasoning_content %}{{ m.reasoning_content }}{% endif %}
</think>

{% endif %}{% if m.content %}{{ m.content.split('</think>')[-1] }}{% endif %}{% for c in m.tool_calls or [] %}{% set c = c.function or c -%}
<tool_call>{"name": "{{ c.name }}", "arguments": {{ c.arguments | tojson }}}</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
# Wants arguments as text, and every message to have a content.
TEXTUAL = ("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] }}"
           "{% for c in m.tool_calls or [] %}{{ c.function.name + ' ' + c.function.arguments }}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
           "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
TEMPLATES = {"plain": tiny.CHATML, "full": FULL, "textual": TEXTUAL, "none": None}


@pytest.fixture
def served(start, tmp_path):
    daemon = start("--model_dirs", str(tmp_path / "models"), fake=False)
    for name, template in TEMPLATES.items():
        folder = tiny.llama(tmp_path / "models" / name)
        config = json.loads((folder / "config.json").read_text()) | {"max_position_embeddings": 2048}
        tokenizer = json.loads((folder / "tokenizer_config.json").read_text()) | {"chat_template": template, "model_max_length": 2048}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in tokenizer.items() if v is not None}))
        reply = daemon.post("/models", json={"name": name, "path": str(folder)})
        assert reply.status_code == 201, reply.text
    return daemon


def upload(daemon, *rows):
    reply = daemon.post("/datasets", data="".join(json.dumps(r) + "\n" for r in rows).encode())
    assert reply.status_code in (200, 201), reply.text
    return reply.json()


def preview(daemon, model, row, query=""):
    reply = daemon.get(f"/datasets/{upload(daemon, row)['id']}/preview?model={model}{query}")
    assert reply.status_code == 200, reply.text
    found = reply.json()
    found["targets"] = "".join(t["text"] for t in found["tokens"] if t["state"] == "trained")
    return found


def plan(daemon, model, rows, **job):
    reply = daemon.post("/jobs?dry_run=1", json={"model": model, "dataset": upload(daemon, *rows)["id"], "validation": "none"} | job)
    assert reply.status_code == 200, reply.text
    return reply.json()


def warned(answer, code):
    return [w["message"] for w in answer["warnings"] if w["code"] == code]


def messages(*list, **more):
    return {"messages": [*list]} | more


def sharegpt(*turns, **more):
    return {"conversations": [{"from": a, "value": b} for a, b in turns]} | more


HUMAN, GPT = ("human", ASKED), ("gpt", TOLD)
ROWS = {  # row, and what stands in the text of a template that writes everything
    "tools": (messages(ASK, TELL, tools=TOOLS), '{"type": "function", "function": {"name": "tide", '),
    "tools as text": (messages(ASK, TELL, tools=json.dumps(TOOLS)), '{"type": "function", "function": {"name": "tide", '),
    "functions": (messages(ASK, TELL, functions=ALONE), '{"type": "function", "function": {"name": "tide", '),
    "sharegpt tools": (sharegpt(HUMAN, GPT, tools=TOOLS), '{"type": "function", "function": {"name": "tide", '),
    "sharegpt tools alone": (sharegpt(HUMAN, GPT, tools=ALONE), '{"type": "function", "function": {"name": "tide", '),
    "sharegpt tools as text": (sharegpt(HUMAN, GPT, tools=json.dumps(ALONE)), '{"type": "function", "function": {"name": "tide", '),
    "sharegpt call": (sharegpt(HUMAN, ("function_call", json.dumps(CALL)), ("observation", "4.2 m"), GPT), CALLED),
    "sharegpt calls": (sharegpt(HUMAN, ("function_call", json.dumps([CALL, CALL])), ("observation", "4.2 m"), GPT), CALLED + CALLED),
    "turns of chats": ({"conversations": [ASK, {"role": "assistant", "content": None, "tool_calls": [{"function": CALL}]}, TELL]}, CALLED),
    "tool_calls": (messages(ASK, {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": CALL}]}, TELL), CALLED),
    "arguments as text": (messages(ASK, {"role": "assistant", "content": None, "tool_calls": [
        {"type": "function", "function": {"name": "tide", "arguments": '{"port": "Brest"}'}}]}, TELL), CALLED),
    "function_call": (messages(ASK, {"role": "assistant", "content": None, "function_call": {"name": "tide", "arguments": '{"port": "Brest"}'}},
                               {"role": "function", "content": "4.2 m"}, TELL), CALLED),
    "reasoning_content": (messages(ASK, TELL | {"reasoning_content": "The table says so."}), "<think>\nThe table says so.</think>"),
    "lists": ({"prompt": [ASK], "completion": [TELL | {"reasoning_content": "The table says so."}]}, "<think>\nThe table says so.</think>"),
}
FIELD = {"tools": "tools", "functions": "tools", "sharegpt tools": "tools", "tool_calls": "tool_calls", "sharegpt call": "tool_calls",
         "sharegpt calls": "tool_calls", "turns of chats": "tool_calls", "function_call": "tool_calls", "lists": "reasoning_content"}


def test_every_field_reaches_the_text_or_is_told(served):
    for name, (row, written) in ROWS.items():
        field = FIELD.get(name) or next(f for f in ("tools", "tool_calls", "reasoning_content") if f in name or f in json.dumps(row))
        full = preview(served, "full", row)
        assert written in full["rendered"] and not warned(full, "unrendered_field"), (name, full["rendered"], full["warnings"])
        plain = preview(served, "plain", row)
        assert "tide" not in plain["rendered"] and "table" not in plain["rendered"], (name, plain["rendered"])
        assert any(f" {field}," in w for w in warned(plain, "unrendered_field")), (name, plain["warnings"])
        assert plain["targets"] == TOLD + "<|im_end|>", name  # the message that left no byte is no empty answer
    rows = [messages(ASK, TELL, tools=TOOLS), messages(ASK, TELL), ROWS["tool_calls"][0], messages(ASK, TELL, tools=TOOLS)]
    found = warned(plan(served, "plain", rows), "unrendered_field")
    assert found[0].startswith("2 of 4 training rows (lines 1, 4): ") and "tools," in found[0]
    assert found[1].startswith("1 of 4 training rows (line 3): ") and "tool_calls," in found[1]
    assert len(found) == 2 and warned(plan(served, "plain", rows), "unrendered_field") == found  # with the rows from the token file


def test_the_trained_part_of_calls_and_lists(served):
    found = preview(served, "full", ROWS["sharegpt call"][0])
    assert found["targets"] == f"<think>\n</think>\n\n{CALLED}<|im_end|><think>\n</think>\n\n{TOLD}<|im_end|>"
    assert "<|im_start|>tool\n4.2 m<|im_end|>" in found["rendered"]
    assert "<|im_start|>tool\n4.2 m<|im_end|>" in preview(served, "full", ROWS["function_call"][0])["rendered"]
    two = {"prompt": [ASK, {"role": "assistant", "content": "Where?"}, {"role": "user", "content": "Brest"}], "completion": [TELL]}
    assert preview(served, "plain", two)["targets"] == TOLD + "<|im_end|>"
    thought = sharegpt(HUMAN, ("function_call", "<think>\nhm\n</think>\n" + json.dumps(CALL)), GPT)
    assert CALLED in preview(served, "full", thought)["rendered"]


def test_reasoning_that_is_lost(served):
    """In the content itself, and of a turn before the last; an empty block is never trained unsaid."""
    inside = messages(ASK, {"role": "assistant", "content": "<think>\nThe table.\n</think>\n\n" + TOLD})
    found = warned(preview(served, "full", inside), "unrendered_field")
    assert len(found) == 1 and "<think> inside of content" in found[0]
    assert not warned(preview(served, "plain", inside), "unrendered_field")  # that template writes all of it
    early = messages(ASK, TELL | {"reasoning_content": "The table."}, ASK, TELL | {"reasoning_content": "Again."})
    assert "reasoning_content" in warned(preview(served, "full", early), "unrendered_field")[0]
    found = plan(served, "full", [messages(ASK, TELL), messages(ASK, TELL | {"reasoning_content": "The table."})])
    assert warned(found, "empty_thinking")[0].startswith("1 of 2 training rows (line 1): ")


@pytest.mark.parametrize("field,value", [("name", "bosun"), ("weather", {"wind": 3}), ("documents", ["a"]), ("refusal", "no")])
def test_a_field_that_no_template_knows(served, field, value):
    found = preview(served, "full", messages(ASK, TELL | {field: value}))
    assert any(f" {field}," in w for w in warned(found, "unrendered_field")), found["warnings"]
    assert not preview(served, "plain", messages(ASK, TELL | {field: None}))["warnings"]


def test_templates_that_want_another_form(served):
    """Arguments as text and a content for each message, where a template fails without."""
    for row in (ROWS["arguments as text"][0], ROWS["function_call"][0]):
        found = preview(served, "textual", row)
        assert 'assistant\ntide {"port": "Brest"}<|im_end|>' in found["rendered"] and not found["warnings"]
    found = upload(served, messages(ASK, {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "tide", "arguments": "Brest"}}]}))
    assert "arguments_text" in [w["code"] for w in found["warnings"]]


@pytest.mark.parametrize("row,said", [
    (messages(ASK, TELL, tools="tide"), "JSON text"), (messages(ASK, TELL, tools=3), "JSON text"),
    (messages(ASK, TELL | {"function_call": {"arguments": "{}"}}), "function_call without a name"),
    (sharegpt(HUMAN, ("function_call", "tide(Brest)"), GPT), "function_call that is not JSON"),
    ({"conversations": [{"role": "user", "content": [{"type": "image"}]}, TELL]}, "turn"),
])
def test_what_is_no_call(served, row, said):
    reply = served.post("/datasets", data=json.dumps(row).encode())
    assert reply.status_code == 422 and said in reply.text, reply.text


TAGGED = {"tokens": ["a", "film", "good", "plot"], "tags": ["O", "B-WORK", "B-ADJ", "B-WORK"]}


@pytest.mark.parametrize("family", [tiny.bert, tiny.llama])
def test_words_without_tokens(start, tmp_path, family):
    """Such a word gets O, its neighbours keep their own tags; evaluation likewise, in training and after it."""
    daemon = start("--model_dirs", str(tmp_path / "models"), fake=False)
    assert daemon.post("/models", json={"name": "tags", "path": str(family(tmp_path / "models" / "tags"))}).status_code == 201
    lost = "\u200b" if family is tiny.bert else ""  # the one that the tokenizer's normaliser takes out; bytes stay
    gap = {"tokens": ["a", lost, "film", "good", "plot", lost], "tags": ["O", "O", "B-WORK", "B-ADJ", "B-WORK", "B-ADJ"]}
    told = [{"tokens": gap["tokens"], "tags": ["O", "B-WORK", "B-WORK", "B-ADJ", "B-WORK", "O"]}]
    validation = upload(daemon, gap, gap)["id"]
    job = daemon.post("/jobs", json={"model": "tags", "dataset": upload(daemon, *[TAGGED] * 12)["id"], "validation": validation, "method": "full",
                                     "hyperparameters": {"max_steps": 40, "learning_rate": 0.01, "batch_size": 4, "eval_every": 20}}).json()
    events = daemon.get(f"/jobs/{job['id']}/events?type=warning").json()["data"]
    assert ["2 of 2 validation rows (lines 1, 2): " in e["data"]["message"] for e in events if e["data"]["code"] == "lost_word"] == [True], events
    done = daemon.wait(job["id"])
    assert done["status"] == "succeeded", done["status_reason"]
    path = f"/jobs/{job['id']}"
    plain, gapped = daemon.post(path + "/predict", json={"inputs": [TAGGED["tokens"], {"tokens": gap["tokens"]} if lost else TAGGED["tokens"]]}).json()["data"]
    assert plain["tags"] == TAGGED["tags"]
    if lost:
        assert gapped["tags"] == ["O", "O", "B-WORK", "B-ADJ", "B-WORK", "O"]
        assert [(e["text"], e["first"]) for e in gapped["entities"]] == [("film", 2), ("good", 3), ("plot", 4)]
    # Of the six words the last one's tag is missed: five of six right, three of four entities found.
    metrics = daemon.get(path + "/metrics").json()["data"][-1]
    assert metrics["val_accuracy"] == pytest.approx(5 / 6) and metrics["val_entity_f1"] == pytest.approx(6 / 7)
    found = daemon.post(path + "/evaluate", json={"dataset": validation}).json()
    assert found["metrics"]["accuracy"] == pytest.approx(5 / 6) and found["metrics"]["entity_f1"] == pytest.approx(6 / 7)
    rows = [json.loads(x) for x in daemon.get(found["links"]["rows"]).text.splitlines()]
    assert [r["predicted"] if "predicted" in r else r.get("tags") for r in rows] and all(len(r["tags"]) == 6 for r in rows)
    other = daemon.post(path + "/evaluate", json={"dataset": upload(daemon, *told)["id"]}).json()
    assert other["metrics"]["accuracy"] == pytest.approx(5 / 6)


# Refuses what does not begin with a user, as many templates do.
STRICT = ("{% if messages[0]['role'] != 'user' and not (messages | length == 1 and messages[0]['role'] == 'assistant') %}"
          "{{ raise_exception('the first message must be a user') }}{% endif %}" + tiny.CHATML)


def test_nothing_that_training_writes_fails_later(served, tmp_path):
    """Rows whose prompt cannot be made are left out of samples and of written evaluation, with a warning; refused where none is left."""
    folder = tiny.llama(tmp_path / "models" / "strict")
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text()) | {"chat_template": STRICT}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    assert served.post("/models", json={"name": "strict", "path": str(folder)}).status_code == 201
    alone, good = messages({"role": "assistant", "content": "Hello"}), messages(ASK, TELL)
    greeted = messages({"role": "assistant", "content": "Hello"}, ASK)
    called = messages(ASK, {"role": "assistant", "content": None, "tool_calls": [{"function": CALL}]})
    short = {"max_steps": 2, "batch_size": 4}
    for model, rows, validation, kind in (
            ("plain", [alone] * 12, "none", "no_sample"), ("plain", [greeted] + [good] * 23, "none", "no_sample"),
            ("strict", [alone, good] * 6, "none", "no_sample"), ("plain", [good] * 4, [alone, greeted, good, called], "no_answer")):
        held = validation if validation == "none" else upload(served, *validation)["id"]
        hyper = short | ({} if held == "none" else {"eval_generate": 4})
        job = served.post("/jobs", json={"model": model, "dataset": upload(served, *rows)["id"], "validation": held, "hyperparameters": hyper})
        assert job.status_code == 201, job.text
        done = served.wait(job.json()["id"])
        assert done["status"] == "succeeded", (kind, done["status_reason"])
        told = [e["data"] for e in served.get(f"/jobs/{done['id']}/events?type=warning").json()["data"]]
        found = [w["message"] for w in told if w["code"] == kind]
        assert len(found) == 1 and "line" in found[0] and "nothing before" in found[0], told
        samples = served.get(f"/jobs/{done['id']}/events?type=sample").json()["data"]
        assert bool(samples) == (good in rows or held != "none")
        if good not in rows:
            continue
        answered = served.post(f"/jobs/{done['id']}/evaluate", json={"dataset": upload(served, alone, good, called)["id"], "generate": True})
        assert answered.status_code == 200 and answered.json()["answered"] >= 1, answered.text
    reply = served.post("/jobs?dry_run=1", json={"model": "plain", "dataset": upload(served, good)["id"], "validation": upload(served, alone)["id"],
                                                 "hyperparameters": short | {"eval_generate": 4}})
    assert reply.status_code == 400 and reply.json()["error"]["field"] == "hyperparameters.eval_generate", reply.text
    assert "line 1" in reply.json()["error"]["message"]


RENDERED = f"<|im_start|>user\n{ASKED}<|im_end|>\n<|im_start|>assistant\n{TOLD}<|im_end|>\n"
HALVES = {"prompt": RENDERED[:-len(TOLD) - 11], "completion": RENDERED[-len(TOLD) - 11:]}
CONTROL = {0, 1, 2}  # <|endoftext|>, <|im_start|>, <|im_end|>


def test_texts_that_are_rendered_already(served):
    """Plain text stays plain and is told of; `template: applied` makes the tokens that `messages` would be."""
    chat = preview(served, "plain", messages(ASK, TELL))
    for row in ({"text": RENDERED}, HALVES):
        plain = preview(served, "plain", row)
        assert "<|im_start|>" not in [t["text"] for t in plain["tokens"]] and len(warned(plain, "control_text")) == 1
        applied = preview(served, "plain", row, "&template=applied")
        assert [t["id"] for t in applied["tokens"]] == [t["id"] for t in chat["tokens"]] and not applied["warnings"]
        found = warned(plan(served, "plain", [row] * 3), "control_text")
        assert len(found) == 1 and found[0].startswith("3 of 3 training rows") and "messages" in found[0] and '"template": "applied"' in found[0]
        assert not warned(plan(served, "plain", [row] * 3, template="applied"), "control_text")
    assert applied["targets"] == chat["targets"] == TOLD + "<|im_end|>"
    assert preview(served, "plain", {"text": RENDERED}, "&template=applied")["targets"] == RENDERED[len("<|im_start|>"):-1]
    assert preview(served, "plain", {"text": "no end"}, "&template=applied")["targets"] == "o end<|im_end|>"


@pytest.mark.parametrize("row", [{"prompt": "High or low? ", "completion": "high<|im_end|>"}, {"prompt": "High or low? ", "completion": "high<|im_end|>\n"},
                                 {"text": "High or low? high<|im_end|>"}, messages(ASK, {"role": "assistant", "content": "high<|im_end|>"}),
                                 sharegpt(HUMAN, ("gpt", "high<|im_end|>")), {"instruction": ASKED, "output": "high<|im_end|>\n"}])
def test_the_end_is_trained_once(served, row):
    found = preview(served, "plain", row)
    assert found["targets"].endswith("high<|im_end|>") and found["targets"].count("<|im_end|>") == 1 and not found["warnings"]
    assert [t["id"] for t in found["tokens"] if t["state"] == "trained"][-1] == 2
    if "prompt" in row:
        assert preview(served, "plain", row, "&template=applied")["targets"].endswith("high<|im_end|>")


def test_answers_that_spell_control_tokens(served):
    found = preview(served, "plain", messages(ASK, {"role": "assistant", "content": "<|im_start|>high"}))
    assert "leave them" in warned(found, "control_text")[0] and sum(t["text"] == "<|im_start|>" for t in found["tokens"]) == 2
    assert not preview(served, "plain", messages({"role": "user", "content": "What is <|im_start|>?"}, TELL))["warnings"]


def test_a_run_of_rendered_texts(served):
    """It is asked in the same tokens; the field is a part of what the run is."""
    runs = []
    for template in ({}, {"template": "applied"}):
        job = served.post("/jobs", json={"model": "plain", "dataset": upload(served, *[HALVES] * 8)["id"], "validation": "none",
                                         "hyperparameters": {"max_steps": 1}} | template).json()
        done = served.wait(job["id"])
        assert done["status"] == "succeeded", done["status_reason"]
        answer = served.post(f"/jobs/{job['id']}/predict", json={"inputs": [HALVES["prompt"]], "max_tokens": 1}).json()["data"][0]
        runs.append(answer["usage"]["prompt_tokens"])
    assert runs == [len(HALVES["prompt"]), len(HALVES["prompt"]) - 2 * len("im_start|>|") - len("im_end|>|")]
    reply = served.post("/jobs?dry_run=1", json={"model": "plain", "dataset": upload(served, messages(ASK, TELL))["id"], "template": "applied"})
    assert reply.status_code == 400 and reply.json()["error"]["field"] == "template", reply.text
    spec = json.loads((served.state / "runs" / job["id"] / "spec.json").read_text())
    assert spec["run"]["template"] == "applied"


def test_a_prompt_that_ends_in_a_space(start, tmp_path):
    """It is learned and asked in the tokens of the whole text; the space is no part of the answer."""
    folder = tiny.llama(tmp_path / "models" / "spaces")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["\u0120a"] = tokenizer["model"]["vocab"].pop("\u00ff")
    tokenizer["model"]["merges"] = ["\u0120 a"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    daemon = start("--model_dirs", str(tmp_path / "models"), fake=False)
    assert daemon.post("/models", json={"name": "spaces", "path": str(folder)}).status_code == 201
    row = {"prompt": "Q: ", "completion": "ah"}
    before, behind = preview(daemon, "spaces", row), preview(daemon, "spaces", {"prompt": "Q:", "completion": " ah"})
    assert before["tokens"] == behind["tokens"] and before["targets"] == " ah<|im_end|>"
    assert warned(before, "moved_border") and not behind["warnings"]
    data = upload(daemon, *[row] * 8)["id"]
    job = daemon.post("/jobs", json={"model": "spaces", "dataset": data, "validation": data, "method": "full", "hyperparameters": {
        "epochs": 40, "learning_rate": 0.01, "batch_size": 8, "eval_generate": 2}}).json()
    done = daemon.wait(job["id"])
    assert done["status"] == "succeeded", done["status_reason"]
    path = f"/jobs/{job['id']}"
    told = [e["data"]["message"] for e in daemon.get(path + "/events?type=warning").json()["data"] if e["data"]["code"] == "moved_border"]
    assert told and told[0].startswith("8 of 8 training rows")
    assert daemon.get(path + "/events?type=sample").json()["data"][-1]["data"]["text"] == "ah"
    assert daemon.get(path + "/metrics").json()["data"][-1]["val_exact_match"] == 100
    for prompt, text in (("Q: ", "ah"), ("Q:", " ah")):
        answer = daemon.post(path + "/predict", json={"inputs": [{"prompt": prompt}], "max_tokens": 5}).json()["data"][0]
        assert (answer["text"], answer["usage"]["prompt_tokens"]) == (text, 2), answer
    stream = daemon.post(path + "/predict", json={"inputs": [{"prompt": "Q: "}], "max_tokens": 5, "stream": True}).text
    assert '"text":"a' in stream.replace(": ", ":") and '" ah' not in stream and '" a' not in stream, stream
    assert daemon.post(path + "/evaluate", json={"dataset": data, "generate": True}).json()["metrics"]["exact_match"] == 100


def test_templates_that_write_the_day(start, tmp_path):
    """As Llama 3.1's does: a run is asked with the day that it was trained with, a base with today."""
    folder = tiny.llama(tmp_path / "models" / "dated")
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text()) | {"chat_template": "{{ strftime_now('%d %b %Y') }}" + tiny.CHATML}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    daemon = start("--model_dirs", str(tmp_path / "models"), fake=False)
    assert daemon.post("/models", json={"name": "dated", "path": str(folder)}).status_code == 201
    data = upload(daemon, *[messages(ASK, TELL)] * 4)["id"]
    job = daemon.post("/jobs", json={"model": "dated", "dataset": data, "hyperparameters": {"max_steps": 1}}).json()
    assert daemon.wait(job["id"])["status"] == "succeeded"
    for path in ("/models/dated", f"/jobs/{job['id']}"):
        answer = daemon.post(path + "/predict", json={"inputs": [ASKED], "max_tokens": 1})
        assert answer.status_code == 200, answer.text
        assert answer.json()["data"][0]["usage"]["prompt_tokens"] == len("01 Jan 2000user\n\nassistant\n" + ASKED) + 3
        answer = daemon.post(path + "/evaluate", json={"dataset": data})
        assert answer.status_code == 200, answer.text
