/**
 * The browser's side of a dashboard (`messages.py` says what it and the kernel tell each other).
 *
 * It owns what is on the screen, and one store per model: the synced object `snapshot` itself, which updates change in
 * place, so that a notebook saved at any moment holds the picture of that moment. It never writes to the kernel's
 * state, never reaches the network but for media that a row shows, and never takes a string from outside for anything
 * but text: no innerHTML, no style or URL that was not checked (see pieces.js, which stands before it).
 */

const LINE = 36; // pixels; the virtual list computes where lines are, dashboard.css draws them that high
const ROW = 40;
const ROWS_HEAD = 24;
const ROWS_FOOT = 36;
const ROWS_PAD = 9;
const SHORTEST = 224; // while a run is at work: three lines and the first error message, which then moves nothing
const TALLEST = 450; // half a line is cut off, so that one sees there is more
const OVERSCAN = 6;
const PAGE = 50; // rows that the kernel sends at once

const SYNC_AGAIN = 5_000;
const SETTLE = 3_000; // at most so often lines change places by themselves
const NO_KERNEL = 3_000;
const SETTLED = new Set(["completed", "failed", "cancelled", "invalid", "unknown"]);
const FAILED = new Set(["failed", "invalid"]);
const MAIN = ["completed", "running", "queued", "pending", "failed"]; // these have a place of their own, even at zero

const PHASES = new Map([
  ["preparing", ["○", "Preparing", "Rows are being checked. Nothing has been sent yet."]],
  ["sending", ["↑", "Sending", "Rows are being sent; their executions are polled."]],
  ["tracking", ["◐", "Tracking", "All rows are sent. Executions are polled until they end."]],
  ["idle", ["‖", "Idle", "Open executions are not being polled."]],
  ["settled", ["✓", "Settled", "Every row is settled."]],
  ["cancelled", ["⊘", "Cancelled", "The call was cancelled; accepted executions are kept."]],
  ["failed", ["✕", "Failed", "The call ended with an error; accepted executions are kept."]],
]);
const AT_WORK = new Set(["preparing", "sending", "tracking"]);

const SORTS = new Map([
  ["sent", ["Order sent", null]],
  ["newest", ["Newest first", (line) => -(line[1] ?? 0)]],
  ["failures", ["Most failures", (line, words) => -rowsWith(line[2], words, FAILED)]],
  ["least", ["Least progress", (line, words) => progress(line[2], words)]],
  ["most", ["Most progress", (line, words) => -progress(line[2], words)]],
]);

// -- words and numbers -------------------------------------------------------------------------------------------

const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

const small = (n) => (n < 10_000 ? whole.format(n) : compact.format(n));
const known = (value, format) => (value === null || value === undefined ? "–" : format(value));

function age(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  return s < 172_800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86_400)} d`;
}

function rowsWith(pairs, words, wanted) {
  let rows = 0;
  for (let i = 0; i < pairs.length; i += 2) if (!wanted || wanted.has(words[pairs[i]])) rows += pairs[i + 1];
  return rows;
}

const progress = (pairs, words) => rowsWith(pairs, words, SETTLED) / (rowsWith(pairs, words) || 1);

/** `[[word, rows], ...]` in a bar's order. */
function tally(entries) {
  return entries.filter(([, rows]) => rows > 0).sort(([a], [b]) => rankOf(a) - rankOf(b));
}

function tallyOf(pairs, words) {
  const entries = [];
  for (let i = 0; i < pairs.length; i += 2) entries.push([words[pairs[i]] ?? "unknown", pairs[i + 1]]);
  return tally(entries);
}

const describe = (counts) => counts.map(([word, rows]) => `${whole.format(rows)} ${clip(word, 40)}`).join(", ") || "no rows";

// -- which lines are shown, in which order -----------------------------------------------------------------------

/** The places, from `first` on, of the lines that pass the filters; and how many lines there are to choose from. */
function choose({ lines, words }, { statuses, text, found }, first = 0) {
  const needle = text.toLowerCase();
  const chosen = [];
  let all = 0;
  for (let place = first; place < lines.length; place++) {
    const [bulk, , pairs] = lines[place];
    if (!rowsWith(pairs, words)) continue; // all its rows went elsewhere, such as those that were not sent before
    all++;
    if (statuses.size && !rowsWith(pairs, words, statuses)) continue;
    if (needle && !(bulk || "not sent").toLowerCase().includes(needle) && !found?.has(place)) continue;
    chosen.push(place);
  }
  return { chosen, all };
}

function sorted(places, { lines, words }, sort) {
  const key = SORTS.get(sort)[1];
  if (!key) return places;
  const keys = new Map(places.map((place) => [place, key(lines[place], words)]));
  const tie = sort === "newest" ? -1 : 1;
  return places.sort((a, b) => keys.get(a) - keys.get(b) || tie * (a - b));
}

// -- the store: one per model ------------------------------------------------------------------------------------

function createStore(model) {
  const views = new Set();
  const wanted = new Map(); // opened lines: how many views show them, and what was asked for when
  let raw, seq, skew = 0, outOfStep = false, syncAsked = -Infinity;
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
    } catch { // a kernel that is gone has closed the way to it
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
    const blank = { seq: 0, now: Date.now() / 1000, head: {}, words: [], lines: [], errors: [], more_errors: 0, rows: {} };
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
    if (place !== undefined) store.snapshot.lines[place] = line; // a snapshot had it already
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
  const heard = [["change:snapshot", replaced], ["msg:custom", receive], ["comm_live_update", store.check]];
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

// -- pieces of a page --------------------------------------------------------------------------------------------

function paintBar(bar, counts) {
  const label = describe(counts);
  if (bar.getAttribute("aria-label") === label) return;
  bar.setAttribute("aria-label", label);
  bar.title = label;
  const segments = new Map([...bar.children].map((node) => [node.dataset.status, node]));
  const rows = new Map(counts);
  for (const [word, node] of segments) {
    node.style.flexGrow = rows.get(word) ?? 0;
    node.hidden = !rows.has(word);
  }
  for (const [word, grow] of counts) {
    if (segments.has(word)) continue;
    const node = h("span", { "data-status": word });
    node.style.flexGrow = grow;
    bar.insertBefore(node, [...bar.children].find((next) => rankOf(next.dataset.status) > rankOf(word)) ?? null);
  }
}

const createBar = (name = "") => h(`div.elf-bar${name}`, { role: "img", "aria-label": "" });

function outputBox({ kind, url, text = "" }, label) {
  const name = `output of row ${clip(label, 60)}`;
  const safe = safeUrl(url, kind);
  if (!safe || !["image", "video", "audio", "link"].includes(kind)) return [textBox("elf-output", text, name)];
  if (kind === "audio") return [h("audio.elf-audio", { src: safe, controls: "", preload: "none", "aria-label": name })];
  const away = { href: safe, target: "_blank", rel: "noopener noreferrer", title: clip(text || safe, 300) };
  const inline = safe.startsWith("data:"); // no browser opens one in a tab
  const link = inline ? h("span.elf-kind", {}, kind) : h("a.elf-link", { ...away, dir: "auto" });
  if (!inline) link.textContent = kind === "link" ? clip(safe, 200) : nameOf(safe);
  if (kind === "link") return [link];
  const media = kind === "image"
    ? h("img", { alt: name, loading: "lazy", decoding: "async", referrerpolicy: "no-referrer" })
    : h("video", { muted: "", playsinline: "", preload: "metadata", tabindex: "-1", "aria-hidden": "true" });
  const frame = inline ? h("span.elf-thumb") : h("a.elf-thumb", { ...away, "aria-label": `${kind} ${name}` });
  on(media, "error", () => frame.remove());
  media.src = safe;
  frame.append(media);
  return [frame, link];
}

async function copy(text, near) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { // an insecure page has no clipboard, and a frame may not be allowed to use it
    const before = near.getRootNode().activeElement;
    const area = h("textarea.elf-hidden", { "aria-hidden": "true", tabindex: "-1" });
    area.value = text;
    near.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before?.focus({ preventScroll: true });
    return done;
  }
}

/** A button that shows the first characters of an id and copies the whole. */
function createId(what, view) {
  const button = h("button.elf-id", { type: "button" });
  let id = "", said = 0;
  const show = () => setText(button, id.slice(0, 8));
  on(button, "click", async () => {
    const done = await copy(id, view.root);
    view.say(done ? `copied ${clip(id, 80)}` : "the browser did not allow copying");
    setText(button, done ? "copied" : "not copied");
    button.classList.toggle("elf-copied", done);
    clearTimeout(said);
    said = setTimeout(() => (button.classList.remove("elf-copied"), (said = 0), show()), 1_400);
  });
  const paint = (text) => {
    if (text === id) return;
    id = text;
    button.title = `${clip(id, 200)} – click to copy`;
    button.setAttribute("aria-label", `${id.slice(0, 8)}: copy ${what} ${clip(id, 80)}`);
    if (!said) show();
  };
  return { button, paint };
}

// -- above the list ----------------------------------------------------------------------------------------------

function createHeader(store, view) {
  const workflow = h("span.elf-workflow", { role: "heading", "aria-level": "3", dir: "auto" });
  const version = h("span.elf-tag.elf-version", { dir: "auto" });
  const run = h("span.elf-tag.elf-run", { dir: "auto" });
  const phase = h("span.elf-phase", {}, h("span.elf-symbol", { "aria-hidden": "true" }), h("span.elf-word"));
  const metrics = h("div.elf-metrics");
  const metric = (name, title) => {
    const value = h("div.elf-value", { "data-metric": name.toLowerCase() });
    metrics.append(h("div", { title }, h("div.elf-name", {}, name), value));
    return value;
  };
  const settled = metric("Settled", "Settled rows of all rows");
  const elapsed = metric("Elapsed", "Time since the call started, until it ended");
  const rate = metric("Rate", "Rows settled per minute, over the last minute");
  const cost = metric("Cost", "Cost in USD of the executions whose cost is known");
  const balance = metric("Balance", "Account balance in USD");
  const bar = createBar(".elf-bar-total");
  const legend = h("div.elf-legend", { role: "group", "aria-label": "Filter by status" });
  const notice = h("div.elf-notice", { role: "status", "aria-live": "polite" });
  const chips = new Map();
  const node = h("div.elf-head", {},
    h("div.elf-title", {}, workflow, h("span.elf-tags", {}, version, run), phase), metrics, bar, legend, notice);

  function chip(word) {
    chips.set(word, createChip(word, "bulk operations with rows", () => view.toggle(word)));
    legend.append(chips.get(word).button);
  }

  function paintTag(tag, label, text, shown = text) {
    tag.hidden = !text;
    setText(tag, text ? `${label} ${shown}` : "");
    tag.title = text ? `${label} ${text}` : "";
  }

  function sentences({ phase: word, problem, stale_since: stale, waiting_for: waiting }) {
    const said = [];
    if (store.parted || (!store.live && Date.now() - store.since > NO_KERNEL)) {
      const why = store.parted ? "No kernel is connected." : "The kernel has not responded yet.";
      said.push(["saved", `State at ${timeOfDay(store.snapshot.now)}. ${why}`]);
    }
    if (problem) said.push(["problem", problem]);
    if (stale) said.push(["stale", `Stale since ${timeOfDay(stale)}: the API does not respond.`]);
    if (waiting) said.push(["waiting", waiting]);
    return said.length ? said : [["phase", PHASES.get(word)?.[2] ?? ""]];
  }

  function paintNotice(head) {
    const said = sentences(head);
    const key = JSON.stringify(said);
    if (notice.dataset.said !== key) {
      notice.dataset.said = key;
      notice.replaceChildren(...said.map(([kind, text]) => h("div.elf-said", { "data-kind": kind, dir: "auto" }, clip(text, 600))));
    }
    if (notice.scrollHeight > notice.clientHeight) notice.tabIndex = 0; // so that it can be scrolled by keys
    else notice.removeAttribute("tabindex");
  }

  function paintCounts(head) {
    const counts = tally(Object.entries(head.counts ?? {}));
    const rows = new Map(counts);
    paintBar(bar, counts);
    const done = counts.reduce((sum, [word, n]) => sum + (SETTLED.has(word) ? n : 0), 0);
    const total = head.total ?? 0;
    // Down: 100% is for when there is nothing left.
    setText(settled, `${whole.format(done)} of ${whole.format(total)}${total ? ` · ${Math.floor((100 * done) / total)}%` : ""}`);
    for (const word of [...MAIN, ...rows.keys()]) chips.has(word) || chip(word);
    for (const [word, chip_] of chips) chip_.paint(rows.get(word) ?? 0, view.statuses.has(word));
  }

  function tick() {
    const { head } = store.snapshot;
    setText(elapsed, known(head.started_at, (start) => clock((head.ended_at ?? store.now()) - start)));
    paintNotice(head);
  }

  function paint() {
    const { head } = store.snapshot;
    const [glyph, word] = PHASES.get(head.phase) ?? [OTHER, clip(head.phase ?? "", 40)];
    setText(workflow, clip(head.workflow ?? "", 200));
    workflow.title = clip(head.workflow ?? "", 400);
    paintTag(version, "version", head.version, head.version && clip(head.version.slice(0, 8)));
    paintTag(run, "run", head.run, head.run && clip(head.run, 80));
    setAttribute(phase, "data-phase", head.phase ?? "");
    setText(phase.firstChild, glyph);
    setText(phase.lastChild, word);
    setText(rate, known(head.rate, (n) => `${whole.format(Math.round(n))}/min`));
    setText(cost, known(head.cost_usd, formatUsd));
    cost.parentElement.title = `Cost in USD of the executions whose cost is known${head.superseded
      ? `; ${formatUsd(head.superseded_cost_usd)} of it for ${whole.format(head.superseded)} that were superseded` : ""}`;
    setText(balance, known(head.balance_usd, formatUsd));
    paintCounts(head);
    tick();
  }

  return { node, paint, tick };
}

function createToolbar(view) {
  const search = createSearch("Find words or ids", "Filter by words in inputs, labels, errors and ids",
    (text) => view.seek(text));
  const sort = h("select.elf-sort", { "aria-label": "Sort by" },
    ...[...SORTS].map(([value, [name]]) => h("option", { value }, name)));
  const clear = h("button.elf-clear", { type: "button" }, "Clear filters");
  const shown = h("span.elf-shown");
  on(sort, "change", () => view.sortBy(sort.value));
  on(clear, "click", () => (view.clear(), search.input.focus()));

  function paint() {
    setText(shown, `showing ${whole.format(view.order.length)} of ${whole.format(view.all)}`);
    clear.classList.toggle("elf-gone", !view.text && !view.statuses.size);
  }
  return { node: h("div.elf-toolbar", {}, search.input, sort, clear, shown), paint, put: search.put, destroy: search.destroy };
}

/** What stands in the columns below; a screen reader hears it of each line. */
function createHeads() {
  const head = (name, text, title) => h(`span.elf-head-${name}`, { title }, text);
  return h("div.elf-heads.elf-columns", { "aria-hidden": "true" },
    h("span"), head("bulk", "bulk_id", "Bulk operation of the rows"),
    head("bar", "Progress", "Rows by status"), head("counts", "Rows by status", "Number of rows per status"),
    head("age", "Age", "Since the bulk operation was sent"));
}

// -- the list ----------------------------------------------------------------------------------------------------

/** One line: what it is, and how it is brought up to date. */
function createLine(place, store, view, name) {
  const [bulk] = store.snapshot.lines[place];
  const expand = h("button.elf-expand", { type: "button", "aria-expanded": "false", tabindex: "-1" });
  const id = bulk ? createId("bulk id", view) : { button: h("span.elf-id.elf-unsent", {}, "not sent"), paint() {} };
  id.paint(bulk);
  if (bulk) id.button.tabIndex = -1;
  const bar = createBar();
  const counts = h("div.elf-counts", { "aria-hidden": "true" });
  const slots = new Map(MAIN.map((word) => [word, counts.appendChild(h("span", { "data-status": word }, symbol(word), h("span.elf-count")))]));
  const rest = counts.appendChild(h("span.elf-rest"));
  const since = h("span.elf-age");
  const main = h("div.elf-line-main.elf-columns", {}, expand, id.button, bar, counts, since);
  const node = h("div.elf-line", { role: "listitem", "data-line": place, "data-bulk": clip(bulk, 200) }, main);
  let painted, rows = null;

  on(main, "click", (event) => {
    const pressed = event.target.closest("button");
    const selecting = getSelection().type === "Range" && main.contains(getSelection().anchorNode);
    if (pressed === expand || !(pressed || selecting)) view.toggleLine(place);
  });

  function paintCounts(pairs) {
    if (pairs === painted) return;
    painted = pairs;
    const all = tallyOf(pairs, store.snapshot.words);
    paintBar(bar, all);
    const found = new Map(all);
    for (const [word, slot] of slots) {
      slot.classList.toggle("elf-zero", !found.has(word));
      setText(slot.lastChild, small(found.get(word) ?? 0));
    }
    rest.replaceChildren(...all.filter(([word]) => !slots.has(word)).map(([word, n]) =>
      h("span", { "data-status": word, title: clip(word, 40) }, symbol(word), h("span.elf-count", {}, small(n)))));
    expand.setAttribute("aria-label", `${bulk ? `Bulk operation ${clip(bulk, 8)}` : "Rows that were not sent"}: ${describe(all)}`);
  }

  function paint(at, of, top) {
    paintCounts(store.snapshot.lines[place][2]);
    setAttribute(node, "aria-posinset", at + 1);
    setAttribute(node, "aria-setsize", of);
    const place_ = `translateY(${top}px)`;
    if (node.style.transform !== place_) node.style.transform = place_;
    const opened = view.opened.has(place);
    setAttribute(expand, "aria-expanded", opened);
    if (opened && !rows) {
      rows = createRows(place, store, view, `${name}-${place}`);
      expand.setAttribute("aria-controls", rows.node.id);
      node.append(rows.node);
    } else if (!opened && rows) {
      expand.removeAttribute("aria-controls");
      rows.node.remove();
      rows = null;
    }
    rows?.paint();
    tick();
  }
  function tick() {
    const [, created] = store.snapshot.lines[place];
    const text = created ? age(store.now() - created) : "";
    setText(since, text);
    since.title = text && `sent ${text} ago`;
  }
  const tabbable = (yes) => {
    expand.tabIndex = yes ? 0 : -1;
    if (bulk) id.button.tabIndex = yes ? 0 : -1;
  };
  return { node, bulk, expand, paint, tick, tabbable };
}

/** How high an opened line's rows stand, also before they are there; of those that cannot come a sentence is shown. */
function heightOfRows(place, { snapshot, parted }) {
  const opened = snapshot.rows[place];
  if (parted && !opened) return ROWS_PAD + ROWS_HEAD + ROW;
  const total = opened ? opened.total : rowsWith(snapshot.lines[place][2], snapshot.words);
  const rows = opened ? opened.rows.length : Math.min(total, PAGE);
  return ROWS_PAD + ROWS_HEAD + ROW * Math.max(1, rows) + (total > (opened ? opened.rows.length : PAGE) ? ROWS_FOOT : 0);
}

const ROW_HEADS = [["Row", "Label in the frame's index"], ["Label", "Label of the row (label=)"],
  ["Execution", "Execution id"], ["Status", "Status of the execution"], ["Result", "Output or error"],
  ["Cost", "Cost in USD"], ["Time", "Duration of the execution"]];

function createRows(place, store, view, id) {
  const table = h("div.elf-table", { role: "table", "aria-label": "Rows" }, h("div.elf-row-heads", { role: "row" },
    ...ROW_HEADS.map(([name, title]) => h(`span.elf-head-${name.toLowerCase()}`, { role: "columnheader", title }, name))));
  const message = h("div.elf-message");
  const where = h("span");
  const turn = (name, label, step) => on(h(`button.elf-button.${name}`, { type: "button" }, label), "click", () => {
    const { offset, rows } = store.snapshot.rows[place];
    store.page(place, Math.max(0, offset + (step > 0 ? rows.length : -PAGE)));
    view.repaint();
  });
  const earlier = turn("elf-earlier", "earlier", -1);
  const more = turn("elf-more", "more", 1);
  const foot = h("div.elf-foot", {}, where, earlier, more);
  const node = h("div.elf-rows", { id }, table, message, foot);
  const shown = [];

  function waitingText(want) {
    if (store.live) return want && Date.now() - want.asked > 10_000 ? "the kernel has not responded yet…" : "asking the kernel…";
    return store.parted || (want && Date.now() - want.asked > NO_KERNEL) ? "showing rows needs a running kernel" : "asking the kernel…";
  }

  function paint() {
    const opened = store.snapshot.rows[place];
    const want = store.wanted.get(place);
    node.style.height = `${heightOfRows(place, store)}px`;
    message.hidden = Boolean(opened?.rows.length);
    setText(message, opened ? "no rows" : waitingText(want));
    const rows = opened?.rows ?? [];
    table.classList.toggle("elf-untitled", !rows.some((row) => row.title));
    while (shown.length > rows.length) shown.pop().node.remove();
    rows.forEach((row, at) => {
      if (!shown[at]) table.append((shown[at] = createRow(view)).node);
      shown[at].paint(row);
    });
    foot.hidden = !opened || opened.total <= rows.length;
    if (foot.hidden) return;
    const turning = want?.asked && want.offset !== opened.offset;
    setText(where, turning ? waitingText(want)
      : `rows ${whole.format(opened.offset + 1)}–${whole.format(opened.offset + rows.length)} of ${whole.format(opened.total)}`);
    earlier.disabled = turning || opened.offset === 0;
    more.disabled = turning || opened.total <= opened.offset + rows.length;
  }
  return { node, paint };
}

function createRow(view) {
  const cell = (name, ...children) => h(`div.${name}`, { role: "cell" }, ...children);
  const label = cell("elf-label");
  label.dir = "auto";
  const title = cell("elf-row-title", h("span"));
  title.dir = "auto";
  const id = createId("execution id", view);
  const execution = cell("elf-execution", id.button);
  const status = cell("elf-status", h("span.elf-symbol", { "aria-hidden": "true" }), h("span.elf-word", { dir: "auto" }));
  const result = cell("elf-result");
  const cost = cell("elf-cost");
  const seconds = cell("elf-seconds");
  const node = h("div.elf-row", { role: "row" }, label, title, execution, status, result, cost, seconds);
  let before = {};

  function paint(row) {
    if (row === before) return;
    setText(label, clip(row.label, 200));
    label.title = clip(row.label, 400);
    const words = clip(row.title ?? "", 400);
    setText(title.firstChild, words);
    title.title = words;
    id.button.hidden = !row.execution_id;
    id.paint(row.execution_id ?? "");
    setAttribute(status, "data-status", row.status);
    setText(status.firstChild, symbolOf(row.status));
    setText(status.lastChild, clip(row.status, 40));
    setText(cost, row.cost_usd === null ? "" : formatUsd(row.cost_usd));
    setText(seconds, row.seconds === null ? "" : duration(row.seconds));
    // A picture must not be loaded again, nor a text lose its place, because a row's cost came to be known.
    if (before.error !== row.error || JSON.stringify(before.output) !== JSON.stringify(row.output))
      result.replaceChildren(
        ...(row.error ? [textBox("elf-error", row.error, `error of row ${clip(row.label, 60)}`)] : []),
        ...(row.output ? outputBox(row.output, row.label) : []));
    before = row;
  }
  return { node, paint };
}

let lists = 0;

function createList(store, view) {
  const canvas = h("div.elf-canvas", { role: "list", "aria-label": "Bulk operations" });
  const empty = h("div.elf-empty");
  const node = h("div.elf-list", {}, canvas, empty);
  const name = `elf-${Date.now().toString(36)}-${++lists}`;
  const shown = new Map();
  let where = new Map(), blocks = [], scrollTop = 0, viewport = 0, wanted = 0, current = null, away = false;

  const topOf = (at) => at * LINE + blocks.reduce((sum, block) => sum + (block.at < at ? block.height : 0), 0);
  const focused = () => node.getRootNode().activeElement?.closest?.(".elf-line");
  const placeOf = (line) => (line && node.contains(line) ? Number(line.dataset.line) : null);

  function atY(y) {
    let passed = 0;
    for (const block of blocks) {
      const top = block.at * LINE + passed;
      if (y < top + LINE) break;
      if (y < top + LINE + block.height) return block.at;
      passed += block.height;
    }
    return Math.min(view.order.length - 1, Math.max(0, Math.floor((y - passed) / LINE)));
  }

  /** The order has changed. */
  function order() {
    where = new Map(view.order.map((place, at) => [place, at]));
  }

  function measure() {
    blocks = [...view.opened].filter((place) => where.has(place))
      .map((place) => ({ at: where.get(place), height: heightOfRows(place, store) })).sort((a, b) => a.at - b.at);
    const { head } = store.snapshot;
    // Lines still to come have their place from the start, so that what stands below does not move.
    const lines = Math.max(view.all, AT_WORK.has(head.phase) ? Math.ceil((head.total ?? 0) / 10) : 0, 3);
    const height = topOf(view.order.length);
    const open = blocks.reduce((sum, block) => sum + block.height, 0);
    wanted = Math.min(TALLEST, lines * LINE + open);
    canvas.style.height = `${height}px`;
    scrollTop = Math.min(scrollTop, Math.max(0, height - (viewport || wanted)));
  }

  function paint() {
    measure();
    const last = view.order.length - 1;
    const kept = placeOf(focused());
    const from = Math.max(0, atY(scrollTop) - OVERSCAN);
    const to = Math.min(last, atY(scrollTop + (viewport || wanted)) + OVERSCAN);
    const places = view.order.slice(from, to + 1);
    // A line that has the focus stays in the page, though it was scrolled out of sight.
    if (kept !== null && where.get(kept) < from) places.unshift(kept);
    if (kept !== null && where.get(kept) > to) places.push(kept);
    const needed = new Set(places);
    for (const [place, line] of shown)
      if (!needed.has(place) || line.bulk !== store.snapshot.lines[place][0]) (line.node.remove(), shown.delete(place));
    for (const place of places) {
      if (!shown.has(place)) shown.set(place, createLine(place, store, view, name));
      shown.get(place).paint(where.get(place), last + 1, topOf(where.get(place)));
    }
    arrange(places.map((place) => shown.get(place).node), kept === null ? null : shown.get(kept)?.node);
    rove(places, view.order[atY(scrollTop + LINE - 1)]);
    paintEmpty(last + 1);
  }

  /** Put nodes in order without moving the one that has the focus: that would take the focus away. */
  function arrange(nodes, still) {
    const pivot = Math.max(0, nodes.indexOf(still));
    if (nodes.length && nodes[pivot].parentNode !== canvas) canvas.prepend(nodes[pivot]);
    for (let i = pivot - 1; i >= 0; i--) if (nodes[i].nextSibling !== nodes[i + 1]) canvas.insertBefore(nodes[i], nodes[i + 1]);
    for (let i = pivot + 1; i < nodes.length; i++) if (nodes[i - 1].nextSibling !== nodes[i]) nodes[i - 1].after(nodes[i]);
  }

  /** One line is reached by Tab, the others by arrows: nobody wants to tab through ten thousand. */
  function rove(places, first) {
    const chosen = current !== null && shown.has(current) ? current : first;
    for (const place of places) shown.get(place).tabbable(place === chosen);
  }

  function paintEmpty(lines) {
    const { head } = store.snapshot;
    const none = !store.places.size || (store.places.size === 1 && store.places.has(""));
    const text = none
      ? `No row of this frame has been triggered yet.${AT_WORK.has(head.phase) ? " Bulk operations appear here as they are sent." : ""}`
      : lines ? "" : "No rows match.";
    empty.hidden = !text || lines > 1;
    setText(empty, text);
    empty.style.top = `${topOf(lines)}px`; // the rest of the list is its place
  }

  function focusAt(at) {
    at = Math.max(0, Math.min(view.order.length - 1, at));
    current = view.order[at];
    const top = topOf(at);
    if (top < scrollTop) scrollTop = top;
    if (top + LINE > scrollTop + viewport) scrollTop = top + LINE - viewport;
    paint();
    node.scrollTop = scrollTop;
    shown.get(current)?.expand.focus({ preventScroll: true });
  }

  const steps = { ArrowDown: () => 1, ArrowUp: () => -1, PageDown: () => Math.floor(viewport / LINE) - 1,
    PageUp: () => 1 - Math.floor(viewport / LINE), Home: () => -Infinity, End: () => Infinity };
  on(node, "keydown", (event) => {
    const place = placeOf(event.target.closest(".elf-line"));
    if (place === null || !steps[event.key] || event.altKey || event.ctrlKey || event.metaKey) return;
    if (!event.target.matches("button, a")) return; // a long text scrolls by these keys, a player winds
    event.preventDefault();
    focusAt(where.get(place) + steps[event.key]());
  });
  on(node, "focusin", (event) => {
    current = placeOf(event.target.closest(".elf-line")) ?? current;
    for (const [place, line] of shown) line.tabbable(place === current);
  });
  node.addEventListener("scroll", () => {
    if (away) return;
    scrollTop = node.scrollTop;
    view.repaint("list");
  }, { passive: true });
  // A notebook takes what is out of sight out of the page, and it comes back scrolled to its top.
  const watch = new ResizeObserver(([{ contentRect }]) => {
    const back = away && contentRect.height > 0;
    away = contentRect.height === 0;
    if (back) node.scrollTop = scrollTop;
    if (away || contentRect.height === viewport) return;
    viewport = contentRect.height;
    view.repaint("list");
  });
  watch.observe(node);

  return {
    node, order, paint,
    tick: () => shown.forEach((line) => line.tick()),
    height: () => (measure(), wanted),
    top: () => (node.scrollTop = scrollTop = 0),
    held: () => node.matches(":hover") || placeOf(focused()) !== null,
    destroy: () => watch.disconnect(),
  };
}

// -- below the list ----------------------------------------------------------------------------------------------

function createErrors(store, view) {
  const number = h("span.elf-errors-count");
  const title = h("div.elf-errors-head", {}, h("span", { role: "heading", "aria-level": "4" }, "Errors"), number);
  const groups = h("div.elf-groups", { role: "list", "aria-label": "Errors" });
  const others = h("div.elf-others");
  const node = h("div.elf-errors", {}, title, groups, others);
  const shown = new Map();

  function createGroup() {
    const count = h("span.elf-count");
    const message = h("div.elf-group-message");
    const labels = h("span.elf-labels", { dir: "auto" });
    const find = on(h("button.elf-button.elf-find", { type: "button" }, "show rows"), "click", () => view.put(text.split("\n")[0].slice(0, 120)));
    const item = h("div.elf-group", { role: "listitem" }, count, message, labels, find);
    let text = null;
    const paint = ([rows, said, rowLabels]) => {
      setText(count, whole.format(rows));
      count.title = plural(rows, "row");
      const list = rowLabels.map((label) => clip(label, 60)).join(", ");
      setText(labels, `${rows === 1 ? "row" : "rows"} ${list}${rows > rowLabels.length ? ", …" : ""}`);
      if (said === text) return;
      text = said;
      message.replaceChildren(textBox("elf-error", said, "error message"));
      find.setAttribute("aria-label", `show rows with the error ${clip(said, 60)}`);
    };
    return { item, paint };
  }

  function paint() {
    const { errors, more_errors: more } = store.snapshot;
    const here = errors.map((group, place) => [place, group]).filter(([, [rows]]) => rows > 0);
    node.hidden = !here.length && !more;
    setText(number, plural(here.length + more, "message"));
    for (const [place, { item }] of shown) if (!(errors[place]?.[0] > 0)) (item.remove(), shown.delete(place));
    let before = null;
    for (const [place, group] of here) {
      if (!shown.has(place)) shown.set(place, createGroup());
      const { item, paint: paintGroup } = shown.get(place);
      if (!item.parentNode) before ? before.after(item) : groups.prepend(item);
      paintGroup(group);
      before = item;
    }
    others.hidden = !more;
    setText(others, `and ${plural(more, "other message")}`);
  }
  return { node, paint };
}

// -- a view ------------------------------------------------------------------------------------------------------

function createView(store, el) {
  const said = h("div.elf-hidden", { "aria-live": "polite" });
  const root = h("div.eachlabs-view.eachlabs-dashboard", { role: "group", "aria-label": "Live dashboard", "data-lm-suppress-shortcuts": "true" });
  const view = { root, order: [], all: 0, sort: "sent", statuses: new Set(), text: "", found: null, opened: new Set() };
  let frame = 0, dirty = new Set(), arranged = -Infinity, stale = false, sought = null, width = 0, isSized = false, isAtWork = false;

  view.say = (text) => setText(said, text);
  view.repaint = (part = "all") => {
    dirty.add(part);
    frame ||= requestAnimationFrame(paint);
  };

  const header = createHeader(store, view);
  const toolbar = createToolbar(view);
  const heads = createHeads();
  const list = createList(store, view);
  const errors = createErrors(store, view);

  function paint() {
    frame = 0;
    const all = dirty.has("all"), resized = dirty.has("size");
    dirty = new Set();
    list.paint();
    if (all) {
      header.paint();
      toolbar.paint();
      errors.paint();
    }
    // Room that is kept for errors while a run is at work is released when the run ends without any.
    const changed = errors.node.hidden && AT_WORK.has(store.snapshot.head.phase) !== isAtWork;
    if (resized || !isSized || changed) size();
  }

  /**
   * Set the height of the whole. It stays until the reader changes something (opens a line, makes the window narrower):
   * when a sentence or an error comes or goes, the list gives or takes the room. The end of a run without errors is the
   * exception.
   */
  function size() {
    const { head } = store.snapshot;
    const here = [header.node, toolbar.node, heads, errors.node].map((node) => node.offsetHeight);
    if (!here[0]) return; // it is not in the page yet
    header.tick();
    isSized = head.phase !== undefined;
    isAtWork = AT_WORK.has(head.phase);
    const least = isAtWork && errors.node.hidden ? SHORTEST : 0;
    const border = root.offsetHeight - root.clientHeight;
    root.style.height = `${here.reduce((sum, height) => sum + height, border + Math.max(list.height(), least))}px`;
  }
  const watch = new ResizeObserver(([{ contentRect }]) => {
    if (!contentRect.width || contentRect.width === width) return;
    width = contentRect.width;
    size();
  });

  function arrange() {
    const { chosen, all } = choose(store.snapshot, view);
    Object.assign(view, { order: sorted(chosen, store.snapshot, view.sort), all });
    arranged = Date.now();
    stale = false;
    list.order();
    view.repaint();
  }

  /** Behind the others, for somebody who is reading: what they read stays where it is. */
  function append(first) {
    const { chosen, all } = choose(store.snapshot, view, first);
    view.order.push(...chosen);
    view.all += all;
    stale = true;
    list.order();
  }

  function choice() {
    arrange();
    list.top();
    view.say(`showing ${whole.format(view.order.length)} of ${whole.format(view.all)}`);
  }

  view.sortBy = (sort) => ((view.sort = sort), choice());
  view.toggle = (word) => (view.statuses.delete(word) || view.statuses.add(word), choice());
  view.put = (text) => toolbar.put(text);
  view.clear = () => (view.statuses.clear(), toolbar.put(""), choice());
  view.seek = (text) => {
    if (text === view.text) return;
    Object.assign(view, { text, found: null });
    if (text) ask();
    choice();
  };
  function ask() {
    sought = { changed: false, answered: false };
    store.find(view.text);
  }
  view.toggleLine = (place) => {
    if (view.opened.delete(place)) store.close(place);
    else {
      view.opened.add(place);
      store.open(place);
    }
    view.repaint("size");
  };

  view.changed = ({ reset, added, lines, found }) => {
    if (found && found.text === view.text && found.text) {
      sought.answered = true;
      view.found = new Set(found.lines);
      arrange();
    }
    if (reset || (added != null && !list.held())) arrange();
    else if (added != null) append(added);
    if (lines) stale = true;
    if ((lines || reset) && sought) sought.changed = true;
    view.repaint();
  };

  function tick() {
    store.check();
    header.tick();
    list.tick();
    if (!list.held() && Date.now() - arranged > SETTLE) {
      if (stale) arrange();
      if (view.text && store.live && sought?.answered && sought.changed) ask();
    }
    if (view.opened.size) view.repaint("list"); // it says how long it waits for an answer
  }

  root.append(header.node, toolbar.node, heads, list.node, errors.node, said);
  keepKeys(root);
  store.views.add(view);
  for (const key of Object.keys(store.snapshot.rows)) {
    const place = Number(key);
    if (store.snapshot.lines[place]) (view.opened.add(place), store.open(place));
  }
  arrange();
  cancelAnimationFrame(frame);
  paint();
  el.append(root);
  watch.observe(root);
  const timer = setInterval(tick, 1_000);

  return () => {
    clearInterval(timer);
    cancelAnimationFrame(frame);
    watch.disconnect();
    toolbar.destroy();
    list.destroy();
    store.views.delete(view);
    for (const place of view.opened) store.close(place, true);
    root.remove();
  };
}

export default () => {
  let store = null;
  return {
    initialize({ model }) {
      store = createStore(model);
      return () => store.destroy();
    },
    render({ model, el }) {
      store ??= createStore(model);
      hideStatic(el, model);
      return createView(store, el);
    },
  };
};
