/** Shows the lines of a dashboard as a virtual list: only those in sight are in the page. */

/** @import { LineView } from "./dashboard_line.js" */
/** @import { Block } from "./dashboard_lines.js" */
/** @import { Store } from "./dashboard_store.js" */
import { isActive } from "./dashboard_header.js";
import { createLine } from "./dashboard_line.js";
import { LINE_HEIGHT, lineAt, topOf } from "./dashboard_lines.js";
import { heightOf } from "./dashboard_rows.js";
import { focusedIn, h, hasModifier, on, setText, targetOf } from "./dom.js";

const MAX_HEIGHT = 450; // pixels: half a line is cut off, which shows that there are more
const MIN_LINES = 3;
const OVERSCAN = 6; // lines that are in the page above and below those in sight
const ROWS_PER_BULK = 10;

/** @typedef {LineView & { order: number[], all: number }} ListView `order`: the places of its lines */

/**
 * Put nodes in order without moving the one that has the focus, which would lose it.
 *
 * @param {HTMLElement} parent
 * @param {HTMLElement[]} nodes
 * @param {HTMLElement | undefined} focused
 */
function arrange(parent, nodes, focused) {
  const pivot = Math.max(0, focused ? nodes.indexOf(focused) : 0);
  if (nodes.length && nodes[pivot].parentNode !== parent) parent.prepend(nodes[pivot]);
  for (let i = pivot - 1; i >= 0; i--)
    if (nodes[i].nextSibling !== nodes[i + 1]) parent.insertBefore(nodes[i], nodes[i + 1]);
  for (let i = pivot + 1; i < nodes.length; i++)
    if (nodes[i - 1].nextSibling !== nodes[i]) nodes[i - 1].after(nodes[i]);
}

/** @type {Record<string, (page: number) => number>} steps of the keys, in lines */
const STEPS = {
  ArrowDown: () => 1,
  ArrowUp: () => -1,
  PageDown: (page) => page,
  PageUp: (page) => -page,
  Home: () => -Infinity,
  End: () => Infinity,
};

/**
 * The part of a list that is in sight, in pixels. A notebook takes what is out of sight out of the page, and it comes
 * back scrolled to its top, so the position is kept here.
 *
 * @param {HTMLElement} node
 * @param {() => void} onChange
 */
function createViewport(node, onChange) {
  let isHidden = false; // whether the notebook has taken it out of the page
  const viewport = { top: 0, height: 0, scroll, reveal, destroy: () => observer.disconnect() };

  function scroll() {
    node.scrollTop = viewport.top;
  }

  /**
   * Move the top so that a line is in sight.
   *
   * @param {number} top
   * @param {number} height
   */
  function reveal(top, height) {
    viewport.top = Math.max(Math.min(viewport.top, top), top + height - viewport.height);
  }
  node.addEventListener(
    "scroll",
    () => {
      if (isHidden) return;
      viewport.top = node.scrollTop;
      onChange();
    },
    { passive: true },
  );
  const observer = new ResizeObserver(([{ contentRect }]) => {
    const isBack = isHidden && contentRect.height > 0;
    isHidden = contentRect.height === 0;
    if (isBack) scroll();
    if (isHidden || contentRect.height === viewport.height) return;
    viewport.height = contentRect.height;
    onChange();
  });
  observer.observe(node);
  return viewport;
}

let lists = 0;

/**
 * @param {Store} store
 * @param {ListView} view
 */
export function createList(store, view) {
  const canvas = h("div.elf-canvas", { role: "list", "aria-label": "Bulk operations" });
  const empty = h("div.elf-empty");
  const node = h("div.elf-list", {}, canvas, empty);
  lists += 1;
  const id = `elf-${Date.now().toString(36)}-${lists}`;
  /** @type {Map<number, ReturnType<typeof createLine>>} */
  const shown = new Map();
  /** @type {Map<number, number>} positions by place */
  let positions = new Map();
  /** @type {Block[]} */
  let blocks = [];
  const viewport = createViewport(node, view.repaint);
  let listHeight = 0;
  /** @type {number | null} */
  let current = null;

  const last = () => view.order.length - 1;
  const positionOf = (/** @type {number} */ place) => positions.get(place) ?? -1;
  const positionAt = (/** @type {number} */ y) => Math.min(last(), lineAt(blocks, y));

  /** @param {Element | null | undefined} element */
  function placeOf(element) {
    const line = /** @type {HTMLElement | null | undefined} */ (element?.closest(".elf-line"));
    return line && node.contains(line) ? Number(line.dataset.line) : null;
  }
  const focusedPlace = () => placeOf(focusedIn(node));

  /** Take over the order of the view, which has changed. */
  function order() {
    positions = new Map(view.order.map((place, at) => [place, at]));
  }

  function measure() {
    blocks = [...view.opened]
      .filter((place) => positions.has(place))
      .map((place) => ({ at: positionOf(place), height: heightOf(store, place) }))
      .sort((a, b) => a.at - b.at);
    const { head } = store.snapshot;
    // Lines still to come have their place from the start, so that what stands below does not move.
    const expected = isActive(head) ? Math.ceil((head.total ?? 0) / ROWS_PER_BULK) : 0;
    const lines = Math.max(view.all, expected, MIN_LINES);
    const height = topOf(blocks, view.order.length);
    const opened = blocks.reduce((sum, block) => sum + block.height, 0);
    listHeight = Math.min(MAX_HEIGHT, lines * LINE_HEIGHT + opened);
    canvas.style.height = `${height}px`;
    viewport.top = Math.min(viewport.top, Math.max(0, height - (viewport.height || listHeight)));
  }

  /**
   * The places of the lines that must be in the page. A line that has the focus stays, though it is out of sight.
   *
   * @param {number | null} focused
   */
  function neededPlaces(focused) {
    const from = Math.max(0, positionAt(viewport.top) - OVERSCAN);
    const to = Math.min(last(), positionAt(viewport.top + (viewport.height || listHeight)) + OVERSCAN);
    const places = view.order.slice(from, to + 1);
    const at = focused === null ? undefined : positions.get(focused);
    if (focused === null || at === undefined) return places;
    if (at < from) places.unshift(focused);
    if (at > to) places.push(focused);
    return places;
  }

  /** @param {number} place */
  function lineOf(place) {
    const existing = shown.get(place);
    if (existing) return existing;
    const line = createLine(place, store, view, `${id}-${place}`);
    shown.set(place, line);
    return line;
  }

  /** @param {Set<number>} needed */
  function removeOthers(needed) {
    for (const [place, line] of shown) {
      if (needed.has(place) && line.bulkId === store.snapshot.lines[place][0]) continue;
      line.node.remove();
      shown.delete(place);
    }
  }

  function paint() {
    measure();
    const focused = focusedPlace();
    const places = neededPlaces(focused);
    removeOthers(new Set(places));
    const nodes = places.map((place) => {
      const line = lineOf(place);
      line.paint(positionOf(place), view.order.length, topOf(blocks, positionOf(place)));
      return line.node;
    });
    arrange(canvas, nodes, focused === null ? undefined : shown.get(focused)?.node);
    rove(places, view.order[positionAt(viewport.top + LINE_HEIGHT - 1)]);
    paintEmpty();
  }

  /**
   * Let the Tab key reach only one line; the arrow keys reach the others.
   *
   * @param {number[]} places
   * @param {number} first
   */
  function rove(places, first) {
    const chosen = current !== null && shown.has(current) ? current : first;
    for (const place of places) shown.get(place)?.setTabbable(place === chosen);
  }

  function emptyText() {
    const { places, snapshot } = store;
    const isUntriggered = !places.size || (places.size === 1 && places.has(""));
    if (!isUntriggered) return view.order.length ? "" : "No rows match.";
    const next = isActive(snapshot.head) ? " Bulk operations appear here as they are sent." : "";
    return `No row of this frame has been triggered yet.${next}`;
  }

  function paintEmpty() {
    const text = emptyText();
    empty.hidden = !text || view.order.length > 1;
    setText(empty, text);
    empty.style.top = `${topOf(blocks, view.order.length)}px`; // it takes the rest of the list
  }

  /** @param {number} position */
  function focusAt(position) {
    const at = Math.max(0, Math.min(last(), position));
    current = view.order[at];
    viewport.reveal(topOf(blocks, at), LINE_HEIGHT);
    paint();
    viewport.scroll();
    shown.get(current)?.expand.focus({ preventScroll: true });
  }

  const pageSize = () => Math.floor(viewport.height / LINE_HEIGHT) - 1;
  on(node, "keydown", (event) => {
    const target = targetOf(event);
    const place = placeOf(target);
    const step = STEPS[event.key];
    if (place === null || !step || hasModifier(event)) return;
    if (!target.matches("button, a")) return; // a long text and a player use these keys
    event.preventDefault();
    focusAt(positionOf(place) + step(pageSize()));
  });
  on(node, "focusin", (event) => {
    current = placeOf(targetOf(event)) ?? current;
    for (const [place, line] of shown) line.setTabbable(place === current);
  });
  function tick() {
    for (const line of shown.values()) line.tick();
  }
  function scrollToTop() {
    viewport.top = 0;
    viewport.scroll();
  }
  function height() {
    measure();
    return listHeight;
  }
  /** Whether a user is reading, so that lines must not move. */
  const isInUse = () => node.matches(":hover") || focusedPlace() !== null;
  return { node, order, paint, tick, height, scrollToTop, isInUse, destroy: viewport.destroy };
}
