/** How the engine is, at a glance: rates, what waits, what fails, the last hour. */
import { useMemo, useState } from "preact/hooks";
import { get } from "../lib/api";
import { bytes, count, duration, percent, rate } from "../lib/format";
import { useCall, useEvery, useRows, useTopic } from "../lib/live";
import { to } from "../lib/router";
import type { FunctionStats, Invocation, Metrics, QueueRow } from "../lib/types";
import { Page, type PageProps } from "../shell";
import { Ago, Badge, Empty, FunctionLink, Problem } from "../ui/basics";
import { Chart } from "../ui/chart";

const HOUR_S = 3_600;
const LATELY_S = 300;
const ERRORS_SHOWN = 8;

interface Points {
  times: number[];
  rates: (number | null)[];
  errors: (number | null)[];
  p95: (number | null)[];
  memory: (number | null)[];
}

/** Rates between the snapshots of a history; a restart of the engine is a hole. */
export function points(history: Metrics[]): Points {
  const all: Points = { times: [], rates: [], errors: [], p95: [], memory: [] };
  history.forEach((now, at) => {
    const before = history[at - 1];
    if (!before) return;
    const seconds = (now.timestamp - before.timestamp) / 1000;
    const calls = now.invocations.total - before.invocations.total;
    const whole = seconds > 0 && calls >= 0;
    all.times.push(now.timestamp);
    all.rates.push(whole ? calls / seconds : null);
    all.errors.push(whole ? (now.invocations.error - before.invocations.error) / seconds : null);
    all.p95.push(now.performance.p95_duration_ms);
    all.memory.push(now.memory_rss);
  });
  return all;
}

export function Overview({ menu }: PageProps) {
  const history = useCall("history", (signal) =>
    get<{ history: Metrics[] }>("metrics/history", { seconds: HOUR_S }, signal),
  );
  const [later, setLater] = useState<Metrics[]>([]);
  useTopic("metrics", (message) => {
    if (message.event === "add" || message.event === "update" || message.event === "snapshot")
      setLater((was) => [...was, ...((message.items ?? []) as Metrics[])].slice(-HOUR_S / 10));
  });
  const all = useMemo(() => {
    const known = new Map<number, Metrics>();
    for (const each of [...(history.data?.history ?? []), ...later]) known.set(each.timestamp, each);
    return [...known.values()].sort((a, b) => a.timestamp - b.timestamp).slice(-HOUR_S / 10);
  }, [history.data, later]);
  const drawn = useMemo(() => points(all), [all]);
  const stats = useCall("stats", (signal) =>
    get<{ functions: FunctionStats[] }>("stats/functions", { seconds: LATELY_S, limit: 200 }, signal),
  );
  useEvery(10_000, stats.reload);
  const queues = useRows<QueueRow>("queues", "name") ?? [];
  const now = all.at(-1);
  const called = stats.data?.functions ?? [];
  const calls = called.reduce((sum, each) => sum + each.rate_per_second, 0);
  const failures = called.reduce((sum, each) => sum + each.rate_per_second * each.error_rate, 0);
  const backlog = queues.reduce((sum, queue) => sum + queue.depth, 0);
  const dead = queues.reduce((sum, queue) => sum + queue.dlq_depth, 0);
  const share = calls ? failures / calls : 0;
  return (
    <Page menu={menu} title="Overview" live>
      {history.error && <Problem text={history.error} retry={history.reload} />}
      <div class="stack">
        <div class="figures">
          <Figure href={to(["invocations"])} name="calls/s, last 5 min" value={rate(calls)} />
          <Figure href={to(["invocations"], { status: "error" })} name="fail" value={percent(share)} bad={share > 0} />
          <Figure href={to(["traces"], { sort: "duration" })} name="p95" value={duration(now?.performance.p95_duration_ms)} />
          <Figure href={to(["workers"])} name="workers" value={count(now?.workers.active)} />
          <Figure href={to(["functions"], { internal: "1" })} name="functions, with the engine's" value={count(now?.functions_count)} />
          <Figure href={to(["triggers"])} name="triggers" value={count(now?.triggers_count)} />
          <Figure href={to(["queues"])} name="waiting in queues" value={count(backlog)} />
          <Figure href={to(["queues"])} name="dead letters" value={count(dead)} bad={dead > 0} />
          <Figure href={to(["config"])} name="memory" value={bytes(now?.memory_rss)} />
          <Figure href={to(["workers"])} name="connections" value={count(now?.connections)} />
        </div>
        <div class="grid">
          <section class="panel">
            <h2>Calls, last hour</h2>
            <Chart
              label="Calls and failures a second in the last hour"
              times={drawn.times}
              lines={[
                { name: "calls/s", color: "--accent", values: drawn.rates },
                { name: "failures/s", color: "--bad", values: drawn.errors },
              ]}
              show={rate}
            />
          </section>
          <section class="panel">
            <h2>Duration</h2>
            <Chart
              label="95th percentile of durations in the last hour"
              times={drawn.times}
              lines={[{ name: "p95", color: "--violet", values: drawn.p95 }]}
              show={duration}
            />
          </section>
          <RecentErrors />
          <Slowest functions={called} />
          <Waiting queues={queues} />
          <section class="panel">
            <h2>Memory</h2>
            <Chart
              label="Memory of the engine in the last hour"
              times={drawn.times}
              lines={[{ name: "resident", color: "--good", values: drawn.memory }]}
              show={bytes}
            />
          </section>
        </div>
      </div>
    </Page>
  );
}

function Figure(props: { href: string; name: string; value: string; bad?: boolean }) {
  return (
    <a class={props.bad ? "figure bad" : "figure"} href={props.href}>
      <b>{props.value}</b>
      <span>{props.name}</span>
    </a>
  );
}

function RecentErrors() {
  const asked = useCall("errors", (signal) =>
    get<{ invocations: Invocation[] }>("invocations", { status: "error", limit: ERRORS_SHOWN }, signal),
  );
  const [later, setLater] = useState<Invocation[]>([]);
  useTopic("invocations", (message) => {
    if (message.event !== "add") return;
    const failed = ((message.items ?? []) as Invocation[]).filter((row) => row.status === "error");
    if (failed.length) setLater((was) => [...failed.reverse(), ...was].slice(0, ERRORS_SHOWN));
  });
  const ids = new Set<string>();
  const rows = [...later, ...(asked.data?.invocations ?? [])]
    .filter((row) => !ids.has(row.invocation_id) && ids.add(row.invocation_id))
    .slice(0, ERRORS_SHOWN);
  return (
    <section class="panel">
      <h2>
        Recent failures <a href={to(["invocations"], { status: "error" })}>all</a>
      </h2>
      {!rows.length && <Empty title="Nothing failed" />}
      {rows.length > 0 && (
        <table class="plain-table">
          <tbody>
            {rows.map((row) => (
              <tr key={row.invocation_id}>
                <td>
                  <FunctionLink id={row.function_id} />
                  <br />
                  <a class="bad-text" href={to(["invocations", row.invocation_id])}>
                    {row.error?.message ?? row.error?.code ?? "failed"}
                  </a>
                </td>
                <td class="right dim">
                  <Ago ms={row.started_at_ms} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

function Slowest({ functions }: { functions: FunctionStats[] }) {
  const slow = functions
    .filter((each) => each.p95_ms !== null && !each.function_id.startsWith("engine::"))
    .sort((a, b) => (b.p95_ms ?? 0) - (a.p95_ms ?? 0))
    .slice(0, 8);
  return (
    <section class="panel">
      <h2>
        Slowest functions, last 5 min <a href={to(["functions"], { sort: "p95" })}>all</a>
      </h2>
      {!slow.length && <Empty title="Nothing was called" />}
      {slow.length > 0 && (
        <table class="plain-table">
          <thead>
            <tr>
              <th>Function</th>
              <th class="right">p95</th>
              <th class="right">calls/s</th>
              <th class="right">fail</th>
            </tr>
          </thead>
          <tbody>
            {slow.map((each) => (
              <tr key={each.function_id}>
                <td>
                  <FunctionLink id={each.function_id} />
                </td>
                <td class="right">{duration(each.p95_ms)}</td>
                <td class="right">{rate(each.rate_per_second)}</td>
                <td class={each.errors ? "right bad-text" : "right"}>{percent(each.error_rate)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

function Waiting({ queues }: { queues: QueueRow[] }) {
  const shown = [...queues].sort((a, b) => b.dlq_depth + b.depth - a.dlq_depth - a.depth).slice(0, 8);
  return (
    <section class="panel">
      <h2>
        Queues <a href={to(["queues"])}>all</a>
      </h2>
      {!shown.length && <Empty title="There are no queues" />}
      {shown.length > 0 && (
        <table class="plain-table">
          <thead>
            <tr>
              <th>Queue</th>
              <th class="right">waiting</th>
              <th class="right">dead</th>
            </tr>
          </thead>
          <tbody>
            {shown.map((queue) => (
              <tr key={queue.name}>
                <td>
                  <a class="mono" href={to(["queues", queue.name])}>
                    {queue.name}
                  </a>{" "}
                  {queue.paused && <Badge tone="warn">paused</Badge>}
                </td>
                <td class="right">{count(queue.depth)}</td>
                <td class="right">
                  {queue.dlq_depth ? (
                    <a class="bad-text" href={to(["queues", queue.name], { tab: "dead" })}>
                      {count(queue.dlq_depth)}
                    </a>
                  ) : (
                    "0"
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}
