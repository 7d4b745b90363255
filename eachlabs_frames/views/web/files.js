/**
 * Files of the user's, which the kernel sends (`files.py`): `get(row, n)` gives a promise of a Blob, or of null where
 * it cannot be had, also because nobody answers: then what was linked is shown.
 */

import { isParted } from "./model.js";

const PATIENCE = 20_000; // a kernel answers nothing while it runs a cell

export function createFiles(model) {
  const wanted = new Map();

  function receive(message, buffers) {
    if (message?.kind !== "file") return;
    const key = `${message.row}-${message.n}`;
    wanted.get(key)?.give(message.type && buffers?.length ? new Blob([buffers[0]], { type: message.type }) : null);
    wanted.delete(key);
  }

  async function get(row, n) {
    const key = `${row}-${n}`;
    const before = wanted.get(key);
    if (before) return before.promise;
    if (isParted(model)) return null;
    const want = {};
    want.promise = new Promise((give) => (want.give = give));
    wanted.set(key, want);
    setTimeout(() => wanted.get(key) === want && receive({ kind: "file", row, n }), PATIENCE);
    try {
      model.send({ kind: "file", row, n });
    } catch {
      // a kernel that is gone sends nothing
      receive({ kind: "file", row, n });
    }
    return want.promise;
  }

  model.on("msg:custom", receive);
  return { get, destroy: () => model.off("msg:custom", receive) };
}
