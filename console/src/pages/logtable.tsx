/** Log records, one a line; one of them in full. */
import { useState } from "preact/hooks";
import { clock, exact, oneLine } from "../lib/format";
import { to } from "../lib/router";
import type { LogRecord } from "../lib/types";
import { Detail } from "../shell";
import { Facts, FunctionLink, Id } from "../ui/basics";
import { Json } from "../ui/json";
import { type Column, Table } from "../ui/table";

/** The five levels: name, lowest severity number, tone. */
export const LEVELS: [name: string, from: number, tone: string][] = [
  ["error", 17, "bad"],
  ["warn", 13, "warn"],
  ["info", 9, "info"],
  ["debug", 5, ""],
  ["trace", 0, ""],
];

/** The level of a record. */
export const levelOf = (record: LogRecord) =>
  LEVELS.find(([, from]) => record.severity_number >= from)![0];

const toneOf = (record: LogRecord) => LEVELS.find(([, from]) => record.severity_number >= from)![2];

export const recordKey = (record: LogRecord) =>
  `${record.timestamp_unix_nano_str} ${record.span_id ?? ""} ${oneLine(record.body)}`;

const LINE: Column<LogRecord>[] = [
  {
    id: "line",
    head: (
      <div class="log">
        <span>Time</span>
        <span>Level</span>
        <span>What</span>
        <span>Trace</span>
      </div>
    ),
    cell: (record) => (
      <div class="log">
        <time class="dim" title={exact(record.timestamp_ms)}>
          {clock(record.timestamp_ms)}
        </time>
        <span class={`level ${toneOf(record)}`}>{levelOf(record).toUpperCase()}</span>
        <span class="log-body">
          {oneLine(record.body)} <span class="dim">{pairs(record)}</span>
        </span>
        {record.trace_id ? (
          <a href={to(["traces", record.trace_id], { view: "logs" })}>{record.trace_id.slice(0, 8)}</a>
        ) : (
          <span />
        )}
      </div>
    ),
  },
];

function pairs(record: LogRecord): string {
  return Object.entries(record.attributes ?? {})
    .map(([key, value]) => `${key}=${oneLine(value)}`)
    .join(" ");
}

/** Newest first, as given. */
export function LogTable({ records }: { records: LogRecord[] }) {
  const [open, setOpen] = useState<LogRecord | null>(null);
  return (
    <div class={open ? "split two" : "split"}>
      <Table
        label="Log"
        columns={LINE}
        rows={records}
        rowKey={recordKey}
        rowPx={24}
        open={setOpen}
        {...(open ? { selected: recordKey(open) } : {})}
        tone={(record) => (levelOf(record) === "error" ? "bad" : levelOf(record) === "warn" ? "warn" : "")}
      />
      {open && (
        <Detail title={oneLine(open.body)} close={() => setOpen(null)}>
          <Facts
            facts={[
              ["time", exact(open.timestamp_ms)],
              ["level", `${open.severity_text} (${open.severity_number})`],
              ["service", open.service_name],
              ["scope", open.instrumentation_scope_name],
              ["trace", open.trace_id && <Id id={open.trace_id} href={to(["traces", open.trace_id])} chars={16} />],
              ["span", open.span_id && open.trace_id && (
                <Id id={open.span_id} href={to(["traces", open.trace_id], { span: open.span_id })} chars={16} />
              )],
              [
                "function",
                typeof open.attributes?.["function_id"] === "string" && (
                  <FunctionLink id={open.attributes["function_id"]} />
                ),
              ],
            ]}
          />
          <h3>Fields</h3>
          <Json value={open.attributes ?? {}} label="fields" />
          {typeof open.body === "object" && <Json value={open.body} label="body" />}
        </Detail>
      )}
    </div>
  );
}
