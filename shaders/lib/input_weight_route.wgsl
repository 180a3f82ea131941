// Routes weigh what experts are given: W (w x) = w (W x).
fn input_weighted(pair: u32, products: vec2f) -> vec2f {
  return routes[pair].weight * products;
}
