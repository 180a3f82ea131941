// Probabilities: the mass over the sum of all masses.
const SUMS_TO_ONE = true;
const LEAST_TOTAL = 0.0;

fn mass(l: f32, top: f32) -> f32 {
  return exp(l - top);
}
