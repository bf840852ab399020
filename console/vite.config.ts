import { defineConfig } from "vite";

const react = { find: /^react(-dom)?$/, replacement: "preact/compat" };
const jsx = { find: /^react\/jsx-(dev-)?runtime$/, replacement: "preact/jsx-runtime" };

// Addresses in the index page are relative: its <base> says where the console is.
export default defineConfig({
  base: "",
  resolve: { alias: [react, jsx], dedupe: ["preact"] },
  esbuild: { jsx: "automatic", jsxImportSource: "preact", legalComments: "none" },
  build: {
    outDir: "../iii/modules/console/static",
    emptyOutDir: false,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: {
      "/_console": "http://127.0.0.1:3113",
      "/api": "http://127.0.0.1:3113",
      "/ws": { target: "http://127.0.0.1:3113", ws: true },
    },
  },
});
