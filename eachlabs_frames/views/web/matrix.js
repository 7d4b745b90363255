/**
 * Shows a matrix: a real table, so that a screen reader knows the headers of each cell (see `matrix/model.py` for its
 * data, and `matrix/widget.py` for what it may request). Cells are filled when they become visible, and stay. The
 * kernel's state is never written.
 */

/** @import { Card } from "./cards.js" */
/** @import { CardStore } from "./matrix_cards.js" */
/** @import { Context, MatrixTable } from "./matrix_cells.js" */
/** @import { HeaderFactory } from "./matrix_headers.js" */
/** @import { Line } from "./matrix_keys.js" */
/** @import { Files, Model, View } from "./model.js" */
import { h, hideStatic, keepKeys, on } from "./dom.js";
import { createFiles } from "./files.js";
import { createCardStore } from "./matrix_cards.js";
import { columnWidth, createCell } from "./matrix_cells.js";
import { createColumnHeaders, createHeaderFactory, createRowHeaders, createTip } from "./matrix_headers.js";
import { listenToKeys } from "./matrix_keys.js";
import { createViewer } from "./viewer.js";

const NEAR = "600px"; // a cell is filled when it is so near to what is visible
const MAX_HEADER = 60; // characters of a header in the name of a cell

/** @param {string} text */
const shorten = (text) => (text.length > MAX_HEADER ? `${text.slice(0, MAX_HEADER - 1)}…` : text);

/** @param {NonNullable<MatrixTable["legend"]>} legend */
function createLegend({ title, stops, ticks }) {
  const bar = h("div.elf-scale");
  bar.style.background = stops.length > 1 ? `linear-gradient(to right, ${stops.join(", ")})` : stops[0];
  const ends = new Map([
    [0, "low"],
    [ticks.length - 1, "high"],
  ]);
  const marks = ticks.map(([share, text], at) => {
    const tick = h("span.elf-tick", { "data-end": (ticks.length > 1 && ends.get(at)) || "inner" }, text);
    tick.style.left = `${share * 100}%`;
    return tick;
  });
  const texts = ticks.map(([, text]) => text);
  const range = texts.length > 1 ? `from ${texts[0]} to ${texts.at(-1)}` : texts[0];
  return h(
    "div.elf-legend",
    { role: "img", "aria-label": `Scale of ${title}: ${range}` },
    h("div.elf-legend-title", { dir: "auto" }, title),
    h("div.elf-scale-box", {}, bar, ...marks),
  );
}

/**
 * The widths of the columns. Those of cards are known from the start, so that nothing moves as cells are filled; those
 * of numbers are what they need.
 *
 * @param {MatrixTable} data
 */
function createWidths(data) {
  const { kind, cells, columns, rows } = data;
  const group = h("colgroup", {}, ...rows.names.map(() => h("col.elf-head-width")));
  for (const column of columns.places.keys()) {
    const col = h("col");
    const slots = Math.max(1, ...cells.map((line) => line[column].slots.length));
    if (kind === "cards") col.style.width = `${columnWidth(slots, data)}px`;
    group.append(col);
  }
  return group;
}

/**
 * @param {Line[]} lines
 * @param {HTMLElement} scroll
 */
function fillWhenNear(lines, scroll) {
  /** @type {Map<Element, () => void>} */
  const fills = new Map(lines.flatMap((line) => line.cells.map(({ node, fill }) => [node, fill])));
  const observer = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        observer.unobserve(target);
        fills.get(target)?.();
      }
    },
    { root: scroll, rootMargin: NEAR },
  );
  for (const node of fills.keys()) observer.observe(node);
  return () => observer.disconnect();
}

/**
 * @param {MatrixTable} data
 * @param {CardStore} cards
 * @param {Files} files
 */
function createDialog(data, cards, files) {
  const order = data.cells
    .flat()
    .flatMap(({ slots }) => slots.flatMap(({ marks }) => marks.flatMap((m) => m?.at ?? [])));
  const placeOf = new Map(order.map((at, place) => [at, place]));
  const viewer = createViewer({ files, step });
  /** @type {number | null} */
  let requested = null;

  /**
   * A card that is not here yet is requested, so that it can be stepped to soon.
   *
   * @param {Card} card
   * @param {number} by
   */
  function step(card, by) {
    const at = order[(placeOf.get(card.row) ?? NaN) + by];
    if (at === undefined) return null;
    if (!cards.get(at)) cards.request(at, () => viewer.paint(card));
    return cards.get(at);
  }

  /**
   * @param {number} at
   * @param {number} [medium]
   */
  function open(at, medium = 0) {
    requested = at;
    cards.request(at, (card) => {
      if (!card || requested !== at) return;
      requested = null;
      viewer.open(card, medium);
    });
  }
  return { node: viewer.node, isEmpty: !order.length, open, destroy: viewer.destroy };
}

/**
 * @param {Context} context
 * @param {HeaderFactory} factory
 */
function createLines(context, factory) {
  const { rows, columns, cells } = context.data;
  return cells.map((line, row) => {
    const headers = createRowHeaders(rows, row, factory);
    const made = line.map((cell, column) => {
      const name = [...rows.places[row], ...columns.places[column]].map(shorten).join(", ");
      return createCell(cell, name, context);
    });
    return { node: h("tr", {}, ...headers, ...made.map(({ node }) => node)), headers, cells: made };
  });
}

/**
 * @param {Model} model
 * @param {HTMLElement} el
 * @param {CardStore} cards
 * @param {Files} files
 */
function render(model, el, cards, files) {
  /** @type {MatrixTable} */
  const data = model.get("table");
  const dialog = createDialog(data, cards, files);
  const tip = createTip();
  const headers = createHeaderFactory(tip, files);
  const lines = createLines({ data, cards, files, open: dialog.open }, headers);
  const head = h("thead", {}, ...createColumnHeaders(data, headers));
  const body = h("tbody", {}, ...lines.map(({ node }) => node));
  const caption = h("caption.elf-hidden", {}, data.title);
  const table = h("table.elf-table", { "data-kind": data.kind }, caption, createWidths(data), head, body);
  const scroll = h("div.elf-scroll", { role: "region", "aria-label": data.title }, table);
  if (dialog.isEmpty) scroll.setAttribute("tabindex", "0");
  const top = h("div.elf-top", {}, h("div.elf-title", { dir: "auto" }, data.title));
  if (data.legend) top.append(createLegend(data.legend));
  const root = h("div.eachlabs-view.eachlabs-matrix", {}, top);
  if (data.cut) root.append(h("p.elf-cut", { role: "note" }, data.cut));
  root.append(scroll, tip.node, dialog.node);
  root.style.setProperty("--elf-size", `${data.size}px`);
  root.style.setProperty("--elf-levels", String(data.rows.names.length));
  listenToKeys(table, lines, data.columns.places.length);
  keepKeys(root);
  on(scroll, "scroll", tip.hide);
  el.append(root);
  const stopFilling = fillWhenNear(lines, scroll);
  const headHeight = new ResizeObserver(() => scroll.style.setProperty("--elf-head-height", `${head.offsetHeight}px`));
  headHeight.observe(head);
  return () => {
    stopFilling();
    headHeight.disconnect();
    dialog.destroy();
    headers.destroy();
    for (const cell of lines.flatMap((line) => line.cells)) cell.destroy();
  };
}

/** @returns {View} */
export default () => {
  /** @type {CardStore | null} */
  let cards = null;
  return {
    initialize({ model }) {
      const created = createCardStore(model);
      cards = created;
      return created.destroy;
    },
    render({ model, el, files }) {
      cards ??= createCardStore(model);
      const own = files ? null : createFiles(model);
      const close = render(model, el, cards, files ?? /** @type {Files} */ (own));
      hideStatic(el, model);
      return () => {
        close();
        own?.destroy();
      };
    },
  };
};
