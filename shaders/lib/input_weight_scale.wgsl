// One factor multiplies what all experts are given: W (s x) = s (W x).
fn input_weighted(pair: u32, products: vec2f) -> vec2f {
  return INPUT_SCALE * products;
}
