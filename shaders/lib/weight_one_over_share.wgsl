// The same for all that are chosen: one over their share of all experts, N / k.
const IS_SCORED = false;

fn weight(own: f32, total: f32, count: u32) -> f32 {
  return WEIGHT_SCALE * f32(EXPERTS) / f32(count);
}
