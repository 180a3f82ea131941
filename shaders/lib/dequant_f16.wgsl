fn dequant_f16(base: u32, rows: u32, cols: u32, row: u32, group: u32) -> array<vec4f, 8> {
  let at = base + group * 4u * rows + row;
  let a = weights[at];
  let b = weights[at + rows];
  let c = weights[at + 2u * rows];
  let d = weights[at + 3u * rows];
  return array<vec4f, 8>(
    vec4f(unpack2x16float(a.x), unpack2x16float(a.y)),
    vec4f(unpack2x16float(a.z), unpack2x16float(a.w)),
    vec4f(unpack2x16float(b.x), unpack2x16float(b.y)),
    vec4f(unpack2x16float(b.z), unpack2x16float(b.w)),
    vec4f(unpack2x16float(c.x), unpack2x16float(c.y)),
    vec4f(unpack2x16float(c.z), unpack2x16float(c.w)),
    vec4f(unpack2x16float(d.x), unpack2x16float(d.y)),
    vec4f(unpack2x16float(d.z), unpack2x16float(d.w)),
  );
}
