/** States: scopes, their keys, and the value of one, edited with the old one beside it. */
import { useEffect, useState } from "preact/hooks";
import { get, path as at, post, remove } from "../lib/api";
import { bytes, count, oneLine } from "../lib/format";
import { useCall, useTopic } from "../lib/live";
import { go, to, useFilter, usePlace } from "../lib/router";
import type { Json as Value, StateEntry } from "../lib/types";
import { Detail, Page, type PageProps, useReadOnly } from "../shell";
import { Badge, Copy, Empty, Problem, Search, attempt } from "../ui/basics";
import { Dialog, confirm } from "../ui/dialog";
import { Json, JsonEditor, parsed } from "../ui/json";
import { type Column, Table } from "../ui/table";

interface Scope {
  id: string;
  count: number;
}

interface Keys {
  entries: StateEntry[];
  next_cursor: string | null;
  total: number;
}

const SHOWN = 500;
const SETTLE_MS = 1_000;

const SCOPES: Column<Scope>[] = [
  { id: "id", head: "Scope", cell: (row) => <a class="mono" href={to(["states", row.id])}>{row.id}</a> },
  { id: "count", head: "keys", right: true, width: "90px", cell: (row) => count(row.count) },
];

const KEYS: Column<StateEntry>[] = [
  { id: "key", head: "Key", cell: (row) => <span class="mono">{row.key}</span> },
  { id: "value", head: "Value", width: "minmax(0, 2fr)", cell: (row) => <span class="mono dim">{oneLine(row.value)}</span> },
  { id: "size", head: "Size", right: true, wide: true, width: "80px", cell: (row) => bytes(row.size_bytes) },
];

export function States({ menu }: PageProps) {
  const { path } = usePlace();
  return path[1] ? <ScopePage key={path[1]} menu={menu} scope={path[1]} /> : <Scopes menu={menu} />;
}

function Scopes({ menu }: PageProps) {
  const [text, setText] = useFilter("q");
  const asked = useCall("scopes", (signal) => get<{ groups: Scope[] }>("states/groups", {}, signal));
  const shown = (asked.data?.groups ?? []).filter((row) => row.id.toLowerCase().includes(text.toLowerCase()));
  return (
    <Page
      menu={menu}
      title={<>States <Badge>{count(shown.length)}</Badge></>}
      actions={<button type="button" onClick={asked.reload}>Reload</button>}
      fill
    >
      <div class="filters">
        <Search value={text} set={setText} hint="Filter by scope" />
      </div>
      {asked.error && <Problem text={asked.error} retry={asked.reload} />}
      {asked.data && !shown.length ? (
        <Empty title={text ? "No scope is called like this" : "Nothing is kept yet"}>state::set keeps a value under a scope and a key.</Empty>
      ) : (
        <Table label="Scopes" columns={SCOPES} rows={shown} rowKey={(row) => row.id} open={(row) => go(["states", row.id])} />
      )}
    </Page>
  );
}

function ScopePage({ menu, scope }: PageProps & { scope: string }) {
  const [prefix, setPrefix] = useFilter("prefix");
  const [key, setKey] = useFilter("key");
  const readOnly = useReadOnly();
  const [adding, setAdding] = useState(false);
  const address = at`states/${scope}`;
  const asked = useCall(`${scope} ${prefix}`, (signal) => get<Keys>(address, { prefix, limit: SHOWN }, signal));
  const [more, setMore] = useState<{ of: Keys | undefined; entries: StateEntry[]; next: string | null } | null>(null);
  const entries = [...(asked.data?.entries ?? []), ...(more?.of === asked.data ? (more?.entries ?? []) : [])];
  const next = more?.of === asked.data && more ? more.next : asked.data?.next_cursor;
  const [changed, setChanged] = useState(0);
  useTopic(`state:${scope}`, () => setChanged((n) => n + 1));
  useEffect(() => {
    if (!changed) return;
    const timer = setTimeout(asked.reload, SETTLE_MS);
    return () => clearTimeout(timer);
  }, [changed]);
  const load = () =>
    attempt(
      async () => {
        const found = await get<Keys>(address, { prefix, limit: SHOWN, cursor: next ?? undefined });
        setMore({ of: asked.data, entries: [...entries.slice(asked.data?.entries.length), ...found.entries], next: found.next_cursor });
        return found;
      },
      (found) => `${found.entries.length} more keys`,
    );
  const entry = entries.find((each) => each.key === key);
  return (
    <Page
      menu={menu}
      title={
        <>
          <a href={to(["states"])}>States</a> <span class="dim">/</span> <span class="mono">{scope}</span>{" "}
          <Badge>{count(asked.data?.total)}</Badge>
        </>
      }
      actions={!readOnly && <button type="button" onClick={() => setAdding(true)}>Add…</button>}
      live
      fill
    >
      <div class="filters">
        <Search value={prefix} set={setPrefix} hint="Keys that begin with" />
        {next && (
          <button type="button" onClick={load}>
            Load more
          </button>
        )}
      </div>
      {asked.error && <Problem text={asked.error} retry={asked.reload} />}
      <div class={key ? "split two" : "split"}>
        {asked.data && !entries.length ? (
          <Empty title={prefix ? "No key begins like this" : "The scope is empty"} />
        ) : (
          <Table
            label="Keys"
            columns={KEYS}
            rows={entries}
            rowKey={(row) => row.key}
            open={(row) => setKey(row.key)}
            selected={key}
          />
        )}
        {key && (
          <Detail title={<><span class="mono">{key}</span> <Copy text={key} label="Copy the key" /></>} close={() => setKey("")}>
            {entry ? (
              <Item
                key={key}
                scope={scope}
                entry={entry}
                changed={asked.reload}
                removed={() => {
                  setKey("");
                  asked.reload();
                }}
              />
            ) : (
              asked.data && <Empty title="There is no such key" />
            )}
          </Detail>
        )}
      </div>
      {adding && (
        <Add
          scope={scope}
          close={() => setAdding(false)}
          done={(made) => {
            setAdding(false);
            asked.reload();
            setKey(made);
          }}
        />
      )}
    </Page>
  );
}

const save = (scope: string, key: string, value: Value) =>
  attempt(() => post(at`states/${scope}/item`, { key, value }), () => `${key} was written`);

function Item(props: { scope: string; entry: StateEntry; changed: () => void; removed: () => void }) {
  const { scope, entry } = props;
  const [text, setText] = useState<string | null>(null);
  const readOnly = useReadOnly();
  const found = text === null ? null : parsed(text);
  const same = found && "value" in found && JSON.stringify(found.value) === JSON.stringify(entry.value);
  const drop = async () => {
    const what = `${entry.key} of ${scope} is lost.`;
    if (!(await confirm({ title: "Delete the key?", text: what, action: "Delete" }))) return;
    if (await attempt(() => remove(at`states/${scope}/item/${entry.key}`), () => `${entry.key} was deleted`)) props.removed();
  };
  if (text === null)
    return (
      <div class="stack">
        <Json value={entry.value} label="value" />
        {!readOnly && (
          <div class="row">
            <button type="button" onClick={() => setText(JSON.stringify(entry.value, null, 2))}>
              Edit
            </button>
            <button type="button" class="danger" onClick={drop}>
              Delete…
            </button>
          </div>
        )}
      </div>
    );
  return (
    <form
      class="stack"
      onSubmit={async (event) => {
        event.preventDefault();
        if (!found || !("value" in found) || same) return;
        if (await save(scope, entry.key, found.value)) {
          setText(null);
          props.changed();
        }
      }}
    >
      <div class="diff">
        <div>
          <h3>Now</h3>
          <Json value={entry.value} label="value as it is" />
        </div>
        <div>
          <h3>Then</h3>
          <JsonEditor label="New value" text={text} set={setText} />
        </div>
      </div>
      <div class="row end">
        <button type="button" onClick={() => setText(null)}>
          Cancel
        </button>
        <button class="primary" disabled={!found || "error" in found || !!same}>
          Save
        </button>
      </div>
    </form>
  );
}

function Add(props: { scope: string; close: () => void; done: (key: string) => void }) {
  const [key, setKey] = useState("");
  const [text, setText] = useState("{}");
  const found = parsed(text);
  return (
    <Dialog label="Add a key" close={props.close}>
      <form
        class="stack"
        onSubmit={async (event) => {
          event.preventDefault();
          if ("value" in found && key && (await save(props.scope, key, found.value))) props.done(key);
        }}
      >
        <h2>Add a key to {props.scope}</h2>
        <label>
          Key
          <input class="mono" autofocus value={key} onInput={(event) => setKey(event.currentTarget.value)} />
        </label>
        <JsonEditor label="Value" text={text} set={setText} />
        <div class="row end">
          <button type="button" onClick={props.close}>
            Cancel
          </button>
          <button class="primary" disabled={!key || "error" in found}>
            Add
          </button>
        </div>
      </form>
    </Dialog>
  );
}
