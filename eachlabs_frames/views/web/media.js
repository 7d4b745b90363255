/**
 * Shows the media and the text of an output.
 *
 * Media are requested once, and only when they are near to what is visible. A medium that cannot be shown becomes a
 * placeholder with its link. Where the kernel has a file of the user's for it, that is shown instead of its URL.
 *
 * @typedef {object} CardMedia One URL of an output (see `common/card.py`).
 * @property {"image" | "video" | "audio" | "link" | "text"} kind
 * @property {string | null} url null where it is too long to be sent
 * @property {number} n its place among all URLs of the output
 * @property {boolean} has_file
 *
 * @typedef {object} MediumOptions
 * @property {Files | null} [files]
 * @property {boolean} [large] whether it is enlarged, and so visible
 * @property {boolean} [nameless] whether no text may say where it comes from
 */

/** @import { Files } from "./model.js" */
import { h, linkAttributes, on } from "./dom.js";
import { clip, nameOf, safeUrl } from "./format.js";

/** @type {Map<string, string>} */
const KIND_NAMES = new Map([
  ["image", "image"],
  ["video", "video"],
  ["audio", "audio"],
  ["link", "file"],
]);

const INPUTS = -1; // takes the place of a row in a request for a picture of an input

/** @param {string} kind */
export const kindName = (kind) => KIND_NAMES.get(kind) ?? "output";

export const isOffline = () => navigator.onLine === false;

/**
 * @param {string} url
 * @param {boolean} nameless
 */
function createLink(url, nameless) {
  if (nameless) return h("a.elf-external", linkAttributes(url), "open it");
  return h("a.elf-external", { ...linkAttributes(url), dir: "auto", title: clip(url, 300) }, nameOf(url));
}

/**
 * What stands where a medium cannot be shown: the reason, and a link.
 *
 * @param {string} kind
 * @param {string | null} url
 * @param {string} reason
 * @param {boolean} [nameless]
 */
function createPlaceholder(kind, url, reason, nameless = false) {
  const text = `${KIND_NAMES.get(kind) ?? kind} ${reason}`;
  const node = h("div.elf-placeholder", {}, h("span.elf-why", {}, text));
  if (url && !url.startsWith("data:")) node.append(createLink(url, nameless));
  return node;
}

/** @type {Map<Element, () => void>} */
const nearListeners = new Map();
/** @type {IntersectionObserver | null} */
let nearObserver = null;

/**
 * Call `listener` once, when the element comes near to what is visible. The returned function cancels that.
 *
 * @param {Element} node
 * @param {() => void} listener
 */
function whenNear(node, listener) {
  nearObserver ??= createNearObserver();
  const observer = nearObserver;
  nearListeners.set(node, listener);
  observer.observe(node);
  return () => {
    nearListeners.delete(node);
    observer.unobserve(node);
  };
}

/** One observer for all elements. */
function createNearObserver() {
  /** @type {IntersectionObserverInit & { scrollMargin: string }} */
  const options = { rootMargin: "300px", scrollMargin: "300px" };
  return new IntersectionObserver((entries, observer) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      observer.unobserve(target);
      nearListeners.get(target)?.();
      nearListeners.delete(target);
    }
  }, options);
}

/**
 * A URL of a file. An SVG image is no blob: URL: opened in a tab, its scripts would run with the notebook's origin.
 *
 * @param {Blob} blob
 * @returns {string | Promise<string>}
 */
function urlOf(blob) {
  if (blob.type !== "image/svg+xml") return URL.createObjectURL(blob);
  const reader = new FileReader();
  return new Promise((resolve) => {
    reader.addEventListener("load", () => resolve(String(reader.result)));
    reader.readAsDataURL(blob);
  });
}

/**
 * @param {"image" | "video" | "audio"} kind
 * @param {string} name
 * @param {boolean} large
 */
function createPlayer(kind, name, large) {
  if (kind === "image") {
    const attributes = { alt: name, decoding: "async", referrerpolicy: "no-referrer" };
    return h("img", large ? attributes : { ...attributes, loading: "lazy" });
  }
  const attributes = { controls: "", preload: "none", "aria-label": name };
  return kind === "video" ? h("video", { ...attributes, playsinline: "" }) : h("audio", attributes);
}

/**
 * One medium of an output. Its size is that of its place. A file is requested when it comes near, and a video or sound
 * when it is to be played.
 *
 * @param {CardMedia} item
 * @param {number} row
 * @param {string} name
 * @param {MediumOptions} [options]
 */
export function createMedium(item, row, name, { files = null, large = false, nameless = false } = {}) {
  const { kind, url, n, has_file: hasFile } = item;
  const node = h("div.elf-medium", { "data-kind": kind });
  const safe = safeUrl(url, kind);
  /** @type {string | null} */
  let fileUrl = null;
  let cancel = () => {};
  let isDestroyed = false;

  /** @param {string} src */
  function put(src) {
    const player = createPlayer(/** @type {"image" | "video" | "audio"} */ (kind), name, large);
    on(player, "error", () => {
      if (fileUrl && safe && src !== safe) {
        revoke();
        show(safe);
      } else if (!isDestroyed) node.replaceChildren(createPlaceholder(kind, safe, "unavailable", nameless));
    });
    player.src = src;
    node.replaceChildren(player);
    return player;
  }

  /** @param {string | null} src */
  function show(src) {
    if (!src) {
      node.replaceChildren(createPlaceholder(kind, null, url === null ? "is too large to show" : "cannot be shown"));
    } else if (isOffline() && !/^(data|blob):/.test(src)) {
      node.replaceChildren(createPlaceholder(kind, safe, "is not loaded: offline", nameless));
    } else put(src);
  }

  function revoke() {
    if (fileUrl) URL.revokeObjectURL(fileUrl);
    fileUrl = null;
  }

  /** @param {Files} source */
  async function showFile(source) {
    const blob = await source.get(row, n).catch(() => null);
    if (isDestroyed) return null;
    if (!blob) {
      show(safe);
      return null;
    }
    fileUrl = await urlOf(blob);
    if (!isDestroyed) return put(fileUrl);
    revoke();
    return null;
  }

  /** @param {Files} source */
  function createPlayButton(source) {
    const button = h("button.elf-play", { type: "button", "aria-label": `Play ${name}` }, "▶ Play");
    return on(button, "click", async () => {
      button.disabled = true;
      const player = await showFile(source);
      if (player instanceof HTMLMediaElement) player.play().catch(() => {}); // a browser may want another click
      player?.focus();
    });
  }

  if (kind === "link")
    node.append(safe ? createLink(safe, nameless) : createPlaceholder(kind, null, "cannot be shown"));
  else if (!hasFile || !files) show(safe);
  else if (kind !== "image") node.append(createPlayButton(files));
  else if (large) showFile(files);
  else cancel = whenNear(node, () => showFile(files));

  function destroy() {
    isDestroyed = true;
    cancel();
    revoke();
  }
  return { node, destroy };
}

/**
 * A small picture of an image in an input (see `common/input_files.py`), which is requested when it comes near. Where it
 * cannot be had, its element is removed: the name of the image stands beside it.
 *
 * @param {Files} files
 * @param {number} number
 * @param {string} alt
 */
export function createThumbnail(files, number, alt) {
  const node = h("div.elf-thumbnail");
  let url = "";
  let isDestroyed = false;

  async function show() {
    const blob = await files.get(INPUTS, number).catch(() => null);
    if (isDestroyed) return;
    if (!blob) {
      node.remove();
      return;
    }
    url = URL.createObjectURL(blob);
    const image = h("img", { alt, decoding: "async" });
    on(image, "error", () => node.remove());
    image.src = url;
    node.replaceChildren(image);
  }
  const cancel = whenNear(node, show);

  function destroy() {
    isDestroyed = true;
    cancel();
    if (url) URL.revokeObjectURL(url);
  }
  return { node, destroy };
}

/**
 * The text of an output, or its JSON.
 *
 * @param {string} text
 * @param {boolean} isJson
 * @param {number} length
 */
export function createOutputText(text, isJson, length) {
  const node = h(
    isJson ? "pre.elf-output-text" : "div.elf-output-text",
    { dir: isJson ? "ltr" : "auto" },
    clip(text, length),
  );
  node.classList.toggle("elf-prose", !isJson);
  return node;
}
