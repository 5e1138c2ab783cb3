// Who is signed in: a token in session storage, sent as bearer and never anywhere else.

const KEY = "queue-service.token";
const listeners = new Set();
let why = null;

export const token = () => sessionStorage.getItem(KEY);

/** What the token says of its bearer; the service checks it, this page only reads it. Null: nobody is. */
export function principal() {
  const claims = read(token());
  return claims && { sub: claims.sub, role: claims.role, venueId: claims.venueId ?? null, ends: claims.exp * 1000 };
}

/** Keep a token; returns what is wrong with it, or null. */
export function signIn(text) {
  const claims = read(text.trim());
  if (claims === null) return "This is not a JSON Web Token. Paste the whole token, without the word Bearer.";
  if (claims.exp * 1000 <= Date.now()) return "This token has expired. Make another and paste it.";
  if (!["admin", "venue_admin"].includes(claims.role)) {
    return `A token of the role ${claims.role ?? "(none)"} may not use this page: it takes admin or venue_admin.`;
  }
  why = null;
  sessionStorage.setItem(KEY, text.trim());
  tell();
  return null;
}

/** Forget the token, and say why on the page that asks for another. */
export function signOut(reason = null) {
  why = reason;
  sessionStorage.removeItem(KEY);
  tell();
}

export const reasonSignedOut = () => why;

/** Be called whenever somebody signs in or out; returns how to end that. */
export function onSession(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const tell = () => listeners.forEach((each) => each());

function read(text) {
  try {
    const part = text.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    const claims = JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(part), (c) => c.charCodeAt(0))));
    return typeof claims.exp === "number" ? claims : null;
  } catch {
    return null;
  }
}
