// y[t, r] = FINISH_SCALE · (scale(r) · Σ_c w[r, c] · x[t, c] + bias(r))     (or as the epilogue joined has it)
//
// Grid: (rows / 2 / ROW_LANES, tokens / TILE). A lane owns two rows, ROW_LANES apart, and a 1/SPLITS share of
// their columns, for TILE tokens: a group of 32 weights is expanded once and used TILE times, 32 inputs are
// loaded once and used twice.
// Where SCALES_BIAS, scale(r) multiplies bias(r) too.
// Joined: dequant_* of the weights' type, dot32, the stack (matrices over one input as one), splits_*, epilogue_*.
// UNROLL: loops over the tile end at a constant, so that compilers unroll them and keep `sum` in registers.
// Without it they end at the tokens there are: less work where registers are memory anyway, and much less to compile.
// Edges: rows past ROWS idle; tokens past params.tokens are computed from padding at most, and not written.
@group(0) @binding(0) var<storage, read> weights: array<vec4u>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;        // [tokens, COLS / 4]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;    // [tokens, OUT_COLS]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let row = group.x * (2u * ROW_LANES) + lane % ROW_LANES;
  let split = lane / ROW_LANES;
  let first = group.y * TILE;
  let a = piece(row);
  let b = piece(min(row + ROW_LANES, ROWS - 1u));
  let count = min(TILE, params.tokens - first);
  var sum: array<vec2f, TILE>;
  if (row < ROWS) {
    for (var g = split; g < COLS / 32u; g += SPLITS) {
      let weight_a = weight(a, g);
      let weight_b = weight(b, g);
      for (var t = 0u; t < select(count, TILE, UNROLL); t++) {
        sum[t] += dot32(weight_a, weight_b, (first + t) * (COLS / 4u) + g * 8u);
      }
    }
  }
  for (var t = 0u; t < select(count, TILE, UNROLL); t++) {
    let total = sum_splits(sum[t], lane);
    let at = (first + t) * OUT_COLS;
    if (split == 0u && t < count) {
      if (row < ROWS) {
        finish(at + a.out, FINISH_SCALE * scaled(a, total.x));
      }
      if (row + ROW_LANES < ROWS) {
        finish(at + b.out, FINISH_SCALE * scaled(b, total.y));
      }
    }
  }
}

fn scaled(p: Piece, product: f32) -> f32 {
  if (SCALES_BIAS) {
    return scale(p) * (product + bias(p));
  }
  return scale(p) * product + bias(p);
}
