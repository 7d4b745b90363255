/** Elements that every view is made of. */

import { clip, symbolOf, whole } from "./format.js";

const TYPING = 200;
const LONG = 60; // characters: what is longer can be scrolled

export function h(spec, attributes = {}, ...children) {
  const [tag, ...classes] = spec.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export const on = (node, event, act) => (node.addEventListener(event, act), node);
export const setText = (node, text) => node.textContent === text || (node.textContent = text);
export const setAttribute = (node, name, value) =>
  node.getAttribute(name) === String(value) || node.setAttribute(name, value);
export const symbol = (word) => h("span.elf-symbol", { "aria-hidden": "true" }, symbolOf(word));

/** Text from outside in a place of fixed size: the whole of a short one can be read, a long one can be scrolled. */
export function textBox(name, text, label) {
  const box = h(`div.elf-text.${name}`, { dir: "auto" }, clip(text));
  if (text.length <= LONG) box.title = text;
  else
    for (const [key, value] of [
      ["tabindex", 0],
      ["role", "group"],
      ["aria-label", label],
    ])
      box.setAttribute(key, value);
  return box;
}

/** A button that shows only what has a status, or that too. */
export function createChip(word, what, toggle) {
  const count = h("span.elf-count");
  const button = h(
    "button.elf-chip",
    { type: "button", "data-status": word, "aria-pressed": "false" },
    symbol(word),
    h("span.elf-word", { dir: "auto" }, clip(word, 40)),
    count,
  );
  button.title = `Show only ${what} that are ${clip(word, 40)}`;
  on(button, "click", toggle);
  const paint = (rows, pressed) => {
    setText(count, whole.format(rows));
    button.classList.toggle("elf-zero", !rows);
    setAttribute(button, "aria-pressed", pressed);
  };
  return { button, paint };
}

/** What is typed into a search box, soon after. */
export function createSearch(placeholder, label, seek) {
  const input = h("input.elf-search", {
    type: "search",
    placeholder,
    "aria-label": label,
    spellcheck: "false",
    autocomplete: "off",
  });
  let typed = 0;
  const now = () => (clearTimeout(typed), seek(input.value.trim()));
  on(input, "input", () => (clearTimeout(typed), (typed = setTimeout(now, TYPING))));
  on(input, "keydown", (event) => {
    if (event.key === "Escape") input.value = "";
    if (event.key === "Escape" || event.key === "Enter") now();
  });
  return { input, put: (text) => ((input.value = text), now()), destroy: () => clearTimeout(typed) };
}

/**
 * Hide the static HTML that the notebook keeps for a time without a kernel (`notebook_output.py`). The rule is inside of
 * the view, so that it is in force exactly as long as the view is in the page.
 */
export function hideStatic(el, model) {
  const key = model.get("static_key");
  if (!key) return; // a page in a file has none
  const name = `.eachlabs-static-${key}`;
  el.append(h("style", {}, `${name}, .jp-OutputArea-child:has(> .jp-OutputArea-output > ${name}) { display: none }`));
}

/** Keys that mean something in a view must mean nothing to the notebook around. */
export const keepKeys = (root) =>
  on(root, "keydown", (event) => event.ctrlKey || event.metaKey || event.altKey || event.stopPropagation());
