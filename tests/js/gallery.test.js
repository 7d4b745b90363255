import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { labelLines } from "../../eachlabs_frames/views/web/cards.js";
import { countStatuses, matchingRows } from "../../eachlabs_frames/views/web/gallery_filters.js";
import { noticeText } from "../../eachlabs_frames/views/web/gallery_header.js";
import { applyUpdate, createStore, findRows } from "../../eachlabs_frames/views/web/gallery_store.js";
import { FakeModel } from "./model.js";

const snapshot = () => ({
  seq: 1,
  now: 10,
  title: "Run",
  notice: "Waiting",
  columns: 4,
  size: 220,
  page: 100,
  statuses: ["completed", "failed"],
  codes: [0, 1, 0, 9],
  cards: /** @type {any[]} */ ([]),
});

/**
 * @param {number} row
 * @param {object} [others]
 * @returns {any}
 */
const card = (row, others) => ({ row, label: `row ${row}`, error: null, text: null, input: [], media: [], ...others });

test("a long part of a label has a line of its own, and lines beyond the third are joined", () => {
  assert.deepEqual(labelLines("a · b"), ["a · b"]);
  const long = "a long part of a label here";
  assert.deepEqual(labelLines(`a · ${long} · b`), ["a", long, "b"]);
  assert.deepEqual(labelLines([long, long, long, "b"].join(" · ")), [long, long, `${long} · b`]);
});

test("rows are counted by status, unknown codes as unknown", () => {
  assert.deepEqual(
    countStatuses(snapshot()),
    new Map([
      ["completed", 2],
      ["failed", 1],
      ["unknown", 1],
    ]),
  );
});

test("rows match by status and by a search, once it is answered", () => {
  const all = { statuses: new Set(), text: "", matches: null };
  const rows = (/** @type {object} */ filters) => matchingRows(snapshot(), { ...all, ...filters });
  assert.deepEqual(rows({}), [0, 1, 2, 3]);
  assert.deepEqual(rows({ statuses: new Set(["completed"]) }), [0, 2]);
  assert.deepEqual(rows({ text: "x" }), [0, 1, 2, 3]);
  assert.deepEqual(rows({ text: "x", matches: new Set([1, 2]) }), [1, 2]);
  assert.deepEqual(rows({ statuses: new Set(["completed"]), text: "x", matches: new Set([1, 2]) }), [2]);
});

test("a search looks into label, error, output and input, in any case", () => {
  const cards = [
    card(0),
    card(1, { error: "TIMEOUT" }),
    card(2, { text: "timeout" }),
    card(3, { input: [["a", "Timeout"]] }),
  ];
  assert.deepEqual(findRows(cards, "timeOUT"), [1, 2, 3]);
  assert.deepEqual(findRows(cards, "row 0"), [0]);
});

test("an update changes what it names", () => {
  const changed = snapshot();
  applyUpdate(changed, { seq: 2, now: 11, notice: null, codes: [1, 0, 4, 1] });
  assert.deepEqual(changed, { ...snapshot(), seq: 2, now: 11, notice: null, codes: [0, 0, 0, 9, 1] });
});

test("visible rows are watched; after a lost update all of them are asked for", () => {
  const model = new FakeModel({ snapshot: { ...snapshot(), cards: [card(0)] } });
  const store = createStore(model);
  /** @type {any[]} */
  const changes = [];
  store.views.add({ watched: [0, 1], changed: (change) => changes.push(change) });
  store.watch();
  assert.deepEqual(model.takeSent(), [{ kind: "watch", seq: 1, rows: [0, 1], missing: [1] }]);
  model.receive({ kind: "update", seq: 2, now: 12, cards: [card(1)] });
  assert.equal(model.state.snapshot.cards.length, 2);
  store.watch();
  assert.deepEqual(model.takeSent(), []);
  model.receive({ kind: "update", seq: 4, now: 14, codes: [0, 1] });
  model.receive({ kind: "update", seq: 3, now: 13, codes: [0, 0] });
  assert.equal(store.snapshot.codes[0], 1);
  assert.deepEqual(changes, [{ codes: false }, { codes: true }]);
  mock.timers.enable({ apis: ["Date"], now: Date.now() + 60_000 });
  store.watch();
  mock.timers.reset();
  assert.deepEqual(model.takeSent(), [{ kind: "watch", seq: -1, rows: [0, 1], missing: [0, 1] }]);
  store.destroy();
});

test("without an answer, a search finds what is here", () => {
  const model = new FakeModel({ snapshot: { ...snapshot(), cards: [card(0), card(2)] } });
  const store = createStore(model);
  /** @type {any[]} */
  const changes = [];
  store.views.add({ watched: [], changed: (change) => changes.push(change) });
  store.find("row 2");
  assert.deepEqual(changes, [{ matches: { text: "row 2", rows: [2] } }]);
  assert.deepEqual(model.takeSent(), [{ kind: "find", text: "row 2" }]);
});

test("a saved page asks nothing", () => {
  const model = new FakeModel({ snapshot: snapshot(), is_page: true });
  const store = createStore(model, { get: async () => null });
  store.watch();
  store.find("x");
  assert.deepEqual(model.sent, []);
});

test("a notice says that there is no kernel, and of a saved page when it was saved", () => {
  const store = { isDisconnected: false, isLive: true, isPage: false, missing: 0, since: 0, snapshot: snapshot() };
  const text = (/** @type {object} */ others) => noticeText(/** @type {any} */ ({ ...store, ...others }));
  assert.equal(text({}), "Waiting");
  assert.match(text({ isPage: true }), /^State at .*: Waiting$/);
  assert.match(text({ isDisconnected: true }), /No kernel is connected\.$/);
  assert.match(text({ isLive: false, missing: 2 }), /No kernel is connected; only saved cards are shown\.$/);
  assert.equal(text({ isLive: false, missing: 2, since: Date.now() }), "Waiting");
});
