/** The configuration as it holds, and how the modules are. */
import { get } from "../lib/api";
import { config as known } from "../lib/api";
import { useCell } from "../lib/cell";
import { exact } from "../lib/format";
import { useCall, useEvery } from "../lib/live";
import { useFilter } from "../lib/router";
import type { Json as Value, ModuleRow } from "../lib/types";
import { Page, type PageProps } from "../shell";
import { Ago, Badge, Facts, Problem, Tabs } from "../ui/basics";
import { Json } from "../ui/json";

interface Health {
  status: string;
  components: Record<string, { status: string; details: Value }>;
}

interface Effective {
  source: string | null;
  settings: { [key: string]: Value };
  workers: Value[];
  modules: { name: string; canonical: string; config: Value; sources?: Value; source: string | null; line?: number }[];
  warnings: Value[];
}

export function Config({ menu }: PageProps) {
  const [tab, setTab] = useFilter("tab", "health");
  return (
    <Page menu={menu} title="Config & health">
      <Tabs tabs={[["health", "Health"], ["config", "Configuration"]]} now={tab} set={setTab} />
      {tab === "health" ? <HealthTab /> : <ConfigTab />}
    </Page>
  );
}

function HealthTab() {
  const asked = useCall("modules", (signal) =>
    get<{ modules: ModuleRow[]; health: Health | null }>("modules", {}, signal),
  );
  useEvery(10_000, asked.reload);
  const about = useCell(known);
  if (asked.error) return <Problem text={asked.error} retry={asked.reload} />;
  const health = asked.data?.health;
  return (
    <div class="grid">
      <section class="panel">
        <h2>Engine</h2>
        <Facts
          facts={[
            ["version", about?.version],
            ["started", about?.instance && <><Ago ms={about.instance.started_at_ms} /> ({exact(about.instance.started_at_ms)})</>],
            ["instance", about?.instance && <span class="mono">{about.instance.id}</span>],
            ["health", health && <Badge tone={health.status === "healthy" ? "good" : "bad"}>{health.status}</Badge>],
            ["telemetry", "Nothing is sent to anybody, but to the collectors you configure."],
          ]}
        />
      </section>
      <section class="panel">
        <h2>Parts</h2>
        <table class="plain-table">
          <tbody>
            {Object.entries(health?.components ?? {}).map(([name, part]) => (
              <tr key={name}>
                <td>{name}</td>
                <td>
                  <Badge tone={part.status === "healthy" ? "good" : part.status === "disabled" ? "plain" : "bad"}>{part.status}</Badge>
                </td>
                <td class="mono dim">{part.details && JSON.stringify(part.details)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
      <section class="panel">
        <h2>Modules</h2>
        <table class="plain-table">
          <thead>
            <tr>
              <th>Module</th>
              <th>Status</th>
              <th>Adapter</th>
              <th>Port</th>
              <th class="right">functions</th>
            </tr>
          </thead>
          <tbody>
            {asked.data?.modules.map((row) => (
              <tr key={row.name}>
                <td title={row.canonical}>
                  {row.name} {row.implicit && <Badge>by default</Badge>}
                </td>
                <td>
                  <Badge tone={row.status === "running" ? "good" : "bad"}>{row.status}</Badge> {row.reason}
                </td>
                <td>{row.adapter}</td>
                <td class="mono nowrap">
                  {row.endpoint && `${row.endpoint.host ?? "loopback"}:${row.endpoint.port}${row.endpoint.tls ? " TLS" : ""}`}
                </td>
                <td class="right">{row.functions}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
    </div>
  );
}

function ConfigTab() {
  const asked = useCall("config", (signal) => get<Effective>("config", {}, signal));
  if (asked.error) return <Problem text={asked.error} retry={asked.reload} />;
  const found = asked.data;
  if (!found) return null;
  return (
    <div class="stack">
      <p>
        {found.source ? <>From <code>{found.source}</code></> : "There is no file: these are the defaults."}{" "}
        <span class="dim">Values of secret keys are masked.</span>
      </p>
      {found.warnings.map((warning, at) => (
        <div class="problem" key={at}>
          {typeof warning === "string" ? warning : JSON.stringify(warning)}
        </div>
      ))}
      <div class="grid">
        <section class="panel">
          <h2>Engine</h2>
          <Json value={found.settings} label="settings" />
        </section>
        <section class="panel">
          <h2>Worker ports</h2>
          <Json value={found.workers} label="worker ports" />
        </section>
        {found.modules.map((module) => (
          <section class="panel" key={module.name}>
            <h2 title={module.canonical}>{module.name}</h2>
            <Json value={module.config} label={module.name} />
            {module.sources && (
              <details>
                <summary class="dim">where each value is from</summary>
                <Json value={module.sources} label="sources" />
              </details>
            )}
          </section>
        ))}
      </div>
    </div>
  );
}
