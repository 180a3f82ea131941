// y[t, c] (+)= SCALE · (p · a[t, c] + (1 − p) · b[t, c]),  p = softmax(z[t])[0]
//
// Grid: (COLS / LANES, tokens). A lane owns one element of a token.
@group(0) @binding(0) var<storage, read> z: array<f32>;          // [tokens, 2]
@group(0) @binding(1) var<storage, read> a: array<f32>;          // [tokens, COLS]
@group(0) @binding(2) var<storage, read> b: array<f32>;          // [tokens, COLS]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;    // [tokens, COLS]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let c = group.x * LANES + lane;
  if (c >= COLS) {
    return;
  }
  let at = group.y * COLS + c;
  // Both shares from the same power, which is at most 1: the smaller keeps its last places.
  let d = z[2u * group.y] - z[2u * group.y + 1u];
  let power = exp(-abs(d));
  let large = 1.0 / (1.0 + power);
  let small = power * large;
  var sum = SCALE * (select(small, large, d >= 0.0) * a[at] + select(large, small, d >= 0.0) * b[at]);
  if (ADD) {
    sum += y[at];
  }
  y[at] = sum;
}
