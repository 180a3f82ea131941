// x[t, c] = EMBED_SCALE · w[tokens[position + t], c], or where NEXT, of the one token that a head has just drawn,
//   x[0, c] = EMBED_SCALE · w[tokens[position + row + 1], c]
// BY_POSITION: the table has a row for each position, not for each token. ADD: x is added to.
//
// Grid: (COLS / 32 / LANES, tokens). A lane expands one group of 32 weights of its token's row.
// Edges: the table may be split by rows; this piece writes the tokens in [FIRST_ROW, FIRST_ROW + ROWS).
// A token outside the whole table writes nothing here or in any other piece; the engine admits none.
// Joined: dequant_*, the stack.
@group(0) @binding(0) var<storage, read> weights: array<vec4u>;
@group(0) @binding(1) var<storage, read> tokens: array<u32>;     // [context + 1]
@group(0) @binding(2) var<storage, read_write> x: array<vec4f>;  // [tokens, COLS / 4]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let g = group.x * LANES + lane;
  let position = params.position + select(group.y, params.row + 1u, NEXT);
  let row = select(tokens[position], position, BY_POSITION) - FIRST_ROW;
  if (g >= COLS / 32u || row >= ROWS) {
    return;
  }
  let w = weight(piece(row), g);
  let at = group.y * (COLS / 4u) + g * 8u;
  for (var j = 0u; j < 8u; j++) {
    if (ADD) {
      x[at + j] += EMBED_SCALE * w[j];
    } else {
      x[at + j] = EMBED_SCALE * w[j];
    }
  }
}
