// √ln(1 + e^l), each expert for itself, to the last places also where e^l is small beside 1:
// ln(1 + y) = 2 artanh(s), s = y / (2 + y) ≤ 1/3 for y = e^-|l|.
const SUMS_TO_ONE = false;
const LEAST_TOTAL = 6.103515625e-5; // 2⁻¹⁴, as llama.cpp has it

fn mass(l: f32, top: f32) -> f32 {
  let y = exp(-abs(l));
  let s = y / (2.0 + y);
  let q = s * s;
  let series = 1.0 + q * (1.0 / 3.0 + q * (0.2 + q * (1.0 / 7.0 + q * (1.0 / 9.0 + q * (1.0 / 11.0 + q / 13.0)))));
  return sqrt(max(l, 0.0) + 2.0 * s * series);
}
