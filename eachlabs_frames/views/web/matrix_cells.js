/**
 * Creates the cells of a matrix (see `matrix/model.py` for their data). What is in a cell is created when it becomes
 * visible.
 *
 * @typedef {object} CellMark A row of the frame in its slot.
 * @property {number} at its position; those of a second frame follow those of the first
 * @property {string} status
 * @property {string | null} text its number; null where it has none, and where cards are shown
 *
 * @typedef {object} CellSlot A repeat.
 * @property {string} label "" where it is the only one
 * @property {(CellMark | null)[]} marks one per side; null where the frame has no such row
 * @property {string | null} difference
 *
 * @typedef {object} MatrixCell What stands where a row and a column meet.
 * @property {CellSlot[]} slots none where the frame has no such combination
 * @property {number} more slots that are not shown
 * @property {string | null} mean
 * @property {[string, string] | null} paint its colour, and that of text on it
 *
 * @typedef {object} AxisHead
 * @property {string[]} names of its levels
 * @property {string[][]} places the texts of each place, one per level
 * @property {(number | null)[][]} images the number of a picture for each text, if there is one
 *
 * @typedef {object} MatrixTable
 * @property {"cards" | "numbers" | "statuses"} kind
 * @property {string} title
 * @property {AxisHead} rows
 * @property {AxisHead} columns
 * @property {string[]} sides the names of two frames; empty where there is one
 * @property {MatrixCell[][]} cells
 * @property {{ title: string, stops: string[], ticks: [number, string][] } | null} legend
 * @property {number} size pixels of an image's side
 * @property {string} cut what is not shown, as a sentence
 *
 * @typedef {object} Context
 * @property {MatrixTable} data
 * @property {CardStore} cards
 * @property {Files | null} files
 * @property {(at: number, medium?: number) => void} open
 *
 * @typedef {object} Part What stands in a cell. `stop` is the element that has its focus.
 * @property {HTMLElement} node
 * @property {HTMLElement} stop
 * @property {() => void} destroy
 *
 * @typedef {object} Cell
 * @property {HTMLTableCellElement} node
 * @property {() => void} fill
 * @property {() => HTMLElement[]} stops
 * @property {() => void} destroy
 */

/** @import { Card } from "./cards.js" */
/** @import { CardStore } from "./matrix_cards.js" */
/** @import { Files } from "./model.js" */
import { createBadge, createPreview } from "./cards.js";
import { h, on } from "./dom.js";
import { clip, whole } from "./format.js";

const MAX_ERROR = 300; // characters
const MAX_IN_LINE = 4; // images beside one another in a cell
const GAP = 6; // pixels, as are those below; matrix.css draws them
const PADDING = 8;
const LABEL_HEIGHT = 19;

/** @param {string} status */
function badgeOf(status) {
  const badge = createBadge();
  badge.paintStatus(status);
  return badge.node;
}

/** @param {string} error */
function createError(error) {
  const text = clip(error, MAX_ERROR);
  return h("div.elf-mark-error", { dir: "auto", title: text }, text);
}

/**
 * A row of the frame as a card.
 *
 * @param {CellMark} mark
 * @param {string} label
 * @param {Context} context
 * @returns {Part}
 */
function createCardMark(mark, label, { cards, files, open }) {
  const button = h("button.elf-open", { type: "button", tabindex: "-1" }, h("span", { "aria-hidden": "true" }, "⤢"));
  button.setAttribute("aria-label", `Enlarge ${label || "the output"}`);
  on(button, "click", () => open(mark.at));
  const empty = h("div.elf-stage");
  const node = h("div.elf-mark", { "data-status": mark.status, "data-at": mark.at }, empty, button);
  if (mark.status !== "completed") node.append(badgeOf(mark.status));
  const preview = createPreview({ files, enlarge: (_, medium) => open(mark.at, medium) });

  /** @param {Card} card */
  function paint(card) {
    preview.paint(card);
    empty.replaceWith(preview.node);
    node.classList.toggle(
      "elf-pictured",
      card.media.some(({ kind }) => kind === "image"),
    );
    if (card.error) node.append(createError(card.error));
  }
  cards.request(mark.at, (card) => {
    if (card) paint(card);
    else empty.append(h("div.elf-placeholder", {}, "not saved with the notebook; no kernel is connected"));
  });
  return { node, stop: button, destroy: preview.destroy };
}

/**
 * A row of the frame as its number or its status.
 *
 * @param {CellMark} mark
 * @param {string} label
 * @param {Context} context
 * @returns {Part}
 */
function createTextMark(mark, label, { data, cards, open }) {
  const button = h("button.elf-open", { type: "button", tabindex: "-1" });
  on(button, "click", () => open(mark.at));
  button.title = [label, mark.status].filter(Boolean).join(": ");
  const node = h("div.elf-mark", { "data-status": mark.status, "data-at": mark.at }, button);
  const isEmpty = data.kind === "numbers" && mark.text === null && mark.status === "completed";
  node.classList.toggle("elf-empty", isEmpty);
  if (isEmpty) button.append(h("span", { "aria-hidden": "true" }, "–"), h("span.elf-hidden", {}, "no number"));
  else button.append(mark.text ?? badgeOf(mark.status));
  if (mark.text === null && ["failed", "invalid", "unknown"].includes(mark.status))
    cards.request(mark.at, (card) => card?.error && node.append(createError(card.error)));
  return { node, stop: button, destroy() {} };
}

/**
 * What stands where the frame has no row.
 *
 * @returns {Part}
 */
function createGap() {
  const node = h("div.elf-gap", { tabindex: "-1" }, h("span", {}, "no row"));
  return { node, stop: node, destroy() {} };
}

/**
 * @param {number} slots
 * @param {number} sides
 */
const slotsInLine = (slots, sides) =>
  Math.min(Math.max(1, slots), Math.max(1, Math.floor(MAX_IN_LINE / Math.max(1, sides))));

/**
 * The height of a cell of cards, which is known before it is filled: so the table keeps its layout.
 *
 * @param {Pick<MatrixCell, "slots" | "more">} cell
 * @param {Pick<MatrixTable, "sides" | "size">} table
 */
export function cellHeight({ slots, more }, { sides, size }) {
  const lines = Math.ceil(Math.max(1, slots.length) / slotsInLine(slots.length, sides.length));
  const label = slots.some((slot) => slot.label) ? LABEL_HEIGHT : 0;
  return lines * (size + label) + (lines - 1) * GAP + (more ? LABEL_HEIGHT : 0);
}

/**
 * The width of a column of cards.
 *
 * @param {number} slots the largest number in a cell
 * @param {Pick<MatrixTable, "sides" | "size">} table
 */
export function columnWidth(slots, { sides, size }) {
  const inLine = slotsInLine(slots, sides.length);
  const slot = Math.max(1, sides.length) * (size + GAP) - GAP;
  return inLine * slot + (inLine - 1) * 2 * GAP + 2 * PADDING + 1;
}

/**
 * @param {string} mean
 * @param {boolean} isDifference
 */
function createMean(mean, isDifference) {
  const [sign, word] = [h("span", { "aria-hidden": "true" }, "⌀ "), h("span.elf-hidden", {}, "mean ")];
  return h("div.elf-mean", { title: isDifference ? "mean difference" : "mean" }, sign, word, mean);
}

/**
 * @param {MatrixCell} cell
 * @param {string} name
 * @param {Context} context
 * @returns {Cell}
 */
export function createCell(cell, name, context) {
  const { data } = context;
  const inside = h("div.elf-inside");
  const node = h("td.elf-cell", {}, inside);
  /** @type {Part[]} */
  const parts = [];
  let isFilled = false;

  /**
   * @param {CellMark | null} mark
   * @param {number} side
   * @param {string} slotName
   */
  function createPart(mark, side, slotName) {
    if (!mark) return createGap();
    const label = [data.sides[side], slotName].filter(Boolean).join(", ");
    return data.kind === "cards" ? createCardMark(mark, label, context) : createTextMark(mark, label, context);
  }

  /** @param {CellSlot} slot */
  function createSlot({ label, marks, difference }) {
    const slotName = [name, label].filter(Boolean).join(", ");
    const own = (marks.some(Boolean) ? marks : [null]).map((mark, side) => createPart(mark, side, slotName));
    parts.push(...own);
    const slot = h("div.elf-slot", {}, h("div.elf-marks", {}, ...own.map((part) => part.node)));
    if (difference !== null) slot.append(h("div.elf-difference", { title: "difference" }, difference));
    if (label) slot.append(h("div.elf-slot-label", { dir: "auto", title: label }, label));
    return slot;
  }

  function fill() {
    if (isFilled) return;
    isFilled = true;
    if (!cell.slots.length) {
      const gap = createGap();
      parts.push(gap);
      inside.append(gap.node);
      return;
    }
    if (cell.mean !== null) inside.append(createMean(cell.mean, data.sides.length > 0));
    inside.append(h("div.elf-slots", {}, ...cell.slots.map(createSlot)));
    if (cell.more) inside.append(h("div.elf-slot-label", {}, `and ${whole.format(cell.more)} more`));
  }

  function stops() {
    fill();
    return parts.map((part) => part.stop);
  }
  function destroy() {
    for (const part of parts) part.destroy();
  }

  if (data.kind === "cards") inside.style.height = `${cellHeight(cell, data)}px`;
  node.classList.toggle("elf-missing", !cell.slots.length);
  if (cell.paint) {
    node.classList.add("elf-painted");
    node.style.setProperty("--elf-colour", cell.paint[0]);
    node.style.setProperty("--elf-cell-ink", cell.paint[1]);
  }
  return { node, fill, stops, destroy };
}
