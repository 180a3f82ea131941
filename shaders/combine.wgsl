// x[t, c] += SCALE · (start(c) + Σ_i weight[t, i] · output[t · ROUTES + i, c]),  i < count[t], in this order; an output
// is the pair's row, or of an expert without a page told from its input
// STORE: x = … ; not WEIGHTED: weights are 1, since they came first.
//
// Grid: (COLS / 4 / LANES, tokens). A lane owns one vector of a token.
// Joined: route_set, sum_from_*, outputs_*.
@group(0) @binding(0) var<storage, read> rows: array<vec4f>;          // [tokens · ROUTES, COLS / 4]
@group(0) @binding(1) var<storage, read> routes: array<Route>;        // [tokens, ROUTES]
@group(0) @binding(2) var<storage, read> counts: array<u32>;          // [tokens]
@group(0) @binding(3) var<storage, read_write> x: array<vec4f>;       // [tokens, COLS / 4]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let t = group.y;
  let c = group.x * LANES + lane;
  if (c >= COLS / 4u) {
    return;
  }
  var sum = start(c);
  for (var i = 0u; i < counts[t]; i++) {
    let pair = t * ROUTES + i;
    if (WEIGHTED) {
      sum += routes[pair].weight * output_of(pair, t, c);
    } else {
      sum += output_of(pair, t, c);
    }
  }
  let at = t * (COLS / 4u) + c;
  if (STORE) {
    x[at] = SCALE * sum;
  } else {
    x[at] += SCALE * sum;
  }
}
