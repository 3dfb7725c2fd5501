"""Reads results as their README says and tells what came out, by whatever version of Transformers Python finds. A line of JSON in,
a line out: {"kind": class, "folder", "adapter": folder or null, "inputs": [text | [word…] | [question, context]], "load": {…}}."""
import json
import sys
import traceback

import torch
import transformers

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


def read(kind, folder, adapter, inputs, load):
    model, info = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True, attn_implementation="eager", **load)
    config, generation = model.config, getattr(model, "generation_config", None)
    out = {"class": type(model).__name__, "missing": sorted(info["missing_keys"]), "unexpected": sorted(info["unexpected_keys"]),
           "logits": [], "id2label": {str(k): v for k, v in config.id2label.items()}, "label2id": config.label2id,
           "problem_type": config.problem_type, "num_labels": config.num_labels, "architectures": config.architectures,
           "eos": config.eos_token_id, "dtype": str(config.dtype if transformers.__version__ >= "4.56" else config.torch_dtype),
           "stale": [k for k in ("quantization_config", "auto_map") if getattr(config, k, None) is not None],
           "generation": {k: getattr(generation, k, None) for k in ("eos_token_id", "do_sample", "temperature", "top_p")}}
    if adapter:
        import peft
        model = peft.PeftModel.from_pretrained(model, adapter)
        if "base_model(**inputs)" in open(adapter + "/README.md").read():
            model = model.base_model
    tokenizer = transformers.AutoTokenizer.from_pretrained(adapter or folder)
    model.eval()
    for text in inputs:
        pair = {"text": text[0], "text_pair": text[1]} if kind.endswith("QuestionAnswering") else {"text": text}
        batch = tokenizer(**pair, is_split_into_words=isinstance(text, list) and "text_pair" not in pair, return_tensors="pt")
        if "token_type_ids" in batch and config.model_type != "bert":
            del batch["token_type_ids"]
        with torch.no_grad():
            found = model(**batch)
        out["logits"].append([found.start_logits[0].tolist(), found.end_logits[0].tolist()] if "start_logits" in found
                             else found.logits[0].float().tolist())
    return out


for line in sys.stdin:
    try:
        answer = {"version": transformers.__version__, **read(**json.loads(line))}
    except Exception:
        answer = {"error": traceback.format_exc()[-3000:]}
    print("ANSWER" + json.dumps(answer), flush=True)
