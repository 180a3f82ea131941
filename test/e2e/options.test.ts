import { describe, expect, test } from "vitest";
import { DEFAULT_PROMPT, parseOptions, UsageError } from "../../demo/terminal/options.ts";

describe("parseOptions", () => {
  test("without options: the embedded model, greedy", () => {
    expect(parseOptions([])).toMatchObject({
      model: undefined,
      prompt: DEFAULT_PROMPT,
      temperature: 0,
      topK: 0,
      topP: 1,
      seed: undefined,
      json: false,
      backend: "chromium",
    });
  });

  test("all of them", () => {
    const args =
      "--model m.gguf --tokens 1,2,3 --max-tokens 0 --temperature .7 --top-k 40 --top-p 0.9 --seed 5";
    const more = "--logits l.f32 --json --backend node";
    expect(parseOptions([...args.split(" "), ...more.split(" ")])).toEqual({
      model: "m.gguf",
      prompt: [1, 2, 3],
      maxTokens: 0,
      temperature: 0.7,
      topK: 40,
      topP: 0.9,
      seed: 5,
      logitsFile: "l.f32",
      json: true,
      backend: "node",
      help: false,
    });
  });

  test("a prompt may start with a dash after an equals sign", () => {
    expect(parseOptions(["--prompt=-- said the cat"]).prompt).toBe("-- said the cat");
  });

  test.each([
    ["--unknown"],
    ["stray"],
    ["--prompt"],
    ["--prompt a --tokens 1"],
    ["--tokens 1,,2"],
    ["--tokens 1,x"],
    ["--tokens 1.5"],
    ["--max-tokens -1"],
    ["--max-tokens=-1"],
    ["--max-tokens 1.5"],
    ["--max-tokens 0x10"],
    ["--temperature warm"],
    ["--temperature=-1"],
    ["--temperature Infinity"],
    ["--temperature="],
    ["--top-k 1e3"],
    ["--top-p 0"],
    ["--top-p 1.01"],
    ["--seed s"],
    ["--backend webgl"],
    ["--model="],
    ["--json=yes"],
  ])("%s is wrong usage", (line) => {
    expect(() => parseOptions(line.split(" "))).toThrow(UsageError);
  });
});
