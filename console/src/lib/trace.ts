/** A trace as rows: spans in the order of their nesting, and what they are called. */
import type { Span } from "./types";

export interface SpanRow {
  span: Span;
  depth: number;
  children: number;
  /** Offset and length, as shares of the whole trace. */
  left: number;
  width: number;
}

export const attribute = (span: Span, key: string): string | undefined =>
  span.attributes.find(([name]) => name === key)?.[1];

/** What people know a span by. */
export function label(span: Span): string {
  const topic = attribute(span, "messaging.destination.name") ?? attribute(span, "topic");
  if (topic && /enqueue|publish/.test(span.name)) return `enqueue: ${topic}`;
  return attribute(span, "faas.invoked_name") ?? attribute(span, "function_id") ?? span.name;
}

/** Who made the span: the service, and for the engine's own its worker's function. */
export function services(roots: Span[]): string[] {
  const names = new Set<string>();
  walk(roots, (span) => names.add(span.service_name));
  return [...names];
}

/** Calls `visit` for each span, parents first. */
export function walk(spans: Span[], visit: (span: Span, depth: number) => void, depth = 0): void {
  for (const span of spans) {
    visit(span, depth);
    walk(span.children ?? [], visit, depth + 1);
  }
}

/** When the first span begins, and how long until the last ends. */
export function extent(roots: Span[]): { start: number; length: number } {
  let start = Infinity;
  let end = -Infinity;
  walk(roots, (span) => {
    start = Math.min(start, span.start_time_ms);
    end = Math.max(end, span.start_time_ms + span.duration_ms);
  });
  return { start, length: Math.max(end - start, 0.001) };
}

/** The rows of a waterfall; what is below a span in `folded` is left out. */
export function rows(roots: Span[], folded: ReadonlySet<string>): SpanRow[] {
  const { start, length } = extent(roots);
  const all: SpanRow[] = [];
  const add = (spans: Span[], depth: number) => {
    for (const span of spans) {
      const children = span.children ?? [];
      const left = (span.start_time_ms - start) / length;
      all.push({ span, depth, children: children.length, left, width: span.duration_ms / length });
      if (!folded.has(span.span_id)) add(children, depth + 1);
    }
  };
  add(roots, 0);
  return all;
}
