// Its score; where RENORM its share of the scores of the chosen.
const IS_SCORED = true;

fn weight(own: f32, total: f32, count: u32) -> f32 {
  return WEIGHT_SCALE * own / total;
}
