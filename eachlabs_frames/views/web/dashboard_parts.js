/** Creates what appears several times in a dashboard: bars, outputs, and ids that can be copied. */

/** @import { StatusCounts } from "./dashboard_lines.js" */
/** @import { MediaMessage } from "./dashboard_store.js" */
import { describeCounts } from "./dashboard_lines.js";
import { focusedIn, h, insertByStatus, linkAttributes, on, setText, textBox } from "./dom.js";
import { clip, nameOf, safeUrl } from "./format.js";

const COPIED = 1_400; // milliseconds for which a button says that it copied
const SHORT_ID = 8; // characters

export const createBar = (name = "") => h(`div.elf-bar${name}`, { role: "img", "aria-label": "" });

/**
 * Give a bar a segment for each status.
 *
 * @param {HTMLElement} bar
 * @param {StatusCounts} counts
 */
export function paintBar(bar, counts) {
  const label = describeCounts(counts);
  if (bar.getAttribute("aria-label") === label) return;
  bar.setAttribute("aria-label", label);
  bar.title = label;
  const children = /** @type {HTMLElement[]} */ ([...bar.children]);
  const segments = new Map(children.map((segment) => [segment.dataset.status, segment]));
  const rows = new Map(counts);
  for (const [status, segment] of segments) {
    segment.style.flexGrow = String(rows.get(status ?? "") ?? 0);
    segment.hidden = !rows.has(status ?? "");
  }
  for (const [status, grow] of counts) {
    if (segments.has(status)) continue;
    const segment = h("span", { "data-status": status });
    segment.style.flexGrow = String(grow);
    insertByStatus(bar, segment);
  }
}

/**
 * The output of a row: media with a link, or text.
 *
 * @param {MediaMessage} output
 * @param {string} label of the row
 * @returns {HTMLElement[]}
 */
export function createOutput({ kind, url, text = "" }, label) {
  const name = `output of row ${clip(label, 60)}`;
  const safe = safeUrl(url, kind);
  if (!safe || !["image", "video", "audio", "link"].includes(kind)) return [textBox("elf-output", text, name)];
  if (kind === "audio") return [h("audio.elf-audio", { src: safe, controls: "", preload: "none", "aria-label": name })];
  const attributes = { ...linkAttributes(safe), title: clip(text || safe, 300) };
  if (kind === "link") return [h("a.elf-link", { ...attributes, dir: "auto" }, clip(safe, 200))];
  const isInline = safe.startsWith("data:"); // no browser opens such a URL in a tab
  const link = isInline ? h("span.elf-kind", {}, kind) : h("a.elf-link", { ...attributes, dir: "auto" }, nameOf(safe));
  const media = createThumbnail(kind, name);
  const frame = isInline ? h("span.elf-thumb") : h("a.elf-thumb", { ...attributes, "aria-label": `${kind} ${name}` });
  on(media, "error", () => frame.remove());
  media.src = safe;
  frame.append(media);
  return [frame, link];
}

/**
 * @param {string} kind
 * @param {string} name
 */
function createThumbnail(kind, name) {
  if (kind === "image")
    return h("img", { alt: name, loading: "lazy", decoding: "async", referrerpolicy: "no-referrer" });
  return h("video", { muted: "", playsinline: "", preload: "metadata", tabindex: "-1", "aria-hidden": "true" });
}

/**
 * Copy a text; false where the browser does not allow it.
 *
 * @param {string} text
 * @param {HTMLElement} root of the view
 */
async function copy(text, root) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // An insecure page has no clipboard, and a frame may not be allowed to use it.
    const focused = focusedIn(root);
    const area = h("textarea.elf-hidden", { "aria-hidden": "true", tabindex: "-1" });
    area.value = text;
    root.append(area);
    area.select();
    const isDone = document.execCommand("copy");
    area.remove();
    focused?.focus({ preventScroll: true });
    return isDone;
  }
}

/**
 * A button that shows the first characters of an id and copies all of it.
 *
 * @param {string} what
 * @param {HTMLElement} root of the view
 * @param {(text: string) => void} announce
 */
export function createId(what, root, announce) {
  const button = h("button.elf-id", { type: "button" });
  let id = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const show = () => setText(button, id.slice(0, SHORT_ID));
  function endCopied() {
    button.classList.remove("elf-copied");
    timer = undefined;
    show();
  }
  on(button, "click", async () => {
    const isDone = await copy(id, root);
    announce(isDone ? `copied ${clip(id, 80)}` : "the browser did not allow copying");
    setText(button, isDone ? "copied" : "not copied");
    button.classList.toggle("elf-copied", isDone);
    clearTimeout(timer);
    timer = setTimeout(endCopied, COPIED);
  });
  /** @param {string} newId */
  function paint(newId) {
    if (newId === id) return;
    id = newId;
    button.title = `${clip(id, 200)} – click to copy`;
    button.setAttribute("aria-label", `${id.slice(0, SHORT_ID)}: copy ${what} ${clip(id, 80)}`);
    if (!timer) show();
  }
  return { button, paint };
}
