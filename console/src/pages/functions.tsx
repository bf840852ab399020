/** Functions: the list with rates, and one of them. */
import { useMemo } from "preact/hooks";
import { get } from "../lib/api";
import { count, duration, percent, rate } from "../lib/format";
import { useCall, useEvery, useRows } from "../lib/live";
import { go, useFilter, usePlace } from "../lib/router";
import { matches, parse } from "../lib/search";
import type { FunctionRow, FunctionStats, WorkerRow } from "../lib/types";
import { Page, type PageProps } from "../shell";
import { Badge, Empty, FunctionLink, Search, Select } from "../ui/basics";
import { Sparkline } from "../ui/chart";
import { type Column, Table } from "../ui/table";
import { FunctionPage } from "./function";

const LATELY_S = 300;

type Row = FunctionRow & { stats: FunctionStats | undefined; workers: string[] };

const ORDERS: Record<string, (row: Row) => number> = {
  rate: (row) => row.stats?.rate_per_second ?? 0,
  p95: (row) => row.stats?.p95_ms ?? 0,
  errors: (row) => row.stats?.error_rate ?? 0,
};

const COLUMNS: Column<Row>[] = [
  { id: "id", head: "Function", cell: (row) => <FunctionLink id={row.function_id} />, width: "minmax(0, 2fr)" },
  { id: "about", head: "", cell: (row) => <span class="dim" title={row.description ?? ""}>{row.description}</span>, width: "minmax(0, 2fr)", wide: true },
  {
    id: "worker",
    head: "Run by",
    cell: (row) => <span class="dim">{row.workers.join(", ")}</span>,
    wide: true,
  },
  {
    id: "spark",
    head: "Last 5 min",
    width: "90px",
    wide: true,
    cell: (row) =>
      row.stats?.series?.length ? (
        <Sparkline
          values={row.stats.series.map((point) => point.count)}
          bad={row.stats.series.map((point) => point.errors)}
          label={`${row.stats.count} calls, ${row.stats.errors} failed`}
        />
      ) : (
        <span class="dim">–</span>
      ),
  },
  { id: "rate", head: "calls/s", right: true, width: "64px", cell: (row) => (row.stats ? rate(row.stats.rate_per_second) : "–") },
  { id: "p95", head: "p95", right: true, width: "76px", cell: (row) => duration(row.stats?.p95_ms) },
  {
    id: "errors",
    head: "fail",
    right: true,
    width: "56px",
    cell: (row) =>
      row.stats?.errors ? <span class="bad-text">{percent(row.stats.error_rate)}</span> : row.stats ? "0 %" : "–",
  },
];

export function Functions({ menu }: PageProps) {
  const { path } = usePlace();
  return path[1] ? <FunctionPage key={path[1]} menu={menu} id={path[1]} /> : <FunctionList menu={menu} />;
}

function FunctionList({ menu }: PageProps) {
  const [text, setText] = useFilter("q");
  const [internal, setInternal] = useFilter("internal");
  const [sort, setSort] = useFilter("sort", "name");
  const found = useRows<FunctionRow>("functions", "key");
  const workers = useRows<WorkerRow>("workers", "id");
  const stats = useCall("stats", (signal) =>
    get<{ functions: FunctionStats[] }>("stats/functions", { seconds: LATELY_S, limit: 1_000, series: "true" }, signal),
  );
  useEvery(10_000, stats.reload);
  const shown = useMemo(() => {
    const byId = new Map(stats.data?.functions.map((each) => [each.function_id, each]));
    const runBy = new Map<string, string[]>();
    for (const worker of workers ?? [])
      for (const id of worker.functions)
        runBy.set(id, [...(runBy.get(id) ?? []), worker.name ?? worker.id.slice(0, 8)]);
    const query = parse(text);
    const rows = (found ?? [])
      .filter((row) => internal || !isInternal(row))
      .filter((row) => matches(query, `${row.function_id} ${row.description ?? ""}`))
      .map((row) => ({ ...row, stats: byId.get(row.function_id), workers: runBy.get(row.function_id) ?? [] }));
    const order = ORDERS[sort];
    return rows.sort(
      (a, b) => (order ? order(b) - order(a) : 0) || a.function_id.localeCompare(b.function_id),
    );
  }, [found, workers, stats.data, text, internal, sort]);
  return (
    <Page menu={menu} title={<>Functions <Badge>{count(shown.length)}</Badge></>} live fill>
      <div class="filters">
        <Search value={text} set={setText} hint="Filter by id or description" />
        <Select
          label="Order"
          value={sort}
          set={setSort}
          options={[["name", "by name"], ["rate", "most called"], ["p95", "slowest"], ["errors", "most failures"]]}
        />
        <button type="button" class="chip" aria-pressed={!!internal} onClick={() => setInternal(internal ? "" : "1")}>
          the engine's own
        </button>
      </div>
      {found && !shown.length ? (
        <Empty title={text ? "No function is called like this" : "No worker has registered a function"}>
          Workers connect to the engine's worker port and register what they can do.
        </Empty>
      ) : (
        <Table
          label="Functions"
          columns={COLUMNS}
          rows={shown}
          rowKey={(row) => row.key ?? row.function_id}
          open={(row) => go(["functions", row.function_id])}
          tone={(row) => (row.stats?.errors ? "bad" : "")}
        />
      )}
    </Page>
  );
}

/** Whether a function is the engine's or one of its modules'. */
export function isInternal(row: FunctionRow): boolean {
  return (
    row.internal === true ||
    /^(engine|state|stream|kv_server|iii|channel|pubsub|kv|queue|cron|http)::/.test(row.function_id) ||
    ["enqueue", "publish"].includes(row.function_id)
  );
}
