/** Shows the cards of one page of a gallery. The arrow keys move the focus from card to card. */

/** @import { Card } from "./cards.js" */
/** @import { Store } from "./gallery_store.js" */
import { createCard } from "./cards.js";
import { h, hasModifier, on, setAttribute, setText, targetOf } from "./dom.js";
import { statusOf } from "./gallery_filters.js";

/**
 * The card of a row before its card has come.
 *
 * @param {number} row
 * @param {string} status
 * @returns {Card}
 */
const createAbsent = (row, status) => ({
  row,
  label: "…",
  status,
  error: null,
  media: [],
  more_media: 0,
  text: null,
  is_json: false,
  input: [],
  cost_usd: null,
  seconds: null,
});

/**
 * @param {Store} store
 * @param {() => number[]} rowsOf the rows of the page
 * @param {(card: Card, at: number) => void} enlarge
 */
export function createGrid(store, rowsOf, enlarge) {
  const canvas = h("div.elf-grid", { role: "list", "aria-label": "Results" });
  const empty = h("div.elf-empty");
  const node = h("div.elf-scroll", {}, canvas, empty);
  /** @type {Map<number, { node: HTMLElement, card: ReturnType<typeof createCard> }>} */
  const shown = new Map();
  /** @type {number | null} */
  let current = null;

  /** @param {number} row */
  function placeOf(row) {
    const existing = shown.get(row);
    if (existing) return existing;
    const card = createCard({ files: store.files, enlarge });
    const place = { node: h("div.elf-grid-cell", { role: "listitem" }, card.node), card };
    shown.set(row, place);
    return place;
  }

  /** @param {Set<number>} kept */
  function removeOthers(kept) {
    for (const [row, place] of shown) {
      if (kept.has(row)) continue;
      place.card.destroy();
      place.node.remove();
      shown.delete(row);
    }
  }

  function paint() {
    const rows = rowsOf();
    removeOthers(new Set(rows));
    /** @type {Element | null} */
    let before = null;
    for (const row of rows) {
      const place = placeOf(row);
      place.card.paint(store.cards.get(row) ?? createAbsent(row, statusOf(store.snapshot, row)));
      // A node in its place is not moved: that would stop a video and take the focus away.
      const here = /** @type {Element | null} */ (before ? before.nextSibling : canvas.firstChild);
      if (place.node !== here) canvas.insertBefore(place.node, here);
      before = place.node;
    }
    rove();
    empty.hidden = rows.length > 0;
    setText(empty, store.snapshot.codes.length ? "No result matches." : "There are no rows.");
  }

  /** @param {number | undefined | null} row */
  const buttonOf = (row) =>
    /** @type {HTMLElement | null | undefined} */ (shown.get(row ?? -1)?.node.querySelector(".elf-enlarge"));

  /** Let the Tab key reach only the current card; the arrow keys reach the others. */
  function rove() {
    const rows = rowsOf();
    const chosen = current !== null && shown.has(current) ? current : rows[0];
    for (const row of rows) {
      const button = buttonOf(row);
      if (button) setAttribute(button, "tabindex", row === chosen ? 0 : -1);
    }
  }

  /** @param {Event} event */
  function rowOf(event) {
    const target = targetOf(event);
    const card = /** @type {HTMLElement | null} */ (target.closest(".elf-card"));
    return card && target.matches(".elf-enlarge") ? Number(card.dataset.row) : null;
  }

  const across = () => getComputedStyle(canvas).gridTemplateColumns.split(" ").length;
  /** @type {Record<string, () => number>} */
  const steps = {
    ArrowRight: () => 1,
    ArrowLeft: () => -1,
    ArrowDown: across,
    ArrowUp: () => -across(),
    Home: () => -Infinity,
    End: () => Infinity,
  };
  on(canvas, "keydown", (event) => {
    const row = rowOf(event);
    if (row === null || !steps[event.key] || hasModifier(event)) return;
    event.preventDefault();
    const rows = rowsOf();
    const at = rows.indexOf(row) + steps[event.key]();
    current = rows[Math.max(0, Math.min(rows.length - 1, at))];
    rove();
    buttonOf(current)?.focus();
  });
  on(canvas, "focusin", (event) => {
    const row = rowOf(event);
    if (row === null) return;
    current = row;
    rove();
  });
  function destroy() {
    for (const { card } of shown.values()) card.destroy();
  }
  function scrollToTop() {
    node.scrollTop = 0;
  }
  return { node, paint, scrollToTop, focus: (/** @type {number} */ row) => buttonOf(row)?.focus(), destroy };
}
