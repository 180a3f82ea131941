// y[t, c] += SCALE · (Σ_p products[t, half, p, d] + Σ_k sums[t, half, k] · bias[half, k, d])
//   half = c / (COLS / HALVES), d = c mod (COLS / HALVES);  STORE: y = …
//
// Grid: (COLS / LANES, tokens). A lane owns an element of a token, so that the loads of a key's bias are neighbours.
@group(0) @binding(0) var<storage, read> products: array<f32>;     // [tokens, HALVES, PARTS, COLS / HALVES]
@group(0) @binding(1) var<storage, read> mixed: array<f32>;        // [tokens, ROW]; sums [HALVES, KEYS] from SUMS on
@group(0) @binding(2) var<storage, read> biases: array<f32>;       // the page; [KEYS, COLS / HALVES] from vectors BIAS_*
@group(0) @binding(3) var<storage, read_write> y: array<f32>;      // [tokens, COLS]

const HALF = COLS / HALVES;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let t = group.y;
  let c = group.x * LANES + lane;
  if (c >= COLS) {
    return;
  }
  let half = c / HALF;
  let d = c % HALF;
  var sum = 0.0;
  for (var p = 0u; p < PARTS; p++) {
    sum += products[((t * HALVES + half) * PARTS + p) * HALF + d];
  }
  let bias = 4u * select(BIAS_1, BIAS_2, half == 1u) + d;
  for (var k = 0u; k < KEYS; k++) {
    let w = mixed[t * ROW + SUMS + half * KEYS + k];
    if (w != 0.0) {
      sum += w * biases[bias + k * HALF];
    }
  }
  if (STORE) {
    y[t * COLS + c] = SCALE * sum;
  } else {
    y[t * COLS + c] += SCALE * sum;
  }
}
