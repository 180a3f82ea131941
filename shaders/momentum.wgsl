// p ← FACTOR · p + STEP · f, p = 0 before START;  x ← x − p,  POST: f ← x − p, for the norm behind
// ADAM: x, or f, ← −ADAM_STEP · m / √(v + 1e-8),  m = NEW_MEAN · f,  v = NEW_SQUARE · f²
//
// Grid: (COLS / 4 / LANES, tokens). A lane owns one vector of a token.
@group(0) @binding(0) var<storage, read_write> f: array<vec4f>;         // [tokens, COLS / 4]
@group(0) @binding(1) var<storage, read_write> p: array<vec4f>;         // [tokens, COLS / 4]
@group(0) @binding(2) var<storage, read_write> x: array<vec4f>;         // [tokens, COLS / 4]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let c = group.x * LANES + lane;
  if (c >= COLS / 4u) {
    return;
  }
  let at = group.y * (COLS / 4u) + c;
  let given = f[at];
  var before = vec4f(0.0);
  if (!START) {
    before = p[at];
  }
  let velocity = FACTOR * before + STEP * given;
  p[at] = velocity;
  var to = x[at] - velocity;
  if (ADAM) {
    to = -ADAM_STEP * NEW_MEAN * given / sqrt(NEW_SQUARE * given * given + 1e-8);
  }
  if (POST) {
    f[at] = to;
  } else {
    x[at] = to;
  }
}
