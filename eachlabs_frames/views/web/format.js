/** Words and numbers as text. Nothing here touches the page. */

const LONGEST = 4_000;

const STATUSES = new Map([
  // in a bar from left to right: what is settled, then what is on its way
  ["completed", "✓"],
  ["failed", "✕"],
  ["cancelled", "⊘"],
  ["invalid", "△"],
  ["unknown", "?"],
  ["running", "◐"],
  ["queued", "≡"],
  ["pending", "○"],
]);
export const OTHER = "◇";
const RANK = new Map([...STATUSES.keys()].map((word, at) => [word, at]));

// -- words and numbers -------------------------------------------------------------------------------------------

export const whole = new Intl.NumberFormat("en-US");

export const symbolOf = (word) => STATUSES.get(word) ?? OTHER;
export const rankOf = (word) => RANK.get(word) ?? 4.5; // a word of the API that we do not know may be a settled one, or not
export const clip = (text, longest = LONGEST) =>
  text.length > longest ? `${text.slice(0, longest)}… (${whole.format(text.length - longest)} more characters)` : text;
export const plural = (n, noun) => `${whole.format(n)} ${noun}${n === 1 ? "" : "s"}`;

/** An amount in USD as text: the same as `format_usd` of core/money.py, which says how. */
export function formatUsd(usd) {
  const amount = Math.abs(usd);
  const below = amount && amount < 1 ? 3 - Number(amount.toExponential().split("e")[1]) : 2;
  const least = amount >= 99.995 ? 0 : 2;
  const digits = { minimumFractionDigits: least, maximumFractionDigits: least && Math.min(below, 10) };
  return `${usd < 0 ? "−" : ""}$${amount.toLocaleString("en-US", digits)}`;
}

export function clock(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  const two = (n) => String(n).padStart(2, "0");
  return s < 3600
    ? `${Math.floor(s / 60)}:${two(s % 60)}`
    : `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

export const duration = (seconds) => (seconds < 100 ? `${seconds.toFixed(1)} s` : clock(seconds));

export function timeOfDay(epoch) {
  const at = new Date(epoch * 1000);
  const time = at.toLocaleTimeString("en-GB");
  return Math.abs(Date.now() - at) < 43_200_000
    ? time
    : `${at.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, ${time}`;
}

/** The URL as this kind of media may use it; null where that is not safe. The kernel has looked already. */
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

/** What a URL is called where there is little room. */
export function nameOf(url) {
  const { hostname, pathname } = new URL(url);
  const name = pathname.split("/").pop();
  return name ? clip(name, 80) : hostname;
}

const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

export const small = (n) => (n < 10_000 ? whole.format(n) : compact.format(n));
export const known = (value, format) => (value === null || value === undefined ? "–" : format(value));

export function age(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  return s < 172_800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86_400)} d`;
}
