// x[t, h, i] ← x[t, h, i] · w[i] / sqrt(mean_i(x[t, h, i]²) + EPSILON) · silu(z[t, GATE_AT + h · SIZE + i])
//
// Grid: (HEADS, tokens). A workgroup owns a head; lane l takes elements l, l + LANES, …
// Joined: reduce_*.
@group(0) @binding(0) var<storage, read> weights: array<f32>;     // the page; w [SIZE] from vector BASE
@group(0) @binding(1) var<storage, read> z: array<f32>;           // [tokens, GATE_COLS]
@group(0) @binding(2) var<storage, read_write> x: array<f32>;     // [tokens, HEADS, SIZE]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let head = group.x;
  let start = (group.y * HEADS + head) * SIZE;
  let gate = group.y * GATE_COLS + GATE_AT + head * SIZE;
  var squares = 0.0;
  for (var i = lane; i < SIZE; i += LANES) {
    squares += x[start + i] * x[start + i];
  }
  let scale = inverseSqrt(reduce_sum(squares, lane) / f32(SIZE) + EPSILON);
  for (var i = lane; i < SIZE; i += LANES) {
    let a = z[gate + i];
    x[start + i] *= scale * weights[4u * BASE + i] * a / (1.0 + exp(-a));
  }
}
