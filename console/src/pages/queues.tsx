/** Queues: what waits, and one of them. */
import { count } from "../lib/format";
import { useRows } from "../lib/live";
import { go, to, useFilter, usePlace } from "../lib/router";
import { matches, parse } from "../lib/search";
import type { QueueRow } from "../lib/types";
import { Page, type PageProps } from "../shell";
import { Badge, Empty, Search } from "../ui/basics";
import { type Column, Table } from "../ui/table";
import { QueuePage } from "./queue";

const COLUMNS: Column<QueueRow>[] = [
  {
    id: "name",
    head: "Queue",
    width: "minmax(110px, 2fr)",
    cell: (row) => (
      <>
        <a class="mono" href={to(["queues", row.name])}>
          {row.name}
        </a>{" "}
        <QueueState queue={row} />
      </>
    ),
  },
  { id: "broker", head: "Broker", wide: true, cell: (row) => <span class="dim">{row.broker_type.replace("_", " ")}</span> },
  { id: "waiting", head: "waiting", right: true, width: "70px", cell: (row) => count(row.waiting) },
  { id: "delayed", head: "delayed", right: true, wide: true, width: "70px", cell: (row) => count(row.delayed) },
  { id: "active", head: "in flight", right: true, wide: true, width: "70px", cell: (row) => count(row.active) },
  { id: "consumers", head: "consumers", right: true, wide: true, width: "80px", cell: (row) => count(row.consumer_count) },
  { id: "delivered", head: "delivered", right: true, wide: true, width: "80px", cell: (row) => count(row.delivered) },
  { id: "failed", head: "failed", right: true, wide: true, width: "70px", cell: (row) => count(row.failed) },
  {
    id: "dead",
    head: "dead",
    right: true,
    width: "60px",
    cell: (row) =>
      row.dlq_depth ? (
        <a class="bad-text" href={to(["queues", row.name], { tab: "dead" })}>
          {count(row.dlq_depth)}
        </a>
      ) : (
        "0"
      ),
  },
];

/** What is unusual about a queue, as a badge. */
export function QueueState({ queue }: { queue: QueueRow }) {
  if (queue.paused) return <Badge tone="warn">paused</Badge>;
  if (queue.waiting_for_worker) return <Badge tone="warn">no worker</Badge>;
  return null;
}

export function Queues({ menu }: PageProps) {
  const { path } = usePlace();
  return path[1] ? <QueuePage key={path[1]} menu={menu} name={path[1]} /> : <QueueList menu={menu} />;
}

function QueueList({ menu }: PageProps) {
  const [text, setText] = useFilter("q");
  const found = useRows<QueueRow>("queues", "name");
  const query = parse(text);
  const shown = (found ?? [])
    .filter((row) => matches(query, row.name))
    .sort((a, b) => b.dlq_depth - a.dlq_depth || b.depth - a.depth || a.name.localeCompare(b.name));
  return (
    <Page menu={menu} title={<>Queues <Badge>{count(shown.length)}</Badge></>} live fill>
      <div class="filters">
        <Search value={text} set={setText} hint="Filter by name" />
      </div>
      {found && !shown.length ? (
        <Empty title={text ? "No queue is called like this" : "There are no queues"}>
          A trigger of type queue makes one, and so does queue_configs of the queue module.
        </Empty>
      ) : (
        <Table
          label="Queues"
          columns={COLUMNS}
          rows={shown}
          rowKey={(row) => row.name}
          open={(row) => go(["queues", row.name])}
          tone={(row) => (row.dlq_depth ? "bad" : row.paused || row.waiting_for_worker ? "warn" : "")}
        />
      )}
    </Page>
  );
}
