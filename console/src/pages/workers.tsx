/** Workers: who is connected, and one of them. */
import { post, path as at } from "../lib/api";
import { count, exact } from "../lib/format";
import { useRows } from "../lib/live";
import { go, to, useFilter, usePlace } from "../lib/router";
import { matches, parse } from "../lib/search";
import type { WorkerRow } from "../lib/types";
import { Detail, Page, type PageProps, useReadOnly } from "../shell";
import { Ago, Badge, Empty, Facts, FunctionLink, Id, Search, attempt } from "../ui/basics";
import { confirm } from "../ui/dialog";
import { Json } from "../ui/json";
import { type Column, Table } from "../ui/table";

const COLUMNS: Column<WorkerRow>[] = [
  { id: "name", head: "Worker", cell: (row) => <a href={to(["workers", row.id])}>{row.name ?? row.id.slice(0, 8)}</a> },
  { id: "runtime", head: "Runtime", wide: true, cell: (row) => `${row.runtime ?? "–"} ${row.version ?? ""}` },
  { id: "address", head: "Address", wide: true, width: "120px", cell: (row) => <span class="mono">{row.ip_address}</span> },
  { id: "status", head: "Status", width: "100px", cell: (row) => <Badge tone={row.status === "draining" ? "warn" : "good"}>{row.status}</Badge> },
  { id: "functions", head: "functions", right: true, width: "76px", cell: (row) => count(row.function_count) },
  { id: "active", head: "in flight", right: true, width: "70px", cell: (row) => count(row.active_invocations) },
  { id: "since", head: "connected", right: true, width: "90px", cell: (row) => <Ago ms={row.connected_at_ms} /> },
];

export function Workers({ menu }: PageProps) {
  const { path } = usePlace();
  const [text, setText] = useFilter("q");
  const found = useRows<WorkerRow>("workers", "id");
  const query = parse(text);
  const shown = (found ?? [])
    .filter((row) => matches(query, [row.name, row.id, row.runtime, row.ip_address, row.os].join(" ")))
    .sort((a, b) => b.connected_at_ms - a.connected_at_ms);
  const one = found?.find((row) => row.id === path[1]);
  return (
    <Page menu={menu} title={<>Workers <Badge>{count(shown.length)}</Badge></>} live fill>
      <div class="filters">
        <Search value={text} set={setText} hint="Filter by name, runtime, address" />
      </div>
      <div class={path[1] ? "split two" : "split"}>
        {found && !shown.length ? (
          <Empty title={text ? "No worker fits" : "No worker is connected"}>
            A worker connects to the engine's worker port, 49134 by default.
          </Empty>
        ) : (
          <Table
            label="Workers"
            columns={path[1] ? COLUMNS.filter((column) => !["runtime", "address"].includes(column.id)) : COLUMNS}
            rows={shown}
            rowKey={(row) => row.id}
            open={(row) => go(["workers", row.id], { q: text })}
            {...(path[1] ? { selected: path[1] } : {})}
          />
        )}
        {path[1] && (one ? (
          <Worker worker={one} close={() => go(["workers"], { q: text })} />
        ) : (
          <Detail title="Worker" close={() => go(["workers"], { q: text })}>
            <Empty title={found ? "It is not connected any more" : "…"}>
              {found && <a href={to(["invocations"], { worker_id: path[1] })}>What it ran</a>}
            </Empty>
          </Detail>
        ))}
      </div>
    </Page>
  );
}

function Worker({ worker, close }: { worker: WorkerRow; close: () => void }) {
  const readOnly = useReadOnly();
  const disconnect = async () => {
    const text = "Its connection is closed; a worker comes back by itself. Calls under way fail.";
    if (!(await confirm({ title: `Disconnect ${worker.name ?? worker.id}?`, text, action: "Disconnect" }))) return;
    await attempt(() => post(at`workers/${worker.id}/disconnect`), () => "It is disconnected");
  };
  return (
    <Detail title={worker.name ?? worker.id} close={close}>
      <div class="row">
        <a href={to(["invocations"], { worker_id: worker.id })}>What it ran</a>
        <a href={to(["invocations"], { caller_worker_id: worker.id })}>What it called</a>
        {!readOnly && (
          <button type="button" class="danger" onClick={disconnect}>
            Disconnect…
          </button>
        )}
      </div>
      <h3>About</h3>
      <Facts
        facts={[
          ["id", <Id id={worker.id} chars={36} />],
          ["runtime", `${worker.runtime ?? "–"} ${worker.version ?? ""}`],
          ["system", worker.os],
          ["address", worker.ip_address],
          ["process", worker.pid],
          ["namespace", worker.namespace],
          ["connected", exact(worker.connected_at_ms)],
          ["in flight", count(worker.active_invocations)],
        ]}
      />
      <h3>
        Functions <Badge>{worker.function_count}</Badge>
      </h3>
      {worker.functions.map((id) => (
        <div key={id}>
          <FunctionLink id={id} />
        </div>
      ))}
      {worker.latest_metrics !== null && (
        <>
          <h3>Figures it reported</h3>
          <Json value={worker.latest_metrics} label="figures" />
        </>
      )}
    </Detail>
  );
}
