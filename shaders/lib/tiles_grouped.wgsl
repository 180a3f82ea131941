// Pairs sorted by expert; a tile is up to TILE pairs of one expert: prefill.
struct Tile {
  slot: u32,
  first: u32,
  count: u32,
}

@group(0) @binding(3) var<storage, read> tiles: array<Tile>;  // [TILES], count 0 past the last
@group(0) @binding(4) var<storage, read> pairs: array<u32>;   // [tokens · ROUTES], by expert

fn tile_at(t: u32) -> Tile {
  return tiles[t];
}

fn pair_at(i: u32) -> u32 {
  return pairs[i];
}
