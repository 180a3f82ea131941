// Some experts have no page: zeros, copies of what they read, and constants beside it. Joined: is_zero, is_copy, constants_*.
@group(0) @binding(5) var<storage, read> input: array<vec4f>;         // [tokens, COLS / 4]

fn output_of(pair: u32, t: u32, c: u32) -> vec4f {
  let e = routes[pair].expert;
  if (is_zero(e)) {
    return vec4f();
  }
  let i = constant_of(e);
  if (i < CONSTANTS || is_copy(e)) {
    let own = INPUT_SCALE * input[t * (COLS / 4u) + c];
    if (i < CONSTANTS) {
      return beside_constant(i, t, c, own);
    }
    return own;
  }
  return rows[pair * (COLS / 4u) + c];
}
