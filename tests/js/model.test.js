import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { createFiles } from "../../eachlabs_frames/views/web/files.js";
import { isDisconnected, listen, trySend } from "../../eachlabs_frames/views/web/model.js";
import { FakeModel } from "./model.js";

test("a model is disconnected where Jupyter says so of its widget or of its comm", () => {
  for (const [layout, expected] of /** @type {[any, boolean][]} */ ([
    [undefined, false],
    [{ comm_live: true }, false],
    [{ comm_live: false }, true],
    [{ comm_live: true, comm: { jsServicesComm: { isDisposed: true } } }, true],
  ]))
    assert.equal(isDisconnected(new FakeModel({ layout })), expected);
});

test("sending to a kernel that is gone is no error", () => {
  const model = new FakeModel({});
  assert.equal(trySend(model, { kind: "sync" }), true);
  model.isGone = true;
  assert.equal(trySend(model, { kind: "sync" }), false);
  assert.deepEqual(model.sent, [{ kind: "sync" }]);
});

test("listeners are removed together", () => {
  const model = new FakeModel({});
  /** @type {string[]} */
  const heard = [];
  const stop = listen(model, { a: () => heard.push("a"), b: () => heard.push("b") });
  model.emit("a");
  model.emit("b");
  stop();
  model.emit("a");
  assert.deepEqual(heard, ["a", "b"]);
});

test("a file is requested once, and comes as a blob", async () => {
  const model = new FakeModel({});
  const files = createFiles(model);
  const both = Promise.all([files.get(3, 0), files.get(3, 0)]);
  assert.deepEqual(model.takeSent(), [{ kind: "file", row: 3, n: 0 }]);
  const message = { kind: "file", row: 3, n: 0, type: "image/png" };
  model.emit("msg:custom", message, [new DataView(new Uint8Array([1, 2]).buffer)]);
  const [blob, same] = await both;
  assert.equal(blob, same);
  assert.equal(blob?.type, "image/png");
  assert.equal(blob?.size, 2);
  files.destroy();
});

test("a file that cannot be had is null: none, no kernel, or no answer", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const model = new FakeModel({});
  const files = createFiles(model);
  const none = files.get(0, 0);
  model.receive({ kind: "file", row: 0, n: 0, type: null });
  assert.equal(await none, null);
  const unanswered = files.get(0, 1);
  mock.timers.tick(20_000);
  assert.equal(await unanswered, null);
  model.isGone = true;
  assert.equal(await files.get(0, 2), null);
  model.state.layout = { comm_live: false };
  assert.equal(await files.get(0, 3), null);
  mock.timers.reset();
});
