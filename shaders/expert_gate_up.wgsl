// hidden[pair, r] = activation(gate[r]·x[token], up[r]·x[token]), for the expert in the pair's slot. Each product is
// scaled and then given its bias, where the page has them; with `input_weight_route` x is weight[pair] · x.
//
// Grid: (ROWS / LANES, tiles). A lane owns row r of gate and of up for the TILE pairs of a tile.
// Joined: dequant_*, dot32, `gate` and `up` (with scales and biases) generated from the page, activation_*,
// input_weight_*, route_set, tiles_*.
// UNROLL: as matmul.
// Edges: a tile whose slot lies outside [FIRST_SLOT, FIRST_SLOT + SLOTS) is another segment's, or nobody's.
@group(0) @binding(0) var<storage, read> weights: array<vec4u>;           // SLOTS pages
@group(0) @binding(1) var<storage, read> x: array<vec4f>;                 // [tokens, COLS / 4]
@group(0) @binding(2) var<storage, read_write> hidden: array<f32>;        // [tokens · ROUTES, ROWS]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let row = group.x * LANES + lane;
  let tile = tile_at(group.y);
  let slot = tile.slot - FIRST_SLOT;
  if (slot >= SLOTS || tile.count == 0u || row >= ROWS) {
    return;
  }
  let page = slot * PAGE_VECTORS;
  var start: array<u32, TILE>;
  for (var i = 0u; i < select(tile.count, TILE, UNROLL); i++) {
    start[i] = pair_at(tile.first + min(i, tile.count - 1u)) / ROUTES * (COLS / 4u);
  }
  var sum: array<vec2f, TILE>;
  for (var g = 0u; g < COLS / 32u; g++) {
    let gate_weight = gate(page, row, g);
    let up_weight = up(page, row, g);
    for (var i = 0u; i < select(tile.count, TILE, UNROLL); i++) {
      sum[i] += dot32(gate_weight, up_weight, start[i] + g * 8u);
    }
  }
  for (var i = 0u; i < tile.count; i++) {
    let pair = pair_at(tile.first + i);
    let products = input_weighted(pair, sum[i]);
    let a = gate_finish(page, row, products.x);
    let b = up_finish(page, row, products.y);
    hidden[pair * ROWS + row] = activation(a, b);
  }
}
