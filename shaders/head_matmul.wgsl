// y[t, h, r] = scale · Σ_c w[h, r, c] · x[t, h, c] + bias: every head has a matrix of its own.
//
// Grid: (heads · BLOCKS, tokens / TILE). As matmul: a lane owns two rows of one head, ROW_LANES apart, and a 1/SPLITS
// share of their columns, for TILE tokens.
// Row r of head h is row h · W_EACH + W_FIRST + r of the matrix, of which the stack has rows BEGIN to END − 1: a matrix cut
// between pages may end anywhere, a head included. FIRST_HEAD is the first it has a row of.
// Element i of head h of token t lies at t · ROW + h · EACH + FIRST + i, in x and in y each with its own three numbers.
// Joined: dequant_* of the weights' type, dot32, the stack, splits_*.
// UNROLL: as matmul.
// Edges: rows that are another step's idle; tokens past params.tokens are computed from padding at most, and not written.
@group(0) @binding(0) var<storage, read> weights: array<vec4u>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;        // [tokens, X_ROW / 4]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;    // [tokens, Y_ROW]

const BLOCKS = (ROWS + 2u * ROW_LANES - 1u) / (2u * ROW_LANES);

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let head = FIRST_HEAD + group.x / BLOCKS;
  let row = (group.x % BLOCKS) * (2u * ROW_LANES) + lane % ROW_LANES;
  let split = lane / ROW_LANES;
  let first = group.y * TILE;
  let a = piece_of(head, row);
  let b = piece_of(head, row + ROW_LANES);
  let owns_a = owned(head, row);
  let owns_b = owned(head, row + ROW_LANES);
  let count = min(TILE, params.tokens - first);
  var sum: array<vec2f, TILE>;
  if (owns_a || owns_b) {
    for (var g = split; g < COLS / 32u; g += SPLITS) {
      let weight_a = weight(a, g);
      let weight_b = weight(b, g);
      for (var t = 0u; t < select(count, TILE, UNROLL); t++) {
        sum[t] += dot32(weight_a, weight_b, ((first + t) * X_ROW + head * X_EACH + X_FIRST) / 4u + g * 8u);
      }
    }
  }
  for (var t = 0u; t < select(count, TILE, UNROLL); t++) {
    let total = sum_splits(sum[t], lane);
    let at = (first + t) * Y_ROW + head * Y_EACH + Y_FIRST + row;
    if (split == 0u && t < count) {
      if (owns_a) {
        y[at] = scale(a) * total.x + bias(a);
      }
      if (owns_b) {
        y[at + ROW_LANES] = scale(b) * total.y + bias(b);
      }
    }
  }
}

fn matrix_row(head: u32, row: u32) -> u32 {
  return head * W_EACH + W_FIRST + row;
}

fn owned(head: u32, row: u32) -> bool {
  let at = matrix_row(head, row);
  return row < ROWS && at >= BEGIN && at < END;
}

// Of a row that is not owned, any: what it gives is not written.
fn piece_of(head: u32, row: u32) -> Piece {
  return piece(clamp(matrix_row(head, row), BEGIN, END - 1u) - BEGIN);
}
