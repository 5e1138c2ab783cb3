// The frame of the page: who is signed in, where one is, what is on every screen.

import { html, render, useEffect, useErrorBoundary, useState } from "./preact.js";
import { KEYS, useKeys } from "./keys.js";
import { isPaused, pause, usePaused } from "./live.js";
import { Dialog, Said } from "./parts.js";
import { go, href, usePlace } from "./router.js";
import { onSession, principal, signOut } from "./session.js";
import { Alerts } from "./alerts.js";
import { Audit } from "./audit.js";
import { DeadLetters } from "./dead-letters.js";
import { HealthAndCost } from "./health.js";
import { Job } from "./job.js";
import { Jobs } from "./jobs.js";
import { Operations } from "./operations.js";
import { Overview } from "./overview.js";
import { Parked } from "./parked.js";
import { Providers } from "./providers.js";
import { Schedules } from "./schedules.js";
import { SignIn } from "./sign-in.js";

// A screen, its name, and whether it is the platform's alone.
const SCREENS = {
  overview: { name: "Overview", screen: Overview },
  jobs: { name: "Jobs", screen: (props) => (props.id ? html`<${Job} ...${props} />` : html`<${Jobs} ...${props} />`) },
  "dead-letters": { name: "Dead letters", screen: DeadLetters, adminOnly: true },
  parked: { name: "Parked", screen: Parked },
  operations: { name: "Operations", screen: Operations },
  providers: { name: "Providers", screen: Providers, adminOnly: true },
  alerts: { name: "Alerts", screen: Alerts },
  schedules: { name: "Schedules", screen: Schedules, adminOnly: true },
  audit: { name: "Audit", screen: Audit, adminOnly: true },
  health: { name: "Health and cost", screen: HealthAndCost },
};
const STAGE = document.documentElement.dataset.stage;

function App() {
  const [, again] = useState(0);
  useEffect(() => onSession(() => again((n) => n + 1)), []);
  const who = principal();
  return who ? html`<${Frame} who=${who} />` : html`<${SignIn} stage=${STAGE} />`;
}

function Frame({ who }) {
  const at = usePlace();
  const [help, setHelp] = useState(false);
  const shown = Object.entries(SCREENS).filter(([, each]) => !each.adminOnly || who.role === "admin");
  const entry = shown.find(([name]) => name === at.screen)?.[1];
  const Screen = entry?.screen;
  useKeys({
    "?": () => setHelp(true),
    "/": () => document.getElementById("search").focus(),
    u: () => pause(!isPaused()),
  });
  useEffect(() => {
    document.title = `${entry?.name ?? "Not found"} · ${STAGE} · queue-service`;
    document.querySelector("main h1")?.focus({ preventScroll: true });
  }, [at.screen, at.id]);
  return html`
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); document.querySelector("main h1, main")?.focus(); }}>Skip to the content</a>
    <div class="bar stage-${STAGE === "prod" ? "prod" : "other"}">
      <span class="brand">queue-service <span class="stage" title="The stage">${STAGE === "prod" ? "PRODUCTION" : STAGE}</span></span>
      <${Search} />
      <${Pause} />
      <${Theme} />
      <button onClick=${() => setHelp(true)} aria-label="Help on keys" title="Keys (?)">?</button>
      <details class="who"><summary>${who.sub}</summary><div><p>${who.role}${who.venueId ? ` of ${who.venueId}` : ""}</p><button onClick=${() => signOut()}>Sign out</button></div></details>
    </div>
    <nav aria-label="Screens">
      ${shown.map(([name, each]) => html`<a href=${href(name)} aria-current=${name === at.screen ? "page" : undefined}>${each.name}</a>`)}
    </nav>
    <main id="main" key=${at.screen + (at.id ?? "")} tabindex="-1">
      ${Screen ? html`<${Guarded}><${Screen} at=${at} id=${at.id} query=${at.query} who=${who} /></${Guarded}>` : html`<h1 tabindex="-1">There is no such page</h1><p><a href=${href("overview")}>Go to the overview</a></p>`}
    </main>
    <${Said} />
    ${help && html`<${Help} onClose=${() => setHelp(false)} />`}`;
}

/** A screen that breaks says so, and leaves the others alone. */
function Guarded({ children }) {
  const [error, reset] = useErrorBoundary();
  return error
    ? html`<h1 tabindex="-1">This screen broke</h1><p role="alert">${String(error)}. The service goes on; the other screens do, too.</p><button onClick=${reset}>Try again</button>`
    : children;
}

/** One box that finds a job: by its id, its venue, or what its error or its batch is called. */
function Search() {
  const [text, setText] = useState("");
  const find = (event) => {
    event.preventDefault();
    const wanted = text.trim();
    if (!wanted) return;
    setText("");
    document.getElementById("search").blur();
    go("jobs", { find: wanted });
  };
  return html`<form class="search" role="search" onSubmit=${find}>
    <label class="unseen" for="search">Find a job by its id, venue, batch or error</label>
    <input id="search" type="search" placeholder="Find a job: id, venue, error  ( / )" autocomplete="off" value=${text} onInput=${(event) => setText(event.target.value)} onKeyDown=${(event) => event.key === "Escape" && event.target.blur()} />
  </form>`;
}

function Pause() {
  const paused = usePaused();
  return html`<button aria-pressed=${paused} onClick=${() => pause(!paused)} title="Live update (u)">${paused ? "▶ Paused" : "❚❚ Live"}</button>`;
}

function Theme() {
  const next = { "": "dark", dark: "light", light: "" };
  const [theme, setTheme] = useState(localStorage.getItem("queue-service.theme") ?? "");
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("queue-service.theme", theme);
  }, [theme]);
  return html`<button onClick=${() => setTheme(next[theme])} title="Colours" aria-label="Colours: ${theme || "as the system"}">${{ "": "◐", dark: "●", light: "○" }[theme]}</button>`;
}

const Help = ({ onClose }) => html`<${Dialog} title="Keys" onClose=${onClose}>
  <dl class="keys">${KEYS.map(([key, what]) => html`<div><dt><kbd>${key}</kbd></dt><dd>${what}</dd></div>`)}</dl>
  <div class="buttons"><button class="primary" onClick=${onClose}>Close</button></div>
</${Dialog}>`;

render(html`<${App} />`, document.getElementById("app"));
