import fc from "fast-check";
import { expect, test } from "vitest";
import { Budget, Gate, HostBytes, HostShare, type Rank, WriteBehind } from "../../src/store/limits.ts";

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

test("a task's share is given back once, and nothing is counted after that", () => {
  const host = new HostBytes();
  const share = new HostShare(host);
  share.take(10);
  share.take(5);
  share.end();
  share.end();
  share.take(7);
  expect([host.held, host.peak]).toEqual([0, 15]);
});

test("waiting for writes ends when none is left, also those that came meanwhile", async () => {
  const writes = new WriteBehind();
  const finish: (() => void)[] = [];
  const add = () => writes.add(new Promise((resolve) => finish.push(resolve)));
  add();
  add();
  let waited = false;
  const waiting = writes.idle().then(() => {
    waited = true;
  });
  finish[0]?.();
  add();
  finish[1]?.();
  await turn();
  expect(waited).toBe(false);
  finish[2]?.();
  await waiting;
});

/** Makes claims and notes which were admitted, in order. */
function claims(budget: Budget) {
  const admitted: string[] = [];
  const make = async (name: string, rank: Rank, bytes: number, signal = new AbortController().signal) => {
    const claim = await budget.claim(rank, bytes, signal);
    admitted.push(name);
    return claim;
  };
  return { admitted, make };
}

test("a budget admits what fits, higher ranks first, and leaves them room", async () => {
  const budget = new Budget(80);
  const { admitted, make } = claims(budget);
  const first = await make("install 60", "install", 60);
  make("install 5", "install", 5);
  const second = await make("read 10", "read", 10);
  make("read 20", "read", 20);
  const third = await make("answer 10", "answer", 10);
  make("answer 1", "answer", 1);
  await turn();
  expect(admitted).toEqual(["install 60", "read 10", "answer 10"]);
  third.shrink(9);
  await turn();
  expect(admitted.slice(3)).toEqual(["answer 1"]);
  first.shrink(40);
  await turn();
  expect(admitted.slice(4)).toEqual([]);
  second.end();
  await turn();
  expect(admitted.slice(4)).toEqual(["read 20"]);
  first.end();
  await turn();
  expect(admitted.slice(5)).toEqual(["install 5"]);
});

test("a claim above the whole budget passes alone", async () => {
  const budget = new Budget(10);
  const { admitted, make } = claims(budget);
  const small = await make("small", "read", 1);
  const waiting = make("large", "install", 100);
  await turn();
  expect(admitted).toEqual(["small"]);
  small.end();
  const large = await waiting;
  make("later", "answer", 1);
  await turn();
  expect(admitted).toEqual(["small", "large"]);
  budget.capacity = 101;
  await turn();
  expect(admitted).toEqual(["small", "large", "later"]);
  large.end();
});

test("a claim that is aborted while it waits holds nothing and lets the next one through", async () => {
  const budget = new Budget(10);
  const { admitted, make } = claims(budget);
  const held = await make("held", "read", 5);
  const work = new AbortController();
  const stopped = make("stopped", "read", 8, work.signal);
  make("next", "read", 3);
  await turn();
  expect(admitted).toEqual(["held"]);
  work.abort();
  await expect(stopped).rejects.toMatchObject({ code: "aborted" });
  await turn();
  expect(admitted).toEqual(["held", "next"]);
  await expect(make("late", "read", 1, work.signal)).rejects.toMatchObject({ code: "aborted" });
  held.end();
});

test("whatever is claimed, all is admitted in the end and the capacity holds but for single claims above it", async () => {
  const claim = fc.record({
    rank: fc.constantFrom<Rank>("answer", "read", "install"),
    bytes: fc.integer({ min: 0, max: 30 }),
    turns: fc.nat(3),
    aborts: fc.boolean(),
  });
  const property = fc.asyncProperty(fc.array(claim, { maxLength: 40 }), async (list) => {
    const budget = new Budget(20);
    let held = 0;
    let running = 0;
    const work = list.map(async ({ rank, bytes, turns, aborts }) => {
      const controller = new AbortController();
      if (aborts) Promise.resolve().then(() => controller.abort());
      const claim = await budget.claim(rank, bytes, controller.signal).catch(() => undefined);
      if (!claim) return;
      held += bytes;
      running++;
      expect(held <= 20 || held === bytes, `${held} held by ${running}`).toBe(true);
      for (let i = 0; i < turns; i++) await Promise.resolve();
      held -= bytes;
      running--;
      claim.end();
    });
    await Promise.all(work);
    expect(held).toBe(0);
  });
  await fc.assert(property);
});

function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
