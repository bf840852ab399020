/** All pages: name, address, what it needs of the engine. Their order is that of the side. */
import type { ComponentType } from "preact";
import type { ConsoleConfig } from "./lib/types";
import { Config } from "./pages/config";
import { Cron } from "./pages/cron";
import { Functions } from "./pages/functions";
import { Invocations } from "./pages/invocations";
import { Logs } from "./pages/logs";
import { Overview } from "./pages/overview";
import { Pubsub } from "./pages/pubsub";
import { Queues } from "./pages/queues";
import { States } from "./pages/states";
import { Traces } from "./pages/traces";
import { Triggers } from "./pages/triggers";
import { Workers } from "./pages/workers";
import type { PageProps } from "./shell";

export interface PageEntry {
  id: string;
  name: string;
  path: string[];
  group: string;
  body: ComponentType<PageProps>;
  /** Of `features` in `/api/config`; without it the page says which module it needs. */
  feature?: string;
}

export const GROUPS = ["", "Code", "Data", "Observe", "Engine"];

export const PAGES: PageEntry[] = [
  { id: "overview", name: "Overview", path: [], group: "", body: Overview },
  { id: "functions", name: "Functions", path: ["functions"], group: "Code", body: Functions },
  { id: "invocations", name: "Invocations", path: ["invocations"], group: "Code", body: Invocations },
  { id: "triggers", name: "Triggers", path: ["triggers"], group: "Code", body: Triggers },
  { id: "cron", name: "Cron", path: ["cron"], group: "Code", body: Cron, feature: "cron" },
  { id: "workers", name: "Workers", path: ["workers"], group: "Code", body: Workers },
  { id: "queues", name: "Queues", path: ["queues"], group: "Data", body: Queues, feature: "queues" },
  { id: "pubsub", name: "Pub/sub", path: ["pubsub"], group: "Data", body: Pubsub, feature: "pubsub" },
  { id: "states", name: "States", path: ["states"], group: "Data", body: States, feature: "state" },
  { id: "traces", name: "Traces", path: ["traces"], group: "Observe", body: Traces, feature: "traces" },
  { id: "logs", name: "Logs", path: ["logs"], group: "Observe", body: Logs, feature: "logs" },
  { id: "config", name: "Config & health", path: ["config"], group: "Engine", body: Config },
];

/** Those that this engine can fill. */
export function shownPages(config: ConsoleConfig | null): PageEntry[] {
  return PAGES.filter((page) => !page.feature || config?.features[page.feature] !== false);
}
