/** Steps. */

import { isParted } from "./model.js";

export const OPEN = ".";

const AGAIN = 10_000; // after which it is asked once more; it knows what it has heard

/** One per model: the kernel's state, and on top of it what the kernel was asked for and has not heard yet. */
export function createSteps(model) {
  const sender = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
  const views = new Set(),
    things = new Map();
  let number = 0,
    waiting = [],
    askedAt = 0,
    pause = AGAIN;
  const steps = { views, things, now: null, parted: false };

  function fold() {
    const state = model.get("state");
    waiting = waiting.filter((asked) => asked.number > (state.heard[sender] ?? 0));
    const marks = [...state.marks],
      unsure = new Set(),
      back = [...state.steps];
    let { at } = state;
    for (const { kind, place, mark } of waiting) {
      if (kind === "mark") {
        back.push([place, marks[place]]);
        marks[place] = mark ?? OPEN;
        unsure.add(place);
        at = mark === null ? place : place + 1;
      } else if (kind === "undo" && back.length) {
        const [marked, before] = back.pop();
        marks[marked] = before;
        unsure.add(marked);
        at = marked;
      } else if (kind === "go") at = Math.max(0, Math.min(place, marks.length));
    }
    const done = marks.reduce((count, mark) => count + (mark !== OPEN), 0);
    const since = waiting.length ? waiting[0].since : null;
    steps.now = {
      ...state,
      at,
      marks,
      unsure,
      done,
      since,
      waiting: waiting.length,
      size: marks.length,
      can_undo: back.length > 0,
    };
  }

  function tell() {
    fold();
    views.forEach((view) => view.paint());
  }

  function part() {
    if (steps.parted) return;
    steps.parted = true;
    tell();
  }

  function take() {
    const { first, things: held } = model.get("window");
    held.forEach((thing, at) => things.set(first + at, thing));
  }

  function send(message) {
    try {
      model.send(message);
    } catch {
      // a kernel that is gone has closed the way to it
      part();
    }
  }

  steps.ask = (asked) => {
    if (steps.parted) return;
    const message = { ...asked, sender, number: ++number };
    if (!waiting.length) pause = AGAIN;
    waiting.push({ ...message, since: Date.now() });
    askedAt = Date.now();
    send(message);
    tell();
  };
  steps.insist = () => {
    if (steps.parted || !waiting.length || Date.now() - askedAt < pause) return;
    askedAt = Date.now();
    pause *= 2; // it may be busy for an hour
    for (const { since, ...message } of waiting) send(message);
  };
  steps.check = () => isParted(model) && part();
  const heard = [
    [
      "change:window",
      () => {
        take();
        tell();
      },
    ],
    ["change:state", tell],
    ["comm_live_update", steps.check],
  ];
  heard.forEach(([event, act]) => model.on(event, act));
  steps.destroy = () => heard.forEach(([event, act]) => model.off(event, act));
  take();
  fold();
  steps.check();
  return steps;
}

/** The next place without a mark, from behind `after` round to it; -1 where there is none. */
export function nextOpen({ marks }, after) {
  const behind = marks.indexOf(OPEN, after + 1);
  return behind >= 0 ? behind : marks.indexOf(OPEN);
}
