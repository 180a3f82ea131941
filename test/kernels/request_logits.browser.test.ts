import { describe, expect, test } from "vitest";
import { type RequestRule, request_logits } from "../../src/kernels/request_logits.ts";
import { drawn, siteSeed } from "../reference/request.ts";
import { expectExact, onGpu, outputFloats, poisoned, runSteps, storage } from "../support/gpu.ts";
import { normals, seeded } from "../support/random.ts";

onGpu("request_logits", (gpu) => {
  interface Case {
    readonly by: RequestRule;
    readonly experts: number;
    readonly tokens: number;
    /** Seed, task and the words that name experts. */
    readonly row: readonly number[];
    readonly position?: number;
  }

  async function run({ by, experts, tokens, row, position = 0 }: Case) {
    const logits = poisoned(gpu(), "logits", tokens * experts);
    const request = storage(gpu(), "request", Uint32Array.from(row));
    await runSteps(gpu(), [request_logits(gpu(), { by, experts, request, logits })], { tokens, position });
    return outputFloats(gpu(), logits, tokens * experts);
  }

  const rows = (tokens: number, experts: number, chosen: (t: number) => readonly number[]) =>
    Array.from({ length: tokens * experts }, (_, i) =>
      chosen(Math.floor(i / experts)).includes(i % experts) ? 80 : -80,
    );

  describe("given", () => {
    const words = (ids: readonly number[]) => {
      const all = new Uint32Array(3);
      for (const id of ids)
        all[Math.floor(id / 32)] = (all[Math.floor(id / 32)] as number) | (1 << (id % 32));
      return all;
    };
    test.each<[string, readonly number[], number]>([
      ["no expert", [], 1],
      ["one", [64], 1],
      ["some, in every word", [0, 31, 32, 63, 69], 513],
      ["all", Array.from({ length: 70 }, (_, e) => e), 3],
    ])("%s", async (_, ids, tokens) => {
      const row = [9, 9, ...words(ids)];
      const found = await run({ by: { rule: "given" }, experts: 70, tokens, row });
      expectExact(
        found,
        rows(tokens, 70, () => ids),
      );
    });
  });

  describe("drawn", () => {
    const seed = siteSeed(12, 3);

    test("for each token, whatever runs with it", async () => {
      const by = { rule: "draw", each: "token" } as const;
      const shape = { by, experts: 24, row: [seed, 5] };
      const whole = await run({ ...shape, tokens: 513 });
      const expected = (first: number) => (t: number) => [drawn(seed, first + t, 24)];
      expectExact(whole, rows(513, 24, expected(0)));
      expectExact(await run({ ...shape, tokens: 7, position: 400 }), rows(7, 24, expected(400)));
      expectExact(await run({ ...shape, tokens: 1, position: 512 }), whole.subarray(512 * 24));
    });

    test("for the whole sequence, or of one expert", async () => {
      const by = { rule: "draw", each: "sequence" } as const;
      const found = await run({ by, experts: 100, tokens: 3, position: 40, row: [seed, 5] });
      expectExact(
        found,
        rows(3, 100, () => [drawn(seed, 0, 100)]),
      );
      expectExact(await run({ by, experts: 1, tokens: 2, row: [seed, 5] }), [80, 80]);
    });

    test("every expert as often as every other", () => {
      const counts = new Array<number>(8).fill(0);
      const DRAWS = 8000;
      for (let t = 0; t < DRAWS; t++) {
        const expert = drawn(siteSeed(t % 3, 1), t, 8);
        counts[expert] = (counts[expert] as number) + 1;
      }
      // Six standard deviations of a binomial count.
      for (const count of counts) expect(Math.abs(count - DRAWS / 8)).toBeLessThan(6 * Math.sqrt(DRAWS / 8));
    });
  });

  test.each([
    [1, 0],
    [513, 2],
  ])("of a task, %i tokens, task %i", async (tokens, task) => {
    const values = normals(seeded(tokens), tokens * 3 * 20);
    const all = storage(gpu(), "all", values);
    const found = await run({ by: { rule: "task", tasks: 3, all }, experts: 20, tokens, row: [9, task] });
    const at = (i: number) => (Math.floor(i / 20) * 3 + task) * 20 + (i % 20);
    expectExact(
      found,
      Array.from({ length: tokens * 20 }, (_, i) => values[at(i)] as number),
    );
  });
});
