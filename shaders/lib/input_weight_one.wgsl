// Routes weigh what experts give: `combine` does.
fn input_weighted(pair: u32, products: vec2f) -> vec2f {
  return products;
}
