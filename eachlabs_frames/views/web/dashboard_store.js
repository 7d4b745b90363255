/** Store. */

import { PAGE } from "./dashboard_lines.js";
import { h } from "./dom.js";
import { isParted } from "./model.js";

const SYNC_AGAIN = 5_000;

export function createStore(model) {
  const views = new Set();
  const wanted = new Map(); // opened lines: how many views show them, and what was asked for when
  let raw,
    seq,
    skew = 0,
    outOfStep = false,
    syncAsked = -Infinity;
  const store = { snapshot: null, live: false, parted: false, since: Date.now(), views, wanted };

  const tell = (change) => views.forEach((view) => view.changed(change));

  /** The kernel's clock. A picture without a kernel stands still. */
  store.now = () => (store.live ? Date.now() / 1000 + skew : store.snapshot.now);

  function hear(now) {
    const measured = now - Date.now() / 1000; // too small by what the message took, so the largest one is the best
    if (!store.live || measured > skew || skew - measured > 2) skew = measured;
    Object.assign(store, { live: true, parted: false });
  }

  function part() {
    if (store.parted) return;
    Object.assign(store, { live: false, parted: true });
    tell({});
  }

  store.check = () => isParted(model) && part();

  function ask(message) {
    try {
      model.send(message);
    } catch {
      // a kernel that is gone has closed the way to it
      part();
    }
  }

  function sync() {
    if (Date.now() - syncAsked < SYNC_AGAIN) return;
    syncAsked = Date.now();
    ask({ kind: "sync" });
  }

  /** Take the model's snapshot as the store, whoever put it there. */
  function adopt() {
    const before = store.snapshot;
    raw = model.get("snapshot");
    const blank = {
      seq: 0,
      now: Date.now() / 1000,
      head: {},
      words: [],
      lines: [],
      errors: [],
      more_errors: 0,
      rows: {},
    };
    const snapshot = raw ?? blank;
    for (const key of Object.keys(blank)) snapshot[key] ??= blank[key];
    store.snapshot = snapshot;
    ({ seq } = snapshot);
    store.places = new Map(snapshot.lines.map(([bulk], place) => [bulk, place]));
    outOfStep = false;
    syncAsked = -Infinity;
    for (const line of wanted.keys()) {
      if (!snapshot.lines[line] || snapshot.lines[line][0] !== before.lines[line][0]) drop(line);
      else if (before.rows[line]) snapshot.rows[line] ??= before.rows[line];
    }
    tell({ reset: true });
  }

  function drop(line) {
    wanted.delete(line);
    views.forEach((view) => view.opened.delete(line));
    ask({ kind: "close", line });
  }

  function update(message) {
    const { snapshot } = store;
    if (message.seq <= seq) return;
    outOfStep ||= message.seq > seq + 1;
    seq = snapshot.seq = message.seq;
    snapshot.now = message.now;
    Object.assign(snapshot.head, message.head);
    snapshot.words = message.words ?? snapshot.words;
    snapshot.more_errors = message.more_errors ?? snapshot.more_errors;
    const length = snapshot.lines.length;
    message.added?.forEach(add);
    for (const [line, ...pairs] of message.lines ?? []) if (snapshot.lines[line]) snapshot.lines[line][2] = pairs;
    for (const [group, rows, text, labels] of message.errors ?? []) count(group, rows, text, labels);
    if (outOfStep) sync();
    tell({ added: snapshot.lines.length > length ? length : null, lines: Boolean(message.lines || message.added) });
  }

  function add(line) {
    const place = store.places.get(line[0]);
    if (place !== undefined)
      store.snapshot.lines[place] = line; // a snapshot had it already
    else if (!outOfStep) store.places.set(line[0], store.snapshot.lines.push(line) - 1); // else its place is not known
  }

  function count(group, rows, text, labels) {
    const { errors } = store.snapshot;
    while (errors.length <= group) errors.push([0, "", []]);
    errors[group] = text === undefined ? [rows, errors[group][1], errors[group][2]] : [rows, text, labels];
  }

  function takeRows({ line, offset, total, rows }) {
    const want = wanted.get(line);
    if (!want || (offset !== want.offset && offset !== total)) return; // the kernel cuts an offset beyond the end
    if (!rows.length && total > 0 && offset > 0) return store.page(line, Math.max(0, total - PAGE));
    want.offset = offset;
    want.asked = null;
    store.snapshot.rows[line] = { offset, total, rows };
    tell({ rows: line });
  }

  function receive(message, buffers) {
    if (model.get("snapshot") !== raw) adopt(); // Backbone puts an equal object there without an event
    hear(message.now ?? Date.now() / 1000 + skew);
    if (message.kind === "update") update(message);
    else if (message.kind === "rows") takeRows(message);
    else if (message.kind === "found") tell({ found: message });
    else if (message.kind === "file") save(message, buffers);
  }

  store.page = (line, offset) => {
    Object.assign(wanted.get(line), { offset, asked: Date.now() });
    ask({ kind: "open", line, offset });
  };
  store.open = (line) => {
    const want = wanted.get(line);
    if (want) return void want.views++;
    wanted.set(line, { views: 1 });
    store.page(line, store.snapshot.rows[line]?.offset ?? 0);
  };
  /** `kept`: a view goes, but what it showed is to be there in the next. */
  store.close = (line, kept = false) => {
    const want = wanted.get(line);
    if (!want || --want.views) return;
    wanted.delete(line);
    if (!kept) delete store.snapshot.rows[line];
    ask({ kind: "close", line });
  };
  store.find = (text) => ask({ kind: "find", text });

  const replaced = () => {
    if (model.get("snapshot") === raw) return;
    adopt();
    hear(store.snapshot.now);
  };
  adopt();
  store.check();
  if (!store.parted) {
    if (Math.abs(Date.now() / 1000 - store.snapshot.now) < 5) hear(store.snapshot.now);
    else sync(); // a notebook that was saved: who knows whether there is a kernel
  }
  const heard = [
    ["change:snapshot", replaced],
    ["msg:custom", receive],
    ["comm_live_update", store.check],
  ];
  heard.forEach(([event, act]) => model.on(event, act));
  store.destroy = () => heard.forEach(([event, act]) => model.off(event, act));
  return store;
}

function save({ name, type }, buffers) {
  const href = URL.createObjectURL(new Blob(buffers?.length ? [buffers[0]] : [], { type }));
  const link = h("a", { href, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}
