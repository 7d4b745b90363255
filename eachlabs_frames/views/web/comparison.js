/**
 * A comparison: two results side by side, of which the better one is chosen.
 *
 * While it is blind, nothing here knows which result is whose: no label, no input, no file name, only what the two of
 * a pair have in common.
 *
 * @typedef {{ left: Card, right: Card, by: [string, string][] }} Pair
 *
 * @typedef {object} Share The result of one side.
 * @property {string} name
 * @property {number} wins
 * @property {number} losses
 * @property {number} ties
 * @property {number | null} win_rate a tie counts as half a win; null where nothing is judged
 * @property {number | null} low the ends of its interval
 * @property {number | null} high
 *
 * @typedef {object} Revealed
 * @property {[string, string]} names
 * @property {string} a_is_left "1" for each pair whose left result is of the first side, else "0"
 * @property {Share[]} win_rates
 * @property {string} confidence
 * @property {number} not_blind pairs judged after the reveal
 *
 * @typedef {{ revealed: Revealed | null }} Details what `state.details` holds (see `comparison/widget.py`)
 */

/** @import { Card } from "./cards.js" */
/** @import { Files } from "./model.js" */
/** @import { Actions } from "./stepper.js" */
/** @import { Now } from "./stepper_store.js" */
import { mediaOf } from "./cards.js";
import { h, on, setText } from "./dom.js";
import { createEnlarged } from "./enlarged.js";
import { clip, orDash, plural, whole } from "./format.js";
import { createStepper } from "./stepper.js";

const LEFT = "l";
const RIGHT = "r";
const TIE = "t";

/**
 * @param {Files} files
 * @param {string} mark
 * @param {string} name
 */
function createSide(files, mark, name) {
  const enlarged = createEnlarged(files, { nameless: true });
  const caption = h("div.elf-step-caption", { dir: "auto" });
  const node = h("div.elf-step-side", {}, caption, enlarged.node);
  /**
   * @param {Card} card
   * @param {Now} now
   * @param {string | undefined} owner where it is revealed
   */
  function paint(card, { at, marks, unconfirmed }, owner) {
    setText(caption, owner === undefined ? name : `${name}: ${clip(owner, 60)}`);
    enlarged.paint(card, `${name} result`);
    node.classList.toggle("elf-chosen", marks[at] === mark);
    node.classList.toggle("elf-tied", marks[at] === TIE);
    node.classList.toggle("elf-unsure", unconfirmed.has(at));
  }
  return { node, paint, destroy: enlarged.destroy };
}

/** @param {Files} files */
function createPair(files) {
  const place = h("div.elf-step-place");
  const by = h("div.elf-step-by");
  const left = createSide(files, LEFT, "Left");
  const right = createSide(files, RIGHT, "Right");
  const about = h("div.elf-step-about", {}, place, by);
  const node = h("div.elf-step-pair", {}, about, h("div.elf-step-sides", {}, left.node, right.node));
  let painted = "";

  /**
   * @param {Pair} pair
   * @param {Now} now
   */
  function paint(pair, now) {
    setText(place, `${whole.format(now.at + 1)} of ${whole.format(now.size)}`);
    const names = ownersOf(now.details, now.at);
    left.paint(pair.left, now, names[0]);
    right.paint(pair.right, now, names[1]);
    const content = JSON.stringify(pair.by);
    if (content === painted) return;
    painted = content;
    by.replaceChildren(...pair.by.map(([name, value]) => createPairing(name, value)));
  }
  function destroy() {
    left.destroy();
    right.destroy();
  }
  return { node, paint, destroy };
}

/**
 * Whose the left and the right result of a pair are; empty while that is not revealed.
 *
 * @param {Details} details
 * @param {number} place
 * @returns {string[]}
 */
export function ownersOf({ revealed }, place) {
  if (!revealed) return [];
  const [a, b] = revealed.names;
  return revealed.a_is_left[place] === "1" ? [a, b] : [b, a];
}

/**
 * @param {string} name
 * @param {string} value
 */
function createPairing(name, value) {
  const key = h("span.elf-step-key", { dir: "auto" }, clip(name, 60));
  return h("span.elf-step-pairing", {}, key, h("span", { dir: "auto", title: clip(value, 400) }, clip(value, 160)));
}

/** @param {number | null} share */
const percent = (share) => orDash(share, (value) => `${(100 * value).toFixed(1)}%`);

/**
 * A win rate on a line from 0 to 1, with its interval and a line at one half.
 *
 * @param {Share} share
 */
function createShare({ name, wins, losses, ties, win_rate: rate, low, high }) {
  const range = h("span.elf-step-range");
  const point = h("span.elf-step-point");
  range.hidden = point.hidden = rate === null;
  if (low !== null && high !== null)
    Object.assign(range.style, { left: `${100 * low}%`, width: `${100 * (high - low)}%` });
  point.style.left = `${100 * (rate ?? 0)}%`;
  return h(
    "div.elf-step-share.elf-step-wide",
    { role: "listitem" },
    h("span.elf-step-name", { dir: "auto", title: clip(name, 400) }, clip(name, 60)),
    h("span.elf-step-track.elf-step-scale", { "aria-hidden": "true" }, range, point),
    h("span.elf-step-number", {}, percent(rate)),
    h("span.elf-step-part", {}, `${percent(low)} to ${percent(high)}`),
    h("span.elf-step-counts", {}, `${plural(wins, "win")}, ${whole.format(losses)} lost, ${plural(ties, "tie")}`),
  );
}

/** The win rates, once they are revealed. */
function createVerdict() {
  const title = h("div.elf-step-end-title");
  const rates = h("div.elf-step-verdict");
  const note = h("div.elf-step-mean");
  const rest = h("button.elf-step-button", { type: "button" }, "Continue with the first unjudged pair");
  const reveal = h("button.elf-step-button.elf-step-reveal", { type: "button" }, "Reveal now (ends blind judging)");
  const node = h("div.elf-step-end", {}, title, rates, note, h("div.elf-step-offers", {}, rest, reveal));
  /** @type {Actions | null} */
  let current = null;
  on(rest, "click", () => current?.goToOpen());
  on(reveal, "click", () => current?.ask({ kind: "reveal" }));

  /** @param {Revealed} revealed */
  function paintRates({ win_rates, confidence, not_blind }) {
    const list = { role: "list", "aria-label": "Win rates" };
    rates.replaceChildren(h("div.elf-step-bars", list, ...win_rates.map(createShare)));
    const after = not_blind ? ` ${plural(not_blind, "pair")} judged after the reveal.` : "";
    setText(note, `Win rate, a tie being half a win, with its ${confidence} interval (Wilson).${after}`);
  }

  /**
   * @param {Now} now
   * @param {Actions} actions
   */
  function paint({ done, size, details }, actions) {
    current = actions;
    const { revealed } = /** @type {Details} */ (details);
    const left = `${plural(size - done, "pair")} not judged yet`;
    const all = size ? `All ${plural(size, "pair")} judged` : "There are no pairs to judge.";
    setText(title, done === size ? all : left);
    rates.hidden = note.hidden = !revealed;
    if (revealed) paintRates(revealed);
    rest.hidden = done === size;
    reveal.hidden = Boolean(revealed) || !done;
  }
  return { node, paint };
}

/**
 * @param {Actions} actions
 * @returns {Record<string, () => void>}
 */
function keys(actions) {
  const left = () => actions.mark(LEFT);
  const right = () => actions.mark(RIGHT);
  const tie = () => actions.mark(TIE);
  const skip = () => actions.move(1);
  return {
    ArrowLeft: left,
    a: left,
    1: left,
    ArrowRight: right,
    b: right,
    2: right,
    "=": tie,
    " ": tie,
    t: tie,
    s: skip,
    PageDown: skip,
    PageUp: () => actions.move(-1),
  };
}

export default createStepper(() => ({
  title: "Which is better?",
  label: "Compare pairs: left or right arrow chooses, T is a tie, U undoes",
  verb: "judged",
  tag: (/** @type {Details} */ { revealed }) => (revealed ? "no longer blind" : "blind"),
  marks: [
    [LEFT, "Left", "The left one is better (left arrow, 1, A)", "←"],
    [TIE, "Tie", "Neither is better (T, =, space)", "T"],
    [RIGHT, "Right", "The right one is better (right arrow, 2, B)", "→"],
  ],
  marksLabel: "Which is better",
  backTitle: "Previous pair (page up)",
  nextTitle: "Skip this pair (S, page down)",
  openLabel: "Next unjudged",
  openTitle: "Next unjudged pair",
  repeatable: new Set(["PageUp", "PageDown"]),
  keys,
  hints: [
    [["←", "→"], "choose"],
    [["T"], "tie"],
    [["S"], "skip"],
    [["U"], "undo"],
    [["0"], "clear"],
    [["N"], "next unjudged"],
  ],
  announcement: (mark) =>
    ({ [LEFT]: "left is better", [RIGHT]: "right is better", [TIE]: "a tie" })[mark ?? ""] ?? "cleared",
  mediaOf: ({ left, right }) => [...mediaOf(left), ...mediaOf(right)],
  createItem: createPair,
  createEnd: createVerdict,
}));
