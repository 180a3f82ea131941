fn activation(gate: f32, up: f32) -> f32 {
  let positive = max(gate, 0.0);
  return positive * positive * up;
}
