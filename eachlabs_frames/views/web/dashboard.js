/**
 * The browser's side of a dashboard (`messages.py` says what it and the kernel tell each other).
 *
 * It owns what is on the screen, and one store per model: the synced object `snapshot` itself, which updates change in
 * place, so that a notebook saved at any moment holds the picture of that moment. It never writes to the kernel's
 * state, never reaches the network but for media that a row shows, and never takes a string from outside for anything
 * but text: no innerHTML, no style or URL that was not checked (see pieces.js, which stands before it).
 */

import { AT_WORK, createHeader, createHeads, createToolbar } from "./dashboard_header.js";
import { choose, sorted } from "./dashboard_lines.js";
import { createList } from "./dashboard_list.js";
import { createStore } from "./dashboard_store.js";
import { h, hideStatic, keepKeys, on, setText, textBox } from "./dom.js";
import { clip, plural, whole } from "./format.js";

const SHORTEST = 224; // while a run is at work: three lines and the first error message, which then moves nothing

const SETTLE = 3_000; // at most so often lines change places by themselves

function createErrors(store, view) {
  const number = h("span.elf-errors-count");
  const title = h("div.elf-errors-head", {}, h("span", { role: "heading", "aria-level": "4" }, "Errors"), number);
  const groups = h("div.elf-groups", { role: "list", "aria-label": "Errors" });
  const others = h("div.elf-others");
  const node = h("div.elf-errors", {}, title, groups, others);
  const shown = new Map();

  function createGroup() {
    const count = h("span.elf-count");
    const message = h("div.elf-group-message");
    const labels = h("span.elf-labels", { dir: "auto" });
    const find = on(h("button.elf-button.elf-find", { type: "button" }, "show rows"), "click", () =>
      view.put(text.split("\n")[0].slice(0, 120)),
    );
    const item = h("div.elf-group", { role: "listitem" }, count, message, labels, find);
    let text = null;
    const paint = ([rows, said, rowLabels]) => {
      setText(count, whole.format(rows));
      count.title = plural(rows, "row");
      const list = rowLabels.map((label) => clip(label, 60)).join(", ");
      setText(labels, `${rows === 1 ? "row" : "rows"} ${list}${rows > rowLabels.length ? ", …" : ""}`);
      if (said === text) return;
      text = said;
      message.replaceChildren(textBox("elf-error", said, "error message"));
      find.setAttribute("aria-label", `show rows with the error ${clip(said, 60)}`);
    };
    return { item, paint };
  }

  function paint() {
    const { errors, more_errors: more } = store.snapshot;
    const here = errors.map((group, place) => [place, group]).filter(([, [rows]]) => rows > 0);
    node.hidden = !here.length && !more;
    setText(number, plural(here.length + more, "message"));
    for (const [place, { item }] of shown) {
      if (errors[place]?.[0] > 0) continue;
      item.remove();
      shown.delete(place);
    }
    let before = null;
    for (const [place, group] of here) {
      if (!shown.has(place)) shown.set(place, createGroup());
      const { item, paint: paintGroup } = shown.get(place);
      if (!item.parentNode) before ? before.after(item) : groups.prepend(item);
      paintGroup(group);
      before = item;
    }
    others.hidden = !more;
    setText(others, `and ${plural(more, "other message")}`);
  }
  return { node, paint };
}

function createView(store, el) {
  const said = h("div.elf-hidden", { "aria-live": "polite" });
  const root = h("div.eachlabs-view.eachlabs-dashboard", {
    role: "group",
    "aria-label": "Live dashboard",
    "data-lm-suppress-shortcuts": "true",
  });
  const view = { root, order: [], all: 0, sort: "sent", statuses: new Set(), text: "", found: null, opened: new Set() };
  let frame = 0,
    dirty = new Set(),
    arranged = -Infinity,
    stale = false,
    sought = null,
    width = 0,
    isSized = false,
    isAtWork = false;

  view.say = (text) => setText(said, text);
  view.repaint = (part = "all") => {
    dirty.add(part);
    frame ||= requestAnimationFrame(paint);
  };

  const header = createHeader(store, view);
  const toolbar = createToolbar(view);
  const heads = createHeads();
  const list = createList(store, view);
  const errors = createErrors(store, view);

  function paint() {
    frame = 0;
    const all = dirty.has("all"),
      resized = dirty.has("size");
    dirty = new Set();
    list.paint();
    if (all) {
      header.paint();
      toolbar.paint();
      errors.paint();
    }
    // Room that is kept for errors while a run is at work is released when the run ends without any.
    const changed = errors.node.hidden && AT_WORK.has(store.snapshot.head.phase) !== isAtWork;
    if (resized || !isSized || changed) size();
  }

  /**
   * Set the height of the whole. It stays until the reader changes something (opens a line, makes the window narrower):
   * when a sentence or an error comes or goes, the list gives or takes the room. The end of a run without errors is the
   * exception.
   */
  function size() {
    const { head } = store.snapshot;
    const here = [header.node, toolbar.node, heads, errors.node].map((node) => node.offsetHeight);
    if (!here[0]) return; // it is not in the page yet
    header.tick();
    isSized = head.phase !== undefined;
    isAtWork = AT_WORK.has(head.phase);
    const least = isAtWork && errors.node.hidden ? SHORTEST : 0;
    const border = root.offsetHeight - root.clientHeight;
    root.style.height = `${here.reduce((sum, height) => sum + height, border + Math.max(list.height(), least))}px`;
  }
  const watch = new ResizeObserver(([{ contentRect }]) => {
    if (!contentRect.width || contentRect.width === width) return;
    width = contentRect.width;
    size();
  });

  function arrange() {
    const { chosen, all } = choose(store.snapshot, view);
    Object.assign(view, { order: sorted(chosen, store.snapshot, view.sort), all });
    arranged = Date.now();
    stale = false;
    list.order();
    view.repaint();
  }

  /** Behind the others, for somebody who is reading: what they read stays where it is. */
  function append(first) {
    const { chosen, all } = choose(store.snapshot, view, first);
    view.order.push(...chosen);
    view.all += all;
    stale = true;
    list.order();
  }

  function choice() {
    arrange();
    list.top();
    view.say(`showing ${whole.format(view.order.length)} of ${whole.format(view.all)}`);
  }

  view.sortBy = (sort) => {
    view.sort = sort;
    choice();
  };
  view.toggle = (word) => {
    if (!view.statuses.delete(word)) view.statuses.add(word);
    choice();
  };
  view.put = (text) => toolbar.put(text);
  view.clear = () => {
    view.statuses.clear();
    toolbar.put("");
    choice();
  };
  view.seek = (text) => {
    if (text === view.text) return;
    Object.assign(view, { text, found: null });
    if (text) ask();
    choice();
  };
  function ask() {
    sought = { changed: false, answered: false };
    store.find(view.text);
  }
  view.toggleLine = (place) => {
    if (view.opened.delete(place)) store.close(place);
    else {
      view.opened.add(place);
      store.open(place);
    }
    view.repaint("size");
  };

  view.changed = ({ reset, added, lines, found }) => {
    if (found && found.text === view.text && found.text) {
      sought.answered = true;
      view.found = new Set(found.lines);
      arrange();
    }
    if (reset || (added != null && !list.held())) arrange();
    else if (added != null) append(added);
    if (lines) stale = true;
    if ((lines || reset) && sought) sought.changed = true;
    view.repaint();
  };

  function tick() {
    store.check();
    header.tick();
    list.tick();
    if (!list.held() && Date.now() - arranged > SETTLE) {
      if (stale) arrange();
      if (view.text && store.live && sought?.answered && sought.changed) ask();
    }
    if (view.opened.size) view.repaint("list"); // it says how long it waits for an answer
  }

  root.append(header.node, toolbar.node, heads, list.node, errors.node, said);
  keepKeys(root);
  store.views.add(view);
  for (const key of Object.keys(store.snapshot.rows)) {
    const place = Number(key);
    if (store.snapshot.lines[place]) view.opened.add(place), store.open(place);
  }
  arrange();
  cancelAnimationFrame(frame);
  paint();
  el.append(root);
  watch.observe(root);
  const timer = setInterval(tick, 1_000);

  return () => {
    clearInterval(timer);
    cancelAnimationFrame(frame);
    watch.disconnect();
    toolbar.destroy();
    list.destroy();
    store.views.delete(view);
    for (const place of view.opened) store.close(place, true);
    root.remove();
  };
}

export default () => {
  let store = null;
  return {
    initialize({ model }) {
      store = createStore(model);
      return () => store.destroy();
    },
    render({ model, el }) {
      store ??= createStore(model);
      hideStatic(el, model);
      return createView(store, el);
    },
  };
};
