/**
 * Decides which rows of a gallery are shown. Nothing here touches the page.
 *
 * @typedef {object} Filters
 * @property {Set<string>} statuses
 * @property {string} text of the search
 * @property {Set<number> | null} matches of the search; null until it is answered
 */

/** @import { GallerySnapshot } from "./gallery_store.js" */

/**
 * The status of a row.
 *
 * @param {Pick<GallerySnapshot, "statuses" | "codes">} snapshot
 * @param {number} row
 */
export const statusOf = ({ statuses, codes }, row) => statuses[codes[row]] ?? "unknown";

/**
 * The number of rows per status.
 *
 * @param {Pick<GallerySnapshot, "statuses" | "codes">} snapshot
 */
export function countStatuses(snapshot) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const row of snapshot.codes.keys()) {
    const status = statusOf(snapshot, row);
    counts.set(status, (counts.get(status) ?? 0) + 1);
  }
  return counts;
}

/**
 * The rows that match a view's filters, in the order of the frame.
 *
 * @param {Pick<GallerySnapshot, "statuses" | "codes">} snapshot
 * @param {Filters} filters
 */
export function matchingRows(snapshot, { statuses, text, matches }) {
  const isMatch = (/** @type {number} */ row) =>
    (!statuses.size || statuses.has(statusOf(snapshot, row))) && (!text || !matches || matches.has(row));
  return [...snapshot.codes.keys()].filter(isMatch);
}
