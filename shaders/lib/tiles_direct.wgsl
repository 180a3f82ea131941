// Each (token, choice) pair is a tile of its own: decode.
struct Tile {
  slot: u32,
  first: u32,
  count: u32,
}

@group(0) @binding(3) var<storage, read> routes: array<Route>; // [tokens, ROUTES]

fn tile_at(t: u32) -> Tile {
  if (t >= params.tokens * ROUTES) {
    return Tile(ABSENT, 0u, 0u);
  }
  return Tile(routes[t].slot, t, 1u);
}

fn pair_at(i: u32) -> u32 {
  return i;
}
