// tanh to the last places of f32: WGSL's own loses them near 0 (3e-5 on SwiftShader) and may be NaN far from it.
fn safe_tanh(z: f32) -> f32 {
  let q = z * z;
  if (q < 0.25) {
    // Lambert's continued fraction, cut off where it is good to 1e-10.
    return z * (945.0 + q * (105.0 + q)) / (945.0 + q * (420.0 + 15.0 * q));
  }
  return sign(z) * (1.0 - 2.0 / (1.0 + exp(2.0 * min(abs(z), 10.0))));
}
