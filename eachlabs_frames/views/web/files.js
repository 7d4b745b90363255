/**
 * Requests files of the user from the kernel, which sends them as buffers (see `common/view_files.py`). A file that
 * does not come, also because no kernel is there, is null: its view shows the URL instead.
 *
 * @typedef {object} Request
 * @property {Promise<Blob | null>} promise
 * @property {(blob: Blob | null) => void} resolve
 * @property {ReturnType<typeof setTimeout>} timer
 */

/** @import { Files, Model } from "./model.js" */
import { isDisconnected, listen, trySend } from "./model.js";

const FILE_TIMEOUT = 20_000; // milliseconds; a kernel answers nothing while it runs a cell

/**
 * @param {Model} model
 * @returns {Files & { destroy: () => void }}
 */
export function createFiles(model) {
  /** @type {Map<string, Request>} */
  const requests = new Map();

  /**
   * @param {{ kind: string, row: number, n: number, type?: string }} message
   * @param {DataView<ArrayBuffer>[]} [buffers]
   */
  function receive(message, buffers) {
    if (message?.kind !== "file") return;
    const key = `${message.row}-${message.n}`;
    const blob = message.type && buffers?.[0] ? new Blob([buffers[0]], { type: message.type }) : null;
    const request = requests.get(key);
    if (!request) return;
    clearTimeout(request.timer);
    requests.delete(key);
    request.resolve(blob);
  }

  /**
   * @param {number} row
   * @param {number} n
   */
  async function get(row, n) {
    const key = `${row}-${n}`;
    const pending = requests.get(key);
    if (pending) return pending.promise;
    if (isDisconnected(model)) return null;
    const fail = () => receive({ kind: "file", row, n });
    const request = createRequest(setTimeout(fail, FILE_TIMEOUT));
    requests.set(key, request);
    if (!trySend(model, { kind: "file", row, n })) fail();
    return request.promise;
  }

  return { get, destroy: listen(model, { "msg:custom": receive }) };
}

/**
 * What `Promise.withResolvers` gives, which browsers before 2024 do not have.
 *
 * @param {Request["timer"]} timer
 * @returns {Request}
 */
function createRequest(timer) {
  /** @type {Request["resolve"]} */
  let resolve = () => {};
  const promise = new Promise((/** @type {Request["resolve"]} */ settle) => {
    resolve = settle;
  });
  return { promise, resolve, timer };
}
