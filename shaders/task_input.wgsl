// y[t] = x[t] and behind it the embedding of the request's task
//
// Grid: ((COLS + SIZE) / 4 / LANES, tokens). A lane owns one vector of a token.
// Joined: request.
@group(0) @binding(0) var<storage, read> x: array<vec4f>;               // [tokens, COLS / 4]
@group(0) @binding(1) var<storage, read> embedding: array<vec4f>;       // the page; [tasks, SIZE / 4] from vector BASE
@group(0) @binding(2) var<storage, read> request: array<u32>;           // a site's row
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;         // [tokens, (COLS + SIZE) / 4]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let t = group.y;
  let c = group.x * LANES + lane;
  let at = t * ((COLS + SIZE) / 4u) + c;
  if (c < COLS / 4u) {
    y[at] = x[t * (COLS / 4u) + c];
  } else if (c < (COLS + SIZE) / 4u) {
    y[at] = embedding[BASE + request[TASK] * (SIZE / 4u) + c - COLS / 4u];
  }
}
