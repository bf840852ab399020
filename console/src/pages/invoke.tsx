/** Calls a function: a form made from its schema, or JSON; what came back; the same call as code. */
import { useMemo, useRef, useState } from "preact/hooks";
import { CallFailed, config, get, post } from "../lib/api";
import { useCell } from "../lib/cell";
import { duration } from "../lib/format";
import { to } from "../lib/router";
import { initial, kindOf, problems, resolved } from "../lib/schema";
import { curl, node, python, rust } from "../lib/snippets";
import type { FunctionInfo, Invocation, Json as Value } from "../lib/types";
import { useReadOnly } from "../shell";
import { Copy, Status, Tabs } from "../ui/basics";
import { SchemaForm } from "../ui/form";
import { Json, JsonEditor, parsed } from "../ui/json";

interface Outcome {
  result?: Value;
  error?: string;
  took: number;
  call: Invocation | undefined;
}

const WORKER_PORT = 49134;
const NEWEST = 5;

export function Invoke({ info }: { info: FunctionInfo }) {
  const schema = info.request_schema ?? null;
  const formable = schema !== null && kindOf(resolved(schema, schema)) === "object";
  const begin = useMemo(() => (schema ? initial(schema, schema) : {}), [info.function_id]);
  const [raw, setRaw] = useState(!formable);
  const [text, setText] = useState(() => JSON.stringify(begin, null, 2));
  const [busy, setBusy] = useState(false);
  const [tried, setTried] = useState(false);
  const [outcome, setOutcome] = useState<Outcome | null>(null);
  const readOnly = useReadOnly();
  const outcomeBox = useRef<HTMLElement>(null);
  const input = parsed(text);
  const wrong = "value" in input && schema ? problems(input.value, schema) : [];
  const unreadable = "error" in input;

  const send = async (event: Event) => {
    event.preventDefault();
    setTried(true);
    if (unreadable || busy) return;
    setBusy(true);
    const body = { function_id: info.function_id, input: input.value };
    const began = performance.now();
    const next: Outcome = { took: 0, call: undefined };
    try {
      next.result = await post<Value>("invoke", body);
    } catch (failed) {
      next.error = (failed as CallFailed).message;
    }
    next.took = performance.now() - began;
    next.call = await newest(info.function_id);
    setOutcome(next);
    setBusy(false);
    requestAnimationFrame(() => outcomeBox.current?.scrollIntoView({ block: "nearest" }));
  };

  return (
    <div class="grid">
      <form class="panel stack" onSubmit={send} noValidate>
        <h2>
          Input
          {formable && (
            <span class="row">
              <button type="button" class="chip" aria-pressed={!raw} onClick={() => setRaw(false)}>
                Form
              </button>
              <button type="button" class="chip" aria-pressed={raw} onClick={() => setRaw(true)}>
                JSON
              </button>
            </span>
          )}
        </h2>
        {raw || unreadable ? (
          <JsonEditor label="Input" text={text} set={setText} />
        ) : (
          <SchemaForm
            schema={schema!}
            value={input.value}
            set={(value) => setText(JSON.stringify(value ?? {}, null, 2))}
            problems={tried ? wrong : []}
          />
        )}
        {raw &&
          tried &&
          wrong.map((each) => (
            <p class="wrong" key={each.at + each.message}>
              {each.at || "the input"}: {each.message}
            </p>
          ))}
        <div class="row">
          <button class="primary" disabled={busy || readOnly || unreadable}>
            {busy ? "Running…" : "Invoke"}
          </button>
          <kbd>Ctrl Enter</kbd>
          {readOnly && <span class="dim">the console is read-only</span>}
          {tried && wrong.length > 0 && <span class="wrong">not as the schema says; sent all the same</span>}
        </div>
      </form>
      <section class="panel stack" ref={outcomeBox} aria-live="polite">
        <h2>Result</h2>
        {outcome === null ? <p class="dim">What it gives back is shown here.</p> : <Shown outcome={outcome} />}
      </section>
      {!unreadable && <Snippets id={info.function_id} input={input.value} />}
    </div>
  );
}

// `invoke` answers with the result alone; the call's record has the rest.
async function newest(function_id: string): Promise<Invocation | undefined> {
  try {
    const found = await get<{ invocations: Invocation[] }>("invocations", {
      function_id,
      state: "recent",
      limit: NEWEST,
    });
    return found.invocations.find((each) => each.caller_worker_id === null) ?? found.invocations[0];
  } catch {
    return undefined; // Only links are missing then.
  }
}

function Shown({ outcome }: { outcome: Outcome }) {
  return (
    <>
      <div class="row">
        <Status status={outcome.error === undefined ? "ok" : "error"} />
        <span class="dim">{duration(outcome.took)}, as seen from here</span>
        {outcome.call && <a href={to(["invocations", outcome.call.invocation_id])}>Invocation</a>}
        {outcome.call?.trace_id && <a href={to(["traces", outcome.call.trace_id])}>Trace</a>}
      </div>
      {outcome.error === undefined ? (
        <Json value={outcome.result} label="result" />
      ) : (
        <pre class="problem">{outcome.error}</pre>
      )}
    </>
  );
}

function Snippets({ id, input }: { id: string; input: Value }) {
  const [language, setLanguage] = useState("curl");
  const known = useCell(config);
  const where = {
    console: document.baseURI,
    engine: `ws://${location.hostname}:${WORKER_PORT}`,
  };
  const call = { function_id: id, input };
  const text = {
    curl: () => curl(call, where, known?.authRequired ?? false),
    node: () => node(call, where),
    python: () => python(call, where),
    rust: () => rust(call, where),
  }[language]!();
  return (
    <section class="panel">
      <h2>The same call as code</h2>
      <Tabs
        tabs={[["curl", "curl"], ["node", "Node"], ["python", "Python"], ["rust", "Rust"]]}
        now={language}
        set={setLanguage}
      />
      <div class="snippet">
        <pre>{text}</pre>
        <Copy text={text} label="Copy the code" />
      </div>
    </section>
  );
}
