/** List. */

import { AT_WORK } from "./dashboard_header.js";
import { describe, heightOfRows, LINE, MAIN, PAGE, tallyOf } from "./dashboard_lines.js";
import { createBar, createId, outputBox, paintBar } from "./dashboard_parts.js";
import { h, on, setAttribute, setText, symbol, textBox } from "./dom.js";
import { age, clip, duration, formatUsd, small, symbolOf, whole } from "./format.js";
import { NO_KERNEL } from "./model.js";

const TALLEST = 450; // half a line is cut off, so that one sees there is more
const OVERSCAN = 6;

/** One line: what it is, and how it is brought up to date. */
function createLine(place, store, view, name) {
  const [bulk] = store.snapshot.lines[place];
  const expand = h("button.elf-expand", { type: "button", "aria-expanded": "false", tabindex: "-1" });
  const id = bulk ? createId("bulk id", view) : { button: h("span.elf-id.elf-unsent", {}, "not sent"), paint() {} };
  id.paint(bulk);
  if (bulk) id.button.tabIndex = -1;
  const bar = createBar();
  const counts = h("div.elf-counts", { "aria-hidden": "true" });
  const slots = new Map(
    MAIN.map((word) => [
      word,
      counts.appendChild(h("span", { "data-status": word }, symbol(word), h("span.elf-count"))),
    ]),
  );
  const rest = counts.appendChild(h("span.elf-rest"));
  const since = h("span.elf-age");
  const main = h("div.elf-line-main.elf-columns", {}, expand, id.button, bar, counts, since);
  const node = h("div.elf-line", { role: "listitem", "data-line": place, "data-bulk": clip(bulk, 200) }, main);
  let painted,
    rows = null;

  on(main, "click", (event) => {
    const pressed = event.target.closest("button");
    const selecting = getSelection().type === "Range" && main.contains(getSelection().anchorNode);
    if (pressed === expand || !(pressed || selecting)) view.toggleLine(place);
  });

  function paintCounts(pairs) {
    if (pairs === painted) return;
    painted = pairs;
    const all = tallyOf(pairs, store.snapshot.words);
    paintBar(bar, all);
    const found = new Map(all);
    for (const [word, slot] of slots) {
      slot.classList.toggle("elf-zero", !found.has(word));
      setText(slot.lastChild, small(found.get(word) ?? 0));
    }
    rest.replaceChildren(
      ...all
        .filter(([word]) => !slots.has(word))
        .map(([word, n]) =>
          h("span", { "data-status": word, title: clip(word, 40) }, symbol(word), h("span.elf-count", {}, small(n))),
        ),
    );
    expand.setAttribute(
      "aria-label",
      `${bulk ? `Bulk operation ${clip(bulk, 8)}` : "Rows that were not sent"}: ${describe(all)}`,
    );
  }

  function paint(at, of, top) {
    paintCounts(store.snapshot.lines[place][2]);
    setAttribute(node, "aria-posinset", at + 1);
    setAttribute(node, "aria-setsize", of);
    const place_ = `translateY(${top}px)`;
    if (node.style.transform !== place_) node.style.transform = place_;
    const opened = view.opened.has(place);
    setAttribute(expand, "aria-expanded", opened);
    if (opened && !rows) {
      rows = createRows(place, store, view, `${name}-${place}`);
      expand.setAttribute("aria-controls", rows.node.id);
      node.append(rows.node);
    } else if (!opened && rows) {
      expand.removeAttribute("aria-controls");
      rows.node.remove();
      rows = null;
    }
    rows?.paint();
    tick();
  }
  function tick() {
    const [, created] = store.snapshot.lines[place];
    const text = created ? age(store.now() - created) : "";
    setText(since, text);
    since.title = text && `sent ${text} ago`;
  }
  const tabbable = (yes) => {
    expand.tabIndex = yes ? 0 : -1;
    if (bulk) id.button.tabIndex = yes ? 0 : -1;
  };
  return { node, bulk, expand, paint, tick, tabbable };
}

const ROW_HEADS = [
  ["Row", "Label in the frame's index"],
  ["Label", "Label of the row (label=)"],
  ["Execution", "Execution id"],
  ["Status", "Status of the execution"],
  ["Result", "Output or error"],
  ["Cost", "Cost in USD"],
  ["Time", "Duration of the execution"],
];

function createRows(place, store, view, id) {
  const table = h(
    "div.elf-table",
    { role: "table", "aria-label": "Rows" },
    h(
      "div.elf-row-heads",
      { role: "row" },
      ...ROW_HEADS.map(([name, title]) =>
        h(`span.elf-head-${name.toLowerCase()}`, { role: "columnheader", title }, name),
      ),
    ),
  );
  const message = h("div.elf-message");
  const where = h("span");
  const turn = (name, label, step) =>
    on(h(`button.elf-button.${name}`, { type: "button" }, label), "click", () => {
      const { offset, rows } = store.snapshot.rows[place];
      store.page(place, Math.max(0, offset + (step > 0 ? rows.length : -PAGE)));
      view.repaint();
    });
  const earlier = turn("elf-earlier", "earlier", -1);
  const more = turn("elf-more", "more", 1);
  const foot = h("div.elf-foot", {}, where, earlier, more);
  const node = h("div.elf-rows", { id }, table, message, foot);
  const shown = [];

  function waitingText(want) {
    if (store.live)
      return want && Date.now() - want.asked > 10_000 ? "the kernel has not responded yet…" : "asking the kernel…";
    return store.parted || (want && Date.now() - want.asked > NO_KERNEL)
      ? "showing rows needs a running kernel"
      : "asking the kernel…";
  }

  function paint() {
    const opened = store.snapshot.rows[place];
    const want = store.wanted.get(place);
    node.style.height = `${heightOfRows(place, store)}px`;
    message.hidden = Boolean(opened?.rows.length);
    setText(message, opened ? "no rows" : waitingText(want));
    const rows = opened?.rows ?? [];
    table.classList.toggle("elf-untitled", !rows.some((row) => row.title));
    while (shown.length > rows.length) shown.pop().node.remove();
    rows.forEach((row, at) => {
      if (!shown[at]) table.append((shown[at] = createRow(view)).node);
      shown[at].paint(row);
    });
    foot.hidden = !opened || opened.total <= rows.length;
    if (foot.hidden) return;
    const turning = want?.asked && want.offset !== opened.offset;
    setText(
      where,
      turning
        ? waitingText(want)
        : `rows ${whole.format(opened.offset + 1)}–${whole.format(opened.offset + rows.length)} of ${whole.format(opened.total)}`,
    );
    earlier.disabled = turning || opened.offset === 0;
    more.disabled = turning || opened.total <= opened.offset + rows.length;
  }
  return { node, paint };
}

function createRow(view) {
  const cell = (name, ...children) => h(`div.${name}`, { role: "cell" }, ...children);
  const label = cell("elf-label");
  label.dir = "auto";
  const title = cell("elf-row-title", h("span"));
  title.dir = "auto";
  const id = createId("execution id", view);
  const execution = cell("elf-execution", id.button);
  const status = cell(
    "elf-status",
    h("span.elf-symbol", { "aria-hidden": "true" }),
    h("span.elf-word", { dir: "auto" }),
  );
  const result = cell("elf-result");
  const cost = cell("elf-cost");
  const seconds = cell("elf-seconds");
  const node = h("div.elf-row", { role: "row" }, label, title, execution, status, result, cost, seconds);
  let before = {};

  function paint(row) {
    if (row === before) return;
    setText(label, clip(row.label, 200));
    label.title = clip(row.label, 400);
    const words = clip(row.title ?? "", 400);
    setText(title.firstChild, words);
    title.title = words;
    id.button.hidden = !row.execution_id;
    id.paint(row.execution_id ?? "");
    setAttribute(status, "data-status", row.status);
    setText(status.firstChild, symbolOf(row.status));
    setText(status.lastChild, clip(row.status, 40));
    setText(cost, row.cost_usd === null ? "" : formatUsd(row.cost_usd));
    setText(seconds, row.seconds === null ? "" : duration(row.seconds));
    // A picture must not be loaded again, nor a text lose its place, because a row's cost came to be known.
    if (before.error !== row.error || JSON.stringify(before.output) !== JSON.stringify(row.output))
      result.replaceChildren(
        ...(row.error ? [textBox("elf-error", row.error, `error of row ${clip(row.label, 60)}`)] : []),
        ...(row.output ? outputBox(row.output, row.label) : []),
      );
    before = row;
  }
  return { node, paint };
}

let lists = 0;

export function createList(store, view) {
  const canvas = h("div.elf-canvas", { role: "list", "aria-label": "Bulk operations" });
  const empty = h("div.elf-empty");
  const node = h("div.elf-list", {}, canvas, empty);
  const name = `elf-${Date.now().toString(36)}-${++lists}`;
  const shown = new Map();
  let where = new Map(),
    blocks = [],
    scrollTop = 0,
    viewport = 0,
    wanted = 0,
    current = null,
    away = false;

  const topOf = (at) => at * LINE + blocks.reduce((sum, block) => sum + (block.at < at ? block.height : 0), 0);
  const focused = () => node.getRootNode().activeElement?.closest?.(".elf-line");
  const placeOf = (line) => (line && node.contains(line) ? Number(line.dataset.line) : null);

  function atY(y) {
    let passed = 0;
    for (const block of blocks) {
      const top = block.at * LINE + passed;
      if (y < top + LINE) break;
      if (y < top + LINE + block.height) return block.at;
      passed += block.height;
    }
    return Math.min(view.order.length - 1, Math.max(0, Math.floor((y - passed) / LINE)));
  }

  /** The order has changed. */
  function order() {
    where = new Map(view.order.map((place, at) => [place, at]));
  }

  function measure() {
    blocks = [...view.opened]
      .filter((place) => where.has(place))
      .map((place) => ({ at: where.get(place), height: heightOfRows(place, store) }))
      .sort((a, b) => a.at - b.at);
    const { head } = store.snapshot;
    // Lines still to come have their place from the start, so that what stands below does not move.
    const lines = Math.max(view.all, AT_WORK.has(head.phase) ? Math.ceil((head.total ?? 0) / 10) : 0, 3);
    const height = topOf(view.order.length);
    const open = blocks.reduce((sum, block) => sum + block.height, 0);
    wanted = Math.min(TALLEST, lines * LINE + open);
    canvas.style.height = `${height}px`;
    scrollTop = Math.min(scrollTop, Math.max(0, height - (viewport || wanted)));
  }

  function paint() {
    measure();
    const last = view.order.length - 1;
    const kept = placeOf(focused());
    const from = Math.max(0, atY(scrollTop) - OVERSCAN);
    const to = Math.min(last, atY(scrollTop + (viewport || wanted)) + OVERSCAN);
    const places = view.order.slice(from, to + 1);
    // A line that has the focus stays in the page, though it was scrolled out of sight.
    if (kept !== null && where.get(kept) < from) places.unshift(kept);
    if (kept !== null && where.get(kept) > to) places.push(kept);
    const needed = new Set(places);
    for (const [place, line] of shown)
      if (!needed.has(place) || line.bulk !== store.snapshot.lines[place][0]) line.node.remove(), shown.delete(place);
    for (const place of places) {
      if (!shown.has(place)) shown.set(place, createLine(place, store, view, name));
      shown.get(place).paint(where.get(place), last + 1, topOf(where.get(place)));
    }
    arrange(
      places.map((place) => shown.get(place).node),
      kept === null ? null : shown.get(kept)?.node,
    );
    rove(places, view.order[atY(scrollTop + LINE - 1)]);
    paintEmpty(last + 1);
  }

  /** Put nodes in order without moving the one that has the focus: that would take the focus away. */
  function arrange(nodes, still) {
    const pivot = Math.max(0, nodes.indexOf(still));
    if (nodes.length && nodes[pivot].parentNode !== canvas) canvas.prepend(nodes[pivot]);
    for (let i = pivot - 1; i >= 0; i--)
      if (nodes[i].nextSibling !== nodes[i + 1]) canvas.insertBefore(nodes[i], nodes[i + 1]);
    for (let i = pivot + 1; i < nodes.length; i++)
      if (nodes[i - 1].nextSibling !== nodes[i]) nodes[i - 1].after(nodes[i]);
  }

  /** One line is reached by Tab, the others by arrows: nobody wants to tab through ten thousand. */
  function rove(places, first) {
    const chosen = current !== null && shown.has(current) ? current : first;
    for (const place of places) shown.get(place).tabbable(place === chosen);
  }

  function paintEmpty(lines) {
    const { head } = store.snapshot;
    const none = !store.places.size || (store.places.size === 1 && store.places.has(""));
    const text = none
      ? `No row of this frame has been triggered yet.${AT_WORK.has(head.phase) ? " Bulk operations appear here as they are sent." : ""}`
      : lines
        ? ""
        : "No rows match.";
    empty.hidden = !text || lines > 1;
    setText(empty, text);
    empty.style.top = `${topOf(lines)}px`; // the rest of the list is its place
  }

  function focusAt(at) {
    at = Math.max(0, Math.min(view.order.length - 1, at));
    current = view.order[at];
    const top = topOf(at);
    if (top < scrollTop) scrollTop = top;
    if (top + LINE > scrollTop + viewport) scrollTop = top + LINE - viewport;
    paint();
    node.scrollTop = scrollTop;
    shown.get(current)?.expand.focus({ preventScroll: true });
  }

  const steps = {
    ArrowDown: () => 1,
    ArrowUp: () => -1,
    PageDown: () => Math.floor(viewport / LINE) - 1,
    PageUp: () => 1 - Math.floor(viewport / LINE),
    Home: () => -Infinity,
    End: () => Infinity,
  };
  on(node, "keydown", (event) => {
    const place = placeOf(event.target.closest(".elf-line"));
    if (place === null || !steps[event.key] || event.altKey || event.ctrlKey || event.metaKey) return;
    if (!event.target.matches("button, a")) return; // a long text scrolls by these keys, a player winds
    event.preventDefault();
    focusAt(where.get(place) + steps[event.key]());
  });
  on(node, "focusin", (event) => {
    current = placeOf(event.target.closest(".elf-line")) ?? current;
    for (const [place, line] of shown) line.tabbable(place === current);
  });
  node.addEventListener(
    "scroll",
    () => {
      if (away) return;
      scrollTop = node.scrollTop;
      view.repaint("list");
    },
    { passive: true },
  );
  // A notebook takes what is out of sight out of the page, and it comes back scrolled to its top.
  const watch = new ResizeObserver(([{ contentRect }]) => {
    const back = away && contentRect.height > 0;
    away = contentRect.height === 0;
    if (back) node.scrollTop = scrollTop;
    if (away || contentRect.height === viewport) return;
    viewport = contentRect.height;
    view.repaint("list");
  });
  watch.observe(node);

  return {
    node,
    order,
    paint,
    tick: () => shown.forEach((line) => line.tick()),
    height: () => (measure(), wanted),
    top: () => (node.scrollTop = scrollTop = 0),
    held: () => node.matches(":hover") || placeOf(focused()) !== null,
    destroy: () => watch.disconnect(),
  };
}
