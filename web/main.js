// The dashboard: a page per hash. Each page gets the main element and a signal that tells when it is left.
import * as api from "/web/api.js";
import { el, problem } from "/web/dom.js";
import { compare } from "/web/compare.js";
import { jobs } from "/web/jobs.js";
import { job } from "/web/job.js";
import { start } from "/web/start.js";
import { upload } from "/web/upload.js";
import { submit } from "/web/submit.js";
import { library } from "/web/library.js";
import { report } from "/web/report.js";
import { sweep, sweeps } from "/web/sweeps.js";

const pages = [
  [/^#\/new(?:\?(.*))?$/, submit],
  [/^#\/compare(?:\?(.*))?$/, compare],
  [/^#\/start$/, start],
  [/^#\/upload$/, upload],
  [/^#\/data$/, library],
  [/^#\/data\/(ds_\w+)$/, report],
  [/^#\/jobs\/(job_\w+)$/, job],
  [/^#\/sweeps$/, sweeps],
  [/^#\/sweeps\/(swp_\w+)$/, sweep],
  [/.*/, jobs],
];
let leave = null;

async function show() {
  leave?.abort();
  leave = new AbortController();
  const { signal } = leave;
  const main = document.getElementById("main");
  const [pattern, page] = pages.find(([p]) => p.test(location.hash));
  main.replaceChildren(el("p", { class: "soft" }, "loading …"));
  try {
    await page(main, signal, ...location.hash.match(pattern).slice(1));
    if (signal.aborted) return;
    document.title = `${main.querySelector("h1")?.textContent ?? "Not found"} · Hone`;
    main.focus({ preventScroll: true });
  } catch (error) {
    if (signal.aborted) return;
    main.replaceChildren(el("h1", {}, error.status === 404 ? "Not found" : "This page cannot be shown"), problem(error));
    document.title = `${main.firstChild.textContent} · Hone`;
  }
}

async function health() {
  const node = document.getElementById("health");
  try {
    const { version } = await api.get("/healthz");
    node.textContent = `version ${version}`;
  } catch {
    node.textContent = "server not reachable";
  }
}

addEventListener("hashchange", show);
show();
health();
setInterval(health, 15000);
