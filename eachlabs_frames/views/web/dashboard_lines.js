/** Lines. */

import { clip, rankOf, whole } from "./format.js";

export const LINE = 36; // pixels; the virtual list computes where lines are, dashboard.css draws them that high
const ROW = 40;
const ROWS_HEAD = 24;
const ROWS_FOOT = 36;
const ROWS_PAD = 9;

export const PAGE = 50; // rows that the kernel sends at once

export const SETTLED = new Set(["completed", "failed", "cancelled", "invalid", "unknown"]);
const FAILED = new Set(["failed", "invalid"]);
export const MAIN = ["completed", "running", "queued", "pending", "failed"]; // these have a place of their own, even at zero

export const SORTS = new Map([
  ["sent", ["Order sent", null]],
  ["newest", ["Newest first", (line) => -(line[1] ?? 0)]],
  ["failures", ["Most failures", (line, words) => -rowsWith(line[2], words, FAILED)]],
  ["least", ["Least progress", (line, words) => progress(line[2], words)]],
  ["most", ["Most progress", (line, words) => -progress(line[2], words)]],
]);

function rowsWith(pairs, words, wanted) {
  let rows = 0;
  for (let i = 0; i < pairs.length; i += 2) if (!wanted || wanted.has(words[pairs[i]])) rows += pairs[i + 1];
  return rows;
}

const progress = (pairs, words) => rowsWith(pairs, words, SETTLED) / (rowsWith(pairs, words) || 1);

/** `[[word, rows], ...]` in a bar's order. */
export function tally(entries) {
  return entries.filter(([, rows]) => rows > 0).sort(([a], [b]) => rankOf(a) - rankOf(b));
}

export function tallyOf(pairs, words) {
  const entries = [];
  for (let i = 0; i < pairs.length; i += 2) entries.push([words[pairs[i]] ?? "unknown", pairs[i + 1]]);
  return tally(entries);
}

export const describe = (counts) =>
  counts.map(([word, rows]) => `${whole.format(rows)} ${clip(word, 40)}`).join(", ") || "no rows";

// -- which lines are shown, in which order -----------------------------------------------------------------------

/** The places, from `first` on, of the lines that pass the filters; and how many lines there are to choose from. */
export function choose({ lines, words }, { statuses, text, found }, first = 0) {
  const needle = text.toLowerCase();
  const chosen = [];
  let all = 0;
  for (let place = first; place < lines.length; place++) {
    const [bulk, , pairs] = lines[place];
    if (!rowsWith(pairs, words)) continue; // all its rows went elsewhere, such as those that were not sent before
    all++;
    if (statuses.size && !rowsWith(pairs, words, statuses)) continue;
    if (needle && !(bulk || "not sent").toLowerCase().includes(needle) && !found?.has(place)) continue;
    chosen.push(place);
  }
  return { chosen, all };
}

export function sorted(places, { lines, words }, sort) {
  const key = SORTS.get(sort)[1];
  if (!key) return places;
  const keys = new Map(places.map((place) => [place, key(lines[place], words)]));
  const tie = sort === "newest" ? -1 : 1;
  return places.sort((a, b) => keys.get(a) - keys.get(b) || tie * (a - b));
}

/** How high an opened line's rows stand, also before they are there; of those that cannot come a sentence is shown. */
export function heightOfRows(place, { snapshot, parted }) {
  const opened = snapshot.rows[place];
  if (parted && !opened) return ROWS_PAD + ROWS_HEAD + ROW;
  const total = opened ? opened.total : rowsWith(snapshot.lines[place][2], snapshot.words);
  const rows = opened ? opened.rows.length : Math.min(total, PAGE);
  return (
    ROWS_PAD + ROWS_HEAD + ROW * Math.max(1, rows) + (total > (opened ? opened.rows.length : PAGE) ? ROWS_FOOT : 0)
  );
}
