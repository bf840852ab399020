/** The shell: navigation, banner, keys, and the page that the address names. */
import { useEffect, useState } from "preact/hooks";
import { CallFailed, config, loadConfig } from "./lib/api";
import { useCell } from "./lib/cell";
import { push } from "./lib/live";
import { go, to, usePlace } from "./lib/router";
import { PAGES, shownPages } from "./pages";
import { Banner, Connection, Sidebar } from "./shell";
import { Empty, Problem, Toasts } from "./ui/basics";
import { Questions } from "./ui/dialog";
import { Help } from "./ui/help";
import { Palette } from "./ui/palette";

type Overlay = "palette" | "help" | null;

const typing = (target: EventTarget | null) =>
  target instanceof Element && !!target.closest("input, textarea, select, [contenteditable]");

export function App() {
  const { path } = usePlace();
  const epoch = useCell(push.epoch);
  const known = useCell(config);
  const [overlay, setOverlay] = useState<Overlay>(null);
  const [menu, setMenu] = useState(false);
  const [failed, setFailed] = useState<string | null>(null);
  const load = () =>
    void loadConfig().then(
      () => setFailed(null),
      (why: CallFailed) => setFailed(why.message),
    );
  useEffect(load, [epoch]);
  useEffect(() => setMenu(false), [path]);
  useEffect(() => {
    const keys = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        setOverlay((was) => (was === "palette" ? null : "palette"));
      } else if ((event.ctrlKey || event.metaKey) && /^[1-9]$/.test(event.key)) {
        const page = shownPages(config.value)[Number(event.key) - 1];
        if (!page) return;
        event.preventDefault();
        go(page.path);
      } else if (typing(event.target) || event.ctrlKey || event.metaKey || event.altKey) {
        if (event.key === "Escape") (event.target as HTMLElement).blur?.();
      } else if (event.key === "/") {
        const field = document.querySelector<HTMLInputElement>("[data-search]");
        if (!field) return;
        event.preventDefault();
        field.focus();
        field.select();
      } else if (event.key === "?") {
        event.preventDefault();
        setOverlay("help");
      } else if (event.key === "j" || event.key === "k") {
        const list = document.querySelector<HTMLElement>("[data-list]");
        if (list && document.activeElement === document.body) list.focus();
      } else if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
        document.querySelector<HTMLElement>("[data-close]")?.click();
      }
    };
    addEventListener("keydown", keys);
    return () => removeEventListener("keydown", keys);
  }, []);

  const page = PAGES.find((each) => (each.path[0] ?? "") === (path[0] ?? ""));
  useEffect(() => {
    const name = path[1] ? `${path[1]} · ${page?.name}` : page?.name;
    document.title = name ? `${name} · iii console` : "iii console";
  }, [path, page]);
  const Body = page?.body;
  return (
    <div class={menu ? "shell menu-open" : "shell"}>
      <Sidebar now={page?.id ?? ""} search={() => setOverlay("palette")} />
      <div class="main">
        <Banner />
        {known === null && failed !== null && <Problem text={failed} retry={load} />}
        {known !== null && Body && <Body key={page.id} menu={() => setMenu(!menu)} />}
        {known !== null && !Body && (
          <div class="content fill">
            <Empty title="There is no such page">
              <a href={to([])}>Overview</a>
            </Empty>
          </div>
        )}
      </div>
      {overlay === "palette" && <Palette close={() => setOverlay(null)} />}
      {overlay === "help" && <Help close={() => setOverlay(null)} />}
      <Questions />
      <Toasts />
      <Connection />
    </div>
  );
}
