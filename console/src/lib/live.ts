/** Lists that follow the engine, and calls that are made again after a reconnect. */
import { useEffect, useRef, useState } from "preact/hooks";
import { CallFailed, loadConfig } from "./api";
import { Cell, useCell } from "./cell";
import { type Message, Push } from "./push";

export const push = new Push(
  () => {
    const address = new URL("ws/console", document.baseURI);
    address.protocol = address.protocol.replace("http", "ws");
    return address.href;
  },
  // A refused connection looks like a lost one; a 401 here leads to the login page.
  () => void loadConfig().catch(() => undefined),
);

export const paused = new Cell(false);
/** How many items wait for the end of a pause. */
export const held = new Cell(0);
const MAX_HELD = 1_000;

paused.watch(() => {
  if (!paused.value) held.set(0);
});

/** Calls `receive` with each message about `topic`; none while paused, all of them after it. */
export function useTopic(
  topic: string | null,
  receive: (message: Message) => void,
  turn = 0,
): void {
  const current = useRef(receive);
  current.current = receive;
  useEffect(() => {
    if (topic === null) return;
    let waiting: Message[] = [];
    const stop = push.subscribe(topic, (message) => {
      if (!paused.value) return current.current(message);
      const items = message.items?.length ?? 0;
      if (waiting.length >= MAX_HELD) waiting = [{ id: message.id, event: "gap", dropped: null }];
      else waiting.push(message);
      held.set(held.value + items);
    });
    const resumed = paused.watch(() => {
      if (paused.value) return;
      const all = waiting;
      waiting = [];
      for (const message of all) current.current(message);
    });
    return () => {
      stop();
      resumed();
    };
  }, [topic, turn]);
}

export interface Asked<T> {
  data: T | undefined;
  error: string | null;
  loading: boolean;
  reload: () => void;
}

/** Asks when `key` changes, after a reconnect, and when told. A null key asks nothing. */
export function useCall<T>(key: string | null, ask: (signal: AbortSignal) => Promise<T>): Asked<T> {
  const epoch = useCell(push.epoch);
  const [turn, setTurn] = useState(0);
  const [found, setFound] = useState<{ key: string | null; data?: T; error: string | null }>({
    key: null,
    error: null,
  });
  const [loading, setLoading] = useState(false);
  useEffect(() => {
    if (key === null) return;
    const abort = new AbortController();
    setLoading(true);
    ask(abort.signal).then(
      (data) => {
        if (abort.signal.aborted) return;
        setFound({ key, data, error: null });
        setLoading(false);
      },
      (failed: Error) => {
        if (abort.signal.aborted) return;
        // While the engine is away the last data stay; the banner says so.
        const away = failed instanceof CallFailed && failed.status === 0;
        setFound((was) => (away && was.key === key ? was : { key, error: failed.message }));
        setLoading(false);
      },
    );
    return () => abort.abort();
  }, [key, epoch, turn]);
  const mine = found.key === key;
  return {
    data: mine ? found.data : undefined,
    error: mine ? found.error : null,
    loading: loading || (!mine && key !== null),
    reload: () => setTurn((n) => n + 1),
  };
}

/** What a message makes of a list whose items have a key. */
export function applied<T>(rows: ReadonlyMap<string, T>, message: Message, keyName: string) {
  if (message.event === "snapshot")
    return new Map((message.items ?? []).map((item) => [String(item[keyName]), item as T]));
  const next = new Map(rows);
  for (const item of message.items ?? []) {
    const key = String(item[keyName]);
    if (message.event === "remove") next.delete(key);
    else next.set(key, { ...next.get(key), ...item } as T);
  }
  return next;
}

/** All items of a topic that begins with a snapshot; undefined until it is there. */
export function useRows<T>(topic: string | null, keyName: string): T[] | undefined {
  const [rows, setRows] = useState<ReadonlyMap<string, T>>();
  const [turn, setTurn] = useState(0);
  useTopic(
    topic,
    (message) => {
      // After a gap nobody knows what is right: begin anew, with a snapshot.
      if (message.event === "gap") setTurn((n) => n + 1);
      else if (message.event !== "error")
        setRows((was) => applied(was ?? new Map(), message, keyName));
    },
    turn,
  );
  return rows && [...rows.values()];
}

/** Calls `act` every `ms`, unless paused or hidden. */
export function useEvery(ms: number, act: () => void): void {
  const current = useRef(act);
  current.current = act;
  useEffect(() => {
    const timer = setInterval(() => {
      if (!paused.value && !document.hidden) current.current();
    }, ms);
    return () => clearInterval(timer);
  }, [ms]);
}
