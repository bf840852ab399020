/** Dialogs: the browser's own, so focus stays inside and Esc closes. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Cell, useCell } from "../lib/cell";

/** A dialog that is open as long as it is there. */
export function Dialog(props: {
  label: string;
  close: () => void;
  class?: string;
  children: ComponentChildren;
}) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    element.current?.showModal();
  }, []);
  return (
    <dialog
      ref={element}
      class={props.class ?? ""}
      aria-label={props.label}
      onCancel={(event) => {
        event.preventDefault();
        props.close();
      }}
      onClick={(event) => {
        if (event.target === element.current) props.close();
      }}
    >
      <div class="dialog-inside">{props.children}</div>
    </dialog>
  );
}

interface Question {
  title: string;
  text: ComponentChildren;
  /** On the button. */
  action: string;
  /** What has to be typed first. */
  typed?: string;
  answer: (yes: boolean) => void;
}

const question = new Cell<Question | null>(null);

/** Ask before something that can't be undone. */
export function confirm(asked: Omit<Question, "answer">): Promise<boolean> {
  return new Promise((resolve) => {
    question.set({
      ...asked,
      answer: (yes) => {
        question.set(null);
        resolve(yes);
      },
    });
  });
}

/** Where questions show. */
export function Questions() {
  const asked = useCell(question);
  return asked && <Ask key={asked.title} {...asked} />;
}

function Ask({ title, text, action, typed, answer }: Question) {
  const [said, setSaid] = useState("");
  const ready = !typed || said === typed;
  return (
    <Dialog label={title} close={() => answer(false)} class="ask">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (ready) answer(true);
        }}
      >
        <h2>{title}</h2>
        <p>{text}</p>
        {typed && (
          <label>
            Type <code>{typed}</code> to go on
            <input
              autofocus
              autocomplete="off"
              value={said}
              onInput={(event) => setSaid(event.currentTarget.value)}
            />
          </label>
        )}
        <div class="row end">
          <button type="button" onClick={() => answer(false)} autofocus={!typed}>
            Cancel
          </button>
          <button class="danger" disabled={!ready}>
            {action}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
