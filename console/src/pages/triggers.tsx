/** Triggers: by type, what each binds to which function, and trying them. */
import { useMemo, useState } from "preact/hooks";
import { get, path as at, post } from "../lib/api";
import { count, duration } from "../lib/format";
import { useCall, useRows } from "../lib/live";
import { go, to, useFilter, usePlace } from "../lib/router";
import { matches, parse } from "../lib/search";
import type { HttpRoute, TriggerRow } from "../lib/types";
import { Detail, Page, type PageProps, useReadOnly } from "../shell";
import { Badge, Empty, Facts, FunctionLink, Id, Search, Status, attempt } from "../ui/basics";
import { Json, JsonEditor, parsed } from "../ui/json";
import { type Column, Table } from "../ui/table";

/** What a trigger waits for, in a line. */
export function waitsFor(row: TriggerRow): string {
  const config = row.config ?? {};
  if (typeof config["api_path"] === "string")
    return `${config["http_method"] ?? "GET"} /${config["api_path"].replace(/^\//, "")}`;
  const plain = config["topic"] ?? config["queue"] ?? config["expression"] ?? config["cron"];
  if (plain !== undefined) return String(plain);
  const text = JSON.stringify(config);
  return text === "{}" ? "everything" : text;
}

const COLUMNS: Column<TriggerRow>[] = [
  { id: "type", head: "Type", width: "110px", cell: (row) => <Badge tone="info">{row.trigger_type}</Badge> },
  { id: "waits", head: "Waits for", cell: (row) => <a class="mono" href={to(["triggers", row.id])}>{waitsFor(row)}</a> },
  { id: "function", head: "Function", cell: (row) => <FunctionLink id={row.function_id} /> },
  { id: "worker", head: "Registered by", wide: true, width: "140px", cell: (row) => <span class="dim">{row.worker_name}</span> },
];

export function Triggers({ menu }: PageProps) {
  const { path, query } = usePlace();
  const [text, setText] = useFilter("q");
  const [type, setType] = useFilter("type");
  const found = useRows<TriggerRow>("triggers", "id");
  const types = useMemo(() => {
    const counts = new Map<string, number>();
    for (const row of found ?? []) counts.set(row.trigger_type, (counts.get(row.trigger_type) ?? 0) + 1);
    return [...counts].sort((a, b) => b[1] - a[1]);
  }, [found]);
  const parsedText = parse(text);
  const shown = (found ?? [])
    .filter((row) => !type || row.trigger_type === type)
    .filter((row) => matches(parsedText, `${row.trigger_type} ${waitsFor(row)} ${row.function_id}`))
    .sort((a, b) => a.trigger_type.localeCompare(b.trigger_type) || waitsFor(a).localeCompare(waitsFor(b)));
  const one = found?.find((row) => row.id === path[1]);
  return (
    <Page menu={menu} title={<>Triggers <Badge>{count(shown.length)}</Badge></>} live fill>
      <div class="filters">
        <Search value={text} set={setText} hint="Filter by path, topic, function" />
        <button type="button" class="chip" aria-pressed={!type} onClick={() => setType("")}>
          all {count(found?.length ?? 0)}
        </button>
        {types.map(([each, number]) => (
          <button key={each} type="button" class="chip" aria-pressed={type === each} onClick={() => setType(each)}>
            {each} {number}
          </button>
        ))}
      </div>
      <div class={path[1] ? "split two" : "split"}>
        {found && !shown.length ? (
          <Empty title={text || type ? "No trigger fits" : "No worker has registered a trigger"} />
        ) : (
          <Table
            label="Triggers"
            columns={path[1] ? COLUMNS.filter((column) => column.id !== "worker") : COLUMNS}
            rows={shown}
            rowKey={(row) => row.id}
            open={(row) => go(["triggers", row.id], query)}
            {...(path[1] ? { selected: path[1] } : {})}
          />
        )}
        {path[1] && (
          <Detail title={one ? waitsFor(one) : "Trigger"} close={() => go(["triggers"], query)}>
            {one ? <Trigger key={one.id} row={one} /> : <Empty title={found ? "There is no such trigger" : "…"} />}
          </Detail>
        )}
      </div>
    </Page>
  );
}

function Trigger({ row }: { row: TriggerRow }) {
  const readOnly = useReadOnly();
  return (
    <>
      <Facts
        facts={[
          ["type", <Badge tone="info">{row.trigger_type}</Badge>],
          ["function", <FunctionLink id={row.function_id} />],
          ["condition", typeof row.config["condition_function_id"] === "string" && <FunctionLink id={row.config["condition_function_id"]} />],
          ["registered by", row.worker_name],
          ["id", <Id id={row.id} chars={36} />],
        ]}
      />
      <p class="row">
        <a href={to(["invocations"], { function_id: row.function_id, trigger_type: row.trigger_type })}>
          Calls it made
        </a>
        {row.trigger_type === "cron" && <a href={to(["cron"])}>Schedule</a>}
        {row.trigger_type === "queue" && typeof row.config["topic"] === "string" && (
          <a href={to(["queues", row.config["topic"]])}>Queue</a>
        )}
      </p>
      <h3>Configuration</h3>
      <Json value={row.config} label="configuration" />
      {row.trigger_type === "http" && <HttpFigures row={row} />}
      {!readOnly && row.trigger_type === "http" && <HttpTester row={row} />}
      {!readOnly && ["subscribe", "queue"].includes(row.trigger_type) && typeof row.config["topic"] === "string" && (
        <Publish topic={row.config["topic"]} kind={row.trigger_type === "queue" ? "queue" : "pubsub"} />
      )}
    </>
  );
}

function HttpFigures({ row }: { row: TriggerRow }) {
  const routes = useCall(row.id, (signal) => get<{ routes: HttpRoute[] }>("http/routes", {}, signal));
  const route = routes.data?.routes.find((each) => each.trigger_ids.includes(row.id));
  if (!route) return null;
  return (
    <>
      <h3>Requests</h3>
      <Facts
        facts={[
          ["answered", count(route.count)],
          ["failed", count(route.errors)],
          ["p95", duration(route.p95_ms)],
          ["last status", route.last_status],
        ]}
      />
    </>
  );
}

interface Answered {
  status: number;
  headers: unknown;
  body: string;
  encoding: string;
  truncated: boolean;
  duration_ms: number;
}

function HttpTester({ row }: { row: TriggerRow }) {
  const method = String(row.config["http_method"] ?? "GET").toUpperCase();
  const [path, setPath] = useState(`/${String(row.config["api_path"] ?? "").replace(/^\//, "")}`);
  const [body, setBody] = useState(["GET", "HEAD", "DELETE"].includes(method) ? "" : "{}");
  const [answer, setAnswer] = useState<Answered | null>(null);
  const given = body.trim() ? parsed(body) : { value: undefined };
  const send = (event: Event) => {
    event.preventDefault();
    if ("error" in given) return;
    const json = given.value !== undefined;
    const request = {
      method,
      path,
      ...(json && { headers: { "content-type": "application/json" }, body: given.value }),
    };
    void attempt(
      async () => {
        const found = await post<Answered>("http/send", request);
        setAnswer(found);
        return found;
      },
      (found) => `It answered with ${found.status}`,
    );
  };
  return (
    <form class="stack" onSubmit={send}>
      <h3>Try it</h3>
      <div class="row">
        <Badge>{method}</Badge>
        <input class="grow mono" aria-label="Path and query" value={path} onInput={(event) => setPath(event.currentTarget.value)} />
      </div>
      {!["GET", "HEAD"].includes(method) && <JsonEditor label="Body" text={body} set={setBody} rows={6} />}
      <div class="row">
        <button class="primary" disabled={"error" in given}>
          Send
        </button>
        <span class="dim">the engine sends it to its own HTTP port</span>
      </div>
      {answer && (
        <div class="stack" aria-live="polite">
          <div class="row">
            <Status status={answer.status < 400 ? "ok" : "error"} /> {answer.status}
            <span class="dim">{duration(answer.duration_ms)}</span>
          </div>
          <Body answer={answer} />
          <details>
            <summary>Headers</summary>
            <Json value={answer.headers as any} label="headers" />
          </details>
        </div>
      )}
    </form>
  );
}

function Body({ answer }: { answer: Answered }) {
  const found = answer.encoding === "utf-8" ? parsed(answer.body) : { error: "" };
  if ("value" in found) return <Json value={found.value} label="body" />;
  return <pre class="stacktrace">{answer.body || "(empty)"}</pre>;
}

/** Publishes to a topic or queue. */
export function Publish({ topic, kind }: { topic: string; kind: "queue" | "pubsub" }) {
  const [text, setText] = useState("{}");
  const found = parsed(text);
  const send = (event: Event) => {
    event.preventDefault();
    if ("error" in found) return;
    const address = kind === "queue" ? at`queues/${topic}/publish` : at`pubsub/${topic}/publish`;
    void attempt(() => post(address, { data: found.value }), () => `Published to ${topic}`);
  };
  return (
    <form class="stack" onSubmit={send}>
      <h3>Publish to {topic}</h3>
      <JsonEditor label="Message" text={text} set={setText} rows={5} />
      <div class="row">
        <button class="primary" disabled={"error" in found}>
          Publish
        </button>
        <kbd>Ctrl Enter</kbd>
      </div>
    </form>
  );
}
