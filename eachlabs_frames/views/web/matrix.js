/**
 * The browser's side of a matrix: `table.py` says what it is given, `matrix.py` what it may ask for.
 *
 * A real table, so that whoever hears it knows each cell's headers; the keys' focus walks over it as over a grid. What
 * is in a cell is made when it comes near to what is seen, and stays. Cards that did not come with the data are asked
 * for then. It never writes to the kernel's state.
 */

import { createViewer } from "./cards.js";
import { h, hideStatic, keepKeys, on } from "./dom.js";
import { createFiles } from "./files.js";
import { createBook, createCell, createWidths } from "./matrix_cells.js";
import { createColumnHeads, createRowHeads, createTip } from "./matrix_headers.js";

const NEAR = "600px";

const PART = 60; // characters of one header in the name of a cell

const short = (text) => (text.length > PART ? `${text.slice(0, PART - 1)}…` : text);

// -- the scale ---------------------------------------------------------------------------------------------------

function createLegend({ title, stops, ticks }) {
  const bar = h("div.elf-scale");
  bar.style.background = stops.length > 1 ? `linear-gradient(to right, ${stops.join(", ")})` : stops[0];
  const marks = ticks.map(([share, text], at) => {
    const tick = h("span.elf-tick", {}, text);
    tick.style.left = `${share * 100}%`;
    tick.dataset.end = (ticks.length > 1 && (at === 0 ? "low" : at === ticks.length - 1 ? "high" : "")) || "inner";
    return tick;
  });
  const texts = ticks.map(([, text]) => text);
  const label = `Scale of ${title}: ${texts.length > 1 ? `from ${texts[0]} to ${texts.at(-1)}` : texts[0]}`;
  return h(
    "div.elf-legend",
    { role: "img", "aria-label": label },
    h("div.elf-legend-title", { dir: "auto" }, title),
    h("div.elf-scale-box", {}, bar, ...marks),
  );
}

// -- the view ----------------------------------------------------------------------------------------------------

/** Walks over the cells by keys: one of them can be reached by Tab, the others from there. */
function createWalk(table, lines, columns) {
  let current = null;
  const places = new Map(); // an element -> where it stands
  const put = (line, column, stops) => stops.forEach((stop, at) => places.set(stop, [line, column, at]));
  const stopsOf = (line, column) => {
    const stops = lines[line].cells[column].stops;
    put(line, column, stops);
    return stops;
  };

  function go(line, column, at, last = false) {
    const stops = stopsOf(line, column);
    const stop = last ? stops.at(-1) : stops[Math.min(at, stops.length - 1)];
    current?.setAttribute("tabindex", "-1");
    stop.setAttribute("tabindex", "0");
    current = stop;
    stop.focus({ preventScroll: true });
    stop.closest(".elf-slot, td").scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  function aside(line, column, at, by) {
    const there = at + by;
    if (there >= 0 && there < stopsOf(line, column).length) return go(line, column, there);
    if (column + by >= 0 && column + by < columns) return go(line, column + by, 0, by < 0);
    if (by < 0) lines[line].heads.at(-1)?.focus();
    return undefined;
  }

  function step(event) {
    if (event.altKey || event.metaKey) return;
    const stop = event.target.closest(".elf-open, .elf-gap, th");
    if (!stop || event.target.matches("video, audio")) return;
    if (stop.matches("th")) return void fromHead(event, stop);
    const cell = stop.closest("td");
    const line = lines.findIndex(({ node }) => node === cell.parentNode);
    const column = lines[line].cells.findIndex(({ node }) => node === cell);
    const at = stopsOf(line, column).indexOf(stop);
    const end = event.ctrlKey ? lines.length - 1 : line;
    const acts = {
      ArrowRight: () => aside(line, column, at, 1),
      ArrowLeft: () => aside(line, column, at, -1),
      ArrowDown: () => line + 1 < lines.length && go(line + 1, column, at),
      ArrowUp: () =>
        line
          ? go(line - 1, column, at)
          : table
              .querySelector(`thead tr:nth-last-child(1) [data-column="${column}"], thead [data-column="${column}"]`)
              ?.focus(),
      Home: () => go(event.ctrlKey ? 0 : line, 0, 0),
      End: () => go(end, columns - 1, 0, true),
    };
    act(event, acts);
  }

  function fromHead(event, head) {
    const column = head.dataset.column;
    const line = column === undefined ? lines.findIndex(({ node }) => node === head.parentNode) : 0;
    const back = { [column === undefined ? "ArrowRight" : "ArrowDown"]: () => go(line, Number(column ?? 0), 0) };
    const along = column === undefined ? ["ArrowUp", "ArrowDown"] : ["ArrowLeft", "ArrowRight"];
    const heads =
      column === undefined
        ? lines.flatMap(({ heads: some }) => some.slice(-1))
        : [...head.parentNode.querySelectorAll("[data-column]")];
    const at = heads.indexOf(head);
    act(event, { ...back, [along[0]]: () => heads[at - 1]?.focus(), [along[1]]: () => heads[at + 1]?.focus() });
  }

  function act(event, acts) {
    if (!acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  }

  on(table, "keydown", step);
  on(table, "focusin", ({ target }) => {
    if (!target.matches(".elf-open, .elf-gap")) return;
    current?.setAttribute("tabindex", "-1");
    target.setAttribute("tabindex", "0");
    current = target;
  });
  if (lines.length && columns) {
    [current] = stopsOf(0, 0);
    current.setAttribute("tabindex", "0");
  }
}

function createMatrix(model, book, files) {
  const data = model.get("table");
  const order = data.cells.flatMap((line) =>
    line.flatMap((cell) => cell.slots.flatMap(({ marks }) => marks.filter(Boolean).map(({ at }) => at))),
  );
  const placeOf = new Map(order.map((at, place) => [at, place]));
  const viewer = createViewer({ files, step });
  const tip = createTip();
  let wanted = null;

  /** The card that stands before or behind; one that is not there yet is asked for, so that it soon can be had. */
  function step(card, by) {
    const at = order[placeOf.get(card.row) + by];
    if (at === undefined) return null;
    if (!book.get(at)) book.want(at, () => viewer.paint(card));
    return book.get(at);
  }

  function open(at, medium = 0) {
    wanted = at;
    book.want(at, (card) => card && wanted === at && ((wanted = null), viewer.open(card, medium)));
  }

  const context = { data, book, files, open };
  const nameOfCell = (row, column) => [...data.rows.places[row], ...data.columns.places[column]].map(short).join(", ");
  const lines = data.cells.map((cells, row) => {
    const heads = createRowHeads(data.rows, row, tip);
    const made = cells.map((cell, column) => createCell(cell, nameOfCell(row, column), context));
    return { node: h("tr", {}, ...heads, ...made.map(({ node }) => node)), heads, cells: made };
  });
  const head = h("thead", {}, ...createColumnHeads(data, tip));
  const table = h(
    "table.elf-table",
    { "data-kind": data.kind },
    h("caption.elf-hidden", {}, data.title),
    createWidths(data),
    head,
    h("tbody", {}, ...lines.map(({ node }) => node)),
  );
  const scroll = h("div.elf-scroll", { role: "region", "aria-label": data.title }, table);
  if (!order.length) scroll.setAttribute("tabindex", "0");
  const top = h(
    "div.elf-top",
    {},
    h("div.elf-title", { dir: "auto" }, data.title),
    ...(data.legend ? [createLegend(data.legend)] : []),
  );
  const node = h(
    "div.eachlabs-view.eachlabs-matrix",
    {},
    top,
    ...(data.cut ? [h("p.elf-cut", { role: "note" }, data.cut)] : []),
    scroll,
    tip.node,
    viewer.node,
  );
  node.style.setProperty("--elf-size", `${data.size}px`);
  node.style.setProperty("--elf-levels", data.rows.names.length);
  createWalk(table, lines, data.columns.places.length);
  keepKeys(node);
  on(scroll, "scroll", tip.hide);
  const forget = fillWhenNear(lines, scroll);
  const measured = new ResizeObserver(() => scroll.style.setProperty("--elf-head-height", `${head.offsetHeight}px`));
  measured.observe(head);
  return {
    node,
    destroy() {
      forget();
      measured.disconnect();
      viewer.destroy();
      lines.forEach(({ cells }) => cells.forEach((cell) => cell.destroy()));
    },
  };
}

function fillWhenNear(lines, scroll) {
  const cells = new Map(lines.flatMap((line) => line.cells.map((cell) => [cell.node, cell])));
  const near = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        near.unobserve(target);
        cells.get(target).fill();
      }
    },
    { root: scroll, rootMargin: NEAR },
  );
  for (const node of cells.keys()) near.observe(node);
  return () => near.disconnect();
}

export default () => {
  let book = null;
  return {
    initialize({ model }) {
      book = createBook(model);
      return book.destroy;
    },
    render({ model, el, files = null }) {
      const own = files ? null : createFiles(model);
      const matrix = createMatrix(model, book, files ?? own);
      el.append(matrix.node);
      hideStatic(el, model);
      return () => (matrix.destroy(), own?.destroy());
    },
  };
};
