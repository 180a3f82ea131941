// 32 quants as floats, from the planes of `quant/layout.ts`: nibbles, bits, bit pairs.
fn nibbles32(q: vec4u) -> array<vec4f, 8> {
  return array<vec4f, 8>(
    low_nibbles(q.x),
    low_nibbles(q.y),
    low_nibbles(q.z),
    low_nibbles(q.w),
    high_nibbles(q.x),
    high_nibbles(q.y),
    high_nibbles(q.z),
    high_nibbles(q.w),
  );
}

fn bits32(bits: u32) -> array<vec4f, 8> {
  return array<vec4f, 8>(
    bytes(bits & 0x01010101u),
    bytes((bits >> 1u) & 0x01010101u),
    bytes((bits >> 2u) & 0x01010101u),
    bytes((bits >> 3u) & 0x01010101u),
    bytes((bits >> 4u) & 0x01010101u),
    bytes((bits >> 5u) & 0x01010101u),
    bytes((bits >> 6u) & 0x01010101u),
    bytes((bits >> 7u) & 0x01010101u),
  );
}

fn pairs32(pairs: vec2u) -> array<vec4f, 8> {
  return array<vec4f, 8>(
    bytes(pairs.x & 0x03030303u),
    bytes((pairs.x >> 2u) & 0x03030303u),
    bytes((pairs.x >> 4u) & 0x03030303u),
    bytes((pairs.x >> 6u) & 0x03030303u),
    bytes(pairs.y & 0x03030303u),
    bytes((pairs.y >> 2u) & 0x03030303u),
    bytes((pairs.y >> 4u) & 0x03030303u),
    bytes((pairs.y >> 6u) & 0x03030303u),
  );
}

// 3 bits: a pair and the bit above it.
fn threes32(pairs: vec2u, high: u32) -> array<vec4f, 8> {
  return array<vec4f, 8>(
    bits_above(pairs.x & 0x03030303u, high, 2u),
    bits_above((pairs.x >> 2u) & 0x03030303u, high >> 1u, 2u),
    bits_above((pairs.x >> 4u) & 0x03030303u, high >> 2u, 2u),
    bits_above((pairs.x >> 6u) & 0x03030303u, high >> 3u, 2u),
    bits_above(pairs.y & 0x03030303u, high >> 4u, 2u),
    bits_above((pairs.y >> 2u) & 0x03030303u, high >> 5u, 2u),
    bits_above((pairs.y >> 4u) & 0x03030303u, high >> 6u, 2u),
    bits_above((pairs.y >> 6u) & 0x03030303u, high >> 7u, 2u),
  );
}

// 5 bits: a nibble and the bit above it.
fn fives32(q: vec4u, high: u32) -> array<vec4f, 8> {
  return array<vec4f, 8>(
    bits_above(q.x & 0x0f0f0f0fu, high, 4u),
    bits_above(q.y & 0x0f0f0f0fu, high >> 1u, 4u),
    bits_above(q.z & 0x0f0f0f0fu, high >> 2u, 4u),
    bits_above(q.w & 0x0f0f0f0fu, high >> 3u, 4u),
    bits_above((q.x >> 4u) & 0x0f0f0f0fu, high >> 4u, 4u),
    bits_above((q.y >> 4u) & 0x0f0f0f0fu, high >> 5u, 4u),
    bits_above((q.z >> 4u) & 0x0f0f0f0fu, high >> 6u, 4u),
    bits_above((q.w >> 4u) & 0x0f0f0f0fu, high >> 7u, 4u),
  );
}

fn bits_above(low: u32, high: u32, shift: u32) -> vec4f {
  return bytes(low | ((high & 0x01010101u) << shift));
}

// s · q − m, with a scale and a minimum of their own for the first and the last 16.
fn affine32(q: array<vec4f, 8>, s: vec2f, m: vec2f) -> array<vec4f, 8> {
  return array<vec4f, 8>(
    s.x * q[0] - m.x,
    s.x * q[1] - m.x,
    s.x * q[2] - m.x,
    s.x * q[3] - m.x,
    s.y * q[4] - m.y,
    s.y * q[5] - m.y,
    s.y * q[6] - m.y,
    s.y * q[7] - m.y,
  );
}
