import { Dialog } from "./dialog";

const KEYS: [string, string][] = [
  ["Ctrl K", "search functions, workers, triggers, queues, scopes, and pages"],
  ["/", "filter the list"],
  ["j k ↑ ↓", "go through a list"],
  ["Enter", "open"],
  ["Esc", "close"],
  ["Ctrl 1 … 9", "a page, from the top"],
  ["Ctrl Enter", "send the form you are in"],
  ["?", "this"],
];

/** Which keys there are. */
export function Help({ close }: { close: () => void }) {
  return (
    <Dialog label="Keys" close={close}>
      <h2>Keys</h2>
      <div class="keys">
        {KEYS.map(([key, what]) => (
          <>
            <kbd>{key}</kbd>
            <span>{what}</span>
          </>
        ))}
      </div>
    </Dialog>
  );
}
