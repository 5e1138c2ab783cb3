// One job: what was tried, what came of it, what stands at the provider, and what can be done.

import { html, useState } from "./preact.js";
import { get, send } from "./api.js";
import { duration, moment, money, seconds } from "./format.js";
import { useKeys } from "./keys.js";
import { useLive } from "./live.js";
import { Resolve, atProvider } from "./parked.js";
import { Age, Ask, Badge, Dialog, Facts, Failure, Field, Head, Json, Live } from "./parts.js";
import { go, href, jobHref } from "./router.js";
import { principal } from "./session.js";

const WAITS = ["queued", "scheduled", "retrying"];
// What an operator can do to a job, by its states; the service has the last word.
const ACTIONS = {
  retry: { states: ["failed", "cancelled"], verb: "Retry now", key: "r" },
  promote: { states: ["scheduled", "retrying"], verb: "Run now" },
  cancel: { states: WAITS, verb: "Cancel", key: "c" },
  resolve: { states: ["parked"], verb: "Resolve" },
  clone: { states: ["completed", "failed", "cancelled", "parked"], verb: "Clone with edits" },
};

export function Job({ id }) {
  const live = useLive(() => get(`jobs/${encodeURIComponent(id)}`), id, 3);
  const [asking, setAsking] = useState(null);
  const job = live.data;
  const can = job ? Object.keys(ACTIONS).filter((name) => ACTIONS[name].states.includes(job.state)) : [];
  useKeys(Object.fromEntries(can.filter((name) => ACTIONS[name].key).map((name) => [ACTIONS[name].key, () => setAsking(name)])));
  const close = () => setAsking(null);
  return html`<${Head} title="Job ${id}" live=${live}>
      ${can.map((name) => html`<button class=${name === "resolve" || name === "retry" ? "primary" : ""} onClick=${() => setAsking(name)}>${ACTIONS[name].verb}</button>`)}
    </${Head}>
    <${Live} live=${live}>${(data) => html`<${Whole} job=${data} />`}</${Live}>
    ${["retry", "promote", "cancel"].includes(asking) && html`<${Steer} job=${job} action=${asking} onClose=${close} onDone=${live.refresh} />`}
    ${asking === "resolve" && html`<${Resolve} job=${job} onClose=${close} onDone=${live.refresh} />`}
    ${asking === "clone" && html`<${Clone} job=${job} onClose=${close} />`}`;
}

function Whole({ job }) {
  const admin = principal()?.role === "admin";
  return html`
    <p class="verdict ${{ completed: "good", failed: "bad", parked: "warn", retrying: "warn" }[job.state] ?? ""}"><strong><${Badge} of=${job.state} /> ${headline(job)}</strong> ${job.error ? html`<code>${job.error.code}</code> ${job.error.message}${job.error.reference ? html` (<code>${job.error.reference}</code>)` : ""}` : ""}</p>
    <div class="columns">
      <section aria-labelledby="what"><h2 id="what">What it is</h2><${Facts} rows=${[
        ["type", job.type],
        ["tier", html`<a href=${href("jobs", { queue: job.queue, state: job.state })}>${job.queue}</a>`],
        ["venue", html`<a href=${href("jobs", { venueId: job.venueId })}>${job.venueId}</a>`],
        ["amount", money(job.data?.amount, job.data?.currency) === "–" ? null : money(job.data.amount, job.data.currency)],
        ["attempts", `${job.attempts} of ${job.maxAttempts}`],
        ["priority", job.priority],
        ["accepted", html`${moment(job.createdAt)} (<${Age} at=${job.createdAt} />)`],
        ["scheduled for", job.scheduledFor && moment(job.scheduledFor)],
        ["next attempt", job.nextAttemptAt && html`${moment(job.nextAttemptAt)} (<${Age} at=${job.nextAttemptAt} />)`],
        ["first begun", job.processedAt && moment(job.processedAt)],
        ["ended", job.finishedAt && html`${moment(job.finishedAt)}, ${duration(seconds(job.createdAt, job.finishedAt))} after it was accepted`],
        ["at the provider", job.providerObject && html`<code>${job.providerObject}</code> ${atProvider(job)}`],
        ["batch", job.batchId && html`<a href=${href("jobs", { batchId: job.batchId })}>${job.batchId}</a>, number ${job.batchIndex}`],
        ["idempotency key", html`<${Key} id=${job.id} />`],
        ["alike", job.error && html`<a href=${href("jobs", { fingerprint: `${job.type}:${job.error.code}` })}>all jobs with this error</a>`],
        ["completion callback", job.callbackJobId && html`<a href=${jobHref(job.callbackJobId)}>${job.callbackJobId}</a>`],
        ["erased", job.erasedAt && moment(job.erasedAt)],
      ]} /></section>
      <section aria-labelledby="tried"><h2 id="tried">What was tried</h2><${Timeline} job=${job} /></section>
      <section aria-labelledby="data"><h2 id="data">Data</h2><${Json} value=${job.data} label="The job's data" /></section>
      ${job.result && html`<section aria-labelledby="result"><h2 id="result">Result</h2><${Json} value=${job.result} label="The job's result" /></section>`}
      ${admin && html`<section aria-labelledby="audit"><h2 id="audit">What people did</h2><${History} id=${job.id} /></section>`}
    </div>`;
}

/** What a resubmission of the same work would come to. */
function Key({ id }) {
  const live = useLive(() => get(`jobs/${encodeURIComponent(id)}/idempotency`), id, 30);
  if (!live.data) return html`<span>${live.error ? `not read: ${live.error.message}` : "…"}</span>`;
  const { key } = live.data;
  if (!key) return html`<span>forgotten: the same work, submitted again, is a new job</span>`;
  const origin = key.given ? "given by the caller" : "derived from the data";
  if (!key.ours) return html`<span>${origin}; a later job of the same work holds it</span>`;
  return html`<span>${origin}; ${key.stands ? html`stands until ${moment(key.until)}: the same work, submitted again, is this job` : "stands no more: the same work, submitted again, is a new job"}</span>`;
}

function headline(job) {
  if (job.state === "failed") return { refused: "Refused: it was never done", exhausted: "Failed: every attempt was used up", expired: "Failed: its time ran out" }[job.reason] ?? "Failed";
  if (job.state === "parked") return "Parked: nobody knows whether it took effect; look at the provider, then resolve it";
  return { completed: "Done", cancelled: "Cancelled before it began", running: "Runs now", retrying: "Failed for now, and tries again", queued: "Waits for its turn", scheduled: "Waits for its time" }[job.state];
}

/** Every attempt, and the looks at what one of doubt came to, which count as none. */
function Timeline({ job }) {
  const tone = (outcome) => (/complet|success|succeed/.test(outcome) ? "good" : /declin|refus|fail|reject|permanent/.test(outcome) ? "bad" : "warn");
  const events = [
    html`<li><strong>accepted</strong> ${moment(job.createdAt)}</li>`,
    ...job.history.map((each, at) => html`<li class=${tone(each.outcome)}><strong>${each.attempt === job.history[at - 1]?.attempt ? "look after attempt" : "attempt"} ${each.attempt}: ${each.outcome}</strong>${each.code ? html` <code>${each.code}</code>` : ""}
      <div class="quiet">claimed ${moment(each.startedAt)}, ended ${moment(each.endedAt)}, took ${duration(seconds(each.startedAt, each.endedAt))}</div>
      ${each.reference && html`<div class="quiet">provider's request <code>${each.reference}</code></div>`}</li>`),
    job.state === "running" && html`<li class="warn"><strong>runs now</strong></li>`,
    job.nextAttemptAt && html`<li><strong>next attempt</strong> ${moment(job.nextAttemptAt)}</li>`,
    job.finishedAt && html`<li class=${job.state === "completed" ? "good" : job.state === "failed" ? "bad" : ""}><strong>${job.state}</strong> ${moment(job.finishedAt)}</li>`,
  ];
  return html`<ol class="timeline">${events.filter(Boolean)}</ol>`;
}

function History({ id }) {
  const live = useLive(() => get("audit", { subject: id, limit: 50 }), id, 15);
  return html`<${Live} live=${live}>${({ entries }) => (entries.length
    ? html`<ul>${entries.map((each) => html`<li>${moment(each.at)}: <strong>${each.action}</strong> by ${each.actor}${each.reason ? `: ${each.reason}` : ""}${each.before || each.after ? ` (${each.before ?? "–"} → ${each.after ?? "–"})` : ""}</li>`)}</ul>`
    : html`<p class="quiet">Nobody has touched it.</p>`)}</${Live}>`;
}

const TEXTS = {
  retry: { question: "Retry this job now?", told: "It is put back to run.", about: "It keeps its provider's idempotency key, so that what took effect is found and not done again." },
  promote: { question: "Run this job now?", told: "It is due now.", about: "It does not wait for its time; the limits of its provider still hold." },
  cancel: { question: "Cancel this job?", told: "It is cancelled.", about: "It will not run. Its record stays, and it can be retried." },
};

export function Steer({ job, action, onClose, onDone }) {
  const { question, told, about } = TEXTS[action];
  const act = async (values) => {
    await (action === "cancel" ? send("DELETE", `jobs/${encodeURIComponent(job.id)}`, values) : send("POST", `jobs/${encodeURIComponent(job.id)}/${action}`, values));
    return told;
  };
  return html`<${Ask} title=${question} verb=${ACTIONS[action].verb} danger=${action === "cancel"} act=${act} onClose=${onClose} onDone=${onDone}>
    <p>${job.type} of ${job.venueId}${job.data?.amount ? `, ${money(job.data.amount, job.data.currency)}` : ""}. ${about}</p>
  </${Ask}>`;
}

/** A new job with changed data: the difference is shown before it is sent. */
function Clone({ job, onClose }) {
  const before = JSON.stringify(job.data, null, 2);
  const [text, setText] = useState(before);
  const [reason, setReason] = useState("");
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  let data = null;
  try {
    data = JSON.parse(text);
  } catch {
    // the button stays off, and the line below says why
  }
  const changes = data && typeof data === "object" && !Array.isArray(data) ? differences(job.data, data) : null;
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      const { jobId } = await send("POST", `jobs/${encodeURIComponent(job.id)}/clone`, { data, ...(reason && { reason }) });
      onClose();
      go(`jobs/${encodeURIComponent(jobId)}`);
    } catch (failed) {
      setError(failed);
      setBusy(false);
    }
  };
  return html`<${Dialog} title="Clone with edits" onClose=${onClose}><form onSubmit=${submit}>
    <p>A new job with an idempotency key of its own: ${job.queue === "money" ? "if the old one took effect, the new one does so again." : "the old one stays as it is."}</p>
    <${Field} name="data" kind="long" label="Data" value=${text} onInput=${setText} />
    ${changes === null ? html`<p class="bad" role="status">This is not a JSON object.</p>` : changes.length === 0 ? html`<p class="quiet" role="status">Nothing is changed yet.</p>`
      : html`<ul aria-label="What is changed">${changes.map(([name, was, is]) => html`<li><code>${name}</code>: <span class="removed">${was}</span> → <span class="added">${is}</span></li>`)}</ul>`}
    <${Field} name="reason" label="Reason (for the audit log)" value=${reason} onInput=${setReason} />
    <${Failure} error=${error} />
    <div class="buttons"><button type="button" onClick=${onClose}>Leave it</button><button class="danger" disabled=${!changes || busy}>Submit the clone</button></div>
  </form></${Dialog}>`;
}

/** Rows of `[name, before, after]` for each top-level value that differs. */
export function differences(before, after) {
  const told = (value) => (value === undefined ? "nothing" : JSON.stringify(value));
  return [...new Set([...Object.keys(before), ...Object.keys(after)])]
    .filter((name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]))
    .map((name) => [name, told(before[name]), told(after[name])]);
}
