/**
 * Shows a gallery: pages of cards, with a filter by status and a search. Of the store only the visible cards are shown;
 * a string from outside is only ever shown as text.
 *
 * @typedef {object} Gallery The state of one view.
 * @property {number[]} order the rows that match the filters
 * @property {number} at the page
 * @property {Set<string>} statuses
 * @property {string} text of the search
 * @property {Set<number> | null} matches of the search; null until it is answered
 * @property {number[]} watched
 * @property {(change: Change) => void} changed
 */

/** @import { Card } from "./cards.js" */
/** @import { Change, Snapshot, Store } from "./gallery_store.js" */
/** @import { View } from "./model.js" */
import { createCard } from "./cards.js";
import {
  createChip,
  createSearch,
  h,
  hasModifier,
  hideStatic,
  insertByStatus,
  keepKeys,
  on,
  setAttribute,
  setText,
  targetOf,
} from "./dom.js";
import { clip, plural, rankOf, timeOfDay, whole } from "./format.js";
import { createStore } from "./gallery_store.js";
import { NO_KERNEL } from "./model.js";
import { createViewer } from "./viewer.js";

const SEARCH_AGAIN = 3_000; // milliseconds after which changed rows may match a search
const MAX_SEARCH = 300; // characters

/**
 * The status of a row.
 *
 * @param {Pick<Snapshot, "words" | "codes">} snapshot
 * @param {number} row
 */
const statusOf = ({ words, codes }, row) => words[codes[row]] ?? "unknown";

/**
 * The number of rows per status.
 *
 * @param {Pick<Snapshot, "words" | "codes">} snapshot
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
 * @param {Pick<Snapshot, "words" | "codes">} snapshot
 * @param {Pick<Gallery, "statuses" | "text" | "matches">} filters
 */
export function matchingRows(snapshot, { statuses, text, matches }) {
  const isMatch = (/** @type {number} */ row) =>
    (!statuses.size || statuses.has(statusOf(snapshot, row))) && (!text || !matches || matches.has(row));
  return [...snapshot.codes.keys()].filter(isMatch);
}

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
 * What is said of the run and of the kernel; "" for nothing.
 *
 * @param {Store} store
 */
function noticeText({ snapshot, isDisconnected, isLive, isPage, missing, since }) {
  const isSilent = !isLive && !isPage && missing > 0 && Date.now() - since > NO_KERNEL;
  const state = `State at ${timeOfDay(snapshot.now)}`;
  if (isDisconnected || isSilent)
    return `${state}. No kernel is connected${missing ? "; only saved cards are shown" : ""}.`;
  if (!snapshot.said) return "";
  return isPage ? `${state}: ${snapshot.said}` : snapshot.said;
}

/**
 * @param {Store} store
 * @param {Gallery} gallery
 * @param {{ toggle: (status: string) => void, clear: () => void, seek: (text: string) => void }} act
 */
function createHead(store, gallery, act) {
  const title = h("span.elf-sheet-title", { role: "heading", "aria-level": "3", dir: "auto" });
  const shown = h("span.elf-shown");
  const notice = h("div.elf-notice", { role: "status", "aria-live": "polite", dir: "auto" });
  const legend = h("div.elf-legend", { role: "group", "aria-label": "Show only results that are" });
  const [hint, label] = ["Find a label, input, output or error", "Find results by label, input, output or error"];
  const search = createSearch(hint, label, act.seek);
  const clear = on(h("button.elf-clear", { type: "button" }, "Clear"), "click", () => {
    act.clear();
    search.input.focus();
  });
  const seek = h("span.elf-sheet-seek", {}, clear, search.input);
  const lines = [h("div.elf-sheet-line", {}, title, shown), notice, h("div.elf-sheet-line", {}, legend, seek)];
  const node = h("div.elf-sheet-head", {}, ...lines);
  /** @type {Map<string, ReturnType<typeof createChip>>} */
  const chips = new Map();

  function paintChips() {
    const counts = countStatuses(store.snapshot);
    const statuses = [...new Set([...counts.keys(), ...gallery.statuses])].sort((a, b) => rankOf(a) - rankOf(b));
    for (const status of statuses) {
      if (chips.has(status)) continue;
      const chip = createChip(status, "results", () => act.toggle(status));
      chips.set(status, chip);
      insertByStatus(legend, chip.button);
    }
    for (const [status, chip] of chips) {
      chip.button.hidden = !statuses.includes(status);
      chip.paint(counts.get(status) ?? 0, gallery.statuses.has(status));
    }
  }

  function tick() {
    const text = noticeText(store);
    notice.hidden = !text;
    setText(notice, clip(text, 600));
  }

  function paint() {
    const { title: text, codes, page } = store.snapshot;
    setText(title, clip(text, 200));
    title.title = clip(text, 400);
    const count = gallery.order.length;
    const from = gallery.at * page;
    const to = Math.min(count, from + page);
    const range = to - from < count ? `${whole.format(from + 1)}–${whole.format(to)} of ` : "";
    const matching = count === codes.length ? "" : `${whole.format(count)} of `;
    setText(shown, `${range}${matching}${plural(codes.length, "result")}`);
    clear.classList.toggle("elf-gone", !gallery.text && !gallery.statuses.size);
    paintChips();
    tick();
  }
  return { node, paint, tick, put: search.put, destroy: search.destroy };
}

/** @param {(by: number) => void} turn */
function createPager(turn) {
  /**
   * @param {string} name
   * @param {string} text
   * @param {string} label
   * @param {number} by
   */
  const button = (name, text, label, by) =>
    on(h(`button.elf-button.${name}`, { type: "button", "aria-label": label }, text), "click", () => turn(by));
  const first = button("elf-first", "«", "First page", -Infinity);
  const back = button("elf-earlier", "‹ Previous", "Previous page", -1);
  const next = button("elf-later", "Next ›", "Next page", 1);
  const last = button("elf-last", "»", "Last page", Infinity);
  const place = h("span.elf-place");
  const node = h("nav.elf-pager", { "aria-label": "Pages" }, first, back, place, next, last);
  /**
   * @param {number} at
   * @param {number} pages
   */
  function paint(at, pages) {
    node.hidden = pages < 2;
    setText(place, `Page ${whole.format(at + 1)} of ${whole.format(pages)}`);
    first.disabled = back.disabled = at === 0;
    last.disabled = next.disabled = at >= pages - 1;
  }
  return { node, paint };
}

/**
 * The cards of a page.
 *
 * @param {Store} store
 * @param {() => number[]} rowsOf the rows of the page
 * @param {(card: Card, at: number) => void} enlarge
 */
function createGrid(store, rowsOf, enlarge) {
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

/**
 * @param {Store} store
 * @param {HTMLElement} el
 */
function render(store, el) {
  const name = `div.eachlabs-view.eachlabs-gallery${store.isPage ? ".elf-whole" : ""}`;
  const root = h(name, { role: "group", "aria-label": "Gallery", "data-lm-suppress-shortcuts": "true" });
  root.style.setProperty("--elf-columns", String(store.snapshot.columns));
  root.style.setProperty("--elf-size", `${store.snapshot.size}px`);
  const live = h("div.elf-hidden", { "aria-live": "polite" });
  /** @type {Gallery} */
  const gallery = { order: [], at: 0, statuses: new Set(), text: "", matches: null, watched: [], changed };
  let frame = 0;
  let isStale = true;
  let searchedAt = 0;
  let isOutdated = false; // whether rows have changed since the last search

  const pages = () => Math.max(1, Math.ceil(gallery.order.length / store.snapshot.page));
  const rows = () => gallery.order.slice(gallery.at * store.snapshot.page, (gallery.at + 1) * store.snapshot.page);
  const head = createHead(store, gallery, { toggle, clear, seek });
  const pager = createPager((by) => turn(gallery.at + by));
  const grid = createGrid(store, rows, (card, at) => viewer.open(card, at));
  const viewer = createViewer({
    files: store.files,
    step,
    onShow: turnTo,
    onClose: ({ row }) => grid.focus(row),
  });

  function repaint() {
    frame ||= requestAnimationFrame(paint);
  }

  function paint() {
    frame = 0;
    if (isStale) arrange();
    grid.paint();
    head.paint();
    pager.paint(gallery.at, pages());
    store.watch();
  }

  function arrange() {
    isStale = false;
    const { page } = store.snapshot;
    gallery.order = matchingRows(store.snapshot, gallery);
    gallery.at = Math.min(gallery.at, pages() - 1);
    const from = gallery.at * page;
    gallery.watched = gallery.order.slice(Math.max(0, from - 1), from + page + 1);
  }

  /**
   * Turn to the page of a card that was stepped to.
   *
   * @param {Card} card
   */
  function turnTo({ row }) {
    const at = gallery.order.indexOf(row);
    const page = Math.floor(at / store.snapshot.page);
    if (at >= 0 && page !== gallery.at) choose(page);
  }

  /**
   * @param {Card} card
   * @param {number} by
   */
  function step(card, by) {
    const at = gallery.order.indexOf(card.row);
    return (at >= 0 && store.cards.get(gallery.order[at + by])) || null;
  }

  /** Show a page of what the filters now leave. */
  function choose(page = 0) {
    gallery.at = page;
    arrange();
    grid.scrollToTop();
    repaint();
    setText(live, `${plural(gallery.order.length, "result")}, page ${gallery.at + 1} of ${pages()}`);
  }

  /** @param {number} page */
  function turn(page) {
    choose(Math.max(0, Math.min(pages() - 1, page)));
    if (!store.isPage) head.node.scrollIntoView({ block: "nearest" });
    else if (root.getBoundingClientRect().top < 0) root.scrollIntoView();
  }

  /** @param {string} status */
  function toggle(status) {
    if (!gallery.statuses.delete(status)) gallery.statuses.add(status);
    choose();
  }

  function clear() {
    gallery.statuses.clear();
    head.put("");
    choose();
  }

  /** @param {string} typed */
  function seek(typed) {
    const text = typed.slice(0, MAX_SEARCH);
    if (text === gallery.text) return;
    Object.assign(gallery, { text, matches: null });
    if (text) find();
    choose();
  }

  function find() {
    searchedAt = Date.now();
    isOutdated = false;
    store.find(gallery.text);
  }

  function tick() {
    store.check();
    head.tick();
    if (store.missing) store.watch();
    if (gallery.text && isOutdated && store.isLive && Date.now() - searchedAt > SEARCH_AGAIN) find();
  }

  /** @param {Change} change */
  function changed({ codes, matches }) {
    if (matches && matches.text === gallery.text) gallery.matches = new Set(matches.rows);
    isOutdated ||= Boolean(codes);
    isStale ||= Boolean(codes || matches);
    for (const row of gallery.watched) {
      const card = store.cards.get(row);
      if (card) viewer.paint(card);
    }
    repaint();
  }

  root.append(head.node, grid.node, pager.node, live, viewer.node);
  keepKeys(root);
  store.views.add(gallery);
  paint();
  el.append(root);
  const timer = setInterval(tick, 1_000);
  return () => {
    clearInterval(timer);
    cancelAnimationFrame(frame);
    head.destroy();
    grid.destroy();
    viewer.destroy();
    store.views.delete(gallery);
    root.remove();
  };
}

/** @returns {View} */
export default () => {
  /** @type {Store | null} */
  let store = null;
  return {
    initialize({ model, files }) {
      const created = createStore(model, files);
      store = created;
      return created.destroy;
    },
    render({ model, el, files }) {
      store ??= createStore(model, files);
      hideStatic(el, model);
      return render(store, el);
    },
  };
};
