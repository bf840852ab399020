import { render } from "preact";
import { App } from "./app";
import { push } from "./lib/live";
import { start } from "./lib/router";
import { startTheme } from "./lib/theme";
import "./style/base.css";
import "./style/shell.css";
import "./style/parts.css";
import "./style/pages.css";

startTheme();
start();
push.connect();
render(<App />, document.getElementById("app")!);
