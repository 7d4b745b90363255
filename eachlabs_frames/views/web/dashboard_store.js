/**
 * Keeps what a dashboard shows (see `dashboard/messages.py` for the messages), once per model.
 *
 * The store is the synced object `snapshot` itself, which updates change in place, so that a notebook saved at any
 * moment holds the current state. The kernel's state is never written.
 *
 * @typedef {object} RunStatus The state of the run.
 * @property {string} [workflow]
 * @property {string | null} [version]
 * @property {string} [run]
 * @property {string} [phase]
 * @property {number} [total]
 * @property {number} [accepted] rows that have an execution
 * @property {Record<string, number>} [counts] rows by status
 * @property {number | null} [cost_usd]
 * @property {number} [superseded] executions of rows that were triggered again
 * @property {number} [superseded_cost_usd]
 * @property {number | null} [balance_usd]
 * @property {number | null} [started_at]
 * @property {number | null} [ended_at]
 * @property {number | null} [rate] rows settled per minute
 * @property {string | null} [waiting_for]
 * @property {number | null} [stale_since]
 * @property {string | null} [problem]
 *
 * @typedef {{ kind: string, url?: string, text?: string }} MediaMessage
 *
 * @typedef {object} RowMessage
 * @property {string} label
 * @property {string} title
 * @property {string | null} execution_id
 * @property {string} status
 * @property {string | null} error
 * @property {MediaMessage | null} output
 * @property {number | null} cost_usd
 * @property {number | null} seconds
 *
 * @typedef {object} OpenedLine The rows of an opened line.
 * @property {number} offset
 * @property {number} total
 * @property {RowMessage[]} rows
 *
 * @typedef {[rows: number, message: string, labels: string[]]} ErrorGroup
 *
 * @typedef {object} DashboardSnapshot
 * @property {number} seq
 * @property {number} now epoch seconds by the kernel's clock
 * @property {RunStatus} head
 * @property {string[]} statuses
 * @property {LineData[]} lines
 * @property {ErrorGroup[]} errors
 * @property {number} more_errors messages that are not in `errors`
 * @property {Record<number, OpenedLine>} rows by place of a line
 *
 * @typedef {object} DashboardUpdate
 * @property {number} seq
 * @property {number} now
 * @property {RunStatus} [head]
 * @property {string[]} [statuses]
 * @property {LineData[]} [added]
 * @property {number[][]} [lines] place of a line and its counts
 * @property {[group: number, rows: number, message?: string, labels?: string[]][]} [errors]
 * @property {number} [more_errors]
 *
 * @typedef {{ text: string, lines: number[] }} FoundLines of a search
 *
 * @typedef {object} Change
 * @property {boolean} [reset] whether everything may have changed
 * @property {number | null} [added] the place of the first line that was added
 * @property {boolean} [lines] whether lines changed
 * @property {FoundLines} [matches]
 *
 * @typedef {object} Subscription An opened line, whose rows the kernel sends.
 * @property {number} views the number of views in which it is open
 * @property {number} offset of the rows that were requested
 * @property {number | null} requestedAt null where the kernel has answered
 *
 * @typedef {object} Store
 * @property {DashboardSnapshot} snapshot
 * @property {Map<string, number>} places of the lines, by bulk id
 * @property {Map<number, Subscription>} subscriptions by place of a line
 * @property {boolean} isLive whether the kernel has answered
 * @property {boolean} isDisconnected
 * @property {number} since when the store was created, in milliseconds
 * @property {Set<{ opened: Set<number>, changed: (change: Change) => void }>} views
 * @property {() => number} now the kernel's clock, in epoch seconds; without a kernel it stands still
 * @property {(line: number, offset: number) => void} page
 * @property {(line: number) => void} open
 * @property {(line: number, isKept?: boolean) => void} close `isKept`: the rows stay in the snapshot, for another view
 * @property {(text: string) => void} find
 * @property {() => void} check whether the kernel is gone
 * @property {() => void} destroy
 */

/** @import { LineData } from "./dashboard_lines.js" */
/** @import { Model } from "./model.js" */
import { PAGE } from "./dashboard_lines.js";
import { h } from "./dom.js";
import { isDisconnected, listen, trySend } from "./model.js";

const SYNC_AGAIN = 5_000; // milliseconds

/** @returns {DashboardSnapshot} */
const emptySnapshot = () => ({
  seq: 0,
  now: Date.now() / 1000,
  head: {},
  statuses: [],
  lines: [],
  errors: [],
  more_errors: 0,
  rows: {},
});

/**
 * Change a snapshot to what an update says, its added lines apart.
 *
 * @param {DashboardSnapshot} snapshot
 * @param {DashboardUpdate} update
 */
export function applyUpdate(snapshot, { seq, now, head, statuses, lines = [], errors = [], more_errors: more }) {
  Object.assign(snapshot, { seq, now });
  Object.assign(snapshot.head, head);
  snapshot.statuses = statuses ?? snapshot.statuses;
  snapshot.more_errors = more ?? snapshot.more_errors;
  for (const [place, ...counts] of lines) if (snapshot.lines[place]) snapshot.lines[place][2] = counts;
  for (const [group, rows, message, labels = []] of errors) {
    while (snapshot.errors.length <= group) snapshot.errors.push([0, "", []]);
    if (message === undefined) snapshot.errors[group][0] = rows;
    else snapshot.errors[group] = [rows, message, labels];
  }
}

/**
 * @param {Model} model
 * @returns {Store}
 */
export function createStore(model) {
  /** @type {DashboardSnapshot | undefined} */
  let raw;
  let skew = 0; // seconds that the kernel's clock is ahead
  let isOutOfStep = false; // whether an update was lost
  let syncRequestedAt = -Infinity;
  /** @type {Store} */
  const store = {
    snapshot: emptySnapshot(),
    places: new Map(),
    subscriptions: new Map(),
    isLive: false,
    isDisconnected: false,
    since: Date.now(),
    views: new Set(),
    now: () => (store.isLive ? Date.now() / 1000 + skew : store.snapshot.now),
    page,
    open,
    close,
    find: (text) => send({ kind: "find", text }),
    check,
    destroy,
  };

  /** @param {Change} change */
  function notify(change) {
    for (const view of store.views) view.changed(change);
  }

  /** @param {number} now the kernel's clock */
  function setLive(now) {
    // Too small by the time the message took, so the largest measurement is the best.
    const measured = now - Date.now() / 1000;
    if (!store.isLive || measured > skew || skew - measured > 2) skew = measured;
    Object.assign(store, { isLive: true, isDisconnected: false });
  }

  function disconnect() {
    if (store.isDisconnected) return;
    Object.assign(store, { isLive: false, isDisconnected: true });
    notify({});
  }

  function check() {
    if (isDisconnected(model)) disconnect();
  }

  /** @param {object} message */
  function send(message) {
    if (!trySend(model, message)) disconnect();
  }

  function sync() {
    if (Date.now() - syncRequestedAt < SYNC_AGAIN) return;
    syncRequestedAt = Date.now();
    send({ kind: "sync" });
  }

  /** Take the model's snapshot as the store, which the kernel or the notebook may have replaced. */
  function adopt() {
    const before = store.snapshot;
    raw = model.get("snapshot");
    const snapshot = raw ?? emptySnapshot();
    store.snapshot = Object.assign(snapshot, { ...emptySnapshot(), ...snapshot });
    store.places = new Map(snapshot.lines.map(([bulkId], place) => [bulkId, place]));
    isOutOfStep = false;
    syncRequestedAt = -Infinity;
    for (const line of store.subscriptions.keys()) {
      if (snapshot.lines[line]?.[0] !== before.lines[line]?.[0]) drop(line);
      else if (before.rows[line]) snapshot.rows[line] ??= before.rows[line];
    }
    notify({ reset: true });
  }

  /** @param {number} line */
  function drop(line) {
    store.subscriptions.delete(line);
    for (const view of store.views) view.opened.delete(line);
    send({ kind: "close", line });
  }

  /** @param {DashboardUpdate} message */
  function update(message) {
    const { snapshot } = store;
    if (message.seq <= snapshot.seq) return;
    isOutOfStep ||= message.seq > snapshot.seq + 1;
    const length = snapshot.lines.length;
    for (const line of message.added ?? []) add(line);
    applyUpdate(snapshot, message);
    if (isOutOfStep) sync();
    const added = snapshot.lines.length > length ? length : null;
    notify({ added, lines: Boolean(message.lines || message.added) });
  }

  /** @param {LineData} line */
  function add(line) {
    const place = store.places.get(line[0]);
    if (place !== undefined)
      store.snapshot.lines[place] = line; // the snapshot held it already
    else if (!isOutOfStep) store.places.set(line[0], store.snapshot.lines.push(line) - 1); // else its place is unknown
  }

  /** @param {{ line: number } & OpenedLine} message */
  function takeRows({ line, offset, total, rows }) {
    const subscription = store.subscriptions.get(line);
    if (!subscription || (offset !== subscription.offset && offset !== total)) return; // the kernel cuts an offset beyond the end
    if (!rows.length && total > 0 && offset > 0) return page(line, Math.max(0, total - PAGE));
    Object.assign(subscription, { offset, requestedAt: null });
    store.snapshot.rows[line] = { offset, total, rows };
    notify({});
  }

  /**
   * @param {{ kind: string, now?: number } & Record<string, any>} message
   * @param {DataView<ArrayBuffer>[]} [buffers]
   */
  function receive(message, buffers) {
    if (model.get("snapshot") !== raw) adopt(); // Backbone replaces it by an equal object without an event
    setLive(message.now ?? Date.now() / 1000 + skew);
    if (message.kind === "update") update(/** @type {any} */ (message));
    else if (message.kind === "rows") takeRows(/** @type {any} */ (message));
    else if (message.kind === "found") notify({ matches: /** @type {any} */ (message) });
    else if (message.kind === "file") saveFile(/** @type {any} */ (message), buffers);
  }

  /**
   * @param {number} line
   * @param {number} offset
   */
  function page(line, offset) {
    const subscription = store.subscriptions.get(line);
    if (subscription) Object.assign(subscription, { offset, requestedAt: Date.now() });
    send({ kind: "open", line, offset });
  }

  /** @param {number} line */
  function open(line) {
    const subscription = store.subscriptions.get(line);
    if (subscription) {
      subscription.views += 1;
      return;
    }
    store.subscriptions.set(line, { views: 1, offset: 0, requestedAt: null });
    page(line, store.snapshot.rows[line]?.offset ?? 0);
  }

  /**
   * @param {number} line
   * @param {boolean} [isKept]
   */
  function close(line, isKept = false) {
    const subscription = store.subscriptions.get(line);
    if (!subscription) return;
    subscription.views -= 1;
    if (subscription.views) return;
    store.subscriptions.delete(line);
    if (!isKept) delete store.snapshot.rows[line];
    send({ kind: "close", line });
  }

  function replaced() {
    if (model.get("snapshot") === raw) return;
    adopt();
    setLive(store.snapshot.now);
  }

  adopt();
  check();
  if (!store.isDisconnected) {
    if (Math.abs(Date.now() / 1000 - store.snapshot.now) < 5) setLive(store.snapshot.now);
    else sync(); // of a saved notebook: there may be no kernel
  }
  const stopListening = listen(model, { "change:snapshot": replaced, "msg:custom": receive, comm_live_update: check });
  function destroy() {
    stopListening();
  }
  return store;
}

/**
 * @param {{ name: string, type: string }} file
 * @param {DataView<ArrayBuffer>[]} [buffers]
 */
function saveFile({ name, type }, buffers) {
  const href = URL.createObjectURL(new Blob(buffers?.slice(0, 1) ?? [], { type }));
  const link = h("a", { href, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}
