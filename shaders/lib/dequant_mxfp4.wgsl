// w = 2^(e − 128) · level(q), q a 4-bit float: the levels are twice its values. Scales below the least normal f32 are 0.
fn dequant_mxfp4(base: u32, rows: u32, cols: u32, row: u32, group: u32) -> array<vec4f, 8> {
  let unit = group * rows + row;
  let exponent = (word_at(base + cols / 32u * rows, unit >> 2u) >> (8u * (unit & 3u))) & 255u;
  let s = bitcast<f32>((max(exponent, 1u) - 1u) << 23u);
  return affine32(levels32(weights[base + unit], FP4_LEVELS), vec2f(s), vec2f());
}

const FP4_LEVELS = vec4u(0x03020100u, 0x0c080604u, 0xfdfeff00u, 0xf4f8fafcu);
