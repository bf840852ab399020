/** Schedules: in words, with their next and last runs. */
import { get, path as at, post } from "../lib/api";
import { count, exact } from "../lib/format";
import { useCall, useEvery } from "../lib/live";
import { to, useFilter } from "../lib/router";
import type { CronJob } from "../lib/types";
import { Page, type PageProps, useReadOnly } from "../shell";
import { Ago, Badge, Empty, FunctionLink, Problem, Search, Status, attempt } from "../ui/basics";
import { confirm } from "../ui/dialog";
import { Json } from "../ui/json";

export function Cron({ menu }: PageProps) {
  const [text, setText] = useFilter("q");
  const asked = useCall("cron", (signal) => get<{ jobs: CronJob[] }>("cron", {}, signal));
  useEvery(10_000, asked.reload);
  const fits = (job: CronJob) =>
    `${job.function_id} ${job.expression} ${job.description}`.toLowerCase().includes(text.toLowerCase());
  const shown = (asked.data?.jobs ?? []).filter(fits).sort((a, b) => next(a) - next(b));
  return (
    <Page menu={menu} title={<>Cron <Badge>{count(shown.length)}</Badge></>} live>
      <div class="filters">
        <Search value={text} set={setText} hint="Filter by function or schedule" />
      </div>
      {asked.error && <Problem text={asked.error} retry={asked.reload} />}
      {asked.data && !shown.length && (
        <Empty title={text ? "No schedule fits" : "Nothing is scheduled"}>A trigger of type cron runs a function on a schedule.</Empty>
      )}
      <div class="stack">
        {shown.map((job) => (
          <Job key={job.id} job={job} done={asked.reload} />
        ))}
      </div>
    </Page>
  );
}

const next = (job: CronJob) => (job.next_runs[0] ? Date.parse(job.next_runs[0]) : Infinity);

function Job({ job, done }: { job: CronJob; done: () => void }) {
  const readOnly = useReadOnly();
  const run = async () => {
    const text = `${job.function_id} is called as if it were due.`;
    if (!(await confirm({ title: "Run it now?", text, action: "Run" }))) return;
    await attempt(() => post(at`cron/${job.id}/run`), () => "It was run");
    done();
  };
  return (
    <section class="panel">
      <h2>
        <span>
          <FunctionLink id={job.function_id} /> {job.running && <Badge tone="info">running</Badge>}{" "}
          {job.skipped > 0 && <Badge tone="warn">{job.skipped} skipped</Badge>}
        </span>
        {!readOnly && (
          <button type="button" onClick={run}>
            Run now…
          </button>
        )}
      </h2>
      <div class="row">
        <code>{job.expression}</code>
        <span>{job.description}</span>
        <a href={to(["invocations"], { function_id: job.function_id, trigger_type: "cron" })}>runs</a>
        <a href={to(["triggers", job.id])}>trigger</a>
      </div>
      <div class="row dim">
        next:
        {job.next_runs.slice(0, 5).map((at, index) => (
          <span key={at} title={exact(Date.parse(at))}>
            {index === 0 ? <Ago ms={Date.parse(at)} /> : exact(Date.parse(at)).slice(5, 16)}
          </span>
        ))}
      </div>
      {job.last_run && (
        <div class="row">
          <span class="dim">
            last: <Ago ms={Date.parse(job.last_run)} />
          </span>
          {job.last_status && <Status status={job.last_status} />}
          {job.last_error && <span class="bad-text">{job.last_error}</span>}
        </div>
      )}
      {job.recent_runs.length > 0 && (
        <details>
          <summary>{job.recent_runs.length} runs</summary>
          <Json value={job.recent_runs} label="runs" />
        </details>
      )}
    </section>
  );
}
