/**
 * `/ws/console`: one connection for all that is watched.
 *
 * It comes back by itself, after 1 s, then 2 s, at most 10 s.  Subscriptions outlive it: after
 * a reconnect each asks for what it missed with the last `seq`, and one whose messages are
 * lost hears of a gap and asks its list anew.  `epoch` counts the reconnects.
 */
import { Cell } from "./cell";

export interface Message {
  id: string;
  seq?: number;
  event: "snapshot" | "add" | "update" | "remove" | "gap" | "error";
  items?: any[];
  dropped?: number | null;
  error?: { code: string; message: string };
}

export type Link =
  | { state: "connecting" }
  | { state: "open" }
  | { state: "away"; since: number; retryAt: number };

export const FIRST_WAIT_MS = 1_000;
export const MAX_WAIT_MS = 10_000;
const PING_MS = 20_000;
const SILENCE_MS = 45_000;

interface Subscription {
  topic: string;
  filter: unknown;
  since: number | undefined;
  receive: (message: Message) => void;
}

/** How long to wait before the nth attempt after a connection was lost (from 0). */
export function waitMs(attempt: number): number {
  return Math.min(FIRST_WAIT_MS * 2 ** attempt, MAX_WAIT_MS);
}

export class Push {
  readonly link = new Cell<Link>({ state: "connecting" });
  readonly epoch = new Cell(0);
  #subscriptions = new Map<string, Subscription>();
  #socket: WebSocket | null = null;
  #attempt = 0;
  #next = 1;
  #lostAt = 0;
  #heardAt = 0;
  #engineAway = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #beat: ReturnType<typeof setInterval> | undefined;

  constructor(
    private readonly address: () => string,
    private readonly onLost: () => void = () => {},
    private readonly open: (address: string) => WebSocket = (address) => new WebSocket(address),
  ) {}

  /** Connect now, also when the next attempt is later. */
  connect(): void {
    clearTimeout(this.#timer);
    if (this.#socket) return;
    const socket = (this.#socket = this.open(this.address()));
    socket.onopen = () => this.#opened();
    socket.onmessage = (event) => this.#received(String(event.data));
    socket.onclose = () => this.#closed(socket);
  }

  /** Watch a topic until what is returned is called. */
  subscribe(topic: string, receive: (message: Message) => void, filter?: unknown): () => void {
    const id = `s${this.#next++}`;
    this.#subscriptions.set(id, { topic, filter, since: undefined, receive });
    this.#ask(id);
    return () => {
      this.#subscriptions.delete(id);
      this.#send({ op: "unsubscribe", id });
    };
  }

  #ask(id: string): void {
    const { topic, filter, since } = this.#subscriptions.get(id)!;
    this.#send({ op: "subscribe", id, topic, filter, since });
  }

  #send(message: object): void {
    if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(message));
  }

  #opened(): void {
    this.#attempt = 0;
    this.#heardAt = Date.now();
    for (const id of this.#subscriptions.keys()) this.#ask(id);
    this.link.set({ state: "open" });
    if (this.#lostAt) this.epoch.set(this.epoch.value + 1);
    this.#lostAt = 0;
    this.#beat = setInterval(() => {
      if (Date.now() - this.#heardAt > SILENCE_MS) this.#socket?.close();
      else this.#send({ op: "ping" });
    }, PING_MS);
  }

  #received(text: string): void {
    this.#heardAt = Date.now();
    const message = JSON.parse(text);
    if (message.event === "engine") this.#engine(message.connected);
    const subscription = this.#subscriptions.get(message.id);
    if (!subscription) return;
    if (message.seq !== undefined) subscription.since = message.seq;
    subscription.receive(message);
  }

  #engine(connected: boolean): void {
    if (!connected) {
      this.#engineAway = true;
      this.link.set({ state: "away", since: Date.now(), retryAt: 0 });
    } else if (this.#engineAway) {
      this.#engineAway = false;
      this.link.set({ state: "open" });
      this.epoch.set(this.epoch.value + 1);
    }
  }

  #closed(socket: WebSocket): void {
    if (this.#socket !== socket) return;
    this.#socket = null;
    clearInterval(this.#beat);
    this.#lostAt ||= Date.now();
    const wait = waitMs(this.#attempt++);
    this.link.set({ state: "away", since: this.#lostAt, retryAt: Date.now() + wait });
    this.#timer = setTimeout(() => this.connect(), wait);
    this.onLost();
  }
}
