/**
 * A comparison: two results side by side, and which of them is the better one.
 *
 * While it is blind nothing here knows which is whose: no label, no input, no file's name; only by what the two belong
 * together.
 */

import { mediaOf } from "./cards.js";
import { h, on, setText } from "./dom.js";
import { clip, plural, whole } from "./format.js";
import { createLarge, steppedBy } from "./stepper.js";

const LEFT = "l";
const RIGHT = "r";
const TIE = "t";

/** The two of a pair: `{ node, paint(pair, now), destroy() }`. */
function createPair(files) {
  const where = h("div.elf-step-where");
  const by = h("div.elf-step-by");
  const sides = [
    [LEFT, "left", "Left"],
    [RIGHT, "right", "Right"],
  ].map(([mark, key, name]) => {
    const stage = createLarge(files, { nameless: true });
    const caption = h("div.elf-step-caption", { dir: "auto" });
    return { mark, key, name, stage, caption, node: h("div.elf-step-side", {}, caption, stage.node) };
  });
  const node = h(
    "div.elf-step-pair",
    {},
    h("div.elf-step-about", {}, where, by),
    h("div.elf-step-sides", {}, ...sides.map((side) => side.node)),
  );
  let shown = null;

  function paint(pair, { at, size, marks, unsure, more }) {
    setText(where, `${whole.format(at + 1)} of ${whole.format(size)}`);
    const names =
      more.revealed && (more.revealed.a_is_left[at] === "1" ? more.revealed.names : [...more.revealed.names].reverse());
    sides.forEach(({ mark, key, name, stage, caption, node: side }, place) => {
      setText(caption, names ? `${name}: ${clip(names[place], 60)}` : name);
      stage.paint(pair[key], `${name} result`);
      side.classList.toggle("elf-chosen", marks[at] === mark);
      side.classList.toggle("elf-tied", marks[at] === TIE);
      side.classList.toggle("elf-unsure", unsure.has(at));
    });
    const seen = JSON.stringify(pair.by);
    if (seen === shown) return;
    shown = seen;
    by.replaceChildren(
      ...pair.by.map(([name, value]) =>
        h(
          "span.elf-step-pairing",
          {},
          h("span.elf-step-key", { dir: "auto" }, clip(name, 60)),
          h("span", { dir: "auto", title: clip(value, 400) }, clip(value, 160)),
        ),
      ),
    );
  }
  return { node, paint, destroy: () => sides.forEach(({ stage }) => stage.destroy()) };
}

const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(1)}%`);

/** What came of it, once that is revealed. */
function createVerdict() {
  const title = h("div.elf-step-end-title");
  const told = h("div.elf-step-verdict");
  const note = h("div.elf-step-mean");
  const rest = on(
    h("button.elf-step-button", { type: "button" }, "Continue with the first unjudged pair"),
    "click",
    () => run.open(),
  );
  const reveal = on(
    h("button.elf-step-button.elf-step-reveal", { type: "button" }, "Reveal now (ends blind judging)"),
    "click",
    () => run.ask({ kind: "reveal" }),
  );
  const node = h("div.elf-step-end", {}, title, told, note, h("div.elf-step-offers", {}, rest, reveal));
  let run = null;

  /** A share of wins on a line from 0 to 1, with its interval and the half. */
  function createShare({ name, wins, losses, ties, win_rate: rate, low, high }) {
    const range = h("span.elf-step-range"),
      point = h("span.elf-step-point");
    if (rate === null) range.hidden = point.hidden = true;
    else Object.assign(range.style, { left: `${100 * low}%`, width: `${100 * (high - low)}%` });
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

  function paint({ done, size, more }, act) {
    run = act;
    const { revealed } = more;
    setText(
      title,
      !size
        ? "There are no pairs to judge."
        : done === size
          ? `All ${plural(size, "pair")} judged`
          : `${plural(size - done, "pair")} not judged yet`,
    );
    told.hidden = note.hidden = !revealed;
    if (revealed) {
      told.replaceChildren(
        h("div.elf-step-bars", { role: "list", "aria-label": "Win rates" }, ...revealed.shares.map(createShare)),
      );
      setText(
        note,
        `Win rate, a tie being half a win, with its ${revealed.confidence} interval (Wilson).${revealed.seeing ? ` ${plural(revealed.seeing, "pair")} judged after the reveal.` : ""}`,
      );
    }
    rest.hidden = done === size;
    reveal.hidden = Boolean(revealed) || !done;
  }
  return { node, paint };
}

export default steppedBy(() => ({
  title: "Which is better?",
  label: "Compare pairs: left or right arrow chooses, T is a tie, U undoes",
  verb: "judged",
  tag: ({ revealed }) => (revealed ? "no longer blind" : "blind"),
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
  moves: new Set(["PageUp", "PageDown"]),
  keys: (act) => {
    const left = () => act.mark(LEFT),
      right = () => act.mark(RIGHT),
      tie = () => act.mark(TIE),
      skip = () => act.by(1);
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
      PageUp: () => act.by(-1),
    };
  },
  hints: [
    [["←", "→"], "choose"],
    [["T"], "tie"],
    [["S"], "skip"],
    [["U"], "undo"],
    [["0"], "clear"],
    [["N"], "next unjudged"],
  ],
  say: (mark) => ({ [LEFT]: "left is better", [RIGHT]: "right is better", [TIE]: "a tie" })[mark] ?? "cleared",
  mediaOf: ({ left, right }) => [...mediaOf(left), ...mediaOf(right)],
  createThing: createPair,
  createEnd: createVerdict,
}));
