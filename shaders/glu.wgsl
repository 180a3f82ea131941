// h[t, r] = activation(gu[t, r], gu[t, ROWS + r]) · (GATED ? sigmoid(gu[t, 2 · ROWS]) : 1)
// SINGLE: there is one matrix, not two, and h[t, r] = activation(gu[t, r], 1) · (GATED ? sigmoid(gu[t, ROWS]) : 1)
//
// Grid: (ROWS / LANES, tokens). A lane owns one row of a token. `gu` is what a matmul over gate and up, stacked,
// gives, behind them the single row of the gate over it all, where there is one.
// Joined: activation_*.
@group(0) @binding(0) var<storage, read> gu: array<f32>;         // [tokens, MATRICES · ROWS (+ 1)]
@group(0) @binding(1) var<storage, read_write> h: array<f32>;    // [tokens, ROWS]

const MATRICES = select(2u, 1u, SINGLE);

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let row = group.x * LANES + lane;
  if (row >= ROWS) {
    return;
  }
  let start = group.y * (MATRICES * ROWS + select(0u, 1u, GATED));
  var up = 1.0;
  if (!SINGLE) {
    up = gu[start + ROWS + row];
  }
  var value = activation(gu[start + row], up);
  if (GATED) {
    value /= 1.0 + exp(-gu[start + MATRICES * ROWS]);
  }
  h[group.y * ROWS + row] = value;
}
