/** Parts. */

import { h, on, setText, textBox } from "./dom.js";
import { clip, nameOf, rankOf, safeUrl } from "./format.js";

export function paintBar(bar, counts) {
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

export const createBar = (name = "") => h(`div.elf-bar${name}`, { role: "img", "aria-label": "" });

export function outputBox({ kind, url, text = "" }, label) {
  const name = `output of row ${clip(label, 60)}`;
  const safe = safeUrl(url, kind);
  if (!safe || !["image", "video", "audio", "link"].includes(kind)) return [textBox("elf-output", text, name)];
  if (kind === "audio") return [h("audio.elf-audio", { src: safe, controls: "", preload: "none", "aria-label": name })];
  const away = { href: safe, target: "_blank", rel: "noopener noreferrer", title: clip(text || safe, 300) };
  const inline = safe.startsWith("data:"); // no browser opens one in a tab
  const link = inline ? h("span.elf-kind", {}, kind) : h("a.elf-link", { ...away, dir: "auto" });
  if (!inline) link.textContent = kind === "link" ? clip(safe, 200) : nameOf(safe);
  if (kind === "link") return [link];
  const media =
    kind === "image"
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
  } catch {
    // an insecure page has no clipboard, and a frame may not be allowed to use it
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
export function createId(what, view) {
  const button = h("button.elf-id", { type: "button" });
  let id = "",
    said = 0;
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
