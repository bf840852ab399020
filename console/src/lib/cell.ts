import { useEffect, useState } from "preact/hooks";

/** A value that can be watched. */
export class Cell<T> {
  #value: T;
  #watchers = new Set<() => void>();

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  /** Sets the value; watchers are called when it is another one. */
  set(value: T): void {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const watcher of [...this.#watchers]) watcher();
  }

  /** Calls `watcher` after each change, until what is returned is called. */
  watch(watcher: () => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }
}

/** The cell's value; the component is drawn again when it changes. */
export function useCell<T>(cell: Cell<T>): T {
  const [, redraw] = useState(0);
  const value = cell.value;
  useEffect(() => {
    const changed = () => redraw((n) => n + 1);
    // It may have changed between drawing and now.
    if (!Object.is(cell.value, value)) changed();
    return cell.watch(changed);
  }, [cell]);
  return value;
}
