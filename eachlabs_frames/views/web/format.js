/** Formats statuses, numbers, times and URLs as text. Nothing here touches the page. */

const MAX_TEXT = 4_000;
const RECENT = 43_200_000; // milliseconds within which a time needs no date
export const UNKNOWN_SYMBOL = "◇";

/** In the order of a bar, from left to right: first the final statuses, then the open ones. */
const SYMBOLS = new Map([
  ["completed", "✓"],
  ["failed", "✕"],
  ["cancelled", "⊘"],
  ["invalid", "△"],
  ["unknown", "?"],
  ["running", "◐"],
  ["queued", "≡"],
  ["pending", "○"],
]);
const RANKS = new Map([...SYMBOLS.keys()].map((status, rank) => [status, rank]));

export const whole = new Intl.NumberFormat("en-US");
const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

/** @param {string} status */
export const symbolOf = (status) => SYMBOLS.get(status) ?? UNKNOWN_SYMBOL;

/**
 * The place of a status in a bar. One that the API adds later stands between the final and the open ones.
 *
 * @param {string | undefined} status
 */
export const rankOf = (status) => RANKS.get(status ?? "") ?? 4.5;

/**
 * A text, cut to a length, with the number of characters that are left out.
 *
 * @param {string} text
 * @param {number} [length]
 */
export const clip = (text, length = MAX_TEXT) =>
  text.length > length ? `${text.slice(0, length)}… (${whole.format(text.length - length)} more characters)` : text;

/**
 * @param {number} n
 * @param {string} noun
 */
export const plural = (n, noun) => `${whole.format(n)} ${noun}${n === 1 ? "" : "s"}`;

/**
 * An amount in USD. It must give the same text as `format_usd` in Python, which explains the number of digits.
 *
 * @param {number} usd
 */
export function formatUsd(usd) {
  const amount = Math.abs(usd);
  const needed = amount && amount < 1 ? 3 - Number(amount.toExponential().split("e")[1]) : 2;
  const digits = amount >= 99.995 ? 0 : 2;
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits && Math.min(needed, 10) };
  return `${usd < 0 ? "−" : ""}$${amount.toLocaleString("en-US", options)}`;
}

/**
 * A time span as minutes and seconds, with hours where there are some.
 *
 * @param {number} seconds
 */
export function clock(seconds) {
  const total = Math.max(0, Math.floor(seconds));
  const [hours, minutes] = [Math.floor(total / 3600), Math.floor(total / 60) % 60];
  const twoDigits = (/** @type {number} */ n) => String(n).padStart(2, "0");
  return hours ? `${hours}:${twoDigits(minutes)}:${twoDigits(total % 60)}` : `${minutes}:${twoDigits(total % 60)}`;
}

/** @param {number} seconds */
export const duration = (seconds) => (seconds < 100 ? `${seconds.toFixed(1)} s` : clock(seconds));

/**
 * A time span in its largest unit.
 *
 * @param {number} seconds
 */
export function age(seconds) {
  const total = Math.max(0, Math.floor(seconds));
  if (total < 60) return `${total} s`;
  if (total < 3600) return `${Math.floor(total / 60)} min`;
  return total < 172_800 ? `${Math.floor(total / 3600)} h` : `${Math.floor(total / 86_400)} d`;
}

/**
 * A time in the reader's time zone, with the date where it is not recent.
 *
 * @param {number} epoch in seconds
 */
export function timeOfDay(epoch) {
  const date = new Date(epoch * 1000);
  const time = date.toLocaleTimeString("en-GB");
  if (Math.abs(Date.now() - date.getTime()) < RECENT) return time;
  return `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, ${time}`;
}

/** @param {number} n */
export const compactNumber = (n) => (n < 10_000 ? whole.format(n) : compact.format(n));

/**
 * A value in a format; a dash where it is not known.
 *
 * @template T
 * @param {T | null | undefined} value
 * @param {(value: T) => string} format
 */
export const orDash = (value, format) => (value === null || value === undefined ? "–" : format(value));

/**
 * The cost and the duration of an execution, each "" where it is not known.
 *
 * @param {{ cost_usd: number | null, seconds: number | null }} execution
 * @returns {[string, string]}
 */
export const costAndTime = ({ cost_usd: cost, seconds }) => [
  cost === null ? "" : formatUsd(cost),
  seconds === null ? "" : duration(seconds),
];

/**
 * The URL, where it is safe to use for this kind of media, else null. The kernel has checked it as well.
 *
 * @param {unknown} url
 * @param {string | undefined} kind
 */
export function safeUrl(url, kind) {
  if (typeof url !== "string") return null;
  if (/^data:image\/[a-z0-9.+-]+[;,]/i.test(url)) return kind === "image" ? url : null;
  try {
    const parsed = new URL(url);
    return parsed.protocol === "https:" || parsed.protocol === "http:" ? parsed.href : null;
  } catch {
    return null;
  }
}

/**
 * The file name in a URL, or its host.
 *
 * @param {string} url
 */
export function nameOf(url) {
  const { hostname, pathname } = new URL(url);
  const name = pathname.split("/").pop();
  return name ? clip(name, 80) : hostname;
}
