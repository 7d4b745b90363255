/** Shows the output of a card enlarged inside of a view, one medium at a time. */

/** @import { Card } from "./cards.js" */
/** @import { Files } from "./model.js" */
import { mediaOf } from "./cards.js";
import { h, on, setAttribute, setAttributes } from "./dom.js";
import { createMedium, createOutputText, kindName } from "./media.js";

/**
 * @param {Files | null} files
 * @param {{ nameless?: boolean }} [options] `nameless`: no text may say where the output comes from
 */
export function createEnlarged(files, { nameless = false } = {}) {
  const stage = h("div.elf-step-stage");
  const parts = h("div.elf-step-several", { role: "group", "aria-label": "Parts of this output" });
  const node = h("div.elf-step-large", {}, stage, parts);
  let painted = "";
  /** @type {ReturnType<typeof createMedium> | null} */
  let medium = null;
  let at = 0;

  /**
   * @param {Card} card
   * @param {string} name
   */
  function show(card, name) {
    const media = mediaOf(card);
    const item = media[at];
    medium?.destroy();
    medium = item
      ? createMedium(item, card.row, `${kindName(item.kind)}: ${name}`, { files, large: true, nameless })
      : null;
    stage.replaceChildren(medium ? medium.node : createOutputText(card.text ?? "", card.is_json, Infinity));
    setAttribute(stage, "data-kind", medium ? item.kind : "text");
    if (medium) stage.removeAttribute("tabindex");
    else setAttributes(stage, { tabindex: 0, role: "region", "aria-label": name });
    parts.hidden = media.length < 2;
    parts.replaceChildren(
      ...(parts.hidden ? [] : media.map((_, place) => createPart(card, name, place, media.length))),
    );
  }

  /**
   * The button that shows one of several media.
   *
   * @param {Card} card
   * @param {string} name
   * @param {number} place
   * @param {number} count
   */
  function createPart(card, name, place, count) {
    const pressed = { "aria-pressed": String(place === at), "aria-label": `part ${place + 1} of ${count}` };
    const button = h("button.elf-step-part-button", { type: "button", ...pressed }, String(place + 1));
    return on(button, "click", () => {
      at = place;
      show(card, name);
      /** @type {HTMLElement} */ (parts.children[place]).focus();
    });
  }

  /**
   * @param {Card} card
   * @param {string} name
   */
  function paint(card, name) {
    const content = JSON.stringify([card.row, card.media, card.text]);
    if (content === painted) return;
    painted = content;
    at = 0;
    show(card, name);
  }
  return { node, paint, destroy: () => medium?.destroy() };
}
