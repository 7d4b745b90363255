/**
 * A rating: one result enlarged, with its label and its input beside it, and a score for each.
 *
 * @typedef {{ scale: number, column: string, others: number }} Details `state.details` (see `rating/widget.py`)
 */

/** @import { Card } from "./cards.js" */
/** @import { Files } from "./model.js" */
/** @import { Actions } from "./stepper.js" */
/** @import { Now } from "./stepper_store.js" */
import { createFacts, mediaOf } from "./cards.js";
import { h, on, setText } from "./dom.js";
import { createEnlarged } from "./enlarged.js";
import { clip, plural, whole } from "./format.js";
import { createStepper } from "./stepper.js";
import { OPEN } from "./stepper_store.js";

const OTHER_SCALE = "x"; // the mark of a score that is not on this scale, as in rating_widget.py

/** @param {Files} files */
function createResult(files) {
  const stage = createEnlarged(files);
  const place = h("div.elf-step-place");
  const label = h("div.elf-step-label", { dir: "auto" });
  const score = h("div.elf-step-score");
  const facts = createFacts("div.elf-step-facts.elf-facts", files);
  const node = h("div.elf-step-result", {}, stage.node, h("div.elf-step-aside", {}, place, label, score, facts.node));
  let painted = "";

  /**
   * @param {Card} card
   * @param {Now} now
   */
  function paint(card, { at, size, marks, unconfirmed }) {
    setText(place, `${whole.format(at + 1)} of ${whole.format(size)}`);
    const mark = marks[at];
    const text = `Rated ${mark}${unconfirmed.has(at) ? " (not confirmed yet)" : ""}`;
    score.hidden = mark === OPEN;
    setText(score, mark === OTHER_SCALE ? "Has a score that is not on this scale" : text);
    stage.paint(card, clip(card.label, 200));
    const content = JSON.stringify(card);
    if (content === painted) return;
    painted = content;
    setText(label, clip(card.label, 400));
    facts.paint(card);
    facts.node.scrollTop = 0;
  }
  function destroy() {
    stage.destroy();
    facts.clear();
  }
  return { node, paint, destroy };
}

/**
 * How often each score of a scale is in the marks, and their mean; null where there is none.
 *
 * @param {string[]} marks
 * @param {number} scale
 */
export function distribution(marks, scale) {
  const counts = Array.from({ length: scale }, (_, at) => marks.filter((mark) => mark === String(at + 1)).length);
  const scored = counts.reduce((total, count) => total + count, 0);
  const sum = counts.reduce((total, count, at) => total + count * (at + 1), 0);
  return { counts, scored, mean: scored ? sum / scored : null };
}

/**
 * @param {number} score
 * @param {number} count
 * @param {number} largest
 * @param {number} scored
 */
function createBar(score, count, largest, scored) {
  const fill = h("span.elf-step-fill");
  fill.style.width = `${(100 * count) / Math.max(1, largest)}%`;
  return h(
    "div.elf-step-share",
    { role: "listitem", "aria-label": `score ${score}: ${plural(count, "result")}` },
    h("span.elf-step-name", {}, String(score)),
    h("span.elf-step-track", {}, fill),
    h("span.elf-step-number", {}, whole.format(count)),
    h("span.elf-step-part", {}, scored ? `${Math.round((100 * count) / scored)}%` : ""),
  );
}

/** @param {number} scale */
function createDistribution(scale) {
  const title = h("div.elf-step-end-title");
  const bars = h("div.elf-step-bars", { role: "list", "aria-label": "How often each score was given" });
  const meanLine = h("div.elf-step-mean");
  const rest = h("button.elf-step-button", { type: "button" }, "Continue with the first unrated result");
  const node = h("div.elf-step-end", {}, title, bars, meanLine, rest);
  let goToOpen = () => {};
  on(rest, "click", () => goToOpen());

  /**
   * @param {Now} now
   * @param {Actions} actions
   */
  function paint({ marks, done, size, details }, actions) {
    goToOpen = actions.goToOpen;
    const { counts, scored, mean } = distribution(marks, scale);
    const left = `${plural(size - done, "result")} not rated yet`;
    const all = size ? `All ${plural(size, "result")} rated` : "There is nothing to rate.";
    setText(title, done === size ? all : left);
    bars.replaceChildren(...counts.map((count, at) => createBar(at + 1, count, Math.max(...counts), scored)).reverse());
    bars.hidden = meanLine.hidden = mean === null;
    const others = details.others ? `; ${plural(details.others, "score")} on another scale` : "";
    setText(meanLine, mean === null ? "" : `mean ${mean.toFixed(2)}${others}`);
    rest.hidden = done === size;
  }
  return { node, paint };
}

export default createStepper((/** @type {Details} */ { scale }) => {
  const scores = Array.from({ length: scale }, (_, at) => String(at + 1));
  return {
    title: "Rate",
    label: `Rate results: keys 1 to ${scale}, arrows, U takes back`,
    verb: "rated",
    tag: (/** @type {Details} */ { column }) => column,
    marks: scores.map((score) => [score, score, `Score ${score} (${score})`]),
    marksLabel: "Score",
    backTitle: "Previous (left arrow)",
    nextTitle: "Next (right arrow)",
    openLabel: "Next unrated",
    openTitle: "Next unrated result",
    repeatable: new Set(["ArrowLeft", "ArrowRight"]),
    keys: (actions) => ({
      ...Object.fromEntries(scores.map((score) => [score, () => actions.mark(score)])),
      ArrowLeft: () => actions.move(-1),
      ArrowRight: () => actions.move(1),
    }),
    hints: [
      [[`1 – ${scale}`], "score and next"],
      [["←", "→"], "move"],
      [["U"], "undo"],
      [["0"], "clear"],
      [["N"], "next unrated"],
    ],
    announcement: (mark) => (mark === null ? "score cleared" : `rated ${mark}`),
    mediaOf,
    createItem: createResult,
    createEnd: () => createDistribution(scale),
  };
});
