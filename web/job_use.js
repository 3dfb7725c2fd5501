// How to use a result elsewhere: commands with the job's own address, ready to copy.
import { el } from "/web/dom.js";

const inputs = {
  classification: ["where is my parcel?"], token_classification: ["Ada lives in London."], qa: [{ question: "Where does Ada live?", context: "Ada lives in London." }],
  generation: ["Hello"],
};

function curl(job, origin, key) {
  return `curl ${origin}/jobs/${job.id}/predict${key ? " -H \"Authorization: Bearer $HONE_KEY\"" : ""} \\
  -H 'Content-Type: application/json' -d '${JSON.stringify({ inputs: inputs[job.task] ?? ["Hello"] })}'`;
}

function python(job, origin, key) {
  return `import json${key ? ", os" : ""}, urllib.request
request = urllib.request.Request("${origin}/jobs/${job.id}/predict",
    json.dumps(${JSON.stringify({ inputs: inputs[job.task] ?? ["Hello"] })}).encode(),
    {"Content-Type": "application/json"${key ? ", \"Authorization\": \"Bearer \" + os.environ[\"HONE_KEY\"]" : ""}})
print(json.load(urllib.request.urlopen(request))["data"])`;
}

// A model that writes or labels texts answers chats.
function client(job, origin, key) {
  return `${key ? "import os\n" : ""}from openai import OpenAI
client = OpenAI(base_url="${origin}/v1", api_key=${key ? "os.environ[\"HONE_KEY\"]" : "\"none\""})
answer = client.chat.completions.create(model="ft:${job.model}:hone::${job.id.slice(4)}",
    messages=[{"role": "user", "content": ${JSON.stringify(inputs[job.task][0])}}])
print(answer.choices[0].message.content)`;
}

const pipelines = { classification: "text-classification", token_classification: "token-classification", qa: "question-answering", generation: "text-generation" };

// [title, what it needs, the text] of each way that the files allow.
function ways(job, files, origin, key) {
  const kinds = new Set(files.map((file) => file.kind)), name = (job.name || job.model).toLowerCase().replace(/[^a-z0-9._-]+/g, "-");
  const fetch = `curl ${origin}/jobs/${job.id}/artifacts.tar${key ? " -H \"Authorization: Bearer $HONE_KEY\"" : ""} | tar x`;
  const whole = files.find((file) => file.kind === "merged_gguf" && file.path.endsWith(".gguf"));
  const list = [["curl", "From this server, as long as it has the job.", curl(job, origin, key)], ["Python", "The same; no package is needed.", python(job, origin, key)]];
  if (["generation", "classification"].includes(job.task)) list.push(["OpenAI's client", "Programs that were written for it, unchanged.", client(job, origin, key)]);
  if (kinds.has("merged")) list.push(["Transformers", "The whole model, anywhere.", `${fetch}
python -c 'from transformers import pipeline
print(pipeline("${pipelines[job.task]}", model="merged"))'`]);
  if (kinds.has("peft")) list.push(["PEFT", `The adapter on its base (${job.model}); peft/README.md has the code.`, `${fetch}
cat peft/README.md`]);
  if (whole) list.push(["Ollama", "The whole model.", `${fetch}
ollama create ${name} -f ${whole.path.replace(/[^/]*$/, "Modelfile")} && ollama run ${name}`], ["llama.cpp", "The whole model.", `${fetch}
llama-cli -m ${whole.path}`]);
  else if (kinds.has("gguf")) list.push(["Ollama", `Put the file of the base (${job.model}) beside the Modelfile as gguf/base.gguf.`, `${fetch}
ollama create ${name} -f gguf/Modelfile && ollama run ${name}`], ["llama.cpp", "The adapter on the base's GGUF file.", `${fetch}
llama-cli -m gguf/base.gguf --lora gguf/adapter.gguf`]);
  return list;
}

function copyable(text) {
  const pre = el("pre", { tabindex: 0 }, text);
  const button = el("button", { type: "button", onclick: async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch { // not allowed here: marked, so that the keyboard's copy takes it
      getSelection().selectAllChildren(pre);
      button.textContent = "Marked: press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 3000);
  } }, "Copy");
  return el("div", { class: "copyable" }, pre, button);
}

export function use(job, files) {
  const list = ways(job, files, location.origin, Boolean(sessionStorage.getItem("key")));
  const writes = list.some(([title]) => title === "Ollama");
  return el("section", { id: "use" }, el("h2", {}, "Use it"), list.map(([title, what, text], i) =>
    el("details", { open: i === 0 }, el("summary", {}, el("strong", {}, title), el("span", { class: "soft" }, ` ${what}`)), copyable(text))),
    writes || job.task === "generation" ? null : el("p", { class: "soft" }, "Ollama and llama.cpp run models that write text; this one answers with ",
      job.task === "classification" ? "labels" : "marks in the text", ", which Hone and Transformers do."),
    job.task === "generation" && !writes ? el("p", { class: "soft" }, "For Ollama and llama.cpp train with the export gguf or merged_gguf, or export a checkpoint anew.") : null);
}
