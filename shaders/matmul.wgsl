// y[t, r] = scale(r) · Σ_c w[r, c] · x[t, c] + bias(r)     (or y += …, by the epilogue joined)
//
// Grid: (rows / ROW_LANES, tokens / TILE). A lane owns one row and a 1/SPLITS share of its columns, for
// TILE tokens: each group of 32 weights is expanded once and used TILE times.
// Joined: dequant_* of the weights' type, the stack (matrices over the same input, as one), splits_*, epilogue_*.
// Edges: rows past ROWS idle; tokens past params.tokens are computed from padding and not written.
@group(0) @binding(0) var<storage, read> weights: array<vec4u>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;        // [tokens, COLS / 4]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;    // [tokens, OUT_COLS]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = group.x * ROW_LANES + lane % ROW_LANES;
  let split = lane / ROW_LANES;
  let first = group.y * TILE;
  let p = piece(row);
  var sum: array<vec4f, TILE>;
  if (row < ROWS) {
    for (var g = split; g < COLS / 32u; g += SPLITS) {
      let w = weight(p, g);
      for (var t = 0u; t < TILE; t++) {
        let at = (first + t) * (COLS / 4u) + g * 8u;
        for (var j = 0u; j < 8u; j++) {
          sum[t] += w[j] * x[at + j];
        }
      }
    }
  }
  for (var t = 0u; t < TILE; t++) {
    let total = sum_splits(dot(sum[t], vec4f(1.0)), lane);
    if (split == 0u && row < ROWS && first + t < params.tokens) {
      finish((first + t) * OUT_COLS + p.out, scale(p) * total + bias(p));
    }
  }
}
