// Operations: what was begun on many jobs at once, how far it is, and how to stop it. A preview comes first.

import { html, useEffect, useState } from "./preact.js";
import { get, send } from "./api.js";
import { count, plural, purse } from "./format.js";
import { useLive } from "./live.js";
import { Age, Ask, Badge, Dialog, Empty, Facts, Failure, Head, Live, Table } from "./parts.js";
import { go, href } from "./router.js";

export function Operations({ id }) {
  return id ? html`<${One} id=${id} />` : html`<${List} />`;
}

function List() {
  const [trail, setTrail] = useState([null]);
  const cursor = trail.at(-1);
  const live = useLive(() => get("operations", { limit: 50, cursor }), String(cursor));
  const columns = [
    { name: "begun", cell: (row) => html`<${Age} at=${row.createdAt} />` },
    { name: "action", cell: (row) => html`<a href=${href(`operations/${row.operationId}`)}>${row.action}${row.mode === "preview" ? " (preview)" : ""}</a>` },
    { name: "status", cell: (row) => html`<${Badge} of=${row.status} />` },
    { name: "by", cell: (row) => row.startedBy },
    { name: "matched", number: true, cell: (row) => count(row.progress.matched) },
    { name: "done", number: true, cell: (row) => count(row.progress.done) },
    { name: "money", number: true, cell: (row) => purse(row.money) },
    { name: "how far", wide: true, cell: (row) => row.message },
  ];
  return html`<${Head} title="Operations" live=${live} />
    <${Live} live=${live}>${({ operations, cursor: next }) => html`
      ${operations.length ? html`<${Table} caption="Operations" columns=${columns} rows=${operations} keyOf=${(row) => row.operationId} open=${(row) => go(`operations/${row.operationId}`)} />`
        : html`<${Empty}>Nothing was done to many jobs at once yet.</${Empty}>`}
      <div class="buttons">
        ${trail.length > 1 && html`<button onClick=${() => setTrail(trail.slice(0, -1))}>Newer</button>`}
        ${next && html`<button onClick=${() => setTrail([...trail, next])}>Older</button>`}
      </div>`}
    </${Live}>`;
}

function One({ id }) {
  const live = useLive(() => get(`operations/${encodeURIComponent(id)}`), id, 2);
  return html`<${Head} title="Operation" live=${live}><a href=${href("operations")}>all operations</a></${Head}>
    <${Live} live=${live}>${(operation) => html`<${Progress} operation=${operation} refresh=${live.refresh} />`}</${Live}>`;
}

/** How far an operation is, in a sentence, a bar and its numbers; and the way to stop it. */
export function Progress({ operation, refresh }) {
  const [stopping, setStopping] = useState(false);
  const { progress, watched } = operation;
  const skipped = Object.entries(progress.skipped);
  const all = progress.done + skipped.reduce((sum, [, n]) => sum + n, 0);
  return html`<div class="operation">
    <p role="status"><${Badge} of=${operation.status} /> ${operation.message}</p>
    ${operation.status === "running" && html`<progress class="progress" max=${Math.max(progress.matched, 1)} value=${all} aria-label="Progress" />`}
    <${Facts} rows=${[
      ["what", `${operation.action}${operation.mode === "preview" ? ", preview: nothing is changed" : ""}`],
      ["filter", Object.entries(operation.filter).map(([name, value]) => `${name} = ${value}`).join(", ")],
      ["matched", count(progress.matched)],
      [operation.mode === "preview" ? "would be done" : "done", count(progress.done)],
      ["left alone", skipped.map(([why, n]) => `${count(n)} ${why}`).join(", ")],
      ["by type", Object.entries(progress.types).map(([type, n]) => `${count(n)} ${type}`).join(", ")],
      ["money", Object.keys(operation.money).length ? purse(operation.money) : null],
      ["already succeeded", operation.alreadySucceeded && `${count(operation.alreadySucceeded)}: the same work, submitted anew, is done`],
      ["conflicts", operation.conflicts && `${count(operation.conflicts)}: another job holds the key`],
      ["keys past their window", operation.keysPastWindow && html`<span class="warn">${count(operation.keysPastWindow)}: the provider may have forgotten what they were last tried with</span>`],
      ["canary and those after it", watched && operation.mode !== "preview" && `${count(watched.well)} well, ${count(watched.failing)} failing, ${count(watched.open)} open`],
      ["rate", operation.ratePerSecond && operation.mode !== "preview" && `${operation.ratePerSecond} a second`],
      ["begun", html`<${Age} at=${operation.createdAt} /> ago by ${operation.startedBy}`],
      ["reason", operation.reason],
      ["stopped", operation.stopped && `${operation.stopped.by ?? "by itself"}: ${operation.stopped.why}`],
    ]} />
    ${operation.status === "running" && operation.mode !== "preview" && html`<div class="buttons"><button class="danger" onClick=${() => setStopping(true)}>Stop</button></div>`}
    ${stopping && html`<${Ask} title="Stop this operation?" verb="Stop" danger onClose=${() => setStopping(false)} onDone=${refresh}
      act=${async (values) => { await send("POST", `operations/${operation.operationId}/stop`, values); return "It stops after the page in hand."; }}><p>What was done stays done.</p></${Ask}>`}
  </div>`;
}

/**
 * Preview, then start: `start(mode, {reason, …})` begins an operation. What moves money asks for its count.
 * `fields` are asked for before the start, as in `Ask`.
 */
export function Steps({ title, verb, what, start, fields = [], onClose, onDone, children }) {
  const [preview, setPreview] = useState(null);
  const [error, setError] = useState(null);
  const [begun, setBegun] = useState(null);
  const look = async () => {
    setError(null);
    try {
      setPreview(await start("preview"));
    } catch (failed) {
      setError(failed);
    }
  };
  useEffect(() => {
    if (preview?.status !== "running") return undefined;
    const timer = setTimeout(() => get(`operations/${preview.operationId}`).then(setPreview, setError), 700);
    return () => clearTimeout(timer);
  }, [preview]);
  if (begun) {
    return html`<${Dialog} title=${title} onClose=${() => { onClose(); onDone?.(); }}><${Watched} id=${begun.operationId} /><div class="buttons"><button class="primary" onClick=${() => { onClose(); onDone?.(); }}>Close: it goes on without this page</button></div></${Dialog}>`;
  }
  const ready = preview && preview.status === "completed" && preview.progress.done > 0;
  if (ready) {
    const moves = Object.keys(preview.money).length > 0 || what.includes("money");
    return html`<${Ask} title="${verb} ${plural(preview.progress.done, "job")}?" verb=${verb} danger fields=${fields} reason="required" typed=${moves ? preview.progress.done : undefined}
      act=${(values) => start("start", values)} onClose=${onClose} onDone=${setBegun} stays><${Progress} operation=${preview} /></${Ask}>`;
  }
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <p>${what}</p>${!preview && children}
    <${Failure} error=${error} />
    ${preview && html`<${Progress} operation=${preview} />`}
    ${preview?.status === "completed" && html`<${Empty}>None of them can be acted on.</${Empty}>`}
    <div class="buttons"><button onClick=${onClose}>Leave it</button>${!preview && html`<button class="primary" autofocus onClick=${look}>Preview: change nothing</button>`}</div>
  </${Dialog}>`;
}

function Watched({ id }) {
  const live = useLive(() => get(`operations/${encodeURIComponent(id)}`), id, 1);
  return html`<${Live} live=${live}>${(operation) => html`<${Progress} operation=${operation} refresh=${live.refresh} />`}</${Live}>`;
}
