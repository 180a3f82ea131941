import { expect, test } from "vitest";
import { Gate, HostBytes, WriteBehind } from "../../src/store/limits.ts";

test("a gate lets so many through, in order, also after a failure", async () => {
  const gate = new Gate(2);
  const started: number[] = [];
  let running = 0;
  const run = (i: number) =>
    gate.run(async () => {
      started.push(i);
      running++;
      expect(running).toBeLessThanOrEqual(2);
      await Promise.resolve();
      running--;
      if (i === 1) throw new Error("one");
      return i;
    });
  const results = await Promise.allSettled([0, 1, 2, 3, 4].map(run));
  expect(started).toEqual([0, 1, 2, 3, 4]);
  expect(results.map(({ status }) => status === "fulfilled")).toEqual([true, false, true, true, true]);
});

test("the peak is what was held at once", () => {
  const host = new HostBytes();
  host.take(10);
  host.take(5);
  host.give(10);
  host.take(8);
  expect([host.held, host.peak]).toEqual([13, 15]);
});

test("waiting for writes ends when few enough bytes are left", async () => {
  const writes = new WriteBehind();
  const finish: (() => void)[] = [];
  for (const bytes of [10, 20, 30]) writes.add(new Promise((resolve) => finish.push(resolve)), bytes);
  await writes.atMost(60);
  let waited = false;
  const waiting = writes.atMost(40).then(() => {
    waited = true;
  });
  finish[0]?.();
  await new Promise((resolve) => setTimeout(resolve, 0));
  expect(waited).toBe(false);
  finish[1]?.();
  await waiting;
  finish[2]?.();
  await writes.atMost(0);
});
