// Every expert has a page.
fn output_of(pair: u32, t: u32, c: u32) -> vec4f {
  return rows[pair * (COLS / 4u) + c];
}
