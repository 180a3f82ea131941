// l where it is above 0, each expert for itself.
const SUMS_TO_ONE = false;
const LEAST_TOTAL = 6.103515625e-5; // as gate_sigmoid has it

fn mass(l: f32, top: f32) -> f32 {
  return max(l, 0.0);
}
