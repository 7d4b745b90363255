/** Shows a card enlarged in a dialog over everything, with its whole input beside its output. */

/** @import { Card } from "./cards.js" */
/** @import { Files } from "./model.js" */
import { createBadge, createFacts, MAX_LABEL, mediaOf } from "./cards.js";
import { focusedIn, h, hasModifier, linkAttributes, on, setText, targetOf } from "./dom.js";
import { clip, safeUrl, symbolOf, whole } from "./format.js";
import { createMedium, createOutputText, kindName } from "./media.js";

/**
 * @param {string} name
 * @param {string} text
 * @param {string} label
 * @param {() => void} act
 */
function createTurn(name, text, label, act) {
  return on(h(`button.elf-turn.${name}`, { type: "button", "aria-label": label, title: label }, text), "click", act);
}

/**
 * One medium of a card, or its text, or its status.
 *
 * @param {Files | null} files
 */
function createStage(files) {
  const node = h("div.elf-viewer-stage", { tabindex: "-1" });
  /** @type {ReturnType<typeof createMedium> | null} */
  let medium = null;
  let painted = "";

  function clear() {
    medium?.destroy();
    medium = null;
    painted = "";
    node.replaceChildren();
  }

  /**
   * @param {Card} card
   * @param {number} at the place of the medium
   */
  function paint(card, at) {
    const content = JSON.stringify([card.row, card.media, card.text, at]);
    if (content === painted) return;
    clear();
    painted = content;
    const item = mediaOf(card)[at];
    if (item) {
      const name = `${kindName(item.kind)} of ${clip(card.label, MAX_LABEL)}`;
      medium = createMedium(item, card.row, name, { files, large: true });
      node.append(medium.node);
    } else if (card.text !== null) node.append(createOutputText(card.text, card.is_json, Infinity));
    else {
      const text = `${symbolOf(card.status)} ${clip(card.status, 40)}`;
      node.append(h("div.elf-nothing", { "data-status": card.status }, text));
    }
  }
  return { node, paint, clear };
}

/**
 * The arrow keys go to the next medium, then to the next card. Escape and a click beside the dialog close it; then the
 * focus returns to where it was.
 *
 * @param {object} options
 * @param {Files | null} [options.files]
 * @param {(card: Card, by: number) => Card | null} options.step the card before or behind, null at an end
 * @param {(card: Card) => void} [options.onShow] called with each card that is stepped to
 * @param {(card: Card) => void} [options.onClose] called where the element that had the focus is gone
 */
export function createViewer({ files = null, step, onShow = () => {}, onClose = () => {} }) {
  const title = h("div.elf-viewer-title", { role: "heading", "aria-level": "2", dir: "auto" });
  const badge = createBadge();
  const place = h("span.elf-fact", { "aria-live": "polite" });
  const back = createTurn("elf-back", "‹", "Previous (left arrow)", () => turn(-1));
  const next = createTurn("elf-next", "›", "Next (right arrow)", () => turn(1));
  const close = createTurn("elf-close", "✕", "Close (Escape)", () => node.close());
  const stage = createStage(files);
  const facts = createFacts("div.elf-viewer-facts.elf-facts", files);
  const node = h(
    "dialog.elf-viewer",
    { "aria-label": "Result, enlarged" },
    h("div.elf-viewer-head", {}, title, badge.node, place, back, next, close),
    h("div.elf-viewer-body", {}, stage.node, facts.node),
  );
  /** @type {Card | null} */
  let current = null;
  let at = 0;
  /** @type {HTMLElement | null} */
  let origin = null;

  /** @param {Card} card */
  function paintPlace(card) {
    const media = mediaOf(card);
    const url = safeUrl(media[at]?.url, media[at]?.kind);
    place.replaceChildren(media.length > 1 ? `${at + 1} of ${whole.format(media.length)}` : "");
    if (url && !url.startsWith("data:")) place.append(" ", h("a.elf-external", linkAttributes(url), "open original"));
  }

  /** @param {Card} card */
  function paint(card) {
    at = Math.min(at, Math.max(0, mediaOf(card).length - 1));
    stage.paint(card, at);
    facts.paint(card);
    current = card;
    setText(title, clip(card.label, 400));
    badge.paintStatus(card.status);
    paintPlace(card);
    back.disabled = !neighbour(card, -1);
    next.disabled = !neighbour(card, 1);
  }

  /**
   * The card and the place of its medium that stand before or behind; null at an end.
   *
   * @param {Card} card
   * @param {number} by
   * @returns {[Card, number] | null}
   */
  function neighbour(card, by) {
    if (at + by >= 0 && at + by < mediaOf(card).length) return [card, at + by];
    const other = step(card, by);
    return other && [other, by > 0 ? 0 : Math.max(0, mediaOf(other).length - 1)];
  }

  /** @param {number} by */
  function turn(by) {
    const target = current && neighbour(current, by);
    if (!target) return;
    at = target[1];
    facts.node.scrollTop = 0;
    paint(target[0]);
    onShow(target[0]);
  }

  on(node, "keydown", (event) => {
    if (hasModifier(event) || targetOf(event).matches("video, audio")) return;
    if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
    event.preventDefault();
    turn(event.key === "ArrowRight" ? 1 : -1);
  });
  on(node, "click", (event) => event.target === node && node.close());
  node.addEventListener("close", () => {
    stage.clear();
    facts.clear();
    if (origin?.isConnected) origin.focus({ preventScroll: true });
    else if (current) onClose(current);
  });

  /**
   * @param {Card} card
   * @param {number} [place] of the medium
   */
  function open(card, place = 0) {
    origin = focusedIn(node);
    at = place;
    paint(card);
    if (!node.open) node.showModal();
    stage.node.focus({ preventScroll: true });
  }

  /** @param {Card} card */
  function repaint(card) {
    if (node.open && current?.row === card.row) paint(card);
  }
  function destroy() {
    stage.clear();
    facts.clear();
    if (node.open) node.close();
  }
  return { node, open, paint: repaint, destroy };
}
