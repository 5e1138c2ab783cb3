// The keyboard: one key does one thing, wherever no text is being typed and no dialog is open.

import { useLayoutEffect, useRef } from "./preact.js";
import { go } from "./router.js";

/** What `g` and a letter go to; app.js has the screens that these are. */
export const PLACES = { d: "overview", j: "jobs", l: "dead-letters", p: "parked", o: "operations", v: "providers", a: "alerts", s: "schedules", u: "audit", h: "health" };

/** What is known everywhere, for the help. */
export const KEYS = [
  ["/", "search jobs"],
  ["j  k", "next, previous row"],
  ["Enter", "open the row"],
  ["x", "select the row"],
  ["r", "retry what is selected, or the job in sight; redrive the group"],
  ["c", "cancel what is selected, or the job in sight"],
  ["e", "acknowledge the worst alert (on Alerts)"],
  ["g d", "go to the overview (dashboard)"],
  ["g j", "go to jobs"],
  ["g a", "go to alerts"],
  ["g l  g p  g o  g v  g s  g u  g h", "dead letters, parked, operations, providers, schedules, audit, health"],
  ["u", "pause or go on with the live update"],
  ["?", "this help"],
  ["Esc", "close a dialog"],
];

const stack = [];
let waiting = null;

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector("dialog[open]")) return;
  if (waiting) {
    clearTimeout(waiting);
    waiting = null;
    if (PLACES[event.key]) {
      event.preventDefault();
      go(PLACES[event.key]);
      return;
    }
  }
  if (event.key === "g") {
    waiting = setTimeout(() => (waiting = null), 1500);
    return;
  }
  const handler = stack.map((each) => each.current[event.key]).findLast(Boolean);
  if (handler) {
    event.preventDefault();
    handler(event);
  }
});

/** Bind keys while a component is there; the latest binding of a key wins. */
export function useKeys(bindings) {
  const held = useRef(bindings);
  held.current = bindings;
  useLayoutEffect(() => {
    // before the component is seen: who sees it may press a key
    stack.push(held);
    return () => stack.splice(stack.indexOf(held), 1);
  }, []);
}

const typing = (target) => target.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable]");
