// Removes what an earlier build left: its files have other names.
import { rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

rmSync(fileURLToPath(new URL("../iii/modules/console/static/assets", import.meta.url)), {
  recursive: true,
  force: true,
});
