// A function of each logit, then a bias (dense-to-sparse gates). A bias that is not a number is told in `fault`.
fn logit(l: f32, e: u32) -> f32 {
  if (!SHAPE_BIASED) {
    return pointwise(l);
  }
  let b = bias[SHAPE_BIAS + e / 4u][e % 4u];
  if (!is_number(b)) {
    atomicMin(&fault, DAMAGED);
    return LOWEST;
  }
  return pointwise(l) + b;
}
