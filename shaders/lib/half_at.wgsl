// The f16 at index `i` of a plane of halves that starts at vector `plane`.
fn half_at(plane: u32, i: u32) -> f32 {
  let pair = unpack2x16float(weights[plane + (i >> 3u)][(i >> 1u) & 3u]);
  return select(pair.x, pair.y, (i & 1u) == 1u);
}
