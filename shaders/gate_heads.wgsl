// attended[t, h, i] *= sigmoid(source[t, AT + h · STEP + i]), i = 0 for the whole head where PER_HEAD
//
// Grid: (HEADS · SIZE / LANES, tokens). A lane owns one element of a token.
@group(0) @binding(0) var<storage, read> source: array<f32>;          // [tokens, COLUMNS]
@group(0) @binding(1) var<storage, read_write> attended: array<f32>;  // [tokens, HEADS, SIZE]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let element = group.x * LANES + lane;
  if (element >= HEADS * SIZE) {
    return;
  }
  let i = select(element % SIZE, 0u, PER_HEAD);
  let gate = source[group.y * COLUMNS + AT + element / SIZE * STEP + i];
  attended[group.y * HEADS * SIZE + element] /= 1.0 + exp(-gate);
}
