// `make test-pages`: every check in a page of its own.  The last line counts them; the exit code
// is 0 only when nothing failed.
import { existsSync } from "node:fs";
import { chromium } from "../../console/node_modules/playwright-core/index.mjs";
import { CHECKS } from "./checks.mjs";
import { Shop } from "./shop.mjs";

const BROWSER = process.env.CHROMIUM ?? "/usr/bin/chromium";
const STEP_MS = 10_000;

if (!existsSync(BROWSER)) {
  console.log(`skipped: there is no ${BROWSER}\n0 passed, 0 failed, ${CHECKS.length} skipped`);
  process.exit(0);
}
const wanted = process.argv.slice(2);
const args = ["--no-sandbox", "--disable-background-networking"];
const browser = await chromium.launch({ executablePath: BROWSER, args });
const shops = new Map();
let failed = 0;
let passed = 0;
for (const { name, settings = {}, view = {}, run } of CHECKS) {
  if (wanted.length && !wanted.some((each) => name.includes(each))) continue;
  const key = JSON.stringify(settings);
  const wrong = [];
  let context;
  try {
    if (!shops.has(key)) shops.set(key, await Shop.open(settings));
    const shop = shops.get(key);
    context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...view });
    context.setDefaultTimeout(STEP_MS);
    const page = await context.newPage();
    page.on("pageerror", (error) => wrong.push(error.message));
    page.on("request", (request) => {
      if (!request.url().startsWith(shop.url) && !request.url().startsWith("data:")) wrong.push(`asks ${request.url()}`);
    });
    page.on("console", (message) => {
      if (/Content.Security.Policy/i.test(message.text())) wrong.push(message.text());
    });
    const open = (path = "") => page.goto(shop.url + path);
    await run({ page, shop, open });
    if (wrong.length) throw new Error(wrong.join("; "));
    passed++;
    console.log(`ok      ${name}`);
  } catch (error) {
    failed++;
    console.log(`failed  ${name}: ${error.stack ?? error}`);
  } finally {
    await context?.close();
  }
}
await browser.close();
for (const shop of shops.values()) await shop.close();
console.log(`${passed} passed, ${failed} failed, 0 skipped`);
process.exit(failed ? 1 : 0);
