// Puts a .br and a .gz beside each built file, and refuses a first page that is too large.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const FIRST_PAGE_BYTES = 400_000;
const folder = new URL("../iii/modules/console/static/", import.meta.url);

const names = readdirSync(fileURLToPath(folder), { recursive: true });
let sum = 0;
for (const name of names.filter((each) => /\.(js|css|html)$/.test(each)).sort()) {
  const path = fileURLToPath(new URL(name, folder));
  const body = readFileSync(path);
  const brotli = brotliCompressSync(body, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: body.length },
  });
  const gzip = gzipSync(body, { level: 9 });
  writeFileSync(`${path}.br`, brotli);
  writeFileSync(`${path}.gz`, gzip);
  sum += gzip.length;
}
console.log(`${sum} bytes compressed`);
if (sum > FIRST_PAGE_BYTES) {
  console.error(`at most ${FIRST_PAGE_BYTES} bytes`);
  process.exit(1);
}
