// Providers: how much of each limit is left, what is stopped, and how to stop, resume and change it.

import { html, useState } from "./preact.js";
import { get, send } from "./api.js";
import { count } from "./format.js";
import { useLive } from "./live.js";
import { Age, Ask, Badge, Empty, Head, Live, Table } from "./parts.js";

export function Providers() {
  const live = useLive(() => get("rate-limits"), "", 3);
  const [asking, setAsking] = useState(null);
  const ask = (kind, row) => setAsking({ kind, row });
  const close = () => setAsking(null);
  return html`<${Head} title="Providers" live=${live}>
      <button class="danger" onClick=${() => ask("stop", { scope: "all" })}>Stop everything</button>
      <button onClick=${() => ask("stopOther")}>Stop a venue or a type …</button>
    </${Head}>
    <${Live} live=${live}>${({ rateLimits: limits, stops }) => html`
      <section aria-labelledby="stops"><h2 id="stops">Stopped now</h2>${stops.length ? html`<${Stops} stops=${stops} ask=${ask} />` : html`<${Empty}>Nothing is stopped.</${Empty}>`}</section>
      <section aria-labelledby="limits"><h2 id="limits">Limits</h2><${Table} caption="Limits of the providers" keyOf=${(row) => row.key} rows=${limits} columns=${columns(ask)} /></section>`}
    </${Live}>
    ${asking?.kind === "stop" && html`<${Stop} target=${asking.row} onClose=${close} onDone=${live.refresh} />`}
    ${asking?.kind === "stopOther" && html`<${StopOther} onClose=${close} onDone=${live.refresh} />`}
    ${asking?.kind === "resume" && html`<${Resume} stop=${asking.row} onClose=${close} onDone=${live.refresh} />`}
    ${asking?.kind === "edit" && html`<${Edit} row=${asking.row} onClose=${close} onDone=${live.refresh} />`}
    ${asking?.kind === "reset" && html`<${Ask} title="Fill up the tokens of ${asking.row.key}?" verb="Fill up" onClose=${close} onDone=${live.refresh}
      act=${async (values) => { await send("POST", `rate-limits/${encodeURIComponent(asking.row.key)}/reset`, values); return "Filled up."; }}><p>The next burst may start at once. What is in flight is never forgotten.</p></${Ask}>`}`;
}

const columns = (ask) => [
  { name: "provider", cell: (row) => row.key },
  { name: "state", cell: (row) => html`<${Badge} of=${row.stopped ? "stopped" : "open"} />` },
  { name: "tokens", number: true, cell: (row) => `${count(Math.floor(row.tokens))} of ${count(row.limit.burstSize)}` },
  { name: "in flight", number: true, cell: (row) => `${count(row.inFlight)} of ${count(row.limit.maxConcurrent)}` },
  { name: "a second", number: true, cell: (row) => count(row.limit.maxPerSecond) },
  { name: "cooldown", number: true, cell: (row) => `${count(row.limit.cooldownMs)} ms` },
  { name: "", cell: (row) => html`<span class="actions">
      ${row.stopped ? html`<button onClick=${() => ask("resume", { scope: "provider", value: row.key })}>Resume<span class="unseen"> ${row.key}</span></button>` : html`<button onClick=${() => ask("stop", { scope: "provider", value: row.key })}>Stop<span class="unseen"> ${row.key}</span></button>`}
      <button onClick=${() => ask("edit", row)}>Edit<span class="unseen"> the limit of ${row.key}</span></button>
      <button onClick=${() => ask("reset", row)}>Fill up<span class="unseen"> ${row.key}</span></button></span>` },
];

const named = ({ scope, value }) => (scope === "all" ? "everything" : `${scope} ${value}`);

/** What the API calls the target of a stop. */
function bodyOf({ scope, value }) {
  if (scope === "all") return { scope: "all" };
  return { [{ provider: "provider", venue: "venueId", type: "type" }[scope]]: value };
}

const Stops = ({ stops, ask }) => html`<${Table} caption="What is stopped" keyOf=${(row) => named(row)} rows=${stops} columns=${[
  { name: "what", cell: (row) => named(row) },
  { name: "since", cell: (row) => html`<${Age} at=${row.since} />` },
  { name: "until", cell: (row) => (row.until ? html`<${Age} at=${row.until} />` : "resumed by hand") },
  { name: "by", cell: (row) => row.owner },
  { name: "why", wide: true, cell: (row) => row.reason },
  { name: "", cell: (row) => html`<button class="primary" onClick=${() => ask("resume", row)}>Resume<span class="unseen"> ${named(row)}</span></button>` },
]} />`;

const stop = async (body) => {
  await send("POST", "rate-limits/emergency-stop", body);
  return "Stopped: nothing of it begins. What runs now ends.";
};

const Stop = ({ target, onClose, onDone }) => html`<${Ask} title="Stop ${named(target)}?" verb="Stop" danger reason="required" act=${(values) => stop({ ...bodyOf(target), ...values })} onClose=${onClose} onDone=${onDone}>
  <p>Jobs are accepted and kept; none that needs it begins until it is resumed, and none loses an attempt by it.</p>
</${Ask}>`;

function StopOther({ onClose, onDone }) {
  const fields = [
    { name: "scope", label: "What", options: [["venue", "a venue"], ["type", "a job type"], ["provider", "a provider"]], value: "venue" },
    { name: "value", label: "Its id or name", required: true },
  ];
  const act = ({ scope, value, ...rest }) => stop({ ...bodyOf({ scope, value }), ...rest });
  return html`<${Ask} title="Stop what?" verb="Stop" danger fields=${fields} reason="required" act=${act} onClose=${onClose} onDone=${onDone} />`;
}

function Resume({ stop: target, onClose, onDone }) {
  const act = async (values) => {
    if (target.scope === "tier") await send("POST", `queues/${target.value}/resume`, values);
    else await send("POST", "rate-limits/resume", { ...bodyOf(target), ...values });
    return `Resumed: ${named(target)}.`;
  };
  return html`<${Ask} title="Resume ${named(target)}?" verb="Resume" reason="required" act=${act} onClose=${onClose} onDone=${onDone}><p>What waits begins, within the limits.</p></${Ask}>`;
}

function Edit({ row, onClose, onDone }) {
  const labels = { maxPerSecond: "Calls a second", maxConcurrent: "Calls at once", burstSize: "Burst", cooldownMs: "Cooldown after a refusal, ms" };
  const fields = Object.entries(labels).map(([name, label]) => ({ name, label, kind: "number", step: "any", min: 0, required: true, value: String(row.limit[name]) }));
  const act = async ({ reason, ...limit }) => {
    const body = Object.fromEntries(Object.entries(limit).map(([name, value]) => [name, Number(value)]));
    await send("PUT", `rate-limits/${encodeURIComponent(row.key)}`, { ...body, ...(reason && { reason }) });
    return `The limit of ${row.key} holds from now on, for all functions.`;
  };
  return html`<${Ask} title="The limit of ${row.key}" verb="Set" fields=${fields} act=${act} onClose=${onClose} onDone=${onDone} />`;
}
