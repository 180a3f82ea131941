// 1 / (1 + e^-l), each expert for itself.
const SUMS_TO_ONE = false;
const LEAST_TOTAL = 6.103515625e-5; // 2⁻¹⁴, as llama.cpp has it

fn mass(l: f32, top: f32) -> f32 {
  let e = exp(-abs(l));
  return select(e, 1.0, l >= 0.0) / (1.0 + e);
}
