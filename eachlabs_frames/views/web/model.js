/** The anywidget model. */

/** How long a view without an answer waits before it says so, in milliseconds. */
export const NO_KERNEL = 3_000;

/**
 * Whether the kernel is gone. Jupyter knows and says so of every widget, such as this one's layout, where the kernel
 * died or was started again; of one that was shut down only the comm, the way to it, says that it is closed.
 */
export function isParted(model) {
  const beside = model.get("layout");
  return beside?.comm_live === false || beside?.comm?.jsServicesComm?.isDisposed === true;
}
