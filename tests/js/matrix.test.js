import assert from "node:assert/strict";
import { test } from "node:test";
import { createCardStore } from "../../eachlabs_frames/views/web/matrix_cards.js";
import { cellHeight, columnWidth } from "../../eachlabs_frames/views/web/matrix_cells.js";
import { spanOf } from "../../eachlabs_frames/views/web/matrix_headers.js";
import { FakeModel } from "./model.js";

test("a header spans places with the same texts down to its level", () => {
  const places = [
    ["a", "x"],
    ["a", "x"],
    ["a", "y"],
    ["b", "y"],
  ];
  assert.equal(spanOf(places, 0, 0, 4), 3);
  assert.equal(spanOf(places, 0, 1, 4), 2);
  assert.equal(spanOf(places, 2, 1, 4), 1);
  assert.equal(spanOf(places, 0, 0, 2), 2);
});

test("the size of a cell is known before it is filled", () => {
  const slots = (/** @type {number} */ count, label = "") => Array(count).fill({ label, marks: [], difference: null });
  const one = { sides: [], size: 100 };
  assert.equal(cellHeight({ slots: [], more: 0 }, one), 100);
  assert.equal(cellHeight({ slots: slots(4), more: 0 }, one), 100);
  assert.equal(cellHeight({ slots: slots(5), more: 0 }, one), 206);
  assert.equal(cellHeight({ slots: slots(5, "seed 1"), more: 2 }, one), 206 + 2 * 19 + 19);
  assert.equal(cellHeight({ slots: slots(3), more: 0 }, { sides: ["a", "b"], size: 100 }), 206);
  assert.equal(columnWidth(1, one), 117);
  assert.equal(columnWidth(9, one), columnWidth(4, one));
  assert.equal(columnWidth(1, { sides: ["a", "b"], size: 100 }), 223);
});

test("cards are requested together and once", async () => {
  const model = new FakeModel({ cards: [{ row: 0 }] });
  const store = createCardStore(model);
  /** @type {any[]} */
  const cards = [];
  for (const at of [0, 1, 1, 2]) store.request(at, (card) => cards.push(card?.row));
  await null;
  assert.deepEqual(model.takeSent(), [{ kind: "cards", at: [1, 2] }]);
  assert.deepEqual(cards, [0]);
  model.receive({ kind: "cards", cards: [{ row: 2 }, { row: 1 }] });
  assert.deepEqual(cards, [0, 2, 1, 1]);
  assert.equal(store.get(1)?.row, 1);
  assert.equal(store.get(3), null);
});

test("many cards are requested in parts", async () => {
  const model = new FakeModel({});
  const store = createCardStore(model);
  for (let at = 0; at < 250; at++) store.request(at, () => {});
  await null;
  assert.deepEqual(
    model.sent.map(({ at }) => at.length),
    [100, 100, 50],
  );
});

test("without a kernel there is no card", () => {
  const store = createCardStore(new FakeModel({ layout: { comm_live: false } }));
  /** @type {any[]} */
  const cards = [];
  store.request(1, (card) => cards.push(card));
  assert.deepEqual(cards, [null]);
});
