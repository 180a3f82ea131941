// x[t, c] = f(Σ_i gate[c, i] · p[i]) · Σ_i value[c, i] · p[i],  p = points[position + t]
//
// Grid: (COLS / LANES, tokens). A lane owns one element of a point's row.
// Joined: activation_*.
@group(0) @binding(0) var<storage, read> gates: array<f32>;       // the page; [COLS, SIZE] from vector GATE_BASE
@group(0) @binding(1) var<storage, read> values: array<f32>;      // the page; [COLS, SIZE] from vector VALUE_BASE
@group(0) @binding(2) var<storage, read> points: array<f32>;      // [context + 1, SIZE]
@group(0) @binding(3) var<storage, read_write> x: array<f32>;     // [tokens, COLS]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let c = group.x * LANES + lane;
  if (c >= COLS) {
    return;
  }
  var gate = 0.0;
  var value = 0.0;
  for (var i = 0u; i < SIZE; i++) {
    let p = points[(params.position + group.y) * SIZE + i];
    gate += gates[4u * GATE_BASE + c * SIZE + i] * p;
    value += values[4u * VALUE_BASE + c * SIZE + i] * p;
  }
  x[group.y * COLS + c] = activation(gate, value);
}
