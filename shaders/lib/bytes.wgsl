// The four bytes of a word as floats, lowest first.
fn bytes(word: u32) -> vec4f {
  return vec4f((vec4u(word) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(255u));
}

fn signed_bytes(word: u32) -> vec4f {
  return vec4f(bitcast<vec4i>(vec4u(word) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u));
}

// Its four low or high nibbles.
fn low_nibbles(word: u32) -> vec4f {
  return bytes(word & 0x0f0f0f0fu);
}

fn high_nibbles(word: u32) -> vec4f {
  return bytes((word >> 4u) & 0x0f0f0f0fu);
}
