@group(0) @binding(2) var<storage, read> all: array<f32>;               // [tokens, TASKS, EXPERTS]

fn logit(t: u32, e: u32) -> f32 {
  return all[(t * TASKS + request[TASK]) * EXPERTS + e];
}
