import { describe, expect, test, vi } from "vitest";
import { DEFAULT_PROMPT, parseOptions, USAGE, UsageError } from "../../demo/terminal/options.ts";

describe("parseOptions", () => {
  test("without options: the embedded model, greedy", () => {
    expect(parseOptions([])).toMatchObject({
      model: undefined,
      prompt: DEFAULT_PROMPT,
      temperature: 0,
      topK: 0,
      topP: 1,
      seed: undefined,
      route: {},
      json: false,
      backend: "chromium",
      load: { memory: {}, experts: {} },
      traceFile: undefined,
    });
  });

  test("a model of a hub, with the token of the environment, which no other model gets", () => {
    vi.stubEnv("HF_TOKEN", "secret");
    const endpoint = "http://127.0.0.1:1/mirror";
    const args = ["--model", "hf:owner/repo@v1", "--hub-endpoint", endpoint];
    expect(parseOptions(args)).toMatchObject({
      model: args[1],
      load: { hub: { endpoint, token: "secret" } },
    });
    expect(parseOptions(["--model", "m.gguf"]).load).not.toHaveProperty("hub");
    expect(() => parseOptions(["--hub-endpoint", endpoint])).toThrow(UsageError);
    vi.unstubAllEnvs();
  });

  test("all of them", () => {
    const args =
      "--model m.gguf --tokens 1,2,3 --max-tokens 0 --temperature .7 --top-k 40 --top-p 0.9 --seed 5";
    const route = "--task 2 --experts 0,3;;1 --route-seed 9";
    const paging = "--gpu-experts 12.5% --host-cache 64M --store memory --policy lru --predictor path";
    const more = "--logits l.f32 --trace t.trace --json --backend node --install q4_0";
    expect(parseOptions([args, route, paging, more].join(" ").split(" "))).toEqual({
      model: "m.gguf",
      prompt: [1, 2, 3],
      maxTokens: 0,
      temperature: 0.7,
      topK: 40,
      topP: 0.9,
      seed: 5,
      route: { task: 2, experts: [[0, 3], [], [1]], routeSeed: 9 },
      load: {
        memory: { gpuExperts: "12.5%", host: 64 * 2 ** 20 },
        experts: { policy: "lru", predictor: "path", trace: true },
        store: "memory",
        install: "q4_0",
      },
      logitsFile: "l.f32",
      traceFile: "t.trace",
      json: true,
      backend: "node",
      help: false,
    });
  });

  test("experts for all layers are one list", () => {
    expect(parseOptions(["--experts", "4, 0"]).route).toEqual({ experts: [4, 0] });
    expect(() => parseOptions(["--experts", "a"])).toThrow(UsageError);
    expect(() => parseOptions(["--task", "-1"])).toThrow(UsageError);
  });

  test("a prompt may start with a dash after an equals sign", () => {
    expect(parseOptions(["--prompt=-- said the cat"]).prompt).toBe("-- said the cat");
  });

  test.each([
    ["0", 0],
    ["4096", 4096],
    ["3k", 3 * 2 ** 10],
    ["512M", 512 * 2 ** 20],
    ["2G", 2 * 2 ** 30],
    ["1.5G", 1.5 * 2 ** 30],
    ["0%", "0%"],
    ["33.3%", "33.3%"],
    ["100%", "100%"],
  ])("--gpu-experts %s", (text, expected) => {
    expect(parseOptions(["--gpu-experts", text]).load.memory).toEqual({ gpuExperts: expected });
  });

  test.each(["auto", "indexeddb", "opfs", "memory"] as const)("--store %s in a browser", (store) => {
    expect(parseOptions(["--store", store]).load).toMatchObject({ store });
  });

  test("the names of the engine", () => {
    expect(() => parseOptions(["--policy", "fifo"])).toThrow(/--policy takes .*lru.*, not "fifo"/);
    expect(() => parseOptions(["--predictor", "oracle"])).toThrow(/--predictor takes .*next-gate\+path/);
    expect(USAGE).toContain("weighted");
    expect(USAGE).toContain("last-token");
  });

  test("under Node only memory keeps pages", () => {
    const args = ["--backend", "node", "--store"];
    expect(parseOptions([...args, "memory"]).load.store).toBe("memory");
    expect(() => parseOptions([...args, "opfs"])).toThrow(/--store .*only memory.*--backend node/);
    expect(() => parseOptions([...args, "auto"])).toThrow(UsageError);
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
    ["--gpu-experts 101%"],
    ["--gpu-experts=-1"],
    ["--gpu-experts=-5%"],
    ["--gpu-experts %"],
    ["--gpu-experts 25MB"],
    ["--gpu-experts 1.5"],
    ["--gpu-experts 9999999999G"],
    ["--host-cache 25%"],
    ["--host-cache 1T"],
    ["--host-cache="],
    ["--store disk"],
    ["--store="],
    ["--install q5_0"],
    ["--install="],
    ["--policy toString"],
    ["--predictor="],
    ["--trace="],
    ["--json=yes"],
  ])("%s is wrong usage", (line) => {
    expect(() => parseOptions(line.split(" "))).toThrow(UsageError);
  });
});
