/** Search everything: pages, functions, workers, triggers, queues, scopes, traces by id. */
import { useEffect, useMemo, useState } from "preact/hooks";
import { config, get } from "../lib/api";
import { go } from "../lib/router";
import { fit } from "../lib/search";
import type { FunctionRow, QueueRow, TriggerRow, WorkerRow } from "../lib/types";
import { shownPages } from "../pages";
import { Dialog } from "./dialog";

export interface Entry {
  kind: string;
  text: string;
  path: string[];
  query?: Record<string, string>;
}

const SHOWN = 50;
const HEX = /^[0-9a-f]{32}$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f-]{27}$/;

/** The best entries for what was typed. An id of a trace or call is one by itself. */
export function found(typed: string, entries: Entry[]): Entry[] {
  const text = typed.trim().toLowerCase();
  if (!text) return entries.slice(0, SHOWN);
  const ids: Entry[] = [];
  if (HEX.test(text)) ids.push({ kind: "trace", text, path: ["traces", text] });
  if (UUID.test(text)) ids.push({ kind: "call", text, path: ["invocations", text] });
  const scored = entries
    .map((entry): [number | null, Entry] => [fit(typed, entry.text), entry])
    .filter((pair): pair is [number, Entry] => pair[0] !== null);
  scored.sort((a, b) => b[0] - a[0]);
  return [...ids, ...scored.map(([, entry]) => entry)].slice(0, SHOWN);
}

async function everything(): Promise<Entry[]> {
  const has = config.value?.features ?? {};
  const none = <T,>(value: T) => Promise.resolve(value);
  const asked = await Promise.allSettled([
    get<{ functions: FunctionRow[] }>("functions"),
    get<{ workers: WorkerRow[] }>("workers"),
    get<{ triggers: TriggerRow[] }>("triggers"),
    has["queues"] ? get<{ queues: QueueRow[] }>("queues") : none({ queues: [] as QueueRow[] }),
    has["state"] ? get<{ groups: { id: string }[] }>("states/groups") : none({ groups: [] as { id: string }[] }),
  ]);
  const [functions, workers, triggers, queues, scopes] = asked.map((each) =>
    each.status === "fulfilled" ? each.value : {},
  ) as any[];
  return [
    ...(functions.functions ?? []).map((row: FunctionRow) => ({
      kind: "function",
      text: row.function_id,
      path: ["functions", row.function_id],
    })),
    ...(workers.workers ?? []).map((row: WorkerRow) => ({
      kind: "worker",
      text: row.name ?? row.id,
      path: ["workers", row.id],
    })),
    ...(triggers.triggers ?? []).map((row: TriggerRow) => ({
      kind: "trigger",
      text: `${row.trigger_type} ${row.config["api_path"] ?? row.config["topic"] ?? row.config["expression"] ?? ""} → ${row.function_id}`,
      path: ["triggers", row.id],
    })),
    ...(queues.queues ?? []).map((row: QueueRow) => ({
      kind: "queue",
      text: row.name,
      path: ["queues", row.name],
    })),
    ...(scopes.groups ?? []).map((row: { id: string }) => ({
      kind: "scope",
      text: row.id,
      path: ["states", row.id],
    })),
  ];
}

export function Palette({ close }: { close: () => void }) {
  const [typed, setTyped] = useState("");
  const [more, setMore] = useState<Entry[]>([]);
  const [at, setAt] = useState(0);
  useEffect(() => void everything().then(setMore), []);
  const pages = shownPages(config.value).map((page) => ({
    kind: "page",
    text: page.name,
    path: page.path,
  }));
  const shown = useMemo(() => found(typed, [...pages, ...more]), [typed, more]);
  const open = (entry: Entry | undefined) => {
    if (!entry) return;
    close();
    go(entry.path, entry.query);
  };
  const keys = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      setAt(Math.min(Math.max(at + step, 0), shown.length - 1));
    } else if (event.key === "Enter") {
      event.preventDefault();
      open(shown[at]);
    }
  };
  useEffect(() => document.getElementById(`entry-${at}`)?.scrollIntoView({ block: "nearest" }), [at]);
  return (
    <Dialog label="Search everything" close={close} class="palette">
      <input
        autofocus
        role="combobox"
        aria-expanded="true"
        aria-controls="entries"
        aria-activedescendant={`entry-${at}`}
        aria-label="Search everything"
        placeholder="A function, worker, queue, page; an id of a trace or call"
        value={typed}
        onInput={(event) => {
          setTyped(event.currentTarget.value);
          setAt(0);
        }}
        onKeyDown={keys}
      />
      <ul id="entries" role="listbox" aria-label="Found">
        {shown.map((entry, index) => (
          <li
            key={`${entry.kind} ${entry.path.join("/")}`}
            id={`entry-${index}`}
            role="option"
            aria-selected={index === at}
            onClick={() => open(entry)}
          >
            <span class="kind">{entry.kind}</span>
            <span>{entry.text}</span>
          </li>
        ))}
        {!shown.length && <li role="option" aria-selected="false">Nothing is called like this.</li>}
      </ul>
    </Dialog>
  );
}
