/** Light, dark, or as the system has it; kept in this browser. */
import { Cell } from "./cell";

export type Theme = "system" | "light" | "dark";
const KEY = "iii.console.theme";
export const THEMES: readonly Theme[] = ["system", "light", "dark"];

export const theme = new Cell<Theme>("system");

function show(): void {
  if (theme.value === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme.value;
}

/** Read what was chosen; from then on changes are shown and kept. */
export function startTheme(): void {
  const kept = localStorage.getItem(KEY) as Theme | null;
  if (kept && THEMES.includes(kept)) theme.set(kept);
  show();
  theme.watch(() => {
    localStorage.setItem(KEY, theme.value);
    show();
  });
}

/** The next one, for a button. */
export function nextTheme(): void {
  theme.set(THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length]!);
}
