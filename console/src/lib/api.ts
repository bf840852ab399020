/** Calls of the console's interface. */
import { Cell } from "./cell";
import type { ConsoleConfig } from "./types";

/** A call was refused or failed. `status` 0: there was no answer at all. */
export class CallFailed extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
    this.name = "CallFailed";
  }
}

export const config = new Cell<ConsoleConfig | null>(null);

async function send(method: string, address: string, body?: unknown, signal?: AbortSignal) {
  const init: RequestInit = { method, headers: { accept: "application/json" } };
  if (signal) init.signal = signal;
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { ...init.headers, "content-type": "application/json" };
  }
  let answer: Response;
  try {
    answer = await fetch(new URL(address, document.baseURI), init);
  } catch (failed) {
    if (signal?.aborted) throw failed;
    throw new CallFailed(0, "the engine does not answer");
  }
  const text = await answer.text();
  if (answer.status === 401) location.reload(); // The index page is the login page now.
  let value: any;
  try {
    value = text ? JSON.parse(text) : null;
  } catch {
    throw new CallFailed(answer.status, `no JSON came back (status ${answer.status})`);
  }
  if (!answer.ok) {
    const why = value?.error?.message ?? value?.error ?? `status ${answer.status}`;
    throw new CallFailed(answer.status, String(why));
  }
  return value;
}

/** A path of the interface; values are escaped. `` path`queues/${topic}` `` */
export function path(strings: TemplateStringsArray, ...values: string[]): string {
  return strings.reduce((all, part, at) => all + encodeURIComponent(values[at - 1]!) + part);
}

/** `GET _console/<path>?<query>`. */
export function get<T>(
  below: string,
  query: Record<string, string | number | undefined> = {},
  signal?: AbortSignal,
): Promise<T> {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  const search = new URLSearchParams(given.map(([key, value]) => [key, String(value)]));
  return send("GET", `_console/${below}${given.length ? `?${search}` : ""}`, undefined, signal);
}

/** `POST _console/<path>`. */
export function post<T>(below: string, body: unknown = {}, signal?: AbortSignal): Promise<T> {
  return send("POST", `_console/${below}`, body, signal);
}

/** `DELETE _console/<path>`. */
export function remove<T>(below: string): Promise<T> {
  return send("DELETE", `_console/${below}`);
}

/** End the session; what is shown then is the login page. */
export async function logOut(): Promise<void> {
  // A form would send `Origin: null`, for pages here have no referrer; a script's request does not.
  const answer = await fetch(new URL("logout", document.baseURI), { method: "POST", redirect: "manual" });
  if (answer.status >= 400) throw new CallFailed(answer.status, "the session could not be ended");
  location.reload();
}

/** Read `/api/config` into `config`. */
export async function loadConfig(): Promise<ConsoleConfig> {
  const found: ConsoleConfig = await send("GET", "api/config");
  config.set(found);
  return found;
}
