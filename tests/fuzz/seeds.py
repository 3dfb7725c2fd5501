#!/usr/bin/env python3
"""What the fuzzers begin with: whole small inputs of every kind, what earlier runs came upon (corpus.tar.xz: the smallest set that reaches
as much, `fuzz_… -merge=1`), and for each target a dictionary of the words that its readers know, taken from their sources so that it
never falls behind.

    seeds.py FOLDER        FOLDER/corpus/<target>/…, FOLDER/dictionaries/<target>
"""
import gzip
import json
import lzma
import pathlib
import random
import re
import struct
import sys
import tarfile
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import tiny  # noqa: E402

JOB = "job_v32gjogok3cvf4uu"  # of tests/data/stores
READERS = {
    "gguf": "engine/formats/gguf.c engine/tokenizer/*.c engine/template/lex.c",
    "model": "engine/formats/gguf.c engine/formats/dtype.c engine/families/*.c", "config": "engine/formats/folder.c engine/families/*.c",
    "safetensors": "engine/formats/safetensors.c", "tokenizer": "engine/tokenizer/hf_*.c", "template": "engine/template/*.c",
    "dataset": "engine/data/dataset*.c engine/data/rows.c", "body": "engine/hyperparams.def",
    "spec": "engine/run/spec.c engine/data/labels.c engine/hyperparams.def", "events": "engine/train/events.c", "unpack": "",
    "answers": "engine/eval/json_grammar.c engine/data/tool_calls.c",
    "http": "server/http/http_parse.c", "request": "api/*.c server/http/*.c engine/hyperparams.def",
}
HEADERS = ["HTTP/1.1", "Host: localhost", "Content-Type: ", "Content-Length: ", "Transfer-Encoding: chunked", "Expect: 100-continue",
           "Range: bytes=", "If-None-Match: ", "Accept: text/event-stream", "Last-Event-ID: ", "Authorization: Bearer hone_", "Origin: ",
           "Connection: close", "multipart/form-data; boundary=bo", "Content-Disposition: form-data; name=", "\r\n\r\n", "\r\n--bo\r\n", "--bo--"]


MAGIC = ["\\x1f\\x8b\\x08", "\\xfd7zXZ\\x00", "\\x28\\xb5\\x2f\\xfd", "BZh9", "PK\\x03\\x04", "ustar", "7z\\xbc\\xaf\\x27\\x1c"]


def words(target):
    found = set(HEADERS if target in ("request", "http") else MAGIC if target == "unpack" else ())
    for pattern in READERS[target].split():
        for source in sorted(ROOT.glob(pattern)):
            text = source.read_text()
            found |= {w for w in re.findall(r'"((?:[^"\\\n]|\\.){2,40})"', text) if "%" not in w and not w.endswith((".h", ".def"))}
            if source.suffix == ".def":
                found |= set(re.findall(r"^HN_\w+\((?:\w+, )?(\w+)", text, re.M))
    return sorted(found)


def entry(word):
    data = word.encode().decode("unicode_escape", "replace").encode("latin-1", "replace") if "\\" in word else word.encode()
    return '"' + "".join(f"\\x{b:02x}" if not 32 <= b < 127 or b in b'"\\' else chr(b) for b in data) + '"\n'


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def gguf(architecture, metadata, tensors):
    """A GGUF file: metadata {key: int, float, bool, str or list of them}, tensors {name: dims}, all F32 zeros."""
    kinds = {bool: (7, "<?"), int: (4, "<I"), float: (6, "<f")}

    def value(v):
        if isinstance(v, list):
            head = value(v[0])
            return struct.pack("<I", 9) + head[:4] + struct.pack("<Q", len(v)) + b"".join(value(x)[4:] for x in v)
        if isinstance(v, str):
            return struct.pack("<I", 8) + text(v)
        number, form = kinds[type(v)]
        return struct.pack("<I", number) + struct.pack(form, v)

    metadata = {"general.architecture": architecture} | metadata
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)) + b"".join(text(k) + value(v) for k, v in metadata.items())
    at = 0
    for name, dims in tensors.items():
        out += text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims) + struct.pack("<IQ", 0, at)
        size = 4
        for d in dims:
            size *= d
        at += -(-size // 32) * 32
    return out + b"\0" * (-len(out) % 32) + b"\0" * at


def models():
    tokens = ["<unk>", "<s>", "</s>", "a", "b", "ab", " ", "H", "e", "l", "o"]
    base = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": [2, 3, 3] + [1] * 8, "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2, "tokenizer.chat_template": tiny.CHATML}
    bpe = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm", "tokenizer.ggml.merges": ["a b"]}
    spm = {"tokenizer.ggml.model": "llama", "tokenizer.ggml.scores": [0.0] * 11, "tokenizer.ggml.add_space_prefix": True}
    unigram = {"tokenizer.ggml.model": "t5", "tokenizer.ggml.scores": [float(-i) for i in range(11)], "tokenizer.ggml.unknown_token_id": 0}
    shape = {"block_count": 1, "embedding_length": 8, "feed_forward_length": 16, "attention.head_count": 2, "attention.head_count_kv": 1,
             "context_length": 32, "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 10000.0}
    tensors = {"token_embd.weight": [8, 11], "output_norm.weight": [8], "blk.0.attn_norm.weight": [8], "blk.0.ffn_norm.weight": [8],
               "blk.0.attn_q.weight": [8, 8], "blk.0.attn_k.weight": [8, 4], "blk.0.attn_v.weight": [8, 4], "blk.0.attn_output.weight": [8, 8],
               "blk.0.ffn_gate.weight": [8, 16], "blk.0.ffn_up.weight": [8, 16], "blk.0.ffn_down.weight": [16, 8]}
    for name, kind in (("bpe", bpe), ("spm", spm), ("unigram", unigram)):
        for family in ("llama", "qwen2", "gemma3") if kind is bpe else ("llama",):
            yield f"{name}-{family}", gguf(family, {f"{family}.{k}": v for k, v in shape.items()} | base | kind, tensors)


def tokenizers():
    pieces = [["<unk>", 0.0], ["\u2581a", -1.0], ["b", -2.0], ["lo", -3.0]]
    split = {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}"}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    yield {"added_tokens": [], "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Replace", "pattern": {
        "Regex": " {2,}"}, "content": " "}]}, "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"},
        "post_processor": None, "decoder": {"type": "Metaspace", "replacement": "\u2581"},
        "model": {"type": "Unigram", "unk_id": 0, "vocab": pieces, "byte_fallback": False}}
    yield {"added_tokens": [], "normalizer": {"type": "BertNormalizer", "lowercase": True, "strip_accents": None, "clean_text": True,
                                              "handle_chinese_chars": True}, "pre_tokenizer": {"type": "BertPreTokenizer"},
           "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {
               "id": "A", "type_id": 0}}], "pair": [], "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [0], "tokens": ["[CLS]"]}}},
           "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
                     "vocab": {"[CLS]": 0, "[UNK]": 1, "h": 2, "##e": 3}}}
    yield {"added_tokens": [{"id": 0, "content": "<s>", "special": True, "lstrip": True, "rstrip": False, "single_word": False,
                             "normalized": False}], "normalizer": None, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
           "post_processor": level, "decoder": level, "model": {"type": "BPE", "vocab": {"<s>": 0, "a": 1, "b": 2, "ab": 3},
                                                                "merges": [["a", "b"]], "byte_fallback": True, "unk_token": "<s>"}}


def form(*parts):
    body = "".join(f'--bo\r\nContent-Disposition: form-data; name="{name}"' + (f'; filename="{file}"' if file else "") + f"\r\n\r\n{value}\r\n"
                   for name, file, value in parts) + "--bo--\r\n"
    return body, "multipart/form-data; boundary=bo"


def ask(method, path, body=None, kind="application/json", *more):
    head = [f"{method} {path} HTTP/1.1", "Host: localhost", *more] + (
        [] if body is None else [f"Content-Type: {kind}", f"Content-Length: {len(body.encode())}"])
    return ("\r\n".join(head) + "\r\n\r\n" + (body or "")).encode()


def requests():
    at, body = f"/jobs/{JOB}", {"model": "base", "dataset": "ds_b2bf5f7kbyhoiupw", "hyperparameters": {"epochs": 1, "learning_rate": "auto"},
                                "exports": ["peft"], "metadata": {"a": "b"}, "validation": {"fraction": 0.1}, "samples": {"rows": 2}}
    yield ask("GET", "/jobs?status=succeeded&metadata[a]=b&limit=5&order=asc") + ask("HEAD", "/healthz")
    for path in ("", "/metrics?format=csv&points=5", "/events?limit=5&type=step", "/artifacts", "/artifacts/peft/adapter.bin", "/artifacts.tar",
                 "/log", "/checkpoints", "/checkpoints/4/artifacts", "/verify"):
        yield ask("GET", at + path, None, "", "Range: bytes=2-5")
    yield ask("GET", at + "/events", None, "", "Accept: text/event-stream", "Last-Event-ID: 3")
    yield ask("GET", "/d%61tasets/ds_b2bf5f7kbyhoiupw/preview?model=base&row=1") + ask("GET", "/evaluations?job=" + JOB)
    yield ask("POST", "/jobs?dry_run=1", json.dumps(body)) + ask("PATCH", at, json.dumps({"name": "x", "priority": 5, "metadata": {}}))
    yield ask("POST", at + "/predict", json.dumps({"inputs": ["a", [{"role": "user", "content": "x"}]], "max_tokens": 4, "stream": True}))
    yield ask("POST", at + "/evaluate", json.dumps({"dataset": "ds_b2bf5f7kbyhoiupw", "step": "best", "generate": {"max_tokens": 3}}))
    chat = {"model": "base", "messages": [{"role": "user", "content": "a"}], "max_tokens": 3, "stream": True, "tools": [{"type": "function", "function": {"name": "f"}}],
            "response_format": {"type": "json_object"}, "logit_bias": {"5": 1}, "stop": ["x"]}
    yield ask("POST", "/v1/chat/completions", json.dumps(chat)) + ask("POST", "/v1/completions", json.dumps({"model": "base", "prompt": [1, 2], "n": 2, "logprobs": 1}))
    yield ask("POST", "/v1/files", *form(("file", "t.jsonl", '{"text":"hello"}'), ("purpose", "", "fine-tune"))) + ask("GET", "/v1/files?limit=1&order=asc")
    yield ask("POST", "/v1/fine_tuning/jobs", json.dumps({"model": "base", "training_file": "file-b2bf5f7kbyhoiupw", "method": {"type": "supervised"}}))
    for path in ("models", "models/ft:base:hone::" + JOB[4:], "fine_tuning/jobs/ftjob-" + JOB[4:], "fine_tuning/jobs/ftjob-" + JOB[4:] + "/events?limit=2",
                 "fine_tuning/jobs/ftjob-" + JOB[4:] + "/checkpoints", "files/file-metrics-" + JOB[4:] + "/content"):
        yield ask("GET", "/v1/" + path)
    yield ask("POST", at + "/verify", json.dumps({"last_steps": 2})) + ask("POST", at + "/pause")
    yield ask("POST", "/models", json.dumps({"name": "m", "path": "/nowhere"}))
    yield ask("POST", "/datasets?name=d&format=jsonl", '{"text":"hello"}\n', "application/octet-stream")
    yield ask("POST", "/jobs", *form(("dataset", "t.jsonl", '{"text":"hello"}'), ("model", "", "base"), ("hyperparameters", "", '{"epochs":1}')))
    yield ask("POST", "/datasets", *form(("file", "t.csv", "a,b\n1,2\n"), ("columns", "", '{"text":"a"}')))
    yield (f"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
           f"5\r\n{{\"mod\r\n4;x=y\r\nel\":\r\n0\r\nTrailer: x\r\n\r\n").encode()


def rows():
    lines = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 1}]}, {"prompt": "p", "completion": "c"},
             {"text": "t", "label": ["x", "y"]}, {"tokens": ["a", "b"], "tags": ["O", "B-X"]},
             {"context": "abc", "question": "q", "answers": {"text": ["b"], "answer_start": [1]}}, {"prompt": "p", "chosen": "c", "rejected": "r"}]
    squad = {"version": "v2.0", "data": [{"title": "t", "paragraphs": [{"context": "abc", "qas": [
        {"question": "q", "id": "1", "answers": [{"text": "b", "answer_start": 1}], "is_impossible": False}]}]}]}
    for line in lines:
        yield b"\1" + (json.dumps(line) + "\n").encode() * 2
        yield b"\0" + json.dumps([line, line]).encode()
    yield b"\5" + json.dumps(squad).encode()
    yield b'\3text,label\r\n"a ""quoted""\ntext",1\r\nb,2\r\n'
    yield b"\x84text\tlabel\na\tx\nb\ty\nonly one\n"


def answers():
    """Schemas, and texts with calls in them."""
    for schema in ({"type": "object", "properties": {"a": {"type": ["string", "null"], "maxLength": 3}, "b": {"$ref": "#/$defs/t"}}, "required": ["a"],
                    "$defs": {"t": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/t"}, {"enum": [1, "x"]}]}, "minItems": 1, "maxItems": 3}}},
                   {"anyOf": [{"type": "integer"}, {"const": {"a": [True]}}, {"type": "object", "additionalProperties": {"type": "number"}}]}):
        yield b"\0" + json.dumps(schema).encode()
    call = json.dumps({"name": "f", "arguments": {"a": 1}})
    for text in (f"so: <tool_call>\n{call}\n</tool_call><tool_call>{call}", f"[{call}, {call}]", call.replace("arguments", "parameters"), "<tool_call>{"):
        yield b"\1" + text.encode()


def configs():
    """Of the weights that the target lays beside them, and of every family."""
    small = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
             "vocab_size": 11}
    yarn = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 16, "beta_fast": 32.0, "beta_slow": 1.0}
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
    for family in ("llama", "mistral", "qwen2", "qwen3", "gemma3_text", "gpt2", "bert", "roberta", "distilbert"):
        yield small | {"model_type": family}
    yield from (small | {"rope_scaling": scaling} for scaling in (yarn, llama3, {"type": "linear", "factor": 2.0}))
    yield small | {"sliding_window": 8, "attention_bias": True, "head_dim": 4, "tie_word_embeddings": False}


def calls():
    """Every filter, test and method of templates, with its arguments and without, on values of several kinds."""
    here, parts = ROOT / "engine" / "template", ("filters.c", "methods.c")
    table = [row for part in parts for row in re.findall(r'\{"(\w+)", (?:"([\w,]*)"|NULL), \d, (\w)_', (here / part).read_text())]
    for name, names, kind in table:
        given = ", ".join(["'a'", "2", "true", "'b'"][:len(names.split(","))]) if names else "'a'"
        for value in ("'aB, a 1'", "[3, 1, 2]", "{'a': 1, 'b': [2]}", "messages", "-2.5"):
            yield "".join({"f": f"{{{{ {value}|{name}{a} }}}}", "t": f"{{{{ {value} is {name}{a} }}}}"}.get(
                kind, f"{{{{ ({value}).{name}{a or '()'} }}}}") for a in ("", f"({given})"))
    yield ("{% macro m(a, b=2) %}{{ a }}{{ caller() if caller }}{% endmacro %}{% call m(1) %}x{% endcall %}{% set ns = namespace(i=0) %}"
           "{% for k, v in {'a': 1}.items() recursive %}{{ loop.index0 }}{% set ns.i = ns.i + 1 %}{% else %}-{% endfor %}"
           "{{ range(3)|list }}{{ 'a' ~ 1 // 2 ** 3 % 4 }}{{ messages[0]['role'][::-1] }}{% filter upper %}a{% endfilter %}{# c #}"
           "{% raw %}{{{% endraw %}{{ raise_exception('no') if false else strftime_now('%d') }}{% generation %}g{% endgeneration %}")


def seeds(folder):
    yield from (("gguf", data) for _, data in models())
    yield from (("model", data) for _, data in models())
    llama, bert = tiny.llama(folder / "llama"), tiny.bert(folder / "bert")
    yield from (("config", (m / "config.json").read_bytes()) for m in (llama, bert))
    yield from (("config", json.dumps(json.loads((llama / "config.json").read_text()) | more).encode()) for more in configs())
    yield "tokenizer", (llama / "tokenizer.json").read_bytes()
    yield from (("tokenizer", json.dumps({"version": "1.0"} | t).encode()) for t in tokenizers())
    import numpy as np
    tiny.write_safetensors(folder / "s", {"a.weight": np.zeros((2, 3), np.float32), "b": np.zeros(4, np.float32)})
    yield "safetensors", (folder / "s").read_bytes()
    yield from (("template", t.read_bytes()) for t in sorted((ROOT / "tests/data/templates").iterdir()) if t.suffix in (".jinja", ".txt", ".j2"))
    yield "template", tiny.CHATML.encode()
    yield from (("template", text.encode()) for text in calls())
    yield from (("dataset", data) for data in rows())
    plain = tiny.labelled(random.Random(1), 5).encode()
    yield from (("answers", data) for data in answers())
    yield from (("unpack", data) for data in (gzip.compress(plain, mtime=0), lzma.compress(plain)))
    yield from (("request", data) for data in requests())


def main():
    out = pathlib.Path(sys.argv[1])
    (out / "dictionaries").mkdir(parents=True, exist_ok=True)
    for target in READERS:
        (out / "corpus" / target).mkdir(parents=True, exist_ok=True)
        (out / "dictionaries" / target).write_text("".join(map(entry, words(target))))
    with tarfile.open(HERE / "corpus.tar.xz") as kept:
        kept.extractall(out / "corpus", filter="data")
    with tempfile.TemporaryDirectory() as folder:
        for n, (target, data) in enumerate(seeds(pathlib.Path(folder))):
            (out / "corpus" / target / f"seed-{n:04}").write_bytes(data)


main()
