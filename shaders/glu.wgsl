// h[t, r] = silu(gu[t, r]) · gu[t, ROWS + r] · (GATED ? sigmoid(gu[t, 2 · ROWS]) : 1)
//
// Grid: (ROWS / LANES, tokens). A lane owns one row of a token. `gu` is what a matmul over gate and up, stacked,
// gives, behind them the single row of the gate over it all, where there is one.
@group(0) @binding(0) var<storage, read> gu: array<f32>;         // [tokens, 2 · ROWS (+ 1)]
@group(0) @binding(1) var<storage, read_write> h: array<f32>;    // [tokens, ROWS]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let row = group.x * LANES + lane;
  if (row >= ROWS) {
    return;
  }
  let start = group.y * (2u * ROWS + select(0u, 1u, GATED));
  let a = gu[start + row];
  var value = a / (1.0 + exp(-a)) * gu[start + ROWS + row];
  if (GATED) {
    value /= 1.0 + exp(-gu[start + 2u * ROWS]);
  }
  h[group.y * ROWS + row] = value;
}
