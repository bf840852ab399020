/** Calls under way and over: the list with its filters, and one of them. */
import { useMemo, useState } from "preact/hooks";
import { get, post } from "../lib/api";
import { count, duration } from "../lib/format";
import { useCall, useEvery, useTopic } from "../lib/live";
import { go, useFilter, usePlace } from "../lib/router";
import type { Invocation } from "../lib/types";
import { Page, type PageProps, useReadOnly } from "../shell";
import { Ago, Badge, Empty, FunctionLink, Problem, Search, Status, attempt } from "../ui/basics";
import { confirm } from "../ui/dialog";
import { type Column, Table } from "../ui/table";
import { InvocationDetail } from "./invocation";

const SHOWN = 500;
const STATUSES = ["", "pending", "ok", "error"];
const FIELDS = ["function_id", "worker_id", "caller_worker_id", "trigger_type", "trace_id", "error_code"] as const;

const COLUMNS: Column<Invocation>[] = [
  { id: "status", head: "Status", cell: (row) => <Status status={row.status} />, width: "92px" },
  { id: "function", head: "Function", cell: (row) => <FunctionLink id={row.function_id} /> },
  {
    id: "what",
    head: "Input, or what went wrong",
    wide: true,
    width: "minmax(0, 2fr)",
    cell: (row) =>
      row.error ? (
        <span class="bad-text">{row.error.message || row.error.code}</span>
      ) : (
        <span class="mono dim">{row.payload_preview}</span>
      ),
  },
  { id: "trigger", head: "By", wide: true, width: "86px", cell: (row) => <span class="dim">{row.trigger_type ?? "call"}</span> },
  { id: "took", head: "Duration", right: true, wide: true, width: "80px", cell: (row) => duration(row.duration_ms) },
  { id: "at", head: "Started", right: true, width: "80px", cell: (row) => <Ago ms={row.started_at_ms} /> },
];

export interface Filters {
  status: string;
  search: string;
  fields: Record<string, string>;
  min: number;
}

/** Whether a call that was pushed belongs into a list with these filters. */
export function belongs(row: Invocation, filters: Filters): boolean {
  const search = filters.search.toLowerCase();
  const text = [row.invocation_id, row.function_id, row.error?.code, row.error?.message].join(" ");
  const code = row.error?.code;
  return (
    (!filters.status || row.status === filters.status) &&
    (row.duration_ms ?? 0) >= filters.min &&
    (!search || text.toLowerCase().includes(search)) &&
    Object.entries(filters.fields).every(
      ([name, value]) => !value || (name === "error_code" ? code : (row as any)[name]) === value,
    )
  );
}

export function Invocations({ menu }: PageProps) {
  const { path, query } = usePlace();
  const [status, setStatus] = useFilter("status");
  const [search, setSearch] = useFilter("q");
  const [min, setMin] = useFilter("min");
  const readOnly = useReadOnly();
  const fields = Object.fromEntries(FIELDS.map((name) => [name, query[name] ?? ""]));
  const asked = { status, search, min_duration_ms: min, ...fields, limit: SHOWN };
  const key = JSON.stringify(asked);
  const list = useCall(key, (signal) => get<{ invocations: Invocation[] }>("invocations", asked, signal));
  const [later, setLater] = useState<{ key: string; rows: Invocation[] }>({ key, rows: [] });
  useTopic("invocations", (message) => {
    if (message.event === "gap") return list.reload();
    if (message.event !== "add") return;
    const filters = { status, search, fields, min: Number(min) || 0 };
    const rows = ((message.items ?? []) as Invocation[]).filter((row) => belongs(row, filters));
    if (rows.length)
      setLater((was) => ({
        key,
        rows: [...rows.reverse(), ...(was.key === key ? was.rows : [])].slice(0, SHOWN),
      }));
  });
  const pending = (list.data?.invocations ?? []).some((row) => row.status === "pending");
  useEvery(5_000, () => {
    if (pending || status === "pending") list.reload();
  });
  const rows = useMemo(() => {
    const known = new Map<string, Invocation>();
    for (const row of list.data?.invocations ?? []) known.set(row.invocation_id, row);
    if (later.key === key) for (const row of later.rows) known.set(row.invocation_id, row);
    return [...known.values()]
      .sort((a, b) => Number(b.status === "pending") - Number(a.status === "pending") || b.started_at_ms - a.started_at_ms)
      .slice(0, SHOWN);
  }, [list.data, later, key]);

  const clear = async () => {
    const text = "The engine forgets all calls that are over. Calls under way go on.";
    if (!(await confirm({ title: "Forget the history?", text, action: "Forget" }))) return;
    await attempt(() => post<{ cleared: number }>("invocations/clear"), (done) => `${done.cleared} calls were forgotten`);
    setLater({ key, rows: [] });
    list.reload();
  };
  const kept = FIELDS.filter((name) => query[name]);
  const without = (name: string) => go(path, { ...query, [name]: undefined });
  return (
    <Page
      menu={menu}
      title={<>Invocations <Badge>{rows.length >= SHOWN ? `newest ${SHOWN}` : count(rows.length)}</Badge></>}
      actions={!readOnly && <button type="button" onClick={clear}>Clear…</button>}
      live
      fill
    >
      <div class="filters">
        <Search value={search} set={setSearch} hint="Search ids and errors" />
        {STATUSES.map((each) => (
          <button key={each} type="button" class="chip" aria-pressed={status === each} onClick={() => setStatus(each)}>
            {each || "all"}
          </button>
        ))}
        <input
          aria-label="At least so many ms"
          placeholder="min ms"
          size={6}
          inputMode="numeric"
          value={min}
          onInput={(event) => setMin(event.currentTarget.value.replace(/\D/g, ""))}
        />
        {kept.map((name) => (
          <button key={name} type="button" class="chip" aria-pressed="true" title="Take this filter away" onClick={() => without(name)}>
            {name}: {query[name]} ✕
          </button>
        ))}
      </div>
      {list.error && <Problem text={list.error} retry={list.reload} />}
      <div class={path[1] ? "split two" : "split"}>
        {list.data && !rows.length ? (
          <Empty title={status || search || kept.length ? "No call fits" : "Nothing was called yet"}>
            Calls of the engine's own functions are not kept.
          </Empty>
        ) : (
          <Table
            label="Invocations"
            columns={path[1] ? COLUMNS.filter((column) => column.id !== "what" && column.id !== "trigger") : COLUMNS}
            rows={rows}
            rowKey={(row) => row.invocation_id}
            open={(row) => go(["invocations", row.invocation_id], query)}
            {...(path[1] ? { selected: path[1] } : {})}
            tone={(row) => (row.status === "error" ? "bad" : "")}
          />
        )}
        {path[1] && (
          <InvocationDetail
            key={path[1]}
            id={path[1]}
            close={() => go(["invocations"], query)}
            open={(id) => go(["invocations", id], query)}
          />
        )}
      </div>
    </Page>
  );
}
