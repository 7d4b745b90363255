/** A rating: one result in large with its label and its whole input beside it, and a score for each. */

import { createFacts, mediaOf } from "./cards.js";
import { h, on, setText } from "./dom.js";
import { clip, plural, whole } from "./format.js";
import { createLarge, steppedBy } from "./stepper.js";
import { OPEN } from "./steps.js";

const ELSEWHERE = "x"; // a score that is none of the scale: it was there before

/** One result: `{ node, paint(card, now), destroy() }`. */
function createResult(files) {
  const stage = createLarge(files);
  const where = h("div.elf-step-where");
  const label = h("div.elf-step-label", { dir: "auto" });
  const score = h("div.elf-step-score");
  const facts = h("div.elf-step-facts.elf-facts", { tabindex: "0", role: "region", "aria-label": "Input and output" });
  const node = h("div.elf-step-result", {}, stage.node, h("div.elf-step-aside", {}, where, label, score, facts));
  let shown = null;

  function paint(card, { at, size, marks, unsure }) {
    setText(where, `${whole.format(at + 1)} of ${whole.format(size)}`);
    const mark = marks[at];
    score.hidden = mark === OPEN;
    setText(
      score,
      mark === ELSEWHERE
        ? "Has a score that is not on this scale"
        : `Rated ${mark}${unsure.has(at) ? " (not confirmed yet)" : ""}`,
    );
    stage.paint(card, clip(card.label, 200));
    const seen = JSON.stringify(card);
    if (seen === shown) return;
    shown = seen;
    setText(label, clip(card.label, 400));
    facts.replaceChildren(createFacts(card));
    facts.scrollTop = 0;
  }
  return { node, paint, destroy: stage.destroy };
}

/** What came of it: how often each score was given. */
function createDistribution(scale) {
  const title = h("div.elf-step-end-title");
  const bars = h("div.elf-step-bars", { role: "list", "aria-label": "How often each score was given" });
  const mean = h("div.elf-step-mean");
  const rest = on(h("button.elf-step-button", { type: "button" }), "click", () => run());
  const node = h("div.elf-step-end", {}, title, bars, mean, rest);
  let run = null;

  function paint({ marks, done, size, more }, act) {
    const given = Array.from({ length: scale }, (_, at) => marks.filter((mark) => mark === String(at + 1)).length);
    const scored = given.reduce((sum, rows) => sum + rows, 0);
    const most = Math.max(1, ...given);
    setText(
      title,
      !size
        ? "There is nothing to rate."
        : done === size
          ? `All ${plural(size, "result")} rated`
          : `${plural(size - done, "result")} not rated yet`,
    );
    bars.replaceChildren(
      ...given
        .map((rows, at) => {
          const fill = h("span.elf-step-fill");
          fill.style.width = `${(100 * rows) / most}%`;
          const share = scored ? `${Math.round((100 * rows) / scored)}%` : "";
          return h(
            "div.elf-step-share",
            { role: "listitem", "aria-label": `score ${at + 1}: ${plural(rows, "result")}` },
            h("span.elf-step-name", {}, String(at + 1)),
            h("span.elf-step-track", {}, fill),
            h("span.elf-step-number", {}, whole.format(rows)),
            h("span.elf-step-part", {}, share),
          );
        })
        .reverse(),
    );
    bars.hidden = mean.hidden = !scored;
    const sum = given.reduce((total, rows, at) => total + rows * (at + 1), 0);
    setText(
      mean,
      scored
        ? `mean ${(sum / scored).toFixed(2)}${more.others ? `; ${plural(more.others, "score")} on another scale` : ""}`
        : "",
    );
    rest.hidden = done === size;
    setText(rest, "Continue with the first unrated result");
    run = act.open;
  }
  return { node, paint };
}

export default steppedBy(({ scale }) => {
  const scores = Array.from({ length: scale }, (_, at) => String(at + 1));
  return {
    title: "Rate",
    label: `Rate results: keys 1 to ${scale}, arrows, U takes back`,
    verb: "rated",
    tag: ({ column }) => column,
    marks: scores.map((score) => [score, score, `Score ${score} (${score})`]),
    marksLabel: "Score",
    backTitle: "Previous (left arrow)",
    nextTitle: "Next (right arrow)",
    openLabel: "Next unrated",
    openTitle: "Next unrated result",
    moves: new Set(["ArrowLeft", "ArrowRight"]),
    keys: (act) => ({
      ...Object.fromEntries(scores.map((score) => [score, () => act.mark(score)])),
      ArrowLeft: () => act.by(-1),
      ArrowRight: () => act.by(1),
    }),
    hints: [
      [[`1 – ${scale}`], "score and next"],
      [["←", "→"], "move"],
      [["U"], "undo"],
      [["0"], "clear"],
      [["N"], "next unrated"],
    ],
    say: (mark) => (mark === null ? "score cleared" : `rated ${mark}`),
    mediaOf,
    createThing: createResult,
    createEnd: () => createDistribution(scale),
  };
});
