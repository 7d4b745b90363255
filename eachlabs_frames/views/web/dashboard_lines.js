/**
 * Decides which lines of a dashboard are shown, in which order, and where. Nothing here touches the page.
 *
 * A line is a bulk operation, or the rows that were not sent with any. Only the visible lines are in the page, so their
 * positions are computed from the heights here, which dashboard.css draws.
 *
 * @typedef {number[]} Counts the place of a status in `statuses` and its number of rows, by turns
 * @typedef {[bulkId: string, createdAt: number | null, counts: Counts, worker?: string]} LineData a worker, where there
 *   were several, is host:process
 * @typedef {[status: string, rows: number][]} StatusCounts in the order of a bar
 * @typedef {"sent" | "newest" | "failures" | "least" | "most"} Sort
 *
 * @typedef {object} Filters
 * @property {Set<string>} statuses
 * @property {string} text
 * @property {Set<number> | null} matches places of the lines with a row that matches the text
 *
 * @typedef {{ at: number, height: number }} Block the rows below the opened line at a position
 */

/** @import { OpenedLine } from "./dashboard_store.js" */
import { clip, rankOf, whole } from "./format.js";

/** Pixels. */
export const LINE_HEIGHT = 36;
const ROW_HEIGHT = 40;
const ROWS_HEAD_HEIGHT = 24;
const ROWS_FOOT_HEIGHT = 36;
const ROWS_PADDING = 9;

/** Rows of an opened line that the kernel sends at once. */
export const PAGE = 50;

export const SETTLED = new Set(["completed", "failed", "cancelled", "invalid", "unknown"]);
const FAILED = new Set(["failed", "invalid"]);

/** The statuses that are always shown, even without rows. */
export const MAIN = ["completed", "running", "queued", "pending", "failed"];

/** @type {Record<Sort, { name: string, key: ((line: LineData, names: string[]) => number) | null }>} */
export const SORTS = {
  sent: { name: "Order sent", key: null },
  newest: { name: "Newest first", key: ([, createdAt]) => -(createdAt ?? 0) },
  failures: { name: "Most failures", key: ([, , counts], names) => -countRows(counts, names, FAILED) },
  least: { name: "Least progress", key: ([, , counts], names) => progress(counts, names) },
  most: { name: "Most progress", key: ([, , counts], names) => -progress(counts, names) },
};

/**
 * The number of rows, of all statuses or of some.
 *
 * @param {Counts} counts
 * @param {string[]} names
 * @param {Set<string>} [statuses]
 */
export function countRows(counts, names, statuses) {
  let rows = 0;
  for (let i = 0; i < counts.length; i += 2) if (!statuses || statuses.has(names[counts[i]])) rows += counts[i + 1];
  return rows;
}

/**
 * @param {Counts} counts
 * @param {string[]} names
 */
const progress = (counts, names) => countRows(counts, names, SETTLED) / (countRows(counts, names) || 1);

/**
 * Those with rows, in the order of a bar.
 *
 * @param {StatusCounts} counts
 * @returns {StatusCounts}
 */
export const inOrder = (counts) => counts.filter(([, rows]) => rows > 0).sort(([a], [b]) => rankOf(a) - rankOf(b));

/**
 * @param {Counts} counts
 * @param {string[]} names
 */
export function statusCounts(counts, names) {
  /** @type {StatusCounts} */
  const entries = [];
  for (let i = 0; i < counts.length; i += 2) entries.push([names[counts[i]] ?? "unknown", counts[i + 1]]);
  return inOrder(entries);
}

/** @param {StatusCounts} counts */
export const describeCounts = (counts) =>
  counts.map(([status, rows]) => `${whole.format(rows)} ${clip(status, 40)}`).join(", ") || "no rows";

/**
 * The places, from `first` on, of the lines that match the filters, and the number of lines there are to choose from.
 *
 * @param {{ lines: LineData[], statuses: string[] }} snapshot
 * @param {Filters} filters
 * @param {number} [first]
 */
export function chooseLines({ lines, statuses: names }, { statuses, text, matches }, first = 0) {
  const needle = text.toLowerCase();
  /** @type {number[]} */
  const chosen = [];
  let all = 0;
  for (let place = first; place < lines.length; place++) {
    const [bulkId, , counts] = lines[place];
    if (!countRows(counts, names)) continue; // its rows were sent again with other lines
    all++;
    if (statuses.size && !countRows(counts, names, statuses)) continue;
    if (needle && !(bulkId || "not sent").toLowerCase().includes(needle) && !matches?.has(place)) continue;
    chosen.push(place);
  }
  return { chosen, all };
}

/**
 * Sort places of lines, in place.
 *
 * @param {number[]} places
 * @param {{ lines: LineData[], statuses: string[] }} snapshot
 * @param {Sort} sort
 */
export function sortLines(places, { lines, statuses: names }, sort) {
  const { key } = SORTS[sort];
  if (!key) return places;
  const keys = new Map(places.map((place) => [place, key(lines[place], names)]));
  const keyOf = (/** @type {number} */ place) => keys.get(place) ?? 0;
  const tie = sort === "newest" ? -1 : 1;
  return places.sort((a, b) => keyOf(a) - keyOf(b) || tie * (a - b));
}

/**
 * The height of the rows of an opened line, also before they are here. Where they cannot come, a sentence is shown.
 *
 * @param {OpenedLine | undefined} opened
 * @param {number} expected rows of the line
 * @param {boolean} isDisconnected
 */
export function rowsHeight(opened, expected, isDisconnected) {
  if (isDisconnected && !opened) return ROWS_PADDING + ROWS_HEAD_HEIGHT + ROW_HEIGHT;
  const total = opened ? opened.total : expected;
  const shown = opened ? opened.rows.length : Math.min(total, PAGE);
  const foot = total > (opened ? shown : PAGE) ? ROWS_FOOT_HEIGHT : 0;
  return ROWS_PADDING + ROWS_HEAD_HEIGHT + ROW_HEIGHT * Math.max(1, shown) + foot;
}

/**
 * The top of the line at a position.
 *
 * @param {Block[]} blocks
 * @param {number} at
 */
export const topOf = (blocks, at) =>
  at * LINE_HEIGHT + blocks.reduce((sum, block) => sum + (block.at < at ? block.height : 0), 0);

/**
 * The position of the line at a height, counted with its rows.
 *
 * @param {Block[]} blocks in order
 * @param {number} y
 */
export function lineAt(blocks, y) {
  let above = 0;
  for (const block of blocks) {
    const top = block.at * LINE_HEIGHT + above;
    if (y < top + LINE_HEIGHT) break;
    if (y < top + LINE_HEIGHT + block.height) return block.at;
    above += block.height;
  }
  return Math.max(0, Math.floor((y - above) / LINE_HEIGHT));
}
