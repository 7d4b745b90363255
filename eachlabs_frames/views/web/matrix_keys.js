/**
 * Moves the focus over a matrix by keys, as over a grid: the Tab key reaches one cell, the arrow keys the others.
 *
 * @typedef {{ node: HTMLTableRowElement, headers: HTMLElement[], cells: Cell[] }} Line
 */

/** @import { Cell } from "./matrix_cells.js" */
import { on, targetOf } from "./dom.js";

/**
 * @param {HTMLTableElement} table
 * @param {Line[]} lines
 * @param {number} columns
 */
export function listenToKeys(table, lines, columns) {
  /** @type {HTMLElement | undefined} */
  let current;

  /**
   * @param {number} line
   * @param {number} column
   */
  const stopsOf = (line, column) => lines[line].cells[column].stops();

  /** @param {HTMLElement} stop */
  function setCurrent(stop) {
    current?.setAttribute("tabindex", "-1");
    stop.setAttribute("tabindex", "0");
    current = stop;
  }

  /**
   * @param {number} line
   * @param {number} column
   * @param {number} at the place in the cell; -1 for the last
   */
  function go(line, column, at) {
    const stops = stopsOf(line, column);
    const stop = at < 0 ? stops[stops.length - 1] : stops[Math.min(at, stops.length - 1)];
    setCurrent(stop);
    stop.focus({ preventScroll: true });
    stop.closest(".elf-slot, td")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /**
   * @param {number} line
   * @param {number} column
   * @param {number} at
   * @param {1 | -1} by
   */
  function goAside(line, column, at, by) {
    const to = at + by;
    if (to >= 0 && to < stopsOf(line, column).length) go(line, column, to);
    else if (column + by >= 0 && column + by < columns) go(line, column + by, by < 0 ? -1 : 0);
    else if (by < 0) lines[line].headers.at(-1)?.focus();
  }

  /** @param {number} column */
  function focusColumnHeader(column) {
    const selector = `thead tr:nth-last-child(1) [data-column="${column}"], thead [data-column="${column}"]`;
    /** @type {HTMLElement | null} */ (table.querySelector(selector))?.focus();
  }

  /**
   * @param {HTMLElement} stop
   * @param {boolean} isCtrl
   * @returns {Record<string, () => void>}
   */
  function cellKeys(stop, isCtrl) {
    const cell = stop.closest("td");
    const line = lines.findIndex(({ node }) => node === cell?.parentNode);
    const column = lines[line].cells.findIndex(({ node }) => node === cell);
    const at = stopsOf(line, column).indexOf(stop);
    return {
      ArrowRight: () => goAside(line, column, at, 1),
      ArrowLeft: () => goAside(line, column, at, -1),
      ArrowDown: () => line + 1 < lines.length && go(line + 1, column, at),
      ArrowUp: () => (line ? go(line - 1, column, at) : focusColumnHeader(column)),
      Home: () => go(isCtrl ? 0 : line, 0, 0),
      End: () => go(isCtrl ? lines.length - 1 : line, columns - 1, -1),
    };
  }

  /**
   * @param {HTMLElement} header
   * @returns {Record<string, () => void>}
   */
  function columnHeaderKeys(header) {
    const headers = /** @type {HTMLElement[]} */ ([...(header.parentNode?.querySelectorAll("[data-column]") ?? [])]);
    const at = headers.indexOf(header);
    return {
      ArrowDown: () => go(0, Number(header.dataset.column), 0),
      ArrowLeft: () => headers[at - 1]?.focus(),
      ArrowRight: () => headers[at + 1]?.focus(),
    };
  }

  /**
   * @param {HTMLElement} header
   * @returns {Record<string, () => void>}
   */
  function rowHeaderKeys(header) {
    const headers = lines.flatMap((line) => line.headers.slice(-1));
    const at = headers.indexOf(header);
    const line = lines.findIndex(({ node }) => node === header.parentNode);
    return {
      ArrowRight: () => go(line, 0, 0),
      ArrowUp: () => headers[at - 1]?.focus(),
      ArrowDown: () => headers[at + 1]?.focus(),
    };
  }

  /**
   * @param {HTMLElement} stop
   * @param {boolean} isCtrl
   */
  function keysOf(stop, isCtrl) {
    if (!stop.matches("th")) return cellKeys(stop, isCtrl);
    return stop.dataset.column === undefined ? rowHeaderKeys(stop) : columnHeaderKeys(stop);
  }

  on(table, "keydown", (event) => {
    const target = targetOf(event);
    const stop = /** @type {HTMLElement | null} */ (target.closest(".elf-open, .elf-gap, th"));
    const isShortcut = event.altKey || event.metaKey; // Ctrl+Home and Ctrl+End are keys of a grid
    if (!stop || isShortcut || target.matches("video, audio")) return;
    const act = keysOf(stop, event.ctrlKey)[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  on(table, "focusin", (event) => {
    if (targetOf(event).matches(".elf-open, .elf-gap")) setCurrent(targetOf(event));
  });
  if (lines.length && columns) setCurrent(stopsOf(0, 0)[0]);
}
