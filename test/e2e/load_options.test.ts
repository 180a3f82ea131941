import { describe, expect, test } from "vitest";
import type { EngineLoadOptions, EngineService, LoadOptions, Progress } from "../../src/api.ts";
import { POLICIES } from "../../src/experts/policy/index.ts";
import { PREDICTORS } from "../../src/experts/predictor/index.ts";
import { loadOn } from "../../src/language_model.ts";

const SOURCE = "https://example.com/model.gguf";

/** An engine that remembers what it was told to load. */
function fakeEngine() {
  const seen: { options?: EngineLoadOptions; report?: (progress: Progress) => void; disposed: boolean } = {
    disposed: false,
  };
  const engine = {
    load: async (_spec: unknown, options: EngineLoadOptions, report: (progress: Progress) => void) => {
      Object.assign(seen, { options, report });
      return { info: {}, vocabulary: {} };
    },
    trace: async () => "routes",
    install: async () => {},
    abort: async () => {},
    dispose: async () => {
      seen.disposed = true;
    },
  };
  return { engine: engine as unknown as EngineService, seen };
}

describe("load options", () => {
  test("reach the engine as they are", async () => {
    const { engine, seen } = fakeEngine();
    const options: LoadOptions = {
      contextTokens: 64,
      memory: { gpu: 1e9, gpuExperts: "12.5%", host: 0 },
      experts: { policy: "lru", predictor: "next-gate", trace: true },
      install: "q8_0",
    };
    const model = await loadOn(engine, SOURCE, options);
    expect(seen.options).toEqual(options);
    expect(await model.trace()).toBe("routes");
    await model.install();
    expect(seen.disposed).toBe(false);
  });

  test("progress goes on after the load", async () => {
    const { engine, seen } = fakeEngine();
    const phases: string[] = [];
    await loadOn(engine, SOURCE, { onProgress: ({ phase }) => phases.push(phase) });
    seen.report?.({ phase: "install", bytesDone: 1, bytesTotal: 2 });
    expect(phases).toEqual(["install"]);
  });

  test.each(Object.keys(POLICIES))("the policy %s", async (policy) => {
    await loadOn(fakeEngine().engine, SOURCE, { experts: { policy } } as LoadOptions);
  });

  test.each(Object.keys(PREDICTORS))("the predictor %s", async (predictor) => {
    await loadOn(fakeEngine().engine, SOURCE, { experts: { predictor } } as LoadOptions);
  });

  test.each([0, 1.5, 2 ** 40, "0%", "100%", ".5%"])("gpuExperts may be %s", async (gpuExperts) => {
    await loadOn(fakeEngine().engine, SOURCE, { memory: { gpuExperts } } as LoadOptions);
  });

  test.each([
    [{ memory: { gpu: -1 } }, "memory.gpu is -1", "bytes"],
    [{ memory: { gpu: "50%" } }, "memory.gpu is 50%", "bytes"],
    [{ memory: { host: Number.NaN } }, "memory.host is NaN", "bytes"],
    [{ memory: { host: Number.POSITIVE_INFINITY } }, "memory.host is Infinity", "bytes"],
    [{ memory: { gpuExperts: "101%" } }, "memory.gpuExperts is 101%", "100%"],
    [{ memory: { gpuExperts: "-5%" } }, "memory.gpuExperts is -5%", "100%"],
    [{ memory: { gpuExperts: "25" } }, "memory.gpuExperts is 25", "100%"],
    [{ memory: { gpuExperts: null } }, "memory.gpuExperts is null", "100%"],
    [{ experts: { policy: "fifo" } }, "experts.policy is fifo", "weighted"],
    [{ install: "q5_0" }, "install is q5_0", "q8_0"],
    [{ experts: { predictor: "toString" } }, "experts.predictor is toString", "next-gate+path"],
  ])("%j is refused, and the engine disposed of", async (options, message, remedy) => {
    const { engine, seen } = fakeEngine();
    await expect(loadOn(engine, SOURCE, options as LoadOptions)).rejects.toMatchObject({
      code: "bad-request",
      message,
      remedy: expect.stringContaining(remedy),
    });
    expect(seen).toEqual({ disposed: true });
  });
});
