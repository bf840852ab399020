/** Dead letters of a queue: why they died; some or all of them given back, edited, or thrown away. */
import { useEffect, useMemo, useState } from "preact/hooks";
import { path as at, post } from "../lib/api";
import { bytes, count, oneLine } from "../lib/format";
import { useCall } from "../lib/live";
import type { DeadLetter } from "../lib/types";
import { useReadOnly } from "../shell";
import { Ago, Badge, Copy, Empty, Problem, attempt } from "../ui/basics";
import { Dialog, confirm } from "../ui/dialog";
import { Json, JsonEditor, parsed } from "../ui/json";

const SHOWN = 100;

interface Done {
  done: number;
  missing?: unknown;
}

/** Letters by what killed them, the most frequent first. */
export function byError(letters: DeadLetter[]): [string, DeadLetter[]][] {
  const groups = new Map<string, DeadLetter[]>();
  for (const letter of letters) {
    const why = reason(letter);
    groups.set(why, [...(groups.get(why) ?? []), letter]);
  }
  return [...groups].sort((a, b) => b[1].length - a[1].length);
}

/** The message of a letter's last error. */
export function reason(letter: DeadLetter): string {
  return letter.attempts?.at(-1)?.message ?? letter.code ?? letter.error;
}

export function DeadLetters({ name, depth }: { name: string; depth: number | undefined }) {
  const asked = useCall(name, (signal) =>
    post<{ messages: DeadLetter[] }>(at`dlq/${name}/messages`, { limit: SHOWN }, signal),
  );
  const [picked, setPicked] = useState<ReadonlySet<string>>(new Set());
  const [editing, setEditing] = useState<DeadLetter | null>(null);
  const readOnly = useReadOnly();
  useEffect(asked.reload, [depth]);
  const rows = asked.data?.messages ?? [];
  const groups = useMemo(() => byError(rows), [asked.data]);
  const chosen = rows.filter((row) => picked.has(row.id)).map((row) => row.id);

  const pick = (ids: string[], on: boolean) => {
    const next = new Set(picked);
    for (const id of ids) if (on) next.add(id);
      else next.delete(id);
    setPicked(next);
  };
  const bulk = async (action: "redrive" | "discard") => {
    const number = `${chosen.length} dead letter${chosen.length === 1 ? "" : "s"}`;
    if (action === "discard") {
      const text = `${number} of ${name} are lost for good.`;
      if (!(await confirm({ title: `Discard ${number}?`, text, action: "Discard", typed: name }))) return;
    }
    const did = action === "redrive" ? "back in the queue" : "discarded";
    await attempt(() => post<Done>(at`dlq/${name}/bulk`, { action, ids: chosen }), (found) => `${count(found.done)} ${did}`);
    setPicked(new Set());
    asked.reload();
  };
  const all = async () => {
    const text = `All ${count(depth)} dead letters of ${name} are delivered again.`;
    if (!(await confirm({ title: "Redrive all?", text, action: "Redrive all" }))) return;
    await attempt(() => post<{ redriven: number }>(at`dlq/${name}/redrive`), (found) => `${count(found.redriven)} back in the queue`);
    asked.reload();
  };

  if (asked.error) return <Problem text={asked.error} retry={asked.reload} />;
  if (asked.data && !rows.length) return <Empty title="Nothing died here" />;
  return (
    <>
      <div class="filters">
        {!readOnly && (
          <>
            <label class="row">
              <input
                type="checkbox"
                class="pick"
                checked={chosen.length === rows.length && rows.length > 0}
                onChange={(event) => pick(rows.map((row) => row.id), event.currentTarget.checked)}
              />
              all shown
            </label>
            <button type="button" disabled={!chosen.length} onClick={() => bulk("redrive")}>
              Redrive {chosen.length || ""}
            </button>
            <button type="button" class="danger" disabled={!chosen.length} onClick={() => bulk("discard")}>
              Discard {chosen.length || ""}…
            </button>
            <button type="button" onClick={all}>
              Redrive all…
            </button>
          </>
        )}
        {groups.slice(0, 5).map(([why, letters]) => (
          <button
            key={why}
            type="button"
            class="chip"
            title={`Choose those with: ${why}`}
            disabled={readOnly}
            onClick={() => pick(letters.map((letter) => letter.id), true)}
          >
            {why.slice(0, 40)} × {letters.length}
          </button>
        ))}
        <span class="dim">
          {count(rows.length)} of {count(depth)} shown
        </span>
      </div>
      <div class="stack">
        {rows.map((row) => (
          <section class="panel" key={row.id}>
            <div class="row">
              {!readOnly && (
                <input
                  type="checkbox"
                  class="pick"
                  aria-label={`Choose ${row.id}`}
                  checked={picked.has(row.id)}
                  onChange={(event) => pick([row.id], event.currentTarget.checked)}
                />
              )}
              <Badge tone="bad">{row.code ?? "failed"}</Badge>
              <span class="bad-text grow">{reason(row)}</span>
              {!readOnly && (
                <button type="button" onClick={() => setEditing(row)}>
                  Edit and redrive…
                </button>
              )}
            </div>
            <details>
              <summary>
                <span class="mono">{oneLine(row.payload).slice(0, 160)}</span>
              </summary>
              <Json value={row.payload} label="payload" />
              {row.stacktrace && (
                <pre class="stacktrace" tabIndex={0}>
                  {row.stacktrace}
                </pre>
              )}
            </details>
            <div class="dim">
              died <Ago ms={row.failed_at * 1000} /> after {row.retries} attempts; {row.reason}; {bytes(row.size_bytes)};{" "}
              <span class="id">{row.id}</span>
              <Copy text={row.id} label="Copy the id" />
            </div>
          </section>
        ))}
      </div>
      {editing && (
        <Edit
          letter={editing}
          close={() => setEditing(null)}
          send={async (payload) => {
            const address = at`dlq/${name}/messages/${editing.id}/edit-redrive`;
            if (await attempt(() => post(address, { payload }), () => "It is back in the queue")) setEditing(null);
            asked.reload();
          }}
        />
      )}
    </>
  );
}

function Edit(props: { letter: DeadLetter; close: () => void; send: (payload: unknown) => void }) {
  const [text, setText] = useState(JSON.stringify(props.letter.payload, null, 2));
  const found = parsed(text);
  return (
    <Dialog label="Edit and redrive" close={props.close} class="wide">
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          if ("value" in found) props.send(found.value);
        }}
      >
        <h2>Edit and redrive</h2>
        <p class="bad-text">{reason(props.letter)}</p>
        <JsonEditor label="Payload" text={text} set={setText} />
        <div class="row end">
          <button type="button" onClick={props.close}>
            Cancel
          </button>
          <button class="primary" disabled={"error" in found}>
            Redrive
          </button>
        </div>
      </form>
    </Dialog>
  );
}
