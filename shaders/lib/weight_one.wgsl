// The same for all that are chosen.
const IS_SCORED = false;

fn weight(own: f32, total: f32, count: u32) -> f32 {
  return WEIGHT_SCALE;
}
