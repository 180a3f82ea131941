// 32 weights of one row: group g of row r of a matrix that starts at vector `base` and has `rows` rows.
// Written out rather than looped, here and in every dequant_*: an array indexed by a loop variable lives in
// memory on some compilers, and this is the innermost code there is.
fn dequant_f32(base: u32, rows: u32, cols: u32, row: u32, group: u32) -> array<vec4f, 8> {
  let at = base + group * 8u * rows + row;
  return array<vec4f, 8>(
    bitcast<vec4f>(weights[at]),
    bitcast<vec4f>(weights[at + rows]),
    bitcast<vec4f>(weights[at + 2u * rows]),
    bitcast<vec4f>(weights[at + 3u * rows]),
    bitcast<vec4f>(weights[at + 4u * rows]),
    bitcast<vec4f>(weights[at + 5u * rows]),
    bitcast<vec4f>(weights[at + 6u * rows]),
    bitcast<vec4f>(weights[at + 7u * rows]),
  );
}
