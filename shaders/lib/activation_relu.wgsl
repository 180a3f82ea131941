fn activation(gate: f32, up: f32) -> f32 {
  return max(gate, 0.0) * up;
}
