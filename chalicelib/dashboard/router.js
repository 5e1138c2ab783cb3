// The place in the page's address: #/jobs/job_1?state=failed. Everything that is looked at has an address.

import { useEffect, useState } from "./preact.js";

/** The place: `{screen, id, query}`. */
export function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [screen = "", ...rest] = path.split("/");
  return { screen: screen || "overview", id: decoded(rest.join("/")) || null, query: new URLSearchParams(query) };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // not ours: somebody typed it
  }
}

/** The address of a place: `href("jobs", {state: "failed"})`, `href("jobs/" + encodeURIComponent(id))`. */
export function href(path, parameters = {}) {
  const sent = Object.entries(parameters).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return `#/${path}${sent.length ? `?${new URLSearchParams(sent)}` : ""}`;
}

export const jobHref = (id) => href(`jobs/${encodeURIComponent(id)}`);

export const go = (path, parameters) => {
  location.hash = href(path, parameters);
};

/** Change the address without a step back to the old one: as filters are typed. */
export function amend(path, parameters) {
  history.replaceState(null, "", href(path, parameters));
  dispatchEvent(new HashChangeEvent("hashchange"));
}

export function usePlace() {
  const [at, setAt] = useState(place);
  useEffect(() => {
    const moved = () => setAt(place());
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  return at;
}
