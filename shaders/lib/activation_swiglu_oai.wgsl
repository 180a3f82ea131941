// gpt-oss: only the gate's positive side is cut, its sigmoid is steeper, and an `up` of 0 passes the gate on.
fn activation(gate: f32, up: f32) -> f32 {
  let g = min(gate, LIMIT);
  return g / (1.0 + exp(-ALPHA * g)) * (clamp(up, -LIMIT, LIMIT) + 1.0);
}
