/**
 * Keeps the state of a stepper, a widget whose results are marked one after the other (see `review/stepper.py`).
 *
 * A request takes effect here at once, as not confirmed, and is repeated until the kernel's state says that it was
 * received. The model's state itself is never written.
 *
 * @typedef {object} ReviewState The synced trait `state`.
 * @property {number} at the place that is shown; behind the last one: the end
 * @property {string} marks a character for each place
 * @property {[number, string][]} steps those that can be undone: a place and its earlier mark
 * @property {Record<string, number>} processed the number of the last request received, by sender
 * @property {string | null} problem
 * @property {any} details what only one kind of stepper has
 *
 * @typedef {object} ReviewRequest
 * @property {string} kind "mark", "undo", "go", or a kind of the widget's own
 * @property {number} [place] of "mark" and "go"
 * @property {string | null} [mark] of "mark"; null removes it
 *
 * @typedef {ReviewRequest & { sender: string, number: number }} Message
 *
 * @typedef {object} Applied The state with the requests that are not confirmed.
 * @property {number} at
 * @property {number} size
 * @property {string[]} marks
 * @property {Set<number>} unconfirmed places
 * @property {number} done
 * @property {boolean} canUndo
 *
 * @typedef {Applied & { problem: string | null, details: any, waiting: number, since: number | null }} Now
 *
 * @typedef {object} Store
 * @property {Now} now
 * @property {Map<number, any>} items what is to be marked, by place, as far as the kernel has sent it
 * @property {boolean} isDisconnected
 * @property {Set<{ paint: () => void }>} views
 * @property {(request: ReviewRequest) => void} ask
 * @property {() => void} repeat send again what has no answer for long
 * @property {() => void} check whether the kernel is gone
 * @property {() => void} destroy
 */

/** @import { Model } from "./model.js" */
import { isDisconnected, listen, trySend } from "./model.js";

/** In `marks`: a place without a mark. */
export const OPEN = ".";

const REPEAT_AFTER = 10_000; // milliseconds; the kernel ignores a number that it has received

/**
 * Apply requests to the kernel's state, as it will.
 *
 * @param {Pick<ReviewState, "at" | "marks" | "steps">} state
 * @param {ReviewRequest[]} requests
 * @returns {Applied}
 */
export function applyRequests(state, requests) {
  const marks = [...state.marks];
  const steps = [...state.steps];
  /** @type {Set<number>} */
  const unconfirmed = new Set();
  let { at } = state;
  for (const { kind, place = 0, mark } of requests) {
    if (kind === "mark") {
      steps.push([place, marks[place]]);
      marks[place] = mark ?? OPEN;
      unconfirmed.add(place);
      at = mark === null ? place : place + 1;
    } else if (kind === "undo") {
      const step = steps.pop();
      if (!step) continue;
      [at] = step;
      marks[at] = step[1];
      unconfirmed.add(at);
    } else if (kind === "go") at = Math.max(0, Math.min(place, marks.length));
  }
  const done = marks.filter((mark) => mark !== OPEN).length;
  return { at, size: marks.length, marks, unconfirmed, done, canUndo: steps.length > 0 };
}

/**
 * The next place without a mark, searched from behind `after` on and then from the start; -1 where there is none.
 *
 * @param {Pick<Applied, "marks">} applied
 * @param {number} after
 */
export function nextOpen({ marks }, after) {
  const place = marks.indexOf(OPEN, after + 1);
  return place >= 0 ? place : marks.indexOf(OPEN);
}

/**
 * One per model.
 *
 * @param {Model} model
 * @returns {Store}
 */
export function createStore(model) {
  const sender = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
  /** @type {(Message & { since: number })[]} */
  let waiting = [];
  let number = 0;
  let sentAt = 0;
  let pause = REPEAT_AFTER;
  /** @type {Store} */
  const store = {
    now: read(),
    items: new Map(),
    isDisconnected: false,
    views: new Set(),
    ask,
    repeat,
    check,
    destroy,
  };

  /** @returns {Now} */
  function read() {
    /** @type {ReviewState} */
    const state = model.get("state");
    waiting = waiting.filter((request) => request.number > (state.processed[sender] ?? 0));
    const { problem, details } = state;
    const since = waiting[0]?.since ?? null;
    return { ...applyRequests(state, waiting), problem, details, waiting: waiting.length, since };
  }

  function update() {
    store.now = read();
    for (const view of store.views) view.paint();
  }

  function takeWindow() {
    const { first, items } = /** @type {{ first: number, items: any[] }} */ (model.get("window"));
    items.forEach((item, at) => store.items.set(first + at, item));
  }

  function disconnect() {
    if (store.isDisconnected) return;
    store.isDisconnected = true;
    update();
  }

  /** @param {Message} message */
  function send(message) {
    if (!trySend(model, message)) disconnect();
  }

  /** @param {ReviewRequest} request */
  function ask(request) {
    if (store.isDisconnected) return;
    number += 1;
    const message = { ...request, sender, number };
    if (!waiting.length) pause = REPEAT_AFTER;
    sentAt = Date.now();
    waiting.push({ ...message, since: sentAt });
    send(message);
    update();
  }

  function repeat() {
    if (store.isDisconnected || !waiting.length || Date.now() - sentAt < pause) return;
    sentAt = Date.now();
    pause *= 2; // the kernel may be busy for an hour
    for (const { since: _, ...message } of waiting) send(message);
  }

  function check() {
    if (isDisconnected(model)) disconnect();
  }

  const stopListening = listen(model, {
    "change:window": () => {
      takeWindow();
      update();
    },
    "change:state": update,
    comm_live_update: check,
  });
  function destroy() {
    stopListening();
  }
  takeWindow();
  check();
  return store;
}
