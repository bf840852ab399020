/** Small parts that every page uses. */
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Cell, useCell } from "../lib/cell";
import { exact, relative } from "../lib/format";
import { to } from "../lib/router";

const now = new Cell(Date.now());
setInterval(() => now.set(Date.now()), 5_000);

/** A relative time; the exact one on hover. */
export function Ago({ ms }: { ms: number | null | undefined }) {
  const current = useCell(now);
  if (ms === null || ms === undefined) return <span class="dim">–</span>;
  return (
    <time dateTime={new Date(ms).toISOString()} title={exact(ms)}>
      {relative(ms, Math.max(current, Date.now() - 5_000))}
    </time>
  );
}

/** Copies `text`. */
export function Copy({ text, label = "Copy" }: { text: string; label?: string }) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    if (!done) return;
    const timer = setTimeout(() => setDone(false), 1_500);
    return () => clearTimeout(timer);
  }, [done]);
  const copy = async (event: Event) => {
    event.stopPropagation();
    event.preventDefault();
    try {
      await navigator.clipboard.writeText(text);
      setDone(true);
    } catch {
      toast("The browser did not allow copying", "bad");
    }
  };
  return (
    <button type="button" class="copy" title={label} aria-label={label} onClick={copy}>
      <svg width="12" height="12" viewBox="0 0 12 12" aria-hidden="true">
        {done ? <path d="M1.5 6.5 4.5 9.5 10.5 2.5" /> : <path d="M4 4h6.5v6.5H4zM8 4V1.5H1.5V8H4" />}
      </svg>
    </button>
  );
}

/** An id, cut, with a copy button. */
export function Id({ id, href, chars = 8 }: { id: string; href?: string; chars?: number }) {
  const text = id.length > chars + 2 ? `${id.slice(0, chars)}…` : id;
  return (
    <span class="id" title={id}>
      {href ? <a href={href}>{text}</a> : text}
      <Copy text={id} label={`Copy ${id}`} />
    </span>
  );
}

export type Tone = "good" | "bad" | "warn" | "info" | "plain";

/** A word in a coloured box; the word says it, too. */
export function Badge({ tone = "plain", children }: { tone?: Tone; children: ComponentChildren }) {
  return <span class={`badge ${tone}`}>{children}</span>;
}

const MARKS: Record<string, [Tone, string]> = {
  ok: ["good", "✓"],
  success: ["good", "✓"],
  error: ["bad", "✕"],
  pending: ["info", "◌"],
};

/** The status of a call or span. */
export function Status({ status }: { status: string }) {
  const [tone, mark] = MARKS[status] ?? ["plain", "·"];
  return (
    <Badge tone={tone}>
      <span aria-hidden="true">{mark}</span> {status}
    </Badge>
  );
}

/** A link to a function. */
export function FunctionLink({ id }: { id: string }) {
  const at = id.lastIndexOf("::");
  return (
    <a class="mono" href={to(["functions", id])} title={id}>
      {at > 0 && <span class="dim">{id.slice(0, at + 2)}</span>}
      {at > 0 ? id.slice(at + 2) : id}
    </a>
  );
}

/** What a page says when there is nothing. */
export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children && <div class="dim">{children}</div>}
    </div>
  );
}

/** What went wrong. */
export function Problem({ text, retry }: { text: string; retry?: () => void }) {
  return (
    <div class="problem" role="alert">
      <span>{text}</span>
      {retry && (
        <button type="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}

/** Named values, one under the other. */
export function Facts({ facts }: { facts: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {facts
        .filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false)
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}

/** A search field; `/` leads to it. */
export function Search(props: { value: string; set: (value: string) => void; hint: string }) {
  return (
    <input
      type="search"
      class="search"
      data-search
      value={props.value}
      placeholder={props.hint}
      aria-label={props.hint}
      onInput={(event) => props.set(event.currentTarget.value)}
    />
  );
}

/** A choice of few. */
export function Select(props: {
  label: string;
  value: string;
  set: (value: string) => void;
  options: [value: string, name: string][];
}) {
  return (
    <select
      aria-label={props.label}
      value={props.value}
      onChange={(event) => props.set(event.currentTarget.value)}
    >
      {props.options.map(([value, name]) => (
        <option key={value} value={value}>
          {name}
        </option>
      ))}
    </select>
  );
}

/** Tabs of a detail; the address keeps which one. */
export function Tabs(props: {
  tabs: [id: string, name: string][];
  now: string;
  set: (id: string) => void;
}) {
  const move = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const at = props.tabs.findIndex(([id]) => id === props.now);
    const next = props.tabs[(at + step + props.tabs.length) % props.tabs.length];
    if (!next) return;
    props.set(next[0]);
    const list = event.currentTarget as HTMLElement;
    requestAnimationFrame(() => list.querySelector<HTMLElement>("[aria-selected=true]")?.focus());
  };
  return (
    <div class="tabs" role="tablist" onKeyDown={move}>
      {props.tabs.map(([id, name]) => (
        <button
          key={id}
          type="button"
          role="tab"
          aria-selected={id === props.now}
          tabIndex={id === props.now ? 0 : -1}
          onClick={() => props.set(id)}
        >
          {name}
        </button>
      ))}
    </div>
  );
}

// Toasts --------------------------------------------------------------------------------

interface Toast {
  key: number;
  text: string;
  tone: Tone;
}

const toasts = new Cell<Toast[]>([]);
const TOAST_MS = 5_000;
let keys = 0;

/** Say something in passing. */
export function toast(text: string, tone: Tone = "good"): void {
  const key = ++keys;
  toasts.set([...toasts.value, { key, text, tone }]);
  setTimeout(() => toasts.set(toasts.value.filter((each) => each.key !== key)), TOAST_MS);
}

/** Where they show. */
export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {useCell(toasts).map((each) => (
        <div key={each.key} class={`toast ${each.tone}`}>
          {each.text}
        </div>
      ))}
    </div>
  );
}

/** Do something and say how it went. */
export async function attempt<T>(what: () => Promise<T>, done: (found: T) => string): Promise<boolean> {
  try {
    toast(done(await what()));
    return true;
  } catch (failed) {
    toast((failed as Error).message, "bad");
    return false;
  }
}
