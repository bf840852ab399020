/** One function: invoke it, its calls, figures, schemas, triggers. */
import { get, path } from "../lib/api";
import { count, duration, percent, rate } from "../lib/format";
import { useCall, useEvery } from "../lib/live";
import { to, useFilter } from "../lib/router";
import type { FunctionInfo, FunctionStats, Invocation } from "../lib/types";
import { Page, type PageProps } from "../shell";
import { Ago, Badge, Copy, Empty, Facts, Problem, Status, Tabs } from "../ui/basics";
import { Chart } from "../ui/chart";
import { Json } from "../ui/json";
import { Invoke } from "./invoke";

const TABS: [string, string][] = [
  ["invoke", "Invoke"],
  ["calls", "Invocations"],
  ["figures", "Metrics"],
  ["schema", "Schema"],
  ["triggers", "Triggers"],
];
const SECONDS = 3_600;

export function FunctionPage({ menu, id }: PageProps & { id: string }) {
  const [tab, setTab] = useFilter("tab", "invoke");
  const info = useCall(id, (signal) => get<FunctionInfo>(path`functions/${id}`, {}, signal));
  const found = info.data;
  return (
    <Page
      menu={menu}
      title={
        <>
          <a href={to(["functions"])}>Functions</a> <span class="dim">/</span>{" "}
          <span class="mono">{id}</span> <Copy text={id} label="Copy the id" />
        </>
      }
    >
      {info.error && <Problem text={info.error} retry={info.reload} />}
      {found && (
        <>
          <p class="dim">
            {[found.description, found.worker_name && `run by ${found.worker_name}`].filter(Boolean).join(" · ")}
          </p>
          <Tabs tabs={TABS} now={tab} set={setTab} />
          {tab === "invoke" && <Invoke key={id} info={found} />}
          {tab === "calls" && <Calls id={id} />}
          {tab === "figures" && <Figures id={id} />}
          {tab === "schema" && (
            <div class="grid">
              <section class="panel">
                <h2>Takes</h2>
                {found.request_schema ? <Json value={found.request_schema} /> : <Empty title="It did not say" />}
              </section>
              <section class="panel">
                <h2>Gives</h2>
                {found.response_schema ? <Json value={found.response_schema} /> : <Empty title="It did not say" />}
              </section>
              {found.metadata !== undefined && found.metadata !== null && (
                <section class="panel">
                  <h2>Metadata</h2>
                  <Json value={found.metadata} />
                </section>
              )}
            </div>
          )}
          {tab === "triggers" && <Triggers info={found} />}
        </>
      )}
    </Page>
  );
}

function Calls({ id }: { id: string }) {
  const asked = useCall(id, (signal) =>
    get<{ invocations: Invocation[] }>("invocations", { function_id: id, limit: 50 }, signal),
  );
  useEvery(5_000, asked.reload);
  const rows = asked.data?.invocations ?? [];
  if (asked.error) return <Problem text={asked.error} retry={asked.reload} />;
  if (asked.data && !rows.length) return <Empty title="It was not called lately" />;
  return (
    <section class="panel">
      <h2>
        Newest calls <a href={to(["invocations"], { function_id: id })}>all, with filters</a>
      </h2>
      <table class="plain-table">
        <tbody>
          {rows.map((row) => (
            <tr key={row.invocation_id}>
              <td>
                <Status status={row.status} />
              </td>
              <td>
                <a class="mono" href={to(["invocations", row.invocation_id])}>
                  {row.error?.message ?? row.payload_preview ?? row.invocation_id}
                </a>
              </td>
              <td class="right">{duration(row.duration_ms)}</td>
              <td class="right dim">
                <Ago ms={row.started_at_ms} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Figures({ id }: { id: string }) {
  const asked = useCall(id, (signal) =>
    get<FunctionStats & { functions?: FunctionStats[] }>(path`functions/${id}/stats`, { seconds: SECONDS }, signal),
  );
  useEvery(10_000, asked.reload);
  if (asked.error) return <Problem text={asked.error} retry={asked.reload} />;
  const stats = asked.data?.functions?.[0] ?? asked.data;
  if (!stats || stats.count === undefined) return null;
  const series = stats.series ?? [];
  return (
    <div class="grid">
      <section class="panel">
        <h2>Last hour</h2>
        <Facts
          facts={[
            ["calls", count(stats.count)],
            ["calls/s", rate(stats.rate_per_second)],
            ["failed", `${count(stats.errors)} (${percent(stats.error_rate)})`],
            ["p50, p95, p99", [stats.p50_ms, stats.p95_ms, stats.p99_ms].map(duration).join(", ")],
            ["in flight", count(stats.in_flight)],
            [
              "errors",
              Object.entries(stats.error_codes).map(([code, times]) => (
                <Badge key={code} tone="bad">
                  {code} × {times}
                </Badge>
              )),
            ],
            ["run by", stats.workers.map((each) => `${each.name} (${each.in_flight} in flight)`).join(", ")],
          ]}
        />
      </section>
      {series.length > 1 && (
        <section class="panel">
          <h2>Calls</h2>
          <Chart
            label="Calls and failures in the last hour"
            times={series.map((point) => point.at_ms)}
            lines={[
              { name: "calls", color: "--accent", values: series.map((point) => point.count) },
              { name: "failures", color: "--bad", values: series.map((point) => point.errors) },
            ]}
            show={(value) => count(Math.round(value))}
          />
        </section>
      )}
    </div>
  );
}

function Triggers({ info }: { info: FunctionInfo }) {
  if (!info.registered_triggers.length)
    return <Empty title="Nothing triggers it">It can be invoked, by its id.</Empty>;
  return (
    <div class="stack">
      {info.registered_triggers.map((each) => (
        <section class="panel" key={each.id}>
          <h2>
            <span>
              <Badge tone="info">{each.trigger_type}</Badge>
            </span>
            <a href={to(["triggers", each.id])}>open</a>
          </h2>
          <Json value={each.config} />
        </section>
      ))}
    </div>
  );
}
