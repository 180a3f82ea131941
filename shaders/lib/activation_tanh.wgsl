// Joined besides: safe_tanh.
fn activation(gate: f32, up: f32) -> f32 {
  return safe_tanh(gate) * up;
}
