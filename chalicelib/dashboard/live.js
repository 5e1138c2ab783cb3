// Live data: asked for again and again, unless somebody has paused it or nobody looks. Old data stays in sight.

import { useCallback, useEffect, useRef, useState } from "./preact.js";

const listeners = new Set();
let paused = false;

export const isPaused = () => paused;

/** Pause or go on with all live data of the page. */
export function pause(value) {
  paused = value;
  listeners.forEach((each) => each());
}

export function usePaused() {
  const [, again] = useState(0);
  useEffect(() => {
    const told = () => again((n) => n + 1);
    listeners.add(told);
    return () => listeners.delete(told);
  }, []);
  return paused;
}

/**
 * Load now, whenever `key` changes, and every `seconds` (0: only then).
 * Returns `{data, error, asOf, loading, refresh}`; `data` outlives an error, and is null only before the first answer.
 */
export function useLive(load, key = "", seconds = 5) {
  const [seen, setSeen] = useState({ data: null, error: null, asOf: null, loading: true, key });
  const turn = useRef(0);
  const latest = useRef(load);
  latest.current = load;
  const refresh = useCallback(async () => {
    const mine = ++turn.current;
    setSeen((before) => ({ ...before, loading: true }));
    try {
      const data = await latest.current();
      if (mine === turn.current) setSeen({ data, error: null, asOf: Date.now(), loading: false, key });
    } catch (error) {
      if (mine === turn.current) setSeen((before) => ({ ...before, error, loading: false, key }));
    }
  }, [key]);
  useEffect(() => {
    refresh();
    const due = () => !paused && !document.hidden && refresh();
    const timer = seconds ? setInterval(due, seconds * 1000) : null;
    return () => {
      clearInterval(timer);
      turn.current++; // an answer to what nobody asks any more is not shown
    };
  }, [refresh, seconds]);
  return { ...seen, data: seen.key === key ? seen.data : null, error: seen.key === key ? seen.error : null, refresh };
}

/** The moment, every second or so, for ages. */
export function useNow(every = 1000) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => !document.hidden && setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}
