import { test } from "vitest";
import { requestAdapter } from "/work/main/test/support/gpu.ts";
import { Gpu } from "/work/main/src/gpu/gpu.ts";
import { openRunner, smallModel, prefillLogits } from "/work/main/test/support/engine.ts";
test("t", async () => {
  const adapter = await requestAdapter();
  const software = process.env.SW === undefined ? {} : { software: process.env.SW === "1" };
  const gpu = await Gpu.open(adapter!, software);
  const create = gpu.device.createComputePipelineAsync.bind(gpu.device);
  let chain: Promise<unknown> = Promise.resolve();
  const times: [string, number, number][] = [];
  gpu.device.createComputePipelineAsync = (d: any) => {
    const p = chain.then(async () => { const t = performance.now(); const r = await create(d); times.push([d.label, performance.now() - t, 0]); return r; });
    chain = p; return p as any;
  };
  const t0 = performance.now();
  const o = await openRunner(gpu, smallModel());
  console.log("load", performance.now() - t0);
  times.sort((a, b) => b[1] - a[1]);
  console.log(times.slice(0, 14).map(([l, t]) => `${l} ${t.toFixed(0)}`).join("\n"), times.length);
  const t1 = performance.now();
  await prefillLogits(o, [1,2,3]);
  console.log("prefill", performance.now() - t1);
});
