// An engine of its own with the shop's worker, on free ports; both can be ended and started again.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PYTHON = process.env.PYTHON ?? join(ROOT, ".venv/bin/python");
const READY_MS = 30_000;
const STEP_MS = 50;

export const later = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `look` gives something; fails after `ms`. */
export async function until(what, look, ms = READY_MS) {
  const end = Date.now() + ms;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await later(STEP_MS);
  }
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

export class Shop {
  /** `settings`: environment variables of tests/pages/engine.yaml. */
  static async open(settings = {}) {
    const shop = new Shop();
    shop.folder = mkdtempSync(join(tmpdir(), "iii-pages-"));
    const [port, http, stream, console] = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
    shop.url = `http://127.0.0.1:${console}/`;
    shop.engineUrl = `ws://127.0.0.1:${port}`;
    shop.environment = {
      PATH: process.env.PATH,
      PYTHONPATH: ROOT,
      SHOP_PORT: port,
      SHOP_HTTP_PORT: http,
      SHOP_STREAM_PORT: stream,
      SHOP_CONSOLE_PORT: console,
      ...settings,
    };
    shop.headers = settings.III_CONSOLE_TOKEN ? { authorization: `Bearer ${settings.III_CONSOLE_TOKEN}` } : {};
    await shop.startEngine();
    await shop.startWorker();
    return shop;
  }

  #spawn(name, args, more = {}) {
    const out = openSync(join(this.folder, `${name}.log`), "a");
    return spawn(PYTHON, args, {
      cwd: this.folder,
      env: { ...this.environment, ...more },
      stdio: ["ignore", out, out],
    });
  }

  async startEngine() {
    const config = fileURLToPath(new URL("engine.yaml", import.meta.url));
    this.engine = this.#spawn("engine", ["-m", "iii", "--config", config]);
    await until("the engine is ready", async () => {
      if (this.engine.exitCode !== null) throw new Error(this.log("engine"));
      return fetch(`${this.url}readyz`).then((answer) => answer.ok, () => false);
    });
  }

  async startWorker() {
    this.worker = this.#spawn("worker", ["-m", "tests.pages.worker"], { III_URL: this.engineUrl });
    await this.hasWorker();
  }

  hasWorker() {
    return until("the worker is there", async () => {
      const { functions } = await this.get("functions").catch(() => ({ functions: [] }));
      const { triggers } = await this.get("triggers").catch(() => ({ triggers: [] }));
      return functions.some((each) => each.function_id === "shop::nightly") && triggers.length >= 4;
    });
  }

  async stopEngine() {
    await ended(this.engine);
  }

  async close() {
    await ended(this.worker);
    await ended(this.engine);
    rmSync(this.folder, { recursive: true, force: true });
  }

  log(name) {
    return readFileSync(join(this.folder, `${name}.log`), "utf8").split("\n").slice(-30).join("\n");
  }

  async get(path) {
    return (await fetch(`${this.url}_console/${path}`, { headers: this.headers })).json();
  }

  async post(path, body = {}) {
    const init = { method: "POST", headers: this.headers, body: JSON.stringify(body) };
    return (await fetch(`${this.url}_console/${path}`, init)).json();
  }

  call(function_id, input = {}) {
    return this.post("invoke", { function_id, input });
  }
}

async function ended(child) {
  if (!child || child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGTERM");
  const killing = setTimeout(() => child.kill("SIGKILL"), 10_000);
  await once(child, "exit");
  clearTimeout(killing);
}
