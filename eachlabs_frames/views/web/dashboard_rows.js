/** Shows the rows of an opened line of a dashboard, a page at a time. */

/** @import { RowMessage, Store, Subscription } from "./dashboard_store.js" */
import { countRows, PAGE, rowsHeight } from "./dashboard_lines.js";
import { createId, createOutput } from "./dashboard_parts.js";
import { createLabel, h, on, setText, textBox } from "./dom.js";
import { clip, costAndTime, whole } from "./format.js";
import { NO_KERNEL } from "./model.js";

const SLOW = 10_000; // milliseconds after which a note says that the kernel has not answered

/** @type {[name: string, title: string][]} */
const COLUMNS = [
  ["Row", "Label in the frame's index"],
  ["Label", "Label of the row (label=)"],
  ["Execution", "Execution id"],
  ["Status", "Status of the execution"],
  ["Result", "Output or error"],
  ["Cost", "Cost in USD"],
  ["Time", "Duration of the execution"],
];

/**
 * @typedef {object} Root What all parts of a view use.
 * @property {HTMLElement} root
 * @property {(text: string) => void} announce
 * @property {() => void} repaint the lines
 */

/**
 * The height of the rows of a line.
 *
 * @param {Store} store
 * @param {number} line
 */
export function heightOf({ snapshot, isDisconnected }, line) {
  return rowsHeight(snapshot.rows[line], countRows(snapshot.lines[line][2], snapshot.statuses), isDisconnected);
}

/**
 * What stands in place of rows that have not come.
 *
 * @param {Pick<Store, "isLive" | "isDisconnected">} store
 * @param {Subscription | undefined} subscription
 */
function waitingText({ isLive, isDisconnected }, subscription) {
  const waited = subscription ? Date.now() - (subscription.requestedAt ?? 0) : 0;
  if (isLive) return waited > SLOW ? "the kernel has not responded yet…" : "asking the kernel…";
  return isDisconnected || waited > NO_KERNEL ? "showing rows needs a running kernel" : "asking the kernel…";
}

/**
 * @param {number} line
 * @param {Store} store
 * @param {Root} view
 * @param {string} id
 */
export function createRows(line, store, view, id) {
  const names = COLUMNS.map(([name, title]) =>
    h(`span.elf-head-${name.toLowerCase()}`, { role: "columnheader", title }, name),
  );
  const table = h("div.elf-table", { role: "table", "aria-label": "Rows" });
  table.append(h("div.elf-row-heads", { role: "row" }, ...names));
  const message = h("div.elf-message");
  const place = h("span");
  const earlier = on(h("button.elf-button.elf-earlier", { type: "button" }, "earlier"), "click", () => turn(-1));
  const more = on(h("button.elf-button.elf-more", { type: "button" }, "more"), "click", () => turn(1));
  const foot = h("div.elf-foot", {}, place, earlier, more);
  const node = h("div.elf-rows", { id }, table, message, foot);
  /** @type {ReturnType<typeof createRow>[]} */
  const shown = [];

  /** @param {1 | -1} direction */
  function turn(direction) {
    const { offset, rows } = store.snapshot.rows[line];
    store.page(line, Math.max(0, offset + (direction > 0 ? rows.length : -PAGE)));
    view.repaint();
  }

  /** @param {RowMessage[]} rows */
  function paintRows(rows) {
    table.classList.toggle("elf-untitled", !rows.some((row) => row.title));
    for (const row of shown.splice(rows.length)) row.node.remove();
    for (const [at, row] of rows.entries()) {
      if (!shown[at]) {
        const created = createRow(view);
        shown.push(created);
        table.append(created.node);
      }
      shown[at].paint(row);
    }
  }

  function paintFoot() {
    const opened = store.snapshot.rows[line];
    const count = opened?.rows.length ?? 0;
    foot.hidden = !opened || opened.total <= count;
    if (foot.hidden) return;
    const subscription = store.subscriptions.get(line);
    const { offset, total } = opened;
    const isTurning = Boolean(subscription?.requestedAt && subscription.offset !== offset);
    const range = `rows ${whole.format(offset + 1)}–${whole.format(offset + count)} of ${whole.format(total)}`;
    setText(place, isTurning ? waitingText(store, subscription) : range);
    earlier.disabled = isTurning || offset === 0;
    more.disabled = isTurning || total <= offset + count;
  }

  function paint() {
    const opened = store.snapshot.rows[line];
    node.style.height = `${heightOf(store, line)}px`;
    message.hidden = Boolean(opened?.rows.length);
    setText(message, opened ? "no rows" : waitingText(store, store.subscriptions.get(line)));
    paintRows(opened?.rows ?? []);
    paintFoot();
  }
  return { node, paint };
}

/**
 * @param {string} name
 * @param {...(Node | string)} children
 */
const createCell = (name, ...children) => h(`div.${name}`, { role: "cell" }, ...children);

/** @param {Root} view */
function createRow(view) {
  const label = createCell("elf-label");
  label.dir = "auto";
  const titleText = h("span");
  const title = createCell("elf-row-title", titleText);
  title.dir = "auto";
  const id = createId("execution id", view.root, view.announce);
  const execution = createCell("elf-execution", id.button);
  const status = createLabel("div.elf-status", { role: "cell" });
  const result = createCell("elf-result");
  const cost = createCell("elf-cost");
  const seconds = createCell("elf-seconds");
  const node = h("div.elf-row", { role: "row" }, label, title, execution, status.node, result, cost, seconds);
  /** @type {RowMessage | null} */
  let painted = null;
  let paintedResult = "";

  /** @param {RowMessage} row */
  function paint(row) {
    if (row === painted) return;
    painted = row;
    setText(label, clip(row.label, 200));
    label.title = clip(row.label, 400);
    title.title = clip(row.title ?? "", 400);
    setText(titleText, title.title);
    id.button.hidden = !row.execution_id;
    id.paint(row.execution_id ?? "");
    status.paintStatus(row.status);
    const [costText, secondsText] = costAndTime(row);
    setText(cost, costText);
    setText(seconds, secondsText);
    // An image must not be loaded again, nor a text lose its scroll position, because a row's cost became known.
    const content = JSON.stringify([row.error, row.output]);
    if (content !== paintedResult) result.replaceChildren(...createResult(row));
    paintedResult = content;
  }
  return { node, paint };
}

/** @param {RowMessage} row */
function createResult({ error, output, label }) {
  const box = error ? [textBox("elf-error", error, `error of row ${clip(label, 60)}`)] : [];
  return output ? [...box, ...createOutput(output, label)] : box;
}
