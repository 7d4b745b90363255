/**
 * One card, as `views/cards.py` makes it: its media, what it is called, how it stands, and the look at it in large.
 *
 * It fetches media that somebody is to see, once, and nothing else; what cannot be had becomes a placeholder with its
 * link. Where a `files` is given, a file of the user's is shown instead: `files.get(row, n)` gives a promise of a Blob,
 * or of null. No string from outside becomes markup (see pieces.js, which stands before it).
 */

import { h, on, setAttribute, setText } from "./dom.js";
import { clip, duration, formatUsd, nameOf, safeUrl, symbolOf, whole } from "./format.js";

const SHOWN_MEDIA = 4; // of one card; the others are seen in large
const CARD_TEXT = 700; // characters: more has no room in a card
const LABEL = 200;
const BETWEEN = " · "; // as `frames/cards.py` joins the parts of a label
const LABEL_LINE = 26; // characters
const LABEL_LINES = 3;

export const NAMES = new Map([
  ["image", "image"],
  ["video", "video"],
  ["audio", "audio"],
  ["link", "file"],
]);
export const isOffline = () => navigator.onLine === false;
const outward = (url) => ({ href: url, target: "_blank", rel: "noopener noreferrer", referrerpolicy: "no-referrer" });

/** How a row stands: a symbol and a word, in a colour. */
export function createBadge() {
  const node = h(
    "span.elf-badge",
    {},
    h("span.elf-symbol", { "aria-hidden": "true" }),
    h("span.elf-word", { dir: "auto" }),
  );
  const paint = (word) => {
    setAttribute(node, "data-status", word);
    setText(node.firstChild, symbolOf(word));
    setText(node.lastChild, clip(word, 40));
  };
  return { node, paint };
}

/** A way to where a file is; nameless, it does not say what that is called. */
const away = (url, nameless) =>
  nameless
    ? h("a.elf-away", outward(url), "open it")
    : h("a.elf-away", { ...outward(url), dir: "auto", title: clip(url, 300) }, nameOf(url));

/** What stands where a picture cannot be shown: why, and where it is. */
function placeholder(kind, url, why, nameless = false) {
  const node = h("div.elf-placeholder", {}, h("span.elf-why", {}, `${NAMES.get(kind) ?? kind} ${why}`));
  if (url && !url.startsWith("data:")) node.append(away(url, nameless));
  return node;
}

/** Calls an element's `act` when it comes near to what is seen; one observer for all. */
const nearness = new Map();
let nearby = null;
function whenNear(node, act) {
  nearby ??= new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        nearby.unobserve(target);
        nearness.get(target)?.();
        nearness.delete(target);
      }
    },
    { rootMargin: "300px", scrollMargin: "300px" },
  );
  nearness.set(node, act);
  nearby.observe(node);
  return () => {
    nearness.delete(node);
    nearby.unobserve(node);
  };
}

/** A URL of a file. A drawing may hold a script, which would run as the notebook's own in a tab of its own: no blob. */
const sourceOf = (blob) =>
  blob.type !== "image/svg+xml"
    ? URL.createObjectURL(blob)
    : new Promise((done) => {
        const reader = new FileReader();
        on(reader, "load", () => done(reader.result));
        reader.readAsDataURL(blob);
      });

/**
 * One medium of an output, in a frame whose size its place gives it: `{ node, destroy }`.
 *
 * `large`: it is what somebody looks at now. A file is asked for when it comes near, a film or a sound of it only when
 * it is to be played. `nameless`: nothing that is read or pointed at says where it comes from.
 */
export function createMedium(
  { kind, url, n, has_file: hasFile },
  row,
  name,
  { files = null, large = false, nameless = false } = {},
) {
  const node = h(`div.elf-medium`, { "data-kind": kind });
  const safe = safeUrl(url, kind);
  let source = null,
    forget = null,
    isGone = false;

  function put(src) {
    const media =
      kind === "image"
        ? h("img", {
            alt: name,
            decoding: "async",
            referrerpolicy: "no-referrer",
            ...(large ? {} : { loading: "lazy" }),
          })
        : h(kind, {
            controls: "",
            preload: "none",
            "aria-label": name,
            ...(kind === "video" ? { playsinline: "" } : {}),
          });
    const fail = () => isGone || node.replaceChildren(placeholder(kind, safe, "unavailable", nameless));
    on(media, "error", () => {
      if (!source || !safe || src === safe) return void fail();
      drop();
      show(safe);
    });
    media.src = src;
    node.replaceChildren(media);
    return media;
  }

  function show(src) {
    if (!src) node.replaceChildren(placeholder(kind, null, url === null ? "is too large to show" : "cannot be shown"));
    else if (isOffline() && !src.startsWith("data:") && !src.startsWith("blob:"))
      node.replaceChildren(placeholder(kind, safe, "is not loaded: offline", nameless));
    else put(src);
  }

  function drop() {
    if (source) URL.revokeObjectURL(source);
    source = null;
  }

  async function fetchFile() {
    const blob = await files.get(row, n).catch(() => null);
    if (isGone) return null;
    if (!blob) return void show(safe);
    source = await sourceOf(blob);
    return isGone ? drop() : put(source);
  }

  function showFile() {
    if (kind === "image") {
      forget = large ? void fetchFile() : whenNear(node, fetchFile);
      return;
    }
    const play = h("button.elf-play", { type: "button", "aria-label": `Play ${name}` }, "▶ Play");
    on(play, "click", async () => {
      play.disabled = true;
      const media = await fetchFile();
      media?.play().catch(() => {}); // a browser may want another click
      media?.focus();
    });
    node.append(play);
  }

  if (kind === "link") node.append(safe ? away(safe, nameless) : placeholder(kind, null, "cannot be shown"));
  else if (hasFile && files) showFile();
  else show(safe);
  function destroy() {
    isGone = true;
    forget?.();
    drop();
  }
  return { node, destroy };
}

/** What an output says in words. */
export function createWords(text, isJson, longest) {
  const node = h(isJson ? "pre.elf-words" : "div.elf-words", { dir: isJson ? "ltr" : "auto" }, clip(text, longest));
  if (!isJson) node.classList.add("elf-prose");
  return node;
}

export const mediaOf = (card) => card.media.filter(({ kind }) => kind !== "text");

/**
 * What is seen of a card's output: media, else words, else how it stands: `{ node, paint(card), destroy() }`.
 *
 * `enlarge(card, at)` is called for the picture at that place. What has not changed is not touched: a film goes on.
 */
export function createStage({ files = null, enlarge }) {
  const node = h("div.elf-stage");
  let before = null,
    shown = [],
    current = null;

  function put(card) {
    shown.forEach((medium) => medium.destroy());
    const media = mediaOf(card);
    const name = (at) =>
      `${NAMES.get(media[at].kind) ?? "output"}${media.length > 1 ? ` ${at + 1}` : ""} of ${clip(card.label, LABEL)}`;
    shown = media.slice(0, SHOWN_MEDIA).map((item, at) => createMedium(item, card.row, name(at), { files }));
    shown.forEach(
      ({ node: medium }, at) =>
        media[at].kind === "image" && on(medium, "click", (event) => event.target.closest("a") || enlarge(current, at)),
    );
    setAttribute(node, "data-media", shown.length);
    node.replaceChildren(...shown.map((medium) => medium.node));
    const more = media.length + card.more_media - shown.length;
    if (more > 0) node.append(h("span.elf-more", {}, `+${whole.format(more)}`));
    if (!shown.length && card.text !== null) node.append(createWords(card.text, card.is_json, CARD_TEXT));
    else if (!shown.length)
      node.append(h("div.elf-nothing", { "data-status": card.status, "aria-hidden": "true" }, symbolOf(card.status)));
  }

  function paint(card) {
    current = card;
    const status = card.media.length || card.text !== null ? "" : card.status;
    const seen = JSON.stringify([card.label, card.media, card.more_media, card.text, status]);
    if (seen !== before) put(card);
    before = seen;
  }
  return { node, paint, destroy: () => shown.forEach((medium) => medium.destroy()) };
}

/** A label by its parts: a long one has a line of its own, so that it does not hide what tells its card from others. */
function labelLines(label) {
  const lines = [];
  for (const part of label.split(BETWEEN)) {
    const last = lines.at(-1);
    const fits = last && last.length + part.length <= LABEL_LINE;
    if (fits) lines[lines.length - 1] = `${last}${BETWEEN}${part}`;
    else lines.push(part);
  }
  const shown =
    lines.length > LABEL_LINES
      ? [...lines.slice(0, LABEL_LINES - 1), lines.slice(LABEL_LINES - 1).join(BETWEEN)]
      : lines;
  return shown.map((line) => h("span", { dir: "auto" }, line));
}

/** A card: `{ node, paint(card), destroy() }`. `enlarge(card, at)` is called for the medium at that place, or 0. */
export function createCard({ files = null, enlarge }) {
  const stage = createStage({ files, enlarge });
  const label = h("div.elf-card-label", { dir: "auto" });
  const badge = createBadge();
  const cost = h("span.elf-fact");
  const seconds = h("span.elf-fact");
  const open = h("button.elf-enlarge", { type: "button" }, h("span", { "aria-hidden": "true" }, "⤢"));
  const error = h("div.elf-card-error", { dir: "auto" });
  const node = h(
    "article.elf-card",
    {},
    stage.node,
    open,
    h("div.elf-card-foot", {}, label, h("div.elf-card-line", {}, badge.node, cost, seconds), error),
  );
  let current = null;
  on(open, "click", () => enlarge(current, 0));

  function paint(card) {
    current = card;
    stage.paint(card);
    setAttribute(node, "data-row", card.row);
    setAttribute(node, "data-status", card.status);
    if (label.title !== clip(card.label, 400)) label.replaceChildren(...labelLines(clip(card.label, LABEL)));
    label.title = clip(card.label, 400);
    badge.paint(card.status);
    setText(cost, card.cost_usd === null ? "" : formatUsd(card.cost_usd));
    setText(seconds, card.seconds === null ? "" : duration(card.seconds));
    setAttribute(open, "aria-label", `Enlarge ${clip(card.label, LABEL)}`);
    error.hidden = !card.error;
    setText(error, card.error ? clip(card.error, 300) : "");
    error.title = clip(card.error ?? "", 1_000);
  }
  return { node, paint, destroy: stage.destroy };
}

/** What is known of a card beside what is seen: its error, its input, and what its output says beside its media. */
export function createFacts(card) {
  const list = h("dl");
  const add = (name, value) =>
    list.append(h("dt", { dir: "auto" }, name), h("dd", {}, h("div.elf-value-text", { dir: "auto" }, value)));
  if (card.error) list.append(h("dt", {}, "error"), h("dd.elf-error", { dir: "auto" }, card.error));
  for (const [name, value] of card.input) add(name, value);
  if (card.text !== null && mediaOf(card).length)
    list.append(h("dt", {}, "output"), h("dd", {}, createWords(card.text, card.is_json, Infinity)));
  const known = [
    card.cost_usd === null ? "" : formatUsd(card.cost_usd),
    card.seconds === null ? "" : duration(card.seconds),
  ].filter(Boolean);
  if (known.length) add("cost and time", known.join(", "));
  return list.childElementCount ? list : h("p.elf-why", {}, "input unavailable");
}

/**
 * A card in large, over everything, with its whole input beside it: `{ node, open(card, at), paint(card), destroy() }`.
 *
 * Arrows go to the next medium, then to the next card: `step(card, by)` gives the card that stands there, or null, and
 * `shown(card)` is told of it. The Escape key or a click beside it closes it, and the focus goes back to where it was;
 * where that is not there any more, `closed(card)` is called.
 */
export function createViewer({ files = null, step, shown = (_card) => {}, closed = (_card) => {} }) {
  const title = h("div.elf-viewer-title", { role: "heading", "aria-level": "2", dir: "auto" });
  const badge = createBadge();
  const place = h("span.elf-fact", { "aria-live": "polite" });
  const button = (name, text, label, act) =>
    on(h(`button.elf-turn.${name}`, { type: "button", "aria-label": label, title: label }, text), "click", act);
  const back = button("elf-back", "‹", "Previous (left arrow)", () => turn(-1));
  const next = button("elf-next", "›", "Next (right arrow)", () => turn(1));
  const close = button("elf-close", "✕", "Close (Escape)", () => node.close());
  const stage = h("div.elf-viewer-stage", { tabindex: "-1" });
  const facts = h("div.elf-viewer-facts.elf-facts", {
    tabindex: "0",
    role: "region",
    "aria-label": "Input and output",
  });
  const node = h(
    "dialog.elf-viewer",
    { "aria-label": "Result, enlarged" },
    h("div.elf-viewer-head", {}, title, badge.node, place, back, next, close),
    h("div.elf-viewer-body", {}, stage, facts),
  );
  let current = null,
    at = 0,
    medium = null,
    before = null,
    origin = null;

  function paintStage(card) {
    const media = mediaOf(card);
    medium?.destroy();
    medium = null;
    const item = media[at];
    if (item) {
      medium = createMedium(item, card.row, `${NAMES.get(item.kind)} of ${clip(card.label, LABEL)}`, {
        files,
        large: true,
      });
      stage.replaceChildren(medium.node);
    } else if (card.text !== null) stage.replaceChildren(createWords(card.text, card.is_json, Infinity));
    else
      stage.replaceChildren(
        h("div.elf-nothing", { "data-status": card.status }, `${symbolOf(card.status)} ${clip(card.status, 40)}`),
      );
  }

  function paint(card) {
    const media = mediaOf(card);
    at = Math.min(at, Math.max(0, media.length - 1));
    const seen = JSON.stringify([card.row, card.media, card.text, at]);
    if (seen !== before) paintStage(card);
    if (JSON.stringify(card) !== JSON.stringify(current) || !facts.childElementCount)
      facts.replaceChildren(createFacts(card));
    before = seen;
    current = card;
    setText(title, clip(card.label, 400));
    badge.paint(card.status);
    const away = safeUrl(media[at]?.url, media[at]?.kind);
    place.replaceChildren(
      media.length > 1 ? `${at + 1} of ${whole.format(media.length)}` : "",
      ...(away && !away.startsWith("data:") ? [" ", h("a.elf-away", outward(away), "open original")] : []),
    );
    back.disabled = !next_(-1);
    next.disabled = !next_(1);
  }

  /** `[card, at]` of what stands before or behind; null at an end. */
  function next_(by) {
    if (at + by >= 0 && at + by < mediaOf(current).length) return [current, at + by];
    const card = step(current, by);
    return card && [card, by > 0 ? 0 : Math.max(0, mediaOf(card).length - 1)];
  }

  function turn(by) {
    const there = current && next_(by);
    if (!there) return;
    at = there[1];
    facts.scrollTop = 0;
    paint(there[0]);
    shown(there[0]);
  }

  on(node, "keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("video, audio")) return;
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    turn(by);
  });
  on(node, "click", (event) => event.target === node && node.close());
  on(node, "close", () => {
    medium?.destroy();
    medium = null;
    before = null;
    stage.replaceChildren();
    if (origin?.isConnected) origin.focus({ preventScroll: true });
    else closed(current);
  });

  function open(card, place_ = 0) {
    origin = node.getRootNode().activeElement;
    at = place_;
    paint(card);
    if (!node.open) node.showModal();
    stage.focus({ preventScroll: true });
  }
  return {
    node,
    open,
    paint: (card) => node.open && current?.row === card.row && paint(card),
    destroy() {
      medium?.destroy();
      if (node.open) node.close();
    },
  };
}
