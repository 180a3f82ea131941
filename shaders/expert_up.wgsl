// hidden[pair, r] = activation(up[r]·x[token], 1), for the expert in the pair's slot. The product is scaled and then given
// its bias, where the page has them; with `input_weight_route` x is weight[pair] · x.
//
// Grid: (ROWS / 2 / LANES, tiles). A lane owns rows r and r + LANES for the TILE pairs of a tile.
// Joined: dequant_*, dot32, `up` (with scale and bias) generated from the page, activation_*, input_weight_*, route_set,
// tiles_*.
// UNROLL: as matmul.
// Edges: as expert_gate_up.
@group(0) @binding(0) var<storage, read> weights: array<vec4u>;           // SLOTS pages
@group(0) @binding(1) var<storage, read> x: array<vec4f>;                 // [tokens, COLS / 4]
@group(0) @binding(2) var<storage, read_write> hidden: array<f32>;        // [tokens · ROUTES, ROWS]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let row = group.x * (2u * LANES) + lane;
  let tile = tile_at(group.y);
  let slot = tile.slot - FIRST_SLOT;
  if (slot >= SLOTS || tile.count == 0u || row >= ROWS) {
    return;
  }
  let page = slot * PAGE_VECTORS;
  let second = min(row + LANES, ROWS - 1u);
  var start: array<u32, TILE>;
  for (var i = 0u; i < select(tile.count, TILE, UNROLL); i++) {
    start[i] = pair_at(tile.first + min(i, tile.count - 1u)) / ROUTES * (COLS / 4u);
  }
  var sum: array<vec2f, TILE>;
  for (var g = 0u; g < COLS / 32u; g++) {
    let weight_a = up(page, row, g);
    let weight_b = up(page, second, g);
    for (var i = 0u; i < select(tile.count, TILE, UNROLL); i++) {
      sum[i] += dot32(weight_a, weight_b, start[i] + g * 8u);
    }
  }
  for (var i = 0u; i < tile.count; i++) {
    let pair = pair_at(tile.first + i);
    let products = input_weighted(pair, sum[i]);
    let to = pair * ROWS;
    hidden[to + row] = activation(up_finish(page, row, products.x), 1.0);
    if (row + LANES < ROWS) {
      hidden[to + row + LANES] = activation(up_finish(page, row + LANES, products.y), 1.0);
    }
  }
}
