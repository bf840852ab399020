import { mergeConfig } from "vite";
import { defineConfig } from "vitest/config";
import pages from "./vite.config";

export default mergeConfig(
  pages,
  defineConfig({
    // Its other build asks for React by `require`, which no alias reaches.
    resolve: { alias: { "react-json-view-lite": "react-json-view-lite/dist/index.modern.js" } },
    test: {
      environment: "happy-dom",
      include: ["tests/**/*.test.{ts,tsx}"],
      server: { deps: { inline: [/react-json-view-lite/, /react-virtual/] } },
    },
  }),
);
