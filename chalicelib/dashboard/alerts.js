// Alerts: what is wrong now, whose it is, and what was wrong before.

import { html, useState } from "./preact.js";
import { get, send } from "./api.js";
import { count } from "./format.js";
import { useKeys } from "./keys.js";
import { useLive } from "./live.js";
import { Age, Ask, Badge, Dialog, Empty, Head, Live, Table } from "./parts.js";
import { amend } from "./router.js";

export function Alerts({ query, who }) {
  const severity = query.get("severity") ?? "";
  const live = useLive(() => get("alerts", { severity, limit: 100 }), severity, 10);
  const [testing, setTesting] = useState(false);
  return html`<${Head} title="Alerts" live=${live}>
      <label>severity <select value=${severity} onChange=${(event) => amend("alerts", { severity: event.target.value })}>${["", "critical", "warning", "info"].map((each) => html`<option value=${each}>${each || "any"}</option>`)}</select></label>
      ${who.role === "admin" && html`<button onClick=${() => setTesting(true)}>Test the channels</button>`}
    </${Head}>
    <${Live} live=${live}>${({ alerts }) => html`
      <${AlertList} alerts=${alerts.filter((each) => !each.resolvedAt)} refresh=${live.refresh} keys />
      <section><h2>Before</h2><${Before} alerts=${alerts.filter((each) => each.resolvedAt)} /></section>`}
    </${Live}>
    ${testing && html`<${Test} onClose=${() => setTesting(false)} onDone=${live.refresh} />`}`;
}

const SEVERITIES = ["critical", "warning", "info"];
const worstFirst = (alerts) => alerts.toSorted((one, other) => SEVERITIES.indexOf(one.severity) - SEVERITIES.indexOf(other.severity));

/** The alerts that go on, each with what it says and one button. */
export function AlertList({ alerts, refresh, keys }) {
  const [asking, setAsking] = useState(null);
  const first = worstFirst(alerts).find((each) => !each.acknowledged);
  useKeys(keys && first ? { e: () => setAsking(first) } : {});
  if (alerts.length === 0) return keys ? html`<${Empty}>No alert goes on.</${Empty}>` : null;
  return html`<section aria-label="Alerts that go on" class="alerts">
    ${worstFirst(alerts).map((each) => html`<article class="alert ${each.severity}" key=${each.id}>
      <div><${Badge} of=${each.severity} /> <strong>${each.queue} · ${each.alertType}</strong> since <${Age} at=${each.createdAt} />
        ${each.acknowledged ? html` · acknowledged by ${each.acknowledgedBy}` : html` <button onClick=${() => setAsking(each)}>Acknowledge<span class="unseen"> ${each.queue} ${each.alertType}</span></button>`}</div>
      <p>${each.message}</p>
    </article>`)}
    ${asking && html`<${Ask} title="Acknowledge ${asking.queue} · ${asking.alertType}?" verb="Acknowledge" onClose=${() => setAsking(null)} onDone=${refresh}
      act=${async (values) => { await send("POST", `alerts/${encodeURIComponent(asking.id)}/acknowledge`, values); return "Acknowledged: nobody is rung about it any more."; }}>
      <p>${asking.message}</p><p>It is yours from then on. It is told no more, and goes when its condition does.</p>
    </${Ask}>`}
  </section>`;
}

function Before({ alerts }) {
  if (alerts.length === 0) return html`<${Empty}>None in the last 24 hours.</${Empty}>`;
  const columns = [
    { name: "severity", cell: (row) => html`<${Badge} of=${row.severity} />` },
    { name: "queue", cell: (row) => row.queue },
    { name: "type", cell: (row) => row.alertType },
    { name: "began", cell: (row) => html`<${Age} at=${row.createdAt} />` },
    { name: "ended", cell: (row) => html`<${Age} at=${row.resolvedAt} />` },
    { name: "value", number: true, cell: (row) => `${count(row.metricValue)} of ${count(row.thresholdValue)}` },
    { name: "acknowledged by", cell: (row) => row.acknowledgedBy ?? "–" },
    { name: "message", wide: true, cell: (row) => row.message },
  ];
  return html`<${Table} caption="Alerts that have ended" columns=${columns} rows=${alerts} />`;
}

function Test({ onClose, onDone }) {
  const [results, setResults] = useState(null);
  const fields = [
    { name: "severity", label: "Severity", options: ["warning", "critical", "info"], value: "warning" },
    { name: "channel", label: "Channel", options: [["", "all of this severity"], "log", "sns", "sms", "phone"] },
  ];
  const close = () => {
    onClose();
    onDone();
  };
  if (results) {
    return html`<${Dialog} title="What became of the test" onClose=${close}>
      <ul>${results.map((each) => html`<li><strong>${each.channel}</strong>: ${each.sent ? "sent" : html`<span class="bad">not sent: ${each.error?.message ?? "no reason given"}</span>`}</li>`)}</ul>
      <div class="buttons"><button class="primary" onClick=${close}>Close</button></div>
    </${Dialog}>`;
  }
  const act = async (values) => (await send("POST", "alerts/test", values)).results;
  return html`<${Ask} title="Test the channels" verb="Send" fields=${fields} act=${act} onClose=${onClose} onDone=${setResults} stays>
    <p>This really sends: phones ring.</p>
  </${Ask}>`;
}
