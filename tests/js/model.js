/** A model whose kernel is played by a test. */

/** @import { Model } from "../../eachlabs_frames/views/web/model.js" */

export class FakeModel {
  /** @param {Record<string, any>} state */
  constructor(state) {
    this.state = state;
    /** @type {any[]} */
    this.sent = [];
    this.isGone = false;
    /** @type {Map<string, Set<(...values: any[]) => void>>} */
    this.listeners = new Map();
  }

  /** @param {string} name */
  get(name) {
    return this.state[name];
  }

  /** @type {Model["on"]} */
  on(event, listener) {
    this.listeners.set(event, (this.listeners.get(event) ?? new Set()).add(listener));
  }

  /** @type {Model["off"]} */
  off(event, listener) {
    this.listeners.get(event)?.delete(listener);
  }

  /** @param {object} message */
  send(message) {
    if (this.isGone) throw new Error("the comm is closed");
    this.sent.push(structuredClone(message));
  }

  /**
   * @param {string} event
   * @param {...any} values
   */
  emit(event, ...values) {
    for (const listener of this.listeners.get(event) ?? []) listener(...values);
  }

  /** @param {object} message */
  receive(message) {
    this.emit("msg:custom", structuredClone(message), []);
  }

  /** What was sent since the last call. */
  takeSent() {
    return this.sent.splice(0);
  }
}
