"""Reads a GGUF file, and an adapter over it, by llama.cpp: log probabilities of the tokens that it finds most likely after each prompt.
A process of its own: llama.cpp keeps threads and a model for good. stdin: {"model","adapter","prompts":[[ids]]}; stdout: ANSWER and JSON."""
import json
import sys

import xllamacpp

asked = json.loads(sys.stdin.read())
params = xllamacpp.CommonParams()
params.model.path = asked["model"]
params.n_ctx, params.n_parallel, params.cpuparams.n_threads, params.warmup = 128, 1, 1, False
if asked["adapter"]:
    adapter = xllamacpp.CommonAdapterLoraInfo(asked["adapter"], 1.0)
    params.lora_adapters = [adapter]
server = xllamacpp.Server(params)
found = []
for ids in asked["prompts"]:
    told = server.handle_completions({"prompt": ids, "n_predict": 1, "temperature": 0, "n_probs": 5, "cache_prompt": False})
    told = json.loads(told) if isinstance(told, str) else told
    (first,) = told["choices"][0]["logprobs"]["content"][:1]
    found.append({str(t["id"]): t["logprob"] for t in first["top_logprobs"]})
print("ANSWER" + json.dumps(found), flush=True)
