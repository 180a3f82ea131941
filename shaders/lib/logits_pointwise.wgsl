// The gate reads a function of each logit, then a bias (dense-to-sparse gates). A bias that is not a number is told in `fault`.
// Joined: activation_*.
fn read_all(t: u32, lane: u32) {}

fn gated(l: f32, e: u32) -> f32 {
  if (!SHAPE_BIASED) {
    return activation(l, 1.0);
  }
  let b = bias[SHAPE_BIAS + e / 4u][e % 4u];
  if (!is_number(b)) {
    atomicMin(&fault, DAMAGED);
    return LOWEST;
  }
  return activation(l, 1.0) + b;
}
