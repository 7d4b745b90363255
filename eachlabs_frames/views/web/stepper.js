/**
 * Things that are marked one by one (`stepper.py` says what this and the kernel tell each other).
 *
 * It owns what is on the way: what was asked for is shown at once, as not confirmed, until the kernel's state says that
 * it was heard. It never sets the model's state. Keys mean something only while the focus is inside, and nothing to the
 * notebook around: the focus is taken once, where that surprises nobody, and stays inside until the user moves it.
 */

import { createMedium, createWords, isOffline, mediaOf, NAMES } from "./cards.js";
import { h, hideStatic, on, setAttribute, setText } from "./dom.js";
import { createFiles } from "./files.js";
import { clip, plural, safeUrl, whole } from "./format.js";
import { createSteps, nextOpen, OPEN } from "./steps.js";

const SLOW = 1_500; // milliseconds after which it is said that the kernel has not answered
const FRESH = 30; // seconds after which a cell's user is not expected to wait for it any more

/** The media of one output in large, one at a time: `{ node, paint(card, name), destroy() }`. */
export function createLarge(files, { nameless = false } = {}) {
  const stage = h("div.elf-step-stage");
  const several = h("div.elf-step-several", { role: "group", "aria-label": "Parts of this output" });
  const node = h("div.elf-step-large", {}, stage, several);
  let shown = null,
    medium = null,
    at = 0;

  function show(card, name) {
    const media = mediaOf(card);
    medium?.destroy();
    medium = media[at]
      ? createMedium(media[at], card.row, `${NAMES.get(media[at].kind) ?? "output"}: ${name}`, {
          files,
          large: true,
          nameless,
        })
      : null;
    stage.replaceChildren(medium ? medium.node : createWords(card.text ?? "", card.is_json, Infinity));
    setAttribute(stage, "data-kind", medium ? media[at].kind : "text");
    if (medium) stage.removeAttribute("tabindex");
    else
      for (const [key, value] of [
        ["tabindex", 0],
        ["role", "region"],
        ["aria-label", name],
      ])
        stage.setAttribute(key, value);
    several.hidden = media.length < 2;
    several.replaceChildren(
      ...(media.length < 2
        ? []
        : media.map((_, place) => {
            const turn = h(
              "button.elf-step-part-button",
              {
                type: "button",
                "aria-pressed": String(place === at),
                "aria-label": `part ${place + 1} of ${media.length}`,
              },
              String(place + 1),
            );
            return on(turn, "click", () => {
              at = place;
              show(card, name);
              several.children[place].focus();
            });
          })),
    );
  }

  function paint(card, name) {
    const seen = JSON.stringify([card.row, card.media, card.text]);
    if (seen === shown) return;
    shown = seen;
    at = 0;
    show(card, name);
  }
  return { node, paint, destroy: () => medium?.destroy() };
}

/** The keys that are not a view's own where this has the focus: of players, of what is scrolled, of buttons. */
function othersKeys(target, root) {
  if (target === root) return null;
  if (target.matches("video, audio")) return /^(Arrow.*|Home|End| )$/;
  return target.matches("button, a") ? /^ $/ : /^(Home|End| |Page.*)$/;
}

/**
 * Whether a view that has just been shown may take the focus: its cell was run alone (`requestedAt`, see
 * cell_requests.py) and a moment ago, the notebook's focus is still where that left it, and nobody is typing.
 */
function mayTakeFocus(el, requestedAt) {
  const cell = el.closest(".jp-Cell"),
    notebook = el.closest(".jp-Notebook"),
    focused = document.activeElement;
  const isFresh = typeof requestedAt === "number" && Math.abs(Date.now() / 1000 - requestedAt) < FRESH;
  if (!isFresh || !cell || !notebook || !document.hasFocus()) return false;
  if (focused !== document.body && !notebook.contains(focused)) return false;
  const cells = [...notebook.querySelectorAll(".jp-Cell")];
  const next = cells[cells.indexOf(cell) + 1];
  const active = notebook.querySelector(".jp-Cell.jp-mod-active");
  if (active !== cell && active !== next) return false;
  const [own, below] = [cell, next].map((one) => one?.querySelector(".jp-InputPrompt")?.textContent ?? "");
  const count = (prompt) => Number(/\d+/.exec(prompt)?.[0] ?? 0);
  if (below.includes("*") || (count(own) && count(below) > count(own))) return false; // run together with this one
  const editor = focused.closest(".cm-content, input, textarea, [contenteditable=true]");
  return !editor || !(editor.value ?? editor.textContent);
}

/** Calls `act` when an element is first laid out in the page. */
function whenShown(node, act) {
  const observer = new ResizeObserver(() => {
    if (!node.getClientRects().length) return;
    observer.disconnect();
    act();
  });
  observer.observe(node);
  return () => observer.disconnect();
}

/**
 * A view: what is marked in the middle, how far it is above, buttons and keys below.
 *
 * `kind` gives what is special: `title`, `label` (of the whole), `verb` ("rated"), `keys` (a map of keys to functions of
 * the actions), `hints` ([[keys, meaning], ...]), `marks` ([[mark, text, title], ...], the buttons), `say(mark)`,
 * `createThing()` and `createEnd(actions)`, each `{ node, paint(...), destroy() }`.
 */
function createStepper(steps, el, kind, files, requestedAt) {
  const text = (spec, attributes) => h(spec, { dir: "auto", ...attributes });
  const heading = h("div.elf-step-title", { role: "heading", "aria-level": "3" }, kind.title);
  const tag = text("span.elf-step-tag");
  const count = h("span.elf-step-count");
  const sure = h("span.elf-step-sure", { role: "status" });
  const filled = h("span");
  const bar = h("div.elf-step-bar", { role: "progressbar", "aria-label": kind.verb, "aria-valuemin": "0" }, filled);
  const problem = text("div.elf-step-note", { "data-kind": "problem", role: "status" });
  const leftOut = text("div.elf-step-note", { "data-kind": "left-out" });
  const said = h("div.elf-hidden", { "aria-live": "polite" });
  const thing = kind.createThing(files);
  const end = kind.createEnd();
  const unseen = h("div.elf-step-unseen", {}, "Waiting for the kernel to send this result.");

  const act = {
    mark(mark) {
      if (!act.ready()) return;
      steps.ask({ kind: "mark", place: steps.now.at, mark });
      announce(mark);
    },
    ready: () => !steps.parted && steps.now.at < steps.now.size && steps.things.has(steps.now.at),
    undo() {
      if (!steps.now.can_undo) return;
      steps.ask({ kind: "undo" });
      announce();
    },
    by: (by) => act.go(steps.now.at + by),
    go(place) {
      if (place < 0 || place > steps.now.size || place === steps.now.at) return;
      steps.ask({ kind: "go", place });
      announce();
    },
    open: () => act.go(nextOpen(steps.now, steps.now.at)),
    ask: steps.ask,
  };

  function announce(mark) {
    const { at, size } = steps.now;
    const where = at < size ? `${whole.format(at + 1)} of ${whole.format(size)}` : "the end";
    setText(said, mark === undefined ? where : `${kind.say(mark)}; now ${where}`);
  }

  // Never disabled, which would lose the focus, and the next key to the notebook.
  const button = (name, label, title, run, key = "") =>
    on(
      h(
        `button.elf-step-button.elf-step-${name}`,
        { type: "button", title },
        label,
        ...(key ? [h("kbd", { "aria-hidden": "true" }, key)] : []),
      ),
      "click",
      run,
    );
  const choices = kind.marks.map(([mark, label, title, key]) => [
    mark,
    button("mark", label, title, () => act.mark(mark), key),
  ]);
  choices.forEach(([mark, node]) => (node.dataset.mark = mark));
  const turns = {
    back: button("back", "‹", kind.backTitle, () => act.by(-1)),
    next: button("next", "›", kind.nextTitle, () => act.by(1)),
    undo: button("undo", "Undo", "Undo the last step (U, Backspace, Ctrl+Z)", act.undo),
    clear: button("clear", "Clear", "Clear this mark (0, Delete)", () => act.mark(null)),
    open: button("open", kind.openLabel, `${kind.openTitle} (N)`, act.open),
  };
  const controls = h(
    "div.elf-step-controls",
    {},
    turns.back,
    h("div.elf-step-marks", { role: "group", "aria-label": kind.marksLabel }, ...choices.map(([, node]) => node)),
    turns.next,
    h("div.elf-step-rest", {}, turns.undo, turns.clear, turns.open),
  );
  const hints = h(
    "div.elf-step-hints",
    { "aria-hidden": "true" },
    h("span.elf-step-call", {}, "Click here to use the keys"),
    ...[...kind.hints, [["Esc"], "back to the notebook"]].map(([keys, meaning]) =>
      h("span.elf-step-hint", {}, ...keys.map((key) => h("kbd", {}, key)), meaning),
    ),
  );
  const root = h(
    "div.eachlabs-view.elf-stepper",
    { tabindex: "0", role: "group", "aria-label": kind.label, "data-lm-suppress-shortcuts": "true" },
    h("div.elf-step-head", {}, heading, tag, sure, count),
    bar,
    problem,
    leftOut,
    h("div.elf-step-body", {}, thing.node, end.node, unseen),
    controls,
    hints,
    said,
  );

  function paintHead({ done, size, more, since, unsure }) {
    setText(tag, clip(kind.tag?.(more) ?? "", 100));
    tag.hidden = !tag.textContent;
    setText(count, `${whole.format(done)} of ${whole.format(size)} ${kind.verb}`);
    filled.style.width = `${size ? (100 * done) / size : 0}%`;
    for (const [name, value] of [
      ["valuemax", size],
      ["valuenow", done],
      ["valuetext", count.textContent],
    ])
      setAttribute(bar, `aria-${name}`, value);
    const slow = since !== null && Date.now() - since > SLOW;
    const lost = steps.parted && unsure.size ? ` ${plural(unsure.size, "mark")} not saved.` : "";
    setText(
      sure,
      steps.parted
        ? `The kernel is not connected.${lost}`
        : slow
          ? `${plural(unsure.size, "mark")} not confirmed: the kernel has not responded yet`
          : "",
    );
    setAttribute(sure, "data-kind", steps.parted ? "parted" : "waiting");
  }

  function paint() {
    const { now } = steps;
    const { at, size, marks, problem: wrong, more } = now;
    const here = at < size,
      seen = here && steps.things.has(at);
    paintHead(now);
    setAttribute(root, "data-waiting", now.waiting);
    for (const [node, words] of [
      [problem, wrong],
      [leftOut, more.left_out],
    ]) {
      node.hidden = !words;
      setText(node, clip(words ?? "", 600));
    }
    Object.assign(thing.node, { hidden: !seen });
    Object.assign(unseen, { hidden: !here || seen });
    Object.assign(end.node, { hidden: here });
    if (seen) thing.paint(steps.things.get(at), now);
    if (!here) end.paint(now, act);
    for (const [mark, node] of choices) {
      setAttribute(node, "aria-pressed", here && marks[at] === mark);
      node.classList.toggle("elf-unsure", now.unsure.has(at) && marks[at] === mark);
    }
    const able = {
      back: at > 0,
      next: here,
      undo: now.can_undo,
      clear: here && marks[at] !== OPEN,
      open: nextOpen(now, at) >= 0 && nextOpen(now, at) !== at,
    };
    for (const [name, node] of Object.entries(turns)) setAttribute(node, "aria-disabled", !able[name] || steps.parted);
    for (const [, node] of choices) setAttribute(node, "aria-disabled", !act.ready());
    preload(at + 1);
  }

  function preload(place) {
    for (const { url, kind: medium, has_file: hasFile } of steps.things.has(place)
      ? kind.mediaOf(steps.things.get(place))
      : []) {
      const safe = medium === "image" && !(hasFile && files) && !isOffline() ? safeUrl(url, medium) : null;
      if (safe && !safe.startsWith("data:")) Object.assign(new Image(), { referrerPolicy: "no-referrer", src: safe });
    }
  }

  /** Gives the focus back to the notebook: whoever uses no mouse must be able to leave. */
  function leave() {
    const cell = root.closest(".jp-Cell");
    if (cell) cell.focus({ preventScroll: true });
    else root.blur();
  }

  const keys = {
    Escape: leave,
    u: act.undo,
    Backspace: act.undo,
    n: act.open,
    0: () => act.mark(null),
    Delete: () => act.mark(null),
    Home: () => act.go(0),
    End: () => act.go(steps.now.size),
    ...kind.keys(act),
  };

  on(root, "keydown", (event) => {
    const { key, target } = event;
    const isUndo = (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && key.toLowerCase() === "z";
    if ((event.ctrlKey || event.metaKey || event.altKey) && !isUndo) return;
    event.stopPropagation();
    if (target.closest("dialog")) return;
    const theirs = othersKeys(target, root);
    const run = isUndo ? act.undo : keys[key.length === 1 ? key.toLowerCase() : key];
    if (!run || theirs?.test(key)) return;
    event.preventDefault();
    // A key that is held down would mark whatever comes.
    if (!event.repeat || (/^(Arrow|Page)/.test(key) && kind.moves.has(key))) run();
  });

  /** Paints, and keeps the focus: where what had it is gone, the next key would be the notebook's. */
  function repaint() {
    const focused = () => root.getRootNode().activeElement;
    const hadFocus = root.contains(focused());
    paint();
    if (hadFocus && !(root.contains(focused()) && focused().getClientRects().length))
      root.focus({ preventScroll: true });
  }

  function takeFocus() {
    if (!mayTakeFocus(root, requestedAt())) return;
    root.focus({ preventScroll: true });
    root.scrollIntoView({ block: "nearest" });
  }

  const view = { paint: repaint };
  steps.views.add(view);
  paint();
  el.append(root);
  const forget = whenShown(root, takeFocus);
  const timer = setInterval(() => {
    steps.check();
    steps.insist();
    if (steps.now.since !== null) paintHead(steps.now);
  }, 500);
  return () => {
    clearInterval(timer);
    forget();
    steps.views.delete(view);
    thing.destroy();
    end.destroy?.();
    root.remove();
  };
}

/** What anywidget is given: one store per model, and views of it. */
export function steppedBy(kindOf) {
  return () => {
    let steps = null,
      files = null;
    const start = (model) => {
      if (steps) return;
      steps = createSteps(model);
      files = createFiles(model);
    };
    return {
      initialize({ model }) {
        start(model);
        return () => {
          steps.destroy();
          files.destroy();
        };
      },
      render({ model, el }) {
        start(model);
        hideStatic(el, model);
        return createStepper(steps, el, kindOf(steps.now.more), files, () => model.get("requested_at"));
      },
    };
  };
}
