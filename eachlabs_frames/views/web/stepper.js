/**
 * Shows results that are marked one after the other: the result in the middle, the progress above, buttons below.
 *
 * Keys act only while the focus is inside, and the notebook around does not get them. The focus is taken once, where
 * `mayTakeFocus` allows it, and stays inside until the user moves it.
 *
 * @typedef {object} Actions
 * @property {() => boolean} canMark
 * @property {(mark: string | null) => void} mark
 * @property {() => void} undo
 * @property {(by: number) => void} move
 * @property {(place: number) => void} go
 * @property {() => void} goToOpen
 * @property {(request: ReviewRequest) => void} ask
 */
/**
 * @template Item
 * @typedef {object} Kind What is special to one kind of stepper.
 * @property {string} title
 * @property {string} label of the whole
 * @property {string} verb such as "rated"
 * @property {(details: any) => string} tag
 * @property {[mark: string, text: string, title: string, key?: string][]} marks the buttons
 * @property {string} marksLabel
 * @property {string} backTitle
 * @property {string} nextTitle
 * @property {string} openLabel
 * @property {string} openTitle
 * @property {Set<string>} repeatable keys that act again while they are held down
 * @property {(actions: Actions) => Record<string, () => void>} keys
 * @property {[keys: string[], meaning: string][]} hints
 * @property {(mark: string | null) => string} announcement
 * @property {(item: Item) => CardMedia[]} mediaOf
 * @property {(files: Files) => { node: HTMLElement, paint: (item: Item, now: Now) => void, destroy: () => void }}
 *   createItem
 * @property {() => { node: HTMLElement, paint: (now: Now, actions: Actions) => void }} createEnd what is shown behind
 *   the last result
 */

/** @import { CardMedia } from "./media.js" */
/** @import { Files, Model, View } from "./model.js" */
/** @import { Now, ReviewRequest, Store } from "./stepper_store.js" */
import { focusedIn, h, hasModifier, hideStatic, on, setAttribute, setAttributes, setText, targetOf } from "./dom.js";
import { createFiles } from "./files.js";
import { isKeyOfElement, mayTakeFocus, whenShown } from "./focus.js";
import { clip, plural, safeUrl, whole } from "./format.js";
import { isOffline } from "./media.js";
import { createStore, nextOpen, OPEN } from "./stepper_store.js";

const SLOW = 1_500; // milliseconds after which a note says that the kernel has not answered
const TICK = 500; // milliseconds

/**
 * The name of a pressed key in a map of keys: letters in lower case, "Undo" for Ctrl+Z; "" for other shortcuts, which
 * belong to the notebook or the browser.
 *
 * @param {Pick<KeyboardEvent, "key" | "ctrlKey" | "metaKey" | "altKey" | "shiftKey">} event
 */
export function keyOf({ key, ctrlKey, metaKey, altKey, shiftKey }) {
  if (!ctrlKey && !metaKey && !altKey) return key.length === 1 ? key.toLowerCase() : key;
  return key.toLowerCase() === "z" && !altKey && !shiftKey ? "Undo" : "";
}

/**
 * @param {Store} store
 * @param {(mark?: string | null) => void} announce
 * @returns {Actions}
 */
function createActions(store, announce) {
  const canMark = () => !store.isDisconnected && store.now.at < store.now.size && store.items.has(store.now.at);
  /** @param {string | null} mark */
  function mark(mark) {
    if (!canMark()) return;
    store.ask({ kind: "mark", place: store.now.at, mark });
    announce(mark);
  }
  function undo() {
    if (!store.now.canUndo) return;
    store.ask({ kind: "undo" });
    announce();
  }
  /** @param {number} place */
  function go(place) {
    if (place < 0 || place > store.now.size || place === store.now.at) return;
    store.ask({ kind: "go", place });
    announce();
  }
  const move = (/** @type {number} */ by) => go(store.now.at + by);
  const goToOpen = () => go(nextOpen(store.now, store.now.at));
  return { canMark, mark, undo, move, go, goToOpen, ask: store.ask };
}

/**
 * The title, the progress, and what went wrong.
 *
 * @param {Store} store
 * @param {Kind<any>} kind
 */
function createHead(store, kind) {
  const tag = h("span.elf-step-tag", { dir: "auto" });
  const count = h("span.elf-step-count");
  const confirmation = h("span.elf-step-confirmation", { role: "status" });
  const filled = h("span");
  const bar = h("div.elf-step-bar", { role: "progressbar", "aria-label": kind.verb, "aria-valuemin": "0" }, filled);
  const problem = h("div.elf-step-note", { dir: "auto", "data-kind": "problem", role: "status" });
  const leftOut = h("div.elf-step-note", { dir: "auto", "data-kind": "left-out" });
  const title = h("div.elf-step-title", { role: "heading", "aria-level": "3" }, kind.title);
  const nodes = [h("div.elf-step-head", {}, title, tag, confirmation, count), bar, problem, leftOut];

  /** @param {Now} now */
  function confirmationText({ unconfirmed, since }) {
    const marks = plural(unconfirmed.size, "mark");
    if (store.isDisconnected) return `The kernel is not connected.${unconfirmed.size ? ` ${marks} not saved.` : ""}`;
    const isSlow = since !== null && Date.now() - since > SLOW;
    return isSlow ? `${marks} not confirmed: the kernel has not responded yet` : "";
  }

  function paint() {
    const { now } = store;
    setText(tag, clip(kind.tag(now.details), 100));
    tag.hidden = !tag.textContent;
    setText(count, `${whole.format(now.done)} of ${whole.format(now.size)} ${kind.verb}`);
    filled.style.width = `${now.size ? (100 * now.done) / now.size : 0}%`;
    setAttributes(bar, {
      "aria-valuemax": now.size,
      "aria-valuenow": now.done,
      "aria-valuetext": count.textContent,
    });
    setText(confirmation, confirmationText(now));
    setAttribute(confirmation, "data-kind", store.isDisconnected ? "parted" : "waiting");
    paintNote(problem, now.problem);
    paintNote(leftOut, now.details.left_out);
  }
  return { nodes, paint };
}

/**
 * @param {HTMLElement} note
 * @param {string | null | undefined} text
 */
function paintNote(note, text) {
  note.hidden = !text;
  setText(note, clip(text ?? "", 600));
}

/**
 * @param {string} name
 * @param {string} label
 * @param {string} title
 * @param {() => void} act
 * @param {string} [key]
 */
function createButton(name, label, title, act, key) {
  const button = h(`button.elf-step-button.elf-step-${name}`, { type: "button", title }, label);
  if (key) button.append(h("kbd", { "aria-hidden": "true" }, key));
  return on(button, "click", act);
}

/**
 * The buttons. They are never `disabled`, which would lose the focus and give the next key to the notebook.
 *
 * @param {Store} store
 * @param {Kind<any>} kind
 * @param {Actions} actions
 */
function createControls(store, kind, actions) {
  const marks = kind.marks.map(([mark, label, title, key]) => {
    const button = createButton("mark", label, title, () => actions.mark(mark), key);
    button.dataset.mark = mark;
    return { mark, button };
  });
  const back = createButton("back", "‹", kind.backTitle, () => actions.move(-1));
  const next = createButton("next", "›", kind.nextTitle, () => actions.move(1));
  const undo = createButton("undo", "Undo", "Undo the last step (U, Backspace, Ctrl+Z)", actions.undo);
  const clear = createButton("clear", "Clear", "Clear this mark (0, Delete)", () => actions.mark(null));
  const open = createButton("open", kind.openLabel, `${kind.openTitle} (N)`, actions.goToOpen);
  const group = { role: "group", "aria-label": kind.marksLabel };
  const node = h(
    "div.elf-step-controls",
    {},
    back,
    h("div.elf-step-marks", group, ...marks.map(({ button }) => button)),
    next,
    h("div.elf-step-rest", {}, undo, clear, open),
  );

  /**
   * @param {HTMLElement} button
   * @param {boolean} isEnabled
   */
  const enable = (button, isEnabled) => setAttribute(button, "aria-disabled", !isEnabled || store.isDisconnected);

  function paint() {
    const { now } = store;
    const { at } = now;
    const isResult = at < now.size;
    for (const { mark, button } of marks) {
      const isMark = isResult && now.marks[at] === mark;
      setAttribute(button, "aria-pressed", isMark);
      button.classList.toggle("elf-unsure", isMark && now.unconfirmed.has(at));
      enable(button, actions.canMark());
    }
    const openAt = nextOpen(now, at);
    enable(back, at > 0);
    enable(next, isResult);
    enable(undo, now.canUndo);
    enable(clear, isResult && now.marks[at] !== OPEN);
    enable(open, openAt >= 0 && openAt !== at);
  }
  return { node, paint };
}

/** @param {Kind<any>} kind */
function createHints({ hints }) {
  const all = /** @type {typeof hints} */ ([...hints, [["Esc"], "back to the notebook"]]);
  return h(
    "div.elf-step-hints",
    { "aria-hidden": "true" },
    h("span.elf-step-invitation", {}, "Click here to use the keys"),
    ...all.map(([keys, meaning]) => h("span.elf-step-hint", {}, ...keys.map((key) => h("kbd", {}, key)), meaning)),
  );
}

/**
 * Load images before they are shown. Files are not: the kernel may be busy.
 *
 * @param {CardMedia[]} media
 */
function preload(media) {
  for (const { kind, url, has_file: hasFile } of media) {
    const safe = kind === "image" && !hasFile && !isOffline() ? safeUrl(url, kind) : null;
    if (safe && !safe.startsWith("data:")) Object.assign(new Image(), { referrerPolicy: "no-referrer", src: safe });
  }
}

/**
 * @param {Store} store
 * @param {Kind<any>} kind
 * @param {Files} files
 */
function createView(store, kind, files) {
  const live = h("div.elf-hidden", { "aria-live": "polite" });
  const actions = createActions(store, (mark) => {
    const { at, size } = store.now;
    const place = at < size ? `${whole.format(at + 1)} of ${whole.format(size)}` : "the end";
    setText(live, mark === undefined ? place : `${kind.announcement(mark)}; now ${place}`);
  });
  const item = kind.createItem(files);
  const end = kind.createEnd();
  const unseen = h("div.elf-step-unseen", {}, "Waiting for the kernel to send this result.");
  const head = createHead(store, kind);
  const controls = createControls(store, kind, actions);
  const root = h(
    "div.eachlabs-view.elf-stepper",
    { tabindex: "0", role: "group", "aria-label": kind.label, "data-lm-suppress-shortcuts": "true" },
    ...head.nodes,
    h("div.elf-step-body", {}, item.node, end.node, unseen),
    controls.node,
    createHints(kind),
    live,
  );

  function paint() {
    const { now, items } = store;
    const isEnd = now.at >= now.size;
    const isHere = items.has(now.at);
    setAttribute(root, "data-waiting", now.waiting);
    head.paint();
    item.node.hidden = isEnd || !isHere;
    unseen.hidden = isEnd || isHere;
    end.node.hidden = !isEnd;
    if (isEnd) end.paint(now, actions);
    else if (isHere) item.paint(items.get(now.at), now);
    controls.paint();
    if (items.has(now.at + 1)) preload(kind.mediaOf(items.get(now.at + 1)));
  }
  return { root, actions, paint, paintHead: head.paint, destroy: item.destroy };
}

/**
 * @param {HTMLElement} root
 * @param {Kind<any>} kind
 * @param {Actions} actions
 * @param {Store} store
 */
function listenToKeys(root, kind, actions, store) {
  /** Return the focus to the notebook: keyboard users must be able to leave. */
  function leave() {
    const cell = /** @type {HTMLElement | null} */ (root.closest(".jp-Cell"));
    if (cell) cell.focus({ preventScroll: true });
    else root.blur();
  }
  /** @type {Record<string, () => void>} */
  const keys = {
    Escape: leave,
    Undo: actions.undo,
    u: actions.undo,
    Backspace: actions.undo,
    n: actions.goToOpen,
    0: () => actions.mark(null),
    Delete: () => actions.mark(null),
    Home: () => actions.go(0),
    End: () => actions.go(store.now.size),
    ...kind.keys(actions),
  };
  on(root, "keydown", (event) => {
    const key = keyOf(event);
    if (!key && hasModifier(event)) return;
    event.stopPropagation();
    const target = targetOf(event);
    const act = keys[key];
    if (!act || target.closest("dialog") || isKeyOfElement(target, root, event.key)) return;
    event.preventDefault();
    // A key that is held down would mark all results that follow.
    if (!event.repeat || kind.repeatable.has(key)) act();
  });
}

/**
 * @param {Store} store
 * @param {HTMLElement} el
 * @param {Kind<any>} kind
 * @param {Files} files
 * @param {() => unknown} requestedAt
 */
function render(store, el, kind, files, requestedAt) {
  const { root, actions, paint, paintHead, destroy } = createView(store, kind, files);
  listenToKeys(root, kind, actions, store);

  /** Paint, and keep the focus inside: where the element that had it is gone, the notebook would get the next key. */
  function repaint() {
    const hadFocus = root.contains(focusedIn(root));
    paint();
    const focused = focusedIn(root);
    const hasFocus = focused && root.contains(focused) && focused.getClientRects().length > 0;
    if (hadFocus && !hasFocus) root.focus({ preventScroll: true });
  }

  const view = { paint: repaint };
  store.views.add(view);
  paint();
  el.append(root);
  const cancel = whenShown(root, () => {
    if (!mayTakeFocus(root, requestedAt())) return;
    root.focus({ preventScroll: true });
    root.scrollIntoView({ block: "nearest" });
  });
  const timer = setInterval(() => {
    store.check();
    store.repeat();
    if (store.now.since !== null) paintHead();
  }, TICK);
  return () => {
    clearInterval(timer);
    cancel();
    store.views.delete(view);
    destroy();
    root.remove();
  };
}

/**
 * The default export of a stepper's module, with one store per model.
 *
 * @template Item
 * @param {(details: any) => Kind<Item>} kindOf
 * @returns {() => View}
 */
export function createStepper(kindOf) {
  return () => {
    /** @type {{ store: Store, files: ReturnType<typeof createFiles> } | null} */
    let started = null;
    /** @param {Model} model */
    function start(model) {
      started ??= { store: createStore(model), files: createFiles(model) };
      return started;
    }
    return {
      initialize({ model }) {
        const { store, files } = start(model);
        return () => {
          store.destroy();
          files.destroy();
        };
      },
      render({ model, el }) {
        const { store, files } = start(model);
        hideStatic(el, model);
        return render(store, el, kindOf(store.now.details), files, () => model.get("requested_at"));
      },
    };
  };
}
