/** What the interface of docs/console.md answers, as far as the pages use it. */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type Schema = { [key: string]: any };

export interface ConsoleConfig {
  engineHost: string;
  enginePort: number | null;
  wsPort: number | null;
  consolePort: number;
  version: string;
  basePath: string;
  authRequired: boolean;
  readOnly: boolean;
  enableFlow: boolean;
  features: Record<string, boolean>;
  instance: { id: string; started_at_ms: number; version: string } | null;
}

export interface Failure {
  code: string;
  message: string;
  stacktrace?: string | null;
}

export interface FunctionRow {
  key?: string;
  function_id: string;
  description: string | null;
  request_format: Schema | null;
  response_format: Schema | null;
  metadata: Json;
  internal?: boolean;
}

export interface FunctionInfo {
  function_id: string;
  worker_name: string | null;
  description?: string | null;
  request_schema?: Schema | null;
  response_schema?: Schema | null;
  metadata?: Json;
  registered_triggers: { id: string; trigger_type: string; config: Json }[];
}

export interface SeriesPoint {
  at_ms: number;
  count: number;
  errors: number;
  p95_ms: number | null;
}

export interface FunctionStats {
  function_id: string;
  count: number;
  errors: number;
  rate_per_second: number;
  error_rate: number;
  avg_ms: number | null;
  p50_ms: number | null;
  p95_ms: number | null;
  p99_ms: number | null;
  in_flight: number;
  total: number;
  error_codes: Record<string, number>;
  workers: { worker_id: string | null; name: string; in_flight: number }[];
  series?: SeriesPoint[];
}

export interface TriggerRow {
  id: string;
  trigger_type: string;
  function_id: string;
  config: { [key: string]: Json };
  worker_name?: string | null;
  internal?: boolean;
}

export interface WorkerRow {
  id: string;
  name: string | null;
  runtime: string | null;
  version: string | null;
  os: string | null;
  ip_address: string;
  status: string;
  connected_at_ms: number;
  function_count: number;
  functions: string[];
  active_invocations: number;
  latest_metrics: Json;
  pid?: number | null;
  namespace?: string;
}

export interface Invocation {
  invocation_id: string;
  function_id: string;
  namespace: string | null;
  caller_worker_id: string | null;
  worker_id: string | null;
  started_at_ms: number;
  duration_ms: number | null;
  status: "pending" | "ok" | "error";
  error: Failure | null;
  trace_id: string | null;
  trigger_type: string | null;
  payload_preview: string | null;
  payload_bytes: number | null;
  result_preview: string | null;
  result_bytes: number | null;
  replay_of?: string | null;
}

export interface InvocationDetail extends Invocation {
  payload?: Json;
  payload_beginning?: string;
  result?: Json;
  result_beginning?: string;
  replayable: boolean;
}

export interface SpanEvent {
  name: string;
  timestamp_unix_nano?: number;
  attributes?: [string, string][];
}

export interface Span {
  trace_id: string;
  span_id: string;
  parent_span_id: string | null;
  name: string;
  kind: string;
  start_time_ms: number;
  end_time_ms?: number;
  duration_ms: number;
  status: string;
  status_description?: string;
  attributes: [string, string][];
  service_name: string;
  events: SpanEvent[];
  links: Json[];
  pending?: boolean;
  internal?: boolean;
  children?: Span[];
}

export interface LogRecord {
  timestamp_ms: number;
  timestamp_unix_nano_str: string;
  severity_number: number;
  severity_text: string;
  body: Json;
  attributes: { [key: string]: Json };
  trace_id: string | null;
  span_id: string | null;
  service_name: string;
  instrumentation_scope_name?: string;
}

export interface QueueRow {
  name: string;
  broker_type: string;
  subscriber_count: number;
  depth: number;
  consumer_count: number;
  dlq_depth: number;
  config: Json;
  delivered: number;
  failed: number;
  waiting: number;
  delayed: number;
  active: number;
  paused: boolean;
  waiting_for_worker: boolean;
}

export interface QueueMessage {
  id: string;
  payload: Json;
  state: string;
  attempts: number;
  created_at_ms: number;
  due_at_ms: number | null;
}

export interface DeadLetter {
  id: string;
  payload: Json;
  error: string;
  failed_at: number;
  retries: number;
  size_bytes: number;
  code?: string;
  stacktrace?: string | null;
  reason?: string;
  attempts?: { at_ms: number; code: string; message: string }[];
}

export interface Metrics {
  timestamp: number;
  invocations: { total: number; success: number; error: number; deferred: number };
  workers: { spawns: number; deaths: number; active: number; busy: number };
  performance: {
    avg_duration_ms: number | null;
    p50_duration_ms: number | null;
    p95_duration_ms: number | null;
    p99_duration_ms: number | null;
  };
  functions_count: number;
  triggers_count: number;
  uptime_seconds: number;
  memory_rss: number;
  connections: number;
}

export interface CronJob {
  id: string;
  function_id: string;
  expression: string;
  timezone: string;
  description: string;
  next_runs: string[];
  last_run: string | null;
  last_status: string | null;
  last_error: string | null;
  running: boolean;
  skipped: number;
  recent_runs: { [key: string]: Json }[];
}

export interface Topic {
  name: string;
  broker_type: string;
  subscriber_count: number;
  functions: string[];
  published: number;
  rate_per_second: number;
}

export interface ModuleRow {
  name: string;
  canonical: string;
  status: string;
  reason: string | null;
  adapter: string | null;
  adapters: string[];
  endpoint: { port: number; host: string | null; tls: boolean } | null;
  functions: number;
  implicit: boolean;
}

export interface StateEntry {
  key: string;
  value: Json;
  size_bytes: number;
}

export interface HttpRoute {
  method: string;
  path: string;
  function_id: string;
  trigger_ids: string[];
  condition_function_id: string | null;
  count: number;
  errors: number;
  p95_ms: number | null;
  last_status: number | null;
}
