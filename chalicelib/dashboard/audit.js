// The audit log: who did what, when, to what, and why.

import { html, useEffect, useState } from "./preact.js";
import { get } from "./api.js";
import { moment } from "./format.js";
import { useLive } from "./live.js";
import { Empty, Field, Head, Live, Table } from "./parts.js";
import { go, href } from "./router.js";

const FILTERS = { actor: "who", subject: "what (a job's id, queue/money, …)", venueId: "venue", from: "from", to: "before" };

export function Audit({ query }) {
  const asked = Object.fromEntries(Object.keys(FILTERS).map((name) => [name, query.get(name) ?? ""]));
  const [values, setValues] = useState(asked);
  const [trail, setTrail] = useState([null]);
  const key = query.toString();
  useEffect(() => { setValues(asked); setTrail([null]); }, [key]);
  const cursor = trail.at(-1);
  const live = useLive(() => get("audit", { ...asked, cursor, limit: 50 }), `${key} ${cursor}`, 15);
  return html`<${Head} title="Audit" live=${live} />
    <form class="filters" aria-label="Filters" onSubmit=${(event) => { event.preventDefault(); go("audit", values); }}>
      ${Object.entries(FILTERS).map(([name, label]) => html`<${Field} name=${name} label=${label} value=${values[name]} placeholder=${name === "from" || name === "to" ? "2026-03-01T12:00:00Z" : ""} onInput=${(value) => setValues({ ...values, [name]: value })} />`)}
      <button class="primary">Show</button> <a href=${href("audit")}>clear</a>
    </form>
    <${Live} live=${live}>${({ entries, cursor: next }) => html`
      ${entries.length ? html`<${Table} caption="Audit entries" columns=${COLUMNS} rows=${entries} />` : html`<${Empty}>Nothing was done that matches.</${Empty}>`}
      <div class="buttons">
        ${trail.length > 1 && html`<button onClick=${() => setTrail(trail.slice(0, -1))}>Newer</button>`}
        ${next && html`<button onClick=${() => setTrail([...trail, next])}>Older</button>`}
      </div>`}
    </${Live}>`;
}

const COLUMNS = [
  { name: "when", cell: (row) => moment(row.at) },
  { name: "who", cell: (row) => row.actor },
  { name: "did", cell: (row) => row.action },
  { name: "to", wide: true, cell: (row) => html`<a href=${href("audit", { subject: row.subject })}>${row.subject}</a>` },
  { name: "venue", cell: (row) => row.venueId ?? "–" },
  { name: "before → after", wide: true, cell: (row) => (row.before || row.after ? `${row.before ?? "–"} → ${row.after ?? "–"}` : "–") },
  { name: "why", wide: true, cell: (row) => row.reason || "–" },
];
