// w = d · (digit − 1), d per 256. A byte is a base-3 fraction of 5 digits: 32 bytes hold groups 0 to 4, a digit each;
// 16 hold groups 5, 6 and half of 7; 4 the other half.
fn dequant_tq1_0(base: u32, rows: u32, cols: u32, row: u32, group: u32) -> array<vec4f, 8> {
  let blocks = cols / 256u * rows;
  let block = group / 8u * rows + row;
  let last = base + 3u * blocks;
  let d = half_at(last + word_plane(blocks), block);
  let g = group & 7u;
  let whole = g < 5u;
  let a = weights[base + block + select(2u * blocks, 0u, whole)];
  let b = weights[base + block + select(2u * blocks, blocks, whole)];
  let digit = select(2u * g - 10u, g, whole);
  let tail = select(b, vec4u(word_at(last, block)), g == 7u);
  let digits = select(vec4u(select(digit + 1u, g, whole)), vec4u(0u, 1u, 2u, 3u), g == 7u);
  return affine32(
    array<vec4f, 8>(
      ternary(a.x, digit),
      ternary(a.y, digit),
      ternary(a.z, digit),
      ternary(a.w, digit),
      ternary(tail.x, digits.x),
      ternary(tail.y, digits.y),
      ternary(tail.z, digits.z),
      ternary(tail.w, digits.w),
    ),
    vec2f(d),
    vec2f(d),
  );
}

// Digit 0 to 4 of the four bytes of a word: a fraction times 3 has its next digit before the point.
fn ternary(word: u32, digit: u32) -> vec4f {
  let power = select(1u, 3u, (digit & 1u) != 0u) * select(1u, 9u, (digit & 2u) != 0u) * select(1u, 81u, digit > 3u);
  let fraction = (((vec4u(word) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(255u)) * power) & vec4u(255u);
  return vec4f((fraction * 3u) >> vec4u(8u));
}
