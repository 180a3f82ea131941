// y[t, FIRST + r] = Σ_c W[r, c] · x[t, c], BIASED: + b[r], ADD: y += …, for a matrix of f32 of any size: those whose rows are no whole groups
//
// Grid: (ROWS / LANES, tokens). A lane owns one row of a token.
@group(0) @binding(0) var<storage, read> weights: array<vec4f>;     // the page; W [ROWS, COLS] from vector BASE, b [ROWS] from BIAS
@group(0) @binding(1) var<storage, read> x: array<f32>;             // [tokens, COLS]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;       // [tokens, OUT_COLS]

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
  if (BIASED) {
    sum = weights[BIAS + row / 4u][row % 4u];
  }
  for (var c = 0u; c < COLS; c++) {
    let i = row * COLS + c;
    sum += weights[BASE + i / 4u][i % 4u] * x[group.y * COLS + c];
  }
  let at = group.y * OUT_COLS + FIRST + row;
  if (ADD) {
    y[at] += sum;
  } else {
    y[at] = sum;
  }
}
