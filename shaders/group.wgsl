// Sorts the (token, choice) pairs of a chunk by expert and cuts each expert's run into tiles of TILE pairs.
//   histogram → offsets → permutation, stable: within an expert, pairs keep their order.
//
// Grid: (1, 1). Lane l counts and places the pairs of experts l, l + LANES, …; lane 0 adds up the offsets.
// Edges: pairs past a token's count belong to nobody; tiles past the last get count 0.
// Joined: route_set.
@group(0) @binding(0) var<storage, read> routes: array<Route>;        // [tokens, ROUTES]
@group(0) @binding(1) var<storage, read> counts: array<u32>;          // [tokens]
@group(0) @binding(2) var<storage, read_write> tiles: array<Tile>;    // [TILES]
@group(0) @binding(3) var<storage, read_write> pairs: array<u32>;     // [tokens · ROUTES]

struct Tile {
  slot: u32,
  first: u32,
  count: u32,
}

var<workgroup> histogram: array<u32, EXPERTS>;
var<workgroup> first_pair: array<u32, EXPERTS>;
var<workgroup> first_tile: array<u32, EXPERTS>;
var<workgroup> tiles_used: u32;

fn belongs(pair: u32, expert: u32) -> bool {
  return pair % ROUTES < counts[pair / ROUTES] && routes[pair].expert == expert;
}

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let end = params.tokens * ROUTES;
  for (var e = lane; e < EXPERTS; e += LANES) {
    var count = 0u;
    for (var i = 0u; i < end; i++) {
      count += select(0u, 1u, belongs(i, e));
    }
    histogram[e] = count;
  }
  workgroupBarrier();
  if (lane == 0u) {
    var pair = 0u;
    var tile = 0u;
    for (var e = 0u; e < EXPERTS; e++) {
      first_pair[e] = pair;
      first_tile[e] = tile;
      pair += histogram[e];
      tile += (histogram[e] + TILE - 1u) / TILE;
    }
    tiles_used = tile;
  }
  workgroupBarrier();
  for (var e = lane; e < EXPERTS; e += LANES) {
    var to = first_pair[e];
    for (var i = 0u; i < end; i++) {
      if (belongs(i, e)) {
        // The first pair of a tile writes the tile.
        let placed = to - first_pair[e];
        if (placed % TILE == 0u) {
          tiles[first_tile[e] + placed / TILE] = Tile(routes[i].slot, to, min(TILE, histogram[e] - placed));
        }
        pairs[to] = i;
        to++;
      }
    }
  }
  for (var t = tiles_used + lane; t < TILES; t += LANES) {
    tiles[t] = Tile(ABSENT, 0u, 0u);
  }
}
