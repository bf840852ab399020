/** One trace: its waterfall, and what a span tells. */
import { useMemo, useState } from "preact/hooks";
import { get, post } from "../lib/api";
import { count, duration, exact } from "../lib/format";
import { useCall } from "../lib/live";
import { to, useFilter } from "../lib/router";
import { type SpanRow, extent, label, rows, services, walk } from "../lib/trace";
import type { Invocation, LogRecord, Span } from "../lib/types";
import { Detail, Page, type PageProps } from "../shell";
import { Badge, Copy, Empty, Facts, FunctionLink, Id, Problem, Status, Tabs } from "../ui/basics";
import { Json } from "../ui/json";
import { type Column, Table } from "../ui/table";
import { LogTable } from "./logtable";

const COLORS = 4;
const ROW_PX = 26;
const INDENT_PX = 14;
const MAX_INDENT = 12;

export function TracePage({ menu, id }: PageProps & { id: string }) {
  const [view, setView] = useFilter("view", "waterfall");
  const [chosen, setChosen] = useFilter("span");
  const [folded, setFolded] = useState<ReadonlySet<string>>(new Set());
  const tree = useCall(id, (signal) => post<{ roots: Span[] }>("otel/traces/tree", { trace_id: id }, signal));
  const logs = useCall(id, (signal) => post<{ logs: LogRecord[] }>("otel/logs", { trace_id: id, limit: 1_000 }, signal));
  const calls = useCall(id, (signal) =>
    get<{ invocations: Invocation[] }>("invocations", { trace_id: id, limit: 200 }, signal),
  );
  const roots = tree.data?.roots ?? [];
  const shown = useMemo(() => rows(roots, folded), [tree.data, folded]);
  const names = useMemo(() => services(roots), [tree.data]);
  const all = useMemo(() => {
    const found: Span[] = [];
    walk(roots, (span) => found.push(span));
    return found;
  }, [tree.data]);
  const failed = all.filter((span) => span.status === "error").length;
  const span = all.find((each) => each.span_id === chosen);
  const fold = (span_id: string) => {
    const next = new Set(folded);
    if (!next.delete(span_id)) next.add(span_id);
    setFolded(next);
  };
  const columns: Column<SpanRow>[] = [
    {
      id: "name",
      head: "Span",
      width: "minmax(150px, 2fr)",
      cell: ({ span, depth, children }) => (
        <span style={{ paddingLeft: `${Math.min(depth, MAX_INDENT) * INDENT_PX}px` }} title={span.name}>
          {children > 0 ? (
            <button
              type="button"
              class="twist"
              aria-expanded={!folded.has(span.span_id)}
              aria-label={`${children} spans below`}
              onClick={() => fold(span.span_id)}
            >
              {folded.has(span.span_id) ? "▸" : "▾"}
            </button>
          ) : (
            <span class="twist" />
          )}
          <span class={`service s${names.indexOf(span.service_name) % COLORS}`}>
            {span.status === "error" && <span class="bad-text">✕ </span>}
            <span class="mono">{label(span)}</span> <span class="dim">{aside(span)}</span>
          </span>
        </span>
      ),
    },
    {
      id: "bar",
      head: roots.length ? duration(extent(roots).length) : "",
      width: "minmax(0, 3fr)",
      cell: (row) => <Bar row={row} color={names.indexOf(row.span.service_name) % COLORS} />,
    },
  ];
  return (
    <Page
      menu={menu}
      title={
        <>
          <a href={to(["traces"])}>Traces</a> <span class="dim">/</span> <span class="mono">{id.slice(0, 12)}</span>
          <Copy text={id} label="Copy the id" />
        </>
      }
      actions={
        <>
          <button type="button" onClick={tree.reload}>
            Reload
          </button>
          <a href={`_console/export/traces/${encodeURIComponent(id)}`} download={`${id}.json`}>
            OTLP
          </a>
        </>
      }
      fill
    >
      {tree.error && <Problem text={tree.error} retry={tree.reload} />}
      {tree.data && !all.length && <Empty title="There is no such trace">It is not kept any more, or never was.</Empty>}
      {all.length > 0 && (
        <>
          <div class="filters">
            <Status status={failed ? "error" : "ok"} />
            <span>{duration(extent(roots).length)}</span>
            <span class="dim">
              {count(all.length)} spans, {failed} failed, {names.length === 1 ? "service" : `${names.length} services`}: {names.join(", ")}
            </span>
            {calls.data?.invocations[0] && (
              <a href={to(["invocations"], { trace_id: id })}>{calls.data.invocations.length} invocations</a>
            )}
          </div>
          <Tabs
            tabs={[["waterfall", "Waterfall"], ["logs", `Logs (${logs.data?.logs.length ?? 0})`], ["json", "JSON"]]}
            now={view}
            set={setView}
          />
          {view === "waterfall" && (
            <div class={span ? "split two" : "split"}>
              <Table
                label="Spans"
                columns={columns}
                rows={shown}
                rowKey={(row) => row.span.span_id}
                rowPx={ROW_PX}
                open={(row) => setChosen(row.span.span_id)}
                selected={chosen}
              />
              {span && <SpanDetail span={span} logs={logs.data?.logs ?? []} close={() => setChosen("")} />}
            </div>
          )}
          {view === "logs" && <LogTable records={logs.data?.logs ?? []} />}
          {view === "json" && <Json value={roots as any} label="trace" />}
        </>
      )}
    </Page>
  );
}

// What the span's own name says beyond its label, and who it is from.
function aside(span: Span): string {
  const rest = span.name.replace(label(span), "").trim();
  return [rest === span.name ? "" : rest, span.service_name].filter(Boolean).join(" · ");
}

function Bar({ row, color }: { row: SpanRow; color: number }) {
  const left = Math.min(row.left, 0.998);
  const end = left + row.width;
  const text = end < 0.85 ? { left: `calc(${end * 100}% + 5px)` } : { right: `calc(${(1 - left) * 100}% + 5px)` };
  return (
    <div class="bar-cell">
      <span
        class={row.span.status === "error" ? "bar bad" : `bar s${color}`}
        style={{ left: `${left * 100}%`, width: `${Math.min(row.width, 1 - left) * 100}%` }}
      />
      {(end < 0.85 || left > 0.12) && (
        <span class="bar-text" style={text}>
          {duration(row.span.duration_ms)}
        </span>
      )}
      {end >= 0.85 && left <= 0.12 && <span class="hidden">{duration(row.span.duration_ms)}</span>}
    </div>
  );
}

function SpanDetail({ span, logs, close }: { span: Span; logs: LogRecord[]; close: () => void }) {
  const mine = logs.filter((record) => record.span_id === span.span_id);
  const baggage = span.attributes.filter(([key]) => key.startsWith("baggage."));
  const tags = span.attributes.filter(([key]) => !key.startsWith("baggage."));
  const attributes = Object.fromEntries(span.attributes);
  const function_id = attributes["function_id"] ?? attributes["faas.invoked_name"];
  return (
    <Detail title={<span class="mono">{label(span)}</span>} close={close}>
      <Facts
        facts={[
          ["status", <Status status={span.status} />],
          ["why", span.status_description],
          ["name", span.name],
          ["service", span.service_name],
          ["kind", span.kind],
          ["started", exact(span.start_time_ms)],
          ["duration", duration(span.duration_ms)],
          ["span", <Id id={span.span_id} chars={16} />],
          ["function", function_id && <FunctionLink id={function_id} />],
          [
            "invocation",
            attributes["invocation_id"] && (
              <Id id={attributes["invocation_id"]} href={to(["invocations", attributes["invocation_id"]])} />
            ),
          ],
        ]}
      />
      <h3>Attributes</h3>
      <Facts facts={tags.map(([key, value]) => [key, <span class="mono">{value}</span>])} />
      {baggage.length > 0 && (
        <>
          <h3>Baggage</h3>
          <Facts facts={baggage.map(([key, value]) => [key.slice("baggage.".length), value])} />
        </>
      )}
      {span.events.length > 0 && (
        <>
          <h3>
            Events <Badge>{span.events.length}</Badge>
          </h3>
          {span.events.map((event, at) => (
            <div key={at}>
              <b>{event.name}</b>
              <Facts facts={(event.attributes ?? []).map(([key, value]) => [key, <pre>{value}</pre>])} />
            </div>
          ))}
        </>
      )}
      {span.links.length > 0 && (
        <>
          <h3>Links</h3>
          <Json value={span.links} label="links" />
        </>
      )}
      <h3>
        Logs <Badge>{mine.length}</Badge>
      </h3>
      {mine.map((record) => (
        <div key={record.timestamp_unix_nano_str}>
          <Badge tone={record.severity_number >= 17 ? "bad" : record.severity_number >= 13 ? "warn" : "info"}>
            {record.severity_text}
          </Badge>{" "}
          {typeof record.body === "string" ? record.body : JSON.stringify(record.body)}
        </div>
      ))}
    </Detail>
  );
}
