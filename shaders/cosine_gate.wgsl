// logits[t, e] = FACTOR · exp(temperature) · cos(z[t], c[e]),  a length counted as LEAST at least
//   exp(temperature) = 1 unless TEMPERED; the temperature is cut off at MOST
//
// Grid: (EXPERTS / LANES, tokens). A lane owns one expert of a token; z and c are short.
@group(0) @binding(0) var<storage, read> z: array<f32>;               // [tokens, COLS]
@group(0) @binding(1) var<storage, read> centroids: array<vec4f>;     // the page; [EXPERTS, COLS] from vector BASE
@group(0) @binding(2) var<storage, read> temperature: array<vec4f>;   // the page; a number at vector TEMPERATURE
@group(0) @binding(3) var<storage, read_write> logits: array<f32>;    // [tokens, EXPERTS]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let expert = group.x * LANES + lane;
  if (expert >= EXPERTS) {
    return;
  }
  var product = 0.0;
  var z_squares = 0.0;
  var c_squares = 0.0;
  for (var i = 0u; i < COLS; i++) {
    let at = expert * COLS + i;
    let a = z[group.y * COLS + i];
    let b = centroids[BASE + at / 4u][at % 4u];
    product += a * b;
    z_squares += a * a;
    c_squares += b * b;
  }
  var factor = FACTOR;
  if (TEMPERED) {
    factor *= exp(min(temperature[TEMPERATURE].x, MOST));
  }
  let lengths = max(sqrt(z_squares), LEAST) * max(sqrt(c_squares), LEAST);
  logits[group.y * EXPERTS + expert] = factor * product / lengths;
}
