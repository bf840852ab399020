/** Which page is shown: the address below the console's base, and its query. */
import { Cell, useCell } from "./cell";

export interface Place {
  /** Decoded segments below the base. */
  path: string[];
  query: Record<string, string>;
}

const base = () => new URL(document.baseURI).pathname;

/** The address of a page, relative to the base. */
export function to(path: string[], query: Record<string, string | undefined> = {}): string {
  const given = Object.entries(query).filter((pair): pair is [string, string] => !!pair[1]);
  const search = new URLSearchParams(given).toString();
  const joined = path.map((segment) => encodeURIComponent(segment)).join("/");
  return (joined || "./") + (search ? `?${search}` : "");
}

/** What an address of the browser means. */
export function read(pathname: string, search: string, under = base()): Place {
  const below = pathname.startsWith(under) ? pathname.slice(under.length) : "";
  return {
    path: below.split("/").filter(Boolean).map(decoded),
    query: Object.fromEntries(new URLSearchParams(search)),
  };
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

export const place = new Cell<Place>({ path: [], query: {} });

const update = () => place.set(read(location.pathname, location.search));

/** Go to a page. `replace`: without a step in the history, for filters that are typed. */
export function go(
  path: string[],
  query: Record<string, string | undefined> = {},
  replace = false,
): void {
  const address = to(path, query);
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  update();
}

/** Follow the browser's buttons, and take clicks on links of our own. */
export function start(): void {
  update();
  addEventListener("popstate", update);
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey)
      return;
    const link = (event.target as Element).closest?.("a");
    if (!link || link.target || link.hasAttribute("download")) return;
    const address = new URL(link.href, document.baseURI);
    if (address.origin !== location.origin || !address.pathname.startsWith(base())) return;
    if (/\/(_console|api|login|logout|healthz|readyz)(\/|$)/.test(address.pathname)) return;
    event.preventDefault();
    history.pushState(null, "", address.href);
    update();
  });
}

export const usePlace = () => useCell(place);

/** A filter that the address keeps: its value, and how it is set. */
export function useFilter(name: string, fallback = ""): [string, (value: string) => void] {
  const { path, query } = usePlace();
  const set = (value: string) => {
    const now = place.value.query;
    go(path, { ...now, [name]: value === fallback ? undefined : value }, true);
  };
  return [query[name] ?? fallback, set];
}
