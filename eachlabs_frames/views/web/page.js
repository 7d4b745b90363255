/**
 * Shows a view in a saved HTML page, where neither a notebook nor a kernel exists.
 *
 * `common/html_page.py` writes the model's state and the files into the page as text, and calls `showPage`.
 */

/** @import { View, Files } from "./model.js" */

/**
 * The files that the page holds.
 *
 * @type {Files}
 */
const pageFiles = {
  async get(row, n) {
    const script = document.getElementById(`eachlabs-file-${row}-${n}`);
    if (!script) return null;
    const bytes = Uint8Array.from(atob(script.textContent ?? ""), (character) => character.charCodeAt(0));
    return new Blob([bytes], { type: script.dataset.type });
  },
};

/**
 * Render the view into the page's `<main>`.
 *
 * @param {() => View} createView the default export of a view's module
 */
export async function showPage(createView) {
  const state = JSON.parse(document.getElementById("eachlabs-state")?.textContent ?? "");
  const model = { get: (/** @type {string} */ name) => state[name], on() {}, off() {}, send() {} };
  const el = /** @type {HTMLElement} */ (document.querySelector("main"));
  const view = createView();
  await view.initialize({ model, files: pageFiles });
  await view.render({ model, el, files: pageFiles });
}
