import { doubleOnGpu } from "./webgpu_double.ts";

self.onmessage = async (event: MessageEvent<Float32Array<ArrayBuffer>>) => {
  self.postMessage(await doubleOnGpu(event.data));
};
