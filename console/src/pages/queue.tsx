/** One queue: how it stands, what waits, what is dead; publish, pause, purge. */
import { get, path as at, post } from "../lib/api";
import { bytes, count } from "../lib/format";
import { useCall, useEvery, useRows } from "../lib/live";
import { to, useFilter } from "../lib/router";
import type { QueueMessage, QueueRow } from "../lib/types";
import { Page, type PageProps, useReadOnly } from "../shell";
import { Ago, Badge, Copy, Empty, Facts, Problem, Tabs, attempt } from "../ui/basics";
import { confirm } from "../ui/dialog";
import { Json } from "../ui/json";
import { DeadLetters } from "./deadletters";
import { QueueState } from "./queues";
import { Publish } from "./triggers";

export function QueuePage({ menu, name }: PageProps & { name: string }) {
  const [tab, setTab] = useFilter("tab", "overview");
  const readOnly = useReadOnly();
  const queue = useRows<QueueRow>(`queue:${name}`, "name")?.[0];
  const toggle = () =>
    attempt(
      () => post(queue?.paused ? at`queues/${name}/resume` : at`queues/${name}/pause`),
      () => (queue?.paused ? "It goes on" : "It is paused; nothing is delivered"),
    );
  const purge = async () => {
    const text = `All ${count(queue?.waiting ?? 0)} waiting and ${count(queue?.delayed ?? 0)} delayed messages are lost. Dead letters stay.`;
    if (!(await confirm({ title: `Purge ${name}?`, text, action: "Purge", typed: name }))) return;
    await attempt(() => post(at`queues/${name}/purge`), () => `${name} is empty`);
  };
  const figure = (value: number | undefined, text: string, bad = false) => (
    <div class={bad ? "figure bad" : "figure"}>
      <b>{count(value)}</b>
      <span>{text}</span>
    </div>
  );
  return (
    <Page
      menu={menu}
      title={
        <>
          <a href={to(["queues"])}>Queues</a> <span class="dim">/</span> <span class="mono">{name}</span>
          <Copy text={name} label="Copy the name" /> {queue && <QueueState queue={queue} />}
        </>
      }
      actions={
        !readOnly &&
        queue && (
          <>
            <button type="button" onClick={toggle}>
              {queue.paused ? "Resume" : "Pause"}
            </button>
            <button type="button" class="danger" onClick={purge}>
              Purge…
            </button>
          </>
        )
      }
      live
    >
      <div class="stack">
        <div class="figures">
          {figure(queue?.waiting, "waiting")}
          {figure(queue?.delayed, "delayed")}
          {figure(queue?.active, "in flight")}
          {figure(queue?.consumer_count, "consumers")}
          {figure(queue?.delivered, "delivered")}
          {figure(queue?.failed, "failed attempts")}
          {figure(queue?.dlq_depth, "dead letters", !!queue?.dlq_depth)}
        </div>
        <div>
          <Tabs
            tabs={[["overview", "Overview"], ["messages", "Messages"], ["dead", `Dead letters (${count(queue?.dlq_depth ?? 0)})`]]}
            now={tab}
            set={setTab}
          />
          {tab === "overview" && (
            <div class="grid">
              <section class="panel">
                <h2>About</h2>
                <Facts
                  facts={[
                    ["broker", queue?.broker_type.replace("_", " ")],
                    ["subscribers", count(queue?.subscriber_count)],
                    ["calls", <a href={to(["invocations"], { trigger_type: "queue" })}>that queues made</a>],
                  ]}
                />
                {queue?.config !== null && queue?.config !== undefined && <Json value={queue.config} />}
              </section>
              {!readOnly && queue && queue.broker_type !== "function_queue" && (
                <section class="panel">
                  <Publish topic={name} kind="queue" />
                </section>
              )}
            </div>
          )}
          {tab === "messages" && <Messages name={name} />}
          {tab === "dead" && <DeadLetters name={name} depth={queue?.dlq_depth} />}
        </div>
      </div>
    </Page>
  );
}

function Messages({ name }: { name: string }) {
  const [state, setState] = useFilter("state");
  const asked = useCall(`${name} ${state}`, (signal) =>
    get<{ messages: QueueMessage[] }>(at`queues/${name}/messages`, { state, limit: 100 }, signal),
  );
  useEvery(5_000, asked.reload);
  const rows = asked.data?.messages ?? [];
  return (
    <>
      <div class="filters">
        {["", "waiting", "delayed", "active"].map((each) => (
          <button key={each} type="button" class="chip" aria-pressed={state === each} onClick={() => setState(each)}>
            {each || "all"}
          </button>
        ))}
        <span class="dim">looked at without taking them; at most 100</span>
      </div>
      {asked.error && <Problem text={asked.error} retry={asked.reload} />}
      {asked.data && !rows.length && <Empty title="Nothing is in the queue" />}
      <div class="stack">
        {rows.map((row) => (
          <section class="panel" key={row.id}>
            <div class="row">
              <Badge tone={row.state === "active" ? "info" : "plain"}>{row.state}</Badge>
              <span class="dim">
                attempt {row.attempts}, came <Ago ms={row.created_at_ms} />
                {row.due_at_ms !== null && row.state === "delayed" && (
                  <>
                    , due <Ago ms={row.due_at_ms} />
                  </>
                )}
                , {bytes(JSON.stringify(row.payload)?.length)}
              </span>
              <span class="id dim">
                {row.id} <Copy text={row.id} label="Copy the id" />
              </span>
            </div>
            <Json value={row.payload} label="payload" />
          </section>
        ))}
      </div>
    </>
  );
}
