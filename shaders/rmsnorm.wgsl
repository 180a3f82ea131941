// y[t, c] = x[row, c] · w[c] / sqrt(mean_c(x[row, c]²) + EPSILON), row = t, or params.row in the head
//
// Grid: (1, tokens). A workgroup owns a row; lane l takes vectors l, l + LANES, …
// Joined: reduce_*.
@group(0) @binding(0) var<storage, read> weights: array<vec4f>;  // the page; w starts at vector BASE
@group(0) @binding(1) var<storage, read> x: array<vec4f>;        // [tokens, COLS / 4]
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;  // [tokens, COLS / 4]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let start = select(group.y, params.row, HEAD) * (COLS / 4u);
  let to = group.y * (COLS / 4u);
  var squares = vec4f();
  for (var i = lane; i < COLS / 4u; i += LANES) {
    squares += x[start + i] * x[start + i];
  }
  let mean = reduce_sum(dot(squares, vec4f(1.0)), lane) / f32(COLS);
  let scale = inverseSqrt(mean + EPSILON);
  for (var i = lane; i < COLS / 4u; i += LANES) {
    y[to + i] = x[start + i] * scale * weights[BASE + i];
  }
}
