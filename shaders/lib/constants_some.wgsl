// Constant experts: a · own + b · constant, [a, b] the softmax of two logits. Joined: CONSTANTS, constant_of, constant_base.
@group(0) @binding(4) var<storage, read> constants: array<vec4f>;         // the page
@group(0) @binding(6) var<storage, read> constant_logits: array<f32>;     // [tokens, CONSTANTS, 2]

fn beside_constant(i: u32, t: u32, c: u32, own: vec4f) -> vec4f {
  let at = 2u * (t * CONSTANTS + i);
  let lead = constant_logits[at] - constant_logits[at + 1u];
  let less = exp(-abs(lead));
  let shares = vec2f(1.0, less) / (1.0 + less);
  let vector = constants[constant_base(i) + c];
  if (lead >= 0.0) {
    return shares.x * own + shares.y * vector;
  }
  return shares.y * own + shares.x * vector;
}
