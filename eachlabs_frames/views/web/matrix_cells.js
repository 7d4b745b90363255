/** Cells. */

import { createBadge, createStage } from "./cards.js";
import { h, on } from "./dom.js";
import { clip, whole } from "./format.js";
import { isParted } from "./model.js";

const ASKED_AT_ONCE = 100;

const ERROR = 300;
const IN_LINE = 4; // pictures beside one another in a cell
const GAP = 6;
const PAD = 8;
const NAME_LINE = 19; // pixels, as matrix.css draws it

/** The cards by number: those that came with the data, and those that are asked for as somebody is to see them. */
export function createBook(model) {
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
      node.classList.toggle(
        "elf-pictured",
        card.media.some(({ kind }) => kind === "image"),
      );
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
      else
        node
          .querySelector(".elf-stage")
          .append(h("div.elf-placeholder", {}, "not saved with the notebook; no kernel is connected"));
    });
  } else {
    const isEmpty = data.kind === "numbers" && mark.text === null && mark.status === "completed";
    if (isEmpty) button.append(h("span", { "aria-hidden": "true" }, "–"), h("span.elf-hidden", {}, "no number"));
    else button.append(mark.text ?? badgeOf(mark.status));
    node.classList.toggle("elf-empty", isEmpty);
    button.title = [label, mark.status].filter(Boolean).join(": ");
    node.append(button);
    if (mark.text === null && ["failed", "invalid", "unknown"].includes(mark.status))
      book.want(mark.at, (card) => card && paintCard(card));
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

const slotsInLine = (slots, sides) =>
  Math.min(Math.max(1, slots), Math.max(1, Math.floor(IN_LINE / Math.max(1, sides.length))));

/** The height of a cell of pictures: known before it is filled, so that the table is not laid out anew for each. */
function cardsHeight({ slots, more }, { sides, size }) {
  const lines = Math.ceil(Math.max(1, slots.length) / slotsInLine(slots.length, sides));
  const label = slots.some((place) => place.label) ? NAME_LINE : 0;
  return lines * (size + label) + (lines - 1) * GAP + (more ? NAME_LINE : 0);
}

/** A cell: `{ node, fill(), stops, destroy() }`; what is in it is made by `fill`. */
export function createCell(cell, name, context) {
  const { data } = context;
  const inside = h("div.elf-inside");
  const node = h("td.elf-cell", {}, inside);
  const parts = [];
  let isFilled = false;

  function fillSlot(place) {
    const label = [name, place.label].filter(Boolean).join(", ");
    const held = place.marks.some(Boolean) ? place.marks : [null];
    const marks = held.map((mark, side) =>
      mark ? createMark(mark, { ...context, side, name: label }) : createGap("no row"),
    );
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
    if (cell.mean !== null)
      inside.append(
        h(
          "div.elf-mean",
          { title: data.sides.length ? "mean difference" : "mean" },
          h("span", { "aria-hidden": "true" }, "⌀ "),
          h("span.elf-hidden", {}, "mean "),
          cell.mean,
        ),
      );
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
    node,
    fill,
    get stops() {
      return (fill(), parts.map((part) => part.stop));
    },
    destroy: () => parts.forEach((part) => part.destroy()),
  };
}

/** The columns' widths: known from the start, so that nothing moves as cells are filled. Numbers take what they need. */
export function createWidths({ kind, cells, columns, sides, size, rows }) {
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
