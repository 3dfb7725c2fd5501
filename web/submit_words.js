// What the fields of a job are called in the page, with their units, and the presets. What they do is told by the server's own schema.

const titles = {
  model: "Model", dataset: "Data set", file: "File", validation: "Held out for validation", test: "Test rows", name: "Name", method: "What is trained", task: "Task",
  rows: "Which rows are used", exports: "Files to write", export_step: "State that is exported", export_dtype: "Precision of whole models", gguf_dtype: "Precision of GGUF files",
  samples: "Sample answers", problem: "What the labels are", labels: "Labels in their order", max_shard_bytes: "Largest weights file (bytes)", template: "Chat template",
  dedupe: "Leave out duplicates", drop_contradictions: "Leave out contradictions", drop_leaks: "Leave out rows that leak into validation or test", priority: "Priority",
  init_from: "Begin from an earlier job", verify_on: "Try adapter also on", on_error: "Rows that cannot be read", columns: "Columns of the file", format: "Format of the file",
  epochs: "Passes over the data (epochs)", max_steps: "Most steps", batch_size: "Rows a step (batch size)", micro_batch_tokens: "Tokens computed at once", learning_rate: "Learning rate",
  schedule: "Course of the learning rate", warmup_ratio: "Warm-up (share of all steps)", warmup_steps: "Warm-up (steps)", max_length: "Longest row (tokens)", overflow: "Rows that are longer",
  loss_on: "Tokens that are trained", lora_rank: "LoRA rank", lora_alpha: "LoRA alpha", lora_dropout: "LoRA dropout", lora_targets: "LoRA modules", rslora: "Rank-stabilised LoRA",
  beta1: "AdamW beta 1", beta2: "AdamW beta 2", max_grad_norm: "Largest gradient norm", seed: "Random seed", eval_every: "Steps between evaluations", eval_at_start: "Evaluate before training",
  eval_generate: "Validation answers to write (rows)", early_stopping_patience: "Evaluations without progress before it stops", max_kl: "Farthest from the base (nats)",
  metric_for_best: "Metric that decides the best state", save_every: "Steps between checkpoints", keep_checkpoints: "Checkpoints that are kept", log_every: "Steps between log lines",
};

export const title = (name) => titles[name] ?? (name[0].toUpperCase() + name.slice(1)).replaceAll("_", " ");

// Of the essentials, for those who have read no manual.
export const helps = {
  model: "What is trained further.", dataset: "The rows it learns from.", validation: "Rows it does not learn from, which say while it trains how good it is.",
  test: "Rows that are measured once, at the end.", name: "To find it again.",
};

// Each is a plain set of hyperparameters; what it does not name is chosen by the server.
export const presets = [
  { name: "standard", set: {}, help: "Everything is chosen by the size of the data and the model." },
  { name: "quick", set: { epochs: 1 }, help: "One pass over the data, for a first look." },
  { name: "careful", set: { schedule: "cosine", warmup_ratio: 0.1, weight_decay: 0.01, early_stopping_patience: 3 },
    help: "A slow start, weight decay, and an end when three evaluations in a row were no better." },
];

// A message of the API in the words of the page; a hint that only says again what the field is, is left out.
export const worded = ({ field, message, hint }) => {
  const own = field ?? "", last = own.split(".").at(-1);
  const said = own && message.startsWith(own) ? title(last) + message.slice(own.length) : message;
  return hint && !hint.startsWith(`${last}: `) ? `${said} – ${hint}` : said;
};
