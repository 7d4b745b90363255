import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { ownersOf } from "../../eachlabs_frames/views/web/comparison.js";
import { isKeyOfElement } from "../../eachlabs_frames/views/web/focus.js";
import { distribution } from "../../eachlabs_frames/views/web/rating.js";
import { keyOf } from "../../eachlabs_frames/views/web/stepper.js";
import { applyRequests, createStore, nextOpen } from "../../eachlabs_frames/views/web/stepper_store.js";
import { FakeModel } from "./model.js";

/**
 * @param {string} marks
 * @param {object} [others]
 */
const state = (marks, others = {}) => ({
  at: 0,
  marks,
  steps: [],
  processed: {},
  problem: null,
  details: {},
  ...others,
});

/**
 * @param {string} marks
 * @param {object} [others]
 */
const model = (marks, others) =>
  new FakeModel({ state: state(marks, others), window: { first: 0, items: ["a", "b"] } });

test("requests apply in order: a mark goes on, removing one stays, undo goes back", () => {
  const before = state("..1.", { at: 1 });
  const mark = applyRequests(before, [
    { kind: "mark", place: 1, mark: "3" },
    { kind: "mark", place: 2, mark: null },
  ]);
  assert.deepEqual(mark.marks, [".", "3", ".", "."]);
  assert.deepEqual([mark.at, mark.done, mark.size, mark.canUndo], [2, 1, 4, true]);
  assert.deepEqual([...mark.unconfirmed], [1, 2]);
  const undone = applyRequests(before, [{ kind: "mark", place: 1, mark: "3" }, { kind: "undo" }, { kind: "undo" }]);
  assert.deepEqual(undone.marks, [...before.marks]);
  assert.deepEqual([undone.at, undone.canUndo], [1, false]);
});

test("undo takes the kernel's steps, too, and going stays within the places", () => {
  const undone = applyRequests(state("5.", { at: 1, steps: [[0, "."]] }), [{ kind: "undo" }]);
  assert.deepEqual([undone.marks.join(""), undone.at, undone.done], ["..", 0, 0]);
  assert.equal(applyRequests(state(".."), [{ kind: "go", place: 9 }]).at, 2);
  assert.equal(applyRequests(state(".."), [{ kind: "go", place: -1 }]).at, 0);
});

test("a request of another kind changes no mark", () => {
  assert.deepEqual(applyRequests(state("1."), [{ kind: "reveal" }]).marks, ["1", "."]);
});

test("the next place without a mark is searched round to the start", () => {
  assert.equal(nextOpen({ marks: [...".1.1"] }, 0), 2);
  assert.equal(nextOpen({ marks: [...".1.1"] }, 2), 0);
  assert.equal(nextOpen({ marks: [..."11"] }, 0), -1);
});

test("a request takes effect at once and is confirmed by its number", () => {
  const fake = model("..");
  const store = createStore(fake);
  let paints = 0;
  store.views.add({ paint: () => (paints += 1) });
  store.ask({ kind: "mark", place: 0, mark: "4" });
  store.ask({ kind: "mark", place: 1, mark: "2" });
  assert.deepEqual([...store.now.unconfirmed], [0, 1]);
  const [{ sender, number }] = fake.sent;
  fake.state.state = state("4.", { at: 1, processed: { [sender]: number } });
  fake.emit("change:state");
  assert.deepEqual(store.now.marks, ["4", "2"]);
  assert.deepEqual([...store.now.unconfirmed], [1]);
  assert.equal(paints, 3);
  store.destroy();
});

test("a request without an answer is repeated under its number, less and less often", () => {
  mock.timers.enable({ apis: ["Date"], now: 1_000_000 });
  const fake = model("..");
  const store = createStore(fake);
  store.ask({ kind: "mark", place: 0, mark: "4" });
  const [first] = fake.takeSent();
  for (const [wait, repeats] of [
    [9_999, 0],
    [1, 1],
    [19_999, 0],
    [1, 1],
  ]) {
    mock.timers.tick(wait);
    store.repeat();
    assert.deepEqual(fake.takeSent(), Array(repeats).fill(first));
  }
  mock.timers.reset();
});

test("without a kernel nothing more is asked, and what is not confirmed stays so", () => {
  const fake = model("..");
  const store = createStore(fake);
  fake.isGone = true;
  store.ask({ kind: "mark", place: 0, mark: "4" });
  assert.equal(store.isDisconnected, true);
  store.ask({ kind: "mark", place: 1, mark: "4" });
  assert.deepEqual([...store.now.unconfirmed], [0]);
});

test("the window adds to what the kernel sent before", () => {
  const fake = model("...");
  const store = createStore(fake);
  fake.state.window = { first: 1, items: ["B", "c"] };
  fake.emit("change:window");
  assert.deepEqual(
    [...store.items],
    [
      [0, "a"],
      [1, "B"],
      [2, "c"],
    ],
  );
});

test("a key is named as in a map of keys, and shortcuts belong to others", () => {
  const key = (/** @type {object} */ event) =>
    keyOf({ key: "z", ctrlKey: false, metaKey: false, altKey: false, shiftKey: false, ...event });
  assert.equal(key({ key: "U" }), "u");
  assert.equal(key({ key: "ArrowLeft" }), "ArrowLeft");
  assert.equal(key({}), "z");
  assert.equal(key({ ctrlKey: true }), "Undo");
  assert.equal(key({ metaKey: true, key: "Z" }), "Undo");
  assert.equal(key({ ctrlKey: true, shiftKey: true }), "");
  assert.equal(key({ ctrlKey: true, key: "a" }), "");
  assert.equal(key({ altKey: true }), "");
});

test("players, buttons and scrolled texts keep their own keys", () => {
  const element = (/** @type {string} */ tag) =>
    /** @type {any} */ ({ matches: (/** @type {string} */ selector) => selector.split(", ").includes(tag) });
  const root = element("div");
  /** @type {[string, string, boolean][]} */
  const cases = [
    ["video", "ArrowLeft", true],
    ["video", " ", true],
    ["video", "3", false],
    ["button", " ", true],
    ["button", "ArrowLeft", false],
    ["button", "End", false],
    ["div", "End", true],
    ["div", "PageDown", true],
    ["div", "ArrowLeft", false],
  ];
  for (const [tag, key, expected] of cases) assert.equal(isKeyOfElement(element(tag), root, key), expected, tag + key);
  assert.equal(isKeyOfElement(root, root, "End"), false);
});

test("the distribution of scores leaves out other marks", () => {
  assert.deepEqual(distribution([..."1335.x"], 5), { counts: [1, 0, 2, 0, 1], scored: 4, mean: 3 });
  assert.equal(distribution([..."..x"], 5).mean, null);
});

test("whose a result is, is known only after the reveal", () => {
  const revealed = /** @type {any} */ ({ names: ["A", "B"], a_is_left: "10" });
  assert.deepEqual(ownersOf({ revealed: null }, 0), []);
  assert.deepEqual(ownersOf({ revealed }, 0), ["A", "B"]);
  assert.deepEqual(ownersOf({ revealed }, 1), ["B", "A"]);
});
