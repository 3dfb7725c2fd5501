// Calls of the API. The key, where one is needed, lives in this tab's session storage and goes into a header, never a URL.

export class ApiError extends Error {
  constructor(status, error) {
    super(error?.message ?? `the server answered ${status}`);
    this.status = status;
    this.hint = error?.hint ?? "";
    this.field = error?.field ?? "";
    this.total = error?.total ?? 0;
    this.details = error?.details ?? [];
  }
}

function headers(extra = {}) {
  const key = sessionStorage.getItem("key");
  return key ? { ...extra, Authorization: `Bearer ${key}` } : extra;
}

function askForKey() {
  const dialog = document.getElementById("key");
  const field = document.getElementById("key-value");
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      sessionStorage.setItem("key", field.value.trim());
      field.value = "";
      resolve();
    }, { once: true });
    if (!dialog.open) dialog.showModal();
  });
}

async function request(path, options = {}) {
  for (;;) {
    const reply = await fetch(path, { ...options, headers: headers(options.headers) });
    if (reply.status === 401) {
      await askForKey();
      continue;
    }
    if (!reply.ok) {
      const body = await reply.json().catch(() => null);
      throw new ApiError(reply.status, body?.error);
    }
    return reply;
  }
}

export const get = async (path) => (await request(path)).json();
export const text = async (path) => (await request(path)).text();
export const blob = async (path) => (await request(path)).blob();

export async function post(path, body) {
  const form = body instanceof FormData;
  const reply = await request(path, {
    method: "POST",
    body: body === undefined ? undefined : form ? body : JSON.stringify(body),
    headers: body === undefined || form ? {} : { "Content-Type": "application/json" },
  });
  return reply.json();
}

// Sends a form and tells how far it is (0 to 1), which fetch cannot.
export function send(path, form, tell, signal) {
  return new Promise((resolve, reject) => {
    const call = new XMLHttpRequest();
    call.open("POST", path);
    for (const [name, value] of Object.entries(headers())) call.setRequestHeader(name, value);
    call.responseType = "json";
    call.upload.addEventListener("progress", (e) => e.lengthComputable && tell(e.loaded / e.total));
    call.addEventListener("load", async () => {
      if (call.status === 401) resolve(askForKey().then(() => send(path, form, tell, signal)));
      else if (call.status < 300) resolve(call.response);
      else reject(new ApiError(call.status, call.response?.error));
    });
    call.addEventListener("error", () => reject(new ApiError(0, { message: "the connection to the server was lost", hint: "send it again" })));
    const giveUp = () => reject(new ApiError(0, { message: "the upload was given up" }));
    call.addEventListener("abort", giveUp);
    signal?.addEventListener("abort", () => call.abort());
    if (signal?.aborted) giveUp();
    else call.send(form);
  });
}

export const remove = (path, options = {}) => request(path, { method: "DELETE", ...options });

// Reads server-sent events with fetch, because EventSource cannot send a key. Yields {id, event, data}.
async function* parse(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const blocks = rest.split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = {};
      for (const line of block.split("\n")) {
        const colon = line.indexOf(": ");
        if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 2);
      }
      if (fields.data) yield { id: fields.id, event: fields.event, data: JSON.parse(fields.data) };
    }
  }
}

export async function* stream(path, body, signal) {
  const options = body === undefined ? { signal, headers: { Accept: "text/event-stream" } }
    : { signal, method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  yield* parse(await request(path, options));
}

// Follows a job's events from `after` on, through lost connections, until the last one. Calls seen(event).
export async function follow(job, after, seen, signal) {
  let last = after;
  while (!signal.aborted) {
    try {
      const reply = await request(`/jobs/${job}/events`, {
        signal, headers: { Accept: "text/event-stream", "Last-Event-ID": String(last) },
      });
      if (reply.status === 204) return;
      for await (const message of parse(reply)) {
        last = Number(message.id);
        seen(message.data);
      }
    } catch (error) {
      if (signal.aborted || error.status === 404) return;
    }
    await new Promise((wait) => setTimeout(wait, 2000));
  }
}
