// Health and cost: what the service needs, whether it answers, how attempts end, and what a job costs.

import { html } from "./preact.js";
import { get, getBare } from "./api.js";
import { count } from "./format.js";
import { useLive } from "./live.js";
import { Age, Badge, Empty, Facts, Head, Live, Table } from "./parts.js";

export function HealthAndCost({ who }) {
  const live = useLive(() => getBare("health"), "", 5);
  return html`<${Head} title="Health and cost" live=${live} />
    <${Live} live=${live}>${(report) => html`
      <p class="verdict ${{ ok: "good", degraded: "warn" }[report.status] ?? "bad"}"><strong><${Badge} of=${report.status} /></strong> ${{ ok: "Everything that is needed answers.", degraded: "Jobs are accepted and run; something beside does not answer." }[report.status] ?? "Something that is needed does not answer."}</p>
      <div class="many"><${Facts} rows=${Object.entries(report.checks).map(([name, state]) => [name, html`<${Badge} of=${state} />`])} /></div>`}
    </${Live}>
    ${who.role === "admin" && html`<${Figures} />`}`;
}

function Figures() {
  const live = useLive(async () => { const [summary, failures] = await Promise.all([get("metrics/summary"), get("metrics/failures")]); return { summary, failures }; }, "", 30);
  return html`<${Live} live=${live}>${({ summary, failures }) => html`
    <section aria-labelledby="hour"><h2 id="hour">The last hour</h2><${Table} caption="The last hour, by tier" rows=${summary.queues} keyOf=${(row) => row.queue} columns=${[
      { name: "tier", cell: (row) => row.queue },
      { name: "completed", number: true, cell: (row) => count(row.completed) },
      { name: "failed", number: true, cell: (row) => count(row.failed.total) },
      { name: "refused", number: true, cell: (row) => count(row.refused) },
      { name: "retried", number: true, cell: (row) => count(row.retried) },
      { name: "parked", number: true, cell: (row) => count(row.parked) },
      { name: "waiting, average and most", number: true, cell: (row) => `${count(row.waiting.average)} / ${count(row.waiting.highest)}` },
    ]} /></section>
    <section aria-labelledby="cost"><h2 id="cost">What a job costs</h2>${summary.cost ? html`<${Facts} rows=${[
      ["jobs measured", count(summary.cost.jobs)],
      ["AWS calls a job", Object.entries(summary.cost.callsPerJob).map(([service, calls]) => `${calls} ${service}`).join(", ")],
      ["write units a job", summary.cost.writeUnitsPerJob],
      ["read units a job", summary.cost.readUnitsPerJob],
      ["dollars a million jobs", html`${summary.cost.dollarsPerMillion.toFixed(2)} <span class="quiet">tables and queues, at us-east-1's prices; without Lambda, the gateway and scheduled functions</span>`],
    ]} />` : html`<${Empty}>Nothing was measured yet.</${Empty}>`}</section>
    ${summary.functions?.length > 0 && html`<section aria-labelledby="functions"><h2 id="functions">Scheduled functions</h2><${Table} caption="Scheduled functions" rows=${summary.functions} keyOf=${(row) => row.name} columns=${[
      { name: "function", cell: (row) => row.name },
      { name: "state", cell: (row) => html`<${Badge} of=${row.status} />` },
      { name: "last ended well", cell: (row) => html`<${Age} at=${row.lastRunAt} />` },
    ]} /></section>`}
    <section aria-labelledby="types"><h2 id="types">What failed most, in a day</h2>${failures.types.length ? html`<${Table} caption="Job types by failures" rows=${failures.types} keyOf=${(row) => row.type} columns=${[
      { name: "type", cell: (row) => row.type },
      { name: "completed", number: true, cell: (row) => count(row.completed) },
      { name: "failed", number: true, cell: (row) => count(row.failed) },
      { name: "refused", number: true, cell: (row) => count(row.refused) },
      { name: "failure rate", number: true, cell: (row) => (row.failureRate === null ? "–" : `${(row.failureRate * 100).toFixed(1)} %`) },
    ]} />` : html`<${Empty}>Nothing ended in a day.</${Empty}>`}</section>`}
  </${Live}>`;
}
