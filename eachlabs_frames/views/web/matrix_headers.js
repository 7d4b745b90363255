/** Headers. */

import { h, on } from "./dom.js";

/** The whole of a header that is cut, over everything, while it is pointed at or has the focus. */
export function createTip() {
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
export function createColumnHeads({ columns, rows, sides }, tip) {
  const { names, places } = columns;
  const lines = names.map((_, level) => {
    const line = h("tr");
    if (!level) line.append(createCorner(rows.names, columns.names, names.length + (sides.length ? 1 : 0)));
    for (let at = 0; at < places.length; ) {
      const wide = level < names.length - 1 ? span(places, at, level, places.length) : 1;
      line.append(
        createHead(
          "th.elf-column",
          places[at][level],
          wide > 1 ? "colgroup" : "col",
          { colspan: wide, "data-column": at },
          tip,
        ),
      );
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
  return h(
    "td.elf-corner",
    { colspan: rows.length, rowspan: tall },
    h("div.elf-axis.elf-across", { dir: "auto" }, columns.join(", "), h("span", { "aria-hidden": "true" }, " →")),
    h("div.elf-axis.elf-down", { dir: "auto" }, rows.join(", "), h("span", { "aria-hidden": "true" }, " ↓")),
  );
}

/** The headers that begin in this line. */
export function createRowHeads({ names, places }, at, tip) {
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
