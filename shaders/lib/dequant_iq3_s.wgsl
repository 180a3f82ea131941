// w = d · (2 · scale + 1) · ±level, four levels from the matrix's table of 512, scale 4-bit per 32 weights, d per 256.
fn dequant_iq3_s(base: u32, rows: u32, cols: u32, row: u32, group: u32) -> array<vec4f, 8> {
  let groups = cols / 32u * rows;
  let indexes = base + 64u;
  let sign_plane = indexes + groups / 2u;
  let pair = weights[indexes + group / 2u * rows + row];
  let low = select(pair.xy, pair.zw, (group & 1u) == 1u);
  let signs = word_at(sign_plane, group * rows + row);
  let head = weights[sign_plane + groups / 4u + group / 8u * rows + row];
  let g = group & 7u;
  let ninth = head[g >> 2u] >> (8u * (g & 3u));
  let s = unpack2x16float(head.w).x * f32(2u * ((head.z >> (4u * g)) & 15u) + 1u);
  return affine32(
    array<vec4f, 8>(
      iq3_levels(base, low.x & 255u, ninth, signs),
      iq3_levels(base, (low.x >> 8u) & 255u, ninth >> 1u, signs >> 1u),
      iq3_levels(base, (low.x >> 16u) & 255u, ninth >> 2u, signs >> 2u),
      iq3_levels(base, (low.x >> 24u) & 255u, ninth >> 3u, signs >> 3u),
      iq3_levels(base, low.y & 255u, ninth >> 4u, signs >> 4u),
      iq3_levels(base, (low.y >> 8u) & 255u, ninth >> 5u, signs >> 5u),
      iq3_levels(base, (low.y >> 16u) & 255u, ninth >> 6u, signs >> 6u),
      iq3_levels(base, (low.y >> 24u) & 255u, ninth >> 7u, signs >> 7u),
    ),
    vec2f(s),
    vec2f(),
  );
}

fn iq3_levels(table: u32, low: u32, ninth: u32, signs: u32) -> vec4f {
  let i = low | ((ninth & 1u) << 8u);
  let entry = weights[table + (i >> 3u)][(i >> 1u) & 3u] >> (16u * (i & 1u));
  let odd = 2u * ((vec4u(entry) >> vec4u(0u, 3u, 6u, 9u)) & vec4u(7u)) + 1u;
  return vec4f(odd) * (1.0 - 2.0 * bytes(signs & 0x01010101u));
}
