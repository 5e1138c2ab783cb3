// What the screens are made of. Every value becomes text; nothing here takes HTML.

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./preact.js";
import { ago, clock, count, moment } from "./format.js";
import { useKeys } from "./keys.js";
import { useNow } from "./live.js";

export const TIERS = ["money", "communication", "background"];
export const STATES = ["queued", "scheduled", "running", "retrying", "completed", "failed", "parked", "cancelled"];

/** A state or a severity: a word with a colour, never a colour alone. */
export const Badge = ({ of, title }) => html`<span class="badge ${of}" title=${title}>${of}</span>`;

/** A moment as an age, with the moment itself for who points at it. */
export function Age({ at }) {
  const now = useNow();
  return at ? html`<time datetime=${at} title=${moment(at)}>${ago(at, now)}</time>` : html`<span>–</span>`;
}

/** The head of a screen: its name, how old what it shows is, and what can be done with all of it. */
export const Head = ({ title, live, children }) => html`
  <header class="head">
    <h1 tabindex="-1">${title}</h1>
    ${live && html`<${AsOf} live=${live} />`}
    <div class="actions">${children}</div>
  </header>`;

function AsOf({ live }) {
  const now = useNow();
  if (!live.asOf) return html`<span class="as-of">${live.error ? "" : "loading …"}</span>`;
  const old = (now - live.asOf) / 1000 > 30;
  return html`<span class="as-of ${old ? "old" : ""}" aria-live="off">as of ${clock(live.asOf)}${old ? `, ${ago(new Date(live.asOf).toISOString(), now)} ago` : ""}</span>`;
}

/** What went wrong, what to do, and a way to try again. */
export const Failure = ({ error, retry }) =>
  error &&
  html`<div class="failure" role="alert">
    <strong>${error.status === 403 ? "Not yours to see" : error.status ? `Not done (${error.status})` : "Not reached"}:</strong> ${error.message}
    ${(error.details ?? []).map((each) => html`<div><code>${each.field}</code> ${each.message}</div>`)}
    ${error.retryAfter && html`<div>Try again in ${error.retryAfter} s.</div>`}
    ${retry && html` <button onClick=${retry}>Try again</button>`}
  </div>`;

/** The body of what is live: a failure above the old data, never instead of it. */
export const Live = ({ live, children }) => html`
  <${Failure} error=${live.error} retry=${live.refresh} />
  ${live.data === null ? !live.error && html`<p class="quiet" role="status">Loading …</p>` : children(live.data)}`;

export const Empty = ({ children }) => html`<p class="empty">${children}</p>`;

/** A line of the last hour: `values` oldest first, null where nothing was measured. */
export function Spark({ values, label, tone = "" }) {
  const known = values.filter((each) => each !== null && each !== undefined);
  const most = Math.max(1, ...known);
  const [width, height] = [120, 24];
  const step = width / Math.max(values.length - 1, 1);
  const points = values.map((value, at) => [at * step, height - 1 - ((value ?? 0) / most) * (height - 3)]);
  const line = points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
  const told = known.length ? `${label}: now ${count(known.at(-1))}, at most ${count(Math.max(...known))} in the last hour` : `${label}: nothing measured yet`;
  return html`<figure class="spark ${tone}">
    <svg viewBox="0 0 ${width} ${height}" preserveAspectRatio="none" role="img" aria-label=${told}>
      <title>${told}</title>
      ${known.length > 0 && html`<polygon points="0,${height} ${line} ${width},${height}" /><polyline points=${line} />`}
    </svg>
    <figcaption aria-hidden="true">${label}</figcaption>
  </figure>`;
}

/**
 * A table that the keyboard walks: `columns` are `{name, cell(row), number?, wide?}`, `open(row)` is Enter.
 * On a telephone each row is a card, so each part says its role: to Chromium a table that is shown as blocks is none.
 * `selection` is a Set of keys and `onSelect` takes the new one; without them nothing is selected.
 */
export function Table({ caption, columns, rows, keyOf = (row) => row.id, open, selection, onSelect, onCursor }) {
  const [cursor, setCursor] = useState(0);
  const body = useRef(null);
  const at = Math.min(cursor, rows.length - 1);
  const move = (by) => {
    const to = Math.max(0, Math.min(rows.length - 1, at + by));
    setCursor(to);
    const row = body.current?.children[to];
    row?.focus({ preventScroll: true });
    row?.scrollIntoView({ block: "nearest" });
  };
  const toggle = (row) => {
    const next = new Set(selection);
    if (!next.delete(keyOf(row))) next.add(keyOf(row));
    onSelect(next);
  };
  useLayoutEffect(() => onCursor?.(rows[at] ?? null), [rows, at]);
  useKeys({
    j: () => move(document.activeElement?.closest("tbody") === body.current ? 1 : 0),
    k: () => move(-1),
    ...(open && { Enter: (event) => (event.target.closest("a, button, summary, input") ? event.target.closest("a, button, summary, input").click() : rows[at] && open(rows[at])) }),
    ...(onSelect && { x: () => rows[at] && toggle(rows[at]) }),
  });
  const all = rows.length > 0 && rows.every((row) => selection?.has(keyOf(row)));
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${caption}>
    <table role="table">
      <caption class="unseen">${caption}</caption>
      <thead role="rowgroup"><tr role="row">
        ${onSelect && html`<th role="columnheader" scope="col"><input type="checkbox" aria-label="Select every row of this page" checked=${all} onChange=${() => onSelect(all ? new Set() : new Set(rows.map(keyOf)))} /></th>`}
        ${columns.map((each) => html`<th role="columnheader" scope="col" class=${each.number ? "number" : ""}>${each.name}</th>`)}
      </tr></thead>
      <tbody role="rowgroup" ref=${body}>
        ${rows.map((row, index) => html`<tr role="row" key=${keyOf(row)} tabindex=${index === at ? 0 : -1} aria-selected=${selection ? selection.has(keyOf(row)) : undefined} class=${selection?.has(keyOf(row)) ? "selected" : ""} onFocus=${() => setCursor(index)}>
          ${onSelect && html`<td role="cell" class="pick"><input type="checkbox" aria-label="Select ${keyOf(row)}" checked=${selection.has(keyOf(row))} onChange=${() => toggle(row)} /></td>`}
          ${columns.map((each) => html`<td role="cell" class="${each.number ? "number" : ""} ${each.wide ? "wide" : ""}" data-name=${each.name || undefined}>${each.cell(row)}</td>`)}
        </tr>`)}
      </tbody>
    </table>
  </div>`;
}

/** Names and values, for the details of one thing. */
export const Facts = ({ rows }) => html`<dl class="facts">
  ${rows.filter(([, value]) => ![null, undefined, false, ""].includes(value)).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
</dl>`;

export const Json = ({ value, label }) => html`<pre tabindex="0" role="region" aria-label=${label}>${JSON.stringify(value, null, 2)}</pre>`;

let dialogs = 0; // a dialog may open another, and each has its own name

/** A modal dialog; `onClose` when it is to go, whether by Esc or otherwise. */
export function Dialog({ title, onClose, children }) {
  const box = useRef(null);
  const name = useMemo(() => `dialog-${++dialogs}`, []);
  useEffect(() => {
    const before = document.activeElement;
    box.current.showModal();
    return () => before?.focus?.();
  }, []);
  return html`<dialog ref=${box} aria-labelledby=${name} onCancel=${(event) => { event.preventDefault(); onClose(); }}>
    <h2 id=${name}>${title}</h2>
    ${children}
  </dialog>`;
}

/**
 * Ask before something is done. `act(values)` does it and resolves to what is then said; a failure stays in sight.
 * `stays`: `onDone` shows what came of it in this dialog's place. `typed`: a count that must be typed first, for what is dangerous with money. `fields`: rows of
 * `{name, label, required?, kind?, options?, value?, hint?}`; `reason` is asked for unless `reason` is false.
 */
export function Ask({ title, verb, danger, typed, fields = [], reason = "optional", stays = false, act, onClose, onDone, children }) {
  const asked = reason ? [...fields, { name: "reason", label: "Reason (for the audit log)", required: reason === "required" }] : fields;
  const [values, setValues] = useState(Object.fromEntries(asked.map((each) => [each.name, each.value ?? ""])));
  const [said, setSaid] = useState("");
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const ready = !busy && asked.every((each) => !each.required || String(values[each.name]).trim()) && (typed === undefined || said.trim() === String(typed));
  const submit = async (event) => {
    event.preventDefault();
    if (!ready) return;
    setBusy(true);
    setError(null);
    try {
      const sent = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== ""));
      const told = await act(sent);
      if (!stays) onClose();
      onDone?.(told);
      if (typeof told === "string") say(told);
    } catch (failed) {
      setError(failed);
      setBusy(false);
    }
  };
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <form onSubmit=${submit}>
      ${children}
      ${asked.map((each) => html`<${Field} key=${each.name} ...${each} value=${values[each.name]} onInput=${(value) => setValues({ ...values, [each.name]: value })} />`)}
      ${typed !== undefined && html`<${Field} name="typed" label="Type ${typed} to go on: this may move money" required value=${said} onInput=${setSaid} />`}
      <${Failure} error=${error} />
      <div class="buttons">
        <button type="button" onClick=${onClose}>Leave it</button>
        <button type="submit" class=${danger ? "danger" : "primary"} disabled=${!ready}>${busy ? "…" : verb}</button>
      </div>
    </form>
  </${Dialog}>`;
}

/** One field of a form, with its label and what is to be known of it. */
export function Field({ name, label, kind = "text", options, required, hint, value, onInput, ...more }) {
  const id = `field-${name}`;
  const common = { id, name, required, value, "aria-describedby": hint ? `${id}-hint` : undefined, autocomplete: "off", ...more };
  const typed = (event) => onInput(event.target.value);
  return html`<div class="field">
    <label for=${id}>${label}</label>
    ${options ? html`<select ...${common} onChange=${typed}>${options.map((each) => { const [of, text] = Array.isArray(each) ? each : [each, each || "any"]; return html`<option value=${of} selected=${of === value}>${text}</option>`; })}</select>`
      : kind === "long" ? html`<textarea ...${common} rows="8" spellcheck="false" onInput=${typed}></textarea>`
      : html`<input type=${kind} ...${common} onInput=${typed} />`}
    ${hint && html`<small id="${id}-hint">${hint}</small>`}
  </div>`;
}

let speak = () => {};

/** Say what was done: at the foot of the page, and to a screen reader. */
export const say = (text) => speak(text);

export function Said() {
  const [text, setText] = useState("");
  useEffect(() => {
    let timer;
    speak = (told) => {
      clearTimeout(timer);
      setText(told);
      timer = setTimeout(() => setText(""), 8000);
    };
  }, []);
  return html`<div class="said" role="status" aria-live="polite">${text}</div>`;
}
