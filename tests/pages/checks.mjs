// What a person does with the console, and what has to be seen then.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { until } from "./shop.mjs";

const AXE = readFileSync(new URL("../../console/node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const PAGES = [
  "", "functions", "functions/shop%3A%3Aplace", "invocations", "triggers", "cron", "workers",
  "queues", "queues/mail?tab=dead", "pubsub/sweep", "states", "states/orders", "traces", "logs", "config",
];
const NARROW = { viewport: { width: 360, height: 740 } };
const TOKEN = "open sesame";

const see = (page, text) => page.getByText(text).first().waitFor();
const press = (page, name) => page.getByRole("button", { name, exact: true }).first().click();

async function dead(shop, number) {
  const before = (await shop.get("queues/mail")).stats.dlq_depth;
  for (let each = 0; each < number; each++)
    await shop.post("queues/mail/publish", { data: { item: "cup", count: 6 + each } });
  await until("they are dead", async () => (await shop.get("queues/mail")).stats.dlq_depth >= before + number);
}

export const CHECKS = [
  {
    name: "a failed call is found, read, replayed with another input, and succeeds",
    async run({ page, shop, open }) {
      await shop.call("payments::retry", { attempt: 1 });
      await open("invocations?status=error");
      await page.getByRole("row").filter({ hasText: "payments::retry" }).first().click({ position: { x: 60, y: 15 } });
      await see(page, "not ok yet");
      await see(page, "Traceback");
      await press(page, "Edit and replay…");
      await page.getByRole("textbox", { name: "Input" }).fill('{"ok": true}');
      await page.getByRole("dialog").getByRole("button", { name: "Replay" }).click();
      await page.locator(".detail .badge.good").waitFor();
      await see(page, "replay of");
    },
  },
  {
    name: "06.39: the form has one input for a property, with what is required marked, and invokes",
    async run({ page, open }) {
      await open("functions/shop%3A%3Aplace");
      await page.getByLabel(/^count/).fill("3");
      assert.equal(await page.locator(".field .required").count(), 2);
      for (const name of ["item", "gift", "note", "street", "zip", "tags"])
        assert.equal(await page.getByLabel(new RegExp(`^${name}`)).or(page.locator(`label:text-matches("^${name}")`)).count() > 0, true, name);
      await press(page, "Invoke");
      await see(page, "total");
      await page.getByRole("link", { name: "Trace", exact: true }).click();
      await page.getByRole("table", { name: "Spans" }).getByText("shop::price").first().waitFor();
    },
  },
  {
    name: "06.40: with the keyboard alone a function is chosen and invoked",
    async run({ page, open }) {
      await open();
      await see(page, "connected");
      await page.keyboard.press("Control+k");
      await page.keyboard.type("shop::price");
      await page.locator('[role=option][aria-selected=true]:has-text("shop::price")').waitFor();
      await page.keyboard.press("Enter");
      await page.getByLabel(/^count/).focus();
      await page.keyboard.press("Enter");
      await see(page, "total");
    },
  },
  {
    name: "06.36: a trace has its spans nested",
    async run({ page, shop, open }) {
      await shop.call("shop::place", { item: "tea", count: 2 });
      const { invocations } = await shop.get("invocations?function_id=shop::place&limit=1");
      await open(`traces/${invocations[0].trace_id}`);
      const spans = page.getByRole("table", { name: "Spans" });
      const left = async (name) => (await spans.locator(".service", { hasText: name }).first().boundingBox()).x;
      await spans.getByText("shop::price").first().waitFor();
      assert.ok((await left("shop::price")) > (await left("shop::place")));
      await spans.getByRole("button").first().click();
      assert.equal(await spans.locator(".tbody .tr").count(), 1);
    },
  },
  {
    name: "06.37: a log line leads to its trace, and the trace has the line",
    async run({ page, shop, open }) {
      await shop.call("shop::place", { item: "cup", count: 1 });
      await open("logs?q=taken");
      await page.locator(".log a").first().click();
      await page.waitForURL(/traces\//);
      await see(page, "an order was taken");
    },
  },
  {
    name: "06.38: markup in data is text",
    async run({ page, shop, open }) {
      await shop.call("payments::charge", {});
      await open("logs?q=about");
      await page.locator(".log-body", { hasText: "<script>alert(1)</script>" }).first().waitFor();
    },
  },
  {
    name: "logs come as they are written; a pause holds them",
    async run({ page, shop, open }) {
      await open("logs?q=hello");
      await see(page, "live");
      await until("a line is there", async () => {
        await shop.call("engine::log::info", { message: "hello one" });
        return page.getByText("hello one").first().isVisible();
      });
      await press(page, "live");
      await shop.call("engine::log::info", { message: "hello two" });
      await page.getByRole("button", { name: /paused \(\d+ new\)/ }).waitFor();
      assert.equal(await page.getByText("hello two").count(), 0);
      await page.getByRole("button", { name: /paused/ }).click();
      await see(page, "hello two");
    },
  },
  {
    name: "three of five dead letters are chosen and redriven",
    async run({ page, shop, open }) {
      await dead(shop, 5);
      const posted = page.waitForRequest((request) => request.url().endsWith("/bulk"));
      await open("queues/mail?tab=dead");
      await page.locator(".panel .pick").nth(4).waitFor();
      for (const at of [0, 1, 2]) await page.locator(".panel .pick").nth(at).check();
      await press(page, "Redrive 3");
      const { action, ids } = (await posted).postDataJSON();
      assert.deepEqual([action, ids.length], ["redrive", 3]);
      await see(page, "3 back in the queue");
    },
  },
  {
    name: "discarding needs the queue's name",
    async run({ page, shop, open }) {
      await dead(shop, 1);
      await open("queues/mail?tab=dead");
      await page.locator(".panel .pick").first().check();
      await press(page, "Discard 1…");
      assert.ok(await page.getByRole("button", { name: "Discard", exact: true }).isDisabled());
      await page.getByLabel(/Type mail/).fill("mail");
      await press(page, "Discard");
      await see(page, "1 discarded");
    },
  },
  {
    name: "a state is edited beside what it was",
    async run({ page, shop, open }) {
      await shop.post("states/desk/item", { key: "lamp", value: { on: false } });
      await open("states/desk?key=lamp");
      await press(page, "Edit");
      await page.getByLabel("New value").fill('{"on": true}');
      await press(page, "Save");
      await until("it is kept", async () => (await shop.get("states/desk")).entries[0].value.on === true);
    },
  },
  {
    name: "the tester sends a request to the engine's HTTP port",
    async run({ page, shop, open }) {
      const { triggers } = await shop.get("triggers");
      await open(`triggers/${triggers.find((each) => each.trigger_type === "http").id}`);
      await page.getByLabel("Body").fill('{"item": "pot", "count": 2}');
      await press(page, "Send");
      await see(page, "It answered with 200");
    },
  },
  {
    name: "filters stay in the address",
    async run({ page, open }) {
      await open("invocations");
      await press(page, "error");
      await page.getByRole("searchbox").fill("payment");
      await page.waitForURL(/status=error.*q=payment/);
      await page.reload();
      assert.equal(await page.getByRole("searchbox").inputValue(), "payment");
    },
  },
  ...["light", "dark"].map((colorScheme) => ({
    name: `axe-core finds nothing serious on any page, ${colorScheme}`,
    view: { colorScheme },
    async run({ page, shop, open }) {
      await shop.call("shop::place", { item: "tea", count: 7 });
      await shop.call("payments::charge", {});
      const found = [];
      for (const path of PAGES) {
        await open(path);
        await page.locator("h1").waitFor();
        await page.waitForLoadState("networkidle");
        await page.evaluate(AXE);
        const { violations } = await page.evaluate(() => globalThis.axe.run());
        for (const each of violations.filter(({ impact }) => ["serious", "critical"].includes(impact)))
          found.push(`/${path}: ${each.id} ${each.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")}`);
      }
      assert.deepEqual(found, []);
    },
  })),
  {
    name: "360 px: nothing is beyond the edge, and the navigation opens",
    view: NARROW,
    async run({ page, open }) {
      for (const path of PAGES) {
        await open(path);
        await page.locator("h1").waitFor();
        const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(over <= 0, `/${path} is ${over} px too wide`);
      }
      await press(page, "Navigation");
      await page.getByRole("link", { name: "Workers" }).click();
      await page.getByRole("heading", { name: "Workers" }).waitFor();
    },
  },
  {
    name: "a read-only console offers nothing that changes something",
    settings: { SHOP_READ_ONLY: "true" },
    async run({ page, open }) {
      await open("queues/mail");
      await see(page, "read-only");
      await see(page, "delivered");
      for (const name of ["Pause", "Purge…", "Publish"])
        assert.equal(await page.getByRole("button", { name, exact: true }).count(), 0, name);
      await open("functions/shop%3A%3Aprice");
      assert.ok(await page.getByRole("button", { name: "Invoke", exact: true }).isDisabled());
    },
  },
  {
    name: "a wrong token is refused, the right one leads to the page that was wanted",
    settings: { III_CONSOLE_TOKEN: TOKEN },
    async run({ page, open }) {
      await open("workers");
      await page.getByLabel("Token").fill("sesame");
      await press(page, "Log in");
      await page.getByRole("alert").waitFor();
      await page.getByLabel("Token").fill(TOKEN);
      await press(page, "Log in");
      await page.getByRole("heading", { name: "Workers" }).waitFor();
      await press(page, "Log out");
      await page.getByLabel("Token").waitFor();
    },
  },
  {
    name: "06.35: the engine goes and comes back: a banner, then the data, without a reload",
    async run({ page, shop, open }) {
      await open("workers");
      await page.getByRole("table").getByRole("link").first().waitFor();
      await page.evaluate(() => (globalThis.sameDocument = true));
      await shop.stopEngine();
      await see(page, "The engine is away");
      await shop.startEngine();
      await shop.hasWorker();
      await page.getByText("The engine is away").waitFor({ state: "detached", timeout: 20_000 });
      await page.getByRole("table").getByRole("link").first().waitFor();
      assert.equal(await page.evaluate(() => globalThis.sameDocument), true);
    },
  },
];
