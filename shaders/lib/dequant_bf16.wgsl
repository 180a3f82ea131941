// The upper half of an f32.
fn dequant_bf16(base: u32, rows: u32, cols: u32, row: u32, group: u32) -> array<vec4f, 8> {
  let at = base + group * 4u * rows + row;
  let a = weights[at];
  let b = weights[at + rows];
  let c = weights[at + 2u * rows];
  let d = weights[at + 3u * rows];
  return array<vec4f, 8>(
    upper_halves(a.xy),
    upper_halves(a.zw),
    upper_halves(b.xy),
    upper_halves(b.zw),
    upper_halves(c.xy),
    upper_halves(c.zw),
    upper_halves(d.xy),
    upper_halves(d.zw),
  );
}

fn upper_halves(pairs: vec2u) -> vec4f {
  return bitcast<vec4f>((pairs.xxyy << vec4u(16u, 0u, 16u, 0u)) & vec4u(0xffff0000u));
}
