/** Numbers and times as people read them. */

const UNITS: [number, Intl.RelativeTimeFormatUnit][] = [
  [86_400, "day"],
  [3_600, "hour"],
  [60, "minute"],
];
const WORDS = { day: "d", hour: "h", minute: "min" } as Record<string, string>;

/** `12 s ago`, `in 3 h`. */
export function relative(ms: number, now = Date.now()): string {
  const seconds = Math.round((now - ms) / 1000);
  const away = Math.abs(seconds);
  if (away < 2) return "now";
  const [size, unit] = UNITS.find(([size]) => away >= size) ?? [1, "second"];
  const text = `${Math.floor(away / size)} ${WORDS[unit] ?? "s"}`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

/** The date and time with milliseconds, where the reader is. */
export function exact(ms: number): string {
  const at = new Date(ms);
  const pad = (value: number, width = 2) => String(value).padStart(width, "0");
  const day = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
  return `${day} ${clock(ms)}`;
}

/** `13:05:09.042`. */
export function clock(ms: number): string {
  const at = new Date(ms);
  const pad = (value: number, width = 2) => String(value).padStart(width, "0");
  const time = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
  return `${time}.${pad(at.getMilliseconds(), 3)}`;
}

/** `850 µs`, `12.3 ms`, `1.20 s`, `2 min 5 s`. */
export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 100) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(2)} s`;
  const seconds = Math.floor(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
}

/** `512 B`, `1.5 KiB`. */
export function bytes(size: number | null | undefined): string {
  if (size === null || size === undefined) return "–";
  if (size < 1024) return `${size} B`;
  const power = Math.min(Math.floor(Math.log2(size) / 10), 4);
  return `${(size / 1024 ** power).toFixed(1)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

/** `12,345`. */
export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : value.toLocaleString("en-US");
}

/** `0.42`, `12.3`, `1,204`: per second. */
export function rate(value: number): string {
  if (value === 0) return "0";
  if (value < 10) return value.toFixed(2);
  return value < 100 ? value.toFixed(1) : count(Math.round(value));
}

/** `0 %`, `3.2 %`. */
export function percent(share: number): string {
  if (share === 0) return "0 %";
  return share < 0.1 ? `${(share * 100).toFixed(1)} %` : `${Math.round(share * 100)} %`;
}

/** One line of a value. */
export function oneLine(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value) ?? "";
}
