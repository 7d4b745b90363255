/**
 * Creates the elements that all views share. A string from outside is only ever used as text: never as markup, a style,
 * or a URL that `safeUrl` did not check.
 */

/** @import { Model } from "./model.js" */
import { clip, rankOf, symbolOf, whole } from "./format.js";

/**
 * @template {string} Tag
 * @typedef {Tag extends keyof HTMLElementTagNameMap ? HTMLElementTagNameMap[Tag] : HTMLElement} ElementOf
 */
/**
 * @template {string} Spec
 * @typedef {Spec extends `${infer Tag}.${string}` ? ElementOf<Tag> : ElementOf<Spec>} ElementBySpec
 */

const SEARCH_DELAY = 200; // milliseconds without a key
const SHORT_TEXT = 60; // characters; a longer text can be scrolled

/**
 * Create an element from its tag and classes, such as `h("div.a.b", { title: "text" }, child)`.
 *
 * @template {string} Spec
 * @param {Spec} spec
 * @param {Record<string, string | number>} [attributes]
 * @param {...(Node | string)} children
 */
export function h(spec, attributes = {}, ...children) {
  const [tag = "", ...classes] = spec.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  setAttributes(node, attributes);
  node.append(...children);
  return /** @type {ElementBySpec<Spec>} */ (node);
}

/**
 * @template {HTMLElement} Node
 * @template {keyof HTMLElementEventMap} Type
 * @param {Node} node
 * @param {Type} type
 * @param {(event: HTMLElementEventMap[Type]) => unknown} listener
 */
export function on(node, type, listener) {
  node.addEventListener(type, listener);
  return node;
}

/**
 * The element that an event is about.
 *
 * @param {Event} event
 */
export const targetOf = (event) => /** @type {HTMLElement} */ (event.target);

/** @param {KeyboardEvent | MouseEvent} event */
export const hasModifier = (event) => event.altKey || event.ctrlKey || event.metaKey;

/**
 * The element that has the focus, also where the view is in a shadow root.
 *
 * @param {Node} node of the view
 */
export const focusedIn = (node) =>
  /** @type {HTMLElement | null} */ (/** @type {Document | ShadowRoot} */ (node.getRootNode()).activeElement);

/**
 * Writes only what differs: each write would make a screen reader repeat a live region.
 *
 * @param {Node} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * @param {Element} node
 * @param {string} name
 * @param {unknown} value
 */
export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, String(value));
}

/**
 * @param {Element} node
 * @param {Record<string, unknown>} attributes
 */
export function setAttributes(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) setAttribute(node, name, value);
}

/**
 * The attributes of a link out of the notebook.
 *
 * @param {string} url
 */
export const linkAttributes = (url) => ({
  href: url,
  target: "_blank",
  rel: "noopener noreferrer",
  referrerpolicy: "no-referrer",
});

/** @param {string} status */
export const symbol = (status) => h("span.elf-symbol", { "aria-hidden": "true" }, symbolOf(status));

/**
 * A symbol and a text, such as those of a status.
 *
 * @param {string} spec of the element around them
 * @param {Record<string, string | number>} [attributes]
 */
export function createLabel(spec, attributes = {}) {
  const glyph = h("span.elf-symbol", { "aria-hidden": "true" });
  const text = h("span.elf-label-text", { dir: "auto" });
  const node = h(spec, attributes, glyph, text);
  /**
   * @param {string} newGlyph
   * @param {string} newText
   */
  function paint(newGlyph, newText) {
    setText(glyph, newGlyph);
    setText(text, clip(newText, 40));
  }
  /** @param {string} status */
  function paintStatus(status) {
    setAttribute(node, "data-status", status);
    paint(symbolOf(status), status);
  }
  return { node, paint, paintStatus };
}

/**
 * A text from outside in a place of fixed size: a short one is its own tooltip, a long one can be scrolled.
 *
 * @param {string} name a class
 * @param {string} text
 * @param {string} label
 */
export function textBox(name, text, label) {
  const box = h(`div.elf-text.${name}`, { dir: "auto" }, clip(text));
  if (text.length <= SHORT_TEXT) box.title = text;
  else setAttributes(box, { tabindex: 0, role: "group", "aria-label": label });
  return box;
}

/**
 * A button that filters by a status.
 *
 * @param {string} status
 * @param {string} what it filters, in the plural
 * @param {() => void} toggle
 */
export function createChip(status, what, toggle) {
  const count = h("span.elf-count");
  const text = h("span.elf-label-text", { dir: "auto" }, clip(status, 40));
  const attributes = { type: "button", "data-status": status, "aria-pressed": "false" };
  const button = h("button.elf-chip", attributes, symbol(status), text, count);
  button.title = `Show only ${what} that are ${clip(status, 40)}`;
  on(button, "click", toggle);
  /**
   * @param {number} rows
   * @param {boolean} isPressed
   */
  function paint(rows, isPressed) {
    setText(count, whole.format(rows));
    button.classList.toggle("elf-zero", !rows);
    setAttribute(button, "aria-pressed", isPressed);
  }
  return { button, paint };
}

/**
 * A search box, which calls `onSearch` when its user stops typing.
 *
 * @param {string} placeholder
 * @param {string} label
 * @param {(text: string) => void} onSearch
 */
export function createSearch(placeholder, label, onSearch) {
  const attributes = { type: "search", placeholder, "aria-label": label, spellcheck: "false", autocomplete: "off" };
  const input = h("input.elf-search", attributes);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  function seekNow() {
    clearTimeout(timer);
    onSearch(input.value.trim());
  }
  /** @param {string} text */
  function put(text) {
    input.value = text;
    seekNow();
  }
  on(input, "input", () => {
    clearTimeout(timer);
    timer = setTimeout(seekNow, SEARCH_DELAY);
  });
  on(input, "keydown", ({ key }) => {
    if (key === "Escape") put("");
    if (key === "Enter") seekNow();
  });
  return { input, put, destroy: () => clearTimeout(timer) };
}

/**
 * Insert an element with `data-status` into others, in the order of a bar.
 *
 * @param {HTMLElement} parent
 * @param {HTMLElement} node
 */
export function insertByStatus(parent, node) {
  const rank = rankOf(node.dataset.status);
  const children = /** @type {HTMLElement[]} */ ([...parent.children]);
  parent.insertBefore(node, children.find(({ dataset }) => rankOf(dataset.status) > rank) ?? null);
}

/**
 * Hide the static HTML that the notebook keeps for when there is no kernel (see `common/notebook_output.py`). The rule
 * stands inside of the view, so it applies exactly as long as the view is in the page.
 *
 * @param {HTMLElement} el
 * @param {Model} model
 */
export function hideStatic(el, model) {
  const key = model.get("static_key");
  if (!key) return; // a saved page has none
  const name = `.eachlabs-static-${key}`;
  el.append(h("style", {}, `${name}, .jp-OutputArea-child:has(> .jp-OutputArea-output > ${name}) { display: none }`));
}

/**
 * Keep keys from the shortcuts of the notebook around the view.
 *
 * @param {HTMLElement} root
 */
export const keepKeys = (root) => on(root, "keydown", (event) => hasModifier(event) || event.stopPropagation());
