/**
 * Shows one line of a dashboard, and its rows where it is opened.
 *
 * @typedef {Root & { opened: Set<number>, toggleLine: (line: number) => void }} LineView
 */

/** @import { Counts } from "./dashboard_lines.js" */
/** @import { Root } from "./dashboard_rows.js" */
/** @import { Store } from "./dashboard_store.js" */
import { describeCounts, MAIN, statusCounts } from "./dashboard_lines.js";
import { createBar, createId, paintBar } from "./dashboard_parts.js";
import { createRows } from "./dashboard_rows.js";
import { h, on, setAttribute, setAttributes, setText, symbol, targetOf } from "./dom.js";
import { age, clip, compactNumber } from "./format.js";

function createCounts() {
  const node = h("div.elf-counts", { "aria-hidden": "true" });
  const slots = MAIN.map((status) => {
    const count = h("span.elf-count");
    const slot = h("span", { "data-status": status }, symbol(status), count);
    node.append(slot);
    return { status, slot, count };
  });
  const others = node.appendChild(h("span.elf-rest"));

  /** @param {[string, number][]} counts */
  function paint(counts) {
    const rows = new Map(counts);
    for (const { status, slot, count } of slots) {
      slot.classList.toggle("elf-zero", !rows.has(status));
      setText(count, compactNumber(rows.get(status) ?? 0));
    }
    others.replaceChildren(
      ...counts
        .filter(([status]) => !MAIN.includes(status))
        .map(([status, n]) => {
          const count = h("span.elf-count", {}, compactNumber(n));
          return h("span", { "data-status": status, title: clip(status, 40) }, symbol(status), count);
        }),
    );
  }
  return { node, paint };
}

/**
 * @param {string} bulkId
 * @param {LineView} view
 */
function createBulkId(bulkId, view) {
  if (!bulkId) return h("span.elf-id.elf-unsent", {}, "not sent");
  const { button, paint } = createId("bulk id", view.root, view.announce);
  paint(bulkId);
  button.tabIndex = -1;
  return button;
}

/**
 * @param {number} place
 * @param {Store} store
 * @param {LineView} view
 * @param {string} rowsId
 */
export function createLine(place, store, view, rowsId) {
  const [bulkId, , , sender = ""] = store.snapshot.lines[place];
  const expand = h("button.elf-expand", { type: "button", "aria-expanded": "false", tabindex: "-1" });
  const id = createBulkId(bulkId, view);
  const bar = createBar();
  const counts = createCounts();
  const since = h("span.elf-age");
  const worker = h("span.elf-worker", { title: sender && `sent by ${clip(sender, 80)}` }, clip(sender, 80));
  if (sender) view.root.classList.add("elf-has-workers");
  const main = h("div.elf-line-main.elf-columns", {}, expand, id, worker, bar, counts.node, since);
  const node = h("div.elf-line", { role: "listitem", "data-line": place, "data-bulk": clip(bulkId, 200) }, main);
  /** @type {Counts | null} */
  let painted = null;
  /** @type {ReturnType<typeof createRows> | null} */
  let rows = null;

  on(main, "click", (event) => {
    const button = targetOf(event).closest("button");
    const selection = getSelection();
    const isSelecting = selection?.type === "Range" && main.contains(selection.anchorNode);
    if (button === expand || (!button && !isSelecting)) view.toggleLine(place);
  });

  function paintCounts() {
    const data = store.snapshot.lines[place][2];
    if (data === painted) return;
    painted = data;
    const all = statusCounts(data, store.snapshot.statuses);
    paintBar(bar, all);
    counts.paint(all);
    const name = bulkId ? `Bulk operation ${clip(bulkId, 8)}` : "Rows that were not sent";
    expand.setAttribute("aria-label", `${name}: ${describeCounts(all)}`);
  }

  function paintRows() {
    const isOpen = view.opened.has(place);
    setAttribute(expand, "aria-expanded", isOpen);
    if (isOpen && !rows) {
      rows = createRows(place, store, view, rowsId);
      expand.setAttribute("aria-controls", rows.node.id);
      node.append(rows.node);
    } else if (!isOpen && rows) {
      expand.removeAttribute("aria-controls");
      rows.node.remove();
      rows = null;
    }
    rows?.paint();
  }

  /**
   * @param {number} at its position
   * @param {number} lines
   * @param {number} top
   */
  function paint(at, lines, top) {
    paintCounts();
    setAttributes(node, { "aria-posinset": at + 1, "aria-setsize": lines });
    const transform = `translateY(${top}px)`;
    if (node.style.transform !== transform) node.style.transform = transform;
    paintRows();
    tick();
  }

  function tick() {
    const [, createdAt] = store.snapshot.lines[place];
    const text = createdAt ? age(store.now() - createdAt) : "";
    setText(since, text);
    since.title = text && `sent ${text} ago`;
  }

  /** @param {boolean} isTabbable */
  function setTabbable(isTabbable) {
    expand.tabIndex = isTabbable ? 0 : -1;
    if (bulkId) id.tabIndex = isTabbable ? 0 : -1;
  }
  return { node, bulkId, expand, paint, tick, setTabbable };
}
