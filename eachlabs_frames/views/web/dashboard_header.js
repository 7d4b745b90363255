/** Header. */

import { MAIN, SETTLED, SORTS, tally } from "./dashboard_lines.js";
import { createBar, paintBar } from "./dashboard_parts.js";
import { createChip, createSearch, h, on, setAttribute, setText } from "./dom.js";
import { clip, clock, formatUsd, known, OTHER, timeOfDay, whole } from "./format.js";
import { NO_KERNEL } from "./model.js";

const PHASES = new Map([
  ["preparing", ["○", "Preparing", "Rows are being checked. Nothing has been sent yet."]],
  ["sending", ["↑", "Sending", "Rows are being sent; their executions are polled."]],
  ["tracking", ["◐", "Tracking", "All rows are sent. Executions are polled until they end."]],
  ["idle", ["‖", "Idle", "Open executions are not being polled."]],
  ["settled", ["✓", "Settled", "Every row is settled."]],
  ["cancelled", ["⊘", "Cancelled", "The call was cancelled; accepted executions are kept."]],
  ["failed", ["✕", "Failed", "The call ended with an error; accepted executions are kept."]],
]);
export const AT_WORK = new Set(["preparing", "sending", "tracking"]);

export function createHeader(store, view) {
  const workflow = h("span.elf-workflow", { role: "heading", "aria-level": "3", dir: "auto" });
  const version = h("span.elf-tag.elf-version", { dir: "auto" });
  const run = h("span.elf-tag.elf-run", { dir: "auto" });
  const phase = h("span.elf-phase", {}, h("span.elf-symbol", { "aria-hidden": "true" }), h("span.elf-word"));
  const metrics = h("div.elf-metrics");
  const metric = (name, title) => {
    const value = h("div.elf-value", { "data-metric": name.toLowerCase() });
    metrics.append(h("div", { title }, h("div.elf-name", {}, name), value));
    return value;
  };
  const settled = metric("Settled", "Settled rows of all rows");
  const elapsed = metric("Elapsed", "Time since the call started, until it ended");
  const rate = metric("Rate", "Rows settled per minute, over the last minute");
  const cost = metric("Cost", "Cost in USD of the executions whose cost is known");
  const balance = metric("Balance", "Account balance in USD");
  const bar = createBar(".elf-bar-total");
  const legend = h("div.elf-legend", { role: "group", "aria-label": "Filter by status" });
  const notice = h("div.elf-notice", { role: "status", "aria-live": "polite" });
  const chips = new Map();
  const node = h(
    "div.elf-head",
    {},
    h("div.elf-title", {}, workflow, h("span.elf-tags", {}, version, run), phase),
    metrics,
    bar,
    legend,
    notice,
  );

  function chip(word) {
    chips.set(
      word,
      createChip(word, "bulk operations with rows", () => view.toggle(word)),
    );
    legend.append(chips.get(word).button);
  }

  function paintTag(tag, label, text, shown = text) {
    tag.hidden = !text;
    setText(tag, text ? `${label} ${shown}` : "");
    tag.title = text ? `${label} ${text}` : "";
  }

  function sentences({ phase: word, problem, stale_since: stale, waiting_for: waiting }) {
    const said = [];
    if (store.parted || (!store.live && Date.now() - store.since > NO_KERNEL)) {
      const why = store.parted ? "No kernel is connected." : "The kernel has not responded yet.";
      said.push(["saved", `State at ${timeOfDay(store.snapshot.now)}. ${why}`]);
    }
    if (problem) said.push(["problem", problem]);
    if (stale) said.push(["stale", `Stale since ${timeOfDay(stale)}: the API does not respond.`]);
    if (waiting) said.push(["waiting", waiting]);
    return said.length ? said : [["phase", PHASES.get(word)?.[2] ?? ""]];
  }

  function paintNotice(head) {
    const said = sentences(head);
    const key = JSON.stringify(said);
    if (notice.dataset.said !== key) {
      notice.dataset.said = key;
      notice.replaceChildren(
        ...said.map(([kind, text]) => h("div.elf-said", { "data-kind": kind, dir: "auto" }, clip(text, 600))),
      );
    }
    if (notice.scrollHeight > notice.clientHeight)
      notice.tabIndex = 0; // so that it can be scrolled by keys
    else notice.removeAttribute("tabindex");
  }

  function paintCounts(head) {
    const counts = tally(Object.entries(head.counts ?? {}));
    const rows = new Map(counts);
    paintBar(bar, counts);
    const done = counts.reduce((sum, [word, n]) => sum + (SETTLED.has(word) ? n : 0), 0);
    const total = head.total ?? 0;
    // Down: 100% is for when there is nothing left.
    setText(
      settled,
      `${whole.format(done)} of ${whole.format(total)}${total ? ` · ${Math.floor((100 * done) / total)}%` : ""}`,
    );
    for (const word of [...MAIN, ...rows.keys()]) chips.has(word) || chip(word);
    for (const [word, chip_] of chips) chip_.paint(rows.get(word) ?? 0, view.statuses.has(word));
  }

  function tick() {
    const { head } = store.snapshot;
    setText(
      elapsed,
      known(head.started_at, (start) => clock((head.ended_at ?? store.now()) - start)),
    );
    paintNotice(head);
  }

  function paint() {
    const { head } = store.snapshot;
    const [glyph, word] = PHASES.get(head.phase) ?? [OTHER, clip(head.phase ?? "", 40)];
    setText(workflow, clip(head.workflow ?? "", 200));
    workflow.title = clip(head.workflow ?? "", 400);
    paintTag(version, "version", head.version, head.version && clip(head.version.slice(0, 8)));
    paintTag(run, "run", head.run, head.run && clip(head.run, 80));
    setAttribute(phase, "data-phase", head.phase ?? "");
    setText(phase.firstChild, glyph);
    setText(phase.lastChild, word);
    setText(
      rate,
      known(head.rate, (n) => `${whole.format(Math.round(n))}/min`),
    );
    setText(cost, known(head.cost_usd, formatUsd));
    cost.parentElement.title = `Cost in USD of the executions whose cost is known${
      head.superseded
        ? `; ${formatUsd(head.superseded_cost_usd)} of it for ${whole.format(head.superseded)} that were superseded`
        : ""
    }`;
    setText(balance, known(head.balance_usd, formatUsd));
    paintCounts(head);
    tick();
  }

  return { node, paint, tick };
}

export function createToolbar(view) {
  const search = createSearch("Find words or ids", "Filter by words in inputs, labels, errors and ids", (text) =>
    view.seek(text),
  );
  const sort = h(
    "select.elf-sort",
    { "aria-label": "Sort by" },
    ...[...SORTS].map(([value, [name]]) => h("option", { value }, name)),
  );
  const clear = h("button.elf-clear", { type: "button" }, "Clear filters");
  const shown = h("span.elf-shown");
  on(sort, "change", () => view.sortBy(sort.value));
  on(clear, "click", () => (view.clear(), search.input.focus()));

  function paint() {
    setText(shown, `showing ${whole.format(view.order.length)} of ${whole.format(view.all)}`);
    clear.classList.toggle("elf-gone", !view.text && !view.statuses.size);
  }
  return {
    node: h("div.elf-toolbar", {}, search.input, sort, clear, shown),
    paint,
    put: search.put,
    destroy: search.destroy,
  };
}

/** What stands in the columns below; a screen reader hears it of each line. */
export function createHeads() {
  const head = (name, text, title) => h(`span.elf-head-${name}`, { title }, text);
  return h(
    "div.elf-heads.elf-columns",
    { "aria-hidden": "true" },
    h("span"),
    head("bulk", "bulk_id", "Bulk operation of the rows"),
    head("bar", "Progress", "Rows by status"),
    head("counts", "Rows by status", "Number of rows per status"),
    head("age", "Age", "Since the bulk operation was sent"),
  );
}
