// Dead letters: what failed for good, in groups of one kind, and how to put a group back safely.

import { html, useState } from "./preact.js";
import { get, send } from "./api.js";
import { count } from "./format.js";
import { useKeys } from "./keys.js";
import { useLive } from "./live.js";
import { Steps } from "./operations.js";
import { Age, Empty, Head, Live, TIERS, Table } from "./parts.js";
import { amend, go, href, jobHref } from "./router.js";

export function DeadLetters({ query }) {
  const queue = query.get("queue") ?? "money";
  const [cursor, setCursor] = useState(null);
  const [redriving, setRedriving] = useState(null);
  const live = useLive(() => get(`queues/${queue}/dead-letters`, { cursor }), `${queue} ${cursor}`, 10);
  const [row, setRow] = useState(null);
  useKeys({ r: () => row && setRedriving(row) });
  const choose = (event) => {
    setCursor(null);
    amend("dead-letters", { queue: event.target.value });
  };
  return html`<${Head} title="Dead letters" live=${live}>
      <label>tier <select value=${queue} onChange=${choose}>${TIERS.map((each) => html`<option value=${each}>${each}</option>`)}</select></label>
      <button onClick=${() => setRedriving({})}>Redrive all of ${queue} …</button>
    </${Head}>
    <${Live} live=${live}>${({ groups, read, more, cursor: next }) => html`
      ${groups.length ? html`<${Table} caption="Groups of dead letters" columns=${columns(setRedriving)} rows=${groups} keyOf=${(row) => row.fingerprint} open=${(row) => go("jobs", { fingerprint: row.fingerprint, state: "failed", queue })} onCursor=${setRow} />`
        : html`<${Empty}>No job of ${queue} has failed for good.</${Empty}>`}
      ${more && html`<p class="quiet">Of the latest ${count(read)}. <button onClick=${() => setCursor(next)}>Look further back</button></p>`}
      ${cursor && html`<button onClick=${() => setCursor(null)}>Back to the latest</button>`}`}
    </${Live}>
    ${redriving && html`<${Redrive} queue=${queue} group=${redriving} onClose=${() => setRedriving(null)} onDone=${live.refresh} />`}`;
}

const columns = (redrive) => [
  { name: "jobs", number: true, cell: (row) => count(row.count) },
  { name: "error", wide: true, cell: (row) => html`<a href=${href("jobs", { fingerprint: row.fingerprint, state: "failed" })}><code>${row.fingerprint}</code></a> ${row.error?.message ?? ""}` },
  { name: "first", cell: (row) => html`<${Age} at=${row.firstSeen} /> ago` },
  { name: "last", cell: (row) => html`<${Age} at=${row.lastSeen} /> ago` },
  { name: "example", cell: (row) => html`<a href=${jobHref(row.exampleId)}>${row.exampleId}</a>` },
  { name: "", cell: (row) => html`<button onClick=${() => redrive(row)}>Redrive …<span class="unseen"> ${row.fingerprint}</span></button>` },
];

function Redrive({ queue, group, onClose, onDone }) {
  const { fingerprint } = group;
  const fields = [
    { name: "ratePerSecond", label: "Jobs a second", kind: "number", min: 1, value: "10" },
    { name: "limit", label: "At most so many", kind: "number", min: 1, hint: "Empty: all of them" },
  ];
  const start = (mode, { ratePerSecond, limit, reason } = {}) =>
    send("POST", `queues/${queue}/redrive`, {
      mode,
      ...(fingerprint && { fingerprint }),
      ...(ratePerSecond && { ratePerSecond: Number(ratePerSecond) }),
      ...(limit && { limit: Number(limit) }),
      ...(reason && { reason }),
    });
  return html`<${Steps} title="Redrive" verb="Redrive" what=${`Dead letters of ${queue}${fingerprint ? ` with ${fingerprint}` : ""}. One goes first, as a canary; the others follow only if it does well.`} start=${start} fields=${fields} onClose=${onClose} onDone=${onDone} />`;
}
