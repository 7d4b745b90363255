/** Creates what stands above the lines of a dashboard: the run, its metrics, its statuses, and the toolbar. */

/** @import { Sort } from "./dashboard_lines.js" */
/** @import { RunStatus, Store } from "./dashboard_store.js" */
import { inOrder, MAIN, SETTLED, SORTS } from "./dashboard_lines.js";
import { createBar, paintBar } from "./dashboard_parts.js";
import { createChip, createLabel, createSearch, h, on, setAttribute, setText } from "./dom.js";
import { clip, clock, formatUsd, orDash, timeOfDay, UNKNOWN_SYMBOL, whole } from "./format.js";
import { NO_KERNEL } from "./model.js";

/** @type {Map<string, [symbol: string, name: string, text: string]>} */
const PHASES = new Map([
  ["preparing", ["○", "Preparing", "Rows are being checked. Nothing has been sent yet."]],
  ["sending", ["↑", "Sending", "Rows are being sent; their executions are polled."]],
  ["tracking", ["◐", "Tracking", "All rows are sent. Executions are polled until they end."]],
  ["idle", ["‖", "Idle", "Open executions are not being polled."]],
  ["settled", ["✓", "Settled", "Every row is settled."]],
  ["cancelled", ["⊘", "Cancelled", "The call was cancelled; accepted executions are kept."]],
  ["failed", ["✕", "Failed", "The call ended with an error; accepted executions are kept."]],
]);

/** @param {RunStatus} head */
export const isActive = ({ phase }) => ["preparing", "sending", "tracking"].includes(phase ?? "");

/**
 * The messages about the kernel, the run and the API, each with its kind.
 *
 * @param {Pick<Store, "snapshot" | "isLive" | "isDisconnected" | "since">} store
 * @returns {[kind: string, text: string][]}
 */
export function notices({ snapshot, isLive, isDisconnected, since }) {
  const { phase = "", problem, stale_since: stale, waiting_for: waiting } = snapshot.head;
  /** @type {[string, string][]} */
  const all = [];
  if (isDisconnected || (!isLive && Date.now() - since > NO_KERNEL)) {
    const reason = isDisconnected ? "No kernel is connected." : "The kernel has not responded yet.";
    all.push(["saved", `State at ${timeOfDay(snapshot.now)}. ${reason}`]);
  }
  if (problem) all.push(["problem", problem]);
  if (stale) all.push(["stale", `Stale since ${timeOfDay(stale)}: the API does not respond.`]);
  if (waiting) all.push(["waiting", waiting]);
  return all.length ? all : [["phase", PHASES.get(phase)?.[2] ?? ""]];
}

/**
 * How many rows are settled. The percentage is rounded down: 100% means that nothing is left.
 *
 * @param {number} settled
 * @param {number} total
 */
export function settledText(settled, total) {
  const percentage = total ? ` · ${Math.floor((100 * settled) / total)}%` : "";
  return `${whole.format(settled)} of ${whole.format(total)}${percentage}`;
}

function createMetrics() {
  const node = h("div.elf-metrics");
  /**
   * @param {string} name
   * @param {string} title
   */
  function metric(name, title) {
    const value = h("div.elf-value", { "data-metric": name.toLowerCase() });
    node.append(h("div", { title }, h("div.elf-name", {}, name), value));
    return value;
  }
  return {
    node,
    settled: metric("Settled", "Settled rows of all rows"),
    elapsed: metric("Elapsed", "Time since the call started, until it ended"),
    rate: metric("Rate", "Rows settled per minute, over the last minute"),
    cost: metric("Cost", "Cost in USD of the executions whose cost is known"),
    balance: metric("Balance", "Account balance in USD"),
  };
}

/** @param {RunStatus} head */
function costTitle({ superseded, superseded_cost_usd: cost = 0 }) {
  const title = "Cost in USD of the executions whose cost is known";
  if (!superseded) return title;
  return `${title}; ${formatUsd(cost)} of it for ${whole.format(superseded)} that were superseded`;
}

/** @param {string} name */
function createTag(name) {
  const node = h(`span.elf-tag.elf-${name}`, { dir: "auto" });
  /**
   * @param {string | null | undefined} text
   * @param {(text: string) => string} shorten
   */
  function paint(text, shorten) {
    node.hidden = !text;
    setText(node, text ? `${name} ${shorten(text)}` : "");
    node.title = text ? `${name} ${text}` : "";
  }
  return { node, paint };
}

function createNotice() {
  const node = h("div.elf-notice", { role: "status", "aria-live": "polite" });
  let painted = "";
  /** @param {[string, string][]} all */
  function paint(all) {
    const content = JSON.stringify(all);
    if (content !== painted) {
      const attributes = (/** @type {string} */ kind) => ({ "data-kind": kind, dir: "auto" });
      node.replaceChildren(...all.map(([kind, text]) => h("div.elf-message-line", attributes(kind), clip(text, 600))));
    }
    painted = content;
    if (node.scrollHeight > node.clientHeight)
      node.tabIndex = 0; // so that keys can scroll it
    else node.removeAttribute("tabindex");
  }
  return { node, paint };
}

/**
 * @param {Store} store
 * @param {Set<string>} statuses those that are filtered by
 * @param {(status: string) => void} toggle
 */
export function createHeader(store, statuses, toggle) {
  const workflow = h("span.elf-workflow", { role: "heading", "aria-level": "3", dir: "auto" });
  const version = createTag("version");
  const run = createTag("run");
  const phase = createLabel("span.elf-phase");
  const metrics = createMetrics();
  const bar = createBar(".elf-bar-total");
  const legend = h("div.elf-legend", { role: "group", "aria-label": "Filter by status" });
  const notice = createNotice();
  /** @type {Map<string, ReturnType<typeof createChip>>} */
  const chips = new Map();
  const title = h("div.elf-title", {}, workflow, h("span.elf-tags", {}, version.node, run.node), phase.node);
  const node = h("div.elf-head", {}, title, metrics.node, bar, legend, notice.node);

  /** @param {RunStatus} head */
  function paintCounts({ counts: all = {}, total = 0 }) {
    const counts = inOrder(Object.entries(all));
    const rows = new Map(counts);
    paintBar(bar, counts);
    const settled = counts.reduce((sum, [status, n]) => sum + (SETTLED.has(status) ? n : 0), 0);
    setText(metrics.settled, settledText(settled, total));
    for (const status of [...MAIN, ...rows.keys()]) {
      if (chips.has(status)) continue;
      const chip = createChip(status, "bulk operations with rows", () => toggle(status));
      chips.set(status, chip);
      legend.append(chip.button);
    }
    for (const [status, chip] of chips) chip.paint(rows.get(status) ?? 0, statuses.has(status));
  }

  /** @param {RunStatus} head */
  function paintMetrics(head) {
    setText(
      metrics.rate,
      orDash(head.rate, (rate) => `${whole.format(Math.round(rate))}/min`),
    );
    setText(metrics.cost, orDash(head.cost_usd, formatUsd));
    setText(metrics.balance, orDash(head.balance_usd, formatUsd));
    if (metrics.cost.parentElement) metrics.cost.parentElement.title = costTitle(head);
  }

  function tick() {
    const { head } = store.snapshot;
    setText(
      metrics.elapsed,
      orDash(head.started_at, (start) => clock((head.ended_at ?? store.now()) - start)),
    );
    notice.paint(notices(store));
  }

  function paint() {
    const { head } = store.snapshot;
    const key = head.phase ?? "";
    const [glyph, name] = PHASES.get(key) ?? [UNKNOWN_SYMBOL, key];
    setText(workflow, clip(head.workflow ?? "", 200));
    workflow.title = clip(head.workflow ?? "", 400);
    version.paint(head.version, (text) => text.slice(0, 8));
    run.paint(head.run, (text) => clip(text, 80));
    setAttribute(phase.node, "data-phase", key);
    phase.paint(glyph, name);
    paintMetrics(head);
    paintCounts(head);
    tick();
  }
  return { node, paint, tick };
}

/**
 * The search, the order, and how many lines are shown.
 *
 * @param {object} act
 * @param {(text: string) => void} act.onSearch
 * @param {(sort: Sort) => void} act.sortBy
 * @param {() => void} act.clear
 */
export function createToolbar({ onSearch, sortBy, clear }) {
  const search = createSearch("Find words or ids", "Filter by words in inputs, labels, errors and ids", onSearch);
  const options = Object.entries(SORTS).map(([value, { name }]) => h("option", { value }, name));
  const sort = h("select.elf-sort", { "aria-label": "Sort by" }, ...options);
  const clearButton = h("button.elf-clear", { type: "button" }, "Clear filters");
  const shown = h("span.elf-shown");
  on(sort, "change", () => sortBy(/** @type {Sort} */ (sort.value)));
  on(clearButton, "click", () => {
    clear();
    search.input.focus();
  });
  /**
   * @param {string} text
   * @param {boolean} isFiltered
   */
  function paint(text, isFiltered) {
    setText(shown, text);
    clearButton.classList.toggle("elf-invisible", !isFiltered);
  }
  const node = h("div.elf-toolbar", {}, search.input, sort, clearButton, shown);
  return { node, paint, put: search.put, destroy: search.destroy };
}

/** The names of the columns. They are hidden from a screen reader, to which each line names its values. */
export function createColumnNames() {
  /**
   * @param {string} name
   * @param {string} text
   * @param {string} title
   */
  const column = (name, text, title) => h(`span.elf-head-${name}`, { title }, text);
  return h(
    "div.elf-heads.elf-columns",
    { "aria-hidden": "true" },
    h("span"),
    column("bulk", "bulk_id", "Bulk operation of the rows"),
    column("worker", "Worker", "Host and process that sent the bulk operation"),
    column("bar", "Progress", "Rows by status"),
    column("counts", "Rows by status", "Number of rows per status"),
    column("age", "Age", "Since the bulk operation was sent"),
  );
}
