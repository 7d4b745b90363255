/**
 * The anywidget model: a view's only connection to the kernel.
 *
 * @typedef {object} Model
 * @property {(name: string) => any} get
 * @property {(event: string, listener: (...values: any[]) => void) => void} on
 * @property {(event: string, listener: (...values: any[]) => void) => void} off
 * @property {(message: object) => void} send
 *
 * @typedef {object} Files Files of the user, which are shown in place of their URLs.
 * @property {(row: number, n: number) => Promise<Blob | null>} get The file of the medium at place `n` of a row's
 *   output; null where it cannot be had.
 * @property {() => void} [destroy]
 *
 * @typedef {object} View What anywidget expects of a module's default export. A saved page gives its `files` as well.
 * @property {(context: { model: Model, files?: Files }) => (() => void)} initialize
 * @property {(context: { model: Model, el: HTMLElement, files?: Files }) => (() => void)} render
 */

/** Milliseconds after which a view without an answer from the kernel says so. */
export const NO_KERNEL = 3_000;

/**
 * Whether the kernel is gone. Where it died or was restarted, Jupyter sets `comm_live` of every widget, such as this
 * model's layout; where it was shut down, only the comm says that it is disposed.
 *
 * @param {Model} model
 */
export function isDisconnected(model) {
  const layout = model.get("layout");
  return layout?.comm_live === false || layout?.comm?.jsServicesComm?.isDisposed === true;
}

/**
 * Send a message to the kernel; false where the kernel is gone and its comm is closed.
 *
 * @param {Model} model
 * @param {object} message
 */
export function trySend(model, message) {
  try {
    model.send(message);
    return true;
  } catch {
    return false;
  }
}

/**
 * Listen to events of the model until the returned function is called.
 *
 * @param {Model} model
 * @param {Record<string, (...values: any[]) => void>} listeners by event
 */
export function listen(model, listeners) {
  for (const [event, listener] of Object.entries(listeners)) model.on(event, listener);
  return () => {
    for (const [event, listener] of Object.entries(listeners)) model.off(event, listener);
  };
}
