// The one way to the service: JSON with a bearer token, from this origin, and errors that say what to do.

import { signOut, token } from "./session.js";

const PATIENCE = 20_000;

/** What went wrong with a call, in words for a person; `status` 0: no answer came. */
export class Trouble extends Error {
  constructor(status, body) {
    super(body.message);
    this.status = status;
    this.code = body.error;
    this.details = body.details ?? [];
    this.retryAfter = body.retryAfter ?? null;
  }
}

/** Read: `get("jobs", {state: "failed"})`; empty parameters are left out. */
export const get = (path, parameters = {}) => call("GET", `v1/${path}${query(parameters)}`);

/** Change something; the answer's body. */
export const send = (method, path, body, headers = {}) => call(method, `v1/${path}`, body, headers);

/** Read what stands outside /v1, such as health; a 503 with a report is an answer. */
export const getBare = (path) => call("GET", path, undefined, {}, [503]);

export function query(parameters) {
  const sent = Object.entries(parameters).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return sent.length ? `?${new URLSearchParams(sent)}` : "";
}

async function call(method, path, body, headers = {}, alsoWell = []) {
  const bearer = token();
  const request = {
    method,
    headers: { ...headers, ...(bearer && { Authorization: `Bearer ${bearer}` }) },
    cache: "no-store",
    credentials: "omit",
    signal: AbortSignal.timeout(PATIENCE),
  };
  if (body !== undefined) {
    request.headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, request);
  } catch (error) {
    const message =
      error.name === "TimeoutError"
        ? `The service did not answer within ${PATIENCE / 1000} s. ${unsure(method)}`
        : `The service cannot be reached. ${unsure(method)} Check the network and that the service runs.`;
    throw new Trouble(0, { error: "NoAnswer", message });
  }
  const answer = await response.json().catch(() => null);
  if (response.ok || (alsoWell.includes(response.status) && answer)) return answer;
  if (response.status === 401 && bearer === token()) {
    signOut("The service no longer takes the token: it has expired or its key was withdrawn. Sign in with another.");
  }
  throw new Trouble(response.status, answer?.message ? answer : { error: "BadAnswer", message: said(response.status) });
}

const unsure = (method) =>
  method === "GET" ? "What is shown is older." : "Whether it was done is not known: look before you repeat it.";

const said = (status) => `The service answered ${status} without saying why. Its log says more.`;
