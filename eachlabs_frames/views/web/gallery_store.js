/**
 * Keeps what a gallery shows (see `gallery/model.py` for the messages), once per model.
 *
 * The store is the synced object `snapshot` itself, which updates change in place, so that a notebook saved at any
 * moment holds the current state. It keeps the cards that are visible. The kernel's state is never written.
 *
 * @typedef {object} GallerySnapshot
 * @property {number} seq
 * @property {number} now epoch seconds by the kernel's clock
 * @property {string} title
 * @property {string | null} notice a sentence about the run
 * @property {number} columns
 * @property {number} size pixels
 * @property {number} page cards per page
 * @property {string[]} statuses
 * @property {number[]} codes of each row the place of its status in `statuses`
 * @property {Card[]} cards
 *
 * @typedef {object} GalleryUpdate
 * @property {number} seq
 * @property {number} now
 * @property {string} [title]
 * @property {string | null} [notice]
 * @property {string[]} [statuses]
 * @property {number[]} [codes] row, code, row, code, ...
 * @property {Card[]} [cards]
 *
 * @typedef {{ text: string, rows: number[] }} FoundRows of a search
 *
 * @typedef {object} Change
 * @property {boolean} [codes] whether statuses changed
 * @property {FoundRows} [matches]
 *
 * @typedef {object} Store
 * @property {GallerySnapshot} snapshot
 * @property {Map<number, Card>} cards
 * @property {number} missing visible rows without a card
 * @property {boolean} isLive whether the kernel has answered
 * @property {boolean} isDisconnected
 * @property {boolean} isPage whether this is a saved page, which holds all cards and has no kernel
 * @property {number} since when the store was created, in milliseconds
 * @property {Files} files
 * @property {Set<{ watched: number[], changed: (change: Change) => void }>} views
 * @property {() => void} watch tell the kernel which rows are visible
 * @property {(text: string) => void} find
 * @property {() => void} check whether the kernel is gone
 * @property {() => void} destroy
 */

/** @import { Card } from "./cards.js" */
/** @import { Files, Model } from "./model.js" */
import { createFiles } from "./files.js";
import { isDisconnected, listen, trySend } from "./model.js";

const REPEAT_AFTER = 2_000; // milliseconds, doubled each time

/**
 * The rows whose card holds a text in its label, error, output or input.
 *
 * @param {Iterable<Card>} cards
 * @param {string} text
 */
export function findRows(cards, text) {
  const needle = text.toLowerCase();
  return [...cards]
    .filter(({ label, error, text: output, input }) =>
      [label, error ?? "", output ?? "", ...input.map(([, value]) => value)].some((field) =>
        field.toLowerCase().includes(needle),
      ),
    )
    .map(({ row }) => row);
}

/**
 * Change a snapshot to what an update says, its cards apart.
 *
 * @param {GallerySnapshot} snapshot
 * @param {GalleryUpdate} update
 */
export function applyUpdate(snapshot, { seq, now, title, notice, statuses, codes = [] }) {
  Object.assign(snapshot, { seq, now });
  if (title !== undefined) snapshot.title = title;
  if (notice !== undefined) snapshot.notice = notice;
  if (statuses !== undefined) snapshot.statuses = statuses;
  for (let i = 0; i < codes.length; i += 2) snapshot.codes[codes[i]] = codes[i + 1];
}

/** @returns {GallerySnapshot} */
const emptySnapshot = () => ({
  seq: 0,
  now: Date.now() / 1000,
  title: "",
  notice: null,
  columns: 4,
  size: 220,
  page: 100,
  statuses: [],
  codes: [],
  cards: [],
});

/**
 * @param {Model} model
 * @param {Files} [pageFiles] of a saved page
 * @returns {Store}
 */
export function createStore(model, pageFiles) {
  /** @type {GallerySnapshot | undefined} */
  let raw;
  let isOutOfStep = false; // whether an update was lost
  let lastRequest = "";
  let requestedAt = -Infinity;
  let repeats = 0;
  /** @type {Store} */
  const store = {
    snapshot: emptySnapshot(),
    cards: new Map(),
    missing: 0,
    isLive: false,
    isDisconnected: false,
    isPage: model.get("is_page") === true,
    since: Date.now(),
    files: pageFiles ?? createFiles(model),
    views: new Set(),
    watch,
    find,
    check,
    destroy,
  };

  /** @param {Change} change */
  function notify(change) {
    for (const view of store.views) view.changed(change);
  }

  function setLive() {
    Object.assign(store, { isLive: true, isDisconnected: false });
  }

  function disconnect() {
    if (store.isDisconnected) return;
    Object.assign(store, { isLive: false, isDisconnected: true });
    notify({});
  }

  function check() {
    if (!store.isPage && isDisconnected(model)) disconnect();
  }

  /** @param {object} message */
  function send(message) {
    if (!store.isPage && !trySend(model, message)) disconnect();
  }

  function keepCards() {
    store.snapshot.cards = [...store.cards.values()];
  }

  /** Take the model's snapshot as the store, which the kernel or the notebook may have replaced. */
  function adopt() {
    raw = model.get("snapshot");
    const snapshot = raw ?? emptySnapshot();
    store.snapshot = Object.assign(snapshot, { ...emptySnapshot(), ...snapshot });
    for (const card of snapshot.cards) store.cards.set(card.row, card);
    keepCards();
    isOutOfStep = false;
    notify({ codes: true });
  }

  /** @param {GalleryUpdate} message */
  function update(message) {
    const { snapshot } = store;
    if (message.seq <= snapshot.seq) return;
    isOutOfStep ||= message.seq > snapshot.seq + 1;
    applyUpdate(snapshot, message);
    for (const card of message.cards ?? []) store.cards.set(card.row, card);
    if (message.cards?.length) keepCards();
    notify({ codes: Boolean(message.codes?.length) });
  }

  /** @param {{ kind: string } & GalleryUpdate & FoundRows} message */
  function receive(message) {
    if (model.get("snapshot") !== raw) adopt(); // Backbone replaces it by an equal object without an event
    setLive();
    if (message.kind === "update") update(message);
    else if (message.kind === "found") notify({ matches: message });
  }

  function watch() {
    if (store.isPage) return;
    const rows = [...new Set([...store.views].flatMap((view) => view.watched))];
    const visible = new Set(rows);
    for (const row of store.cards.keys()) if (!visible.has(row) && store.isLive) store.cards.delete(row);
    keepCards();
    // After a lost update, any card may be out of date.
    const missing = isOutOfStep ? rows : rows.filter((row) => !store.cards.has(row));
    store.missing = missing.length;
    const request = rows.join();
    // A kernel that runs a cell answers each request later, so a request is repeated less and less often.
    if (request === lastRequest && (!missing.length || Date.now() - requestedAt < REPEAT_AFTER * 2 ** repeats)) return;
    repeats = request === lastRequest ? repeats + 1 : 0;
    lastRequest = request;
    requestedAt = Date.now();
    send({ kind: "watch", seq: isOutOfStep ? -1 : store.snapshot.seq, rows, missing });
  }

  /**
   * Search the cards that are here, where no kernel can search all of them.
   *
   * @param {string} text
   */
  function find(text) {
    if (!store.isLive) notify({ matches: { text, rows: findRows(store.cards.values(), text) } });
    send({ kind: "find", text });
  }

  function replaced() {
    if (model.get("snapshot") === raw) return;
    adopt();
    setLive();
  }

  const stopListening = listen(model, { "change:snapshot": replaced, "msg:custom": receive, comm_live_update: check });
  function destroy() {
    stopListening();
    store.files.destroy?.();
  }
  adopt();
  check();
  return store;
}
