// No expert is a constant.
const CONSTANTS = 0u;

fn constant_of(e: u32) -> u32 {
  return 0u;
}

fn beside_constant(i: u32, t: u32, c: u32, own: vec4f) -> vec4f {
  return own;
}
