const SHADER = `
@group(0) @binding(0) var<storage, read_write> values: array<f32>;
@compute @workgroup_size(4) fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < arrayLength(&values)) { values[id.x] *= 2.0; }
}`;

/** The least that shows a working adapter: `values`, each doubled by a compute shader. */
export async function doubleOnGpu(values: Float32Array<ArrayBuffer>): Promise<Float32Array> {
  const adapter = await navigator.gpu.requestAdapter();
  if (adapter === null) throw new Error("no WebGPU adapter");
  const device = await adapter.requestDevice();
  const { STORAGE, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage;
  const buffer = device.createBuffer({ size: values.byteLength, usage: STORAGE | COPY_SRC | COPY_DST });
  const staging = device.createBuffer({ size: values.byteLength, usage: MAP_READ | COPY_DST });
  device.queue.writeBuffer(buffer, 0, values);
  const module = device.createShaderModule({ code: SHADER });
  const pipeline = device.createComputePipeline({ layout: "auto", compute: { module } });
  const group = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [{ binding: 0, resource: { buffer } }],
  });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  pass.dispatchWorkgroups(Math.ceil(values.length / 4));
  pass.end();
  encoder.copyBufferToBuffer(buffer, 0, staging, 0, values.byteLength);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ);
  const doubled = new Float32Array(staging.getMappedRange().slice(0));
  device.destroy();
  return doubled;
}
