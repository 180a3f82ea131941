// x[t, c] += SCALE · Σ_e softmax(logits[t])_e · rows[t, e, c];  STORE: x = …
//
// Grid: (COLS / 4 / LANES, tokens). A lane owns one vector of a token, and takes the softmax over the few experts itself.
@group(0) @binding(0) var<storage, read> logits: array<f32>;         // [tokens, LOGIT_ROW], the experts' from FIRST on
@group(0) @binding(1) var<storage, read> rows: array<vec4f>;         // [tokens, EXPERTS, COLS / 4]
@group(0) @binding(2) var<storage, read_write> x: array<vec4f>;      // [tokens, COLS / 4]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let c = group.x * LANES + lane;
  if (c >= COLS / 4u) {
    return;
  }
  let at = group.y * LOGIT_ROW + FIRST;
  var top = logits[at];
  for (var e = 1u; e < EXPERTS; e++) {
    top = max(top, logits[at + e]);
  }
  var all = 0.0;
  var sum = vec4f();
  for (var e = 0u; e < EXPERTS; e++) {
    let mass = exp(logits[at + e] - top);
    all += mass;
    sum += mass * rows[(group.y * EXPERTS + e) * (COLS / 4u) + c];
  }
  let to = group.y * (COLS / 4u) + c;
  if (STORE) {
    x[to] = SCALE * (sum / all);
  } else {
    x[to] += SCALE * (sum / all);
  }
}
