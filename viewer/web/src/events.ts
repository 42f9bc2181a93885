/** Typed events without the DOM. */
export class Events<Map extends Record<string, unknown>> {
  private readonly listeners = new Map<keyof Map, Set<(value: never) => void>>();

  /** Call `listener` at every `name`; returns the function that ends it. */
  on<K extends keyof Map>(name: K, listener: (value: Map[K]) => void): () => void {
    const set = this.listeners.get(name) ?? new Set();
    this.listeners.set(name, set);
    set.add(listener as (value: never) => void);
    return () => void set.delete(listener as (value: never) => void);
  }

  protected emit<K extends keyof Map>(name: K, value: Map[K]): void {
    for (const listener of this.listeners.get(name) ?? []) (listener as (v: Map[K]) => void)(value);
  }
}
