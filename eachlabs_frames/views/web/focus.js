/** Decides which keys are a view's own, and when a view may take the focus. */

const FRESH = 30; // seconds after which the user of a cell is not expected to wait for its view any more

/**
 * Whether a key belongs to the element that has the focus, such as a player, a button or what is scrolled, rather than
 * to the view `root` around it.
 *
 * @param {Element} target
 * @param {Element} root
 * @param {string} key
 */
export function isKeyOfElement(target, root, key) {
  if (target === root) return false;
  if (target.matches("video, audio")) return /^(Arrow.*|Home|End| )$/.test(key);
  return (target.matches("button, a") ? /^ $/ : /^(Home|End| |Page.*)$/).test(key);
}

/**
 * Whether a view that has just been shown may take the focus: its cell was run alone and a moment ago, the notebook's
 * focus is still where that left it, and nobody is typing.
 *
 * @param {Element} el
 * @param {unknown} requestedAt when its cell was run alone, in epoch seconds (see `common/cell_requests.py`)
 */
export function mayTakeFocus(el, requestedAt) {
  const cell = el.closest(".jp-Cell");
  const notebook = el.closest(".jp-Notebook");
  const focused = document.activeElement;
  const isFresh = typeof requestedAt === "number" && Math.abs(Date.now() / 1000 - requestedAt) < FRESH;
  if (!isFresh || !cell || !notebook || !focused || !document.hasFocus()) return false;
  if (focused !== document.body && !notebook.contains(focused)) return false;
  const cells = [...notebook.querySelectorAll(".jp-Cell")];
  const next = cells[cells.indexOf(cell) + 1];
  const active = notebook.querySelector(".jp-Cell.jp-mod-active");
  if (active !== cell && active !== next) return false;
  return !isFollowed(cell, next) && !isTypedInto(focused);
}

/**
 * Whether the next cell was run together with this one.
 *
 * @param {Element} cell
 * @param {Element | undefined} next
 */
function isFollowed(cell, next) {
  const promptOf = (/** @type {Element | undefined} */ element) =>
    element?.querySelector(".jp-InputPrompt")?.textContent ?? "";
  const count = (/** @type {string} */ prompt) => Number(/\d+/.exec(prompt)?.[0] ?? 0);
  const [own, other] = [promptOf(cell), promptOf(next)];
  return other.includes("*") || (count(own) > 0 && count(other) > count(own));
}

/** @param {Element} focused */
function isTypedInto(focused) {
  const editor = focused.closest(".cm-content, input, textarea, [contenteditable=true]");
  if (!editor) return false;
  return Boolean(/** @type {HTMLInputElement} */ (editor).value ?? editor.textContent);
}

/**
 * Call `listener` once, when an element is first laid out in the page. The returned function cancels that.
 *
 * @param {Element} node
 * @param {() => void} listener
 */
export function whenShown(node, listener) {
  const observer = new ResizeObserver(() => {
    if (!node.getClientRects().length) return;
    observer.disconnect();
    listener();
  });
  observer.observe(node);
  return () => observer.disconnect();
}
