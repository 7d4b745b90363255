/**
 * The browser's side of a matrix: `table.py` says what it is given, `matrix.py` what it may ask for.
 *
 * A real table, so that whoever hears it knows each cell's headers; the keys' focus walks over it as over a grid. What
 * is in a cell is made when it comes near to what is seen, and stays. Cards that did not come with the data are asked
 * for then. It never writes to the kernel's state.
 */

const ASKED_AT_ONCE = 100;
const NEAR = "600px";
const ERROR = 300;
const IN_LINE = 4; // pictures beside one another in a cell
const GAP = 6;
const PAD = 8;
const NAME_LINE = 19; // pixels, as matrix.css draws it
const PART = 60; // characters of one header in the name of a cell

const short = (text) => (text.length > PART ? `${text.slice(0, PART - 1)}…` : text);

// -- what comes from the kernel ----------------------------------------------------------------------------------

/** The cards by number: those that came with the data, and those that are asked for as somebody is to see them. */
function createBook(model) {
  const held = new Map((model.get("cards") ?? []).map((card) => [card.row, card]));
  const awaited = new Map();
  let asked = [];

  function ask() {
    for (let at = 0; at < asked.length; at += ASKED_AT_ONCE) {
      try {
        model.send({ kind: "cards", at: asked.slice(at, at + ASKED_AT_ONCE) });
      } catch {
        break; // a kernel that is gone has closed the way to it: cells stay as they are
      }
    }
    asked = [];
  }

  /** Call `act` with a card, now or when it has come; with null where no kernel is there to send it. */
  function want(at, act) {
    if (held.has(at) || isParted(model)) return void act(held.get(at) ?? null);
    if (awaited.has(at)) return void awaited.get(at).push(act);
    awaited.set(at, [act]);
    if (!asked.length) queueMicrotask(ask);
    asked.push(at);
  }

  function take(cards) {
    for (const card of cards) {
      held.set(card.row, card);
      const acts = awaited.get(card.row) ?? [];
      awaited.delete(card.row);
      acts.forEach((act) => act(card));
    }
  }
  const receive = (message) => message.kind === "cards" && take(message.cards);
  model.on("msg:custom", receive);
  return { want, get: (at) => held.get(at) ?? null, destroy: () => model.off("msg:custom", receive) };
}

// -- what is in a cell -------------------------------------------------------------------------------------------

/** A row of the frame in its slot. Its button is what the focus stands on. */
function createMark(mark, { data, book, files, open, side, name }) {
  const button = h("button.elf-open", { type: "button", tabindex: "-1" });
  const node = h("div.elf-mark", { "data-status": mark.status, "data-at": mark.at });
  const label = [data.sides[side], name].filter(Boolean).join(", ");
  let stage = null;
  on(button, "click", () => open(mark.at));

  function paintCard(card) {
    const error = card.error ? h("div.elf-mark-error", { dir: "auto" }, clip(card.error, ERROR)) : null;
    if (error) error.title = clip(card.error, ERROR);
    node.querySelector(".elf-mark-error")?.remove();
    if (data.kind === "cards") {
      stage ??= createStage({ files, enlarge: (_, at) => open(mark.at, at) });
      stage.paint(card);
      if (!stage.node.isConnected) node.prepend(stage.node);
      node.classList.toggle("elf-pictured", card.media.some(({ kind }) => kind === "image"));
    }
    if (error && (data.kind === "cards" || mark.text === null)) node.append(error);
  }

  if (data.kind === "cards") {
    button.append(h("span", { "aria-hidden": "true" }, "⤢"));
    button.setAttribute("aria-label", `Enlarge ${label || "the output"}`);
    node.append(h("div.elf-stage"), button);
    if (mark.status !== "completed") node.append(badgeOf(mark.status));
    book.want(mark.at, (card) => {
      if (card) node.querySelector(":scope > .elf-stage").remove(), paintCard(card);
      else node.querySelector(".elf-stage").append(h("div.elf-placeholder", {}, "not saved with the notebook; no kernel is connected"));
    });
  } else {
    const isEmpty = data.kind === "numbers" && mark.text === null && mark.status === "completed";
    if (isEmpty) button.append(h("span", { "aria-hidden": "true" }, "–"), h("span.elf-hidden", {}, "no number"));
    else button.append(mark.text ?? badgeOf(mark.status));
    node.classList.toggle("elf-empty", isEmpty);
    button.title = [label, mark.status].filter(Boolean).join(": ");
    node.append(button);
    if (mark.text === null && ["failed", "invalid", "unknown"].includes(mark.status)) book.want(mark.at, (card) => card && paintCard(card));
  }
  return { node, stop: button, destroy: () => stage?.destroy() };
}

function badgeOf(status) {
  const badge = createBadge();
  badge.paint(status);
  return badge.node;
}

/** What stands where the frame has no row. */
function createGap(text) {
  const node = h("div.elf-gap", { tabindex: "-1" }, h("span", {}, text));
  return { node, stop: node, destroy() {} };
}

const slotsInLine = (slots, sides) => Math.min(Math.max(1, slots), Math.max(1, Math.floor(IN_LINE / Math.max(1, sides.length))));

/** The height of a cell of pictures: known before it is filled, so that the table is not laid out anew for each. */
function cardsHeight({ slots, more }, { sides, size }) {
  const lines = Math.ceil(Math.max(1, slots.length) / slotsInLine(slots.length, sides));
  const label = slots.some((place) => place.label) ? NAME_LINE : 0;
  return lines * (size + label) + (lines - 1) * GAP + (more ? NAME_LINE : 0);
}

/** A cell: `{ node, fill(), stops, destroy() }`; what is in it is made by `fill`. */
function createCell(cell, name, context) {
  const { data } = context;
  const inside = h("div.elf-inside");
  const node = h("td.elf-cell", {}, inside);
  const parts = [];
  let isFilled = false;

  function fillSlot(place) {
    const label = [name, place.label].filter(Boolean).join(", ");
    const held = place.marks.some(Boolean) ? place.marks : [null];
    const marks = held.map((mark, side) => (mark ? createMark(mark, { ...context, side, name: label }) : createGap("no row")));
    parts.push(...marks);
    const slot = h("div.elf-slot", {}, h("div.elf-marks", {}, ...marks.map((mark) => mark.node)));
    if (place.difference !== null) slot.append(h("div.elf-difference", { title: "difference" }, place.difference));
    if (place.label) slot.append(h("div.elf-slot-label", { dir: "auto", title: place.label }, place.label));
    return slot;
  }

  function fill() {
    if (isFilled) return;
    isFilled = true;
    if (!cell.slots.length) {
      parts.push(createGap("no row"));
      inside.append(parts[0].node);
      return;
    }
    if (cell.mean !== null) inside.append(h("div.elf-mean", { title: data.sides.length ? "mean difference" : "mean" }, h("span", { "aria-hidden": "true" }, "⌀ "), h("span.elf-hidden", {}, "mean "), cell.mean));
    inside.append(h("div.elf-slots", {}, ...cell.slots.map(fillSlot)));
    if (cell.more) inside.append(h("div.elf-slot-label", {}, `and ${whole.format(cell.more)} more`));
  }

  if (data.kind === "cards") inside.style.height = `${cardsHeight(cell, data)}px`;
  node.classList.toggle("elf-missing", !cell.slots.length);
  if (cell.paint) {
    const [colour, ink] = cell.paint;
    node.classList.add("elf-painted");
    node.style.setProperty("--elf-colour", colour);
    node.style.setProperty("--elf-cell-ink", ink);
  }
  return {
    node, fill,
    get stops() { return fill(), parts.map((part) => part.stop); },
    destroy: () => parts.forEach((part) => part.destroy()),
  };
}

// -- headers -----------------------------------------------------------------------------------------------------

/** The whole of a header that is cut, over everything, while it is pointed at or has the focus. */
function createTip() {
  const node = h("div.elf-tip", { popover: "manual", role: "tooltip", dir: "auto" });
  const hide = () => node.matches(":popover-open") && node.hidePopover();
  function show(header) {
    const text = header.querySelector(".elf-head-text");
    if (!node.showPopover || text.scrollHeight <= text.clientHeight + 1) return;
    node.textContent = text.textContent;
    node.showPopover();
    const [box, own] = [header.getBoundingClientRect(), node.getBoundingClientRect()];
    node.style.left = `${Math.max(8, Math.min(box.left, innerWidth - own.width - 8))}px`;
    node.style.top = `${box.bottom + own.height + 8 < innerHeight ? box.bottom + 4 : Math.max(8, box.top - own.height - 4)}px`;
  }
  const watch = (header) => {
    for (const event of ["mouseenter", "focus"]) on(header, event, () => show(header));
    for (const event of ["mouseleave", "blur"]) on(header, event, hide);
  };
  return { node, watch, hide };
}

/** How many places from `at` on, until `end`, have the same texts down to this level. */
function span(places, at, level, end) {
  const same = (place) => places[place].slice(0, level + 1).every((text, one) => text === places[at][one]);
  let to = at + 1;
  while (to < end && same(to)) to++;
  return to - at;
}

function createHead(spec, text, scope, attributes, tip) {
  const head = h(spec, { scope, tabindex: "-1", ...attributes }, h("div.elf-head-text", { dir: "auto" }, text));
  tip.watch(head);
  return head;
}

/** The lines of the columns' headers; over two frames a last one says whose half is whose. */
function createColumnHeads({ columns, rows, sides }, tip) {
  const { names, places } = columns;
  const lines = names.map((name, level) => {
    const line = h("tr");
    if (!level) line.append(createCorner(rows.names, columns.names, names.length + (sides.length ? 1 : 0)));
    for (let at = 0; at < places.length;) {
      const wide = level < names.length - 1 ? span(places, at, level, places.length) : 1;
      line.append(createHead("th.elf-column", places[at][level], wide > 1 ? "colgroup" : "col", { colspan: wide, "data-column": at }, tip));
      at += wide;
    }
    return line;
  });
  if (sides.length) {
    const halves = () => h("div.elf-sides", {}, ...sides.map((side) => h("span", { dir: "auto", title: side }, side)));
    lines.push(h("tr", {}, ...places.map(() => h("th.elf-column.elf-side", { scope: "col" }, halves()))));
  }
  return lines;
}

function createCorner(rows, columns, tall) {
  return h("td.elf-corner", { colspan: rows.length, rowspan: tall },
    h("div.elf-axis.elf-across", { dir: "auto" }, columns.join(", "), h("span", { "aria-hidden": "true" }, " →")),
    h("div.elf-axis.elf-down", { dir: "auto" }, rows.join(", "), h("span", { "aria-hidden": "true" }, " ↓")));
}

/** The headers that begin in this line. */
function createRowHeads({ names, places }, at, tip) {
  const heads = [];
  for (let level = 0; level < names.length; level++) {
    const isLast = level === names.length - 1;
    const first = isLast || at === 0 || span(places, at - 1, level, at + 1) === 1;
    if (!first) continue;
    const tall = isLast ? 1 : span(places, at, level, places.length);
    const head = createHead("th.elf-row", places[at][level], tall > 1 ? "rowgroup" : "row", { rowspan: tall }, tip);
    head.style.setProperty("--elf-level", level);
    heads.push(head);
  }
  return heads;
}

// -- the scale ---------------------------------------------------------------------------------------------------

function createLegend({ title, stops, ticks }) {
  const bar = h("div.elf-scale");
  bar.style.background = stops.length > 1 ? `linear-gradient(to right, ${stops.join(", ")})` : stops[0];
  const marks = ticks.map(([share, text], at) => {
    const tick = h("span.elf-tick", {}, text);
    tick.style.left = `${share * 100}%`;
    tick.dataset.end = ticks.length > 1 && (at === 0 ? "low" : at === ticks.length - 1 ? "high" : "") || "inner";
    return tick;
  });
  const texts = ticks.map(([, text]) => text);
  const label = `Scale of ${title}: ${texts.length > 1 ? `from ${texts[0]} to ${texts.at(-1)}` : texts[0]}`;
  return h("div.elf-legend", { role: "img", "aria-label": label }, h("div.elf-legend-title", { dir: "auto" }, title), h("div.elf-scale-box", {}, bar, ...marks));
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
      ArrowUp: () => (line ? go(line - 1, column, at) : table.querySelector(`thead tr:nth-last-child(1) [data-column="${column}"], thead [data-column="${column}"]`)?.focus()),
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
    const heads = column === undefined ? lines.flatMap(({ heads: some }) => some.slice(-1)) : [...head.parentNode.querySelectorAll("[data-column]")];
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
  const order = data.cells.flatMap((line) => line.flatMap((cell) => cell.slots.flatMap(({ marks }) => marks.filter(Boolean).map(({ at }) => at))));
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
  const table = h("table.elf-table", { "data-kind": data.kind }, h("caption.elf-hidden", {}, data.title), createWidths(data), head, h("tbody", {}, ...lines.map(({ node }) => node)));
  const scroll = h("div.elf-scroll", { role: "region", "aria-label": data.title }, table);
  if (!order.length) scroll.setAttribute("tabindex", "0");
  const top = h("div.elf-top", {}, h("div.elf-title", { dir: "auto" }, data.title), ...(data.legend ? [createLegend(data.legend)] : []));
  const node = h("div.eachlabs-view.eachlabs-matrix", {}, top, ...(data.cut ? [h("p.elf-cut", { role: "note" }, data.cut)] : []), scroll, tip.node, viewer.node);
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

/** The columns' widths: known from the start, so that nothing moves as cells are filled. Numbers take what they need. */
function createWidths({ kind, cells, columns, sides, size, rows }) {
  const group = h("colgroup", {}, ...rows.names.map(() => h("col.elf-head-width")));
  columns.places.forEach((_, column) => {
    const col = h("col");
    if (kind === "cards") {
      const slots = cells.reduce((most, line) => Math.max(most, line[column].slots.length), 1);
      const halves = Math.max(1, sides.length);
      const inLine = slotsInLine(slots, sides);
      col.style.width = `${inLine * (halves * (size + GAP) - GAP) + (inLine - 1) * 2 * GAP + 2 * PAD + 1}px`;
    }
    group.append(col);
  });
  return group;
}

function fillWhenNear(lines, scroll) {
  const cells = new Map(lines.flatMap((line) => line.cells.map((cell) => [cell.node, cell])));
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      cells.get(target).fill();
    }
  }, { root: scroll, rootMargin: NEAR });
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
