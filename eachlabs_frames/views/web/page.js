
/**
 * What stands for the notebook in a page of its own: the view shows the state that the page holds, and nobody answers.
 *
 * `files` gives a file that the page holds as text: `page.py` writes it under its row and its place.
 */
{
  const state = JSON.parse(document.getElementById("eachlabs-state").textContent);
  const files = {
    async get(row, n) {
      const held = document.getElementById(`eachlabs-file-${row}-${n}`);
      if (!held) return null;
      const text = atob(held.textContent);
      return new Blob([Uint8Array.from(text, (character) => character.charCodeAt(0))], { type: held.dataset.type });
    },
  };
  const model = { get: (name) => state[name], set() {}, save_changes() {}, on() {}, off() {}, send() {} };
  const shown = await view();
  await shown.initialize?.({ model, files });
  await shown.render({ model, el: document.querySelector("main"), files });
}
