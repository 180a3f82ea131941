import { expect, test } from "vitest";
import DoubleWorker from "./webgpu.worker.ts?worker&inline";
import { doubleOnGpu } from "./webgpu_double.ts";

const values = Float32Array.from([1, 2, 3, 4, 5]);
const doubled = [2, 4, 6, 8, 10];

test("the page has an adapter that computes", async () => {
  expect(Array.from(await doubleOnGpu(values))).toEqual(doubled);
});

test("a worker has an adapter that computes", async () => {
  const worker = new DoubleWorker();
  const answer = await new Promise<Float32Array>((resolve, reject) => {
    worker.onmessage = (event: MessageEvent<Float32Array>) => resolve(event.data);
    worker.onerror = reject;
    worker.postMessage(values);
  });
  worker.terminate();
  expect(Array.from(answer)).toEqual(doubled);
});

test("model files are served by range", async () => {
  const response = await fetch("/demo/tiny-stories-moe-Q4_K_M.gguf", { headers: { Range: "bytes=0-3" } });
  expect(response.status).toBe(206);
  expect(await response.text()).toBe("GGUF");
});
