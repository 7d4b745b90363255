/** Store. */

import { createFiles } from "./files.js";
import { isParted } from "./model.js";

const ASK_AGAIN = 2_000;

export function createStore(model, held) {
  const isPage = model.get("is_page") === true; // a page in a file: all cards are in it, and nobody answers
  const views = new Set();
  const store = {
    snapshot: null,
    cards: new Map(),
    missing: 0,
    live: false,
    parted: false,
    since: Date.now(),
    isPage,
    views,
  };
  let raw,
    outOfStep = false,
    asked = "",
    askedAt = -Infinity,
    times = 0;

  const tell = (change) => views.forEach((view) => view.changed(change));

  function hear() {
    Object.assign(store, { live: true, parted: false });
  }

  function part() {
    if (store.parted) return;
    Object.assign(store, { live: false, parted: true });
    tell({});
  }

  store.check = () => isPage || (isParted(model) && part());

  function ask(message) {
    if (isPage) return;
    try {
      model.send(message);
    } catch {
      // a kernel that is gone has closed the way to it
      part();
    }
  }

  /** Take the model's snapshot as the store, whoever put it there. */
  function adopt() {
    raw = model.get("snapshot");
    const blank = {
      seq: 0,
      now: Date.now() / 1000,
      title: "",
      said: null,
      columns: 4,
      size: 220,
      page: 100,
      words: [],
      codes: [],
      cards: [],
    };
    const snapshot = raw ?? blank;
    for (const key of Object.keys(blank)) snapshot[key] ??= blank[key];
    store.snapshot = snapshot;
    for (const card of snapshot.cards) store.cards.set(card.row, card);
    snapshot.cards = [...store.cards.values()];
    outOfStep = false;
    tell({ codes: true });
  }

  function update(message) {
    const { snapshot } = store;
    if (message.seq <= snapshot.seq) return;
    outOfStep ||= message.seq > snapshot.seq + 1;
    Object.assign(snapshot, { seq: message.seq, now: message.now });
    for (const key of ["title", "said", "words"]) if (key in message) snapshot[key] = message[key];
    const { codes = [], cards = [] } = message;
    for (let i = 0; i < codes.length; i += 2) snapshot.codes[codes[i]] = codes[i + 1];
    for (const card of cards) store.cards.set(card.row, card);
    if (cards.length) snapshot.cards = [...store.cards.values()];
    tell({ codes: codes.length > 0 });
  }

  function receive(message) {
    if (model.get("snapshot") !== raw) adopt(); // Backbone puts an equal object there without an event
    hear();
    if (message.kind === "update") update(message);
    else if (message.kind === "found") tell({ found: message });
  }

  /** Say which rows are looked at, of all views: of those that are there the kernel tells what changes. */
  store.watch = () => {
    if (isPage) return;
    const rows = [...new Set([...views].flatMap((view) => view.watched))];
    const wanted = new Set(rows);
    for (const row of store.cards.keys()) if (!wanted.has(row) && store.live) store.cards.delete(row);
    store.snapshot.cards = [...store.cards.values()];
    // Of what was told while a message was lost, nobody knows what it was.
    const missing = outOfStep ? rows : rows.filter((row) => !store.cards.has(row));
    store.missing = missing.length;
    const now = rows.join();
    // A kernel that runs a cell answers later, and each question once: it is not asked again and again.
    if (now === asked && (!missing.length || Date.now() - askedAt < ASK_AGAIN * 2 ** times)) return;
    times = now === asked ? times + 1 : 0;
    asked = now;
    askedAt = Date.now();
    ask({ kind: "watch", seq: outOfStep ? -1 : store.snapshot.seq, rows, missing });
  };

  /** Those of the rows that are here; the kernel knows all. */
  store.find = (text) => {
    const wanted = text.toLowerCase();
    const texts = ({ label, error, text: said, input }) => [
      label,
      error ?? "",
      said ?? "",
      ...input.map(([, value]) => value),
    ];
    const rows = [...store.cards.values()]
      .filter((card) => texts(card).some((one) => one.toLowerCase().includes(wanted)))
      .map(({ row }) => row);
    if (!store.live) tell({ found: { text, rows } });
    ask({ kind: "find", text });
  };

  const files = held ?? createFiles(model);
  store.files = files;
  const replaced = () => {
    if (model.get("snapshot") === raw) return;
    adopt();
    hear();
  };
  adopt();
  store.check();
  const heard = [
    ["change:snapshot", replaced],
    ["msg:custom", receive],
    ["comm_live_update", store.check],
  ];
  heard.forEach(([event, act]) => model.on(event, act));
  store.destroy = () => {
    heard.forEach(([event, act]) => model.off(event, act));
    files.destroy?.();
  };
  return store;
}
