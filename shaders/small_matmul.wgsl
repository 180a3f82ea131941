// y[t, r] = Σ_c W[r, c] · x[t, c], ADD: y += …, for a matrix of f32 of any size: those whose rows are no whole groups
//
// Grid: (ROWS / LANES, tokens). A lane owns one row of a token.
@group(0) @binding(0) var<storage, read> weights: array<vec4f>;     // the page; [ROWS, COLS] from vector BASE
@group(0) @binding(1) var<storage, read> x: array<f32>;             // [tokens, COLS]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;       // [tokens, ROWS]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let row = group.x * LANES + lane;
  if (row >= ROWS) {
    return;
  }
  var sum = 0.0;
  for (var c = 0u; c < COLS; c++) {
    let i = row * COLS + c;
    sum += weights[BASE + i / 4u][i % 4u] * x[group.y * COLS + c];
  }
  let at = group.y * ROWS + row;
  if (ADD) {
    y[at] += sum;
  } else {
    y[at] = sum;
  }
}
