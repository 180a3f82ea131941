// The word at index `i` of a plane of words that starts at vector `plane`.
fn word_at(plane: u32, i: u32) -> u32 {
  return weights[plane + (i >> 2u)][i & 3u];
}

// Vectors that a plane of `words` words takes.
fn word_plane(words: u32) -> u32 {
  return (words + 3u) / 4u;
}
