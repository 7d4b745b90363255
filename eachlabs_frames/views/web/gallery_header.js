/**
 * Creates what stands around the cards of a gallery: the title, the filters, and the buttons that turn pages.
 *
 * @typedef {Filters & { order: number[], at: number }} Shown `order`: the rows that match; `at`: the page
 */

/** @import { Filters } from "./gallery_filters.js" */
/** @import { Store } from "./gallery_store.js" */
import { createChip, createSearch, h, insertByStatus, on, setText } from "./dom.js";
import { clip, plural, rankOf, timeOfDay, whole } from "./format.js";
import { countStatuses } from "./gallery_filters.js";
import { NO_KERNEL } from "./model.js";

/**
 * The notice about the run or the kernel; "" for none.
 *
 * @param {Store} store
 */
export function noticeText({ snapshot, isDisconnected, isLive, isPage, missing, since }) {
  const isSilent = !isLive && !isPage && missing > 0 && Date.now() - since > NO_KERNEL;
  const state = `State at ${timeOfDay(snapshot.now)}`;
  if (isDisconnected || isSilent)
    return `${state}. No kernel is connected${missing ? "; only saved cards are shown" : ""}.`;
  if (!snapshot.notice) return "";
  return isPage ? `${state}: ${snapshot.notice}` : snapshot.notice;
}

/**
 * @param {Store} store
 * @param {Shown} gallery
 * @param {{ toggle: (status: string) => void, clear: () => void, search: (text: string) => void }} act
 */
export function createHeader(store, gallery, act) {
  const title = h("span.elf-sheet-title", { role: "heading", "aria-level": "3", dir: "auto" });
  const shown = h("span.elf-shown");
  const notice = h("div.elf-notice", { role: "status", "aria-live": "polite", dir: "auto" });
  const legend = h("div.elf-legend", { role: "group", "aria-label": "Show only results that are" });
  const [hint, label] = ["Find a label, input, output or error", "Find results by label, input, output or error"];
  const search = createSearch(hint, label, act.search);
  const clear = on(h("button.elf-clear", { type: "button" }, "Clear"), "click", () => {
    act.clear();
    search.input.focus();
  });
  const filters = h("span.elf-sheet-search", {}, clear, search.input);
  const lines = [h("div.elf-sheet-line", {}, title, shown), notice, h("div.elf-sheet-line", {}, legend, filters)];
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
    clear.classList.toggle("elf-invisible", !gallery.text && !gallery.statuses.size);
    paintChips();
    tick();
  }
  return { node, paint, tick, put: search.put, destroy: search.destroy };
}

/** @param {(by: number) => void} turn */
export function createPager(turn) {
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
