/** Pub/sub: topics, who listens, and what is said on one of them. */
import { useState } from "preact/hooks";
import { get } from "../lib/api";
import { count, rate } from "../lib/format";
import { useCall, useEvery, useTopic } from "../lib/live";
import { go, to, useFilter, usePlace } from "../lib/router";
import type { Json as Value, Topic } from "../lib/types";
import { Detail, Page, type PageProps, useReadOnly } from "../shell";
import { Ago, Badge, Empty, FunctionLink, Id, Problem, Search } from "../ui/basics";
import { Json } from "../ui/json";
import { type Column, Table } from "../ui/table";
import { Publish } from "./triggers";

const KEPT = 100;

const COLUMNS: Column<Topic>[] = [
  { id: "name", head: "Topic", cell: (row) => <a class="mono" href={to(["pubsub", row.name])}>{row.name}</a> },
  { id: "subscribers", head: "subscribers", right: true, width: "90px", cell: (row) => count(row.subscriber_count) },
  { id: "published", head: "published", right: true, width: "90px", cell: (row) => count(row.published) },
  { id: "rate", head: "per second", right: true, width: "90px", cell: (row) => rate(row.rate_per_second) },
];

export function Pubsub({ menu }: PageProps) {
  const { path } = usePlace();
  const [text, setText] = useFilter("q");
  const asked = useCall("pubsub", (signal) => get<{ topics: Topic[] }>("pubsub", {}, signal));
  useEvery(5_000, asked.reload);
  const shown = (asked.data?.topics ?? []).filter((row) => row.name.toLowerCase().includes(text.toLowerCase()));
  const name = path[1];
  return (
    <Page menu={menu} title={<>Pub/sub <Badge>{count(shown.length)}</Badge></>} live fill>
      <div class="filters">
        <Search value={text} set={setText} hint="Filter by topic" />
      </div>
      {asked.error && <Problem text={asked.error} retry={asked.reload} />}
      <div class={name ? "split two" : "split"}>
        {asked.data && !shown.length ? (
          <Empty title={text ? "No topic is called like this" : "Nobody listens"}>A trigger of type subscribe listens to a topic.</Empty>
        ) : (
          <Table
            label="Topics"
            columns={COLUMNS}
            rows={shown}
            rowKey={(row) => row.name}
            open={(row) => go(["pubsub", row.name], { q: text })}
            {...(name ? { selected: name } : {})}
          />
        )}
        {name && (
          <TopicDetail
            key={name}
            name={name}
            row={asked.data?.topics.find((row) => row.name === name)}
            close={() => go(["pubsub"], { q: text })}
          />
        )}
      </div>
    </Page>
  );
}

interface Said {
  data: Value;
  trace_id: string | null;
  at_ms: number;
}

function TopicDetail({ name, row, close }: { name: string; row: Topic | undefined; close: () => void }) {
  const readOnly = useReadOnly();
  const [said, setSaid] = useState<Said[]>([]);
  useTopic(`pubsub:${name}`, (message) => {
    if (message.event === "add")
      setSaid((was) => [...([...(message.items ?? [])].reverse() as Said[]), ...was].slice(0, KEPT));
  });
  return (
    <Detail title={<span class="mono">{name}</span>} close={close}>
      <h3>Who listens</h3>
      {row?.functions.map((id) => (
        <div key={id}>
          <FunctionLink id={id} />
        </div>
      ))}
      {!readOnly && <Publish topic={name} kind="pubsub" />}
      <h3>What is said, from now on</h3>
      {!said.length && <p class="dim">Nothing yet.</p>}
      <div class="stack">
        {said.map((each, at) => (
          <div key={said.length - at}>
            <span class="dim">
              <Ago ms={each.at_ms} />{" "}
            </span>
            {each.trace_id && <Id id={each.trace_id} href={to(["traces", each.trace_id])} />}
            <Json value={each.data} label="message" />
          </div>
        ))}
      </div>
    </Detail>
  );
}
