/**
 * What every view is made of: words, numbers, and pieces of a page. `assets.py` puts it before the view's own script.
 *
 * It never takes a string from outside for anything but text: no innerHTML, and no URL that was not checked here.
 */

const TYPING = 200;
const LONG = 60; // characters: what is longer can be scrolled
const LONGEST = 4_000;

const STATUSES = new Map([ // in a bar from left to right: what is settled, then what is on its way
  ["completed", "✓"], ["failed", "✕"], ["cancelled", "⊘"], ["invalid", "△"], ["unknown", "?"],
  ["running", "◐"], ["queued", "≡"], ["pending", "○"],
]);
const OTHER = "◇";
const RANK = new Map([...STATUSES.keys()].map((word, at) => [word, at]));

// -- words and numbers -------------------------------------------------------------------------------------------

const whole = new Intl.NumberFormat("en-US");

const symbolOf = (word) => STATUSES.get(word) ?? OTHER;
const rankOf = (word) => RANK.get(word) ?? 4.5; // a word of the API that we do not know may be a settled one, or not
const clip = (text, longest = LONGEST) =>
  text.length > longest ? `${text.slice(0, longest)}… (${whole.format(text.length - longest)} more characters)` : text;
const plural = (n, noun) => `${whole.format(n)} ${noun}${n === 1 ? "" : "s"}`;

/** An amount in USD as text: the same as `format_usd` of core/money.py, which says how. */
function formatUsd(usd) {
  const amount = Math.abs(usd);
  const below = amount && amount < 1 ? 3 - Number(amount.toExponential().split("e")[1]) : 2;
  const least = amount >= 99.995 ? 0 : 2;
  const digits = { minimumFractionDigits: least, maximumFractionDigits: least && Math.min(below, 10) };
  return `${usd < 0 ? "−" : ""}$${amount.toLocaleString("en-US", digits)}`;
}

function clock(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  const two = (n) => String(n).padStart(2, "0");
  return s < 3600 ? `${Math.floor(s / 60)}:${two(s % 60)}` : `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

const duration = (seconds) => (seconds < 100 ? `${seconds.toFixed(1)} s` : clock(seconds));

function timeOfDay(epoch) {
  const at = new Date(epoch * 1000);
  const time = at.toLocaleTimeString("en-GB");
  return Math.abs(Date.now() - at) < 43_200_000 ? time : `${at.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, ${time}`;
}

/** The URL as this kind of media may use it; null where that is not safe. The kernel has looked already. */
function safeUrl(url, kind) {
  if (typeof url !== "string") return null;
  if (/^data:image\/[a-z0-9.+-]+[;,]/i.test(url)) return kind === "image" ? url : null;
  try {
    const parsed = new URL(url);
    return parsed.protocol === "https:" || parsed.protocol === "http:" ? parsed.href : null;
  } catch {
    return null;
  }
}

/** What a URL is called where there is little room. */
function nameOf(url) {
  const { hostname, pathname } = new URL(url);
  const name = pathname.split("/").pop();
  return name ? clip(name, 80) : hostname;
}

// -- pieces of a page --------------------------------------------------------------------------------------------

function h(spec, attributes = {}, ...children) {
  const [tag, ...classes] = spec.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const on = (node, event, act) => (node.addEventListener(event, act), node);
const setText = (node, text) => node.textContent === text || (node.textContent = text);
const setAttribute = (node, name, value) => node.getAttribute(name) === String(value) || node.setAttribute(name, value);
const symbol = (word) => h("span.elf-symbol", { "aria-hidden": "true" }, symbolOf(word));

/** Text from outside in a place of fixed size: the whole of a short one can be read, a long one can be scrolled. */
function textBox(name, text, label) {
  const box = h(`div.elf-text.${name}`, { dir: "auto" }, clip(text));
  if (text.length <= LONG) box.title = text;
  else for (const [key, value] of [["tabindex", 0], ["role", "group"], ["aria-label", label]]) box.setAttribute(key, value);
  return box;
}

/** A button that shows only what has a status, or that too. */
function createChip(word, what, toggle) {
  const count = h("span.elf-count");
  const button = h("button.elf-chip", { type: "button", "data-status": word, "aria-pressed": "false" },
    symbol(word), h("span.elf-word", { dir: "auto" }, clip(word, 40)), count);
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
function createSearch(placeholder, label, seek) {
  const input = h("input.elf-search", { type: "search", placeholder, "aria-label": label, spellcheck: "false", autocomplete: "off" });
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
function hideStatic(el, model) {
  const key = model.get("static_key");
  if (!key) return; // a page in a file has none
  const name = `.eachlabs-static-${key}`;
  el.append(h("style", {}, `${name}, .jp-OutputArea-child:has(> .jp-OutputArea-output > ${name}) { display: none }`));
}

/** Keys that mean something in a view must mean nothing to the notebook around. */
const keepKeys = (root) =>
  on(root, "keydown", (event) => event.ctrlKey || event.metaKey || event.altKey || event.stopPropagation());

/**
 * Whether the kernel is gone. Jupyter knows and says so of every widget, such as this one's layout, where the kernel
 * died or was started again; of one that was shut down only the comm, the way to it, says that it is closed.
 */
function isParted(model) {
  const beside = model.get("layout");
  return beside?.comm_live === false || beside?.comm?.jsServicesComm?.isDisposed === true;
}
