// The first glance: is money stuck, why, and what to press.

import { html, useState } from "./preact.js";
import { get, send } from "./api.js";
import { count, duration, money, plural } from "./format.js";
import { useLive } from "./live.js";
import { Age, Ask, Badge, Failure, Head, Live, Spark } from "./parts.js";
import { href } from "./router.js";
import { AlertList } from "./alerts.js";

export function Overview({ who }) {
  const admin = who.role === "admin";
  const queues = useLive(() => get("queues"));
  const alerts = useLive(() => get("alerts", { limit: 100 }));
  const hour = useLive(() => (admin ? get("metrics/throughput") : null), "", 20);
  const stopped = useLive(() => (admin ? get("rate-limits") : null));
  const known = alerts.data?.alerts ?? [];
  return html`<${Head} title="Overview" live=${queues} />
    <${Live} live=${queues}>${(data) => html`<${Verdict} queues=${data.queues} alerts=${known} stops=${stopped.data?.stops ?? []} />`}</${Live}>
    <${Failure} error=${alerts.error} retry=${alerts.refresh} />
    <${AlertList} alerts=${known.filter((each) => !each.resolvedAt && !each.acknowledged)} refresh=${alerts.refresh} />
    <div class="cards">${(queues.data?.queues ?? []).map((queue) => html`<${Card} key=${queue.queue} queue=${queue} minutes=${hour.data?.minutes} admin=${admin} refresh=${queues.refresh} />`)}</div>
    <${Failure} error=${hour.error} retry=${hour.refresh} />`;
}

/** One sentence, before everything else. */
function Verdict({ queues, alerts, stops }) {
  const told = verdict(queues, alerts, stops);
  return html`<p class="verdict ${told.tone}" role="status"><strong>${told.headline}</strong> ${told.why} ${told.press && html`<a href=${href(told.press)}>${PRESS[told.press]}</a>`}</p>`;
}

// What a critical alert about money means in two words; others are `Money needs a look.`
const MEANS = { queue_age: "Money is stuck.", queue_depth: "Money is stuck.", dead_letters: "Money fails.", parked: "Money waits for a person.", heartbeat: "Money is not looked after." };

// What to press next, by screen.
const PRESS = { providers: "See what is stopped", "dead-letters": "See the dead letters", parked: "See the parked jobs" };
const LEADS = { dead_letters: "dead-letters", parked: "parked" };
const PAYS = ["stripe", "solana", "internal"]; // the providers without which money jobs do not run

/**
 * What an operator must know within five seconds: `{tone, headline, why, press}`. Of each critical alert one sentence
 * is told here; all that it says stands below. `stops` are those of everything, as an administrator sees them.
 */
export function verdict(queues, alerts, stops = []) {
  const tier = queues.find((each) => each.queue === "money");
  const critical = alerts.filter((each) => !each.resolvedAt && each.queue === "money" && each.severity === "critical");
  const whole = [...tier.stops, ...stops.filter((each) => each.scope === "provider" && PAYS.includes(each.value))];
  const waits = waiting(tier);
  const { retrying = 0, parked = 0 } = tier.counts ?? {};
  const why = [
    ...whole.map((each) => `${each.scope === "all" ? "Everything" : `The ${each.scope} ${each.value ?? ""}`} is stopped by ${each.owner}: ${each.reason.replace(/\.$/, "")}.`),
    ...critical.map((each) => each.message.replace(/(?<=\.) [\s\S]*/, "")),
    critical.length === 0 && tier.oldestAgeSeconds && `The oldest job has waited for ${tier.oldestAge}.`,
    critical.length === 0 && waits > 0 && `${plural(waits, "job waits", "jobs wait")}${tier.drainSeconds ? `, ${duration(tier.drainSeconds)} to drain` : ""}.`,
    retrying > 0 && `${plural(retrying, "job failed and tries again", "jobs failed and try again")}.`,
    parked > 0 && `${plural(parked, "parked job needs", "parked jobs need")} a person.`,
  ].filter(Boolean);
  const text = why.join(" ") || "Nothing waits.";
  if (tier.stops.length) return { tone: "bad", headline: "Money is stopped.", why: text };
  if (whole.length) return { tone: "bad", headline: `Money is stopped at ${whole.map((each) => each.value).join(" and ")}.`, why: text, press: "providers" };
  if (critical.length) return { tone: "bad", headline: MEANS[critical[0].alertType] ?? "Money needs a look.", why: text, press: LEADS[critical[0].alertType] };
  if (tier.oldestAgeSeconds > 600) return { tone: "bad", headline: "Money is stuck.", why: text };
  if (tier.oldestAgeSeconds || parked || retrying) return { tone: "warn", headline: "Money moves, but not all of it.", why: text };
  return { tone: "good", headline: "Money moves.", why: text };
}

const waiting = (queue) => queue.lanes.main.waiting + queue.lanes.express.waiting;

function Card({ queue, minutes, admin, refresh }) {
  const [asking, setAsking] = useState(null);
  const own = queue.stops.find((each) => each.scope === "tier");
  const series = (name) => minutes?.map((each) => each.queues[queue.queue]?.[name] ?? 0);
  const counts = queue.counts ?? {};
  const running = queue.lanes.main.inFlight + queue.lanes.express.inFlight;
  const figures = [
    ["waiting", count(waiting(queue)), href("jobs", { queue: queue.queue, state: "queued" })],
    ["running or held", count(running), href("jobs", { queue: queue.queue, state: "running" })],
    ["retrying", count(counts.retrying), href("jobs", { queue: queue.queue, state: "retrying" }), counts.retrying > 0 && "warn"],
    ["scheduled", count(counts.scheduled), href("jobs", { queue: queue.queue, state: "scheduled" })],
    ["parked", count(counts.parked), href("parked", { queue: queue.queue }), counts.parked > 0 && "warn"],
    ["dead letters", count(counts.failed), href("dead-letters", { queue: queue.queue }), counts.failed > 0 && "warn"],
  ];
  return html`<section class="card ${queue.state === "paused" ? "stopped" : ""}" aria-labelledby="card-${queue.queue}">
    <header>
      <h2 id="card-${queue.queue}">${queue.queue}</h2>
      <${Badge} of=${queue.state} />
      ${admin && html`<button class=${own ? "primary" : ""} onClick=${() => setAsking(own ? "resume" : "pause")}>${own ? "Resume" : "Pause"}<span class="unseen"> ${queue.queue}</span></button>`}
    </header>
    ${queue.stops.map((each) => html`<p class="stop">Stopped by ${each.owner} <${Age} at=${each.since} /> ago: ${each.reason}${each.until ? html` (until <${Age} at=${each.until} />)` : ""}</p>`)}
    <dl class="figures">${figures.map(([name, value, to, tone]) => html`<div class=${tone || ""}><dt>${name}</dt><dd><a href=${to}>${value}</a></dd></div>`)}</dl>
    <dl class="facts tight">
      <div><dt>oldest due</dt><dd class=${queue.oldestAgeSeconds ? "warn" : ""}>${queue.oldestAge}</dd></div>
      <div><dt>begun / ended a minute</dt><dd>${queue.begunPerMinute} / ${queue.endedPerMinute}</dd></div>
      <div><dt>drains in</dt><dd>${waiting(queue) + running === 0 ? "nothing waits" : waiting(queue) === 0 ? "–" : queue.drainSeconds === null ? "never at this rate" : duration(queue.drainSeconds)}</dd></div>
      <div><dt>p95 of an attempt</dt><dd>${queue.p95}</dd></div>
      ${queue.money?.length > 0 && html`<div><dt>money waiting</dt><dd>${queue.money.map((each) => money(each.amount, each.currency)).join(", ")}</dd></div>`}
      ${queue.poison > 0 && html`<div><dt>poison messages</dt><dd class="warn">${count(queue.poison)}</dd></div>`}
    </dl>
    ${minutes && html`<div class="sparks"><${Spark} label="ended" values=${series("completed")} /><${Spark} label="failed" tone="bad" values=${series("failed")} /><${Spark} label="retried" tone="warn" values=${series("retried")} /></div>`}
    ${queue.countedAt && html`<p class="quiet">retrying, scheduled, parked, dead letters and money: counted <${Age} at=${queue.countedAt} /> ago</p>`}
    ${asking && html`<${Ask} title=${asking === "pause" ? `Pause ${queue.queue}?` : `Resume ${queue.queue}?`} verb=${asking === "pause" ? "Pause" : "Resume"} danger=${asking === "pause"} reason=${asking === "pause" ? "required" : "optional"}
      act=${async (values) => { await send("POST", `queues/${queue.queue}/${asking}`, values); return `${queue.queue} is ${asking}d.`; }} onDone=${refresh} onClose=${() => setAsking(null)}>
      <p>${asking === "pause" ? "Jobs are accepted and kept; none begins until it is resumed. What runs now ends." : "What waits begins at once, within the providers' limits."}</p>
    </${Ask}>`}
  </section>`;
}
