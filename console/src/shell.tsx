/** What is around the pages: the side with all of them, the banner, a page's head. */
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { config, logOut } from "./lib/api";
import { useCell } from "./lib/cell";
import { held, paused, push, useRows } from "./lib/live";
import { to } from "./lib/router";
import { nextTheme, theme } from "./lib/theme";
import type { QueueRow, WorkerRow } from "./lib/types";
import { GROUPS, shownPages } from "./pages";
import { attempt } from "./ui/basics";

/** Navigation, with numbers that tell where something is. */
export function Sidebar({ now, search }: { now: string; search: () => void }) {
  const known = useCell(config);
  const workers = useRows<WorkerRow>("workers", "id");
  const queues = useRows<QueueRow>(known?.features["queues"] ? "queues" : null, "name");
  const dead = queues?.reduce((sum, queue) => sum + queue.dlq_depth, 0) ?? 0;
  const numbers: Record<string, [text: string, tone: string, title: string] | undefined> = {
    workers: workers && [String(workers.length), "", `${workers.length} connected`],
    queues: dead ? [String(dead), "bad", `${dead} dead letters`] : undefined,
  };
  const chosen = useCell(theme);
  return (
    <aside class="side" aria-label="Navigation">
      <a class="brand" href={to([])}>
        <svg width="16" height="16" viewBox="0 0 16 16" aria-hidden="true">
          <rect x="1" y="2" width="3" height="12" rx="1" />
          <rect x="6.5" y="2" width="3" height="12" rx="1" />
          <rect x="12" y="2" width="3" height="12" rx="1" />
        </svg>
        iii console
      </a>
      <nav aria-label="Pages">
        {GROUPS.map((group) => (
          <div key={group}>
            {group && <h2>{group}</h2>}
            {shownPages(known)
              .filter((page) => page.group === group)
              .map((page) => {
                const number = numbers[page.id];
                return (
                  <a key={page.id} href={to(page.path)} aria-current={page.id === now ? "page" : undefined}>
                    {page.name}
                    {number && (
                      <span class={`number ${number[1]}`} title={number[2]}>
                        {number[0]}
                      </span>
                    )}
                  </a>
                );
              })}
          </div>
        ))}
      </nav>
      <footer>
        <div class="row">
          <LinkState />
          {known?.readOnly && <span class="badge warn">read-only</span>}
        </div>
        <div class="row">
          <button type="button" onClick={search} title="Search everything (Ctrl+K)">
            Search <kbd>Ctrl K</kbd>
          </button>
          <button type="button" onClick={nextTheme} title={`Theme: ${chosen}; the next one`}>
            {{ system: "◐ auto", light: "☀ light", dark: "☾ dark" }[chosen]}
          </button>
        </div>
        {known?.authRequired && (
          <button type="button" onClick={() => void attempt(logOut, () => "Logged out")}>
            Log out
          </button>
        )}
        <div class="dim">iii {known?.version ?? ""}</div>
      </footer>
    </aside>
  );
}

function LinkState() {
  const link = useCell(push.link);
  const words = { connecting: "connecting", open: "connected", away: "engine away" };
  return (
    <span role="status">
      <span class={`dot ${link.state}`} />
      {words[link.state]}
    </span>
  );
}

/** Says that the engine is away, and when the next attempt is. */
export function Banner() {
  const link = useCell(push.link);
  const [, tick] = useState(0);
  useEffect(() => {
    if (link.state !== "away") return;
    const timer = setInterval(() => tick((n) => n + 1), 500);
    return () => clearInterval(timer);
  }, [link.state]);
  if (link.state !== "away") return null;
  const wait = Math.max(0, Math.ceil((link.retryAt - Date.now()) / 1000));
  return (
    <div class="banner" role="alert">
      <strong>The engine is away</strong>
      <span>
        since {new Date(link.since).toLocaleTimeString()}
        {link.retryAt ? `; next attempt in ${wait} s.` : "."} What you see is as it was.
      </span>
      {link.retryAt > 0 && (
        <button type="button" onClick={() => push.connect()}>
          Try now
        </button>
      )}
    </div>
  );
}

/** Tells screen readers when the engine comes back. */
export function Connection() {
  const epoch = useCell(push.epoch);
  return (
    <div class="hidden" role="status">
      {epoch > 0 && "connected again"}
    </div>
  );
}

/** Whether what happens is shown as it happens. */
export function Live() {
  const still = useCell(paused);
  const waiting = useCell(held);
  const away = useCell(push.link).state !== "open";
  return (
    <button
      type="button"
      aria-pressed={still}
      title={still ? "Show what happens" : "Keep what is shown as it is"}
      onClick={() => paused.set(!still)}
    >
      <span class={`dot ${away ? "away" : still ? "" : "open"}`} />
      {still ? `paused${waiting ? ` (${waiting} new)` : ""}` : "live"}
    </button>
  );
}

export interface PageProps {
  /** Opens the navigation on narrow screens. */
  menu: () => void;
}

/** A page with its head. `fill`: its content scrolls by itself. */
export function Page(props: {
  menu: () => void;
  title: ComponentChildren;
  actions?: ComponentChildren;
  live?: boolean;
  fill?: boolean;
  children: ComponentChildren;
}) {
  return (
    <>
      <header class="top">
        <button type="button" class="menu" aria-label="Navigation" onClick={props.menu}>
          ☰
        </button>
        <h1>{props.title}</h1>
        <div class="actions">
          {props.actions}
          {props.live && <Live />}
        </div>
      </header>
      <main class={props.fill ? "content fill" : "content"}>{props.children}</main>
    </>
  );
}

/** A detail beside a list. */
export function Detail(props: { title: ComponentChildren; close: () => void; children: ComponentChildren }) {
  return (
    <section class="detail" aria-label="Detail" tabIndex={0}>
      <header>
        <h2 class="grow">{props.title}</h2>
        <button type="button" class="quiet" data-close aria-label="Close the detail (Esc)" onClick={props.close}>
          ✕
        </button>
      </header>
      {props.children}
    </section>
  );
}

/** Whether changes are refused. */
export const useReadOnly = () => useCell(config)?.readOnly ?? false;
