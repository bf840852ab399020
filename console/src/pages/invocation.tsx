/** One call: what went in, what came out, what went wrong; made again, as it was or edited. */
import { useState } from "preact/hooks";
import { get, path, post } from "../lib/api";
import { bytes, duration, exact } from "../lib/format";
import { useCall, useEvery } from "../lib/live";
import { to } from "../lib/router";
import type { InvocationDetail as Found } from "../lib/types";
import { Detail, useReadOnly } from "../shell";
import { FunctionLink, Facts, Id, Problem, Status, attempt } from "../ui/basics";
import { Dialog, confirm } from "../ui/dialog";
import { Json, JsonEditor, parsed } from "../ui/json";

export function InvocationDetail(props: { id: string; close: () => void; open: (id: string) => void }) {
  const { id, close, open } = props;
  const asked = useCall(id, (signal) => get<Found>(path`invocations/${id}`, {}, signal));
  const found = asked.data;
  const [editing, setEditing] = useState(false);
  const readOnly = useReadOnly();
  useEvery(5_000, () => {
    if (found?.status === "pending") asked.reload();
  });
  const replay = (body: object) =>
    attempt(
      async () => {
        const made = await post<{ invocation_id: string }>(path`invocations/${id}/replay`, body);
        open(made.invocation_id);
      },
      () => "It was called again",
    );
  const cancel = async () => {
    const text = "The caller gets invocation_stopped. The function itself runs on.";
    if (!(await confirm({ title: "End the waiting?", text, action: "End it" }))) return;
    await attempt(() => post(path`invocations/${id}/cancel`), () => "Nobody waits for it any more");
    asked.reload();
  };
  return (
    <Detail
      title={found ? <span class="mono">{found.function_id}</span> : "Invocation"}
      close={close}
    >
      {asked.error && <Problem text={asked.error} retry={asked.reload} />}
      {found && (
        <>
          <div class="row">
            <Status status={found.status} />
            {!readOnly && found.replayable && (
              <>
                <button type="button" onClick={() => replay({})}>
                  Replay
                </button>
                <button type="button" onClick={() => setEditing(true)}>
                  Edit and replay…
                </button>
              </>
            )}
            {!readOnly && found.status === "pending" && (
              <button type="button" class="danger" onClick={cancel}>
                Cancel…
              </button>
            )}
          </div>
          {found.error && (
            <>
              <h3>Error</h3>
              <div class="problem">
                <span>
                  <b class="mono">{found.error.code}</b> {found.error.message}
                </span>
              </div>
              {found.error.stacktrace && (
                <pre class="stacktrace" tabIndex={0}>
                  {found.error.stacktrace}
                </pre>
              )}
            </>
          )}
          <h3>Input{found.payload_bytes !== null && <span class="dim"> {bytes(found.payload_bytes)}</span>}</h3>
          <Value value={found.payload} beginning={found.payload_beginning} label="input" />
          {found.status === "ok" && (
            <>
              <h3>Result{found.result_bytes !== null && <span class="dim"> {bytes(found.result_bytes)}</span>}</h3>
              <Value value={found.result} beginning={found.result_beginning} label="result" />
            </>
          )}
          <h3>About</h3>
          <Facts
            facts={[
              ["function", <FunctionLink id={found.function_id} />],
              ["id", <Id id={found.invocation_id} chars={36} />],
              ["started", exact(found.started_at_ms)],
              ["duration", duration(found.duration_ms)],
              ["triggered by", found.trigger_type ?? "a call"],
              ["trace", found.trace_id && <Id id={found.trace_id} href={to(["traces", found.trace_id])} chars={16} />],
              ["worker", found.worker_id && <Id id={found.worker_id} href={to(["workers", found.worker_id])} />],
              ["caller", found.caller_worker_id && <Id id={found.caller_worker_id} href={to(["workers", found.caller_worker_id])} />],
              ["replay of", found.replay_of && <Id id={found.replay_of} href={to(["invocations", found.replay_of])} />],
            ]}
          />
        </>
      )}
      {editing && found && (
        <Edit
          found={found}
          close={() => setEditing(false)}
          send={async (input) => {
            if (await replay({ input })) setEditing(false);
          }}
        />
      )}
    </Detail>
  );
}

function Value({ value, beginning, label }: { value: any; beginning: string | undefined; label: string }) {
  if (beginning === undefined) return <Json value={value} label={label} />;
  return (
    <>
      <p class="hint">It was longer than what is kept; this is its beginning.</p>
      <pre class="stacktrace" tabIndex={0}>
        {beginning}
      </pre>
    </>
  );
}

/** What a caller gave, without what the engine put in. */
export function givenInput(payload: any): any {
  if (payload === null || typeof payload !== "object" || Array.isArray(payload)) return payload ?? {};
  const { _caller_worker_id: _, ...given } = payload;
  return given;
}

function Edit(props: { found: Found; close: () => void; send: (input: unknown) => void }) {
  const [text, setText] = useState(JSON.stringify(givenInput(props.found.payload), null, 2));
  const input = parsed(text);
  return (
    <Dialog label="Edit and replay" close={props.close} class="wide">
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          if ("value" in input) props.send(input.value);
        }}
      >
        <h2>
          Call <span class="mono">{props.found.function_id}</span> again
        </h2>
        <JsonEditor label="Input" text={text} set={setText} />
        <div class="row end">
          <button type="button" onClick={props.close}>
            Cancel
          </button>
          <button class="primary" disabled={"error" in input}>
            Replay
          </button>
        </div>
      </form>
    </Dialog>
  );
}
