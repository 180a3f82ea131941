// n[t, c] = (x[row, c] − m) · w[c] / sqrt(mean_c((x[row, c] − m)²) + EPSILON) + b[c], row = t, or params.row in the head
// y[t, c] = n[t, c], or y[t, c] + SCALE · n[t, c] where ADD
//   m = mean_c(x[row, c]) where LAYER, else 0; b = 0 unless BIASED
//
// Grid: (1, tokens). A workgroup owns a row; lane l takes vectors l, l + LANES, …
// Joined: reduce_*.
@group(0) @binding(0) var<storage, read> weights: array<vec4f>;  // the page; w starts at vector BASE
@group(0) @binding(1) var<storage, read> x: array<vec4f>;        // [tokens, COLS / 4]
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;  // [tokens, COLS / 4]
@group(0) @binding(3) var<storage, read> biases: array<vec4f>;   // the page; b starts at vector BIAS_BASE

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let start = select(group.y, params.row, HEAD) * (COLS / 4u);
  let to = group.y * (COLS / 4u);
  var middle = 0.0;
  if (LAYER) {
    var sums = vec4f();
    for (var i = lane; i < COLS / 4u; i += LANES) {
      sums += x[start + i];
    }
    middle = reduce_sum(dot(sums, vec4f(1.0)), lane) / f32(COLS);
  }
  var squares = vec4f();
  for (var i = lane; i < COLS / 4u; i += LANES) {
    let centred = less(x[start + i], middle);
    squares += centred * centred;
  }
  let mean = reduce_sum(dot(squares, vec4f(1.0)), lane) / f32(COLS);
  let scale = inverseSqrt(mean + EPSILON);
  for (var i = lane; i < COLS / 4u; i += LANES) {
    var normed = less(x[start + i], middle) * scale * weights[BASE + i];
    if (BIASED) {
      normed += biases[BIAS_BASE + i];
    }
    if (ADD) {
      normed = y[to + i] + SCALE * normed;
    }
    y[to + i] = normed;
  }
}

fn less(v: vec4f, middle: f32) -> vec4f {
  if (LAYER) {
    return v - middle;
  }
  return v;
}
