/**
 * Keeps the cards of a matrix: those that came with its data, and those that are requested when they become visible.
 *
 * @typedef {object} CardStore
 * @property {(at: number, listener: (card: Card | null) => void) => void} request call `listener` with a card, now or
 *   when it has come; with null where no kernel can send it
 * @property {(at: number) => Card | null} get
 * @property {() => void} destroy
 */

/** @import { Card } from "./cards.js" */
/** @import { Model } from "./model.js" */
import { isDisconnected, listen, trySend } from "./model.js";

const MAX_CARDS_PER_REQUEST = 100;

/**
 * @param {Model} model
 * @returns {CardStore}
 */
export function createCardStore(model) {
  /** @type {Card[]} */
  const sent = model.get("cards") ?? [];
  const cards = new Map(sent.map((card) => [card.row, card]));
  /** @type {Map<number, ((card: Card | null) => void)[]>} */
  const listeners = new Map();
  /** @type {number[]} */
  let queue = [];

  function sendQueue() {
    for (let i = 0; i < queue.length; i += MAX_CARDS_PER_REQUEST) {
      const message = { kind: "cards", at: queue.slice(i, i + MAX_CARDS_PER_REQUEST) };
      if (!trySend(model, message)) break; // without a kernel, cells stay as they are
    }
    queue = [];
  }

  /**
   * @param {number} at
   * @param {(card: Card | null) => void} listener
   */
  function request(at, listener) {
    const card = cards.get(at);
    const waiting = listeners.get(at);
    if (card || isDisconnected(model)) listener(card ?? null);
    else if (waiting) waiting.push(listener);
    else {
      listeners.set(at, [listener]);
      if (!queue.length) queueMicrotask(sendQueue);
      queue.push(at);
    }
  }

  /** @param {{ kind: string, cards: Card[] }} message */
  function receive(message) {
    if (message.kind !== "cards") return;
    for (const card of message.cards) {
      cards.set(card.row, card);
      const waiting = listeners.get(card.row) ?? [];
      listeners.delete(card.row);
      for (const listener of waiting) listener(card);
    }
  }
  return { request, get: (at) => cards.get(at) ?? null, destroy: listen(model, { "msg:custom": receive }) };
}
