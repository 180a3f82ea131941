fn activation(gate: f32, up: f32) -> f32 {
  return up / (1.0 + exp(-gate));
}
