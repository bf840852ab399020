/** Traces: the list with its search, and one of them. */
import { useMemo, useState } from "preact/hooks";
import { post } from "../lib/api";
import { count, duration } from "../lib/format";
import { useCall, useTopic } from "../lib/live";
import { go, to, useFilter, usePlace } from "../lib/router";
import { label } from "../lib/trace";
import type { Span } from "../lib/types";
import { Page, type PageProps } from "../shell";
import { Ago, Badge, Empty, Id, Problem, Search, Select, Status } from "../ui/basics";
import { type Column, Table } from "../ui/table";
import { TracePage } from "./trace";

const SHOWN = 300;

const COLUMNS: Column<Span>[] = [
  { id: "status", head: "Status", cell: (row) => <Status status={row.status === "unset" ? "ok" : row.status} />, width: "92px" },
  {
    id: "name",
    head: "What began it",
    cell: (row) => (
      <a class="mono" href={to(["traces", row.trace_id])} title={row.name}>
        {label(row)}
      </a>
    ),
  },
  { id: "service", head: "Service", wide: true, width: "120px", cell: (row) => <span class="dim">{row.service_name}</span> },
  { id: "id", head: "Trace", wide: true, width: "130px", cell: (row) => <Id id={row.trace_id} /> },
  { id: "took", head: "Duration", right: true, width: "90px", cell: (row) => duration(row.duration_ms) },
  { id: "at", head: "Started", right: true, width: "84px", cell: (row) => <Ago ms={row.start_time_ms} /> },
];

export function Traces({ menu }: PageProps) {
  const { path } = usePlace();
  return path[1] ? <TracePage key={path[1]} menu={menu} id={path[1]} /> : <TraceList menu={menu} />;
}

/** `order=7 customer=ann` as the interface takes it; what is no pair is left out. */
export function attributePairs(text: string): [string, string][] {
  return [...text.matchAll(/([^\s=]+)=(?:"([^"]*)"|(\S+))/g)].map(([, key, quoted, value]) => [
    key!,
    quoted ?? value ?? "",
  ]);
}

function TraceList({ menu }: PageProps) {
  const [name, setName] = useFilter("q");
  const [status, setStatus] = useFilter("status");
  const [min, setMin] = useFilter("min");
  const [attributes, setAttributes] = useFilter("attributes");
  const [sort, setSort] = useFilter("sort", "start_time");
  const [internal, setInternal] = useFilter("internal");
  const pairs = attributePairs(attributes);
  const asked = {
    limit: SHOWN,
    sort_by: sort,
    sort_order: "desc",
    search_all_spans: !!name || pairs.length > 0,
    ...(name && { name }),
    ...(status && { status }),
    ...(min && { min_duration_ms: Number(min) }),
    ...(pairs.length && { attributes: pairs }),
    ...(internal && { include_internal: true }),
  };
  const key = JSON.stringify(asked);
  const list = useCall(key, (signal) => post<{ spans: Span[]; total: number }>("otel/traces", asked, signal));
  const plain = !name && !pairs.length && sort === "start_time";
  const [later, setLater] = useState<{ key: string; rows: Span[]; more: number }>({ key, rows: [], more: 0 });
  useTopic("traces", (message) => {
    if (message.event === "gap") return list.reload();
    if (message.event !== "add") return;
    const rows = ((message.items ?? []) as Span[]).filter(
      (row) =>
        (internal || !row.internal) &&
        (!status || row.status === status) &&
        row.duration_ms >= (Number(min) || 0),
    );
    if (!rows.length) return;
    setLater((was) => {
      const before = was.key === key ? was : { rows: [], more: 0 };
      if (!plain) return { key, rows: [], more: before.more + rows.length };
      return { key, rows: [...rows.reverse(), ...before.rows].slice(0, SHOWN), more: 0 };
    });
  });
  const rows = useMemo(() => {
    const known = new Map<string, Span>();
    for (const row of [...(later.key === key ? later.rows : []), ...(list.data?.spans ?? [])])
      if (!known.has(row.span_id)) known.set(row.span_id, row);
    const all = [...known.values()];
    if (plain) all.sort((a, b) => b.start_time_ms - a.start_time_ms);
    return all.slice(0, SHOWN);
  }, [list.data, later, key, plain]);
  const more = later.key === key ? later.more : 0;
  return (
    <Page menu={menu} title={<>Traces <Badge>{list.data ? count(Math.max(list.data.total, rows.length)) : "…"}</Badge></>} live fill>
      <div class="filters">
        <Search value={name} set={setName} hint="A name in any span" />
        <Select label="Status" value={status} set={setStatus} options={[["", "any status"], ["ok", "ok"], ["error", "error"]]} />
        <input
          aria-label="At least so many ms"
          placeholder="min ms"
          size={6}
          inputMode="numeric"
          value={min}
          onInput={(event) => setMin(event.currentTarget.value.replace(/[^\d.]/g, ""))}
        />
        <input
          aria-label="Attributes, key=value"
          placeholder="attribute=value"
          value={attributes}
          onInput={(event) => setAttributes(event.currentTarget.value)}
        />
        <Select label="Order" value={sort} set={setSort} options={[["start_time", "newest"], ["duration", "slowest"]]} />
        <button type="button" class="chip" aria-pressed={!!internal} onClick={() => setInternal(internal ? "" : "1")}>
          the engine's own
        </button>
        {more > 0 && (
          <button
            type="button"
            onClick={() => {
              setLater({ key, rows: [], more: 0 });
              list.reload();
            }}
          >
            {count(more)} since then: search again
          </button>
        )}
      </div>
      {list.error && <Problem text={list.error} retry={list.reload} />}
      {list.data && !rows.length ? (
        <Empty title={plain && !status && !min ? "There are no traces yet" : "No trace fits"}>
          Calls are traces, with what workers report to the engine, as long as the observability module is on.
        </Empty>
      ) : (
        <Table
          label="Traces"
          columns={COLUMNS}
          rows={rows}
          rowKey={(row) => row.span_id}
          open={(row) => go(["traces", row.trace_id])}
          tone={(row) => (row.status === "error" ? "bad" : "")}
        />
      )}
    </Page>
  );
}
