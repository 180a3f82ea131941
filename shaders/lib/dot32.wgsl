// Two groups of 32 weights with the same 32 inputs, x[at] to x[at + 7]: inputs are loaded once for both.
fn dot32(a: array<vec4f, 8>, b: array<vec4f, 8>, at: u32) -> vec2f {
  let x0 = x[at + 0u];
  let x1 = x[at + 1u];
  let x2 = x[at + 2u];
  let x3 = x[at + 3u];
  let x4 = x[at + 4u];
  let x5 = x[at + 5u];
  let x6 = x[at + 6u];
  let x7 = x[at + 7u];
  let sum_a = a[0] * x0 + a[1] * x1 + a[2] * x2 + a[3] * x3 + a[4] * x4 + a[5] * x5 + a[6] * x6 + a[7] * x7;
  let sum_b = b[0] * x0 + b[1] * x1 + b[2] * x2 + b[3] * x3 + b[4] * x4 + b[5] * x5 + b[6] * x6 + b[7] * x7;
  return vec2f(dot(sum_a, vec4f(1.0)), dot(sum_b, vec4f(1.0)));
}
