// How things are written: ages, money, moments, counts. All text; nothing here makes HTML.

const NUMBERS = new Intl.NumberFormat("en");

export const count = (value) => (value === null || value === undefined ? "–" : NUMBERS.format(value));

/** A length in seconds by its two largest units: 45 s, 7 min, 2 h 5 min, 3 d 4 h. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  const units = [["d", Math.floor(minutes / 1440)], ["h", Math.floor(minutes / 60) % 24], ["min", minutes % 60]];
  return units.filter(([, n]) => n).slice(0, 2).map(([unit, n]) => `${n} ${unit}`).join(" ");
}

/** How long ago, or how soon, an ISO moment is. */
export function ago(moment, now = Date.now()) {
  if (!moment) return "–";
  const seconds = (now - Date.parse(moment)) / 1000;
  return seconds >= 0 ? duration(seconds) : `in ${duration(-seconds)}`;
}

export const seconds = (from, to) => (from && to ? (Date.parse(to) - Date.parse(from)) / 1000 : null);

/** A moment in UTC to the second, as the service's log has it. */
export const moment = (iso) => (iso ? iso.replace("T", " ").replace(/\.\d+Z$|Z$/, " UTC") : "–");

export const clock = (ms) => new Date(ms).toISOString().slice(11, 19) + " UTC";

/** Integer minor units as people write money: 1,234.50 EUR. */
export function money(amount, currency) {
  if (typeof amount !== "number" || typeof currency !== "string") return "–";
  const code = currency.toUpperCase();
  try {
    const { maximumFractionDigits: digits } = new Intl.NumberFormat("en", { style: "currency", currency: code }).resolvedOptions();
    const value = (amount / 10 ** digits).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    return `${value} ${code}`;
  } catch {
    return `${count(amount)} ${code} (minor units)`;
  }
}

/** `{EUR: 1250, USD: 99}` as text. */
export const purse = (sums) => Object.entries(sums ?? {}).map(([currency, sum]) => money(sum, currency)).join(", ") || "–";

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
