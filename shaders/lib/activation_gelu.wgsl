// gelu(g) = g/2 · (1 + tanh(√(2/π) · (g + 0.044715 g³))), written with (1 + tanh z) / 2 = 1 / (1 + e^-2z), which keeps its
// last places far below 0. Past ±8 it is g or 0 to f32, so that nothing need be larger.
fn activation(gate: f32, up: f32) -> f32 {
  let g = clamp(gate, -8.0, 8.0);
  return gate / (1.0 + exp(-1.5957691216 * g * (1.0 + 0.044715 * g * g))) * up;
}
