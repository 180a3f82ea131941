// y[t, h, c] = Σ_r w[h, r, c] · x[t, h, r]: every head has a matrix of its own, used the other way round.
//
// Grid: (heads · BLOCKS, tokens / TILE). A lane owns a group of 32 columns of one head, ROW_LANES groups a workgroup, and
// takes each SPLITS-th row, for TILE tokens: 32 weights of a row are expanded once and used TILE times.
// Rows of a head in the matrix, BEGIN, END, FIRST_HEAD, and where heads lie in x and y: as head_matmul. Where a head's
// rows begin in the step before, what is here adds to what that gave.
// Joined: dequant_* of the weights' type, the stack, splits_*.
// UNROLL: as matmul.
// Edges: groups past COLS idle; tokens past params.tokens are computed from padding at most, and not written.
@group(0) @binding(0) var<storage, read> weights: array<vec4u>;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [tokens, X_ROW]
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;       // [tokens, Y_ROW / 4]

const GROUPS = COLS / 32u;
const BLOCKS = (GROUPS + ROW_LANES - 1u) / ROW_LANES;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let head = FIRST_HEAD + group.x / BLOCKS;
  let rows = head * W_EACH + W_FIRST;
  let begin = max(rows, BEGIN);
  let end = min(rows + ROWS, END);
  if (begin >= end) {
    return;
  }
  let g = (group.x % BLOCKS) * ROW_LANES + lane % ROW_LANES;
  let split = lane / ROW_LANES;
  let first = group.y * TILE;
  let count = min(TILE, params.tokens - first);
  let inputs = first * X_ROW + head * X_EACH + X_FIRST;
  var sum: array<array<vec4f, 8>, TILE>;
  if (g < GROUPS) {
    for (var r = begin + split; r < end; r += SPLITS) {
      let w = weight(piece(r - BEGIN), g);
      for (var t = 0u; t < select(count, TILE, UNROLL); t++) {
        let v = x[inputs + t * X_ROW + r - rows];
        sum[t][0] += v * w[0];
        sum[t][1] += v * w[1];
        sum[t][2] += v * w[2];
        sum[t][3] += v * w[3];
        sum[t][4] += v * w[4];
        sum[t][5] += v * w[5];
        sum[t][6] += v * w[6];
        sum[t][7] += v * w[7];
      }
    }
  }
  for (var t = 0u; t < select(count, TILE, UNROLL); t++) {
    for (var i = 0u; i < 8u; i++) {
      let total = vec4f(sum_splits(sum[t][i].xy, lane), sum_splits(sum[t][i].zw, lane));
      let at = ((first + t) * Y_ROW + head * Y_EACH + Y_FIRST) / 4u + g * 8u + i;
      if (split == 0u && t < count && g < GROUPS) {
        if (rows < BEGIN) {
          y[at] += total;
        } else {
          y[at] = total;
        }
      }
    }
  }
}
