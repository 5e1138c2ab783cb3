// Jobs: found by filters that stand in the address, selected by page or by filter, mended many at once.

import { html, useEffect, useState } from "./preact.js";
import { Trouble, get, send } from "./api.js";
import { download } from "./csv.js";
import { duration, money, plural, seconds } from "./format.js";
import { useKeys } from "./keys.js";
import { useLive } from "./live.js";
import { Steps } from "./operations.js";
import { Age, Ask, Badge, Empty, Field, Head, Live, STATES, TIERS, Table, say } from "./parts.js";
import { amend, go, href, jobHref } from "./router.js";

const FILTERS = ["queue", "state", "type", "venueId", "batchId", "fingerprint", "from", "to", "key"];
const TYPES = document.documentElement.dataset.types.split(" "); // as the service has them
const PAGE = 50;
const RETRIES = ["failed", "cancelled"];
const CANCELS = ["queued", "scheduled", "retrying"];

export function Jobs({ query, who }) {
  const [trail, setTrail] = useState([null]); // the cursors of the pages before, and this one's
  const asked = Object.fromEntries(FILTERS.map((name) => [name, query.get(name) ?? ""]));
  const find = query.get("find");
  const key = query.toString();
  useEffect(() => setTrail([null]), [key]);
  const wanted = find || FILTERS.some((name) => asked[name]) || who.role !== "admin" ? asked : { ...asked, state: "failed" };
  const cursor = trail.at(-1);
  const live = useLive(() => (find ? found(find, who) : get("jobs", { ...wanted, cursor, limit: PAGE })), `${key} ${cursor}`);
  useEffect(() => {
    if (live.data?.only) location.replace(jobHref(live.data.only));
    if (live.data?.filter) amend("jobs", live.data.filter);
  }, [live.data]);
  return html`<${Head} title="Jobs" live=${live} />
    <${Filters} key=${key} asked=${wanted} />
    <${Live} live=${live}>${({ jobs = [], cursor: next, none, kinds }) => html`
      ${kinds && html`<p role="status">${plural(jobs.length, "job speaks", "jobs speak")} of “${find}” among the latest that failed, are parked or are retrying. ${kinds.length > 0 && html`All of a kind: ${kinds.map((each) => html`<a class="kind" href=${href("jobs", { fingerprint: each })}>${each}</a> `)}`}</p>`}
      ${none ? html`<${Empty}>${none}</${Empty}>` : html`<${List} key=${key + cursor} jobs=${jobs} wanted=${kinds ? null : wanted} refresh=${live.refresh} />`}
      <div class="buttons">
        ${trail.length > 1 && html`<button onClick=${() => setTrail(trail.slice(0, -1))}>Newer</button>`}
        ${next && html`<button onClick=${() => setTrail([...trail, next])}>${jobs.length ? "Older" : "Look further back"}</button>`}
      </div>`}
    </${Live}>`;
}

// Where trouble is looked for by its words: newest first, so many of each.
const TROUBLED = ["failed", "parked", "retrying"];
const LATEST = 100;

/** Find what somebody pasted: a job, the kind of an error, a venue, or words that the latest trouble speaks of. */
async function found(text, who) {
  if (/^job_\w+$/.test(text)) {
    const job = await get(`jobs/${text}`).catch(missing);
    if (job) return { only: job.id };
  }
  const bare = /^[!-~]+$/.test(text);
  const tries = [bare && text.includes(":") && { fingerprint: text }, bare && who.role === "admin" && { venueId: text }];
  for (const filter of tries.filter(Boolean)) {
    const { jobs } = await get("jobs", { ...filter, limit: 1 }).catch((error) => missing(error) ?? { jobs: [] });
    if (jobs.length) return { filter };
  }
  const pages = await Promise.all(TROUBLED.map((state) => get("jobs", { state, limit: LATEST })));
  const words = text.toLowerCase();
  const speaks = (job) => JSON.stringify([job.id, job.batchId, job.error, job.providerObject]).toLowerCase().includes(words);
  const jobs = pages.flatMap((page) => page.jobs).filter(speaks);
  const kinds = [...new Set(jobs.filter((job) => job.error).map((job) => `${job.type}:${job.error.code}`))];
  if (jobs.length) return { jobs, kinds };
  return { none: `No job and no venue is called “${text}”, and none of the latest ${LATEST} jobs that failed, are parked or are retrying speaks of it. A batch is found with its venue, and a key with its venue and type, by the filters above.` };
}

function missing(error) {
  if (error instanceof Trouble && [400, 404].includes(error.status)) return null;
  throw error;
}

function Filters({ asked }) {
  const [values, setValues] = useState(asked);
  const [more, setMore] = useState(["batchId", "fingerprint", "from", "to", "key"].some((name) => asked[name]));
  const set = (name) => (value) => setValues({ ...values, [name]: value });
  const apply = (event) => {
    event?.preventDefault();
    go("jobs", values);
  };
  const choose = (name) => (value) => go("jobs", { ...values, [name]: value });
  const text = (name, label, hint) => html`<${Field} name=${name} label=${label} placeholder=${hint} value=${values[name]} onInput=${set(name)} />`;
  return html`<form class="filters" onSubmit=${apply} aria-label="Filters">
    <${Field} name="queue" label="tier" options=${["", ...TIERS]} value=${values.queue} onInput=${choose("queue")} />
    <${Field} name="state" label="state" options=${["", ...STATES]} value=${values.state} onInput=${choose("state")} />
    <${Field} name="type" label="type" options=${["", ...TYPES]} value=${values.type} onInput=${choose("type")} />
    ${text("venueId", "venue")}
    ${more && html`${text("fingerprint", "error", "type:code")}${text("batchId", "batch")}${text("key", "idempotency key")}${text("from", "from", "2026-03-01T12:00:00Z")}${text("to", "before", "2026-03-01T13:00:00Z")}`}
    ${!more && html`<button type="button" onClick=${() => setMore(true)}>More filters</button>`}
    <button class="primary" type="submit">Show</button>
    <a href=${href("jobs")}>clear</a>
  </form>`;
}

function List({ jobs, wanted, refresh }) {
  const [chosen, setChosen] = useState(new Set());
  const [cursor, setCursor] = useState(null);
  const [asking, setAsking] = useState(null);
  const here = jobs.filter((job) => chosen.has(job.id));
  const targets = here.length ? here : cursor ? [cursor] : [];
  useKeys({ r: () => targets.length && setAsking({ action: "retry", jobs: targets }), c: () => targets.length && setAsking({ action: "cancel", jobs: targets }) });
  if (jobs.length === 0) return html`<${Empty}>No job here matches these filters.</${Empty}>`;
  return html`
    <${Table} caption="Jobs" columns=${COLUMNS} rows=${jobs} open=${(job) => go(`jobs/${encodeURIComponent(job.id)}`)} selection=${chosen} onSelect=${setChosen} onCursor=${setCursor} />
    <div class="chosen">
      <span>${here.length ? plural(here.length, "job is selected", "jobs are selected") : "None selected (x)"}</span>
      <button disabled=${!here.length} onClick=${() => setAsking({ action: "retry", jobs: here })}>Retry</button>
      <button disabled=${!here.length} onClick=${() => setAsking({ action: "cancel", jobs: here })}>Cancel</button>
      ${wanted && html`<button onClick=${() => setAsking({ action: "all" })}>All that match …</button>`}
      <button onClick=${() => save(wanted, jobs)}>Export CSV</button>
    </div>
    ${asking?.jobs && html`<${Several} ...${asking} onClose=${() => setAsking(null)} onDone=${() => { setChosen(new Set()); refresh(); }} />`}
    ${asking?.action === "all" && html`<${AllThatMatch} filter=${wanted} onClose=${() => setAsking(null)} onDone=${refresh} />`}`;
}

const COLUMNS = [
  { name: "id", cell: (job) => html`<a href=${jobHref(job.id)} title=${job.id}>…${job.id.slice(-10)}<span class="unseen"> ${job.id}</span></a>` },
  { name: "type", cell: (job) => job.type },
  { name: "venue", cell: (job) => job.venueId },
  { name: "state", cell: (job) => html`<${Badge} of=${job.state} title=${job.reason} />` },
  { name: "attempts", number: true, cell: (job) => `${job.attempts}/${job.maxAttempts}` },
  { name: "age", number: true, cell: (job) => html`<${Age} at=${job.createdAt} />` },
  { name: "next run", number: true, cell: (job) => html`<${Age} at=${job.nextAttemptAt ?? job.scheduledFor} />` },
  { name: "duration", number: true, cell: (job) => duration(seconds(job.processedAt, job.finishedAt)) },
  { name: "amount", number: true, cell: (job) => (job.amount === undefined ? "–" : money(job.amount, job.currency)) },
  { name: "last error", wide: true, cell: (job) => (job.error ? html`<code>${job.error.code}</code> ${job.error.message}` : "–") },
];

/** Retry or cancel some jobs, one by one; what is refused says why, and the others go on. */
function Several({ action, jobs, onClose, onDone }) {
  const [refused, setRefused] = useState([]);
  const dangerous = action === "retry" && jobs.some((job) => job.queue === "money");
  const act = async ({ reason }) => {
    const left = [];
    for (const job of jobs) {
      try {
        await (action === "retry" ? send("POST", `jobs/${encodeURIComponent(job.id)}/retry`, { reason }) : send("DELETE", `jobs/${encodeURIComponent(job.id)}`, { reason }));
      } catch (error) {
        left.push(`${job.id}: ${error.message}`);
      }
    }
    const done = jobs.length - left.length;
    const told = `${plural(done, "job was", "jobs were")} ${action === "retry" ? "put back to run" : "cancelled"}.`;
    if (!left.length) return told;
    setRefused(left);
    throw new Trouble(409, { error: "refused", message: `${told} ${plural(left.length, "other was", "others were")} refused:` });
  };
  return html`<${Ask} title="${action === "retry" ? "Retry" : "Cancel"} ${plural(jobs.length, "job")}?" verb=${action === "retry" ? "Retry" : "Cancel the jobs"} danger=${dangerous || action === "cancel"}
    typed=${dangerous && jobs.length > 1 ? jobs.length : undefined} act=${act} onClose=${() => { onClose(); refused.length && onDone(); }} onDone=${onDone}>
    <p>${action === "retry" ? "Each keeps its attempts in its history and its provider's idempotency key, so that what took effect is found and not done again." : "What has not begun is not done, and says so. The records stay."}</p>
    <ul>${jobs.slice(0, 5).map((job) => html`<li>${job.id} · ${job.type} · ${job.venueId}</li>`)}${jobs.length > 5 && html`<li>and ${jobs.length - 5} more</li>`}</ul>
    ${refused.length > 0 && html`<ul class="bad">${refused.map((each) => html`<li>${each}</li>`)}</ul>`}
  </${Ask}>`;
}

/** The same for all that match, however many: the service looks first and says what it would do. */
function AllThatMatch({ filter, onClose, onDone }) {
  const sent = Object.fromEntries(Object.entries(filter).filter(([name, value]) => value && name !== "key"));
  const [action, setAction] = useState(CANCELS.includes(filter.state) ? "cancel" : "retry");
  const start = (mode, more = {}) => send("POST", "jobs/bulk", { mode, action, filter: sent, ...more });
  return html`<${Steps} title="All that match" verb=${action === "retry" ? "Retry" : "Cancel"} what=${Object.entries(sent).map(([name, value]) => `${name} = ${value}`).join(", ") || "no filter"} key=${action} start=${start} onClose=${onClose} onDone=${onDone}>
    <${Field} name="action" label="What to do with them" options=${[["retry", `retry (${RETRIES.join(", ")})`], ["cancel", `cancel (${CANCELS.join(", ")})`]]} value=${action} onInput=${setAction} />
  </${Steps}>`;
}

const MOST_EXPORTED = 5000;

/** All pages of the filter as CSV, at most MOST_EXPORTED rows; says so when there is more. No filter: the jobs in sight. */
async function save(wanted, jobs) {
  const rows = wanted ? [] : [...jobs];
  let cursor = null;
  try {
    while (wanted && rows.length < MOST_EXPORTED) {
      const page = await get("jobs", { ...wanted, cursor, limit: 100 });
      rows.push(...page.jobs);
      cursor = page.cursor;
      say(`Reading: ${plural(rows.length, "job")} …`);
      if (!cursor) break;
    }
    const columns = ["id", "queue", "type", "venueId", "state", "reason", "attempts", "maxAttempts", "priority", "createdAt", "processedAt", "finishedAt", "nextAttemptAt", "scheduledFor", "amount", "currency", "providerObject", "batchId"];
    const table = rows.map((job) => [...columns.map((name) => job[name]), job.error?.code, job.error?.message]);
    download("jobs.csv", [...columns, "errorCode", "errorMessage"], table);
    say(`${plural(rows.length, "job")} exported${cursor ? `: there are more than ${MOST_EXPORTED}; narrow the filters for the rest` : ""}.`);
  } catch (error) {
    say(`Not exported: ${error.message}`);
  }
}
