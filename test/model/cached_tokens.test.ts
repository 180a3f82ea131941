import { describe, expect, test } from "vitest";
import { CachedTokens } from "../../src/model/cached_tokens.ts";

/** A prompt of three that ran whole, and two decoded tokens: the last one drawn is in no cache. */
function told(isRecurrent = false): CachedTokens {
  const cached = new CachedTokens(isRecurrent);
  cached.begin(0, 3);
  cached.wrote(0, [1, 2, 3], 4);
  cached.begin(3, 2);
  cached.decoded(3, [5, 6]);
  return cached;
}

test("a position holds what was fed to it: prompts, and what was drawn before it", () => {
  expect(told().ids).toEqual([1, 2, 3, 4, 5]);
});

describe("what of a prompt need not run", () => {
  test.each([
    ["the conversation goes on", [1, 2, 3, 4, 5, 6, 7], 5, 5],
    ["the same prompt: its last token runs", [1, 2, 3], 2, 0],
    ["all that is there: its last token runs", [1, 2, 3, 4, 5], 4, 0],
    ["a branch", [1, 2, 3, 9, 9], 3, 0],
    ["something else", [9, 2, 3], 0, 0],
    ["one token", [1], 0, 0],
  ])("%s", (_, prompt, reusable, recurrent) => {
    expect(told().reusable(prompt)).toBe(reusable);
    expect(told(true).reusable(prompt)).toBe(recurrent);
  });

  test("nothing of an empty cache", () => {
    expect(new CachedTokens(false).reusable([1, 2])).toBe(0);
    expect(new CachedTokens(true).reusable([1, 2])).toBe(0);
  });
});

describe("a program that failed", () => {
  test("took what it began to write, and with recurrent state everything", () => {
    const cached = told();
    cached.begin(2, 4);
    expect(cached.ids).toEqual([1, 2]);
    const recurrent = told(true);
    recurrent.begin(5, 1);
    expect(recurrent.ids).toEqual([]);
    expect(recurrent.reusable([1, 2, 3, 4, 5, 6])).toBe(0);
    recurrent.begin(0, 2);
    recurrent.wrote(0, [7, 8]);
    expect(recurrent.ids).toEqual([7, 8]);
  });

  test("of batches on their way together: those before it count, those behind it do not", () => {
    for (const isRecurrent of [false, true]) {
      const cached = told(isRecurrent);
      for (const position of [5, 7, 9]) cached.begin(position, 2);
      cached.decoded(5, [7, 8]);
      cached.decoded(9, [11, 12]);
      expect(cached.ids).toEqual(isRecurrent ? [] : [1, 2, 3, 4, 5, 6, 7]);
    }
  });
});

test("batches on their way when a generation ends count once they have ended", () => {
  const cached = told(true);
  cached.begin(5, 2);
  cached.begin(7, 2);
  cached.decoded(5, [7, 8]);
  expect(cached.ids).toEqual([]);
  cached.decoded(7, [9, 10]);
  expect(cached.ids).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test("a prompt of which nothing was drawn holds, and what is decoded behind it is not known", () => {
  const cached = new CachedTokens(false);
  cached.begin(0, 2);
  cached.wrote(0, [1, 2]);
  cached.begin(2, 1);
  cached.decoded(2, [4]);
  expect(cached.ids).toEqual([1, 2]);
});

describe("what was set aside", () => {
  /** Behind the first two of three tokens; then decoded as `told`. */
  function toldAside(): CachedTokens {
    const cached = new CachedTokens(true);
    cached.begin(0, 2);
    cached.wrote(0, [1, 2]);
    cached.setAside();
    cached.begin(2, 1);
    cached.wrote(2, [3], 4);
    cached.begin(3, 2);
    cached.decoded(3, [5, 6]);
    return cached;
  }

  test.each([
    ["all goes on from the last position", [1, 2, 3, 4, 5, 6], 5, false],
    ["the same prompt again", [1, 2, 3], 2, true],
    ["another answer", [1, 2, 3, 9], 2, true],
    ["nothing behind it", [1, 2], 0, false],
    ["another start", [1, 9, 3], 0, false],
  ])("%s", (_, prompt, reusable, takesAside) => {
    const cached = toldAside();
    expect(cached.reusable(prompt)).toBe(reusable);
    expect(cached.goBack(reusable)).toBe(takesAside);
    expect(cached.ids).toEqual(prompt.slice(0, reusable));
    expect(cached.aside).toBe(reusable === 0 ? 0 : 2);
  });

  test("outlives a program that failed behind it", () => {
    const cached = toldAside();
    cached.begin(5, 8);
    expect(cached.ids).toEqual([]);
    expect(cached.reusable([1, 2, 3, 4, 5, 6])).toBe(2);
    expect(cached.goBack(2)).toBe(true);
    expect(cached.ids).toEqual([1, 2]);
    expect(cached.goBack(2)).toBe(false);
  });

  test("goes where what is before it is written anew", () => {
    const cached = toldAside();
    cached.begin(1, 4);
    cached.wrote(0, [1]);
    expect(cached.aside).toBe(0);
    expect(cached.reusable([1, 2, 3])).toBe(0);
  });
});

test("what is brought back takes the place of all", () => {
  const cached = told(true);
  cached.replace([8, 9], 1);
  expect(cached.ids).toEqual([8, 9]);
  expect(cached.reusable([8, 9, 1])).toBe(2);
  expect(cached.reusable([8, 7])).toBe(1);
});

describe("under routing that changes", () => {
  const prompt = [1, 2, 3, 4, 5, 6, 7];

  test("what ran before is used again only when it is what it was", () => {
    let routing = "";
    const cached = new CachedTokens(false, () => routing);
    cached.begin(0, 3);
    cached.wrote(0, [1, 2, 3], 4);
    routing = "k = 1";
    expect(cached.reusable(prompt)).toBe(0);
    cached.begin(3, 2);
    cached.decoded(3, [5, 6]);
    expect([cached.reusable(prompt), cached.ran]).toEqual([0, { routing: "", tokens: 3 }]);
    routing = "";
    expect(cached.reusable(prompt)).toBe(3);
    cached.begin(5, 1);
    cached.decoded(5, [7]);
    expect(cached.reusable(prompt)).toBe(3);
    cached.begin(3, 3);
    cached.wrote(3, [4, 5, 6], 7);
    expect(cached.reusable(prompt)).toBe(6);
    routing = "k = 1";
    cached.begin(0, 2);
    cached.wrote(0, [1, 2]);
    expect([cached.reusable(prompt), cached.ran]).toEqual([2, { routing, tokens: 2 }]);
  });

  test("so is what was brought back", () => {
    const cached = new CachedTokens(false, () => "k = 1");
    cached.replace([1, 2, 3]);
    expect(cached.reusable(prompt)).toBe(0);
    cached.replace([1, 2, 3], 0, { routing: "k = 1", tokens: 2 });
    expect(cached.reusable(prompt)).toBe(2);
  });
});
