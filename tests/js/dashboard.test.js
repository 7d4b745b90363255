import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { notices, settledText } from "../../eachlabs_frames/views/web/dashboard_header.js";
import {
  chooseLines,
  countRows,
  describeCounts,
  LINE_HEIGHT,
  lineAt,
  rowsHeight,
  SORTS,
  sortLines,
  statusCounts,
  topOf,
} from "../../eachlabs_frames/views/web/dashboard_lines.js";
import { applyUpdate, createStore } from "../../eachlabs_frames/views/web/dashboard_store.js";
import { FakeModel } from "./model.js";

const WORDS = ["pending", "running", "completed", "failed"];

/** @returns {import("../../eachlabs_frames/views/web/dashboard_store.js").DashboardSnapshot} */
const snapshot = () => ({
  seq: 1,
  now: Date.now() / 1000,
  head: { phase: "tracking", total: 40 },
  statuses: WORDS,
  lines: [
    ["aaa", 10, [2, 5, 3, 5]],
    ["bbb", 20, [0, 10]],
    ["ccc", 30, [2, 10]],
    ["", null, [1, 0]],
  ],
  errors: [],
  more_errors: 0,
  rows: {},
});

const none = () => ({ statuses: new Set(), text: "", matches: null });

test("rows are counted by status, in the order of a bar", () => {
  assert.equal(countRows([2, 5, 3, 7], WORDS), 12);
  assert.equal(countRows([2, 5, 3, 7], WORDS, new Set(["failed"])), 7);
  const counts = statusCounts([0, 3, 3, 1, 2, 0, 9, 2], WORDS);
  assert.deepEqual(counts, [
    ["failed", 1],
    ["unknown", 2],
    ["pending", 3],
  ]);
  assert.equal(describeCounts(counts), "1 failed, 2 unknown, 3 pending");
  assert.equal(describeCounts([]), "no rows");
});

test("lines without rows are left out; the others match by status, by id, and by their rows", () => {
  const choose = (/** @type {object} */ filters, first = 0) =>
    chooseLines(snapshot(), { ...none(), ...filters }, first);
  assert.deepEqual(choose({}), { chosen: [0, 1, 2], all: 3 });
  assert.deepEqual(choose({ statuses: new Set(["failed", "pending"]) }).chosen, [0, 1]);
  assert.deepEqual(choose({ text: "BB" }).chosen, [1]);
  assert.deepEqual(choose({ text: "b", matches: new Set([2]) }).chosen, [1, 2]);
  assert.deepEqual(choose({}, 2), { chosen: [2], all: 1 });
});

test("lines are sorted by each order, equal ones by their place", () => {
  const places = Object.fromEntries(
    Object.keys(SORTS).map((sort) => [sort, sortLines([0, 1, 2], snapshot(), /** @type {any} */ (sort))]),
  );
  assert.deepEqual(places, {
    sent: [0, 1, 2],
    newest: [2, 1, 0],
    failures: [0, 1, 2],
    least: [1, 0, 2],
    most: [0, 2, 1],
  });
});

test("the positions of lines count the rows of opened ones", () => {
  const blocks = [
    { at: 1, height: 100 },
    { at: 3, height: 50 },
  ];
  for (let at = 0; at < 6; at++) {
    assert.equal(lineAt(blocks, topOf(blocks, at)), at);
    assert.equal(lineAt(blocks, topOf(blocks, at) + LINE_HEIGHT - 1), at);
  }
  assert.equal(topOf(blocks, 4), 4 * LINE_HEIGHT + 150);
  assert.equal(lineAt(blocks, topOf(blocks, 1) + LINE_HEIGHT + 99), 1);
  assert.equal(lineAt([], -5), 0);
});

test("opened rows have their height before they come", () => {
  const rows = (/** @type {number} */ count) => Array(count).fill({});
  const before = rowsHeight(undefined, 10, false);
  assert.equal(before, rowsHeight({ offset: 0, total: 10, rows: rows(10) }, 0, false));
  assert.equal(rowsHeight(undefined, 70, false), rowsHeight({ offset: 0, total: 70, rows: rows(50) }, 0, false));
  assert.ok(rowsHeight(undefined, 10, true) < before);
});

test("the percentage of settled rows is rounded down", () => {
  assert.equal(settledText(1_999, 2_000), "1,999 of 2,000 · 99%");
  assert.equal(settledText(2_000, 2_000), "2,000 of 2,000 · 100%");
  assert.equal(settledText(0, 0), "0 of 0");
});

test("notices name what is wrong, and else the phase", () => {
  const store = { snapshot: snapshot(), isLive: true, isDisconnected: false, since: Date.now() };
  assert.deepEqual(notices(store), [["phase", "All rows are sent. Executions are polled until they end."]]);
  store.snapshot.head = { problem: "No credit.", stale_since: 5, waiting_for: "A cap." };
  store.isDisconnected = true;
  assert.deepEqual(
    notices(store).map(([kind]) => kind),
    ["saved", "problem", "stale", "waiting"],
  );
  assert.deepEqual(notices({ ...store, isDisconnected: false, isLive: false, since: 0 })[0][0], "saved");
});

test("an update changes what it names", () => {
  const changed = snapshot();
  changed.errors = [[1, "first", ["a"]]];
  changed.lines[1].push("host:1");
  applyUpdate(changed, {
    seq: 2,
    now: 3,
    head: { rate: 5 },
    lines: [
      [1, 2, 10],
      [99, 2, 10],
    ],
    errors: [
      [0, 2],
      [2, 1, "third", ["c"]],
    ],
  });
  assert.deepEqual(changed.head, { phase: "tracking", total: 40, rate: 5 });
  assert.deepEqual(changed.lines[1], ["bbb", 20, [2, 10], "host:1"]);
  assert.equal(changed.lines.length, 4);
  assert.deepEqual(changed.errors, [
    [2, "first", ["a"]],
    [0, "", []],
    [1, "third", ["c"]],
  ]);
});

test("old updates are ignored, and a lost one is asked for", () => {
  const model = new FakeModel({ snapshot: snapshot() });
  const store = createStore(model);
  /** @type {any[]} */
  const changes = [];
  store.views.add({ opened: new Set(), changed: (change) => changes.push(change) });
  model.receive({ kind: "update", seq: 2, now: 5, added: [["ddd", 40, [0, 1]]] });
  model.receive({ kind: "update", seq: 2, now: 5, added: [["eee", 40, [0, 1]]] });
  assert.deepEqual(changes, [{ added: 4, lines: true }]);
  assert.deepEqual(model.takeSent(), []);
  model.receive({ kind: "update", seq: 4, now: 5, added: [["fff", 40, [0, 1]]] });
  assert.deepEqual(model.takeSent(), [{ kind: "sync" }]);
  assert.equal(store.snapshot.lines.length, 5, "the place of the new line is unknown");
  store.destroy();
});

test("opened rows are requested by page, and kept for another view", () => {
  const model = new FakeModel({ snapshot: snapshot() });
  const store = createStore(model);
  store.open(0);
  store.open(0);
  assert.deepEqual(model.takeSent(), [{ kind: "open", line: 0, offset: 0 }]);
  model.receive({ kind: "rows", line: 0, offset: 50, total: 60, rows: [{}] });
  assert.deepEqual(store.snapshot.rows, {}, "these are not the rows that were requested");
  model.receive({ kind: "rows", line: 0, offset: 0, total: 60, rows: [{}] });
  store.close(0);
  assert.equal(store.snapshot.rows[0].total, 60);
  store.close(0, true);
  assert.deepEqual(model.takeSent(), [{ kind: "close", line: 0 }]);
  assert.equal(store.snapshot.rows[0].total, 60);
});

test("rows beyond the end are replaced by the last page", () => {
  const model = new FakeModel({ snapshot: snapshot() });
  const store = createStore(model);
  store.open(0);
  store.page(0, 100);
  model.takeSent();
  model.receive({ kind: "rows", line: 0, offset: 60, total: 60, rows: [] });
  assert.deepEqual(model.takeSent(), [{ kind: "open", line: 0, offset: 10 }]);
});

test("a new snapshot keeps an opened line only where it is the same", () => {
  const model = new FakeModel({ snapshot: snapshot() });
  const store = createStore(model);
  const view = { opened: new Set([0, 1]), changed: () => {} };
  store.views.add(view);
  store.open(0);
  store.open(1);
  model.receive({ kind: "rows", line: 0, offset: 0, total: 1, rows: [{}] });
  model.takeSent();
  const next = snapshot();
  next.lines[1] = ["other", 20, [0, 1]];
  model.state.snapshot = next;
  model.emit("change:snapshot");
  assert.deepEqual([...view.opened], [0]);
  assert.deepEqual(model.takeSent(), [{ kind: "close", line: 1 }]);
  assert.equal(next.rows[0].total, 1);
});

test("the clock is the kernel's, and stands still without one", () => {
  mock.timers.enable({ apis: ["Date"], now: 1_000_000 });
  const model = new FakeModel({ snapshot: { ...snapshot(), now: 1_060 } });
  const store = createStore(model);
  assert.equal(store.now(), 1_060);
  assert.deepEqual(model.takeSent(), [{ kind: "sync" }], "a saved notebook asks whether there is a kernel");
  model.receive({ kind: "update", seq: 2, now: 1_100 });
  mock.timers.tick(5_000);
  assert.equal(store.now(), 1_105);
  model.state.layout = { comm_live: false };
  store.check();
  assert.equal(store.now(), 1_100);
  mock.timers.reset();
});
