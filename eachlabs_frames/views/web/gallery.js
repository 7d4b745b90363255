/**
 * The browser's side of a gallery (`sheet.py` says what it and the kernel tell each other).
 *
 * It owns what is on the screen, and one store per model: the synced object `snapshot` itself, which updates change in
 * place, so that a notebook saved at any moment holds the picture of that moment. Of the cards it holds those that are
 * looked at. It never writes to the kernel's state, and takes no string from outside for anything but text.
 */

import { createCard, createViewer } from "./cards.js";
import { createChip, createSearch, h, hideStatic, keepKeys, on, setAttribute, setText } from "./dom.js";
import { clip, plural, rankOf, timeOfDay, whole } from "./format.js";
import { createStore } from "./gallery_store.js";
import { NO_KERNEL } from "./model.js";

const SEEK_AGAIN = 3_000; // where what is sought may be in other cards by now
const LONGEST_SOUGHT = 300;

// -- above and below the cards -----------------------------------------------------------------------------------

function createHead(store, view) {
  const title = h("span.elf-sheet-title", { role: "heading", "aria-level": "3", dir: "auto" });
  const shown = h("span.elf-shown");
  const notice = h("div.elf-notice", { role: "status", "aria-live": "polite", dir: "auto" });
  const legend = h("div.elf-legend", { role: "group", "aria-label": "Show only results that are" });
  const search = createSearch(
    "Find a label, input, output or error",
    "Find results by label, input, output or error",
    (text) => view.seek(text),
  );
  const clear = on(
    h("button.elf-clear", { type: "button" }, "Clear"),
    "click",
    () => (view.clear(), search.input.focus()),
  );
  const node = h(
    "div.elf-sheet-head",
    {},
    h("div.elf-sheet-line", {}, title, shown),
    notice,
    h("div.elf-sheet-line", {}, legend, h("span.elf-sheet-seek", {}, clear, search.input)),
  );
  const chips = new Map();

  function paintChips() {
    const counts = new Map();
    for (const code of store.snapshot.codes) counts.set(code, (counts.get(code) ?? 0) + 1);
    const rows = new Map([...counts].map(([code, n]) => [store.snapshot.words[code] ?? "unknown", n]));
    const words = [...new Set([...rows.keys(), ...view.statuses])].sort((a, b) => rankOf(a) - rankOf(b));
    for (const word of words) {
      if (chips.has(word)) continue;
      chips.set(
        word,
        createChip(word, "results", () => view.toggle(word)),
      );
      const { button } = chips.get(word);
      legend.insertBefore(
        button,
        [...legend.children].find((next) => rankOf(next.dataset.status) > rankOf(word)) ?? null,
      );
    }
    for (const [word, chip] of chips) {
      chip.button.hidden = !words.includes(word);
      chip.paint(rows.get(word) ?? 0, view.statuses.has(word));
    }
  }

  function tick() {
    const { snapshot } = store;
    const alone =
      store.parted || (!store.live && !store.isPage && store.missing > 0 && Date.now() - store.since > NO_KERNEL);
    const said = alone
      ? `State at ${timeOfDay(snapshot.now)}. No kernel is connected${store.missing ? "; only saved cards are shown" : ""}.`
      : store.isPage && snapshot.said
        ? `State at ${timeOfDay(snapshot.now)}: ${snapshot.said}`
        : (snapshot.said ?? "");
    notice.hidden = !said;
    setText(notice, clip(said, 600));
  }

  function paint() {
    const { snapshot } = store;
    setText(title, clip(snapshot.title, 200));
    title.title = clip(snapshot.title, 400);
    const all = snapshot.codes.length;
    const from = view.at * snapshot.page;
    const to = Math.min(view.order.length, from + snapshot.page);
    const part = to - from < view.order.length ? `${whole.format(from + 1)}–${whole.format(to)} of ` : "";
    setText(
      shown,
      view.order.length === all
        ? `${part}${plural(all, "result")}`
        : `${part}${whole.format(view.order.length)} of ${plural(all, "result")}`,
    );
    clear.classList.toggle("elf-gone", !view.text && !view.statuses.size);
    paintChips();
    tick();
  }
  return { node, paint, tick, put: search.put, destroy: search.destroy };
}

function createPager(store, view) {
  const turn = (name, text, label, by) =>
    on(h(`button.elf-button.${name}`, { type: "button", "aria-label": label }, text), "click", () =>
      view.turn(view.at + by),
    );
  const first = turn("elf-first", "«", "First page", -Infinity);
  const back = turn("elf-earlier", "‹ Previous", "Previous page", -1);
  const more = turn("elf-later", "Next ›", "Next page", 1);
  const last = turn("elf-last", "»", "Last page", Infinity);
  const place = h("span.elf-place");
  const node = h("nav.elf-pager", { "aria-label": "Pages" }, first, back, place, more, last);
  function paint() {
    node.hidden = view.pages() < 2;
    setText(place, `Page ${whole.format(view.at + 1)} of ${whole.format(view.pages())}`);
    first.disabled = back.disabled = view.at === 0;
    last.disabled = more.disabled = view.at >= view.pages() - 1;
  }
  return { node, paint };
}

// -- the cards ---------------------------------------------------------------------------------------------------

function createGrid(store, view) {
  const canvas = h("div.elf-grid", { role: "list", "aria-label": "Results" });
  const empty = h("div.elf-empty");
  const node = h("div.elf-scroll", {}, canvas, empty);
  const shown = new Map();
  let current = null;

  function createPlace() {
    const card = createCard({ files: store.files, enlarge: view.enlarge });
    const place = h("div.elf-grid-cell", { role: "listitem" }, card.node);
    return { node: place, card };
  }

  /** Put nodes in order without moving one that stays: that would stop a film, and take the focus away. */
  function arrange(nodes) {
    let before = null;
    for (const one of nodes) {
      const here = before ? before.nextSibling : canvas.firstChild;
      if (one !== here) canvas.insertBefore(one, here);
      before = one;
    }
  }

  function paint() {
    const rows = view.rows();
    const needed = new Set(rows);
    for (const [row, place] of shown) {
      if (needed.has(row)) continue;
      place.card.destroy();
      place.node.remove();
      shown.delete(row);
    }
    for (const row of rows) {
      if (!shown.has(row)) shown.set(row, createPlace());
      shown.get(row).card.paint(store.cards.get(row) ?? absent(row));
    }
    arrange(rows.map((row) => shown.get(row).node));
    rove();
    empty.hidden = rows.length > 0;
    setText(empty, store.snapshot.codes.length ? "No result matches." : "There are no rows.");
  }

  /** What stands where a card is not there yet. */
  function absent(row) {
    const status = store.snapshot.words[store.snapshot.codes[row]] ?? "unknown";
    return {
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
    };
  }

  const buttonOf = (row) => shown.get(row)?.node.querySelector(".elf-enlarge");

  /** One card is reached by Tab, the others by arrows: nobody wants to tab through a hundred. */
  function rove() {
    const rows = view.rows();
    const chosen = shown.has(current) ? current : rows[0];
    for (const row of rows) setAttribute(buttonOf(row), "tabindex", row === chosen ? 0 : -1);
  }

  const across = () => getComputedStyle(canvas).gridTemplateColumns.split(" ").length;
  const steps = {
    ArrowRight: () => 1,
    ArrowLeft: () => -1,
    ArrowDown: across,
    ArrowUp: () => -across(),
    Home: () => -Infinity,
    End: () => Infinity,
  };
  on(canvas, "keydown", (event) => {
    if (!event.target.matches(".elf-enlarge") || !steps[event.key] || event.altKey || event.ctrlKey || event.metaKey)
      return;
    event.preventDefault();
    const rows = view.rows();
    const at = rows.indexOf(Number(event.target.closest(".elf-card").dataset.row)) + steps[event.key]();
    current = rows[Math.max(0, Math.min(rows.length - 1, at))];
    rove();
    buttonOf(current)?.focus();
  });
  on(canvas, "focusin", (event) => {
    const row = event.target.closest(".elf-card")?.dataset.row;
    if (row !== undefined && event.target.matches(".elf-enlarge")) (current = Number(row)), rove();
  });
  return {
    node,
    paint,
    focus: (row) => buttonOf(row)?.focus(),
    top: () => (node.scrollTop = 0),
    destroy: () => shown.forEach(({ card }) => card.destroy()),
  };
}

// -- a view ------------------------------------------------------------------------------------------------------

function createView(store, el) {
  const { columns, size } = store.snapshot;
  const root = h(`div.eachlabs-view.eachlabs-gallery${store.isPage ? ".elf-whole" : ""}`, {
    role: "group",
    "aria-label": "Gallery",
    "data-lm-suppress-shortcuts": "true",
  });
  root.style.setProperty("--elf-columns", columns);
  root.style.setProperty("--elf-size", `${size}px`);
  const said = h("div.elf-hidden", { "aria-live": "polite" });
  const view = { order: [], at: 0, statuses: new Set(), text: "", found: null, watched: [] };
  let frame = 0,
    stale = true,
    soughtAt = 0,
    isOutdated = false;

  view.pages = () => Math.max(1, Math.ceil(view.order.length / store.snapshot.page));
  view.rows = () => view.order.slice(view.at * store.snapshot.page, (view.at + 1) * store.snapshot.page);
  view.enlarge = (card, at) => viewer.open(card, at);
  view.repaint = () => (frame ||= requestAnimationFrame(paint));

  const head = createHead(store, view);
  const pager = createPager(store, view);
  const grid = createGrid(store, view);
  const viewer = createViewer({
    files: store.files,
    step: neighbour,
    shown: turnTo,
    closed: ({ row }) => grid.focus(row),
  });

  function paint() {
    frame = 0;
    if (stale) arrange();
    grid.paint();
    head.paint();
    pager.paint();
    store.watch();
  }

  /** Choose the rows that pass the filters, in the frame's order. */
  function arrange() {
    stale = false;
    const { codes, words } = store.snapshot;
    const wanted = (row) =>
      (!view.statuses.size || view.statuses.has(words[codes[row]])) &&
      (!view.text || !view.found || view.found.has(row));
    view.order = codes.map((_, row) => row).filter(wanted);
    view.at = Math.min(view.at, view.pages() - 1);
    const from = view.at * store.snapshot.page;
    view.watched = view.order.slice(Math.max(0, from - 1), from + store.snapshot.page + 1);
  }

  /** The page that a card is on: whoever goes from card to card turns it. */
  function turnTo({ row }) {
    const at = view.order.indexOf(row);
    if (at >= 0 && Math.floor(at / store.snapshot.page) !== view.at) choice(Math.floor(at / store.snapshot.page));
  }

  function neighbour(card, by) {
    const at = view.order.indexOf(card.row);
    const row = at < 0 ? undefined : view.order[at + by];
    return (row !== undefined && store.cards.get(row)) || null;
  }

  function choice(at = 0) {
    stale = true;
    view.at = at;
    arrange();
    grid.top();
    view.repaint();
    setText(said, `${plural(view.order.length, "result")}, page ${view.at + 1} of ${view.pages()}`);
  }

  view.turn = (at) => {
    choice(Math.max(0, Math.min(view.pages() - 1, at)));
    if (!store.isPage) head.node.scrollIntoView({ block: "nearest" });
    else if (root.getBoundingClientRect().top < 0) root.scrollIntoView();
  };
  view.toggle = (word) => {
    if (!view.statuses.delete(word)) view.statuses.add(word);
    choice();
  };
  view.clear = () => (view.statuses.clear(), head.put(""), choice());
  view.seek = (typed) => {
    const text = typed.slice(0, LONGEST_SOUGHT);
    if (text === view.text) return;
    Object.assign(view, { text, found: null });
    if (text) seek();
    choice();
  };
  function seek() {
    soughtAt = Date.now();
    isOutdated = false;
    store.find(view.text);
  }

  function tick() {
    store.check();
    head.tick();
    if (store.missing) store.watch();
    if (view.text && isOutdated && store.live && Date.now() - soughtAt > SEEK_AGAIN) seek();
  }

  view.changed = ({ codes, found }) => {
    if (found && found.text === view.text) view.found = new Set(found.rows);
    isOutdated ||= Boolean(codes);
    if (codes || found) stale = true;
    for (const row of view.watched) if (store.cards.has(row)) viewer.paint(store.cards.get(row));
    view.repaint();
  };

  root.append(head.node, grid.node, pager.node, said, viewer.node);
  keepKeys(root);
  store.views.add(view);
  paint();
  el.append(root);
  const timer = setInterval(tick, 1_000);
  return () => {
    clearInterval(timer);
    cancelAnimationFrame(frame);
    head.destroy();
    grid.destroy();
    viewer.destroy();
    store.views.delete(view);
    root.remove();
  };
}

export default () => {
  let store = null;
  return {
    initialize({ model, files }) {
      store = createStore(model, files);
      return () => store.destroy();
    },
    render({ model, el, files }) {
      store ??= createStore(model, files);
      hideStatic(el, model);
      return createView(store, el);
    },
  };
};
