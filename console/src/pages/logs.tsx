/** Logs: what was said, and what is being said. */
import { useMemo, useState } from "preact/hooks";
import { post } from "../lib/api";
import { count, oneLine } from "../lib/format";
import { useCall, useTopic } from "../lib/live";
import { useFilter } from "../lib/router";
import { matches, parse } from "../lib/search";
import type { LogRecord } from "../lib/types";
import { Page, type PageProps, useReadOnly } from "../shell";
import { Badge, Empty, Problem, Search, attempt } from "../ui/basics";
import { confirm } from "../ui/dialog";
import { LEVELS, LogTable, levelOf } from "./logtable";

const ASKED = 2_000;
const KEPT = 10_000;

/** The part of a record that `key:value` means. */
export function field(record: LogRecord, key: string): unknown {
  if (key === "level") return levelOf(record);
  if (key === "service") return record.service_name;
  if (key === "trace") return record.trace_id;
  if (key === "span") return record.span_id;
  const found = Object.entries(record.attributes ?? {}).find(([name]) => name.toLowerCase() === key);
  return found?.[1];
}

export function Logs({ menu }: PageProps) {
  const [text, setText] = useFilter("q");
  const [hidden, setHidden] = useFilter("hide");
  const readOnly = useReadOnly();
  const asked = useCall("logs", (signal) => post<{ logs: LogRecord[] }>("otel/logs", { limit: ASKED }, signal));
  const [later, setLater] = useState<{ of: unknown; records: LogRecord[] }>({ of: null, records: [] });
  useTopic("logs", (message) => {
    if (message.event === "gap") return asked.reload();
    if (message.event !== "add") return;
    const records = [...((message.items ?? []) as LogRecord[])].reverse();
    setLater((was) => ({ of: null, records: [...records, ...was.records].slice(0, KEPT) }));
  });
  const all = useMemo(() => {
    const seen = new Set(later.records.map((each) => each.timestamp_unix_nano_str + each.span_id));
    const before = (asked.data?.logs ?? []).filter(
      (each) => !seen.has(each.timestamp_unix_nano_str + each.span_id),
    );
    return [...later.records, ...before].slice(0, KEPT);
  }, [asked.data, later]);
  const without = new Set(hidden.split(",").filter(Boolean));
  const fitting = useMemo(() => {
    const query = parse(text);
    if (!query.words.length && !query.pairs.length) return all;
    return all.filter((record) =>
      matches(query, `${oneLine(record.body)} ${JSON.stringify(record.attributes ?? {})}`, (key) => field(record, key)),
    );
  }, [all, text]);
  const counts = useMemo(() => {
    const found: Record<string, number> = {};
    for (const record of fitting) found[levelOf(record)] = (found[levelOf(record)] ?? 0) + 1;
    return found;
  }, [fitting]);
  const shown = without.size ? fitting.filter((record) => !without.has(levelOf(record))) : fitting;

  const toggle = (level: string) => {
    const next = new Set(without);
    if (!next.delete(level)) next.add(level);
    setHidden([...next].join(","));
  };
  const clear = async () => {
    const what = "The engine forgets all log records, for everybody.";
    if (!(await confirm({ title: "Clear the log?", text: what, action: "Clear" }))) return;
    if (await attempt(() => post("otel/logs/clear"), () => "The log is empty")) {
      setLater({ of: null, records: [] });
      asked.reload();
    }
  };
  return (
    <Page
      menu={menu}
      title={<>Logs <Badge>{count(shown.length)}</Badge></>}
      actions={
        <>
          <a href="_console/export/logs" download="logs.ndjson">
            Export
          </a>
          {!readOnly && (
            <button type="button" onClick={clear}>
              Clear…
            </button>
          )}
        </>
      }
      live
      fill
    >
      <div class="filters">
        <Search value={text} set={setText} hint="Words, or key:value such as level:error" />
        {LEVELS.map(([level]) => (
          <button key={level} type="button" class="chip" aria-pressed={!without.has(level)} onClick={() => toggle(level)}>
            {level} {count(counts[level] ?? 0)}
          </button>
        ))}
      </div>
      {asked.error && <Problem text={asked.error} retry={asked.reload} />}
      {asked.data && !shown.length ? (
        <Empty title={all.length ? "No record fits" : "Nothing was logged yet"}>
          Workers log with engine::log::info and its siblings, or over OpenTelemetry.
        </Empty>
      ) : (
        <LogTable records={shown} />
      )}
    </Page>
  );
}
