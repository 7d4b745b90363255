/** Lists the error messages of a run below the lines of a dashboard, equal ones as one. */

/** @import { ErrorGroup, Store } from "./dashboard_store.js" */
import { h, on, setText, textBox } from "./dom.js";
import { clip, plural, whole } from "./format.js";

const MAX_SEARCH = 120; // characters of a message that are searched for

/** @param {(text: string) => void} find show the lines with a text */
function createGroup(find) {
  const count = h("span.elf-count");
  const message = h("div.elf-group-message");
  const labels = h("span.elf-labels", { dir: "auto" });
  const button = h("button.elf-button.elf-find", { type: "button" }, "show rows");
  const node = h("div.elf-group", { role: "listitem" }, count, message, labels, button);
  /** @type {string | null} */
  let painted = null;
  on(button, "click", () => find((painted ?? "").split("\n")[0].slice(0, MAX_SEARCH)));

  /** @param {ErrorGroup} group */
  function paint([rows, text, rowLabels]) {
    setText(count, whole.format(rows));
    count.title = plural(rows, "row");
    const list = rowLabels.map((label) => clip(label, 60)).join(", ");
    setText(labels, `${rows === 1 ? "row" : "rows"} ${list}${rows > rowLabels.length ? ", …" : ""}`);
    if (text === painted) return;
    painted = text;
    message.replaceChildren(textBox("elf-error", text, "error message"));
    button.setAttribute("aria-label", `show rows with the error ${clip(text, 60)}`);
  }
  return { node, paint };
}

/**
 * @param {Store} store
 * @param {(text: string) => void} find
 */
export function createErrors(store, find) {
  const number = h("span.elf-errors-count");
  const heading = h("span", { role: "heading", "aria-level": "4" }, "Errors");
  const groups = h("div.elf-groups", { role: "list", "aria-label": "Errors" });
  const others = h("div.elf-others");
  const node = h("div.elf-errors", {}, h("div.elf-errors-head", {}, heading, number), groups, others);
  /** @type {Map<number, ReturnType<typeof createGroup>>} by place in the snapshot */
  const shown = new Map();

  function paint() {
    const { errors, more_errors: more } = store.snapshot;
    for (const [place, group] of shown) {
      if (errors[place]?.[0] > 0) continue;
      group.node.remove();
      shown.delete(place);
    }
    /** @type {HTMLElement | null} */
    let before = null;
    let count = more;
    for (const [place, error] of errors.entries()) {
      if (!error[0]) continue;
      count += 1;
      const group = shown.get(place) ?? createGroup(find);
      shown.set(place, group);
      if (!group.node.parentNode) groups.insertBefore(group.node, before ? before.nextSibling : groups.firstChild);
      group.paint(error);
      before = group.node;
    }
    node.hidden = !count;
    setText(number, plural(count, "message"));
    others.hidden = !more;
    setText(others, `and ${plural(more, "other message")}`);
  }
  return { node, paint };
}
