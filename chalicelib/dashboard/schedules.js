// Schedules: what runs when, by itself; run one now, pause it, go on with it.

import { html, useState } from "./preact.js";
import { get, send } from "./api.js";
import { moment } from "./format.js";
import { useLive } from "./live.js";
import { Age, Ask, Badge, Empty, Facts, Head, Json, Live, Table } from "./parts.js";
import { go, href, jobHref } from "./router.js";

export function Schedules({ id }) {
  return id ? html`<${One} id=${id} />` : html`<${List} />`;
}

function List() {
  const [trail, setTrail] = useState([null]);
  const cursor = trail.at(-1);
  const live = useLive(() => get("schedules", { limit: 50, cursor }), String(cursor), 15);
  const columns = [
    { name: "name", cell: (row) => html`<a href=${href(`schedules/${row.id}`)}>${row.name}</a>` },
    { name: "state", cell: (row) => html`<${Badge} of=${row.active ? "active" : "paused"} />` },
    { name: "when", cell: (row) => html`<code>${row.cronExpression}</code> ${row.timeZone}` },
    { name: "job", cell: (row) => row.job.type },
    { name: "venue", cell: (row) => row.job.venueId },
    { name: "next run", cell: (row) => html`<${Age} at=${row.nextRun} />` },
    { name: "last run", wide: true, cell: (row) => html`<${LastRun} run=${row.lastRun} />` },
  ];
  return html`<${Head} title="Schedules" live=${live} />
    <${Live} live=${live}>${({ schedules, cursor: next }) => html`
      ${schedules.length ? html`<${Table} caption="Schedules" columns=${columns} rows=${schedules} open=${(row) => go(`schedules/${row.id}`)} />` : html`<${Empty}>There is no schedule. One is made with POST /v1/schedules, or on the command line.</${Empty}>`}
      <div class="buttons">
        ${trail.length > 1 && html`<button onClick=${() => setTrail(trail.slice(0, -1))}>Back</button>`}
        ${next && html`<button onClick=${() => setTrail([...trail, next])}>More</button>`}
      </div>`}
    </${Live}>`;
}

const LastRun = ({ run }) => (run ? html`<${Age} at=${run.at} /> ago ${run.jobId && html`<a href=${jobHref(run.jobId)}>${run.jobId}</a>`} ${run.error && html`<span class="bad">${run.error}</span>`}` : html`<span>never</span>`);

function One({ id }) {
  const path = `schedules/${encodeURIComponent(id)}`;
  const live = useLive(() => get(path), id, 10);
  const [asking, setAsking] = useState(null);
  const schedule = live.data;
  const close = () => setAsking(null);
  const turn = async ({ reason }) => {
    const { name, cronExpression, timeZone, missed, version } = schedule;
    const { type, data, options, callbackUrl, callbackEndpointId, venueId } = schedule.job;
    const job = { type, data, options, venueId, ...(callbackUrl && { callbackUrl }), ...(callbackEndpointId && { callbackEndpointId }) };
    await send("PUT", path, { name, cronExpression, timeZone, missed, version, job, active: !schedule.active, ...(reason && { reason }) });
    return schedule.active ? "It is paused." : "It runs again.";
  };
  const run = async (values) => `It runs now, as job ${(await send("POST", `${path}/run`, values)).jobId}.`;
  return html`<${Head} title=${schedule?.name ?? "Schedule"} live=${live}>
      <a href=${href("schedules")}>all schedules</a>
      ${schedule && html`<button onClick=${() => setAsking("run")}>Run now</button><button onClick=${() => setAsking("turn")}>${schedule.active ? "Pause" : "Go on"}</button>`}
    </${Head}>
    <${Live} live=${live}>${(data) => html`<div class="columns">
      <section><h2>When</h2><${Facts} rows=${[
        ["state", html`<${Badge} of=${data.active ? "active" : "paused"} />`],
        ["when", html`<code>${data.cronExpression}</code> ${data.timeZone}`],
        ["missed runs", data.missed === "once" ? "made up for once" : "skipped"],
        ["last run", html`<${LastRun} run=${data.lastRun} />`],
        ["next runs", data.nextRuns.length ? html`<ul>${data.nextRuns.map((each) => html`<li>${moment(each)} (<${Age} at=${each} />)</li>`)}</ul>` : "none"],
        ["changed", html`<${Age} at=${data.updatedAt} /> ago by ${data.updatedBy}`],
      ]} /></section>
      <section><h2>What</h2><${Facts} rows=${[["type", data.job.type], ["venue", data.job.venueId]]} /><${Json} value=${data.job.data} label="The data of its jobs" /></section>
    </div>`}</${Live}>
    ${asking === "run" && html`<${Ask} title="Run ${schedule.name} now?" verb="Run" act=${run} onClose=${close} onDone=${live.refresh}><p>One job is made now, beside those of its times.</p></${Ask}>`}
    ${asking === "turn" && html`<${Ask} title=${schedule.active ? `Pause ${schedule.name}?` : `Go on with ${schedule.name}?`} verb=${schedule.active ? "Pause" : "Go on"} act=${turn} onClose=${close} onDone=${live.refresh} />`}`;
}
