/** Creates the headers of a matrix, whose axes may have several levels. */

/** @import { AxisHead, MatrixTable } from "./matrix_cells.js" */
/** @import { Files } from "./model.js" */
import { h, on } from "./dom.js";
import { createThumbnail } from "./media.js";

const MARGIN = 8; // pixels between a tooltip and the edge of the window

/**
 * The whole text of a header that is cut off, while it is pointed at or has the focus.
 *
 * @typedef {ReturnType<typeof createTip>} Tip
 */
export function createTip() {
  const node = h("div.elf-tip", { popover: "manual", role: "tooltip", dir: "auto" });
  function hide() {
    if (node.matches(":popover-open")) node.hidePopover();
  }
  /** @param {HTMLElement} header */
  function show(header) {
    const text = header.querySelector(".elf-head-text");
    const hasPopover = "showPopover" in node; // not in browsers before 2024
    if (!hasPopover || !text || text.scrollHeight <= text.clientHeight + 1) return;
    node.textContent = text.textContent;
    node.showPopover();
    const [box, own] = [header.getBoundingClientRect(), node.getBoundingClientRect()];
    const isBelow = box.bottom + own.height + MARGIN < innerHeight;
    node.style.left = `${Math.max(MARGIN, Math.min(box.left, innerWidth - own.width - MARGIN))}px`;
    node.style.top = `${isBelow ? box.bottom + 4 : Math.max(MARGIN, box.top - own.height - 4)}px`;
  }
  /** @param {HTMLElement} header */
  function watch(header) {
    on(header, "mouseenter", () => show(header));
    on(header, "focus", () => show(header));
    on(header, "mouseleave", hide);
    on(header, "blur", hide);
  }
  return { node, watch, hide };
}

/**
 * The number of places from `at` on, until `end`, that have the same texts down to a level: what one header spans.
 *
 * @param {string[][]} places
 * @param {number} at
 * @param {number} level
 * @param {number} end
 */
export function spanOf(places, at, level, end) {
  const isSame = (/** @type {number} */ place) =>
    places[place].slice(0, level + 1).every((text, depth) => text === places[at][depth]);
  let to = at + 1;
  while (to < end && isSame(to)) to++;
  return to - at;
}

/**
 * @typedef {ReturnType<typeof createHeaderFactory>} HeaderFactory
 *
 * @param {Tip} tip
 * @param {Files} files
 */
export function createHeaderFactory(tip, files) {
  /** @type {ReturnType<typeof createThumbnail>[]} */
  const pictures = [];

  /**
   * @param {"th.elf-column" | "th.elf-row"} spec
   * @param {string} text
   * @param {number | null} image
   * @param {Record<string, string | number>} attributes
   */
  function create(spec, text, image, attributes) {
    const header = h(spec, { tabindex: "-1", ...attributes }, h("div.elf-head-text", { dir: "auto" }, text));
    if (image !== null) {
      const picture = createThumbnail(files, image, "");
      pictures.push(picture);
      header.prepend(picture.node);
    }
    tip.watch(header);
    return header;
  }
  function destroy() {
    for (const picture of pictures) picture.destroy();
  }
  return { create, destroy };
}

/**
 * The lines of the columns' headers. Where two frames are shown, a last line names their halves.
 *
 * @param {Pick<MatrixTable, "columns" | "rows" | "sides">} table
 * @param {HeaderFactory} headers
 */
export function createColumnHeaders({ columns, rows, sides }, headers) {
  const { names, places, images } = columns;
  const lines = names.map((_, level) => {
    const line = h("tr");
    if (!level) line.append(createCorner(rows.names, names, names.length + (sides.length ? 1 : 0)));
    for (let at = 0; at < places.length; ) {
      const span = level < names.length - 1 ? spanOf(places, at, level, places.length) : 1;
      const attributes = { scope: span > 1 ? "colgroup" : "col", colspan: span, "data-column": at };
      line.append(headers.create("th.elf-column", places[at][level], images[at][level], attributes));
      at += span;
    }
    return line;
  });
  if (sides.length) lines.push(h("tr", {}, ...places.map(() => createSideHeader(sides))));
  return lines;
}

/** @param {string[]} sides */
function createSideHeader(sides) {
  const halves = sides.map((side) => h("span", { dir: "auto", title: side }, side));
  return h("th.elf-column.elf-side", { scope: "col" }, h("div.elf-sides", {}, ...halves));
}

/**
 * @param {string[]} rows
 * @param {string[]} columns
 * @param {number} lines
 */
function createCorner(rows, columns, lines) {
  const arrow = (/** @type {string} */ text) => h("span", { "aria-hidden": "true" }, text);
  return h(
    "td.elf-corner",
    { colspan: rows.length, rowspan: lines },
    h("div.elf-axis.elf-across", { dir: "auto" }, columns.join(", "), arrow(" →")),
    h("div.elf-axis.elf-down", { dir: "auto" }, rows.join(", "), arrow(" ↓")),
  );
}

/**
 * The headers that begin in a line.
 *
 * @param {AxisHead} rows
 * @param {number} at
 * @param {HeaderFactory} factory
 */
export function createRowHeaders({ names, places, images }, at, factory) {
  /** @type {HTMLTableCellElement[]} */
  const headers = [];
  for (let level = 0; level < names.length; level++) {
    const isLast = level === names.length - 1;
    const isFirst = isLast || at === 0 || spanOf(places, at - 1, level, at + 1) === 1;
    if (!isFirst) continue;
    const span = isLast ? 1 : spanOf(places, at, level, places.length);
    const attributes = { scope: span > 1 ? "rowgroup" : "row", rowspan: span };
    const header = factory.create("th.elf-row", places[at][level], images[at][level], attributes);
    header.style.setProperty("--elf-level", String(level));
    headers.push(header);
  }
  return headers;
}
