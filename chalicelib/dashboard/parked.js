// Parked jobs: nobody knows whether they took effect. Each needs a person, who looks at the provider first.

import { html, useState } from "./preact.js";
import { get, send } from "./api.js";
import { money } from "./format.js";
import { useLive } from "./live.js";
import { Age, Ask, Badge, Empty, Facts, Head, Live, TIERS } from "./parts.js";
import { amend, jobHref } from "./router.js";

export function Parked({ query }) {
  const queue = query.get("queue") ?? "";
  const live = useLive(() => get("jobs", { state: "parked", queue, limit: 50 }), queue);
  const [asking, setAsking] = useState(null);
  return html`<${Head} title="Parked" live=${live}>
      <label>tier <select value=${queue} onChange=${(event) => amend("parked", { queue: event.target.value })}>${["", ...TIERS].map((each) => html`<option value=${each}>${each || "any"}</option>`)}</select></label>
    </${Head}>
    <${Live} live=${live}>${({ jobs, cursor }) => html`
      ${jobs.length === 0 && html`<${Empty}>Nothing is parked${cursor ? " among the latest; older ones may be" : ""}.</${Empty}>`}
      <div class="cards">${jobs.map((job) => html`<${Card} key=${job.id} job=${job} resolve=${() => setAsking(job)} />`)}</div>
      ${cursor && jobs.length > 0 && html`<p class="quiet">There are more: these are the latest ${jobs.length}.</p>`}`}
    </${Live}>
    ${asking && html`<${Resolve} job=${asking} onClose=${() => setAsking(null)} onDone=${live.refresh} />`}`;
}

const Card = ({ job, resolve }) => html`<article class="card">
  <header><h2><a href=${jobHref(job.id)}>${job.type}</a></h2><${Badge} of=${job.queue} /><button class="primary" onClick=${resolve}>Resolve<span class="unseen"> ${job.id}</span></button></header>
  <${Known} job=${job} />
</article>`;

/** What is known of a parked job, and what to look at. */
const Known = ({ job }) => html`<${Facts} rows=${[
  ["venue", job.venueId],
  ["amount", job.amount !== undefined ? money(job.amount, job.currency) : null],
  ["accepted", html`<${Age} at=${job.createdAt} /> ago`],
  ["attempts", `${job.attempts} of ${job.maxAttempts}`],
  ["what happened", job.error && html`<code>${job.error.code}</code> ${job.error.message}`],
  ["provider's request", job.error?.reference && html`<code>${job.error.reference}</code>`],
  ["at the provider", html`${job.providerObject ? html`<code>${job.providerObject}</code>` : "nothing is known"} ${atProvider(job)}`],
  ["to check", CHECKS[job.type] ?? "Whether the provider has done it."],
]} />`;

const CHECKS = {
  "payment.process": "Whether there is a succeeded PaymentIntent with this job's id in its metadata.",
  "payment.refund": "Whether the charge shows a refund with this job's id in its metadata.",
  "payment.payout": "Whether there is a transfer or payout with this job's id in its metadata.",
  "payment.retry": "Whether the PaymentIntent has succeeded since.",
  "ticket.mint": "Whether the mint exists on chain, with supply 1 and no authority.",
  "order.fulfill": "Whether the order service has fulfilled the order.",
  "email.send": "Whether the message left: its X-Job-Id stands in the sending log.",
  "sms.send": "Whether Twilio's message log has the text to this number at this time.",
};

/** A link to where the provider shows it, which opens elsewhere and is told nothing of this page. */
export function atProvider(job) {
  const where = place(job);
  return where && html`<a href=${where.url} target="_blank" rel="noopener noreferrer">look at ${where.name}</a>`;
}

function place({ type, providerObject: of, id }) {
  const stripe = (path) => ({ name: "Stripe", url: `https://dashboard.stripe.com/${path}` });
  if (type.startsWith("payment.")) {
    const folder = { pi: "payments", ch: "payments", re: "refunds", tr: "connect/transfers", po: "payouts" }[(of ?? "").split("_")[0]];
    return stripe(folder && of ? `${folder}/${encodeURIComponent(of)}` : `search?query=${encodeURIComponent(id)}`);
  }
  if (type === "ticket.mint" && of) return { name: "Solana Explorer", url: `https://explorer.solana.com/address/${encodeURIComponent(of)}` };
  if (type === "sms.send") return { name: "Twilio's log", url: "https://console.twilio.com/us1/monitor/logs/sms" };
  return null;
}

/** The three ways to resolve, each with what it means. */
export function Resolve({ job, onClose, onDone }) {
  const ways = [
    ["completed", "It took effect: completed"],
    ["failed", "It did not, and shall not: failed"],
    ["retry", "It did not: try again"],
  ];
  const fields = [{ name: "resolution", label: "What did the provider show?", options: [["", "choose"], ...ways], required: true }];
  const act = async (values) => (await send("POST", `jobs/${encodeURIComponent(job.id)}/resolve`, values)).message;
  return html`<${Ask} title="Resolve ${job.type}?" verb="Resolve" danger=${job.queue === "money"} fields=${fields} reason="required" act=${act} onClose=${onClose} onDone=${onDone}>
    <${Known} job=${{ ...job, amount: job.amount ?? job.data?.amount, currency: job.currency ?? job.data?.currency }} />
  </${Ask}>`;
}
