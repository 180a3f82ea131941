// Exponent bits all set: infinity or not a number. Compared as bits, since compilers may assume neither occurs.
fn is_number(l: f32) -> bool {
  return (bitcast<u32>(l) & 0x7f800000u) != 0x7f800000u;
}
