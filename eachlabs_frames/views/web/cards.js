/**
 * Shows a row of a frame as a card (see `common/card.py`): its output, its label, its status, its cost and its input.
 *
 * @typedef {object} Card
 * @property {number} row its position in the frame
 * @property {string} label
 * @property {string} status
 * @property {string | null} error
 * @property {CardMedia[]} media
 * @property {number} more_media URLs that are not in `media`
 * @property {string | null} text the output, where its URLs do not show all of it
 * @property {boolean} is_json whether `text` is JSON
 * @property {[string, string][]} input
 * @property {[string, number][]} [input_images] names of inputs that are images, and the numbers of their pictures
 * @property {number | null} cost_usd
 * @property {number | null} seconds the duration of its execution
 */

/** @import { CardMedia } from "./media.js" */
/** @import { Files } from "./model.js" */
import { createLabel, h, on, setAttributes, setText, targetOf } from "./dom.js";
import { clip, costAndTime, symbolOf, whole } from "./format.js";
import { createMedium, createOutputText, createThumbnail, kindName } from "./media.js";

const MAX_MEDIA = 4; // in a card; all of them can be seen enlarged
const MAX_TEXT_IN_CARD = 700; // characters
export const MAX_LABEL = 200;
const LABEL_SEPARATOR = " · "; // as Python joins the parts of a label
const LABEL_LINE_LENGTH = 26; // characters
const MAX_LABEL_LINES = 3;

/** A badge with the status of a row. */
export const createBadge = () => createLabel("span.elf-badge");

/** @param {Pick<Card, "media">} card */
export const mediaOf = (card) => card.media.filter(({ kind }) => kind !== "text");

/**
 * The output of a card: its media, else its text, else its status. What did not change is not touched, so that a video
 * goes on.
 *
 * @param {object} options
 * @param {Files | null} [options.files]
 * @param {(card: Card, at: number) => void} options.enlarge called with the place of the image that is clicked
 */
export function createPreview({ files = null, enlarge }) {
  const node = h("div.elf-stage");
  let painted = "";
  /** @type {ReturnType<typeof createMedium>[]} */
  let shown = [];
  /** @type {Card} */
  let current;

  /** @param {Card} card */
  function put(card) {
    for (const medium of shown) medium.destroy();
    const media = mediaOf(card);
    shown = media.slice(0, MAX_MEDIA).map((item, at) => {
      const number = media.length > 1 ? ` ${at + 1}` : "";
      const name = `${kindName(item.kind)}${number} of ${clip(card.label, MAX_LABEL)}`;
      const medium = createMedium(item, card.row, name, { files });
      if (item.kind === "image")
        on(medium.node, "click", (event) => targetOf(event).closest("a") || enlarge(current, at));
      return medium;
    });
    setAttributes(node, { "data-media": shown.length });
    node.replaceChildren(...shown.map((medium) => medium.node));
    const more = media.length + card.more_media - shown.length;
    if (more > 0) node.append(h("span.elf-more", {}, `+${whole.format(more)}`));
    if (!shown.length) node.append(createSubstitute(card));
  }

  /** @param {Card} card */
  function paint(card) {
    current = card;
    const status = card.media.length || card.text !== null ? "" : card.status;
    const content = JSON.stringify([card.label, card.media, card.more_media, card.text, status]);
    if (content !== painted) put(card);
    painted = content;
  }
  function destroy() {
    for (const medium of shown) medium.destroy();
  }
  return { node, paint, destroy };
}

/**
 * What stands in a card without media.
 *
 * @param {Card} card
 */
function createSubstitute({ text, is_json: isJson, status }) {
  if (text !== null) return createOutputText(text, isJson, MAX_TEXT_IN_CARD);
  return h("div.elf-nothing", { "data-status": status, "aria-hidden": "true" }, symbolOf(status));
}

/**
 * The lines of a label: a long part has a line of its own, so that it does not hide the others.
 *
 * @param {string} label
 */
export function labelLines(label) {
  /** @type {string[]} */
  const lines = [];
  for (const part of label.split(LABEL_SEPARATOR)) {
    const last = lines.at(-1);
    if (last && last.length + part.length <= LABEL_LINE_LENGTH) lines.splice(-1, 1, `${last}${LABEL_SEPARATOR}${part}`);
    else lines.push(part);
  }
  if (lines.length <= MAX_LABEL_LINES) return lines;
  const first = lines.slice(0, MAX_LABEL_LINES - 1);
  return [...first, lines.slice(MAX_LABEL_LINES - 1).join(LABEL_SEPARATOR)];
}

/**
 * @param {object} options
 * @param {Files | null} [options.files]
 * @param {(card: Card, at: number) => void} options.enlarge called with the place of a medium, or 0
 */
export function createCard({ files = null, enlarge }) {
  const preview = createPreview({ files, enlarge });
  const label = h("div.elf-card-label", { dir: "auto" });
  const badge = createBadge();
  const cost = h("span.elf-fact");
  const seconds = h("span.elf-fact");
  const open = h("button.elf-enlarge", { type: "button" }, h("span", { "aria-hidden": "true" }, "⤢"));
  const error = h("div.elf-card-error", { dir: "auto" });
  const line = h("div.elf-card-line", {}, badge.node, cost, seconds);
  const node = h("article.elf-card", {}, preview.node, open, h("div.elf-card-foot", {}, label, line, error));
  /** @type {Card} */
  let current;
  on(open, "click", () => enlarge(current, 0));

  /** @param {Card} card */
  function paint(card) {
    current = card;
    preview.paint(card);
    setAttributes(node, { "data-row": card.row, "data-status": card.status });
    const title = clip(card.label, 400);
    if (label.title !== title) {
      const lines = labelLines(clip(card.label, MAX_LABEL));
      label.replaceChildren(...lines.map((text) => h("span", { dir: "auto" }, text)));
    }
    label.title = title;
    badge.paintStatus(card.status);
    const [costText, secondsText] = costAndTime(card);
    setText(cost, costText);
    setText(seconds, secondsText);
    setAttributes(open, { "aria-label": `Enlarge ${clip(card.label, MAX_LABEL)}` });
    error.hidden = !card.error;
    setText(error, clip(card.error ?? "", 300));
    error.title = clip(card.error ?? "", 1_000);
  }
  return { node, paint, destroy: preview.destroy };
}

/**
 * The error and the input of a card, the text of its output where media are shown instead, and its cost and time.
 *
 * @param {Card} card
 * @param {Files | null} files
 */
function createFactList(card, files) {
  const list = h("dl");
  /** @type {ReturnType<typeof createThumbnail>[]} */
  const pictures = [];
  /**
   * @param {string} name
   * @param {string} value
   */
  const add = (name, value) => {
    const text = h("div.elf-value-text", { dir: "auto" }, value);
    list.append(h("dt", { dir: "auto" }, name), h("dd", {}, ...createInputPictures(name), text));
  };
  /** @param {string} name */
  function createInputPictures(name) {
    const numbers = files && card.input_images?.flatMap(([input, number]) => (input === name ? number : []));
    if (!files || !numbers?.length) return [];
    const made = numbers.map((number) => createThumbnail(files, number, `Input ${name}`));
    pictures.push(...made);
    return [h("div.elf-input-images", {}, ...made.map(({ node }) => node))];
  }
  if (card.error) list.append(h("dt", {}, "error"), h("dd.elf-error", { dir: "auto" }, card.error));
  for (const [name, value] of card.input) add(name, value);
  if (card.text !== null && mediaOf(card).length)
    list.append(h("dt", {}, "output"), h("dd", {}, createOutputText(card.text, card.is_json, Infinity)));
  const texts = costAndTime(card).filter(Boolean);
  if (texts.length) add("cost and time", texts.join(", "));
  const node = list.childElementCount ? list : h("p.elf-why", {}, "input unavailable");
  return { node, pictures };
}

/**
 * A scrollable list of the facts of a card.
 *
 * @param {"div.elf-viewer-facts.elf-facts" | "div.elf-step-facts.elf-facts"} spec
 * @param {Files | null} files
 */
export function createFacts(spec, files) {
  const node = h(spec, { tabindex: "0", role: "region", "aria-label": "Input and output" });
  /** @type {ReturnType<typeof createThumbnail>[]} */
  let pictures = [];
  let painted = "";

  function clear() {
    for (const picture of pictures) picture.destroy();
    pictures = [];
    painted = "";
    node.replaceChildren();
  }

  /** @param {Card} card */
  function paint(card) {
    const content = JSON.stringify(card);
    if (content === painted) return;
    clear();
    painted = content;
    const list = createFactList(card, files);
    pictures = list.pictures;
    node.append(list.node);
  }
  return { node, paint, clear };
}
