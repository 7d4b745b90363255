/**
 * Shows a gallery: pages of cards, with a filter by status and a search. Of the store only the visible cards are shown;
 * a string from outside is only ever shown as text.
 *
 * @typedef {object} Watching
 * @property {number[]} watched rows whose cards are visible or next to the visible ones
 * @property {(change: Change) => void} changed
 *
 * @typedef {Shown & Watching} Gallery The state of one view.
 */

/** @import { Card } from "./cards.js" */
/** @import { Shown } from "./gallery_header.js" */
/** @import { Change, Store } from "./gallery_store.js" */
/** @import { View } from "./model.js" */
import { h, hideStatic, keepKeys, setText } from "./dom.js";
import { plural } from "./format.js";
import { matchingRows } from "./gallery_filters.js";
import { createGrid } from "./gallery_grid.js";
import { createHeader, createPager } from "./gallery_header.js";
import { createStore } from "./gallery_store.js";
import { createViewer } from "./viewer.js";

const SEARCH_AGAIN = 3_000; // milliseconds after which changed rows may match a search
const MAX_SEARCH = 300; // characters

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
  const head = createHeader(store, gallery, { toggle, clear, search });
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
  function search(typed) {
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
