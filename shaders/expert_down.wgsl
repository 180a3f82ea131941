// rows[pair, r] = down[r]·hidden[pair], for the expert in the pair's slot
//
// Grid: (ROWS / LANES, tiles). A lane owns row r for the TILE pairs of a tile. Each pair has a row of its own,
// whenever its expert is there; `combine` adds them up in a fixed order.
// Joined: dequant_*, `down` (with its scale) generated from the page, route_set, tiles_*.
// Edges: as expert_gate_up.
@group(0) @binding(0) var<storage, read> weights: array<vec4u>;        // SLOTS pages
@group(0) @binding(1) var<storage, read> hidden: array<vec4f>;         // [tokens · ROUTES, COLS / 4]
@group(0) @binding(2) var<storage, read_write> rows: array<f32>;       // [tokens · ROUTES, ROWS]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = group.x * LANES + lane;
  let tile = tile_at(group.y);
  let slot = tile.slot - FIRST_SLOT;
  if (slot >= SLOTS || tile.count == 0u || row >= ROWS) {
    return;
  }
  let page = slot * PAGE_VECTORS;
  var start: array<u32, TILE>;
  for (var i = 0u; i < TILE; i++) {
    start[i] = pair_at(tile.first + min(i, tile.count - 1u)) * (COLS / 4u);
  }
  var sum: array<vec4f, TILE>;
  for (var g = 0u; g < COLS / 32u; g++) {
    let w = down(page, row, g);
    for (var i = 0u; i < TILE; i++) {
      for (var j = 0u; j < 8u; j++) {
        sum[i] += w[j] * hidden[start[i] + g * 8u + j];
      }
    }
  }
  for (var i = 0u; i < tile.count; i++) {
    rows[pair_at(tile.first + i) * ROWS + row] = down_scale(page) * dot(sum[i], vec4f(1.0));
  }
}
