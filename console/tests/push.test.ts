import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Push, waitMs } from "../src/lib/push";

class FakeSocket {
  static all: FakeSocket[] = [];
  readyState = 0;
  sent: any[] = [];
  onopen = () => {};
  onmessage = (_: { data: string }) => {};
  onclose = () => {};
  constructor() {
    FakeSocket.all.push(this);
  }
  send(text: string) {
    this.sent.push(JSON.parse(text));
  }
  close() {
    this.readyState = 3;
    this.onclose();
  }
  accept() {
    this.readyState = 1;
    this.onopen();
  }
  say(message: object) {
    this.onmessage({ data: JSON.stringify(message) });
  }
}

const last = () => FakeSocket.all.at(-1)!;

describe("the push channel", () => {
  let push: Push;
  beforeEach(() => {
    vi.useFakeTimers();
    FakeSocket.all = [];
    push = new Push(() => "ws://test/", () => {}, () => new FakeSocket() as unknown as WebSocket);
    push.connect();
  });
  afterEach(() => vi.useRealTimers());

  test("waits 1, 2, 4, 8, then 10 s", () => {
    expect([0, 1, 2, 3, 4, 20].map(waitMs)).toEqual([1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
  });

  test("asks for what was subscribed before it was open", () => {
    push.subscribe("logs", () => {});
    expect(last().sent).toEqual([]);
    last().accept();
    expect(last().sent).toEqual([{ op: "subscribe", id: "s1", topic: "logs" }]);
  });

  test("comes back by itself, and asks for what it missed", () => {
    const heard: any[] = [];
    push.subscribe("logs", (message) => heard.push(message));
    last().accept();
    last().say({ id: "s1", seq: 7, event: "add", items: [1] });
    last().close();
    expect(push.link.value.state).toBe("away");
    expect(push.epoch.value).toBe(0);
    vi.advanceTimersByTime(999);
    expect(FakeSocket.all.length).toBe(1);
    vi.advanceTimersByTime(1);
    last().accept();
    expect(last().sent).toEqual([{ op: "subscribe", id: "s1", topic: "logs", since: 7 }]);
    expect([push.link.value.state, push.epoch.value, heard.length]).toEqual(["open", 1, 1]);
  });

  test("waits longer each time, until it is open again", () => {
    last().close();
    vi.advanceTimersByTime(1_000);
    last().close();
    vi.advanceTimersByTime(1_999);
    expect(FakeSocket.all.length).toBe(2);
    vi.advanceTimersByTime(1);
    expect(FakeSocket.all.length).toBe(3);
    last().accept();
    last().close();
    vi.advanceTimersByTime(1_000);
    expect(FakeSocket.all.length).toBe(4);
  });

  test("what is no longer watched is neither asked for nor told", () => {
    const heard: any[] = [];
    const stop = push.subscribe("logs", (message) => heard.push(message));
    last().accept();
    stop();
    expect(last().sent.at(-1)).toEqual({ op: "unsubscribe", id: "s1" });
    last().say({ id: "s1", seq: 1, event: "add", items: [] });
    expect(heard).toEqual([]);
  });

  test("an engine that left a console elsewhere is away, and its return is an epoch", () => {
    last().accept();
    last().say({ event: "engine", connected: false });
    expect(push.link.value.state).toBe("away");
    last().say({ event: "engine", connected: true });
    expect([push.link.value.state, push.epoch.value]).toEqual(["open", 1]);
  });

  test("a silent connection is given up", () => {
    last().accept();
    vi.advanceTimersByTime(20_000);
    expect(last().sent).toEqual([{ op: "ping" }]);
    vi.advanceTimersByTime(40_000);
    expect(push.link.value.state).toBe("away");
  });
});
