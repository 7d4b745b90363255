/**
 * Shows a dashboard: the state of a run, its bulk operations with their rows, and its errors.
 *
 * The network is only reached for media that a row shows; a string from outside is only ever shown as text.
 *
 * @typedef {object} Dashboard The state of one view.
 * @property {HTMLElement} root
 * @property {number[]} order the places of the lines that match the filters
 * @property {number} all the number of lines there are to choose from
 * @property {Sort} sort
 * @property {Set<string>} statuses
 * @property {string} text of the search
 * @property {Set<number> | null} matches of the search; null until it is answered
 * @property {Set<number>} opened lines
 * @property {(text: string) => void} announce
 * @property {() => void} repaint the lines
 * @property {(line: number) => void} toggleLine
 * @property {(change: Change) => void} changed
 */

/** @import { Sort } from "./dashboard_lines.js" */
/** @import { Change, FoundLines, Store } from "./dashboard_store.js" */
/** @import { View } from "./model.js" */
import { createErrors } from "./dashboard_errors.js";
import { createColumnNames, createHeader, createToolbar, isActive } from "./dashboard_header.js";
import { chooseLines, sortLines } from "./dashboard_lines.js";
import { createList } from "./dashboard_list.js";
import { createStore } from "./dashboard_store.js";
import { h, hideStatic, keepKeys, setText } from "./dom.js";
import { whole } from "./format.js";

const MIN_HEIGHT = 224; // pixels during a run: three lines and the first error, which then moves nothing
const SETTLE = 3_000; // milliseconds: lines change places by themselves at most so often

/**
 * The search for a text, which the kernel answers. It is repeated when rows have changed since.
 *
 * @param {Store} store
 * @param {Pick<Dashboard, "text" | "matches">} view
 */
function createLineSearch(store, view) {
  let isAnswered = false;
  let isOutdated = false;

  function send() {
    isAnswered = isOutdated = false;
    store.find(view.text);
  }

  /** @param {string} text */
  function start(text) {
    Object.assign(view, { text, matches: null });
    if (text) send();
  }

  /** @param {FoundLines} matches */
  function receive({ text, lines }) {
    if (!text || text !== view.text) return false;
    isAnswered = true;
    view.matches = new Set(lines);
    return true;
  }

  function setOutdated() {
    isOutdated = true;
  }

  function repeatIfOutdated() {
    if (view.text && store.isLive && isAnswered && isOutdated) send();
  }
  return { start, receive, setOutdated, repeatIfOutdated };
}

/**
 * The height of the whole. It changes only when the reader changes something (opens a line, makes the window narrower),
 * or when a run ends without errors: when a sentence or an error comes or goes, the list gives way.
 *
 * @param {HTMLElement} root
 * @param {Store} store
 * @param {{ height: () => number }} list
 * @param {{ node: HTMLElement, tick: () => void }} header
 * @param {HTMLElement[]} others nodes below the header
 * @param {HTMLElement} errors
 */
function createHeight(root, store, list, header, others, errors) {
  let width = 0;
  let isSet = false;
  let wasActive = false;

  function set() {
    const { head } = store.snapshot;
    const heights = [header.node, ...others, errors].map((node) => node.offsetHeight);
    if (!heights[0]) return; // it is not in the page yet
    header.tick();
    isSet = head.phase !== undefined;
    wasActive = isActive(head);
    const listHeight = Math.max(list.height(), wasActive && errors.hidden ? MIN_HEIGHT : 0);
    const border = root.offsetHeight - root.clientHeight;
    root.style.height = `${heights.reduce((sum, height) => sum + height, border + listHeight)}px`;
  }

  /** @param {boolean} isChanged whether the reader has changed something */
  function update(isChanged) {
    // The space for errors of a run is released when it ends without any.
    const isReleased = errors.hidden && isActive(store.snapshot.head) !== wasActive;
    if (isChanged || !isSet || isReleased) set();
  }

  const observer = new ResizeObserver(([{ contentRect }]) => {
    if (!contentRect.width || contentRect.width === width) return;
    width = contentRect.width;
    set();
  });
  return { update, observe: () => observer.observe(root), destroy: () => observer.disconnect() };
}

/**
 * @param {Store} store
 * @param {HTMLElement} el
 */
function render(store, el) {
  const live = h("div.elf-hidden", { "aria-live": "polite" });
  const attributes = { role: "group", "aria-label": "Live dashboard", "data-lm-suppress-shortcuts": "true" };
  const root = h("div.eachlabs-view.eachlabs-dashboard", attributes);
  /** @type {Dashboard} */
  const view = {
    root,
    order: [],
    all: 0,
    sort: "sent",
    statuses: new Set(),
    text: "",
    matches: null,
    opened: new Set(),
    announce: (text) => setText(live, text),
    repaint: () => repaint("list"),
    toggleLine,
    changed,
  };
  let frame = 0;
  let dirty = new Set();
  let arrangedAt = -Infinity;
  let isStale = false;

  const header = createHeader(store, view.statuses, toggle);
  const toolbar = createToolbar({ onSearch: startSearch, sortBy, clear });
  const columnNames = createColumnNames();
  const list = createList(store, view);
  const errors = createErrors(store, (text) => toolbar.put(text));
  const search = createLineSearch(store, view);
  const height = createHeight(root, store, list, header, [toolbar.node, columnNames], errors.node);

  /** @param {"all" | "list" | "size"} part */
  function repaint(part) {
    dirty.add(part);
    frame ||= requestAnimationFrame(paint);
  }

  const shownText = () => `showing ${whole.format(view.order.length)} of ${whole.format(view.all)}`;

  function paint() {
    frame = 0;
    const isAll = dirty.has("all");
    const isResized = dirty.has("size");
    dirty = new Set();
    list.paint();
    if (isAll) {
      header.paint();
      toolbar.paint(shownText(), Boolean(view.text || view.statuses.size));
      errors.paint();
    }
    height.update(isResized);
  }

  function arrange() {
    const { chosen, all } = chooseLines(store.snapshot, view);
    view.order = sortLines(chosen, store.snapshot, view.sort);
    view.all = all;
    arrangedAt = Date.now();
    isStale = false;
    list.order();
    repaint("all");
  }

  /**
   * Append new lines behind the others while a user is reading, so that the lines they read do not move.
   *
   * @param {number} first
   */
  function append(first) {
    const { chosen, all } = chooseLines(store.snapshot, view, first);
    view.order.push(...chosen);
    view.all += all;
    isStale = true;
    list.order();
  }

  function choose() {
    arrange();
    list.scrollToTop();
    view.announce(shownText());
  }

  /** @param {Sort} sort */
  function sortBy(sort) {
    view.sort = sort;
    choose();
  }

  /** @param {string} status */
  function toggle(status) {
    if (!view.statuses.delete(status)) view.statuses.add(status);
    choose();
  }

  function clear() {
    view.statuses.clear();
    toolbar.put("");
    choose();
  }

  /** @param {string} text */
  function startSearch(text) {
    if (text === view.text) return;
    search.start(text);
    choose();
  }

  /** @param {number} line */
  function toggleLine(line) {
    if (view.opened.delete(line)) store.close(line);
    else {
      view.opened.add(line);
      store.open(line);
    }
    repaint("size");
  }

  /** @param {Change} change */
  function changed({ reset = false, added = null, lines = false, matches }) {
    if (matches && search.receive(matches)) arrange();
    if (reset || (added !== null && !list.isInUse())) arrange();
    else if (added !== null) append(added);
    if (lines) isStale = true;
    if (lines || reset) search.setOutdated();
    repaint("all");
  }

  function tick() {
    store.check();
    header.tick();
    list.tick();
    if (!list.isInUse() && Date.now() - arrangedAt > SETTLE) {
      if (isStale) arrange();
      search.repeatIfOutdated();
    }
    if (view.opened.size) repaint("list"); // it says how long an answer takes
  }

  root.append(header.node, toolbar.node, columnNames, list.node, errors.node, live);
  keepKeys(root);
  store.views.add(view);
  for (const line of Object.keys(store.snapshot.rows).map(Number)) {
    if (!store.snapshot.lines[line]) continue;
    view.opened.add(line);
    store.open(line);
  }
  arrange();
  cancelAnimationFrame(frame);
  paint();
  el.append(root);
  height.observe();
  const timer = setInterval(tick, 1_000);

  return () => {
    clearInterval(timer);
    cancelAnimationFrame(frame);
    height.destroy();
    toolbar.destroy();
    list.destroy();
    store.views.delete(view);
    for (const line of view.opened) store.close(line, true);
    root.remove();
  };
}

/** @returns {View} */
export default () => {
  /** @type {Store | null} */
  let store = null;
  return {
    initialize({ model }) {
      const created = createStore(model);
      store = created;
      return created.destroy;
    },
    render({ model, el }) {
      store ??= createStore(model);
      hideStatic(el, model);
      return render(store, el);
    },
  };
};
